//! The site's key: given by the host, or kept in a file beside the database that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::{self, KEY_BYTES, SiteKey};
use crate::state::{self, outbox, sessions, settings, tickets};
use crate::store::Store;

/// The setting that holds the fingerprint of the key that this database is used with.
const FINGERPRINT: &str = "site_key_fingerprint";

/// What to do when the key is lost.
const RESET: &str = "make a new key with `reset_key`: sessions end then, and connections have to get new tokens.";

/// Where the site's key comes from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// The host gave it.
    Given(SiteKey),
    /// It is in this file, made when first needed.
    File(PathBuf),
    /// The store has no place for it, and the host gave none.
    Nowhere,
}

/// The key, read when first needed.
#[derive(Debug)]
pub(crate) struct KeyRing {
    source: KeySource,
    known: Mutex<Option<SiteKey>>,
}

impl KeyRing {
    pub(crate) fn new(source: KeySource) -> Self {
        KeyRing { source, known: Mutex::new(None) }
    }

    /// The key, which is the one that this database was used with before.
    pub(crate) fn key(&self, store: &dyn Store) -> Result<SiteKey> {
        let expected = state::read(store, |sql| settings::get(sql, FINGERPRINT))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another process may have made a new key meanwhile: what is known here counts only while it is the recorded one.
        if let (Some(key), Some(expected)) = (&*known, &expected)
            && fits(key, expected)
        {
            return Ok(key.clone());
        }
        let key = match &self.source {
            KeySource::Given(key) => key.clone(),
            KeySource::File(path) => match read(path)? {
                Some(key) => key,
                None if expected.is_none() => create(path)?,
                None => return Err(missing(path)),
            },
            KeySource::Nowhere => return Err(nowhere(store)),
        };
        let expected = match expected {
            Some(expected) => expected,
            None => state::write(store, |sql| settings::settle(sql, FINGERPRINT, &key.fingerprint()))?,
        };
        if !fits(&key, &expected) {
            return Err(self.foreign());
        }
        *known = Some(key.clone());
        Ok(key)
    }

    /// Starts again with a new key (or with the one that the host gave), and deletes what only the old one could use: the
    /// sessions, the messages to other sites that were not sent yet, and the tickets kept of other sites.
    pub(crate) fn reset(&self, store: &dyn Store) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, old) = match &self.source {
            KeySource::Given(key) => (key.clone(), None),
            KeySource::File(path) => {
                // The old key waits beside the new one until the database knows the new one.
                let mut aside = path.as_os_str().to_owned();
                aside.push(".old");
                let aside = PathBuf::from(aside);
                match std::fs::rename(path, &aside) {
                    Err(error) if error.kind() != Io::NotFound => return Err(file_error("rename", path, &error)),
                    renamed => (create(path)?, renamed.is_ok().then_some((path, aside))),
                }
            }
            KeySource::Nowhere => return Err(nowhere(store)),
        };
        let written = state::write(store, |sql| {
            sessions::delete_all(sql)?;
            if settings::get(sql, FINGERPRINT)?.is_none_or(|old| !fits(&key, &old)) {
                outbox::forget_all(sql)?;
                tickets::forget_all(sql)?;
            }
            settings::set(sql, FINGERPRINT, &key.fingerprint())
        });
        if let Some((path, aside)) = old {
            let ended = if written.is_ok() { std::fs::remove_file(&aside) } else { std::fs::rename(&aside, path) };
            if let Err(error) = ended {
                log::warn!("the old key stays in {}: {error}", aside.display());
            }
        }
        written?;
        *known = Some(key);
        Ok(())
    }

    fn foreign(&self) -> Error {
        let which = match &self.source {
            KeySource::File(path) => format!("the site's key in {}", path.display()),
            KeySource::Given(_) | KeySource::Nowhere => "the site's key that was given".to_owned(),
        };
        Error::new(ErrorKind::SiteKey, format!("{which} is not the one that this database was used with"))
            .with_hint(format!("Put the right key back, or {RESET}"))
    }
}

fn fits(key: &SiteKey, fingerprint: &str) -> bool {
    secret::equal(key.fingerprint().as_bytes(), fingerprint.as_bytes())
}

/// Reads the key; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<SiteKey>> {
    let mut patience = 50;
    loop {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            Err(error) => return Err(file_error("open", path, &error)),
        };
        private(&file, path)?;
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        let limit = KEY_BYTES as u64 + 1;
        Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(|error| file_error("read", path, &error))?;
        if let Ok(bytes) = <[u8; KEY_BYTES]>::try_from(&bytes[..]) {
            return Ok(Some(SiteKey::from_bytes(bytes)));
        }
        // Another process may have made the file and be about to write it.
        if bytes.len() > KEY_BYTES || patience == 0 {
            let message = format!("the site's key in {} is not {KEY_BYTES} bytes long", path.display());
            return Err(Error::new(ErrorKind::SiteKey, message).with_hint(format!("Put the right file back, or {RESET}")));
        }
        patience -= 1;
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes the file with a new key, or reads the key of the process that was faster.
fn create(path: &Path) -> Result<SiteKey> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == Io::AlreadyExists => return read(path)?.ok_or_else(|| missing(path)),
        Err(error) => return Err(file_error("create", path, &error)),
    };
    let key = SiteKey::generate()?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        drop(file);
        if let Err(error) = std::fs::remove_file(path) {
            log::warn!("a half-written site key stays behind in {}: {error}", path.display());
        }
        return Err(file_error("write", path, &error));
    }
    Ok(key)
}

#[cfg(unix)]
fn private(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata().map_err(|error| file_error("inspect", path, &error))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("the site's key in {} can be read by others (mode {:03o})", path.display(), mode & 0o777);
    Err(Error::new(ErrorKind::SiteKey, message).with_hint(format!("Run `chmod 600 {}`.", path.display())))
}

/// Elsewhere a new file has its folder's permissions, which are the owner's business.
#[cfg(not(unix))]
fn private(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

fn missing(path: &Path) -> Error {
    Error::new(ErrorKind::SiteKey, format!("the site's key is gone: there is no file {}", path.display()))
        .with_hint(format!("Put the file back, or {RESET}"))
}

fn nowhere(store: &dyn Store) -> Error {
    Error::new(ErrorKind::SiteKey, format!("{} has no place beside it for the site's key", store.name()))
        .with_hint("Give the site a key when it is built: `Site::builder().key(..)` or `.key_file(..)`.")
}

fn file_error(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("cannot {doing} the site's key {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_by_the_first_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db.rowferry-key");
        assert!(read(&path).unwrap().is_none());
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| create(&path).unwrap().fingerprint())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(read(&path).unwrap().unwrap().fingerprint(), keys[0]);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path).unwrap();
        for length in [KEY_BYTES - 1, KEY_BYTES + 1, 0] {
            OpenOptions::new().write(true).open(&path).unwrap().set_len(length as u64).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SiteKey);
            assert!(error.hint().unwrap().contains("reset_key"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.message().contains("640") && error.hint().unwrap().contains("chmod 600"), "{error}");
    }

    #[cfg(feature = "sqlite")]
    mod with_a_site {
        use super::*;
        use crate::domain::session::Direction;
        use crate::site::Site;

        #[test]
        fn a_lost_or_foreign_key_is_noticed_and_can_be_replaced() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let key = folder.path().join("a.db.rowferry-key");
            let site = Site::open(&path).unwrap();
            assert!(!key.exists(), "made when first needed");
            let old = site.sessions().create(Direction::Send).unwrap();
            let saved = std::fs::read(&key).unwrap();

            std::fs::remove_file(&key).unwrap();
            let lost = Site::open(&path).unwrap();
            let error = lost.sessions().validate(old.code()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SiteKey);
            assert!(error.hint().unwrap().contains("reset_key") && !key.exists());

            create(&key).unwrap();
            let foreign = Site::open(&path).unwrap();
            assert_eq!(foreign.sessions().create(Direction::Send).unwrap_err().kind(), ErrorKind::SiteKey);

            std::fs::write(&key, &saved).unwrap();
            assert!(foreign.sessions().validate(old.code()).is_ok(), "put back");

            foreign.reset_key().unwrap();
            assert_ne!(std::fs::read(&key).unwrap(), saved);
            assert_eq!(foreign.sessions().count().unwrap(), 0);
            let new = foreign.sessions().create(Direction::Send).unwrap();
            // A process that still holds the old key takes the new one.
            assert!(site.sessions().validate(new.code()).is_ok());
        }

        #[test]
        fn two_that_open_a_new_database_at_once_are_one_site() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let open = || {
                let site = Site::open(&path).unwrap();
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
        fn a_newer_state_is_refused_and_left_alone() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.db");
            let site = Site::open(&path).unwrap();
            let newer = "INSERT INTO rowferry_migrations (version, applied_at) VALUES (99, '')";
            state::write(site.store_ref(), |sql| sql.execute(newer, &[])).unwrap();
            assert_eq!(Site::open(&path).unwrap_err().kind(), ErrorKind::NewerState);
        }
    }
}
