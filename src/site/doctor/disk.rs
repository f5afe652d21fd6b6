//! The file of a database, its folder, and the disk that they are on.

use std::path::Path;

use crate::domain::finding::Finding;

/// What is found about the file at this path, which has no links in it.
pub(super) fn findings(path: &Path) -> Vec<Finding> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = vec![file(path, folder)];
    found.extend(system::findings(path, folder));
    found
}

/// Whether the file and its folder can be written, and whether it has one name.
fn file(path: &Path, folder: &Path) -> Finding {
    const CODE: &str = "file";
    const BOTH: &str = "rowferry keeps its state in the database, and SQLite its log beside it: make the file and its folder writable \
        for the user of this program.";
    for (what, place) in [("file", path), ("folder", folder)] {
        if !system::may_write(place) {
            return Finding::problem(CODE, format!("the {what} {} may not be written", place.display()), BOTH);
        }
    }
    if system::names(path) > 1 {
        return Finding::problem(
            CODE,
            format!(
                "the file {} has several names (hard links), each of which SQLite takes for another database",
                path.display()
            ),
            "Programs that use two of them damage the file: use one name, and remove the others.",
        );
    }
    Finding::ok(CODE, format!("the file {} and its folder can be written", path.display()))
}

/// What is to be said of so many free bytes for a file of so many.
#[cfg(unix)]
fn space(free: u64, size: u64) -> Finding {
    /// What the log of a small pull needs.
    const LEAST: u64 = 64 << 20;
    const CODE: &str = "space";
    let told = |bytes: u64| match bytes {
        bytes if bytes >= 1 << 30 => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
        bytes if bytes < 1 << 20 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        bytes => format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64),
    };
    let what = format!("the database has {}, and the disk {} free", told(size), told(free));
    if free < LEAST {
        Finding::problem(CODE, what, "Free some room: what is pulled is written to a log first.")
    } else if free < size {
        Finding::warning(CODE, what, "A large pull may not find room: what is pulled is written to a log first.")
    } else {
        Finding::ok(CODE, what)
    }
}

#[cfg(unix)]
mod system {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};

    use crate::domain::finding::Finding;

    pub(super) fn may_write(path: &Path) -> bool {
        accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }

    pub(super) fn names(path: &Path) -> u64 {
        path.metadata().map_or(1, |file| file.nlink())
    }

    pub(super) fn findings(path: &Path, folder: &Path) -> Vec<Finding> {
        let size = path.metadata().map_or(0, |file| file.len());
        let mut found = Vec::new();
        match statvfs(folder) {
            Ok(disk) => found.push(super::space(disk.f_bavail.saturating_mul(disk.f_frsize), size)),
            Err(error) => found.push(Finding::warning(
                "space",
                format!("the room on the disk of {} cannot be told: {error}", folder.display()),
                "Look for yourself that there is some.",
            )),
        }
        found.extend(network(folder));
        found
    }

    /// Whether the file lies on another machine, where that can be told.
    #[cfg(target_os = "linux")]
    fn network(folder: &Path) -> Option<Finding> {
        let kind = rustix::fs::statfs(folder).ok()?.f_type;
        super::network(u32::try_from(kind & 0xffff_ffff).ok()?)
    }

    #[cfg(not(target_os = "linux"))]
    fn network(_: &Path) -> Option<Finding> {
        None
    }
}

/// What is to be said of a file system of this number (`f_type`).
#[cfg(target_os = "linux")]
fn network(kind: u32) -> Option<Finding> {
    let name = match kind {
        0x6969 => "NFS",
        0xfe53_4d42 | 0xff53_4d42 | 0x517b => "SMB",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        _ => return None,
    };
    Some(Finding::warning(
        "file_system",
        format!("the database lies on a file system of a network ({name})"),
        "In WAL mode only programs on one machine may use it, and its locks must work: better put it on a disk of this machine.",
    ))
}

/// Elsewhere nothing of this is asked.
#[cfg(not(unix))]
mod system {
    use std::path::Path;

    use crate::domain::finding::Finding;

    pub(super) fn may_write(path: &Path) -> bool {
        path.metadata().is_ok_and(|found| found.is_dir() || !found.permissions().readonly())
    }

    pub(super) fn names(_: &Path) -> u64 {
        1
    }

    pub(super) fn findings(_: &Path, _: &Path) -> Vec<Finding> {
        Vec::new()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::domain::finding::FindingLevel::{Ok, Problem, Warning};

    #[test]
    fn room_is_measured_against_the_file() {
        let level = |free: u64, size: u64| space(free << 20, size << 20).level;
        assert_eq!([level(63, 1), level(100, 200), level(200, 200)], [Problem, Warning, Ok]);
        assert_eq!(space(5 << 30, 1 << 19).message, "the database has 512 KiB, and the disk 5.0 GiB free");
    }

    #[test]
    fn file_systems_of_networks_are_known() {
        assert!(network(0x6969).unwrap().message.contains("NFS"));
        assert_eq!(network(0xef53), None);
    }
}
