//! The examples run to their ends. Those of `examples/servers` are a crate of their own, with tests of their own.

use crate::support::common::{Fixture, rows};
use rowferry::{CancelToken, ErrorKind};

#[allow(dead_code)] // Their `main` reads the command line.
#[path = "../../examples"]
mod programs {
    pub mod import_from_memory;
    pub mod own_store;
    pub mod paired_sites;
    pub mod pull_backup;
    pub mod serve_from_program;
    pub mod sites_in_memory;
}

use programs::{import_from_memory, own_store, paired_sites, pull_backup, serve_from_program, sites_in_memory};

const SHOP: &str =
    "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace');";

#[test]
fn a_backup_is_pulled_from_a_program_that_serves_and_resumes_after_it_was_cancelled() {
    let (shop, folder) = (Fixture::new(SHOP), tempfile::tempdir().unwrap());
    let backup = folder.path().join("backup.db");
    let (path, backup) = (shop.path(), backup.to_str().unwrap());
    serve_from_program::serve(path.to_str().unwrap(), |url, code| {
        let cancelled = CancelToken::new();
        cancelled.cancel();
        let error = pull_backup::pull(url, code, backup, cancelled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        pull_backup::pull(url, code, backup, CancelToken::new()).unwrap();
    })
    .unwrap();
    let here = rusqlite::Connection::open(backup).unwrap();
    assert_eq!(rows(&here, "SELECT * FROM users"), shop.rows("SELECT * FROM users"));
}

#[test]
fn records_are_imported_from_memory() {
    let here = Fixture::new("");
    for _ in 0..2 {
        import_from_memory::import(&here.path()).unwrap();
        let people = ["1|'Ada Lovelace'|'ada@example.com'", "2|'Grace Hopper'|'grace@example.com'"];
        assert_eq!(here.rows("SELECT * FROM people"), people);
    }
}

#[test]
fn two_sites_pair_and_one_pulls() {
    let (shop, backup) = (Fixture::new(""), Fixture::new(""));
    paired_sites::pair(&shop.path(), &backup.path()).unwrap();
    assert_eq!(backup.rows("SELECT * FROM users"), ["1|'Ada'", "2|'Grace'"]);
    assert_eq!(backup.rows("SELECT name FROM sqlite_schema WHERE name = 'visits'"), [""; 0]);
}

#[test]
fn a_store_of_ones_own_takes_a_pull() {
    own_store::pull_into_it(&Fixture::new("").path()).unwrap();
}

#[test]
fn sites_in_memory_pull() {
    sites_in_memory::main().unwrap();
}
