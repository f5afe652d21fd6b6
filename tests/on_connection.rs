//! What a program registers on the connections to its database, and what becomes of tables that need what nobody registered.
#![cfg(all(feature = "client", feature = "server", feature = "sqlite"))]

mod common;

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::rows;
use rowferry::{Auth, Client, ConnectOptions, Direction, ErrorKind, Report, Server, Site, Strategy, TransferOptions};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

fn unicase(one: &str, other: &str) -> Ordering {
    one.to_lowercase().cmp(&other.to_lowercase())
}

/// What only the program knows.
fn register(sqlite: &Connection) -> rusqlite::Result<()> {
    sqlite.create_collation("unicase", unicase)?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
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

fn pull(there: &Site, here: &Site, options: TransferOptions<'_>) -> Report {
    let server = Server::bind(there, "127.0.0.1:0").unwrap().spawn().unwrap();
    let session = there.sessions().create(Direction::Send).unwrap();
    let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default()).unwrap();
    client.transfer_all(here, options).unwrap()
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
    let report = pull(&site(&there), &site(&here), TransferOptions::new().strategy(Strategy::Overwrite));
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
    limits.lock_time = std::time::Duration::from_millis(50);
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
    let report = pull(&there, &here, TransferOptions::new());
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
        let report =
            pull(&Site::open(&there).unwrap(), &Site::open(&here).unwrap(), TransferOptions::new().strategy(strategy));
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
