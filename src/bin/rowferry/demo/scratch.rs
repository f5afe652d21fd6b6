//! A temporary folder.

use std::path::{Path, PathBuf};

use rowferry::{Error, ErrorKind, Result};
use uuid::Uuid;

use crate::output::complain;

/// A folder that only its owner can look into, deleted with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    keep: bool,
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
        Ok(Scratch { folder, keep: false })
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
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            complain(format!("the temporary folder {} stays behind: {error}", self.folder.display()));
        }
    }
}
