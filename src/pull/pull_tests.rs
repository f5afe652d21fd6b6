//! Pulls from a sender that refuses, makes wait and asks for approval as a test wants it to.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::run::pull;
use super::source::{Page, Source};
use super::verdict::{Approval, Verdict};
use super::{Phase, PullOptions, Report, TableStatus};
use crate::cancel::{CancelToken, Patience};
use crate::clock::ManualClock;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::table::TableInfo;
use crate::domain::transfer::{Transfer, TransferCounters, TransferFilter, TransferStatus};
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::Origin;
use crate::limits::Limits;
use crate::site::Site;

/// A page of a table that is asked for: its table, its offset, and how often that was asked before.
type OnPage = Box<dyn Fn(&str, u64, usize) -> Result<()> + Send + Sync>;

/// Answers the nth question for approval.
type OnApprovals = Box<dyn Fn(&[String], usize) -> Option<Vec<Approval>> + Send + Sync>;

/// A sender that is a site in the same process.
struct Fake {
    site: Site,
    on_page: OnPage,
    on_approvals: OnApprovals,
    asked: Mutex<Vec<(String, u64)>>,
    polls: Mutex<usize>,
}

impl Fake {
    fn pages_of(&self, table: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(name, _)| name == table).count()
    }
}

impl Source for Fake {
    fn is_rowferry(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }

    fn tables(&self, _: &Patience) -> Result<Vec<TableInfo>> {
        self.site.list_tables()
    }

    fn schema(&self, table: &str, _: &Patience) -> Result<TableSchema> {
        self.site.get_schema(table)
    }

    fn count(&self, table: &str, _: &Patience) -> Result<u64> {
        self.site.get_count(table)
    }

    fn approvals(&self, tables: &[String], _: &Patience) -> Result<Option<Vec<Approval>>> {
        let mut polls = self.polls.lock().unwrap();
        *polls += 1;
        Ok((self.on_approvals)(tables, *polls - 1))
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, _: &Patience) -> Result<Page> {
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let this = (table.name.clone(), offset);
            let before = asked.iter().filter(|ask| **ask == this).count();
            asked.push(this);
            before
        };
        (self.on_page)(&table.name, offset, before)?;
        let records = self.site.export_records(&table.name, offset, u64::from(limit))?;
        rows.push_rows(&records.rows, 0..records.rows.len());
        let received = records.rows.len() as u64;
        let has_more = offset + received < self.site.get_count(&table.name)?;
        Ok(Page { received, has_more, state: Some(1), bytes: 100, ..Page::default() })
    }
}

/// A sender with the tables a, b and c of 20 rows each, and a site to pull into.
struct World {
    _folder: tempfile::TempDir,
    fake: Fake,
    here: Site,
    clock: Arc<ManualClock>,
    sqlite: rusqlite::Connection,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.db");
        let sqlite = rusqlite::Connection::open(&there).unwrap();
        for table in ["a", "b", "c"] {
            let make = format!(
                "CREATE TABLE {table}(id INTEGER PRIMARY KEY, v TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
                 INSERT INTO {table} SELECT i, 'row ' || i FROM n;"
            );
            sqlite.execute_batch(&make).unwrap();
        }
        let fake = Fake {
            site: Site::open(&there).unwrap(),
            on_page: Box::new(|_, _, _| Ok(())),
            on_approvals: Box::new(|_, _| None),
            asked: Mutex::default(),
            polls: Mutex::default(),
        };
        let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
        let limits = Limits::with(|limits| limits.pull.approval_poll_time = Duration::from_millis(1));
        let path = folder.path().join("here.db");
        let here = Site::builder().clock(clock.clone()).limits(limits).open(&path).unwrap();
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        sqlite.busy_timeout(Duration::ZERO).unwrap();
        World { _folder: folder, fake, here, clock, sqlite }
    }

    fn on_page(mut self, on_page: impl Fn(&str, u64, usize) -> Result<()> + Send + Sync + 'static) -> Self {
        self.fake.on_page = Box::new(on_page);
        self
    }

    fn on_approvals(
        mut self,
        on_approvals: impl Fn(&[String], usize) -> Option<Vec<Approval>> + Send + Sync + 'static,
    ) -> Self {
        self.fake.on_approvals = Box::new(on_approvals);
        self
    }

    fn pull(&self, options: PullOptions<'_>) -> Report {
        let origin = Origin { connection: None, site_url: "https://shop.example".to_owned() };
        let options = options.batch_size(10);
        pull(&self.fake, self.here.here(), options, Some(origin)).unwrap()
    }

    /// The history, the oldest first.
    fn history(&self) -> Vec<Transfer> {
        self.here.transfers().list(&TransferFilter::new().oldest_first()).unwrap()
    }

    fn rows(&self, table: &str) -> i64 {
        self.sqlite.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// Whether somebody else can write to the database now.
    fn is_free(&self) -> bool {
        self.sqlite.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    }
}

fn refusal(kind: ErrorKind) -> Error {
    Error::new(kind, "no")
}

/// Who comes back to be asked a second later, but quickly.
fn later() -> Error {
    refusal(ErrorKind::RateLimited).with_retry_after(Duration::from_millis(1))
}

fn error_kind(report: &Report, table: &str) -> Option<ErrorKind> {
    report.table(table).unwrap().error.as_ref().map(Error::kind)
}

#[test]
fn each_table_leaves_a_transfer() {
    let world = World::new();
    world.sqlite.execute_batch("CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT CHECK (v <> 'row 5'))").unwrap();
    world.sqlite.execute_batch("INSERT INTO a VALUES (1, 'row 1'), (2, 'old'), (3, 'old')").unwrap();
    let options = || PullOptions::new().strategy(Strategy::Overwrite).initiated_by("alice");
    let report = world.pull(options());
    let history = world.history();
    let names: Vec<_> = history.iter().map(|transfer| &*transfer.table_name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    for transfer in &history {
        let table = report.table(&transfer.table_name).unwrap();
        assert_eq!(table.transfer, Some(transfer.uuid));
        assert_eq!((transfer.status, transfer.error_message.as_deref()), (TransferStatus::Completed, None));
        assert_eq!((transfer.records_requested, transfer.conflict_strategy), (Some(20), Some(Strategy::Overwrite)));
        assert_eq!(transfer.remote_site_url.as_deref(), Some("https://shop.example"));
        assert_eq!((transfer.initiated_by.as_deref(), transfer.connection), (Some("alice"), None));
        assert!(transfer.started_at.is_some() && transfer.completed_at.is_some());
    }
    let expected = TransferCounters {
        records_transferred: 20,
        records_created: 16,
        records_updated: 2,
        records_skipped: 1,
        records_failed: 1,
        bytes_transferred: 200,
    };
    assert_eq!(history[0].counters, expected);

    let dry = world.pull(options().dry_run(true));
    assert!(dry.tables.iter().all(|table| table.transfer.is_none()));
    let records = world.here.export_records("b", 0, 5).unwrap();
    assert!(world.here.import_records("b", &records, options()).unwrap().transfer.is_none());
    assert_eq!(world.history().len(), 3, "neither a dry run nor an import leaves one");
}

#[test]
fn what_goes_wrong_stands_in_the_history() {
    let world = World::new().on_page(|table, offset, before| match (table, offset, before) {
        ("b", 10, 0) => Err(refusal(ErrorKind::Peer)),
        ("b", 10, 1) => Err(later()),
        _ => Ok(()),
    });
    let report = world.pull(PullOptions::new());
    let history = world.history();
    let status: Vec<_> = history.iter().map(|transfer| transfer.status).collect();
    assert_eq!(status, [TransferStatus::Completed, TransferStatus::Failed, TransferStatus::Completed]);
    assert_eq!(history[1].error_message.as_deref(), Some("no"));
    assert_eq!(history[1].counters.records_transferred, report.table("b").unwrap().outcome.total());
    assert_eq!(history[1].counters.records_transferred, world.rows("b") as u64);

    let token = CancelToken::new();
    let cancel = token.clone();
    let options = PullOptions::new().cancel(token).on_progress(move |progress| {
        // What came is written before such a wait.
        if progress.table == "b" && progress.phase == Phase::RateLimited {
            cancel.cancel();
        }
    });
    let _ = world.pull(options);
    let history = world.history();
    let status: Vec<_> = history[3..].iter().map(|transfer| transfer.status).collect();
    assert_eq!(status, [TransferStatus::Completed, TransferStatus::Cancelled], "c was not asked for");
}

#[test]
fn who_refuses_the_connection_is_not_asked_again() {
    for kind in [ErrorKind::RecordLimit, ErrorKind::DownloadLimit, ErrorKind::ConnectionNotActive] {
        let world = World::new().on_page(move |table, offset, _| match (table, offset) {
            ("b", 10) => Err(refusal(kind).with_hint("Ask the owner.")),
            _ => Ok(()),
        });
        let report = world.pull(PullOptions::new());
        assert_eq!(report.table("a").unwrap().status, TableStatus::Completed);
        assert_eq!((error_kind(&report, "b"), error_kind(&report, "c")), (Some(kind), Some(kind)));
        assert_eq!(world.rows("b") as u64, report.table("b").unwrap().outcome.created, "what was written stays");
        let last = report.table("c").unwrap().error.as_ref().unwrap();
        assert!(last.message().contains("not tried") && last.hint() == Some("Ask the owner."), "{last}");
        assert_eq!(world.fake.pages_of("c"), 0);
        assert_eq!(world.history().len(), 2, "a table that was not asked for leaves no transfer");
    }
    // What is refused for one table only stops no other.
    let world = World::new().on_page(|table, _, _| match table {
        "b" => Err(refusal(ErrorKind::TableNotAllowed)),
        _ => Ok(()),
    });
    let report = world.pull(PullOptions::new());
    assert_eq!((error_kind(&report, "b"), error_kind(&report, "c")), (Some(ErrorKind::TableNotAllowed), None));
}

#[test]
fn tables_that_need_approval_stop_no_others() {
    let waits = Uuid::now_v7();
    let world = World::new().on_page(move |table, _, _| match table {
        "b" => Err(refusal(ErrorKind::ApprovalRequired).with_transfer(waits)),
        _ => Ok(()),
    });
    let report = world.pull(PullOptions::new());
    let table = report.table("b").unwrap();
    assert_eq!((table.status, table.approval), (TableStatus::Failed, Some(waits)));
    let error = table.error.as_ref().unwrap();
    assert_eq!((error.kind(), error.transfer()), (ErrorKind::ApprovalRequired, Some(waits)));
    assert!(error.hint().unwrap().contains("pull again"));
    for table in ["a", "c"] {
        assert!(report.table(table).unwrap().is_clean());
        assert_eq!(report.table(table).unwrap().approval, None);
    }
    assert_eq!(*world.fake.polls.lock().unwrap(), 0, "nobody asked to wait");
}

fn approval(table: &str, verdict: Verdict, transfer: Option<Uuid>) -> Approval {
    let reason = (verdict == Verdict::Denied).then(|| "not this one".to_owned());
    Approval { table: table.to_owned(), verdict, transfer, reason }
}

#[test]
fn a_pull_waits_for_approval() {
    let (b, c) = (Uuid::now_v7(), Uuid::now_v7());
    let world = World::new().on_approvals(move |tables, poll| {
        match poll {
            0 => assert_eq!(tables, ["a", "b", "c"]),
            _ => assert_eq!(tables, ["b", "c"], "only those that wait are asked for again"),
        }
        let all = match poll {
            0 | 1 => vec![
                approval("a", Verdict::Granted, None),
                approval("b", Verdict::Pending, Some(b)),
                approval("c", Verdict::Pending, Some(c)),
            ],
            _ => vec![approval("b", Verdict::Granted, Some(b)), approval("c", Verdict::Denied, Some(c))],
        };
        Some(all)
    });
    let mut seen = Vec::new();
    let options = PullOptions::new().wait_for_approval(Duration::from_secs(3600)).on_progress(|progress| {
        assert!(world.is_free(), "{progress:?}");
        if progress.phase == Phase::AwaitingApproval {
            assert_eq!(world.fake.pages_of("a"), 0, "all are waited for before the first one is pulled");
            seen.push(progress.table.to_owned());
        }
    });
    let report = world.pull(options);
    assert_eq!(seen, ["b", "c", "b", "c"]);
    assert!(report.table("a").unwrap().is_clean() && report.table("b").unwrap().is_clean());
    assert_eq!(report.table("b").unwrap().approval, Some(b));
    let denied = report.table("c").unwrap();
    assert_eq!((denied.status, denied.approval), (TableStatus::Failed, Some(c)));
    let error = denied.error.as_ref().unwrap();
    assert_eq!((error.kind(), error.transfer()), (ErrorKind::ApprovalDenied, Some(c)));
    assert!(error.message().contains("not this one"));
    assert_eq!(world.fake.pages_of("c"), 0);
    assert_eq!(world.history().len(), 2);
}

#[test]
fn the_wait_for_approval_ends() {
    let b = Uuid::now_v7();
    let pending = move |_: &[String], _| Some(vec![approval("b", Verdict::Pending, Some(b))]);
    // When its time is over, what was granted is pulled.
    let world = World::new().on_approvals(pending);
    let report = world.pull(PullOptions::new().wait_for_approval(Duration::ZERO));
    assert_eq!((error_kind(&report, "a"), error_kind(&report, "b")), (None, Some(ErrorKind::ApprovalRequired)));
    assert_eq!((report.table("b").unwrap().approval, world.fake.pages_of("b")), (Some(b), 0));
    // When it is cancelled, or the whole pull's time is over, nothing is.
    let token = CancelToken::new();
    let cancel = token.clone();
    let hour = Duration::from_secs(3600);
    let world = World::new().on_approvals(pending);
    let options = PullOptions::new().wait_for_approval(hour).cancel(token);
    let report = world.pull(options.on_progress(move |_| cancel.cancel()));
    for table in ["a", "b", "c"] {
        assert_eq!(error_kind(&report, table), Some(ErrorKind::Cancelled), "{table}");
    }
    let world = World::new().on_approvals(pending);
    let report = world.pull(PullOptions::new().wait_for_approval(hour).timeout(Duration::from_millis(300)));
    assert_eq!(error_kind(&report, "b"), Some(ErrorKind::Timeout));
    // A sender that cannot be asked is not waited for.
    let world = World::new();
    assert!(world.pull(PullOptions::new().wait_for_approval(hour)).is_clean());
}

#[test]
fn a_pull_waits_where_calls_are_counted() {
    let world = World::new().on_page(|table, _, before| match (table, before) {
        ("b", 0..3) => Err(later()),
        _ => Ok(()),
    });
    let mut waited = 0;
    let report = world.pull(PullOptions::new().on_progress(|progress| {
        assert!(world.is_free(), "{progress:?}");
        if progress.phase == Phase::RateLimited {
            assert_eq!(progress.table, "b");
            waited += 1;
        }
    }));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((waited, world.rows("b")), (6, 20));

    // Whoever says to wait for longer than a pull does is not waited for.
    let world = World::new().on_page(|table, _, _| match table {
        "b" => Err(refusal(ErrorKind::RateLimited).with_retry_after(Duration::from_secs(121))),
        _ => Ok(()),
    });
    let report = world.pull(PullOptions::new());
    assert_eq!((error_kind(&report, "b"), error_kind(&report, "c")), (Some(ErrorKind::RateLimited), None));
    assert_eq!(world.fake.pages_of("b"), 1);
}

#[test]
fn a_long_pull_is_not_taken_for_dead() {
    let world = World::new().on_page(|table, _, before| match (table, before) {
        ("b", 0..4) => Err(later()),
        _ => Ok(()),
    });
    let transfers = world.here.transfers();
    let report = world.pull(PullOptions::new().on_progress(|progress| {
        if progress.phase == Phase::RateLimited {
            world.clock.advance(Duration::from_secs(100));
            let before = world.here.clock().now() - Duration::from_secs(110);
            assert_eq!(transfers.fail_abandoned(before).unwrap(), 0);
        }
    }));
    assert!(report.is_clean());
    let history = world.history();
    assert!(history.iter().all(|transfer| transfer.status == TransferStatus::Completed), "{history:?}");
    assert!(history[1].duration().unwrap() >= Duration::from_secs(400));

    // One that does not stir is.
    let world = World::new().on_page(|table, offset, before| match (table, offset, before) {
        ("b", 10, 0) => Err(later()),
        _ => Ok(()),
    });
    let transfers = world.here.transfers();
    let report = world.pull(PullOptions::new().on_progress(|progress| {
        if progress.table == "b" && progress.phase == Phase::RateLimited {
            world.clock.advance(Duration::from_secs(7200));
            let before = world.here.clock().now() - Duration::from_secs(3600);
            assert_eq!(transfers.fail_abandoned(before).unwrap(), 1);
        }
    }));
    assert_eq!(world.history()[1].status, TransferStatus::Failed);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(world.history()[1].counters.records_transferred, report.table("b").unwrap().outcome.total());
}

#[test]
fn a_pull_that_waits_for_hours_keeps_what_is_its_own() {
    let b = Uuid::now_v7();
    let world = World::new().on_approvals(move |_, poll| {
        let verdict = if poll < 3 { Verdict::Pending } else { Verdict::Granted };
        Some(vec![approval("b", verdict, Some(b))])
    });
    let mut waited = 0;
    let report = world.pull(PullOptions::new().wait_for_approval(Duration::from_secs(3600)).on_progress(|progress| {
        if progress.phase == Phase::AwaitingApproval {
            assert_eq!(progress.approval, Some(b), "who waits is told what for");
            world.clock.advance(Duration::from_secs(2400));
            world.here.maintain().unwrap();
            waited += 1;
        }
    }));
    assert_eq!(waited, 3);
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn where_approval_cannot_be_asked_for_the_pull_itself_is_tried_again() {
    let b = Uuid::now_v7();
    let needs = move |table: &str, offset: u64, before: usize| match (table, offset, before) {
        ("b", 0, 0..3) => Err(refusal(ErrorKind::ApprovalRequired).with_transfer(b)),
        _ => Ok(()),
    };
    let world = World::new().on_page(needs);
    let mut seen = Vec::new();
    let report = world.pull(PullOptions::new().wait_for_approval(Duration::from_secs(3600)).on_progress(|progress| {
        assert!(world.is_free(), "{progress:?}");
        if progress.phase == Phase::AwaitingApproval {
            seen.push((progress.table.to_owned(), progress.approval));
        }
    }));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(seen, vec![("b".to_owned(), Some(b)); 3]);
    // Who does not wait is told at once.
    let world = World::new().on_page(needs);
    let report = world.pull(PullOptions::new());
    assert_eq!((error_kind(&report, "b"), world.fake.pages_of("b")), (Some(ErrorKind::ApprovalRequired), 1));
}

#[test]
fn a_transfer_that_is_cancelled_here_ends_its_table() {
    let mut world = World::new().on_page(|table, offset, before| match (table, offset, before) {
        // What came is written before such a wait.
        ("b", 10, 0) => Err(later()),
        _ => Ok(()),
    });
    let limits = Limits::with(|limits| limits.pull.commit_rows = 10);
    let path = world._folder.path().join("here.db");
    world.here = Site::builder().clock(world.clock.clone()).limits(limits).open(path).unwrap();
    let transfers = world.here.transfers();
    let report = world.pull(PullOptions::new().on_progress(|progress| {
        if progress.table == "b" && progress.phase == Phase::RateLimited {
            let running = world.history()[1].uuid;
            transfers.cancel(running, Some("enough")).unwrap();
            world.clock.advance(Duration::from_secs(10));
        }
    }));
    assert!(report.table("a").unwrap().is_clean() && report.table("c").unwrap().is_clean(), "{report:?}");
    let cancelled = report.table("b").unwrap();
    let error = cancelled.error.as_ref().unwrap();
    assert!(error.kind() == ErrorKind::Cancelled && error.message().contains("enough"), "{error}");
    assert!(cancelled.notes.is_empty(), "{cancelled:?}");
    let kept = &world.history()[1];
    assert_eq!((kept.status, kept.counters.records_created), (TransferStatus::Cancelled, 10), "what was moved is told");
    assert_eq!((cancelled.outcome.created, world.rows("b")), (10, 10));
}

#[test]
fn a_pull_that_is_cancelled_gives_its_report_whenever_that_is() {
    let token = CancelToken::new();
    let stop = token.clone();
    let world = World::new().on_page(move |table, _, _| {
        if table == "b" {
            stop.cancel();
        }
        Ok(())
    });
    let report = world.pull(PullOptions::new().cancel(token.clone()));
    assert!(report.cancelled && report.error.is_none() && report.tables.len() == 3, "{report:?}");
    let error = report.ok().unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::Cancelled, Some("Pull again: it resumes.")));
    // Before there were tables.
    let report = world.pull(PullOptions::new().cancel(token.clone()));
    assert!(report.cancelled && report.tables.is_empty() && !report.is_clean(), "{report:?}");
    assert_eq!(report.ok().unwrap_err().kind(), ErrorKind::Cancelled);
    // One that was through before it could be cancelled is whole.
    let late = CancelToken::new();
    let cancel = |progress: &super::Progress<'_>| {
        if progress.phase == Phase::Finished && progress.table_index == 2 {
            late.cancel();
        }
    };
    let world = World::new();
    let report = world.pull(PullOptions::new().cancel(late.clone()).on_progress(cancel));
    assert!(late.is_cancelled() && !report.cancelled && report.ok().is_ok(), "{report:?}");
}

#[test]
fn waits_are_told_with_the_time_that_they_may_take() {
    let world = World::new().on_page(|table, _, asked| match (table, asked) {
        ("b", 0) => Err(later()),
        _ => Ok(()),
    });
    let mut waits = Vec::new();
    let report = world.pull(PullOptions::new().on_progress(|progress| {
        if let Some(wait) = progress.wait {
            waits.push((progress.table.to_owned(), progress.phase, wait));
        }
    }));
    report.ok().unwrap();
    // Each of its two pages once.
    let wait = ("b".to_owned(), Phase::RateLimited, Duration::from_millis(20));
    assert_eq!(waits, [wait.clone(), wait]);
}
