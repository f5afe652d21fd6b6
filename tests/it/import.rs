//! What an import does to the rows that are there: strategies, keys, outcomes, references.

use crate::support::common::Fixture;
use rowferry::{Outcome, PullOptions, Records, Strategy, Value};

/// `created/updated/unchanged/skipped/failed`
fn counts(outcome: &Outcome) -> String {
    format!("{}/{}/{}/{}/{}", outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed)
}

fn reasons(outcome: &Outcome) -> Vec<&'static str> {
    outcome.failures.iter().map(|failure| failure.reason.code()).collect()
}

fn records(columns: &[&str], rows: &[&[Value]]) -> Records {
    let mut records = Records::new(columns.iter().copied());
    rows.iter().for_each(|row| records.push(row.iter().cloned()));
    records
}

fn v(value: impl Into<Value>) -> Value {
    value.into()
}

const NULL: Value = Value::Null;

fn import(fixture: &Fixture, table: &str, strategy: Strategy, records: &Records) -> Outcome {
    fixture.site.import_records(table, records, PullOptions::new().strategy(strategy)).unwrap().outcome
}

#[test]
fn each_strategy_does_what_it_says() {
    let cases = [
        (Strategy::Skip, "1/0/0/3/0", ["1|'a'|1", "2|'b'|2", "3|'c'|3", "4|'new'|NULL"]),
        (Strategy::Overwrite, "1/2/1/0/0", ["1|'a'|1", "2|'B'|2", "3|NULL|3", "4|'new'|NULL"]),
        (Strategy::Merge, "1/1/2/0/0", ["1|'a'|1", "2|'B'|2", "3|'c'|3", "4|'new'|NULL"]),
    ];
    for (strategy, expected, rows) in cases {
        let fixture = Fixture::new(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n INT); INSERT INTO t VALUES (1,'a',1),(2,'b',2),(3,'c',3);",
        );
        let incoming = records(&["id", "name"], &[&[v(1), v("a")], &[v(2), v("B")], &[v(3), NULL], &[v(4), v("new")]]);
        let outcome = import(&fixture, "t", strategy, &incoming);
        assert_eq!(counts(&outcome), expected, "{strategy}");
        assert_eq!(fixture.rows("SELECT * FROM t"), rows, "{strategy}");
    }
}

#[test]
fn a_bad_record_takes_no_other_with_it() {
    let fixture = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, email TEXT UNIQUE, age INT NOT NULL CHECK(age > 0));
         INSERT INTO t VALUES (1,'a',1);",
    );
    let incoming = records(
        &["id", "email", "age"],
        &[
            &[v(2), v("a"), v(2)],
            &[v(3), v("c"), NULL],
            &[v(4), v("d"), v(-1)],
            &[NULL, v("e"), v(1)],
            &[v(5), v("f"), v(5)],
        ],
    );
    for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
        fixture.run("DELETE FROM t WHERE id > 1");
        let outcome = import(&fixture, "t", strategy, &incoming);
        assert_eq!(counts(&outcome), "1/0/0/0/4", "{strategy}");
        // The one that another row keeps out is tried once more when all others were looked at.
        assert_eq!(reasons(&outcome), ["not_null", "check", "missing_key", "unique_conflict"]);
        assert_eq!(outcome.failures[3].key, [v(2)]);
        assert_eq!(outcome.failures[3].column.as_deref(), Some("email"));
        assert_eq!(fixture.rows("SELECT id FROM t"), ["1", "5"]);
    }
}

#[test]
fn what_a_strategy_would_not_write_is_not_checked() {
    let fixture = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, n INT NOT NULL); INSERT INTO t VALUES (1, 1);");
    let incoming = records(&["id", "n"], &[&[v(1), NULL]]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Skip, &incoming)), "0/0/0/1/0");
    assert_eq!(counts(&import(&fixture, "t", Strategy::Merge, &incoming)), "0/0/1/0/0");
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/0/0/1");
}

#[test]
fn a_value_that_the_column_would_rewrite_is_refused() {
    let fixture = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER, s TEXT, r REAL, any)");
    let incoming = records(
        &["id", "n", "s", "r", "any"],
        &[
            &[v(1), v("007"), NULL, NULL, NULL],
            &[v(2), NULL, v(5), NULL, NULL],
            &[v(3), NULL, NULL, v(9_007_199_254_740_993), NULL],
            &[v(4), v("x"), v("007"), v(5), v("1e3")],
        ],
    );
    let outcome = import(&fixture, "t", Strategy::Overwrite, &incoming);
    assert_eq!(reasons(&outcome), ["value_would_change"; 3]);
    assert_eq!(fixture.rows("SELECT * FROM t"), ["4|'x'|'007'|5.0|'1e3'"]);
}

#[test]
fn equal_means_the_same_class_and_bytes() {
    let fixture = Fixture::new(
        "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, name TEXT COLLATE NOCASE, any);
         INSERT INTO t VALUES ('a', 'abc', 1), ('b', 'x', 0.0), ('c', 'y', 'z');",
    );
    let incoming =
        records(&["id", "name", "any"], &[&[v("A"), v("abc"), v(1)], &[v("b"), v("x"), v(-0.0)], &[v("c"), v("Y"), v("z")]]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/3/0/0/0");
    assert_eq!(fixture.rows("SELECT * FROM t ORDER BY id"), ["'A'|'abc'|1", "'b'|'x'|-0.0", "'c'|'Y'|'z'"]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/3/0/0");
    let real = records(&["id", "any"], &[&[v("A"), v(1.0)]]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Merge, &real)), "0/1/0/0/0");
}

#[test]
fn rows_without_a_key_are_counted() {
    let fixture = Fixture::new("CREATE TABLE t(a INT, b TEXT); INSERT INTO t VALUES (1,'x'),(1,'x'),(2,NULL);");
    let incoming = records(
        &["a", "b"],
        &[&[v(1), v("x")], &[v(1), v("x")], &[v(1), v("x")], &[v(2), NULL], &[v(3), NULL], &[v(3), NULL]],
    );
    assert_eq!(counts(&import(&fixture, "t", Strategy::Skip, &incoming)), "3/0/0/3/0");
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/6/0/0");
    assert_eq!(fixture.rows("SELECT a, count(*) FROM t GROUP BY a"), ["1|3", "2|1", "3|2"]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Append, &incoming)), "6/0/0/0/0");
    assert!(fixture.rows("SELECT * FROM rowferry_staged").is_empty());
}

#[test]
fn rows_with_null_in_their_key_are_counted_too() {
    let fixture =
        Fixture::new("CREATE TABLE t(k TEXT PRIMARY KEY, n INT); INSERT INTO t VALUES (NULL, 1), ('a', 1), (NULL, 1);");
    let incoming = records(
        &["k", "n"],
        &[&[v("a"), v(2)], &[NULL, v(1)], &[NULL, v(1)], &[NULL, v(1)], &[v("b"), v(3)], &[NULL, v(2)]],
    );
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "3/1/2/0/0");
    assert_eq!(fixture.rows("SELECT * FROM t ORDER BY k, n"), ["NULL|1", "NULL|1", "NULL|1", "NULL|2", "'a'|2", "'b'|3"]);
}

#[test]
fn triggers_run_and_may_refuse() {
    let fixture = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT); CREATE TABLE log(what);
         CREATE TRIGGER a BEFORE INSERT ON t WHEN NEW.n = 1 BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER b BEFORE INSERT ON t WHEN NEW.n = 2 BEGIN SELECT RAISE(ABORT, 'no twos'); END;
         CREATE TRIGGER c AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (NEW.id); END;
         INSERT INTO t VALUES (5, 5);",
    );
    let incoming = records(&["id", "n"], &[&[v(1), v(1)], &[v(2), v(2)], &[v(3), v(3)], &[v(5), v(6)]]);
    let outcome = import(&fixture, "t", Strategy::Overwrite, &incoming);
    assert_eq!(counts(&outcome), "1/1/0/1/1");
    assert_eq!(reasons(&outcome), ["trigger"]);
    assert!(outcome.failures[0].message.contains("no twos"));
    assert_eq!(fixture.rows("SELECT * FROM log"), ["5"]);
}

#[test]
fn a_trigger_that_rolls_back_ends_the_table_and_keeps_nothing() {
    let fixture = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
         CREATE TRIGGER a BEFORE INSERT ON t WHEN NEW.n = 1 BEGIN SELECT RAISE(ROLLBACK, 'stop'); END;",
    );
    let incoming = records(&["id", "n"], &[&[v(1), v(5)], &[v(2), v(1)], &[v(3), v(3)]]);
    let error = fixture.site.import_records("t", &incoming, PullOptions::new()).unwrap_err();
    assert!(error.to_string().contains("RAISE(ROLLBACK)"), "{error}");
    assert!(fixture.rows("SELECT * FROM t").is_empty());
}

#[test]
fn a_row_without_its_parent_fails_and_says_which() {
    let fixture = Fixture::new(
        "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
         CREATE TABLE t(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));",
    );
    let incoming = records(&["id", "p"], &[&[v(1), v(1)], &[v(2), v(9)], &[v(3), NULL]]);
    let outcome = import(&fixture, "t", Strategy::Skip, &incoming);
    assert_eq!(counts(&outcome), "2/0/0/0/1");
    assert_eq!(outcome.failures[0].reason.code(), "foreign_key");
    assert_eq!(outcome.failures[0].column.as_deref(), Some("p"));
    assert!(outcome.failures[0].message.contains("id = [9]"), "{}", outcome.failures[0].message);
}

#[test]
fn a_tree_arrives_whatever_its_order_and_without_its_orphans() {
    let fixture = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, up INT REFERENCES t(id), name TEXT)");
    let incoming = records(
        &["id", "up", "name"],
        &[
            &[v(1), v(3), v("leaf")],
            &[v(2), v(9), v("orphan")],
            &[v(3), NULL, v("root")],
            &[v(4), v(2), v("of the orphan")],
            &[v(5), v(5), v("of itself")],
        ],
    );
    let outcome = import(&fixture, "t", Strategy::Overwrite, &incoming);
    assert_eq!(counts(&outcome), "3/0/0/0/2");
    assert_eq!(reasons(&outcome), ["foreign_key", "foreign_key"]);
    assert_eq!(fixture.rows("SELECT id FROM t"), ["1", "3", "5"]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/3/0/2");
}

#[test]
fn tables_that_refer_to_each_other_arrive_together() {
    let fixture = Fixture::new(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, b INT NOT NULL REFERENCES b(id));
         CREATE TABLE b(id INTEGER PRIMARY KEY, a INT NOT NULL REFERENCES a(id));",
    );
    let a = records(&["id", "b"], &[&[v(1), v(10)], &[v(2), v(99)]]);
    let b = records(&["id", "a"], &[&[v(10), v(1)], &[v(20), v(2)]]);
    let report = fixture.site.import_multiple(&[("a", &a), ("b", &b)], PullOptions::new()).unwrap();
    assert_eq!(counts(&report.table("a").unwrap().outcome), "1/0/0/0/1");
    assert_eq!(counts(&report.table("b").unwrap().outcome), "1/0/0/0/1");
    assert_eq!(fixture.rows("SELECT a.id, b.id FROM a, b"), ["1|10"]);
}

#[test]
fn an_append_makes_new_keys_and_children_follow() {
    let fixture = Fixture::new(
        "CREATE TABLE users(id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT UNIQUE, boss INT REFERENCES users(id));
         CREATE TABLE orders(id TEXT PRIMARY KEY NOT NULL, user INT NOT NULL REFERENCES users(id));
         CREATE TABLE items(\"order\" TEXT NOT NULL REFERENCES orders(id), line INT NOT NULL, PRIMARY KEY(\"order\", line));
         INSERT INTO users VALUES (1,'here',NULL),(7,'gone',NULL); DELETE FROM users WHERE id = 7;
         INSERT INTO orders VALUES ('018f0000-0000-7000-8000-000000000001', 1);
         INSERT INTO items VALUES ('018f0000-0000-7000-8000-000000000001', 1);",
    );
    let users = records(&["id", "email", "boss"], &[&[v(1), v("new"), v(2)], &[v(2), v("here"), NULL]]);
    let order = "018f0000-0000-7000-8000-000000000001";
    let orders = records(&["id", "user"], &[&[v(order), v(1)]]);
    let items = records(&["order", "line"], &[&[v(order), v(1)], &[v(order), v(2)]]);
    let all = [("items", &items), ("orders", &orders), ("users", &users)];
    let report = fixture.site.import_multiple(&all, PullOptions::new().strategy(Strategy::Append)).unwrap();
    assert_eq!(counts(&report.table("users").unwrap().outcome), "1/0/0/1/0");
    assert_eq!(counts(&report.table("orders").unwrap().outcome), "1/0/0/0/0");
    assert_eq!(counts(&report.table("items").unwrap().outcome), "2/0/0/0/0");
    // The new user got a number that was never used; its boss is the user who has that address here.
    let new: i64 =
        fixture.sqlite.query_row("SELECT id FROM users WHERE email = 'new' AND boss = 1", [], |r| r.get(0)).unwrap();
    assert!(new > 7);
    let found = fixture.rows("SELECT user, line FROM items JOIN orders ON orders.id = \"order\" ORDER BY user, line");
    assert_eq!(found, ["1|1".to_owned(), format!("{new}|1"), format!("{new}|2")]);
    assert!(fixture.rows("SELECT * FROM rowferry_keys").is_empty());
}

#[test]
fn an_append_keeps_other_keys_if_they_are_free() {
    let fixture = Fixture::new("CREATE TABLE t(code TEXT PRIMARY KEY NOT NULL, n INT); INSERT INTO t VALUES ('a', 1);");
    let incoming = records(&["code", "n"], &[&[v("a"), v(2)], &[v("b"), v(2)]]);
    let outcome = import(&fixture, "t", Strategy::Append, &incoming);
    assert_eq!(counts(&outcome), "1/0/0/0/1");
    assert_eq!(reasons(&outcome), ["no_new_key"]);
    assert_eq!(fixture.rows("SELECT * FROM t"), ["'a'|1", "'b'|2"]);
}

#[test]
fn a_dry_run_reports_and_keeps_nothing() {
    let sql = "CREATE TABLE p(id INTEGER PRIMARY KEY, up INT REFERENCES p(id)); CREATE TABLE t(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));
               CREATE TABLE k(a); INSERT INTO p VALUES (1, NULL);";
    let fixture = Fixture::new(sql);
    let p = records(&["id", "up"], &[&[v(1), v(2)], &[v(2), v(1)], &[v(3), v(9)]]);
    let t = records(&["id", "p"], &[&[v(1), v(2)], &[v(2), v(3)]]);
    let k = records(&["a"], &[&[v(1)], &[v(1)]]);
    let all = [("p", &p), ("t", &t), ("k", &k)];
    let options = || PullOptions::new().strategy(Strategy::Overwrite);
    let dry = fixture.site.import_multiple(&all, options().dry_run(true)).unwrap();
    assert_eq!(fixture.rows("SELECT * FROM p"), ["1|NULL"]);
    assert!(fixture.rows("SELECT * FROM t UNION ALL SELECT a, a FROM k").is_empty());
    let wet = fixture.site.import_multiple(&all, options()).unwrap();
    for name in ["p", "t", "k"] {
        assert_eq!(dry.table(name).unwrap().outcome, wet.table(name).unwrap().outcome, "{name}");
    }
    assert_eq!(counts(&wet.table("p").unwrap().outcome), "1/1/0/0/1");
    assert_eq!(counts(&wet.table("t").unwrap().outcome), "1/0/0/0/1");
}

#[test]
fn generated_columns_compute_themselves() {
    let fixture = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b INT AS (a * 2) STORED)");
    let incoming = records(&["id", "a", "b"], &[&[v(1), v(2), v(99)]]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "1/0/0/0/0");
    assert_eq!(fixture.rows("SELECT * FROM t"), ["1|2|4"]);
}

#[test]
fn keys_of_every_kind_find_their_rows() {
    for table in [
        "CREATE TABLE t(id INT PRIMARY KEY, v TEXT)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY DESC, v TEXT)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT) WITHOUT ROWID",
        "CREATE TABLE t(id INT PRIMARY KEY, v TEXT) STRICT",
        "CREATE TABLE t(id INT NOT NULL UNIQUE, v TEXT)",
        "CREATE TABLE t(id INT NOT NULL, v TEXT); CREATE UNIQUE INDEX i ON t(id)",
        "CREATE TABLE t(rowid TEXT, id INTEGER PRIMARY KEY, v TEXT)",
    ] {
        let fixture = Fixture::new(table);
        let first = records(&["id", "v"], &[&[v(1), v("a")], &[v(2), v("b")]]);
        let second = records(&["id", "v"], &[&[v(2), v("B")], &[v(3), v("c")], &[v(1), v("a")]]);
        assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &first)), "2/0/0/0/0", "{table}");
        assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &second)), "1/1/1/0/0", "{table}");
        assert_eq!(fixture.rows("SELECT id, v FROM t ORDER BY id"), ["1|'a'", "2|'B'", "3|'c'"], "{table}");
    }
}

#[test]
fn a_database_in_utf_16_takes_all_text_that_it_can_hold() {
    let fixture = Fixture::new("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(id INTEGER PRIMARY KEY, s TEXT)");
    let incoming =
        records(&["id", "s"], &[&[v(1), v("Řeho\u{0}ř 😀")], &[v(2), Value::Text(vec![0xff, 0xfe])], &[v(3), v("")]]);
    let outcome = import(&fixture, "t", Strategy::Overwrite, &incoming);
    assert_eq!(counts(&outcome), "2/0/0/0/1");
    assert_eq!(reasons(&outcome), ["value_out_of_range"]);
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/2/0/1");
    assert_eq!(fixture.rows("SELECT s FROM t"), ["'Řeho\u{0}ř 😀'", "''"]);
}

#[test]
fn wide_tables_fit_into_a_statement() {
    let columns: Vec<String> = (0..1500).map(|n| format!("c{n}")).collect();
    let fixture = Fixture::new(&format!("CREATE TABLE t(id INTEGER PRIMARY KEY, {})", columns.join(" INT, ")));
    let mut incoming = Records::new(std::iter::once("id".to_owned()).chain(columns));
    for id in 0..100 {
        incoming.push((0..=1500).map(|n| Value::from(id + n)));
    }
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "100/0/0/0/0");
    assert_eq!(counts(&import(&fixture, "t", Strategy::Overwrite, &incoming)), "0/0/100/0/0");
}

#[test]
fn a_table_of_nothing_but_its_key_is_counted_exactly() {
    for strategy in [Strategy::Overwrite, Strategy::Merge] {
        let fixture = Fixture::new(
            "CREATE TABLE t(a TEXT NOT NULL, b INTEGER NOT NULL, PRIMARY KEY (a, b)); INSERT INTO t VALUES ('k', 1), ('k', 3);",
        );
        // In no order, so that they are not found by one pass over the rows.
        let incoming = records(&["a", "b"], &[&[v("k"), v(3)], &[v("k"), v(2)], &[v("k"), v(1)], &[v("a"), v(1)]]);
        assert_eq!(counts(&import(&fixture, "t", strategy, &incoming)), "2/0/2/0/0", "{strategy}");
    }
}

#[test]
fn a_record_without_a_parent_fails_alone_where_references_are_deferred() {
    for strategy in Strategy::ALL.iter().copied() {
        let fixture = Fixture::new(
            "CREATE TABLE p(id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
             CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED);",
        );
        let incoming = records(&["id", "p"], &[&[v(1), v(1)], &[v(2), v(9)], &[v(3), NULL]]);
        let outcome = import(&fixture, "c", strategy, &incoming);
        assert_eq!((outcome.created, outcome.failed), (2, 1), "{strategy}");
        assert_eq!(reasons(&outcome), ["foreign_key"], "{strategy}");
        assert_eq!(fixture.rows("SELECT p FROM c ORDER BY id"), ["1", "NULL"], "{strategy}");
    }
}
