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
mod compare;
mod course;
mod grant;
mod guesses;
mod known;
mod lifecycle;
mod look;
mod moments;
mod passwords;
mod paused;
mod place;
mod questions;
mod refusal_log;
mod register;
mod session_pulls;
mod shape;
mod visit;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::access::{self, Denial, Use};
use crate::domain::address::wide_network;
use crate::domain::connection::{Connection, ConnectionDirection, Metadata};
use crate::domain::event::EventKind;
use crate::domain::session::Direction;
use crate::error::{self, Error, ErrorKind};
use crate::export::Room;
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
use guesses::Guesses;
use moments::{earlier, later};
use passwords::Passwords;
pub(crate) use paused::{Paused, PausedPulls};
pub(crate) use place::GivenPlace;
use refusal_log::RefusalLog;
pub(crate) use register::NotRegistered;
use session_pulls::SessionPulls;
pub(crate) use shape::schema_digest;
pub(crate) use visit::Returning;
use visit::{Visit, received};

/// Decides on access for one site, and remembers what it must for that. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Access(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    site: Site,
    codes: Guesses<Option<IpAddr>>,
    all_codes: Guesses<()>,
    registrations: Bound<Option<IpAddr>>,
    passwords: Passwords,
    refusals: Bound<Teller>,
    strangers: Bound<()>,
    log: RefusalLog<Teller>,
    paused: PausedPulls,
    session_pulls: SessionPulls,
    /// What is kept of tables that peers compare.
    compared: Room,
}

/// Whom an event is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Teller {
    Connection(Uuid),
    Session(Uuid),
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

/// How much later a code is judged while there are very many wrong ones.
const SLOWED: Duration = Duration::from_secs(1);

impl Access {
    pub(crate) fn new(site: &Site) -> Self {
        let limits = site.limits();
        let remembered = limits.server.remembered_addresses;
        let events = limits.server.refused_events_per_minute;
        Access(Arc::new(Shared {
            site: site.clone(),
            codes: Guesses::new("code", limits.server.code_attempts_per_minute, 1, remembered),
            all_codes: Guesses::new("all_codes", limits.server.all_code_attempts_per_minute, 1, 1),
            registrations: Bound::new(limits.server.registrations_per_minute, remembered),
            passwords: Passwords::new(limits),
            refusals: Bound::new(events, remembered),
            strangers: Bound::new(events.saturating_mul(10), 1),
            log: RefusalLog::new(events, remembered),
            paused: PausedPulls::new(limits.server.paused_pulls, site.names()),
            session_pulls: SessionPulls::new(remembered),
            compared: Room::default(),
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
            Some(hash) => self.0.passwords.check(self.site(), Some(connection.uuid), caller.address, password, hash),
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
                let since = earlier(now, self.site().limits().retention.pull_time);
                let is_open = state::read(self.site().store_ref(), |sql| pulls::has_open(sql, uuid, since))?;
                Ok(if is_open { usable(Use::Running) } else { Err(denial) })
            }
            judged => Ok(judged),
        }
    }

    /// Lets in a peer with this code, which is used up by it. One that can come back gets a ticket for that: the code is not used up where
    /// the ticket cannot be kept.
    pub(crate) fn by_code(&self, given: &str, returning: Option<Returning>, caller: &Caller) -> Answer<(Code, Grant)> {
        self.enabled()?;
        self.0.paused.end_late(self.site());
        let (code, _) = self.judged(caller, || self.sending_session(given))?;
        // It is right, and so no guess: to spend it may take until another program lets go of the database.
        let visit = self.told(self.spend(&code, returning, caller), caller)?;
        Ok((code, Grant::of_session(self.clone(), visit, caller.clone())))
    }

    /// Lets in a peer with this code, which it does not use up, to look at what there is. It is not for records.
    pub(crate) fn look_by_code(&self, given: &str, caller: &Caller) -> Answer<(Code, Grant)> {
        self.enabled()?;
        let (code, session) = self.judged(caller, || self.sending_session(given))?;
        Ok((code, Grant::of_session(self.clone(), Visit::by_code(session, None), caller.clone())))
    }

    /// Lets in a peer with this ticket, for the tables of the pull that it began with. It stays good until that pull has completed, its time
    /// is over or the session is deleted: a receiver that is killed right after it came back has nothing else.
    pub(crate) fn by_ticket(&self, given: &str, returning: Returning, caller: &Caller) -> Answer<Grant> {
        self.enabled()?;
        self.0.paused.end_late(self.site());
        let visit = self.judged(caller, || self.visit_of(given, returning))?;
        log::info!(target: "rowferry::access", "session {} is resumed by {}", visit.session, caller.named());
        let mut details = Metadata::new();
        details.insert("session".to_owned(), visit.session.to_string().into());
        self.keep(EventKind::SessionResumed, (details, &caller.named()), Teller::Session(visit.session), None, caller);
        Ok(Grant::of_session(self.clone(), visit, caller.clone()))
    }

    fn visit_of(&self, given: &str, returning: Returning) -> error::Result<Visit> {
        let found = match Ticket::parse(given).map(|ticket| ticket.lookup()) {
            None => None,
            Some(lookup) => {
                let (now, names) = (self.site().now(), self.site().names());
                state::read(self.site().store_ref(), |sql| {
                    let found = tickets::session(sql, &lookup, returning.receiver, now)?;
                    let visit = found.map(|(session, only)| {
                        let had = received(sql, session, only.as_deref(), names)?;
                        Ok(Visit::by_ticket(session, only, had))
                    });
                    visit.transpose()
                })?
            }
        };
        found.ok_or_else(|| Error::new(ErrorKind::InvalidCode, "there is no session with this ticket"))
    }

    /// A ticket, and what is kept of it.
    fn new_ticket(&self, returning: Returning) -> error::Result<(Ticket, tickets::New)> {
        let (site, ticket) = (self.site(), Ticket::generate()?);
        let expires_at = later(site.now(), site.limits().retention.ticket_time);
        let new = tickets::New { lookup: ticket.lookup(), receiver: returning.receiver, expires_at };
        Ok((ticket, new))
    }

    /// Judges a code or ticket that somebody gave. Only a wrong one is a guess. After too many from one address nothing is compared, and
    /// while there are very many from all addresses together each is judged later.
    fn judged<T>(&self, caller: &Caller, find: impl FnOnce() -> error::Result<T>) -> Answer<T> {
        // Who guesses may well have a whole provider's network.
        let (site, key) = (self.site(), caller.address.map(wide_network));
        let begin = || self.0.codes.begin(site, key).map_err(|wait| Denial::wait(ErrorKind::TooManyAttempts, wait));
        let mut guess = begin()?;
        if self.0.all_codes.look(site, ()).is_err() {
            drop(guess);
            std::thread::sleep(SLOWED);
            guess = begin()?;
        }
        let found = find();
        if matches!(&found, Err(error) if error.kind() == ErrorKind::InvalidCode) {
            guess.was_wrong(site);
            self.0.all_codes.add_wrong(site, ());
        } else {
            drop(guess);
        }
        self.told(found, caller)
    }

    /// What is told of a code or ticket that does not work.
    fn told<T>(&self, found: error::Result<T>, caller: &Caller) -> Answer<T> {
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

    fn spend(&self, code: &Code, returning: Option<Returning>, caller: &Caller) -> error::Result<Visit> {
        let ticket = returning.map(|returning| self.new_ticket(returning)).transpose()?;
        let by = caller.address.map(|address| address.to_string());
        let new = ticket.as_ref().map(|(_, new)| new);
        let session = self.site().sessions().use_code_for(code.as_str(), by.as_deref(), &caller.named(), new)?;
        log::info!(
            target: "rowferry::access",
            "session {} is used by {}", session.uuid, by.as_deref().unwrap_or("an unknown address")
        );
        Ok(Visit::by_code(session.uuid, ticket.map(|(ticket, _)| ticket)))
    }

    /// The downloads without a name that wait for a later call, or for their receiver to come back.
    pub(crate) fn paused(&self) -> &PausedPulls {
        &self.0.paused
    }

    fn room(&self) -> Room {
        self.0.compared.clone()
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
        details: Metadata,
        connection: Option<&Connection>,
        transfer: Option<Uuid>,
        caller: &Caller,
    ) {
        let by = connection.map_or_else(|| caller.named(), actor);
        let teller = match connection {
            Some(connection) => Teller::Connection(connection.uuid),
            None => Teller::Address(origin(caller.address)),
        };
        self.0.log.say(teller, || format!("{by}: {kind} {}", serde_json::Value::Object(details.clone())));
        self.keep(kind, (details, &by), teller, transfer, caller);
    }

    /// Keeps an event, unless there are too many of who it is told of.
    fn keep(
        &self,
        kind: EventKind,
        (mut details, by): (Metadata, &str),
        teller: Teller,
        transfer: Option<Uuid>,
        caller: &Caller,
    ) {
        // Its own bound first: what one address has too much of takes nothing from others.
        let is_stranger = matches!(teller, Teller::Address(_));
        if self.0.refusals.take(teller).is_err() || (is_stranger && self.0.strangers.take(()).is_err()) {
            return;
        }
        if let Some(address) = caller.address {
            details.insert("address".to_owned(), address.to_canonical().to_string().into());
        }
        let connection = match teller {
            Teller::Connection(uuid) => Some(uuid),
            Teller::Session(_) | Teller::Address(_) => None,
        };
        let now = self.site().now();
        let told = self.site().change(|sql| events::add(sql, now, kind, by, connection, transfer, details.clone()));
        if let Err(error) = told {
            // What it tells of stands all the same, and the log has it.
            log::warn!(target: "rowferry::access", "{kind} cannot be kept as an event: {error}");
        }
    }
}
