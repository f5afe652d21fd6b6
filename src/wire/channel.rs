//! Channel frames: a JSON array of five, `[join_ref, ref, topic, event, payload]`, one in each WebSocket text message.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The event with which a client enters the channel.
pub const JOIN: &str = "phx_join";
/// The event with which a client leaves it.
pub const LEAVE: &str = "phx_leave";
/// The event of an answer to a join or a heartbeat.
pub const REPLY: &str = "phx_reply";
/// The event that keeps an idle connection open; it may come before the join.
pub const HEARTBEAT: &str = "heartbeat";
/// The topic of heartbeats.
pub const HEARTBEAT_TOPIC: &str = "phoenix";

/// The topic of a session's channel.
pub fn topic(code: &str) -> String {
    format!("transfer:{code}")
}

/// A frame, borrowed from its text.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// What all of the frame says but its payload.
    pub head: Head<'a>,
    /// Any JSON value, not yet looked at.
    pub payload: &'a RawValue,
}

/// A frame without its payload.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// The sender's number for this frame, or on a reply the number of what it answers. A string; a number is tolerated.
    pub reference: Option<&'a RawValue>,
    /// What the frame is about.
    pub topic: Cow<'a, str>,
    /// What happened.
    pub event: Cow<'a, str>,
}

/// Why a text is no frame. Each has the WebSocket close code that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameError {
    /// The text is no JSON.
    NotJson(String),
    /// It is JSON, and not an array of five of the right types.
    NotAFrame(String),
}

impl FrameError {
    /// 1007 (the message's data is not what its type says) or 1002 (protocol error).
    pub fn close_code(&self) -> u16 {
        match self {
            FrameError::NotJson(_) => 1007,
            FrameError::NotAFrame(_) => 1002,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::NotJson(why) => write!(f, "the message is not JSON: {why}"),
            FrameError::NotAFrame(why) => write!(f, "the message is not an array of five: {why}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Reads a frame.
pub fn decode(text: &str) -> Result<Frame<'_>, FrameError> {
    let (head, payload) = decode_with(text, |_| PhantomData::<&RawValue>)?;
    Ok(Frame { head, payload })
}

/// Reads a frame and its payload in one go: `seed` chooses by the head what reads the payload. This spares a large payload
/// from being read twice.
pub fn decode_with<'de, S, F>(text: &'de str, seed: F) -> Result<(Head<'de>, S::Value), FrameError>
where
    S: DeserializeSeed<'de>,
    F: FnOnce(&Head<'de>) -> S,
{
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = FrameSeed(seed, PhantomData).deserialize(&mut deserializer);
    read.and_then(|frame| deserializer.end().map(|()| frame)).map_err(|error| {
        let why = super::excerpt(&error.to_string());
        // serde_json calls an array with too many elements a syntax error, so the category does not tell.
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => FrameError::NotAFrame(why),
            Err(_) => FrameError::NotJson(why),
        }
    })
}

/// Writes a frame; objects in `payload` should have their keys sorted, as PhoenixKit writes them.
pub fn encode(reference: Option<&RawValue>, topic: &str, event: &str, payload: &impl Serialize) -> String {
    // Only a map with keys that are no strings, or an `impl Serialize` that fails, could be refused; payloads here are neither.
    serde_json::to_string(&(None::<()>, reference, topic, event, payload)).expect("payloads are plain structures")
}

struct FrameSeed<S, F>(F, PhantomData<S>);

impl<'de, S: DeserializeSeed<'de>, F: FnOnce(&Head<'de>) -> S> DeserializeSeed<'de> for FrameSeed<S, F> {
    type Value = (Head<'de>, S::Value);

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de>, F: FnOnce(&Head<'de>) -> S> Visitor<'de> for FrameSeed<S, F> {
    type Value = (Head<'de>, S::Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of five")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(seq: &mut A, at: usize) -> Result<T, A::Error> {
            seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &"five elements"))
        }
        // The ref of the join that this belongs to: of no use here, but it must be one.
        frame_ref(next(&mut seq, 0)?)?;
        let reference = frame_ref(next(&mut seq, 1)?)?;
        let Text(topic) = next(&mut seq, 2)?;
        let Text(event) = next(&mut seq, 3)?;
        let head = Head { reference, topic, event };
        let seed = (self.0)(&head);
        let payload = seq.next_element_seed(seed)?.ok_or_else(|| A::Error::invalid_length(4, &"five elements"))?;
        Ok((head, payload))
    }
}

/// A string that borrows where it can.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn frame_ref<E: serde::de::Error>(raw: Option<&RawValue>) -> Result<Option<&RawValue>, E> {
    match raw {
        Some(raw) if raw.get().starts_with(['[', '{', 't', 'f']) => Err(E::custom("a ref is null, a string or a number")),
        raw => Ok(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_as_the_reference_writes_them() {
        let frame = decode(r#"[null,"1","transfer:KW6Z6HB6","phx_join",{"receiver_info":{"project":"p"}}]"#).unwrap();
        assert_eq!(frame.head.reference.map(RawValue::get), Some(r#""1""#));
        assert_eq!((&*frame.head.topic, &*frame.head.event), ("transfer:KW6Z6HB6", "phx_join"));
        assert_eq!(frame.payload.get(), r#"{"receiver_info":{"project":"p"}}"#);
    }

    #[test]
    fn refs_may_be_numbers() {
        let frame = decode(r#" ["7", 8, "t", "e", null] "#).unwrap();
        assert_eq!(frame.head.reference.map(RawValue::get), Some("8"));
        assert_eq!(frame.payload.get(), "null");
    }

    #[test]
    fn what_is_no_frame_is_told_from_what_is_no_json() {
        for text in ["", "hello", "[null,", r#"[null,"1","t","e",{}"#, r#"[null,"1","t","e",{}]x"#, "[1e999", "\u{feff}5"] {
            assert_eq!(decode(text).map(|_| ()).map_err(|e| e.close_code()), Err(1007), "{text:?}");
        }
        let frames = [
            "5",
            "{\"a\":1}",
            "[]",
            r#"[null,"1","t","e"]"#,
            r#"[null,"1","t","e",{},1]"#,
            r#"[null,"1",null,"e",{}]"#,
            r#"[null,"1","t",5,{}]"#,
            r#"[null,{"a":1},"t","e",{}]"#,
            r#"[[],"1","t","e",{}]"#,
        ];
        for text in frames {
            assert_eq!(decode(text).map(|_| ()).map_err(|e| e.close_code()), Err(1002), "{text:?}");
        }
    }

    #[test]
    fn deep_json_does_not_overflow_the_stack() {
        let deep = format!(r#"[null,"1","t","e",{}{}]"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(decode(&deep).is_ok());
        assert!(decode(&"[".repeat(200_000)).is_err());
    }

    #[test]
    fn written_as_the_reference_does() {
        let reference = RawValue::from_string("8".into()).unwrap();
        let payload = serde_json::json!({"response": {}, "status": "ok"});
        assert_eq!(
            encode(Some(&reference), &topic("AB"), REPLY, &payload),
            r#"[null,8,"transfer:AB","phx_reply",{"response":{},"status":"ok"}]"#
        );
        assert_eq!(encode(None, "t", "e", &()), r#"[null,null,"t","e",null]"#);
    }
}
