//! `verify` of one table, against a plain scan of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rowferry::{Auth, Client, ConnectOptions, Site, VerifyOptions};
use rusqlite::Connection;

use crate::common::ratio::{Times, verdict};
use crate::common::{Content, NARROW, Table, WIDE, scale};
use crate::pair::{Sender, peak_kb};

/// The first word of a receiving process's arguments.
pub const VERIFY: &str = "verify";

/// What is aimed at: the ratio of a comparison of equal tables to the longer of the two scans, at most.
const TARGET: f64 = 1.3;

/// How many rows differ in the second case.
const CHANGED: u64 = 1_000;

pub fn measure(runs: usize) {
    println!(
        "{runs} runs: medians, with the least and the most; `scan` is the longer of one plain SQLite scan of either file."
    );
    println!("{:<22} {:>8} {:>9} {:>9} {:>6}", "table", "rows", "scan", "took", "ratio");
    for (table, changed, target) in [(NARROW, 0, Some(TARGET)), (NARROW, CHANGED, None), (WIDE, 0, None)] {
        of(&table, changed, target, runs);
    }
}

fn of(table: &Table, changed: u64, target: Option<f64>, runs: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (there, here) = (folder.path().join("there.db"), folder.path().join("here.db"));
    let rows = (table.rows / scale()).max(1);
    table.make(&there, rows, Content::Source);
    std::fs::copy(&there, &here).expect("a copy");
    let sqlite = Connection::open(&here).expect("a database");
    let step = (rows / changed.max(1)).max(1);
    if changed > 0 {
        sqlite.execute("UPDATE t SET name = name || '!' WHERE id % ?1 = 0", [step as i64]).expect("changes");
    }
    drop(sqlite);
    let expected = if changed > 0 { rows / step } else { 0 };
    let (mut scans, mut times, mut most) = (Times::default(), Times::default(), (0, 0));
    for run in 0..runs {
        // Each goes first in turn.
        if run % 2 == 0 {
            scans.push(scan(&there).max(scan(&here)));
        }
        let (took, different, receiver_kb, sender_kb) = compared(&there, &here);
        assert_eq!(different, expected, "rows that differ");
        times.push(took);
        most = (most.0.max(sender_kb), most.1.max(receiver_kb));
        if run % 2 == 1 {
            scans.push(scan(&there).max(scan(&here)));
        }
    }
    let ratio = times.ratio_to(&scans);
    let name = if changed > 0 { format!("{}, {expected} changed", table.name) } else { format!("{}, equal", table.name) };
    println!(
        "{name:<22} {rows:>8} {:>6.0} ms {:>6.0} ms {ratio}  {}  sender {} MB, receiver {} MB",
        scans.median_ms(),
        times.median_ms(),
        verdict(ratio.median, target),
        most.0 / 1024,
        most.1 / 1024
    );
}

/// Reads every value of each row.
fn scan(database: &Path) -> Duration {
    let sqlite = Connection::open(database).expect("a database");
    sqlite.execute_batch("PRAGMA cache_size = -65536").expect("a pragma");
    let began = Instant::now();
    let mut statement = sqlite.prepare("SELECT * FROM t").expect("a statement");
    let columns = statement.column_count();
    let mut rows = statement.query([]).expect("rows");
    let mut bytes = 0usize;
    while let Some(row) = rows.next().expect("a row") {
        for column in 0..columns {
            bytes += match row.get_ref(column).expect("a value") {
                rusqlite::types::ValueRef::Text(text) => text.len(),
                rusqlite::types::ValueRef::Blob(blob) => blob.len(),
                _ => 8,
            };
        }
    }
    std::hint::black_box(bytes);
    began.elapsed()
}

/// A comparison by two processes: how long it took, rows that differ, and the most memory of receiver and sender.
fn compared(there: &Path, here: &Path) -> (Duration, u64, u64, u64) {
    let sender = Sender::start(there);
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([VERIFY, &sender.url, &sender.code]).arg(here).stderr(Stdio::inherit());
    let output = command.output().expect("a receiver");
    assert!(output.status.success(), "the receiver failed");
    let told = String::from_utf8(output.stdout).expect("text");
    let told: Vec<u64> = told.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [micros, different, receiver_kb] = told[..] else { panic!("{told:?}") };
    (Duration::from_micros(micros), different, receiver_kb, sender.end())
}

/// What the receiving process does.
pub fn once(url: &str, code: &str, database: &Path) {
    let site = Site::open(database).expect("a site");
    let began = Instant::now();
    let client = Client::connect(url, Auth::code(code), ConnectOptions::default()).expect("a connection");
    let report = client.verify(&site, VerifyOptions::new().table("t")).expect("a comparison");
    let took = began.elapsed();
    let table = report.table("t").expect("the table");
    let different = table.different.unwrap_or_else(|| panic!("{table:?}"));
    println!("{} {different} {}", took.as_micros(), peak_kb());
}
