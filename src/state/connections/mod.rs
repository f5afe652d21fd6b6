//! Connections: finding and writing their rows. Every function works within a transaction of its caller.

mod row;
mod take;

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use row::{Change, Stored};
pub(crate) use take::{
    connected, count_pulled, count_records, no_more, return_records, take_call, take_download, take_records, transferred,
    transferred_back, transferred_more, used,
};

use super::{number, optional_text, unreadable};
use crate::clock;
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionFilter};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

pub(crate) fn by_uuid(sql: &mut dyn Sql, uuid: Uuid) -> Result<Option<Connection>> {
    one(sql, "WHERE uuid = ?1", &[uuid.to_string().into()])
}

/// The connection whose token has this lookup.
pub(crate) fn by_lookup(sql: &mut dyn Sql, lookup: &str, direction: ConnectionDirection) -> Result<Option<Connection>> {
    one(sql, "WHERE token_lookup = ?1 AND direction = ?2", &[lookup.into(), direction.as_str().into()])
}

/// The connection with the site of this URL, which is in its normal form.
pub(crate) fn by_site_url(sql: &mut dyn Sql, url: &str, direction: ConnectionDirection) -> Result<Option<Connection>> {
    one(sql, "WHERE site_url = ?1 AND direction = ?2", &[url.into(), direction.as_str().into()])
}

/// At most two connections of this name: enough to tell whether it means one.
pub(crate) fn by_name(sql: &mut dyn Sql, name: &str) -> Result<Vec<Connection>> {
    row::select(sql, "WHERE name = ?1 ORDER BY uuid LIMIT 2", &[name.into()])
}

/// The names that begin so.
pub(crate) fn names_from(sql: &mut dyn Sql, start: &str) -> Result<HashSet<String>> {
    let select = "SELECT name FROM rowferry_connections WHERE substr(name, 1, length(?1)) = ?1";
    sql.query(select, &[start.into()])?.iter().map(|row| super::text(row, 0)).collect()
}

/// At most so many connections that other sites asked for and that wait for approval; those made before this moment. The owner may make
/// one that waits, too.
pub(crate) fn pending(sql: &mut dyn Sql, before: Option<OffsetDateTime>, most: u32) -> Result<Vec<Connection>> {
    let mut parameters = vec![Value::from(i64::from(most))];
    let older = before.map_or("", |before| {
        parameters.push(clock::to_text(before).into());
        "AND created_at < ?2"
    });
    let which = format!(
        "WHERE status = 'pending' AND direction = 'receiver' AND substr(created_by, 1, 5) = 'peer ' {older} ORDER BY uuid LIMIT ?1"
    );
    row::select(sql, &which, &parameters)
}

/// The oldest first.
pub(crate) fn list(sql: &mut dyn Sql, filter: &ConnectionFilter, most: u32) -> Result<Vec<Connection>> {
    let (which, mut parameters) = chosen(filter);
    let (limit, offset) = (parameters.len() + 1, parameters.len() + 2);
    parameters.push(i64::from(filter.limit.min(most)).into());
    parameters.push(i64::try_from(filter.offset).unwrap_or(i64::MAX).into());
    row::select(sql, &format!("{which} ORDER BY created_at, uuid LIMIT ?{limit} OFFSET ?{offset}"), &parameters)
}

/// How many a filter chooses, its limit and offset left out.
pub(crate) fn count(sql: &mut dyn Sql, filter: &ConnectionFilter) -> Result<u64> {
    let (which, parameters) = chosen(filter);
    let rows = sql.query(&format!("SELECT count(*) FROM rowferry_connections {which}"), &parameters)?;
    rows.first().map_or_else(|| Err(unreadable("count")), |row| number(row, 0))
}

fn chosen(filter: &ConnectionFilter) -> (String, Vec<Value>) {
    let mut parameters: Vec<Value> = Vec::new();
    let mut conditions = Vec::new();
    let words = [("direction", filter.direction.map(|d| d.as_str())), ("status", filter.status.map(|s| s.as_str()))];
    for (column, word) in words {
        if let Some(word) = word {
            parameters.push(word.into());
            conditions.push(format!("{column} = ?{}", parameters.len()));
        }
    }
    match conditions.is_empty() {
        true => (String::new(), parameters),
        false => (format!("WHERE {}", conditions.join(" AND ")), parameters),
    }
}

pub(crate) fn insert(sql: &mut dyn Sql, connection: &Connection, stored: &Stored) -> Result<()> {
    let columns = row::all(connection, stored)?;
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
    let insert = format!("INSERT INTO rowferry_connections ({}) VALUES ({})", names.join(", "), places.join(", "));
    let values: Vec<_> = columns.into_iter().map(|(_, value)| value).collect();
    sql.execute(&insert, &values).map(|_| ())
}

/// Changes some columns of a connection: `false` if there is none.
pub(crate) fn change(sql: &mut dyn Sql, uuid: Uuid, now: OffsetDateTime, changes: Vec<Change>) -> Result<bool> {
    let mut values: Vec<Value> = vec![uuid.to_string().into(), clock::to_text(now).into()];
    let mut set = "updated_at = ?2".to_owned();
    for (column, value) in changes {
        values.push(value);
        set.push_str(&format!(", {column} = ?{}", values.len()));
    }
    Ok(sql.execute(&format!("UPDATE rowferry_connections SET {set} WHERE uuid = ?1"), &values)? == 1)
}

/// The columns in which two states of a connection's own settings differ, with the values of the second.
pub(crate) fn differences(from: &Connection, to: &Connection) -> Result<Vec<Change>> {
    let before = row::settings(from)?;
    let after = row::settings(to)?;
    Ok(before.into_iter().zip(after).filter(|(before, after)| before != after).map(|(_, after)| after).collect())
}

/// Whether there was such a connection.
pub(crate) fn delete(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    Ok(sql.execute("DELETE FROM rowferry_connections WHERE uuid = ?1", &[uuid.to_string().into()])? == 1)
}

/// What is kept of a connection's secrets.
pub(crate) fn stored(sql: &mut dyn Sql, uuid: Uuid) -> Result<Option<Stored>> {
    let select = "SELECT token_lookup, token_sealed, download_password_hash FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    let stored = |row: &Vec<Value>| {
        Ok(Stored {
            token_lookup: super::text(row, 0)?,
            token_sealed: super::text(row, 1)?,
            password_hash: optional_text(row, 2)?,
        })
    };
    rows.first().map(stored).transpose()
}

/// Whether it was the other site that suspended the connection.
pub(crate) fn suspended_by_peer(sql: &mut dyn Sql, uuid: Uuid) -> Result<bool> {
    let select = "SELECT suspended_by_peer FROM rowferry_connections WHERE uuid = ?1";
    let rows = sql.query(select, &[uuid.to_string().into()])?;
    rows.first().map_or(Ok(false), |row| Ok(number(row, 0)? != 0))
}

/// Connections that are to expire: their date has passed, or a limit is used up and no pull runs that has its part of it, or may be
/// resumed: one that has a name, began after `since`, and ended for one of the reasons that are `resumable`.
pub(crate) fn passed(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    (since, resumable): (OffsetDateTime, [&str; 3]),
    most: u32,
) -> Result<Vec<Connection>> {
    let which = "WHERE status IN ('pending', 'active', 'suspended') AND (\
                 expires_at <= ?1 OR (\
                 (downloads_used >= max_downloads OR records_downloaded >= max_records_total) AND NOT EXISTS (\
                 SELECT 1 FROM rowferry_transfers \
                 WHERE connection = rowferry_connections.uuid AND (rowferry_transfers.status = 'in_progress' OR \
                 (pull IS NOT NULL AND started_at > ?3 AND rowferry_transfers.status = 'failed' AND \
                 error_message IN (?4, ?5, ?6)))))) ORDER BY uuid LIMIT ?2";
    let mut parameters = vec![clock::to_text(now).into(), i64::from(most).into(), clock::to_text(since).into()];
    parameters.extend(resumable.map(Value::from));
    row::select(sql, which, &parameters)
}

/// Active connections whose date is behind `now` and not behind `until`, the next one first.
pub(crate) fn expiring(sql: &mut dyn Sql, now: OffsetDateTime, until: OffsetDateTime, most: u32) -> Result<Vec<Connection>> {
    let which = "WHERE status = 'active' AND expires_at > ?1 AND expires_at <= ?2 ORDER BY expires_at, uuid LIMIT ?3";
    row::select(sql, which, &[clock::to_text(now).into(), clock::to_text(until).into(), i64::from(most).into()])
}

fn one(sql: &mut dyn Sql, which: &str, parameters: &[Value]) -> Result<Option<Connection>> {
    Ok(row::select(sql, which, parameters)?.into_iter().next())
}
