//! Senders that say at the end of a table what they have sent.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::named::{settled, until};
use super::sender::{EVIL, Kind, Peer, World, end, page, place, quick, rows};
use crate::domain::canonical;
use crate::domain::row_sum::{RowHasher, RowSum, Summing};
use crate::domain::strategy::Strategy;
use crate::domain::verified::Verified;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::pull::{PullOptions, TableStatus};
use crate::site::Site;
use crate::wire::native::{End, Fetch, Request};

/// The sum of the rows with these ids.
fn sum(fetch: &Fetch, ids: Range<i64>) -> RowSum {
    let mut summing = Summing::new(RowHasher::of_pull(fetch.pull.unwrap()), RowSum::default());
    let rows = rows(ids);
    (0..rows.len()).for_each(|row| summing.add(&canonical::row(rows.row(row))));
    summing.sum()
}

fn end_with(fetch: &Fetch, rows: u64, sum: RowSum) -> Vec<u8> {
    End { request: fetch.request, rows, state: NonZeroU64::new(1), sum: Some(sum) }.encode()
}

/// All pages of two rows each that are asked for, and the end with the sum of all rows.
fn summed(peer: &mut Peer, fetch: &Fetch, ids: Range<i64>) {
    assert!(fetch.sums, "{fetch:?}");
    assert_eq!(fetch.after.is_some(), fetch.records > 0);
    let from = ids.start + fetch.records as i64;
    for (at, first) in (from..ids.end).step_by(2).enumerate() {
        let last = (first + 2).min(ids.end);
        peer.say(page(fetch.request, at as u32, first..last, last < ids.end));
    }
    peer.say(end_with(fetch, (ids.end - from) as u64, sum(fetch, ids)));
}

/// Whose other tables are as they should be.
fn world(script: impl Fn(&Fetch, &mut Peer) + Send + Sync + 'static) -> World {
    let tables = [("apples", 2), ("evil", EVIL as u64), ("zebras", 2)];
    World::serving(Kind::Summed, &tables, Limits::default(), quick(), move |request, peer| {
        let Request::Fetch(fetch) = request else { return false };
        match fetch.table.as_str() {
            "evil" => script(fetch, peer),
            _ => summed(peer, fetch, 1..3),
        }
        true
    })
}

fn all(fetch: &Fetch, peer: &mut Peer) {
    summed(peer, fetch, 1..EVIL + 1);
}

/// What the history says of the tables that came last, by name.
fn history(site: &Site) -> Vec<(String, String, Verified)> {
    let all = site.transfers().list(&Default::default()).unwrap();
    let mut all: Vec<_> = all.into_iter().map(|t| (t.table_name, t.status.to_string(), t.verified)).collect();
    all.sort();
    all
}

#[test]
fn what_arrives_as_it_was_sent_is_verified() {
    let world = world(all);
    let pulled = world.pull();
    assert!(pulled.0.is_clean() && pulled.0.notes.is_empty(), "{:?}", pulled.0);
    assert_eq!((pulled.0.verified(), world.ids("evil").len() as i64), (Verified::Received, EVIL));
    let of = |table: &str| (table.to_owned(), "completed".to_owned(), Verified::Received);
    assert_eq!(history(&world.site), ["apples", "evil", "zebras"].map(of));
}

#[test]
fn rows_that_were_not_sent_so_are_an_error_and_the_table_begins_again() {
    type Lie = fn(&Fetch) -> RowSum;
    let lies: [(&str, Lie); 3] = [
        ("another row", |fetch| sum(fetch, 2..EVIL + 2)),
        ("one more", |fetch| sum(fetch, 1..EVIL + 2)),
        ("another number", |fetch| RowSum { rows: 1, ..sum(fetch, 1..EVIL + 1) }),
    ];
    for (what, lie) in lies {
        let lies = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&lies);
        let world = world(move |fetch, peer| match still.load(Ordering::SeqCst) {
            false => all(fetch, peer),
            true => {
                peer.say(page(fetch.request, 0, 1..EVIL + 1, false));
                peer.say(end_with(fetch, EVIL as u64, lie(fetch)));
            }
        });
        let pulled = world.pull();
        assert_eq!(
            (pulled.error().kind(), pulled.evil().status),
            (ErrorKind::Incomplete, TableStatus::Incomplete),
            "{what}"
        );
        assert_eq!(pulled.error().hint(), Some("Pull the table again."));
        assert!(pulled.error().message().contains("is not what the other site sent"), "{:?}", pulled.error());
        assert_eq!((pulled.evil().verified, pulled.0.verified()), (Verified::None, Verified::None));
        assert!(pulled.0.notes.is_empty(), "the error says it: {:?}", pulled.0.notes);
        world.others_came(&pulled);
        assert_eq!(pulled.table("apples").verified, Verified::Received);
        assert_eq!(world.marks(), 0, "it does not resume there");
        let of_evil = history(&world.site).swap_remove(1);
        assert_eq!((of_evil.1.as_str(), of_evil.2), ("failed", Verified::None));
        until("the sender hears what became of all tables", || {
            let (done, given_up) = settled(&world);
            done.len() + given_up.len() >= 3
        });
        assert_eq!(settled(&world).1, ["evil"], "the sender is not told that the table is safe");

        lies.store(false, Ordering::SeqCst);
        world.heard.lock().unwrap().clear();
        let pulled = world.pull();
        assert!(pulled.0.is_clean() && pulled.0.verified() == Verified::Received, "{:?}", pulled.0);
        let from_the_first =
            |it: &Request| matches!(it, Request::Fetch(fetch) if fetch.table == "evil" && fetch.records == 0);
        assert!(world.heard.lock().unwrap().iter().any(from_the_first));
    }
}

/// Staged rows are not even applied. Appended ones are not appended again.
#[test]
fn a_lie_is_found_whatever_becomes_of_the_rows() {
    let lie = |fetch: &Fetch, peer: &mut Peer| {
        peer.say(page(fetch.request, 0, 1..EVIL + 1, false));
        peer.say(end_with(fetch, EVIL as u64, RowSum::default()));
    };
    let dry = world(lie);
    let pulled = dry.pull_with(PullOptions::new().dry_run(true));
    assert_eq!(pulled.error().kind(), ErrorKind::Incomplete);
    assert_eq!(pulled.table("apples").verified, Verified::Received);

    let world = world(lie);
    let append = || PullOptions::new().strategy(Strategy::Append);
    let pulled = world.pull_with(append());
    assert_eq!((pulled.error().kind(), pulled.evil().outcome.created), (ErrorKind::Incomplete, EVIL as u64));
    assert_eq!(world.pull_with(append()).error().kind(), ErrorKind::AlreadyAppended);
    assert_eq!(world.ids("evil").len() as i64, EVIL);
}

/// The first connection is lost after four of the rows; what came before is not sent again, and is part of the sum.
#[test]
fn a_sum_survives_a_lost_connection_and_a_lost_run() {
    let lossy = |fetch: &Fetch, peer: &mut Peer| match fetch.records {
        0 => {
            peer.say(page(fetch.request, 0, 1..3, true));
            peer.say(page(fetch.request, 1, 3..5, true));
            peer.cut();
        }
        records => {
            assert_eq!((records, fetch.after.as_ref()), (4, Some(&place(4))));
            all(fetch, peer);
        }
    };
    let reconnects = world(lossy);
    let pulled = reconnects.pull();
    assert!(pulled.0.is_clean() && pulled.0.verified() == Verified::Received, "{:?}", pulled.0);

    for lies in [false, true] {
        let world = world(move |fetch, peer| match (lies, fetch.records) {
            (true, 1..) => {
                peer.say(page(fetch.request, 0, 5..7, false));
                // What was sent before this run was not what arrived.
                peer.say(end_with(fetch, 2, sum(fetch, 2..EVIL + 2)));
            }
            _ => lossy(fetch, peer),
        });
        let pulled = world.pull_with(PullOptions::new().retry_time(Duration::ZERO));
        assert_eq!(pulled.error().kind(), ErrorKind::Disconnected);
        assert_eq!((world.ids("evil").len(), pulled.evil().verified), (4, Verified::None));
        let again = crate::client::Client::connect(
            world.client.url().as_str(),
            crate::client::Auth::code(super::sender::CODE),
            quick(),
        );
        // As a later process does, with what the database has.
        let pulled = again.unwrap().pull(&world.site, PullOptions::new().refresh(false)).unwrap();
        let evil = pulled.table("evil").unwrap();
        assert!(evil.resumed, "{evil:?}");
        match lies {
            false => assert!(pulled.is_clean() && pulled.verified() == Verified::Received, "{pulled:?}"),
            true => assert_eq!(evil.error.as_ref().map(crate::Error::kind), Some(ErrorKind::Incomplete)),
        }
    }
}

#[test]
fn where_one_end_knows_no_sum_nothing_is_verified_and_that_is_said_once() {
    let says_none = world(|fetch, peer| {
        peer.say(page(fetch.request, 0, 1..EVIL + 1, false));
        peer.say(end(fetch.request, EVIL as u64));
    });
    let pulled = says_none.pull();
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    assert_eq!((pulled.evil().verified, pulled.table("apples").verified), (Verified::None, Verified::Received));
    assert_eq!(pulled.0.verified(), Verified::None);

    let older = World::new(Kind::Named, |fetch, peer| {
        assert!(!fetch.sums);
        peer.honest(fetch, 1..EVIL + 1);
    });
    let pulled = older.pull();
    assert!(pulled.0.is_clean(), "{:?}", pulled.0);
    assert_eq!(pulled.0.verified(), Verified::None);
    let notes = &pulled.0.notes;
    assert!(notes.len() == 1 && notes[0].contains("(unverified)"), "{notes:?}");

    // An interrupted pull whose first part was not summed: its checkpoint has no sum.
    let world = world(|fetch, peer| match fetch.records {
        0 => {
            peer.say(page(fetch.request, 0, 1..3, true));
            peer.cut();
        }
        _ => {
            assert!(!fetch.sums, "the sum of what came before is not known here");
            peer.honest(fetch, 1..EVIL + 1);
        }
    });
    let once = || PullOptions::new().retry_time(Duration::ZERO).refresh(false);
    assert!(!world.pull_with(once()).0.is_clean());
    let forget = "UPDATE rowferry_marks SET progress = json_remove(progress, '$.sum')";
    world.sqlite.execute(forget, []).unwrap();
    let again =
        crate::client::Client::connect(world.client.url().as_str(), crate::client::Auth::code(super::sender::CODE), quick());
    let pulled = again.unwrap().pull(&world.site, once()).unwrap();
    assert!(pulled.is_clean(), "{pulled:?}");
    assert_eq!(pulled.table("evil").unwrap().verified, Verified::None);
}
