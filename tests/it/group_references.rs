//! References among tables that are applied together, where SQLite has rules of its own: defaults, generated columns, triggers,
//! types that differ, references that are none. Whatever is reported, nothing may refer to nothing afterwards.

use crate::support::common::Fixture;
use rowferry::{Outcome, PullOptions, Records, Strategy, Value};

fn import(here: &Fixture, columns: &[&str], rows: &[&[Value]], strategy: Strategy) -> rowferry::Result<Outcome> {
    let mut records = Records::new(columns.iter().copied());
    rows.iter().for_each(|row| records.push(row.iter().cloned()));
    let report = here.site.import_records("t", &records, PullOptions::new().strategy(strategy))?;
    Ok(report.outcome)
}

fn is_whole(here: &Fixture) {
    assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0]);
}

fn v(value: impl Into<Value>) -> Value {
    value.into()
}

#[test]
fn defaults_and_generated_columns_are_references_too() {
    let none = "no such row";
    for (table, columns, rows, created, failed) in [
        // What the default says is not there.
        ("t(id INTEGER PRIMARY KEY, v TEXT, p INT DEFAULT 99 REFERENCES t(id))", ["id", "v"], vec![[v(1), v("a")]], 0, 1),
        (
            "t(id INTEGER PRIMARY KEY, x INT, p INT AS (x) STORED REFERENCES t(id))",
            ["id", "x"],
            vec![[v(1), v(1)], [v(2), v(77)], [v(4), v(1)]],
            2,
            1,
        ),
    ] {
        for strategy in [Strategy::Append, Strategy::Overwrite] {
            let here = Fixture::new(&format!("CREATE TABLE {table}"));
            let rows: Vec<&[Value]> = rows.iter().map(|row| &row[..]).collect();
            let outcome = import(&here, &columns, &rows, strategy).expect(none);
            assert_eq!((outcome.created, outcome.failed), (created, failed), "{table} {strategy}: {outcome:?}");
            is_whole(&here);
        }
    }
    // Rows without a key cannot be read again: the database decides for all of them.
    let here = Fixture::new("CREATE TABLE t(u INTEGER UNIQUE, v TEXT, p INT DEFAULT 99 REFERENCES t(u))");
    let error =
        import(&here, &["u", "v"], &[&[v(1), v("a")], &[v(2), v("b")]], Strategy::Skip).expect_err("99 is not there");
    assert_eq!(error.code(), "foreign_key", "{error}");
    assert_eq!(here.rows("SELECT * FROM t"), [""; 0]);
}

#[test]
fn what_a_trigger_made_of_a_reference_counts() {
    let trigger = "CREATE TABLE t(id INTEGER PRIMARY KEY, p INT REFERENCES t(id));
        CREATE TRIGGER tr AFTER INSERT ON t WHEN new.id = 4 BEGIN UPDATE t SET p = 12345 WHERE id = 4; END;";
    for strategy in [Strategy::Skip, Strategy::Append] {
        let here = Fixture::new(trigger);
        let rows: [&[Value]; 4] = [&[v(1), Value::Null], &[v(2), v(1)], &[v(3), v(2)], &[v(4), v(1)]];
        let outcome = import(&here, &["id", "p"], &rows, strategy).unwrap();
        assert_eq!((outcome.created, outcome.failed), (3, 1), "{strategy}: {outcome:?}");
        is_whole(&here);
    }
}

#[test]
fn values_are_compared_in_the_class_that_they_have() {
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE, p REFERENCES t(u))";
    let real = Value::Real(2.0);
    // To SQLite a text column has no 2 for 2.0, but '2.0'.
    let here = Fixture::new(table);
    let rows: [&[Value]; 2] = [&[v(2), v("2"), Value::Null], &[v(3), v("x"), real.clone()]];
    let outcome = import(&here, &["id", "u", "p"], &rows, Strategy::Overwrite).unwrap();
    assert_eq!((outcome.created, outcome.failed), (1, 1), "{outcome:?}");
    is_whole(&here);
    let here = Fixture::new(table);
    let rows: [&[Value]; 2] = [&[v(1), v("x"), real], &[v(2), v("2.0"), Value::Null]];
    let outcome = import(&here, &["id", "u", "p"], &rows, Strategy::Overwrite).unwrap();
    assert_eq!((outcome.created, outcome.failed), (2, 0), "{outcome:?}");
    is_whole(&here);
}

#[test]
fn a_reference_that_is_none_fails_each_record() {
    for tables in [
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x INT, p INT REFERENCES t(x))",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x INT, p INT REFERENCES t(x)); CREATE UNIQUE INDEX u ON t(x) WHERE x > 0",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, x INT, p INT REFERENCES t(rowid))",
        "CREATE VIEW w AS SELECT 5 AS x; CREATE TABLE t(id INTEGER PRIMARY KEY, x INT REFERENCES t(id), p INT REFERENCES w(x))",
    ] {
        let here = Fixture::new(tables);
        let rows: [&[Value]; 2] = [&[v(1), v(1), Value::Null], &[v(2), v(1), v(1)]];
        let outcome = import(&here, &["id", "x", "p"], &rows, Strategy::Overwrite).unwrap();
        assert_eq!((outcome.failed, outcome.failures[0].column.as_deref()), (2, Some("p")), "{tables}");
        assert!(outcome.failures[0].message.starts_with("foreign key (p) refers to "), "{tables}: {outcome:?}");
        assert_eq!(here.rows("SELECT * FROM t"), [""; 0], "{tables}");
    }
}

#[test]
fn keys_that_are_one_here_change_no_row_that_others_refer_to() {
    let here =
        Fixture::new("CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, u INT UNIQUE, p INT REFERENCES t(u))");
    let rows: [&[Value]; 4] = [&[v("A"), v(1), v(1)], &[v("B"), v(3), v(1)], &[v("C"), v(4), v(3)], &[v("a"), v(2), v(2)]];
    for strategy in [Strategy::Overwrite, Strategy::Merge] {
        // Whatever becomes of the records: the rows that are here afterwards are whole.
        let told = import(&here, &["k", "u", "p"], &rows, strategy);
        assert!(
            told.as_ref().map_or_else(|error| error.code() == "foreign_key", |outcome| outcome.total() == 4),
            "{told:?}"
        );
        is_whole(&here);
        here.run("DELETE FROM t");
    }
}
