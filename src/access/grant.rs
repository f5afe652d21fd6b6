//! Someone who was let in: what he may see, and which pulls he may begin.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use time::OffsetDateTime;
use uuid::Uuid;

use super::account::{Allowed, Begun};
use super::approval::{self, Standing};
use super::{Access, Account, Answer, Behind, Caller, Paused, Refused, actor};
use crate::domain::access::{self, Denial, Use};
use crate::domain::connection::Connection;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::ErrorKind;
use crate::export::Offer;
use crate::secret::{self, Ticket};
use crate::site::{Settings, Site};
use crate::state::connections::{self, Stored};
use crate::state::transfers::{self, Change};
use crate::state::{self, sessions, tickets};
use crate::store::Sql;
use crate::wire::message::{Approval, ApprovalStatus};

/// Someone who was let in, through a connection or by a session's code.
#[derive(Debug)]
pub(crate) struct Grant {
    access: Access,
    who: Who,
    caller: Caller,
    /// The transfers that he was told are waiting, by table.
    waiting: HashMap<String, Uuid>,
}

/// What someone is told of an approval: how it stands, the transfer, and the reason.
type Told = (ApprovalStatus, Option<Uuid>, Option<String>);

#[derive(Debug)]
enum Who {
    /// As it was read last, and what is kept of the token and password that let him in.
    Connection(Box<Connection>, Stored),
    Session(Uuid),
}

/// That someone may still be here was just read.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The transfer of the pull that he wants to go on with, if it runs.
    runs: Option<Uuid>,
}

impl Grant {
    pub(super) fn of_connection(access: Access, connection: Connection, stored: Stored, caller: Caller) -> Self {
        Grant { access, who: Who::Connection(Box::new(connection), stored), caller, waiting: HashMap::new() }
    }

    pub(super) fn of_session(access: Access, session: Uuid, caller: Caller) -> Self {
        Grant { access, who: Who::Session(session), caller, waiting: HashMap::new() }
    }

    /// The connection, if he came through one.
    pub(crate) fn connection(&self) -> Option<Uuid> {
        match &self.who {
            Who::Connection(connection, _) => Some(connection.uuid),
            Who::Session(_) => None,
        }
    }

    /// Whose pulls go on when he comes back: those of his connection, or of his session.
    fn owner(&self) -> Uuid {
        match &self.who {
            Who::Connection(connection, _) => connection.uuid,
            Who::Session(session) => *session,
        }
    }

    fn policy_of(&self) -> Option<&Connection> {
        match &self.who {
            Who::Connection(connection, _) => Some(connection),
            Who::Session(_) => None,
        }
    }

    /// The tables that he may see, of those that the site offers; as of the last look.
    pub(crate) fn offer(&self) -> Offer {
        let all = self.access.site().offer();
        self.policy_of().map_or_else(
            || all.clone(),
            |connection| all.narrowed(&connection.policy.allowed_tables, &connection.policy.excluded_tables),
        )
    }

    /// The site that he is at.
    pub(crate) fn site(&self) -> &Site {
        self.access.site()
    }

    /// Whether he may begin something new, as of the last look.
    pub(crate) fn new_use(&self) -> Answer<()> {
        let judged = self.policy_of().map_or(Ok(()), |connection| {
            access::usable(connection, Use::New, self.access.site().now(), self.caller.address)
        });
        judged.map_err(|denial| self.noted(denial))
    }

    /// Whether he may still be here: read anew, for each of his requests. With the pull that the request may go on with.
    pub(crate) fn look(&mut self, pull: Option<&Account>) -> Answer<Looked> {
        let site = self.access.site();
        let (now, transfer) = (site.now(), pull.map(Account::transfer));
        let (read, runs) = state::read(site.store_ref(), |sql| {
            if !Settings::enabled_in(sql)? {
                return Ok((Err(Denial::new(ErrorKind::Disabled)), None));
            }
            let known = transfer.map(|transfer| transfers::by_uuid(sql, transfer)).transpose()?.flatten();
            let runs = known.filter(|known| known.status == TransferStatus::InProgress).map(|known| known.uuid);
            Ok((self.read_again(sql, now)?, runs))
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
        Ok(Looked { runs })
    }

    /// His connection as it is now, if he came through one. What let him in must still do so: a token that was replaced, a
    /// password that was changed and a session that was deleted do not.
    fn read_again(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> crate::Result<Result<Option<Connection>, Denial>> {
        let (uuid, key) = match &self.who {
            Who::Connection(connection, key) => (connection.uuid, key),
            Who::Session(session) => {
                let known = sessions::by_uuid(sql, *session, now)?;
                return Ok(known.map(|_| None).ok_or_else(|| Denial::new(ErrorKind::InvalidCode)));
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

    /// Whether he may see a table, as of the last look. Whether it exists is another question.
    pub(crate) fn table(&self, table: &str) -> Answer<()> {
        match self.policy_of().map(|connection| access::table_visible(&connection.policy, table, self.site().names())) {
            Some(Err(denial)) => Err(self.noted(denial)),
            _ => Ok(()),
        }
    }

    /// Counts a call over HTTP that pulls nothing.
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

    /// Notes that he is here: at most once a minute, because no rate bounds how often he comes.
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

    /// Begins the pull of a table that exists, by its own name. In one transaction it takes a call of the rate, an approval
    /// and a download, and makes the transfer: all of it or, but for the call, nothing.
    pub(crate) fn begin(&mut self, table: &str, strategy: Option<Strategy>) -> Answer<Account> {
        let now = self.access.site().now();
        if let Who::Session(session) = self.who {
            let counted = self.access.begun().count(session, table, now, self.access.site().limits());
            counted.map_err(|denial| self.noted(denial.of_table(table)))?;
        }
        let site = self.access.site();
        let begun = match &self.who {
            Who::Session(session) => {
                let mut transfer = self.transfer(table, strategy, now);
                transfer.session = Some(*session);
                let actor = self.caller.named();
                site.change(|sql| {
                    let transfer = start(sql, now, &actor, transfer.clone())?;
                    Ok(Ok(Begun {
                        transfer,
                        table: table.to_owned(),
                        connection: None,
                        owner: *session,
                        actor: actor.clone(),
                        allowed: Allowed::ALL,
                    }))
                })
            }
            Who::Connection(connection, _) => {
                let request = self.transfer(table, strategy, now);
                let waiting = self.waiting.get(table).copied();
                site.change(|sql| self.take(sql, now, connection.uuid, &request, waiting))
            }
        }?;
        self.waiting.remove(table);
        let site = self.access.site();
        begun.map(|begun| Account::new(site, begun, self.access.paused())).map_err(|denial| {
            if denial.kind == ErrorKind::ApprovalRequired
                && let Some(transfer) = denial.transfer
            {
                self.waiting.insert(table.to_owned(), transfer);
            }
            self.noted(denial)
        })
    }

    fn take(
        &self,
        sql: &mut dyn Sql,
        now: OffsetDateTime,
        uuid: Uuid,
        request: &Transfer,
        waiting: Option<Uuid>,
    ) -> crate::Result<Result<Begun, Denial>> {
        let site = self.access.site();
        let table = request.table_name.as_str();
        // Read again: what was read before the transaction may have changed.
        let connection = match self.read_again(sql, now)? {
            Ok(Some(connection)) => connection,
            Ok(None) => return Ok(Err(Denial::new(ErrorKind::InvalidToken))),
            Err(denial) => return Ok(Err(denial)),
        };
        let usable = access::usable(&connection, Use::New, now, self.caller.address)
            .and_then(|()| access::table_visible(&connection.policy, table, site.names()));
        if let Err(denial) = usable {
            return Ok(Err(denial.of_table(table)));
        }
        if let Err(wait) = connections::take_call(sql, uuid, now)? {
            return Ok(Err(Denial::wait(ErrorKind::RateLimited, wait).of_table(table)));
        }
        let actor = actor(&connection);
        let mut request = request.clone();
        if connection.requires_approval(table, site.names()) {
            request.requires_approval = true;
            request.status = TransferStatus::PendingApproval;
            request.approval_expires_at = Some(later(now, site.limits().approval_time));
        }
        let approved = match approval::decide(sql, now, &connection, site.names(), &request, waiting, &actor)? {
            Ok(approved) => approved,
            Err(denial) => return Ok(Err(denial)),
        };
        if !connections::take_download(sql, uuid)? {
            return Ok(Err(Denial::new(ErrorKind::DownloadLimit).of_table(table)));
        }
        let transfer = match approved {
            Some(approved) => transfers::change(sql, now, &actor, approved, Change::Start)?.uuid,
            None => start(sql, now, &actor, request)?,
        };
        connections::connected(sql, uuid, now)?;
        let (table, allowed) = (table.to_owned(), Allowed::by(&connection));
        Ok(Ok(Begun { transfer, table, connection: Some(uuid), owner: uuid, actor, allowed }))
    }

    /// Whether a download may have a page of so many records, after a [look](Grant::look) with it. [`Account::most`] then says how
    /// many there may be.
    pub(crate) fn proceed(&self, account: &mut Account, looked: &Looked, wanted: u64) -> Answer<()> {
        let transfer = account.transfer();
        self.table(account.table())?;
        // One that only lost its last records runs no more.
        if looked.runs != Some(transfer) && !account.is_completed() {
            return Err(self.noted(Denial::new(ErrorKind::Cancelled).of_transfer(transfer)));
        }
        if let Some(connection) = self.policy_of() {
            account.allow(connection)?;
            if wanted > 0 && account.most(wanted) == 0 {
                return Err(self.noted(Denial::new(ErrorKind::RecordLimit).of_transfer(transfer)));
            }
        }
        if !account.is_completed()
            && let Err(error) = account.show_life(self.access.site().now())
        {
            // That it is alive can be said at the next page, too.
            log::warn!("a running pull cannot be noted as alive: {error}");
        }
        Ok(())
    }

    /// Reserves records for a page of at most so many that is about to be read, and says how many it may have.
    pub(crate) fn reserve(&self, account: &mut Account, wanted: u64) -> Answer<u64> {
        match account.reserve(wanted)? {
            0 if wanted > 0 => Err(self.noted(Denial::new(ErrorKind::RecordLimit).of_transfer(account.transfer()))),
            reserved => Ok(reserved),
        }
    }

    /// Takes up a pull of a table that was cut off, for who has its first `records` records: it is the same pull,
    /// neither counted nor approved anew. `None` if there is none that goes on there, or it is too long ago. He is yet to be
    /// [looked](Grant::look) at with it.
    pub(crate) fn take_up(&self, table: &str, records: u64, behind: Behind<'_>) -> Option<Account> {
        self.access.paused().take_up(self.access.site(), self.owner(), table, records, behind)
    }

    /// Leaves a pull whose channel has ended, for when he comes back.
    pub(crate) fn leave(&self, account: Account) {
        let (owner, table, offset) = (self.owner(), account.table().to_owned(), account.at());
        let since = self.access.site().now();
        self.access.paused().pause(Paused { owner, table, account, exporter: None, offset, since });
    }

    /// A ticket with which who came by a code may come back: its hash is kept. `None` for others, who need none.
    pub(crate) fn ticket(&self) -> crate::Result<Option<Ticket>> {
        let Who::Session(session) = self.who else { return Ok(None) };
        let (site, ticket) = (self.access.site(), Ticket::generate()?);
        let (lookup, ends) = (ticket.lookup(), later(site.now(), site.limits().ticket_time));
        state::write(site.store_ref(), |sql| tickets::give(sql, &lookup, session, ends))?;
        Ok(Some(ticket))
    }

    /// How the pulls of these tables stand, each as it was asked for and by its own name; asks for approval where nobody was
    /// asked yet. Asking again costs nothing; what is asked for anew is one call of the rate.
    pub(crate) fn approvals(&mut self, tables: &[(String, String)]) -> Answer<Vec<Approval>> {
        let granted = |asked: &str| Approval {
            reason: None,
            status: ApprovalStatus::Granted,
            table: asked.to_owned(),
            transfer_uuid: None,
        };
        let Some(connection) = self.policy_of() else {
            return Ok(tables.iter().map(|(asked, _)| granted(asked)).collect());
        };
        let site = self.access.site();
        let (now, uuid) = (site.now(), connection.uuid);
        // Each once, however often and in which spellings it was asked for.
        let own: BTreeSet<&str> = tables.iter().map(|(_, own)| own.as_str()).collect();
        let standings = state::read(site.store_ref(), |sql| {
            own.iter()
                .map(|own| approval::standing(sql, now, connection, site.names(), own))
                .collect::<crate::Result<Vec<_>>>()
        })?;
        let (mut told, mut unasked) = (BTreeMap::new(), Vec::new());
        for (own, standing) in own.into_iter().zip(standings) {
            match standing {
                Standing::NotNeeded => drop(told.insert(own, (ApprovalStatus::Granted, None, None))),
                Standing::Approved(transfer) => drop(told.insert(own, (ApprovalStatus::Granted, Some(transfer), None))),
                Standing::Pending(transfer) => drop(told.insert(own, (ApprovalStatus::Pending, Some(transfer), None))),
                Standing::Denied(transfer, reason) => {
                    told.insert(own, (ApprovalStatus::Denied, Some(transfer), reason));
                }
                Standing::Unasked | Standing::Overdue(_) => unasked.push(own),
            }
        }
        if !unasked.is_empty() {
            let asked = self.ask(uuid, &unasked, now)?;
            told.extend(unasked.into_iter().zip(asked));
        }
        let mut approvals = Vec::with_capacity(tables.len());
        for (asked, own) in tables {
            let Some((status, transfer_uuid, reason)) = told.get(own.as_str()).cloned() else { continue };
            match (status, transfer_uuid) {
                (ApprovalStatus::Pending, Some(transfer)) => self.waiting.insert(own.clone(), transfer),
                _ => self.waiting.remove(own),
            };
            approvals.push(Approval { reason, status, table: asked.clone(), transfer_uuid });
        }
        Ok(approvals)
    }

    /// Asks the people here to approve the pulls of these tables: one call of the rate, and one transaction.
    fn ask(&self, uuid: Uuid, tables: &[&str], now: OffsetDateTime) -> Answer<Vec<Told>> {
        let site = self.access.site();
        let request = |table: &&str| {
            let mut request = self.transfer(table, None, now);
            request.requires_approval = true;
            request.status = TransferStatus::PendingApproval;
            request.approval_expires_at = Some(later(now, site.limits().approval_time));
            request
        };
        let requests: Vec<Transfer> = tables.iter().map(request).collect();
        let decided = site.change(|sql| {
            // Read again: what was read before the transaction may have changed.
            let usable = self.read_again(sql, now)?.and_then(|connection| {
                let connection = connection.ok_or_else(|| Denial::new(ErrorKind::InvalidToken))?;
                access::usable(&connection, Use::New, now, self.caller.address).map(|()| connection)
            });
            let connection = match usable {
                Ok(connection) => connection,
                Err(denial) => return Ok(Err(denial)),
            };
            if let Err(wait) = connections::take_call(sql, uuid, now)? {
                return Ok(Err(Denial::wait(ErrorKind::RateLimited, wait)));
            }
            let actor = actor(&connection);
            let decided = requests.iter().map(|request| {
                match access::table_visible(&connection.policy, &request.table_name, site.names()) {
                    Ok(()) => {
                        let waiting = self.waiting.get(&request.table_name).copied();
                        approval::decide(sql, now, &connection, site.names(), request, waiting, &actor)
                    }
                    Err(denial) => Ok(Err(denial)),
                }
            });
            decided.collect::<crate::Result<Vec<_>>>().map(Ok)
        })?;
        let decided = decided.map_err(|denial| self.noted(denial))?;
        let told = decided.into_iter().map(|decided| match decided {
            Ok(approved) => (ApprovalStatus::Granted, approved, None),
            Err(denial) if denial.kind == ErrorKind::ApprovalRequired => (ApprovalStatus::Pending, denial.transfer, None),
            Err(denial) => (ApprovalStatus::Denied, denial.transfer, Some(denial.socket_text())),
        });
        Ok(told.collect())
    }

    /// A transfer for him.
    fn transfer(&self, table: &str, strategy: Option<Strategy>, now: OffsetDateTime) -> Transfer {
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

    /// The refusal, kept as an event. Pulls that wait for approval have events of their own, and a table that does not exist is
    /// no refusal.
    fn noted(&self, denial: Denial) -> Refused {
        if !matches!(denial.kind, ErrorKind::ApprovalRequired | ErrorKind::TableNotFound) {
            self.access.note(&denial, self.policy_of(), &self.caller);
        }
        denial.into()
    }
}

/// Keeps a transfer that starts at once.
fn start(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, mut transfer: Transfer) -> crate::Result<Uuid> {
    transfer.status = TransferStatus::InProgress;
    transfer.started_at = Some(now);
    transfers::insert(sql, now, actor, &transfer)?;
    Ok(transfer.uuid)
}

/// A moment beyond which the clock cannot count is as good as the last.
fn later(now: OffsetDateTime, time: std::time::Duration) -> OffsetDateTime {
    let time = time::Duration::try_from(time).ok();
    time.and_then(|time| now.checked_add(time)).unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
}
