//! The commands, and what they share.

mod addresses;
pub mod connections;
pub mod doctor;
pub mod events;
mod from;
mod ids;
pub mod inspect;
pub mod keymap;
mod look;
mod maintain;
pub mod papers;
pub mod plain;
pub mod pull;
mod report;
pub use report::size;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod site_copy;
pub mod state;
pub mod status;
pub mod transfers;
pub mod verify;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rowferry::{CancelToken, ConnectOptions, Error, ErrorKind, Limits, Site};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::args::{Db, Network};
use crate::database::Database;
use crate::demo::scratch;
use crate::failure::Failure;
use crate::signals::on_signal;

/// Opens the site of a database that must be there: one that is misspelt must not become an empty one.
pub fn open_existing(db: &Db) -> Result<Site, Failure> {
    must_exist(db)?;
    db.open(Limits::default())
}

/// The same for what needs the site's key, with these limits.
pub fn open_with(db: &Db, limits: Limits) -> Result<Site, Failure> {
    must_exist(db)?;
    db.open_with_key(limits)
}

/// An error if the database is a file that is not there. A PostgreSQL server never makes one that is missing.
fn must_exist(db: &Db) -> Result<(), Failure> {
    match db.database()? {
        Database::File(path) => fs::metadata(path).map(|_| ()).map_err(|error| {
            Error::new(ErrorKind::CannotOpen, format!("cannot open the database {}: {error}", db.path))
                .with_hint(
                    "Check the path. A first `rowferry pull URL --code CODE` makes a new database, and `sqlite3 FILE VACUUM` an empty one.",
                )
                .with_source(error)
                .into()
        }),
        #[cfg(feature = "postgres")]
        Database::Postgres(_) => Ok(()),
    }
}

/// Opens the site of a database that is pulled into: a file is made if there is none.
pub fn open(db: &Db) -> Result<Site, Failure> {
    db.open_with_key(Limits::default())
}

/// How many entries of a list are read at a time.
const PAGE: u32 = 500;

/// A list that is read page by page, by its limit and offset; all of it without a limit.
pub fn all<T>(
    limit: Option<u32>,
    offset: u64,
    read: impl Fn(u32, u64) -> rowferry::Result<Vec<T>>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let most = left.min(PAGE);
        let page = read(most, offset.saturating_add(found.len() as u64))?;
        let full = page.len() == most as usize;
        left -= most;
        found.extend(page);
        if !full {
            break;
        }
    }
    Ok(found)
}

/// How the other site is to be asked.
pub fn connect_options(network: &Network, cancel: &CancelToken) -> Result<ConnectOptions, Failure> {
    let mut options = ConnectOptions::default().cancel_token(cancel.clone()).system_certificates();
    if let Some(prefix) = &network.prefix {
        options = options.prefix(prefix);
    }
    if let Some(path) = &network.ca_cert {
        options = options.root_certificate(read_file(path)?);
    }
    if let Some(all) = network.timeout {
        let at_most = |seconds| all.min(Duration::from_secs(seconds));
        options = options.connect_timeout(at_most(30)).join_timeout(at_most(10)).request_timeout(all);
    }
    Ok(options)
}

/// A small file that the user named.
pub fn read_file(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Error::new(ErrorKind::File, message).with_hint("Check the path.").with_source(error).into()
    })
}

/// A token that the first SIGINT or SIGTERM cancels; the second one ends the program on the spot.
pub fn cancelled_by_signals() -> Result<CancelToken, Failure> {
    let token = CancelToken::new();
    let cancelled = token.clone();
    on_signal(move || {
        if cancelled.is_cancelled() {
            end_now();
        }
        cancelled.cancel();
    })?;
    Ok(token)
}

/// Ends the program from the thread that gets signals, from where nothing can be returned to `main`.
#[expect(clippy::disallowed_methods, reason = "who asks twice for the end does not want to wait for the answer of a peer")]
fn end_now() -> ! {
    scratch::delete_all();
    // What a shell says of a program that SIGINT ended.
    std::process::exit(130)
}

/// The uuid of a connection that is given by name or uuid. One that is deleted has its uuid still in the history.
pub fn connection_uuid(site: &Site, name_or_uuid: &str) -> Result<Uuid, Failure> {
    match Uuid::try_parse(name_or_uuid) {
        Ok(uuid) => Ok(uuid),
        Err(_) => Ok(site.connections().find(name_or_uuid).map_err(Failure::typed)?.uuid),
    }
}

/// A moment as text.
pub fn moment(moment: OffsetDateTime) -> String {
    // What RFC 3339 cannot write (a year of five digits) is in no session.
    moment.replace_nanosecond(0).unwrap_or(moment).format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}
