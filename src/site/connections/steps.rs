//! Approving, suspending, reactivating, revoking, expiring and deleting connections, and counting what went through them.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connections, REASON, details, found, not_found};
use crate::clock;
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus, ConnectionStep, Metadata};
use crate::domain::event::{EventKind, cleaned, cleaned_actor};
use crate::error::{Error, ErrorKind, Result};
use crate::state::connections::{self, Change};
use crate::state::{outbox, transfers};
use crate::store::Sql;

/// Who expires connections.
const MAINTENANCE: &str = "maintenance";

/// How many connections are expired in one transaction.
const AT_ONCE: u32 = 200;

/// The note that holds what the other site answered last.
const NOTIFICATION: &str = "notification";

impl Connections<'_> {
    /// Activates a pending connection.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for any other one.
    pub fn approve(&self, uuid: Uuid) -> Result<Connection> {
        self.step(uuid, ConnectionStep::Approve, None)
    }

    /// Stops an active connection, until it is reactivated. One that the other site suspended stays so even when that site
    /// reactivates it. Pulls that run end at their next page. The other site is told.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for any other one.
    pub fn suspend(&self, uuid: Uuid, reason: Option<&str>) -> Result<Connection> {
        self.step(uuid, ConnectionStep::Suspend, reason)
    }

    /// Lets a suspended or expired connection work again. The other site is told.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for any other one; [`ConnectionExpired`](ErrorKind::ConnectionExpired),
    /// [`DownloadLimit`](ErrorKind::DownloadLimit) or [`RecordLimit`](ErrorKind::RecordLimit) while its policy has a date or
    /// limit that has passed: change that first.
    pub fn reactivate(&self, uuid: Uuid) -> Result<Connection> {
        self.step(uuid, ConnectionStep::Reactivate, None)
    }

    /// Suspends an active connection that the other site does not have: it was asked for what has this lookup. Gives the
    /// connection, and whether it was suspended: not if it has another token than that, of which the other site may not have
    /// been told, or is not active any more.
    #[cfg(feature = "client")]
    pub(crate) fn sever(&self, uuid: Uuid, lookup: &str, reason: &str) -> Result<(Connection, bool)> {
        let now = self.site.now();
        self.site.change(|sql| {
            let connection = found(sql, uuid)?;
            let asked = connections::by_lookup(sql, lookup, connection.direction)?;
            if connection.status != ConnectionStatus::Active || asked.is_none_or(|asked| asked.uuid != uuid) {
                return Ok((connection, false));
            }
            self.advance(sql, now, &connection, ConnectionStep::Suspend, Some(reason))?;
            Ok((found(sql, uuid)?, true))
        })
    }

    /// Ends a connection permanently. Pulls that run end at their next page. The other site is told.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for one that is revoked already.
    pub fn revoke(&self, uuid: Uuid, reason: Option<&str>) -> Result<Connection> {
        self.step(uuid, ConnectionStep::Revoke, reason)
    }

    /// Deletes a connection, and gives it as it was. Its transfers and events stay. The other site is told.
    pub fn delete(&self, uuid: Uuid) -> Result<Connection> {
        let now = self.site.now();
        self.site.change(|sql| {
            let connection = found(sql, uuid)?;
            let stopped = matches!(connection.status, ConnectionStatus::Suspended | ConnectionStatus::Revoked);
            let registered = connection.direction == ConnectionDirection::Receiver;
            if self.by_peer && registered && stopped && !connections::suspended_by_peer(sql, uuid)? {
                // It would register itself again, and be as if nothing had been.
                return Err(Error::new(ErrorKind::Refused, "a connection that was stopped here is deleted here only"));
            }
            let stored = connections::stored(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
            connections::delete(sql, uuid)?;
            let about = details([
                ("name", &connection.name),
                ("site_url", &connection.site_url),
                ("direction", connection.direction.as_str()),
                ("status", connection.status.as_str()),
            ]);
            self.tell(sql, now, EventKind::ConnectionDeleted, uuid, about)?;
            match self.by_peer {
                true => outbox::forget(sql, uuid)?,
                false => outbox::delete(sql, now, &connection, &stored.token_sealed)?,
            }
            Ok(connection)
        })
    }

    /// Expires the connections whose date has passed or whose limits are used up; gives how many they were. Those with a limit
    /// wait for the pulls that run through them, and for those that may be resumed. The other sites are not told: they find out when they ask.
    pub fn expire(&self) -> Result<u64> {
        let now = self.site.now();
        let expirer = Connections { actor: MAINTENANCE, ..*self };
        let mut expired = 0;
        let pull_time = time::Duration::try_from(self.site.limits().retention.pull_time).ok();
        let since = pull_time.and_then(|time| now.checked_sub(time)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let waits_for = (since, transfers::RESUMABLE);
        loop {
            let some = self.read(|sql| connections::passed(sql, now, waits_for, 1))?;
            if some.is_empty() {
                return Ok(expired);
            }
            expired += self.site.change(|sql| {
                let passed = connections::passed(sql, now, waits_for, AT_ONCE)?;
                for connection in &passed {
                    let why = connection.within_limits(now).err().map_or("", |error| error.code());
                    expirer.advance(sql, now, connection, ConnectionStep::Expire, Some(why))?;
                }
                Ok(passed.len() as u64)
            })?;
        }
    }

    /// Counts a transfer that the host itself made through a connection: one download, the records, the bytes. Those that
    /// rowferry makes are counted by it.
    pub fn record_transfer(&self, uuid: Uuid, records: u64, bytes: u64) -> Result<()> {
        let now = self.site.now();
        self.site.change(|sql| {
            connections::used(sql, uuid, records)?;
            connections::transferred(sql, uuid, records, bytes, now)
        })
    }

    /// Keeps that the connection is used now.
    pub fn touch_connected(&self, uuid: Uuid) -> Result<()> {
        let now = self.site.now();
        match self.site.change(|sql| connections::connected(sql, uuid, now))? {
            true => Ok(()),
            false => Err(not_found(uuid)),
        }
    }

    /// Keeps what became of telling the other site something, under `notification` in the metadata, with an event.
    pub(crate) fn note_notification(&self, uuid: Uuid, notification: Metadata) -> Result<Connection> {
        let now = self.site.now();
        self.site.change(|sql| {
            let mut metadata = found(sql, uuid)?.metadata;
            metadata.insert(NOTIFICATION.to_owned(), notification.clone().into());
            let text = serde_json::Value::Object(metadata).to_string();
            connections::change(sql, uuid, now, vec![("metadata", text.into())])?;
            self.tell(sql, now, EventKind::ConnectionNotified, uuid, notification.clone())?;
            found(sql, uuid)
        })
    }

    fn step(&self, uuid: Uuid, step: ConnectionStep, reason: Option<&str>) -> Result<Connection> {
        let now = self.site.now();
        self.site.change(|sql| {
            let connection = found(sql, uuid)?;
            let by_peer = connections::suspended_by_peer(sql, uuid)?;
            if self.by_peer {
                match self.peer_may(&connection, step, by_peer)? {
                    true => {}
                    false => return Ok(connection),
                }
            }
            self.advance(sql, now, &connection, step, reason)?;
            found(sql, uuid)
        })
    }

    /// Whether a step of the other site changes anything here: it may always reduce what it may do, and lift only what it put
    /// on itself. What is so already stays so.
    fn peer_may(&self, connection: &Connection, step: ConnectionStep, suspended_by_peer: bool) -> Result<bool> {
        use ConnectionStatus::{Active, Revoked, Suspended};
        let refused = |why: &str| Err(Error::new(ErrorKind::InvalidTransition, why.to_owned()));
        match (step, connection.status) {
            (ConnectionStep::Approve | ConnectionStep::Reactivate, Active) => Ok(false),
            (ConnectionStep::Suspend, Suspended) | (ConnectionStep::Revoke, Revoked) => Ok(false),
            (ConnectionStep::Approve, _) if connection.direction == ConnectionDirection::Receiver => {
                refused("a connection that another site asked for is approved here only")
            }
            (ConnectionStep::Reactivate, status) if status != Suspended || !suspended_by_peer => {
                refused("the other site can lift only what it suspended itself")
            }
            _ => Ok(true),
        }
    }

    /// Makes a step: the row, its event, and the message to the other site.
    fn advance(
        &self,
        sql: &mut dyn Sql,
        now: OffsetDateTime,
        connection: &Connection,
        step: ConnectionStep,
        reason: Option<&str>,
    ) -> Result<()> {
        let from = connection.status;
        // The owner of this site takes the other site's suspension over.
        let taken_over = from == ConnectionStatus::Suspended
            && step == ConnectionStep::Suspend
            && !self.by_peer
            && connections::suspended_by_peer(sql, connection.uuid)?;
        let to = if taken_over { from } else { from.after(step)? };
        if step == ConnectionStep::Reactivate {
            connection.within_limits(now).map_err(|error| {
                error.with_hint("Change the connection's date or limit first: it would expire again at once.")
            })?;
        }
        let reason = reason.map(|reason| cleaned(reason, REASON)).filter(|reason| !reason.is_empty());
        let (actor, at) = (cleaned_actor(self.actor), clock::to_text(now));
        let mut changes: Vec<Change> = vec![("status", to.as_str().into())];
        let kind = match step {
            ConnectionStep::Approve => {
                changes.extend([("approved_at", at.into()), ("approved_by", actor.into())]);
                EventKind::ConnectionApproved
            }
            ConnectionStep::Suspend => {
                changes.extend([
                    ("suspended_at", at.into()),
                    ("suspended_by", actor.into()),
                    ("suspended_reason", reason.clone().into()),
                    ("suspended_by_peer", i64::from(self.by_peer).into()),
                ]);
                EventKind::ConnectionSuspended
            }
            ConnectionStep::Reactivate => {
                changes.push(("suspended_by_peer", 0.into()));
                EventKind::ConnectionReactivated
            }
            ConnectionStep::Revoke => {
                let ours = from == ConnectionStatus::Suspended && !connections::suspended_by_peer(sql, connection.uuid)?;
                changes.extend([
                    // Revoking what was suspended here takes nothing over.
                    ("suspended_by_peer", i64::from(self.by_peer && !ours).into()),
                    ("revoked_at", at.into()),
                    ("revoked_by", actor.into()),
                    ("revoked_reason", reason.clone().into()),
                ]);
                EventKind::ConnectionRevoked
            }
            ConnectionStep::Expire => EventKind::ConnectionExpired,
        };
        connections::change(sql, connection.uuid, now, changes)?;
        let mut about = details([("from", from.as_str()), ("to", to.as_str())]);
        if let Some(reason) = reason {
            about.insert("reason".to_owned(), reason.into());
        }
        self.tell(sql, now, kind, connection.uuid, about)?;
        let tell_peer = matches!(step, ConnectionStep::Suspend | ConnectionStep::Reactivate | ConnectionStep::Revoke);
        if tell_peer && !self.by_peer {
            let stored = connections::stored(sql, connection.uuid)?.ok_or_else(|| not_found(connection.uuid))?;
            outbox::status(sql, now, connection, &stored.token_sealed, to)?;
        }
        Ok(())
    }
}
