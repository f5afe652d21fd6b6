//! Downloads begin: each is decided on in one transaction, those of a named pull together. A download of a named pull that was
//! begun before is found in the database, and resumed.

use time::OffsetDateTime;
use uuid::Uuid;

use super::account::{Account, Allowed, Begun, Named};
use super::course::{self, Repeats, Way};
use super::grant::{Grant, Who};
use super::moments::{earlier, later};
use super::place::GivenPlace;
use super::visit::Visit;
use super::{Answer, actor, approval};
use crate::domain::access::{self, Denial, Use};
use crate::domain::connection::{ApprovalMode, Connection};
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::secret::SiteKey;
use crate::state::connections;
use crate::state::transfers::pulls::{self, ApprovalTerms, Course, Kept, Owner};
use crate::state::transfers::{self, Change};
use crate::store::Sql;

/// How often a download may be resumed before each time is one more call of the rate, or one more pull of a session.
const FREE_TURNS: u64 = 64;

/// A table that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Its own name.
    pub(crate) table: String,
    /// The digest of its schema.
    pub(crate) digest: String,
    /// How many records it has, where approval may have to be asked for.
    pub(crate) count: Option<u64>,
}

impl Asked {
    /// What an approval is good for that is asked for now: twice the records that there are, and at least 1,000 more.
    pub(super) fn terms(&self) -> ApprovalTerms {
        let records = |count: u64| count.saturating_mul(2).max(count.saturating_add(1_000));
        ApprovalTerms { schema_digest: Some(self.digest.clone()), records: self.count.map(records) }
    }
}

/// A request of a named pull.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) asked: Asked,
    pub(crate) pull: Uuid,
    /// How many records the receiver says that it has.
    pub(crate) records: u64,
    /// Where it wants to resume; `None` for the first row.
    pub(crate) after: Option<GivenPlace>,
}

/// The calls of named pulls that were taken.
#[derive(Debug, Clone, Default)]
struct Paid {
    /// The pulls that have taken theirs in this transaction.
    pulls: Vec<Uuid>,
    /// Whether one was taken with the questions of a pull that has yet to begin.
    before: bool,
}

impl Paid {
    /// Whether the call of a pull was taken before it began; for one pull.
    fn takes_before(&mut self) -> bool {
        std::mem::take(&mut self.before)
    }
}

/// What came of deciding.
type Decided = std::result::Result<Begun, Denial>;

/// A download to be decided on.
struct New<'n> {
    now: OffsetDateTime,
    asked: &'n Asked,
    request: Transfer,
    /// The request of a named pull, and what its places are signed with, if there is a key.
    named: Option<(&'n Wanted, Option<&'n SiteKey>)>,
}

impl Grant {
    /// Whether the people here must approve the pull of a table, as of the last look.
    pub(crate) fn requires_approval(&self, table: &str) -> bool {
        self.policy_of().is_some_and(|connection| connection.requires_approval(table, self.site().names()))
    }

    /// Whether what is sent again counts, as of the last look: see [`Repeats::LIMITED`].
    pub(crate) fn is_limited(&self) -> bool {
        let has_approvals = |connection: &Connection| connection.policy.approval_mode != ApprovalMode::AutoApprove;
        self.policy_of().is_some_and(|connection| connection.policy.max_downloads.is_some() || has_approvals(connection))
    }

    /// Begins the download of a table. In one transaction it takes a call of the rate, an approval and a download, and makes the
    /// transfer: all of it or, but for the call, nothing.
    pub(crate) fn begin(&mut self, asked: &Asked, strategy: Option<Strategy>) -> Answer<Account> {
        let now = self.site().now();
        let new = New { now, asked, request: self.transfer(&asked.table, strategy, now), named: None };
        let decided = self.site().change(|sql| self.decide(sql, &new, &mut Paid::default()))?;
        self.told_is_kept();
        self.begun(&asked.table, decided)
    }

    /// Begins or resumes downloads of named pulls, each decided on by itself, in one transaction with the ends of others.
    pub(crate) fn begin_named(
        &mut self,
        wanted: &[Wanted],
        key: Option<&SiteKey>,
        ended: &mut Vec<Account>,
    ) -> Answer<Vec<Answer<Account>>> {
        let now = self.site().now();
        let new = |wanted| {
            let Wanted { asked, .. }: &Wanted = wanted;
            New { now, asked, request: self.transfer(&asked.table, None, now), named: Some((wanted, key)) }
        };
        let news: Vec<New<'_>> = wanted.iter().map(new).collect();
        let (decided, paid) = self.site().change(|sql| {
            ended.iter().try_for_each(|account| account.write_end(sql, now))?;
            let mut paid = Paid { pulls: Vec::new(), before: self.has_paid };
            let decided = news.iter().map(|new| self.decide(sql, new, &mut paid)).collect::<Result<Vec<_>>>()?;
            Ok((decided, paid))
        })?;
        self.has_paid = paid.before;
        ended.drain(..).for_each(Account::close);
        self.told_is_kept();
        Ok(wanted.iter().zip(decided).map(|(wanted, decided)| self.begun(&wanted.asked.table, decided)).collect())
    }

    /// Says in the store that downloads are alive, those of which it is to be said now, in one transaction.
    pub(crate) fn show_life<'a>(&self, accounts: impl Iterator<Item = &'a mut Account>) {
        let now = self.site().now();
        let due: Vec<_> = accounts.filter(|account| account.is_due(now)).collect();
        if due.is_empty() {
            return;
        }
        let lives = self.site().change(|sql| {
            let lives = due.iter().map(|account| account.write_life(sql, now));
            lives.collect::<Result<Vec<_>>>()
        });
        let lives =
            lives.map_err(|error| log::warn!(target: "rowferry::access", "running pulls cannot be noted as alive: {error}"));
        for (at, account) in due.into_iter().enumerate() {
            account.told(now, lives.as_ref().ok().and_then(|lives| lives.get(at).copied()));
        }
    }

    /// Keeps the ends of downloads in one transaction.
    pub(crate) fn write_ends(&self, ended: &mut Vec<Account>) -> Result<()> {
        if ended.is_empty() {
            return Ok(());
        }
        let now = self.site().now();
        self.site().change(|sql| ended.iter().try_for_each(|account| account.write_end(sql, now)))?;
        ended.drain(..).for_each(Account::close);
        Ok(())
    }

    fn told_is_kept(&mut self) {
        if let Who::Session(visit) = &mut self.who {
            visit.is_kept();
        }
    }

    fn begun(&mut self, table: &str, decided: Decided) -> Answer<Account> {
        self.waiting.remove(table);
        match decided {
            Ok(begun) => {
                let names = self.access.site().names();
                if let Who::Session(visit) = &mut self.who {
                    visit.has_begun(table, names);
                }
                Ok(Account::new(self.access.site(), begun, self.access.paused()))
            }
            Err(denial) => {
                if let (ErrorKind::ApprovalRequired, Some(transfer)) = (denial.kind, denial.transfer) {
                    self.waiting.insert(table.to_owned(), transfer);
                }
                Err(self.noted(denial))
            }
        }
    }

    /// Decides on one download.
    fn decide(&self, sql: &mut dyn Sql, new: &New<'_>, paid: &mut Paid) -> Result<Decided> {
        match &self.who {
            Who::Session(visit) => self.decide_by_code(sql, new, visit),
            Who::Connection(known, _) => self.decide_by_token(sql, new, known.uuid, paid),
        }
    }

    fn decide_by_code(&self, sql: &mut dyn Sql, new: &New<'_>, visit: &Visit) -> Result<Decided> {
        let (now, table, session) = (new.now, new.asked.table.as_str(), visit.session);
        if let Err(denial) = visit.allows(table, self.site().names()) {
            return Ok(Err(denial));
        }
        visit.keep(sql)?;
        let actor = self.caller.named();
        let begun = |transfer, named| Begun {
            transfer,
            table: table.to_owned(),
            connection: None,
            owner: session,
            actor: actor.clone(),
            allowed: Allowed::ALL,
            approved: None,
            until: later(now, self.site().limits().retention.pull_time),
            // One without a name is resumed also after all of it was sent; then there may be no other.
            repeats: if new.named.is_some() { Repeats::FREE } else { Repeats::LIMITED },
            named,
            is_look: false,
        };
        let count = || {
            let counted = self.access.session_pulls().count(session, table, now, self.site().limits());
            counted.map_err(|denial| denial.of_table(table))
        };
        if let Some((wanted, key)) = new.named
            && let Some(kept) = pulls::newest_of_pull(sql, Owner::Session(session), wanted.pull, table)?
            && let Some(resumed) = self.resumable(now, &kept, wanted, key, Repeats::FREE)
        {
            if kept.turn >= FREE_TURNS
                && let Err(denial) = count()
            {
                return Ok(Err(denial));
            }
            let named = self.resume(sql, now, &kept, resumed, (&actor, None))?;
            return Ok(Ok(begun(kept.transfer, Some(named))));
        }
        if !visit.may_begin(sql, table, self.site().names())? {
            return Ok(Err(Denial::new(ErrorKind::CodeUsed).of_table(table)));
        }
        if let Err(denial) = count() {
            return Ok(Err(denial));
        }
        let request = Transfer { session: Some(session), ..new.request.clone() };
        let transfer = start(sql, now, &actor, request)?;
        let named = new.named.map(|(wanted, _)| self.name(sql, transfer, wanted)).transpose()?;
        Ok(Ok(begun(transfer, named)))
    }

    fn decide_by_token(&self, sql: &mut dyn Sql, new: &New<'_>, uuid: Uuid, paid: &mut Paid) -> Result<Decided> {
        let (site, now, table) = (self.site(), new.now, new.asked.table.as_str());
        let denied = |denial: Denial| Ok(Err(denial.of_table(table)));
        // Read again: what was read before the transaction may have changed.
        let connection = match self.read_again(sql)? {
            Ok(Some(connection)) => connection,
            Ok(None) => return Ok(Err(Denial::new(ErrorKind::InvalidToken))),
            Err(denial) => return Ok(Err(denial)),
        };
        let usable = |how| {
            access::usable(&connection, how, now, self.caller.address)
                .and_then(|()| access::table_visible(&connection.policy, table, site.names()))
        };
        let actor = actor(&connection);
        let begun = |connection: &Connection, transfer, approved: Option<u64>, since, named| Begun {
            transfer,
            table: table.to_owned(),
            connection: Some(uuid),
            owner: uuid,
            actor: actor.clone(),
            allowed: Allowed::by(connection),
            until: later(since, site.limits().retention.pull_time),
            repeats: repeats(connection, approved),
            approved,
            named,
            is_look: false,
        };
        let mut takes_call = true;
        if let Some((wanted, key)) = new.named {
            let kept = pulls::newest_of_pull(sql, Owner::Connection(uuid), wanted.pull, table)?;
            if let Some(kept) = &kept {
                if let Err(denial) = usable(Use::Running) {
                    return denied(denial);
                }
                let repeats = repeats(&connection, kept.approved_records);
                if let Some(resumed) = self.resumable(now, kept, wanted, key, repeats) {
                    if kept.turn >= FREE_TURNS
                        && let Err(wait) = connections::take_call(sql, uuid, now)?
                    {
                        return denied(Denial::wait(ErrorKind::RateLimited, wait));
                    }
                    let named = self.resume(sql, now, kept, resumed, (&actor, Some(uuid)))?;
                    // Read again: what it is counted for may have grown.
                    let connection = connections::by_uuid(sql, uuid)?.unwrap_or(connection);
                    let (transfer, approved) = (kept.transfer, kept.approved_records);
                    return Ok(Ok(begun(&connection, transfer, approved, kept.started_at, Some(named))));
                }
            }
            // The first download of a pull takes a call for all of them, and one that is begun again takes another.
            let since = earlier(now, site.limits().retention.pull_time);
            let has_paid =
                paid.pulls.contains(&wanted.pull) || pulls::has_begun(sql, Owner::Connection(uuid), wanted.pull, since)?;
            takes_call = kept.is_some() || !has_paid;
        }
        if let Err(denial) = usable(Use::New) {
            return denied(denial);
        }
        let is_paid = new.named.is_some() && takes_call && paid.takes_before();
        if takes_call
            && !is_paid
            && let Err(wait) = connections::take_call(sql, uuid, now)?
        {
            return denied(Denial::wait(ErrorKind::RateLimited, wait));
        }
        paid.pulls.extend(new.named.map(|(wanted, _)| wanted.pull));
        let mut request = new.request.clone();
        if connection.requires_approval(table, site.names()) {
            request.requires_approval = true;
            request.status = TransferStatus::PendingApproval;
            request.approval_expires_at = Some(later(now, site.limits().retention.approval_time));
        }
        let question = approval::Question {
            now,
            connection: &connection,
            names: site.names(),
            terms: &new.asked.terms(),
            used_within: site.limits().retention.approval_time,
        };
        let waiting = self.waiting.get(table).copied();
        let approved = match approval::decide(sql, &question, &request, waiting, &actor)? {
            Ok(approved) => approved,
            Err(denial) => return Ok(Err(denial)),
        };
        if !connections::take_download(sql, uuid)? {
            return denied(Denial::new(ErrorKind::DownloadLimit));
        }
        let (transfer, records) = match approved {
            Some(approved) => {
                let started = transfers::change(sql, now, &actor, approved, Change::Start)?.uuid;
                (started, pulls::terms(sql, started)?.records)
            }
            None => (start(sql, now, &actor, request)?, None),
        };
        let named = new.named.map(|(wanted, _)| self.name(sql, transfer, wanted)).transpose()?;
        connections::connected(sql, uuid, now)?;
        Ok(Ok(begun(&connection, transfer, records, now, named)))
    }

    /// Makes a transfer that was started the download of a named pull.
    fn name(&self, sql: &mut dyn Sql, transfer: Uuid, wanted: &Wanted) -> Result<Named> {
        let from = wanted.after.as_ref().map(|place| place.digest.as_str());
        pulls::name(sql, transfer, wanted.pull, &wanted.asked.digest, (wanted.records, from))?;
        Ok(Named { turn: 1, way: Way::from(wanted.records), sent: Default::default(), was_complete: false })
    }

    /// Whether a download of a named pull is still the same one: begun not too long ago, of a table that looks the same, at a place that
    /// was given to its receiver and is not too far back. Gives the place, and the course from there.
    fn resumable(
        &self,
        now: OffsetDateTime,
        kept: &Kept,
        wanted: &Wanted,
        key: Option<&SiteKey>,
        repeats: Repeats,
    ) -> Option<(u64, Course)> {
        let until = later(kept.started_at, self.site().limits().retention.pull_time);
        if now >= until || kept.schema_digest.as_deref() != Some(&wanted.asked.digest) {
            return None;
        }
        let at = position(kept, wanted, key)?;
        let is_asked_to_end = kept.status == TransferStatus::Completed && at == kept.course.reached;
        if !kept.is_open() && !is_asked_to_end {
            return None;
        }
        course::resume(&kept.course, at, repeats).map(|course| (at, course))
    }

    /// Resumes a download that is [resumable](Grant::resumable). What the receiver has beyond what was written down was sent, and counts.
    fn resume(
        &self,
        sql: &mut dyn Sql,
        now: OffsetDateTime,
        kept: &Kept,
        (at, course): (u64, Course),
        (actor, connection): (&str, Option<Uuid>),
    ) -> Result<Named> {
        let more = course.reached.saturating_sub(kept.course.reached);
        if let Some(connection) = connection.filter(|_| more > 0) {
            connections::count_records(sql, connection, more)?;
        }
        let mut sent = kept.counters;
        sent.records_transferred = course.reached.saturating_sub(course.base);
        pulls::resume(sql, now, actor, kept, &course, &sent)?;
        log::info!(target: "rowferry::access", "the download {} is resumed after {at} records", kept.transfer);
        let (turn, was_complete) = (kept.turn.saturating_add(1), kept.status == TransferStatus::Completed);
        Ok(Named { turn, way: Way::resumed(&kept.course, at, course), sent, was_complete })
    }
}

/// How much may be sent again of a download with such an approval.
fn repeats(connection: &Connection, approved: Option<u64>) -> Repeats {
    match connection.policy.max_downloads.is_some() || approved.is_some() {
        true => Repeats::LIMITED,
        false => Repeats::FREE,
    }
}

/// After how many records a download is to be resumed; `None` if the place is not one of it.
fn position(kept: &Kept, wanted: &Wanted, key: Option<&SiteKey>) -> Option<u64> {
    let base = kept.course.base;
    match &wanted.after {
        None => (kept.from.is_none() && base == 0).then_some(0),
        // Where it began itself, which may be a place of another download.
        Some(place) if kept.from.as_deref() == Some(&place.digest) => Some(base),
        Some(place) => place.position(key?, kept.transfer),
    }
}

/// Keeps a transfer that starts at once.
pub(super) fn start(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, mut transfer: Transfer) -> Result<Uuid> {
    transfer.status = TransferStatus::InProgress;
    transfer.started_at = Some(now);
    transfers::insert(sql, now, actor, &transfer)?;
    Ok(transfer.uuid)
}
