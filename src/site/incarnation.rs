//! Which copy of a database this is: a random uuid, noted with where the database was when it was last asked for.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Site;
use crate::domain::connection::Metadata;
use crate::domain::event::EventKind;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{self, events, settings};
use crate::store::{Sql, StoreIdentity};

/// The setting that holds the incarnation.
pub(super) const INCARNATION: &str = "incarnation";

/// The setting that holds what the database was last opened as.
pub(super) const OPENED_AS: &str = "opened_as";

/// The actor of the event that tells of a copy.
const ACTOR: &str = "site";

impl Site {
    /// Which copy of its database this site is: a random uuid, which a copy of the file replaces with one of its own, while
    /// [`Site::uuid`] is copied. It is made, or compared with where the database is, when it is first asked for.
    ///
    /// A database is a copy if it is on another machine than when it was last asked, or if both its path (without symbolic links)
    /// and its number in the file system are others. With only one of these it was moved, restored in place or mounted elsewhere,
    /// and stays what it is. Where the system has no machine id, as in many containers, or had none then, and gives files a number, another
    /// number is enough. A [store](crate::store::Store::identity) that cannot be told from a copy keeps its incarnation permanently.
    ///
    /// # Errors
    /// What the store says; [`Corrupt`](ErrorKind::Corrupt) if it cannot be read.
    pub fn incarnation(&self) -> Result<Uuid> {
        if let Some(uuid) = self.0.incarnation.get() {
            return Ok(*uuid);
        }
        let uuid = current(self)?;
        Ok(*self.0.incarnation.get_or_init(|| uuid))
    }
}

/// The incarnation of a site's store: a new one if the store is a copy.
pub(super) fn current(site: &Site) -> Result<Uuid> {
    let here = site.store_ref().identity().map(|identity| Note::of(&identity));
    // A look first, which needs no write lock.
    if let Found { incarnation: Some(uuid), state: State::AsNoted } = state::read(site.store_ref(), |sql| look(sql, &here))?
    {
        return Ok(uuid);
    }
    let now = site.now();
    // Another process may have been faster: then nothing is left to do.
    let (uuid, is_copy) = site.change(|sql| {
        let found = look(sql, &here)?;
        let (uuid, is_copy) = match (found.incarnation, found.state) {
            (Some(uuid), State::AsNoted) => return Ok((uuid, false)),
            (Some(uuid), State::Moved) => (uuid, false),
            (old, State::Copied) => (Uuid::new_v4(), old.is_some()),
            (None, _) => (Uuid::new_v4(), false),
        };
        settings::set(sql, INCARNATION, &uuid.to_string())?;
        if let Some(here) = &here {
            settings::set(sql, OPENED_AS, &here.to_text())?;
        }
        if is_copy {
            events::add(sql, now, EventKind::SiteCopied, ACTOR, None, None, Metadata::new())?;
        }
        Ok((uuid, is_copy))
    })?;
    if is_copy {
        log::warn!(target: "rowferry::site", "{} is a copy of a database that was opened elsewhere", site.store_ref().name());
    }
    Ok(uuid)
}

/// What the store knows of itself.
struct Found {
    incarnation: Option<Uuid>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is where it was, or cannot tell.
    AsNoted,
    /// It is the same store at another place, or was not noted yet.
    Moved,
    Copied,
}

fn look(sql: &mut dyn Sql, here: &Option<Note>) -> Result<Found> {
    let incarnation = settings::get(sql, INCARNATION)?.map(|text| text.parse()).transpose().map_err(|_| {
        Error::new(ErrorKind::Corrupt, "the site's incarnation in rowferry_settings cannot be read")
            .with_hint("Restore the database from a backup.")
    })?;
    let noted = settings::get(sql, OPENED_AS)?;
    let state = match (here, noted) {
        (None, _) => State::AsNoted,
        (Some(_), None) => State::Moved,
        // A note that cannot be read tells nothing, and to begin again is the safe side.
        (Some(here), Some(noted)) => Note::from_text(&noted).map_or(State::Copied, |noted| here.since(&noted)),
    };
    Ok(Found { incarnation, state })
}

/// What a store was opened as: a digest of each part of its [`StoreIdentity`], because a database is given to others and the id
/// of a machine is nobody else's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    machine: Option<String>,
    object: Option<String>,
    place: String,
}

impl Note {
    fn of(identity: &StoreIdentity) -> Self {
        Note {
            machine: identity.machine.as_deref().map(|id| digest("machine", id)),
            object: identity.object.as_deref().map(|id| digest("object", id)),
            place: digest("place", &identity.place),
        }
    }

    fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What became of a store that was noted like this.
    fn since(&self, noted: &Note) -> State {
        let same_object = self.object.is_some() && self.object == noted.object;
        let other_object = self.object.is_some() && self.object != noted.object;
        let other_place = self.place != noted.place;
        // Without the id of the machine, the same place may be on another one. That it is told only once says nothing: a role or a
        // container may be kept from it.
        let machines = self.machine.as_ref().zip(noted.machine.as_ref());
        let other_machine = machines.is_some_and(|(here, noted)| here != noted);
        let is_copy = other_machine || (other_place && !same_object) || (other_object && machines.is_none());
        match (self == noted, is_copy) {
            (true, _) => State::AsNoted,
            (false, false) => State::Moved,
            (false, true) => State::Copied,
        }
    }
}

fn digest(what: &str, id: &str) -> String {
    let digest = Sha256::new().chain_update(format!("rowferry.{what}\0")).chain_update(id).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(noted: [&str; 3], here: [&str; 3]) -> State {
        let note = |[machine, place, object]: [&str; 3]| {
            let identity = StoreIdentity::new(place);
            let identity = if machine.is_empty() { identity } else { identity.machine(machine) };
            Note::of(&if object.is_empty() { identity } else { identity.object(object) })
        };
        let (noted, here) = (note(noted), note(here));
        let noted = Note::from_text(&noted.to_text()).unwrap();
        here.since(&noted)
    }

    #[test]
    fn a_copy_is_told_from_what_was_moved() {
        use State::*;
        let was = ["m", "/a", "1:2"];
        let all = [
            (was, was, AsNoted),
            (was, ["m", "/b", "1:2"], Moved),
            (was, ["m", "/a", "1:3"], Moved),
            (was, ["m", "/b", "1:3"], Copied),
            (was, ["n", "/a", "1:2"], Copied),
            (was, ["", "/a", "1:2"], Moved),
            (["", "/a", "1:2"], was, Moved),
            (was, ["", "/a", "1:3"], Copied),
            (["", "/a", "1:2"], ["m", "/b", "1:3"], Copied),
            // No machine id.
            (["", "/a", "1:2"], ["", "/a", "1:2"], AsNoted),
            (["", "/a", "1:2"], ["", "/b", "1:2"], Moved),
            (["", "/a", "1:2"], ["", "/a", "1:3"], Copied),
            // No numbers of files.
            (["m", "/a", ""], ["m", "/a", ""], AsNoted),
            (["m", "/a", ""], ["m", "/b", ""], Copied),
            (["", "/a", ""], ["", "/b", ""], Copied),
        ];
        for (noted, here, expected) in all {
            assert_eq!(since(noted, here), expected, "{noted:?}, {here:?}");
        }
    }

    #[test]
    fn what_is_noted_gives_nothing_away() {
        let text = Note::of(&StoreIdentity::new("/home/ann/a.db").machine("abc123").object("1:2")).to_text();
        assert!(!text.contains("ann") && !text.contains("abc123") && !text.contains("1:2"), "{text}");
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn a_store_that_is_only_in_memory_keeps_its_incarnation() {
        let store = std::sync::Arc::new(crate::store::MemoryStore::new().unwrap());
        let incarnation = || Site::builder().with_store(store.clone()).incarnation().unwrap();
        assert_eq!(incarnation(), incarnation());
    }
}
