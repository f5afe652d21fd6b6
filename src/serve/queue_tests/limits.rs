//! Peers that name their pulls to pass limits.

use uuid::Uuid;

use super::super::super::channel::CloseCode;
use super::{ENOUGH, Heard, Peer, World, enter, fetch, number, resumed};
use crate::domain::connection::{ApprovalMode, Policy};
use crate::domain::value::Value;
use crate::site::{NewConnection, Site};
use crate::wire::native::{Fetch, Place, Request};

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
    assert_eq!((world.transfers().len(), received >= 100), (1, true), "{received}");
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

/// What sets a limit.
type Set = fn(&mut Policy);

/// How many records somebody gets who has these fetches answered one after the other, until he is refused.
fn taken(world: &World, fetches: &[Fetch], acknowledges: bool, closes: bool) -> usize {
    let (mut taken, mut open) = (0, Vec::new());
    for round in 0..40 {
        let Ok(mut peer) = world.enter(&world.site) else { break };
        let heard = peer.fetch(fetches[round % fetches.len()].clone());
        taken += heard.ids.len();
        if heard.error.is_some() {
            break;
        }
        if acknowledges {
            peer.say(Request::Credit { request: 1, bytes: number(u32::try_from(heard.cost.max(1)).unwrap()) });
        }
        open.extend((!closes).then_some(peer));
    }
    taken
}

#[test]
fn a_table_cannot_be_had_again_and_again_for_one_download() {
    let place = |id: i64| Some(Place { run: 1, values: vec![Value::Integer(id)] });
    let all = || fetch(Uuid::from_u128(7), 1, "t", ENOUGH);
    let claims = |records: u64| Fetch { after: place(0), records, ..all() };
    let cases: [(&str, Vec<Fetch>); 5] = [
        ("from the first row", vec![all()]),
        ("from a place before all rows", vec![claims(0)]),
        ("with a large number", vec![claims(1 << 53)]),
        ("in changing ways", vec![all(), claims(0), claims(1_000), claims(1 << 52), claims(7)]),
        ("from a few places", vec![claims(0), Fetch { after: place(1), records: 1, ..all() }]),
    ];
    let limits: [(&str, Set); 2] = [
        ("downloads", |policy| policy.max_downloads = Some(1)),
        ("approval", |policy| policy.approval_mode = ApprovalMode::RequireApproval),
    ];
    for (limit, set) in limits {
        for (what, fetches) in &cases {
            for (acknowledges, closes) in [(true, true), (false, true), (false, false)] {
                let world = World::new(set);
                if limit == "approval" {
                    world.peer().code(fetches[0].clone());
                    world.approve();
                }
                let taken = taken(&world, fetches, acknowledges, closes);
                // Once more, because all of it may have been lost on its way.
                assert!((1_000..=2_000).contains(&taken), "{limit}, {what}, {acknowledges} {closes}: {taken}");
                assert_eq!(world.used().0, 1);
            }
        }
    }
}

#[test]
fn a_number_of_records_that_no_table_has_is_refused() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    for pull in [Some(Uuid::new_v4()), None] {
        for records in [(1 << 53) + 1, u64::MAX / 2, u64::MAX] {
            let after = Some(Place { run: 1, values: vec![Value::Integer(0)] });
            let mut peer = world.peer();
            assert_eq!(peer.code(Fetch { after, records, pull, ..fetch(Uuid::nil(), 1, "t", ENOUGH) }), "protocol");
        }
    }
    assert_eq!((world.transfers().len(), world.used().0), (0, 0));
}

#[test]
fn one_that_is_complete_is_not_had_again() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
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
fn an_approved_download_without_a_name_has_a_largest_age_too() {
    let world = World::new(|policy| policy.approval_mode = ApprovalMode::RequireApproval);
    let unnamed = |request| Fetch { pull: None, ..fetch(Uuid::nil(), request, "t", 1) };
    let mut peer = world.peer();
    assert_eq!(peer.code(unnamed(1)), "approval_required");
    world.approve();
    assert_eq!(peer.fetch(unnamed(2)).pages, 1);
    world.advance(24 * 3600);
    peer.say(Request::Credit { request: 2, bytes: number(ENOUGH) });
    assert_eq!(peer.more(2).error.as_deref(), Some("approval_required"));
}

#[test]
fn without_a_name_rows_of_another_snapshot_count_as_well() {
    let unnamed = [Fetch { pull: None, ..fetch(Uuid::nil(), 1, "t", ENOUGH) }];
    let limits: [(Set, usize); 2] =
        [(|policy| policy.max_records_total = Some(1_000), 1_000), (|policy| policy.max_downloads = Some(1), 2_000)];
    for (set, most) in limits {
        let world = World::new(set);
        let taken = taken(&world, &unnamed, false, true);
        assert!((1_000..=most).contains(&taken) && world.used().0 == 1, "{taken} {:?}", world.used());
    }
}

#[test]
fn names_and_places_of_others_are_worth_nothing() {
    let world = World::new(|policy| policy.max_downloads = Some(1));
    let mut policy = Policy::default();
    (policy.max_downloads, policy.max_records_total) = (Some(1), Some(300));
    let other = NewConnection::sender("c", "https://c.example").policy(policy);
    let other = world.site.connections().create(other).unwrap();
    let pull = Uuid::new_v4();
    let mut peer = world.peer();
    let first = peer.fetch(fetch(pull, 1, "t", 1));
    // The same name through another connection is another pull, which takes what that one has.
    let mut stranger: Peer = enter(other.token.as_str(), &world.site).unwrap();
    let heard = stranger.fetch(resumed(&first, fetch(pull, 1, "t", ENOUGH)));
    assert_eq!((heard.ids[0], heard.ids.len(), heard.error.as_deref()), (101, 300, Some("record_limit_reached")));
    let used = world.site.connections().get(other.connection.uuid).unwrap();
    assert_eq!((used.downloads_used, used.records_downloaded), (1, 300));
    // The first one was not touched by it: it goes on.
    peer.say(Request::Credit { request: 1, bytes: number(ENOUGH) });
    assert_eq!(peer.more(1).end.unwrap().0, 1000);
    drop(peer);
    assert_eq!(world.used(), (1, 1000));
}

#[test]
fn asking_and_cancelling_writes_no_events_and_takes_calls() {
    let world = World::new(|policy| policy.rate_limit_requests_per_minute = 12);
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, table, window) in [(1, "empty", ENOUGH), (2, "t", 1), (3, "u", 1)] {
        peer.say(Request::Fetch(fetch(pull, request, table, window)));
    }
    peer.hear();
    assert_eq!(world.transfers(), ["empty in_progress 0", "t in_progress 0", "u in_progress 0"]);
    for request in [2, 3] {
        peer.say(Request::Cancel { request });
    }
    peer.session.idle();
    // Made and started, each; and the end of the one that brought something.
    assert_eq!((world.transfers()[2].as_str(), world.events()), ("u failed 0", 3 * 2 + 1));
    let again = |peer: &mut Peer, request| {
        let heard = peer.fetch(fetch(pull, request, "t", 1));
        peer.say(Request::Cancel { request });
        heard.error
    };
    for request in 10..70 {
        assert_eq!(again(&mut peer, request), None);
    }
    peer.session.idle();
    assert_eq!((world.transfers().len(), world.events()), (3, 3 * 2 + 2), "that it was resumed, and nothing new came");
    // By now each takes a call, of which there are 60 at once: the pull itself has taken one.
    let refused = (70..200).map(|request| again(&mut peer, request)).position(|error| error.is_some());
    assert!(refused.is_some_and(|refused| (56..=63).contains(&refused)), "{refused:?}");
    world.advance(60);
    peer.session.idle();
    // What is new is told.
    let rest = peer.fetch(fetch(pull, 2_000, "t", ENOUGH));
    peer.done(2_000);
    peer.session.idle();
    assert_eq!((rest.end.unwrap().0, world.transfers()[1].as_str()), (1_000, "t completed 1000"));
    assert_eq!(world.events(), 3 * 2 + 3);
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
        let heard = peer.fetch(Fetch { after, records: 1 << 53, ..fetch(Uuid::nil(), request, "t", 1) });
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
