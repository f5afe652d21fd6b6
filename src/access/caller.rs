//! Who asks for access, and what comes of asking.

use std::net::IpAddr;

use crate::domain::access::Denial;
use crate::domain::connection::Connection;
use crate::error::Error;

/// Why there is nothing to be had.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It may not be.
    Denied(Denial),
    /// Something failed here.
    Failed(Error),
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Refused::Denied(denial)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Failed(error)
    }
}

/// What came of asking for access.
pub(crate) type Answer<T> = std::result::Result<T, Refused>;

/// Who asks, as far as the host knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The address, as the host trusts it.
    pub(crate) address: Option<IpAddr>,
    /// What it says of itself.
    pub(crate) user_agent: Option<String>,
}

impl Caller {
    pub(super) fn named(&self) -> String {
        match self.address {
            Some(address) => format!("peer {}", address.to_canonical()),
            None => "peer at an unknown address".to_owned(),
        }
    }
}

/// Who does what the other end of a connection does, in events and histories.
pub(super) fn actor(connection: &Connection) -> String {
    format!("peer {}", connection.site_url)
}
