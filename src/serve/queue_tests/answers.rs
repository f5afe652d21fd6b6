//! What is answered to requests, in which order and how fast.

use uuid::Uuid;

use super::super::super::channel::CloseCode;
use super::super::{QUEUED, UNACKNOWLEDGED};
use super::{ENOUGH, World, fetch, number};
use crate::wire::native::{Answer, Fetch, Place, Request};

#[test]
fn requests_are_answered_in_their_order_each_with_its_credit() {
    let world = World::new(|_| {});
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, table, window) in [(1, "t", 1), (2, "u", ENOUGH), (3, "u", 1), (4, "ghost", 1), (5, "empty", 1)] {
        peer.say(Request::Fetch(fetch(pull, request, table, window)));
    }
    let first = peer.hear();
    assert_eq!(first.iter().map(|(request, heard)| (*request, heard.pages)).collect::<Vec<_>>(), [(1, 1)]);
    // Credit of others does not help; theirs is kept.
    peer.say(Request::Credit { request: 3, bytes: number(ENOUGH) });
    peer.say(Request::Credit { request: 9, bytes: number(ENOUGH) });
    assert!(peer.hear().is_empty());
    peer.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    let rest = peer.hear();
    assert_eq!(rest.iter().map(|(request, _)| *request).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let state = first[0].1.state;
    assert_eq!((rest[0].1.ids.len(), rest[0].1.end), (900, Some((1000, state))));
    assert_eq!((rest[4].1.pages, rest[4].1.end), (0, Some((0, state))), "the end of nothing is of a state, too");
    assert_eq!(rest[3].1.error.as_deref(), Some("table_not_found"));
    // The same table twice in a pull is the same download twice: the later one has it.
    assert_eq!(rest[1].1.error.as_deref(), Some("taken_over"));
    assert_eq!(rest[2].1.end, Some((250, state)));
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
    assert_eq!(world.transfers(), ["t in_progress 0"], "what waits behind a table is not begun for nothing");
    while world.transfers().len() == 1 {
        peer.session.next_binary().unwrap();
    }
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
fn what_is_asked_for_ahead_waits_until_the_peer_reads_where_a_loss_would_count() {
    for is_limited in [true, false] {
        let world = World::new(|policy| policy.max_downloads = is_limited.then_some(100));
        let name = |of: u32| format!("w{of}");
        let make = |number| {
            format!(
                "CREATE TABLE w{number} (id INTEGER PRIMARY KEY, v BLOB NOT NULL); INSERT INTO w{number} SELECT * FROM wide LIMIT 10;"
            )
        };
        world.sqlite.execute_batch(&(0..20).map(make).collect::<String>()).unwrap();
        let (mut peer, pull) = (world.peer(), Uuid::new_v4());
        let ask = |of| Fetch { page_rows: number(1_000), ..fetch(pull, of, &name(of), 64 << 10) };
        peer.say(Request::Fetch(Fetch { window: number(1 << 20), ..ask(0) }));
        (1..20).for_each(|of| peer.say(Request::Fetch(ask(of))));
        let sent = peer.hear().len();
        assert_eq!(sent, if is_limited { 4 } else { 20 }, "of 40 kB each");
        if !is_limited {
            continue;
        }
        // It has come to the third one.
        peer.say(Request::Credit { request: 2, bytes: number(1 << 20) });
        assert_eq!(peer.hear().len(), 2);
        peer.done(2);
        assert_eq!(peer.hear().len(), 1);
        // One that never says so is waited for once.
        peer.session.idle();
        assert_eq!(peer.hear().len(), 13);
    }
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
