use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::domain::session::Direction;
use crate::secret::KEY_BYTES;
use crate::site::Site;
use crate::store::sqlite::SqliteStore;

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Site {
        Site::open(self.path("a.db")).unwrap()
    }

    fn key(&self) -> PathBuf {
        self.path("a.db.rowferry-key")
    }

    fn new_key(&self) -> PathBuf {
        self.path("a.db.rowferry-key.new")
    }

    /// The files that have to do with keys.
    fn key_files(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.contains("key")).collect();
        names.sort();
        names
    }
}

fn write_key(path: &Path, key: &SiteKey) {
    fs::write(path, key.as_bytes()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn a_key_file_is_made_once_by_the_first_of_many() {
    let home = Home::new();
    let file = KeyFile::named(home.path("key"), None);
    let keys = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| file.first().unwrap().fingerprint())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    assert_eq!(file.kept(&keys[0]).unwrap().0.fingerprint(), keys[0]);
    assert_eq!(home.key_files(), ["key"], "no drafts stay");
}

#[test]
fn a_file_of_another_length_is_refused_and_stays() {
    for length in [KEY_BYTES - 1, KEY_BYTES + 1, 1] {
        let home = Home::new();
        write_key(&home.key(), &SiteKey::from_bytes([1; KEY_BYTES]));
        fs::OpenOptions::new().write(true).open(home.key()).unwrap().set_len(length as u64).unwrap();
        let error = home.open().sessions().create(Direction::Send).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SiteKey);
        assert!(error.message().contains("32 bytes") && error.hint().unwrap().contains("reset_key"), "{error}");
        assert_eq!(fs::metadata(home.key()).unwrap().len(), length as u64);
    }
}

#[test]
fn a_file_that_was_never_written_is_written_while_nothing_is_sealed() {
    for nothing in [&[][..], &[0; KEY_BYTES]] {
        let home = Home::new();
        write_key(&home.key(), &SiteKey::from_bytes([1; KEY_BYTES]));
        fs::write(home.key(), nothing).unwrap();
        let session = home.open().sessions().create(Direction::Send).unwrap();
        assert!(home.open().sessions().validate(session.code()).is_ok());

        fs::write(home.key(), nothing).unwrap();
        let error = home.open().sessions().validate(session.code()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SiteKey);
        assert!(error.message().contains("is empty") && error.hint().unwrap().contains("reset_key"), "{error}");
        assert_eq!(fs::read(home.key()).unwrap(), nothing, "left as it was");
    }
}

#[test]
fn a_lost_or_foreign_key_is_noticed_and_can_be_replaced() {
    let home = Home::new();
    let site = home.open();
    assert!(!home.key().exists(), "made when first needed");
    let old = site.sessions().create(Direction::Send).unwrap();
    let saved = fs::read(home.key()).unwrap();

    fs::remove_file(home.key()).unwrap();
    let error = home.open().sessions().validate(old.code()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SiteKey);
    assert!(error.hint().unwrap().contains("reset_key") && !home.key().exists());

    write_key(&home.key(), &SiteKey::generate().unwrap());
    let foreign = home.open();
    assert_eq!(foreign.sessions().create(Direction::Send).unwrap_err().kind(), ErrorKind::SiteKey);

    fs::write(home.key(), &saved).unwrap();
    assert!(foreign.sessions().validate(old.code()).is_ok(), "put back");

    foreign.reset_key().unwrap();
    assert_ne!(fs::read(home.key()).unwrap(), saved);
    assert_eq!(foreign.sessions().count().unwrap(), 0);
    let new = foreign.sessions().create(Direction::Send).unwrap();
    // A process that still holds the old key takes the new one.
    assert!(site.sessions().validate(new.code()).is_ok());
    assert_eq!(home.key_files(), ["a.db.rowferry-key"]);
}

#[test]
fn a_reset_that_cannot_write_leaves_the_old_key() {
    let home = Home::new();
    let site = home.open();
    let session = site.sessions().create(Direction::Send).unwrap();
    let saved = fs::read(home.key()).unwrap();
    // Nothing can be renamed to this.
    fs::create_dir(home.new_key()).unwrap();
    let error = site.reset_key().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File, "{error}");
    assert_eq!(fs::read(home.key()).unwrap(), saved);
    for site in [site, home.open()] {
        assert!(site.sessions().validate(session.code()).is_ok());
    }
    assert_eq!(home.key_files(), ["a.db.rowferry-key", "a.db.rowferry-key.new"], "no draft stays");
}

#[test]
fn a_reset_that_the_database_refuses_leaves_the_old_key_alone() {
    let home = Home::new();
    let site = home.open();
    let session = site.sessions().create(Direction::Send).unwrap();
    let sqlite = rusqlite::Connection::open(home.path("a.db")).unwrap();
    let refuse = "CREATE TRIGGER t BEFORE UPDATE ON rowferry_settings BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlite.execute_batch(refuse).unwrap();
    site.reset_key().unwrap_err();
    assert_eq!(home.key_files(), ["a.db.rowferry-key"]);
    for site in [site, home.open()] {
        assert!(site.sessions().validate(session.code()).is_ok());
    }
}

/// Whatever ends a reset, the key that the database knows is in one of the two files.
#[test]
fn a_reset_that_ends_half_way_leaves_a_key_that_works() {
    // Before the database knew the new key.
    let home = Home::new();
    let site = home.open();
    let session = site.sessions().create(Direction::Send).unwrap();
    write_key(&home.new_key(), &SiteKey::from_bytes([1; KEY_BYTES]));
    assert!(home.open().sessions().validate(session.code()).is_ok());
    site.reset_key().unwrap();
    assert_eq!(home.key_files(), ["a.db.rowferry-key"]);

    // After it knew.
    let session = home.open().sessions().create(Direction::Send).unwrap();
    fs::rename(home.key(), home.new_key()).unwrap();
    write_key(&home.key(), &SiteKey::from_bytes([2; KEY_BYTES]));
    let again = home.open();
    assert!(again.sessions().validate(session.code()).is_ok());
    assert_eq!(home.key_files(), ["a.db.rowferry-key"], "it is in its place now");
    assert!(home.open().sessions().validate(session.code()).is_ok());

    // After it knew, and the next reset cannot lose the key that waits.
    fs::rename(home.key(), home.new_key()).unwrap();
    fs::create_dir(home.key()).unwrap();
    assert!(home.open().sessions().validate(session.code()).is_ok());
    assert_eq!(home.open().reset_key().unwrap_err().kind(), ErrorKind::File);
    assert!(home.open().sessions().validate(session.code()).is_ok(), "the next reset does not lose it");
}

#[test]
fn two_that_open_a_new_database_at_once_are_one_site() {
    let home = Home::new();
    let open = || {
        let site = home.open();
        (site.uuid().unwrap(), site.key().unwrap().fingerprint())
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
    assert_eq!(open(), found[0]);
}

#[test]
fn resets_at_once_leave_one_key_that_all_have() {
    let home = Home::new();
    home.open().key().unwrap();
    let work = || {
        let site = home.open();
        for _ in 0..5 {
            site.reset_key().unwrap();
            site.key().unwrap();
        }
        site
    };
    let sites = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let key = home.open().key().unwrap().fingerprint();
    assert!(sites.iter().all(|site| site.key().unwrap().fingerprint() == key));
    assert_eq!(home.key_files(), ["a.db.rowferry-key"]);
}

#[test]
fn a_newer_state_is_refused_and_left_alone() {
    let home = Home::new();
    let site = home.open();
    let newer = "INSERT INTO rowferry_migrations (version, applied_at) VALUES (99, '')";
    state::write(site.store_ref(), |sql| sql.execute(newer, &[])).unwrap();
    assert_eq!(Site::open(home.path("a.db")).unwrap_err().kind(), ErrorKind::NewerState);
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let home = Home::new();
        home.open().key().unwrap();
        assert_eq!(fs::metadata(home.key()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(home.key(), fs::Permissions::from_mode(0o640)).unwrap();
        let error = home.open().key().unwrap_err();
        assert!(error.message().contains("640") && error.hint().unwrap().contains("chmod 600"), "{error}");
    }

    #[test]
    fn the_secret_of_a_container_may_be_read_by_its_group() {
        let home = Home::new();
        let named = home.path("secret");
        write_key(&named, &SiteKey::from_bytes([1; KEY_BYTES]));
        let key = |mode| {
            fs::set_permissions(&named, fs::Permissions::from_mode(mode)).unwrap();
            Site::builder().key_file(&named).open(home.path("a.db")).unwrap().key().map(|_| ())
        };
        for mode in [0o400, 0o440, 0o640] {
            key(mode).unwrap();
        }
        let error = key(0o444).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(error.message().contains("444"), "{error}");
        assert!(["chmod 640", "`defaultMode: 0440`", "`mode: 0440`"].iter().all(|way| hint.contains(way)), "{hint}");
    }

    #[test]
    fn no_link_is_followed_but_one_that_was_named() {
        for is_dangling in [false, true] {
            let home = Home::new();
            let target = home.path("elsewhere");
            if !is_dangling {
                write_key(&target, &SiteKey::from_bytes([1; KEY_BYTES]));
            }
            symlink(&target, home.key()).unwrap();
            let error = home.open().key().unwrap_err();
            assert!(error.message().contains("symbolic link"), "{error}");
            assert_eq!(target.exists(), !is_dangling, "nothing is written through it");
        }
        let home = Home::new();
        let (secret, named) = (home.path("..data"), home.path("key"));
        write_key(&secret, &SiteKey::from_bytes([1; KEY_BYTES]));
        symlink(&secret, &named).unwrap();
        let site = Site::builder().key_file(&named).open(home.path("a.db")).unwrap();
        assert_eq!(site.key().unwrap().fingerprint(), SiteKey::from_bytes([1; KEY_BYTES]).fingerprint());
        site.reset_key().unwrap();
        assert!(named.is_symlink() && fs::read(&secret).unwrap() != [1; KEY_BYTES], "the link stays");
    }

    #[test]
    fn only_a_regular_file_is_read() {
        let home = Home::new();
        fs::create_dir(home.key()).unwrap();
        assert!(home.open().key().unwrap_err().message().contains("regular file"));
        fs::remove_dir(home.key()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(home.key()).status().unwrap();
        assert!(made.success());
        assert!(home.open().key().unwrap_err().message().contains("regular file"), "a pipe is not waited for");
    }

    #[test]
    fn a_file_that_root_makes_belongs_to_the_owner_of_the_database() {
        const NOBODY: u32 = 65534;
        let home = Home::new();
        drop(home.open());
        // Anybody else's files are its own anyway.
        if rustix::process::geteuid().is_root() {
            chown(home.path("a.db"), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let owner = fs::metadata(home.path("a.db")).unwrap().uid();
        let site = home.open();
        site.key().unwrap();
        assert_eq!(fs::metadata(home.key()).unwrap().uid(), owner);
        site.reset_key().unwrap();
        assert_eq!(fs::metadata(home.key()).unwrap().uid(), owner);
        assert!(home.open().key().is_ok());
    }

    #[test]
    fn a_database_has_one_key_whatever_links_lead_to_it() {
        let home = Home::new();
        for folder in ["data", "links"] {
            fs::create_dir(home.path(folder)).unwrap();
        }
        let (real, link) = (home.path("data/a.db"), home.path("links/b.db"));
        drop(SqliteStore::open(&real, &crate::limits::Limits::default()).unwrap());
        symlink(&real, &link).unwrap();
        let key = |path: &Path| Site::open(path).and_then(|site| site.key()).map(|key| key.fingerprint());
        let first = key(&link).unwrap();
        assert_eq!(key(&real).unwrap(), first);
        assert!(home.path("data/a.db.rowferry-key").exists() && !home.path("links/b.db.rowferry-key").exists());

        // Version 0.1.0 kept it beside the link.
        fs::rename(home.path("data/a.db.rowferry-key"), home.path("links/b.db.rowferry-key")).unwrap();
        assert_eq!(key(&real).unwrap_err().kind(), ErrorKind::SiteKey);
        assert_eq!(key(&link).unwrap(), first);
        assert_eq!(key(&real).unwrap(), first, "found once, it is beside the database, too");

        // A reset takes it away, and leaves one that belongs to another database.
        let older = home.path("links/b.db.rowferry-key");
        Site::open(&link).unwrap().reset_key().unwrap();
        assert!(!older.exists());
        write_key(&older, &SiteKey::from_bytes([1; KEY_BYTES]));
        assert_eq!(key(&link).unwrap(), key(&real).unwrap());
        Site::open(&link).unwrap().reset_key().unwrap();
        assert_eq!(fs::read(&older).unwrap(), [1; KEY_BYTES]);
    }

    #[test]
    fn another_name_of_the_database_is_told_from_a_lost_key() {
        let home = Home::new();
        home.open().key().unwrap();
        fs::hard_link(home.path("a.db"), home.path("b.db")).unwrap();
        let error = Site::open(home.path("b.db")).unwrap().key().unwrap_err();
        assert!(error.hint().unwrap().contains("several names"), "{error}");
    }
}
