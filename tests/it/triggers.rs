//! Imports into tables with triggers: what their bodies say of conflicts holds, and the table's own clauses still replace no row.

use crate::support::common::Fixture;
use rowferry::{Outcome, PullOptions, Strategy as Choice, Value};

const CHOICES: [Choice; 4] = [Choice::Skip, Choice::Overwrite, Choice::Merge, Choice::Append];

fn import(fixture: &Fixture, table: &str, strategy: Choice, columns: &[&str], rows: &[&[Value]]) -> Outcome {
    let mut records = rowferry::Records::new(columns.iter().copied());
    rows.iter().for_each(|row| records.push(row.to_vec()));
    let options = PullOptions::new().strategy(strategy);
    fixture.site.import_records(table, &records, options).unwrap().outcome
}

fn counts(outcome: &Outcome) -> String {
    let Outcome { created, updated, unchanged, skipped, failed, .. } = outcome;
    format!("{created}/{updated}/{unchanged}/{skipped}/{failed}")
}

fn contents(fixture: &Fixture, tables: &[&str]) -> Vec<Vec<String>> {
    tables.iter().map(|table| fixture.rows(&format!("SELECT * FROM {table} ORDER BY 1"))).collect()
}

#[test]
fn conflict_clauses_of_triggers_and_of_what_they_write_hold() {
    let tables = "CREATE TABLE place(id INTEGER PRIMARY KEY, tag TEXT, x REAL);
        CREATE VIRTUAL TABLE spot USING rtree(id, x0, x1);
        CREATE TABLE tag(name TEXT PRIMARY KEY, n INT DEFAULT 0);
        CREATE TABLE last(one INTEGER UNIQUE ON CONFLICT REPLACE, id INT);
        CREATE TABLE first(one INTEGER UNIQUE ON CONFLICT IGNORE, id INT);
        CREATE TABLE deep(name TEXT UNIQUE ON CONFLICT IGNORE);
        CREATE TRIGGER t1 AFTER INSERT ON place BEGIN
            INSERT OR REPLACE INTO spot VALUES (NEW.id, NEW.x, NEW.x); INSERT OR IGNORE INTO tag(name) VALUES (NEW.tag);
            UPDATE OR IGNORE tag SET name = 'same' WHERE name = NEW.tag; UPDATE tag SET n = n + 1 WHERE name = 'same';
            INSERT INTO last VALUES (1, NEW.id); INSERT INTO first VALUES (1, NEW.id); END;
        CREATE TRIGGER t2 AFTER UPDATE ON place BEGIN
            INSERT OR REPLACE INTO spot VALUES (NEW.id, NEW.x, NEW.x); INSERT OR IGNORE INTO tag(name) VALUES (NEW.tag); END;
        CREATE TRIGGER t3 AFTER INSERT ON first BEGIN INSERT INTO deep VALUES ('x'); END;
        INSERT INTO spot VALUES (1, 9, 9), (2, 9, 9), (5, 9, 9); INSERT INTO tag(name) VALUES ('a'), ('same'); INSERT INTO deep VALUES ('x');";
    let rows: Vec<Vec<Value>> = (1..=40i64).map(|id| vec![id.into(), "a".into(), Value::Real(id as f64)]).collect();
    let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
    let all = ["place", "spot", "tag", "last", "first", "deep"];
    let plain = Fixture::new(tables);
    (1..=40).for_each(|id| plain.run(&format!("INSERT INTO place VALUES ({id}, 'a', {id}.0)")));
    for choice in CHOICES {
        let fixture = Fixture::new(tables);
        let outcome = import(&fixture, "place", choice, &["id", "tag", "x"], &rows);
        assert_eq!(counts(&outcome), "40/0/0/0/0", "{choice:?} {:?}", outcome.failures.first());
        assert_eq!(contents(&fixture, &all), contents(&plain, &all), "{choice:?}");
    }
    // Changes fire theirs.
    let fixture = Fixture::new(tables);
    (1..=40).for_each(|id| fixture.run(&format!("INSERT INTO place VALUES ({id}, 'a', 0)")));
    let outcome = import(&fixture, "place", Choice::Overwrite, &["id", "tag", "x"], &rows);
    assert_eq!(counts(&outcome), "0/40/0/0/0", "{:?}", outcome.failures.first());
    assert_eq!(fixture.rows("SELECT count(*), sum(x0) FROM spot"), ["40|820.0"]);
}

#[test]
fn rows_without_a_key_take_triggers_along_too() {
    let fixture = Fixture::new(
        "CREATE TABLE log(what TEXT); CREATE TABLE kind(what TEXT PRIMARY KEY);
         CREATE TRIGGER t AFTER INSERT ON log BEGIN INSERT OR IGNORE INTO kind VALUES (NEW.what); END;",
    );
    let outcome = import(&fixture, "log", Choice::Skip, &["what"], &[&["a".into()], &["a".into()], &["b".into()]]);
    assert_eq!(counts(&outcome), "3/0/0/0/0");
    assert_eq!(fixture.rows("SELECT * FROM kind"), ["'a'", "'b'"]);
}

/// Each index and clause in which a plain statement would delete a row, or leave one out.
#[test]
fn a_plain_statement_replaces_nothing_in_the_table_itself() {
    for clause in ["REPLACE", "IGNORE", "ROLLBACK", "FAIL"] {
        let fixture = Fixture::new(&format!(
            "CREATE TABLE t(id TEXT PRIMARY KEY ON CONFLICT {clause}, u TEXT UNIQUE ON CONFLICT {clause}, n INT NOT NULL ON CONFLICT {clause} DEFAULT 7, s TEXT, g AS (u || s) UNIQUE ON CONFLICT {clause});
             CREATE UNIQUE INDEX part ON t(s) WHERE n > 10; CREATE UNIQUE INDEX expr ON t(lower(u));
             CREATE TABLE seen(id TEXT PRIMARY KEY);
             INSERT INTO t VALUES ('1', 'a', 1, 's1'), ('2', 'b', 20, 's2'), ('3', 'cd', 1, 'e');
             CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END;
             CREATE TRIGGER u AFTER UPDATE ON t BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END;"
        ));
        let rows: [[Value; 4]; 10] = [
            ["9".into(), "a".into(), 1.into(), "x".into()],
            ["10".into(), "z".into(), 20.into(), "s2".into()],
            ["11".into(), "B".into(), 1.into(), "x".into()],
            ["12".into(), "c".into(), 1.into(), "de".into()],
            ["13".into(), "y".into(), Value::Null, "x".into()],
            ["1".into(), "b".into(), 1.into(), "s1".into()],
            ["2".into(), "b".into(), Value::Null, "s2".into()],
            ["3".into(), "q".into(), 11.into(), "s2".into()],
            ["14".into(), "n".into(), 1.into(), "n".into()],
            ["14".into(), "n".into(), 1.into(), "n".into()],
        ];
        let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
        let outcome = import(&fixture, "t", Choice::Overwrite, &["id", "u", "n", "s"], &rows);
        assert_eq!((outcome.created, outcome.updated, outcome.failed), (1, 0, 8), "{clause} {outcome:?}");
        let mut reasons: Vec<_> = outcome.failures.iter().map(|failure| failure.reason.code()).collect();
        reasons.sort_unstable();
        let expected = [vec!["not_null"; 2], vec!["unique_conflict"; 6]].concat();
        assert_eq!(reasons, expected, "{clause} {:?}", outcome.failures);
        let left = ["'1'|'a'|1|'s1'|'as1'", "'14'|'n'|1|'n'|'nn'", "'2'|'b'|20|'s2'|'bs2'", "'3'|'cd'|1|'e'|'cde'"];
        assert_eq!(fixture.rows("SELECT * FROM t ORDER BY id"), left, "{clause}");
        assert_eq!(fixture.rows("SELECT * FROM seen"), ["'14'"], "{clause}");
    }
}

#[test]
fn a_trigger_that_puts_a_row_into_the_way_deletes_none() {
    for (clause, event) in [
        ("k TEXT UNIQUE ON CONFLICT REPLACE", "BEFORE UPDATE"),
        ("k TEXT UNIQUE ON CONFLICT IGNORE", "UPDATE"),
        ("k TEXT UNIQUE ON CONFLICT REPLACE", "BEFORE INSERT"),
    ] {
        let tables = format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, {clause}, v TEXT);
             INSERT INTO t VALUES (7, 'mine', '7'); INSERT INTO t SELECT 1, 'old', '1' WHERE '{event}' LIKE '%UPDATE';
             CREATE TRIGGER moves {event} ON t WHEN new.k = 'new' BEGIN UPDATE t SET k = 'new' WHERE id = 7; END;"
        );
        for choice in [Choice::Overwrite, Choice::Merge] {
            let fixture = Fixture::new(&tables);
            let before = fixture.rows("SELECT * FROM t");
            let outcome = import(&fixture, "t", choice, &["id", "k", "v"], &[&[1.into(), "new".into(), "1".into()]]);
            assert_eq!((outcome.failed, fixture.rows("SELECT * FROM t")), (1, before), "{clause} {event} {choice:?}");
        }
    }
}

#[test]
fn unique_values_that_move_in_a_table_with_clauses_and_triggers() {
    let fixture = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE ON CONFLICT REPLACE); CREATE TABLE seen(id INTEGER PRIMARY KEY, u);
         INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');
         CREATE TRIGGER u AFTER UPDATE ON t BEGIN INSERT OR REPLACE INTO seen VALUES (NEW.id, NEW.u); END;",
    );
    let rows: [[Value; 2]; 3] = [[1.into(), "b".into()], [2.into(), "c".into()], [3.into(), "a".into()]];
    let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
    let outcome = import(&fixture, "t", Choice::Overwrite, &["id", "u"], &rows);
    assert_eq!(counts(&outcome), "0/3/0/0/0", "{:?}", outcome.failures);
    for table in ["t", "seen"] {
        assert_eq!(fixture.rows(&format!("SELECT * FROM {table}")), ["1|'b'", "2|'c'", "3|'a'"], "{table}");
    }
}

#[test]
fn what_a_trigger_leaves_out_is_skipped() {
    for choice in CHOICES {
        let fixture = Fixture::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1);
             CREATE TRIGGER i BEFORE INSERT ON t WHEN NEW.n = 5 BEGIN SELECT RAISE(IGNORE); END;
             CREATE TRIGGER u BEFORE UPDATE ON t WHEN NEW.n = 5 BEGIN SELECT RAISE(IGNORE); END;",
        );
        let outcome = import(
            &fixture,
            "t",
            choice,
            &["id", "n"],
            &[&[1.into(), 5.into()], &[2.into(), 5.into()], &[3.into(), 6.into()]],
        );
        assert_eq!(counts(&outcome), "1/0/0/2/0", "{choice:?}");
        let id = if choice == Choice::Append { 4 } else { 3 };
        assert_eq!(fixture.rows("SELECT * FROM t"), ["1|1".to_owned(), format!("{id}|6")], "{choice:?}");
    }
    // A trigger that takes the row away is another matter.
    let fixture = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1);
         CREATE TRIGGER u BEFORE UPDATE ON t BEGIN DELETE FROM t WHERE id = OLD.id; END;",
    );
    let outcome = import(&fixture, "t", Choice::Overwrite, &["id", "n"], &[&[1.into(), 5.into()]]);
    assert_eq!((outcome.failed, outcome.failures[0].reason.code()), (1, "trigger"));
}

/// A trigger that fails with FAIL keeps what was done before it, and SQLite the row with it.
#[test]
fn a_record_that_a_trigger_fails_leaves_nothing_behind() {
    for fails in ["SELECT RAISE(FAIL, 'no')", "INSERT OR FAIL INTO side VALUES (1)", "INSERT INTO failing VALUES (1)"] {
        let fixture = Fixture::new(&format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT); CREATE TABLE side(x UNIQUE); CREATE TABLE log(x);
             CREATE TABLE failing(x UNIQUE ON CONFLICT FAIL); INSERT INTO side VALUES (1); INSERT INTO failing VALUES (1);
             CREATE TRIGGER i AFTER INSERT ON t WHEN NEW.n = 5 BEGIN INSERT INTO log VALUES (1); {fails}; END;"
        ));
        let outcome = import(&fixture, "t", Choice::Skip, &["id", "n"], &[&[1.into(), 5.into()], &[2.into(), 6.into()]]);
        assert_eq!(counts(&outcome), "1/0/0/0/1", "{fails}");
        assert_eq!(fixture.rows("SELECT * FROM t"), ["2|6"], "{fails}");
        assert_eq!(fixture.rows("SELECT * FROM log"), [""; 0], "{fails}");
    }
}

/// A trigger may itself take away what is in a row's way.
#[test]
fn a_trigger_may_make_room() {
    for clause in ["", "ON CONFLICT REPLACE"] {
        let fixture = Fixture::new(&format!(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE {clause}); INSERT INTO t VALUES (1, 'a');
             CREATE TRIGGER i BEFORE INSERT ON t BEGIN UPDATE t SET u = NULL WHERE u = NEW.u; END;"
        ));
        let outcome = import(&fixture, "t", Choice::Skip, &["id", "u"], &[&[2.into(), "a".into()]]);
        assert_eq!(counts(&outcome), "1/0/0/0/0", "{clause}");
        assert_eq!(fixture.rows("SELECT * FROM t"), ["1|NULL", "2|'a'"], "{clause}");
    }
}

/// SQLite runs what is behind ON UPDATE CASCADE with OR ABORT, also for a plain statement of the host's.
#[test]
fn triggers_behind_a_cascade_are_as_for_the_host() {
    let tables = "CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT UNIQUE);
        CREATE TABLE c(id INTEGER PRIMARY KEY, code TEXT REFERENCES p(code) ON UPDATE CASCADE);
        CREATE TABLE seen(code TEXT PRIMARY KEY);
        CREATE TRIGGER u AFTER UPDATE ON c BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.code); END;
        INSERT INTO p VALUES (1, 'a'), (2, 'x'); INSERT INTO c VALUES (1, 'a'), (2, 'x'); INSERT INTO seen VALUES ('b');";
    let fixture = Fixture::new(tables);
    fixture.run("PRAGMA foreign_keys = ON");
    let host = fixture.sqlite.execute("UPDATE p SET code = 'b' WHERE id = 1", []).map_err(|error| error.to_string());
    let fixture = Fixture::new(tables);
    let outcome =
        import(&fixture, "p", Choice::Overwrite, &["id", "code"], &[&[1.into(), "b".into()], &[2.into(), "y".into()]]);
    assert_eq!(host, Err("UNIQUE constraint failed: seen.code".into()));
    assert_eq!((outcome.updated, outcome.failed), (1, 1), "{:?}", outcome.failures);
    assert_eq!(fixture.rows("SELECT * FROM c"), ["1|'a'", "2|'y'"]);
}
