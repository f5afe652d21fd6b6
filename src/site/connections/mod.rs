//! Connections: permanent pairings with other sites.

mod edit;
mod find;
mod names;
mod new;
mod pending;
mod secrets;
mod steps;

use time::OffsetDateTime;
use uuid::Uuid;

pub use edit::ConnectionEdit;
pub(crate) use new::Registration;
pub use new::{ConnectionWithToken, NewConnection};

use super::Site;
use crate::domain::connection::{Connection, Metadata};
use crate::domain::event::EventKind;
use crate::error::{Error, ErrorKind, Result};
use crate::state::{connections, events};
use crate::store::Sql;

/// Who does something where the host does not say who.
const HOST: &str = "host";

/// Most characters of a reason.
const REASON: usize = 1_000;

impl Site {
    /// Permanent pairings with other sites by a token.
    pub fn connections(&self) -> Connections<'_> {
        Connections::new(self)
    }
}

/// The connections of a [`Site`].
///
/// Each change is one transaction, kept together with the [event](crate::Event) that tells of it and, where the other site
/// should know, with a message to it: that waits until it is sent. Two programs may change the same connection at once, and
/// no change is lost.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use rowferry::{NewConnection, Policy, Site};
///
/// let shop = Site::open(folder.path().join("shop.db"))?;
/// let mut policy = Policy::default();
/// policy.allowed_tables = vec!["users".into(), "posts".into()];
/// policy.max_downloads = Some(100);
/// let connections = shop.connections().by("alice");
/// let made = connections.create(NewConnection::sender("Backup", "https://backup.example").policy(policy))?;
/// println!("the token of {}: {}", made.connection.name, made.token.as_str());
/// connections.suspend(made.connection.uuid, Some("holidays"))?;
/// # Ok(())
/// # }
/// ```
///
/// Every method fails with what the store says; those that name a connection with [`NotFound`](ErrorKind::NotFound) when there
/// is none; those that deal with tokens also when the site's key is lost ([`SiteKey`](ErrorKind::SiteKey)).
#[derive(Debug, Clone, Copy)]
pub struct Connections<'s> {
    site: &'s Site,
    actor: &'s str,
    by_peer: bool,
}

impl<'s> Connections<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Connections { site, actor: HOST, by_peer: false }
    }

    /// Names the actor of what is done through the returned value, for events and
    /// [`approved_by`](Connection::approved_by) and its like. Defaults to `host`. At most 300 characters are kept.
    #[must_use]
    pub fn by(self, actor: &'s str) -> Self {
        Connections { actor, by_peer: false, ..self }
    }

    /// Says that the other site does it: it need not be told, and may do less.
    #[must_use]
    pub(crate) fn by_peer(self, actor: &'s str) -> Self {
        Connections { actor, by_peer: true, ..self }
    }

    /// Tells what happened, in the transaction that it happens in.
    fn tell(
        &self,
        sql: &mut dyn Sql,
        now: OffsetDateTime,
        kind: EventKind,
        connection: Uuid,
        details: Metadata,
    ) -> Result<()> {
        events::add(sql, now, kind, self.actor, Some(connection), None, details)
    }
}

fn found(sql: &mut dyn Sql, uuid: Uuid) -> Result<Connection> {
    connections::by_uuid(sql, uuid)?.ok_or_else(|| not_found(uuid))
}

fn not_found(uuid: Uuid) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no connection {uuid}"))
        .with_hint("`Connections::list` has those that there are.")
}

/// Details of an event.
fn details<const N: usize>(entries: [(&str, &str); N]) -> Metadata {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

#[cfg(all(test, feature = "sqlite"))]
mod model_tests;
#[cfg(all(test, feature = "sqlite"))]
mod pending_tests;
#[cfg(all(test, feature = "sqlite"))]
mod race_tests;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
