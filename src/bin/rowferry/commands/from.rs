//! The other site of a command: at a URL that was typed, or of a connection that is kept in the database.

use rowferry::{
    Auth, CancelToken, ConnectOptions, Error, ErrorKind, PullOptions, Report, Site, VerifyOptions, VerifyReport,
};
use uuid::Uuid;

use super::connect_options;
use super::plain::warn_of_plain_http;
use crate::args::Network;
use crate::args::secret::Access;
use crate::failure::Failure;

/// What the other site is asked with. It is read before a database is opened: secrets that cannot be read must not leave an empty one
/// behind.
pub struct Entry {
    connect: ConnectOptions,
    /// `None` where a connection has its own.
    auth: Option<Auth>,
}

impl Entry {
    pub fn read(
        connection: Option<&String>,
        access: &Access,
        network: &Network,
        cancel: &CancelToken,
    ) -> Result<Self, Failure> {
        let mut connect = connect_options(network, cancel)?;
        if connection.is_none() {
            return Ok(Entry { connect, auth: Some(access.auth()?) });
        }
        if let Some(password) = access.password.secret()? {
            connect = connect.download_password(password.as_str());
        }
        Ok(Entry { connect, auth: None })
    }
}

/// Where rows come from.
pub enum From<'a> {
    /// The site at a URL that was typed.
    Url(&'a str, Auth, ConnectOptions),
    /// A connection that is kept in the database.
    Connection(Uuid, ConnectOptions),
}

impl<'a> From<'a> {
    pub fn new(site: &Site, connection: Option<&String>, url: Option<&'a String>, entry: Entry) -> Result<Self, Failure> {
        match (connection, url, entry.auth) {
            (Some(connection), _, _) => {
                let found = site.connections().find(connection).map_err(Failure::typed)?;
                warn_of_plain_http(&found.site_url);
                Ok(From::Connection(found.uuid, entry.connect))
            }
            (None, Some(url), Some(auth)) => {
                warn_of_plain_http(url);
                Ok(From::Url(url, auth, entry.connect))
            }
            // clap asks for one of them.
            (None, _, _) => {
                let error = Error::new(ErrorKind::InvalidInput, "there is no other site");
                Err(Failure::usage(error.with_hint("Give a URL or --connection.")))
            }
        }
    }

    pub fn pull(self, site: &Site, options: PullOptions<'_>) -> rowferry::Result<Report> {
        match self {
            From::Url(url, auth, connect) => site.pull_from(url, auth, connect, options),
            From::Connection(uuid, connect) => site.pull(uuid, connect, options),
        }
    }

    pub fn verify(self, site: &Site, options: VerifyOptions<'_>) -> rowferry::Result<VerifyReport> {
        match self {
            From::Url(url, auth, connect) => site.verify_from(url, auth, connect, options),
            From::Connection(uuid, connect) => site.verify(uuid, connect, options),
        }
    }
}
