//! Peers that name their pulls, without sockets: their channels are driven message by message. Another process is another site of the
//! same file.

mod answers;
mod limits;
mod locked;
mod resume;
mod sums;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::super::channel::{ChannelSession, Topics};
use crate::access::{Access, Caller, Refused};
use crate::clock::ManualClock;
use crate::domain::connection::Policy;
use crate::domain::event::EventFilter;
use crate::domain::row_sum::RowSum;
use crate::domain::transfer::TransferFilter;
use crate::domain::value::Rows;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::secret::SiteKey;
use crate::site::{NewConnection, Site};
use crate::wire::native::{Answer, Fetch, Place, Request};
use crate::wire::records::PageLimits;

const ROWFERRY: &str = r#"{"receiver_info":{"rowferry":{"version":1}}}"#;
const CODE: &str = "KW6Z6HB6";

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
    clock: Arc<ManualClock>,
    limits: Limits,
    site: Site,
    sqlite: rusqlite::Connection,
    token: String,
    connection: Uuid,
}

impl World {
    fn new(change: impl FnOnce(&mut Policy)) -> Self {
        World::with(Limits::default(), change)
    }

    fn with(limits: Limits, change: impl FnOnce(&mut Policy)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        sqlite
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO t SELECT i, 'row ' || i FROM n;
                 CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT NOT NULL); INSERT INTO u SELECT * FROM t LIMIT 250;
                 CREATE TABLE empty (id INTEGER PRIMARY KEY);
                 CREATE TABLE wide (id INTEGER PRIMARY KEY, v BLOB NOT NULL);
                 INSERT INTO wide SELECT id, randomblob(4000) FROM t;",
            )
            .unwrap();
        let clock = Arc::new(ManualClock::new(datetime!(2026-05-06 07:08:09 UTC)));
        let site = open(&path, &limits, &clock);
        let mut policy = Policy::default();
        change(&mut policy);
        let made = site.connections().create(NewConnection::sender("b", "https://b.example").policy(policy)).unwrap();
        let (connection, token) = (made.connection.uuid, made.token.as_str().to_owned());
        World { _folder: folder, path, clock, limits, site, sqlite, token, connection }
    }

    /// The same site in another process.
    fn process(&self) -> Site {
        open(&self.path, &self.limits, &self.clock)
    }

    fn enter(&self, site: &Site) -> Result<Peer, ErrorKind> {
        enter(&self.token, site)
    }

    fn peer(&self) -> Peer {
        self.enter(&self.site).unwrap()
    }

    /// Each transfer as `table status records`, the oldest first.
    fn transfers(&self) -> Vec<String> {
        let all = self.site.transfers().list(&TransferFilter::default().oldest_first()).unwrap();
        all.iter().map(|t| format!("{} {} {}", t.table_name, t.status, t.counters.records_transferred)).collect()
    }

    /// The downloads and records that the connection has used.
    fn used(&self) -> (u64, u64) {
        let connection = self.site.connections().get(self.connection).unwrap();
        (connection.downloads_used, connection.records_downloaded)
    }

    /// Events of transfers.
    fn events(&self) -> usize {
        let all = self.site.events().list(&EventFilter::new()).unwrap();
        all.iter().filter(|event| event.transfer.is_some()).count()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Approves what waits.
    fn approve(&self) -> usize {
        let waiting = self.site.transfers().pending_approvals(&TransferFilter::default()).unwrap();
        waiting.iter().for_each(|transfer| drop(self.site.transfers().approve(transfer.uuid).unwrap()));
        waiting.len()
    }
}

fn open(path: &std::path::Path, limits: &Limits, clock: &Arc<ManualClock>) -> Site {
    let builder = Site::builder().limits(limits.clone()).clock(Arc::<ManualClock>::clone(clock));
    builder.key(SiteKey::from_bytes([7; 32])).open(path).unwrap()
}

fn enter(token: &str, site: &Site) -> Result<Peer, ErrorKind> {
    let grant = Access::new(site).by_token(token, None, &Caller::default()).map_err(|refused| match refused {
        Refused::Denied(denial) => denial.kind,
        Refused::Failed(error) => panic!("{error}"),
    })?;
    Ok(Peer::join(ChannelSession::new(site, Topics::of_connection(&grant), grant), "self"))
}

struct Peer {
    session: ChannelSession,
}

/// What came in answer to one request.
#[derive(Debug, Default)]
struct Heard {
    ids: Vec<i64>,
    pages: usize,
    cost: u64,
    largest: u64,
    place: Option<Place>,
    state: u64,
    /// The rows of the whole answer, and the state, as its end says.
    end: Option<(u64, u64)>,
    sum: Option<RowSum>,
    error: Option<String>,
}

const ENOUGH: u32 = u32::MAX;

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn fetch(pull: Uuid, request: u32, table: &str, window: u32) -> Fetch {
    Fetch {
        request,
        table: table.to_owned(),
        after: None,
        records: 0,
        page_bytes: number(1 << 20),
        page_rows: number(100),
        window: number(window),
        compress: false,
        pull: Some(pull),
        sums: false,
    }
}

impl Peer {
    fn join(mut session: ChannelSession, topic: &str) -> Self {
        let joined = session.on_text(&format!(r#"[null,"1","transfer:{topic}","phx_join",{ROWFERRY}]"#));
        assert!(joined.frames[0].contains(r#""pulls""#), "{joined:?}");
        Peer { session }
    }

    fn say(&mut self, request: Request) {
        assert_eq!(self.session.on_binary(&request.encode().unwrap()).close, None);
    }

    fn done(&mut self, request: u32) {
        self.say(Request::Done { request });
    }

    /// A message without a meaning, as a peer that is busy sends it.
    fn heartbeat(&mut self) {
        assert_eq!(self.session.on_text(r#"[null,"2","phoenix","heartbeat",{}]"#).frames.len(), 1);
    }

    /// All that is due: the number of the request of each message, in their order, and what came.
    fn hear(&mut self) -> Vec<(u32, Heard)> {
        let mut all: Vec<(u32, Heard)> = Vec::new();
        while let Some(message) = self.session.next_binary() {
            let answer = Answer::decode(&message).unwrap();
            let request = match &answer {
                Answer::Page(page) => page.head.request,
                Answer::End(end) => end.request,
                Answer::Error(refusal) => refusal.request,
                other => panic!("{other:?} was not asked for"),
            };
            if all.last().is_none_or(|(last, _)| *last != request) {
                all.push((request, Heard::default()));
            }
            let heard = &mut all.last_mut().unwrap().1;
            assert!(heard.end.is_none() && heard.error.is_none(), "{heard:?}");
            match answer {
                Answer::Page(page) => {
                    let mut rows = Rows::default();
                    let limits = PageLimits { records: 10_000, bytes: 64 << 20 };
                    page.read(page.columns as usize, &[0], limits, &mut rows).unwrap();
                    let id = |at| rows.get(at, 0).unwrap().to_owned().as_integer().unwrap();
                    heard.ids.extend((0..rows.len()).map(id));
                    heard.pages += 1;
                    heard.cost += page.cost();
                    heard.largest = heard.largest.max(page.cost());
                    heard.state = page.head.state;
                    heard.place = page.place;
                }
                Answer::End(end) => {
                    heard.end = Some((end.rows, end.state.unwrap().get()));
                    heard.sum = end.sum;
                }
                Answer::Error(refusal) => heard.error = Some(refusal.code),
                other => panic!("{other:?} was not asked for"),
            }
        }
        all
    }

    /// What comes in answer to one request when nothing else is asked for.
    fn fetch(&mut self, fetch: Fetch) -> Heard {
        let request = fetch.request;
        self.say(Request::Fetch(fetch));
        self.more(request)
    }

    fn more(&mut self, request: u32) -> Heard {
        let mut all = self.hear();
        assert!(all.len() <= 1 && all.iter().all(|(of, _)| *of == request), "{all:?}");
        all.pop().map(|(_, heard)| heard).unwrap_or_default()
    }

    fn code(&mut self, fetch: Fetch) -> String {
        let heard = self.fetch(fetch);
        assert!(heard.ids.is_empty() && heard.end.is_none(), "{heard:?}");
        heard.error.unwrap()
    }
}

/// Resumes after what was heard.
fn resumed(heard: &Heard, fetch: Fetch) -> Fetch {
    Fetch { after: heard.place.clone(), records: heard.ids.len() as u64, ..fetch }
}
