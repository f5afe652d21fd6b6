//! Tables that a pull makes have the structure that they have at the sender.

use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{Auth, Client, ConnectOptions, Direction, PullOptions, Report, Strategy};

fn pull(there: &Fixture, here: &Fixture, options: PullOptions<'_>) -> Report {
    let code = there.site.sessions().create(Direction::Send).unwrap().code().to_owned();
    let client = Client::link(&there.site, Auth::code(code), ConnectOptions::default()).unwrap();
    client.pull(&here.site, options).unwrap()
}

/// A copy of a database that is made by this SQL, with the report.
fn copied(sql: &str) -> (Fixture, Fixture, Report) {
    let (there, here) = (Fixture::new(sql), Fixture::new(""));
    let report = pull(&there, &here, PullOptions::new());
    assert!(report.is_clean(), "{report:#?}");
    (there, here, report)
}

fn notes(report: &Report) -> Vec<&String> {
    report.tables.iter().flat_map(|table| &table.notes).collect()
}

/// All that pragmas tell of the tables and indexes that are not rowferry's.
const STRUCTURE: &str = "
    SELECT s.name, c.name, c.type, c.\"notnull\", c.pk FROM sqlite_schema s, pragma_table_xinfo(s.name) c
    WHERE s.type = 'table' AND s.name NOT LIKE 'rowferry%' AND s.name NOT LIKE 'sqlite%'
    UNION ALL SELECT s.name, CASE WHEN i.origin = 'c' THEN i.name END, group_concat(coalesce(x.name, '') || x.coll || x.\"desc\"), i.\"unique\", i.partial
    FROM sqlite_schema s, pragma_index_list(s.name) i, pragma_index_xinfo(i.name) x
    WHERE s.type = 'table' AND s.name NOT LIKE 'rowferry%' AND x.key GROUP BY s.name, i.name
    UNION ALL SELECT s.name, f.\"table\", f.\"from\" || f.\"to\", f.on_update, f.on_delete
    FROM sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type = 'table' AND s.name NOT LIKE 'rowferry%' ORDER BY 1, 2, 3, 4, 5";

#[test]
fn indexes_keep_their_names_and_everything_its_collation_and_order() {
    let (there, here, report) = copied(
        "CREATE TABLE t(id INTEGER PRIMARY KEY NOT NULL, a TEXT COLLATE NOCASE, b TEXT, UNIQUE (a, b, a), UNIQUE (b COLLATE RTRIM));
         CREATE UNIQUE INDEX index_t_on_b ON t(b); CREATE UNIQUE INDEX exact ON t(a COLLATE BINARY, id DESC);
         CREATE INDEX plain ON t(b, b, a DESC); CREATE INDEX any_case ON t(b COLLATE NOCASE, a COLLATE NOCASE);
         CREATE TABLE pair(x, y, UNIQUE (x, y)); CREATE TABLE ref(a TEXT, b TEXT, FOREIGN KEY (a, a) REFERENCES pair(x, y));
         INSERT INTO t VALUES (1, 'a', 'b'), (2, 'A', 'c'); INSERT INTO pair VALUES ('v', 'v'); INSERT INTO ref VALUES ('v', NULL);",
    );
    assert_eq!(here.rows(STRUCTURE), there.rows(STRUCTURE));
    assert_eq!(notes(&report), [""; 0]);
    here.run("SELECT * FROM t INDEXED BY index_t_on_b WHERE b = 'b'; DROP INDEX index_t_on_b");
}

#[test]
fn what_cannot_be_an_index_here_is_said() {
    let (_, here, report) = copied(
        "CREATE TABLE t(a, b); CREATE INDEX part ON t(a) WHERE a > 0; CREATE INDEX expr ON t(a + b);
         CREATE UNIQUE INDEX uexpr ON t(abs(a)); CREATE UNIQUE INDEX upart ON t(b) WHERE a > 0;",
    );
    assert_eq!(here.rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't'"), [""; 0]);
    for name in ["part", "expr", "uexpr", "upart"] {
        assert!(notes(&report).iter().any(|note| note.contains(&format!("{name:?} is left out"))), "{name}: {report:#?}");
    }
}

#[test]
fn foreign_keys_that_are_checked_late_are_made_so() {
    let (there, here, _) = copied(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, b INT NOT NULL REFERENCES b(id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE b(id INTEGER PRIMARY KEY, a INT NOT NULL REFERENCES a(id) DEFERRABLE INITIALLY DEFERRED, c INT REFERENCES a(id));
         BEGIN; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1, NULL); COMMIT;",
    );
    for site in [&there, &here] {
        site.run("PRAGMA foreign_keys = ON; BEGIN; INSERT INTO a VALUES (2, 2); INSERT INTO b VALUES (2, 2, 1); COMMIT");
        assert!(site.sqlite.execute_batch("INSERT INTO b VALUES (3, 1, 9)").is_err(), "one that is checked at once");
    }
}

#[test]
fn constraints_do_what_they_did_and_change_nothing_for_a_pull() {
    let sql = "CREATE TABLE t(id INTEGER PRIMARY KEY ON CONFLICT IGNORE, a TEXT UNIQUE ON CONFLICT REPLACE,
            b TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'none');
         CREATE TABLE k(a TEXT, b INT, PRIMARY KEY (a, b) ON CONFLICT REPLACE, UNIQUE (b) ON CONFLICT IGNORE) WITHOUT ROWID;
         INSERT INTO t VALUES (1, 'x', 'one'), (2, 'y', 'two'); INSERT INTO k VALUES ('a', 1), ('b', 2);";
    let (there, here, report) = copied(sql);
    assert_eq!(notes(&report), [""; 0]);
    // A record whose value another row has neither deletes that row nor is it left out without a word.
    here.run("INSERT INTO t VALUES (9, 'z', 'mine'); INSERT INTO k VALUES ('c', 3)");
    there.run("INSERT INTO t VALUES (3, 'z', 'three'); UPDATE t SET b = 'new' WHERE id = 1; INSERT INTO k VALUES ('d', 3)");
    for strategy in [Strategy::Skip, Strategy::Append] {
        let report = pull(&there, &here, PullOptions::new().strategy(strategy).tables(["k"]));
        assert_eq!(here.rows("SELECT a, b FROM k ORDER BY b"), ["'a'|1", "'b'|2", "'c'|3"], "{strategy}: {report:?}");
    }
    let report = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite).tables(["t"]));
    assert_eq!(here.rows("SELECT count(*) FROM t"), ["3"], "{report:#?}");
    assert_eq!(here.rows("SELECT b FROM t WHERE id = 1"), ["'new'"]);
    let write = "INSERT INTO t VALUES (1, 'q', 'again'), (7, 'x', NULL); INSERT INTO k VALUES ('b', 2), ('e', 2)";
    let read = "SELECT a, b FROM t WHERE id IN (1, 2, 7) UNION ALL SELECT a, b FROM k WHERE b < 3 ORDER BY 1, 2";
    for site in [&there, &here] {
        site.run(write);
    }
    assert_eq!(here.rows(read), there.rows(read));
}

#[test]
fn defaults_are_what_they_were() {
    let (there, here, report) = copied(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT NOT NULL DEFAULT \"\", b TEXT DEFAULT \"isbn\", c TEXT DEFAULT word, d TEXT
            DEFAULT [br ack], e TEXT DEFAULT `tick`, f DEFAULT 'it''s', g DEFAULT 0x10, h DEFAULT - 5, i DEFAULT + 1, j DEFAULT x'00ff',
            k DEFAULT TRUE, l DEFAULT (-1.50), m DEFAULT 9223372036854775808, n DEFAULT NULL, o TEXT DEFAULT 7);
         INSERT INTO t(id) VALUES (1);",
    );
    assert_eq!(notes(&report), [""; 0]);
    let insert = "INSERT INTO t(id) VALUES (2) RETURNING *";
    assert_eq!(here.rows(insert), there.rows(insert));
}

#[test]
fn a_sequence_goes_on_where_the_senders_is() {
    let sql = "CREATE TABLE lesson(id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT);
         INSERT INTO lesson VALUES (1, 'a'), (12, 'z'); DELETE FROM lesson WHERE id = 12;
         CREATE TABLE ticket(id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT); INSERT INTO ticket VALUES (50, 'x'); DELETE FROM ticket;
         CREATE TABLE fresh(id INTEGER PRIMARY KEY AUTOINCREMENT);";
    let (there, here, _) = copied(sql);
    let given = |site: &Fixture| {
        let inserts = ["lesson", "ticket", "fresh"].map(|table| format!("INSERT INTO {table} DEFAULT VALUES RETURNING id"));
        inserts.map(|insert| site.rows(&insert).join("")).join(" ")
    };
    assert_eq!(given(&here), "13 51 1");
    // That of a table which is here already is the host's: the sender could say that no number is left.
    there.run(&format!("UPDATE sqlite_sequence SET seq = {}", i64::MAX));
    let _ = pull(&there, &here, PullOptions::new());
    assert_eq!(given(&here), "14 52 2");
    // One below 0 is none that AUTOINCREMENT gave.
    there.run("UPDATE sqlite_sequence SET seq = -7 WHERE name = 'ticket'");
    let copy = Fixture::new("");
    let _ = pull(&there, &copy, PullOptions::new().tables(["ticket"]));
    assert_eq!(copy.rows("SELECT count(*) FROM sqlite_sequence WHERE name = 'ticket'"), ["0"]);
    // An append gives numbers of its own.
    let copy = Fixture::new("");
    let _ = pull(&there, &copy, PullOptions::new().strategy(Strategy::Append));
    assert_eq!(copy.rows("SELECT id FROM lesson"), ["1"]);
}

#[test]
fn a_file_that_a_pull_makes_has_the_senders_numbers() {
    let sql = "PRAGMA user_version = 27; PRAGMA application_id = 1196444487; CREATE TABLE t(id INTEGER PRIMARY KEY);
        CREATE TABLE u(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1);";
    let numbers = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id";
    let (there, here, report) = copied(sql);
    assert_eq!((here.rows(numbers), report.notes.len()), (vec!["27|1196444487".to_owned()], 0));
    // Another pull finds them; what changed there since then is said.
    assert_eq!(pull(&there, &here, PullOptions::new()).notes, [""; 0]);
    there.run("PRAGMA user_version = 28");
    let report = pull(&there, &here, PullOptions::new());
    assert!(
        matches!(&report.notes[..], [note] if note.contains("(file_numbers)") && note.contains("user_version 27")),
        "{report:?}"
    );
    assert_eq!(here.rows(numbers), ["27|1196444487"]);
    // Not of some of the tables, nor in a file with something else in it.
    let some = Fixture::new("");
    let report = pull(&there, &some, PullOptions::new().tables(["t"]));
    assert_eq!((some.rows(numbers), report.notes.len()), (vec!["0|0".to_owned()], 1));
    for own in ["CREATE TABLE own(x)", "CREATE VIEW own AS SELECT 1", "CREATE TABLE t(id INTEGER PRIMARY KEY)"] {
        let mixed = Fixture::new(own);
        let report = pull(&there, &mixed, PullOptions::new());
        assert_eq!((mixed.rows(numbers), report.notes.len()), (vec!["0|0".to_owned()], 1), "{own}");
    }
    let dry = Fixture::new("");
    let _ = pull(&there, &dry, PullOptions::new().dry_run(true));
    assert_eq!(dry.rows(numbers), ["0|0"]);
}

const LARGE: &str = "CREATE TABLE large(id INTEGER PRIMARY KEY NOT NULL, a INT, b TEXT);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO large SELECT i, i % 7, 'b' || i FROM n;
    CREATE INDEX by_a ON large(a, b COLLATE NOCASE); CREATE INDEX by_b ON large(b DESC); CREATE UNIQUE INDEX one ON large(b);";

#[test]
fn large_tables_get_their_indexes_after_their_rows() {
    for options in [PullOptions::new(), PullOptions::new().lock_time(Duration::from_millis(50))] {
        let (there, here) = (Fixture::new(LARGE), Fixture::new(""));
        let report = pull(&there, &here, options);
        assert!(report.is_clean() && notes(&report).is_empty(), "{report:#?}");
        assert_eq!(here.rows(STRUCTURE), there.rows(STRUCTURE));
        assert_eq!(here.rows("PRAGMA integrity_check"), ["'ok'"]);
        let again = pull(&there, &here, PullOptions::new().strategy(Strategy::Overwrite));
        assert_eq!(again.table("large").unwrap().outcome.unchanged, 3000);
        assert_eq!(here.rows(STRUCTURE), there.rows(STRUCTURE));
    }
}

/// A backup each night: what the first one made is the sender's.
#[test]
fn a_table_that_comes_later_refers_to_those_that_came_before() {
    let (there, here, _) =
        copied("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'a')");
    let keys = |table: &str| here.rows(&format!("SELECT \"table\" FROM pragma_foreign_key_list('{table}')"));
    there.run("CREATE TABLE posts(id INTEGER PRIMARY KEY, user INT REFERENCES Users(id)); INSERT INTO posts VALUES (1, 1)");
    for _ in 0..2 {
        let report = pull(&there, &here, PullOptions::new());
        assert!(report.is_clean() && notes(&report).is_empty(), "{report:#?}");
        assert_eq!(keys("posts"), ["'Users'"]);
    }
    // Not those of another sender.
    let other = Fixture::new(
        "CREATE TABLE users(id INTEGER PRIMARY KEY); CREATE TABLE likes(id INTEGER PRIMARY KEY, user INT REFERENCES users(id))",
    );
    let report = pull(&other, &here, PullOptions::new().tables(["likes"]));
    let [note] = &notes(&report)[..] else { panic!("{report:#?}") };
    assert!(note.contains("(outside_reference)") && note.contains("`PullOptions::outside_references`"), "{note}");
    assert_eq!(keys("likes"), [""; 0]);
    // Nor to one that the host made in the place of the sender's.
    here.run("DROP TABLE posts; DROP TABLE users; CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, age INT); INSERT INTO users VALUES (1, 'mine', 3)");
    let report = pull(&there, &here, PullOptions::new());
    assert_eq!((keys("posts"), notes(&report).len()), (Vec::new(), 1), "{report:#?}");
}
