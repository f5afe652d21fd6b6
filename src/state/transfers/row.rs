//! A transfer as a row.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock;
use crate::domain::event::{cleaned, cleaned_actor};
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{Fields, number};
use crate::store::Sql;

/// In the order of [`values`] and [`transfer`].
const COLUMNS: [&str; 31] = [
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
    "verified",
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

/// Most characters of a text that a person or a peer wrote.
const TEXT: usize = 2_000;

pub(super) fn shortened(text: &str) -> String {
    cleaned(text, TEXT)
}

pub(super) fn insert(sql: &mut dyn Sql, transfer: &Transfer, now: OffsetDateTime) -> Result<()> {
    let places: Vec<String> = (1..=COLUMNS.len() + 1).map(|number| format!("?{number}")).collect();
    let insert =
        format!("INSERT INTO rowferry_transfers ({}, touched_at) VALUES ({})", COLUMNS.join(", "), places.join(", "));
    let mut row = values(transfer)?;
    row.push(clock::to_text(now).into());
    sql.execute(&insert, &row).map(|_| ())
}

/// Writes the notes of a transfer.
pub(super) fn set_metadata(sql: &mut dyn Sql, transfer: &Transfer) -> Result<()> {
    let values = [transfer.uuid.to_string().into(), metadata(transfer)?.into()];
    sql.execute("UPDATE rowferry_transfers SET metadata = ?2 WHERE uuid = ?1", &values).map(|_| ())
}

fn metadata(transfer: &Transfer) -> Result<String> {
    serde_json::to_string(&transfer.metadata).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, format!("the notes of a transfer are not JSON: {error}")).with_source(error)
    })
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

pub(super) fn counts(counters: &TransferCounters) -> [u64; 6] {
    [
        counters.records_transferred,
        counters.records_created,
        counters.records_updated,
        counters.records_skipped,
        counters.records_failed,
        counters.bytes_transferred,
    ]
}

pub(super) fn integer(count: u64) -> Value {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

fn values(transfer: &Transfer) -> Result<Vec<Value>> {
    let uuid = |uuid: Option<Uuid>| Value::from(uuid.map(|uuid| uuid.to_string()));
    let at = |at: Option<OffsetDateTime>| Value::from(at.map(clock::to_text));
    let text = |text: &Option<String>| Value::from(text.as_deref().map(shortened));
    let metadata = metadata(transfer)?;
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
        transfer.initiated_by.as_deref().map(cleaned_actor).into(),
        text(&transfer.error_message),
        at(transfer.started_at),
        at(transfer.completed_at),
        metadata.into(),
        clock::to_text(transfer.inserted_at).into(),
        transfer.verified.as_str().into(),
    ])
}

fn transfer(row: &[Value]) -> Result<Transfer> {
    let mut next = Fields::of(row);
    Ok(Transfer {
        uuid: next.word()?,
        direction: next.word()?,
        connection: next.optional_word()?,
        session: next.optional_word()?,
        remote_site_url: next.optional_text()?,
        table_name: next.text()?,
        records_requested: next.optional_number()?,
        counters: TransferCounters {
            records_transferred: next.number()?,
            records_created: next.number()?,
            records_updated: next.number()?,
            records_skipped: next.number()?,
            records_failed: next.number()?,
            bytes_transferred: next.number()?,
        },
        conflict_strategy: next.optional_word()?,
        status: next.word()?,
        requires_approval: next.flag()?,
        approved_at: next.optional_moment()?,
        approved_by: next.optional_text()?,
        denied_at: next.optional_moment()?,
        denied_by: next.optional_text()?,
        denial_reason: next.optional_text()?,
        approval_expires_at: next.optional_moment()?,
        requester_ip: next.optional_text()?,
        requester_user_agent: next.optional_text()?,
        initiated_by: next.optional_text()?,
        error_message: next.optional_text()?,
        started_at: next.optional_moment()?,
        completed_at: next.optional_moment()?,
        metadata: next.json()?,
        inserted_at: next.moment()?,
        verified: next.word()?,
    })
}

/// A count or sum: 0 over no rows, where a sum is NULL.
pub(super) fn total(row: &[Value], column: usize) -> Result<u64> {
    match row.get(column) {
        Some(Value::Null) => Ok(0),
        _ => number(row, column),
    }
}
