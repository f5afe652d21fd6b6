//! A database whose file is deleted, moved, replaced or emptied while it is open: an error, and no new file.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rowferry::store::{Snapshot, Sql, Store, Writer};
use rowferry::{Auth, Client, ConnectOptions, Direction, ErrorKind, NameRules, PullOptions, Result, Site};
use rusqlite::Connection;

type Harm = fn(&Path);

/// What can become of a file, what is said of it, and whether there is one afterwards.
const HARMS: [(Harm, &str, bool); 5] = [
    (|path| fs::remove_file(path).unwrap(), "deleted or moved", false),
    (
        |path| {
            fs::remove_file(path).unwrap();
            for end in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{end}", path.display()));
            }
        },
        "deleted or moved",
        false,
    ),
    (|path| fs::rename(path, path.with_extension("moved")).unwrap(), "deleted or moved", false),
    (
        |path| {
            let other = path.with_extension("other");
            Connection::open(&other).unwrap().execute_batch("CREATE TABLE other(a)").unwrap();
            fs::rename(&other, path).unwrap();
        },
        "replaced by another file",
        true,
    ),
    (|path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(), "emptied", true),
];

#[test]
fn every_call_says_so_and_none_makes_a_new_file() {
    for (number, (harm, says, is_there)) in HARMS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let site = Site::open(&path).unwrap();
        let _session = site.sessions().create(Direction::Send).unwrap();
        site.check_file().unwrap();
        harm(&path);
        let before = path.metadata().ok().map(|file| file.len());
        // New connections are opened only where the ones that are open are all in use.
        let _others: Vec<_> = (0..3).map(|_| site.store().snapshot()).collect();
        let failures = [
            site.check_file().unwrap_err(),
            site.list_tables().unwrap_err(),
            site.sessions().create(Direction::Send).unwrap_err(),
            site.reset_key().unwrap_err(),
            site.maintain().unwrap_err(),
        ];
        for error in failures {
            assert_eq!(error.kind(), ErrorKind::CannotOpen, "{number}: {error}");
            assert!(error.message().contains(says) && error.hint().unwrap().contains("restart"), "{number}: {error}");
        }
        assert_eq!(path.metadata().ok().map(|file| file.len()), before, "{number}: nothing is written to what is there");
        assert_eq!(path.exists(), is_there);
    }
}

#[test]
fn what_was_opened_through_a_link_or_a_relative_path_stays_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (real, other, link) = (folder.path().join("a.db"), folder.path().join("b.db"), folder.path().join("link.db"));
    Connection::open(&real).unwrap().execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE u(a)").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let site = Site::open(&link).unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&other, &link).unwrap();
    // The link is looked at once; each of these opens another connection.
    let snapshots: Vec<_> = (0..3).map(|_| site.store().snapshot().unwrap()).collect();
    for mut snapshot in snapshots {
        assert_eq!(snapshot.tables().unwrap(), ["t"]);
    }
}

#[test]
fn another_database_that_is_written_into_the_file_is_told_from_a_fault_here() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.db"), folder.path().join("b.db"));
    let site = Site::open(&path).unwrap();
    let checkpoint = Connection::open(&path).unwrap();
    checkpoint.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    Connection::open(&other).unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE other(a)").unwrap();
    let content = fs::read(&other).unwrap();
    fs::write(&path, content).unwrap();
    let error = site.sessions().create(Direction::Send).unwrap_err();
    assert!(error.hint().unwrap().contains("restart the program"), "{error}");
}

/// A store to whose file something is done when a pull has written its last row and ends.
#[derive(Debug)]
struct Harmed {
    store: Arc<dyn Store>,
    path: PathBuf,
    harm: Harm,
}

impl Store for Harmed {
    fn name(&self) -> String {
        self.store.name()
    }

    fn names(&self) -> NameRules {
        self.store.names()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        self.store.writer()
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.store.state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.store.read_state(work)
    }

    fn check(&self) -> Result<()> {
        self.store.check()
    }

    fn tidy(&self) -> Result<()> {
        (self.harm)(&self.path);
        self.store.tidy()
    }
}

#[test]
fn a_pull_whose_file_goes_at_its_very_end_is_no_success() {
    for ((harm, says, _), one_table) in HARMS.into_iter().flat_map(|harm| [(harm, false), (harm, true)]) {
        let folder = tempfile::tempdir().unwrap();
        let (there, path) = (folder.path().join("there.db"), folder.path().join("a.db"));
        Connection::open(&there).unwrap().execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
        let shop = Site::open(&there).unwrap();
        let session = shop.sessions().create(Direction::Send).unwrap();
        let store = Arc::clone(Site::open(&path).unwrap().store());
        let site = Site::builder().with_store(Arc::new(Harmed { store, path, harm }));
        let client = Client::link(&shop, Auth::code(session.code()), ConnectOptions::default()).unwrap();
        let error = match one_table {
            true => client.pull_table(&site, "t", PullOptions::new()).unwrap_err(),
            false => client.pull(&site, PullOptions::new()).unwrap().ok().unwrap_err(),
        };
        assert!(error.kind() == ErrorKind::CannotOpen && error.message().contains(says), "{error}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn serve_ends_with_an_error() {
    // All at once: each takes a moment to notice.
    let harmed = HARMS.map(|(harm, says, is_there)| {
        let folder = crate::support::command::Folder::new();
        let served = folder.serve();
        harm(&folder.path("shop.db"));
        (folder, served, says, is_there)
    });
    for (folder, mut served, says, is_there) in harmed {
        assert_eq!(served.child.wait().unwrap().code(), Some(1));
        let log = fs::read_to_string(folder.path("served.log")).unwrap();
        assert!(log.lines().any(|line| line.starts_with("rowferry: ") && line.contains(says)), "{log}");
        assert_eq!(folder.path("shop.db").exists(), is_there);
    }
}
