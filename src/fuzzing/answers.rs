//! What a client makes of any answers: those of the HTTP calls, and those of a channel, down to a pull into a site in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tungstenite::Message;

use crate::client::{Near, Outcome, Refusal, Transport, Trouble};
use crate::domain::value::Rows;
use crate::limits::Limits;
use crate::store::MemoryStore;
use crate::wire::api;
use crate::wire::native::check;
use crate::wire::records::PageLimits;
use crate::{Auth, Client, ConnectOptions, PullOptions, Site, SiteKey};

/// What stands between the answers.
const SEPARATOR: u8 = 0x1e;

/// The first byte says whether the other end is rowferry; the rest are answers, one after the other.
pub fn client_answers(bytes: &[u8]) {
    pulled(bytes);
}

/// How many records came.
fn pulled(bytes: &[u8]) -> u64 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    http(rest);
    let answers = rest.split(|byte| *byte == SEPARATOR).map(<[u8]>::to_vec).collect();
    let script = Script { is_rowferry: first & 1 == 1, answers: Arc::new(Mutex::new(answers)) };
    let options = ConnectOptions::default().heartbeat(None).request_timeout(Duration::from_millis(200));
    let Ok(client) = Client::near(Box::new(script), Auth::code("A7X9K2M4"), options) else { return 0 };
    let store = MemoryStore::open(&Limits::default()).expect("memory can be had");
    let site = Site::builder().key(SiteKey::from_bytes([7; 32])).with_store(Arc::new(store));
    let options = PullOptions::new().retry_time(Duration::ZERO).timeout(Duration::from_secs(2)).max_records(10_000);
    match client.pull(&site, options) {
        Ok(report) => {
            for table in &report.tables {
                assert!(table.error.as_ref().is_none_or(|error| !error.message().is_empty()), "{table:?}");
            }
            report.records
        }
        Err(error) => {
            assert!(!error.message().is_empty());
            0
        }
    }
}

/// A body, as the answer to each call.
fn http(body: &[u8]) {
    let limits = Limits::default();
    let _ = api::Refusal::decode(body);
    let _ = api::decode::<api::RegisterAnswer>(body, "a");
    let _ = api::decode::<api::Updated>(body, "a");
    let _ = api::decode::<api::Exists>(body, "a");
    let _ = api::decode::<api::QueryStatusAnswer>(body, "a");
    let _ = api::decode::<api::ListTablesAnswer>(body, "a").and_then(|listed| listed.within(&limits));
    let _ = api::decode_table_schema(body, "t", &limits);
    if let Ok(text) = std::str::from_utf8(body) {
        let bounds = PageLimits { records: 1_000, bytes: 1 << 20 };
        let _ = api::decode_records(text, &super::table_of_all_types(), bounds, &mut Rows::new(0));
    }
}

/// Another site that says what it was told to say.
struct Script {
    is_rowferry: bool,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl Near for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn enter(&self, _: &str, _: &Limits) -> Result<Box<dyn Transport>, Refusal> {
        let (is_rowferry, answers) = (self.is_rowferry, Arc::clone(&self.answers));
        Ok(Box::new(Spoken { is_rowferry, answers, said: VecDeque::new() }))
    }
}

struct Spoken {
    is_rowferry: bool,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
    said: VecDeque<Message>,
}

impl Spoken {
    fn next(&self) -> Option<Vec<u8>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Answers a frame of the client's.
    fn hear(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Json>(text) else { return };
        let Some(what) = frame[3].as_str().and_then(|event| event.strip_prefix("request:")) else {
            let about =
                json!({"version": 1, "site": "00000000-0000-0000-0000-000000000001", "features": ["pages", "pulls"]});
            let response = if self.is_rowferry && frame[3] == "phx_join" { json!({"rowferry": about}) } else { json!({}) };
            let reply = json!([null, frame[1], frame[2], "phx_reply", {"status": "ok", "response": response}]);
            return self.said.push_back(Message::text(reply.to_string()));
        };
        let Some(answer) = self.next() else { return };
        let text = String::from_utf8_lossy(&answer);
        self.said.push_back(match text.strip_prefix('{') {
            // With the ref, without which it is an answer to nothing.
            Some(fields) => {
                let (topic, reference) = (&frame[2], &frame[4]["ref"]);
                let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
                let event = if fields.starts_with("\"error\"") { "error" } else { what };
                Message::text(format!(r#"[null,null,{topic},"response:{event}",{{"ref":{reference}{comma}{fields}]"#))
            }
            None if text.starts_with('[') => Message::text(text.into_owned()),
            None => Message::binary(answer),
        });
    }

    /// Answers a binary request: a message of any kind that names it, with the right checksum; whatever it is otherwise.
    fn hear_binary(&mut self, request: &[u8]) {
        let Some(answer) = self.next() else { return };
        let (Some(number), [kind, body @ ..]) = (request.get(4..8), &answer[..]) else {
            return self.said.push_back(Message::binary(answer));
        };
        let whole = [&[b'r', b'f', 1, *kind], number, body].concat();
        self.said.push_back(Message::binary(check::sealed(&whole)));
    }
}

impl Transport for Spoken {
    fn send(&mut self, message: Message, _: Instant) -> Outcome<bool> {
        match message {
            Message::Text(text) => self.hear(&text),
            Message::Binary(bytes) => self.hear_binary(&bytes),
            _ => {}
        }
        Ok(true)
    }

    fn flush(&mut self, _: Instant) -> Outcome<bool> {
        Ok(true)
    }

    fn receive(&mut self, _: Instant) -> Outcome<Option<Message>> {
        match self.said.pop_front().or_else(|| self.next().map(Message::binary)) {
            Some(message) => Ok(Some(message)),
            None => Err(Trouble::closed(None)),
        }
    }

    fn close(&mut self, _: Instant) {}

    fn is_local(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_answers() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/client_answers");
        for (seed, records) in
            [("phoenix", 2), ("rowferry", 2), ("refused", 0), ("http", 0), ("http_schema", 0), ("strange", 0)]
        {
            assert_eq!(pulled(&std::fs::read(folder.join(seed)).unwrap()), records, "{seed}");
        }
        client_answers(b"");
        client_answers(b"\x01");
    }
}
