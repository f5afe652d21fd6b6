//! Imports of decoded rows against SQLite's own limit on the same rows in the same run.
//!
//! The limit is one statement between two attached files, `INSERT INTO t SELECT ... FROM src.t WHERE true [ON CONFLICT ...]`:
//! no importer can do with less. Each case is measured in turn with its limit, so that a machine that is slow for a while
//! is slow for both; the ratio of the medians is printed at the end. Run with `cargo bench --bench import`.
//!
//! What exact counts cost is measured apart, on the narrow table, where a row is cheapest and they weigh most: the importer's
//! upsert of many rows, which asks a function of each row that exists and compares its columns, against the same upsert
//! without. Everything else, such as how values are bound, is the same on both sides.

#[path = "common/mod.rs"]
mod common;

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Content, NARROW, Table, WIDE, median, scale};
use criterion::Criterion;
use rowferry::{Records, Site, Strategy, TransferOptions, Value};
use rusqlite::Connection;
use tempfile::TempDir;

/// What is there before the import.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    OtherRows,
    SameRows,
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(10).measurement_time(Duration::from_secs(1));
    let mut ratios = Vec::new();
    for table in [NARROW, WIDE] {
        let bench = Bench::new(table);
        for (case, strategy, before) in [
            ("into empty", Strategy::Overwrite, Before::Nothing),
            ("overwrite, all differ", Strategy::Overwrite, Before::OtherRows),
            ("overwrite, all equal", Strategy::Overwrite, Before::SameRows),
            ("merge, all differ", Strategy::Merge, Before::OtherRows),
            ("skip all", Strategy::Skip, Before::SameRows),
        ] {
            if let Some((limit, ours)) = bench.measure(&mut criterion, case, strategy, before) {
                ratios.push(line(bench.table.name, case, limit, ours));
            }
        }
        if bench.table.name == NARROW.name {
            for (case, before) in [("counts, into empty", Before::Nothing), ("counts, all differ", Before::OtherRows)] {
                if let Some((uncounted, counted)) = bench.measure_counts(&mut criterion, case, before) {
                    ratios.push(line(bench.table.name, case, uncounted, counted));
                }
            }
        }
    }
    println!("\n{:<8} {:<24} {:>9} {:>9} {:>6}", "table", "case", "limit", "import", "ratio");
    ratios.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}

fn line(table: &str, case: &str, limit: u64, ours: u64) -> String {
    format!("{table:<8} {case:<24} {limit:>6} ms {ours:>6} ms {:>6.2}", ours as f64 / limit as f64)
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
        for (file, content) in [("source.db", Content::Source), ("other.db", Content::Changed), ("empty.db", Content::Empty)]
        {
            table.make(&folder.path().join(file), rows, content);
        }
        let records = read(&folder.path().join("source.db"));
        Bench { folder, table, records }
    }

    /// A copy of the database as it is before the import.
    fn prepare(&self, before: Before) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = match before {
            Before::Nothing => "empty.db",
            Before::OtherRows => "other.db",
            Before::SameRows => "source.db",
        };
        std::fs::copy(self.folder.path().join(file), folder.path().join("target.db")).expect("a copy");
        folder
    }

    fn import(&self, folder: &TempDir, strategy: Strategy) -> Duration {
        let site = Site::open(folder.path().join("target.db")).expect("a site");
        let began = Instant::now();
        let options = TransferOptions::new().strategy(strategy).batch_size(5_000);
        let report = site.import_records("t", &self.records, options).expect("an import");
        let took = began.elapsed();
        assert_eq!(report.outcome.total(), self.records.rows.len() as u64);
        assert_eq!(report.outcome.failed, 0);
        took
    }

    fn measure(&self, criterion: &mut Criterion, case: &str, strategy: Strategy, before: Before) -> Option<(u64, u64)> {
        let limit = |folder: &TempDir| {
            self.table.limit(&self.folder.path().join("source.db"), &folder.path().join("target.db"), strategy)
        };
        let import = |folder: &TempDir| self.import(folder, strategy);
        self.compare(criterion, case, before, [("limit", &limit), ("import", &import)])
    }

    fn measure_counts(&self, criterion: &mut Criterion, case: &str, before: Before) -> Option<(u64, u64)> {
        let upsert = |folder: &TempDir, counted| self.table.upsert(&folder.path().join("target.db"), &self.records, counted);
        let (without, with) = (|folder: &TempDir| upsert(folder, false), |folder: &TempDir| upsert(folder, true));
        self.compare(criterion, case, before, [("uncounted", &without), ("counted", &with)])
    }

    /// Measures two ways from the same beginning; gives their medians.
    fn compare(&self, criterion: &mut Criterion, case: &str, before: Before, ways: [Way<'_>; 2]) -> Option<(u64, u64)> {
        let mut group = criterion.benchmark_group(format!("{} {case}", self.table.name));
        let medians = ways.map(|(name, work)| {
            let times = RefCell::new(Vec::new());
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let mut sum = Duration::ZERO;
                    for _ in 0..iterations {
                        let took = work(&self.prepare(before));
                        times.borrow_mut().push(took);
                        sum += took;
                    }
                    sum
                });
            });
            median(times.into_inner())
        });
        group.finish();
        let [one, other] = medians;
        Some((one?, other?))
    }
}

/// What is measured, and its name.
type Way<'w> = (&'w str, &'w dyn Fn(&TempDir) -> Duration);

fn read(path: &Path) -> Records {
    let sqlite = Connection::open(path).expect("a database");
    let mut statement = sqlite.prepare("SELECT * FROM t ORDER BY id").expect("a query");
    let mut records = Records::new(statement.column_names());
    let width = records.columns.len();
    let mut rows = statement.query([]).expect("rows");
    while let Some(row) = rows.next().expect("a row") {
        records.push((0..width).map(|at| match row.get_ref(at).expect("a value") {
            rusqlite::types::ValueRef::Null => Value::Null,
            rusqlite::types::ValueRef::Integer(v) => Value::Integer(v),
            rusqlite::types::ValueRef::Real(v) => Value::Real(v),
            rusqlite::types::ValueRef::Text(v) => Value::Text(v.to_vec()),
            rusqlite::types::ValueRef::Blob(v) => Value::Blob(v.to_vec()),
        }));
    }
    records
}
