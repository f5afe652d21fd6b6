//! Which key files are trusted: regular files that only their owner can read, and that nobody else can have put there.

use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind as Io;
use std::path::Path;

use super::file::file_error;
use crate::error::{Error, ErrorKind, Result};

/// Who made the file's path, and with it what the file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// rowferry itself: no symbolic link is followed.
    Beside,
    /// The host or its user: a link is what it wants, and the file may be read by its group, as secrets of containers are.
    Named,
}

/// Opens a key file to read it; `None` if there is none.
pub(super) fn open(path: &Path, trust: Trust, database: Option<&Path>) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;

        // A pipe would be waited for.
        let flags = if trust == Trust::Beside { OFlags::NOFOLLOW | OFlags::NONBLOCK } else { OFlags::NONBLOCK };
        options.custom_flags(flags.bits() as i32);
    }
    if trust == Trust::Beside && path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        return Err(is_link(path));
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == Io::NotFound => return Ok(None),
        Err(error) if error.kind() == Io::PermissionDenied => return Err(denied(path, &error)),
        Err(error) => return Err(file_error("open", path, &error)),
    };
    let found = file.metadata().map_err(|error| file_error("inspect", path, &error))?;
    if !found.is_file() {
        let message = format!("the site's key {} is not a regular file", path.display());
        return Err(Error::new(ErrorKind::SiteKey, message).with_hint("Remove it, and put the right key file there."));
    }
    private(&found, path, trust, database)?;
    Ok(Some(file))
}

fn is_link(path: &Path) -> Error {
    let message = format!("the site's key {} is a symbolic link, which is not followed there", path.display());
    Error::new(ErrorKind::SiteKey, message)
        .with_hint("Put the file itself there, or name it where the site is opened (`SiteBuilder::key_file`).")
}

/// Who owns a file, for checks and messages.
#[cfg(unix)]
fn owner(of: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(of)
}

#[cfg(unix)]
fn denied(path: &Path, error: &std::io::Error) -> Error {
    let error = file_error("open", path, error);
    match path.metadata() {
        Ok(found) => {
            let (owner, caller) = (owner(&found), rustix::process::geteuid().as_raw());
            error.with_hint(format!(
                "The file belongs to user {owner}, and this program runs as user {caller}: give it the file (`chown`)."
            ))
        }
        Err(_) => error,
    }
}

#[cfg(not(unix))]
fn denied(path: &Path, error: &std::io::Error) -> Error {
    file_error("open", path, error)
}

/// The file belongs to the caller, to root or to the database's owner, and nobody else can read it.
#[cfg(unix)]
fn private(found: &Metadata, path: &Path, trust: Trust, database: Option<&Path>) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let caller = rustix::process::geteuid().as_raw();
    let of_database = database.and_then(|path| path.metadata().ok()).map(|file| owner(&file));
    let mode = found.permissions().mode() & 0o777;
    let path = path.display();
    let (why, hint) = match judge((owner(found), mode), trust, caller, of_database) {
        Ok(()) => return Ok(()),
        Err(Wrong::Owner(owner)) => (
            format!("belongs to user {owner}, who is neither the user of this program ({caller}) nor the database's owner"),
            format!(
                "If it is the right one, give it to the database's owner (`chown`); else put the right one there: {path}"
            ),
        ),
        Err(Wrong::Mode { right }) => {
            let run = format!("Run `chmod {right:o} {path}`.");
            let hint = match trust {
                Trust::Beside => run,
                // They are mounted to be read only.
                Trust::Named => format!(
                    "{run} For a secret of a container set `defaultMode: 0440` (Kubernetes, with `fsGroup`) or `mode: 0440` (Docker, \
                     with `gid`) where it is described, and let this program run in the file's group."
                ),
            };
            (format!("can be read by others (mode {mode:03o})"), hint)
        }
    };
    Err(Error::new(ErrorKind::SiteKey, format!("the site's key in {path} {why}")).with_hint(hint))
}

/// What is wrong with a key file.
#[cfg(unix)]
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// It belongs to this user.
    Owner(u32),
    Mode {
        right: u32,
    },
}

/// Judges a file by its owner and mode.
#[cfg(unix)]
fn judge((owner, mode): (u32, u32), trust: Trust, caller: u32, of_database: Option<u32>) -> std::result::Result<(), Wrong> {
    const ROOT: u32 = 0;
    if owner != caller && owner != ROOT && Some(owner) != of_database {
        return Err(Wrong::Owner(owner));
    }
    let right = match trust {
        Trust::Beside => 0o700,
        Trust::Named => 0o740,
    };
    match mode & !right {
        0 => Ok(()),
        _ => Err(Wrong::Mode { right: right & 0o666 }),
    }
}

/// Elsewhere a new file has its folder's permissions, which are the owner's business.
#[cfg(not(unix))]
fn private(_: &Metadata, _: &Path, _: Trust, _: Option<&Path>) -> Result<()> {
    Ok(())
}

/// Gives a file that root made to the database's owner, as SQLite does with the files beside a database.
#[cfg(unix)]
pub(super) fn give_to_owner(file: &File, path: &Path, database: Option<&Path>) {
    use std::os::unix::fs::MetadataExt;

    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(owner) = database.and_then(|path| path.metadata().ok()) else { return };
    if let Err(error) = std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())) {
        // As with SQLite: root itself can work with it.
        log::warn!(
            target: "rowferry::site",
            "{} cannot be given to the database's owner (user {}): {error}", path.display(), owner.uid()
        );
    }
}

#[cfg(not(unix))]
pub(super) fn give_to_owner(_: &File, _: &Path, _: Option<&Path>) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_owners_who_is_known() {
        const DATABASE: Option<u32> = Some(7);
        for trust in [Trust::Beside, Trust::Named] {
            for owner in [0, 7, 1000] {
                assert_eq!(judge((owner, 0o600), trust, 1000, DATABASE), Ok(()), "{owner}");
                assert_eq!(judge((owner, 0o400), trust, 1000, DATABASE), Ok(()), "{owner}");
            }
            assert_eq!(judge((7, 0o600), trust, 1000, None), Err(Wrong::Owner(7)));
            assert_eq!(judge((8, 0o600), trust, 0, DATABASE), Err(Wrong::Owner(8)), "root believes no stranger either");
        }
        for (owner, caller) in [(1000, 1000), (0, 1000), (0, 0), (7, 0)] {
            let judge = |mode, trust| judge((owner, mode), trust, caller, DATABASE);
            for mode in [0o640, 0o604, 0o620, 0o601] {
                assert_eq!(judge(mode, Trust::Beside), Err(Wrong::Mode { right: 0o600 }), "{mode:o}");
            }
            for mode in [0o440, 0o640, 0o740] {
                assert_eq!(judge(mode, Trust::Named), Ok(()), "a secret of a container: {mode:o} of {owner} for {caller}");
            }
            for mode in [0o444, 0o644, 0o604, 0o660, 0o620, 0o650] {
                assert_eq!(judge(mode, Trust::Named), Err(Wrong::Mode { right: 0o640 }), "{mode:o}");
            }
        }
    }
}
