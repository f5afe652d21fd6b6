//! The one place where access is decided. HTTP calls, WebSocket upgrades and every request on a channel ask here: who is it
//! ([`Access`]), may it look or pull ([`Grant`]), and how much ([`Account`]).
//!
//! What a connection allows is decided by [`domain::access`](crate::domain::access); here is what needs memory or the store:
//! counting, taking allowances so that two at once cannot grant a limit, approvals, the history, and the events of what was
//! refused. Nothing here holds a snapshot, a lock or a transaction while a peer is waited for.

mod account;
mod approval;
mod attempts;
mod begin;
mod caller;
mod course;
mod grant;
mod lifecycle;
mod look;
mod moments;
mod passwords;
mod paused;
mod place;
mod questions;
mod register;
mod session_pulls;
mod shape;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::access::{self, Denial, Use};
use crate::domain::connection::{Connection, ConnectionDirection, Metadata};
use crate::domain::event::EventKind;
use crate::domain::session::Direction;
use crate::error::{self, Error, ErrorKind};
use crate::secret::{Code, Credential, Ticket, Token};
use crate::site::Site;
use crate::state::transfers::pulls;
use crate::state::{self, connections, events, tickets};
pub(crate) use account::{Account, ResumeAt};
use attempts::{Bound, origin};
pub(crate) use begin::{Asked, Wanted};
use caller::actor;
pub(crate) use caller::{Answer, Caller, Refused};
pub(crate) use grant::{Grant, Looked};
use moments::earlier;
use passwords::Passwords;
pub(crate) use paused::{Paused, PausedPulls};
pub(crate) use place::GivenPlace;
pub(crate) use register::NotRegistered;
use session_pulls::SessionPulls;
pub(crate) use shape::schema_digest;

/// Decides on access for one site, and remembers what it must for that. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    site: Site,
    codes: Bound<Option<IpAddr>>,
    registrations: Bound<Option<IpAddr>>,
    passwords: Passwords,
    refusals: Bound<Teller>,
    strangers: Bound<()>,
    paused: PausedPulls,
    session_pulls: SessionPulls,
}

/// Whom an event of a refusal is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Teller {
    Connection(Uuid),
    Address(Option<IpAddr>),
}

/// How somebody with a token comes.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// To open a channel, for whatever is asked on it.
    Channel,
    /// With one call.
    Call(Use),
}

impl Access {
    pub(crate) fn new(site: &Site) -> Self {
        let limits = site.limits();
        let remembered = limits.remembered_addresses;
        let events = limits.refused_events_per_minute;
        Access(Arc::new(Shared {
            site: site.clone(),
            codes: Bound::new(limits.code_attempts_per_minute, remembered),
            registrations: Bound::new(limits.registrations_per_minute, remembered),
            passwords: Passwords::new(limits),
            refusals: Bound::new(events, remembered),
            strangers: Bound::new(events.saturating_mul(10), 1),
            paused: PausedPulls::new(limits.paused_pulls, site.names()),
            session_pulls: SessionPulls::new(remembered),
        }))
    }

    pub(crate) fn site(&self) -> &Site {
        &self.0.site
    }

    /// Whether the site takes part in sync.
    pub(crate) fn enabled(&self) -> Answer<()> {
        match self.site().settings().enabled()? {
            true => Ok(()),
            false => Err(Denial::new(ErrorKind::Disabled).into()),
        }
    }

    /// Lets in a peer with this token, onto a channel. Where a pull of the connection was interrupted, it may have come to resume
    /// it, which takes none of the connection's limits.
    pub(crate) fn by_token(&self, token: &str, password: Option<&str>, caller: &Caller) -> Answer<Grant> {
        let credential = Token::parse(token).ok().map(|token| token.credential());
        self.by_connection(credential.as_ref(), password, caller, Entry::Channel)
    }

    /// Lets in a peer with the token of this hash, for one call. A pull that continues is not refused because its connection's
    /// limits are used up: it has had its part of them.
    pub(crate) fn by_hash(&self, hash: &str, password: Option<&str>, caller: &Caller, how: Use) -> Answer<Grant> {
        self.by_connection(Credential::parse(hash).as_ref(), password, caller, Entry::Call(how))
    }

    fn by_connection(
        &self,
        credential: Option<&Credential>,
        password: Option<&str>,
        caller: &Caller,
        entry: Entry,
    ) -> Answer<Grant> {
        self.enabled()?;
        self.0.paused.end_late(self.site());
        let found = match credential {
            None => None,
            Some(credential) => state::read(self.site().store_ref(), |sql| {
                let found = connections::by_lookup(sql, &credential.lookup(), ConnectionDirection::Sender)?;
                let stored = found.as_ref().map(|found| connections::stored(sql, found.uuid)).transpose()?;
                Ok(found.zip(stored.flatten()))
            })?,
        };
        let Some((connection, stored)) = found else {
            let denial = Denial::new(ErrorKind::InvalidToken);
            self.note(&denial, None, caller);
            return Err(denial.into());
        };
        let judged = self.usable(&connection, entry, caller)?;
        let checked = judged.map_err(Refused::from).and_then(|()| match &stored.password_hash {
            Some(hash) => self.0.passwords.check(Some(connection.uuid), caller.address, password, hash),
            None => Ok(()),
        });
        if let Err(Refused::Denied(denial)) = &checked {
            self.note(denial, Some(&connection), caller);
        }
        checked?;
        Ok(Grant::of_connection(self.clone(), connection, stored, caller.clone()))
    }

    /// Whether a connection may be used. A channel may be for a pull that was interrupted, which has had its part of the limits: that
    /// is known of one without a name as long as it is remembered, and of a named one from the database.
    fn usable(&self, connection: &Connection, entry: Entry, caller: &Caller) -> Answer<Result<(), Denial>> {
        let (now, uuid) = (self.site().now(), connection.uuid);
        let usable = |how| access::usable(connection, how, now, caller.address);
        let judged = match entry {
            Entry::Call(how) => return Ok(usable(how)),
            Entry::Channel if self.0.paused.has(uuid) => return Ok(usable(Use::Running)),
            Entry::Channel => usable(Use::New),
        };
        match judged {
            Err(denial) if matches!(denial.kind, ErrorKind::DownloadLimit | ErrorKind::RecordLimit) => {
                let since = earlier(now, self.site().limits().pull_time);
                let is_open = state::read(self.site().store_ref(), |sql| pulls::has_open(sql, uuid, since))?;
                Ok(if is_open { usable(Use::Running) } else { Err(denial) })
            }
            judged => Ok(judged),
        }
    }

    /// Lets in a peer with this code, which is used up by it.
    pub(crate) fn by_code(&self, given: &str, caller: &Caller) -> Answer<(Code, Grant)> {
        self.enabled()?;
        self.0.paused.end_late(self.site());
        let key = origin(caller.address);
        self.0.codes.take(key).map_err(|wait| Denial::wait(ErrorKind::TooManyAttempts, wait))?;
        let (code, session) = self.guessed(self.spend(given, caller), caller)?;
        Ok((code, Grant::of_session(self.clone(), session, caller.clone())))
    }

    /// Lets in a peer with this code, which it does not use up, to look at what there is. It is not for records.
    pub(crate) fn look_by_code(&self, given: &str, caller: &Caller) -> Answer<(Code, Grant)> {
        self.enabled()?;
        let key = origin(caller.address);
        self.0.codes.take(key).map_err(|wait| Denial::wait(ErrorKind::TooManyAttempts, wait))?;
        let (code, session) = self.guessed(self.sending_session(given), caller)?;
        Ok((code, Grant::of_session(self.clone(), session, caller.clone())))
    }

    /// Lets in a peer with this ticket, with the rights of the session that it is of. It stays good until its time is over or the
    /// session is deleted: a receiver that is killed right after it came back has nothing else.
    pub(crate) fn by_ticket(&self, given: &str, caller: &Caller) -> Answer<Grant> {
        self.enabled()?;
        self.0.paused.end_late(self.site());
        let key = origin(caller.address);
        self.0.codes.take(key).map_err(|wait| Denial::wait(ErrorKind::TooManyAttempts, wait))?;
        let session = self.guessed(self.session_of(given), caller)?;
        log::info!("session {session} is resumed by {}", caller.named());
        Ok(Grant::of_session(self.clone(), session, caller.clone()))
    }

    fn session_of(&self, given: &str) -> error::Result<Uuid> {
        let found = match Ticket::parse(given).map(|ticket| ticket.lookup()) {
            None => None,
            Some(lookup) => {
                let now = self.site().now();
                state::read(self.site().store_ref(), |sql| tickets::session(sql, &lookup, now))?
            }
        };
        found.ok_or_else(|| Error::new(ErrorKind::InvalidCode, "there is no session with this ticket"))
    }

    /// What came of a code or ticket that somebody gave, and for which an attempt was taken: only a wrong one is an attempt.
    fn guessed<T>(&self, found: error::Result<T>, caller: &Caller) -> Answer<T> {
        if !matches!(&found, Err(error) if error.kind() == ErrorKind::InvalidCode) {
            self.0.codes.give_back(origin(caller.address));
        }
        found.map_err(|error| match error.kind() {
            ErrorKind::InvalidCode | ErrorKind::CodeUsed => {
                let denial = Denial::new(error.kind());
                self.note(&denial, None, caller);
                denial.into()
            }
            _ => error.into(),
        })
    }

    /// The session of a code that is good to pull with.
    fn sending_session(&self, given: &str) -> error::Result<(Code, Uuid)> {
        let invalid = || Error::new(ErrorKind::InvalidCode, "there is no session to send with this code");
        let code = Code::parse(given).ok_or_else(invalid)?;
        let session = self.site().sessions().validate(code.as_str())?;
        // A session to receive is for this site to pull; nobody pulls from here with it.
        match session.direction {
            Direction::Send => Ok((code, session.uuid)),
            Direction::Receive => Err(invalid()),
        }
    }

    fn spend(&self, given: &str, caller: &Caller) -> error::Result<(Code, Uuid)> {
        let (code, _) = self.sending_session(given)?;
        let sessions = self.site().sessions();
        let by = caller.address.map(|address| address.to_string());
        let session = sessions.use_code(code.as_str(), by.as_deref())?;
        log::info!("session {} is used by {}", session.uuid, by.as_deref().unwrap_or("an unknown address"));
        Ok((code, session.uuid))
    }

    /// The downloads without a name that wait for a later call, or for their receiver to come back.
    pub(crate) fn paused(&self) -> &PausedPulls {
        &self.0.paused
    }

    fn session_pulls(&self) -> &SessionPulls {
        &self.0.session_pulls
    }

    /// Keeps that something was refused, as an event: no more of them than the limit, so that a storm does not fill the disk.
    fn note(&self, denial: &Denial, connection: Option<&Connection>, caller: &Caller) {
        let mut details = Metadata::new();
        details.insert("reason".to_owned(), denial.kind.code().into());
        if let Some(table) = &denial.table {
            details.insert("table".to_owned(), crate::wire::excerpt(table).into());
        }
        self.tell(EventKind::AccessDenied, details, connection, denial.transfer, caller);
    }

    fn tell(
        &self,
        kind: EventKind,
        mut details: Metadata,
        connection: Option<&Connection>,
        transfer: Option<Uuid>,
        caller: &Caller,
    ) {
        let by = connection.map_or_else(|| caller.named(), actor);
        log::info!("{by}: {kind} {}", serde_json::Value::Object(details.clone()));
        let teller = match connection {
            Some(connection) => Teller::Connection(connection.uuid),
            None => Teller::Address(origin(caller.address)),
        };
        // Its own bound first: what one address has too much of takes nothing from others.
        let bounded = self.0.refusals.take(teller).is_err() || (connection.is_none() && self.0.strangers.take(()).is_err());
        if bounded {
            return;
        }
        if let Some(address) = caller.address {
            details.insert("address".to_owned(), address.to_canonical().to_string().into());
        }
        let (now, uuid) = (self.site().now(), connection.map(|connection| connection.uuid));
        let told = self.site().change(|sql| events::add(sql, now, kind, &by, uuid, transfer, details.clone()));
        if let Err(error) = told {
            // The refusal stands all the same, and the log has it.
            log::warn!("a refusal cannot be kept as an event: {error}");
        }
    }
}
