//! Imports of many records into one table, where SQLite's statements do more than they seem to: constraints with a clause of their
//! own, numbers that compare equal, parents that are missing, functions that fail.

use rowferry::{Outcome, Strategy as Choice, Value};

/// Counts, and failures without their sentences, which name the table.
fn told(outcome: &Outcome) -> ([u64; 5], Vec<String>) {
    let failures = outcome.failures.iter().map(|f| format!("{:?} {:?} {:?}", f.key, f.reason, f.column)).collect();
    ([outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed], failures)
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
            let options = rowferry::PullOptions::new().strategy(Choice::Overwrite);
            let outcome = site.import_records("t", &records, options).unwrap().outcome;
            let codes: Vec<&str> = outcome.failures.iter().map(|failure| failure.reason.code()).collect();
            assert_eq!(codes, ["not_null", "not_null", "unique_conflict", "unique_conflict"], "{clause} {trigger}");
            assert_eq!((outcome.created, outcome.total()), (1, 5), "{clause} {trigger}");
            assert_eq!(
                crate::support::common::rows(&sqlite, "SELECT * FROM t"),
                ["1|'a'|1", "2|'b'|2", "5|'e'|5"],
                "{clause} {trigger}"
            );
        }
    }
}

/// The ends of the integers' range, where a double is called equal to an integer but is not made one.
#[test]
fn numbers_that_compare_equal_are_told_apart() {
    let (least, end) = (i64::MIN as f64, i64::MAX as f64);
    let ends = [i64::MIN, i64::MIN + 1024, i64::MAX, i64::MAX - 1023, 5].map(Value::Integer);
    let doubles = [least, least + 1024.0, end, end - 1024.0, 5.0, -1e300, 1e300].map(Value::Real);
    let all: Vec<Value> = ends.into_iter().chain(doubles).collect();
    for declared in ["INT", "NUMERIC", "REAL", "", "BLOB"] {
        for old in &all {
            let create = ["fast", "slow"].map(|t| format!("CREATE TABLE {t}(id INTEGER PRIMARY KEY, v {declared})"));
            let careful = "CREATE TRIGGER careful AFTER UPDATE ON slow BEGIN SELECT 1; END";
            let fixture = crate::support::common::Fixture::new(&format!("{}; {careful};", create.join(";")));
            let records = |values: &mut dyn Iterator<Item = &Value>| {
                let mut records = rowferry::Records::new(["id", "v"]);
                (1i64..).zip(values).for_each(|(id, value)| records.push([id.into(), value.clone()]));
                let [fast, slow] = ["fast", "slow"].map(|table| {
                    let options = rowferry::PullOptions::new().strategy(Choice::Overwrite);
                    told(&fixture.site.import_records(table, &records, options).unwrap().outcome)
                });
                assert_eq!(fast, slow, "{declared:?} {old:?}");
                assert_eq!(fixture.rows("SELECT * FROM fast"), fixture.rows("SELECT * FROM slow"), "{declared:?} {old:?}");
            };
            // Some more, so that there are statements of many rows.
            records(&mut std::iter::repeat_n(old, 30 + all.len()));
            records(&mut all.iter().chain(std::iter::repeat_n(&all[0], 30)));
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
        let outcome = site.import_records(table, &records, rowferry::PullOptions::new()).unwrap().outcome;
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
            let fixture = crate::support::common::Fixture::new(&format!("{table} {trigger}"));
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
                let options = rowferry::PullOptions::new().strategy(strategy);
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
    let fixture = crate::support::common::Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT, u INT UNIQUE)");
    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_UTF8;
    fixture.sqlite.create_scalar_function("theirs", 1, flags, |_| Ok(1)).unwrap();
    for (sql, from) in [("SELECT 1", 0), ("CREATE INDEX i ON t(theirs(n))", 300)] {
        fixture.run(sql);
        let mut records = rowferry::Records::new(["id", "n", "u"]);
        (from..from + 300).for_each(|id| records.push([id, id, id].map(Value::Integer)));
        match fixture.site.import_records("t", &records, rowferry::PullOptions::new()) {
            Ok(report) => assert_eq!((report.outcome.created, from), (300, 0)),
            Err(error) => {
                assert_eq!((error.to_string().contains("unknown function: theirs()"), from), (true, 300), "{error}")
            }
        }
    }
}

/// A foreign key that SQLite cannot check is noticed by statements that write several rows, and by few others.
#[test]
fn faulty_foreign_keys_refuse_what_sqlite_refuses_row_by_row() {
    let import = |fixture: &crate::support::common::Fixture,
                  table: &str,
                  choice: Choice,
                  columns: [&str; 3],
                  ids: std::ops::Range<i64>| {
        let mut records = rowferry::Records::new(columns);
        ids.for_each(|id| records.push([id.into(), format!("c{id}").into(), Value::Null]));
        let options = rowferry::PullOptions::new().strategy(choice);
        told(&fixture.site.import_records(table, &records, options).unwrap().outcome)
    };
    let columns = ["id", "code", "note"];
    for (reference, more) in [
        ("p(code)", ""),
        ("p(code)", "CREATE UNIQUE INDEX i ON p(code) WHERE note > 0;"),
        ("p(code)", "CREATE INDEX i ON p(code);"),
        ("p(gone)", ""),
    ] {
        for choice in [Choice::Skip, Choice::Overwrite, Choice::Merge, Choice::Append] {
            let context = format!("{reference} {more} {choice}");
            let fixture = crate::support::common::Fixture::new(&format!(
                "CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT, note TEXT); {more}
                 CREATE TABLE c(id INTEGER PRIMARY KEY, code TEXT REFERENCES {reference}, note TEXT);"
            ));
            assert_eq!(import(&fixture, "p", choice, columns, 0..300), ([300, 0, 0, 0, 0], vec![]), "{context}");
            let (counts, failures) = import(&fixture, "c", choice, columns, 0..30);
            assert_eq!((counts, failures.len()), ([0, 0, 0, 0, 30], 30), "{context}");
            assert!(failures[0].ends_with("ForeignKey Some(\"code\")"), "{context} {}", failures[0]);
        }
    }
    // Columns that no foreign key is about can change on both sides.
    let fixture = crate::support::common::Fixture::new(
        "PRAGMA foreign_keys = OFF; CREATE TABLE p(id INTEGER PRIMARY KEY, code TEXT, note TEXT);
         CREATE TABLE c(id INTEGER PRIMARY KEY, code TEXT REFERENCES p(code), note TEXT);
         INSERT INTO p VALUES (1, 'c1', 'x'), (2, 'c2', NULL), (3, 'other', NULL);
         INSERT INTO c VALUES (1, 'c1', 'x'), (2, 'c2', NULL), (3, 'other', NULL);",
    );
    for table in ["p", "c"] {
        let (counts, failures) = import(&fixture, table, Choice::Overwrite, columns, 1..4);
        assert_eq!((counts, failures.len()), ([0, 1, 1, 0, 1], 1), "{table}");
        assert_eq!(failures[0], "[3] ForeignKey Some(\"code\")", "{table}");
    }
}

#[test]
fn a_reference_to_a_table_that_was_renamed_away_is_named() {
    let fixture = crate::support::common::Fixture::new(
        "CREATE TABLE starred(id INTEGER PRIMARY KEY, track_id INTEGER REFERENCES \"track_old\"(id), note TEXT)",
    );
    for id in [1i64, 300] {
        let mut records = rowferry::Records::new(["id", "track_id"]);
        (0..id).for_each(|id| records.push([id.into(), Value::Null]));
        let outcome = fixture.site.import_records("starred", &records, rowferry::PullOptions::new()).unwrap().outcome;
        assert_eq!((outcome.failed, outcome.failures[0].column.as_deref()), (id as u64, Some("track_id")));
        let message = "foreign key (track_id) refers to track_old(id), and there is no such table";
        assert_eq!(outcome.failures[0].message, message);
    }
}
