//! Pulls that a person must approve first. A peer that asks for one that nobody has decided on leaves a transfer that waits for
//! approval, and comes back. An approval is for a table as it looked when it was asked for, for a number of records, and for some time.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::moments::later;
use crate::domain::access::Denial;
use crate::domain::connection::Connection;
use crate::domain::names::NameRules;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::state::transfers::pulls::{self, ApprovalTerms};
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
    /// This transfer waits or was approved, but the table looks different by now, or the approval was not used in time.
    Outdated(Uuid),
    /// This transfer was denied, for this reason, and asking again changes nothing for now.
    Denied(Uuid, Option<String>),
    /// Nobody was asked, or it is long ago.
    Unasked,
}

/// What is asked for, of whom.
pub(super) struct Question<'q> {
    pub(super) now: OffsetDateTime,
    pub(super) connection: &'q Connection,
    pub(super) names: NameRules,
    /// What an approval that is asked for now is good for.
    pub(super) terms: &'q ApprovalTerms,
    /// For how long an approval may wait to be used.
    pub(super) used_within: Duration,
}

/// How the pull of a table through a connection stands. It only reads.
pub(super) fn standing(sql: &mut dyn Sql, question: &Question<'_>, table: &str) -> Result<Standing> {
    let Question { now, connection, .. } = *question;
    if !connection.requires_approval(table, question.names) {
        return Ok(Standing::NotNeeded);
    }
    let looks_the_same = |sql: &mut dyn Sql, transfer: Uuid| {
        let asked = pulls::terms(sql, transfer)?.schema_digest;
        // One that was made here, and not by a peer's request, is for any.
        Ok::<_, Error>(asked.is_none() || asked == question.terms.schema_digest)
    };
    if let Some(approved) = transfers::newest(sql, connection.uuid, table, &[TransferStatus::Approved])? {
        let is_late = approved.approved_at.is_some_and(|at| now >= later(at, question.used_within));
        return Ok(match !is_late && looks_the_same(sql, approved.uuid)? {
            true => Standing::Approved(approved.uuid),
            false => Standing::Outdated(approved.uuid),
        });
    }
    match transfers::newest(sql, connection.uuid, table, &[TransferStatus::PendingApproval])? {
        Some(waiting) if waiting.is_past_approval(now) => return Ok(Standing::Overdue(waiting.uuid)),
        Some(waiting) if looks_the_same(sql, waiting.uuid)? => return Ok(Standing::Pending(waiting.uuid)),
        Some(waiting) => return Ok(Standing::Outdated(waiting.uuid)),
        None => {}
    }
    // A denial holds for as long as an approval could have been given, unless something came after it.
    match transfers::newest(sql, connection.uuid, table, &[])? {
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
/// transfer that this peer was told of before: it is told once that its time is over.
pub(super) fn decide(
    sql: &mut dyn Sql,
    question: &Question<'_>,
    request: &Transfer,
    waiting: Option<Uuid>,
    actor: &str,
) -> Result<Decided> {
    let (now, connection, table) = (question.now, question.connection, request.table_name.as_str());
    let denial = |kind, transfer| Denial::new(kind).of_table(table).of_transfer(transfer);
    let overdue = match standing(sql, question, table)? {
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
        Standing::Outdated(transfer) => {
            transfers::change(sql, now, actor, transfer, Change::Expire)?;
            None
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
    // The peer that asked is told of it once, also when it comes back; then the people here are asked again.
    if let Some(overdue) = overdue
        && (transfers::tell_expired(sql, overdue)? || waiting == Some(overdue))
    {
        return Ok(Err(denial(ErrorKind::ApprovalExpired, overdue)));
    }
    transfers::insert(sql, now, actor, request)?;
    pulls::set_terms(sql, request.uuid, question.terms)?;
    Ok(Err(denial(ErrorKind::ApprovalRequired, request.uuid)))
}
