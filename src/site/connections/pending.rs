//! Connections that other sites asked for and that wait for approval: how many there may be, and how they end.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connections, details};
use crate::domain::address::wide_network;
use crate::domain::connection::{Connection, Metadata};
use crate::domain::event::EventKind;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::state::{connections, outbox};
use crate::store::Sql;

/// The note that holds the address that asked for a connection.
const REGISTERED_FROM: &str = "registered_from";

/// For how long one that has just come gives way to no other: the owner may see it, and a storm of them leaves few events.
const STAYS: Duration = Duration::from_secs(600);

/// How many are dropped in one transaction.
const AT_ONCE: u32 = 200;

/// Notes about where a request to be connected came from.
pub(super) fn notes(from: Option<IpAddr>) -> Metadata {
    let from = from.map(|address| (REGISTERED_FROM.to_owned(), address.to_string().into()));
    from.into_iter().collect()
}

/// Who asked for a connection: the address, as its notes have it.
fn asked_from(connection: &Connection) -> Option<&str> {
    connection.metadata.get(REGISTERED_FROM).and_then(|address| address.as_str())
}

fn host(connection: &Connection) -> Option<String> {
    SiteUrl::parse(&connection.site_url).map(|url| url.host().to_owned()).ok()
}

/// Those that are too many with one more like `new`, if some are, and which those are, in words.
fn crowd<'w>(waiting: &'w [Connection], new: &Connection, limits: &Limits) -> Option<(Vec<&'w Connection>, &'static str)> {
    let from_there: Vec<_> = waiting.iter().filter(|one| asked_from(one) == asked_from(new)).collect();
    let new_host = host(new);
    // Anybody may name any host: what others name is nothing to who asks from elsewhere.
    let alike: Vec<_> = from_there.iter().copied().filter(|one| host(one) == new_host).collect();
    let is_full = |those: usize, limit: u32| those >= usize::try_from(limit).unwrap_or(usize::MAX);
    if is_full(alike.len(), limits.server.pending_per_host) {
        Some((alike, "from this address with this host"))
    } else if is_full(from_there.len(), limits.server.pending_per_address) {
        Some((from_there, "from this address"))
    } else if is_full(waiting.len(), limits.server.pending) {
        Some((of_most(waiting), "in all"))
    } else {
        None
    }
}

/// Those of the network that asked for most.
fn of_most(waiting: &[Connection]) -> Vec<&Connection> {
    let mut networks: BTreeMap<Option<IpAddr>, Vec<&Connection>> = BTreeMap::new();
    for one in waiting {
        let address = asked_from(one).and_then(|address| address.parse().ok());
        networks.entry(address.map(wide_network)).or_default().push(one);
    }
    // Of several the one that has waited longest.
    let most = networks.into_values().max_by_key(|those| (those.len(), Reverse(oldest(those).map(age))));
    most.unwrap_or_default()
}

/// What older connections have less of.
fn age(connection: &Connection) -> (OffsetDateTime, Uuid) {
    (connection.created_at, connection.uuid)
}

fn oldest<'w>(those: &[&'w Connection]) -> Option<&'w Connection> {
    those.iter().copied().min_by_key(|one| age(one))
}

impl Connections<'_> {
    /// Makes room for one more connection that waits: where too many do (in all, from its address, from there with the host in its URL),
    /// the oldest of those is deleted, unless it came within the last minutes.
    ///
    /// # Errors
    /// [`TooManyAttempts`](ErrorKind::TooManyAttempts) with the time to wait until one can be deleted;
    /// [`Refused`](ErrorKind::Refused) where none may wait at all.
    pub(super) fn let_wait(&self, sql: &mut dyn Sql, now: OffsetDateTime, new: &Connection) -> Result<()> {
        let mut waiting = connections::pending(sql, None, u32::MAX)?;
        while let Some((those, which)) = crowd(&waiting, new, self.site.limits()) {
            let Some(gone) = oldest(&those) else {
                return Err(Error::new(ErrorKind::Refused, "no connection may wait for approval here")
                    .with_hint("The owner of the site has to change the limits."));
            };
            let waits = Duration::try_from(now - gone.created_at).unwrap_or_default();
            if let Some(left) = STAYS.checked_sub(waits).filter(|left| !left.is_zero()) {
                let message = format!("too many connections {which} wait for approval here, and have just come");
                return Err(Error::new(ErrorKind::TooManyAttempts, message)
                    .with_hint("Wait, or ask the owner of the site to approve or delete some.")
                    .with_retry_after(left));
            }
            self.drop_one(sql, now, gone, "made room for a later one")?;
            let gone = gone.uuid;
            waiting.retain(|one| one.uuid != gone);
        }
        Ok(())
    }

    /// How many connections other sites asked for that still wait for approval.
    pub fn count_pending(&self) -> Result<u64> {
        self.read(|sql| connections::pending(sql, None, u32::MAX)).map(|waiting| waiting.len() as u64)
    }

    /// Deletes all connections that other sites asked for and that still wait for approval; gives how many they were. Each has its event.
    /// The other sites are not told: they find out when they ask.
    pub fn delete_pending(&self) -> Result<u64> {
        self.drop_pending(None, "dropped")
    }

    /// The same of those that were made before this moment.
    pub(crate) fn delete_pending_before(&self, before: OffsetDateTime) -> Result<u64> {
        self.drop_pending(Some(before), "not approved in time")
    }

    fn drop_pending(&self, before: Option<OffsetDateTime>, reason: &str) -> Result<u64> {
        let now = self.site.now();
        let mut dropped = 0;
        loop {
            // A look first, which needs no write lock.
            if self.read(|sql| connections::pending(sql, before, 1))?.is_empty() {
                return Ok(dropped);
            }
            dropped += self.site.change(|sql| {
                let waiting = connections::pending(sql, before, AT_ONCE)?;
                for connection in &waiting {
                    self.drop_one(sql, now, connection, reason)?;
                }
                Ok(waiting.len() as u64)
            })?;
        }
    }

    fn drop_one(&self, sql: &mut dyn Sql, now: OffsetDateTime, connection: &Connection, reason: &str) -> Result<()> {
        connections::delete(sql, connection.uuid)?;
        outbox::forget(sql, connection.uuid)?;
        let about = details([
            ("name", &connection.name),
            ("site_url", &connection.site_url),
            ("direction", connection.direction.as_str()),
            ("status", connection.status.as_str()),
            ("reason", reason),
        ]);
        self.tell(sql, now, EventKind::ConnectionDeleted, connection.uuid, about)
    }
}
