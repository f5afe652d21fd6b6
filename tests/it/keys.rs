//! Primary keys that compare otherwise than their columns do, and keys of the sender that are one here.

use crate::support::common::Fixture;
use rowferry::{
    Auth, CancelToken, Client, ConnectOptions, Direction, Limits, Outcome, PullOptions, Reason, Site, Strategy, TableReport,
    Value,
};

/// Sends one row a page.
fn sender(sql: &str) -> Fixture {
    let mut fixture = Fixture::new(sql);
    fixture.site = with(&fixture, |limits| limits.wire.page_rows = 1);
    fixture
}

fn with(fixture: &Fixture, change: impl FnOnce(&mut Limits)) -> Site {
    let mut limits = Limits::default();
    change(&mut limits);
    Site::builder().limits(limits).open(fixture.path()).unwrap()
}

fn pull(from: &Fixture, to: &Site, table: &str, strategy: Strategy) -> TableReport {
    let code = from.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&from.site, Auth::code(code.code()), ConnectOptions::default()).unwrap();
    client.pull_table(to, table, PullOptions::new().strategy(strategy).batch_size(1).always(true)).unwrap()
}

/// Created, updated, unchanged, skipped, failed.
fn counts(outcome: &Outcome) -> [u64; 5] {
    [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed]
}

const COLLATIONS: [&str; 3] = ["BINARY", "NOCASE", "RTRIM"];

/// Texts, two of which each collation calls equal.
const TEXTS: &str =
    "VALUES ('x'), ('X'), ('x '), ('y'), ('Y  '), (''), (' '), ('é'), ('É'), ('a'), ('b'), ('B'), ('_'), (NULL)";

/// All tables `t(a, n, v)` whose column `a` is compared by one collation, and by another in the key.
fn tables() -> Vec<String> {
    let mut tables = Vec::new();
    for column in COLLATIONS {
        for key in COLLATIONS {
            let a = format!("a TEXT COLLATE {column}");
            for (key, more) in [
                (format!("a COLLATE {key}"), ""),
                (format!("a COLLATE {key}"), " WITHOUT ROWID"),
                (format!("a COLLATE {key}, n"), ""),
                (format!("n, a COLLATE {key}"), " WITHOUT ROWID"),
                (format!("a, a COLLATE {key}"), ""),
                (format!("a COLLATE {key}, n, a"), " WITHOUT ROWID"),
            ] {
                tables.push(format!("CREATE TABLE t({a}, n INT, v, PRIMARY KEY ({key})){more}"));
            }
        }
    }
    tables
}

#[test]
fn copies_are_equal_whatever_the_key_compares_by() {
    for table in tables() {
        let fill =
            format!("INSERT OR IGNORE INTO t SELECT column1, n, column1 || n FROM ({TEXTS}), (SELECT 1 n UNION SELECT 2)");
        let (shop, backup) = (sender(&format!("{table}; {fill};")), Fixture::new(""));
        let all = "SELECT * FROM t ORDER BY a COLLATE BINARY, n, v";
        let report = pull(&shop, &backup.site, "t", Strategy::Skip);
        let rows = shop.rows(all);
        assert!(rows.len() >= 9 && report.is_clean(), "{table}: {report:?}");
        assert_eq!(backup.rows(all), rows, "{table}");
        let described = |fixture: &Fixture| fixture.site.get_schema("t").unwrap();
        assert_eq!(described(&backup), described(&shop), "{table}");
        assert_eq!(backup.site.table_checksum("t").unwrap(), shop.site.table_checksum("t").unwrap(), "{table}");
        // Nothing is new to any strategy.
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
            let outcome = pull(&shop, &backup.site, "t", strategy).outcome;
            assert_eq!(outcome.skipped + outcome.unchanged, rows.len() as u64, "{table}, {strategy}: {outcome:?}");
        }
        // Rows are found by their keys, and no others.
        shop.run("UPDATE t SET v = v || '!' WHERE a IS NOT NULL");
        let changed = shop.rows("SELECT 1 FROM t WHERE a IS NOT NULL").len() as u64;
        let outcome = pull(&shop, &backup.site, "t", Strategy::Overwrite).outcome;
        assert_eq!((outcome.updated, outcome.created, outcome.failed), (changed, 0, 0), "{table}");
        assert_eq!(backup.rows(all), shop.rows(all), "{table}");
    }
}

#[test]
fn a_key_in_another_form_is_a_change() {
    for (key, one, other) in [("NOCASE", "'x'", "'X'"), ("RTRIM", "'x'", "'x '")] {
        for more in ["", " WITHOUT ROWID", "; CREATE INDEX by_v ON t(v); CREATE TABLE k(id INTEGER PRIMARY KEY)"] {
            let table = format!("CREATE TABLE t(a TEXT, v, PRIMARY KEY (a COLLATE {key})){more}");
            let (shop, backup) = (sender(&format!("{table}; INSERT INTO t VALUES ({one}, 1), ('z', 2);")), Fixture::new(""));
            pull(&shop, &backup.site, "t", Strategy::Skip);
            for strategy in [Strategy::Overwrite, Strategy::Merge] {
                shop.run(&format!("UPDATE t SET a = {other} WHERE v = 1"));
                assert_eq!(counts(&pull(&shop, &backup.site, "t", Strategy::Skip).outcome), [0, 0, 0, 2, 0], "{table}");
                assert_eq!(counts(&pull(&shop, &backup.site, "t", strategy).outcome), [0, 1, 1, 0, 0], "{table}");
                assert_eq!(backup.rows("SELECT * FROM t ORDER BY v"), shop.rows("SELECT * FROM t ORDER BY v"), "{table}");
                shop.run(&format!("UPDATE t SET a = {one} WHERE v = 1"));
                assert_eq!(counts(&pull(&shop, &backup.site, "t", strategy).outcome), [0, 1, 1, 0, 0], "{table}");
            }
        }
    }
}

#[test]
fn many_rows_go_by_the_key_in_bulk() {
    let rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)
        INSERT INTO t SELECT CASE n % 2 WHEN 0 THEN 'k' ELSE 'K' END || (n / 2), n FROM c";
    let table = "CREATE TABLE t(a TEXT COLLATE NOCASE, v, PRIMARY KEY (a COLLATE BINARY))";
    let (shop, backup) = (Fixture::new(&format!("{table}; {rows};")), Fixture::new(""));
    let run = |strategy| {
        let code = shop.site.sessions().create(Direction::Send).unwrap();
        let client = Client::link(&shop.site, Auth::code(code.code()), ConnectOptions::default()).unwrap();
        counts(&client.pull_table(&backup.site, "t", PullOptions::new().strategy(strategy).always(true)).unwrap().outcome)
    };
    assert_eq!(run(Strategy::Overwrite), [3_000, 0, 0, 0, 0]);
    assert_eq!(run(Strategy::Overwrite), [0, 0, 3_000, 0, 0]);
    shop.run("UPDATE t SET v = -v WHERE v % 3 = 0");
    assert_eq!(run(Strategy::Merge), [0, 1_000, 2_000, 0, 0]);
    assert_eq!(shop.site.table_checksum("t").unwrap(), backup.site.table_checksum("t").unwrap());
}

#[test]
fn a_column_twice_in_an_index_is_there_once() {
    let tables = "CREATE TABLE t(a TEXT, b, PRIMARY KEY (a, b, a)); CREATE TABLE u(a TEXT NOT NULL, b, UNIQUE (a, a), UNIQUE (b, a, b));
        CREATE INDEX i ON t(b DESC, a, b); INSERT INTO t VALUES ('x', 1), ('X', 1); INSERT INTO u VALUES ('x', 1), ('X', 1);";
    let (shop, backup) = (sender(tables), Fixture::new(""));
    for table in ["t", "u"] {
        assert_eq!(counts(&pull(&shop, &backup.site, table, Strategy::Overwrite).outcome), [2, 0, 0, 0, 0]);
        shop.run(&format!("UPDATE {table} SET b = b + 1"));
        // What the sender has twice, the receiver may have too.
        let twin = Fixture::new(tables);
        for site in [&backup.site, &twin.site] {
            let outcome = pull(&shop, site, table, Strategy::Overwrite).outcome;
            assert_eq!(outcome.failed, 0, "{outcome:?}");
        }
        assert_eq!(twin.site.get_schema(table).unwrap(), shop.site.get_schema(table).unwrap());
    }
    assert_eq!(backup.rows("SELECT * FROM u ORDER BY a"), ["'X'|2", "'x'|2"]);
}

/// Pulls twice: whatever comes of the first pull, the second one changes nothing, and the same records fail.
#[track_caller]
fn expect_duplicates(shop: &str, backup: &str, strategy: Strategy, first: [u64; 5], failed: &[Value], left: &[&str]) {
    let (shop, backup) = (sender(shop), Fixture::new(backup));
    let site = with(&backup, |limits| limits.pull.commit_rows = 1);
    for round in 0..3 {
        let report = pull(&shop, &site, "t", strategy);
        let outcome = &report.outcome;
        let expected = if round == 0 { first } else { [0, 0, 0, first[0] + first[1] + first[2] + first[3], first[4]] };
        let found = match (round, strategy) {
            (0, _) | (_, Strategy::Skip) => counts(outcome),
            // Unchanged stands where skipped would.
            _ => [outcome.created, outcome.updated, outcome.skipped, outcome.unchanged, outcome.failed],
        };
        assert_eq!(found, expected, "round {round}: {outcome:?}");
        let keys: Vec<Value> = outcome.failures.iter().map(|failure| failure.key[0].clone()).collect();
        assert_eq!(keys, failed, "round {round}");
        assert!(outcome.failures.iter().all(|failure| failure.reason == Reason::DuplicateKey), "{outcome:?}");
        assert_eq!(backup.rows("SELECT * FROM t ORDER BY lower(a), v"), left, "round {round}");
        assert_eq!(backup.rows("SELECT * FROM rowferry_taken_keys"), [""; 0]);
    }
}

const BINARY: &str =
    "CREATE TABLE t(a TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('X', 1), ('Y', 2), ('x', 3), ('xx', 4), ('y', 5);";

#[test]
fn the_first_of_two_records_has_the_row() {
    let failed: [Value; 2] = ["x".into(), "y".into()];
    for nocase in [
        "CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, v);",
        "CREATE TABLE t(a TEXT, v, PRIMARY KEY (a COLLATE NOCASE)) WITHOUT ROWID;",
    ] {
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
            expect_duplicates(BINARY, nocase, strategy, [3, 0, 0, 0, 2], &failed, &["'X'|1", "'xx'|4", "'Y'|2"]);
        }
        // A row that is here already is the first one's as well.
        let local = format!("{nocase} INSERT INTO t VALUES ('x', 3), ('Y', 2);");
        expect_duplicates(BINARY, &local, Strategy::Overwrite, [1, 1, 1, 0, 2], &failed, &["'X'|1", "'xx'|4", "'Y'|2"]);
        expect_duplicates(BINARY, &local, Strategy::Skip, [1, 0, 0, 2, 2], &failed, &["'x'|3", "'xx'|4", "'Y'|2"]);
    }
}

#[test]
fn rows_that_wait_and_rows_of_no_key_have_their_row_too() {
    // Rows that refer to their own table are staged.
    let failed: [Value; 1] = ["x".into()];
    let shop = "CREATE TABLE t(a TEXT PRIMARY KEY, v TEXT REFERENCES t(a)); INSERT INTO t VALUES ('X', 'y'), ('x', 'y'), ('y', NULL);";
    let backup = "CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, v TEXT REFERENCES t(a));";
    expect_duplicates(shop, backup, Strategy::Overwrite, [2, 0, 0, 0, 1], &failed, &["'X'|'y'", "'y'|NULL"]);
    // The sender's key has more columns, or there is none.
    for key in [", PRIMARY KEY (a, v)", ""] {
        let shop = format!("CREATE TABLE t(a TEXT, v{key}); INSERT INTO t VALUES ('x', 1), ('x', 2), ('y', 3);");
        let backup = "CREATE TABLE t(a TEXT PRIMARY KEY, v);";
        expect_duplicates(&shop, backup, Strategy::Overwrite, [2, 0, 0, 0, 1], &failed, &["'x'|1", "'y'|3"]);
        expect_duplicates(&shop, backup, Strategy::Merge, [2, 0, 0, 0, 1], &failed, &["'x'|1", "'y'|3"]);
    }
}

#[test]
fn one_that_failed_has_no_row() {
    let shop = "CREATE TABLE t(a TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('X', -1), ('x', 2);";
    let (shop, backup) = (sender(shop), Fixture::new("CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, v CHECK (v > 0));"));
    for expected in [[1, 0, 0, 0, 1], [0, 0, 1, 0, 1]] {
        let outcome = pull(&shop, &backup.site, "t", Strategy::Overwrite).outcome;
        assert_eq!((counts(&outcome), outcome.failures[0].reason), (expected, Reason::Check));
    }
}

/// What a column would make another value of fails for that, and takes no row.
#[test]
fn a_key_that_does_not_fit_is_no_key() {
    let shop = "CREATE TABLE t(id PRIMARY KEY, v); INSERT INTO t VALUES (1, 'number'), ('1', 'text'), (2.0, 'real');";
    let (shop, backup) = (sender(shop), Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY, v);"));
    for expected in [[2, 0, 0, 0, 1], [0, 0, 2, 0, 1]] {
        let outcome = pull(&shop, &backup.site, "t", Strategy::Overwrite).outcome;
        assert_eq!((counts(&outcome), outcome.failures[0].reason), (expected, Reason::ValueWouldChange));
    }
}

/// Nor does it take the row of another record, though what is skipped need not fit elsewhere.
#[test]
fn a_record_that_does_not_fit_is_not_skipped_for_another() {
    let shop = "CREATE TABLE t(n INT, a); INSERT INTO t VALUES (5, 1), (5, 'x'), (5, 'y');";
    let (shop, backup) = (sender(shop), Fixture::new("CREATE TABLE t(n INT PRIMARY KEY, a TEXT);"));
    for expected in [[1, 0, 0, 0, 2], [0, 0, 0, 1, 2]] {
        let outcome = pull(&shop, &backup.site, "t", Strategy::Skip).outcome;
        let reasons: Vec<Reason> = outcome.failures.iter().map(|failure| failure.reason).collect();
        assert_eq!((counts(&outcome), reasons), (expected, vec![Reason::ValueWouldChange, Reason::DuplicateKey]));
    }
}

#[test]
fn it_holds_over_runs_of_a_pull_that_is_cut_off() {
    let shop = "CREATE TABLE t(a TEXT PRIMARY KEY, v);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 50)
        INSERT INTO t SELECT printf('K%03d', n), n FROM c UNION ALL SELECT printf('k%03d', n), -n FROM c;";
    let (shop, backup) = (sender(shop), Fixture::new("CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, v);"));
    let site = with(&backup, |limits| limits.pull.commit_rows = 1);
    let code = shop.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&shop.site, Auth::code(code.code()), ConnectOptions::default()).unwrap();
    let token = CancelToken::new();
    let options = PullOptions::new().tables(["t"]).batch_size(1).strategy(Strategy::Overwrite).cancel(token.clone());
    let report = client.pull(
        &site,
        options.on_progress(|progress| {
            if progress.records >= 60 {
                token.cancel();
            }
        }),
    );
    assert!(!report.unwrap().is_clean());
    let kept = backup.rows("SELECT count(*) FROM rowferry_taken_keys");
    assert_eq!(kept, ["50"], "what was taken is kept for the next run");
    let report = pull(&shop, &site, "t", Strategy::Overwrite);
    assert!(report.resumed, "{report:?}");
    assert_eq!(counts(&report.outcome), [50, 0, 0, 0, 50], "{report:?}");
    assert_eq!(backup.rows("SELECT count(*), sum(v > 0) FROM t"), ["50|50"]);
    assert_eq!(backup.rows("SELECT * FROM rowferry_taken_keys"), [""; 0]);
}

/// A key may change though it is the same one: rows that refer to its column follow, also where the references of a group are
/// checked together.
#[test]
fn rows_follow_a_key_in_another_form() {
    let node =
        "CREATE TABLE t(code TEXT UNIQUE, up TEXT REFERENCES t(code) ON UPDATE CASCADE, PRIMARY KEY (code COLLATE NOCASE));";
    let shop = sender(&format!("{node} INSERT INTO t VALUES ('X', NULL), ('y', NULL)"));
    let backup = Fixture::new(&format!("{node} INSERT INTO t VALUES ('x', NULL), ('here', 'x')"));
    assert_eq!(counts(&pull(&shop, &backup.site, "t", Strategy::Overwrite).outcome), [1, 1, 0, 0, 0]);
    assert_eq!(backup.rows("SELECT * FROM t ORDER BY code COLLATE NOCASE"), ["'here'|'X'", "'X'|NULL", "'y'|NULL"]);
}

#[test]
fn a_foreign_key_to_a_key_that_compares_otherwise_is_left_out() {
    let shop = "CREATE TABLE p(a TEXT, PRIMARY KEY (a COLLATE NOCASE)); CREATE TABLE c(id INTEGER PRIMARY KEY, p TEXT REFERENCES p(a));
        PRAGMA foreign_keys = OFF; INSERT INTO p VALUES ('x'); INSERT INTO c VALUES (1, 'x');";
    let (shop, backup) = (sender(shop), Fixture::new(""));
    let code = shop.site.sessions().create(Direction::Send).unwrap();
    let client = Client::link(&shop.site, Auth::code(code.code()), ConnectOptions::default()).unwrap();
    let report = client.pull(&backup.site, PullOptions::new()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let notes = &report.table("c").unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("not unique there"), "{notes:?}");
    assert_eq!(backup.rows("SELECT * FROM c"), ["1|'x'"]);
}

/// The same numbers each time, in no order to speak of.
struct Dice(u64);

impl Dice {
    fn one_of<T: Clone>(&mut self, these: &[T]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        these[(self.0 >> 11) as usize % these.len()].clone()
    }

    /// A table `t(a, n, v)` with some key, or none.
    fn table(&mut self) -> String {
        let a = self.one_of(&["TEXT", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM", "", "INT", "COLLATE NOCASE"]);
        let by = self.one_of(&COLLATIONS);
        let key = self.one_of(&[
            "a".to_owned(),
            format!("a COLLATE {by}"),
            format!("a COLLATE {by}, n"),
            format!("n, a COLLATE {by}"),
            format!("a, n, a COLLATE {by}"),
            "n".to_owned(),
            String::new(),
        ]);
        let more = if key.is_empty() { "" } else { self.one_of(&["", " WITHOUT ROWID"]) };
        let key = if key.is_empty() { key } else { format!(", PRIMARY KEY ({key})") };
        format!("CREATE TABLE t(a {a}, n INT, v INT{key}){more};")
    }

    fn rows(&mut self, first: i64) -> String {
        let texts = ["'x'", "'X'", "'x '", "'X '", "'y'", "'1'", "1", "1.0", "x'78'", "''", "' '", "NULL"];
        let rows: Vec<_> =
            (first..first + 20).map(|v| format!("({}, {}, {v})", self.one_of(&texts), self.one_of(&[1, 2]))).collect();
        format!("INSERT OR IGNORE INTO t VALUES {};", rows.join(", "))
    }
}

/// Each record that does not fail has its row, and each later pull comes to the same as the first.
#[test]
fn whatever_the_keys_are_no_pull_changes_what_the_last_one_did() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut duplicates = 0;
    for round in 0..100 {
        let there = format!("{} {}", dice.table(), dice.rows(1));
        let here = match dice.one_of(&[0, 1, 2]) {
            0 => String::new(),
            1 => dice.table(),
            _ => format!("{} {}", dice.table(), dice.rows(1_000)),
        };
        let strategy = dice.one_of(&[Strategy::Skip, Strategy::Overwrite, Strategy::Merge]);
        let what = format!("round {round}, {strategy}: {there}\n{here}");
        let (shop, backup) = (sender(&there), Fixture::new(&here));
        let site = with(&backup, |limits| limits.pull.commit_rows = 3);
        let first = pull(&shop, &site, "t", strategy).outcome;
        assert_eq!(vec![first.total().to_string()], shop.rows("SELECT count(*) FROM t"), "{what}");
        let taken = backup.rows("SELECT count(*) FROM t WHERE v < 1000")[0].parse::<u64>().unwrap();
        match strategy {
            Strategy::Skip => assert_eq!(taken, first.created, "{what}"),
            _ => assert_eq!(taken, first.total() - first.failed, "{what}"),
        }
        let all = "SELECT typeof(a), quote(a), n, v FROM t ORDER BY 1, 2, 3, 4";
        let left = backup.rows(all);
        let again = pull(&shop, &site, "t", strategy).outcome;
        assert_eq!((again.created, again.updated), (0, 0), "{what}\n{first:?}\n{again:?}");
        assert_eq!(format!("{:?}", again.failures), format!("{:?}", first.failures), "{what}");
        assert_eq!(backup.rows(all), left, "{what}");
        duplicates += first.failures.iter().filter(|failure| failure.reason == Reason::DuplicateKey).count();
    }
    assert!(duplicates > 50, "{duplicates}");
}
