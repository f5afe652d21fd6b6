//! What a connection allows, taken bit by bit: each of these either takes something that is left, or nothing. A transaction
//! over a store's state is alone, so that what is read here still holds when it is written.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::clock;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{Fields, number};
use crate::store::Sql;

/// How many minutes' calls the bucket of a connection holds.
const BUCKET_MINUTES: u64 = 5;

/// Takes a call from the connection's bucket, which holds five times as many as it gets back in a minute: a site that asks about each
/// of many tables at once is no flood. Refused with how long to wait until there is one.
pub(crate) fn take_call(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime) -> Result<Result<(), Duration>> {
    let select = "SELECT rate_window, rate_count, rate_limit_requests_per_minute FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    // One that is gone has none.
    let Some(row) = rows.first() else { return Ok(Err(Duration::from_secs(1))) };
    let mut row = Fields::of(row);
    let (since, taken, rate) = (row.optional_text()?, row.number()?, row.number()?.max(1));
    // In sixtieths of a call, of which so many come back each second as there are calls in a minute.
    let passed = since.and_then(|since| clock::from_text(&since)).map(|since| (now - since).whole_seconds());
    let taken = match passed.map(u64::try_from) {
        Some(Ok(seconds)) => taken.saturating_sub(seconds.saturating_mul(rate)),
        // The first one, or the clock was set back.
        _ => 0,
    };
    let over = taken.saturating_add(60).saturating_sub(rate.saturating_mul(60 * BUCKET_MINUTES));
    if over > 0 {
        return Ok(Err(Duration::from_secs(over.div_ceil(rate))));
    }
    let update = "UPDATE rowferry_connections SET rate_window = ?2, rate_count = ?3 WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), clock::to_text(now).into(), integer(taken.saturating_add(60))])?;
    Ok(Ok(()))
}

/// Takes one pull of a table: `false` when none is left.
pub(crate) fn take_download(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    let update = "UPDATE rowferry_connections SET downloads_used = downloads_used + 1 \
                  WHERE uuid = ?1 AND (max_downloads IS NULL OR downloads_used < max_downloads)";
    Ok(sql.execute(update, &[uuid.to_string().into()])? == 1)
}

/// Takes at most this many records; gives how many were left to be taken, maybe 0.
pub(crate) fn take_records(sql: &mut dyn Sql, uuid: Uuid, want: u64) -> Result<u64> {
    let select = "SELECT records_downloaded, max_records_total FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let Some(row) = rows.first() else { return Err(gone(uuid)) };
    let mut row = Fields::of(row);
    let (used, most) = (row.number()?, row.optional_number()?);
    let granted = most.map_or(want, |most| want.min(most.saturating_sub(used)));
    if granted > 0 {
        let update = "UPDATE rowferry_connections SET records_downloaded = ?2 WHERE uuid = ?1";
        sql.execute(update, &[uuid.to_string().into(), integer(used.saturating_add(granted))])?;
    }
    Ok(granted)
}

/// Gives back records that were taken and not sent. One that is gone gets none.
pub(crate) fn return_records(sql: &mut dyn Sql, uuid: Uuid, records: u64) -> Result<()> {
    let update = "UPDATE rowferry_connections SET records_downloaded = \
                  CASE WHEN records_downloaded > ?2 THEN records_downloaded - ?2 ELSE 0 END WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), integer(records)]).map(|_| ())
}

/// Counts records that were sent while the connection had no limit on them. One that is gone counts none.
pub(crate) fn count_records(sql: &mut dyn Sql, uuid: Uuid, records: u64) -> Result<()> {
    let select = "SELECT records_downloaded FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(()) };
    let downloaded = number(row, 0)?.saturating_add(records);
    let update = "UPDATE rowferry_connections SET records_downloaded = ?2 WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), integer(downloaded)]).map(|_| ())
}

/// Counts records that are kept here: all of them, or none and an error where the connection does not allow so many more. One that is gone
/// counts none.
pub(crate) fn count_pulled(sql: &mut dyn Sql, uuid: Uuid, records: u64) -> Result<()> {
    let select = "SELECT name, records_downloaded, max_records_total FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(()) };
    let mut row = Fields::of(row);
    let (name, used, most) = (row.text()?, row.number()?, row.optional_number()?);
    let all = used.saturating_add(records);
    if let Some(most) = most.filter(|most| all > *most) {
        return Err(no_more(&name, most));
    }
    let update = "UPDATE rowferry_connections SET records_downloaded = ?2 WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), integer(all)]).map(|_| ())
}

/// Why a receiver's connection takes no more records.
pub(crate) fn no_more(name: &str, most: u64) -> Error {
    let message = format!("the connection {name:?} here allows {most} records in all, and there are more");
    Error::new(ErrorKind::RecordLimit, message).with_hint("What arrived is kept. Allow more records in all, and pull again.")
}

/// Counts one pull and its records, whatever the connection allows: they have been.
pub(crate) fn used(sql: &mut dyn Sql, uuid: Uuid, records: u64) -> Result<()> {
    let select = "SELECT downloads_used, records_downloaded FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let Some(row) = rows.first() else { return Err(gone(uuid)) };
    let (downloads, downloaded) = (number(row, 0)?.saturating_add(1), number(row, 1)?.saturating_add(records));
    let update = "UPDATE rowferry_connections SET downloads_used = ?2, records_downloaded = ?3 WHERE uuid = ?1";
    sql.execute(update, &[uuid.to_string().into(), integer(downloads), integer(downloaded)]).map(|_| ())
}

/// Adds a transfer that has ended to the connection's totals. One that is gone has none.
pub(crate) fn transferred(sql: &mut dyn Sql, uuid: Uuid, records: u64, bytes: u64, now: OffsetDateTime) -> Result<()> {
    add(sql, uuid, [1, records, bytes], now)
}

/// Adds what a transfer had moved that is among the connection's totals already.
pub(crate) fn transferred_more(sql: &mut dyn Sql, uuid: Uuid, records: u64, bytes: u64, now: OffsetDateTime) -> Result<()> {
    add(sql, uuid, [0, records, bytes], now)
}

/// Takes back what the end of a transfer had added, because it is resumed. One that is gone has no totals.
pub(crate) fn transferred_back(sql: &mut dyn Sql, uuid: Uuid, records: u64, bytes: u64) -> Result<()> {
    let less = |column: &str, by: &str| format!("{column} = CASE WHEN {column} > {by} THEN {column} - {by} ELSE 0 END");
    let update = format!(
        "UPDATE rowferry_connections SET {}, {}, {} WHERE uuid = ?1",
        less("total_transfers", "1"),
        less("total_records_transferred", "?2"),
        less("total_bytes_transferred", "?3"),
    );
    sql.execute(&update, &[uuid.to_string().into(), integer(records), integer(bytes)]).map(|_| ())
}

fn add(sql: &mut dyn Sql, uuid: Uuid, [transfers, records, bytes]: [u64; 3], now: OffsetDateTime) -> Result<()> {
    let select = "SELECT total_transfers, total_records_transferred, total_bytes_transferred \
                  FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let Some(row) = rows.first() else { return Ok(()) };
    let added = |column, more: u64| Ok::<_, Error>(integer(number(row, column)?.saturating_add(more)));
    let update = "UPDATE rowferry_connections SET total_transfers = ?2, total_records_transferred = ?3, \
                  total_bytes_transferred = ?4, last_transfer_at = ?5 WHERE uuid = ?1";
    let now = clock::to_text(now).into();
    let totals = [uuid.to_string().into(), added(0, transfers)?, added(1, records)?, added(2, bytes)?, now];
    sql.execute(update, &totals).map(|_| ())
}

/// Keeps when the connection was used last: `false` if it is gone.
pub(crate) fn connected(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime) -> Result<bool> {
    let update = "UPDATE rowferry_connections SET last_connected_at = ?2 WHERE uuid = ?1";
    Ok(sql.execute(update, &[uuid.to_string().into(), clock::to_text(now).into()])? == 1)
}

/// A count ends where the store's integers end.
fn integer(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn gone(uuid: Uuid) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no connection {uuid}"))
}
