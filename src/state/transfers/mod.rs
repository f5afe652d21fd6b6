//! Transfers: one table moved once. Every function may be part of a larger transaction; what changes a transfer adds the event
//! that tells of it.

mod ended;
mod lists;
#[cfg(feature = "server")]
pub(crate) mod looks;
#[cfg(feature = "server")]
pub(crate) mod pulls;
mod row;

use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use ended::insert_ended;
#[cfg(feature = "server")]
pub(crate) use lists::newest;
pub(crate) use lists::{
    abandoned, any_ended, connection_stats, count, count_pending_approvals, expired_approvals, list, pending_approvals,
    prune, table_stats,
};

use row::counts;

use super::{connections, events};
use crate::clock;
use crate::domain::connection::Metadata;
use crate::domain::event::{EventKind, cleaned_actor};
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus, TransferStep};
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;

/// The largest count that is kept: larger ones are not exact everywhere that JSON is read, and no transfer has them.
const MOST: u64 = (1 << 53) - 1;

/// What the history says of a download that its receiver ended early, or whose connection was lost.
pub(crate) const GIVEN_UP: &str = "the receiver ended before the last page";

/// The same of one that got nothing new since it began or was resumed. There is no event of that.
pub(crate) const NOTHING_NEW: &str = "the receiver ended before it got anything new";

/// What the history says of a transfer whose process has died.
pub(crate) const ABANDONED: &str = "nothing was heard of it for a long time: the program that moved the records has ended";

/// What the history says of downloads that have ended and may be resumed.
pub(crate) const RESUMABLE: [&str; 3] = [GIVEN_UP, NOTHING_NEW, ABANDONED];

/// A step of a transfer, with what there is to say about it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'c> {
    /// Approval is asked for, and may be given before this moment.
    RequestApproval(OffsetDateTime),
    Approve,
    /// With the reason.
    Deny(Option<&'c str>),
    Expire,
    Start,
    /// With the final counters.
    Complete(&'c TransferCounters),
    /// With the message, which has no secrets in it.
    Fail(&'c str),
    /// With the reason.
    Cancel(Option<&'c str>),
}

impl Change<'_> {
    fn step(&self) -> TransferStep {
        match self {
            Change::RequestApproval(_) => TransferStep::RequestApproval,
            Change::Approve => TransferStep::Approve,
            Change::Deny(_) => TransferStep::Deny,
            Change::Expire => TransferStep::Expire,
            Change::Start => TransferStep::Start,
            Change::Complete(_) => TransferStep::Complete,
            Change::Fail(_) => TransferStep::Fail,
            Change::Cancel(_) => TransferStep::Cancel,
        }
    }
}

/// Keeps a new transfer as it is given, with the event that it was made, and the one that it stands where it does: it may be
/// pending, wait for approval, or be in progress from the first.
pub(crate) fn insert(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, transfer: &Transfer) -> Result<()> {
    check(&transfer.counters)?;
    row::insert(sql, transfer, now)?;
    event(sql, now, actor, transfer, EventKind::TransferCreated, None)?;
    match transfer.status {
        TransferStatus::PendingApproval => event(sql, now, actor, transfer, EventKind::TransferApprovalRequested, None),
        TransferStatus::InProgress => event(sql, now, actor, transfer, EventKind::TransferStarted, None),
        _ => Ok(()),
    }
}

pub(crate) fn by_uuid(sql: &mut dyn Sql, uuid: Uuid) -> Result<Option<Transfer>> {
    Ok(row::select(sql, "WHERE uuid = ?1", &[uuid.to_string().into()])?.into_iter().next())
}

/// Makes a step, with its event. A transfer of a connection that ends with records moved is added to the connection's totals.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound); those of [`TransferStatus::after`].
pub(crate) fn change(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    actor: &str,
    uuid: Uuid,
    change: Change<'_>,
) -> Result<Transfer> {
    let (transfer, kind, reason) = step(sql, now, actor, uuid, change)?;
    event(sql, now, actor, &transfer, kind, reason)?;
    Ok(transfer)
}

/// Makes a step of which there is no event: nothing happened to the transfer since the last one.
#[cfg(feature = "server")]
pub(crate) fn change_quietly(sql: &mut dyn Sql, now: OffsetDateTime, uuid: Uuid, change: Change<'_>) -> Result<Transfer> {
    step(sql, now, "", uuid, change).map(|(transfer, ..)| transfer)
}

/// Makes a step. Gives the transfer, and what its event is to say.
fn step<'c>(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    actor: &str,
    uuid: Uuid,
    change: Change<'c>,
) -> Result<(Transfer, EventKind, Option<&'c str>)> {
    let mut transfer = by_uuid(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
    let before = transfer.status;
    transfer.status = before.after(change.step(), transfer.requires_approval)?;
    let at = Some(clock::whole_second(now));
    let (kind, reason) = match change {
        Change::RequestApproval(until) => {
            transfer.requires_approval = true;
            transfer.approval_expires_at = Some(clock::whole_second(until));
            (EventKind::TransferApprovalRequested, None)
        }
        Change::Approve => {
            (transfer.approved_at, transfer.approved_by) = (at, Some(cleaned_actor(actor)));
            (EventKind::TransferApproved, None)
        }
        Change::Deny(reason) => {
            (transfer.denied_at, transfer.denied_by) = (at, Some(cleaned_actor(actor)));
            transfer.denial_reason = reason.map(row::shortened);
            (EventKind::TransferDenied, reason)
        }
        Change::Expire => (EventKind::TransferExpired, None),
        Change::Start => {
            transfer.started_at = at;
            (EventKind::TransferStarted, None)
        }
        Change::Complete(counters) => {
            check(counters)?;
            transfer.counters = transfer.counters.raised_to(counters);
            (EventKind::TransferCompleted, None)
        }
        Change::Fail(message) => {
            transfer.error_message = Some(row::shortened(message));
            (EventKind::TransferFailed, Some(message))
        }
        Change::Cancel(reason) => {
            transfer.error_message = reason.map(row::shortened);
            (EventKind::TransferCancelled, reason)
        }
    };
    if transfer.status.is_final() {
        transfer.completed_at = at;
    }
    if !row::update(sql, &transfer, before, now)? {
        let message = "the transfer was changed by another program at the same time";
        return Err(Error::new(ErrorKind::InvalidTransition, message).with_hint("Look at it again."));
    }
    let moved = transfer.counters.records_transferred;
    let ended = before == TransferStatus::InProgress && transfer.status.is_final();
    if let Some(connection) =
        transfer.connection.filter(|_| ended && (moved > 0 || transfer.status == TransferStatus::Completed))
    {
        connections::transferred(sql, connection, moved, transfer.counters.bytes_transferred, now)?;
    }
    Ok((transfer, kind, reason))
}

/// Notes that a transfer is alive and raises its counters, also where it was taken for dead: `false` if it has ended.
#[cfg(feature = "server")]
pub(crate) fn lives(sql: &mut dyn Sql, now: OffsetDateTime, uuid: Uuid, counters: &TransferCounters) -> Result<bool> {
    check(counters)?;
    if row::raise(sql, uuid, counters, now)? {
        return Ok(true);
    }
    match by_uuid(sql, uuid)? {
        Some(dead) if is_abandoned(&dead) => reopen(sql, now, &dead, counters).map(|_| true),
        _ => Ok(false),
    }
}

/// Whether a transfer was taken for dead.
#[cfg(feature = "server")]
pub(crate) fn is_abandoned(transfer: &Transfer) -> bool {
    transfer.status == TransferStatus::Failed && transfer.error_message.as_deref() == Some(ABANDONED)
}

/// A transfer is in progress again. What its end had added to its connection's totals is taken back until it ends again.
#[cfg(feature = "server")]
pub(crate) fn reopen(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    known: &Transfer,
    counters: &TransferCounters,
) -> Result<Transfer> {
    let moved = known.counters;
    if known.status.is_final()
        && (moved.records_transferred > 0 || known.status == TransferStatus::Completed)
        && let Some(connection) = known.connection
    {
        connections::transferred_back(sql, connection, moved.records_transferred, moved.bytes_transferred)?;
    }
    let transfer = Transfer {
        status: TransferStatus::InProgress,
        completed_at: None,
        error_message: None,
        counters: moved.raised_to(counters),
        ..known.clone()
    };
    row::update(sql, &transfer, known.status, now)?;
    Ok(transfer)
}

/// Raises the counters of a running transfer, and notes that it is alive.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound); [`InvalidTransition`](ErrorKind::InvalidTransition) when it does not run.
pub(crate) fn progress(sql: &mut dyn Sql, now: OffsetDateTime, uuid: Uuid, counters: &TransferCounters) -> Result<()> {
    check(counters)?;
    if row::raise(sql, uuid, counters, now)? {
        return Ok(());
    }
    let transfer = by_uuid(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
    let message = format!("a transfer that is {} moves no records", transfer.status);
    Err(Error::new(ErrorKind::InvalidTransition, message).with_hint("Start it first."))
}

/// Raises the counters of a transfer that was ended before all that it had moved was counted, and its connection's totals by
/// as much.
pub(crate) fn settle(sql: &mut dyn Sql, now: OffsetDateTime, ended: &Transfer, counters: &TransferCounters) -> Result<()> {
    check(counters)?;
    let before = ended.counters;
    let raised = Transfer { counters: before.raised_to(counters), ..ended.clone() };
    if raised.counters == before || !row::update(sql, &raised, ended.status, now)? {
        return Ok(());
    }
    let Some(connection) = ended.connection else { return Ok(()) };
    let records = raised.counters.records_transferred.saturating_sub(before.records_transferred);
    let bytes = raised.counters.bytes_transferred.saturating_sub(before.bytes_transferred);
    match (before.records_transferred, records) {
        (0, 0) => Ok(()),
        // Without records it was not counted as a transfer.
        (0, _) => connections::transferred(sql, connection, records, bytes, now),
        _ => connections::transferred_more(sql, connection, records, bytes, now),
    }
}

/// Notes how far the rows of a transfer that has ended are known to be the sender's.
pub(crate) fn note_verified(sql: &mut dyn Sql, uuid: Uuid, verified: Verified) -> Result<()> {
    if verified == Verified::None {
        return Ok(());
    }
    let update = "UPDATE rowferry_transfers SET verified = ?2 WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), verified.as_str().into()]).map(|_| ())
}

/// Notes that who asked for an expired transfer is told so: `false` if that was noted before.
pub(crate) fn tell_expired(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    let update =
        "UPDATE rowferry_transfers SET error_message = ?2 WHERE uuid = ?1 AND status = ?3 AND error_message IS NULL";
    let (why, expired) = ("nobody approved it in time", TransferStatus::Expired.as_str());
    Ok(sql.execute(update, &[uuid.to_string().into(), why.into(), expired.into()])? == 1)
}

/// Notes that a running transfer is alive; one that does not run is left as it is.
pub(crate) fn touch(sql: &mut dyn Sql, now: OffsetDateTime, uuid: Uuid) -> Result<()> {
    let update = "UPDATE rowferry_transfers SET touched_at = ?2 WHERE uuid = ?1 AND status = ?3";
    let running = TransferStatus::InProgress.as_str();
    sql.execute(update, &[uuid.to_string().into(), clock::to_text(now).into(), running.into()]).map(|_| ())
}

/// Adds a note to a transfer, if it is in the history.
pub(crate) fn note(sql: &mut dyn Sql, uuid: Uuid, key: &str, value: &str) -> Result<()> {
    let Some(mut transfer) = by_uuid(sql, uuid)? else { return Ok(()) };
    transfer.metadata.insert(key.to_owned(), value.into());
    row::set_metadata(sql, &transfer)
}

/// Takes a transfer out of the history.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound); [`InvalidTransition`](ErrorKind::InvalidTransition) while it runs.
pub(crate) fn delete(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, uuid: Uuid) -> Result<()> {
    let transfer = by_uuid(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
    let delete = "DELETE FROM rowferry_transfers WHERE uuid = ?1 AND status <> ?2";
    let running = TransferStatus::InProgress.as_str();
    if sql.execute(delete, &[uuid.to_string().into(), running.into()])? == 0 {
        return Err(Error::new(ErrorKind::InvalidTransition, "a transfer that runs cannot be deleted")
            .with_hint("Cancel it, or wait for its end."));
    }
    event(sql, now, actor, &transfer, EventKind::TransferDeleted, None)
}

fn event(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    actor: &str,
    transfer: &Transfer,
    kind: EventKind,
    reason: Option<&str>,
) -> Result<()> {
    let mut details = Metadata::new();
    details.insert("table".to_owned(), transfer.table_name.as_str().into());
    details.insert("direction".to_owned(), transfer.direction.as_str().into());
    if let Some(reason) = reason {
        details.insert("reason".to_owned(), row::shortened(reason).into());
    }
    if kind == EventKind::TransferCompleted || transfer.counters.records_transferred > 0 {
        details.insert("records".to_owned(), transfer.counters.records_transferred.into());
        details.insert("bytes".to_owned(), transfer.counters.bytes_transferred.into());
    }
    events::add(sql, now, kind, actor, transfer.connection, Some(transfer.uuid), details)
}

fn check(counters: &TransferCounters) -> Result<()> {
    match counts(counters).iter().all(|count| *count <= MOST) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidInput, "no transfer moves so much: a count is at most 2^53 - 1")),
    }
}

fn not_found(uuid: Uuid) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no transfer {uuid}"))
}
