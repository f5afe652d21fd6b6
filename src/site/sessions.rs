//! Sessions: one-off pairings by a code.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Site;
use crate::clock;
use crate::domain::connection::Metadata;
use crate::domain::event::EventKind;
use crate::domain::session::{Direction, SessionInfo, SessionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Code;
use crate::state::{self, events, ids, sessions, tickets};

impl Site {
    /// One-off pairings by a code.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(self)
    }
}

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

    /// Makes a session that lives for [`RetentionLimits::session_time`](crate::RetentionLimits::session_time).
    pub fn create(&self, direction: Direction) -> Result<Session> {
        self.create_with(direction, self.site.limits().retention.session_time)
    }

    /// Makes a session that lives for this long. After it, its pull can no longer be resumed; a channel that is open is not cut.
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
            ticket: None,
        };
        state::write(self.site.store_ref(), |sql| sessions::insert(sql, &info, &code_hash))?;
        Ok(Session { site: self.site.clone(), code, info })
    }

    /// A session by its id.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn get(&self, uuid: Uuid) -> Result<SessionInfo> {
        let now = self.site.now();
        state::read(self.site.store_ref(), |sql| sessions::by_uuid(sql, uuid, now))?.ok_or_else(|| not_found(uuid))
    }

    /// A session by its id, or by the beginning or the end of it: 4 digits at least, and as many as only one session has.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a part of several ids.
    pub fn find(&self, id: &str) -> Result<SessionInfo> {
        let now = self.site.now();
        let found = state::read(self.site.store_ref(), |sql| match ids::find(sql, "rowferry_sessions", "session", id)? {
            Some(uuid) => sessions::by_uuid(sql, uuid, now),
            None => Ok(None),
        })?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no session {id}")))
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

    /// Uses a code up: the session is marked as used by `by` (an address, for those who read the list). Of several at once only
    /// one gets it.
    ///
    /// # Errors
    /// Those of [`Sessions::validate`].
    pub fn use_code(&self, code: &str, by: Option<&str>) -> Result<SessionInfo> {
        let actor = by.map_or_else(|| "host".to_owned(), |by| format!("peer {by}"));
        self.use_code_for(code, by, &actor, None)
    }

    /// [`Sessions::use_code`] by this actor, who gets this ticket to come back with: all of it or nothing.
    pub(crate) fn use_code_for(
        &self,
        code: &str,
        by: Option<&str>,
        actor: &str,
        ticket: Option<&tickets::New>,
    ) -> Result<SessionInfo> {
        let code = Code::parse(code).ok_or_else(invalid_code)?;
        let code_hash = self.site.key()?.code_hash(&code);
        // A look first: one who guesses codes must not make the database write.
        self.judge(&code_hash)?;
        let now = self.site.now();
        let marked = self.site.change(|sql| {
            if !sessions::mark_used(sql, &code_hash, by, now)? {
                return Ok(None);
            }
            let Some(session) = sessions::by_code(sql, &code_hash, now)? else { return Ok(None) };
            ticket.map(|ticket| tickets::give(sql, session.uuid, ticket)).transpose()?;
            let session = sessions::by_uuid(sql, session.uuid, now)?.unwrap_or(session);
            let mut details = Metadata::new();
            details.insert("session".to_owned(), session.uuid.to_string().into());
            if let Some(ticket) = &session.ticket {
                details.insert("ticket_until".to_owned(), clock::to_text(ticket.expires_at).into());
            }
            events::add(sql, now, EventKind::SessionUsed, actor, None, None, details)?;
            Ok(Some(session))
        })?;
        match marked {
            Some(session) => Ok(session),
            // Used, expired or deleted between the look and the mark.
            None => self.judge(&code_hash).and(Err(invalid_code())),
        }
    }

    /// Changes when a session expires. If its code is used, the pull that it began can be resumed until then at the latest.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a year after 9999.
    pub fn update(&self, uuid: Uuid, expires_at: OffsetDateTime) -> Result<SessionInfo> {
        if !(0..=9999).contains(&expires_at.to_offset(time::UtcOffset::UTC).year()) {
            return Err(too_late());
        }
        let changed = state::write(self.site.store_ref(), |sql| {
            tickets::end_by(sql, uuid, expires_at)?;
            sessions::set_expiry(sql, uuid, expires_at)
        })?;
        match changed {
            true => self.get(uuid),
            false => Err(not_found(uuid)),
        }
    }

    /// Deletes a session; its code no longer works. A channel that was opened with it gets nothing more.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn delete(&self, uuid: Uuid) -> Result<()> {
        match state::write(self.site.store_ref(), |sql| sessions::delete(sql, uuid))? {
            true => Ok(()),
            false => Err(not_found(uuid)),
        }
    }

    /// All sessions, used and expired ones too, the oldest first.
    pub fn list(&self) -> Result<Vec<SessionInfo>> {
        let now = self.site.now();
        state::read(self.site.store_ref(), |sql| sessions::list(sql, now))
    }

    /// The sessions whose code works, the oldest first.
    pub fn list_active(&self) -> Result<Vec<SessionInfo>> {
        let now = self.site.now();
        state::read(self.site.store_ref(), |sql| sessions::list_active(sql, now))
    }

    /// How many sessions there are, used and expired ones too.
    pub fn count(&self) -> Result<u64> {
        state::read(self.site.store_ref(), sessions::count)
    }

    fn judge(&self, code_hash: &str) -> Result<SessionInfo> {
        let now = self.site.now();
        let found = state::read(self.site.store_ref(), |sql| sessions::by_code(sql, code_hash, now))?;
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
    /// The code, for the site that is to pull.
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
            Err(error) => {
                log::warn!(target: "rowferry::site", "the session {} could not be deleted: {error}", self.0.uuid())
            }
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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::Arc;

    use time::macros::datetime;

    use super::*;
    use crate::clock::ManualClock;
    use crate::limits::Limits;
    use crate::site::testing::Home;

    /// One on each kind of database.
    fn sites() -> impl Iterator<Item = (Home, Site, Arc<ManualClock>)> {
        Home::each().into_iter().map(|home| {
            let clock = Arc::new(ManualClock::new(datetime!(2026-01-02 03:04:05 UTC)));
            let site = home.open(Site::builder().clock(clock.clone()));
            (home, site, clock)
        })
    }

    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn a_code_works_once() {
        for (_home, site, _) in sites() {
            let session = site.sessions().create(Direction::Send).unwrap();
            let seen = site.sessions().validate(session.code()).unwrap();
            assert_eq!((seen.uuid, seen.status, seen.direction), (session.uuid(), SessionStatus::Active, Direction::Send));
            assert_eq!(&seen, session.info());
            let used = site.sessions().use_code(session.code(), Some("192.0.2.1")).unwrap();
            assert_eq!((used.status, used.used_by.as_deref()), (SessionStatus::Used, Some("192.0.2.1")));
            assert_eq!(used.used_at, Some(datetime!(2026-01-02 03:04:05 UTC)));
            assert_eq!(kind(site.sessions().use_code(session.code(), None)), Some(ErrorKind::CodeUsed));
            assert_eq!(kind(site.sessions().validate(session.code())), Some(ErrorKind::CodeUsed));
            for wrong in ["ZZZZZZZZ", "", "zzzzzzzz", "nonsense\0"] {
                assert_eq!(kind(site.sessions().use_code(wrong, None)), Some(ErrorKind::InvalidCode), "{wrong}");
            }
        }
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        for (_home, site, _) in sites() {
            let session = site.sessions().create(Direction::Send).unwrap();
            let results = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..6).map(|_| scope.spawn(|| site.sessions().use_code(session.code(), None))).collect();
                threads.into_iter().map(|thread| kind(thread.join().unwrap())).collect::<Vec<_>>()
            });
            assert_eq!(results.iter().filter(|result| result.is_none()).count(), 1, "{results:?}");
            assert!(results.iter().flatten().all(|kind| *kind == ErrorKind::CodeUsed), "{results:?}");
        }
    }

    #[test]
    fn codes_expire() {
        for (_home, site, clock) in sites() {
            let short = site.sessions().create_with(Direction::Send, Duration::from_secs(60)).unwrap();
            let long = site.sessions().create(Direction::Receive).unwrap();
            assert_eq!(long.expires_at(), datetime!(2026-01-03 03:04:05 UTC));
            clock.advance(Duration::from_secs(59));
            assert!(site.sessions().validate(short.code()).is_ok());
            clock.advance(Duration::from_secs(1));
            assert_eq!(kind(site.sessions().use_code(short.code(), None)), Some(ErrorKind::InvalidCode));
            assert_eq!(site.sessions().get(short.uuid()).unwrap().status, SessionStatus::Expired);
            let active: Vec<_> = site.sessions().list_active().unwrap().iter().map(|session| session.uuid).collect();
            assert_eq!(active, [long.uuid()]);
            assert_eq!(site.sessions().list().unwrap().len(), 2);
            let again = site.sessions().update(short.uuid(), datetime!(2026-06-01 00:00 UTC)).unwrap();
            assert_eq!(again.status, SessionStatus::Active);
            assert!(site.sessions().use_code(short.code(), None).is_ok());
            assert_eq!(kind(site.sessions().create_with(Direction::Send, Duration::MAX)), Some(ErrorKind::InvalidInput));
        }
    }

    #[test]
    fn sessions_end_when_deleted_or_dropped() {
        for (_home, site, _) in sites() {
            let session = site.sessions().create(Direction::Send).unwrap();
            let guarded = site.sessions().create(Direction::Send).unwrap().guard();
            assert_eq!(site.sessions().count().unwrap(), 2);
            site.sessions().delete(session.uuid()).unwrap();
            assert_eq!(kind(site.sessions().delete(session.uuid())), Some(ErrorKind::NotFound));
            assert_eq!(kind(site.sessions().get(session.uuid())), Some(ErrorKind::NotFound));
            assert_eq!(kind(site.sessions().update(session.uuid(), site.now())), Some(ErrorKind::NotFound));
            assert_eq!(kind(site.sessions().validate(session.code())), Some(ErrorKind::InvalidCode));
            drop(guarded);
            assert_eq!(site.sessions().count().unwrap(), 0);
        }
    }

    #[test]
    fn what_is_stored_gives_no_code_away() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let session = site.sessions().create(Direction::Send).unwrap();
        let printed = format!("{session:?} {:?}", site.sessions().list().unwrap());
        assert!(!printed.contains(session.code()));
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|window| window == session.code().as_bytes()));
        }
    }

    #[test]
    fn without_a_file_the_host_gives_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let reopened = Site::builder().key(crate::SiteKey::from_bytes([1; 32])).limits(Limits::default());
        let other = reopened.open(folder.path().join("a.db")).unwrap();
        other.sessions().create(Direction::Send).unwrap().guard();
        assert_eq!(kind(site.sessions().create(Direction::Send)), Some(ErrorKind::SiteKey));
    }
}
