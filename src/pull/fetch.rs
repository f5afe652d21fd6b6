//! What goes to the thread that fetches the tables of a pull, and what comes from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::bounds::Bounds;
use super::reconnect::ReconnectPolicy;
use super::source::{Position, Source};
use super::states::States;
use super::wait::Allowance;
use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::row_sum::RowSum;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// A table to fetch.
pub(super) struct Task {
    /// Its position among the tables of the pull.
    pub(super) at: usize,
    pub(super) table: Arc<TableSchema>,
    /// Where to begin.
    pub(super) from: Position,
    /// The states that what came before is of.
    pub(super) before: States,
    /// How many rows the sender says there are.
    pub(super) announced: u64,
    /// The time to wait for this table, where the other site counts calls.
    pub(super) allowance: Allowance,
    /// Set when its rows are not wanted.
    pub(super) skip: Arc<AtomicBool>,
}

/// Rows that are written together.
pub(super) struct Batch {
    pub(super) rows: Rows,
    pub(super) failures: Vec<Failure>,
    /// The place after the last of them; `None` if the pull could not resume there.
    pub(super) position: Option<Position>,
    /// Records of this table received so far.
    pub(super) received: u64,
    /// Bytes of this table received so far, by this run of the pull.
    pub(super) bytes: u64,
    /// What its pages count, where they come by themselves.
    pub(super) size: u64,
    /// The states that the table's records are of so far.
    pub(super) states: States,
}

/// What comes from the thread that fetches, table after table.
pub(super) enum Arrival {
    Batch(Box<Batch>),
    /// The place in the table has expired: it comes from its first row again.
    Again,
    /// The other site said to wait for so long.
    Waiting(Duration),
    /// The connection was lost, and is about to be made again, which may take so long.
    Reconnecting(Duration),
    /// The other site has to approve the table first, by this transfer of its own; that is waited for so long at most.
    AwaitingApproval(Option<Uuid>, Duration),
    /// The table has come to its end.
    Ended(Result<Fetched>),
}

/// What comes back to the thread that fetches.
pub(super) enum Returned {
    /// A batch that is done with: its rows are memory to fill again, and what its pages count, where they come by themselves.
    Batch(Rows, u64),
    /// All rows of a table are committed: only now may the sender forget how to send them again.
    Committed(usize),
    /// A table is over here, and no rows of it are taken any more. Unless that was said before, they are not all committed.
    Dropped(usize),
}

/// What there is to say when all pages of a table are there.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Records received, those of an earlier run included.
    pub(super) received: u64,
    pub(super) pages: u64,
    /// The states that all its records are of.
    pub(super) states: States,
    /// The number of the state that came last.
    pub(super) latest: Option<u64>,
    /// What came of comparing them with what the sender says it sent.
    pub(super) sums: Sums,
    /// How many rows the sender says there are now, if fewer came than it had said.
    pub(super) expected: Option<u64>,
}

/// What came of comparing the rows that arrived with those that the sender says it sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sums {
    /// One of the two does not know.
    #[default]
    Unknown,
    Same,
    /// What arrived, and what was sent.
    Different(RowSum, RowSum),
}

impl Sums {
    pub(super) fn of(arrived: Option<RowSum>, sent: Option<RowSum>) -> Self {
        match arrived.zip(sent) {
            None => Sums::Unknown,
            Some((arrived, sent)) if arrived == sent => Sums::Same,
            Some((arrived, sent)) => Sums::Different(arrived, sent),
        }
    }

    /// What is known then of a table that is whole.
    pub(super) fn verified(self) -> Verified {
        if self == Sums::Same { Verified::Received } else { Verified::None }
    }
}

/// What is the same for all tables.
pub(super) struct Fetch<'f> {
    pub(super) source: &'f dyn Source,
    /// The pull's name.
    pub(super) pull: Uuid,
    pub(super) limits: &'f Limits,
    /// Records in a page, where they are asked for one by one.
    pub(super) page_records: u32,
    /// Most records in a page that comes by itself, if the caller minds.
    pub(super) stream_records: Option<u32>,
    pub(super) patience: &'f Patience,
    /// What the pull takes at most.
    pub(super) bounds: &'f Bounds,
    pub(super) reconnect: ReconnectPolicy,
    /// Until when to wait for the other side's approval, by asking for the first page again.
    pub(super) approval_until: Option<Instant>,
}

/// Where what is fetched goes to, and comes back from.
pub(super) struct Exchange {
    pub(super) arrivals: Sender<(usize, Arrival)>,
    pub(super) returned: Receiver<Returned>,
}

impl Task {
    /// Whether its rows are not wanted.
    pub(super) fn is_skipped(&self) -> bool {
        self.skip.load(Ordering::SeqCst)
    }
}

/// Nobody takes what is fetched: what took it knows why.
pub(super) fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the rows are no longer wanted")
}
