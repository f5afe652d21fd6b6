//! A copy of a database is noticed, and a database that was moved or restored in place is not taken for one.

use std::fs;
use std::path::{Path, PathBuf};

use rowferry::{EventFilter, EventKind, Site};
use uuid::Uuid;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A database that knows its incarnation, with its key.
    fn new() -> (Self, Uuid) {
        let world = World { folder: tempfile::tempdir().unwrap() };
        let site = Site::open(world.path("a.db")).unwrap();
        let _session = site.sessions().create(rowferry::Direction::Send).unwrap();
        site.uuid().unwrap();
        let incarnation = site.incarnation().unwrap();
        (world, incarnation)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self, from: &str, to: &str) {
        for end in ["", ".rowferry-key"] {
            fs::copy(self.path(&format!("{from}{end}")), self.path(&format!("{to}{end}"))).unwrap();
        }
    }

    fn incarnation(&self, name: &str) -> Uuid {
        incarnation(&self.path(name))
    }

    fn copies_noticed(&self, name: &str) -> usize {
        let filter = EventFilter::new().kinds([EventKind::SiteCopied]);
        Site::open(self.path(name)).unwrap().events().list(&filter).unwrap().len()
    }
}

fn incarnation(path: &Path) -> Uuid {
    Site::open(path).unwrap().incarnation().unwrap()
}

/// Whether restoring in place can be told from another machine with the same paths.
fn machine_is_known() -> bool {
    fs::read_to_string("/etc/machine-id").is_ok_and(|id| id.trim().len() == 32)
}

#[test]
fn it_stays_while_nothing_changes_and_is_not_written_again() {
    let (world, incarnation) = World::new();
    let database = rusqlite::Connection::open(world.path("a.db")).unwrap();
    let version = || database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    let site = Site::open(world.path("a.db")).unwrap();
    assert_eq!((site.incarnation().unwrap(), site.incarnation().unwrap()), (incarnation, incarnation));
    assert_eq!(version(), before, "nothing was written");
    drop(site);
    database.execute_batch("VACUUM").unwrap();
    assert_eq!(world.incarnation("a.db"), incarnation);
    assert_ne!(Site::open(world.path("a.db")).unwrap().uuid().unwrap(), incarnation);
}

#[test]
fn a_copy_has_one_of_its_own_and_the_original_keeps_its() {
    let (world, incarnation) = World::new();
    world.copy("a.db", "b.db");
    let copy = world.incarnation("b.db");
    assert_ne!(copy, incarnation);
    assert_eq!((world.incarnation("b.db"), world.incarnation("a.db")), (copy, incarnation));
    assert_eq!((world.copies_noticed("b.db"), world.copies_noticed("a.db")), (1, 0));
    let uuid = |name| Site::open(world.path(name)).unwrap().uuid().unwrap();
    assert_eq!(uuid("a.db"), uuid("b.db"));
    // Made by SQLite itself, from the copy.
    let into = format!("VACUUM INTO '{}'", world.path("c.db").display());
    rusqlite::Connection::open(world.path("b.db")).unwrap().execute_batch(&into).unwrap();
    assert!(![incarnation, copy].contains(&world.incarnation("c.db")));
}

#[cfg(unix)]
#[test]
fn a_database_that_is_moved_stays_the_same() {
    let (world, incarnation) = World::new();
    fs::create_dir(world.path("sub")).unwrap();
    fs::rename(world.path("a.db"), world.path("sub/b.db")).unwrap();
    assert_eq!(world.incarnation("sub/b.db"), incarnation);
    // Where it is now is noted: the same file number alone does not make a copy of the next move.
    fs::rename(world.path("sub/b.db"), world.path("c.db")).unwrap();
    assert_eq!((world.incarnation("c.db"), world.copies_noticed("c.db")), (incarnation, 0));
}

#[cfg(unix)]
#[test]
fn a_database_that_is_restored_in_place_stays_the_same() {
    if !machine_is_known() {
        return;
    }
    let (world, incarnation) = World::new();
    for _ in 0..2 {
        world.copy("a.db", "backup.db");
        fs::rename(world.path("backup.db"), world.path("a.db")).unwrap();
        assert_eq!(world.incarnation("a.db"), incarnation);
    }
    // Moved after that: the file's new number was noted.
    fs::rename(world.path("a.db"), world.path("b.db")).unwrap();
    assert_eq!((world.incarnation("b.db"), world.copies_noticed("b.db")), (incarnation, 0));
}

#[cfg(unix)]
#[test]
fn other_names_of_one_file_change_nothing() {
    let (world, incarnation) = World::new();
    fs::create_dir(world.path("real")).unwrap();
    std::os::unix::fs::symlink(world.path("a.db"), world.path("link.db")).unwrap();
    std::os::unix::fs::symlink(world.folder.path(), world.path("real/folder")).unwrap();
    let database = rusqlite::Connection::open(world.path("a.db")).unwrap();
    let noted = || -> String {
        database.query_row("SELECT value FROM rowferry_settings WHERE key = 'opened_as'", [], |row| row.get(0)).unwrap()
    };
    let before = noted();
    for name in ["link.db", "real/folder/a.db", "real/../a.db"] {
        assert_eq!((world.incarnation(name), noted()), (incarnation, before.clone()), "{name}");
    }
    drop(database);
    fs::hard_link(world.path("a.db"), world.path("hard.db")).unwrap();
    assert_eq!((world.incarnation("hard.db"), world.incarnation("a.db")), (incarnation, incarnation));
}

#[test]
fn another_machine_makes_a_copy_of_it_wherever_it_is() {
    let (world, incarnation) = World::new();
    let database = rusqlite::Connection::open(world.path("a.db")).unwrap();
    let other = "UPDATE rowferry_settings SET value = json_set(value, '$.machine', 'another') WHERE key = 'opened_as'";
    assert_eq!(database.execute(other, []).unwrap(), 1);
    let new = world.incarnation("a.db");
    assert_ne!(new, incarnation);
    assert_eq!((world.incarnation("a.db"), world.copies_noticed("a.db")), (new, 1));
    // A note of another form tells nothing, so that it is taken for a copy as well.
    database.execute("UPDATE rowferry_settings SET value = '?' WHERE key = 'opened_as'", []).unwrap();
    assert_ne!(world.incarnation("a.db"), new);
}

#[test]
fn those_who_open_a_copy_at_once_agree() {
    let (world, original) = World::new();
    world.copy("a.db", "b.db");
    for name in ["new.db", "b.db"] {
        let barrier = std::sync::Barrier::new(4);
        let path = world.path(name);
        let open = || {
            let site = Site::open(&path).unwrap();
            barrier.wait();
            site.incarnation().unwrap()
        };
        let found = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(found.iter().all(|one| *one == found[0] && *one != original), "{name}: {found:?}");
        assert_eq!(world.incarnation(name), found[0]);
    }
    assert_eq!(world.copies_noticed("b.db"), 1);
}

#[cfg(all(feature = "client", feature = "server"))]
#[test]
fn a_receiver_is_told_the_incarnation_of_its_sender() {
    let (world, incarnation) = World::new();
    let site = Site::open(world.path("a.db")).unwrap();
    let session = site.sessions().create(rowferry::Direction::Send).unwrap();
    let auth = rowferry::Auth::code(session.code());
    let client = rowferry::Client::link(&site, auth, rowferry::ConnectOptions::default()).unwrap();
    assert_eq!(client.peer().and_then(|peer| peer.incarnation), Some(incarnation));
}
