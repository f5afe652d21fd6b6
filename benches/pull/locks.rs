//! How long another writer on the receiving database waits for its lock while a pull writes there.
//!
//! The other writer is a plain connection of another process with a busy time-out of 5 s. It adds one row in a transaction of
//! its own, rests for 20 ms, and so on while the pull runs. The waits of all runs are taken together.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rowferry::Strategy;
use rusqlite::{Connection, ErrorCode};

use crate::common::ratio::Times;
use crate::common::{Content, NARROW, Table, WIDE, scale};
use crate::pair::{Manners, Sender, pull_from};

/// What the other writer waits for a lock, at most, at the 99th percentile of a polite pull.
const TARGET: Duration = Duration::from_millis(100);
/// Tables that take some seconds: each one with so many times its usual rows.
const TABLES: [(Table, u64); 2] = [(NARROW, 3), (WIDE, 1)];
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(20);

pub fn measure(runs: usize) {
    println!(
        "Pulls into an empty table, {runs} of each alone and beside another writer; that one adds a row every {REST:?}."
    );
    println!(
        "{:<7} {:>8} {:<9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9} {:>7}",
        "table", "rows", "pull", "alone", "beside", "writes", "median", "99 %", "longest", "refused"
    );
    for (table, times) in TABLES {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = (table.rows * times / scale()).max(1);
        let source = folder.path().join("source.db");
        table.make(&source, rows, Content::Source);
        for manners in [Manners::Default, Manners::Polite] {
            measure_one(&table, rows, &source, manners, runs);
        }
    }
}

fn measure_one(table: &Table, rows: u64, source: &Path, manners: Manners, runs: usize) {
    let (mut alone, mut beside, mut waits) = (Times::default(), Times::default(), Waits::default());
    for _ in 0..runs {
        for (times, writes) in [(&mut alone, false), (&mut beside, true)] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let target = target(table, folder.path());
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                let mut writer = None;
                let begun = || writer = writes.then(|| scope.spawn(|| write_beside(&target, &over)));
                let pulled = pull_from(Sender::start(source), None, &target, Strategy::Overwrite, manners, begun);
                over.store(true, Ordering::SeqCst);
                assert_eq!(pulled.counts, [rows, 0, 0, 0, 0], "created, updated, unchanged, skipped, failed");
                times.push(pulled.took);
                if let Some(writer) = writer {
                    waits.add(writer.join().expect("the other writer"));
                }
            });
        }
    }
    waits.times.sort();
    println!(
        "{:<7} {rows:>8} {:<9} {:>6.0} ms {:>6.0} ms {:>7} {:>6.1} ms {:>6.1} ms {:>6.1} ms {:>7}  {}",
        table.name,
        manners.word(),
        alone.median_ms(),
        beside.median_ms(),
        waits.times.len(),
        waits.at_percent(50),
        waits.at_percent(99),
        waits.at_percent(100),
        waits.refused,
        match manners {
            Manners::Default | Manners::Undoable => "",
            Manners::Polite if waits.refused == 0 && waits.at_percent(99) <= TARGET.as_secs_f64() * 1e3 => "<= 100 ms  met",
            Manners::Polite => "<= 100 ms  NOT MET",
        }
    );
}

fn target(table: &Table, folder: &Path) -> PathBuf {
    let path = folder.join("target.db");
    table.make(&path, 0, Content::Empty);
    let sqlite = Connection::open(&path).expect("a database");
    sqlite.execute_batch("CREATE TABLE beside(id INTEGER PRIMARY KEY, note TEXT)").expect("a table");
    path
}

/// How long another writer waited.
#[derive(Default)]
struct Waits {
    times: Vec<Duration>,
    /// Writes that did not get the lock within the busy time-out. They are among the times.
    refused: u64,
}

impl Waits {
    fn add(&mut self, other: Waits) {
        self.times.extend(other.times);
        self.refused += other.refused;
    }

    /// The wait, in milliseconds, that so many percent of the (sorted) waits do not exceed.
    fn at_percent(&self, percent: usize) -> f64 {
        let at = (self.times.len() * percent).div_ceil(100).saturating_sub(1);
        self.times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

fn write_beside(database: &Path, over: &AtomicBool) -> Waits {
    let sqlite = Connection::open(database).expect("a database");
    sqlite.busy_timeout(BUSY_TIMEOUT).expect("a time-out");
    sqlite.execute_batch("PRAGMA synchronous = NORMAL").expect("a pragma");
    let mut waits = Waits::default();
    while !over.load(Ordering::SeqCst) {
        let began = Instant::now();
        let locked = sqlite.execute_batch("BEGIN IMMEDIATE");
        waits.times.push(began.elapsed());
        match locked {
            Ok(()) => sqlite.execute_batch("INSERT INTO beside(note) VALUES ('a note'); COMMIT").expect("a row"),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => waits.refused += 1,
            Err(error) => panic!("{error}"),
        }
        thread::sleep(REST);
    }
    waits
}
