//! A peer that compares a table with its own, without sockets.

use std::num::NonZeroU32;

use super::super::channel::{ChannelSession, Topics};
use super::STEP_ROWS;
use crate::access::{Access, Caller};
use crate::domain::connection::{ApprovalMode, ConnectionDirection};
use crate::domain::row_sum::{RowHasher, RowSum};
use crate::domain::session::Direction;
use crate::domain::sketch::{Difference, Estimate, FIRST_CELLS, Sketch, cells_for};
use crate::domain::value::{Rows, ValueRef};
use crate::limits::Limits;
use crate::secret::Code;
use crate::site::{NewConnection, Site};
use crate::wire::native::{Answer, Compare, Fetch, Request, SketchOf, Summary, Want};
use crate::wire::records::PageLimits;

const CODE: &str = "KW6Z6HB6";
const SEED: u64 = 7;
const ROWS: i64 = 3_000;
const NUMBER: u32 = 5;

struct World {
    _folder: tempfile::TempDir,
    site: Site,
    sqlite: rusqlite::Connection,
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// The hash of a row of `t`, by the columns `name` and `id`.
fn hash(id: i64, name: &str) -> u128 {
    RowHasher::new(SEED).hash_row([Some(ValueRef::Text(name.as_bytes())), Some(ValueRef::Integer(id))].into_iter())
}

/// As it is in the table at first.
fn own(id: i64) -> u128 {
    hash(id, &format!("name {id}"))
}

fn sketch(cells: u32, hashes: impl IntoIterator<Item = u128>) -> Sketch {
    let mut sketch = Sketch::new(cells);
    hashes.into_iter().for_each(|hash| sketch.add(hash as u64));
    sketch
}

#[derive(Debug, Default)]
struct Heard {
    scanned: Vec<u64>,
    summary: Option<Summary>,
    cells: Vec<u8>,
    /// Of the rows, their first two columns and their hash.
    rows: Vec<(String, i64, u128)>,
    pages: u32,
    cost: u64,
    end: Option<u64>,
    error: Option<String>,
}

struct Peer {
    session: ChannelSession,
    sent: usize,
}

impl World {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        sqlite
            .execute_batch(&format!(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL, name TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                 INSERT INTO t SELECT i, i * 0.5, 'name ' || i FROM n;
                 CREATE TABLE empty (id INTEGER PRIMARY KEY);
                 CREATE TABLE secret (id INTEGER PRIMARY KEY);"
            ))
            .unwrap();
        let site = Site::builder().limits(limits).hide_tables(["secret"]).open(&path).unwrap();
        World { _folder: folder, site, sqlite }
    }

    fn peer(&self) -> Peer {
        let session = self.site.sessions().create(Direction::Send).unwrap();
        let (_, grant) = Access::new(&self.site).by_code(session.code(), None, &Caller::default()).unwrap();
        Peer::of(ChannelSession::new(&self.site, Topics::Code(Code::parse(CODE).unwrap()), grant), CODE)
    }

    fn by_token(&self, new: NewConnection) -> Peer {
        let made = self.site.connections().create(new).unwrap();
        let grant = Access::new(&self.site).by_token(made.token(), None, &Caller::default()).unwrap();
        Peer::of(ChannelSession::new(&self.site, Topics::of_connection(&grant), grant), "conn:self")
    }
}

fn connection() -> NewConnection {
    NewConnection::new("peer", ConnectionDirection::Sender, "https://peer.example")
}

impl Peer {
    fn of(mut session: ChannelSession, topic: &str) -> Self {
        let join = format!(r#"[null,"1","transfer:{topic}","phx_join",{{"receiver_info":{{"rowferry":{{"version":1}}}}}}]"#);
        let joined = session.on_text(&join);
        assert!(joined.frames[0].contains(r#""compare""#), "{joined:?}");
        Peer { session, sent: 0 }
    }

    /// Says something and hears all that is due then.
    fn ask(&mut self, request: Request) -> Heard {
        assert_eq!(self.session.on_binary(&request.encode().unwrap()).close, None);
        self.hear()
    }

    fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(message) = self.session.next_binary() {
            self.sent += message.len();
            match Answer::decode(&message).unwrap() {
                Answer::Scanned(scanned) => heard.scanned.push(scanned.rows),
                Answer::Summary(summary) => heard.summary = Some(summary),
                Answer::Cells(cells) => {
                    assert_eq!(cells.first as usize * 12, heard.cells.len());
                    heard.cells.extend_from_slice(cells.cells);
                }
                Answer::Page(page) => {
                    assert_eq!(page.head.sequence, heard.pages);
                    let mut rows = Rows::default();
                    let limits = PageLimits { records: 10_000, bytes: 64 << 20 };
                    assert!(page.read(2, &[1], limits, &mut rows).unwrap().is_empty());
                    for row in 0..rows.len() {
                        let hash = RowHasher::new(SEED).hash_row(rows.row(row));
                        let name = rows.get(row, 0).unwrap().as_str().unwrap().to_owned();
                        heard.rows.push((name, rows.get(row, 1).unwrap().to_owned().as_integer().unwrap(), hash));
                    }
                    (heard.pages, heard.cost) = (heard.pages + 1, heard.cost + page.cost());
                }
                Answer::End(end) => heard.end = Some(end.rows),
                Answer::Error(refusal) => heard.error = Some(refusal.code),
            }
        }
        heard
    }

    fn compare(&mut self, table: &str, columns: &[&str]) -> Heard {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        self.ask(Request::Compare(Compare { request: NUMBER, seed: SEED, table: table.to_owned(), columns }))
    }

    fn summary(&mut self) -> Summary {
        let heard = self.compare("t", &["name", "id"]);
        heard.summary.unwrap_or_else(|| panic!("{:?}", heard.error))
    }

    fn want(&mut self, hashes: impl IntoIterator<Item = u64>) -> Heard {
        self.ask(Request::Want(want(hashes)))
    }
}

fn want(hashes: impl IntoIterator<Item = u64>) -> Want {
    let mut hashes: Vec<u64> = hashes.into_iter().collect();
    hashes.sort_unstable();
    let (page_bytes, page_rows, window) = (number(4096), number(100), number(u32::MAX));
    Want { request: NUMBER, page_bytes, page_rows, window, compress: false, hashes }
}

fn no_room() -> Limits {
    Limits::with(|limits| limits.server.compared_bytes = 0)
}

/// A comparison from end to end: what differs is found, and the rows come.
fn compares(limits: Limits, changed: i64) {
    let world = World::new(limits);
    let mut peer = world.peer();
    let summary = peer.summary();
    let mut sum = RowSum::default();
    (1..=ROWS).for_each(|id| sum.add(own(id)));
    assert_eq!((summary.sum, &summary.first), (sum, &sketch(FIRST_CELLS, (1..=ROWS).map(own))));

    // The peer has other rows for the first ones, lacks the last one, and has one more.
    let theirs =
        || (1..ROWS).map(move |id| if id <= changed { hash(id, "other") } else { own(id) }).chain([hash(ROWS + 1, "")]);
    let mut expected = Difference {
        here: (1..=changed).chain([ROWS]).map(|id| own(id) as u64).collect(),
        there: (1..=changed).map(|id| hash(id, "other") as u64).chain([hash(ROWS + 1, "") as u64]).collect(),
    };
    expected.here.sort_unstable();
    expected.there.sort_unstable();
    let found = match summary.first.difference(&sketch(FIRST_CELLS, theirs()), (sum.rows, ROWS as u64)).unwrap() {
        Estimate::Exact(found) => found,
        Estimate::About(_) => {
            let cells = cells_for(2 * changed as u64 + 2);
            let heard = peer.ask(Request::Sketch(SketchOf { request: NUMBER, cells: number(cells) }));
            let mut all = Sketch::new(cells);
            assert!(all.decode(0, &heard.cells) && heard.cells.len() as u32 == all.len() * 12, "{:?}", heard.error);
            assert!(all.subtract(&sketch(cells, theirs())));
            all.peel().unwrap()
        }
    };
    assert_eq!(found, expected);
    let heard = peer.want(found.here);
    assert_eq!(heard.end, Some(changed as u64 + 1), "{:?}", heard.error);
    let mut rows = heard.rows;
    rows.sort_by_key(|(_, id, _)| *id);
    let all = (1..=changed).chain([ROWS]).map(|id| (format!("name {id}"), id, own(id)));
    assert!(rows.into_iter().eq(all));
    assert!(world.site.transfers().list(&Default::default()).unwrap().is_empty(), "nothing was downloaded");
}

#[test]
fn rows_that_differ_are_found_and_sent() {
    for changed in [0, 60, 500, ROWS - 1] {
        compares(Limits::default(), changed);
    }
}

#[test]
fn where_there_is_no_room_for_hashes_the_table_is_read_again() {
    compares(no_room(), 60);
    compares(no_room(), 500);
    // For some of them only.
    compares(Limits::with(|limits| limits.server.compared_bytes = 10_000), 500);
    compares(Limits::with(|limits| limits.wire.page_rows = 7), 60);
    compares(Limits::with(|limits| limits.wire.page_bytes = 100), 60);
}

#[test]
fn memory_is_given_back_when_a_comparison_ends() {
    let world = World::new(Limits::with(|limits| limits.server.compared_bytes = 40_000));
    let mut peer = world.peer();
    for _ in 0..4 {
        peer.summary();
        assert!(peer.session.comparing.as_ref().unwrap().compared.is_kept());
    }
    peer.ask(Request::Cancel { request: NUMBER });
    assert!(peer.session.comparing.is_none());
    peer.summary();
    peer.ask(Request::Done { request: NUMBER });
    assert!(peer.session.comparing.is_none());
    peer.summary();
    let fetch = Fetch {
        request: 9,
        table: "empty".into(),
        after: None,
        records: 0,
        page_bytes: number(4096),
        page_rows: number(100),
        window: number(1),
        compress: false,
        pull: None,
    };
    assert_eq!(peer.ask(Request::Fetch(fetch)).end, Some(0));
    assert!(peer.session.comparing.is_none());
}

#[test]
fn a_long_scan_shows_that_it_goes_on_and_can_be_ended() {
    let world = World::new(no_room());
    let more = "WITH RECURSIVE n(i) AS (SELECT 10001 UNION ALL SELECT i + 1 FROM n WHERE i < 150000) INSERT INTO t SELECT i, 0, '' FROM n";
    world.sqlite.execute_batch(more).unwrap();
    let mut peer = world.peer();
    let heard = peer.compare("t", &["id"]);
    let rows = ROWS as u64 + 140_000;
    assert!(heard.scanned.len() >= 2 && heard.scanned.is_sorted() && heard.scanned[0] >= 256, "{:?}", heard.scanned);
    assert!(heard.scanned.windows(2).all(|pair| pair[1] - pair[0] <= 2 * STEP_ROWS));
    assert_eq!(heard.summary.unwrap().sum.rows, rows);
    let heard = peer.ask(Request::Sketch(SketchOf { request: NUMBER, cells: number(40_000) }));
    assert!(heard.scanned.len() >= 2 && heard.cells.len() == 40_000 * 12);
    let heard = peer.want([1]);
    assert!(heard.scanned.len() >= 2 && heard.end == Some(0));

    let columns = vec!["id".to_owned()];
    let compare = Request::Compare(Compare { request: NUMBER, seed: SEED, table: "t".into(), columns });
    peer.session.on_binary(&compare.encode().unwrap());
    assert!(matches!(Answer::decode(&peer.session.next_binary().unwrap()).unwrap(), Answer::Scanned(_)));
    assert!(peer.ask(Request::Cancel { request: NUMBER }).summary.is_none());
}

#[test]
fn rows_come_as_far_as_the_peer_lets_them() {
    let world = World::new(Limits::default());
    let mut peer = world.peer();
    peer.summary();
    let all: Vec<u64> = (1..=ROWS).map(|id| own(id) as u64).collect();
    let mut heard = peer.ask(Request::Want(Want { window: number(1), ..want(all) }));
    assert_eq!((heard.pages, heard.end), (1, None));
    let mut rows = heard.rows.len();
    while heard.end.is_none() {
        let bytes = number(u32::try_from(heard.cost).unwrap());
        let before = rows;
        heard = peer
            .session
            .on_binary(&Request::Credit { request: NUMBER, bytes }.encode().unwrap())
            .close
            .map_or_else(|| peer.hear_from(heard.pages), |close| panic!("{close:?}"));
        rows += heard.rows.len();
        assert!(rows > before || heard.end.is_some());
    }
    assert_eq!((rows, heard.end), (ROWS as usize, Some(ROWS as u64)));
}

impl Peer {
    /// The same as [`Peer::hear`], after so many pages.
    fn hear_from(&mut self, pages: u32) -> Heard {
        let mut heard = Heard { pages, ..Heard::default() };
        while let Some(message) = self.session.next_binary() {
            match Answer::decode(&message).unwrap() {
                Answer::Page(page) => {
                    assert_eq!(page.head.sequence, heard.pages);
                    let mut rows = Rows::default();
                    page.read(2, &[1], PageLimits { records: 10_000, bytes: 64 << 20 }, &mut rows).unwrap();
                    heard.rows.extend((0..rows.len()).map(|_| (String::new(), 0, 0)));
                    (heard.pages, heard.cost) = (heard.pages + 1, page.cost());
                }
                Answer::End(end) => heard.end = Some(end.rows),
                other => panic!("{other:?}"),
            }
        }
        heard
    }
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let world = World::new(Limits::default());
    let mut peer = world.peer();
    let code = |heard: Heard| heard.error.unwrap_or_default();
    assert_eq!(code(peer.compare("secret", &["id"])), "table_not_found");
    assert_eq!(code(peer.compare("ghost", &["id"])), "table_not_found");
    assert_eq!(code(peer.compare("rowferry_sessions", &["uuid"])), "table_not_found");
    assert_eq!(code(peer.compare("t", &["id", "ghost"])), "schema_mismatch");
    assert_eq!(code(peer.compare("t", &["id", "id"])), "invalid_input");
    // Nothing is compared.
    assert_eq!(code(peer.want([1])), "invalid_input");
    assert_eq!(code(peer.ask(Request::Sketch(SketchOf { request: NUMBER, cells: number(4) }))), "invalid_input");
    let summary = peer.compare("empty", &["id"]).summary.unwrap();
    assert_eq!((summary.sum, summary.first), (RowSum::default(), Sketch::new(FIRST_CELLS)));
    // Of another number.
    assert_eq!(code(peer.ask(Request::Sketch(SketchOf { request: NUMBER + 1, cells: number(4) }))), "invalid_input");
    peer.summary();
    for _ in 0..8 {
        assert!(!peer.ask(Request::Sketch(SketchOf { request: NUMBER, cells: number(4) })).cells.is_empty());
    }
    assert_eq!(code(peer.ask(Request::Sketch(SketchOf { request: NUMBER, cells: number(4) }))), "refused");
    assert_eq!(code(peer.want([1])), "invalid_input", "it is over");
}

#[test]
fn a_snapshot_that_is_let_go_ends_the_comparison() {
    for limits in [Limits::default(), no_room()] {
        let world = World::new(limits);
        let mut peer = world.peer();
        peer.summary();
        world.sqlite.execute_batch("UPDATE t SET name = 'new'").unwrap();
        // It is of one state, whatever is written meanwhile.
        assert_eq!(peer.want([own(1) as u64]).rows, [("name 1".to_owned(), 1, own(1))]);
        peer.session.source.exporter.idle();
        assert_eq!(peer.want([own(1) as u64]).error.as_deref(), Some("cursor_expired"));
        assert_eq!(peer.want([1]).error.as_deref(), Some("invalid_input"));
        let mut sum = RowSum::default();
        (1..=ROWS).for_each(|id| sum.add(hash(id, "new")));
        assert_eq!(peer.summary().sum, sum);
    }
}

#[test]
fn a_comparison_is_allowed_as_a_pull_is_and_takes_no_download() {
    let world = World::new(Limits::default());
    let mut hidden = connection();
    hidden.policy.excluded_tables = vec!["t".into()];
    assert_eq!(world.by_token(hidden).compare("t", &["id"]).error.as_deref(), Some("table_not_allowed"));

    let mut approved = connection();
    approved.policy.approval_mode = ApprovalMode::RequireApproval;
    assert_eq!(world.by_token(approved).compare("t", &["id"]).error.as_deref(), Some("approval_required"));

    let mut limited = connection();
    limited.policy.max_downloads = Some(1);
    let mut peer = world.by_token(limited);
    peer.summary();
    assert_eq!(peer.want([own(1) as u64]).error.as_deref(), Some("download_limit_reached"));

    let mut limited = connection();
    (limited.policy.max_records_total, limited.policy.max_records_per_request) = (Some(150), 60);
    let mut peer = world.by_token(limited);
    peer.summary();
    let heard = peer.want((1..=ROWS).map(|id| own(id) as u64));
    assert_eq!((heard.rows.len(), heard.pages, heard.error.as_deref()), (150, 3, Some("record_limit_reached")));

    let mut rated = connection();
    rated.policy.rate_limit = 2;
    let mut peer = world.by_token(rated);
    peer.summary();
    peer.summary();
    assert_eq!(peer.compare("t", &["id"]).error.as_deref(), Some("rate_limited"));

    let mut peer = world.by_token(connection());
    peer.summary();
    world.site.settings().set_enabled(false).unwrap();
    assert_eq!(peer.want([own(1) as u64]).error.as_deref(), Some("disabled"));
}
