//! The site's own rows in any store: settings, sessions, running pulls. The only place where their SQL stands.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Scope, Sql, Store};
use crate::clock;
use crate::domain::session::{Direction, SessionInfo, SessionStatus};
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};

/// Runs `work` in one transaction over the store's state, and gives what it gave.
pub(crate) fn write<T>(store: &dyn Store, mut work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
    let mut answer = None;
    store.state(&mut |sql| {
        answer = Some(work(sql)?);
        Ok(())
    })?;
    answered(answer)
}

/// The same for queries only; it need not wait for writers.
pub(crate) fn read<T>(store: &dyn Store, mut work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
    let mut answer = None;
    store.read_state(&mut |sql| {
        answer = Some(work(sql)?);
        Ok(())
    })?;
    answered(answer)
}

fn answered<T>(answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| Error::new(ErrorKind::Database, "the store did not run what it was given"))
}

/// Settings: texts by name.
pub(crate) mod settings {
    use super::*;

    pub(crate) fn get(sql: &mut dyn Sql, key: &str) -> Result<Option<String>> {
        let rows = sql.query("SELECT value FROM rowferry_settings WHERE key = ?1", &[key.into()])?;
        rows.into_iter().next().map(|row| text(&row, 0)).transpose()
    }

    pub(crate) fn set(sql: &mut dyn Sql, key: &str, value: &str) -> Result<()> {
        let upsert = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) \
                      ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        sql.execute(upsert, &[key.into(), value.into()]).map(|_| ())
    }

    /// Sets it unless it is set; gives what is there then.
    pub(crate) fn settle(sql: &mut dyn Sql, key: &str, value: &str) -> Result<String> {
        let insert = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING";
        sql.execute(insert, &[key.into(), value.into()])?;
        Ok(get(sql, key)?.unwrap_or_else(|| value.to_owned()))
    }

    pub(crate) fn remove(sql: &mut dyn Sql, key: &str) -> Result<()> {
        sql.execute("DELETE FROM rowferry_settings WHERE key = ?1", &[key.into()]).map(|_| ())
    }
}

/// Pulls that run, by their scope: so that what a killed one kept can be told from what a running one needs.
pub(crate) mod pulls {
    use super::*;

    pub(crate) fn begin(sql: &mut dyn Sql, scope: &Scope, now: OffsetDateTime) -> Result<()> {
        let insert = "INSERT INTO rowferry_pulls (scope, touched_at) VALUES (?1, ?2)";
        sql.execute(insert, &[scope.as_str().into(), clock::to_text(now).into()]).map(|_| ())
    }

    /// Says that the pull is alive: `false` if it was taken for dead, and what it kept is gone.
    pub(crate) fn touch(sql: &mut dyn Sql, scope: &Scope, now: OffsetDateTime) -> Result<bool> {
        let update = "UPDATE rowferry_pulls SET touched_at = ?2 WHERE scope = ?1";
        Ok(sql.execute(update, &[scope.as_str().into(), clock::to_text(now).into()])? == 1)
    }

    /// The pull that was untouched for longest, if that is since before this moment.
    pub(crate) fn abandoned(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<Option<Scope>> {
        let select = "SELECT scope FROM rowferry_pulls WHERE touched_at < ?1 ORDER BY touched_at LIMIT 1";
        let rows = sql.query(select, &[clock::to_text(before).into()])?;
        Ok(rows.first().map(|row| text(row, 0)).transpose()?.map(Scope::named))
    }

    pub(crate) fn end(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
        sql.execute("DELETE FROM rowferry_pulls WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
    }
}

/// Sessions. A code is looked for by its hash under the site's key.
pub(crate) mod sessions {
    use super::*;

    const COLUMNS: &str = "uuid, direction, created_at, expires_at, used_at, used_by";

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
        Ok(sql.execute("DELETE FROM rowferry_sessions WHERE uuid = ?1", &[uuid.to_string().into()])? == 1)
    }

    /// How many there were.
    pub(crate) fn delete_all(sql: &mut dyn Sql) -> Result<usize> {
        sql.execute("DELETE FROM rowferry_sessions", &[])
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
}

fn text(row: &[Value], column: usize) -> Result<String> {
    optional_text(row, column)?.ok_or_else(|| unreadable("value"))
}

fn optional_text(row: &[Value], column: usize) -> Result<Option<String>> {
    match row.get(column) {
        Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| unreadable("text")),
        None => Err(unreadable("column")),
    }
}

fn moment(text: &str) -> Result<OffsetDateTime> {
    clock::from_text(text).ok_or_else(|| unreadable("moment"))
}

fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a {what} in rowferry's own tables cannot be read"))
        .with_hint("Something else wrote to a table named rowferry_*; restore the database from a backup.")
}
