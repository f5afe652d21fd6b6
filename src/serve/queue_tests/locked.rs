//! A store that is busy, and downloads that ended here.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{ENOUGH, World, fetch, number};
use crate::limits::Limits;
use crate::wire::native::Request;

const LOCK_TIME: Duration = Duration::from_millis(300);

fn world() -> World {
    World::with(Limits::with(|limits| limits.store.busy_timeout = LOCK_TIME), |_| {})
}

/// How long something takes while another program writes.
fn while_locked(world: &World, work: impl FnOnce()) -> Duration {
    world.sqlite.execute_batch("BEGIN IMMEDIATE").unwrap();
    let since = Instant::now();
    work();
    let took = since.elapsed();
    world.sqlite.execute_batch("ROLLBACK").unwrap();
    took
}

#[test]
fn a_channel_that_ends_does_not_wait_for_each_of_its_downloads() {
    let world = world();
    let names: Vec<String> = (0..40).map(|number| format!("e{number}")).collect();
    let tables: Vec<String> = names.iter().map(|name| format!("CREATE TABLE {name} (id INTEGER PRIMARY KEY);")).collect();
    world.sqlite.execute_batch(&format!("BEGIN; {} COMMIT;", tables.concat())).unwrap();
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    for (request, name) in (0..).zip(&names) {
        peer.fetch(fetch(pull, request, name, 1));
    }
    let took = while_locked(&world, || drop(peer));
    assert!(took < LOCK_TIME * 10, "{took:?}");
    // They are found as those of a process that was killed.
    assert!(world.transfers().iter().all(|line| line.ends_with("in_progress 0")));
    let heard = world.peer().fetch(fetch(pull, 1, "e7", ENOUGH));
    assert_eq!((heard.end.unwrap().0, world.transfers().len()), (0, 40));
    world.advance(7200);
    assert_eq!(world.site.transfers().fail_abandoned(world.site.clock().now()).unwrap(), 39);
}

#[test]
fn pages_do_not_wait_for_what_cannot_be_told() {
    let world = world();
    let (mut peer, pull) = (world.peer(), Uuid::new_v4());
    peer.fetch(fetch(pull, 1, "u", ENOUGH));
    peer.fetch(fetch(pull, 2, "t", 1));
    let ended = world.site.transfers().active().unwrap().into_iter().find(|transfer| transfer.table_name == "u").unwrap();
    world.site.transfers().cancel(ended.uuid, None).unwrap();
    // That one is over is noticed once, when a sign of life is due.
    world.advance(120);
    peer.say(Request::Credit { request: 2, bytes: number(1) });
    let page = |peer: &mut super::Peer| {
        peer.say(Request::Credit { request: 2, bytes: number(10_000) });
        assert!(peer.session.next_binary().is_some());
    };
    page(&mut peer);
    let took = while_locked(&world, || (0..3).for_each(|_| page(&mut peer)));
    assert!(took < LOCK_TIME, "{took:?}");
    // A store that is busy when the next one is due is waited for once.
    world.advance(120);
    let took = while_locked(&world, || (0..3).for_each(|_| page(&mut peer)));
    assert!((LOCK_TIME..LOCK_TIME * 3).contains(&took), "{took:?}");
}
