//! The file that holds a site's key. A key is always written to a file of another name first, as a whole, and that is then renamed.
//!
//! A new key waits in a second file, `<file>.new`, until the database knows it: whatever ends the program, one of the two files has the
//! key that the database was used with. Files are changed only by the holder of the database's write lock.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guard::{self, Trust};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{self, KEY_BYTES, SiteKey};

/// What to do when the key is lost.
pub(super) const RESET: &str =
    "make a new key with `Site::reset_key`: sessions end then, and connections have to get new tokens.";

/// How often an empty file is looked at again, every [`POLL_INTERVAL`]: another process may be about to write it.
const EMPTY_LOOKS: usize = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Where a site's key is kept.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    trust: Trust,
    /// The database, whose owner may own the key, and owns what root makes.
    database: Option<PathBuf>,
    /// Beside a symbolic link to the database, where rowferry 0.1.0 kept it.
    older: Option<PathBuf>,
}

/// What a key file holds.
enum Content {
    Key(SiteKey),
    Missing,
    /// A file without a key: its writer was killed, or the power failed, before it was written.
    Empty,
}

impl KeyFile {
    /// A file that the host or its user named.
    pub(super) fn named(path: PathBuf, database: Option<PathBuf>) -> Self {
        KeyFile { path, trust: Trust::Named, database, older: None }
    }

    /// The file beside a database.
    #[cfg(feature = "sqlite")]
    pub(super) fn beside(path: PathBuf, database: PathBuf, older: Option<PathBuf>) -> Self {
        KeyFile { path, trust: Trust::Beside, database: Some(database), older }
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file to write: what is behind the links that the user made.
    fn place(&self) -> PathBuf {
        match self.trust {
            Trust::Named => self.path.canonicalize().unwrap_or_else(|_| self.path.clone()),
            Trust::Beside => self.path.clone(),
        }
    }

    /// The key with this fingerprint, wherever it is, and whether it is in its place.
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) if it is nowhere; what is wrong with the file.
    pub(super) fn kept(&self, fingerprint: &str) -> Result<(SiteKey, bool)> {
        let first = self.look(&self.path);
        if let Ok(Content::Key(key)) = &first
            && fits(key, fingerprint)
        {
            return Ok((key.clone(), true));
        }
        for other in [Some(new_of(&self.place())), self.older.clone()].into_iter().flatten() {
            match self.look(&other) {
                Ok(Content::Key(key)) if fits(&key, fingerprint) => return Ok((key, false)),
                Ok(_) => {}
                Err(error) => log::warn!(target: "rowferry::site", "{error}"),
            }
        }
        Err(match first? {
            Content::Key(_) => self.foreign(),
            Content::Missing => self.missing(),
            Content::Empty => {
                let message = format!("the site's key is gone: {} is empty", self.path.display());
                Error::new(ErrorKind::SiteKey, message).with_hint(format!("Put the right file back, or {RESET}"))
            }
        })
    }

    /// Whether there is a key.
    ///
    /// # Errors
    /// What is wrong with the file.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn is_there(&self) -> Result<bool> {
        Ok(matches!(self.look(&self.path)?, Content::Key(_)))
    }

    /// The key that is there though the database has not been used with one, or a new one.
    pub(super) fn first(&self) -> Result<SiteKey> {
        match self.read(&self.path)? {
            Content::Key(key) => Ok(key),
            Content::Missing => {
                let key = SiteKey::generate()?;
                match self.write(&key, &self.place(), Existing::Keep)? {
                    true => Ok(key),
                    // Another process was faster: two databases may have one file for their key.
                    false => match self.read(&self.path)? {
                        Content::Key(key) => Ok(key),
                        _ => Err(self.missing()),
                    },
                }
            }
            // Nothing was sealed with what was to be in it.
            Content::Empty => {
                log::warn!(target: "rowferry::site", "{} was empty: a new key is made", self.path.display());
                let key = SiteKey::generate()?;
                self.write(&key, &self.place(), Existing::Replace).map(|_| key)
            }
        }
    }

    /// Puts this key there, unless there is one. Gives whether this one is there then.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(super) fn adopt(&self, key: &SiteKey) -> Result<bool> {
        let existing = match self.read(&self.path)? {
            Content::Key(there) => return Ok(fits(&there, &key.fingerprint())),
            Content::Missing => Existing::Keep,
            Content::Empty => Existing::Replace,
        };
        self.write(key, &self.place(), existing)?;
        Ok(matches!(self.read(&self.path)?, Content::Key(there) if fits(&there, &key.fingerprint())))
    }

    /// Writes a new key beside the present one.
    pub(super) fn prepare(&self) -> Result<SiteKey> {
        let key = SiteKey::generate()?;
        self.write(&key, &new_of(&self.place()), Existing::Replace)?;
        Ok(key)
    }

    /// Puts the key with this fingerprint into its place, if it is elsewhere, once `flush` has made sure that the database will
    /// remember the fingerprint whatever happens. One that waits in vain is removed. Nothing if no file has the key.
    pub(super) fn put_in_place(&self, fingerprint: &str, flush: impl FnOnce() -> Result<()>) -> Result<()> {
        let has = |path: &Path| match self.look(path) {
            Ok(Content::Key(key)) if fits(&key, fingerprint) => Some(key),
            _ => None,
        };
        let (place, new) = (self.place(), new_of(&self.place()));
        if has(&self.path).is_some() {
            // A reset that failed left another one.
            return remove(&new);
        }
        if has(&new).is_some() {
            flush()?;
            std::fs::rename(&new, &place).map_err(|error| file_error("rename", &new, &error))?;
            return sync_folder(&place);
        }
        // Also where the database itself is: it may be opened there, too. The old one stays for rowferry 0.1.0.
        if let Some(key) = self.older.as_deref().and_then(has) {
            self.write(&key, &place, Existing::Keep)?;
        }
        Ok(())
    }

    /// Removes a key with this fingerprint beside a symbolic link to the database: it is of no use any more.
    pub(super) fn forget_older(&self, fingerprint: &str) {
        let Some(older) = &self.older else { return };
        if matches!(self.look(older), Ok(Content::Key(key)) if fits(&key, fingerprint))
            && let Err(error) = remove(older)
        {
            log::warn!(target: "rowferry::site", "an old key stays: {error}");
        }
    }

    /// Removes the key with this fingerprint, or with any, wherever it lies beside the database. Gives the file that was removed.
    #[cfg(feature = "sqlite")]
    pub(super) fn remove(&self, fingerprint: Option<&str>) -> Result<Option<PathBuf>> {
        if self.trust == Trust::Named {
            return Ok(None);
        }
        let mut removed = None;
        for path in [Some(self.path.clone()), Some(new_of(&self.path)), self.older.clone()].into_iter().flatten() {
            if matches!(self.look(&path)?, Content::Key(key) if fingerprint.is_none_or(|print| fits(&key, print))) {
                remove(&path)?;
                removed = removed.or(Some(path));
            }
        }
        Ok(removed)
    }

    /// What is in a file that another process may be about to write.
    fn read(&self, path: &Path) -> Result<Content> {
        let mut looks = EMPTY_LOOKS;
        loop {
            let content = self.look(path)?;
            if looks == 0 || !matches!(content, Content::Empty) {
                return Ok(content);
            }
            looks -= 1;
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn look(&self, path: &Path) -> Result<Content> {
        let Some(mut file) = guard::open(path, self.trust, self.database.as_deref())? else { return Ok(Content::Missing) };
        let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        let limit = KEY_BYTES as u64 + 1;
        Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes).map_err(|error| file_error("read", path, &error))?;
        match <[u8; KEY_BYTES]>::try_from(&bytes[..]) {
            // Some file systems have zeros where nothing arrived.
            Ok(bytes) if bytes == [0; KEY_BYTES] => Ok(Content::Empty),
            Ok(bytes) => Ok(Content::Key(SiteKey::from_bytes(bytes))),
            Err(_) if bytes.is_empty() => Ok(Content::Empty),
            Err(_) => {
                let message = format!("the site's key in {} is not {KEY_BYTES} bytes long", path.display());
                Err(Error::new(ErrorKind::SiteKey, message).with_hint(format!("Put the right file back, or {RESET}")))
            }
        }
    }

    /// Writes a key to this file, as a whole or not at all; `false` if there is such a file and it is to stay.
    fn write(&self, key: &SiteKey, target: &Path, existing: Existing) -> Result<bool> {
        let draft = Draft::new(target)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft.0).map_err(|error| {
            file_error("create", target, &error).with_hint(
                "Make its folder writable for the user of this program, or name another file (`SiteBuilder::key_file`).",
            )
        })?;
        guard::give_to_owner(&file, target, self.database.as_deref());
        file.write_all(key.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| file_error("write", target, &error))?;
        drop(file);
        let is_there = match existing {
            Existing::Replace => std::fs::rename(&draft.0, target).map(|()| true),
            Existing::Keep => draft.rename_if_missing(target),
        };
        let is_there = is_there.map_err(|error| file_error("create", target, &error))?;
        sync_folder(target)?;
        Ok(is_there)
    }

    fn foreign(&self) -> Error {
        foreign(&format!("the site's key in {}", self.path.display()))
    }

    fn missing(&self) -> Error {
        let message = format!("the site's key is gone: there is no file {}", self.path.display());
        let error = Error::new(ErrorKind::SiteKey, message);
        match self.database.as_deref().is_some_and(has_several_names) {
            true => error.with_hint(format!(
                "The database file has several names (hard links), and its key lies beside another one; with two names in use \
                 SQLite damages it. Use the name that it had before, or {RESET}"
            )),
            false => error.with_hint(format!("Put the file back, or {RESET}")),
        }
    }
}

/// The error for a key that is not the one that the database was used with.
pub(super) fn foreign(which: &str) -> Error {
    Error::new(ErrorKind::SiteKey, format!("{which} is not the one that this database was used with"))
        .with_hint(format!("Put the right key back, or {RESET}"))
}

/// Whether a key is the one with this fingerprint.
pub(super) fn fits(key: &SiteKey, fingerprint: &str) -> bool {
    secret::equal(key.fingerprint().as_bytes(), fingerprint.as_bytes())
}

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replace,
    Keep,
}

/// A file of another name beside the one that is to be written. It is removed again if it was not renamed.
struct Draft(PathBuf);

impl Draft {
    fn new(target: &Path) -> Result<Self> {
        let mut random = [0; 8];
        secret::random(&mut random)?;
        Ok(Draft(with_end(target, &format!(".{}.tmp", secret::hex(&random)))))
    }

    /// Gives it its name, unless there is a file of that name: then `false`.
    fn rename_if_missing(&self, target: &Path) -> std::io::Result<bool> {
        match std::fs::hard_link(&self.0, target) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == Io::AlreadyExists => return Ok(false),
            Err(error) => log::debug!(target: "rowferry::site", "no hard link can be made at {}: {error}", target.display()),
        }
        self.rename_to_claimed(target)
    }

    /// The same where the file system has no hard links: the name is taken with an empty file first, which readers wait for.
    fn rename_to_claimed(&self, target: &Path) -> std::io::Result<bool> {
        match OpenOptions::new().write(true).create_new(true).open(target) {
            Ok(_) => std::fs::rename(&self.0, target).map(|()| true),
            Err(error) if error.kind() == Io::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != Io::NotFound
        {
            log::warn!(target: "rowferry::site", "an unused key stays behind in {}: {error}", self.0.display());
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != Io::NotFound => Err(file_error("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Where a new key waits until the database knows it.
fn new_of(path: &Path) -> PathBuf {
    with_end(path, ".new")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Makes sure that a name is still there after the power failed.
#[cfg(unix)]
fn sync_folder(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Ok(()) => Ok(()),
        // Some file systems cannot do it, and some folders may be written and not read.
        Err(error) if matches!(error.kind(), Io::InvalidInput | Io::Unsupported | Io::PermissionDenied) => {
            log::debug!(target: "rowferry::site", "the folder {} cannot be synced: {error}", folder.display());
            Ok(())
        }
        Err(error) => Err(file_error("sync the folder of", file, &error)),
    }
}

/// Elsewhere a folder cannot be opened as a file.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn has_several_names(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| std::os::unix::fs::MetadataExt::nlink(&file) > 1)
}

#[cfg(not(unix))]
fn has_several_names(_: &Path) -> bool {
    false
}

pub(super) fn file_error(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::File, format!("cannot {doing} the site's key {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_is_left_alone_with_and_without_hard_links() {
        type Rename = fn(&Draft, &Path) -> std::io::Result<bool>;
        let ways: [Rename; 2] = [Draft::rename_if_missing, Draft::rename_to_claimed];
        for rename in ways {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("key");
            for (content, is_renamed) in [("first", true), ("second", false)] {
                let draft = Draft::new(&target).unwrap();
                std::fs::write(&draft.0, content).unwrap();
                assert_eq!(rename(&draft, &target).unwrap(), is_renamed);
            }
            assert_eq!(std::fs::read(&target).unwrap(), b"first");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
        }
    }
}
