//! A peer that asks for binary pages, without sockets.

use std::num::NonZeroU32;

use super::super::channel::{ChannelSession, CloseCode, Topics};
use crate::access::{Access, Caller};
use crate::domain::session::Direction;
use crate::domain::transfer::{TransferFilter, TransferStatus};
use crate::domain::value::{Rows, Value};
use crate::limits::Limits;
use crate::secret::Code;
use crate::site::Site;
use crate::wire::native::{Answer, End, Fetch, Place, Refusal, Request};
use crate::wire::records::PageLimits;

/// Stands for the session's code in what is said.
const CODE: &str = "KW6Z6HB6";
const ROWFERRY: &str = r#"{"receiver_info":{"rowferry":{"version":1}}}"#;

struct World {
    _folder: tempfile::TempDir,
    site: Site,
    sqlite: rusqlite::Connection,
}

impl World {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        sqlite
            .execute_batch(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v ANY) STRICT;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN i * 0.1 WHEN 2 THEN 'row ' || i ELSE x'00ff' END FROM n;
                 CREATE TABLE empty (id INTEGER PRIMARY KEY);
                 CREATE TABLE loose (v);
                 INSERT INTO loose SELECT v FROM t;
                 CREATE TABLE large (id INTEGER PRIMARY KEY, v BLOB);
                 INSERT INTO large VALUES (1, x'01'), (2, zeroblob(200000)), (3, x'03');
                 CREATE TABLE secret (id INTEGER PRIMARY KEY);",
            )
            .unwrap();
        let site = Site::builder().limits(limits).hide_tables(["secret"]).open(&path).unwrap();
        World { _folder: folder, site, sqlite }
    }

    fn peer(&self, join: &str) -> Peer {
        let session = self.site.sessions().create(Direction::Send).unwrap();
        let (_, pass) = Access::new(&self.site).by_code(session.code(), None, &Caller::default()).unwrap();
        let mut session = ChannelSession::new(&self.site, Topics::Code(Code::parse(CODE).unwrap()), pass);
        let joined = session.on_text(&format!(r#"[null,"1","transfer:{CODE}","phx_join",{join}]"#));
        assert!(joined.frames[0].contains(r#""status":"ok""#), "{joined:?}");
        Peer { session, state: None }
    }

    /// How the transfers stand that were begun, the oldest first.
    fn transfers(&self) -> Vec<(TransferStatus, u64)> {
        let mut all = self.site.transfers().list(&TransferFilter::default()).unwrap();
        all.reverse();
        all.into_iter().map(|transfer| (transfer.status, transfer.counters.records_transferred)).collect()
    }
}

struct Peer {
    session: ChannelSession,
    /// The state of the last page.
    state: Option<u64>,
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn fetch(table: &str) -> Fetch {
    Fetch {
        request: 7,
        table: table.to_owned(),
        after: None,
        records: 0,
        page_bytes: number(4096),
        page_rows: number(100),
        window: number(u32::MAX),
        compress: false,
        pull: None,
        sums: false,
    }
}

#[derive(Debug, Default)]
struct Heard {
    rows: Vec<Vec<Option<Value>>>,
    pages: usize,
    left_out: usize,
    cost: u64,
    place: Option<Place>,
    is_last: bool,
    request: u32,
    end: Option<End>,
    refusal: Option<Refusal>,
}

impl Peer {
    fn say(&mut self, request: Request) {
        assert_eq!(self.session.on_binary(&request.encode().unwrap()).close, None);
    }

    /// All that is due, up to the end if that is reached.
    fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        self.hear_more(&mut heard);
        if heard.is_last {
            self.say(Request::Done { request: heard.request });
            self.hear_more(&mut heard);
        }
        heard
    }

    fn hear_more(&mut self, heard: &mut Heard) {
        while let Some(message) = self.session.next_binary() {
            match Answer::decode(&message).unwrap() {
                Answer::Page(page) => {
                    assert!(page.rows > 0 && heard.end.is_none());
                    let (columns, mut rows) = (page.columns as usize, Rows::default());
                    let limits = PageLimits { records: 10_000, bytes: 64 << 20 };
                    heard.left_out += page.read(columns, &[0], limits, &mut rows).unwrap().len();
                    let row = |at| rows.row(at).map(|cell| cell.map(|value| value.to_owned())).collect();
                    heard.rows.extend((0..rows.len()).map(row));
                    (heard.pages, heard.cost) = (heard.pages + 1, heard.cost + page.cost());
                    (heard.is_last, heard.request) = (!page.head.more, page.head.request);
                    heard.place = page.place;
                    self.state = Some(page.head.state);
                }
                Answer::End(end) => heard.end = Some(end),
                Answer::Error(refusal) => heard.refusal = Some(refusal),
                other => panic!("{other:?} was not asked for"),
            }
        }
    }

    fn fetch(&mut self, fetch: Fetch) -> Heard {
        self.say(Request::Fetch(fetch));
        self.hear()
    }

    fn code(&mut self, fetch: Fetch) -> String {
        let heard = self.fetch(fetch);
        assert!(heard.rows.is_empty() && heard.end.is_none(), "{heard:?}");
        heard.refusal.unwrap().code
    }
}

#[test]
fn a_table_comes_whole_and_once_in_pages() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    for table in ["t", "loose"] {
        let heard = peer.fetch(fetch(table));
        assert!(heard.pages >= 10, "{}", heard.pages);
        assert_eq!((heard.rows.len(), heard.end.unwrap().rows), (1000, 1000));
        let mut rows = world.sqlite.prepare(&format!("SELECT * FROM {table} ORDER BY rowid")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        for got in heard.rows {
            let row = rows.next().unwrap().unwrap();
            for (column, value) in (0..columns).zip(got) {
                let value = value.unwrap();
                let same = match (row.get_ref(column).unwrap(), &value) {
                    (rusqlite::types::ValueRef::Null, Value::Null) => true,
                    (rusqlite::types::ValueRef::Integer(a), Value::Integer(b)) => a == *b,
                    (rusqlite::types::ValueRef::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
                    (rusqlite::types::ValueRef::Text(a), Value::Text(b)) => a == b,
                    (rusqlite::types::ValueRef::Blob(a), Value::Blob(b)) => a == b,
                    _ => false,
                };
                assert!(same, "{value:?}");
            }
        }
    }
    let empty = peer.fetch(fetch("empty"));
    assert_eq!((empty.pages, empty.end.unwrap().rows), (0, 0));
    let done = TransferStatus::Completed;
    assert_eq!(world.transfers(), [(done, 1000), (done, 1000), (done, 0)]);
}

#[test]
fn no_more_is_sent_than_was_allowed() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    let first = peer.fetch(Fetch { window: number(1), ..fetch("t") });
    assert_eq!((first.pages, first.end.is_some()), (1, false));
    assert_eq!(peer.hear().pages, 0);
    // What the page took beyond what was allowed must be made up for first.
    let rest = u32::try_from(first.cost).unwrap() - 1;
    peer.say(Request::Credit { request: 8, bytes: number(u32::MAX) });
    peer.say(Request::Credit { request: 7, bytes: number(rest) });
    assert_eq!(peer.hear().pages, 0);
    peer.say(Request::Credit { request: 7, bytes: number(1) });
    let second = peer.hear();
    assert_eq!(second.pages, 1);
    peer.say(Request::Credit { request: 7, bytes: number(u32::MAX) });
    let last = peer.hear();
    assert_eq!((last.end.unwrap().rows, first.rows.len() + second.rows.len() + last.rows.len()), (1000, 1000));
}

#[test]
fn it_goes_on_behind_a_place() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    for table in ["t", "loose"] {
        let first = peer.fetch(Fetch { window: number(1), ..fetch(table) });
        let state = peer.state;
        let rest = peer.fetch(Fetch { request: 9, after: first.place, ..fetch(table) });
        assert_eq!(first.rows.len() + rest.rows.len(), 1000);
        assert_eq!(rest.end.unwrap(), End { request: 9, rows: rest.rows.len() as u64, state: None, sum: None });
        assert_eq!(peer.state, state, "one state for all of it");
        let nothing = peer.fetch(Fetch { after: rest.place, ..fetch(table) });
        assert_eq!((nothing.pages, nothing.end.unwrap().rows), (0, 0));
    }
    // Places that are none of the table.
    for (run, values) in [(9, vec![Value::Integer(1)]), (1, vec![]), (1, vec![Value::Null, Value::Null])] {
        assert_eq!(peer.code(Fetch { after: Some(Place { run, values }), ..fetch("t") }), "invalid_input");
    }
}

#[test]
fn it_is_the_same_pull_only_where_number_and_place_are_of_one_page() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    let first = peer.fetch(Fetch { window: number(1), ..fetch("t") });
    let had = first.rows.len() as u64;
    let second = peer.fetch(Fetch { window: number(1), after: first.place.clone(), records: had, ..fetch("t") });
    assert_eq!(world.transfers().len(), 1);
    // Back behind the first page: what comes again is not counted again.
    let again = Fetch { window: number(1), after: first.place.clone(), records: had, ..fetch("t") };
    assert_eq!(peer.fetch(again).rows.len(), second.rows.len());
    assert_eq!(world.transfers().len(), 1);
    for records in [0, 1, had - 1, had + 1, 1 << 53] {
        let before = world.transfers().len();
        peer.fetch(Fetch { window: number(1), after: first.place.clone(), records, ..fetch("t") });
        assert_eq!(world.transfers().len(), before + 1, "{records}");
        // It is one of its own, which may go on from there too.
        let more = peer.fetch(Fetch { window: number(1), after: first.place.clone(), records: had, ..fetch("t") });
        assert!(!more.rows.is_empty());
    }
}

#[test]
fn what_may_not_be_seen_is_refused_and_the_channel_goes_on() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    for table in ["secret", "ghost", "rowferry_sessions", ""] {
        assert_eq!(peer.code(fetch(table)), "table_not_found", "{table}");
    }
    assert_eq!(peer.fetch(fetch("t")).rows.len(), 1000);
    world.site.settings().set_enabled(false).unwrap();
    assert_eq!(peer.code(fetch("t")), "disabled");
}

#[test]
fn what_changes_in_the_middle_is_looked_at_for_each_page() {
    let world = World::new(Limits::with(|limits| limits.store.snapshot_time = std::time::Duration::ZERO));
    let mut peer = world.peer(ROWFERRY);
    let mut cut_off = |change: &dyn Fn(), code: &str| {
        peer.fetch(Fetch { window: number(1), ..fetch("t") });
        change();
        peer.say(Request::Credit { request: 7, bytes: number(u32::MAX) });
        let heard = peer.hear();
        assert_eq!((heard.refusal.unwrap().code.as_str(), heard.end), (code, None));
    };
    cut_off(&|| world.sqlite.execute_batch("ALTER TABLE t ADD COLUMN w ANY").unwrap(), "schema_mismatch");
    cut_off(&|| world.sqlite.execute_batch("ALTER TABLE t RENAME TO u").unwrap(), "table_not_found");
    world.sqlite.execute_batch("ALTER TABLE u RENAME TO t").unwrap();
    cut_off(&|| world.site.settings().set_enabled(false).unwrap(), "disabled");
    assert!(world.transfers().iter().all(|(status, sent)| *status == TransferStatus::Failed && *sent > 0));
}

#[test]
fn given_up_is_given_up() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    peer.fetch(Fetch { window: number(1), ..fetch("t") });
    peer.say(Request::Cancel { request: 6 });
    peer.say(Request::Cancel { request: 7 });
    peer.say(Request::Credit { request: 7, bytes: number(u32::MAX) });
    assert_eq!(peer.hear().pages, 0);
    // A new one ends the one before.
    peer.fetch(Fetch { window: number(1), ..fetch("t") });
    assert_eq!(peer.fetch(Fetch { request: 8, ..fetch("loose") }).rows.len(), 1000);
}

#[test]
fn records_that_are_too_large_for_the_peer_are_named() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(r#"{"receiver_info":{"rowferry":{"version":1,"message_bytes":200000}}}"#);
    let heard = peer.fetch(fetch("large"));
    let ids: Vec<_> = heard.rows.iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!((ids, heard.left_out), (vec![Value::Integer(1), Value::Integer(3)], 1));
    assert_eq!(heard.end.unwrap().rows, 3);
    assert_eq!(world.peer(ROWFERRY).fetch(fetch("large")).rows.len(), 3);
}

#[test]
fn a_pull_is_over_when_its_last_page_has_arrived() {
    let world = World::new(Limits::default());
    let mut peer = world.peer(ROWFERRY);
    peer.say(Request::Fetch(fetch("t")));
    peer.say(Request::Done { request: 7 });
    let mut heard = Heard::default();
    peer.hear_more(&mut heard);
    assert!(heard.is_last && heard.end.is_none());
    assert_eq!(world.transfers(), [(TransferStatus::InProgress, 0)]);
    peer.say(Request::Done { request: 8 });
    peer.hear_more(&mut heard);
    assert_eq!(heard.end, None);
    peer.say(Request::Done { request: 7 });
    peer.hear_more(&mut heard);
    assert_eq!(heard.end.unwrap().rows, 1000);
    assert_eq!(world.transfers(), [(TransferStatus::Completed, 1000)]);
}

#[test]
fn junk_ends_the_channel_of_a_rowferry_peer_only() {
    let world = World::new(Limits::default());
    let mut good = Request::Cancel { request: 1 }.encode().unwrap();
    assert_eq!(world.peer("{}").session.on_binary(&good).close, None);
    assert_eq!(world.peer("{}").session.on_binary(b"junk").close, None);
    good[5] ^= 1;
    for junk in [&b"junk"[..], b"", &good] {
        assert_eq!(world.peer(ROWFERRY).session.on_binary(junk).close, Some(CloseCode::Protocol));
    }
    // A peer of PhoenixKit gets no pages.
    let mut peer = world.peer("{}");
    assert!(peer.fetch(fetch("t")).end.is_none() && world.transfers().is_empty());
}
