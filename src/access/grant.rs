//! An authenticated peer: what it may see and pull.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::account::Reserved;
use super::moments::later;
use super::visit::{Returning, Visit, received};
use super::{Access, Account, Answer, Caller, Paused, Refused, ResumeAt, actor};
use crate::domain::access::{self, Denial, Use};
use crate::domain::connection::Connection;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{self, ErrorKind};
use crate::export::Offer;
use crate::secret::{self, Ticket};
use crate::site::{Settings, Site};
use crate::state::connections::{self, Stored};
use crate::state::transfers::{self, pulls};
use crate::state::{self, sessions, tickets};
use crate::store::Sql;

/// How long a ticket lives after its pull has completed: a receiver that was killed with the last records may want their end again.
const AFTER_PULL: Duration = Duration::from_secs(3600);

/// An authenticated peer, through a connection or by a session's code.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(super) access: Access,
    pub(super) who: Who,
    pub(super) caller: Caller,
    /// The transfers that it was told are waiting, by table.
    pub(super) waiting: HashMap<String, Uuid>,
    /// Whether it took a call for the questions of a named pull that has yet to begin.
    pub(super) has_paid: bool,
}

#[derive(Debug)]
pub(super) enum Who {
    /// As it was read last, and what is kept of the token and password that let it in.
    Connection(Box<Connection>, Stored),
    Session(Box<Visit>),
}

/// That someone may still be here was just read.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The transfer of the download that it wants more of, if it runs.
    runs: Option<Uuid>,
    /// Whose turn that download is, if it is of a named pull.
    turn: u64,
}

impl Grant {
    pub(super) fn of_connection(access: Access, connection: Connection, stored: Stored, caller: Caller) -> Self {
        Grant {
            access,
            who: Who::Connection(Box::new(connection), stored),
            caller,
            waiting: HashMap::new(),
            has_paid: false,
        }
    }

    pub(super) fn of_session(access: Access, visit: Visit, caller: Caller) -> Self {
        Grant { access, who: Who::Session(Box::new(visit)), caller, waiting: HashMap::new(), has_paid: false }
    }

    /// The connection, if it came through one.
    pub(crate) fn connection(&self) -> Option<Uuid> {
        match &self.who {
            Who::Connection(connection, _) => Some(connection.uuid),
            Who::Session(_) => None,
        }
    }

    /// Whose pulls are resumed when it comes back: those of its connection, or of its session.
    pub(super) fn owner(&self) -> Uuid {
        match &self.who {
            Who::Connection(connection, _) => connection.uuid,
            Who::Session(visit) => visit.session,
        }
    }

    pub(super) fn policy_of(&self) -> Option<&Connection> {
        match &self.who {
            Who::Connection(connection, _) => Some(connection),
            Who::Session(_) => None,
        }
    }

    /// The tables that it may see, of those that the site offers; as of the last look.
    pub(crate) fn offer(&self) -> Offer {
        let all = self.access.site().offer();
        match &self.who {
            Who::Connection(connection, _) => {
                all.narrowed(&connection.policy.allowed_tables, &connection.policy.excluded_tables)
            }
            Who::Session(visit) => visit.only().map_or_else(|| all.clone(), |only| all.narrowed(only, &[])),
        }
    }

    /// The site that it is at.
    pub(crate) fn site(&self) -> &Site {
        self.access.site()
    }

    /// Whether it may begin something new, as of the last look.
    pub(crate) fn new_use(&self) -> Answer<()> {
        let judged = self.policy_of().map_or(Ok(()), |connection| {
            access::usable(connection, Use::New, self.access.site().now(), self.caller.address)
        });
        judged.map_err(|denial| self.noted(denial))
    }

    /// Whether it may still be here: read again for each of its requests. With the download that the request is for, if it runs.
    pub(crate) fn look(&mut self, account: Option<&Account>) -> Answer<Looked> {
        let site = self.access.site();
        let (now, transfer) = (site.now(), account.map(Account::transfer));
        let named = account.filter(|account| account.turn().is_some()).map(Account::transfer);
        let (read, runs, turn) = state::read(site.store_ref(), |sql| {
            if !Settings::enabled_in(sql)? {
                return Ok((Err(Denial::new(ErrorKind::Disabled)), None, 0));
            }
            let known = transfer.map(|transfer| transfers::by_uuid(sql, transfer)).transpose()?.flatten();
            let runs = known.filter(|known| known.status == TransferStatus::InProgress).map(|known| known.uuid);
            let turn = named.map_or(Ok(0), |transfer| pulls::turn(sql, transfer))?;
            Ok((self.read_again(sql)?, runs, turn))
        })?;
        match read {
            // Nothing is kept of what is refused to everyone.
            Err(denial) if denial.kind == ErrorKind::Disabled => return Err(denial.into()),
            Err(denial) => return Err(self.noted(denial)),
            Ok(None) => {}
            Ok(Some(read)) => {
                let judged = access::usable(&read, Use::Running, now, self.caller.address);
                if let Who::Connection(connection, _) = &mut self.who {
                    **connection = read;
                }
                judged.map_err(|denial| self.noted(denial))?;
            }
        }
        Ok(Looked { runs, turn })
    }

    /// Its connection as it is now, if it came through one. What let it in must still do so: a token that was replaced, a
    /// password that was changed and a session that was deleted do not.
    pub(super) fn read_again(&self, sql: &mut dyn Sql) -> error::Result<Result<Option<Connection>, Denial>> {
        let (uuid, key) = match &self.who {
            Who::Connection(connection, key) => (connection.uuid, key),
            Who::Session(visit) => {
                let is_there = sessions::exists(sql, visit.session)?;
                return Ok(if is_there { Ok(None) } else { Err(Denial::new(ErrorKind::InvalidCode)) });
            }
        };
        let stored = connections::stored(sql, uuid)?;
        let same = |stored: &Stored| {
            let password = match (&stored.password_hash, &key.password_hash) {
                (None, _) => true,
                (Some(now), before) => secret::equal(now.as_bytes(), before.as_deref().unwrap_or_default().as_bytes()),
            };
            password && secret::equal(stored.token_lookup.as_bytes(), key.token_lookup.as_bytes())
        };
        Ok(match connections::by_uuid(sql, uuid)? {
            Some(connection) if stored.is_some_and(|stored| same(&stored)) => Ok(Some(connection)),
            _ => Err(Denial::new(ErrorKind::InvalidToken)),
        })
    }

    /// Whether it may see a table, as of the last look. Whether it exists is another question.
    pub(crate) fn table(&self, table: &str) -> Answer<()> {
        let names = self.site().names();
        let seen = match &self.who {
            Who::Connection(connection, _) => access::table_visible(&connection.policy, table, names),
            Who::Session(visit) => visit.allows(table, names),
        };
        seen.map_err(|denial| self.noted(denial))
    }

    /// Counts a question on a channel: a call. Where it is of a named pull, that has taken its call with it.
    pub(crate) fn question(&mut self, is_of_pull: bool) -> Answer<()> {
        self.call()?;
        self.has_paid |= is_of_pull;
        Ok(())
    }

    /// Counts a call that pulls nothing.
    pub(crate) fn call(&self) -> Answer<()> {
        let Some(uuid) = self.connection() else { return Ok(()) };
        let now = self.access.site().now();
        let taken = self.access.site().change(|sql| {
            let taken = connections::take_call(sql, uuid, now)?;
            if taken.is_ok() {
                connections::connected(sql, uuid, now)?;
            }
            Ok(taken)
        })?;
        taken.map_err(|wait| self.noted(Denial::wait(ErrorKind::RateLimited, wait)))
    }

    /// Notes that it is here: at most once a minute, because no rate bounds how often it comes.
    pub(crate) fn connected(&self) -> Answer<()> {
        let Who::Connection(connection, _) = &self.who else { return Ok(()) };
        let (uuid, now) = (connection.uuid, self.access.site().now());
        let recent = |at: OffsetDateTime| (time::Duration::ZERO..time::Duration::MINUTE).contains(&(now - at));
        if connection.last_connected_at.is_some_and(recent) {
            return Ok(());
        }
        self.access.site().change(|sql| connections::connected(sql, uuid, now))?;
        Ok(())
    }

    /// Whether a download may have a page of so many records, after a [look](Grant::look) with it. [`Account::most`] then says how
    /// many there may be.
    pub(crate) fn proceed(&self, account: &mut Account, looked: &Looked, wanted: u64) -> Answer<()> {
        let transfer = account.transfer();
        self.table(account.table())?;
        if account.turn().is_some_and(|turn| turn != looked.turn) {
            return Err(self.noted(Denial::new(ErrorKind::TakenOver)));
        }
        // One that only lost its last records runs no more.
        if looked.runs != Some(transfer) && !account.is_completed() {
            return Err(self.noted(Denial::new(ErrorKind::Cancelled).of_transfer(transfer)));
        }
        if let Some(connection) = self.policy_of() {
            account.allow(connection)?;
            if wanted > 0 && account.is_past_approval(self.access.site().now()) {
                return Err(self.noted(Denial::new(ErrorKind::ApprovalRequired).of_table(account.table())));
            }
            if wanted > 0 && account.most(wanted) == 0 {
                return Err(self.noted(Denial::new(ErrorKind::RecordLimit).of_transfer(transfer)));
            }
        }
        self.show_life(std::iter::once(account));
        Ok(())
    }

    /// Reserves the records of a page of so many that is about to be written, and says how many it may have.
    pub(crate) fn reserve(&self, account: &mut Account, wanted: u64) -> Answer<u64> {
        match account.reserve(wanted)? {
            Reserved::Records(0) if wanted > 0 => {
                Err(self.noted(Denial::new(ErrorKind::RecordLimit).of_transfer(account.transfer())))
            }
            Reserved::Records(records) => Ok(records),
            Reserved::TakenOver => Err(self.noted(Denial::new(ErrorKind::TakenOver))),
        }
    }

    /// Resumes a download without a name that was interrupted, for a peer that has the first `records` records: it is the same,
    /// neither counted nor approved again. `None` if there is none to resume there, or it is too long ago. The peer is yet to be
    /// [looked](Grant::look) at with it.
    pub(crate) fn take_up(&self, table: &str, records: u64, at: ResumeAt<'_>) -> Option<Account> {
        self.access.paused().take_up(self.access.site(), self.owner(), table, records, at)
    }

    /// Leaves a download without a name whose channel has ended, for when the peer comes back.
    pub(crate) fn leave(&self, account: Account) {
        let (owner, table, offset) = (self.owner(), account.table().to_owned(), account.at());
        let since = self.access.site().now();
        self.access.paused().pause(Paused { owner, table, account, exporter: None, offset, since });
    }

    /// A ticket with which who came by a code may come back: it got one with that, or gets one now, of which the hash is kept. `None` for
    /// others, who need none.
    pub(crate) fn ticket(&mut self) -> error::Result<Option<Ticket>> {
        let Who::Session(visit) = &mut self.who else { return Ok(None) };
        if visit.ticket.is_none() {
            let (site, session) = (self.access.site(), visit.session);
            let (ticket, new) = self.access.new_ticket(Returning { receiver: None })?;
            site.write(|sql| tickets::give(sql, session, &new))?;
            visit.ticket = Some(ticket);
        }
        Ok(visit.ticket.clone())
    }

    /// Who came by a code tells tables of its pull: its ticket is for no others, once one of them has begun.
    pub(crate) fn begins_pull_of(&mut self, tables: Vec<String>) {
        if let Who::Session(visit) = &mut self.who {
            visit.tell(tables);
        }
    }

    /// Who came by a code, or back by its ticket, says that its pull has completed: it comes back no more.
    pub(crate) fn pull_is_over(&mut self) {
        let Who::Session(visit) = &mut self.who else { return };
        if !std::mem::replace(&mut visit.is_over, true) {
            let (session, now) = (visit.session, self.access.site().now());
            let ended = self.access.site().write(|sql| sessions::end(sql, session, now));
            ended.unwrap_or_else(|error| {
                log::warn!(
                    target: "rowferry::access",
                    "the ticket of session {session} lives until its time is over: {error}"
                )
            });
        }
    }

    /// Its channel has ended. Where its pull has completed and nobody said so, its ticket is not needed for long.
    pub(crate) fn has_left(&self) {
        let Who::Session(visit) = &self.who else { return };
        let (site, session) = (self.access.site(), visit.session);
        let ended = state::read(site.store_ref(), |sql| {
            // One that told no tables may still want others.
            let of_pull = tickets::of_session(sql, session)?;
            of_pull.map_or(Ok(Vec::new()), |only| received(sql, session, Some(&only), site.names()))
        });
        let ended = ended.and_then(|had| match had.is_empty() {
            true => Ok(()),
            false => site.write(|sql| tickets::end_by(sql, session, later(site.now(), AFTER_PULL))),
        });
        ended.unwrap_or_else(|error| {
            log::warn!(
                target: "rowferry::access",
                "the ticket of session {session} lives until its time is over: {error}"
            )
        });
    }

    /// A transfer for it.
    pub(super) fn transfer(&self, table: &str, strategy: Option<Strategy>, now: OffsetDateTime) -> Transfer {
        let mut transfer = Transfer::new(Direction::Send, table, now);
        if let Some(connection) = self.policy_of() {
            transfer.connection = Some(connection.uuid);
            transfer.remote_site_url = Some(connection.site_url.clone());
        }
        transfer.conflict_strategy = strategy;
        transfer.requester_ip = self.caller.address.map(|address| address.to_canonical().to_string());
        transfer.requester_user_agent = self.caller.user_agent.clone();
        transfer.initiated_by = Some(self.policy_of().map_or_else(|| self.caller.named(), actor));
        transfer
    }

    /// The refusal, kept as an event. Pulls that wait for approval have events of their own, a table that does not exist is no
    /// refusal, and a peer that resumes its pull may be faster than its lost channel.
    pub(super) fn noted(&self, denial: Denial) -> Refused {
        if !matches!(denial.kind, ErrorKind::ApprovalRequired | ErrorKind::TableNotFound | ErrorKind::TakenOver) {
            self.access.note(&denial, self.policy_of(), &self.caller);
        }
        denial.into()
    }
}
