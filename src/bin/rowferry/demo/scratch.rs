//! A temporary folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rowferry::{Error, ErrorKind, Result};
use uuid::Uuid;

use crate::output::complain;

/// The folders that are to be deleted at the end.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn left() -> MutexGuard<'static, Vec<PathBuf>> {
    // It holds paths, which a panic elsewhere leaves whole.
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes all of them, for a program that ends on the spot. What is written meanwhile may stay.
pub fn delete_all() {
    left().drain(..).for_each(|folder| delete(&folder));
}

fn delete(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        complain(format!("the temporary folder {} stays behind: {error}", folder.display()));
    }
}

/// A folder that only its owner can look into, deleted with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes a folder in the system's folder for temporary files.
    pub fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("rowferry-{}", Uuid::new_v4().simple()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| {
            let message = format!("cannot make the temporary folder {}: {error}", folder.display());
            Error::new(ErrorKind::File, message).with_hint("Set TMPDIR to a folder that can be written.").with_source(error)
        })?;
        left().push(folder.clone());
        Ok(Scratch { folder })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lets the folder stay.
    pub fn keep(&self) {
        self.forget();
    }

    /// Whether it was to be deleted until now.
    fn forget(&self) -> bool {
        let mut left = left();
        let before = left.len();
        left.retain(|folder| *folder != self.folder);
        left.len() < before
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.forget() {
            delete(&self.folder);
        }
    }
}
