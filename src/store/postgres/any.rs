//! Columns that take values of every class, as SQLite's columns without a type do: a domain over `jsonb`.
//!
//! | value | JSON |
//! |---|---|
//! | integer | `1` |
//! | real | `{"r": "1.5"}`: the shortest decimal that is this double, `-0`, `inf`, `-inf` |
//! | text | `"text"`, or `{"t": base64}` where it is not UTF-8 or has NUL in it |
//! | blob | `{"b": base64}` |
//!
//! So `jsonb` compares two values as equal exactly if they are the same, and they can be a key. What else a program writes into such
//! a column is read as the text that the JSON is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::domain::value::{Value, ValueRef};

/// Writes a value that is not NULL as JSON; of NULL nothing.
pub(super) fn encode(value: ValueRef<'_>, to: &mut Vec<u8>) {
    match value {
        ValueRef::Null => {}
        ValueRef::Integer(v) => to.extend_from_slice(v.to_string().as_bytes()),
        ValueRef::Real(v) => tagged("r", &real(v), to),
        ValueRef::Text(v) => match std::str::from_utf8(v) {
            Ok(text) if !text.contains('\0') => string(text, to),
            _ => tagged("t", &BASE64_STANDARD.encode(v), to),
        },
        ValueRef::Blob(v) => tagged("b", &BASE64_STANDARD.encode(v), to),
    }
}

/// The JSON of a value as text; `None` of NULL.
pub(super) fn json(value: ValueRef<'_>) -> Option<String> {
    let mut json = Vec::new();
    encode(value, &mut json);
    // It is written from texts only.
    String::from_utf8(json).ok().filter(|json| !json.is_empty())
}

fn tagged(tag: &str, text: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(format!("{{\"{tag}\": \"{text}\"}}").as_bytes());
}

fn string(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
            0..0x20 => to.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => to.push(byte),
        }
    }
    to.push(b'"');
}

fn real(v: f64) -> String {
    match v {
        _ if v.is_nan() => "NaN".to_owned(),
        _ if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ => format!("{v:e}"),
    }
}

/// What is in the objects above.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Tagged {
    #[serde(rename = "r")]
    Real(String),
    #[serde(rename = "t")]
    Text(String),
    #[serde(rename = "b")]
    Blob(String),
}

/// Reads the JSON text of a value.
pub(super) fn decode(json: &[u8]) -> Value {
    read(json).unwrap_or_else(|| Value::Text(json.to_vec()))
}

fn read(json: &[u8]) -> Option<Value> {
    match json.first()? {
        b'"' => serde_json::from_slice::<String>(json).ok().map(Value::from),
        b'{' => Some(match serde_json::from_slice(json).ok()? {
            Tagged::Real(text) => Value::Real(text.parse().ok().filter(|v| real(*v) == text)?),
            Tagged::Text(text) => Value::Text(base64(&text)?),
            Tagged::Blob(text) => Value::Blob(base64(&text)?),
        }),
        _ => std::str::from_utf8(json).ok()?.parse().ok().map(Value::Integer),
    }
}

/// Only as it is written above: what is read must be written again as it was.
fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok().filter(|bytes| BASE64_STANDARD.encode(bytes) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Value) -> String {
        json(value.as_ref()).unwrap_or_default()
    }

    #[test]
    fn values_of_every_class_come_back_bit_for_bit() {
        let reals = [
            0.0,
            -0.0,
            1.5,
            0.1 + 0.2,
            f64::MAX,
            f64::MIN_POSITIVE,
            5e-324,
            f64::INFINITY,
            f64::NEG_INFINITY,
            9_007_199_254_740_993.0,
            1e19,
        ];
        let texts: [&[u8]; 9] =
            [b"", b"a", b"nul\0", b"\xff", b"\"\\/\n\x01\x7f", b"{\"r\": \"1\"}", b"1", b"null", b"\xed\xa0\x80"];
        let blobs: [&[u8]; 3] = [b"", b"\0", &[0xff; 100]];
        let values = [0, -1, i64::MAX, i64::MIN].map(Value::from).into_iter();
        let values = values.chain(reals.map(Value::from)).chain(texts.map(|v| Value::Text(v.to_vec())));
        let values: Vec<Value> = values.chain(blobs.map(|v| Value::Blob(v.to_vec()))).chain(["Größe 𝄞".into()]).collect();
        for value in &values {
            let json = written(value);
            assert!(decode(json.as_bytes()).as_ref().same(value.as_ref()), "{value:?} is written as {json}");
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
        let all: std::collections::HashSet<String> = values.iter().map(written).collect();
        assert_eq!(all.len(), values.len(), "two values are one");
        assert!(matches!(decode(written(&f64::NAN.into()).as_bytes()), Value::Real(v) if v.is_nan()));
        assert_eq!(json(ValueRef::Null), None);
    }

    #[test]
    fn what_others_write_is_read_as_text() {
        for json in ["1.5", "true", "null", "[1]", "{}", "{\"r\": \"1.50\"}", "{\"b\": \"AB==\"}", "{\"b\": 1}", "1e3", ""] {
            assert_eq!(decode(json.as_bytes()), Value::from(json), "{json}");
        }
    }
}
