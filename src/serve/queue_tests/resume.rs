//! Downloads that are interrupted, and found again.

use uuid::Uuid;

use super::super::super::channel::{ChannelSession, Topics};
use super::{CODE, ENOUGH, Peer, World, fetch, number, resumed};
use crate::access::{Access, Caller, Returning};
use crate::domain::connection::{ApprovalMode, ConnectionStatus};
use crate::domain::session::Direction;
use crate::domain::value::Value;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::secret::Code;
use crate::site::{NewConnection, Site};
use crate::wire::native::{Answer, Fetch, Place, Request};

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
        // The connection has no download left, but waits for the one that may be resumed.
        assert_eq!(world.site.maintain().unwrap().expired_connections, 0);
        // Another process.
        let process = world.process();
        let mut peer = world.enter(&process).unwrap();
        let rest = peer.fetch(resumed(&first, fetch(pull, 1, "t", ENOUGH)));
        assert_eq!((first.ids.len() + rest.ids.len(), rest.end.unwrap().0), (1000, 900));
        peer.done(1);
        drop(peer);
        assert_eq!((world.transfers(), world.used()), (vec!["t completed 1000".to_owned()], (1, 1000)));
        // A further one is one too many, on the channel or by entering it.
        assert_eq!(world.enter(&process).err(), Some(ErrorKind::DownloadLimit));
        assert_eq!(world.site.maintain().unwrap().expired_connections, 1);
    }
}

#[test]
fn a_connection_waits_for_a_download_as_long_as_it_may_be_resumed() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let mut peer = world.peer();
    peer.fetch(fetch(Uuid::new_v4(), 1, "t", 1));
    drop(peer);
    let maintained = |seconds| {
        world.advance(seconds);
        world.site.maintain().unwrap();
        world.site.connections().get(world.connection).unwrap().status
    };
    assert_eq!((maintained(60), maintained(23 * 3600)), (ConnectionStatus::Active, ConnectionStatus::Active));
    assert_eq!(maintained(3600), ConnectionStatus::Expired);
}

#[test]
fn a_session_finds_its_downloads_too() {
    let world = World::with(Limits::with(|limits| limits.server.session_pulls = 1), |_| {});
    let access = Access::new(&world.site);
    let code = world.site.sessions().create(Direction::Send).unwrap();
    let (_, mut grant) = access.by_code(code.code(), None, &Caller::default()).unwrap();
    let ticket = grant.ticket().unwrap().unwrap();
    let topics = || Topics::Code(Code::parse(CODE).unwrap());
    let mut peer = Peer::join(ChannelSession::new(&world.site, topics(), grant), CODE);
    let pull = Uuid::new_v4();
    let first = peer.fetch(fetch(pull, 1, "t", 1));
    drop(peer);
    let grant = access.by_ticket(ticket.as_str(), Returning { receiver: None }, &Caller::default()).unwrap();
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
    let world = World::new(|policy| policy.rate_limit_requests_per_minute = 1);
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    // Of the five that there may be at once two are left.
    for request in 11..14 {
        assert_eq!(peer.fetch(fetch(Uuid::new_v4(), request, "t", 1)).pages, 1);
        peer.say(Request::Cancel { request });
    }
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
fn a_link_that_is_cut_every_300_kb_gets_on_with_one_download_and_one_approval() {
    let world = World::new(|policy| {
        (policy.max_downloads, policy.approval_mode) = (Some(1), ApprovalMode::RequireApproval);
    });
    let pull = Uuid::new_v4();
    let mut peer = world.peer();
    assert_eq!(peer.code(fetch(pull, 1, "wide", 1)), "approval_required");
    drop(peer);
    world.approve();
    let (mut position, mut place, mut rounds) = (0u64, None, 0);
    loop {
        rounds += 1;
        let mut peer = world.peer();
        // What a rowferry receiver allows at first, of a table of 4 MB. It is all on its way when the link is cut.
        let fetch = fetch(pull, 1, "wide", 1 << 20);
        peer.say(Request::Fetch(Fetch { after: place.clone(), records: position, page_rows: number(10_000), ..fetch }));
        let (mut arrived, mut over) = (0, false);
        while let Some(message) = peer.session.next_binary() {
            match Answer::decode(&message).unwrap() {
                Answer::Page(page) if arrived < 300_000 => {
                    arrived += page.cost();
                    position += u64::from(page.rows);
                    place = page.place;
                }
                Answer::Page(_) => {}
                Answer::End(_) => over = arrived < 300_000,
                other => panic!("{other:?} after {position}"),
            }
        }
        if over {
            break;
        }
    }
    assert!(position == 1000 && rounds >= 12, "{position} {rounds}");
    assert_eq!((world.transfers().len(), world.used().0), (1, 1));
}

#[test]
fn a_download_that_waits_for_long_is_alive_and_one_taken_for_dead_can_be_completed() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    peer.fetch(fetch(pull, 1, "t", 1));
    peer.fetch(fetch(pull, 2, "u", 1));
    let mut unnamed = world.peer();
    unnamed.fetch(Fetch { pull: None, ..fetch(pull, 1, "t", 1) });
    let hour = || world.site.clock().now() - time::Duration::HOUR;
    for _ in 0..6 {
        world.advance(1800);
        peer.heartbeat();
        unnamed.session.idle();
        assert_eq!(world.site.transfers().fail_abandoned(hour()).unwrap(), 0);
    }
    peer.say(Request::Cancel { request: 2 });
    peer.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    assert_eq!(peer.more(1).end.unwrap().0, 1000);
    // The machine slept.
    world.advance(7200);
    assert!(world.site.transfers().fail_abandoned(hour()).unwrap() >= 1);
    peer.done(1);
    assert_eq!(world.transfers()[0], "t completed 1000");
    let connection = world.site.connections().get(world.connection).unwrap();
    assert_eq!((connection.total_transfers, connection.total_records_transferred), (2, 1100));
    // One that goes on is alive again.
    unnamed.heartbeat();
    unnamed.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    assert_eq!(unnamed.more(1).error, None);
}

#[test]
fn without_the_sites_key_tables_are_resumed_from_their_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3), (4)")
        .unwrap();
    let site = Site::open(&path).unwrap();
    let made = site.connections().create(NewConnection::sender("b", "https://b.example")).unwrap();
    drop(site);
    std::fs::remove_file(folder.path().join("a.db.rowferry-key")).unwrap();
    let site = Site::open(&path).unwrap();
    assert_eq!(site.key().unwrap_err().kind(), ErrorKind::SiteKey);
    let pull = Uuid::new_v4();
    let enter = || super::enter(made.token.as_str(), &site).unwrap();
    let small = |request| Fetch { page_rows: number(2), ..fetch(pull, request, "t", 1) };
    let first = enter().fetch(small(1));
    assert_eq!((first.ids.len(), first.error.clone()), (2, None));
    // From the beginning it is the same download, and from another place a new one, which goes on there.
    let begun = |after: &Fetch| {
        let heard = enter().fetch(after.clone());
        (heard.ids[0], site.transfers().recent(10).unwrap().len())
    };
    assert_eq!(begun(&small(1)), (1, 1));
    assert_eq!(begun(&resumed(&first, small(1))), (3, 2));
}
