//! A pull of a table with three plain indexes into a new file, against SQLite's own statement into a table that has them.

use std::path::Path;

use rowferry::Strategy;
use rusqlite::Connection;

use crate::common::ratio::{Times, verdict};
use crate::common::{Content, NARROW, scale};
use crate::pair::pull_once;

const INDEXES: &str =
    "CREATE INDEX by_name ON t(name); CREATE INDEX by_age ON t(age, name); CREATE INDEX by_score ON t(score DESC)";

/// What is aimed at: the ratio of a whole pull to the limit, at most.
const TARGET: f64 = 0.7;

pub fn measure(runs: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, rows) = (folder.path().join("source.db"), (NARROW.rows / scale()).max(1));
    NARROW.make(&source, rows, Content::Source);
    run(&source, INDEXES);
    let (mut limits, mut pulls, mut receiver_kb) = (Times::default(), Times::default(), 0);
    for _ in 0..runs {
        let folder = tempfile::tempdir_in(folder.path()).expect("a temporary folder");
        let (indexed, new) = (folder.path().join("indexed.db"), folder.path().join("new.db"));
        NARROW.make(&indexed, rows, Content::Empty);
        run(&indexed, INDEXES);
        limits.push(NARROW.limit(&source, &indexed, Strategy::Overwrite));
        let pulled = pull_once(&source, &new, Strategy::Overwrite);
        assert_eq!(pulled.counts, [rows, 0, 0, 0, 0], "created, updated, unchanged, skipped, failed");
        let indexes = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't'";
        let found: i64 = open(&new).query_row(indexes, [], |row| row.get(0)).expect("a count");
        assert_eq!(found, 3, "indexes");
        receiver_kb = receiver_kb.max(pulled.receiver_kb);
        pulls.push(pulled.took);
    }
    let ratio = pulls.ratio_to(&limits);
    println!(
        "{runs} runs: medians, with the least and the most; `limit` is SQLite's own statement with the indexes in place."
    );
    println!("{:<7} {:>8} {:>9} {:>9} {:>6}", "table", "rows", "limit", "took", "ratio");
    println!(
        "{:<7} {rows:>8} {:>6.0} ms {:>6.0} ms {ratio}  {}  receiver {} MB",
        "indexed",
        limits.median_ms(),
        pulls.median_ms(),
        verdict(ratio.median, Some(TARGET)),
        receiver_kb / 1024
    );
}

fn open(path: &Path) -> Connection {
    Connection::open(path).expect("a database")
}

fn run(path: &Path, sql: &str) {
    open(path).execute_batch(sql).expect("a statement");
}
