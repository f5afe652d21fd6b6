//! What a program registers on the connections to its database, and what becomes of tables that need what nobody registered.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::common::rows;
use rowferry::{Auth, Client, ConnectOptions, Direction, ErrorKind, PullOptions, Report, Server, Site, Strategy};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

fn unicase(one: &str, other: &str) -> Ordering {
    one.to_lowercase().cmp(&other.to_lowercase())
}

/// What only the program knows.
fn register(sqlite: &Connection) -> rusqlite::Result<()> {
    sqlite.create_collation("unicase", unicase)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    sqlite.create_scalar_function("twice", 1, flags, |values| Ok(values.get::<i64>(0)? * 2))
}

/// A database that the program made.
fn database(folder: &tempfile::TempDir, name: &str, sql: &str) -> (std::path::PathBuf, Connection) {
    let path = folder.path().join(name);
    let sqlite = Connection::open(&path).unwrap();
    register(&sqlite).unwrap();
    sqlite.execute_batch(sql).unwrap();
    (path, sqlite)
}

fn pull(there: &Site, here: &Site, options: PullOptions<'_>) -> Report {
    let server = Server::bind(there, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = there.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.pull(here, options).unwrap()
}

/// Of each kind one: beside the key, in an index, in the key.
const TABLES: &str = "CREATE TABLE field(type INT NOT NULL, ord INT NOT NULL, name TEXT NOT NULL COLLATE unicase, PRIMARY KEY(type, ord)) WITHOUT ROWID;
    INSERT INTO field VALUES (1, 0, 'Front'), (1, 1, 'Back');
    CREATE TABLE deck(id INTEGER PRIMARY KEY, name TEXT COLLATE unicase); CREATE INDEX by_name ON deck(name);
    INSERT INTO deck VALUES (1, 'Default'), (2, 'other');
    CREATE TABLE keyed(name TEXT NOT NULL COLLATE unicase PRIMARY KEY) WITHOUT ROWID; INSERT INTO keyed VALUES ('b'), ('A');
    CREATE TABLE keyed_too(name TEXT NOT NULL, PRIMARY KEY(name COLLATE unicase)); INSERT INTO keyed_too VALUES ('b'), ('A'), ('c');
    CREATE TABLE plain(id INTEGER PRIMARY KEY); INSERT INTO plain VALUES (1);";

#[test]
fn what_is_registered_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (there, _) = database(&folder, "there.db", TABLES);
    let tables = format!("{TABLES} DELETE FROM field; DELETE FROM deck; DELETE FROM keyed; DELETE FROM keyed_too;
        CREATE TABLE seen(id INTEGER); CREATE TRIGGER t AFTER INSERT ON plain BEGIN INSERT INTO seen VALUES (twice(NEW.id)); END; DELETE FROM plain;
        INSERT INTO keyed VALUES ('a');");
    let (here, looking) = database(&folder, "here.db", &tables);
    let site = |path| Site::builder().on_connection(register).open(path).unwrap();
    let report = pull(&site(&there), &site(&here), PullOptions::new().strategy(Strategy::Overwrite));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.table("keyed").unwrap().outcome.updated, 1);
    assert_eq!(rows(&looking, "SELECT * FROM keyed"), ["'A'", "'b'"]);
    assert_eq!(rows(&looking, "SELECT name FROM deck ORDER BY name"), ["'Default'", "'other'"]);
    assert_eq!(rows(&looking, "SELECT * FROM seen"), ["2"]);
    assert_eq!(rows(&looking, "PRAGMA integrity_check"), ["'ok'"]);
}

#[test]
fn it_comes_before_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.db");
    // The size of a page can be chosen only while nothing is in the file.
    let chosen = |sqlite: &Connection| sqlite.execute_batch("PRAGMA page_size = 8192");
    let site = Site::builder().on_connection(chosen).open(&path).unwrap();
    assert_eq!(site.list_tables().unwrap(), []);
    assert_eq!(rows(&Connection::open(&path).unwrap(), "PRAGMA page_size"), ["8192"]);
}

/// How many pages of the file a connection has asked for.
fn pages_asked_for(sqlite: &Connection) -> i32 {
    use rusqlite::ffi;
    let number = |what| {
        let (mut now, mut most) = (0, 0);
        // SAFETY: the connection is open, since it is borrowed, and SQLite writes two numbers.
        let code = unsafe { ffi::sqlite3_db_status(sqlite.handle(), what, &mut now, &mut most, 0) };
        assert_eq!(code, ffi::SQLITE_OK);
        now
    };
    number(ffi::SQLITE_DBSTATUS_CACHE_HIT) + number(ffi::SQLITE_DBSTATUS_CACHE_MISS)
}

#[test]
fn no_connection_asks_the_file_before() {
    let folder = tempfile::tempdir().unwrap();
    let (there, looking) = database(&folder, "there.db", "CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)");
    assert!(pages_asked_for(&looking) > 0);
    let (connections, early) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let site = |path: std::path::PathBuf| {
        let (connections, early) = (Arc::clone(&connections), Arc::clone(&early));
        let count = move |sqlite: &Connection| {
            connections.fetch_add(1, SeqCst);
            early.fetch_add(usize::from(pages_asked_for(sqlite) > 0), SeqCst);
            Ok(())
        };
        Site::builder().on_connection(count).open(path).unwrap()
    };
    let report = pull(&site(there), &site(folder.path().join("here.db")), PullOptions::new());
    assert!(report.is_clean(), "{report:?}");
    assert!(connections.load(SeqCst) >= 4, "a reader and a writer on each side");
    assert_eq!(early.load(SeqCst), 0);
}

/// SQLite takes no notice of a key. SQLCipher, with which `.ci/run full` runs this, reads nothing without it.
#[test]
fn a_key_opens_an_encrypted_file() {
    let folder = tempfile::tempdir().unwrap();
    let is_cipher = Connection::open_in_memory().unwrap().query_row("PRAGMA cipher_version", [], |_| Ok(())).is_ok();
    let keyed = |name: &str| {
        let give = |sqlite: &Connection| sqlite.pragma_update(None, "key", "correct horse");
        Site::builder().on_connection(give).open(folder.path().join(name)).unwrap()
    };
    let there = Connection::open(folder.path().join("there.db")).unwrap();
    there.pragma_update(None, "key", "correct horse").unwrap();
    there.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')").unwrap();
    let report = pull(&keyed("there.db"), &keyed("here.db"), PullOptions::new());
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(keyed("here.db").get_count("t").unwrap(), 2);
    let begins = std::fs::read(folder.path().join("here.db")).unwrap();
    assert_eq!(begins.starts_with(b"SQLite format 3\0"), !is_cipher);
    match Site::open(folder.path().join("here.db")) {
        Ok(_) => assert!(!is_cipher),
        Err(error) => assert!(is_cipher && error.kind() == ErrorKind::NotADatabase, "{error}"),
    }
}

#[test]
fn its_error_says_what_failed_and_not_with_what() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.db");
    let fails = |sqlite: &Connection| sqlite.execute_batch("PRAGMA user_version = 0; SELECT unheard_of('a-secret-key')");
    let error = Site::builder().on_connection(fails).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
    assert!(
        error.message().contains("on_connection") && error.message().contains("no such function: unheard_of"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("a-secret-key") && error.hint().is_some());
    let error = Site::builder().on_connection(|sqlite| sqlite.execute_batch("BEGIN")).open(&path).unwrap_err();
    assert!(error.message().contains("transaction"), "{error}");
    // Also where it fails later.
    let times = Arc::new(AtomicUsize::new(0));
    let later = {
        let times = Arc::clone(&times);
        move |sqlite: &Connection| match times.fetch_add(1, SeqCst) {
            0 => Ok(()),
            _ => sqlite.execute_batch("SELECT unheard_of()"),
        }
    };
    let mut limits = rowferry::Limits::default();
    limits.store.busy_timeout = std::time::Duration::from_millis(50);
    let site = Site::builder().limits(limits).on_connection(later).open(&path).unwrap();
    let error = site.list_tables().unwrap_err();
    assert!(error.message().contains("unheard_of") && error.kind() == ErrorKind::CannotOpen, "{error}");
}

#[test]
fn a_table_of_an_unknown_collation_is_read_where_its_order_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let (there, _) = database(&folder, "there.db", TABLES);
    let (there, here) = (Site::open(&there).unwrap(), Site::open(folder.path().join("here.db")).unwrap());
    let counts: Vec<_> = there.list_tables().unwrap().into_iter().map(|table| (table.name, table.row_count)).collect();
    let counted = [("deck", 2), ("field", 2), ("keyed", 2), ("keyed_too", 3), ("plain", 1)];
    assert_eq!(counts, counted.map(|(name, count)| (name.to_owned(), count)));
    let report = pull(&there, &here, PullOptions::new());
    let looking = Connection::open(folder.path().join("here.db")).unwrap();
    assert_eq!(rows(&looking, "SELECT * FROM field"), ["1|0|'Front'", "1|1|'Back'"]);
    assert_eq!(rows(&looking, "SELECT * FROM deck"), ["1|'Default'", "2|'other'"]);
    for table in ["deck", "field", "plain"] {
        assert!(report.table(table).unwrap().is_clean(), "{report:?}");
    }
    for table in ["keyed", "keyed_too"] {
        let error = report.table(table).unwrap().error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnknownCollation, "{error}");
        assert!(error.message().contains("\"unicase\"") && error.hint().is_some(), "{error}");
        assert_eq!(there.export_records(table, 0, 10).unwrap_err().kind(), ErrorKind::UnknownCollation);
        assert_eq!(there.table_checksum(table).unwrap_err().kind(), ErrorKind::UnknownCollation);
    }
}

#[test]
fn a_table_here_of_an_unknown_collation_says_so_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let plain = TABLES.replace(" COLLATE unicase", "");
    let (there, _) = database(&folder, "there.db", &plain);
    let empty = format!(
        "{TABLES} DELETE FROM deck; DELETE FROM keyed; DELETE FROM keyed_too; DELETE FROM field; DELETE FROM plain;
        CREATE UNIQUE INDEX one_name ON plain(id COLLATE unicase);"
    );
    for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Append] {
        let (here, _) = database(&folder, &format!("{strategy}.db"), &empty);
        let report = pull(&Site::open(&there).unwrap(), &Site::open(&here).unwrap(), PullOptions::new().strategy(strategy));
        let looking = Connection::open(&here).unwrap();
        register(&looking).unwrap();
        assert_eq!(rows(&looking, "PRAGMA integrity_check"), ["'ok'"]);
        for table in ["deck", "field", "keyed", "keyed_too", "plain"] {
            let pulled = report.table(table).unwrap();
            let error = pulled.error.as_ref().unwrap_or_else(|| panic!("{strategy} {table}: {report:?}"));
            assert_eq!(error.kind(), ErrorKind::UnknownCollation, "{strategy} {table}: {error}");
            assert!(error.message().contains("unicase") && error.hint().is_some(), "{error}");
        }
    }
}

/// Registers a function without saying that it is harmless.
fn register_own(sqlite: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    sqlite.create_scalar_function("own", 1, flags, |values| Ok(values.get::<i64>(0)? * 2))
}

#[test]
fn a_schema_calls_what_is_harmless_or_what_it_is_trusted_with() {
    let folder = tempfile::tempdir().unwrap();
    let plain = "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT); INSERT INTO a VALUES (1, 1), (2, 2);
        CREATE TABLE plain(id INTEGER PRIMARY KEY); INSERT INTO plain VALUES (1);";
    let (there, _) = database(&folder, "there.db", plain);
    let there = Site::open(there).unwrap();
    let kinds = [
        (
            "trigger",
            "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT); CREATE TABLE seen(x); CREATE TRIGGER t AFTER INSERT ON a BEGIN INSERT INTO seen VALUES (own(NEW.v)); END;",
        ),
        ("check", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT CHECK (own(v) > 0));"),
        ("default", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT, w INT DEFAULT (own(1)));"),
        ("generated", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT, w INT AS (own(v)));"),
        ("stored", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT, w INT AS (own(v)) STORED);"),
        ("index", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT); CREATE INDEX i ON a(own(v));"),
        ("partial", "CREATE TABLE a(id INTEGER PRIMARY KEY, v INT); CREATE INDEX i ON a(v) WHERE own(v) > 1;"),
    ];
    for (kind, tables) in kinds {
        let path = folder.path().join(format!("{kind}.db"));
        let looking = Connection::open(&path).unwrap();
        register_own(&looking).unwrap();
        looking.execute_batch(&format!("{tables} CREATE TABLE plain(id INTEGER PRIMARY KEY)")).unwrap();
        for strategy in [Strategy::Skip, Strategy::Overwrite, Strategy::Append] {
            let opened = Site::builder().on_connection(register_own).open(&path);
            let site = match (opened, kind) {
                (Ok(site), _) => site,
                // Of these SQLite cannot even read the schema.
                (Err(error), "check" | "generated" | "stored" | "index" | "partial") => {
                    assert!(error.message().contains("unsafe use of own()"), "{kind} {error}");
                    assert!(
                        error.kind() == ErrorKind::Database && error.hint().unwrap().contains("SQLITE_INNOCUOUS"),
                        "{error}"
                    );
                    continue;
                }
                (Err(error), _) => panic!("{kind}: {error}"),
            };
            let report = pull(&there, &site, PullOptions::new().strategy(strategy));
            let error = report.table("a").unwrap().error.as_ref().unwrap_or_else(|| panic!("{kind} {strategy}: {report:?}"));
            assert!(error.message().contains("unsafe use of own()"), "{kind} {strategy}: {error}");
            assert!(error.hint().unwrap().contains("SQLITE_INNOCUOUS"), "{kind} {strategy}: {error}");
            assert!(report.table("plain").unwrap().is_clean(), "{kind} {strategy}: {report:?}");
            assert_eq!(rows(&looking, "SELECT count(*) FROM a"), ["0"], "{kind} {strategy}");
        }
        let site = Site::builder().on_connection(register_own).trust_schema(true).open(&path).unwrap();
        let report = pull(&there, &site, PullOptions::new());
        assert!(report.is_clean(), "{kind}: {report:?}");
        assert_eq!(rows(&looking, "SELECT count(*) FROM a"), ["2"], "{kind}");
        assert_eq!(rows(&looking, "PRAGMA integrity_check"), ["'ok'"], "{kind}");
    }
}

#[test]
fn triggers_keep_indexes_of_sqlites_own_modules() {
    let folder = tempfile::tempdir().unwrap();
    let (there, _) = database(
        &folder,
        "there.db",
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, x REAL); INSERT INTO notes VALUES (1, 'new words', 1.0), (2, 'two', 2.0);",
    );
    let (here, looking) = database(
        &folder,
        "here.db",
        "CREATE TABLE notes(id INTEGER PRIMARY KEY, body TEXT, x REAL);
         CREATE VIRTUAL TABLE found USING fts5(body, content='notes', content_rowid='id');
         CREATE VIRTUAL TABLE older USING fts4(body);
         CREATE VIRTUAL TABLE places USING rtree(id, x0, x1);
         CREATE TRIGGER added AFTER INSERT ON notes BEGIN
             INSERT INTO found(rowid, body) VALUES (NEW.id, NEW.body);
             INSERT INTO older(docid, body) VALUES (NEW.id, NEW.body);
             INSERT INTO places VALUES (NEW.id, NEW.x, NEW.x);
         END;
         CREATE TRIGGER changed AFTER UPDATE ON notes BEGIN
             INSERT INTO found(found, rowid, body) VALUES ('delete', OLD.id, OLD.body);
             INSERT INTO found(rowid, body) VALUES (NEW.id, NEW.body);
             UPDATE older SET body = NEW.body WHERE docid = NEW.id;
             UPDATE places SET x0 = NEW.x, x1 = NEW.x WHERE id = NEW.id;
         END;
         INSERT INTO notes VALUES (1, 'old words', 0.0);",
    );
    let report =
        pull(&Site::open(there).unwrap(), &Site::open(here).unwrap(), PullOptions::new().strategy(Strategy::Overwrite));
    assert!(report.is_clean(), "{report:?}");
    for table in ["found", "older"] {
        let found =
            |word: &str| rows(&looking, &format!("SELECT rowid FROM {table} WHERE {table} MATCH '{word}' ORDER BY rowid"));
        assert_eq!(
            (found("words"), found("old"), found("two")),
            (vec!["1".to_owned()], vec![], vec!["2".to_owned()]),
            "{table}"
        );
    }
    assert_eq!(rows(&looking, "SELECT id, x0 FROM places ORDER BY id"), ["1|1.0", "2|2.0"]);
    looking.execute_batch("INSERT INTO found(found) VALUES ('integrity-check')").unwrap();
}
