//! Sessions. A code is looked for by its hash under the site's key.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Fields, tickets, unreadable};
use crate::clock;
use crate::domain::session::{SessionInfo, SessionStatus, TicketInfo};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

const COLUMNS: &str = "uuid, direction, created_at, s.expires_at, used_at, used_by, t.expires_at, tables, receiver";

/// With their tickets whose time is not over: a session has one at most.
const WITH_TICKETS: &str =
    "rowferry_sessions AS s LEFT JOIN rowferry_tickets AS t ON t.session = s.uuid AND t.expires_at > ?1";

/// Those that ended before a moment.
const ENDED: &str = "WHERE used_at < ?1 OR expires_at < ?1";

pub(crate) fn insert(sql: &mut dyn Sql, session: &SessionInfo, code_hash: &str) -> Result<()> {
    let insert = "INSERT INTO rowferry_sessions (uuid, direction, code_hash, created_at, expires_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = [
        session.uuid.to_string().into(),
        session.direction.as_str().into(),
        code_hash.into(),
        clock::to_text(session.created_at).into(),
        clock::to_text(session.expires_at).into(),
    ];
    sql.execute(insert, &row).map(|_| ())
}

pub(crate) fn by_code(sql: &mut dyn Sql, code_hash: &str, now: OffsetDateTime) -> Result<Option<SessionInfo>> {
    one(sql, "WHERE code_hash = ?2", &[code_hash.into()], now)
}

pub(crate) fn by_uuid(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime) -> Result<Option<SessionInfo>> {
    one(sql, "WHERE uuid = ?2", &[uuid.to_string().into()], now)
}

/// All, the oldest first.
pub(crate) fn list(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<Vec<SessionInfo>> {
    select(sql, "ORDER BY created_at, uuid", &[], now)
}

/// Those whose code works, the oldest first.
pub(crate) fn list_active(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<Vec<SessionInfo>> {
    select(sql, "WHERE used_at IS NULL AND s.expires_at > ?1 ORDER BY created_at, uuid", &[], now)
}

pub(crate) fn count(sql: &mut dyn Sql) -> Result<u64> {
    let rows = sql.query("SELECT count(*) FROM rowferry_sessions", &[])?;
    let count = rows.first().and_then(|row| row.first()).and_then(Value::as_integer);
    count.and_then(|count| u64::try_from(count).ok()).ok_or_else(|| unreadable("count"))
}

/// Marks it used, if it still is not and its time is not over: of two at once only one gets `true`.
pub(crate) fn mark_used(sql: &mut dyn Sql, code_hash: &str, by: Option<&str>, now: OffsetDateTime) -> Result<bool> {
    let update = "UPDATE rowferry_sessions SET used_at = ?2, used_by = ?3 \
                  WHERE code_hash = ?1 AND used_at IS NULL AND expires_at > ?2";
    Ok(sql.execute(update, &[code_hash.into(), clock::to_text(now).into(), by.into()])? == 1)
}

/// Whether there is such a session: that is asked for each page.
#[cfg(feature = "server")]
pub(crate) fn exists(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    Ok(!sql.query("SELECT 1 FROM rowferry_sessions WHERE uuid = ?1", &[uuid.to_string().into()])?.is_empty())
}

/// The pull of a session's code has completed, and its ticket ends.
#[cfg(feature = "server")]
pub(crate) fn end(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime) -> Result<()> {
    tickets::end_of(sql, uuid)?;
    let update = "UPDATE rowferry_sessions SET over_at = ?2 WHERE uuid = ?1 AND over_at IS NULL";
    sql.execute(update, &[uuid.to_string().into(), clock::to_text(now).into()]).map(|_| ())
}

/// Whether there is such a session whose pull has yet to complete.
#[cfg(feature = "server")]
pub(crate) fn is_open(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_sessions WHERE uuid = ?1 AND over_at IS NULL";
    Ok(!sql.query(select, &[uuid.to_string().into()])?.is_empty())
}

/// Whether there was such a session.
pub(crate) fn set_expiry(sql: &mut dyn Sql, uuid: Uuid, expires_at: OffsetDateTime) -> Result<bool> {
    let update = "UPDATE rowferry_sessions SET expires_at = ?2 WHERE uuid = ?1";
    Ok(sql.execute(update, &[uuid.to_string().into(), clock::to_text(expires_at).into()])? == 1)
}

/// Whether there was such a session.
pub(crate) fn delete(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    let deleted = sql.execute("DELETE FROM rowferry_sessions WHERE uuid = ?1", &[uuid.to_string().into()])? == 1;
    tickets::end_with_sessions(sql)?;
    Ok(deleted)
}

/// How many there were.
pub(crate) fn delete_all(sql: &mut dyn Sql) -> Result<usize> {
    let deleted = sql.execute("DELETE FROM rowferry_sessions", &[])?;
    tickets::end_with_sessions(sql)?;
    Ok(deleted)
}

/// Deletes those that were used, or whose time was over, before this moment. Gives how many there were.
pub(crate) fn delete_ended(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<u64> {
    let delete = format!("DELETE FROM rowferry_sessions {ENDED}");
    let deleted = sql.execute(&delete, &[clock::to_text(before).into()])?;
    tickets::end_with_sessions(sql)?;
    Ok(deleted as u64)
}

/// Whether there are such.
pub(crate) fn any_ended(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<bool> {
    let select = format!("SELECT 1 FROM rowferry_sessions {ENDED} LIMIT 1");
    Ok(!sql.query(&select, &[clock::to_text(before).into()])?.is_empty())
}

fn one(sql: &mut dyn Sql, which: &str, parameters: &[Value], now: OffsetDateTime) -> Result<Option<SessionInfo>> {
    Ok(select(sql, which, parameters, now)?.into_iter().next())
}

fn select(sql: &mut dyn Sql, which: &str, parameters: &[Value], now: OffsetDateTime) -> Result<Vec<SessionInfo>> {
    let parameters: Vec<Value> = std::iter::once(clock::to_text(now).into()).chain(parameters.iter().cloned()).collect();
    let rows = sql.query(&format!("SELECT {COLUMNS} FROM {WITH_TICKETS} {which}"), &parameters)?;
    rows.iter().map(|row| session(row, now)).collect()
}

fn session(row: &[Value], now: OffsetDateTime) -> Result<SessionInfo> {
    let mut row = Fields::of(row);
    let (uuid, direction, created_at) = (row.word()?, row.word()?, row.moment()?);
    let (expires_at, used_at, used_by) = (row.moment()?, row.optional_moment()?, row.optional_text()?);
    let (until, tables, receiver) = (row.optional_moment()?, row.optional_json()?, row.optional_word()?);
    let ticket = until.map(|expires_at| TicketInfo { expires_at, tables, receiver });
    let status = match used_at {
        Some(_) => SessionStatus::Used,
        None if expires_at <= now => SessionStatus::Expired,
        None => SessionStatus::Active,
    };
    Ok(SessionInfo { uuid, direction, status, created_at, expires_at, used_at, used_by, ticket })
}
