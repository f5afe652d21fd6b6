//! References that lead nowhere: to tables that cannot be made here, and to rows that the sender lacks.

use crate::support::common::Fixture;
use rowferry::{
    Auth, CancelToken, Client, ConnectOptions, Dangling, Direction, Limits, PullOptions, Report, Site, Strategy,
    TableStatus, Value,
};

fn pull(from: &Fixture, to: &Fixture, options: PullOptions<'_>) -> Report {
    let code = Auth::code(from.site.sessions().create(Direction::Send).unwrap().code());
    let client = Client::link(&from.site, code, ConnectOptions::default()).unwrap();
    client.pull(&to.site, options.always(true)).unwrap()
}

#[test]
fn a_table_that_cannot_be_made_leaves_nothing_and_its_children_come_without_the_reference() {
    // Children that are made before and after it; what is in its way is found before it is made, or after.
    for (parent, in_the_way) in [
        ("m", "CREATE VIEW m AS SELECT 1 AS id"),
        ("m_data", "CREATE VIRTUAL TABLE m USING fts5(x, content='')"),
        ("m", "CREATE TABLE other(x); CREATE INDEX m ON other(x)"),
    ] {
        let from = Fixture::new(&format!(
            "CREATE TABLE {parent}(id INTEGER PRIMARY KEY, x INT, up INT REFERENCES a(id)); CREATE INDEX of_m ON {parent}(x);
             CREATE TABLE a(id INTEGER PRIMARY KEY, m INT REFERENCES {parent}(id), z INT REFERENCES z(id));
             CREATE TABLE z(id INTEGER PRIMARY KEY, m INT REFERENCES {parent}(id));
             INSERT INTO {parent} VALUES (1, 1, NULL); INSERT INTO z VALUES (1, 1); INSERT INTO a VALUES (1, 1, 1), (2, NULL, 1);"
        ));
        let to = Fixture::new(in_the_way);
        let before = to.rows("SELECT name FROM sqlite_schema ORDER BY name");
        let dry = pull(&from, &to, PullOptions::new().dry_run(true));
        assert_eq!(to.rows("SELECT name FROM sqlite_schema ORDER BY name"), before, "{parent}");
        let report = pull(&from, &to, PullOptions::new());
        for report in [dry, report] {
            let failed = report.table(parent).unwrap();
            assert!(failed.error.is_some() && !failed.created_table, "{parent} {failed:?}");
            for child in ["a", "z"] {
                let child = report.table(child).unwrap();
                assert!(child.error.is_none() && child.created_table, "{parent} {child:?}");
                assert!(child.notes.iter().any(|note| note.contains(&format!("to {parent:?} is left out"))), "{child:?}");
            }
        }
        assert_eq!(to.rows("SELECT * FROM a"), ["1|1|1", "2|NULL|1"], "{parent}");
        assert_eq!(to.rows("SELECT * FROM z"), ["1|1"], "{parent}");
        let foreign =
            "SELECT s.name, \"table\" FROM sqlite_schema s, pragma_foreign_key_list(s.name) WHERE s.name IN ('a', 'z')";
        assert_eq!(to.rows(foreign), ["'a'|'z'"], "{parent}");
        assert_eq!(to.rows("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'of_m%'"), ["0"], "{parent}");
    }
}

const ALL: [Strategy; 4] = [Strategy::Skip, Strategy::Overwrite, Strategy::Merge, Strategy::Append];

/// What of a table was created, updated, failed and kept without its parent.
fn counts(report: &Report, table: &str) -> [u64; 4] {
    let report = report.table(table).unwrap();
    assert!(report.error.is_none(), "{table}: {:?}", report.error);
    let outcome = &report.outcome;
    assert!(outcome.dangling <= outcome.created + outcome.updated, "{outcome:?}");
    [outcome.created, outcome.updated, outcome.failed, outcome.dangling]
}

fn keep(strategy: Strategy) -> PullOptions<'static> {
    PullOptions::new().strategy(strategy).dangling(Dangling::Keep)
}

/// How many references lead nowhere, as SQLite says.
fn broken(fixture: &Fixture) -> usize {
    fixture.rows("SELECT DISTINCT \"table\", rowid FROM pragma_foreign_key_check").len()
}

/// 300 handles, some of which are gone; 0 stands for none.
const MESSAGES: &str = "PRAGMA foreign_keys = OFF; CREATE TABLE handle(id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE message(id INTEGER PRIMARY KEY, handle_id INTEGER NOT NULL REFERENCES handle(id), text TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO handle SELECT i, 'h' || i FROM n WHERE i % 10 <> 7;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
    INSERT INTO message SELECT i, CASE i % 50 WHEN 0 THEN 0 ELSE i % 300 + 1 END, 'm' || i FROM n;";

#[test]
fn rows_without_their_parents_fail_or_are_kept_and_counted() {
    let from = Fixture::new(MESSAGES);
    let dangling = broken(&from) as u64;
    assert!(dangling > 50);
    for strategy in ALL {
        let to = Fixture::new("");
        let report = pull(&from, &to, PullOptions::new().strategy(strategy));
        assert_eq!(counts(&report, "message"), [600 - dangling, 0, dangling, 0], "{strategy}");
        let to = Fixture::new("");
        let dry = pull(&from, &to, keep(strategy).dry_run(true));
        let report = pull(&from, &to, keep(strategy));
        for report in [dry, report] {
            // The new keys of an append are 1 to 270: what refers to one of those that are gone would refer to another row.
            let expected = if strategy == Strategy::Append { [546, 0, 54, 18] } else { [600, 0, 0, dangling] };
            assert_eq!(counts(&report, "message"), expected, "{strategy}");
            assert_eq!(counts(&report, "handle"), [270, 0, 0, 0], "{strategy}");
        }
        if strategy == Strategy::Append {
            continue;
        }
        assert_eq!(broken(&to) as u64, dangling, "{strategy}");
        assert_eq!(from.site.table_checksum("message").unwrap(), to.site.table_checksum("message").unwrap(), "{strategy}");
        // Nothing is new, and what was kept is let be.
        let again = pull(&from, &to, PullOptions::new().strategy(strategy));
        assert_eq!(counts(&again, "message"), [0, 0, 0, 0], "{strategy}");
        // A change of another column is no matter of the reference; one of the reference is.
        to.run("PRAGMA foreign_keys = OFF; UPDATE message SET text = 'x' WHERE id = 50; UPDATE message SET handle_id = 1 WHERE id IN (100, 150)");
        let again = pull(&from, &to, keep(strategy));
        let changes = if strategy == Strategy::Skip { [0, 0, 0, 0] } else { [0, 3, 0, 2] };
        assert_eq!(counts(&again, "message"), changes, "{strategy}");
        if strategy != Strategy::Skip {
            assert_eq!(broken(&to) as u64, dangling, "{strategy}");
        }
    }
}

/// Tables of each kind that is written in another way. The rows are the same: `c` refers to the first of three, and to nothing twice.
#[test]
fn each_way_to_write_rows_keeps_them() {
    let parent = "CREATE TABLE p(id INTEGER PRIMARY KEY, c INT);";
    for (tables, kept) in [
        (format!("{parent} CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id) ON DELETE CASCADE ON UPDATE CASCADE)"), 2),
        (format!("{parent} CREATE TABLE c(id TEXT PRIMARY KEY, p INT NOT NULL REFERENCES p) WITHOUT ROWID"), 2),
        (format!("{parent} CREATE TABLE c(id INT, p INT REFERENCES p(id))"), 2),
        (format!("{parent} CREATE TABLE c(id INTEGER PRIMARY KEY, p INT UNIQUE REFERENCES p(id))"), 2),
        (format!("{parent} CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)"), 2),
        (format!("{parent} CREATE TABLE seen(x); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));
            CREATE TRIGGER t AFTER INSERT ON c BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END"), 2),
        (format!("{parent} CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id), up INT REFERENCES c(id))"), 2),
        (format!("{parent} CREATE TABLE seen(x); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id), up INT REFERENCES c(id));
            CREATE TRIGGER t AFTER INSERT ON c BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END"), 2),
        ("CREATE TABLE p(id INTEGER PRIMARY KEY, c INT REFERENCES c(id)); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id))".to_owned(), 2),
        // What SQLite cannot check is kept where it is not checked.
        ("CREATE TABLE p(id INT, c INT); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id))".to_owned(), 3),
        ("CREATE TABLE p(id INT, c INT); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES gone(id))".to_owned(), 3),
    ] {
        let from = Fixture::new(&format!(
            "PRAGMA foreign_keys = OFF; {tables}; INSERT INTO p(id) VALUES (1), (2); INSERT INTO c(id, p) VALUES (1, 1), (2, 77), (3, 78);"
        ));
        if tables.contains("seen") {
            from.run("DROP TRIGGER t; DELETE FROM seen");
        }
        for strategy in ALL {
            let to = Fixture::new(&tables);
            let report = pull(&from, &to, keep(strategy));
            assert_eq!(counts(&report, "c"), [3, 0, 0, kept], "{strategy} {tables} {:?}", report.table("c"));
            assert_eq!(to.rows("SELECT p FROM c ORDER BY p"), ["1", "77", "78"], "{strategy} {tables}");
            if tables.contains("seen") {
                assert_eq!(to.rows("SELECT count(*) FROM seen"), ["3"], "{strategy} {tables}");
            }
            // References are checked as before.
            let connection = rusqlite::Connection::open(to.path()).unwrap();
            connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
            assert!(connection.execute("INSERT INTO c(id, p) VALUES (9, 99)", []).is_err(), "{tables}");
            let mut records = rowferry::Records::new(["id", "p"]);
            records.push([Value::from(10), 99.into()]);
            let outcome = to.site.import_records("c", &records, PullOptions::new()).unwrap().outcome;
            assert_eq!(outcome.failed, 1, "{strategy} {tables}");
        }
    }
}

/// In an append a reference to what did not come never leads to another row.
#[test]
fn an_append_keeps_no_reference_that_would_lead_to_another_row() {
    for (tables, is_tree) in [
        (
            "CREATE TABLE p(id INTEGER PRIMARY KEY, n TEXT); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));",
            false,
        ),
        ("CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES c(id));", true),
    ] {
        let (first, second) = match is_tree {
            true => ("", "INSERT INTO c VALUES (1, NULL), (2, 1), (3, 5), (4, 90), (6, 40), (7, 0)"),
            false => (
                "INSERT INTO p VALUES (1, 'a'), (2, 'b')",
                "INSERT INTO c VALUES (1, NULL), (2, 1), (3, 5), (4, 90), (6, 40), (7, 0)",
            ),
        };
        let from = Fixture::new(&format!("PRAGMA foreign_keys = OFF; {tables} {first}; {second};"));
        // Here 5 is there, and the first new keys are 41, 42 ...: 40 is another row.
        let here =
            if is_tree { "INSERT INTO c VALUES (5, NULL), (40, NULL)" } else { "INSERT INTO p VALUES (5, 'x'), (40, 'y')" };
        let to = Fixture::new(&format!("{tables} {here};"));
        let report = pull(&from, &to, keep(Strategy::Append));
        let outcome = &report.table("c").unwrap().outcome;
        assert_eq!((outcome.created, outcome.failed, outcome.dangling), (4, 2, 2), "{tables} {outcome:?}");
        assert!(outcome.failures.iter().all(|failure| failure.reason.code() == "foreign_key"), "{outcome:?}");
        assert_eq!(to.rows("SELECT p FROM c WHERE p NOT IN (SELECT id FROM c) AND p IN (0, 90) ORDER BY p"), ["0", "90"]);
        assert_eq!(broken(&to), 2, "{tables}");
    }
    // Nor to a row that gets the key only in this append.
    let tree = "CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES c(id));";
    let from = Fixture::new(&format!(
        "PRAGMA foreign_keys = OFF; {tree} INSERT INTO c VALUES (1, 42), (2, NULL), (3, NULL), (4, 50);"
    ));
    let to = Fixture::new(&format!("{tree} INSERT INTO c VALUES (40, NULL);"));
    let report = pull(&from, &to, keep(Strategy::Append));
    assert_eq!(counts(&report, "c"), [3, 0, 1, 1]);
    assert_eq!(to.rows("SELECT p FROM c WHERE p IS NOT NULL"), ["50"]);
}

#[test]
fn a_pull_that_resumes_counts_them_all() {
    let from = Fixture::new(MESSAGES);
    let dangling = broken(&from) as u64;
    let folder = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    (limits.pull.commit_rows, limits.pull.stream_page_bytes) = (50, 1_000);
    let here = Site::builder().limits(limits).open(folder.path().join("here.db")).unwrap();
    let code = Auth::code(from.site.sessions().create(Direction::Send).unwrap().code());
    let client = Client::link(&from.site, code, ConnectOptions::default()).unwrap();
    let mut cancelled = 0;
    let report = loop {
        let token = CancelToken::new();
        let stop = token.clone();
        let mut seen = 0;
        let options = keep(Strategy::Skip).batch_size(50).cancel(token).on_progress(move |progress| {
            if progress.table == "message" {
                seen += 1;
                if seen == 5 && cancelled < 3 {
                    stop.cancel();
                }
            }
        });
        let report = client.pull(&here, options);
        match report {
            Ok(report) if report.table("message").is_some_and(|table| table.status == TableStatus::Completed) => {
                break report;
            }
            _ => cancelled += 1,
        }
        assert!(cancelled < 10);
    };
    assert!(cancelled > 0 && report.table("message").unwrap().resumed, "{report:?}");
    assert_eq!(counts(&report, "message"), [600, 0, 0, dangling]);
}

/// Nothing else is let through with them.
#[test]
fn a_kept_row_passes_all_other_checks() {
    let tables = "CREATE TABLE p(id INTEGER PRIMARY KEY);
        CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id), code TEXT UNIQUE, n INT CHECK (n > 0), s TEXT NOT NULL);
        CREATE TABLE leaf(id INTEGER PRIMARY KEY, code TEXT REFERENCES c(code));
        PRAGMA foreign_keys = OFF;
        INSERT INTO c VALUES (1, NULL, 'a', 1, 's'), (2, NULL, 'b', 1, 's'); INSERT INTO leaf VALUES (1, 'a');";
    let to = Fixture::new(tables);
    let mut records = rowferry::Records::new(["id", "p", "code", "n", "s"]);
    records.push([Value::from(1), 7.into(), "new".into(), 1.into(), "s".into()]);
    records.push([Value::from(3), 7.into(), "b".into(), 1.into(), "s".into()]);
    records.push([Value::from(4), 7.into(), "d".into(), 0.into(), "s".into()]);
    records.push([Value::from(5), 7.into(), "e".into(), 1.into(), Value::Null]);
    records.push([Value::from(6), 7.into(), "f".into(), 1.into(), "s".into()]);
    let outcome = to.site.import_records("c", &records, keep(Strategy::Overwrite)).unwrap().outcome;
    let mut codes: Vec<_> = outcome.failures.iter().map(|failure| failure.reason.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["check", "foreign_key", "not_null", "unique_conflict"], "{outcome:?}");
    assert_eq!((outcome.created, outcome.dangling), (1, 1));
    assert_eq!(to.rows("SELECT id, p, code FROM c"), ["1|NULL|'a'", "2|NULL|'b'", "6|7|'f'"]);
}

/// Records that wait for a renamed value of another table, and beside them some that refer to nothing.
#[test]
fn what_waits_for_other_tables_is_kept_after_them() {
    for more in ["", ", up INT REFERENCES c(id)"] {
        let tables = format!(
            "PRAGMA foreign_keys = OFF; CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
             CREATE TABLE c(id INTEGER PRIMARY KEY, code TEXT REFERENCES p(code){more});"
        );
        let from = Fixture::new(&format!(
            "{tables} INSERT INTO p VALUES (1, 'b'), (2, 'x'); INSERT INTO c(id, code) VALUES (1, 'b'), (2, 'gone'), (3, 'x'), (4, 'gone');"
        ));
        let here = "INSERT INTO p VALUES (1, 'a'), (2, 'x'); INSERT INTO c(id, code) VALUES (1, 'a'), (4, 'x');";
        let to = Fixture::new(&format!("{tables} {here}"));
        let report = pull(&from, &to, PullOptions::new().strategy(Strategy::Overwrite));
        assert_eq!(counts(&report, "c"), [1, 1, 2, 0], "{more} {report:?}");
        let to = Fixture::new(&format!("{tables} {here}"));
        let report = pull(&from, &to, keep(Strategy::Overwrite));
        assert_eq!((counts(&report, "p"), counts(&report, "c")), ([0, 1, 0, 0], [2, 2, 0, 2]), "{more} {report:?}");
        assert_eq!(to.rows("SELECT id, code FROM c"), ["1|'b'", "2|'gone'", "3|'x'", "4|'gone'"], "{more}");
        assert_eq!(broken(&to), 2, "{more}");
    }
}

#[test]
fn only_what_refers_to_something_dangles() {
    let tables =
        "CREATE TABLE p(id INTEGER PRIMARY KEY, x); CREATE TABLE gone(id INTEGER PRIMARY KEY, r INT REFERENCES nowhere(id));
        CREATE TABLE c(id INTEGER PRIMARY KEY, r REFERENCES p(x));
        CREATE TRIGGER t AFTER INSERT ON p BEGIN SELECT 1; END;";
    let rows = "PRAGMA foreign_keys = OFF; INSERT INTO p VALUES (1, 1), (2, 2); INSERT INTO gone VALUES (1, NULL), (2, NULL), (3, 7);";
    let (from, to) = (Fixture::new(&format!("{tables} {rows}")), Fixture::new(tables));
    let report = pull(&from, &to, keep(Strategy::Skip));
    let dangling = |table: &str| {
        let outcome = &report.table(table).unwrap().outcome;
        (outcome.created, outcome.failed, outcome.dangling)
    };
    assert_eq!((dangling("gone"), dangling("p")), ((3, 0, 1), (2, 0, 0)), "{report:?}");
}

#[test]
fn a_key_with_another_number_of_columns_is_left_out_and_said() {
    let from = Fixture::new(
        "CREATE TABLE p(a INT, b INT, PRIMARY KEY (a, b)); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p);
         INSERT INTO p VALUES (1, 2); PRAGMA foreign_keys = OFF; INSERT INTO c VALUES (1, 1), (2, NULL);",
    );
    let to = Fixture::new("");
    let report = pull(&from, &to, PullOptions::new());
    let c = report.table("c").unwrap();
    assert!(c.error.is_none() && c.notes.iter().any(|note| note.contains("its columns do not match")), "{c:?}");
    assert_eq!(to.rows("SELECT * FROM c"), ["1|1", "2|NULL"]);
}
