//! Which connections are listed or counted.

use super::{ConnectionDirection, ConnectionStatus};

/// How many connections a list has where nothing else is said.
const LIMIT: u32 = 100;

/// Which connections are meant: all, but for what the setters say. What they say must all be true of a connection.
#[derive(Debug, Clone)]
#[must_use]
pub struct ConnectionFilter {
    pub(crate) direction: Option<ConnectionDirection>,
    pub(crate) status: Option<ConnectionStatus>,
    pub(crate) limit: u32,
    pub(crate) offset: u64,
}

impl Default for ConnectionFilter {
    fn default() -> Self {
        ConnectionFilter { direction: None, status: None, limit: LIMIT, offset: 0 }
    }
}

impl ConnectionFilter {
    /// All connections, the oldest first, at most 100 in a list.
    pub fn new() -> Self {
        ConnectionFilter::default()
    }

    /// Those of this direction.
    pub fn direction(mut self, direction: ConnectionDirection) -> Self {
        self.direction = Some(direction);
        self
    }

    /// Those that stand here.
    pub fn status(mut self, status: ConnectionStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Most connections in a list. Defaults to 100; at most [`ServerLimits::listed`](crate::ServerLimits::listed) count.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// How many connections a list leaves out at its beginning. Defaults to 0.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }
}
