//! Imports of decoded rows against SQLite's own limit on the same rows in the same run.
//!
//! The limit is one statement between two attached files, `INSERT INTO t SELECT ... FROM src.t WHERE true [ON CONFLICT ...]`:
//! no importer can do with less. Where all rows are equal already, it is that of rows that differ, because SQLite's statement
//! does not look. Each run measures the limit and right after it the import, so that a machine that is slow for a while is slow
//! for both; what is printed is the median of the runs' ratios, with the smallest and the largest.
//!
//! What exact counts cost is measured apart, on the narrow table, where a row is cheapest and they weigh most: the importer's
//! upsert of many rows, which asks a function of each row that exists and compares its columns, against the same upsert
//! without. Everything else, such as how values are bound, is the same on both sides.
//!
//! Run with `cargo bench --bench import`; `--runs N` measures N times (10 if nothing is said), and `ROWFERRY_BENCH_SCALE=10` a
//! tenth of the rows.

#[path = "common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::ratio::{Times, verdict};
use common::{Content, NARROW, Table, WIDE, read, scale};
use rowferry::{PullOptions, Records, Site, Strategy};
use tempfile::TempDir;

/// What is imported into what.
struct Case {
    name: &'static str,
    strategy: Strategy,
    before: Content,
    /// What the limit's statement finds.
    limit_before: Content,
    /// The ratio to the limit that is aimed at, at most: of the narrow table and of the wide one.
    targets: [Option<f64>; 2],
}

const CASES: [Case; 6] = [
    Case {
        name: "into empty",
        strategy: Strategy::Overwrite,
        before: Content::Empty,
        limit_before: Content::Empty,
        targets: [Some(1.10), Some(1.0)],
    },
    Case {
        name: "overwrite, all differ",
        strategy: Strategy::Overwrite,
        before: Content::Changed,
        limit_before: Content::Changed,
        targets: [Some(1.05), Some(0.65)],
    },
    Case {
        name: "overwrite, all equal",
        strategy: Strategy::Overwrite,
        before: Content::Source,
        limit_before: Content::Changed,
        targets: [None, None],
    },
    Case {
        name: "merge, all differ",
        strategy: Strategy::Merge,
        before: Content::Changed,
        limit_before: Content::Changed,
        targets: [None, None],
    },
    Case {
        name: "skip all",
        strategy: Strategy::Skip,
        before: Content::Source,
        limit_before: Content::Source,
        targets: [Some(1.25), None],
    },
    Case {
        name: "append into empty",
        strategy: Strategy::Append,
        before: Content::Empty,
        limit_before: Content::Empty,
        targets: [None, None],
    },
];

/// What is aimed at: how much longer an upsert takes for its exact counts, at most.
const COUNTS_TARGET: f64 = 1.10;

fn main() -> ExitCode {
    let Some(runs) = runs() else {
        eprintln!("usage: [--runs N]");
        return ExitCode::from(2);
    };
    println!("{runs} runs: medians, with the least and the most ratio.");
    println!("\n{:<7} {:<24} {:>9} {:>9} {:>6}", "table", "case", "limit", "import", "ratio");
    for (table, target) in [(NARROW, 0), (WIDE, 1)] {
        let bench = Bench::new(table);
        for case in &CASES {
            bench.measure(case, runs, case.targets[target]);
        }
        if bench.table.name == NARROW.name {
            for (name, before) in [("counts, into empty", Content::Empty), ("counts, all differ", Content::Changed)] {
                bench.measure_counts(name, before, runs);
            }
        }
    }
    ExitCode::SUCCESS
}

/// How often each case is measured.
fn runs() -> Option<usize> {
    // Cargo adds the word `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(10),
        ["--runs", number] => number.parse().ok().filter(|runs| *runs > 0),
        _ => None,
    }
}

struct Bench {
    folder: TempDir,
    table: Table,
    records: Records,
}

impl Bench {
    fn new(table: Table) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = table.rows / scale();
        let mut bench = Bench { folder, table, records: Records::new([""; 0]) };
        for content in [Content::Source, Content::Changed, Content::Empty] {
            bench.table.make(&bench.file(content), rows, content);
        }
        bench.records = read(&bench.file(Content::Source));
        bench
    }

    fn file(&self, content: Content) -> PathBuf {
        self.folder.path().join(match content {
            Content::Source => "source.db",
            Content::Changed => "other.db",
            Content::Empty => "empty.db",
        })
    }

    /// A file with this content to write to, in a folder of its own.
    fn target(&self, content: Content) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir_in(self.folder.path()).expect("a temporary folder");
        let path = folder.path().join("target.db");
        std::fs::copy(self.file(content), &path).expect("a copy");
        (folder, path)
    }

    fn limit(&self, case: &Case) -> Duration {
        let (_folder, path) = self.target(case.limit_before);
        self.table.limit(&self.file(Content::Source), &path, case.strategy)
    }

    fn import(&self, case: &Case) -> Duration {
        let (_folder, path) = self.target(case.before);
        let site = Site::open(path).expect("a site");
        let began = Instant::now();
        let options = PullOptions::new().strategy(case.strategy).batch_size(5_000);
        let report = site.import_records("t", &self.records, options).expect("an import");
        let took = began.elapsed();
        assert_eq!(report.outcome.total(), self.records.rows.len() as u64);
        assert_eq!(report.outcome.failed, 0);
        took
    }

    fn measure(&self, case: &Case, runs: usize, target: Option<f64>) {
        self.compare(case.name, runs, target, || self.limit(case), || self.import(case));
    }

    fn measure_counts(&self, name: &str, before: Content, runs: usize) {
        let upsert = |counted| {
            let (_folder, path) = self.target(before);
            self.table.upsert(&path, &self.records, counted)
        };
        self.compare(name, runs, Some(COUNTS_TARGET), || upsert(false), || upsert(true));
    }

    /// Measures two ways in turn, and prints how the second one stands to the first.
    fn compare(
        &self,
        name: &str,
        runs: usize,
        target: Option<f64>,
        limit: impl Fn() -> Duration,
        ours: impl Fn() -> Duration,
    ) {
        let (mut limits, mut times) = (Times::default(), Times::default());
        for _ in 0..runs {
            limits.push(limit());
            times.push(ours());
        }
        let ratio = times.ratio_to(&limits);
        let (limit, took, verdict) = (limits.median_ms(), times.median_ms(), verdict(ratio.median, target));
        println!("{:<7} {name:<24} {limit:>6.0} ms {took:>6.0} ms {ratio}  {verdict}", self.table.name);
    }
}
