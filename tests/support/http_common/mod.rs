//! What the tests of the HTTP calls and of channels by token share: a site that is served, and a peer that speaks bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rowferry::{
    Connection, EventKind, Limits, ManualClock, NewConnection, Policy, Server, ServerHandle, Site, Token, TransferFilter,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::macros::datetime;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

/// Tables like those that PhoenixKit was recorded with.
pub const TABLES: &str = r#"
    CREATE TABLE empty_table (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE many (id INTEGER PRIMARY KEY, v TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
    INSERT INTO many SELECT i, 'row ' || i FROM n;
    CREATE TABLE memberships (org TEXT NOT NULL, member INTEGER NOT NULL, role TEXT NOT NULL, since DATE,
        PRIMARY KEY (org, member));
    INSERT INTO memberships VALUES ('acme', 1, 'owner', '2020-01-01'), ('acme', 2, 'member', NULL),
        ('zeta', 1, 'member', '2021-06-01');
    CREATE TABLE users (uuid UUID PRIMARY KEY NOT NULL, email TEXT NOT NULL UNIQUE, active BOOLEAN, balance NUMERIC, avatar BLOB);
    INSERT INTO users VALUES ('9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e', 'a@example.com', 1, '1.50', x'fffe'),
        (x'4142434445464748494a4b4c4d4e4f50', 'b@example.com', 0, 100, NULL);
    CREATE TABLE posts (id INTEGER PRIMARY KEY, user UUID REFERENCES users (uuid), title TEXT NOT NULL DEFAULT 'none');
    INSERT INTO posts VALUES (1, '9b2f1c3e-7a4d-4c55-8e21-0f3a6b7c8d9e', 'first'), (9007199254740993, NULL, 'large');
    CREATE TABLE MixedCase (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE "odd-name" (id INTEGER PRIMARY KEY);
    CREATE TABLE no_pk (a INTEGER, b TEXT);
    INSERT INTO no_pk VALUES (1, 'x'), (2, 'y');
    CREATE TABLE hidden (id INTEGER PRIMARY KEY);
    CREATE VIEW a_view AS SELECT 1 AS one;
"#;

/// A site that is served. The folder goes last.
pub struct Served {
    pub server: ServerHandle,
    pub site: Site,
    pub clock: Arc<ManualClock>,
    pub folder: TempDir,
}

/// A site with [`TABLES`].
pub fn served() -> Served {
    served_with(|_| {})
}

pub fn served_with(change: impl FnOnce(&mut Limits)) -> Served {
    served_by(change, |builder| builder)
}

pub fn served_by(
    change: impl FnOnce(&mut Limits),
    build: impl FnOnce(rowferry::ServerBuilder) -> rowferry::ServerBuilder,
) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
    let mut limits = Limits::default();
    change(&mut limits);
    let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
    let site = Site::builder().limits(limits).clock(clock.clone()).hide_tables(["hidden"]).open(path).unwrap();
    // The tests' sites are at addresses that are not public.
    site.settings().set_allow_internal_urls(true).unwrap();
    let server = build(Server::builder(&site)).bind("127.0.0.1:0").unwrap().spawn().unwrap();
    Served { server, site, clock, folder }
}

/// A connection that another site pulls through, and how it does.
pub struct Puller {
    pub connection: Connection,
    pub token: Token,
    pub hash: String,
}

impl Served {
    /// A second site on the same file, as another program would have it.
    pub fn again(&self) -> Site {
        Site::builder().clock(self.clock.clone()).open(self.folder.path().join("shop.db")).unwrap()
    }

    pub fn puller(&self, policy: impl FnOnce(&mut Policy)) -> Puller {
        self.puller_of("http://127.0.0.1:9/backup", |new| new, policy)
    }

    pub fn puller_of(
        &self,
        url: &str,
        build: impl FnOnce(NewConnection) -> NewConnection,
        policy: impl FnOnce(&mut Policy),
    ) -> Puller {
        let mut allowed = Policy::default();
        policy(&mut allowed);
        let made = self.site.connections().create(build(NewConnection::sender("Backup", url).policy(allowed))).unwrap();
        let hash = hash(made.token.as_str());
        Puller { connection: made.connection, token: made.token, hash }
    }

    pub fn connection(&self, puller: &Puller) -> Connection {
        self.site.connections().get(puller.connection.uuid).unwrap()
    }

    /// Makes a call; gives the status and the body.
    pub fn call(&self, call: &str, body: &Value) -> (u16, String) {
        let answer = self.post(&format!("/sync/api/{call}"), body.to_string().as_bytes(), "");
        (answer.status, answer.body)
    }

    /// Makes a data call with the hash of a connection.
    pub fn data(&self, call: &str, puller: &Puller, mut fields: Value) -> (u16, Value) {
        fields["auth_token_hash"] = puller.hash.as_str().into();
        let (status, body) = self.call(call, &fields);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub fn post(&self, path: &str, body: &[u8], headers: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\ncontent-type: application/json\r\naccept: application/json\r\n\
             user-agent: PhoenixKit-Sync/1.0\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        ask(self.server.local_addr(), &[head.as_bytes(), body].concat())
    }

    pub fn get(&self, path: &str, headers: &str) -> Answer {
        ask(self.server.local_addr(), format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes())
    }

    /// Opens a channel by this query, or gives the status and text of the refusal.
    pub fn upgrade(&self, query: &str, headers: &str) -> Result<WebSocket<TcpStream>, (u16, String)> {
        let mut stream = connect(self.server.local_addr());
        let head = format!(
            "GET /sync/websocket?{query} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        match answer.status {
            101 => Ok(WebSocket::from_raw_socket(stream, Role::Client, None)),
            status => Err((status, answer.body)),
        }
    }

    /// A channel that was joined with a token; as rowferry, or as PhoenixKit's client.
    pub fn channel(&self, puller: &Puller, rowferry: bool) -> Channel {
        let socket = self.upgrade(&format!("token={}&vsn=2.0.0", puller.token.as_str()), "").unwrap();
        let topic = format!("transfer:conn:{}", puller.connection.uuid);
        let mut channel = Channel { socket, topic, reference: 1 };
        let info = if rowferry { json!({"rowferry": {"version": 1}}) } else { json!({}) };
        let reply = channel.say("phx_join", json!({ "receiver_info": info }));
        assert_eq!(reply[4]["status"], "ok", "{reply}");
        channel
    }

    /// The kinds of events about refusals, with their reasons.
    pub fn refusals(&self) -> Vec<String> {
        let kinds = [EventKind::AccessDenied, EventKind::RegistrationRefused];
        let events = self.site.events().list(&rowferry::EventFilter::new().kinds(kinds).limit(1000)).unwrap();
        events.iter().map(|event| event.details["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Each transfer as `table status records`, the oldest first.
    pub fn history(&self) -> Vec<String> {
        let transfers = self.site.transfers().list(&TransferFilter::new().oldest_first().limit(1000)).unwrap();
        let line = |t: &rowferry::Transfer| format!("{} {} {}", t.table_name, t.status, t.counters.records_transferred);
        transfers.iter().map(line).collect()
    }
}

/// A joined channel.
pub struct Channel {
    pub socket: WebSocket<TcpStream>,
    pub topic: String,
    reference: u64,
}

impl Channel {
    /// A channel that is not joined yet.
    pub fn of(socket: WebSocket<TcpStream>, topic: &str) -> Self {
        Channel { socket, topic: topic.to_owned(), reference: 1 }
    }

    /// Joins this topic, as PhoenixKit's client.
    pub fn joined(socket: WebSocket<TcpStream>, topic: &str) -> Self {
        let mut channel = Channel { socket, topic: topic.to_owned(), reference: 1 };
        assert_eq!(channel.say("phx_join", json!({}))[4], json!({"response": {}, "status": "ok"}));
        channel
    }

    /// Sends a frame and gives the next one.
    pub fn say(&mut self, event: &str, payload: Value) -> Value {
        let frame = json!([null, self.reference.to_string(), self.topic, event, payload]);
        self.socket.send(Message::text(frame.to_string())).unwrap();
        serde_json::from_str(self.socket.read().unwrap().to_text().unwrap()).unwrap()
    }

    /// Asks; gives the answer's event without `response:`, and its payload.
    pub fn ask(&mut self, event: &str, mut payload: Value) -> (String, Value) {
        self.reference += 1;
        payload["ref"] = self.reference.to_string().into();
        let mut answer = self.say(&format!("request:{event}"), payload);
        assert_eq!((&answer[2], &answer[4]["ref"]), (&json!(self.topic), &json!(self.reference.to_string())), "{answer}");
        (answer[3].as_str().unwrap().trim_start_matches("response:").to_owned(), answer[4].take())
    }

    /// Asks for a page; gives how many records came and whether there are more, or the error.
    pub fn page(&mut self, table: &str, offset: u64, limit: u64) -> Result<(usize, bool), String> {
        let (event, payload) = self.ask("records", json!({"table": table, "offset": offset, "limit": limit}));
        match event.as_str() {
            "records" => Ok((payload["records"].as_array().unwrap().len(), payload["has_more"].as_bool().unwrap())),
            _ => Err(payload["error"].as_str().unwrap().to_owned()),
        }
    }

    /// Closes it, and waits until the server has done so, too.
    pub fn close(mut self) {
        self.socket.close(None).unwrap();
        while self.socket.read().is_ok() {}
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// What the protocol calls `auth_token_hash`.
pub fn hash(token: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A peer with a time-out that only a hanging test meets.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_answer(&mut stream)
}

/// Reads an answer, of a known length or in chunks.
pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(byte(stream));
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = (head.lines().skip(1))
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        assert!(!headers.contains_key("content-length"));
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(byte(stream));
            }
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).unwrap();
            assert!(chunk.ends_with(b"\r\n"));
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = headers.get("content-length") {
        body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
    }
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

fn byte(stream: &mut impl Read) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}
