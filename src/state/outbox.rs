//! What other sites are still to be told. It is put here in the transaction of the change that it tells of, and taken out when
//! it was sent.
//!
//! Messages of one connection are sent in their order: a site knows a rotated connection by its old token until it was told
//! of the new one. A newer status takes the place of older ones, and so does a deletion.

use std::fmt;

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Fields, number, unreadable};
use crate::clock;
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus};
use crate::domain::event;
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

/// Most characters of a reason why something could not be sent.
const ERROR: usize = 500;

/// Something that another site is to be told.
pub(crate) struct Outgoing {
    pub id: u64,
    /// The connection, which may be deleted since.
    pub connection: Uuid,
    /// Which end this site is or was.
    pub direction: ConnectionDirection,
    pub site_url: String,
    pub message: Message,
    /// What the other site knows the connection by when this message is its turn, sealed as in the connection's row: of a
    /// sender the wire credential, of a receiver the token.
    pub credential_sealed: String,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is to be tried next.
    pub next_at: OffsetDateTime,
    /// When it was put here.
    pub created_at: OffsetDateTime,
}

/// What there is to tell.
pub(crate) enum Message {
    /// The connection is active, suspended or revoked.
    Status(ConnectionStatus),
    /// It was deleted.
    Delete,
    /// It has a new token, sealed under the same name as the credential.
    Rotate { token_sealed: String },
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outgoing { id, connection, message, attempts, .. } = self;
        let message = match message {
            Message::Status(status) => status.as_str(),
            Message::Delete => "delete",
            Message::Rotate { .. } => "rotate",
        };
        write!(f, "Outgoing({id}, {connection}, {message}, {attempts} attempts)")
    }
}

/// The other site is to be told of a new status.
pub(crate) fn status(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    connection: &Connection,
    sealed: &str,
    status: ConnectionStatus,
) -> Result<()> {
    drop_statuses(sql, connection.uuid)?;
    put(sql, now, connection, sealed, "status", Some(status), None)
}

/// The other site is to be told that the connection is gone.
pub(crate) fn delete(sql: &mut dyn Sql, now: OffsetDateTime, connection: &Connection, sealed: &str) -> Result<()> {
    drop_statuses(sql, connection.uuid)?;
    put(sql, now, connection, sealed, "delete", None, None)
}

/// The other site is to be told of a new token. `old` and `new` are sealed.
pub(crate) fn rotate(sql: &mut dyn Sql, now: OffsetDateTime, connection: &Connection, old: &str, new: &str) -> Result<()> {
    put(sql, now, connection, old, "rotate", None, Some(new))
}

fn drop_statuses(sql: &mut dyn Sql, connection: Uuid) -> Result<()> {
    let delete = "DELETE FROM rowferry_outbox WHERE connection = ?1 AND kind = 'status'";
    sql.execute(delete, &[connection.to_string().into()]).map(|_| ())
}

fn put(
    sql: &mut dyn Sql,
    now: OffsetDateTime,
    connection: &Connection,
    sealed: &str,
    kind: &str,
    status: Option<ConnectionStatus>,
    token: Option<&str>,
) -> Result<()> {
    let insert = "INSERT INTO rowferry_outbox \
                  (id, connection, direction, site_url, kind, status, credential_sealed, token_sealed, attempts, next_at, created_at) \
                  SELECT max(id) + 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?8 FROM \
                  (SELECT coalesce(max(id), 0) AS id FROM rowferry_outbox \
                   UNION ALL SELECT coalesce(max(id), 0) FROM rowferry_events \
                   UNION ALL SELECT CAST(value AS BIGINT) FROM rowferry_settings WHERE key = 'last_event') AS numbers";
    let row = [
        connection.uuid.to_string().into(),
        connection.direction.as_str().into(),
        connection.site_url.as_str().into(),
        kind.into(),
        status.map(ConnectionStatus::as_str).into(),
        sealed.into(),
        token.into(),
        clock::to_text(now).into(),
    ];
    sql.execute(insert, &row).map(|_| ())
}

/// Longest time that a message waits until it is tried again.
pub(crate) const LONGEST_PAUSE: Duration = Duration::hours(24);

impl Outgoing {
    /// Whether its time has come. One that would wait for longer than any does was put off before the clock was set back.
    pub(crate) fn is_due(&self, now: OffsetDateTime) -> bool {
        self.next_at <= now || self.next_at - now > LONGEST_PAUSE * 2
    }
}

/// What is to be sent now: of each connection the oldest message, if its time has come.
pub(crate) fn due(sql: &mut dyn Sql, now: OffsetDateTime, limit: u32) -> Result<Vec<Outgoing>> {
    let far = now.checked_add(LONGEST_PAUSE * 2).unwrap_or(now);
    let parameters = [clock::to_text(now).into(), clock::to_text(far).into(), i64::from(limit).into()];
    select(sql, "AND (next_at <= ?1 OR next_at > ?2) ORDER BY next_at, id LIMIT ?3", &parameters)
}

/// The message of a connection that is to be sent next, whether or not its time has come.
pub(crate) fn next_of(sql: &mut dyn Sql, connection: Uuid) -> Result<Option<Outgoing>> {
    Ok(select(sql, "AND connection = ?1", &[connection.to_string().into()])?.into_iter().next())
}

fn select(sql: &mut dyn Sql, which: &str, parameters: &[Value]) -> Result<Vec<Outgoing>> {
    let select = format!(
        "SELECT id, connection, direction, site_url, kind, status, credential_sealed, token_sealed, attempts, \
         next_at, created_at FROM rowferry_outbox WHERE NOT EXISTS (SELECT 1 FROM rowferry_outbox AS older \
         WHERE older.connection = rowferry_outbox.connection AND older.id < rowferry_outbox.id) {which}"
    );
    sql.query(&select, parameters)?.iter().map(|row| outgoing(&mut Fields::of(row))).collect()
}

fn outgoing(row: &mut Fields<'_>) -> Result<Outgoing> {
    let (id, connection, direction, site_url) = (row.number()?, row.word()?, row.word()?, row.text()?);
    let (kind, status) = (row.text()?, row.optional_word()?);
    let (credential_sealed, token) = (row.text()?, row.optional_text()?);
    let message = match (kind.as_str(), status, token) {
        ("status", Some(status), _) => Message::Status(status),
        ("delete", _, _) => Message::Delete,
        ("rotate", _, Some(token_sealed)) => Message::Rotate { token_sealed },
        _ => return Err(unreadable("message")),
    };
    let (attempts, next_at, created_at) = (row.number()?, row.moment()?, row.moment()?);
    Ok(Outgoing { id, connection, direction, site_url, message, credential_sealed, attempts, next_at, created_at })
}

/// It was sent, or will never be: `false` if it was gone already.
pub(crate) fn done(sql: &mut dyn Sql, id: u64) -> Result<bool> {
    Ok(sql.execute("DELETE FROM rowferry_outbox WHERE id = ?1", &[integer(id)])? == 1)
}

/// The other site will not be told of the new token of this message: it still knows the connection by the one before, up to
/// the message that tells it of another one.
pub(crate) fn keep_token(sql: &mut dyn Sql, rotation: &Outgoing) -> Result<()> {
    let update = "UPDATE rowferry_outbox SET credential_sealed = ?3 WHERE connection = ?1 AND id > ?2 \
                  AND NOT EXISTS (SELECT 1 FROM rowferry_outbox AS older WHERE older.connection = ?1 \
                  AND older.kind = 'rotate' AND older.id > ?2 AND older.id < rowferry_outbox.id)";
    let row = [rotation.connection.to_string().into(), integer(rotation.id), rotation.credential_sealed.as_str().into()];
    sql.execute(update, &row).map(|_| ())
}

/// It could not be sent, and is to be tried again at `next_at`.
pub(crate) fn postpone(sql: &mut dyn Sql, id: u64, next_at: OffsetDateTime, error: &str) -> Result<()> {
    let update = "UPDATE rowferry_outbox SET attempts = attempts + 1, next_at = ?2, last_error = ?3 WHERE id = ?1";
    let row = [integer(id), clock::to_text(next_at).into(), event::cleaned(error, ERROR).into()];
    sql.execute(update, &row).map(|_| ())
}

/// How many messages wait.
pub(crate) fn pending(sql: &mut dyn Sql) -> Result<u64> {
    let rows = sql.query("SELECT count(*) FROM rowferry_outbox", &[])?;
    rows.first().map_or_else(|| Err(unreadable("count")), |row| number(row, 0))
}

/// The site of a connection has another URL.
pub(crate) fn moved(sql: &mut dyn Sql, connection: Uuid, site_url: &str) -> Result<()> {
    let update = "UPDATE rowferry_outbox SET site_url = ?2 WHERE connection = ?1";
    sql.execute(update, &[connection.to_string().into(), site_url.into()]).map(|_| ())
}

/// Drops what the other site need not be told: it has ended the connection itself.
pub(crate) fn forget(sql: &mut dyn Sql, connection: Uuid) -> Result<()> {
    sql.execute("DELETE FROM rowferry_outbox WHERE connection = ?1", &[connection.to_string().into()]).map(|_| ())
}

/// Drops everything: it was sealed under a key that is gone.
pub(crate) fn forget_all(sql: &mut dyn Sql) -> Result<()> {
    sql.execute("DELETE FROM rowferry_outbox", &[]).map(|_| ())
}

fn integer(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::connection::Metadata;
    use crate::domain::event::EventKind;
    use crate::site::testing::Home;
    use crate::site::{NewConnection, Site};
    use crate::state::{self, events};

    fn kinds(site: &Site, uuid: Uuid) -> Vec<String> {
        let select = "SELECT kind FROM rowferry_outbox WHERE connection = ?1 ORDER BY id";
        let rows = state::read(site.store_ref(), |sql| sql.query(select, &[uuid.to_string().into()])).unwrap();
        rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn messages_of_a_connection_go_in_their_order_and_newer_ones_take_the_place_of_older() {
        for home in Home::each() {
            let site = home.open(Site::builder());
            let make = |name: &str| {
                let new = NewConnection::sender(name, format!("https://{name}.example"));
                site.connections().create(new).unwrap().connection
            };
            let (a, b) = (make("a"), make("b"));
            let now = site.now();
            site.change(|sql| {
                status(sql, now, &a, "one", ConnectionStatus::Suspended)?;
                rotate(sql, now, &a, "one", "two")?;
                status(sql, now, &a, "two", ConnectionStatus::Active)?;
                status(sql, now, &b, "b", ConnectionStatus::Revoked)
            })
            .unwrap();
            assert_eq!(kinds(&site, a.uuid), ["rotate", "status"]);
            let due = |at| state::read(site.store_ref(), |sql| due(sql, at, 10)).unwrap();
            let found = due(now);
            let shown: Vec<_> = found.iter().map(|message| (message.connection, &*message.credential_sealed)).collect();
            assert_eq!(shown, [(a.uuid, "one"), (b.uuid, "b")], "the oldest of each");
            assert!(matches!(&found[0].message, Message::Rotate { token_sealed } if token_sealed == "two"));
            assert!(matches!(found[1].message, Message::Status(ConnectionStatus::Revoked)));

            // One that is put off holds up the later ones of its connection, and no other.
            let later = now + Duration::from_secs(60);
            site.change(|sql| postpone(sql, found[0].id, later, "offline\n")).unwrap();
            assert_eq!(due(now).iter().map(|message| message.connection).collect::<Vec<_>>(), [b.uuid]);
            assert_eq!((due(later).len(), due(later).iter().map(|message| message.attempts).max()), (2, Some(1)));
            let next = state::read(site.store_ref(), |sql| next_of(sql, a.uuid)).unwrap().unwrap();
            assert_eq!(next.id, found[0].id, "whether or not its time has come");

            site.change(|sql| delete(sql, now, &a, "two")).unwrap();
            assert_eq!(kinds(&site, a.uuid), ["rotate", "delete"]);
            assert!(site.change(|sql| done(sql, found[0].id)).unwrap());
            assert!(!site.change(|sql| done(sql, found[0].id)).unwrap());
            let next = state::read(site.store_ref(), |sql| next_of(sql, a.uuid)).unwrap().unwrap();
            assert!(matches!(next.message, Message::Delete) && next.direction == a.direction);
            assert_eq!(state::read(site.store_ref(), pending).unwrap(), 2);
            assert!(site.change(|sql| done(sql, next.id)).unwrap());
            site.change(|sql| {
                // Every change that has something to be told adds an event: as many as there were messages above.
                for _ in 0..6 {
                    events::add(sql, now, EventKind::ConnectionReactivated, "x", Some(a.uuid), None, Metadata::new())?;
                }
                status(sql, now, &a, "two", ConnectionStatus::Active)
            })
            .unwrap();
            let again = state::read(site.store_ref(), |sql| next_of(sql, a.uuid)).unwrap().unwrap();
            assert!(again.id > next.id, "a number is never given twice");
            site.change(|sql| forget(sql, a.uuid)).unwrap();

            // A token that is never told of does not stand in the messages behind it, but for those behind the next one.
            site.change(|sql| {
                rotate(sql, now, &a, "one", "two")?;
                rotate(sql, now, &a, "two", "three")?;
                status(sql, now, &a, "three", ConnectionStatus::Active)
            })
            .unwrap();
            let pop = || {
                let next = state::read(site.store_ref(), |sql| next_of(sql, a.uuid)).unwrap().unwrap();
                assert!(site.change(|sql| keep_token(sql, &next).and_then(|()| done(sql, next.id))).unwrap());
                next.credential_sealed
            };
            let sealed = || {
                state::read(site.store_ref(), |sql| {
                    sql.query(
                        "SELECT credential_sealed FROM rowferry_outbox \
            WHERE connection = ?1 ORDER BY id",
                        &[a.uuid.to_string().into()],
                    )
                })
                .unwrap()
            };
            let texts = || sealed().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect::<Vec<_>>();
            assert_eq!((pop().as_str(), texts()), ("one", vec!["one".to_owned(), "three".to_owned()]));
            assert_eq!((pop().as_str(), texts()), ("one", vec!["one".to_owned()]));
            site.change(|sql| forget(sql, a.uuid)).unwrap();
            assert_eq!(state::read(site.store_ref(), pending).unwrap(), 1);
            site.change(forget_all).unwrap();
            assert_eq!(state::read(site.store_ref(), pending).unwrap(), 0);
        }
    }
}
