//! Runs of a case and of its limit in turn, and what is printed of them.

use std::path::Path;
use std::time::Duration;

use rowferry::Strategy;

use crate::common::ratio::{Times, verdict};
use crate::databases::{Before, Databases};
use crate::pair::{Pulled, pull_once};

pub struct Bench {
    pub databases: Databases,
    pub runs: usize,
    pub rows: u64,
}

/// Times, and the most memory that either end had in any run.
#[derive(Default)]
pub struct Pulls {
    pub times: Times,
    pub sender_kb: u64,
    pub receiver_kb: u64,
}

impl Pulls {
    pub fn push(&mut self, pulled: &Pulled) {
        self.times.push(pulled.took);
        self.sender_kb = self.sender_kb.max(pulled.sender_kb);
        self.receiver_kb = self.receiver_kb.max(pulled.receiver_kb);
    }
}

impl Bench {
    pub fn new(runs: usize, rows: u64) -> Bench {
        Bench { databases: Databases::make(rows), runs, rows }
    }

    pub fn print_head(&self) {
        let version = self.databases.server.run(&self.databases.source, "SHOW server_version");
        println!("PostgreSQL {version}; {} rows; {} runs: medians, with the least and the most.", self.rows, self.runs);
        println!("{:<34} {:>9} {:>9} {:>11} {:>6}", "case", "limit", "took", "rows/s", "ratio");
    }

    /// Measures a limit and a pull in turn.
    pub fn compare(&self, name: &str, target: Option<f64>, limit: impl Fn() -> Duration, pull: impl Fn() -> Pulled) {
        let (mut limits, mut pulls) = (Times::default(), Pulls::default());
        for _ in 0..self.runs {
            limits.push(limit());
            pulls.push(&pull());
        }
        let memory = format!("sender {} MB, receiver {} MB", pulls.sender_kb / 1024, pulls.receiver_kb / 1024);
        self.report(name, target, &limits, &pulls.times, &memory);
    }

    pub fn report(&self, name: &str, target: Option<f64>, limits: &Times, times: &Times, more: &str) {
        let ratio = times.ratio_to(limits);
        let rows = self.rows as f64 / times.median_ms() * 1e3;
        println!(
            "{name:<34} {:>6.0} ms {:>6.0} ms {rows:>11.0} {ratio}  {:<17}{more}",
            limits.median_ms(),
            times.median_ms(),
            verdict(ratio.median, target),
        );
    }

    /// A pull between two databases of the server, after which the rows must be those of the source; and how many records must have been
    /// created, updated and unchanged.
    pub fn pull(&self, before: Before, expected: [u64; 3]) -> Pulled {
        self.pull_into_postgres(Path::new(&self.databases.source), before, expected)
    }

    /// The same from this database.
    pub fn pull_into_postgres(&self, source: &Path, before: Before, [created, updated, unchanged]: [u64; 3]) -> Pulled {
        let target = self.databases.target(before);
        let pulled = pull_once(source, Path::new(&target.url), Strategy::Overwrite);
        assert_eq!(pulled.counts, [created, updated, unchanged, 0, 0], "created, updated, unchanged, skipped, failed");
        self.databases.check(&target.url);
        pulled
    }

    /// A pull of the server's rows into an empty table of a SQLite file.
    pub fn pull_into_sqlite(&self) -> Pulled {
        let (_folder, path) = self.databases.sqlite_target();
        let pulled = pull_once(Path::new(&self.databases.source), &path, Strategy::Overwrite);
        assert_eq!(pulled.counts, [self.rows, 0, 0, 0, 0], "created, updated, unchanged, skipped, failed");
        self.databases.check_sqlite(&path);
        pulled
    }
}
