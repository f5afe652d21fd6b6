//! Finding connections, and judging them.

use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::new::verify;
use super::{Connections, found, not_found};
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionFilter, Policy};
use crate::domain::names::nearest;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Credential, Token};
use crate::state::{self, connections, ids};
use crate::store::Sql;

const BOTH: [ConnectionDirection; 2] = [ConnectionDirection::Sender, ConnectionDirection::Receiver];

impl Connections<'_> {
    /// A connection by its id.
    pub fn get(&self, uuid: Uuid) -> Result<Connection> {
        self.read(|sql| found(sql, uuid))
    }

    /// A connection by its id, or by its name if that is the name of one only, or else by the beginning or the end of its id: 4 digits at
    /// least, and as many as only one connection has.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a name or a part of an id that several have.
    pub fn find(&self, name_or_uuid: &str) -> Result<Connection> {
        let text = name_or_uuid.trim();
        if let Ok(uuid) = text.parse::<Uuid>()
            && let Some(connection) = self.read(|sql| connections::by_uuid(sql, uuid))?
        {
            return Ok(connection);
        }
        let mut named = self.read(|sql| connections::by_name(sql, text))?;
        match (named.pop(), named.is_empty()) {
            (Some(connection), true) => Ok(connection),
            (Some(_), false) => Err(Error::new(ErrorKind::InvalidInput, format!("several connections are named {text:?}"))
                .with_hint("Give the uuid of the one that you mean.")),
            (None, _) => {
                let by_part = self.read(|sql| match ids::find(sql, "rowferry_connections", "connection", text)? {
                    Some(uuid) => connections::by_uuid(sql, uuid),
                    None => Ok(None),
                })?;
                by_part.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("there is no connection {text:?}"))
                        .with_hint("`Connections::list` has those that there are.")
                })
            }
        }
    }

    /// The connections that a filter chooses, the oldest first.
    pub fn list(&self, filter: &ConnectionFilter) -> Result<Vec<Connection>> {
        self.read(|sql| connections::list(sql, filter, self.site.limits().server.listed))
    }

    /// How many connections a filter chooses, its limit and offset left out.
    pub fn count(&self, filter: &ConnectionFilter) -> Result<u64> {
        self.read(|sql| connections::count(sql, filter))
    }

    /// The names in a policy's lists of tables that no table has which this site offers, each once, with the name that may have been
    /// meant. A policy may name tables that are made later: that they are missing is nothing wrong, but worth a word.
    pub fn unknown_tables(&self, policy: &Policy) -> Result<Vec<(String, Option<String>)>> {
        let store = self.site.store();
        let mut offered = store.snapshot()?.tables()?;
        offered.retain(|table| self.site.offers(table));
        let mut unknown: Vec<(String, Option<String>)> = Vec::new();
        let lists = [&policy.allowed_tables, &policy.excluded_tables, &policy.auto_approve_tables];
        for name in lists.into_iter().flatten() {
            if !store.names().is_among(name, &offered) && unknown.iter().all(|(other, _)| other != name) {
                let near = nearest(name, offered.iter().map(String::as_str)).map(str::to_owned);
                unknown.push((name.clone(), near));
            }
        }
        Ok(unknown)
    }

    /// The sender connection of a token, if it may be used now and from this address. Nothing is counted, and neither
    /// password nor tables are looked at.
    ///
    /// # Errors
    /// The first of these that is so: [`InvalidToken`](ErrorKind::InvalidToken),
    /// [`ConnectionNotActive`](ErrorKind::ConnectionNotActive), [`ConnectionExpired`](ErrorKind::ConnectionExpired),
    /// [`DownloadLimit`](ErrorKind::DownloadLimit), [`RecordLimit`](ErrorKind::RecordLimit),
    /// [`AddressNotAllowed`](ErrorKind::AddressNotAllowed), [`OutsideAllowedHours`](ErrorKind::OutsideAllowedHours).
    pub fn validate(&self, token: &str, address: Option<IpAddr>) -> Result<Connection> {
        let invalid = || {
            Error::new(ErrorKind::InvalidToken, "there is no connection with this token")
                .with_hint("Check the token, or ask the other site for a new one.")
        };
        let lookup = Token::parse(token).map_err(|_| invalid())?.credential().lookup();
        let connection = self.read(|sql| connections::by_lookup(sql, &lookup, ConnectionDirection::Sender))?;
        let connection = connection.ok_or_else(invalid)?;
        connection.judge(self.site.now(), address)?;
        Ok(connection)
    }

    /// Whether this is the password that pulls through a connection must give; true for one that needs none. It takes some
    /// ten milliseconds and 19 MiB of memory: a program that lets strangers try must bound how often.
    pub fn validate_download_password(&self, uuid: Uuid, password: &str) -> Result<bool> {
        match self.read(|sql| connections::stored(sql, uuid))?.ok_or_else(|| not_found(uuid))?.password_hash {
            Some(hash) => verify(password, &hash),
            None => Ok(true),
        }
    }

    /// The connection of a token, in either direction. A text that cannot be a token has none.
    pub fn find_by_token(&self, token: &str) -> Result<Option<Connection>> {
        let Ok(token) = Token::parse(token) else { return Ok(None) };
        let lookup = token.credential().lookup();
        self.read(|sql| either(sql, &lookup))
    }

    /// The connection with the site of a URL, in whichever spelling. A text that is not a URL has none.
    pub fn find_by_site_url(&self, url: &str, direction: ConnectionDirection) -> Result<Option<Connection>> {
        let Ok(url) = SiteUrl::parse(url) else { return Ok(None) };
        let url = url.to_string();
        self.read(|sql| connections::by_site_url(sql, &url, direction))
    }

    /// The connection with the site of a URL whose token has this hash (SHA-256 in lower-case hex, what the protocol calls
    /// `auth_token_hash`), in either direction.
    pub fn find_by_site_url_and_hash(&self, url: &str, hash: &str) -> Result<Option<Connection>> {
        let (Ok(url), Some(credential)) = (SiteUrl::parse(url), Credential::parse(hash)) else { return Ok(None) };
        let (url, lookup) = (url.to_string(), credential.lookup());
        let found = self.read(|sql| either(sql, &lookup))?;
        Ok(found.filter(|connection| connection.site_url == url))
    }

    /// The connection whose token has this hash: see [`Connections::find_by_site_url_and_hash`].
    pub fn find_by_hash(&self, hash: &str, direction: ConnectionDirection) -> Result<Option<Connection>> {
        let Some(credential) = Credential::parse(hash) else { return Ok(None) };
        let lookup = credential.lookup();
        self.read(|sql| connections::by_lookup(sql, &lookup, direction))
    }

    /// Active connections whose date passes within this time, the next one first; at most
    /// [`ServerLimits::listed`](crate::ServerLimits::listed).
    pub fn expiring_soon(&self, within: Duration) -> Result<Vec<Connection>> {
        let now = self.site.now();
        // Beyond what the clock can name there is no date.
        let until = time::Duration::try_from(within).ok().and_then(|within| now.checked_add(within));
        let until = until.unwrap_or(time::PrimitiveDateTime::MAX.assume_utc());
        self.read(|sql| connections::expiring(sql, now, until, self.site.limits().server.listed))
    }

    pub(super) fn read<T>(&self, work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
        state::read(self.site.store_ref(), work)
    }
}

/// The connection with this lookup. There are never two: a site is not connected to itself.
fn either(sql: &mut dyn Sql, lookup: &str) -> Result<Option<Connection>> {
    for direction in BOTH {
        if let Some(connection) = connections::by_lookup(sql, lookup, direction)? {
            return Ok(Some(connection));
        }
    }
    Ok(None)
}
