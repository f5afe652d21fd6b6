//! The history of what was pulled: one transfer for each table of each pull.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::connection::Metadata;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};

words! {
    /// Where a transfer stands.
    ///
    /// `pending -> pending_approval -> approved -> in_progress -> completed | failed | cancelled`;
    /// `pending_approval -> denied | expired`; `pending -> in_progress` where no approval is needed.
    pub enum TransferStatus("transfer status") {
        /// It was made, and has not begun.
        Pending = "pending",
        /// It waits for approval.
        PendingApproval = "pending_approval",
        /// It was approved, and may begin.
        Approved = "approved",
        /// Approval was denied.
        Denied = "denied",
        /// Nobody approved it in time.
        Expired = "expired",
        /// Records are moved.
        InProgress = "in_progress",
        /// All records were moved.
        Completed = "completed",
        /// It ended with an error.
        Failed = "failed",
        /// It was called off.
        Cancelled = "cancelled",
    }
}

/// What is done to a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferStep {
    /// Approval is asked for.
    RequestApproval,
    /// It is approved.
    Approve,
    /// It is denied.
    Deny,
    /// Its time to be approved is over.
    Expire,
    /// Records begin to move.
    Start,
    /// All records were moved.
    Complete,
    /// An error ended it.
    Fail,
    /// It is called off.
    Cancel,
}

impl TransferStatus {
    /// Where a transfer stands after a step.
    ///
    /// # Errors
    /// [`CannotStart`](ErrorKind::CannotStart) for a start that is not possible from here,
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for another step that is not.
    pub fn after(self, step: TransferStep, requires_approval: bool) -> Result<Self> {
        use TransferStatus::*;
        use TransferStep::*;
        match (self, step) {
            (Pending, RequestApproval) => Ok(PendingApproval),
            (PendingApproval, Approve) => Ok(Approved),
            (PendingApproval, Deny) => Ok(Denied),
            (PendingApproval, Expire) => Ok(TransferStatus::Expired),
            (Pending, Start) if !requires_approval => Ok(InProgress),
            (Approved, Start) => Ok(InProgress),
            (InProgress, Complete) => Ok(Completed),
            (Pending | Approved | InProgress, Fail) => Ok(Failed),
            (Pending | PendingApproval | Approved | InProgress, Cancel) => Ok(Cancelled),
            (_, Start) => Err(Error::new(ErrorKind::CannotStart, format!("a transfer that is {self} cannot start"))
                .with_hint("Only an approved one starts, or a pending one that needs no approval.")),
            _ => Err(Error::new(ErrorKind::InvalidTransition, format!("a transfer that is {self} cannot {}", step.verb()))),
        }
    }

    /// Whether nothing more happens to it.
    pub fn is_final(self) -> bool {
        use TransferStatus::*;
        matches!(self, Denied | Expired | Completed | Failed | Cancelled)
    }
}

impl TransferStep {
    fn verb(self) -> &'static str {
        match self {
            TransferStep::RequestApproval => "ask for approval",
            TransferStep::Approve => "be approved",
            TransferStep::Deny => "be denied",
            TransferStep::Expire => "expire",
            TransferStep::Start => "start",
            TransferStep::Complete => "be completed",
            TransferStep::Fail => "fail",
            TransferStep::Cancel => "be cancelled",
        }
    }
}

/// What a transfer moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TransferCounters {
    /// Records that were moved.
    pub records_transferred: u64,
    /// Of these: new rows. Known to the receiver only, as all further ones.
    pub records_created: u64,
    /// Rows that were changed.
    pub records_updated: u64,
    /// Records that changed nothing.
    pub records_skipped: u64,
    /// Records that could not be taken.
    pub records_failed: u64,
    /// Bytes on the wire.
    pub bytes_transferred: u64,
}

/// One table, moved once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Transfer {
    /// Its id.
    pub uuid: Uuid,
    /// Which way the records go.
    pub direction: Direction,
    /// The connection that it goes through, if it is one.
    pub connection: Option<Uuid>,
    /// The session whose code it was pulled with, if it was one. The code itself is not kept.
    pub session: Option<Uuid>,
    /// The other site's URL, where it is known.
    pub remote_site_url: Option<String>,
    /// The table.
    pub table_name: String,
    /// How many records were asked for or announced.
    pub records_requested: Option<u64>,
    /// What was moved.
    #[serde(flatten)]
    pub counters: TransferCounters,
    /// What becomes of records whose key exists; the sender knows it only if it was told.
    pub conflict_strategy: Option<Strategy>,
    /// Where it stands.
    pub status: TransferStatus,
    /// Whether it needs approval.
    pub requires_approval: bool,
    /// When it was approved.
    #[serde(with = "time::serde::rfc3339::option")]
    pub approved_at: Option<OffsetDateTime>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When it was denied.
    #[serde(with = "time::serde::rfc3339::option")]
    pub denied_at: Option<OffsetDateTime>,
    /// Who denied it.
    pub denied_by: Option<String>,
    /// Why it was denied.
    pub denial_reason: Option<String>,
    /// Until when it may be approved.
    #[serde(with = "time::serde::rfc3339::option")]
    pub approval_expires_at: Option<OffsetDateTime>,
    /// The address of who asked.
    pub requester_ip: Option<String>,
    /// What who asked said of itself.
    pub requester_user_agent: Option<String>,
    /// Who began it.
    pub initiated_by: Option<String>,
    /// Why it failed or was cancelled.
    pub error_message: Option<String>,
    /// When records began to move.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended, however it did.
    #[serde(with = "time::serde::rfc3339::option")]
    pub completed_at: Option<OffsetDateTime>,
    /// Notes.
    pub metadata: Metadata,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub inserted_at: OffsetDateTime,
}

impl Transfer {
    /// The share of the records that did not fail, from 0 to 1; `None` before a record was moved.
    pub fn success_rate(&self) -> Option<f64> {
        let all = self.counters.records_transferred;
        // A count beyond 2^53 loses its last digits here, which a rate has no use for.
        (all > 0).then(|| (all.saturating_sub(self.counters.records_failed)) as f64 / all as f64)
    }

    /// How long records moved: `None` before it ended.
    pub fn duration(&self) -> Option<time::Duration> {
        Some(self.completed_at? - self.started_at?)
    }
}
