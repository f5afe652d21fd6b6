//! Which transfers are listed, counted or added up.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::TransferStatus;
use crate::domain::session::Direction;

/// How many transfers a list has where nothing else is said.
const LIMIT: u32 = 100;

/// Which transfers are meant: all, but for what the setters say. What they say must all be true of a transfer.
#[derive(Debug, Clone)]
#[must_use]
pub struct TransferFilter {
    pub(crate) direction: Option<Direction>,
    pub(crate) statuses: Vec<TransferStatus>,
    pub(crate) connection: Option<Uuid>,
    pub(crate) table: Option<String>,
    pub(crate) requires_approval: Option<bool>,
    pub(crate) from: Option<OffsetDateTime>,
    pub(crate) to: Option<OffsetDateTime>,
    pub(crate) limit: u32,
    pub(crate) offset: u64,
    pub(crate) oldest_first: bool,
}

impl Default for TransferFilter {
    fn default() -> Self {
        TransferFilter {
            direction: None,
            statuses: Vec::new(),
            connection: None,
            table: None,
            requires_approval: None,
            from: None,
            to: None,
            limit: LIMIT,
            offset: 0,
            oldest_first: false,
        }
    }
}

impl TransferFilter {
    /// All transfers, the newest first, at most 100 in a list.
    pub fn new() -> Self {
        TransferFilter::default()
    }

    /// Those that go this way.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// Those that stand here.
    pub fn status(self, status: TransferStatus) -> Self {
        self.statuses([status])
    }

    /// Those that stand at one of these; none given means all.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = TransferStatus>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Those that go through this connection.
    pub fn connection(mut self, uuid: Uuid) -> Self {
        self.connection = Some(uuid);
        self
    }

    /// Those of this table, by its exact name.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// Those that need approval, or those that do not.
    pub fn requires_approval(mut self, required: bool) -> Self {
        self.requires_approval = Some(required);
        self
    }

    /// Those made at this second or later.
    pub fn from(mut self, moment: OffsetDateTime) -> Self {
        self.from = Some(moment);
        self
    }

    /// Those made at this second or earlier.
    pub fn to(mut self, moment: OffsetDateTime) -> Self {
        self.to = Some(moment);
        self
    }

    /// How many a list has at most. Defaults to 100. Counts and statistics have no bound.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// How many a list leaves out at its beginning. Defaults to 0.
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// Lists the oldest first. Defaults to the newest first.
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }
}

/// What went through a connection, as the history of transfers has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// All transfers, however they stand.
    pub total_transfers: u64,
    /// Those that were completed.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Records that all of them moved.
    pub total_records: u64,
    /// Bytes that all of them moved.
    pub total_bytes: u64,
}

/// What was moved of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableStats {
    /// The table.
    pub table_name: String,
    /// How many transfers of it there are.
    pub transfers: u64,
    /// Records that they moved.
    pub records: u64,
    /// Bytes that they moved.
    pub bytes: u64,
}
