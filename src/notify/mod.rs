//! One site to another, over HTTP: telling it about connections, and asking what it says of them.
//!
//! What happens to a connection here waits in an outbox, put there together with the change; [`Notifier::deliver`] sends it.
//! Everything else asks at once. No transaction is open while the network is waited for.

mod ask;
mod check;
mod deliver;
mod parallel;
mod register;
mod send;
mod tell;

use serde_json::json;
use uuid::Uuid;

pub use check::ConnectionCheck;
pub use deliver::{DeliveryReport, MessageReport};
pub use register::RegisterReport;

use crate::client::{Api, ConnectOptions};
use crate::domain::connection::{Connection, ConnectionDirection, Metadata};
use crate::domain::event::EventKind;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Credential;
use crate::site::Site;
use crate::state::{self, events, outbox};

/// Who does something where the host does not say who.
const HOST: &str = "host";

/// Tells other sites about this site's connections, and asks what they say of them. Blocking; a clone is the same.
///
/// A call to another site may take 30 s, one that fetches records 60 s, or
/// [`ConnectOptions::request_timeout`] if that is shorter. Stored URLs are followed to public addresses only, unless the
/// setting `allow_internal_urls` is on. What another site answers is kept and shown cut short, and without the secrets that were
/// sent to it.
///
/// ```no_run
/// use rowferry::{ConnectOptions, NewConnection, RegisterOutcome, Site};
///
/// let shop = Site::open("shop.db")?;
/// shop.settings().set_site_url("https://shop.example")?;
/// let made = shop.connections().create(NewConnection::sender("Backup", "https://backup.example"))?;
/// let notifier = shop.notifier(ConnectOptions::default());
/// let answer = notifier.register(made.connection.uuid, &made.token, None)?;
/// if answer.outcome == RegisterOutcome::Failed {
///     println!("{}; share the token by hand", answer.message);
/// }
/// # Ok::<(), rowferry::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Notifier {
    site: Site,
    options: ConnectOptions,
    actor: String,
}

impl Site {
    /// What tells other sites about this site's connections, and asks them.
    ///
    /// Of the options the time-outs, the prefix, the limits, the certificates, the download password and the cancel
    /// token count.
    pub fn notifier(&self, options: ConnectOptions) -> Notifier {
        Notifier { site: self.clone(), options, actor: HOST.to_owned() }
    }
}

impl Notifier {
    /// Says who does what is done through the value that this gives: it stands in events. Defaults to `host`.
    #[must_use]
    pub fn by(mut self, actor: impl Into<String>) -> Self {
        self.actor = actor.into();
        self
    }

    /// What calls the site of a stored URL.
    fn api(&self, site_url: &str) -> Result<Api> {
        let internal = self.site.settings().allow_internal_urls()?;
        Api::new(site_url, &self.options.clone().for_stored_url(internal))
    }

    /// What calls a connection's other site about it.
    fn api_of(&self, connection: &Connection) -> Result<Api> {
        Ok(self.api(&connection.site_url)?.credential(self.known_by(connection)?))
    }

    /// What a connection's other site knows it by: while that site is still to be told of a new token, the one before.
    fn known_by(&self, connection: &Connection) -> Result<Credential> {
        // In this order: a token that is made in between is in the queue already, and then the old one counts.
        let own = self.site.connections().credential(connection.uuid)?;
        match state::read(self.site.store_ref(), |sql| outbox::next_of(sql, connection.uuid))? {
            Some(message) => self.site.connections().outgoing_credential(&message),
            None => Ok(own),
        }
    }

    /// The URL that other sites know this one by.
    fn own_url(&self) -> Result<String> {
        self.site.settings().site_url()?.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "this site has no URL of its own, by which the other site knows it")
                .with_hint("Set the setting site_url to the URL that other sites reach this one by.")
        })
    }

    /// Whether it is us who ended it: whatever another site says it is not.
    fn was_cancelled(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Cancelled && self.options.cancel().is_cancelled()
    }

    /// Keeps that the other site was told something, or could not be.
    fn notified(&self, connection: Uuid, details: Metadata) -> Result<()> {
        let now = self.site.now();
        self.site.change(|sql| {
            let kind = EventKind::ConnectionNotified;
            events::add(sql, now, kind, &self.actor, Some(connection), None, details.clone())
        })
    }
}

/// Whether the other site was not reached: nothing is known of what it would say.
fn is_offline(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Disconnected)
}

/// An error as it stands in an event's or a connection's notes.
fn described(error: &Error) -> serde_json::Value {
    json!({"code": error.code(), "message": error.to_string(), "http_status": error.http_status()})
}

/// An error for a connection of the wrong direction.
fn must_be(connection: &Connection, direction: ConnectionDirection, why: &str) -> Result<()> {
    if connection.direction == direction {
        return Ok(());
    }
    let (name, is) = (&connection.name, connection.direction);
    Err(Error::new(ErrorKind::InvalidInput, format!("the connection {name:?} is a {is}, not a {direction}: {why}")))
}
