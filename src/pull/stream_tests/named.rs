//! Senders that know pulls by their names: tables are asked for together, answered one after the other, and settled one by one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::sender::{EVIL, Kind, World, end, page, page_of, place, quick, refusal};
use crate::domain::value::{Rows, ValueRef};
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::pull::{Phase, PullOptions, TableStatus};
use crate::wire::native::{End, Fetch, Request};

/// Waits until something is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Which table each request was for, of all connections.
fn tables(heard: &[Request]) -> HashMap<u32, String> {
    let fetch = |request: &Request| match request {
        Request::Fetch(fetch) => Some((fetch.request, fetch.table.clone())),
        _ => None,
    };
    heard.iter().filter_map(fetch).collect()
}

/// The tables that the sender was told are safe, and those that it was told are not, in this order.
pub(super) fn settled(world: &World) -> (Vec<String>, Vec<String>) {
    let heard = world.heard.lock().unwrap();
    let of = tables(&heard);
    let mut settled = (Vec::new(), Vec::new());
    for request in heard.iter() {
        match request {
            Request::Done { request } => settled.0.push(of[request].clone()),
            Request::Cancel { request } => settled.1.push(of[request].clone()),
            _ => {}
        }
    }
    settled
}

#[test]
fn tables_are_asked_for_together_and_done_when_they_are_committed() {
    let names: Vec<String> = (0..100).map(|n| format!("t{n:03}")).collect();
    let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 3)).collect();
    let open = Arc::new(AtomicUsize::new(0));
    let (counted, most) = (Arc::clone(&open), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let world = World::serving(Kind::Named, &all, Limits::default(), quick(), move |request, peer| {
        match request {
            Request::Fetch(_) => drop(counted.fetch_add(1, Ordering::SeqCst)),
            Request::Done { request } => {
                let heard = peer.heard.lock().unwrap();
                let table = &tables(&heard)[request];
                let here = rusqlite::Connection::open(&peer.here).unwrap();
                let count = here.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
                assert_eq!(count.unwrap(), 3, "{table}");
                counted.fetch_sub(1, Ordering::SeqCst);
            }
            _ => {}
        }
        seen.fetch_max(counted.load(Ordering::SeqCst), Ordering::SeqCst);
        false
    });
    let pulled = world.pull();
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    until("all are done", || open.load(Ordering::SeqCst) == 0);
    assert!(most.load(Ordering::SeqCst) >= 48, "{most:?}");
    let (mut done, cancelled) = settled(&world);
    done.sort();
    assert_eq!((done, cancelled), (names, Vec::new()));
}

/// The sender stops until it hears what became of the first table, as one does whose bound on what is not acknowledged is reached.
#[test]
fn what_is_committed_is_told_while_a_page_is_waited_for() {
    let world = World::serving(Kind::Named, &[("apples", 2), ("zebras", 2)], Limits::default(), quick(), |request, peer| {
        match request {
            Request::Fetch(fetch) if fetch.table == "zebras" => {
                while !matches!(peer.next(), Some(Request::Done { .. }) | None) {}
                peer.honest(fetch, 1..3);
                true
            }
            _ => false,
        }
    });
    let since = Instant::now();
    let pulled = world.pull_with(PullOptions::new().retry_time(Duration::ZERO));
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

/// Far more tables fail here than may wait to be committed, after all of their rows came.
#[test]
fn tables_that_fail_here_do_not_stop_those_after_them() {
    let names: Vec<String> = (0..200).map(|n| format!("t{n:03}")).collect();
    let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let limits = Limits::with(|limits| limits.store.busy_timeout = Duration::from_millis(1));
    let world = World::serving(Kind::Named, &all, limits, quick(), |_, _| false);
    let other = rusqlite::Connection::open(world.path()).unwrap();
    let options = PullOptions::new().timeout(Duration::from_secs(60)).retry_time(Duration::ZERO);
    let options = options.on_progress(|progress| {
        if progress.phase == Phase::Started && other.is_autocommit() {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
    });
    let pulled = world.pull_with(options);
    for name in &names {
        assert_eq!(pulled.table(name).error.as_ref().map(|error| error.kind()), Some(ErrorKind::Locked), "{name}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    until("all are given up", || settled(&world).1.len() >= names.len());
    let (done, cancelled) = settled(&world);
    assert!(done.is_empty(), "{done:?}");
    assert!(names.iter().all(|name| cancelled.contains(name)), "{cancelled:?}");
    let pulled = world.pull();
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
}

/// The connection is lost before the sender could be told that `apples` is safe, and `evil` fails here after all of its rows came.
#[test]
fn only_what_is_safe_is_said_to_be() {
    let limits = Limits::with(|limits| limits.store.busy_timeout = Duration::from_millis(50));
    let all = [("apples", 2), ("evil", 6), ("zebras", 2)];
    // What the first connection hears of those after the table that it is cut in depends on how they are sent.
    let again = Arc::new(AtomicUsize::new(0));
    let heard = Arc::clone(&again);
    let world = World::serving(Kind::Named, &all, limits, quick(), move |request, peer| match request {
        Request::Fetch(fetch) if fetch.table == "apples" && peer.number == 0 => {
            peer.honest(fetch, 1..3);
            std::thread::sleep(Duration::from_millis(200));
            peer.cut();
            true
        }
        Request::Fetch(fetch) if fetch.table == "zebras" && peer.number == 1 => {
            heard.store(1, Ordering::SeqCst);
            false
        }
        _ => false,
    });
    // Its rows are written on their own.
    let here =
        "CREATE TABLE evil(id INTEGER PRIMARY KEY, name TEXT); CREATE TRIGGER t AFTER INSERT ON evil BEGIN SELECT 1; END";
    world.sqlite.execute_batch(here).unwrap();
    let other = rusqlite::Connection::open(world.path()).unwrap();
    let asked_again = || again.load(Ordering::SeqCst) == 1;
    let options = PullOptions::new().retry_time(Duration::from_secs(3));
    let pulled = world.pull_with(options.on_progress(|progress| match (progress.table, progress.phase) {
        // The connection is lost before it is committed.
        ("apples", Phase::Started) => until("it comes back", || world.connections.load(Ordering::SeqCst) == 2),
        ("evil", Phase::Started) if other.is_autocommit() => {
            until("all are asked for", asked_again);
            std::thread::sleep(Duration::from_millis(200));
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
        }
        ("evil", Phase::Finished) if !other.is_autocommit() => other.execute_batch("ROLLBACK").unwrap(),
        _ => {}
    }));
    assert_eq!(pulled.error().kind(), ErrorKind::Locked, "{}", pulled.error());
    until("two are done", || settled(&world).0.len() >= 2);
    let (mut done, cancelled) = settled(&world);
    done.sort();
    assert_eq!(done, ["apples", "zebras"], "{cancelled:?}");
    assert!(cancelled.contains(&"evil".to_owned()), "{cancelled:?}");
    let pulled = world.pull();
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
}

fn is_fetch(request: &Request, table: &str) -> bool {
    matches!(request, Request::Fetch(fetch) if fetch.table == table)
}

/// The receiver stands still, and the sender sends what it may, whatever table it is of.
#[test]
fn what_waits_to_be_written_is_bounded_for_all_tables_together() {
    const PAGES: u32 = 16;
    const TABLES: usize = 60;
    struct Queue {
        waiting: VecDeque<(Fetch, i64)>,
        /// Pages of the first that were sent.
        pages: u32,
    }
    let names: Vec<String> = (0..TABLES).map(|n| format!("t{n:03}")).collect();
    let all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), u64::from(PAGES))).collect();
    let queue = Mutex::new(Queue { waiting: VecDeque::new(), pages: 0 });
    let (sent, text) = (Arc::new(AtomicUsize::new(0)), "x".repeat(60 << 10));
    let (counted, text) = (Arc::clone(&sent), text);
    let world = World::serving(Kind::Named, &all, Limits::default(), quick(), move |request, peer| {
        let queue = &mut *queue.lock().unwrap();
        match request {
            Request::Fetch(fetch) => queue.waiting.push_back((fetch.clone(), fetch.window.get().into())),
            Request::Credit { request, bytes } => {
                let asked = queue.waiting.iter_mut().find(|(fetch, _)| fetch.request == *request);
                asked.into_iter().for_each(|(_, credit)| *credit += i64::from(bytes.get()));
            }
            _ => {}
        }
        while let Some((fetch, credit)) = queue.waiting.front_mut().filter(|(_, credit)| *credit > 0) {
            let mut one = Rows::new(2);
            one.push([ValueRef::Integer(queue.pages.into()), ValueRef::Text(text.as_bytes())]);
            *credit -= text.len() as i64 + 48;
            let request = fetch.request;
            let after = place(queue.pages.into());
            peer.say(page_of(request, queue.pages, queue.pages + 1 < PAGES, &one, Some(&after)));
            counted.fetch_add(text.len(), Ordering::SeqCst);
            queue.pages += 1;
            if queue.pages == PAGES {
                peer.say(end(request, PAGES.into()));
                queue.pages = 0;
                queue.waiting.pop_front();
            }
        }
        true
    });
    let mut most = None;
    let pulled = world.pull_with(PullOptions::new().on_progress(|progress| {
        if progress.phase == Phase::Receiving && most.is_none() {
            let mut before = usize::MAX;
            until("it stops", || {
                std::thread::sleep(Duration::from_millis(300));
                std::mem::replace(&mut before, sent.load(Ordering::SeqCst)) == sent.load(Ordering::SeqCst)
            });
            most = Some(sent.load(Ordering::SeqCst));
        }
    }));
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    assert_eq!(sent.load(Ordering::SeqCst), TABLES * PAGES as usize * (60 << 10));
    // Of 60 MB. What was written before the first report came is among it.
    assert!(most.unwrap() < 8 << 20, "{most:?}");
}

#[test]
fn a_refusal_need_not_wait_for_its_turn() {
    let world = World::new(Kind::Named, |fetch, peer| {
        peer.say(refusal(fetch.request + 1, "table_not_allowed", "no").encode());
        // It says so twice, and sends pages of what it refused.
        peer.say(refusal(fetch.request + 1, "disabled", "not at all").encode());
        peer.say(page(fetch.request + 1, 0, 1..3, false));
        peer.honest(fetch, 1..EVIL + 1);
    });
    let pulled = world.pull();
    assert!(pulled.evil().is_clean(), "{:?}", pulled.0);
    let zebras = pulled.table("zebras");
    assert_eq!(zebras.error.as_ref().map(|error| error.kind()), Some(ErrorKind::TableNotAllowed), "{zebras:?}");
    assert_eq!(world.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn refusals_without_end_are_not_kept() {
    let limits = Limits::with(|limits| {
        limits.wire.message_bytes = 64 << 10;
        limits.pull.stream_window_bytes = 64 << 10;
    });
    let world = World::with(Kind::Named, limits, quick(), |fetch, peer| {
        let refusal = refusal(fetch.request + 1, "peer", &"x".repeat(2_000)).encode();
        for _ in 0..2_000 {
            peer.say(refusal.clone());
        }
        peer.honest(fetch, 1..EVIL + 1);
    });
    let pulled = world.pull();
    assert_eq!(pulled.error().kind(), ErrorKind::Protocol, "{}", pulled.error());
    assert!(pulled.error().message().contains("cancelled requests"), "{}", pulled.error());
}

/// What was given up comes for longer than an answer may take, over a link that is slow and alive.
#[test]
fn what_was_given_up_takes_no_time_from_what_is_waited_for() {
    let options = quick().request_timeout(Duration::from_secs(2));
    let world = World::with(Kind::Named, Limits::default(), options, |fetch, peer| {
        for _ in 0..25 {
            std::thread::sleep(Duration::from_millis(100));
            peer.say(page(fetch.request + 7, 0, 1..3, true));
        }
        peer.honest(fetch, 1..EVIL + 1);
    });
    let pulled = world.pull_with(PullOptions::new().retry_time(Duration::ZERO));
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
}

#[test]
fn the_end_says_which_state_has_no_more() {
    for (state, is_one) in [(1, true), (2, false)] {
        let world = World::serving(
            Kind::Named,
            &[("apples", 2), ("evil", 0), ("zebras", 2)],
            Limits::default(),
            quick(),
            move |request, peer| match request {
                Request::Fetch(fetch) if fetch.table == "evil" => {
                    let state = std::num::NonZeroU64::new(state);
                    peer.say(End { request: fetch.request, rows: 0, state, sum: None }.encode())
                }
                _ => false,
            },
        );
        let pulled = world.pull();
        assert!(pulled.0.is_clean() && pulled.0.one_state == is_one, "{:?}", pulled.0);
        assert_eq!(pulled.evil().status, TableStatus::Completed);
    }
}

/// Three tables came whole, and the connection is cut before the sender hears of it: it hears of each once there is another one.
#[test]
fn what_could_not_be_told_is_told_through_the_next_connection() {
    let all = [("apples", 2), ("evil", 6), ("zebras", 2)];
    let world = World::serving(Kind::Named, &all, Limits::default(), quick(), |request, peer| match request {
        Request::Fetch(fetch) if fetch.table == "zebras" && peer.number == 0 => {
            // The end is lost.
            peer.say(page(fetch.request, 0, 1..3, false));
            std::thread::sleep(Duration::from_millis(200));
            peer.cut();
            true
        }
        // Of each nothing is left after its last row.
        Request::Fetch(fetch) if peer.number == 1 => {
            assert!(fetch.after.is_some() && fetch.records > 0, "{fetch:?}");
            peer.say(end(fetch.request, 0))
        }
        _ => false,
    });
    let pulled = world.pull_with(PullOptions::new().on_progress(|progress| {
        if progress.table == "apples" && progress.phase == Phase::Started {
            let zebras = || world.heard.lock().unwrap().iter().any(|request| is_fetch(request, "zebras"));
            until("all are asked for", zebras);
            std::thread::sleep(Duration::from_millis(500));
        }
    }));
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    until("all are done", || settled(&world).0.len() >= 3);
    let (mut done, _) = settled(&world);
    done.sort();
    assert_eq!(done, ["apples", "evil", "zebras"]);
    assert_eq!(world.connections.load(Ordering::SeqCst), 2);
}
