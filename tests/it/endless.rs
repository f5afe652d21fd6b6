//! Senders that do not come to an end: what one run of a pull takes is bounded, and what came stays. That the next run resumes:
//! `receiver_policy.rs`.

use std::sync::Arc;
use std::time::Duration;

use crate::support::fake::{Ask, FakeTable, Kind, Peer, connect, quick};
use rowferry::{ErrorKind, Limits, PullOptions, Report, Site, TableStatus};
use serde_json::json;

/// A site whose pulls write what came soon.
struct Here {
    site: Site,
    sqlite: rusqlite::Connection,
    _folder: tempfile::TempDir,
}

impl Here {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.db");
        let mut limits = Limits::default();
        limits.pull.commit_time = Duration::from_millis(20);
        let site = Site::builder().limits(limits).open(&path).unwrap();
        Here { site, sqlite: rusqlite::Connection::open(&path).unwrap(), _folder: folder }
    }

    fn rows(&self) -> i64 {
        self.sqlite.query_row("SELECT count(*) FROM evil", [], |row| row.get(0)).unwrap()
    }
}

/// Pulls a table that is said to have as many rows as there can be, and of which there is always one more, with this pause before each
/// page.
fn endless(here: &Here, pause: Duration, options: PullOptions<'_>) -> Report {
    let twist = move |ask: &Ask, peer: &mut Peer| {
        let hit = ask.is("records", "evil");
        if hit {
            std::thread::sleep(pause);
            let most = if pause.is_zero() { ask.limit } else { 1 };
            let record = |at: u64| json!({"id": ask.offset + at, "name": "x"});
            peer.page(ask, (1..=most).map(record).collect(), true);
        }
        hit
    };
    let mut table = FakeTable::new("evil", &[]);
    table.count = json!(i64::MAX);
    connect(Kind::PhoenixKit, vec![table], quick(), Arc::new(twist)).pull(&here.site, options).unwrap()
}

fn error(report: &Report) -> (TableStatus, ErrorKind) {
    let evil = report.table("evil").unwrap();
    let error = evil.error.as_ref().unwrap();
    assert!(error.hint().is_some(), "{error}");
    (evil.status, error.kind())
}

#[test]
fn records_without_end_end_at_the_bound() {
    let here = Here::new();
    let batches = || PullOptions::new().batch_size(100);
    let report = endless(&here, Duration::ZERO, batches().max_records(950));
    assert_eq!((error(&report), here.rows()), ((TableStatus::Incomplete, ErrorKind::PullLimit), 900));
    let here = Here::new();
    let report = endless(&here, Duration::ZERO, batches().max_bytes(20_000));
    assert_eq!(error(&report), (TableStatus::Incomplete, ErrorKind::PullLimit));
    assert!((100..4_000).contains(&here.rows()), "{}", here.rows());
}

#[test]
fn a_row_now_and_then_ends_when_the_time_is_over() {
    let here = Here::new();
    let report = endless(&here, Duration::from_millis(20), PullOptions::new().timeout(Duration::from_millis(600)));
    assert_eq!(error(&report), (TableStatus::Incomplete, ErrorKind::Timeout));
    assert!(here.rows() > 0, "{report:?}");
}
