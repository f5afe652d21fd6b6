//! Tickets: those given out, found by their hash, and those kept of other sites, sealed.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Fields;
use crate::clock;
use crate::error::Result;
use crate::store::Sql;

/// Keeps the hash of a ticket that is given to a peer that came by the session's code.
#[cfg(feature = "server")]
pub(crate) fn give(sql: &mut dyn Sql, lookup: &str, session: Uuid, expires_at: OffsetDateTime) -> Result<()> {
    let insert = "INSERT INTO rowferry_tickets (lookup, session, expires_at) VALUES (?1, ?2, ?3)";
    sql.execute(insert, &[lookup.into(), session.to_string().into(), clock::to_text(expires_at).into()]).map(|_| ())
}

/// The session that a ticket lets in to, if its time is not over and the session is there.
#[cfg(feature = "server")]
pub(crate) fn session(sql: &mut dyn Sql, lookup: &str, now: OffsetDateTime) -> Result<Option<Uuid>> {
    let select = "SELECT session FROM rowferry_tickets WHERE lookup = ?1 AND expires_at > ?2 \
                  AND EXISTS (SELECT 1 FROM rowferry_sessions WHERE uuid = session)";
    let rows = sql.query(select, &[lookup.into(), clock::to_text(now).into()])?;
    rows.first().map(|row| Fields::of(row).word()).transpose()
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
