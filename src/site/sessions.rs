//! Sessions: one-off pairings by a code.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Site;
use crate::domain::session::{Direction, SessionInfo, SessionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Code;
use crate::store::records::{self, sessions};

/// The sessions of a [`Site`]. Each lives until it is used, expires or is deleted.
///
/// Every method fails with what the store says; those that deal with codes also when the site's key is lost
/// ([`SiteKey`](ErrorKind::SiteKey)).
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'s> {
    site: &'s Site,
}

impl<'s> Sessions<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Sessions { site }
    }

    /// Makes a session that lives for [`Limits::session_time`](crate::Limits::session_time).
    pub fn create(&self, direction: Direction) -> Result<Session> {
        self.create_with(direction, self.site.limits().session_time)
    }

    /// Makes a session that lives for this long.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a time that ends after the year 9999.
    pub fn create_with(&self, direction: Direction, time: Duration) -> Result<Session> {
        let now = self.site.now();
        let ends = time::Duration::try_from(time).ok().and_then(|time| now.checked_add(time));
        let expires_at = ends.filter(|ends| ends.year() <= 9999).ok_or_else(too_late)?;
        let code = Code::generate()?;
        let code_hash = self.site.key()?.code_hash(&code);
        let info = SessionInfo {
            uuid: Uuid::now_v7(),
            direction,
            status: SessionStatus::Active,
            created_at: now,
            expires_at,
            used_at: None,
            used_by: None,
        };
        records::write(self.site.store_ref(), |sql| sessions::insert(sql, &info, &code_hash))?;
        Ok(Session { site: self.site.clone(), code, info })
    }

    /// A session by its id.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn get(&self, uuid: Uuid) -> Result<SessionInfo> {
        let now = self.site.now();
        records::read(self.site.store_ref(), |sql| sessions::by_uuid(sql, uuid, now))?.ok_or_else(|| not_found(uuid))
    }

    /// The session of a code that works, without using it up.
    ///
    /// # Errors
    /// [`InvalidCode`](ErrorKind::InvalidCode) when there is none, or its time is over; [`CodeUsed`](ErrorKind::CodeUsed).
    pub fn validate(&self, code: &str) -> Result<SessionInfo> {
        let code = Code::parse(code).ok_or_else(invalid_code)?;
        let code_hash = self.site.key()?.code_hash(&code);
        self.judge(&code_hash)
    }

    /// Uses a code up: the session is marked as used by `by` (an address, for whoever reads the list). Of several at once only
    /// one gets it.
    ///
    /// # Errors
    /// Those of [`Sessions::validate`].
    pub fn use_code(&self, code: &str, by: Option<&str>) -> Result<SessionInfo> {
        let code = Code::parse(code).ok_or_else(invalid_code)?;
        let code_hash = self.site.key()?.code_hash(&code);
        // A look first: whoever guesses codes must not make the database write.
        self.judge(&code_hash)?;
        let now = self.site.now();
        let marked = records::write(self.site.store_ref(), |sql| match sessions::mark_used(sql, &code_hash, by, now)? {
            true => sessions::by_code(sql, &code_hash, now),
            false => Ok(None),
        })?;
        match marked {
            Some(session) => Ok(session),
            // Used, expired or deleted between the look and the mark.
            None => self.judge(&code_hash).and(Err(invalid_code())),
        }
    }

    /// Changes when a session expires.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a year after 9999.
    pub fn update(&self, uuid: Uuid, expires_at: OffsetDateTime) -> Result<SessionInfo> {
        if !(0..=9999).contains(&expires_at.to_offset(time::UtcOffset::UTC).year()) {
            return Err(too_late());
        }
        match records::write(self.site.store_ref(), |sql| sessions::set_expiry(sql, uuid, expires_at))? {
            true => self.get(uuid),
            false => Err(not_found(uuid)),
        }
    }

    /// Deletes a session; its code no longer works. A connection that was opened with it goes on.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn delete(&self, uuid: Uuid) -> Result<()> {
        match records::write(self.site.store_ref(), |sql| sessions::delete(sql, uuid))? {
            true => Ok(()),
            false => Err(not_found(uuid)),
        }
    }

    /// All sessions, used and expired ones too, the oldest first.
    pub fn list(&self) -> Result<Vec<SessionInfo>> {
        let now = self.site.now();
        records::read(self.site.store_ref(), |sql| sessions::list(sql, now))
    }

    /// The sessions whose code works, the oldest first.
    pub fn list_active(&self) -> Result<Vec<SessionInfo>> {
        let now = self.site.now();
        records::read(self.site.store_ref(), |sql| sessions::list_active(sql, now))
    }

    /// How many sessions there are, used and expired ones too.
    pub fn count(&self) -> Result<u64> {
        records::read(self.site.store_ref(), sessions::count)
    }

    fn judge(&self, code_hash: &str) -> Result<SessionInfo> {
        let now = self.site.now();
        let found = records::read(self.site.store_ref(), |sql| sessions::by_code(sql, code_hash, now))?;
        match found {
            Some(session) if session.status == SessionStatus::Used => {
                Err(Error::new(ErrorKind::CodeUsed, "the code was used before").with_hint("Ask for a new one."))
            }
            Some(session) if session.status == SessionStatus::Active => Ok(session),
            _ => Err(invalid_code()),
        }
    }
}

/// A session that was just made, with its code: the only time that it is known.
#[derive(Debug)]
#[must_use = "the code is known only here"]
pub struct Session {
    site: Site,
    code: Code,
    info: SessionInfo,
}

impl Session {
    /// The code, to be given to whom the session is for.
    pub fn code(&self) -> &str {
        self.code.as_str()
    }

    /// The session's id.
    pub fn uuid(&self) -> Uuid {
        self.info.uuid
    }

    /// From when on the code no longer works.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.info.expires_at
    }

    /// The session as it is listed, without its code.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// Binds the session to a value: it is deleted when that is dropped.
    pub fn guard(self) -> SessionGuard {
        SessionGuard(self)
    }
}

/// A session that is deleted when this is dropped.
#[derive(Debug)]
pub struct SessionGuard(Session);

impl std::ops::Deref for SessionGuard {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        match self.0.site.sessions().delete(self.0.uuid()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => log::warn!("the session {} could not be deleted: {error}", self.0.uuid()),
        }
    }
}

fn invalid_code() -> Error {
    Error::new(ErrorKind::InvalidCode, "there is no session with this code")
        .with_hint("Check the code, or ask for a new one: codes expire.")
}

fn not_found(uuid: Uuid) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no session {uuid}"))
}

fn too_late() -> Error {
    Error::new(ErrorKind::InvalidInput, "a session ends in the year 9999 at the latest")
}
