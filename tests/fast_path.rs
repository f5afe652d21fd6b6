//! The fast path of imports against the careful one: the same batches applied to a table as it is, and to one with a trigger
//! that does nothing, so that its rows are looked up one by one. Counts, failures and rows must be the same.
#![cfg(feature = "sqlite")]

mod common;

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use rowferry::domain::record::Tally;
use rowferry::plan::table::{ExtraColumns, plan_table};
use rowferry::store::sqlite::SqliteStore;
use rowferry::store::{Scope, Store};
use rowferry::{Limits, Outcome, Rows, Strategy as Choice, Value};
use tempfile::TempDir;

/// Tables, with what stands in each column that is sent: a letter for [`value`].
const TABLES: &[(&str, &str)] = &[
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY, n INT NOT NULL, x, r REAL)", "inxr"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, n INT CHECK (n < 40), x, r REAL) WITHOUT ROWID", "snxr"),
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INT NOT NULL, x)", "iunx"),
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY AUTOINCREMENT, u TEXT UNIQUE, n INT, x)", "iunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, u TEXT UNIQUE COLLATE NOCASE, n INT CHECK (n < 40), x COLLATE NOCASE)", "sunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY COLLATE NOCASE, v INT UNIQUE, x, r REAL) WITHOUT ROWID", "cvxr"),
    ("CREATE TABLE {t}(h INT NOT NULL, l TEXT NOT NULL, v INT, n INT, x, PRIMARY KEY (l, h), UNIQUE (v, n))", "hlvnx"),
    ("CREATE TABLE {t}(id ANY PRIMARY KEY, u TEXT UNIQUE, n INT NOT NULL, x ANY) STRICT", "aunx"),
    ("CREATE TABLE {t}(id NOT NULL UNIQUE, u TEXT UNIQUE, n INT, x)", "aunx"),
    ("CREATE TABLE {t}(id INT NOT NULL UNIQUE, n INT, x, r REAL)", "inxr"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, n INT, x, r REAL); CREATE INDEX {t}_n ON {t}(n, r)", "snxr"),
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY, u TEXT, n INT, x); CREATE UNIQUE INDEX {t}_u ON {t}(u) WHERE n > 2", "iunx"),
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY, u TEXT, n INT, x); CREATE UNIQUE INDEX {t}_u ON {t}(lower(u))", "iunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, u TEXT UNIQUE, n INT NOT NULL, x, g AS (n || u) STORED UNIQUE)", "sunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, u TEXT UNIQUE, n INT, x ANY, g INT AS (x) STORED) STRICT", "sunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, n INT, x ANY, g INT AS (x) STORED) STRICT, WITHOUT ROWID", "snx"),
    ("CREATE TABLE {t}(id INTEGER PRIMARY KEY, u TEXT UNIQUE, f INT REFERENCES parent(id), n INT)", "iufn"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, f INT REFERENCES parent(id), n INT)", "sfn"),
    (
        "CREATE TABLE {t}(id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT REPLACE, n INT NOT NULL ON CONFLICT IGNORE, x)",
        "iunx",
    ),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY ON CONFLICT REPLACE, u TEXT UNIQUE ON CONFLICT ROLLBACK, n INT, x)", "sunx"),
    ("CREATE TABLE {t}(id TEXT PRIMARY KEY, u TEXT UNIQUE)", "su"),
];

/// Something unusual in one of a few records.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Twist {
    None,
    /// The unique columns are those of another record.
    Collides,
    /// The key is that of the record before.
    Repeats,
    Null,
    /// The key is NULL.
    NoKey,
    /// Values of another storage class, or in other letters, that compare equal.
    Lookalike,
    /// No such parent, a CHECK that fails, a value that a generated column does not take.
    Bad,
}

fn twists() -> impl Strategy<Value = Twist> {
    let twist =
        prop::sample::select(vec![Twist::Collides, Twist::Repeats, Twist::Null, Twist::NoKey, Twist::Lookalike, Twist::Bad]);
    prop_oneof![60 => Just(Twist::None), 1 => twist]
}

/// Records in key order, all with keys that exist or all with new ones.
#[derive(Clone, Debug)]
struct Run {
    exist: bool,
    from: i64,
    /// Which version of the values that stand in no index, and of those that do.
    version: (i64, i64),
    twists: Vec<Twist>,
}

fn runs() -> impl Strategy<Value = Run> {
    let version = (0..3i64, prop_oneof![3 => Just(0i64), 1 => 0..3i64]);
    (any::<bool>(), 0..150i64, version, vec(twists(), 1..180)).prop_map(|(exist, from, version, twists)| Run {
        exist,
        from,
        version,
        twists,
    })
}

#[derive(Debug)]
struct Case {
    table: usize,
    local: i64,
    runs: Vec<Run>,
    strategy: Choice,
    /// The records of each batch.
    batch: usize,
    /// A column that is not sent.
    lacks: Option<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let strategy = prop::sample::select(vec![Choice::Skip, Choice::Overwrite, Choice::Merge]);
    let lacks = prop_oneof![4 => Just(None), 1 => (2..4usize).prop_map(Some)];
    (0..TABLES.len(), 0..200i64, vec(runs(), 1..5), strategy, 1..400usize, lacks)
        .prop_map(|(table, local, runs, strategy, batch, lacks)| Case { table, local, runs, strategy, batch, lacks })
}

/// The value of a column in record `k`.
fn value(kind: char, k: i64, version: (i64, i64), twist: Twist) -> Value {
    let alike = twist == Twist::Lookalike;
    let unique = if twist == Twist::Collides { k + 1 } else { k };
    match kind {
        'i' | 's' | 'c' | 'a' | 'l' if twist == Twist::NoKey => Value::Null,
        'i' if alike => Value::Real(k as f64),
        'i' => Value::Integer(k),
        's' => format!("k{k:05}").into(),
        'c' if alike => format!("K{k:05}").into(),
        'c' => format!("k{k:05}").into(),
        'a' if alike => Value::Real(k as f64),
        'a' if k % 3 == 0 => format!("k{k:05}").into(),
        'a' => Value::Integer(k),
        'h' => Value::Integer(k / 7),
        'l' => format!("l{}", k % 7).into(),
        'u' | 'v' | 'n' | 'x' | 'r' | 'f' if twist == Twist::Null => Value::Null,
        'u' if alike => format!("U{unique}/{}", version.1).into(),
        'u' => format!("u{unique}/{}", version.1).into(),
        'v' => Value::Integer(unique * 10 + version.1),
        'n' if twist == Twist::Bad => Value::Integer(50),
        'n' => Value::Integer((k + version.0) % 5),
        'x' if twist == Twist::Bad => "word".into(),
        'x' if alike => Value::Real(((k + version.0) % 9) as f64),
        'x' => Value::Integer((k + version.0) % 9),
        'r' => Value::Real((k + version.0) as f64 / 2.0),
        'f' if twist == Twist::Bad => Value::Integer(99),
        'f' => Value::Integer((k + version.0) % 3),
        _ => unreachable!("no such kind of column"),
    }
}

impl Case {
    fn kinds(&self) -> impl Iterator<Item = char> + '_ {
        let sent = TABLES[self.table].1.chars().enumerate();
        let lacks = self
            .lacks
            .filter(|at| !matches!(TABLES[self.table].1.chars().nth(*at), Some('i' | 's' | 'c' | 'a' | 'h' | 'l')));
        sent.filter(move |(at, _)| lacks != Some(*at)).map(|(_, kind)| kind)
    }

    fn records(&self) -> Rows {
        let mut rows = Rows::new(self.kinds().count());
        let mut new = self.local;
        // References are checked when a statement ends: a record without its parent is none the worse for it where another
        // one of the same key comes soon behind it. So no key comes twice there.
        let refers = self.kinds().any(|kind| kind == 'f');
        let mut seen = HashSet::new();
        for run in &self.runs {
            for (at, twist) in (0..).zip(&run.twists) {
                let mut k = if run.exist { (run.from + at) % self.local.max(1) } else { new };
                new += i64::from(!run.exist);
                if *twist == Twist::Repeats {
                    k = (k - 1).max(0);
                }
                if refers && !seen.insert(k) {
                    continue;
                }
                let values: Vec<Value> = self.kinds().map(|kind| value(kind, k, run.version, *twist)).collect();
                rows.push(values.iter().map(Value::as_ref));
            }
        }
        rows
    }
}

/// The table twice: `fast` as it is, `slow` with triggers.
struct World {
    _folder: TempDir,
    store: SqliteStore,
    sqlite: rusqlite::Connection,
}

impl World {
    fn new(case: &Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        let sqlite = rusqlite::Connection::open(&path).unwrap();
        let parents = "CREATE TABLE parent(id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (0), (1), (2);";
        sqlite.execute_batch(&format!("PRAGMA synchronous = OFF; BEGIN; {parents}")).unwrap();
        let (sql, kinds) = TABLES[case.table];
        for name in ["fast", "slow"] {
            sqlite.execute_batch(&sql.replace("{t}", name)).unwrap();
            let marks = vec!["?"; kinds.len()].join(", ");
            let names = columns(&sqlite, name).join(", ");
            let mut insert = sqlite.prepare(&format!("INSERT INTO {name}({names}) VALUES ({marks})")).unwrap();
            for k in 0..case.local {
                let values = kinds.chars().map(|kind| match value(kind, k, (0, 0), Twist::None) {
                    Value::Integer(v) => rusqlite::types::Value::Integer(v),
                    Value::Real(v) => rusqlite::types::Value::Real(v),
                    Value::Text(v) => rusqlite::types::Value::Text(String::from_utf8(v).unwrap()),
                    _ => rusqlite::types::Value::Null,
                });
                insert.execute(rusqlite::params_from_iter(values)).unwrap();
            }
        }
        let triggers = "CREATE TRIGGER inserted AFTER INSERT ON slow BEGIN SELECT 1; END;
                        CREATE TRIGGER updated AFTER UPDATE ON slow BEGIN SELECT 1; END; COMMIT;";
        sqlite.execute_batch(triggers).unwrap();
        World { store: SqliteStore::open(&path, &Limits::default()).unwrap(), sqlite, _folder: folder }
    }

    fn apply(&self, case: &Case, table: &str, records: &Rows) -> Outcome {
        let mut writer = self.store.writer().unwrap();
        let local = writer.schema(table).unwrap().unwrap();
        let mut sender = local.clone();
        sender.columns.retain(|column| !column.generated);
        let all = TABLES[case.table].1;
        if records.width() < all.len() {
            sender.columns.remove(case.lacks.unwrap());
        }
        let plan = plan_table(&sender, &local, case.strategy, ExtraColumns::Refuse).unwrap();
        let mut tally = Tally::new(usize::MAX);
        let scope = Scope::new();
        for from in (0..records.len()).step_by(case.batch) {
            let range = from..(from + case.batch).min(records.len());
            writer.apply(&plan, &scope, records, range, &mut tally).unwrap();
        }
        writer.commit().unwrap();
        tally.outcome
    }

    fn rows(&self, table: &str) -> Vec<String> {
        let mut rows = common::rows(&self.sqlite, &format!("SELECT * FROM {table}"));
        rows.sort();
        rows
    }
}

/// The columns that can be written.
fn columns(sqlite: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut statement = sqlite.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Counts, and failures without their sentences, which name the table.
fn told(outcome: &Outcome) -> ([u64; 5], Vec<String>) {
    let failures = outcome.failures.iter().map(|f| format!("{:?} {:?} {:?}", f.key, f.reason, f.column)).collect();
    ([outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed], failures)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_fast_path_does_what_the_careful_one_does(case in cases()) {
        let world = World::new(&case);
        let records = case.records();
        prop_assert_eq!(world.rows("fast"), world.rows("slow"));
        let (fast, slow) = (world.apply(&case, "fast", &records), world.apply(&case, "slow", &records));
        prop_assert_eq!(fast.total(), records.len() as u64);
        prop_assert_eq!(told(&fast), told(&slow));
        prop_assert_eq!(world.rows("fast"), world.rows("slow"));
        let sequences = |table: &str| match case.table {
            3 => common::rows(&world.sqlite, &format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'")),
            _ => Vec::new(),
        };
        prop_assert_eq!(sequences("fast"), sequences("slow"));
    }
}

/// A constraint may be declared so that a statement that breaks it deletes the other row, leaves its own out, or rolls
/// everything back. To an import it is a conflict like any other.
#[test]
fn what_a_constraint_does_on_conflict_is_not_done() {
    for clause in ["REPLACE", "IGNORE", "ROLLBACK", "FAIL"] {
        for trigger in ["", "CREATE TRIGGER careful AFTER INSERT ON t BEGIN SELECT 1; END;"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("site.db");
            let sqlite = rusqlite::Connection::open(&path).unwrap();
            let sql = format!(
                "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT {clause}, n INT NOT NULL ON CONFLICT {clause} DEFAULT 7);
                 INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2); {trigger}"
            );
            sqlite.execute_batch(&sql).unwrap();
            let site = rowferry::Site::open(&path).unwrap();
            let mut records = rowferry::Records::new(["id", "u", "n"]);
            records.push([Value::Integer(1), "b".into(), 1.into()]);
            records.push([Value::Integer(2), "b".into(), Value::Null]);
            records.push([Value::Integer(3), "a".into(), 3.into()]);
            records.push([Value::Integer(4), "d".into(), Value::Null]);
            records.push([Value::Integer(5), "e".into(), 5.into()]);
            let options = rowferry::TransferOptions::new().strategy(Choice::Overwrite);
            let outcome = site.import_records("t", &records, options).unwrap().outcome;
            let codes: Vec<&str> = outcome.failures.iter().map(|failure| failure.reason.code()).collect();
            assert_eq!(codes, ["unique_conflict", "not_null", "unique_conflict", "not_null"], "{clause} {trigger}");
            assert_eq!((outcome.created, outcome.total()), (1, 5), "{clause} {trigger}");
            assert_eq!(common::rows(&sqlite, "SELECT * FROM t"), ["1|'a'|1", "2|'b'|2", "5|'e'|5"], "{clause} {trigger}");
        }
    }
}

/// New records go many into one statement, which one without its parent undoes: the others come in all the same.
#[test]
fn a_missing_parent_takes_no_other_record_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    let sql = "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
               CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, p INT REFERENCES p(id));
               CREATE TABLE only_key(id INTEGER PRIMARY KEY, u TEXT, p INT REFERENCES p(id));";
    sqlite.execute_batch(sql).unwrap();
    let site = rowferry::Site::open(&path).unwrap();
    for table in ["t", "only_key"] {
        let mut records = rowferry::Records::new(["id", "u", "p"]);
        (1..=1_000).for_each(|id| {
            records.push([Value::Integer(id), format!("u{id}").into(), (if id % 450 == 0 { 2 } else { 1 }).into()])
        });
        let outcome = site.import_records(table, &records, rowferry::TransferOptions::new()).unwrap().outcome;
        let failed: Vec<_> = outcome.failures.iter().map(|f| (f.key.clone(), f.reason.code(), f.column.clone())).collect();
        let of = |id: i64| (vec![Value::Integer(id)], "foreign_key", Some("p".to_owned()));
        assert_eq!(failed, [of(450), of(900)]);
        assert_eq!((outcome.created, outcome.total()), (998, 1_000));
    }
}

/// A function that fails in an index, a CHECK or a generated column refuses one record, wherever that comes in a statement.
#[test]
fn a_function_that_fails_takes_no_other_record_down() {
    let mut tables = Vec::new();
    for (key, end) in [
        ("INTEGER PRIMARY KEY", ""),
        ("TEXT PRIMARY KEY", ""),
        ("TEXT PRIMARY KEY", "WITHOUT ROWID"),
        ("TEXT NOT NULL UNIQUE", ""),
    ] {
        for (more, index) in [
            ("", "CREATE INDEX i ON t(json_extract(doc, '$.a'))"),
            ("", "CREATE UNIQUE INDEX i ON t(json_extract(doc, '$.a'))"),
            ("", "CREATE INDEX i ON t(n) WHERE doc ->> 'a' > 1"),
            (", CHECK (json_extract(doc, '$.a') > -1)", ""),
            (", g AS (json_extract(doc, '$.a')) STORED", ""),
            (", g AS (json_extract(doc, '$.a')) VIRTUAL UNIQUE", ""),
        ] {
            for plain in ["", "CREATE UNIQUE INDEX u ON t(n)"] {
                tables.push(format!("CREATE TABLE t(id {key}, doc TEXT, n INT {more}) {end}; {index}; {plain};"));
            }
        }
    }
    for (trigger, every) in [("", 1), ("CREATE TRIGGER careful AFTER INSERT ON t BEGIN SELECT 1; END;", 7)] {
        for table in tables.iter().step_by(every) {
            let fixture = common::Fixture::new(&format!("{table} {trigger}"));
            let is_integer = table.contains("INTEGER PRIMARY KEY");
            let records = |version: i64| {
                let mut records = rowferry::Records::new(["id", "doc", "n"]);
                for id in 1..=250 {
                    let doc =
                        if id % 110 == 0 { format!("{{{version}") } else { format!("{{\"a\": {}}}", id * 10 + version) };
                    let key = if is_integer { Value::Integer(id) } else { id.to_string().into() };
                    records.push([key, doc.into(), (id * 10 + version).into()]);
                }
                records
            };
            let malformed = [110, 220].map(|id| (vec![Value::Integer(id)], "refused", None, "malformed JSON".to_owned()));
            for (strategy, version, expected) in [
                (Choice::Overwrite, 0, [248, 0, 0, 0]),
                (Choice::Overwrite, 1, [0, 248, 0, 0]),
                (Choice::Skip, 2, [0, 0, 0, 248]),
            ] {
                let records = records(version);
                let options = rowferry::TransferOptions::new().strategy(strategy);
                let outcome = fixture.site.import_records("t", &records, options).unwrap().outcome;
                let failed = outcome.failures.iter().map(|f| {
                    let key = vec![f.key[0].as_str().map_or(f.key[0].clone(), |text| text.parse::<i64>().unwrap().into())];
                    (key, f.reason.code(), f.column.clone(), f.message.clone())
                });
                let context = format!("{table} {trigger} {strategy} {version}");
                assert_eq!(failed.collect::<Vec<_>>(), malformed, "{context}");
                let counts = [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped];
                assert_eq!((counts, outcome.failed), (expected, 2), "{context}");
                let now = format!("SELECT count(*) FROM t WHERE n % 10 = {} AND doc ->> 'a' = n", version.min(1));
                assert_eq!(fixture.rows(&now), ["248"], "{context}");
            }
        }
    }
}

/// A function that only another program has is no fault of any record.
#[test]
fn a_function_that_is_missing_fails_the_table() {
    use rusqlite::functions::FunctionFlags;
    let fixture = common::Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, u INT UNIQUE)");
    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_UTF8;
    fixture.sqlite.create_scalar_function("theirs", 1, flags, |_| Ok(1)).unwrap();
    for (sql, from) in [("SELECT 1", 0), ("CREATE INDEX i ON t(theirs(n))", 300)] {
        fixture.run(sql);
        let mut records = rowferry::Records::new(["id", "n", "u"]);
        (from..from + 300).for_each(|id| records.push([id, id, id].map(Value::Integer)));
        match fixture.site.import_records("t", &records, rowferry::TransferOptions::new()) {
            Ok(report) => assert_eq!((report.outcome.created, from), (300, 0)),
            Err(error) => {
                assert_eq!((error.to_string().contains("unknown function: theirs()"), from), (true, 300), "{error}")
            }
        }
    }
}
