//! Pulls over a real socket between two sites on real files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::common::Fixture;
use rowferry::{
    Auth, CancelToken, Client, ConnectOptions, Direction, ErrorKind, Limits, PullOptions, Report, Server, ServerHandle,
    Site, Strategy, TableStatus, Verified,
};

/// A sender that serves, and a receiver.
struct Pair {
    sender: Fixture,
    receiver: Fixture,
    server: ServerHandle,
}

impl Pair {
    fn new(sender: &str, receiver: &str) -> Self {
        let sender = Fixture::new(sender);
        let server = Server::bind(&sender.site, "127.0.0.1:0").unwrap().spawn().unwrap();
        Pair { sender, receiver: Fixture::new(receiver), server }
    }

    fn client(&self) -> Client {
        let session = self.sender.site.sessions().create(Direction::Send).unwrap();
        Client::connect(self.server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap()
    }

    fn pull(&self, options: PullOptions<'_>) -> Report {
        self.client().pull(&self.receiver.site, options).unwrap()
    }

    fn assert_equal(&self, table: &str) {
        let digest = |site: &Site| site.table_checksum(table).unwrap();
        assert_eq!(digest(&self.sender.site), digest(&self.receiver.site), "{table}");
    }
}

const SHOP: &str = r#"
    CREATE TABLE users(id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL UNIQUE COLLATE NOCASE, name TEXT,
        joined TIMESTAMP DEFAULT CURRENT_TIMESTAMP, photo BLOB, up INT REFERENCES users(id));
    CREATE TABLE "order ""lines"""("order" INT NOT NULL, "line no" INT NOT NULL, "select" TEXT, any,
        PRIMARY KEY("order", "line no")) WITHOUT ROWID;
    CREATE TABLE log(at TEXT, what);
    CREATE TABLE strict(id TEXT PRIMARY KEY, n INT NOT NULL, r REAL, b BLOB, v ANY) STRICT;
    CREATE TABLE husband(id INTEGER PRIMARY KEY, wife INT REFERENCES wife(id));
    CREATE TABLE wife(id INTEGER PRIMARY KEY, husband INT REFERENCES husband(id));
    CREATE TABLE totals(id INTEGER PRIMARY KEY, a INT, b INT, c INT AS (a + b) STORED);
    CREATE TABLE nullable(k TEXT PRIMARY KEY, v INT);
    CREATE TABLE empty(a, b, c);
    CREATE VIEW names AS SELECT name FROM users;
    INSERT INTO users VALUES (1,'A@x','Řehoř 😀','2026-01-01',x'00ff',NULL),(2,'b@x',NULL,NULL,x'',3),(3,'c@x','2024-05-06',NULL,NULL,1);
    INSERT INTO "order ""lines""" VALUES (1,1,'007',1),(1,2,' 5 ',1.0),(2,1,'1e3',-0.0),(2,2,'',x'61'),(3,1,NULL,9e999),(3,2,'x',-9e999);
    INSERT INTO log VALUES ('a',1),('a',1),(NULL,NULL),('a',1.0),(CAST(x'ff61' AS TEXT),'a' || char(0) || 'b');
    INSERT INTO strict VALUES ('x',9223372036854775807,0.1,x'',5),('y',-9223372036854775808,1e300,NULL,'t');
    PRAGMA foreign_keys = OFF;
    INSERT INTO husband VALUES (1,1); INSERT INTO wife VALUES (1,1);
    INSERT INTO totals(id,a,b) VALUES (1,2,3);
    INSERT INTO nullable VALUES (NULL,1),(NULL,1),('a',2);
"#;

const TABLES: [&str; 9] = ["users", "order \"lines\"", "log", "strict", "husband", "wife", "totals", "nullable", "empty"];

#[test]
fn a_pull_into_an_empty_database_makes_an_equal_one() {
    let pair = Pair::new(SHOP, "");
    let report = pair.pull(PullOptions::new().batch_size(2));
    assert!(report.is_clean(), "{report:?}");
    assert!(report.one_state);
    assert_eq!(report.tables.len(), TABLES.len());
    assert_eq!(report.records, 3 + 6 + 5 + 2 + 1 + 1 + 1 + 3);
    for table in TABLES {
        pair.assert_equal(table);
        let (there, here) = (pair.sender.site.get_schema(table).unwrap(), pair.receiver.site.get_schema(table).unwrap());
        if table != "totals" {
            assert_eq!(here, there);
        }
    }
    assert!(!pair.receiver.site.table_exists("names").unwrap());
    assert_eq!(pair.receiver.rows("SELECT * FROM rowferry_staged"), [""; 0]);
    let again = pair.pull(PullOptions::new().strategy(Strategy::Overwrite));
    assert!(again.is_clean());
    for report in &again.tables {
        assert_eq!(report.outcome.unchanged, report.outcome.total(), "{}", report.name);
    }
}

#[test]
fn many_rows_arrive_in_small_pages_and_commits() {
    let pair = Pair::new(
        "CREATE TABLE t(id TEXT PRIMARY KEY, n INT, s TEXT);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
         INSERT INTO t SELECT printf('%x-%d', n * 7919 % 20011, n), n, printf('%.*c', n % 300, 'x') FROM c;",
        "",
    );
    let mut calls = 0;
    let report = pair.pull(PullOptions::new().batch_size(7_777).on_progress(|progress| {
        calls += 1;
        assert!(progress.records <= 20_000 && progress.announced == 20_000);
    }));
    assert!(report.is_clean() && report.one_state && report.bytes > 3_000_000, "{report:?}");
    assert!(calls >= 2);
    assert!(report.verified() == Verified::Received && report.notes.is_empty(), "{report:?}");
    pair.assert_equal("t");
}

#[test]
fn the_sender_may_change_while_a_pull_runs() {
    let pair = Pair::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) INSERT INTO t SELECT n, n FROM c;",
        "",
    );
    let client = pair.client();
    let before = pair.sender.site.table_checksum("t").unwrap();
    client.list_tables().unwrap();
    pair.sender.run("DELETE FROM t WHERE id % 2 = 0; UPDATE t SET n = -n; INSERT INTO t VALUES (100000, 1)");
    let report = client.pull(&pair.receiver.site, PullOptions::new().batch_size(100)).unwrap();
    assert!(report.one_state && report.is_clean());
    assert_eq!(pair.receiver.site.table_checksum("t").unwrap(), before);
}

#[test]
fn one_tables_failure_does_not_stop_the_others() {
    let pair = Pair::new(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, extra TEXT); INSERT INTO a VALUES (1,'x');
         CREATE TABLE b(id INTEGER PRIMARY KEY); INSERT INTO b VALUES (1);",
        "CREATE TABLE a(id INTEGER PRIMARY KEY)",
    );
    let report = pair.pull(PullOptions::new().tables(["a", "b", "ghost"]));
    let of = |table: &str| report.table(table).unwrap();
    assert_eq!(of("a").status, TableStatus::Failed);
    assert_eq!(of("a").error.as_ref().unwrap().kind(), ErrorKind::SchemaMismatch);
    assert_eq!(of("ghost").error.as_ref().unwrap().kind(), ErrorKind::TableNotFound);
    assert!(of("b").is_clean());
    let error = pair.client().pull_table(&pair.receiver.site, "ghost", PullOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableNotFound);
}

#[test]
fn strategies_go_by_table_and_a_dry_run_keeps_nothing() {
    let pair = Pair::new(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, n INT); INSERT INTO a VALUES (1,1),(2,2);
         CREATE TABLE b(id INTEGER PRIMARY KEY, n INT); INSERT INTO b VALUES (1,1);",
        "CREATE TABLE a(id INTEGER PRIMARY KEY, n INT); INSERT INTO a VALUES (1,9);",
    );
    let options = || PullOptions::new().table_strategy("a", Strategy::Overwrite);
    let dry = pair.pull(options().dry_run(true));
    assert!(dry.is_clean());
    assert!(!pair.receiver.site.table_exists("b").unwrap());
    assert_eq!(pair.receiver.rows("SELECT * FROM a"), ["1|9"]);
    let wet = pair.pull(options());
    for table in ["a", "b"] {
        assert_eq!(dry.table(table).unwrap().outcome, wet.table(table).unwrap().outcome);
    }
    assert_eq!((wet.table("a").unwrap().outcome.updated, wet.table("b").unwrap().outcome.created), (1, 1));
    let error = pair.client().pull(&pair.receiver.site, options().table_strategy("nope", Strategy::Skip)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_cancelled_pull_keeps_whole_batches_and_the_next_one_finishes() {
    let sender = "CREATE TABLE t(id INTEGER PRIMARY KEY, n INT);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10000) INSERT INTO t SELECT n, n FROM c;";
    let pair = Pair::new(sender, "");
    let mut limits = Limits::default();
    limits.pull.commit_rows = 1_000;
    let site = Site::builder().limits(limits).open(pair.receiver.path()).unwrap();
    let token = CancelToken::new();
    let options = PullOptions::new().batch_size(500).cancel(token.clone()).on_progress(|progress| {
        if progress.records >= 2_000 {
            token.cancel();
        }
    });
    let report = pair.client().pull(&site, options).unwrap();
    let table = report.table("t").unwrap();
    assert_eq!(table.status, TableStatus::Incomplete);
    assert_eq!(table.error.as_ref().unwrap().kind(), ErrorKind::Cancelled);
    let kept = site.get_count("t").unwrap();
    assert_eq!(kept, table.outcome.created);
    assert!((2_000..10_000).contains(&kept), "{kept}");
    assert_eq!(report.verified(), Verified::None);
    let report = pair.pull(PullOptions::new());
    assert_eq!(report.verified(), Verified::Received);
    let history = pair.receiver.site.transfers().list(&Default::default()).unwrap();
    let verified: Vec<_> = history.iter().map(|transfer| (transfer.status.as_str(), transfer.verified)).collect();
    // What came of an older state was pulled again.
    let received = ("completed", Verified::Received);
    assert_eq!(verified, [received, received, ("cancelled", Verified::None)]);
    let table = report.table("t").unwrap();
    assert!(table.resumed && table.outcome.created == 10_000, "{table:?}");
    pair.assert_equal("t");
}

#[test]
fn a_server_that_stops_in_the_middle_leaves_whole_batches_and_an_error_for_each_table() {
    let sender =
        "CREATE TABLE a(id INTEGER PRIMARY KEY, n INT); CREATE TABLE b(id INTEGER PRIMARY KEY); INSERT INTO b VALUES (1);
        WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 30000) INSERT INTO a SELECT n, randomblob(1000) FROM c;";
    let sender = Fixture::new(sender);
    let receiver = Fixture::new("");
    let mut server = Some(Server::bind(&sender.site, "127.0.0.1:0").unwrap().spawn().unwrap());
    let session = sender.site.sessions().create(Direction::Send).unwrap();
    let url = server.as_ref().unwrap().url().to_owned();
    let client = Client::connect(&url, Auth::code(session.code()), ConnectOptions::default()).unwrap();
    let mut limits = Limits::default();
    limits.pull.commit_rows = 1_000;
    let site = Site::builder().limits(limits).open(receiver.path()).unwrap();
    let options = PullOptions::new().retry_time(Duration::ZERO).on_progress(|progress| {
        if progress.records >= 1_000 {
            server.take();
        }
    });
    let report = client.pull(&site, options).unwrap();
    assert_eq!(report.table("a").unwrap().status, TableStatus::Incomplete);
    assert_eq!(report.table("b").unwrap().status, TableStatus::Failed);
    for table in ["a", "b"] {
        assert_eq!(report.table(table).unwrap().error.as_ref().unwrap().kind(), ErrorKind::Disconnected, "{table}");
    }
    assert_eq!(site.get_count("a").unwrap(), report.table("a").unwrap().outcome.created);
    assert!(!client.is_connected());
}

#[test]
fn the_receiver_may_be_locked_by_another_program() {
    let pair = Pair::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY)",
    );
    let mut limits = Limits::default();
    limits.store.busy_timeout = Duration::from_millis(50);
    limits.pull.retry_time = Duration::from_millis(500);
    let site = Site::builder().limits(limits).open(pair.receiver.path()).unwrap();
    pair.receiver.run("BEGIN IMMEDIATE");
    let report = pair.client().pull(&site, PullOptions::new()).unwrap();
    let error = report.table("t").unwrap().error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.is_retryable() && error.hint().is_some());
    pair.receiver.run("COMMIT");
    assert!(pair.pull(PullOptions::new()).is_clean());
}

#[test]
fn another_program_can_write_while_a_pull_runs() {
    let pair = Pair::new(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, s TEXT);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 60000) INSERT INTO t SELECT n, hex(randomblob(50)) FROM c;",
        "CREATE TABLE own(n INT)",
    );
    let path = pair.receiver.path();
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let own = rusqlite::Connection::open(&path).unwrap();
            own.busy_timeout(Duration::from_secs(30)).unwrap();
            let mut written = 0;
            while !stop.load(Ordering::SeqCst) {
                own.execute("INSERT INTO own VALUES (1)", []).unwrap();
                written += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            written
        });
        let report = pair.pull(PullOptions::new().tables(["t"]));
        stop.store(true, Ordering::SeqCst);
        assert!(report.is_clean(), "{report:?}");
        writer.join().unwrap()
    });
    assert_eq!(pair.receiver.rows("SELECT count(*) FROM own"), [written.to_string()]);
    pair.assert_equal("t");
}

#[test]
fn a_record_that_fits_into_no_message_fails_and_the_others_arrive() {
    let pair = Pair::new(
        "CREATE TABLE a(id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1);
         CREATE TABLE big(id INTEGER PRIMARY KEY, b BLOB); INSERT INTO big VALUES (1,x'00'),(2,zeroblob(200000)),(3,x'01');
         CREATE TABLE c(id INTEGER PRIMARY KEY); INSERT INTO c VALUES (1);",
        "",
    );
    let session = pair.sender.site.sessions().create(Direction::Send).unwrap();
    let mut limits = Limits::default();
    limits.wire.message_bytes = 100_000;
    let options = ConnectOptions::default().limits(limits);
    let client = Client::connect(pair.server.url(), Auth::code(session.code()), options).unwrap();
    let report = client.pull(&pair.receiver.site, PullOptions::new()).unwrap();
    assert!(report.table("a").unwrap().is_clean() && report.table("c").unwrap().is_clean());
    let big = report.table("big").unwrap();
    assert_eq!((big.status, big.outcome.created, big.outcome.failed), (TableStatus::Completed, 2, 1));
    assert_eq!(big.outcome.failures[0].reason.code(), "too_large");
    assert_eq!(big.outcome.failures[0].key, [2.into()]);
    assert_eq!(big.verified, Verified::Received, "what stands for it is in the sum");
    // With room for it, the next pull brings it.
    assert!(pair.pull(PullOptions::new()).is_clean());
    pair.assert_equal("big");
}
