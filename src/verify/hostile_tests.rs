//! Comparisons with senders that lie, do not come to an end, or refuse: each ends with an error or an estimate, and the connection stays good.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{TableVerification, VerifyOptions, VerifyReason, VerifyStatus};
use crate::domain::row_sum::{RowHasher, RowSum};
use crate::domain::sketch::{CELL_BYTES, FIRST_CELLS, Sketch};
use crate::domain::value::Rows;
use crate::error::ErrorKind;
use crate::limits::Limits;
use crate::pull::stream_tests::sender::{Kind, Peer, World, end, page_of, quick, refusal, rows};
use crate::wire::native::{Cells, Compare, Request, SENT_CELLS, Scanned, Summary};

/// What the sender has of the table `t`, by their ids; here are those from 1 to 100.
const THERE: std::ops::Range<i64> = 6..106;

/// An honest answer to what is asked, of rows with these ids.
struct Honest {
    ids: std::ops::Range<i64>,
    seed: Mutex<u64>,
}

impl Honest {
    fn hashes(&self) -> (Rows, Vec<u128>) {
        let rows = rows(self.ids.clone());
        let mut hasher = RowHasher::new(*self.seed.lock().unwrap());
        let hashes = (0..rows.len()).map(|row| hasher.hash_row(rows.row(row))).collect();
        (rows, hashes)
    }

    fn sketch(&self, cells: u32) -> Sketch {
        let mut sketch = Sketch::new(cells);
        self.hashes().1.into_iter().for_each(|hash| sketch.add(hash as u64));
        sketch
    }

    fn summary(&self, compare: &Compare) -> Summary {
        *self.seed.lock().unwrap() = compare.seed;
        let mut sum = RowSum::default();
        self.hashes().1.into_iter().for_each(|hash| sum.add(hash));
        Summary { request: compare.request, state: 1, sum, first: self.sketch(FIRST_CELLS) }
    }

    /// The rows with these hashes.
    fn wanted(&self, hashes: &[u64]) -> Rows {
        let (all, of_rows) = self.hashes();
        let mut wanted = Rows::new(all.width());
        let rows = of_rows.iter().enumerate().filter(|(_, hash)| hashes.contains(&(**hash as u64)));
        rows.for_each(|(row, _)| wanted.push_rows(&all, row..row + 1));
        wanted
    }

    fn answer(&self, request: &Request, peer: &mut Peer) {
        match request {
            Request::Compare(compare) => {
                peer.say(Scanned { request: compare.request, rows: 50 }.encode());
                peer.say(self.summary(compare).encode());
            }
            Request::Sketch(of) => say_cells(peer, of.request, &self.sketch(of.cells.get())),
            Request::Want(want) => {
                let rows = self.wanted(&want.hashes);
                peer.say(page_of(want.request, 0, false, &rows, None));
                peer.say(end(want.request, rows.len() as u64));
            }
            _ => {}
        }
    }
}

fn say_cells(peer: &mut Peer, request: u32, sketch: &Sketch) {
    for first in (0..sketch.len()).step_by(SENT_CELLS as usize) {
        let mut cells = Vec::new();
        sketch.encode(first, SENT_CELLS, &mut cells);
        peer.say(Cells { request, first, cells: &cells }.encode());
    }
}

/// What comes of a comparison with a sender that is honest but for what the twist answers (`true`). The connection is as good as before.
fn verify_with(
    ids: std::ops::Range<i64>,
    twist: impl Fn(&Request, &mut Peer, &Honest) -> bool + Send + Sync + 'static,
) -> TableVerification {
    let honest = Arc::new(Honest { ids, seed: Mutex::new(0) });
    let world = World::serving(Kind::Named, &[("t", 100)], Limits::default(), quick(), move |request, peer| {
        if matches!(request, Request::Fetch(_)) {
            return false;
        }
        if !twist(request, peer, &honest) {
            honest.answer(request, peer);
        }
        true
    });
    let fill = "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT);
        WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 100) INSERT INTO t SELECT n, 'row ' || n FROM s";
    world.sqlite.execute_batch(fill).unwrap();
    let options = VerifyOptions::new().timeout(Duration::from_secs(60)).retry_time(Duration::ZERO);
    let report = world.client.verify(&world.site, options).unwrap();
    assert_eq!(world.client.list_tables().unwrap().len(), 1, "the connection is good");
    report.table("t").unwrap().clone()
}

#[track_caller]
fn expect_error(table: &TableVerification, reason: VerifyReason, kind: ErrorKind) {
    let error = table.error.as_ref().map(|error| error.kind());
    assert_eq!((table.status, table.reason, error), (VerifyStatus::Inconclusive, Some(reason), Some(kind)), "{table:?}");
}

#[test]
fn an_honest_sender_is_believed() {
    let table = verify_with(1..101, |_, _, _| false);
    assert_eq!(table.status, VerifyStatus::Equal, "{table:?}");
    let table = verify_with(THERE, |_, _, _| false);
    let counts = [table.only_there, table.only_here, table.different];
    assert_eq!(counts, [5, 5, 0].map(Some), "{table:?}");
    assert_eq!(table.keys.only_there, (101..106).map(|id| vec![id.into()]).collect::<Vec<_>>());
    // More than the first sketch tells.
    let table = verify_with(1_001..3_001, |_, _, _| false);
    assert_eq!([table.only_there, table.only_here, table.different], [2_000, 100, 0].map(Some), "{table:?}");
}

#[test]
fn a_sum_that_its_sketch_contradicts_is_an_error() {
    let twist = |change: fn(&mut Summary)| {
        move |request: &Request, peer: &mut Peer, honest: &Honest| {
            let Request::Compare(compare) = request else { return false };
            let mut summary = honest.summary(compare);
            change(&mut summary);
            peer.say(summary.encode())
        }
    };
    for ids in [1..101, THERE] {
        let table = verify_with(ids.clone(), twist(|summary| summary.sum.sum = summary.sum.sum.wrapping_add(1)));
        expect_error(&table, VerifyReason::Failed, ErrorKind::Protocol);
        let table = verify_with(ids, twist(|summary| summary.sum.rows = u64::MAX));
        expect_error(&table, VerifyReason::Failed, ErrorKind::Protocol);
    }
}

#[test]
fn cells_that_never_peel_come_to_an_estimate() {
    let table = verify_with(THERE, |request, peer, honest| {
        let junk = |cells: u32| {
            let mut sketch = Sketch::new(cells);
            assert!(sketch.decode(0, &vec![0xa5; sketch.len() as usize * CELL_BYTES]));
            sketch
        };
        match request {
            Request::Compare(compare) => {
                let mut summary = honest.summary(compare);
                summary.first = junk(FIRST_CELLS);
                peer.say(summary.encode())
            }
            Request::Sketch(of) => {
                say_cells(peer, of.request, &junk(of.cells.get()));
                true
            }
            _ => false,
        }
    });
    assert_eq!(
        (table.status, table.estimated, table.keys.only_there.len()),
        (VerifyStatus::Different, true, 0),
        "{table:?}"
    );
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_errors() {
    type Twist = fn(&Request, &mut Peer, &Honest) -> bool;
    let cases: &[(&str, Twist)] = &[
        ("it scans and never ends", |request, peer, _| {
            let Request::Compare(compare) = request else { return false };
            let sign = Scanned { request: compare.request, rows: 1 };
            for _ in 0..5_000 {
                peer.say(sign.encode());
            }
            true
        }),
        ("it scans backwards", |request, peer, _| {
            let Request::Compare(compare) = request else { return false };
            peer.say(Scanned { request: compare.request, rows: 9 }.encode());
            peer.say(Scanned { request: compare.request, rows: 8 }.encode())
        }),
        ("rows in place of a sum", |request, peer, _| {
            let Request::Compare(compare) = request else { return false };
            peer.say(page_of(compare.request, 0, false, &rows(1..3), None))
        }),
        ("a row that nobody asked for", |request, peer, _| {
            let Request::Want(want) = request else { return false };
            peer.say(page_of(want.request, 0, false, &rows(1..6), None));
            peer.say(end(want.request, 5))
        }),
        ("one row twice", |request, peer, honest| {
            let Request::Want(want) = request else { return false };
            let mut twice = honest.wanted(&want.hashes[..1]);
            twice.push_rows(&twice.clone(), 0..1);
            peer.say(page_of(want.request, 0, false, &twice, None));
            peer.say(end(want.request, 2))
        }),
        ("a row too few", |request, peer, honest| {
            let Request::Want(want) = request else { return false };
            let rows = honest.wanted(&want.hashes[1..]);
            peer.say(page_of(want.request, 0, false, &rows, None));
            peer.say(end(want.request, rows.len() as u64))
        }),
        ("an end of more rows than came", |request, peer, honest| {
            let Request::Want(want) = request else { return false };
            peer.say(page_of(want.request, 0, false, &honest.wanted(&want.hashes), None));
            peer.say(end(want.request, 6))
        }),
        ("more rows than were asked for", |request, peer, _| {
            let Request::Want(want) = request else { return false };
            peer.say(page_of(want.request, 0, true, &rows(1..1_000), None))
        }),
    ];
    for (what, twist) in cases {
        let table = verify_with(THERE, twist);
        assert_eq!(table.error.as_ref().map(|error| error.kind()), Some(ErrorKind::Protocol), "{what}: {table:?}");
        expect_error(&table, VerifyReason::Failed, ErrorKind::Protocol);
    }
    // Of a sketch that the first one does not stand for.
    let table = verify_with(1_001..3_001, |request, peer, honest| {
        let Request::Sketch(of) = request else { return false };
        let sketch = honest.sketch(of.cells.get());
        let mut cells = Vec::new();
        sketch.encode(0, 8, &mut cells);
        peer.say(Cells { request: of.request, first: 4, cells: &cells }.encode())
    });
    expect_error(&table, VerifyReason::Failed, ErrorKind::Protocol);
}

#[test]
fn what_is_refused_says_why() {
    let refused = |code: &'static str| {
        verify_with(THERE, move |request, peer, _| match request {
            Request::Compare(compare) => peer.say(refusal(compare.request, code, "No").encode()),
            _ => false,
        })
    };
    expect_error(&refused("table_not_allowed"), VerifyReason::NotAllowed, ErrorKind::TableNotAllowed);
    expect_error(&refused("approval_required"), VerifyReason::NotAllowed, ErrorKind::ApprovalRequired);
    expect_error(&refused("cursor_expired"), VerifyReason::SnapshotGone, ErrorKind::CursorExpired);
    // That something differs is known, although its rows are not given.
    let table = verify_with(THERE, |request, peer, _| match request {
        Request::Want(want) => peer.say(refusal(want.request, "record_limit_reached", "No more").encode()),
        _ => false,
    });
    assert_eq!((table.status, table.reason), (VerifyStatus::Different, Some(VerifyReason::NotAllowed)), "{table:?}");
    assert_eq!((table.only_there, table.error.unwrap().kind()), (None, ErrorKind::RecordLimit));
}

#[test]
fn a_state_that_is_gone_is_compared_once_more() {
    let tries = Mutex::new(0);
    let table = verify_with(1..101, move |request, peer, _| match request {
        Request::Compare(compare) if *tries.lock().unwrap() == 0 => {
            *tries.lock().unwrap() += 1;
            peer.say(refusal(compare.request, "cursor_expired", "Gone").encode())
        }
        _ => false,
    });
    assert_eq!(table.status, VerifyStatus::Equal, "{table:?}");
}
