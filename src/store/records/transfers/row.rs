//! A transfer as a row.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{counts, integer};
use crate::clock;
use crate::domain::connection::Metadata;
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;
use crate::store::records::{moment, optional_text, text, unreadable};

/// In the order of [`values`] and [`transfer`].
const COLUMNS: [&str; 30] = [
    "uuid",
    "direction",
    "connection",
    "session",
    "remote_site_url",
    "table_name",
    "records_requested",
    "records_transferred",
    "records_created",
    "records_updated",
    "records_skipped",
    "records_failed",
    "bytes_transferred",
    "conflict_strategy",
    "status",
    "requires_approval",
    "approved_at",
    "approved_by",
    "denied_at",
    "denied_by",
    "denial_reason",
    "approval_expires_at",
    "requester_ip",
    "requester_user_agent",
    "initiated_by",
    "error_message",
    "started_at",
    "completed_at",
    "metadata",
    "inserted_at",
];

/// Columns that a transfer keeps as it was made with. They are not written again, nor are the indexes over them.
const FIXED: [&str; 12] = [
    "uuid",
    "direction",
    "connection",
    "session",
    "remote_site_url",
    "table_name",
    "conflict_strategy",
    "requester_ip",
    "requester_user_agent",
    "initiated_by",
    "metadata",
    "inserted_at",
];

/// Most characters of a text that somebody wrote. What is longer comes from a peer, and is cut.
const TEXT: usize = 2_000;

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

pub(super) fn insert(sql: &mut dyn Sql, transfer: &Transfer, now: OffsetDateTime) -> Result<()> {
    let places: Vec<String> = (1..=COLUMNS.len() + 1).map(|number| format!("?{number}")).collect();
    let insert =
        format!("INSERT INTO rowferry_transfers ({}, touched_at) VALUES ({})", COLUMNS.join(", "), places.join(", "));
    let mut row = values(transfer)?;
    row.push(clock::to_text(now).into());
    sql.execute(&insert, &row).map(|_| ())
}

/// Writes a transfer that stood at `before`: `false` if it no longer does.
pub(super) fn update(sql: &mut dyn Sql, transfer: &Transfer, before: TransferStatus, now: OffsetDateTime) -> Result<bool> {
    let (mut set, mut row) = (Vec::new(), vec![transfer.uuid.to_string().into(), before.as_str().into()]);
    let changing = COLUMNS.iter().zip(values(transfer)?).filter(|(column, _)| !FIXED.contains(column));
    for (column, value) in changing.chain([(&"touched_at", clock::to_text(now).into())]) {
        row.push(value);
        set.push(format!("{column} = ?{}", row.len()));
    }
    let update = format!("UPDATE rowferry_transfers SET {} WHERE uuid = ?1 AND status = ?2", set.join(", "));
    Ok(sql.execute(&update, &row)? == 1)
}

/// Raises the counters of a running transfer: `false` if it does not run.
pub(super) fn raise(sql: &mut dyn Sql, uuid: Uuid, counters: &TransferCounters, now: OffsetDateTime) -> Result<bool> {
    let columns = &COLUMNS[7..13];
    let set: Vec<String> = columns
        .iter()
        .zip(4..)
        .map(|(column, at)| format!("{column} = CASE WHEN {column} < ?{at} THEN ?{at} ELSE {column} END"))
        .collect();
    let update =
        format!("UPDATE rowferry_transfers SET {}, touched_at = ?3 WHERE uuid = ?1 AND status = ?2", set.join(", "));
    let running = TransferStatus::InProgress.as_str();
    let mut row: Vec<Value> = vec![uuid.to_string().into(), running.into(), clock::to_text(now).into()];
    row.extend(counts(counters).map(integer));
    Ok(sql.execute(&update, &row)? == 1)
}

/// The transfers that `which` chooses: what stands behind FROM.
pub(super) fn select(sql: &mut dyn Sql, which: &str, parameters: &[Value]) -> Result<Vec<Transfer>> {
    let select = format!("SELECT {} FROM rowferry_transfers {which}", COLUMNS.join(", "));
    sql.query(&select, parameters)?.iter().map(|row| transfer(row)).collect()
}

fn values(transfer: &Transfer) -> Result<Vec<Value>> {
    let uuid = |uuid: Option<Uuid>| Value::from(uuid.map(|uuid| uuid.to_string()));
    let at = |at: Option<OffsetDateTime>| Value::from(at.map(clock::to_text));
    let text = |text: &Option<String>| Value::from(text.as_deref().map(shortened));
    let metadata = serde_json::to_string(&transfer.metadata).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("the notes of a transfer are no JSON: {error}")).with_source(error)
    })?;
    let [transferred, created, updated, skipped, failed, bytes] = counts(&transfer.counters).map(integer);
    Ok(vec![
        transfer.uuid.to_string().into(),
        transfer.direction.as_str().into(),
        uuid(transfer.connection),
        uuid(transfer.session),
        text(&transfer.remote_site_url),
        transfer.table_name.as_str().into(),
        transfer.records_requested.map_or(Value::Null, integer),
        transferred,
        created,
        updated,
        skipped,
        failed,
        bytes,
        transfer.conflict_strategy.map(|strategy| strategy.as_str()).into(),
        transfer.status.as_str().into(),
        i64::from(transfer.requires_approval).into(),
        at(transfer.approved_at),
        text(&transfer.approved_by),
        at(transfer.denied_at),
        text(&transfer.denied_by),
        text(&transfer.denial_reason),
        at(transfer.approval_expires_at),
        text(&transfer.requester_ip),
        text(&transfer.requester_user_agent),
        text(&transfer.initiated_by),
        text(&transfer.error_message),
        at(transfer.started_at),
        at(transfer.completed_at),
        metadata.into(),
        clock::to_text(transfer.inserted_at).into(),
    ])
}

fn transfer(row: &[Value]) -> Result<Transfer> {
    let optional = |column| optional_text(row, column);
    let uuid = |column| parsed(optional_text(row, column)?);
    let at = |column| optional_text(row, column)?.map(|text| moment(&text)).transpose();
    let metadata: Metadata = serde_json::from_str(&text(row, 28)?).map_err(|_| unreadable("note"))?;
    Ok(Transfer {
        uuid: uuid(0)?.ok_or_else(|| unreadable("uuid"))?,
        direction: text(row, 1)?.parse()?,
        connection: uuid(2)?,
        session: uuid(3)?,
        remote_site_url: optional(4)?,
        table_name: text(row, 5)?,
        records_requested: match row.get(6) {
            Some(Value::Null) => None,
            _ => Some(number(row, 6)?),
        },
        counters: TransferCounters {
            records_transferred: number(row, 7)?,
            records_created: number(row, 8)?,
            records_updated: number(row, 9)?,
            records_skipped: number(row, 10)?,
            records_failed: number(row, 11)?,
            bytes_transferred: number(row, 12)?,
        },
        conflict_strategy: optional(13)?.map(|text| text.parse()).transpose()?,
        status: text(row, 14)?.parse()?,
        requires_approval: number(row, 15)? != 0,
        approved_at: at(16)?,
        approved_by: optional(17)?,
        denied_at: at(18)?,
        denied_by: optional(19)?,
        denial_reason: optional(20)?,
        approval_expires_at: at(21)?,
        requester_ip: optional(22)?,
        requester_user_agent: optional(23)?,
        initiated_by: optional(24)?,
        error_message: optional(25)?,
        started_at: at(26)?,
        completed_at: at(27)?,
        metadata,
        inserted_at: moment(&text(row, 29)?)?,
    })
}

fn parsed(text: Option<String>) -> Result<Option<Uuid>> {
    text.map(|text| text.parse().map_err(|_| unreadable("uuid"))).transpose()
}

/// A count; 0 where a sum over no rows is NULL.
pub(super) fn number(row: &[Value], column: usize) -> Result<u64> {
    match row.get(column) {
        Some(Value::Null) => Ok(0),
        value => value
            .and_then(Value::as_integer)
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| unreadable("number")),
    }
}
