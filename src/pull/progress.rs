//! How far a pull is.

use std::time::Duration;

use uuid::Uuid;

/// How far a pull is, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'t> {
    /// The table that is being pulled; empty while there is none yet ([`Phase::Connecting`]).
    pub table: &'t str,
    /// Its place among the tables of the pull, from 0.
    pub table_index: usize,
    /// How many tables the pull has; 0 while that is not known ([`Phase::Connecting`]).
    pub tables: usize,
    /// Records of this table that were received. They begin again where the table is pulled a second time: see
    /// [`PullOptions::refresh`](crate::PullOptions::refresh).
    pub records: u64,
    /// How many records of this table the sender counted when the pull began. An estimate: rows may come and go during the pull.
    pub announced: u64,
    /// Bytes received in this pull.
    pub bytes: u64,
    /// What is being done.
    pub phase: Phase,
    /// The sender's transfer that someone there has to approve before this table is pulled, once it is known.
    pub approval: Option<Uuid>,
    /// How long it may wait for approval or for a connection, or how long the other site said to wait; `None` in the other phases.
    pub wait: Option<Duration>,
}

/// What a pull is doing with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The other site has no place for one more connection: the first one is tried again. No table is known yet.
    Connecting,
    /// The other side has yet to approve it. Told again each time that the other site was asked.
    AwaitingApproval,
    /// The other site counts its calls and said to wait.
    RateLimited,
    /// The connection was lost, and is about to be made again.
    Reconnecting,
    /// It is compared, not pulled: `records` are the rows that the sender has read. See
    /// [`Site::verify`](crate::Site::verify).
    Comparing,
    /// It is about to ask for the first page.
    Started,
    /// Pages arrive.
    Receiving,
    /// All records are here, and those that had to wait are applied.
    Applying,
    /// It is done with the table.
    Finished,
}
