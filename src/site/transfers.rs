//! Transfers: the history of what was pulled, and the approval of pulls.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Site;
use crate::domain::transfer::{
    ConnectionStats, NewTransfer, TableStats, Transfer, TransferCounters, TransferFilter, TransferStatus,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::undo;
use crate::state::transfers::{self, Change};
use crate::state::{self, connections, ids};
use crate::store::Sql;

/// Who does something where the host does not say who.
const HOST: &str = "host";

/// How many transfers maintenance changes in one transaction.
const AT_ONCE: u32 = 200;

impl Site {
    /// The history of what was pulled, and the approval of pulls.
    pub fn transfers(&self) -> Transfers<'_> {
        Transfers::new(self)
    }
}

/// The transfers of a [`Site`]: each is one table, moved once.
///
/// Every change is kept together with the [event](crate::Event) that tells of it. Every method fails with what the store
/// says; those that name a transfer with [`NotFound`](ErrorKind::NotFound) when there is none.
#[derive(Debug, Clone, Copy)]
pub struct Transfers<'s> {
    site: &'s Site,
    actor: &'s str,
}

impl<'s> Transfers<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Transfers { site, actor: HOST }
    }

    pub(super) fn site(&self) -> &'s Site {
        self.site
    }

    pub(super) fn actor(&self) -> &'s str {
        self.actor
    }

    /// Names the actor of what is done through the returned value, for events and
    /// [`approved_by`](Transfer::approved_by) and its like. Defaults to `host`.
    #[must_use]
    pub fn by(self, actor: &'s str) -> Self {
        Transfers { actor, ..self }
    }

    /// Makes a pending transfer.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for a connection that does not exist; [`InvalidInput`](ErrorKind::InvalidInput)
    /// without a table.
    pub fn create(&self, new: NewTransfer) -> Result<Transfer> {
        let now = self.site.now();
        let mut transfer = new.made(self.actor, now)?;
        self.write(|sql| {
            if let Some(uuid) = transfer.connection {
                let connection = connections::by_uuid(sql, uuid)?
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no connection {uuid}")))?;
                transfer.remote_site_url.get_or_insert(connection.site_url);
            }
            transfers::insert(sql, now, self.actor, &transfer)?;
            found(sql, transfer.uuid)
        })
    }

    /// A transfer by its id.
    pub fn get(&self, uuid: Uuid) -> Result<Transfer> {
        self.read(|sql| found(sql, uuid))
    }

    /// A transfer by its id, or by the beginning or the end of it: 4 digits at least, and as many as only one transfer has. Transfers
    /// of one time begin alike, so that the end is what tells them apart.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a part of several ids.
    pub fn find(&self, id: &str) -> Result<Transfer> {
        self.read(|sql| match ids::find(sql, "rowferry_transfers", "transfer", id)? {
            Some(uuid) => found(sql, uuid),
            None => Err(Error::new(ErrorKind::NotFound, format!("there is no transfer {id}"))),
        })
    }

    /// The transfers that match a filter, at most [`ServerLimits::listed`](crate::ServerLimits::listed).
    pub fn list(&self, filter: &TransferFilter) -> Result<Vec<Transfer>> {
        let filter = self.bounded(filter);
        self.read(|sql| transfers::list(sql, &filter))
    }

    /// How many transfers a filter chooses, its limit and offset left out.
    pub fn count(&self, filter: &TransferFilter) -> Result<u64> {
        self.read(|sql| transfers::count(sql, filter))
    }

    /// The newest transfers.
    pub fn recent(&self, limit: u32) -> Result<Vec<Transfer>> {
        self.list(&TransferFilter::new().limit(limit))
    }

    /// The transfers that are in progress, the newest first.
    pub fn active(&self) -> Result<Vec<Transfer>> {
        self.list(&TransferFilter::new().status(TransferStatus::InProgress).limit(u32::MAX))
    }

    /// The transfers that wait for approval and can still get it; of the filter, its statuses say nothing here.
    pub fn pending_approvals(&self, filter: &TransferFilter) -> Result<Vec<Transfer>> {
        let now = self.site.now();
        let filter = self.bounded(filter).statuses([]);
        self.read(|sql| transfers::pending_approvals(sql, &filter, now))
    }

    /// What was pulled through a connection. One that no longer exists has what the history has.
    pub fn connection_stats(&self, connection: Uuid) -> Result<ConnectionStats> {
        self.read(|sql| transfers::connection_stats(sql, connection))
    }

    /// What was moved of each table by the transfers that a filter chooses, by the tables' names. All transfers count,
    /// however they ended, unless the filter names statuses; its limit and offset are left out.
    pub fn table_stats(&self, filter: &TransferFilter) -> Result<Vec<TableStats>> {
        self.read(|sql| transfers::table_stats(sql, filter))
    }

    /// Takes a transfer out of the history, with what is kept to undo it.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) while it is in progress.
    pub fn delete(&self, uuid: Uuid) -> Result<()> {
        let now = self.site.now();
        self.write(|sql| {
            transfers::delete(sql, now, self.actor, uuid)?;
            undo::forget(sql, &uuid)
        })
    }

    /// Starts it: records may move.
    ///
    /// # Errors
    /// [`CannotStart`](ErrorKind::CannotStart) unless it is approved, or pending and needs no approval.
    pub fn start(&self, uuid: Uuid) -> Result<Transfer> {
        self.change(uuid, Change::Start)
    }

    /// Notes how far it is. A count that is lower than before changes nothing.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) unless it is in progress; [`InvalidInput`](ErrorKind::InvalidInput)
    /// for a count beyond 2^53 - 1.
    pub fn update_progress(&self, uuid: Uuid, counters: &TransferCounters) -> Result<Transfer> {
        let now = self.site.now();
        self.write(|sql| {
            transfers::progress(sql, now, uuid, counters)?;
            found(sql, uuid)
        })
    }

    /// Completes it, with its final counters. A count that is lower than before changes nothing.
    ///
    /// # Errors
    /// Those of [`Transfers::update_progress`].
    pub fn complete(&self, uuid: Uuid, counters: &TransferCounters) -> Result<Transfer> {
        self.change(uuid, Change::Complete(counters))
    }

    /// Ends it with an error. What it moved stays counted.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) unless it is pending, approved or in progress.
    pub fn fail(&self, uuid: Uuid, message: &str) -> Result<Transfer> {
        self.change(uuid, Change::Fail(message))
    }

    /// Cancels it.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) when it has ended.
    pub fn cancel(&self, uuid: Uuid, reason: Option<&str>) -> Result<Transfer> {
        self.change(uuid, Change::Cancel(reason))
    }

    /// Asks for approval, which may be given within this time; PhoenixKit's is 24 hours.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) unless it is pending; [`InvalidInput`](ErrorKind::InvalidInput) for a
    /// time that ends after the year 9999.
    pub fn request_approval(&self, uuid: Uuid, time: Duration) -> Result<Transfer> {
        let ends = time::Duration::try_from(time).ok().and_then(|time| self.site.now().checked_add(time));
        let until = ends.filter(|ends| ends.year() <= 9999).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "the time for an approval ends in the year 9999 at the latest")
        })?;
        self.change(uuid, Change::RequestApproval(until))
    }

    /// Approves it: the other site may now pull the table, once.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) unless it waits for approval;
    /// [`ApprovalExpired`](ErrorKind::ApprovalExpired) when its time is over: then it has expired.
    pub fn approve(&self, uuid: Uuid) -> Result<Transfer> {
        self.decide(uuid, Change::Approve)
    }

    /// Denies it.
    ///
    /// # Errors
    /// Those of [`Transfers::approve`].
    pub fn deny(&self, uuid: Uuid, reason: Option<&str>) -> Result<Transfer> {
        self.decide(uuid, Change::Deny(reason))
    }

    /// Lets those expire that nobody approved in time. Gives how many there were.
    pub fn expire_pending_approvals(&self) -> Result<u64> {
        let now = self.site.now();
        self.for_each(|sql| transfers::expired_approvals(sql, now, AT_ONCE), Change::Expire)
    }

    /// Fails those that are in progress and of which nothing was heard since before this moment: the program that moved them
    /// has died. Gives how many there were.
    pub fn fail_abandoned(&self, before: OffsetDateTime) -> Result<u64> {
        let died = Change::Fail(transfers::ABANDONED);
        self.for_each(|sql| transfers::abandoned(sql, before, AT_ONCE), died)
    }

    fn change(&self, uuid: Uuid, change: Change<'_>) -> Result<Transfer> {
        let now = self.site.now();
        self.write(|sql| transfers::change(sql, now, self.actor, uuid, change))
    }

    /// Changes one that waits for approval, unless its time is over: then it expires, which is kept.
    fn decide(&self, uuid: Uuid, change: Change<'_>) -> Result<Transfer> {
        let now = self.site.now();
        self.write(|sql| match found(sql, uuid)?.is_past_approval(now) {
            true => {
                transfers::change(sql, now, self.actor, uuid, Change::Expire)?;
                let message = "nobody approved the transfer in time";
                Ok(Err(Error::new(ErrorKind::ApprovalExpired, message)
                    .with_transfer(uuid)
                    .with_hint("The other site must ask again.")))
            }
            false => transfers::change(sql, now, self.actor, uuid, change).map(Ok),
        })?
    }

    /// Makes a change to all transfers that `next` finds, some in each transaction.
    fn for_each(&self, next: impl Fn(&mut dyn Sql) -> Result<Vec<Uuid>>, change: Change<'_>) -> Result<u64> {
        let now = self.site.now();
        let mut changed = 0;
        // A look first, which needs no write lock.
        while !self.read(&next)?.is_empty() {
            changed += self.write(|sql| {
                let found = next(sql)?;
                found.iter().try_for_each(|uuid| transfers::change(sql, now, self.actor, *uuid, change).map(|_| ()))?;
                Ok(found.len() as u64)
            })?;
        }
        Ok(changed)
    }

    fn bounded(&self, filter: &TransferFilter) -> TransferFilter {
        filter.clone().limit(filter.limit.min(self.site.limits().server.listed))
    }

    fn read<T>(&self, work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        state::read(self.site.store_ref(), work)
    }

    fn write<T>(&self, work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        self.site.change(work)
    }
}

fn found(sql: &mut dyn Sql, uuid: Uuid) -> Result<Transfer> {
    transfers::by_uuid(sql, uuid)?.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no transfer {uuid}")))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::domain::session::Direction;

    #[test]
    fn changes_of_transfers_wake_those_who_wait_for_events() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let before = site.wake().count();
        let made = site.transfers().create(NewTransfer::new(Direction::Send, "t")).unwrap();
        assert_eq!(site.wake().count(), before + 1);
        site.transfers().cancel(made.uuid, None).unwrap();
        assert_eq!(site.wake().count(), before + 2);
    }
}
