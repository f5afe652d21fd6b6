//! A key of the caller's choice, by which records meet rows.

use super::{counts, of, reasons, records, v};
use crate::support::common::Fixture;
use crate::support::common::served::Sender;
use rowferry::{CancelToken, ErrorKind, Phase, PullOptions, Strategy, Value};

/// Users that both sides have under different numbers, and one number that is somebody else's here.
const THERE: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT);
    CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id), body TEXT);
    INSERT INTO users VALUES (1, 'b@x', 'Bea'), (2, 'a@x', 'Ann'), (7, 'c@x', 'Cid');
    INSERT INTO posts VALUES (1, 1, 'of b'), (2, 2, 'of a'), (3, 7, 'of c');";
const HERE: &str = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT);
    CREATE TABLE posts(id INTEGER PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id), body TEXT);
    INSERT INTO users VALUES (1, 'a@x', 'old'), (5, 'z@x', 'mine');";

const POSTS: &str = "SELECT body, email FROM posts JOIN users ON users.id = posts.user ORDER BY posts.id";

#[test]
fn records_meet_rows_by_it_and_what_refers_to_them_follows() {
    for (strategy, expected, name) in [
        (Strategy::Skip, "2/0/0/1/0", "old"),
        (Strategy::Overwrite, "2/1/0/0/0", "Ann"),
        (Strategy::Merge, "2/1/0/0/0", "Ann"),
    ] {
        let (sender, here) = (Sender::new(THERE), Fixture::new(HERE));
        let options = || PullOptions::new().strategy(strategy).key("users", ["email"]);
        let report = sender.pull(&here.site, options());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(counts(of(&report, "users")), expected, "{strategy}");
        let users = ["1|'a@x'|'NAME'", "5|'z@x'|'mine'", "7|'c@x'|'Cid'", "8|'b@x'|'Bea'"];
        assert_eq!(here.rows("SELECT * FROM users ORDER BY id"), users.map(|user| user.replace("NAME", name)));
        assert_eq!(here.rows(POSTS), ["'of b'|'b@x'", "'of a'|'a@x'", "'of c'|'c@x'"]);
        // Again, and in a pull of the children alone.
        sender.there.run("INSERT INTO posts VALUES (4, 1, 'again of b')");
        let again = sender.pull(&here.site, options().always(true));
        assert!(again.is_clean(), "{again:?}");
        assert_eq!(of(&again, "users").created, 0);
        sender.there.run("INSERT INTO posts VALUES (5, 2, 'again of a')");
        assert!(sender.pull(&here.site, PullOptions::new().table("posts")).is_clean());
        assert_eq!(here.rows(POSTS)[3..], ["'again of b'|'b@x'", "'again of a'|'a@x'"]);
        assert_eq!(here.rows("SELECT count(*) FROM users"), ["4"]);
    }
}

#[test]
fn a_table_that_refers_to_itself_follows() {
    let users = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE, boss INT REFERENCES users(id));";
    // Bea's number is Ann's here, and refers to a row that comes after it.
    let sender = Sender::new(&format!(
        "{users} INSERT INTO users VALUES (1, 'b', NULL), (2, 'a', 1); UPDATE users SET boss = 2 WHERE id = 1"
    ));
    let here = Fixture::new(&format!("{users} INSERT INTO users VALUES (1, 'a', NULL)"));
    let options = || PullOptions::new().strategy(Strategy::Overwrite).key("users", ["email"]);
    let report = sender.pull(&here.site, options());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        here.rows("SELECT u.email, b.email FROM users u JOIN users b ON b.id = u.boss ORDER BY 1"),
        ["'a'|'b'", "'b'|'a'"]
    );
    assert_eq!(counts(of(&sender.pull(&here.site, options().always(true)), "users")), "0/0/2/0/0");
}

/// Records that the sender gave other numbers since they came, and numbers that it uses again.
#[test]
fn what_a_number_was_in_an_earlier_pull_is_nothing_to_references() {
    let names = "SELECT a.k, b.k FROM c a LEFT JOIN c b ON b.id = a.me ORDER BY 1";
    let own = "CREATE TABLE c(id INTEGER PRIMARY KEY, k TEXT UNIQUE NOT NULL, me INTEGER REFERENCES c(id));";
    for (here, again, rows) in [
        // A number that is free here, so that the new record keeps it.
        (
            "(11, 'x', NULL), (12, 'y', NULL)",
            "(1, 'n', 2), (2, 'q', NULL)",
            vec!["'n'|'q'", "'q'|NULL", "'x'|X", "'y'|NULL"],
        ),
        // One that another row has.
        ("(2, 'x', NULL), (12, 'y', NULL)", "(1, 'n', 2), (2, 'q', NULL)", vec!["'n'|'q'", "'q'|NULL", "'x'|X", "'y'|NULL"]),
        // Two that change places, and each refers to the other.
        ("(11, 'x', NULL), (12, 'y', NULL)", "(1, 'y', 2), (2, 'x', 1)", vec!["'x'|BY", "'y'|BX"]),
        // The number that a row has here.
        ("(11, 'x', NULL), (12, 'y', NULL)", "(1, 'n', 12), (12, 'y', NULL)", vec!["'n'|'y'", "'x'|X", "'y'|NULL"]),
        // Both are new, and refer to each other.
        ("(11, 'x', NULL), (2, 'y', NULL)", "(1, 'n', 2), (2, 'q', 1)", vec!["'n'|'q'", "'q'|'n'", "'x'|X", "'y'|NULL"]),
    ] {
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
            let sender = Sender::new(&format!("{own} INSERT INTO c VALUES (1, 'x', 2), (2, 'y', NULL)"));
            let here = Fixture::new(&format!("{own} INSERT INTO c VALUES {here}"));
            let options = || PullOptions::new().strategy(strategy).key("c", ["k"]);
            assert!(sender.pull(&here.site, options()).is_clean());
            sender.there.run(&format!("PRAGMA foreign_keys = OFF; DELETE FROM c; INSERT INTO c VALUES {again}"));
            let report = sender.pull(&here.site, options().always(true));
            assert!(report.is_clean(), "{report:?}");
            let changes = strategy != Strategy::Skip;
            let value = |row: &&str| {
                let row = row
                    .replace("BY", if changes { "'y'" } else { "NULL" })
                    .replace("BX", if changes { "'x'" } else { "NULL" });
                row.replace('X', if changes { "'y'" } else { "NULL" })
            };
            assert_eq!(here.rows(names), rows.iter().map(value).collect::<Vec<_>>(), "{strategy} {again}");
            let last = sender.pull(&here.site, options().always(true));
            let last = of(&last, "c");
            assert_eq!((last.created, last.updated, last.failed), (0, 0, 0), "{strategy} {again}");
        }
    }
}

#[test]
fn so_it_is_in_a_circle_of_tables() {
    let tables = "PRAGMA foreign_keys = OFF;
        CREATE TABLE a(id INTEGER PRIMARY KEY, k TEXT UNIQUE NOT NULL, b INTEGER REFERENCES b(id));
        CREATE TABLE b(id INTEGER PRIMARY KEY, k TEXT UNIQUE NOT NULL, a INTEGER REFERENCES a(id));";
    let sender =
        Sender::new(&format!("{tables} INSERT INTO a VALUES (1, 'x', 1); INSERT INTO b VALUES (1, 'u', 1), (2, 'v', 1)"));
    let here = Fixture::new(&format!(
        "{tables} INSERT INTO a VALUES (5, 'x', NULL); INSERT INTO b VALUES (6, 'u', NULL), (7, 'v', NULL)"
    ));
    let options = || PullOptions::new().strategy(Strategy::Overwrite).key("a", ["k"]).key("b", ["k"]);
    assert!(sender.pull(&here.site, options()).is_clean());
    sender.there.run(
        "PRAGMA foreign_keys = OFF; DELETE FROM a; DELETE FROM b;
         INSERT INTO a VALUES (1, 'n', 2), (2, 'x', 1); INSERT INTO b VALUES (1, 'q', 2), (2, 'u', 1)",
    );
    let report = sender.pull(&here.site, options());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        here.rows(
            "SELECT a.k, b.k FROM a JOIN b ON b.id = a.b UNION ALL SELECT b.k, a.k FROM b JOIN a ON a.id = b.a ORDER BY 1"
        ),
        ["'n'|'u'", "'q'|'x'", "'u'|'n'", "'v'|'x'", "'x'|'q'"]
    );
}

#[test]
fn a_record_that_fails_now_is_not_the_row_that_it_was() {
    let table = |check: &str| {
        format!(
            "CREATE TABLE c(id INTEGER PRIMARY KEY, k TEXT UNIQUE NOT NULL {check}, me INTEGER REFERENCES c(id));
         CREATE TABLE o(id INTEGER PRIMARY KEY, c INTEGER REFERENCES c(id));"
        )
    };
    let sender = Sender::new(&format!("{} INSERT INTO c VALUES (1, 'x', NULL), (2, 'y', NULL)", table("")));
    let here =
        Fixture::new(&format!("{} INSERT INTO c VALUES (11, 'x', NULL), (12, 'y', NULL)", table("CHECK (k <> 'bad')")));
    let options = || PullOptions::new().strategy(Strategy::Overwrite).key("c", ["k"]);
    assert!(sender.pull(&here.site, options()).is_clean());
    // One is refused by the table, one refers to it, and one to that.
    sender.there.run(
        "DELETE FROM c; INSERT INTO c VALUES (3, 'f', NULL), (2, 'bad', NULL), (1, 'n', NULL);
         UPDATE c SET me = 2 WHERE id = 1; UPDATE c SET me = 1 WHERE id = 3; INSERT INTO o VALUES (1, 1), (2, 2), (3, 3)",
    );
    let report = sender.pull(&here.site, options());
    assert_eq!((of(&report, "c").failed, of(&report, "o").failed), (3, 3), "{report:?}");
    assert_eq!(here.rows("SELECT k, me FROM c ORDER BY 1"), ["'x'|NULL", "'y'|NULL"]);
    assert!(here.rows("SELECT * FROM o").is_empty());
    // Once it is as the table wants it, all are here.
    sender.there.run("UPDATE c SET k = 'good' WHERE id = 2");
    assert!(sender.pull(&here.site, options()).is_clean());
    let rows = here.rows(
        "SELECT a.k, b.k FROM c a JOIN c b ON b.id = a.me UNION ALL SELECT o.id, k FROM o JOIN c ON c.id = o.c ORDER BY 1",
    );
    assert_eq!(rows, ["1|'n'", "2|'good'", "3|'f'", "'f'|'n'", "'n'|'good'"]);
}

#[test]
fn a_record_that_failed_is_met_by_its_primary_key_again() {
    let sender = Sender::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT, v TEXT);
         CREATE TABLE o(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id));
         INSERT INTO t VALUES (1, 'x', '1'), (2, NULL, '2'), (3, NULL, '3'); INSERT INTO o VALUES (1, 2)",
    );
    let here = Fixture::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT UNIQUE, v TEXT);
         CREATE TABLE o(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id));",
    );
    let plain = || PullOptions::new().strategy(Strategy::Overwrite);
    assert!(sender.pull(&here.site, plain()).is_clean());
    let keyed = sender.pull(&here.site, plain().key("t", ["e"]));
    assert_eq!(reasons(of(&keyed, "t")), ["missing_key", "missing_key"]);
    sender.there.run("UPDATE t SET v = 'new'");
    let again = sender.pull(&here.site, plain().always(true));
    assert!(again.is_clean(), "{again:?}");
    assert_eq!(here.rows("SELECT id, v FROM t"), ["1|'new'", "2|'new'", "3|'new'"]);
    assert_eq!(here.rows("SELECT t FROM o"), ["2"]);
}

#[test]
fn a_record_whose_row_is_another_one_says_what_to_do() {
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, e TEXT NOT NULL UNIQUE);";
    let sender = Sender::new(&format!("{table} INSERT INTO t VALUES (1, 'a')"));
    let here = Fixture::new(&format!("{table} INSERT INTO t VALUES (2, 'a')"));
    let plain = || PullOptions::new().strategy(Strategy::Overwrite);
    assert!(sender.pull(&here.site, plain().key("t", ["e"])).is_clean());
    sender.there.run("INSERT INTO t VALUES (2, 'b')");
    let report = sender.pull(&here.site, plain());
    let failure = &of(&report, "t").failures[0];
    assert!(failure.reason.code() == "duplicate_key" && failure.message.contains("`KeyMap::clear`"), "{failure:?}");
}

#[test]
fn what_refers_to_a_record_that_became_no_row_fails() {
    let (sender, here) = (Sender::new(THERE), Fixture::new(&HERE.replace("name TEXT", "name TEXT CHECK (name <> 'Bea')")));
    let options = || PullOptions::new().strategy(Strategy::Overwrite).key("users", ["email"]);
    let report = sender.pull(&here.site, options());
    assert_eq!((counts(of(&report, "users")), reasons(of(&report, "users"))), ("1/1/0/0/1".into(), vec!["check"]));
    // Not of the row that has its number here.
    assert_eq!(reasons(of(&report, "posts")), ["foreign_key"]);
    assert_eq!(here.rows(POSTS), ["'of a'|'a@x'", "'of c'|'c@x'"]);
    // Once it becomes one, they follow.
    sender.there.run("UPDATE users SET name = 'B' WHERE id = 1");
    assert!(sender.pull(&here.site, options()).is_clean());
    assert_eq!(here.rows(POSTS), ["'of b'|'b@x'", "'of a'|'a@x'", "'of c'|'c@x'"]);
}

#[test]
fn keys_of_other_kinds_are_made_or_fail() {
    let uuid = "0190f6d0-0000-7000-8000-000000000001";
    let here = Fixture::new(&format!(
        "CREATE TABLE u(id TEXT PRIMARY KEY, k TEXT NOT NULL UNIQUE); INSERT INTO u VALUES ('{uuid}', 'a');
         CREATE TABLE t(id TEXT PRIMARY KEY, k TEXT NOT NULL UNIQUE); INSERT INTO t VALUES ('x', 'a');
         CREATE TABLE n(a INT, b INT, UNIQUE (a, b)); INSERT INTO n VALUES (1, 1);"
    ));
    let import = |table: &str, rows: &[&[Value]], columns: &[&str], key: &[&str]| {
        let options = PullOptions::new().strategy(Strategy::Overwrite).key(table, key.iter().copied());
        here.site.import_records(table, &records(columns, rows), options).unwrap().outcome
    };
    let made = import("u", &[&[v(uuid), v("b")]], &["id", "k"], &["k"]);
    assert_eq!(counts(&made), "1/0/0/0/0");
    assert_eq!(here.rows(&format!("SELECT count(DISTINCT id), sum(id = '{uuid}') FROM u")), ["2|1"]);
    let failed = import(
        "t",
        &[&[v("x"), v("b")], &[v("y"), v("a")], &[v("z"), Value::Null], &[v("x"), Value::Null]],
        &["id", "k"],
        &["k"],
    );
    assert_eq!((counts(&failed), reasons(&failed)), ("0/0/1/0/3".into(), vec!["no_new_key", "missing_key", "missing_key"]));
    assert!(failed.failures[0].message.contains("primary key"), "{failed:?}");
    assert_eq!(here.rows("SELECT * FROM t"), ["'x'|'a'"]);
    // A set that may have NULL in it, in a table without a primary key.
    let set = import("n", &[&[v(1), v(1)], &[v(2), v(1)], &[v(1), Value::Null]], &["b", "a"], &["a", "b"]);
    assert_eq!((counts(&set), reasons(&set)), ("1/0/1/0/1".into(), vec!["missing_key"]));
    // No number may use up those of the table, whatever tells rows apart.
    here.run("CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, k TEXT UNIQUE)");
    let large = import("s", &[&[v(i64::MAX), v("b")], &[v(1), v("c")]], &["id", "k"], &["k"]);
    assert_eq!((counts(&large), reasons(&large)), ("1/0/0/0/1".into(), vec!["value_out_of_range"]));
    // Records that lack the primary key.
    let lacking = import("t", &[&[v("a")]], &["k"], &["k"]);
    assert_eq!(counts(&lacking), "0/0/1/0/0");
}

#[test]
fn one_number_that_is_taken_shifts_no_others() {
    let table = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL UNIQUE);";
    let rows = "WITH RECURSIVE s(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM s WHERE n < 50) INSERT INTO t SELECT n, 'k' || n FROM s;";
    // In one page, in many, and where the table waits in a stage because it refers to itself.
    let itself = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL UNIQUE, up INT REFERENCES t(id));";
    for (table, rows, size) in
        [(table, rows, 500), (table, rows, 7), (itself, &*rows.replace("t SELECT", "t(id, k) SELECT"), 7)]
    {
        let (sender, here) = (Sender::new(&format!("{table} {rows}")), Fixture::new(table));
        here.run("INSERT INTO t(id, k) VALUES (1, 'z'), (3, 'y')");
        let options = PullOptions::new().strategy(Strategy::Overwrite).key("t", ["k"]).batch_size(size);
        assert!(sender.pull(&here.site, options).is_clean());
        assert_eq!(here.rows("SELECT k FROM t WHERE 'k' || id <> k ORDER BY id"), ["'z'", "'y'", "'k1'", "'k3'"]);
        assert_eq!(here.rows("SELECT min(id), max(id) FROM t WHERE k IN ('k1', 'k3')"), ["51|52"]);
    }
    // A number that leaves none above it is kept clear of as little as a count that nobody has.
    let here = Fixture::new(table);
    here.run("INSERT INTO t VALUES (1, 'z')");
    let large = records(&["id", "k"], &[&[v(1), v("a")], &[v(i64::MAX), v("b")]]);
    let options = PullOptions::new().strategy(Strategy::Overwrite).key("t", ["k"]);
    assert!(here.site.import_records("t", &large, options).unwrap().is_clean());
    assert_eq!(here.rows("SELECT id FROM t WHERE k = 'a'"), ["3"]);
}

#[test]
fn a_key_that_cannot_be_is_refused_before_a_row_is_moved() {
    let (sender, here) = (Sender::new(THERE), Fixture::new(HERE));
    for (options, kind, what) in [
        (PullOptions::new().key("users", ["name"]), ErrorKind::SchemaMismatch, "no key here"),
        (PullOptions::new().key("users", ["mail"]), ErrorKind::SchemaMismatch, "no key here"),
    ] {
        let report = sender.pull(&here.site, options);
        let error = report.table("users").unwrap().error.as_ref().unwrap();
        assert!(error.kind() == kind && error.to_string().contains(what), "{error}");
        assert_eq!(here.rows("SELECT count(*) FROM users"), ["2"]);
        // What refers to its rows would refer to others.
        let held = report.table("posts").unwrap().error.as_ref().unwrap();
        assert!(held.message().contains("not tried, because \"users\" failed"), "{held}");
        assert!(here.rows(POSTS).is_empty());
    }
    for (options, what) in [
        (PullOptions::new().key("user", ["email"]), "Did you mean \"users\"?"),
        (PullOptions::new().key("users", ["email"]).strategy(Strategy::Append), "is appended"),
    ] {
        let error = sender.client().pull(&here.site, options).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains(what), "{error}");
    }
}

#[test]
fn a_pull_that_resumes_with_another_key_begins_the_table_again() {
    let many = "CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL UNIQUE, v);
        INSERT INTO t SELECT value, 'k' || value, value FROM (WITH RECURSIVE s(value) AS (VALUES (1) UNION ALL SELECT value + 1 FROM s
        WHERE value < 3000) SELECT value FROM s);";
    for (key, resumes) in [(Some("k"), true), (None, false)] {
        let (sender, here) =
            (Sender::new(many), Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT NOT NULL UNIQUE, v)"));
        let cancel = CancelToken::new();
        let options = PullOptions::new().strategy(Strategy::Overwrite).batch_size(500).max_records(1_000);
        let first = sender.pull(
            &here.site,
            options.key("t", ["k"]).cancel(cancel.clone()).on_progress(|progress| {
                assert_ne!(progress.phase, Phase::Reconnecting);
            }),
        );
        assert!(!first.is_clean() && of(&first, "t").created > 0, "{first:?}");
        let options = PullOptions::new().strategy(Strategy::Overwrite);
        let second = sender.pull(
            &here.site,
            match key {
                Some(key) => options.key("t", [key]),
                None => options,
            },
        );
        assert!(second.is_clean(), "{second:?}");
        assert_eq!(second.table("t").unwrap().resumed, resumes, "{key:?}");
        assert_eq!(here.rows("SELECT count(*), sum(v) FROM t"), ["3000|4501500"]);
    }
}

#[test]
fn a_dry_run_says_what_would_become_of_them() {
    let (sender, here) = (Sender::new(THERE), Fixture::new(HERE));
    let options = || PullOptions::new().strategy(Strategy::Overwrite).key("users", ["email"]);
    let dry = sender.pull(&here.site, options().dry_run(true));
    assert_eq!(here.rows("SELECT count(*) FROM users"), ["2"]);
    let report = sender.pull(&here.site, options());
    for table in ["users", "posts"] {
        assert_eq!(of(&dry, table), of(&report, table));
    }
}
