//! Peers that name their pulls, without sockets: their channels are driven message by message. Another process is another site of the
//! same file.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::super::channel::{ChannelSession, CloseCode, Topics};
use super::{QUEUED, UNACKNOWLEDGED};
use crate::access::{Access, Caller, Refused};
use crate::clock::ManualClock;
use crate::domain::connection::{ApprovalMode, Policy};
use crate::domain::session::Direction;
use crate::domain::transfer::TransferFilter;
use crate::domain::value::{Rows, Value};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::secret::{Code, SiteKey};
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

    /// All that is due: the number of the request of each message, in their order, and what came.
    fn hear(&mut self) -> Vec<(u32, Heard)> {
        let mut all: Vec<(u32, Heard)> = Vec::new();
        while let Some(message) = self.session.next_binary() {
            let answer = Answer::decode(&message).unwrap();
            let request = match &answer {
                Answer::Page(page) => page.head.request,
                Answer::End(end) => end.request,
                Answer::Error(refusal) => refusal.request,
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
                Answer::End(end) => heard.end = Some((end.rows, end.state.unwrap().get())),
                Answer::Error(refusal) => heard.error = Some(refusal.code),
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

#[test]
fn requests_are_answered_in_their_order_each_with_its_credit() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, table, window) in [(1, "t", 1), (2, "empty", 1), (3, "u", ENOUGH), (4, "ghost", 1), (5, "u", 1)] {
        peer.say(Request::Fetch(fetch(pull, request, table, window)));
    }
    let first = peer.hear();
    assert_eq!(first.iter().map(|(request, heard)| (*request, heard.pages)).collect::<Vec<_>>(), [(1, 1)]);
    // Credit of others does not help; theirs is kept.
    peer.say(Request::Credit { request: 5, bytes: number(ENOUGH) });
    peer.say(Request::Credit { request: 9, bytes: number(ENOUGH) });
    assert!(peer.hear().is_empty());
    peer.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    let rest = peer.hear();
    assert_eq!(rest.iter().map(|(request, _)| *request).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let state = first[0].1.state;
    assert_eq!((rest[0].1.ids.len(), rest[0].1.end), (900, Some((1000, state))));
    assert_eq!((rest[1].1.pages, rest[1].1.end), (0, Some((0, state))), "the end of nothing is of a state, too");
    assert_eq!(rest[3].1.error.as_deref(), Some("table_not_found"));
    // The same table twice in a pull is the same download twice: the later one has it.
    assert_eq!(rest[2].1.error.as_deref(), Some("taken_over"));
    assert_eq!(rest[4].1.end, Some((250, state)));
}

#[test]
fn beginnings_and_ends_are_written_together() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, table) in [(1, "t"), (2, "u"), (3, "empty")] {
        peer.say(Request::Fetch(fetch(pull, request, table, ENOUGH)));
    }
    assert!(world.transfers().is_empty(), "nothing is begun before it is answered");
    peer.session.next_binary().unwrap();
    assert_eq!(world.transfers(), ["t in_progress 0", "u in_progress 0", "empty in_progress 0"]);
    peer.hear();
    peer.done(1);
    peer.done(2);
    assert!(world.transfers().iter().all(|line| line.contains("in_progress")), "nothing to write them with");
    peer.say(Request::Fetch(fetch(pull, 4, "wide", 1)));
    peer.hear();
    assert_eq!(world.transfers(), ["t completed 1000", "u completed 250", "empty in_progress 0", "wide in_progress 0"]);
    peer.done(3);
    assert_eq!(world.transfers()[2], "empty in_progress 0");
    peer.session.idle();
    assert_eq!(world.transfers()[2], "empty completed 0");
    peer.session.on_close();
    assert_eq!(world.transfers()[3].split(' ').nth(1), Some("failed"), "it was not acknowledged");
    assert_eq!(world.used().0, 4);
    // When all is acknowledged there is nothing to wait for.
    let mut peer = world.peer();
    peer.fetch(fetch(Uuid::new_v4(), 1, "u", ENOUGH));
    peer.done(1);
    assert_eq!(world.transfers()[4], "u completed 250");
}

#[test]
fn what_is_acknowledged_is_complete_however_the_channel_ends() {
    for closes in [true, false] {
        let world = World::new(|_| {});
        let (mut peer, pull) = (world.peer(), Uuid::new_v4());
        for (request, table) in [(1, "t"), (2, "u")] {
            peer.say(Request::Fetch(fetch(pull, request, table, ENOUGH)));
        }
        peer.hear();
        peer.done(2);
        peer.done(9);
        if closes {
            peer.session.on_close();
        }
        drop(peer);
        assert_eq!(world.transfers(), ["t failed 1000", "u completed 250"]);
        let connection = world.site.connections().get(world.connection).unwrap();
        assert_eq!((connection.total_transfers, connection.total_records_transferred), (2, 1250));
        // The end of the first is asked for again: nothing is new, and it is complete then.
        let mut peer = world.peer();
        let heard = peer.fetch(fetch(pull, 1, "t", ENOUGH));
        assert_eq!(heard.end.unwrap().0, 1000);
        peer.done(1);
        drop(peer);
        assert_eq!(world.transfers(), ["t completed 1000", "u completed 250"]);
        let connection = world.site.connections().get(world.connection).unwrap();
        assert_eq!((connection.total_transfers, connection.total_records_transferred), (2, 1250));
    }
}

#[test]
fn a_peer_may_acknowledge_before_it_is_told_of_the_end() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    peer.say(Request::Fetch(fetch(pull, 1, "u", ENOUGH)));
    for page in [1, 2, 3] {
        // Before the last page has been sent it means nothing.
        peer.done(1);
        assert!(peer.session.next_binary().is_some(), "{page}");
    }
    peer.done(1);
    assert_eq!(peer.more(1).end.unwrap().0, 250);
    assert_eq!(world.transfers(), ["u completed 250"]);
}

#[test]
fn a_queue_has_an_end() {
    let world = World::new(|_| {});
    let pull = Uuid::new_v4();
    let mut peer = world.peer();
    for request in 0..QUEUED as u32 {
        peer.say(Request::Fetch(fetch(pull, request, "empty", 1)));
    }
    let more = Request::Fetch(fetch(pull, 1_000, "empty", 1)).encode().unwrap();
    assert_eq!(peer.session.on_binary(&more).close, Some(CloseCode::Protocol));
    let mut peer = world.peer();
    peer.say(Request::Fetch(fetch(pull, 1, "t", ENOUGH)));
    let same = Request::Fetch(fetch(pull, 1, "u", 1)).encode().unwrap();
    assert_eq!(peer.session.on_binary(&same).close, Some(CloseCode::Protocol));
    peer.hear();
    assert_eq!(peer.session.on_binary(&same).close, Some(CloseCode::Protocol), "it is not acknowledged");
    peer.done(1);
    assert!(peer.fetch(fetch(pull, 1, "u", 1)).pages == 1);
}

#[test]
fn so_many_answers_may_wait_to_be_acknowledged() {
    let world = World::new(|_| {});
    let mut peer = world.peer();
    let names: Vec<String> = (0..UNACKNOWLEDGED + 2).map(|number| format!("e{number}")).collect();
    let tables: Vec<String> = names.iter().map(|name| format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY);")).collect();
    world.sqlite.execute_batch(&format!("BEGIN; {} COMMIT;", tables.concat())).unwrap();
    let (pull, mut ended) = (Uuid::new_v4(), 0);
    for (request, name) in names.iter().enumerate() {
        peer.say(Request::Fetch(fetch(pull, request as u32, name, 1)));
        ended += peer.hear().len();
    }
    assert_eq!(ended, UNACKNOWLEDGED);
    peer.done(0);
    assert_eq!(peer.hear().len(), 1);
}

#[test]
fn only_so_much_is_on_its_way_whatever_is_allowed() {
    let world = World::new(|_| {});
    let mut peer = world.peer();
    for request in 1..=20 {
        peer.say(Request::Fetch(Fetch { page_rows: number(10_000), ..fetch(Uuid::new_v4(), request, "wide", ENOUGH) }));
    }
    let sent: u64 = peer.hear().iter().map(|(_, heard)| heard.cost).sum();
    assert!((64 << 20..66 << 20).contains(&sent), "{sent}");
    peer.done(1);
    let more: u64 = peer.hear().iter().map(|(_, heard)| heard.cost).sum();
    assert!((3 << 20..6 << 20).contains(&more), "{more}");
    peer.say(Request::Credit { request: 2, bytes: number(2 << 20) });
    assert!(!peer.hear().is_empty());
}

#[test]
fn processes_in_parallel_cannot_pass_a_limit_by_naming_the_same_pull() {
    let world = World::new(|policy| (policy.max_downloads, policy.max_records_total) = (Some(1), Some(2_500)));
    let (pull, token) = (Uuid::new_v4(), world.token.as_str());
    let sites: Vec<Site> = (0..4).map(|_| world.process()).collect();
    let received: usize = std::thread::scope(|threads| {
        let run = |site: &Site| {
            let mut received = 0;
            for _ in 0..6 {
                let Ok(mut peer) = enter(token, site) else { continue };
                received += peer.fetch(fetch(pull, 1, "t", 20_000)).ids.len();
            }
            received
        };
        let running: Vec<_> = sites.iter().map(|site| threads.spawn(move || run(site))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let (downloads, records) = world.used();
    assert!(downloads == 1 && records <= 2_500 && received as u64 == records, "{downloads} {records} {received}");
    assert_eq!((world.transfers().len(), received > 1_000), (1, true), "{received}");
}

#[test]
fn cancelled_requests_are_left_out_and_may_be_resumed() {
    let world = World::new(|policy| policy.max_downloads = Some(2));
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let first = peer.fetch(fetch(pull, 1, "t", 1));
    peer.say(Request::Fetch(fetch(pull, 2, "u", ENOUGH)));
    peer.say(Request::Fetch(fetch(pull, 3, "empty", ENOUGH)));
    for request in [1, 3, 9] {
        peer.say(Request::Cancel { request });
    }
    let heard = peer.hear();
    assert_eq!((heard.len(), heard[0].0), (1, 2));
    peer.say(Request::Cancel { request: 2 });
    let rest = peer.fetch(resumed(&first, fetch(pull, 4, "t", ENOUGH)));
    assert_eq!((first.ids.len() + rest.ids.len(), rest.end.unwrap().0), (1000, 900));
    assert_eq!(world.transfers(), ["t in_progress 100", "u failed 250"]);
    assert_eq!(world.used().0, 2);
}

#[test]
fn a_download_is_found_again_in_the_database() {
    /// How the sender ends.
    enum Fate {
        Lost,
        Killed,
        Abandoned,
    }
    for fate in [Fate::Lost, Fate::Killed, Fate::Abandoned] {
        let world = World::new(|policy| (policy.max_downloads, policy.max_records_total) = (Some(1), Some(1000)));
        let pull = Uuid::new_v4();
        let mut peer = world.peer();
        let first = peer.fetch(fetch(pull, 1, "t", 1));
        match fate {
            Fate::Lost => drop(peer),
            Fate::Killed => std::mem::forget(peer),
            Fate::Abandoned => {
                std::mem::forget(peer);
                world.advance(7200);
                world.site.transfers().fail_abandoned(world.site.clock().now()).unwrap();
            }
        }
        world.advance(3600);
        // Another process, and the connection has no download left.
        let process = world.process();
        let mut peer = world.enter(&process).unwrap();
        let rest = peer.fetch(resumed(&first, fetch(pull, 1, "t", ENOUGH)));
        assert_eq!((first.ids.len() + rest.ids.len(), rest.end.unwrap().0), (1000, 900));
        peer.done(1);
        drop(peer);
        assert_eq!((world.transfers(), world.used()), (vec!["t completed 1000".to_owned()], (1, 1000)));
        // A further one is one too many, on the channel or by entering it.
        assert_eq!(world.enter(&process).err(), Some(ErrorKind::DownloadLimit));
    }
}

#[test]
fn a_session_finds_its_downloads_too() {
    let world = World::with(Limits { session_pulls: 1, ..Limits::default() }, |_| {});
    let access = Access::new(&world.site);
    let code = world.site.sessions().create(Direction::Send).unwrap();
    let (_, grant) = access.by_code(code.code(), &Caller::default()).unwrap();
    let ticket = grant.ticket().unwrap().unwrap();
    let topics = || Topics::Code(Code::parse(CODE).unwrap());
    let mut peer = Peer::join(ChannelSession::new(&world.site, topics(), grant), CODE);
    let pull = Uuid::new_v4();
    let first = peer.fetch(fetch(pull, 1, "t", 1));
    drop(peer);
    let grant = access.by_ticket(ticket.as_str(), &Caller::default()).unwrap();
    let mut peer = Peer::join(ChannelSession::new(&world.site, topics(), grant), CODE);
    assert_eq!(peer.fetch(resumed(&first, fetch(pull, 1, "t", ENOUGH))).ids.len(), 900);
    assert_eq!(peer.code(fetch(Uuid::new_v4(), 2, "t", 1)), "download_limit_reached");
    assert_eq!(world.transfers().len(), 1);
}

#[test]
fn what_is_not_the_same_download_begins_a_new_one() {
    type Change = fn(&World, &mut Fetch);
    let changes: [(&str, Change); 6] = [
        ("another pull", |_, fetch| fetch.pull = Some(Uuid::new_v4())),
        ("too old", |world, _| world.advance(24 * 3600)),
        ("another schema", |world, _| world.sqlite.execute_batch("ALTER TABLE t ADD COLUMN w").unwrap()),
        ("a place that was not given", |_, fetch| {
            fetch.after = Some(Place { run: 1, values: vec![Value::Integer(100)] });
        }),
        ("a place of another number", |_, fetch| {
            let place = fetch.after.as_mut().unwrap();
            let at = place.values.len() - 2;
            place.values[at] = Value::Integer(99);
        }),
        ("ended here", |world, _| {
            let running = world.site.transfers().active().unwrap().remove(0);
            world.site.transfers().cancel(running.uuid, None).unwrap();
        }),
    ];
    for (what, change) in changes {
        let world = World::new(|_| {});
        let pull = Uuid::new_v4();
        let mut peer = world.peer();
        let first = peer.fetch(fetch(pull, 1, "t", 1));
        let mut again = resumed(&first, fetch(pull, 2, "t", 1));
        // As another process would see it.
        std::mem::forget(peer);
        change(&world, &mut again);
        let heard = world.peer().fetch(again.clone());
        assert_eq!((heard.pages, world.used().0, world.transfers().len()), (1, 2, 2), "{what}");
        // That one is resumed from the place where it began, and from those that it gave.
        world.peer().fetch(again.clone());
        let next = Fetch { after: heard.place, records: 200, ..again };
        assert_eq!(world.peer().fetch(next).pages, 1);
        assert_eq!((world.used().0, world.transfers().len()), (2, 2), "{what}");
    }
}

#[test]
fn a_named_pull_takes_one_call_for_all_its_tables() {
    let world = World::new(|policy| policy.rate_limit_requests_per_minute = 2);
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, table) in [(1, "t"), (2, "u"), (3, "empty")] {
        peer.say(Request::Fetch(fetch(pull, request, table, ENOUGH)));
    }
    assert!(peer.hear().iter().all(|(_, heard)| heard.end.is_some()));
    (1..=3).for_each(|request| peer.done(request));
    // Later ones take none, either; one that begins again does.
    assert_eq!(peer.fetch(fetch(pull, 4, "wide", 1)).pages, 1);
    peer.say(Request::Cancel { request: 4 });
    assert_eq!(peer.fetch(fetch(pull, 5, "t", 1)).pages, 1);
    peer.say(Request::Cancel { request: 5 });
    let refused = [peer.code(fetch(pull, 6, "u", 1)), peer.code(fetch(Uuid::new_v4(), 7, "t", 1))];
    assert_eq!(refused, ["rate_limited", "rate_limited"]);
    world.advance(60);
    assert_eq!(peer.fetch(fetch(pull, 8, "u", 1)).pages, 1);
}

#[test]
fn only_repeats_from_the_same_snapshot_are_free() {
    let world = World::new(|policy| policy.max_records_total = Some(450));
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let first = peer.fetch(fetch(pull, 1, "t", 1));
    peer.say(Request::Credit { request: 1, bytes: number(u32::try_from(first.cost).unwrap()) });
    assert_eq!((peer.more(1).ids.len(), world.used().1), (100, 200));
    peer.say(Request::Cancel { request: 1 });
    // The same snapshot: what comes again was counted.
    let again = peer.fetch(resumed(&first, fetch(pull, 2, "t", 1)));
    assert_eq!((again.ids[0], again.ids.len(), world.used().1), (101, 100, 200));
    drop(peer);
    // Another one: it counts like what is new.
    let mut peer = world.peer();
    let again = peer.fetch(resumed(&first, fetch(pull, 1, "t", 1)));
    assert_eq!((again.ids[0], again.ids.len(), world.used().1), (101, 100, 300));
    peer.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    let last = peer.more(1);
    assert_eq!((last.ids.len(), last.error.as_deref()), (150, Some("record_limit_reached")));
    drop(peer);
    assert_eq!((world.transfers(), world.used()), (vec!["t failed 350".to_owned()], (1, 450)));
}

#[test]
fn what_a_killed_sender_had_sent_is_believed_and_counts() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let sent = peer.fetch(Fetch { page_rows: number(300), ..fetch(pull, 1, "t", 1) });
    std::mem::forget(peer);
    assert_eq!((world.transfers(), world.used().1), (vec!["t in_progress 0".to_owned()], 0));
    let mut peer = world.enter(&world.process()).unwrap();
    peer.fetch(resumed(&sent, fetch(pull, 1, "t", 1)));
    assert_eq!((world.transfers(), world.used().1), (vec!["t in_progress 300".to_owned()], 300));
    drop(peer);
    assert_eq!((world.transfers(), world.used()), (vec!["t failed 400".to_owned()], (1, 400)));
}

#[test]
fn a_table_cannot_be_had_again_and_again_for_one_download() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let pull = Uuid::new_v4();
    let mut rounds = 0;
    loop {
        let Ok(mut peer) = world.enter(&world.site) else { break };
        let heard = peer.fetch(fetch(pull, 1, "t", ENOUGH));
        if heard.error.is_some() {
            assert_eq!(heard.error.as_deref(), Some("download_limit_reached"));
            break;
        }
        peer.say(Request::Credit { request: 1, bytes: number(u32::try_from(heard.cost).unwrap()) });
        rounds += 1;
    }
    assert_eq!((rounds, world.used().0), (5, 1), "four times more");
    // One that is complete is not had again at all.
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let mut peer = world.peer();
    let all = peer.fetch(fetch(pull, 1, "t", ENOUGH));
    peer.done(1);
    assert_eq!(peer.code(fetch(pull, 2, "t", ENOUGH)), "download_limit_reached");
    // But that there is no more can be asked again.
    let end = peer.fetch(resumed(&all, fetch(pull, 3, "t", ENOUGH)));
    assert_eq!((end.pages, end.end.map(|end| end.0)), (0, Some(0)));
}

#[test]
fn two_channels_do_not_get_a_download_twice() {
    let world = World::new(|policy| (policy.max_downloads, policy.max_records_total) = (Some(1), Some(1500)));
    let pull = Uuid::new_v4();
    let (mut one, process) = (world.peer(), world.process());
    let first = one.fetch(fetch(pull, 1, "t", 1));
    let mut other = world.enter(&process).unwrap();
    let taken = other.fetch(resumed(&first, fetch(pull, 1, "t", 1)));
    assert_eq!((taken.ids[0], taken.error), (101, None));
    one.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    let refused = one.more(1);
    assert_eq!((refused.pages, refused.error.as_deref()), (0, Some("taken_over")));
    drop(one);
    other.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    assert_eq!(other.more(1).ids.last(), Some(&1000));
    other.done(1);
    drop(other);
    assert_eq!((world.transfers(), world.used()), (vec!["t completed 1000".to_owned()], (1, 1000)));
}

#[test]
fn however_many_channels_name_a_pull_its_limits_hold() {
    for seed in 0..8u64 {
        let world = World::new(|policy| (policy.max_downloads, policy.max_records_total) = (Some(1), Some(700)));
        let (pull, sites) = (Uuid::new_v4(), [world.site.clone(), world.process()]);
        let mut peers: Vec<Peer> = Vec::new();
        let (mut received, mut last, mut random) = (0, Heard::default(), seed * 7919 + 1);
        for step in 0..60u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let choice = (random >> 33) as usize;
            match choice % 4 {
                0 if peers.len() < 3 => peers.extend(world.enter(&sites[choice / 4 % 2]).ok()),
                1 if !peers.is_empty() => drop(peers.remove(choice / 4 % peers.len())),
                _ if !peers.is_empty() => {
                    let count = peers.len();
                    let peer = &mut peers[choice / 4 % count];
                    let position = last.ids.last().copied().unwrap_or(0) as u64;
                    let fetch = Fetch { after: last.place.clone(), records: position, ..fetch(pull, step, "t", 1) };
                    peer.say(Request::Fetch(fetch));
                    for (_, heard) in peer.hear() {
                        received += heard.ids.len();
                        if heard.place.is_some() {
                            last = heard;
                        }
                    }
                }
                _ => {}
            }
        }
        drop(peers);
        let (downloads, records) = world.used();
        assert!(downloads == 1 && received <= 700 && records <= 700, "{seed}: {downloads} {received} {records}");
        assert!(received > 100, "{seed}: {received}");
    }
}

#[test]
fn an_approval_is_for_a_schema_a_number_of_records_and_a_time() {
    let world = World::new(|policy| policy.approval_mode = ApprovalMode::RequireApproval);
    let (mut peer, mut request) = (world.peer(), 0);
    let mut ask = |peer: &mut Peer, pull, window| {
        request += 1;
        let heard = peer.fetch(fetch(pull, request, "u", window));
        (heard.error.clone(), heard, request)
    };
    let required = Some("approval_required".to_owned());
    let pull = Uuid::new_v4();
    assert_eq!(ask(&mut peer, pull, 1).0, required);
    // Not used in time, or for another schema: asked for again.
    assert_eq!(world.approve(), 1);
    world.advance(24 * 3600);
    assert_eq!(ask(&mut peer, pull, 1).0, required);
    assert_eq!(world.approve(), 1);
    world.sqlite.execute_batch("ALTER TABLE u ADD COLUMN w").unwrap();
    peer.session.idle();
    let mut peer = world.peer();
    assert_eq!(ask(&mut peer, pull, 1).0, required);
    assert_eq!(world.approve(), 1);
    // 250 records were there: it is good for 1,250.
    world
        .sqlite
        .execute_batch("INSERT INTO u SELECT id + 1000, v, NULL FROM t; INSERT INTO u SELECT id + 3000, v, NULL FROM t;")
        .unwrap();
    let mut peer = world.peer();
    let (error, first, number_of) = ask(&mut peer, pull, 1);
    assert_eq!((error, first.ids.len()), (None, 100));
    drop(peer);
    let mut peer = world.peer();
    let rest = peer.fetch(resumed(&first, fetch(pull, number_of, "u", ENOUGH)));
    assert_eq!((rest.ids.len(), rest.error), (1150, required.clone()), "the same approval, as far as it goes");
    let further = Fetch { after: rest.place, records: 1250, ..fetch(pull, 100, "u", ENOUGH) };
    assert_eq!(peer.fetch(further.clone()).error, required, "beyond it another one is needed");
    assert_eq!(world.approve(), 1);
    assert_eq!(peer.fetch(Fetch { request: 101, ..further }).ids.len(), 1000);
    let statuses: Vec<String> = world.transfers().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(statuses, ["expired", "expired", "failed", "in_progress"]);
}

#[test]
fn a_running_download_ends_with_the_age_of_its_approval() {
    let world = World::new(|policy| policy.approval_mode = ApprovalMode::RequireApproval);
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    peer.code(fetch(pull, 1, "t", 1));
    world.approve();
    assert_eq!(peer.fetch(fetch(pull, 2, "t", 1)).pages, 1);
    world.advance(24 * 3600);
    peer.say(Request::Credit { request: 2, bytes: number(ENOUGH) });
    assert_eq!(peer.more(2).error.as_deref(), Some("approval_required"));
}

#[test]
fn pages_begin_small_and_grow() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    let wide = Fetch { page_rows: number(10_000), ..fetch(pull, 1, "wide", 1) };
    let mut heard = peer.fetch(wide);
    let mut sizes = Vec::new();
    while heard.end.is_none() {
        sizes.push(heard.cost >> 10);
        peer.say(Request::Credit { request: 1, bytes: number(u32::try_from(heard.cost).unwrap()) });
        heard = peer.more(1);
    }
    assert!(sizes[0] <= 40 && sizes.iter().any(|size| *size > 900), "{sizes:?}");
    assert!(sizes.windows(2).all(|pair| pair[1] <= pair[0] * 3), "{sizes:?}");
    // One that acknowledges nothing gets small ones only.
    peer.done(1);
    let heard = world.peer().fetch(Fetch { page_rows: number(10_000), ..fetch(Uuid::new_v4(), 1, "wide", 2_000_000) });
    assert!(heard.pages > 40 && heard.largest < 41_000, "{} {}", heard.pages, heard.largest);
}

#[test]
fn a_link_that_is_cut_every_few_pages_gets_on_with_one_download() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let pull = Uuid::new_v4();
    let (mut position, mut place, mut rounds) = (0u64, None, 0);
    loop {
        rounds += 1;
        let mut peer = world.peer();
        // Sent is far more than arrives.
        let fetch = Fetch { after: place.clone(), records: position, page_rows: number(10), ..fetch(pull, 1, "t", 20_000) };
        peer.say(Request::Fetch(fetch));
        let mut arrived = 0;
        let mut over = false;
        while let Some(message) = peer.session.next_binary() {
            match Answer::decode(&message).unwrap() {
                Answer::Page(page) if arrived < 2 => {
                    arrived += 1;
                    position += u64::from(page.rows);
                    place = page.place;
                }
                Answer::Page(_) => {}
                Answer::End(_) => over = arrived < 2,
                Answer::Error(refusal) => panic!("{refusal:?}"),
            }
        }
        if over {
            break;
        }
    }
    assert!(position == 1000 && rounds >= 50, "{position} {rounds}");
    assert_eq!((world.transfers().len(), world.used().0), (1, 1));
}

#[test]
fn an_unnamed_request_ends_those_that_are_named() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    peer.fetch(fetch(pull, 1, "t", 1));
    peer.say(Request::Fetch(fetch(pull, 2, "u", 1)));
    peer.say(Request::Fetch(Fetch { pull: None, ..fetch(pull, 3, "u", 1) }));
    let message = peer.session.next_binary().unwrap();
    assert!(matches!(Answer::decode(&message).unwrap(), Answer::Page(page) if page.head.request == 3));
    assert!(peer.session.next_binary().is_none());
    assert_eq!(world.transfers(), ["t failed 100", "u in_progress 0"]);
}

#[test]
fn what_nobody_would_say_ends_a_request_or_the_channel_and_nothing_else() {
    let world = World::new(|_| {});
    let mut peer = world.peer();
    let blob = |bytes| Value::Blob(vec![1; bytes]);
    let places = [
        (1, vec![]),
        (0x81, vec![]),
        (0x81, vec![Value::Integer(5)]),
        (0x81, vec![Value::Integer(5), Value::Integer(-5), blob(16)]),
        (0xff, vec![Value::Null, Value::Integer(5), blob(0)]),
        (0x81, vec![Value::Null, Value::Null, Value::Integer(i64::MAX), blob(60_000)]),
    ];
    for (request, (run, values)) in (0..).zip(places) {
        let after = Some(Place { run, values });
        let heard = peer.fetch(Fetch { after, records: u64::MAX, ..fetch(Uuid::nil(), request, "t", 1) });
        assert!(heard.error.as_deref() == Some("invalid_input") || heard.pages == 1, "{heard:?}");
        peer.say(Request::Cancel { request });
        peer.say(Request::Credit { request, bytes: number(ENOUGH) });
        peer.done(request);
    }
    for request in [100, 101, 102] {
        peer.say(Request::Fetch(fetch(Uuid::max(), request, ["t", "rowferry_sessions", ""][request as usize - 100], 1)));
    }
    peer.hear();
    (0..200).for_each(|_| peer.say(Request::Credit { request: 100, bytes: number(ENOUGH) }));
    let codes: Vec<_> = peer.hear().into_iter().map(|(_, heard)| heard.error).collect();
    assert_eq!(codes, [None, Some("table_not_found".to_owned()), Some("table_not_found".to_owned())]);
    let mut bad = Request::Fetch(fetch(Uuid::nil(), 9, "t", 1)).encode().unwrap();
    bad[40] ^= 1;
    assert_eq!(peer.session.on_binary(&bad).close, Some(CloseCode::Protocol));
    drop(peer);
    assert!(world.transfers().iter().all(|line| !line.contains("in_progress")), "{:?}", world.transfers());
}

/// What a peer of the model does.
#[derive(Debug, Clone)]
enum Step {
    Fetch { request: u32, table: usize, window: u32, resumes: bool },
    Credit { request: u32, bytes: u32 },
    Cancel { request: u32 },
    Done { request: u32 },
    Hear,
    Reconnect,
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    let request = 0..5u32;
    prop_oneof![
        4 => (request.clone(), 0..4usize, prop_oneof![Just(1), Just(3_000), Just(ENOUGH)], any::<bool>())
            .prop_map(|(request, table, window, resumes)| Step::Fetch { request, table, window, resumes }),
        2 => (request.clone(), prop_oneof![Just(1), Just(20_000), Just(ENOUGH)])
            .prop_map(|(request, bytes)| Step::Credit { request, bytes }),
        1 => request.clone().prop_map(|request| Step::Cancel { request }),
        2 => request.prop_map(|request| Step::Done { request }),
        4 => Just(Step::Hear),
        1 => Just(Step::Reconnect),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever a peer says in whatever order: answers come in the order of their requests, limits hold, rows come in the order of the
    /// table, and when the peer is gone nothing is left in progress.
    #[test]
    fn a_queue_behaves(steps in proptest::collection::vec(step(), 1..60)) {
        use proptest::prelude::*;
        const TABLES: [&str; 4] = ["t", "u", "empty", "ghost"];
        let world = World::new(|policy| (policy.max_records_total, policy.max_downloads) = (Some(3_000), Some(6)));
        let pull = Uuid::from_u128(5);
        let mut peer = Some(world.peer());
        // The requests that wait, in their order, with their tables; and those whose answers have ended.
        let (mut waiting, mut ended): (Vec<(u32, usize)>, Vec<u32>) = Default::default();
        let mut places: [(u64, Option<Place>); 4] = Default::default();
        for step in steps {
            if let Step::Reconnect = step {
                drop(peer.take());
                (waiting, ended) = Default::default();
                peer = world.enter(&world.site).ok();
                continue;
            }
            let Some(peer) = &mut peer else { break };
            match step {
                Step::Fetch { request, table, window, resumes } => {
                    let (records, after) = if resumes { places[table].clone() } else { (0, None) };
                    let fetch = Fetch { after, records, ..fetch(pull, request, TABLES[table], window) };
                    let close = peer.session.on_binary(&Request::Fetch(fetch).encode().unwrap()).close;
                    // Asked for again, an answer that has ended is over.
                    let is_used = waiting.iter().any(|(of, _)| *of == request);
                    if is_used {
                        prop_assert_eq!(close, Some(CloseCode::Protocol));
                        break;
                    }
                    if close.is_some() {
                        prop_assert!(ended.contains(&request));
                        break;
                    }
                    waiting.push((request, table));
                    ended.retain(|of| *of != request);
                }
                Step::Credit { request, bytes } => peer.say(Request::Credit { request, bytes: number(bytes) }),
                Step::Cancel { request } => {
                    peer.say(Request::Cancel { request });
                    waiting.retain(|(of, _)| *of != request);
                    ended.retain(|of| *of != request);
                }
                Step::Done { request } => {
                    peer.done(request);
                    ended.retain(|of| *of != request);
                }
                Step::Hear => {
                    for (request, heard) in peer.hear() {
                        let (first, table) = waiting[0];
                        prop_assert_eq!(first, request, "{:?}", waiting);
                        prop_assert!(heard.ids.is_sorted());
                        if let (Some(place), Some(last)) = (heard.place, heard.ids.last()) {
                            places[table] = (*last as u64, Some(place));
                        }
                        if heard.end.is_some() || heard.error.is_some() {
                            waiting.remove(0);
                            ended.extend(heard.end.map(|_| request));
                        }
                    }
                }
                Step::Reconnect => {}
            }
        }
        drop(peer);
        let (downloads, records) = world.used();
        prop_assert!(downloads <= 6 && records <= 3_000, "{} {}", downloads, records);
        prop_assert!(world.transfers().iter().all(|line| !line.contains("in_progress")), "{:?}", world.transfers());
    }
}
