//! Records that have other keys here than there: they are followed as the database compares them, over several pulls, and never to a
//! stranger.

use crate::support::common::Fixture;
use rowferry::{
    Auth, Client, ConnectOptions, Direction, Error, OnTakenKey, PullOptions, Report, Strategy, TableReport, Value,
};

fn pull(there: &Fixture, here: &Fixture, options: PullOptions<'_>) -> Report {
    let session = there.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&there.site, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(&here.site, options.always(true)).unwrap()
}

fn append() -> PullOptions<'static> {
    PullOptions::new().strategy(Strategy::Append)
}

fn of<'r>(report: &'r Report, table: &str) -> &'r TableReport {
    report.table(table).unwrap_or_else(|| panic!("no report of {table}"))
}

/// Created, updated, unchanged, skipped, failed.
fn counts(report: &Report, table: &str) -> [u64; 5] {
    let outcome = &of(report, table).outcome;
    [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed]
}

fn codes(report: &Report, table: &str) -> Vec<&'static str> {
    of(report, table).outcome.failures.iter().map(|failure| failure.reason.code()).collect()
}

fn error_code(report: &Report, table: &str) -> Option<&'static str> {
    of(report, table).error.as_ref().map(Error::code)
}

#[test]
fn children_follow_as_the_database_compares_them() {
    for (parent, child, keys, children) in [
        ("INTEGER PRIMARY KEY", "TEXT", "(1, 'a'), (2, 'b')", "(1, '1'), (2, '2')"),
        ("TEXT PRIMARY KEY", "INTEGER", "(1, 'a'), (2, 'b')", "(1, 1), (2, 2)"),
        ("INTEGER PRIMARY KEY", "", "(1, 'a'), (2, 'b')", "(1, 1), (2, '2')"),
        ("INTEGER PRIMARY KEY", "REAL", "(1, 'a'), (2, 'b')", "(1, 1), (2, 2)"),
        ("TEXT COLLATE NOCASE PRIMARY KEY", "TEXT", "('x', 'a'), ('y', 'b')", "(1, 'X'), (2, 'y')"),
        ("TEXT COLLATE RTRIM PRIMARY KEY", "TEXT", "('x', 'a'), ('y ', 'b')", "(1, 'x  '), (2, 'y')"),
        (
            "TEXT COLLATE NOCASE PRIMARY KEY",
            "TEXT",
            "('67E55044-10B1-426F-9247-BB680E5FE0C8', 'a'), ('{67e55044-10b1-426f-9247-bb680e5fe0c9}', 'b')",
            "(1, '67e55044-10b1-426f-9247-bb680e5fe0c8'), (2, '{67E55044-10B1-426F-9247-BB680E5FE0C9}')",
        ),
    ] {
        let schema = format!(
            "CREATE TABLE site(id {parent}, name TEXT);
             CREATE TABLE event(id INTEGER PRIMARY KEY, site {child} REFERENCES site(id));"
        );
        let there = Fixture::new(&format!("{schema} INSERT INTO site VALUES {keys}; INSERT INTO event VALUES {children};"));
        let here = Fixture::new(&format!("{schema} INSERT INTO site VALUES (7, 'own'); INSERT INTO event VALUES (1, 7);"));
        let report = pull(&there, &here, append());
        assert!(report.is_clean(), "{parent}, {child}: {report:?}");
        let joined = here.rows("SELECT s.name FROM event AS e JOIN site AS s ON s.id = e.site ORDER BY 1");
        assert_eq!(joined, ["'a'", "'b'", "'own'"], "{parent}, {child}");
        assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0], "{parent}, {child}");
    }
}

#[test]
fn a_tree_of_texts_follows_itself() {
    let schema = "CREATE TABLE node(id INTEGER PRIMARY KEY, up TEXT REFERENCES node(id), name TEXT);";
    let there = Fixture::new(&format!("{schema} INSERT INTO node VALUES (1, '2', 'child'), (2, NULL, 'root');"));
    let here = Fixture::new(&format!("{schema} INSERT INTO node VALUES (1, NULL, 'own'), (2, '1', 'own child');"));
    let report = pull(&there, &here, append());
    assert!(report.is_clean(), "{report:?}");
    let joined = "SELECT c.name, p.name, typeof(c.up) FROM node AS c JOIN node AS p ON p.id = c.up ORDER BY 1";
    assert_eq!(here.rows(joined), ["'child'|'root'|'text'", "'own child'|'own'|'text'"]);
}

#[test]
fn a_circle_that_a_missing_parent_breaks_falls_whatever_its_types() {
    let schema = "CREATE TABLE node(id INTEGER PRIMARY KEY, up TEXT REFERENCES node(id));";
    let there = Fixture::new(&format!("PRAGMA foreign_keys = OFF; {schema}"));
    there.run("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500) INSERT INTO node SELECT n, n + 1 FROM c");
    for strategy in [Strategy::Append, Strategy::Overwrite] {
        let here = Fixture::new(schema);
        let report = pull(&there, &here, PullOptions::new().strategy(strategy));
        // A chain of more generations than there are passes.
        assert_eq!(counts(&report, "node"), [0, 0, 0, 0, 1500], "{strategy}");
    }
}

const FAMILY: &str = "CREATE TABLE parents(id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE children(id INTEGER PRIMARY KEY, parent INT REFERENCES parents(id), v TEXT);";

#[test]
fn children_wait_for_a_table_that_cannot_be_pulled() {
    let children = "CREATE TABLE children(id INTEGER PRIMARY KEY, parent INT REFERENCES parents(id), v TEXT);
        CREATE TABLE toys(id INTEGER PRIMARY KEY, child INT REFERENCES children(id));";
    let long = "c".repeat(3_000);
    for (parents, ours) in [
        ("parents(id INTEGER PRIMARY KEY, v TEXT, extra TEXT)", "parents(id INTEGER PRIMARY KEY, v TEXT)".to_owned()),
        ("parents(id INTEGER PRIMARY KEY, v TEXT)", String::new()),
        (
            &format!("parents(id INTEGER PRIMARY KEY, v TEXT, {long} TEXT)"),
            format!("parents(id INTEGER PRIMARY KEY, v TEXT, {long} TEXT)"),
        ),
    ] {
        let there = Fixture::new(&format!(
            "CREATE TABLE {parents}; {children} INSERT INTO parents(id, v) VALUES (1, 'theirs');
             INSERT INTO children VALUES (1, 1, 'child'); INSERT INTO toys VALUES (1, 1);"
        ));
        let ours = if ours.is_empty() {
            ours
        } else {
            format!("CREATE TABLE {ours}; INSERT INTO parents(id, v) VALUES (1, 'OURS');")
        };
        let here = Fixture::new(&format!("{ours} {children}"));
        for dry_run in [true, false] {
            let report = pull(&there, &here, append().create_missing_tables(false).dry_run(dry_run));
            let code = error_code(&report, "parents").expect("the parents fail");
            // All of them wait, and nothing is remembered as appended.
            assert_eq!([error_code(&report, "children"), error_code(&report, "toys")], [Some(code); 2], "{report:?}");
            assert_eq!(here.rows("SELECT * FROM children"), [""; 0], "{parents}");
            assert_eq!(here.site.checkpoints().list().unwrap().len(), 0, "{parents}");
        }
    }
}

#[test]
fn an_append_that_lacks_parents_is_finished_by_the_next_one() {
    let there = Fixture::new(FAMILY);
    there.run("PRAGMA foreign_keys = OFF; INSERT INTO parents VALUES (1, 'a'); INSERT INTO children VALUES (1, 1, 'x'), (2, 2, 'y')");
    let here = Fixture::new(FAMILY);
    let report = pull(&there, &here, append());
    assert_eq!((counts(&report, "parents"), counts(&report, "children")), ([1, 0, 0, 0, 0], [1, 0, 0, 0, 1]));
    assert_eq!(codes(&report, "children"), ["foreign_key"]);
    let kinds = |here: &Fixture| -> Vec<String> {
        let all = here.site.checkpoints().list().unwrap().into_iter();
        all.map(|mark| format!("{} {}", mark.table, mark.kind.as_str())).collect()
    };
    assert_eq!(kinds(&here), ["children lacks_parents", "parents appended"]);
    there.run("INSERT INTO parents VALUES (2, 'b')");
    // Of the parents only what is new is asked for; the children know by themselves what is missing.
    let report = pull(&there, &here, append().append_new(true).tables(["parents"]));
    assert_eq!(counts(&report, "parents"), [1, 0, 0, 1, 0]);
    let report = pull(&there, &here, append().tables(["children"]));
    assert_eq!(counts(&report, "children"), [1, 0, 0, 1, 0]);
    assert_eq!(here.rows("SELECT c.v, p.v FROM children AS c JOIN parents AS p ON p.id = c.parent"), ["'x'|'a'", "'y'|'b'"]);
    assert_eq!(kinds(&here), ["children appended", "parents appended"]);
    let report = pull(&there, &here, append());
    assert_eq!([error_code(&report, "parents"), error_code(&report, "children")], [Some("already_appended"); 2]);
}

#[test]
fn a_second_append_brings_only_what_is_new() {
    let schema = "CREATE TABLE author(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
        CREATE TABLE book(isbn TEXT PRIMARY KEY NOT NULL, author TEXT REFERENCES author(id), sequel TEXT REFERENCES book(isbn));
        CREATE TABLE visit(author INT REFERENCES author(id), at TEXT);
        CREATE TABLE note(book TEXT REFERENCES book(isbn), n INT, t TEXT, PRIMARY KEY (book, n)) WITHOUT ROWID;";
    let there = Fixture::new(&format!(
        "{schema} INSERT INTO author VALUES (1, 'ann'), (2, 'bo'); INSERT INTO book VALUES ('b', '2', NULL), ('a', '1', 'b');
         INSERT INTO visit VALUES (1, 'mon'), (1, 'mon'), (2, 'tue'); INSERT INTO note VALUES ('a', 1, 'x'), ('b', 1, 'y');"
    ));
    let here = Fixture::new(&format!("{schema} INSERT INTO author VALUES (1, 'own'), (9, 'bo');"));
    let report = pull(&there, &here, append().append_new(true));
    assert!(report.is_clean(), "a first append: {report:?}");
    assert_eq!(counts(&report, "author"), [1, 0, 0, 1, 0]);
    let all = |here: &Fixture| {
        ["author", "book", "visit", "note"].map(|table| here.rows(&format!("SELECT * FROM {table} ORDER BY 1, 2")))
    };
    let before = all(&here);
    let report = pull(&there, &here, append().append_new(true));
    assert!(report.is_clean(), "{report:?}");
    for (table, rows) in [("author", 2), ("book", 2), ("visit", 3), ("note", 2)] {
        assert_eq!(counts(&report, table), [0, 0, 0, rows, 0], "{table}");
    }
    assert_eq!(all(&here), before);
    there.run(
        "INSERT INTO author VALUES (3, 'cy'); INSERT INTO book VALUES ('c', '3', 'a'); UPDATE book SET sequel = 'c' WHERE isbn = 'b';
         INSERT INTO visit VALUES (1, 'mon'), (3, 'wed'); INSERT INTO note VALUES ('c', 1, 'z'), ('a', 2, 'w');",
    );
    let tried = pull(&there, &here, append().append_new(true).dry_run(true));
    assert_eq!(all(&here), before, "a dry run");
    let report = pull(&there, &here, append().append_new(true));
    for (table, created) in [("author", 1), ("book", 1), ("visit", 2), ("note", 2)] {
        assert_eq!((counts(&report, table)[0], counts(&report, table)[4]), (created, 0), "{table}: {report:?}");
        assert_eq!(counts(&tried, table), counts(&report, table), "a dry run of {table}");
    }
    assert_eq!(
        here.rows("SELECT b.isbn, a.name, b.sequel FROM book AS b JOIN author AS a ON a.id = b.author ORDER BY 1"),
        ["'a'|'ann'|'b'", "'b'|'bo'|NULL", "'c'|'cy'|'a'"]
    );
    assert_eq!(
        here.rows("SELECT a.name, v.at FROM visit AS v JOIN author AS a ON a.id = v.author ORDER BY 1, 2"),
        ["'ann'|'mon'", "'ann'|'mon'", "'ann'|'mon'", "'bo'|'tue'", "'cy'|'wed'"]
    );
    assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0]);
    // Once more is once more.
    let report = pull(&there, &here, append().append_again(true).tables(["visit"]));
    assert_eq!(counts(&report, "visit"), [5, 0, 0, 0, 0]);
}

#[test]
fn the_key_map_can_be_asked_and_forgotten() {
    let schema = "CREATE TABLE users(id INTEGER PRIMARY KEY, mail TEXT COLLATE NOCASE UNIQUE);
        CREATE TABLE tag(word TEXT COLLATE NOCASE PRIMARY KEY NOT NULL);";
    let there =
        Fixture::new(&format!("{schema} INSERT INTO users VALUES (1, 'a'), (2, 'B'); INSERT INTO tag VALUES ('Red');"));
    let here = Fixture::new(&format!("{schema} INSERT INTO users VALUES (5, 'b');"));
    assert!(pull(&there, &here, append()).is_clean());
    let sender = format!("site:{}", there.site.uuid().unwrap());
    let map = |table: &str| -> Vec<(Vec<Value>, Vec<Value>, bool)> {
        let entries = here.site.key_map(table).entries().map(Result::unwrap);
        entries
            .inspect(|entry| assert_eq!(entry.sender, sender))
            .map(|entry| (entry.old, entry.new, entry.existing))
            .collect()
    };
    let expected = [(vec![1.into()], vec![6.into()], false), (vec![2.into()], vec![5.into()], true)];
    assert_eq!(map("USERS"), expected);
    assert_eq!(map("tag"), [(vec!["Red".into()], vec!["Red".into()], false)]);
    assert_eq!(map("nothing"), []);
    assert!(here.site.checkpoints().forget(&sender, "Users").unwrap());
    assert_eq!((map("users").len(), map("tag").len()), (0, 1));
    here.site.checkpoints().clear().unwrap();
    assert_eq!(map("tag").len(), 0);
    // Nothing is known any more, so that all of it is new.
    let report = pull(&there, &here, append());
    assert_eq!((counts(&report, "users"), counts(&report, "tag")), ([0, 0, 0, 2, 0], [0, 0, 0, 0, 1]));
}

#[test]
fn many_entries_are_read_in_order() {
    let there = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    there
        .run("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2500) INSERT INTO t SELECT n FROM c");
    let here = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (10000)");
    assert!(pull(&there, &here, append()).is_clean());
    let all: Vec<_> = here.site.key_map("t").entries().map(|entry| entry.unwrap()).collect();
    let expected = (1..=2500i64).map(|n| (vec![Value::from(n)], vec![Value::from(10_000 + n)]));
    assert!(all.into_iter().map(|entry| (entry.old, entry.new)).eq(expected));
}

#[test]
fn children_that_are_pulled_later_follow_whatever_their_strategy() {
    let there =
        Fixture::new(&format!("{FAMILY} INSERT INTO parents VALUES (1, 'a'); INSERT INTO children VALUES (1, 1, 'x');"));
    let here = Fixture::new(&format!("{FAMILY} INSERT INTO parents VALUES (1, 'OURS');"));
    assert!(pull(&there, &here, append().tables(["parents"])).is_clean());
    let overwrite = || PullOptions::new().strategy(Strategy::Overwrite);
    let report = pull(&there, &here, overwrite().tables(["children"]));
    assert!(report.is_clean(), "{report:?}");
    let joined = || here.rows("SELECT p.v, c.v FROM children AS c JOIN parents AS p ON p.id = c.parent ORDER BY 2");
    assert_eq!(joined(), ["'a'|'x'"]);
    // A child whose parent never came joins nobody.
    there.run("INSERT INTO parents VALUES (2, 'b'); INSERT INTO children VALUES (2, 1, 'y'), (3, 2, 'z')");
    let report = pull(&there, &here, overwrite().tables(["children"]));
    assert_eq!((codes(&report, "children"), counts(&report, "children")), (vec!["foreign_key"], [1, 0, 1, 0, 1]));
    assert_eq!(joined(), ["'a'|'x'", "'a'|'y'"]);
    // Both by their own keys: the rows that have those here are meant, and nothing changes in turns.
    for round in 0..2 {
        let report = pull(&there, &here, overwrite());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(counts(&report, "parents")[1], 2 * u64::from(round == 0), "{report:?}");
    }
    assert_eq!(here.rows("PRAGMA foreign_key_check"), [""; 0]);
}

#[test]
fn an_append_whose_records_all_lack_their_parents_is_finished_later() {
    let there = Fixture::new(&format!(
        "{FAMILY} INSERT INTO parents VALUES (1, 'a'); INSERT INTO children VALUES (1, 1, 'x'), (2, 1, 'y');"
    ));
    let here = Fixture::new(FAMILY);
    assert_eq!(counts(&pull(&there, &here, append().tables(["children"])), "children"), [0, 0, 0, 0, 2]);
    assert!(pull(&there, &here, append().tables(["parents"])).is_clean());
    assert_eq!(counts(&pull(&there, &here, append().tables(["children"])), "children"), [2, 0, 0, 0, 0]);
}

#[test]
fn a_tree_that_is_appended_again_is_a_second_tree() {
    let schema = "CREATE TABLE tag(id INTEGER PRIMARY KEY, up INT REFERENCES tag(id), name TEXT, UNIQUE (up, name));";
    let there = Fixture::new(&format!("{schema} INSERT INTO tag VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c')"));
    let here = Fixture::new(schema);
    for _ in 0..2 {
        assert_eq!(counts(&pull(&there, &here, append().append_again(true)), "tag"), [3, 0, 0, 0, 0]);
    }
    assert_eq!(counts(&pull(&there, &here, append().append_new(true)), "tag"), [0, 0, 0, 3, 0]);
    assert_eq!(
        here.rows("SELECT up, name FROM tag ORDER BY id"),
        ["NULL|'a'", "1|'b'", "2|'c'", "NULL|'a'", "4|'b'", "5|'c'"]
    );
}

#[test]
fn records_of_a_group_that_are_one_row_here_are_told_from_each_other() {
    let schema = "CREATE TABLE tag(word TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, up TEXT REFERENCES tag(word));";
    let there = Fixture::new(
        "CREATE TABLE tag(word TEXT PRIMARY KEY NOT NULL, up TEXT REFERENCES tag(word));
        INSERT INTO tag VALUES ('A', NULL), ('a', NULL), ('b', 'a')",
    );
    let here = Fixture::new(schema);
    let report = pull(&there, &here, append().on_taken_key(OnTakenKey::Map));
    assert_eq!(counts(&report, "tag"), [2, 0, 0, 1, 0], "{report:?}");
}

#[test]
fn a_table_that_is_made_again_has_none_of_the_records() {
    let there = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let here = Fixture::new("");
    assert!(pull(&there, &here, append()).is_clean());
    here.run("DROP TABLE t");
    for dry_run in [true, false] {
        let report = pull(&there, &here, append().append_new(true).dry_run(dry_run));
        assert_eq!(counts(&report, "t"), [2, 0, 0, 0, 0], "dry run: {dry_run}");
    }
}

#[test]
fn unique_sets_are_matched_and_followed() {
    for (schema, theirs, ours, expected) in [
        // A nullable set in a table without a key.
        ("tag(word TEXT UNIQUE, n INT)", "('a', 1), ('b', 2), (NULL, 3)", "('a', 9)", ["'a'|9", "'b'|2", "NULL|3"]),
        // A NOT NULL set that stands for the key, of numbers too.
        ("tag(word TEXT NOT NULL UNIQUE, n INT)", "('a', 1), ('b', 2), ('c', 3)", "('a', 9)", ["'a'|9", "'b'|2", "'c'|3"]),
        ("tag(word INT NOT NULL UNIQUE, n INT)", "(10, 1), (20, 2), (30, 3)", "(10, 9)", ["10|9", "20|2", "30|3"]),
    ] {
        let there = Fixture::new(&format!("CREATE TABLE {schema}; INSERT INTO tag VALUES {theirs}"));
        let here = Fixture::new(&format!("CREATE TABLE {schema}; INSERT INTO tag VALUES {ours}"));
        let report = pull(&there, &here, append());
        assert_eq!(counts(&report, "tag"), [2, 0, 0, 1, 0], "{schema}: {report:?}");
        assert_eq!(here.rows("SELECT * FROM tag ORDER BY word IS NULL, word"), expected, "{schema}");
    }
}

#[test]
fn sets_of_generated_columns_are_matched_and_followed() {
    for (key, ids) in [
        ("id INTEGER PRIMARY KEY", ["1", "2", "3"]),
        ("id TEXT PRIMARY KEY NOT NULL", ["'a'", "'b'", "'c'"]),
        ("id INT PRIMARY KEY NOT NULL", ["1", "2", "3"]),
    ] {
        for stored in ["STORED", "VIRTUAL"] {
            let schema = format!(
                "CREATE TABLE doc({key}, body TEXT, slug TEXT COLLATE NOCASE AS (json_extract(body, '$.slug')) {stored} UNIQUE);
                 CREATE TABLE page(id INTEGER PRIMARY KEY, doc REFERENCES doc(id), t TEXT);"
            );
            let [one, two, three] = ids;
            let there = Fixture::new(&format!(
                "{schema} INSERT INTO doc(id, body) VALUES ({one}, '{{\"slug\":\"X\"}}'), ({two}, '{{\"slug\":\"y\"}}'), ({three}, '{{}}');
                 INSERT INTO page VALUES (1, {one}, 'x'), (2, {two}, 'y'), (3, {three}, 'none');"
            ));
            // The row that is the record has its key, too; another has another's.
            let here = Fixture::new(&format!("{schema} INSERT INTO doc(id, body) VALUES ({one}, '{{\"slug\":\"x\"}}');"));
            let report = pull(&there, &here, append());
            assert_eq!(
                (counts(&report, "doc"), counts(&report, "page")),
                ([2, 0, 0, 1, 0], [3, 0, 0, 0, 0]),
                "{key}: {report:?}"
            );
            let joined = here.rows("SELECT p.t, d.slug FROM page AS p JOIN doc AS d ON d.id = p.doc ORDER BY 1");
            assert_eq!(joined, ["'none'|NULL", "'x'|'x'", "'y'|'y'"], "{key}");
        }
    }
    // Of a key that is kept, beside a set that stands for a key, and where a key must look like one.
    for (schema, theirs, ours, expected) in [
        (
            "doc(code TEXT PRIMARY KEY NOT NULL, low TEXT AS (lower(code)) UNIQUE)",
            "doc(code) VALUES ('A'), ('b')",
            "doc(code) VALUES ('a')",
            [1, 0, 0, 1, 0],
        ),
        (
            "doc(name TEXT NOT NULL UNIQUE, body TEXT, slug TEXT AS (lower(body)) UNIQUE)",
            "doc(name, body) VALUES ('x', 'A'), ('y', 'b')",
            "doc(name, body) VALUES ('x', 'a')",
            [1, 0, 0, 1, 0],
        ),
        (
            "doc(code TEXT PRIMARY KEY NOT NULL CHECK (length(code) < 3), body TEXT, slug TEXT AS (lower(body)) UNIQUE)",
            "doc(code, body) VALUES ('x', 'A'), ('y', 'b')",
            "doc(code, body) VALUES ('z', 'a')",
            [1, 0, 0, 1, 0],
        ),
    ] {
        let there = Fixture::new(&format!("CREATE TABLE {schema}; INSERT INTO {theirs}"));
        let here = Fixture::new(&format!("CREATE TABLE {schema}; INSERT INTO {ours}"));
        let report = pull(&there, &here, append());
        assert_eq!(counts(&report, "doc"), expected, "{schema}: {report:?}");
    }
    let keyless = "CREATE TABLE doc(body TEXT, slug AS (lower(body)) UNIQUE);";
    let there = Fixture::new(&format!("{keyless} INSERT INTO doc(body) VALUES ('A'), ('b'), (NULL)"));
    let here = Fixture::new(&format!("{keyless} INSERT INTO doc(body) VALUES ('a'), ('b')"));
    let report = pull(&there, &here, append());
    assert_eq!(counts(&report, "doc"), [1, 0, 0, 2, 0], "{report:?}");
}

#[test]
fn partial_sets_and_expressions_refuse() {
    for index in ["ON t(a) WHERE b IS NULL", "ON t(lower(a))", "ON t(a COLLATE NOCASE)"] {
        let schema = format!("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b TEXT); CREATE UNIQUE INDEX u {index};");
        let there = Fixture::new(&format!("{schema} INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', NULL)"));
        let here = Fixture::new(&format!("{schema} INSERT INTO t VALUES (5, 'a', NULL)"));
        let report = pull(&there, &here, append());
        assert_eq!((counts(&report, "t"), codes(&report, "t")), ([1, 0, 0, 0, 1], vec!["unique_conflict"]), "{index}");
    }
}

#[test]
fn a_record_that_is_two_rows_is_ambiguous() {
    let schema = "CREATE TABLE contact(id INTEGER PRIMARY KEY, account TEXT UNIQUE, phone TEXT UNIQUE);
        CREATE TABLE message(id INTEGER PRIMARY KEY, contact INTEGER NOT NULL REFERENCES contact(id), t TEXT);";
    let there = Fixture::new(&format!(
        "{schema} INSERT INTO contact VALUES (3, 'bob', '+1002'), (4, 'eve', '+7'); INSERT INTO message VALUES (1, 3, 'hello'), (2, 4, 'hi');"
    ));
    let here = Fixture::new(&format!(
        "{schema} INSERT INTO contact VALUES (1, 'bob', NULL), (4, NULL, '+1002'), (5, 'eve', '+7');"
    ));
    let report = pull(&there, &here, append());
    assert_eq!((counts(&report, "contact"), codes(&report, "contact")), ([0, 0, 0, 1, 1], vec!["ambiguous"]));
    assert_eq!((counts(&report, "message"), codes(&report, "message")), ([1, 0, 0, 0, 1], vec!["foreign_key"]));
    // When one of the two rows is merged into the other, the next append brings the rest.
    here.run("DELETE FROM contact WHERE id = 4");
    let report = pull(&there, &here, append().append_new(true));
    assert_eq!((counts(&report, "contact"), counts(&report, "message")), ([0, 0, 0, 2, 0], [1, 0, 0, 1, 0]));
    assert_eq!(here.rows("SELECT contact, t FROM message ORDER BY t"), ["1|'hello'", "5|'hi'"]);
}

#[test]
fn taken_keys_fail_or_are_mapped() {
    let schema = "CREATE TABLE customers(id TEXT PRIMARY KEY NOT NULL, name TEXT);
        CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT REFERENCES customers(id));";
    let there = Fixture::new(&format!(
        "{schema} INSERT INTO customers VALUES ('ALFKI', 'a'), ('BONAP', 'b'); INSERT INTO orders VALUES (1, 'ALFKI'), (2, 'BONAP');"
    ));
    let ours = format!("{schema} INSERT INTO customers VALUES ('ALFKI', 'ours'); INSERT INTO orders VALUES (1, 'ALFKI');");
    let here = Fixture::new(&ours);
    let report = pull(&there, &here, append());
    assert_eq!((counts(&report, "customers"), codes(&report, "customers")), ([1, 0, 0, 0, 1], vec!["no_new_key"]));
    assert_eq!(counts(&report, "orders"), [1, 0, 0, 0, 1]);
    let here = Fixture::new(&ours);
    let report = pull(&there, &here, append().on_taken_key(OnTakenKey::Map));
    assert_eq!((counts(&report, "customers"), counts(&report, "orders")), ([1, 0, 0, 1, 0], [2, 0, 0, 0, 0]));
    assert_eq!(here.rows("SELECT customer FROM orders ORDER BY id"), ["'ALFKI'", "'ALFKI'", "'BONAP'"]);
    assert_eq!(here.rows("SELECT name FROM customers ORDER BY id"), ["'ours'", "'b'"]);
}

#[test]
fn the_largest_key_leaves_no_next_one() {
    let there = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
    let here = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (9223372036854775807)");
    let report = pull(&there, &here, append());
    assert_eq!((counts(&report, "t"), codes(&report, "t")), ([0, 0, 0, 0, 1], vec!["no_new_key"]));
    let message = &of(&report, "t").outcome.failures[0].message;
    assert!(message.contains("9223372036854775807"), "{message}");
}

#[test]
fn new_and_again_exclude_each_other() {
    let there = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let here = Fixture::new("");
    let session = there.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&there.site, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let error = client.pull(&here.site, append().append_again(true).append_new(true)).unwrap_err();
    assert!(error.code() == "invalid_input" && error.hint().is_some(), "{error}");
}

const USERS: &str =
    "CREATE TABLE users(id INTEGER PRIMARY KEY, mail TEXT UNIQUE COLLATE NOCASE, name TEXT, code TEXT UNIQUE);
    CREATE TABLE posts(id INTEGER PRIMARY KEY, author INT REFERENCES users(id), t TEXT);";

#[test]
fn the_same_thing_under_a_new_key_is_the_same_row() {
    for strategy in [Strategy::Overwrite, Strategy::Merge, Strategy::Skip] {
        for (old, new) in [(5, 9), (9, 5)] {
            let there = Fixture::new(&format!(
                "{USERS} INSERT INTO users VALUES (1, 'x', 'x', NULL), ({new}, 'A', 'new name', NULL); INSERT INTO posts VALUES (1, {new}, 'p'), (2, 1, 'q');"
            ));
            let here = Fixture::new(&format!(
                "{USERS} INSERT INTO users VALUES ({old}, 'a', 'old name', 'c'); INSERT INTO posts VALUES (7, {old}, 'own');"
            ));
            let pull = || pull(&there, &here, PullOptions::new().strategy(strategy));
            let report = pull();
            assert!(report.is_clean(), "{strategy}: {report:?}");
            let row = here.rows(&format!("SELECT name, code FROM users WHERE id = {old}"));
            match strategy {
                Strategy::Overwrite => {
                    assert_eq!((counts(&report, "users"), row), ([1, 1, 0, 0, 0], vec!["'new name'|NULL".into()]))
                }
                Strategy::Merge => {
                    assert_eq!((counts(&report, "users"), row), ([1, 1, 0, 0, 0], vec!["'new name'|'c'".into()]))
                }
                _ => assert_eq!((counts(&report, "users"), row), ([1, 0, 0, 1, 0], vec!["'old name'|'c'".into()])),
            }
            let posts = here.rows("SELECT id, author, t FROM posts ORDER BY id");
            assert_eq!(posts, [format!("1|{old}|'p'"), "2|1|'q'".into(), format!("7|{old}|'own'")], "{strategy}");
            let map: Vec<_> = here.site.key_map("users").entries().map(|entry| entry.unwrap()).collect();
            assert_eq!(map.len(), 1);
            assert_eq!(
                (&map[0].old, &map[0].new, map[0].existing),
                (&vec![Value::from(new)], &vec![Value::from(old)], true)
            );
            // It is known from now on, whatever becomes of the value that told it.
            there
                .run(&format!("UPDATE users SET mail = 'other' WHERE id = {new}; INSERT INTO posts VALUES (3, {new}, 'r')"));
            let report = pull();
            assert!(report.is_clean(), "{strategy}: {report:?}");
            let updated = u64::from(strategy != Strategy::Skip);
            assert_eq!(counts(&report, "users")[..2], [0, updated], "{strategy}: {report:?}");
            assert_eq!(here.rows("SELECT count(*) FROM users"), ["2"]);
            assert_eq!(here.rows("SELECT author FROM posts WHERE id = 3"), [old.to_string()]);
        }
    }
}

#[test]
fn what_cannot_be_told_to_be_the_same_fails() {
    for (theirs, ours, why) in [
        (
            "(5, 'a', 'n', NULL), (9, 'b', 'n', NULL)",
            "(9, 'a', 'n', NULL), (5, 'c', 'n', NULL), (7, 'b', 'n', NULL)",
            "its own row is here",
        ),
        ("(9, 'a', 'n', 'c')", "(5, 'a', 'n', NULL), (6, 'b', 'n', 'c')", "it is two rows"),
    ] {
        let there = Fixture::new(&format!("{USERS} INSERT INTO users VALUES {theirs}"));
        let here = Fixture::new(&format!("{USERS} INSERT INTO users VALUES {ours}"));
        let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
        assert_eq!(codes(&report, "users").first(), Some(&"unique_conflict"), "{why}: {report:?}");
        assert_eq!(here.rows("PRAGMA integrity_check"), ["'ok'"]);
    }
}

#[test]
fn tables_of_a_group_and_dry_runs_find_the_same_thing_too() {
    let schema =
        "CREATE TABLE node(id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL UNIQUE, up TEXT REFERENCES node(id), v INT);";
    let there = Fixture::new(&format!("{schema} INSERT INTO node VALUES ('r2', 'root', NULL, 2), ('z', 'leaf', 'r2', 2);"));
    let here = Fixture::new(&format!("{schema} INSERT INTO node VALUES ('r1', 'root', NULL, 1);"));
    for dry_run in [true, false] {
        let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite).dry_run(dry_run));
        assert_eq!(counts(&report, "node"), [1, 1, 0, 0, 0], "{report:?}");
    }
    assert_eq!(here.rows("SELECT id, name, up, v FROM node ORDER BY id"), ["'r1'|'root'|NULL|2", "'z'|'leaf'|'r1'|2"]);
    let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
    assert!(report.is_clean() && counts(&report, "node")[2] == 2, "{report:?}");
}

#[test]
fn a_key_that_is_used_again_at_the_sender_takes_no_row_from_another_record() {
    let there = Fixture::new(&format!("{USERS} INSERT INTO users VALUES (9, 'a', 'first', NULL)"));
    let here = Fixture::new(&format!("{USERS} INSERT INTO users VALUES (5, 'a', 'old', NULL)"));
    let overwrite = || pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
    assert!(overwrite().is_clean());
    there.run("INSERT INTO users VALUES (5, 'b', 'second', NULL); INSERT INTO posts VALUES (1, 5, 'of the second'), (2, 9, 'of the first')");
    for _ in 0..2 {
        let report = overwrite();
        assert_eq!((codes(&report, "users"), codes(&report, "posts")), (vec!["duplicate_key"], vec!["foreign_key"]));
        assert_eq!(counts(&report, "users"), [0, 0, 1, 0, 1], "{report:?}");
        assert_eq!(here.rows("SELECT id, mail, name FROM users"), ["5|'a'|'first'"]);
        assert_eq!(here.rows("SELECT author, t FROM posts"), ["5|'of the first'"]);
    }
}

#[test]
fn what_a_host_imports_is_not_taken_for_all_that_there_is() {
    let here = Fixture::new(&format!("{USERS} INSERT INTO users VALUES (5, 'a', 'old', NULL)"));
    let mut records = rowferry::Records::new(["id", "mail", "name"]);
    records.push([Value::from(9), "a".into(), "new".into()]);
    let options = PullOptions::new().strategy(Strategy::Overwrite);
    let report = here.site.import_records("users", &records, options).unwrap();
    assert_eq!((report.outcome.failed, report.outcome.failures[0].reason.code()), (1, "unique_conflict"));
    assert_eq!(here.rows("SELECT id, name FROM users"), ["5|'old'"]);
}

#[test]
fn a_row_under_a_new_key_whose_name_others_refer_to_is_renamed_with_them() {
    let schema = "CREATE TABLE member(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, mail TEXT UNIQUE);
        CREATE TABLE post(id INTEGER PRIMARY KEY, author TEXT REFERENCES member(name));";
    let there =
        Fixture::new(&format!("{schema} INSERT INTO member VALUES (9, 'anna', 'm'); INSERT INTO post VALUES (1, 'anna');"));
    let here =
        Fixture::new(&format!("{schema} INSERT INTO member VALUES (5, 'ann', 'm'); INSERT INTO post VALUES (1, 'ann');"));
    for updated in [1, 0] {
        let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
        assert!(report.is_clean(), "{report:?}");
        assert_eq!([counts(&report, "member")[1], counts(&report, "post")[1]], [updated; 2], "{report:?}");
    }
    assert_eq!(here.rows("SELECT m.id, p.author FROM post AS p JOIN member AS m ON m.name = p.author"), ["5|'anna'"]);
}

#[test]
fn unique_values_move_where_keys_may_meet_too() {
    let there = Fixture::new(
        "CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, pos INT NOT NULL UNIQUE); INSERT INTO t VALUES ('a', 2), ('b', 1), ('c', 3)",
    );
    let here = Fixture::new(
        "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, pos INT NOT NULL UNIQUE); INSERT INTO t VALUES ('a', 1), ('b', 2)",
    );
    for counted in [[1, 2, 0, 0, 0], [0, 0, 3, 0, 0]] {
        let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
        assert_eq!(counts(&report, "t"), counted, "{report:?}");
    }
}

#[test]
fn tables_that_are_begun_again_in_one_pull_are_not_appended_twice() {
    let schema = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE log(v TEXT);
        CREATE TABLE tree(id INTEGER PRIMARY KEY, up INT REFERENCES tree(id));";
    let there = Fixture::new(&format!(
        "{schema} CREATE TABLE z(id INTEGER PRIMARY KEY, v TEXT, extra TEXT); INSERT INTO z VALUES (1, 'z', 'z');
         INSERT INTO a VALUES (1, 'x'); INSERT INTO log VALUES ('l'); INSERT INTO tree VALUES (1, NULL), (2, 1);"
    ));
    // One table cannot be pulled, so that the pull stays open.
    let here = Fixture::new(&format!("{schema} CREATE TABLE z(id INTEGER PRIMARY KEY, v TEXT);"));
    for round in 0..3 {
        let report = pull(&there, &here, append().append_new(true));
        assert_eq!(error_code(&report, "z"), Some("schema_mismatch"));
        let all = ["a", "log", "tree"].map(|table| here.rows(&format!("SELECT count(*) FROM {table}")).concat());
        assert_eq!(all, ["1", "1", "2"], "round {round}: {report:?}");
    }
}

#[test]
fn a_reference_to_what_follows_leads_to_no_stranger() {
    let schema = "CREATE TABLE tenant(id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE p(id INTEGER PRIMARY KEY, tenant INT REFERENCES tenant(id), code TEXT, v TEXT, UNIQUE (tenant, id), UNIQUE (tenant, code));
        CREATE TABLE by_id(id INTEGER PRIMARY KEY, tenant INT, p INT, FOREIGN KEY (tenant, p) REFERENCES p(tenant, id));
        CREATE TABLE by_code(id INTEGER PRIMARY KEY, tenant INT, code TEXT, FOREIGN KEY (tenant, code) REFERENCES p(tenant, code));";
    let there = Fixture::new(&format!(
        "{schema} INSERT INTO tenant VALUES (1, 'theirs'); INSERT INTO p VALUES (1, 1, 'c', 'theirs');
         INSERT INTO by_id VALUES (1, 1, 1); INSERT INTO by_code VALUES (1, 1, 'c');"
    ));
    let here =
        Fixture::new(&format!("{schema} INSERT INTO tenant VALUES (1, 'ours'); INSERT INTO p VALUES (1, 1, 'c', 'ours');"));
    let report = pull(&there, &here, append());
    assert!(report.is_clean(), "{report:?}");
    for joined in [
        "SELECT p.v FROM by_id AS c JOIN p ON p.id = c.p AND p.tenant = c.tenant",
        "SELECT p.v FROM by_code AS c JOIN p ON p.tenant = c.tenant AND p.code = c.code",
    ] {
        assert_eq!(here.rows(joined), ["'theirs'"], "{joined}");
    }
}

#[test]
fn an_append_all_of_which_failed_can_be_mended_and_is_no_strangers_parent() {
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY, v TEXT CHECK (v <> 'bad')); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));";
    let there = Fixture::new(
        "CREATE TABLE p(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE c(id INTEGER PRIMARY KEY, p INT REFERENCES p(id));
        INSERT INTO p VALUES (1, 'bad'); INSERT INTO c VALUES (1, 1);",
    );
    let here = Fixture::new(&format!("{schema} INSERT INTO p VALUES (1, 'ours');"));
    assert_eq!(codes(&pull(&there, &here, append().tables(["p"])), "p"), ["check"]);
    assert_eq!(codes(&pull(&there, &here, append().tables(["c"])), "c"), ["foreign_key"]);
    there.run("UPDATE p SET v = 'good'");
    let tried = pull(&there, &here, append().tables(["p"]).dry_run(true));
    assert_eq!(error_code(&tried, "p"), Some("already_appended"), "a dry run knows it too");
    let report = pull(&there, &here, append().append_new(true));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(here.rows("SELECT p.v FROM c JOIN p ON p.id = c.p"), ["'good'"]);
}

#[test]
fn numbers_that_were_given_are_not_given_again() {
    let there = Fixture::new(&format!(
        "{FAMILY} INSERT INTO parents VALUES (1, 'a'), (2, 'b'); INSERT INTO children VALUES (1, 2, 'of b')"
    ));
    let here = Fixture::new(FAMILY);
    assert!(pull(&there, &here, append().tables(["parents"])).is_clean());
    here.run("DELETE FROM parents WHERE v = 'b'");
    there.run("INSERT INTO parents VALUES (9, 'new')");
    let report = pull(&there, &here, append().append_new(true));
    assert_eq!((counts(&report, "parents"), codes(&report, "children")), ([1, 0, 0, 2, 0], vec!["foreign_key"]));
    assert_eq!(here.rows("SELECT id, v FROM parents"), ["1|'a'", "3|'new'"]);
}

#[test]
fn records_with_null_in_their_key_come_once() {
    let schema = "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT);";
    let there = Fixture::new(&format!("{schema} INSERT INTO t VALUES (NULL, 'a'), (NULL, 'a'), ('k', 'b')"));
    let here = Fixture::new(schema);
    assert_eq!(counts(&pull(&there, &here, append()), "t"), [3, 0, 0, 0, 0]);
    there.run("INSERT INTO t VALUES (NULL, 'a')");
    for created in [1, 0] {
        let report = pull(&there, &here, append().append_new(true));
        assert_eq!(counts(&report, "t"), [created, 0, 0, 4 - created, 0], "{report:?}");
    }
}

#[test]
fn a_row_that_another_record_becomes_makes_room_whatever_the_order() {
    let schema = "CREATE TABLE t(id TEXT PRIMARY KEY NOT NULL, a TEXT UNIQUE, b TEXT UNIQUE);";
    // The record c is kept out by two rows that the sender has no more; d becomes one of them.
    for (c, d) in [("c", "d"), ("d", "c")] {
        let there = Fixture::new(&format!("{schema} INSERT INTO t VALUES ('{c}', 'x', 'y'), ('{d}', 'z', 'w')"));
        let here = Fixture::new(&format!("{schema} INSERT INTO t VALUES ('p', 'x', NULL), ('q', 'z', 'y')"));
        for round in 0..2 {
            let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
            assert!(report.is_clean(), "{c}, round {round}: {report:?}");
        }
        assert_eq!(here.rows("SELECT a, b FROM t ORDER BY a"), ["'x'|'y'", "'z'|'w'"]);
        assert_eq!(here.site.key_map("t").entries().count(), 2);
    }
}

#[test]
fn a_name_that_a_row_of_ones_own_refers_to_keeps_no_other_from_coming() {
    let schema = "CREATE TABLE p(id INTEGER PRIMARY KEY, u TEXT UNIQUE, up TEXT REFERENCES p(u), v INT);";
    let there = Fixture::new(&format!(
        "{schema} INSERT INTO p VALUES (1, 'new', NULL, 1), (2, 'b', 'new', 1), (3, 'c', 'b', 1), (4, 'd', NULL, 1)"
    ));
    let here = Fixture::new(&format!(
        "{schema} INSERT INTO p VALUES (1, 'old', NULL, 0), (3, 'c', NULL, 0), (4, 'd', NULL, 0), (99, 'own', 'old', 0)"
    ));
    for dry_run in [true, false] {
        let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite).dry_run(dry_run));
        let outcome = &report.table("p").unwrap().outcome;
        // The one that is held, and those that refer to what it would be.
        assert_eq!((outcome.created, outcome.updated, outcome.failed), (0, 1, 3), "{report:?}");
        assert!(outcome.failures.iter().all(|failure| failure.reason.code() == "foreign_key"), "{outcome:?}");
    }
    assert_eq!(here.rows("SELECT id, u, v FROM p ORDER BY id"), ["1|'old'|0", "3|'c'|0", "4|'d'|1", "99|'own'|0"]);
}

#[test]
fn rows_that_follow_a_renamed_name_are_as_at_the_sender() {
    for action in ["CASCADE", "SET NULL", "SET DEFAULT"] {
        let schema =
            format!("CREATE TABLE p(id INTEGER PRIMARY KEY, u TEXT UNIQUE, up TEXT REFERENCES p(u) ON UPDATE {action});");
        let there = Fixture::new(&format!(
            "{schema} INSERT INTO p VALUES (1, 'b', NULL), (2, 'a', NULL), (3, 'x', 'a'), (4, 'y', 'b')"
        ));
        let here = Fixture::new(&format!(
            "{schema} INSERT INTO p VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'x', 'a'), (4, 'y', 'b')"
        ));
        for updated in [2, 0] {
            let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
            assert!(report.is_clean(), "{action}: {report:?}");
            assert_eq!(counts(&report, "p"), [0, updated, 4 - updated, 0, 0], "{action}");
            assert_eq!(here.rows("SELECT * FROM p"), there.rows("SELECT * FROM p"), "{action}");
        }
    }
}
