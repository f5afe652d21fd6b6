use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use time::macros::datetime;

use super::*;
use crate::domain::finding::FindingLevel;
use crate::domain::session::Direction;
use crate::domain::transfer::NewTransfer;
use crate::site::{NewConnection, Site};
use crate::{Clock, ErrorKind, ManualClock};

fn made(sql: &str) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    (folder, path)
}

/// The findings of this code that are no `ok`, with their messages.
fn told(found: &[Finding], code: &str) -> Vec<(FindingLevel, String)> {
    assert!(found.iter().any(|finding| finding.code == code), "{found:?}");
    let told = found.iter().filter(|finding| finding.code == code && finding.level != FindingLevel::Ok);
    told.map(|finding| (finding.level, finding.message.clone())).collect()
}

fn examine(path: &Path) -> Vec<Finding> {
    Site::builder().doctor(path, IntegrityCheck::Full).unwrap()
}

/// What is in a folder, byte for byte.
fn content(folder: &TempDir) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = files.map(|file| (file.file_name(), std::fs::read(file.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_sound_file_is_sound_and_stays_as_it_is() {
    for mode in ["DELETE", "WAL"] {
        let (folder, path) = made(&format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE p(id INTEGER PRIMARY KEY);
             CREATE TABLE c(p INT REFERENCES p); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1), (NULL)"
        ));
        let before = content(&folder);
        let found = examine(&path);
        let wrong: Vec<_> = found.iter().filter(|finding| finding.level != FindingLevel::Ok).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let codes =
            ["sqlite_version", "journal_mode", "integrity", "foreign_keys", "references", "collations", "modules", "tables"]
                .into_iter()
                .chain(["file", "space", "state", "clock", "key"]);
        assert!(codes.into_iter().all(|code| found.iter().any(|finding| finding.code == code)), "{found:?}");
        assert_eq!(content(&folder), before, "{mode}");
    }
}

#[test]
fn a_site_is_examined_as_it_stands() {
    let (folder, path) = made("CREATE TABLE t(id INTEGER PRIMARY KEY)");
    let site = Site::open(&path).unwrap();
    site.connections().create(NewConnection::sender("c", "https://c.example")).unwrap();
    let waiting = site.transfers().create(NewTransfer::new(Direction::Send, "t")).unwrap();
    site.transfers().request_approval(waiting.uuid, Duration::from_secs(60)).unwrap();
    // While the site is open, and after it.
    for open in [Some(site), None] {
        let before = content(&folder);
        let found = examine(&path);
        assert_eq!(told(&found, "approvals"), [(FindingLevel::Warning, "transfers that wait for approval: 1".to_owned())]);
        assert_eq!((told(&found, "key").len(), told(&found, "state").len(), told(&found, "clock").len()), (0, 0, 0));
        assert_eq!(content(&folder).len(), before.len());
        drop(open);
    }
    // An hour of difference is none.
    for (ahead, problems) in [(3_000, 0), (4_000, 1)] {
        let clock = ManualClock::new(SystemClock.now() - time::Duration::seconds(ahead));
        let found = Site::builder().clock(Arc::new(clock)).doctor(&path, IntegrityCheck::Quick).unwrap();
        assert_eq!(told(&found, "clock").len(), problems, "{ahead}");
    }
    let key = folder.path().join("a.db.rowferry-key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        let found = told(&examine(&path), "key");
        assert!(found.len() == 1 && found[0].0 == FindingLevel::Problem && found[0].1.contains("mode 644"), "{found:?}");
        mode(0o600);
    }
    std::fs::rename(&key, folder.path().join("elsewhere")).unwrap();
    let found = told(&examine(&path), "key");
    assert!(found.len() == 1 && found[0].1.contains("is gone"), "{found:?}");
    let named = Site::builder().key_file(folder.path().join("elsewhere")).doctor(&path, IntegrityCheck::Quick).unwrap();
    assert!(told(&named, "key").is_empty());

    Connection::open(&path).unwrap().execute("UPDATE rowferry_migrations SET version = 99 WHERE version = 1", []).unwrap();
    let found = told(&examine(&path), "state");
    assert!(found.len() == 1 && found[0].1.contains("state 99"), "{found:?}");
}

#[test]
fn what_is_wrong_in_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let sqlite = Connection::open(&path).unwrap();
    sqlite.create_collation("own", |one: &str, other: &str| one.cmp(other)).unwrap();
    let sql = "CREATE TABLE p(x); CREATE TABLE c(r REFERENCES p(x), s REFERENCES ghosts); INSERT INTO c VALUES (1, 1);
        CREATE TABLE q(id INTEGER PRIMARY KEY); CREATE TABLE d(q INT REFERENCES q); INSERT INTO d VALUES (7), (8), (NULL);
        CREATE TABLE n(name TEXT COLLATE own PRIMARY KEY NOT NULL); CREATE TABLE m(id INTEGER PRIMARY KEY, name TEXT COLLATE own);
        CREATE VIEW v AS SELECT 1; CREATE TABLE secret(id INTEGER PRIMARY KEY);
        CREATE VIRTUAL TABLE docs USING fts5(a); CREATE TABLE strict(a INT NOT NULL) STRICT;
        PRAGMA foreign_keys = OFF; PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = replace(sql, 'fts5', 'ghost7') WHERE name = 'docs';";
    sqlite.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
    drop(sqlite);
    let found = Site::builder().hide_tables(["Secret"]).doctor(&path, IntegrityCheck::Quick).unwrap();
    let problems = told(&found, "foreign_keys");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].1.starts_with("\"c\": foreign key (")
            && problems.iter().all(|(level, _)| *level == FindingLevel::Problem)
    );
    let rows = "2 references from \"d\" lead to rows that are not there, of \"q\" for example";
    assert_eq!(told(&found, "references"), [(FindingLevel::Problem, rows.to_owned())]);
    let collations = told(&found, "collations");
    assert_eq!(collations.len(), 2, "{collations:?}");
    assert!(collations.iter().any(|(_, what)| what.starts_with("\"n\"") && what.ends_with("it is not offered")));
    let modules = told(&found, "modules");
    assert!(modules.len() == 1 && modules[0].1.contains("\"ghost7\"") && modules[0].1.contains("docs_..."), "{modules:?}");
    let tables: Vec<_> = found.iter().filter(|finding| finding.code == "tables").map(|finding| &*finding.message).collect();
    assert!(tables.contains(&"hidden by the program: secret"), "{tables:?}");
    assert!(tables.iter().any(|what| what.contains("1 view") && what.contains("(docs)")), "{tables:?}");
    // What the host registers is known.
    let builder =
        Site::builder().on_connection(|sqlite| sqlite.create_collation("own", |one: &str, other: &str| one.cmp(other)));
    assert!(told(&builder.doctor(&path, IntegrityCheck::Quick).unwrap(), "collations").is_empty());
}

#[test]
fn damage_is_a_problem_and_no_database_an_error() {
    let (folder, path) = made("CREATE TABLE t(a INT, b INT); CREATE INDEX i ON t(a); INSERT INTO t VALUES (1, 2), (3, 4)");
    let sqlite = Connection::open(&path).unwrap();
    let forged = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE INDEX i ON t(b)' WHERE name = 'i'";
    sqlite.execute_batch(forged).unwrap();
    drop(sqlite);
    let found = told(&examine(&path), "integrity");
    assert!(!found.is_empty() && found.iter().all(|(level, _)| *level == FindingLevel::Problem), "{found:?}");
    let text = folder.path().join("text");
    std::fs::write(&text, "no database at all, but long enough to have a head".repeat(20)).unwrap();
    let kind = |path: &Path| Site::builder().doctor(path, IntegrityCheck::Quick).unwrap_err().kind();
    assert_eq!(kind(&text), ErrorKind::NotADatabase);
    let missing = folder.path().join("missing.db");
    assert_eq!((kind(&missing), missing.exists()), (ErrorKind::CannotOpen, false));
    assert_eq!(kind(Path::new("file:a.db")), ErrorKind::InvalidInput);
}

#[test]
fn a_database_that_cannot_be_opened_is_a_problem() {
    let rows = "PRAGMA page_size = 512; CREATE TABLE t(a); CREATE TABLE u(t REFERENCES t(a)); CREATE UNIQUE INDEX i ON t(a);
        INSERT INTO t SELECT hex(randomblob(200)) FROM json_each('[1,2,3,4,5,6,7,8,9]')";
    let problems = |path: &Path| {
        let found = Site::builder().doctor(path, IntegrityCheck::Full).unwrap();
        assert!(found.iter().any(|finding| finding.code == "space"), "{found:?}");
        let found = told(&found, "integrity");
        assert!(!found.is_empty() && found.iter().all(|(level, _)| *level == FindingLevel::Problem), "{found:?}");
        found
    };
    // Cut off in its first page, and after it.
    for left in [60, 300, 700] {
        let (_folder, path) = made(rows);
        std::fs::File::options().write(true).open(&path).unwrap().set_len(left).unwrap();
        problems(&path);
    }
    let (_folder, path) = made(rows);
    let forged = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE t(' WHERE name = 't'";
    Connection::open(&path).unwrap().execute_batch(forged).unwrap();
    assert!(problems(&path)[0].1.contains("malformed"));
    // A log that cannot be read, as in a folder that may not be written.
    let (folder, path) = made(&format!("PRAGMA journal_mode = WAL; {rows}"));
    std::fs::create_dir(folder.path().join("a.db-wal")).unwrap();
    problems(&path);
    // An interrupted transaction.
    let (folder, path) = made(rows);
    let begun = "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; INSERT INTO t SELECT randomblob(1000) FROM t";
    let sqlite = Connection::open(&path).unwrap();
    sqlite.execute_batch(begun).unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("a.db-journal"), folder.path().join("copy.db-journal")).unwrap();
    problems(&copy);
}

#[test]
fn of_damaged_pages_nothing_is_said_to_be_whole() {
    let rows = "PRAGMA page_size = 512; CREATE TABLE t(a); INSERT INTO t SELECT hex(randomblob(200)) FROM
        json_each('[1,2,3,4,5,6,7,8,9]'); CREATE TABLE u(t REFERENCES t(a)); CREATE UNIQUE INDEX i ON t(a)";
    let (_folder, path) = made(rows);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.len() / 512 / 2 * 512;
    bytes[page..page + 512].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let found = Site::builder().doctor(&path, IntegrityCheck::Full).unwrap();
    assert!(!told(&found, "integrity").is_empty());
    assert!(!told(&found, "references").is_empty(), "{found:?}");
}

#[test]
fn a_clock_that_was_never_set_is_a_problem() {
    let level = |now, latest| of_clock(now, latest).level;
    assert_eq!(level(datetime!(1970-01-01 00:00:01 UTC), None), FindingLevel::Problem);
    assert_eq!(level(datetime!(2026-01-01 0:00 UTC), Some(datetime!(2026-01-01 1:00 UTC))), FindingLevel::Ok);
    assert_eq!(level(datetime!(2026-01-01 0:00 UTC), Some(datetime!(2026-01-01 1:00:01 UTC))), FindingLevel::Problem);
}
