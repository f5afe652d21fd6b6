//! Tickets: those given out, found by their hash, and those kept of other sites, sealed.

#[cfg(feature = "server")]
use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use uuid::Uuid;

use super::Fields;
use crate::clock;
#[cfg(feature = "server")]
use crate::domain::transfer::TransferStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;

/// A ticket that is given to a peer that came by a session's code.
#[derive(Debug, Clone)]
pub(crate) struct New {
    /// Its hash.
    pub(crate) lookup: String,
    /// The id that the peer gave.
    pub(crate) receiver: Option<Uuid>,
    pub(crate) expires_at: OffsetDateTime,
}

/// Keeps the hash of a ticket, and for whom it is. It does not outlive its session.
pub(crate) fn give(sql: &mut dyn Sql, session: Uuid, ticket: &New) -> Result<()> {
    let insert = "INSERT INTO rowferry_tickets (lookup, session, receiver, expires_at) \
                  SELECT ?1, uuid, ?3, CASE WHEN expires_at < ?4 THEN expires_at ELSE ?4 END FROM rowferry_sessions WHERE uuid = ?2";
    let row = [
        ticket.lookup.as_str().into(),
        session.to_string().into(),
        ticket.receiver.map(|receiver| receiver.to_string()).into(),
        clock::to_text(ticket.expires_at).into(),
    ];
    match sql.execute(insert, &row)? {
        1 => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidCode, "the session of the code no longer exists")),
    }
}

/// The session that a ticket lets in to, if its time is not over, the session is there, and it is this receiver's; with the tables that it is
/// good for.
#[cfg(feature = "server")]
pub(crate) fn session(
    sql: &mut dyn Sql,
    lookup: &str,
    receiver: Option<Uuid>,
    now: OffsetDateTime,
) -> Result<Option<(Uuid, Option<Vec<String>>)>> {
    let select = "SELECT session, tables FROM rowferry_tickets WHERE lookup = ?1 AND expires_at > ?2 \
                  AND (receiver IS NULL OR receiver = ?3) \
                  AND EXISTS (SELECT 1 FROM rowferry_sessions WHERE uuid = session)";
    let receiver = receiver.map(|receiver| receiver.to_string());
    let rows = sql.query(select, &[lookup.into(), clock::to_text(now).into(), receiver.into()])?;
    let found = rows.first().map(|row| {
        let mut row = Fields::of(row);
        Ok((row.word()?, row.optional_json()?))
    });
    found.transpose()
}

/// The session's ticket is good for these tables, and no others.
#[cfg(feature = "server")]
pub(crate) fn cover(sql: &mut dyn Sql, session: Uuid, tables: &BTreeSet<String>) -> Result<()> {
    let update = "UPDATE rowferry_tickets SET tables = ?2 WHERE session = ?1";
    sql.execute(update, &[session.to_string().into(), serde_json::json!(tables).to_string().into()]).map(|_| ())
}

/// The session's ticket ends at this moment, unless it ends before.
pub(crate) fn end_by(sql: &mut dyn Sql, session: Uuid, at: OffsetDateTime) -> Result<()> {
    let update = "UPDATE rowferry_tickets SET expires_at = ?2 WHERE session = ?1 AND expires_at > ?2";
    sql.execute(update, &[session.to_string().into(), clock::to_text(at).into()]).map(|_| ())
}

/// The tables that the session's ticket is good for, if there is one, and these were told.
#[cfg(feature = "server")]
pub(crate) fn of_session(sql: &mut dyn Sql, session: Uuid) -> Result<Option<Vec<String>>> {
    let rows = sql.query("SELECT tables FROM rowferry_tickets WHERE session = ?1", &[session.to_string().into()])?;
    rows.first().map_or(Ok(None), |row| Fields::of(row).optional_json())
}

/// The tables of which downloads began in a session, and whether the last one of each came to its end.
#[cfg(feature = "server")]
pub(crate) fn begun(sql: &mut dyn Sql, session: Uuid) -> Result<BTreeMap<String, bool>> {
    let select = "SELECT table_name, status = ?2 FROM rowferry_transfers WHERE session = ?1 AND started_at IS NOT NULL \
                  ORDER BY started_at, uuid";
    let rows = sql.query(select, &[session.to_string().into(), TransferStatus::Completed.as_str().into()])?;
    let begun = rows.iter().map(|row| {
        let mut row = Fields::of(row);
        Ok((row.text()?, row.flag()?))
    });
    begun.collect()
}

/// How many downloads of a table began in a session; by the table's own name.
#[cfg(feature = "server")]
pub(crate) fn count_begun(sql: &mut dyn Sql, session: Uuid, table: &str) -> Result<u64> {
    let select = "SELECT count(*) FROM rowferry_transfers WHERE session = ?1 AND table_name = ?2";
    let rows = sql.query(select, &[session.to_string().into(), table.into()])?;
    rows.first().map_or(Ok(0), |row| Fields::of(row).number())
}

/// Ends the session's ticket: its pull has completed.
#[cfg(feature = "server")]
pub(crate) fn end_of(sql: &mut dyn Sql, session: Uuid) -> Result<()> {
    sql.execute("DELETE FROM rowferry_tickets WHERE session = ?1", &[session.to_string().into()]).map(|_| ())
}

/// Ends the tickets of sessions that are no more.
pub(super) fn end_with_sessions(sql: &mut dyn Sql) -> Result<()> {
    let delete = "DELETE FROM rowferry_tickets WHERE session NOT IN (SELECT uuid FROM rowferry_sessions)";
    sql.execute(delete, &[]).map(|_| ())
}

/// A ticket of another site's.
#[cfg(feature = "client")]
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) sender: Uuid,
    pub(crate) ticket_sealed: String,
}

/// Keeps a ticket of another site's, in the place of an older one.
#[cfg(feature = "client")]
pub(crate) fn keep(sql: &mut dyn Sql, place: &str, url: &str, kept: &Kept, expires_at: OffsetDateTime) -> Result<()> {
    let insert = "INSERT INTO rowferry_kept_tickets (place, site_url, sender, ticket_sealed, expires_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (place) DO UPDATE SET \
                  sender = excluded.sender, ticket_sealed = excluded.ticket_sealed, expires_at = excluded.expires_at";
    let row = [
        place.into(),
        url.into(),
        kept.sender.to_string().into(),
        kept.ticket_sealed.as_str().into(),
        clock::to_text(expires_at).into(),
    ];
    sql.execute(insert, &row).map(|_| ())
}

/// Whether any ticket of the site at this URL is kept: a look that needs no key.
#[cfg(feature = "client")]
pub(crate) fn any_kept(sql: &mut dyn Sql, url: &str, now: OffsetDateTime) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_kept_tickets WHERE site_url = ?1 AND expires_at > ?2 LIMIT 1";
    Ok(!sql.query(select, &[url.into(), clock::to_text(now).into()])?.is_empty())
}

/// The ticket that is kept in a place, if its time is not over.
#[cfg(feature = "client")]
pub(crate) fn kept(sql: &mut dyn Sql, place: &str, now: OffsetDateTime) -> Result<Option<Kept>> {
    let select = "SELECT sender, ticket_sealed FROM rowferry_kept_tickets WHERE place = ?1 AND expires_at > ?2";
    let rows = sql.query(select, &[place.into(), clock::to_text(now).into()])?;
    let kept = rows.first().map(|row| {
        let mut row = Fields::of(row);
        Ok(Kept { sender: row.word()?, ticket_sealed: row.text()? })
    });
    kept.transpose()
}

#[cfg(feature = "client")]
pub(crate) fn forget(sql: &mut dyn Sql, place: &str) -> Result<()> {
    sql.execute("DELETE FROM rowferry_kept_tickets WHERE place = ?1", &[place.into()]).map(|_| ())
}

/// Forgets all tickets of other sites: the key that opens them is lost.
pub(crate) fn forget_all(sql: &mut dyn Sql) -> Result<()> {
    sql.execute("DELETE FROM rowferry_kept_tickets", &[]).map(|_| ())
}

/// Whether there are tickets of either kind whose time is over.
pub(crate) fn any_late(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_tickets WHERE expires_at <= ?1 \
                  UNION ALL SELECT 1 FROM rowferry_kept_tickets WHERE expires_at <= ?1 LIMIT 1";
    Ok(!sql.query(select, &[clock::to_text(now).into()])?.is_empty())
}

/// Deletes them. Gives how many there were.
pub(crate) fn end_late(sql: &mut dyn Sql, now: OffsetDateTime) -> Result<u64> {
    let now = clock::to_text(now);
    let given = sql.execute("DELETE FROM rowferry_tickets WHERE expires_at <= ?1", &[now.as_str().into()])?;
    let kept = sql.execute("DELETE FROM rowferry_kept_tickets WHERE expires_at <= ?1", &[now.into()])?;
    Ok((given + kept) as u64)
}
