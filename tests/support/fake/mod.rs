//! A fake sender on loopback, of rowferry or PhoenixKit: honest about its tables, but for what a test makes it do.

mod native;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rowferry::{Auth, Client, ConnectOptions, Error, PullOptions, Report, TableReport};
use serde_json::{Value as Json, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use crate::support::common::Fixture;

/// A request as it came.
pub struct Ask {
    /// `tables`, `schema`, `count`, `records`
    pub what: String,
    pub table: String,
    pub offset: u64,
    pub limit: u64,
    pub reference: Json,
}

impl Ask {
    pub fn is(&self, what: &str, table: &str) -> bool {
        self.what == what && self.table == table
    }
}

/// The other end of a connection, for what answers.
pub struct Peer {
    pub socket: WebSocket<TcpStream>,
}

impl Peer {
    /// Sends a text message, whatever it may be. That the client has gone is the test's to find out.
    pub fn text(&mut self, text: impl Into<String>) {
        let _ = self.socket.send(Message::text(text.into()));
    }

    /// Sends bytes past the WebSocket.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self.socket.flush();
        let _ = self.socket.get_mut().write_all(bytes);
    }

    /// Answers a request with this event and payload, to which the ref is added.
    pub fn answer(&mut self, ask: &Ask, event: &str, mut payload: Json) {
        payload["ref"] = ask.reference.clone();
        self.text(json!([null, null, "transfer:A7X9K2M4", event, payload]).to_string());
    }

    /// Answers with a payload as text, in which `REF` stands for the ref.
    pub fn answer_text(&mut self, ask: &Ask, event: &str, payload: &str) {
        let payload = payload.replace("REF", &ask.reference.to_string());
        self.text(format!(r#"[null,null,"transfer:A7X9K2M4","{event}",{payload}]"#));
    }

    pub fn page(&mut self, ask: &Ask, records: Json, has_more: bool) {
        let page = json!({"records": records, "offset": ask.offset, "has_more": has_more});
        self.answer(ask, "response:records", page);
    }

    pub fn close(&mut self, code: u16) {
        let _ = self.socket.close(Some(CloseFrame { code: code.into(), reason: "".into() }));
        while self.socket.read().is_ok() {}
    }

    /// Ends the connection without a word.
    pub fn cut(&mut self) {
        let _ = self.socket.get_mut().shutdown(std::net::Shutdown::Both);
    }
}

/// A table of the fake sender.
#[derive(Clone)]
pub struct FakeTable {
    pub name: String,
    /// What it announces.
    pub count: Json,
    pub schema: Json,
    pub records: Vec<Json>,
}

impl FakeTable {
    /// A table with a key and a text; one record for each text.
    pub fn new(name: &str, texts: &[&str]) -> Self {
        let columns = [("id", "INTEGER", "integer"), ("name", "TEXT", "text")];
        let record = |(at, text): (usize, &&str)| json!({"id": at + 1, "name": text});
        let records: Vec<Json> = texts.iter().enumerate().map(record).collect();
        FakeTable { name: name.into(), count: records.len().into(), schema: schema(name, &columns), records }
    }
}

/// A schema that says as much as one can, as rowferry does: columns with declared and logical types; the first one is the key.
pub fn schema(name: &str, columns: &[(&str, &str, &str)]) -> Json {
    let column = |(name, declared, logical): &(&str, &str, &str)| json!({"name": name, "type": "text", "nullable": true, "declared_type": declared, "logical": logical});
    json!({
        "table": name, "schema": "public", "primary_key": [columns[0].0],
        "columns": columns.iter().map(column).collect::<Vec<_>>(),
        "rowferry": {"rowid_alias": columns[0].1 == "INTEGER"},
    })
}

/// What a test makes the sender do: `true` if it has answered.
pub type Twist = Arc<dyn Fn(&Ask, &mut Peer) -> bool + Send + Sync>;

/// Which system a sender is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its rows come in binary pages by themselves. What it does with those is tested beside the pull.
    Rowferry,
    /// It is asked for each page, and sends it as JSON.
    PhoenixKit,
}

pub const BOTH: [Kind; 2] = [Kind::Rowferry, Kind::PhoenixKit];

/// Serves these tables to one client, and gives the connection to the client.
pub fn connect(kind: Kind, tables: Vec<FakeTable>, options: ConnectOptions, twist: Twist) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        // A test that goes wrong ends all the same.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut peer = Peer { socket: tungstenite::accept(stream).unwrap() };
        while let Ok(message) = peer.socket.read() {
            match message {
                Message::Text(text) => serve(&mut peer, &text, kind, &tables, &twist),
                Message::Binary(bytes) => send_rows(&mut peer, &bytes, &tables, &twist),
                _ => {}
            }
        }
    });
    Client::connect(&url, Auth::code("A7X9K2M4"), options).unwrap()
}

fn serve(peer: &mut Peer, text: &str, kind: Kind, tables: &[FakeTable], twist: &Twist) {
    let frame: Json = serde_json::from_str(text).unwrap();
    let (reference, topic, event, payload) = (&frame[1], &frame[2], frame[3].as_str().unwrap(), &frame[4]);
    let Some(what) = event.strip_prefix("request:") else {
        let about = json!({"version": 1, "site": "00000000-0000-0000-0000-000000000001", "features": ["pages", "pulls"]});
        let response = if event == "phx_join" && kind == Kind::Rowferry { json!({"rowferry": about}) } else { json!({}) };
        return peer.text(json!([null, reference, topic, "phx_reply", {"status": "ok", "response": response}]).to_string());
    };
    let number = |name: &str| payload[name].as_u64().unwrap_or_default();
    let ask = Ask {
        what: what.into(),
        table: payload["table"].as_str().unwrap_or_default().into(),
        offset: number("offset"),
        limit: number("limit"),
        reference: payload["ref"].clone(),
    };
    if twist(&ask, peer) {
        return;
    }
    let list = tables.iter().map(|table| json!({"name": table.name, "estimated_count": table.count}));
    let Some(table) = tables.iter().find(|table| table.name == ask.table) else {
        return match what {
            "tables" => peer.answer(&ask, "response:tables", json!({"tables": list.collect::<Vec<_>>()})),
            _ => peer.answer(&ask, "response:error", json!({"error": format!("Table not found: {}", ask.table)})),
        };
    };
    match what {
        "schema" => peer.answer(&ask, "response:schema", json!({"schema": table.schema})),
        "count" => peer.answer(&ask, "response:count", json!({"count": table.count})),
        _ => {
            let from = usize::try_from(ask.offset).unwrap().min(table.records.len());
            let to = from.saturating_add(usize::try_from(ask.limit).unwrap()).min(table.records.len());
            peer.page(&ask, table.records[from..to].into(), to < table.records.len());
        }
    }
}

/// Answers a binary message.
fn send_rows(peer: &mut Peer, message: &[u8], tables: &[FakeTable], twist: &Twist) {
    let Some(fetch) = native::Fetch::read(message) else { return };
    let (table, limit) = (fetch.table.clone(), u64::from(fetch.page_rows));
    let ask = Ask { what: "records".into(), table, offset: fetch.records, limit, reference: Json::Null };
    if !twist(&ask, peer) {
        for message in fetch.answer(tables.iter().find(|table| table.name == ask.table)) {
            let _ = peer.socket.send(Message::binary(message));
        }
    }
}

/// What the host has, and keeps.
pub const MINE: &str = "CREATE TABLE mine(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO mine VALUES (1, 'precious');
    CREATE VIEW looks AS SELECT v FROM mine; CREATE INDEX mine_v ON mine(v);
    CREATE VIRTUAL TABLE words USING fts5(w); INSERT INTO words VALUES ('hello');
    CREATE VIRTUAL TABLE bare USING fts5(w, content='');";

/// A pull of three tables, the middle one of which the sender makes trouble with.
pub struct Pulled {
    pub here: Fixture,
    pub report: Report,
}

impl Pulled {
    pub fn evil(&self) -> &TableReport {
        self.report.table("evil").unwrap()
    }

    pub fn error(&self) -> &Error {
        self.evil().error.as_ref().unwrap_or_else(|| panic!("no error: {:?}", self.evil()))
    }

    pub fn others_arrived(&self) {
        for table in ["apples", "zebras"] {
            assert!(self.report.table(table).unwrap().is_clean(), "{:?}", self.report);
            assert_eq!(self.here.rows(&format!("SELECT * FROM {table}")), ["1|'a'", "2|'b'"]);
        }
    }
}

pub fn quick() -> ConnectOptions {
    ConnectOptions::default().request_timeout(Duration::from_secs(10)).heartbeat(None)
}

pub fn three() -> Vec<FakeTable> {
    ["apples", "evil", "zebras"].map(|name| FakeTable::new(name, &["a", "b"])).into()
}

pub fn pull(kind: Kind, twist: impl Fn(&Ask, &mut Peer) -> bool + Send + Sync + 'static) -> Pulled {
    pull_with(kind, three(), quick(), PullOptions::new(), twist)
}

pub fn pull_with(
    kind: Kind,
    tables: Vec<FakeTable>,
    connecting: ConnectOptions,
    options: PullOptions<'_>,
    twist: impl Fn(&Ask, &mut Peer) -> bool + Send + Sync + 'static,
) -> Pulled {
    let here = Fixture::new(MINE);
    let mine =
        || here.rows("SELECT type, name, sql FROM sqlite_schema WHERE tbl_name IN ('mine', 'looks') OR sql LIKE '%fts5%'");
    let before = mine();
    let client = connect(kind, tables, connecting, Arc::new(twist));
    let report = client.pull(&here.site, options).unwrap();
    assert_eq!(mine(), before);
    assert_eq!(here.rows("SELECT * FROM mine"), ["1|'precious'"]);
    assert_eq!(here.rows("SELECT * FROM words"), ["'hello'"]);
    nothing_left(&here);
    for table in &report.tables {
        if let Some(error) = &table.error {
            assert!(!error.message().is_empty() && error.to_string().len() < 2_000, "{}: {error}", table.name);
        }
    }
    Pulled { here, report }
}

/// The database is sound, and no pull has left anything of its own but what one that was cut off goes on from.
pub fn nothing_left(here: &Fixture) {
    here.site.checkpoints().clear().unwrap();
    assert_eq!(here.rows("PRAGMA integrity_check"), ["'ok'"]);
    assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0]);
    for table in ["pulls", "marks", "staged", "pending", "values", "links", "orphans", "waiting", "taken_keys", "counts"]
        .map(|name| format!("rowferry_{name}"))
    {
        assert_eq!(here.rows(&format!("SELECT count(*) FROM {table}")), ["0"], "{table}");
    }
}
