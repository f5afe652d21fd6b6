//! One-off pairings by a code.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// Which way the rows of a session or connection go, seen from this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The other site pulls from this one.
    Send,
    /// This site pulls from the other.
    Receive,
}

impl Direction {
    /// `send` or `receive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Receive => "receive",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "send" => Ok(Direction::Send),
            "receive" => Ok(Direction::Receive),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("{text:?} is no direction"))
                .with_hint("Choose send or receive.")),
        }
    }
}

/// A stored session, without its code: the code is known only to whom it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// The session's own id.
    pub uuid: Uuid,
    /// Which way the rows go.
    pub direction: Direction,
    /// Where it stands.
    pub status: SessionStatus,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// From when on its code no longer works.
    pub expires_at: OffsetDateTime,
    /// When its code was used.
    pub used_at: Option<OffsetDateTime>,
    /// Who used it: the address, as the host saw it.
    pub used_by: Option<String>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// Its code works.
    Active,
    /// Its code was used: codes work once.
    Used,
    /// Its time is over.
    Expired,
}

impl SessionStatus {
    /// `active`, `used` or `expired`.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionStatus::Active => "active",
            SessionStatus::Used => "used",
            SessionStatus::Expired => "expired",
        }
    }
}
