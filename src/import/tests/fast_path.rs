//! The fast path of imports against the careful one: the same batches applied to a table as it is, and to one with a trigger
//! that does nothing, so that its rows are looked up one by one. Counts, failures and rows must be the same.
use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::row_by_row;
use super::super::written::Written;
use super::begin_in;
use crate::domain::record::{Outcome, Tally};
use crate::domain::strategy::Strategy as Choice;
use crate::domain::value::{Rows, Value};
use crate::ledger::Scope;
use crate::limits::Limits;
use crate::plan::table::{ExtraColumns, plan_table};
use crate::store::Check;
use crate::store::sqlite::SqliteStore;

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
    /// The column that must be greater for a row to change.
    newer_by: Option<&'static str>,
}

fn cases() -> impl Strategy<Value = Case> {
    let strategy = prop::sample::select(vec![Choice::Skip, Choice::Overwrite, Choice::Merge]);
    let lacks = prop_oneof![4 => Just(None), 1 => (2..4usize).prop_map(Some)];
    let newer_by = prop::sample::select(vec![None, Some("n"), Some("x"), Some("u"), Some("id")]);
    (0..TABLES.len(), 0..200i64, vec(runs(), 1..5), strategy, 1..400usize, lacks, newer_by).prop_map(
        |(table, local, runs, strategy, batch, lacks, newer_by)| Case {
            table,
            local,
            runs,
            strategy,
            batch,
            lacks,
            newer_by,
        },
    )
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
        let mut tx = begin_in(&self.store, &Scope::new());
        let local = tx.writer.schema(table).unwrap().unwrap();
        let mut sender = local.clone();
        sender.columns.retain(|column| !column.generated);
        let all = TABLES[case.table].1;
        if records.width() < all.len() {
            sender.columns.remove(case.lacks.unwrap());
        }
        let mut plan = plan_table(&sender, &local, case.strategy, ExtraColumns::Refuse).unwrap();
        let newer_by = case.newer_by.and_then(|name| local.column_index(name));
        plan.newer_by = newer_by.filter(|column| case.strategy != Choice::Skip && plan.targets.contains(&Some(*column)));
        let mut tally = Tally::new(usize::MAX);
        for from in (0..records.len()).step_by(case.batch) {
            let range = from..(from + case.batch).min(records.len());
            row_by_row::apply(&mut tx, &plan, records, range, &mut tally, &mut Written::ignored()).unwrap();
        }
        tx.writer.commit().unwrap();
        tally.outcome
    }

    fn rows(&self, table: &str) -> Vec<String> {
        let mut rows = rows_of(&self.sqlite, &format!("SELECT * FROM {table}"));
        rows.sort();
        rows
    }
}

/// The columns that can be written.
fn columns(sqlite: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut statement = sqlite.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Tables in which to write a row may change others, with what stands in each column that is sent.
const ENTANGLED: &[(&str, &str)] = &[
    (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, x INT);
         CREATE TRIGGER next AFTER UPDATE ON t BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id + 1; END;",
        "inx",
    ),
    (
        "CREATE TABLE t(id TEXT PRIMARY KEY, n INT, x INT);
         CREATE TRIGGER before AFTER INSERT ON t BEGIN UPDATE t SET x = x + 1 WHERE n = NEW.n; END;",
        "snx",
    ),
    ("CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, boss TEXT REFERENCES t(u) ON UPDATE CASCADE)", "iub"),
    (
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INT, boss TEXT REFERENCES other(u) ON UPDATE SET NULL);
         CREATE TABLE other(u TEXT UNIQUE REFERENCES T(U) ON UPDATE CASCADE)",
        "iunb",
    ),
];

/// A case of an [`ENTANGLED`] table: the keys that exist, and the records with their versions.
fn entangled() -> impl Strategy<Value = (usize, i64, Vec<(i64, i64)>, Choice)> {
    let strategy = prop::sample::select(vec![Choice::Skip, Choice::Overwrite, Choice::Merge]);
    let records = vec((0..40i64, prop_oneof![3 => Just(0i64), 1 => 1..3i64]), 1..60);
    (0..ENTANGLED.len(), 1..40i64, records, any::<bool>(), strategy).prop_map(
        |(table, local, mut records, in_order, strategy)| {
            if in_order {
                records.sort();
            }
            (table, local, records, strategy)
        },
    )
}

/// Applies all records with one call, or each with one of its own; gives what became of them and the rows.
fn apply_entangled(
    (table, local, records, strategy): &(usize, i64, Vec<(i64, i64)>, Choice),
    at_once: bool,
) -> (Outcome, Vec<String>) {
    let (sql, kinds) = ENTANGLED[*table];
    let values = |k: i64, version: i64| -> Vec<Value> {
        let value = |kind| match kind {
            // Mostly the unique value of the row in front, as it was.
            'b' => format!("u{}/0", k - 1).into(),
            kind => value(kind, k, (version, version), Twist::None),
        };
        kinds.chars().map(value).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let sqlite = rusqlite::Connection::open(folder.path().join("site.db")).unwrap();
    sqlite.execute_batch(&format!("PRAGMA synchronous = OFF; BEGIN; {sql}; COMMIT;")).unwrap();
    let store = SqliteStore::open(folder.path().join("site.db"), &Limits::default()).unwrap();
    let mut tx = begin_in(&store, &Scope::new());
    tx.writer.check_references(Check::AtCommit, &[]).unwrap();
    let schema = tx.writer.schema("t").unwrap().unwrap();
    let mut apply = |rows: &Rows, strategy, step| {
        let plan = plan_table(&schema, &schema, strategy, ExtraColumns::Refuse).unwrap();
        let mut tally = Tally::new(usize::MAX);
        for from in (0..rows.len()).step_by(step) {
            let range = from..(from + step).min(rows.len());
            row_by_row::apply(&mut tx, &plan, rows, range, &mut tally, &mut Written::ignored()).unwrap();
        }
        tally.outcome
    };
    let (mut before, mut after) = (Rows::new(kinds.len()), Rows::new(kinds.len()));
    (0..*local).for_each(|k| before.push(values(k, 0).iter().map(Value::as_ref)));
    records.iter().for_each(|(k, version)| after.push(values(*k, *version).iter().map(Value::as_ref)));
    apply(&before, Choice::Overwrite, 1);
    let outcome = apply(&after, *strategy, if at_once { usize::MAX } else { 1 });
    let sql = format!("SELECT {} FROM t ORDER BY id", columns(&sqlite, "t").join(", "));
    let rows = tx.writer.state().query(&sql, &[]).unwrap();
    (outcome, rows.iter().map(|row| format!("{row:?}")).collect())
}

/// Counts, and failures without their sentences, which name the table.
fn told(outcome: &Outcome) -> ([u64; 6], Vec<String>) {
    let failures = outcome.failures.iter().map(|f| format!("{:?} {:?} {:?}", f.key, f.reason, f.column)).collect();
    let Outcome { created, updated, unchanged, skipped, differing, failed, .. } = *outcome;
    ([created, updated, unchanged, skipped, differing, failed], failures)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

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
            3 => rows_of(&world.sqlite, &format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'")),
            _ => Vec::new(),
        };
        prop_assert_eq!(sequences("fast"), sequences("slow"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_one_record_changes_is_seen_by_the_next(case in entangled()) {
        let (at_once, one_by_one) = (apply_entangled(&case, true), apply_entangled(&case, false));
        prop_assert_eq!(told(&at_once.0), told(&one_by_one.0));
        prop_assert_eq!(at_once.1, one_by_one.1);
    }
}

/// The rows of a query, each as text that tells storage classes apart.
fn rows_of(sqlite: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = sqlite.prepare(sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| Ok((0..width).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect()));
    rows.unwrap().map(|row| row.map(|cells: Vec<String>| cells.join("|")).unwrap()).collect()
}
