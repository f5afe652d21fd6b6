//! Making connections.

use std::fmt;
use std::net::IpAddr;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Connections, details, found, names, pending};
use crate::domain::address;
use crate::domain::connection::{
    Connection, ConnectionDirection, ConnectionFilter, ConnectionStatus, Metadata, Policy, check_metadata, check_receiver,
    normal_name,
};
use crate::domain::event::{EventKind, cleaned_actor};
use crate::domain::strategy::Strategy;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{self, Token};
use crate::site::settings;
use crate::state::connections::{self, Stored};
use crate::store::Sql;

/// Longest password, in bytes.
const PASSWORD: usize = 1_024;

/// A connection to be made.
#[must_use]
pub struct NewConnection {
    name: String,
    site_url: String,
    direction: ConnectionDirection,
    token: Option<Token>,
    policy: Policy,
    password: Option<Zeroizing<String>>,
    pending: bool,
    metadata: Metadata,
}

impl NewConnection {
    /// The site at this URL may pull from this one. Its token is made with it.
    pub fn sender(name: impl Into<String>, site_url: impl Into<String>) -> Self {
        NewConnection {
            name: name.into(),
            site_url: site_url.into(),
            direction: ConnectionDirection::Sender,
            token: None,
            policy: Policy::default(),
            password: None,
            pending: false,
            metadata: Metadata::new(),
        }
    }

    /// This site may pull from the one at this URL, with the token that was made there.
    pub fn receiver(name: impl Into<String>, site_url: impl Into<String>, token: Token) -> Self {
        let direction = ConnectionDirection::Receiver;
        NewConnection { direction, token: Some(token), ..NewConnection::sender(name, site_url) }
    }

    /// What the connection allows. Defaults to [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The password that pulls must give. Only its argon2 hash is kept. Defaults to none. A sender's only.
    pub fn download_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// It waits for [`Connections::approve`], or for the other site to ask how it stands. Defaults to active at once.
    pub fn pending(mut self) -> Self {
        self.pending = true;
        self
    }

    /// Notes. Defaults to none. No place for secrets: they are shown to all who list connections.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }
}

impl fmt::Debug for NewConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NewConnection { name, site_url, direction, .. } = self;
        write!(f, "NewConnection({direction}, {name:?}, {site_url:?}, ..)")
    }
}

/// A connection with its token: the only time that it is shown.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectionWithToken {
    /// The connection.
    pub connection: Connection,
    /// Its token, to be given to the other site.
    pub token: Token,
    /// Whether a message that tells the other site of the token waits to be sent. If not, give it the token by hand, or let
    /// this site register itself there.
    pub queued: bool,
}

/// A connection that another site asks for.
#[derive(Debug)]
pub(crate) struct Registration {
    pub site_url: SiteUrl,
    pub name: String,
    pub token: Token,
    /// Whether it works at once; else it waits for approval.
    pub active: bool,
    /// The address that asks, or its network, as far as it is known.
    pub from: Option<IpAddr>,
    /// The strategy that the other site proposes.
    pub strategy: Option<Strategy>,
}

impl Connections<'_> {
    /// Makes a connection. Its event is [`ConnectionCreated`](EventKind::ConnectionCreated).
    ///
    /// Several connections may have one name, which then means none of them where one is named ([`Connections::find`]). One that another
    /// site asked for and that nobody here approved, whether it waits or works at once, gives its name up to this one, and gets a number
    /// behind it.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) names the field that cannot be used: a receiver takes none that only a sender can enforce
    /// (approval, the number of pulls, the rate, addresses, a password);
    /// [`ForbiddenAddress`](ErrorKind::ForbiddenAddress) for a URL whose host is written as an address that is not public,
    /// unless the setting `allow_internal_urls` is on; [`SelfConnection`](ErrorKind::SelfConnection) for the site's own URL,
    /// and for a token that this site made itself; [`AlreadyExists`](ErrorKind::AlreadyExists) when there is a connection of
    /// this direction with the site, or with the token.
    pub fn create(&self, new: NewConnection) -> Result<ConnectionWithToken> {
        let name = normal_name(&new.name)?;
        let site_url = SiteUrl::of_site(&new.site_url)?;
        new.policy.check(self.site.limits().server.policy_entries)?;
        if new.direction == ConnectionDirection::Receiver {
            check_receiver(&Policy::default(), &new.policy, new.password.is_some())?;
        }
        check_metadata(&new.metadata, self.site.limits().server.metadata_bytes)?;
        let password_hash = new.password.as_ref().map(|password| hash(password)).transpose()?;
        let token = new.token.map_or_else(Token::generate, Ok)?;
        let status = if new.pending { ConnectionStatus::Pending } else { ConnectionStatus::Active };
        let mut connection = self.blank(name, site_url, new.direction, status)?;
        connection.policy = new.policy;
        connection.metadata = new.metadata;
        let connection = self.insert(connection, &token, password_hash, EventKind::ConnectionCreated)?;
        Ok(ConnectionWithToken { connection, token, queued: false })
    }

    /// Makes the receiver connection that another site asks for. Its event is
    /// [`ConnectionRegistered`](EventKind::ConnectionRegistered). Where another connection has its name, it gets a number behind it.
    ///
    /// # Errors
    /// Those of [`Connections::create`]; [`Refused`](ErrorKind::Refused) when there are as many as
    /// [`ServerLimits::registered`](crate::ServerLimits::registered) allows; [`TooManyAttempts`](ErrorKind::TooManyAttempts) when as many wait as
    /// [`ServerLimits::pending`](crate::ServerLimits::pending) and its like allow, and none has waited long enough to give way.
    pub(crate) fn register(&self, registration: Registration) -> Result<Connection> {
        let name = normal_name(&registration.name)?;
        let status = if registration.active { ConnectionStatus::Active } else { ConnectionStatus::Pending };
        let mut connection = self.blank(name, registration.site_url, ConnectionDirection::Receiver, status)?;
        connection.policy.default_conflict_strategy = registration.strategy.unwrap_or_default();
        connection.metadata = pending::notes(registration.from);
        self.insert(connection, &registration.token, None, EventKind::ConnectionRegistered)
    }

    /// A connection that nothing has happened to.
    fn blank(
        &self,
        name: String,
        site_url: SiteUrl,
        direction: ConnectionDirection,
        status: ConnectionStatus,
    ) -> Result<Connection> {
        self.check_address(&site_url)?;
        let now = self.site.now();
        Ok(Connection {
            uuid: Uuid::now_v7(),
            name,
            direction,
            site_url: site_url.to_string(),
            status,
            policy: Policy::default(),
            has_download_password: false,
            downloads_used: 0,
            records_downloaded: 0,
            approved_at: None,
            approved_by: None,
            suspended_at: None,
            suspended_by: None,
            suspended_reason: None,
            revoked_at: None,
            revoked_by: None,
            revoked_reason: None,
            created_by: cleaned_actor(self.actor),
            created_at: now,
            updated_at: now,
            last_connected_at: None,
            last_transfer_at: None,
            total_transfers: 0,
            total_records_transferred: 0,
            total_bytes_transferred: 0,
            metadata: Metadata::new(),
        })
    }

    fn insert(
        &self,
        mut connection: Connection,
        token: &Token,
        password_hash: Option<String>,
        kind: EventKind,
    ) -> Result<Connection> {
        let stored = Stored {
            token_lookup: token.credential().lookup(),
            token_sealed: self.seal(connection.uuid, connection.direction, token)?,
            password_hash,
        };
        let registered = ConnectionFilter::new().direction(ConnectionDirection::Receiver);
        let most = u64::from(self.site.limits().server.registered);
        self.site.change(|sql| {
            if kind == EventKind::ConnectionRegistered && connections::count(sql, &registered)? >= most {
                let message = format!("{most} connections were registered, and no more are taken");
                return Err(Error::new(ErrorKind::Refused, message)
                    .with_hint("The owner of the site has to delete some, or to raise the limit."));
            }
            check_url(sql, &connection)?;
            check_token(sql, &connection, &stored.token_lookup)?;
            match kind {
                EventKind::ConnectionRegistered => {
                    if connection.status == ConnectionStatus::Pending {
                        self.let_wait(sql, connection.created_at, &connection)?;
                    }
                    connection.name = names::free_name(sql, &connection.name)?;
                }
                _ => self.make_room(sql, connection.created_at, &connection)?,
            }
            connections::insert(sql, &connection, &stored)?;
            let about = details([
                ("name", &connection.name),
                ("site_url", &connection.site_url),
                ("direction", connection.direction.as_str()),
                ("status", connection.status.as_str()),
            ]);
            self.tell(sql, connection.created_at, kind, connection.uuid, about)?;
            found(sql, connection.uuid)
        })
    }

    /// Refuses a URL whose host is written as an address that is not public, unless the settings allow it.
    pub(super) fn check_address(&self, site_url: &SiteUrl) -> Result<()> {
        match address::require_public(site_url) {
            Err(_) if self.site.settings().allow_internal_urls()? => Ok(()),
            checked => checked,
        }
    }
}

/// Refuses the own URL, and one that there is a connection of this direction with.
pub(super) fn check_url(sql: &mut dyn Sql, connection: &Connection) -> Result<()> {
    if settings::site_url(sql)?.as_deref() == Some(&*connection.site_url) {
        let message = format!("{} is this site's own URL", connection.site_url);
        return Err(Error::new(ErrorKind::SelfConnection, message).with_hint("Give the URL of the other site."));
    }
    match connections::by_site_url(sql, &connection.site_url, connection.direction)? {
        Some(other) if other.uuid != connection.uuid => {
            let (direction, url) = (connection.direction, &connection.site_url);
            let message =
                format!("there is a {direction} connection with {url} already: {:?}, {}", other.name, other.status);
            Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("Change that one, or delete it first: a site has at most one connection of each direction."))
        }
        _ => Ok(()),
    }
}

/// Refuses a token that another connection of this direction has, and for a receiver one that this site gave out itself.
pub(super) fn check_token(sql: &mut dyn Sql, connection: &Connection, lookup: &str) -> Result<()> {
    use ConnectionDirection::{Receiver, Sender};
    let other = match connection.direction {
        Sender => Receiver,
        Receiver => Sender,
    };
    if connections::by_lookup(sql, lookup, other)?.is_some() {
        return Err(Error::new(ErrorKind::SelfConnection, "the token is one of this site's own connections")
            .with_hint("Give the token that the other site made."));
    }
    match connections::by_lookup(sql, lookup, connection.direction)? {
        Some(one) if one.uuid != connection.uuid => {
            let message = format!("the connection {:?} has this token already", one.name);
            Err(Error::new(ErrorKind::AlreadyExists, message).with_hint("Use that one, or ask for a token of its own."))
        }
        _ => Ok(()),
    }
}

/// The hash of a password that somebody chose.
pub(super) fn hash(password: &str) -> Result<String> {
    match password.len() {
        0 => {
            Err(Error::new(ErrorKind::InvalidInput, "an empty password protects nothing")
                .with_hint("Give a password, or none."))
        }
        1..=PASSWORD => secret::hash_password(password),
        _ => Err(Error::new(ErrorKind::InvalidInput, format!("the password is longer than {PASSWORD} bytes"))
            .with_hint("Take a shorter one.")),
    }
}

/// Whether this is the password; one that is longer than any can be is not hashed first.
pub(super) fn verify(password: &str, hash: &str) -> Result<bool> {
    if password.len() > PASSWORD { Ok(false) } else { secret::verify_password(password, hash) }
}
