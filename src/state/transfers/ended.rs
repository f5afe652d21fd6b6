//! Transfers that are kept only when they have ended.

use time::OffsetDateTime;

use super::row;
use super::{check, event};
use crate::clock;
use crate::domain::event::EventKind;
use crate::domain::transfer::{Transfer, TransferStatus};
use crate::error::Result;
use crate::state::connections;
use crate::store::Sql;

/// Keeps a transfer that has ended as it is given, with the event of its end unless nothing happened, and adds what it moved to its
/// connection's totals.
pub(crate) fn insert_ended(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, transfer: &Transfer) -> Result<()> {
    check(&transfer.counters)?;
    let transfer = Transfer {
        completed_at: Some(clock::whole_second(now)),
        error_message: transfer.error_message.as_deref().map(row::shortened),
        ..transfer.clone()
    };
    row::insert(sql, &transfer, now)?;
    let counters = &transfer.counters;
    let moved = counters.records_transferred;
    if let Some(connection) = transfer.connection.filter(|_| moved > 0 || transfer.status == TransferStatus::Completed) {
        connections::transferred(sql, connection, moved, counters.bytes_transferred, now)?;
    }
    let kind = match transfer.status {
        TransferStatus::Completed => EventKind::TransferCompleted,
        TransferStatus::Cancelled => EventKind::TransferCancelled,
        _ => EventKind::TransferFailed,
    };
    let changed = counters.records_created + counters.records_updated + counters.records_failed;
    match kind == EventKind::TransferCompleted && changed == 0 {
        true => Ok(()),
        false => event(sql, now, actor, &transfer, kind, transfer.error_message.as_deref()),
    }
}
