//! Events. They are only added, and dropped when they are old.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Fields, number, settings, unreadable};

use crate::clock;
use crate::domain::connection::Metadata;
use crate::domain::event::{self, Event, EventFilter, EventKind};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

/// The setting that holds the number of the newest event when events were dropped.
const LAST_EVENT: &str = "last_event";

/// Keeps what happened, in the transaction that it happens in. The details hold no secret. What a peer or a person wrote is cut and
/// cleaned here, in the details and in the actor.
pub(crate) fn add(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    kind: EventKind,
    actor: &str,
    connection: Option<Uuid>,
    transfer: Option<Uuid>,
    details: Metadata,
) -> Result<()> {
    let insert = "INSERT INTO rowferry_events (id, at, kind, actor, connection, transfer, details) \
                  SELECT coalesce(max(id), 0) + 1, ?1, ?2, ?3, ?4, ?5, ?6 FROM \
                  (SELECT max(id) AS id FROM rowferry_events \
                   UNION ALL SELECT CAST(value AS BIGINT) FROM rowferry_settings WHERE key = 'last_event') AS numbers";
    let uuid = |uuid: Option<Uuid>| Value::from(uuid.map(|uuid| uuid.to_string()));
    let row = [
        clock::to_text(now).into(),
        kind.as_str().into(),
        event::cleaned_actor(actor).into(),
        uuid(connection),
        uuid(transfer),
        serde_json::Value::Object(event::cleaned_details(details)).to_string().into(),
    ];
    sql.execute(insert, &row).map(|_| ())
}

/// Those that a filter chooses, in the order of their numbers or against it.
pub(crate) fn list(sql: &mut dyn Sql, filter: &EventFilter, most: u32) -> Result<Vec<Event>> {
    let mut parameters: Vec<Value> = vec![integer(filter.after)];
    let mut which = "WHERE id > ?1".to_owned();
    for (column, uuid) in [("connection", filter.connection), ("transfer", filter.transfer)] {
        if let Some(uuid) = uuid {
            parameters.push(uuid.to_string().into());
            which.push_str(&format!(" AND {column} = ?{}", parameters.len()));
        }
    }
    if !filter.kinds.is_empty() {
        let first = parameters.len() + 1;
        parameters.extend(filter.kinds.iter().map(|kind| kind.as_str().into()));
        let places: Vec<_> = (first..=parameters.len()).map(|place| format!("?{place}")).collect();
        which.push_str(&format!(" AND kind IN ({})", places.join(", ")));
    }
    parameters.push(i64::from(filter.limit.min(most)).into());
    let order = if filter.newest_first { "DESC" } else { "ASC" };
    let select = format!(
        "SELECT id, at, kind, actor, connection, transfer, details FROM rowferry_events {which} \
         ORDER BY id {order} LIMIT ?{}",
        parameters.len()
    );
    sql.query(&select, &parameters)?.iter().map(|row| event(&mut Fields::of(row))).collect()
}

/// The moment of the newest event or transfer; `None` if there is none.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn latest(sql: &mut dyn Sql) -> Result<Option<OffsetDateTime>> {
    let select = "SELECT max(at) FROM (SELECT max(at) AS at FROM rowferry_events \
                  UNION ALL SELECT max(inserted_at) FROM rowferry_transfers) AS moments";
    let rows = sql.query(select, &[])?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::as_str).and_then(clock::from_text))
}

/// The number of the newest event; 0 if there is none.
pub(crate) fn newest(sql: &mut dyn Sql) -> Result<u64> {
    let select = "SELECT coalesce(max(id), 0) FROM (SELECT max(id) AS id FROM rowferry_events \
                  UNION ALL SELECT CAST(value AS BIGINT) FROM rowferry_settings WHERE key = 'last_event') AS numbers";
    let rows = sql.query(select, &[])?;
    rows.first().map_or_else(|| Err(unreadable("count")), |row| number(row, 0))
}

/// Drops events from before this moment, the oldest first and at most `limit`; gives how many. The number of the newest is kept, so that
/// none is given twice.
pub(crate) fn prune(sql: &mut dyn Sql, before: OffsetDateTime, limit: u32) -> Result<u64> {
    let newest = newest(sql)?.to_string();
    settings::set(sql, LAST_EVENT, &newest)?;
    let delete =
        "DELETE FROM rowferry_events WHERE id IN (SELECT id FROM rowferry_events WHERE at < ?1 ORDER BY at LIMIT ?2)";
    Ok(sql.execute(delete, &[clock::to_text(before).into(), i64::from(limit).into()])? as u64)
}

/// Whether [`prune`] would drop any.
pub(crate) fn any_before(sql: &mut dyn Sql, before: OffsetDateTime) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_events WHERE at < ?1 LIMIT 1";
    Ok(!sql.query(select, &[clock::to_text(before).into()])?.is_empty())
}

fn integer(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn event(row: &mut Fields<'_>) -> Result<Event> {
    Ok(Event {
        id: row.number()?,
        at: row.moment()?,
        kind: row.word()?,
        actor: row.text()?,
        connection: row.optional_word()?,
        transfer: row.optional_word()?,
        details: row.json()?,
    })
}
