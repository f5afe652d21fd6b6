//! What the benchmarks share: the tables that are measured, SQLite's own limit on them, and how times stand to it.
#![allow(dead_code)] // Each benchmark uses a part of it.

pub mod ratio;
pub mod waits;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rowferry::{Records, Strategy, Value, ValueRef};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ToSqlOutput;

/// A table to measure with.
#[derive(Clone, Copy)]
pub struct Table {
    pub name: &'static str,
    pub rows: u64,
    create: &'static str,
    fill: &'static str,
    change: &'static str,
    upsert: &'static str,
    merge: &'static str,
}

/// Four short columns.
pub const NARROW: Table = Table {
    name: "narrow",
    rows: 1_000_000,
    create: "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, age INT, score REAL)",
    fill: "INSERT INTO t SELECT value, printf('name %07d', value), value % 90, value * 0.37 FROM numbers",
    change: "UPDATE t SET name = name || '!', age = age + 1, score = score + 1",
    upsert: "DO UPDATE SET name = excluded.name, age = excluded.age, score = excluded.score",
    merge: "DO UPDATE SET name = COALESCE(excluded.name, t.name), age = COALESCE(excluded.age, t.age), score = COALESCE(excluded.score, t.score)",
};

/// Eight columns, a text key and a unique column. Its long text hardly compresses, and there are a million such rows at most.
pub const WIDE: Table = Table {
    name: "wide",
    rows: 300_000,
    create: "CREATE TABLE t(id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT, bio TEXT, balance REAL, active INT,
        created_at TEXT, updated_at TEXT)",
    fill: "INSERT INTO t SELECT printf('%08x-0000-7000-8000-%012x', value, value * 7919), printf('user%d@example.com', value * 7919 % 1000003),
        printf('User %d', value), hex(randomblob(100)), value * 1.01, value % 2, '2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'
        FROM numbers",
    change: "UPDATE t SET name = name || '!', balance = balance + 1, updated_at = 'x'",
    upsert: "DO UPDATE SET email = excluded.email, name = excluded.name, bio = excluded.bio, balance = excluded.balance,
        active = excluded.active, created_at = excluded.created_at, updated_at = excluded.updated_at",
    merge: "DO UPDATE SET email = COALESCE(excluded.email, t.email), name = COALESCE(excluded.name, t.name),
        bio = COALESCE(excluded.bio, t.bio), balance = COALESCE(excluded.balance, t.balance),
        active = COALESCE(excluded.active, t.active), created_at = COALESCE(excluded.created_at, t.created_at),
        updated_at = COALESCE(excluded.updated_at, t.updated_at)",
};

macro_rules! fill_blobs {
    ($bytes:literal) => {
        concat!("INSERT INTO t SELECT value, randomblob(", $bytes, ") FROM numbers")
    };
}

/// A key and a blob of 4 KiB that does not compress.
pub const BLOBS: Table = Table {
    name: "blobs",
    rows: 20_000,
    create: "CREATE TABLE t(id INTEGER PRIMARY KEY, body BLOB)",
    fill: fill_blobs!("4096"),
    change: "UPDATE t SET body = randomblob(4096)",
    upsert: "DO UPDATE SET body = excluded.body",
    merge: "DO UPDATE SET body = COALESCE(excluded.body, t.body)",
};

/// A key and a blob that does not compress: rows of 1 kB.
pub const KILOBYTES: Table = Table { name: "1 kB", rows: 1_000_000, fill: fill_blobs!("1000"), ..BLOBS };

/// The same with rows of 50 MB.
pub const HUGE_BLOBS: Table = Table { name: "50 MB", rows: 6, fill: fill_blobs!("50000000"), ..BLOBS };

/// How a made database differs from the source.
#[derive(Clone, Copy, PartialEq)]
pub enum Content {
    /// The table is empty.
    Empty,
    /// The rows of the source.
    Source,
    /// The same keys with other values.
    Changed,
}

impl Table {
    /// Makes a database file with this many rows.
    pub fn make(&self, path: &Path, rows: u64, content: Content) {
        let sqlite = Connection::open(path).expect("a database");
        sqlite.execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL").expect("pragmas");
        sqlite.execute_batch(self.create).expect("a table");
        if content != Content::Empty {
            let numbers =
                "WITH RECURSIVE numbers(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?1)";
            sqlite.execute(&format!("{numbers} {}", self.fill), [rows as i64]).expect("rows");
        }
        if content == Content::Changed {
            sqlite.execute_batch(self.change).expect("changes");
        }
    }

    /// SQLite's limit: one statement between two attached files.
    pub fn limit(&self, source: &Path, target: &Path, strategy: Strategy) -> Duration {
        let sqlite = Connection::open(target).expect("a database");
        sqlite
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY",
            )
            .expect("pragmas");
        sqlite.execute("ATTACH ?1 AS src", [source.to_string_lossy()]).expect("the source");
        let action = match strategy {
            Strategy::Overwrite => self.upsert,
            Strategy::Merge => self.merge,
            _ => "DO NOTHING",
        };
        let statement = format!("INSERT INTO main.t SELECT * FROM src.t WHERE true ON CONFLICT(id) {action}");
        let began = Instant::now();
        sqlite.execute(&statement, []).expect("the limit's statement");
        began.elapsed()
    }
}

/// Records in one statement of [`Table::upsert`].
const CHUNK: usize = 200;

impl Table {
    /// Upserts records with statements of many rows, in one transaction; counted exactly or not at all.
    pub fn upsert(&self, target: &Path, records: &Records, counted: bool) -> Duration {
        let sqlite = Connection::open(target).expect("a database");
        sqlite
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536")
            .expect("pragmas");
        let hits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&hits);
        sqlite
            .create_scalar_function("hit", 0, FunctionFlags::SQLITE_UTF8, move |_| {
                counter.store(counter.load(Relaxed) + 1, Relaxed);
                Ok(true)
            })
            .expect("a function");
        let others = records.columns.iter().filter(|name| *name != "id");
        let differs = others.map(|name| format!("t.{name} IS NOT excluded.{name}")).collect::<Vec<_>>();
        let condition = if counted { format!(" WHERE hit() AND ({})", differs.join(" OR ")) } else { String::new() };
        let record = format!("({})", vec!["?"; records.columns.len()].join(","));
        let statement = |rows: usize| {
            let values = vec![record.as_str(); rows].join(",");
            format!("INSERT INTO t VALUES {values} ON CONFLICT(id) {}{condition}", self.upsert)
        };
        let began = Instant::now();
        sqlite.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
        let (mut changed, mut from) = (0, 0);
        while from < records.rows.len() {
            let to = (from + CHUNK).min(records.rows.len());
            let mut prepared = sqlite.prepare_cached(&statement(to - from)).expect("a statement");
            for (at, value) in (from..to).flat_map(|row| records.rows.row(row)).enumerate() {
                prepared.raw_bind_parameter(at + 1, parameter(value)).expect("a parameter");
            }
            changed += prepared.raw_execute().expect("an upsert") as u64;
            from = to;
        }
        sqlite.execute_batch("COMMIT").expect("a commit");
        let took = began.elapsed();
        let hits = hits.load(Relaxed);
        assert!(changed == records.rows.len() as u64 && (hits == 0 || hits == changed), "each row is new, or each differs");
        took
    }
}

fn parameter(value: Option<ValueRef<'_>>) -> ToSqlOutput<'_> {
    use rusqlite::types::ValueRef as Sqlite;
    ToSqlOutput::Borrowed(match value {
        None | Some(ValueRef::Null) => Sqlite::Null,
        Some(ValueRef::Integer(v)) => Sqlite::Integer(v),
        Some(ValueRef::Real(v)) => Sqlite::Real(v),
        Some(ValueRef::Text(v)) => Sqlite::Text(v),
        Some(ValueRef::Blob(v)) => Sqlite::Blob(v),
    })
}

/// The rows of the table in a file, decoded.
pub fn read(path: &Path) -> Records {
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

/// `ROWFERRY_BENCH_SCALE=10` measures a tenth of the rows.
#[allow(clippy::disallowed_methods)] // A benchmark is a program, and may read its environment.
pub fn scale() -> u64 {
    std::env::var("ROWFERRY_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The number that stands after this word of the arguments.
pub fn number_after<'w>(word: &str, words: &mut impl Iterator<Item = &'w str>) -> Result<u64, String> {
    let number = words.next().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| format!("{word} needs a number from 1"))
}
