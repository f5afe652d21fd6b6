//! The site's key: given by the host, or kept in a file beside the database that only its owner can read.

mod file;
mod guard;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::secret::SiteKey;
use crate::state::{self, outbox, sessions, settings, tickets};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
use crate::store::{Sql, Store};
use file::{KeyFile, fits, foreign};

/// The setting that holds the fingerprint of the key that this database is used with.
pub(crate) const FINGERPRINT: &str = "site_key_fingerprint";

/// Where the site's key comes from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// The host gave it.
    Given(SiteKey),
    /// It is in this file, made when first needed.
    File(KeyFile),
    /// The store has no place for it, and the host gave none.
    Nowhere,
}

impl KeySource {
    /// In a file that the host named.
    pub(crate) fn named(path: PathBuf) -> Self {
        KeySource::File(KeyFile::named(path, None))
    }

    /// In the file that the host named, or in the one beside the database.
    #[cfg(feature = "sqlite")]
    pub(crate) fn of(store: &SqliteStore, named: Option<PathBuf>) -> Self {
        KeySource::beside(store.path().to_owned(), (store.key_path(), store.older_key_path()), named)
    }

    /// The same for a database of this path, with the places beside it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn beside(database: PathBuf, (path, older): (PathBuf, Option<PathBuf>), named: Option<PathBuf>) -> Self {
        KeySource::File(match named {
            Some(path) => KeyFile::named(path, Some(database)),
            None => KeyFile::beside(path, database, older),
        })
    }

    /// Removes the key with this fingerprint, or with any, if it lies beside the database: one that the host named may be that of others, too.
    /// Gives the file that was removed.
    #[cfg(feature = "sqlite")]
    pub(crate) fn remove(&self, fingerprint: Option<&str>) -> Result<Option<PathBuf>> {
        match self {
            KeySource::File(file) => file.remove(fingerprint),
            KeySource::Given(_) | KeySource::Nowhere => Ok(None),
        }
    }

    /// Looks for the key of a database with this fingerprint, or that has none yet. It changes nothing.
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) if it is missing, is another one, or can be read by others.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn examine(&self, fingerprint: Option<&str>) -> Result<Place> {
        match (self, fingerprint) {
            (KeySource::Given(key), Some(fingerprint)) if !fits(key, fingerprint) => {
                Err(foreign("the site's key that was given"))
            }
            (KeySource::Given(_), _) => Ok(Place::Given),
            (KeySource::Nowhere, _) => Ok(Place::Nowhere),
            (KeySource::File(file), Some(fingerprint)) => {
                let (_, is_in_place) = file.kept(fingerprint)?;
                let path = file.path().to_owned();
                Ok(if is_in_place { Place::File(path) } else { Place::Elsewhere(path) })
            }
            (KeySource::File(file), None) => {
                let path = file.path().to_owned();
                Ok(if file.is_there()? { Place::File(path) } else { Place::NotMade(path) })
            }
        }
    }
}

/// Where a key was found.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The host gave it.
    Given,
    /// The host gave none, and named no file.
    Nowhere,
    /// In its file.
    File(PathBuf),
    /// In a file from which the next use puts it into this one.
    Elsewhere(PathBuf),
    /// Nowhere: it is made in this file when first needed.
    NotMade(PathBuf),
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
        let key = match &expected {
            Some(expected) => self.kept(store, expected)?,
            // One process at a time makes a key, and records it.
            None => state::write(store, |sql| match settings::get(sql, FINGERPRINT)? {
                Some(faster) => self.source.kept(store, &faster).map(|(key, _)| key),
                None => {
                    let key = self.source.first(store)?;
                    settings::set(sql, FINGERPRINT, &key.fingerprint())?;
                    Ok(key)
                }
            })?,
        };
        *known = Some(key.clone());
        Ok(key)
    }

    /// Takes the key of another site, which moves into this store: where there is none yet, in the file or in the store, it is put there.
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) if there is another one.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(crate) fn adopt(&self, store: &dyn Store, key: &SiteKey) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let another = |which: String| {
            Error::new(ErrorKind::SiteKey, format!("{which} is not that of the site that is copied"))
                .with_hint("What its key sealed needs the same key: name a file that is not there, and it is written.")
        };
        state::write(store, |sql| {
            if settings::get(sql, FINGERPRINT)?.is_some_and(|fingerprint| !fits(key, &fingerprint)) {
                return Err(another(format!("the key of {}", store.name())));
            }
            let is_same = match &self.source {
                KeySource::Given(own) => fits(own, &key.fingerprint()),
                KeySource::File(file) => file.adopt(key)?,
                KeySource::Nowhere => return Err(nowhere(store)),
            };
            match (is_same, &self.source) {
                (true, _) => settings::set(sql, FINGERPRINT, &key.fingerprint()),
                (false, KeySource::File(file)) => Err(another(format!("the key in {}", file.path().display()))),
                (false, _) => Err(another("the key that was given".to_owned())),
            }
        })?;
        *known = Some(key.clone());
        Ok(())
    }

    fn kept(&self, store: &dyn Store, fingerprint: &str) -> Result<SiteKey> {
        let mut fingerprint = fingerprint.to_owned();
        loop {
            match self.source.kept(store, &fingerprint) {
                Ok((key, true)) => return Ok(key),
                Ok((key, false)) => {
                    self.put_in_place(store);
                    return Ok(key);
                }
                // Another process may have made a new key between the two looks.
                Err(error) => match state::read(store, |sql| settings::get(sql, FINGERPRINT))? {
                    Some(now) if now != fingerprint => fingerprint = now,
                    _ => return Err(error),
                },
            }
        }
    }

    /// Starts again with a new key (or with the one that the host gave), and deletes what only the old one could use: the
    /// sessions, the messages to other sites that were not sent yet, and the tickets kept of other sites.
    ///
    /// The old key stays in its place until the database has the fingerprint of the new one: see [`KeyFile`].
    pub(crate) fn reset(&self, store: &dyn Store) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = None;
        let key = state::write(store, |sql| {
            let old = settings::get(sql, FINGERPRINT)?;
            before.clone_from(&old);
            let key = match &self.source {
                KeySource::Given(key) => key.clone(),
                KeySource::File(file) => {
                    // A key that still waits to be put into its place is not to be written over.
                    if let Some(old) = &old {
                        file.put_in_place(old, || store.flush())?;
                    }
                    file.prepare()?
                }
                KeySource::Nowhere => return Err(nowhere(store)),
            };
            forget_sealed(sql, old.is_none_or(|old| !fits(&key, &old)))?;
            settings::set(sql, FINGERPRINT, &key.fingerprint())?;
            Ok(key)
        });
        // Also where it failed: the database says which key is the right one.
        self.put_in_place(store);
        let key = key?;
        if let (KeySource::File(file), Some(before)) = (&self.source, before) {
            file.forget_older(&before);
        }
        *known = Some(key);
        Ok(())
    }

    /// Puts the key into its place, and takes a useless one away. The right one is found where it is, too.
    fn put_in_place(&self, store: &dyn Store) {
        let KeySource::File(file) = &self.source else { return };
        let put = state::write(store, |sql| match settings::get(sql, FINGERPRINT)? {
            Some(fingerprint) => file.put_in_place(&fingerprint, || store.flush()),
            None => Ok(()),
        });
        if let Err(error) = put {
            log::warn!(
                target: "rowferry::site",
                "a key stays beside {}, and is found there if it is the right one: {error}", file.path().display()
            );
        }
    }
}

impl KeySource {
    /// The key with this fingerprint, and whether it is where it should be.
    fn kept(&self, store: &dyn Store, fingerprint: &str) -> Result<(SiteKey, bool)> {
        match self {
            KeySource::Given(key) if fits(key, fingerprint) => Ok((key.clone(), true)),
            KeySource::File(file) => file.kept(fingerprint),
            KeySource::Given(_) => Err(foreign("the site's key that was given")),
            KeySource::Nowhere => Err(nowhere(store)),
        }
    }

    /// The key of a database that was not used with one yet.
    fn first(&self, store: &dyn Store) -> Result<SiteKey> {
        match self {
            KeySource::Given(key) => Ok(key.clone()),
            KeySource::File(file) => file.first(),
            KeySource::Nowhere => Err(nowhere(store)),
        }
    }
}

/// Deletes what only the old key could use; a host may also give the same key again.
fn forget_sealed(sql: &mut dyn Sql, is_new: bool) -> Result<()> {
    sessions::delete_all(sql)?;
    if is_new {
        outbox::forget_all(sql)?;
        tickets::forget_all(sql)?;
    }
    Ok(())
}

fn nowhere(store: &dyn Store) -> Error {
    Error::new(ErrorKind::SiteKey, format!("{} has no place beside it for the site's key", store.name()))
        .with_hint("Give the site a key when it is built: `Site::builder().key(..)` or `.key_file(..)`.")
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
