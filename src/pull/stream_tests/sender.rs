//! A fake sender on loopback: its JSON is that of an honest rowferry site, its binary messages are what a test wants.

use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tungstenite::{Message, WebSocket};

use crate::client::{Auth, Client, ConnectOptions};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::limits::Limits;
use crate::pull::{PullOptions, Report, TableReport, TableStatus};
use crate::site::Site;
use crate::wire::native::{End, Fetch, PageEncoder, PageHead, Place, Refusal, Request};
use crate::wire::records::Cut;

pub(crate) const CODE: &str = "A7X9K2M4";
pub(crate) const TICKET: &str = "0123456789_abcdefghijklmnopqrstuvwxyzABCDEF";
const SITE: &str = "00000000-0000-0000-0000-000000000001";

/// What a sender announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It knows pulls by their names, as all do now: tables are asked for together.
    Named,
    /// It does not, as in 0.1.0: tables are asked for one by one.
    Unnamed,
    /// It sends no pages by itself: there is no such version.
    Strange,
}

pub(crate) const BOTH: [Kind; 2] = [Kind::Named, Kind::Unnamed];

/// The other end of a connection, for what answers a request for rows.
pub(crate) struct Peer {
    pub(crate) socket: WebSocket<TcpStream>,
    /// What was asked for by binary messages, of all connections.
    pub(crate) heard: Arc<Mutex<Vec<Request>>>,
    /// How many connections there were before this one.
    pub(crate) number: usize,
    /// The receiver's database.
    pub(crate) here: PathBuf,
    kind: Kind,
    tables: Arc<Vec<(String, u64)>>,
}

/// What the sender does with a request. Those that it does not deal with (`false`) are answered as they should be.
type Script = Arc<dyn Fn(&Request, &mut Peer) -> bool + Send + Sync>;

impl Peer {
    /// Sends a binary message. `false` once the client has gone.
    pub(crate) fn say(&mut self, message: Vec<u8>) -> bool {
        self.socket.send(Message::binary(message)).is_ok()
    }

    pub(crate) fn text(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text.to_owned()));
    }

    /// Ends the connection. What was said arrives: closed with something unread, it would take that along.
    pub(crate) fn cut(&mut self) {
        let stream = self.socket.get_mut();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(stream, &mut std::io::sink());
    }

    /// Waits for the next binary message; answers the JSON before it. `None` once the client has gone.
    pub(crate) fn next(&mut self) -> Option<Request> {
        loop {
            match self.socket.read().ok()? {
                Message::Binary(bytes) => {
                    let request = Request::decode(&bytes).unwrap();
                    self.heard.lock().unwrap().push(request.clone());
                    return Some(request);
                }
                Message::Text(text) => self.answer(&text),
                _ => {}
            }
        }
    }

    fn answer(&mut self, text: &str) {
        let frame: Json = serde_json::from_str(text).unwrap();
        let (reference, topic, event, payload) = (&frame[1], &frame[2], frame[3].as_str().unwrap(), &frame[4]);
        let Some(what) = event.strip_prefix("request:") else {
            let features: &[&str] = match self.kind {
                Kind::Named => &["pages", "pulls", "compare"],
                Kind::Unnamed => &["pages"],
                Kind::Strange => &["pulls"],
            };
            let about = json!({"rowferry": {"version": 1, "site": SITE, "features": features, "ticket": TICKET}});
            let response = if event == "phx_join" { about } else { json!({}) };
            return self
                .text(&json!([null, reference, topic, "phx_reply", {"status": "ok", "response": response}]).to_string());
        };
        let count = |name: &str| self.tables.iter().find(|(table, _)| table == name).map_or(0, |(_, count)| *count);
        let table = payload["table"].as_str().unwrap_or_default();
        let mut answer = match what {
            "tables" => {
                let list = self.tables.iter().map(|(name, count)| json!({"name": name, "estimated_count": count}));
                json!({"tables": list.collect::<Vec<_>>()})
            }
            "schema" => json!({"schema": schema(table)}),
            _ => json!({"count": count(table)}),
        };
        answer["ref"] = payload["ref"].clone();
        self.text(&json!([null, null, topic, format!("response:{what}"), answer]).to_string());
    }

    fn has(&self, table: &str) -> Range<i64> {
        1..self.tables.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| *rows as i64) + 1
    }

    /// All pages of two rows each, and the end.
    pub(crate) fn honest(&mut self, fetch: &Fetch, ids: Range<i64>) {
        let from = fetch.records as i64;
        let pages = (ids.start + from..ids.end).step_by(2).enumerate();
        for (at, first) in pages {
            let last = (first + 2).min(ids.end);
            self.say(page(fetch.request, at as u32, first..last, last < ids.end));
        }
        self.say(end(fetch.request, (ids.end - ids.start - from) as u64));
    }
}

fn schema(table: &str) -> Json {
    let column = |(name, declared, logical): (&str, &str, &str)| json!({"name": name, "type": "text", "nullable": true, "declared_type": declared, "logical": logical});
    json!({
        "table": table, "schema": "public", "primary_key": ["id"],
        "columns": [column(("id", "INTEGER", "integer")), column(("name", "TEXT", "text"))],
        "rowferry": {"rowid_alias": true},
    })
}

pub(crate) fn place(after: i64) -> Place {
    Place { run: 1, values: vec![Value::Integer(after)] }
}

/// A page of rows with these ids, and the place behind its last row.
pub(crate) fn page(request: u32, sequence: u32, ids: Range<i64>, more: bool) -> Vec<u8> {
    let after = place(ids.end - 1);
    page_of(request, sequence, more, &rows(ids), Some(&after))
}

pub(crate) fn rows(ids: Range<i64>) -> Rows {
    let mut rows = Rows::new(2);
    ids.for_each(|id| rows.push([ValueRef::Integer(id), ValueRef::Text(format!("row {id}").as_bytes())]));
    rows
}

pub(crate) fn page_of(request: u32, sequence: u32, more: bool, rows: &Rows, place: Option<&Place>) -> Vec<u8> {
    let mut encoder = PageEncoder::new(rows.width(), true);
    assert_eq!(encoder.add(rows, 0..rows.len(), &[0], Cut::NONE), rows.len());
    encoder.finish(PageHead { request, sequence, state: 1, more }, place)
}

pub(crate) fn end(request: u32, rows: u64) -> Vec<u8> {
    End { request, rows, state: None }.encode()
}

pub(crate) fn refusal(request: u32, code: &str, text: &str) -> Refusal {
    Refusal { request, code: code.to_owned(), text: text.to_owned(), transfer: None, retry_after: None }
}

/// The fake sender, and a site to pull into.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) site: Site,
    pub(crate) sqlite: rusqlite::Connection,
    pub(crate) client: Client,
    pub(crate) heard: Arc<Mutex<Vec<Request>>>,
    /// How many connections there were.
    pub(crate) connections: Arc<AtomicUsize>,
}

/// The rows of `evil` that are announced, and of which an honest sender sends the ids from 1.
pub(crate) const EVIL: i64 = 6;

impl World {
    /// The script says what the sender does when rows of the table `evil` are asked for.
    pub(crate) fn new(kind: Kind, script: impl Fn(&Fetch, &mut Peer) + Send + Sync + 'static) -> Self {
        World::with(kind, Limits::default(), quick(), script)
    }

    pub(crate) fn with(
        kind: Kind,
        limits: Limits,
        options: ConnectOptions,
        script: impl Fn(&Fetch, &mut Peer) + Send + Sync + 'static,
    ) -> Self {
        World::serving(
            kind,
            &[("apples", 2), ("evil", EVIL as u64), ("zebras", 2)],
            limits,
            options,
            move |request, peer| {
                match request {
                    Request::Fetch(fetch) if fetch.table == "evil" => script(fetch, peer),
                    _ => return false,
                }
                true
            },
        )
    }

    /// A sender of these tables, each with the number of its rows.
    pub(crate) fn serving(
        kind: Kind,
        tables: &[(&str, u64)],
        limits: Limits,
        options: ConnectOptions,
        script: impl Fn(&Request, &mut Peer) -> bool + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.db");
        let here = path.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, connections) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicUsize>::default());
        let (noted, counted) = (Arc::clone(&heard), Arc::clone(&connections));
        let script: Script = Arc::new(script);
        let tables = Arc::new(tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect::<Vec<_>>());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (heard, tables, script) = (Arc::clone(&noted), Arc::clone(&tables), Arc::clone(&script));
                let here = here.clone();
                std::thread::spawn(move || {
                    // A test that goes wrong ends all the same.
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
                    let Ok(socket) = tungstenite::accept(stream) else { return };
                    let mut peer = Peer { socket, heard, number, here, kind, tables };
                    // Before anybody has asked for anything: it is of no account.
                    peer.say(page(2, 0, 90..95, false));
                    while let Some(request) = peer.next() {
                        if let (false, Request::Fetch(fetch)) = (script(&request, &mut peer), &request) {
                            let ids = peer.has(&fetch.table);
                            peer.honest(fetch, ids);
                        }
                    }
                });
            }
        });
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        let site = Site::builder().limits(limits.clone()).open(&path).unwrap();
        let client = Client::connect(&url, Auth::code(CODE), options.limits(limits)).unwrap();
        World { folder, site, sqlite, client, heard, connections }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("here.db")
    }

    pub(crate) fn pull(&self) -> Pulled {
        self.pull_with(PullOptions::new())
    }

    pub(crate) fn pull_with(&self, options: PullOptions<'_>) -> Pulled {
        Pulled(self.client.pull(&self.site, options).unwrap())
    }

    /// The ids of a table's rows, and that each row is as it was sent.
    pub(crate) fn ids(&self, table: &str) -> Vec<i64> {
        let mut statement = self.sqlite.prepare(&format!("SELECT id, name FROM {table} ORDER BY id")).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
        rows.map(|row| {
            let (id, name) = row.unwrap();
            assert_eq!(name, format!("row {id}"));
            id
        })
        .collect()
    }

    pub(crate) fn marks(&self) -> i64 {
        let count = "SELECT count(*) FROM rowferry_marks WHERE table_name = 'evil'";
        self.sqlite.query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// The tables before and behind `evil` have come.
    pub(crate) fn others_came(&self, pulled: &Pulled) {
        for table in ["apples", "zebras"] {
            let report = pulled.table(table);
            assert!(report.status == TableStatus::Completed && report.outcome.created == 2, "{table}: {report:?}");
            assert_eq!(self.ids(table), [1, 2]);
        }
    }
}

pub(crate) fn quick() -> ConnectOptions {
    ConnectOptions::default().request_timeout(Duration::from_secs(20)).heartbeat(None)
}

pub(crate) struct Pulled(pub(super) Report);

impl Pulled {
    pub(crate) fn table(&self, table: &str) -> &TableReport {
        self.0.table(table).unwrap()
    }

    pub(crate) fn evil(&self) -> &TableReport {
        self.table("evil")
    }

    pub(crate) fn error(&self) -> &crate::error::Error {
        self.evil().error.as_ref().unwrap_or_else(|| panic!("no error: {:?}", self.evil()))
    }
}
