//! Tables that are made: as many as a sender describes, in transactions that are short, and no more than the limits allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::fake::{FakeTable, Kind, connect, quick};
use rowferry::{CancelToken, ErrorKind, Limits, PullOptions, Report, Site, Strategy};
use serde_json::{Value as Json, json};

fn reference(column: &str, parent: &str, parent_column: &str) -> Json {
    json!({"columns": [column], "parent": parent, "parent_columns": [parent_column], "on_delete": "NO ACTION", "on_update": "NO ACTION"})
}

/// Tables of one row, each of which refers to the next one.
fn chain(count: usize) -> Vec<FakeTable> {
    let table = |at: usize| {
        let name = format!("t{at:03}");
        let mut table = FakeTable::new(&name, &["a"]);
        if at + 1 < count {
            table.schema["rowferry"]["foreign_keys"] = json!([reference("id", &format!("t{:03}", at + 1), "id")]);
        }
        table.schema["rowferry"]["indexes"] = json!([{"name": "by_name", "columns": [{"name": "name"}]}]);
        table
    };
    (0..count).map(table).collect()
}

fn count(sqlite: &rusqlite::Connection, what: &str) -> usize {
    let count: i64 = sqlite.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap();
    usize::try_from(count).unwrap()
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

struct Here {
    _folder: tempfile::TempDir,
    site: Site,
    sqlite: rusqlite::Connection,
}

impl Here {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("here.db");
        let site = Site::builder().limits(limits).open(&path).unwrap();
        Here { sqlite: rusqlite::Connection::open(&path).unwrap(), site, _folder: folder }
    }

    fn count(&self, what: &str) -> usize {
        count(&self.sqlite, what)
    }

    fn pull(&self, tables: Vec<FakeTable>, options: PullOptions<'_>) -> rowferry::Result<Report> {
        connect(Kind::Rowferry, tables, quick(), Arc::new(|_, _| false)).pull(&self.site, options)
    }
}

const MADE: &str = "sqlite_schema WHERE type = 'table' AND name LIKE 't0%'";

#[test]
fn tables_are_made_a_few_at_a_time_and_the_pull_can_be_cancelled_between() {
    const TABLES: usize = 60;
    let here = Here::new(limits(|limits| limits.pull.commit_time = Duration::ZERO));
    let (token, ended) = (CancelToken::new(), AtomicBool::new(false));
    let path = here.sqlite.path().unwrap().to_owned();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            let sqlite = rusqlite::Connection::open(path).unwrap();
            sqlite.busy_timeout(Duration::from_secs(5)).unwrap();
            // Another program has its turn meanwhile.
            while !ended.load(Ordering::SeqCst) {
                let made = count(&sqlite, MADE);
                if made > 2 {
                    return token.cancel();
                }
            }
        });
        let report = here.pull(chain(TABLES), PullOptions::new().cancel(token.clone())).unwrap();
        ended.store(true, Ordering::SeqCst);
        report
    });
    assert!(report.cancelled, "{report:?}");
    let made = here.count(MADE);
    assert!((3..TABLES).contains(&made), "{made}");
    // The last one of the chain has no parent: it was made first.
    assert_eq!(here.count(&format!("{MADE} AND name = 't{:03}'", TABLES - 1)), 1);

    let report = here.pull(chain(TABLES), PullOptions::new()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(report.tables.iter().all(|table| table.created_table && table.outcome.created == 1), "{report:?}");
    assert_eq!(here.count(MADE), TABLES);
    assert_eq!(here.count("pragma_foreign_key_list('t000')"), 1);
    // All of them name their index alike.
    assert_eq!(here.count("sqlite_schema WHERE type = 'index' AND name LIKE 'by_name%' AND tbl_name LIKE 't0%'"), TABLES);
    for table in ["rowferry_pulls", "rowferry_marks"] {
        assert_eq!(here.count(table), 0, "{table}");
    }
}

#[test]
fn what_one_pull_takes_is_bounded() {
    let kind = |limits: Limits, options: PullOptions<'_>| {
        let here = Here::new(limits);
        let error = here.pull(chain(5), options).map(|report| report.tables.len());
        assert_eq!(here.count(MADE), if error.is_ok() { error.as_ref().copied().unwrap() } else { 0 });
        error.map_err(|error| {
            assert!(error.hint().is_some_and(|hint| hint.contains("some of them")), "{error}");
            error.kind()
        })
    };
    let all = PullOptions::new;
    assert_eq!(kind(limits(|limits| limits.pull.tables = 5), all()), Ok(5));
    assert_eq!(kind(limits(|limits| limits.pull.tables = 4), all()), Err(ErrorKind::TooLarge));
    assert_eq!(kind(limits(|limits| limits.pull.tables = 4), all().tables(["t004", "t003"])), Ok(2));
    // Two columns, a key and an index each, and four references.
    assert_eq!(kind(limits(|limits| limits.pull.names = 24), all()), Ok(5));
    assert_eq!(kind(limits(|limits| limits.pull.names = 23), all()), Err(ErrorKind::TooLarge));
}

/// A table that cannot be made is left out, and those that refer to it are made without that, whatever their order.
#[test]
fn tables_that_cannot_be_made_leave_the_others_alone() {
    for first in ["t000", "t009"] {
        let here = Here::new(Limits::default());
        here.sqlite.execute_batch("CREATE VIEW t005 AS SELECT 1").unwrap();
        let mut child = FakeTable::new(first, &["a"]);
        child.schema["rowferry"]["foreign_keys"] = json!([reference("id", "t005", "id")]);
        let report = here.pull(vec![child, FakeTable::new("t005", &["a"])], PullOptions::new()).unwrap();
        let (bad, child) = (report.table("t005").unwrap(), report.table(first).unwrap());
        assert_eq!(bad.error.as_ref().map(|error| error.kind()), Some(ErrorKind::SchemaMismatch));
        assert!(child.is_clean() && child.created_table && child.notes.len() == 1, "{report:?}");
        assert_eq!(here.count(&format!("pragma_foreign_key_list('{first}')")), 0);
        assert_eq!(here.count(MADE), 1);
    }
}

/// A table of the host's, and a new one of the sender's that refers to it.
fn users_and_child(strategy: Strategy, outside: bool, users: bool) -> (Here, Report) {
    let here = Here::new(Limits::default());
    here.sqlite
        .execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'a')")
        .unwrap();
    let mut child = FakeTable::new("child", &["a"]);
    let mut key = reference("id", "Users", "id");
    key["on_delete"] = json!("RESTRICT");
    child.schema["rowferry"]["foreign_keys"] =
        json!([key, reference("id", "child", "id"), reference("id", "nowhere", "id")]);
    let mut tables = vec![child];
    tables.extend(users.then(|| FakeTable::new("users", &["a"])));
    let options = PullOptions::new().strategy(strategy).outside_references(outside);
    let report = here.pull(tables, options).unwrap();
    assert!(report.is_clean(), "{report:?}");
    (here, report)
}

#[test]
fn a_new_table_does_not_keep_the_hosts_rows_from_being_deleted() {
    for (strategy, outside, users, refers) in [
        (Strategy::Skip, false, false, false),
        (Strategy::Overwrite, false, false, false),
        (Strategy::Skip, true, false, true),
        // In the pull, but here before: the strategy says whether the sender may change it.
        (Strategy::Skip, false, true, false),
        (Strategy::Append, false, true, false),
        (Strategy::Overwrite, false, true, true),
        (Strategy::Merge, false, true, true),
        (Strategy::Skip, true, true, true),
    ] {
        let (here, report) = users_and_child(strategy, outside, users);
        let what = format!("{strategy} {outside} {users}");
        here.sqlite.execute_batch("PRAGMA foreign_keys = ON").unwrap();
        assert_eq!(here.sqlite.execute("DELETE FROM users", []).is_err(), refers, "{what}");
        let notes = &report.table("child").unwrap().notes;
        let left_out = notes.iter().filter(|note| note.contains("(outside_reference)")).count();
        assert_eq!((left_out, notes.len()), (usize::from(!refers), 1 + usize::from(!refers)), "{what}: {notes:?}");
        assert_eq!(here.count("pragma_foreign_key_list('child')"), 1 + usize::from(refers), "{what}");
    }
}

/// A backup into an empty file, and another pull into it, have all foreign keys; so has one that was interrupted.
#[test]
fn a_backup_keeps_its_foreign_keys() {
    let here = Here::new(limits(|limits| limits.pull.commit_time = Duration::ZERO));
    for _ in 0..2 {
        let report = here.pull(chain(4), PullOptions::new()).unwrap();
        assert!(report.is_clean() && report.tables.iter().all(|table| table.notes.is_empty()), "{report:?}");
        for table in ["t000", "t001", "t002"] {
            assert_eq!(here.count(&format!("pragma_foreign_key_list('{table}')")), 1, "{table}");
        }
    }
    // A pull that is dry makes its tables twice.
    let dry = Here::new(Limits::default());
    let report = dry.pull(chain(4), PullOptions::new().dry_run(true)).unwrap();
    assert!(report.is_clean() && dry.count(MADE) == 0, "{report:?}");
}

#[test]
fn a_record_does_not_use_up_the_numbers_of_a_table() {
    let numbers = |table: &mut FakeTable, sequence: Option<i64>| {
        table.schema["rowferry"] = json!({"rowid_alias": true, "autoincrement": true, "sequence": sequence});
        table.records =
            vec![json!({"id": 1, "name": "a"}), json!({"id": i64::MAX, "name": "last"}), json!({"id": 2, "name": "b"})];
        table.count = json!(3);
    };
    // Here before, or made here: only a sender whose own numbers are at their end has such a table.
    for (auto, here_before, sequence, fails) in [
        ("AUTOINCREMENT", true, Some(i64::MAX), true),
        ("AUTOINCREMENT", false, Some(7), true),
        ("AUTOINCREMENT", false, Some(i64::MAX), false),
        // SQLite looks for a free number then.
        ("", true, None, false),
    ] {
        let here = Here::new(Limits::default());
        if here_before {
            here.sqlite.execute_batch(&format!("CREATE TABLE t(id INTEGER PRIMARY KEY {auto}, name TEXT)")).unwrap();
        }
        let mut table = FakeTable::new("t", &[]);
        numbers(&mut table, sequence);
        let report = here.pull(vec![table], PullOptions::new()).unwrap();
        let outcome = &report.table("t").unwrap().outcome;
        let what = format!("{auto} {here_before} {sequence:?}: {report:?}");
        assert_eq!((outcome.created, outcome.failed), (3 - u64::from(fails), u64::from(fails)), "{what}");
        if fails {
            let failure = &outcome.failures[0];
            assert_eq!((failure.reason.code(), failure.column.as_deref()), ("value_out_of_range", Some("id")), "{what}");
        }
        let inserted = here.sqlite.execute("INSERT INTO t(name) VALUES ('mine')", []);
        assert_eq!(inserted.is_err(), sequence == Some(i64::MAX) && !here_before, "{what}: {inserted:?}");
    }
}
