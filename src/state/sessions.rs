//! Sessions. A code is looked for by its hash under the site's key.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{moment, optional_text, text, tickets, unreadable};
use crate::clock;
use crate::domain::session::{Direction, SessionInfo, SessionStatus};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

const COLUMNS: &str = "uuid, direction, created_at, expires_at, used_at, used_by";

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
    one(sql, "WHERE code_hash = ?1", &[code_hash.into()], now)
}

pub(crate) fn by_uuid(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime) -> Result<Option<SessionInfo>> {
    one(sql, "WHERE uuid = ?1", &[uuid.to_string().into()], now)
}

/// All, the oldest first.
pub(crate) fn list(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<Vec<SessionInfo>> {
    select(sql, "ORDER BY created_at, uuid", &[], now)
}

/// Those whose code works, the oldest first.
pub(crate) fn list_active(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<Vec<SessionInfo>> {
    let which = "WHERE used_at IS NULL AND expires_at > ?1 ORDER BY created_at, uuid";
    select(sql, which, &[clock::to_text(now).into()], now)
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
    let rows = sql.query(&format!("SELECT {COLUMNS} FROM rowferry_sessions {which}"), parameters)?;
    rows.iter().map(|row| session(row, now)).collect()
}

fn session(row: &[Value], now: OffsetDateTime) -> Result<SessionInfo> {
    let used_at = optional_text(row, 4)?.map(|text| moment(&text)).transpose()?;
    let expires_at = moment(&text(row, 3)?)?;
    let status = match used_at {
        Some(_) => SessionStatus::Used,
        None if expires_at <= now => SessionStatus::Expired,
        None => SessionStatus::Active,
    };
    Ok(SessionInfo {
        uuid: text(row, 0)?.parse().map_err(|_| unreadable("uuid"))?,
        direction: text(row, 1)?.parse::<Direction>()?,
        status,
        created_at: moment(&text(row, 2)?)?,
        expires_at,
        used_at,
        used_by: optional_text(row, 5)?,
    })
}
