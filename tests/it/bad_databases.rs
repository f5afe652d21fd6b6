//! Databases that are broken, locked, full, or just unlike most: opening one says what is wrong, a pull of one damaged table
//! fails for that table alone, and nothing of the host's is changed.

use std::path::Path;
use std::time::Duration;

use crate::support::common::{Fixture, rows};
use rowferry::{
    Auth, Client, ConnectOptions, Direction, Error, ErrorKind, Limits, PullOptions, Report, Server, Site, Strategy,
};
use rusqlite::Connection;

/// Pulls everything from one site into another.
fn pull_with(there: &Site, here: &Site, options: PullOptions<'_>) -> Report {
    let server = Server::bind(there, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = there.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(here, options).unwrap()
}

fn pull(there: &Site, here: &Site) -> Report {
    pull_with(there, here, PullOptions::new())
}

/// Limits with which a test does not wait long for a lock.
fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.store.busy_timeout = Duration::from_millis(50);
    limits
}

fn open(path: &Path) -> Result<Site, Error> {
    Site::builder().limits(quick()).open(path)
}

#[track_caller]
fn refused(path: &Path, kind: ErrorKind) {
    let error = open(path).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.hint().is_some(), "{error}");
}

#[track_caller]
fn same(one: &Site, other: &Site, table: &str) {
    assert_eq!(one.table_checksum(table).unwrap(), other.table_checksum(table).unwrap(), "{table}");
}

/// The error of a table whose others all arrived clean.
#[track_caller]
fn alone(report: &Report, table: &str) -> ErrorKind {
    for report in report.tables.iter().filter(|report| report.name != table) {
        assert!(report.is_clean(), "{report:?}");
    }
    assert!(report.tables.len() > 2);
    let error = report.table(table).unwrap().error.as_ref().unwrap_or_else(|| panic!("{table} is fine: {report:?}"));
    assert!(error.hint().is_some() || error.kind() == ErrorKind::Peer, "{error}");
    error.kind()
}

#[test]
fn what_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.db"), "This is a letter and no database.".repeat(1_000)).unwrap();
    refused(&path("text.db"), ErrorKind::NotADatabase);
    assert!(std::fs::read(path("text.db")).unwrap().starts_with(b"This is a letter"));
    refused(folder.path(), ErrorKind::CannotOpen);
    refused(&path("missing/shop.db"), ErrorKind::CannotOpen);
    refused(&path("text.db/shop.db"), ErrorKind::CannotOpen);
    refused(Path::new(":memory:"), ErrorKind::InvalidInput);
    refused(Path::new("file:a.db?mode=memory"), ErrorKind::InvalidInput);
    refused(Path::new(""), ErrorKind::InvalidInput);
    std::fs::write(path("empty.db"), "").unwrap();
    assert_eq!(open(&path("empty.db")).unwrap().list_tables().unwrap(), []);
    // The header of one, and then nothing of it.
    let mut torn = std::fs::read(path("empty.db")).unwrap();
    torn[100..].fill(0xff);
    std::fs::write(path("torn.db"), &torn).unwrap();
    refused(&path("torn.db"), ErrorKind::Corrupt);
}

#[test]
fn locked_by_another_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE").unwrap();
    refused(&path, ErrorKind::Locked);
    // In rollback-journal mode even a reader keeps the mode from being changed.
    other.execute_batch("COMMIT; BEGIN; SELECT * FROM t").unwrap();
    refused(&path, ErrorKind::Locked);
    other.execute_batch("COMMIT").unwrap();
    let site = open(&path).unwrap();
    // Now it is in WAL mode: readers are in nobody's way.
    other.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    let there = Fixture::new("CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (2)");
    assert!(pull(&there.site, &site).is_clean());
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&other, "SELECT * FROM t"), ["1", "2"]);
}

const THREE: &str = "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO a VALUES (1,'x');
    CREATE TABLE b(id INTEGER PRIMARY KEY, v TEXT, w TEXT);
    INSERT INTO b WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        SELECT i, 'row ' || i || ' of b', printf('%300d', i) FROM n;
    CREATE TABLE c(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO c VALUES (1,'x');";

/// Fills the page that this text is on with rubbish.
fn damage(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let page = at / 4096 * 4096;
    bytes[page..page + 4096].fill(0xff);
    std::fs::write(path, bytes).unwrap();
}

fn damaged(text: &str) -> (tempfile::TempDir, Site) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    Connection::open(&path).unwrap().execute_batch(THREE).unwrap();
    damage(&path, text);
    let site = open(&path).unwrap();
    (folder, site)
}

#[test]
fn damage_in_one_table_leaves_the_others() {
    let (_folder, there) = damaged("row 2500 of b");
    let here = Fixture::new("");
    assert_eq!(alone(&pull(&there, &here.site), "b"), ErrorKind::Peer);
    same(&there, &here.site, "a");
    assert!(there.list_tables().is_ok_and(|tables| tables.len() == 3));
    assert_eq!(there.table_checksum("b").unwrap_err().kind(), ErrorKind::Corrupt);

    let there = Fixture::new(THREE);
    for strategy in [Strategy::Skip, Strategy::Overwrite] {
        let (folder, here) = damaged("row 2500 of b");
        there.run("UPDATE b SET w = w || 'y'");
        let report = pull_with(&there.site, &here, PullOptions::new().strategy(strategy));
        assert_eq!(alone(&report, "b"), ErrorKind::Corrupt, "{strategy}");
        // What was committed before the damage was met stays, and is told: on a slow machine that is something.
        let updated = report.table("b").unwrap().outcome.updated;
        let sqlite = Connection::open(folder.path().join("a.db")).unwrap();
        let changed = rows(&sqlite, "SELECT count(*) FROM b WHERE id <= 2400 AND w LIKE '%y'");
        assert_eq!(changed, [updated.min(2_400).to_string()], "{strategy}: {report:?}");
        assert!(updated == 0 || strategy == Strategy::Overwrite, "{strategy}: {updated}");
    }
}

#[test]
fn a_full_disk_and_a_database_that_may_not_be_written() {
    let there = Fixture::new(THREE);
    let here = Fixture::new(THREE);
    here.run(
        "DELETE FROM b; CREATE TABLE big(x); INSERT INTO big SELECT randomblob(1000) FROM pragma_function_list LIMIT 100",
    );
    let pragma = |sql: &str| here.site.store().state(&mut |state| state.query(sql, &[]).map(|_| ())).unwrap();
    let pages: u32 = here.sqlite.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    pragma(&format!("PRAGMA max_page_count = {}", pages + 5));
    let report = pull(&there.site, &here.site);
    assert_eq!(alone(&report, "b"), ErrorKind::DiskFull);
    let kept = here.site.get_count("b").unwrap();
    assert_eq!(kept, report.table("b").unwrap().outcome.created);
    assert_eq!(here.rows("PRAGMA integrity_check"), ["'ok'"]);
    pragma("PRAGMA max_page_count = 1000000");
    assert!(pull(&there.site, &here.site).is_clean());
    same(&there.site, &here.site, "b");

    pragma("PRAGMA query_only = 1");
    let report = pull(&there.site, &here.site);
    for table in &report.tables {
        let error = table.error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{}: {error}", table.name);
    }
    assert_eq!(here.site.sessions().create(Direction::Send).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(here.site.list_tables().is_ok());
}

#[test]
fn a_log_that_a_killed_program_left() {
    let folder = tempfile::tempdir().unwrap();
    let (live, dead) = (folder.path().join("live.db"), folder.path().join("dead.db"));
    let sqlite = Connection::open(&live).unwrap();
    sqlite.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;").unwrap();
    sqlite.execute_batch(THREE).unwrap();
    for ending in ["", "-wal"] {
        let name = |path: &Path| format!("{}{ending}", path.display());
        std::fs::copy(name(&live), name(&dead)).unwrap();
    }
    assert!(std::fs::metadata(&dead).unwrap().len() < 10_000, "all is in the log");
    let here = Fixture::new("");
    let there = open(&dead).unwrap();
    assert!(pull(&there, &here.site).is_clean());
    assert_eq!(here.site.get_count("b").unwrap(), 5_000);
    // A log that does not belong to it is no log.
    std::fs::write(format!("{}-wal", folder.path().join("new.db").display()), "rubbish".repeat(10_000)).unwrap();
    assert!(pull(&there, &open(&folder.path().join("new.db")).unwrap()).is_clean());
}

#[test]
fn state_of_others() {
    let newer = Fixture::new("");
    newer.run("INSERT INTO rowferry_migrations VALUES (99, '2030-01-01T00:00:00Z')");
    refused(&newer.path(), ErrorKind::NewerState);
    for theirs in ["CREATE TABLE rowferry_settings(mine)", "CREATE VIEW Rowferry_Sessions AS SELECT 1"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let sqlite = Connection::open(&path).unwrap();
        sqlite.execute_batch(theirs).unwrap();
        refused(&path, ErrorKind::Database);
        assert_eq!(rows(&sqlite, "SELECT sql FROM sqlite_schema"), [format!("'{theirs}'")]);
    }
}

/// Whatever a table needs that is not here: it fails alone, at either end.
#[test]
fn functions_and_collations_that_are_not_here() {
    let broken = |sql: &str, from: &str, to: &str| {
        let fixture = Fixture::new(THREE);
        fixture.run(&format!("DROP TABLE b; {sql}; INSERT INTO b(id, v) VALUES (1, 'x'), (2, 'y')"));
        fixture.run(&format!("PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}')"));
        fixture.run("PRAGMA writable_schema = RESET");
        Fixture { site: Site::open(fixture.path()).unwrap(), sqlite: Connection::open(fixture.path()).unwrap(), ..fixture }
    };
    let plain = Fixture::new(
        "CREATE TABLE a(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE b(id TEXT, v TEXT);
        CREATE TABLE c(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO b VALUES ('3', 'z')",
    );
    let collation = "CREATE TABLE b(id TEXT COLLATE NOCASE PRIMARY KEY, v TEXT)";
    for (sql, from, to, reading) in [
        (collation, "NOCASE", "TURKIC", Some(ErrorKind::UnknownCollation)),
        ("CREATE TABLE b(id TEXT PRIMARY KEY, v TEXT, g AS (upper(v)))", "upper", "grow", Some(ErrorKind::Peer)),
        ("CREATE TABLE b(id TEXT PRIMARY KEY, v TEXT CHECK (length(v) = 1))", "length", "weight", None),
        ("CREATE TABLE b(id TEXT PRIMARY KEY, v TEXT); CREATE INDEX i ON b(upper(v))", "upper", "grow", None),
    ] {
        let there = broken(sql, from, to);
        let here = Fixture::new("");
        let report = pull(&there.site, &here.site);
        match reading {
            Some(kind) => assert_eq!(alone(&report, "b"), kind, "{sql}"),
            None => assert!(report.is_clean(), "{sql}: {report:?}"),
        }
        let here = broken(sql, from, to);
        let report = pull(&plain.site, &here.site);
        let writing = if sql == collation { ErrorKind::UnknownCollation } else { ErrorKind::Database };
        assert_eq!(alone(&report, "b"), writing, "{sql}");
    }
}

#[test]
fn opening_changes_nothing_of_the_hosts() {
    let folder = tempfile::tempdir().unwrap();
    for (number, pragmas) in [
        "",
        "PRAGMA page_size = 512; PRAGMA auto_vacuum = FULL",
        "PRAGMA page_size = 65536; PRAGMA encoding = 'UTF-16le'",
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-16be'",
    ]
    .iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{number}.db"));
        let sqlite = Connection::open(&path).unwrap();
        sqlite.execute_batch(pragmas).unwrap();
        sqlite.execute_batch(THREE).unwrap();
        sqlite.execute_batch("PRAGMA user_version = 7; PRAGMA application_id = 9; ANALYZE; CREATE INDEX i ON a(v); CREATE VIEW s AS SELECT 1;
            CREATE TRIGGER g AFTER INSERT ON a BEGIN DELETE FROM c; END; CREATE VIRTUAL TABLE f USING fts5(w); INSERT INTO f VALUES ('w')").unwrap();
        let look = |sqlite: &Connection| {
            let pragmas = ["page_size", "auto_vacuum", "encoding", "user_version", "application_id"]
                .map(|name| format!("PRAGMA {name}"));
            let tables = ["a", "b", "c", "f", "sqlite_stat1"].map(|table| format!("SELECT rowid, * FROM {table}"));
            let schema =
                "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name NOT GLOB 'rowferry_*' ORDER BY name"
                    .to_owned();
            let all = pragmas.into_iter().chain(tables).chain([schema]);
            all.map(|sql| rows(sqlite, &sql)).collect::<Vec<_>>()
        };
        let before = look(&sqlite);
        let site = open(&path).unwrap();
        let here = Fixture::new("");
        assert!(pull(&site, &here.site).is_clean());
        assert_eq!(look(&sqlite), before, "{pragmas}");
        for table in ["a", "b", "c"] {
            same(&site, &here.site, table);
            sqlite.execute(&format!("DELETE FROM {table}"), []).unwrap();
        }
        assert!(pull(&here.site, &site).table("b").unwrap().is_clean());
        same(&site, &here.site, "b");
        assert_eq!(rows(&sqlite, "PRAGMA integrity_check"), ["'ok'"]);
    }
}

#[test]
fn wide_tables_large_rows_and_unusual_keys() {
    let columns = |from: usize| (from..2_000).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
    let values = |from: usize| (from..2_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let there = Fixture::new(&format!(
        "CREATE TABLE keyed(id INTEGER PRIMARY KEY, {c}); INSERT INTO keyed VALUES (1, {v}), (2, {v}), (-3, {v});
         CREATE TABLE keyless({all}); INSERT INTO keyless VALUES ({w}), ({w}), ({w});
         CREATE TABLE nullable(id TEXT PRIMARY KEY, {c}); INSERT INTO nullable VALUES (NULL, {v}), (NULL, {v}), ('a', {v});
         CREATE TABLE itself(id INTEGER PRIMARY KEY REFERENCES itself(id), {c}); INSERT INTO itself VALUES (1, {v});
         CREATE TABLE blobs(k BLOB, n REAL, v, PRIMARY KEY(n, k)) WITHOUT ROWID;
         INSERT INTO blobs VALUES (x'', 0.0, 1), (x'00', 0.0, NULL), (x'00ff', 1e300, 'a'), (randomblob(3000), -1.5, x'');
         CREATE TABLE large(id INTEGER PRIMARY KEY, v); INSERT INTO large VALUES (1, randomblob(20000000)), (2, 'small'), (3, printf('%.5000000c', 'x'));",
        c = columns(1), v = values(1), all = columns(0), w = values(0)
    ));
    let here = Fixture::new("");
    let dry = pull_with(&there.site, &here.site, PullOptions::new().dry_run(true));
    assert!(dry.is_clean(), "{dry:?}");
    for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Merge] {
        let report = pull_with(&there.site, &here.site, PullOptions::new().strategy(strategy).batch_size(2));
        assert!(report.is_clean(), "{report:?}");
        for table in ["keyed", "keyless", "nullable", "itself", "blobs", "large"] {
            same(&there.site, &here.site, table);
        }
    }
    let report =
        pull_with(&there.site, &here.site, PullOptions::new().strategy(Strategy::Append).tables(["keyed", "keyless"]));
    assert!(report.is_clean());
    assert_eq!(here.rows("SELECT count(*) FROM keyed UNION ALL SELECT count(*) FROM keyless"), ["6", "6"]);
}

#[test]
fn careless_limits() {
    let mut none = Limits::default();
    none.pull.commit_rows = 0;
    none.pull.commit_bytes = 0;
    none.wire.page_rows = 0;
    none.wire.page_bytes = 0;
    none.server.remembered_places = 0;
    none.pull.reported_failures = 0;
    none.store.write_cache_bytes = 0;
    none.store.busy_timeout = Duration::ZERO;
    none.pull.commit_time = Duration::ZERO;
    none.store.snapshot_time = Duration::ZERO;
    let mut endless = Limits::default();
    endless.pull.commit_rows = usize::MAX;
    endless.pull.commit_bytes = usize::MAX;
    endless.wire.page_rows = usize::MAX;
    endless.wire.page_bytes = usize::MAX;
    endless.server.connections = usize::MAX;
    endless.server.body_bytes = usize::MAX;
    endless.store.write_cache_bytes = usize::MAX;
    for time in [
        &mut endless.store.busy_timeout,
        &mut endless.pull.commit_time,
        &mut endless.store.snapshot_time,
        &mut endless.retention.abandoned_time,
        &mut endless.retention.resume_time,
        &mut endless.server.request_time,
        &mut endless.server.keep_alive_time,
        &mut endless.server.write_time,
        &mut endless.server.idle_time,
    ] {
        *time = Duration::MAX;
    }
    for limits in [none, endless] {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.db");
        Connection::open(&there).unwrap().execute_batch(
            "CREATE TABLE a(id INTEGER PRIMARY KEY, up INT REFERENCES a(id)); INSERT INTO a VALUES (1, 2), (2, 1), (3, NULL);
             CREATE TABLE b(x); INSERT INTO b VALUES (1), (1), (NULL); CREATE TABLE c(k TEXT PRIMARY KEY); INSERT INTO c VALUES (NULL), ('x')",
        ).unwrap();
        let [there, here] =
            [there, folder.path().join("here.db")].map(|path| Site::builder().limits(limits.clone()).open(path).unwrap());
        let report = pull(&there, &here);
        assert!(report.is_clean(), "{report:?}");
        for table in ["a", "b", "c"] {
            same(&there, &here, table);
        }
    }
}
