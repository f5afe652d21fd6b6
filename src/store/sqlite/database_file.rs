//! The file of a database as it was opened. A connection keeps working on a file that was deleted or replaced, and what it writes is
//! lost; the next connection would work on another one.

use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use super::machine;
use crate::error::{Error, ErrorKind, Result};
use crate::store::StoreIdentity;

/// A file, by its path without symbolic links and, where the system has them, its numbers.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    id: Option<FileId>,
    /// Whether something was in it.
    had_content: bool,
}

/// What tells one file from another, where the system has it.
type FileId = (u64, u64);

impl DatabaseFile {
    /// The file that was just opened by this path.
    pub(super) fn opened(path: &Path) -> Self {
        // As it is now: the program may change its directory later, and links may lead elsewhere.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let found = path.metadata().ok();
        let id = found.as_ref().and_then(file_id);
        DatabaseFile { path, id, had_content: found.is_some_and(|file| file.len() > 0) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this file from a copy of it.
    pub(super) fn identity(&self) -> StoreIdentity {
        let identity = StoreIdentity::new(self.path.to_string_lossy());
        let identity = match &self.id {
            Some((device, number)) => identity.object(format!("{device}:{number}")),
            None => identity,
        };
        match machine::id() {
            Some(id) => identity.machine(id),
            None => identity,
        }
    }

    /// An error if another file, or none, is at its place now, or nothing is in it. It asks the file system once.
    pub(super) fn check(&self) -> Result<()> {
        if self.id.is_none() {
            return Ok(());
        }
        let what = match self.path.metadata() {
            Ok(found) if file_id(&found) != self.id => "replaced by another file",
            Ok(found) if found.len() == 0 && self.had_content => "emptied",
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Io::NotFound => "deleted or moved",
            Err(error) => {
                let message = format!("the database file {} cannot be found any more: {error}", self.path.display());
                return Err(Error::new(ErrorKind::CannotOpen, message));
            }
        };
        let message = format!("the database file {} was {what} while it was open", self.path.display());
        Err(Error::new(ErrorKind::CannotOpen, message).with_hint(
            "Rows written since then are not in the file that is there now: put the right one there, restart the program that \
             has it open, and repeat what it did.",
        ))
    }

    /// Waits until the write-ahead log is on the disk: a commit alone does not.
    pub(super) fn flush_log(&self) -> Result<()> {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        // No locks lie on this file, so that closing it again takes none away.
        let synced = OpenOptions::new().read(true).write(true).open(&log).and_then(|log| log.sync_all());
        match synced {
            // All is in the database itself.
            Err(error) if error.kind() == Io::NotFound => Ok(()),
            Err(error) => {
                let message = format!("cannot sync {}: {error}", Path::new(&log).display());
                Err(Error::new(ErrorKind::Io, message)
                    .with_hint("The disk or its file system failed: see the system's log."))
            }
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(unix)]
fn file_id(file: &Metadata) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn file_id(_: &Metadata) -> Option<FileId> {
    None
}
