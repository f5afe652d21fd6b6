//! Pulls that a person must approve first. Whoever asks for one that nobody has decided on leaves a transfer that waits for
//! approval, and comes back.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Denial;
use crate::domain::connection::Connection;
use crate::domain::names::NameRules;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::state::transfers::{self, Change};
use crate::store::Sql;

/// How the pull of a table stands with the people here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// Nobody need approve it.
    NotNeeded,
    /// This transfer may start, once.
    Approved(Uuid),
    /// This transfer waits.
    Pending(Uuid),
    /// This transfer waited for too long, and is not marked so yet.
    Overdue(Uuid),
    /// This transfer was denied, for this reason, and asking again changes nothing for now.
    Denied(Uuid, Option<String>),
    /// Nobody was asked, or it is long ago.
    Unasked,
}

/// How the pull of a table through a connection stands. It only reads.
pub(super) fn standing(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    connection: &Connection,
    names: NameRules,
    table: &str,
) -> Result<Standing> {
    if !connection.requires_approval(table, names) {
        return Ok(Standing::NotNeeded);
    }
    let mut newest = |statuses: &[TransferStatus]| transfers::newest(sql, connection.uuid, table, statuses);
    if let Some(approved) = newest(&[TransferStatus::Approved])? {
        return Ok(Standing::Approved(approved.uuid));
    }
    match newest(&[TransferStatus::PendingApproval])? {
        Some(waiting) if waiting.is_past_approval(now) => return Ok(Standing::Overdue(waiting.uuid)),
        Some(waiting) => return Ok(Standing::Pending(waiting.uuid)),
        None => {}
    }
    // A denial holds for as long as an approval could have been given, unless something came after it.
    match newest(&[])? {
        Some(last) if denied_still(&last, now) => Ok(Standing::Denied(last.uuid, last.denial_reason)),
        _ => Ok(Standing::Unasked),
    }
}

fn denied_still(transfer: &Transfer, now: OffsetDateTime) -> bool {
    transfer.status == TransferStatus::Denied && transfer.approval_expires_at.is_some_and(|until| until > now)
}

/// The transfer that may start; `None` where nobody need approve it.
pub(super) type Decided = std::result::Result<Option<Uuid>, Denial>;

/// Decides on a pull, and asks for approval if nobody was asked: `request` is the transfer that then waits. `waiting` is the
/// transfer that this peer was told of before: he is told once that its time is over.
pub(super) fn decide(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    connection: &Connection,
    names: NameRules,
    request: &Transfer,
    waiting: Option<Uuid>,
    actor: &str,
) -> Result<Decided> {
    let table = request.table_name.as_str();
    let denial = |kind, transfer| Denial::new(kind).of_table(table).of_transfer(transfer);
    let overdue = match standing(sql, now, connection, names, table)? {
        Standing::NotNeeded => return Ok(Ok(None)),
        Standing::Approved(transfer) => return Ok(Ok(Some(transfer))),
        Standing::Pending(transfer) => return Ok(Err(denial(ErrorKind::ApprovalRequired, transfer))),
        Standing::Denied(transfer, reason) => {
            return Ok(Err(Denial { reason, ..denial(ErrorKind::ApprovalDenied, transfer) }));
        }
        Standing::Overdue(transfer) => {
            transfers::change(sql, now, actor, transfer, Change::Expire)?;
            Some(transfer)
        }
        Standing::Unasked => {
            let last = transfers::newest(sql, connection.uuid, table, &[])?.map(|last| last.uuid);
            waiting
                .or(last)
                .map(|uuid| transfers::by_uuid(sql, uuid))
                .transpose()?
                .flatten()
                .and_then(|known| (known.status == TransferStatus::Expired).then_some(known.uuid))
        }
    };
    // Whoever asked is told of it once, also when he comes back; then the people here are asked anew.
    if let Some(overdue) = overdue
        && (transfers::tell_expired(sql, overdue)? || waiting == Some(overdue))
    {
        return Ok(Err(denial(ErrorKind::ApprovalExpired, overdue)));
    }
    transfers::insert(sql, now, actor, request)?;
    Ok(Err(denial(ErrorKind::ApprovalRequired, request.uuid)))
}
