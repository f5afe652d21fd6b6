//! Imports of decoded rows against SQLite's own limit on the same rows in the same run.
//!
//! The limit is one statement between two attached files, `INSERT INTO t SELECT ... FROM src.t WHERE true [ON CONFLICT ...]`:
//! no importer can do with less. Each case is measured in turn with its limit, so that a machine that is slow for a while
//! is slow for both; the ratio of the medians is printed at the end. Run with `cargo bench --bench import`.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::Criterion;
use rowferry::{Records, Site, Strategy, TransferOptions, Value};
use rusqlite::Connection;
use tempfile::TempDir;

struct Table {
    name: &'static str,
    rows: u64,
    create: &'static str,
    fill: &'static str,
    change: &'static str,
    upsert: &'static str,
    merge: &'static str,
}

const NARROW: Table = Table {
    name: "narrow",
    rows: 1_000_000,
    create: "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, age INT, score REAL)",
    fill: "INSERT INTO t SELECT value, printf('name %07d', value), value % 90, value * 0.37 FROM generate_series(1, ?1)",
    change: "UPDATE t SET name = name || '!', age = age + 1, score = score + 1",
    upsert: "DO UPDATE SET name = excluded.name, age = excluded.age, score = excluded.score",
    merge: "DO UPDATE SET name = COALESCE(excluded.name, t.name), age = COALESCE(excluded.age, t.age), score = COALESCE(excluded.score, t.score)",
};

const WIDE: Table = Table {
    name: "wide",
    rows: 300_000,
    create: "CREATE TABLE t(id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT, bio TEXT, balance REAL, active INT,
        created_at TEXT, updated_at TEXT)",
    fill: "INSERT INTO t SELECT printf('%08x-0000-7000-8000-%012x', value, value * 7919), printf('user%d@example.com', value * 7919 % 1000003),
        printf('User %d', value), printf('%.*c', 200, 'b'), value * 1.01, value % 2, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'
        FROM generate_series(1, ?1)",
    change: "UPDATE t SET name = name || '!', balance = balance + 1, updated_at = 'x'",
    upsert: "DO UPDATE SET email = excluded.email, name = excluded.name, bio = excluded.bio, balance = excluded.balance,
        active = excluded.active, created_at = excluded.created_at, updated_at = excluded.updated_at",
    merge: "DO UPDATE SET email = COALESCE(excluded.email, t.email), name = COALESCE(excluded.name, t.name),
        bio = COALESCE(excluded.bio, t.bio), balance = COALESCE(excluded.balance, t.balance),
        active = COALESCE(excluded.active, t.active), created_at = COALESCE(excluded.created_at, t.created_at),
        updated_at = COALESCE(excluded.updated_at, t.updated_at)",
};

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
                ratios.push(format!(
                    "{:<8} {case:<24} {:>6} ms {:>6} ms {:>6.2}",
                    bench.table.name,
                    limit,
                    ours,
                    ours as f64 / limit as f64
                ));
            }
        }
    }
    println!("\n{:<8} {:<24} {:>9} {:>9} {:>6}", "table", "case", "limit", "import", "ratio");
    ratios.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
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
        for (file, changed) in [("source.db", false), ("other.db", true), ("empty.db", false)] {
            let sqlite = Connection::open(folder.path().join(file)).expect("a database");
            sqlite.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL").expect("pragmas");
            sqlite.execute_batch(table.create).expect("a table");
            if file != "empty.db" {
                sqlite
                    .execute(
                        &table.fill.replace("generate_series(1, ?1)", "numbers").replacen("INSERT", &numbers(), 1),
                        [rows as i64],
                    )
                    .expect("rows");
            }
            if changed {
                sqlite.execute_batch(table.change).expect("changes");
            }
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

    fn limit(&self, folder: &TempDir, strategy: Strategy) -> Duration {
        let sqlite = Connection::open(folder.path().join("target.db")).expect("a database");
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY",
            )
            .expect("pragmas");
        sqlite.execute("ATTACH ?1 AS src", [self.folder.path().join("source.db").to_string_lossy()]).expect("the source");
        let action = match strategy {
            Strategy::Skip | Strategy::Append => "DO NOTHING",
            Strategy::Overwrite => self.table.upsert,
            Strategy::Merge => self.table.merge,
        };
        let began = Instant::now();
        sqlite
            .execute(&format!("INSERT INTO main.t SELECT * FROM src.t WHERE true ON CONFLICT(id) {action}"), [])
            .expect("the limit's statement");
        began.elapsed()
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
        let mut group = criterion.benchmark_group(format!("{} {case}", self.table.name));
        let (limits, imports) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let mut run = |name: &str, times: &RefCell<Vec<Duration>>, work: &dyn Fn(&TempDir) -> Duration| {
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
        };
        run("limit", &limits, &|folder| self.limit(folder, strategy));
        run("import", &imports, &|folder| self.import(folder, strategy));
        group.finish();
        Some((median(limits.into_inner())?, median(imports.into_inner())?))
    }
}

fn median(mut times: Vec<Duration>) -> Option<u64> {
    times.sort();
    times.get(times.len() / 2).map(|time| time.as_millis() as u64)
}

/// `ROWFERRY_BENCH_SCALE=10` measures a tenth of the rows.
fn scale() -> u64 {
    std::env::var("ROWFERRY_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn numbers() -> String {
    "WITH RECURSIVE numbers(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?1) INSERT".to_owned()
}

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
