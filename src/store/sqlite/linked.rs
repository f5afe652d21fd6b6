//! Which SQLite is linked. The feature `bundled` compiles one in; without it, that is the system's or the host's.

use crate::error::{Error, ErrorKind, Result};

/// The oldest SQLite that has what is asked of it here: STRICT tables and `pragma_table_list`.
const OLDEST: Version = Version(3_037_000);

/// A version as SQLite counts it: 3.37.0 is 3037000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(i32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Version(number) = self;
        write!(f, "{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000)
    }
}

/// An error if the SQLite that is linked is too old.
pub(in crate::store) fn check() -> Result<()> {
    suffices(Version(rusqlite::version_number()))
}

fn suffices(linked: Version) -> Result<()> {
    if linked >= OLDEST {
        return Ok(());
    }
    let message = format!("the program is linked with SQLite {linked}; rowferry needs {OLDEST} or newer");
    Err(Error::new(ErrorKind::CannotOpen, message)
        .with_hint("Install a newer SQLite, or build the program with rowferry's feature `bundled`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_sqlite_is_refused_by_its_version() {
        check().unwrap();
        suffices(OLDEST).unwrap();
        let error = suffices(Version(3_034_001)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CannotOpen);
        assert_eq!(error.message(), "the program is linked with SQLite 3.34.1; rowferry needs 3.37.0 or newer");
        assert!(error.hint().unwrap().contains("`bundled`"));
        assert!(Version(3_054_001).to_string() == "3.54.1" && suffices(Version(4_000_000)).is_ok());
    }
}
