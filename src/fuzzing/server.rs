//! What a peer sends to a site: the HTTP calls through the handler, and the messages of a channel. No answer may be an error of the
//! server, and none may hold what the peer is not to see.

use std::sync::Arc;

use http::Request;

use crate::domain::schema::{Column, LogicalType, TableSchema};
use crate::domain::value::{Records, Value};
use crate::limits::Limits;
use crate::serve::Handler;
use crate::store::MemoryStore;
use crate::wire::api::Call;
use crate::{ApprovalMode, NewConnection, Policy};
use crate::{Direction, PullOptions, Site, SiteKey, Token};

/// What stands in a table that the peer may not see, and in one whose pulls a person must approve.
const UNSEEN: [&str; 2] = ["hidden-content", "guarded-content"];

/// Messages that one input can be answered with; more of them is an answer without end.
const MOST_ANSWERS: usize = 10_000;

/// A site with a table that its peer may pull, one that needs approval, and one that is excluded.
struct World {
    handler: Handler,
    token: Token,
    /// What must be in no answer.
    unseen: Vec<String>,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::open(&Limits::default()).expect("memory can be had");
        let site = Site::builder().key(SiteKey::from_bytes([7; 32])).with_store(Arc::new(store));
        for (table, content) in [("open", "open-content"), ("guarded", UNSEEN[1]), ("hidden", UNSEEN[0])] {
            fill(&site, table, content);
        }
        let connect = |name, policy| {
            let new = NewConnection::sender(name, format!("https://{name}.example")).policy(policy);
            site.connections().create(new).expect("a connection can be made")
        };
        let policy = Policy {
            excluded_tables: vec!["hidden".into()],
            approval_mode: ApprovalMode::PerTable,
            auto_approve_tables: vec!["open".into()],
            ..Policy::default()
        };
        let token = connect("peer", policy).token;
        let other = connect("other-connection", Policy::default());
        let session = site.sessions().create(Direction::Send).expect("a code can be made");
        let mut unseen: Vec<String> = UNSEEN.map(str::to_owned).to_vec();
        unseen.extend(["other-connection".to_owned(), other.token.as_str().to_owned(), session.code().to_owned()]);
        unseen.push(other.token.credential().as_str().to_owned());
        World { handler: site.handler(), token, unseen }
    }

    /// An input as the peer sends it: `$H` stands for the hash of its token, so that the input gets past the first door.
    fn sent(&self, input: &[u8]) -> Vec<u8> {
        let mut sent = Vec::with_capacity(input.len() + 64);
        let mut rest = input;
        while let Some((first, after)) = rest.split_first() {
            match after.strip_prefix(b"H").filter(|_| *first == b'$') {
                Some(after) => {
                    sent.extend_from_slice(self.token.credential().as_str().as_bytes());
                    rest = after;
                }
                None => {
                    sent.push(*first);
                    rest = after;
                }
            }
        }
        sent
    }

    /// Nothing that the peer may not see is in an answer, if the peer did not say it itself.
    fn check(&self, sent: &[u8], answer: &[u8]) {
        for unseen in &self.unseen {
            assert!(!has(answer, unseen) || has(sent, unseen), "{unseen} is in {}", String::from_utf8_lossy(answer));
        }
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn fill(site: &Site, table: &str, content: &str) {
    let column = |name: &str, logical| Column { name: name.into(), logical, ..Column::default() };
    let schema = TableSchema {
        name: table.into(),
        columns: vec![column("id", LogicalType::Integer), column("v", LogicalType::Text)],
        primary_key: vec!["id".into()],
        rowid_alias: true,
        ..TableSchema::default()
    };
    site.create_table(&schema).expect("the table can be made");
    let mut records = Records::new(["id".to_owned(), "v".to_owned()]);
    (1..=3_i64).for_each(|id| records.push(vec![Value::from(id), Value::from(content)]));
    site.import_records(table, &records, PullOptions::new()).expect("rows can be imported");
}

/// One HTTP call after the other, a line each: the first byte says which call, the rest is its body.
pub fn http_api(input: &[u8]) {
    let world = World::new();
    for line in input.split(|byte| *byte == b'\n').take(16) {
        let Some((first, body)) = line.split_first() else { continue };
        let call = Call::ALL[usize::from(*first) % Call::ALL.len()];
        let body = world.sent(body);
        let method = if call == Call::Status { "GET" } else { "POST" };
        let request = Request::builder().method(method).uri(call.path()).header("content-type", "application/json");
        let request = request.body(body).expect("the parts of the request are as they must be");
        let answer = world.handler.handle(&request, None);
        let status = answer.status().as_u16();
        assert!(status < 500, "{call}: {status}");
        let answer = answer.into_body().into_bytes().expect("an answer from memory can be read");
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&answer).is_ok(), "{call}: no JSON");
        world.check(request.body(), &answer);
    }
}

/// The messages of a peer with a token on its channel, a line each: after `!` comes a binary one, `?` stands for silence.
pub fn channel_session(input: &[u8]) {
    let world = World::new();
    let request = Request::get(format!("/sync/websocket?token={}&vsn=2.0.0", world.token.as_str()))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .expect("the parts of the request are as they must be");
    let Ok(upgrade) = world.handler.upgrade(&request, None) else { panic!("the token is right") };
    let mut session = upgrade.session;
    for line in input.split(|byte| *byte == b'\n').take(32) {
        let sent = world.sent(line);
        let reply = match (sent.first(), std::str::from_utf8(&sent)) {
            (Some(b'!'), _) => session.on_binary(&sent[1..]),
            (Some(b'?'), _) => {
                session.idle();
                continue;
            }
            (_, Ok(text)) => session.on_text(text),
            (_, Err(_)) => continue,
        };
        reply.frames.iter().for_each(|frame| world.check(&sent, frame.as_bytes()));
        let mut answers = 0;
        while let Some(message) = session.next_binary() {
            world.check(&sent, &message);
            answers += 1;
            assert!(answers < MOST_ANSWERS, "the answer has no end");
        }
        if reply.close.is_some() {
            break;
        }
    }
    if input.len().is_multiple_of(2) {
        session.on_close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_get_past_the_door() {
        let world = World::new();
        let pull = br#"{"auth_token_hash":"$H","table_name":"open"}"#;
        let request = Request::post(Call::PullData.path()).header("content-type", "application/json");
        let answer = world.handler.handle(&request.body(world.sent(pull)).unwrap(), None);
        let answer = answer.into_body().into_bytes().unwrap();
        assert!(has(&answer, "open-content"), "{}", String::from_utf8_lossy(&answer));
        let calls = Call::ALL.iter().enumerate().flat_map(|(at, _)| {
            let body = br#"{"auth_token_hash":"$H","table_name":"hidden","sender_url":"https://peer.example","limit":3}"#;
            [&[at as u8][..], body, b"\n"].concat()
        });
        http_api(&calls.collect::<Vec<u8>>());
    }

    #[test]
    fn a_channel_is_answered() {
        channel_session(
            br#"[null,"1","transfer:self","phx_join",{"receiver_info":{"rowferry":{"version":1}}}]
["1","2","transfer:self","request:tables",{"ref":1}]
["1","3","transfer:self","request:records",{"table":"open","offset":0,"limit":2,"ref":2}]
["1","4","transfer:self","request:records",{"table":"guarded","offset":0,"limit":2,"ref":3}]
["1","5","transfer:self","request:schema",{"table":"hidden","ref":4}]
?
!junk"#,
        );
    }
}
