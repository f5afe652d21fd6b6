//! What could go wrong with a database here: a look that changes nothing.

#[cfg(feature = "sqlite")]
mod disk;

#[cfg(feature = "sqlite")]
use std::path::Path;
#[cfg(feature = "sqlite")]
use std::sync::Arc;

use time::OffsetDateTime;

#[cfg(feature = "sqlite")]
use super::SiteBuilder;
use super::key::{FINGERPRINT, KeySource, Place};
use crate::clock;
#[cfg(feature = "sqlite")]
use crate::clock::SystemClock;
use crate::domain::finding::Finding;
#[cfg(feature = "sqlite")]
use crate::domain::finding::IntegrityCheck;
#[cfg(feature = "sqlite")]
use crate::domain::names::NameRules;
use crate::error::{Error, Result};
#[cfg(feature = "sqlite")]
use crate::export::Offer;
use crate::state::{events, outbox, settings, transfers};
use crate::store::Sql;
use crate::store::migrate::{self, NamedSo, Schema};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::{Examination, unopened};

/// How far the newest event may be ahead of the clock.
const AHEAD: time::Duration = time::Duration::hours(1);

/// No machine's clock is right that says it is before this year.
const FIRST_YEAR: i32 = 2020;

#[cfg(feature = "sqlite")]
impl SiteBuilder {
    /// Looks a SQLite file over, as the site that is built so would open it, and says what could go wrong: SQLite's version, the
    /// journal mode, damage, foreign keys that name nothing, rows that refer to nothing, collations and modules that are not
    /// registered, what is not offered, the file and the room for it, the clock, rowferry's own tables, and the key.
    ///
    /// It changes nothing: no database is made, no table, no key, and the journal mode stays. (Beside a log that a killed program left
    /// SQLite makes its index, `-shm`.) It reads the whole file. Other programs may have it open.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("shop.db");
    /// # rusqlite::Connection::open(&path)?.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY)")?;
    /// use rowferry::{FindingLevel, IntegrityCheck, Site};
    ///
    /// for finding in Site::builder().doctor(&path, IntegrityCheck::Quick)? {
    ///     if finding.level != FindingLevel::Ok {
    ///         println!("{finding}");
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CannotOpen`](crate::ErrorKind::CannotOpen) if there is no such file, or it cannot be read; and
    /// [`NotADatabase`](crate::ErrorKind::NotADatabase). That a database is damaged, or cannot be opened where it lies, is a finding.
    pub fn doctor(self, path: impl AsRef<Path>, check: IntegrityCheck) -> Result<Vec<Finding>> {
        let path = path.as_ref();
        let mut database = match Examination::open(path, &self.setup) {
            Ok(database) => database,
            Err(error) => {
                let (mut found, path) = unopened(path, error)?;
                found.extend(disk::findings(&path));
                return Ok(found);
            }
        };
        let offer = Offer::hiding(self.hidden.iter().cloned(), NameRules::IgnoreAsciiCase);
        let mut found = database.findings(check, &|table| !offer.allows(table));
        found.extend(disk::findings(database.path()));
        let source = match self.key {
            Some(key) => KeySource::Given(key),
            None => KeySource::beside(database.path().to_owned(), database.key_paths(), self.key_file),
        };
        let now = self.clock.unwrap_or_else(|| Arc::new(SystemClock)).now();
        found.extend(state(&mut database, (migrate::SQLITE, migrate::NAMED_SO_SQLITE), &source, now));
        Ok(found)
    }
}

/// What rowferry's own tables say.
pub(super) fn state(
    database: &mut dyn Sql,
    (schema, named_so): (Schema, NamedSo),
    source: &KeySource,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let version = match migrate::version(database, schema, named_so) {
        Ok(version) => version,
        Err(error) => return vec![unreadable("state", &error), of_clock(now, None)],
    };
    let mut found = Vec::new();
    let is_current = match version {
        None => {
            found.push(Finding::ok("state", "rowferry has not been used with this database yet"));
            false
        }
        Some((version, newest)) if version > newest => {
            let what = format!("a newer rowferry was used with this database (state {version}, known here up to {newest})");
            found.push(Finding::problem("state", what, "Update this program."));
            false
        }
        Some((version, newest)) if version < newest => {
            let what = format!("rowferry's tables are of version {version}; a site that is opened brings them to {newest}");
            found.push(Finding::ok("state", what));
            false
        }
        Some((version, _)) => {
            found.push(Finding::ok("state", format!("rowferry's tables are of version {version}, the newest")));
            true
        }
    };
    let mut looked = |code, look: Result<Finding>| found.push(look.unwrap_or_else(|error| unreadable(code, &error)));
    match version {
        None => looked("clock", Ok(of_clock(now, None))),
        // Both are the same since the first versions.
        Some(_) => looked("clock", events::latest(database).map(|latest| of_clock(now, latest))),
    }
    let fingerprint = version.map_or(Ok(None), |_| settings::get(database, FINGERPRINT));
    looked("key", fingerprint.map(|fingerprint| key(source, fingerprint.as_deref())));
    if is_current {
        looked("approvals", approvals(database, now));
        looked("outbox", undelivered(database));
    }
    found
}

fn unreadable(code: &'static str, error: &Error) -> Finding {
    let hint = error.hint().unwrap_or("Restore the database from a backup.");
    Finding::problem(code, format!("this could not be looked at: {}", error.message()), hint)
}

fn of_clock(now: OffsetDateTime, latest: Option<OffsetDateTime>) -> Finding {
    const CODE: &str = "clock";
    const HINT: &str = "Set the machine's clock: codes, approvals and connections expire by it.";
    let says = clock::to_text(now);
    match latest {
        _ if now.year() < FIRST_YEAR => Finding::problem(CODE, format!("the clock says {says}"), HINT),
        Some(latest) if latest - now > AHEAD => {
            let latest = clock::to_text(latest);
            Finding::problem(
                CODE,
                format!("the newest entry of the history is of {latest}, and the clock says {says}"),
                HINT,
            )
        }
        _ => Finding::ok(CODE, format!("the clock says {says}")),
    }
}

fn key(source: &KeySource, fingerprint: Option<&str>) -> Finding {
    const CODE: &str = "key";
    match source.examine(fingerprint) {
        Ok(Place::Nowhere) => Finding::warning(
            CODE,
            "no file for the site's key is named: codes, and what other sites are told, need one",
            "Name the file of this site's key: `key_file`.",
        ),
        Ok(Place::Given) => Finding::ok(CODE, "the program gives the site's key"),
        Ok(Place::File(path)) => {
            Finding::ok(CODE, format!("the site's key is in {}, and nobody else can read it", path.display()))
        }
        Ok(Place::NotMade(path)) => {
            Finding::ok(CODE, format!("there is no key yet: {} is made when it is first needed", path.display()))
        }
        Ok(Place::Elsewhere(path)) => Finding::warning(
            CODE,
            format!("the site's key is not in its place, {}, but beside it", path.display()),
            "The next use of the key puts it there: make sure that the folder can be written.",
        ),
        Err(error) => {
            let hint = error.hint().unwrap_or("Check the file's owner and mode.").to_owned();
            Finding::problem(CODE, error.message(), hint)
        }
    }
}

fn approvals(database: &mut dyn Sql, now: OffsetDateTime) -> Result<Finding> {
    const CODE: &str = "approvals";
    let waiting = transfers::count_pending_approvals(database, now)?;
    Ok(match waiting {
        0 => Finding::ok(CODE, "no transfer waits for approval"),
        _ => Finding::warning(
            CODE,
            format!("transfers that wait for approval: {waiting}"),
            "Approve or deny them (`Transfers::approve`); they expire.",
        ),
    })
}

fn undelivered(database: &mut dyn Sql) -> Result<Finding> {
    const CODE: &str = "outbox";
    Ok(match outbox::pending(database)? {
        0 => Finding::ok(CODE, "no message waits for another site"),
        waiting => Finding::warning(
            CODE,
            format!("messages that wait for other sites: {waiting}"),
            "`Site::maintain` sends them, which a server calls every minute: check that one runs, and that the other sites can be reached.",
        ),
    })
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
