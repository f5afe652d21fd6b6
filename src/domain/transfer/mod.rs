//! The history of what was pulled: one transfer for each table of each pull.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::connection::Metadata;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};

mod filter;
mod new;

pub use filter::{ConnectionStats, TableStats, TransferFilter};
pub use new::NewTransfer;

string_enum! {
    /// Where a transfer stands.
    ///
    /// `pending -> pending_approval -> approved -> in_progress -> completed | failed | cancelled`;
    /// `pending_approval -> denied | expired`; `approved -> expired` when it is not used in time; `pending -> in_progress` where no
    /// approval is needed. A transfer of a named pull that ended because the connection or a process was lost goes back to `in_progress`
    /// when the pull is resumed.
    #[non_exhaustive]
    pub enum TransferStatus("transfer status") {
        /// It was made, and has not begun.
        Pending = "pending",
        /// It waits for approval.
        PendingApproval = "pending_approval",
        /// It was approved, and may begin.
        Approved = "approved",
        /// Approval was denied.
        Denied = "denied",
        /// Nobody approved it in time, or the approval was not used in time.
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
pub(crate) enum TransferStep {
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
    pub(crate) fn after(self, step: TransferStep, requires_approval: bool) -> Result<Self> {
        use TransferStatus::*;
        use TransferStep::*;
        match (self, step) {
            (Pending, RequestApproval) => Ok(PendingApproval),
            (PendingApproval, Approve) => Ok(Approved),
            (PendingApproval, Deny) => Ok(Denied),
            (PendingApproval | Approved, Expire) => Ok(TransferStatus::Expired),
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

/// What a transfer moved so far. Later versions may add fields: end it with `..TransferCounters::default()`.
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

impl TransferCounters {
    /// Each count as it is or as it is in `other`, whichever is larger: what was moved once stays moved.
    pub(crate) fn raised_to(self, other: &TransferCounters) -> Self {
        TransferCounters {
            records_transferred: self.records_transferred.max(other.records_transferred),
            records_created: self.records_created.max(other.records_created),
            records_updated: self.records_updated.max(other.records_updated),
            records_skipped: self.records_skipped.max(other.records_skipped),
            records_failed: self.records_failed.max(other.records_failed),
            bytes_transferred: self.bytes_transferred.max(other.bytes_transferred),
        }
    }
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
    /// How far the rows of a received table are known to be the sender's.
    pub verified: Verified,
}

impl Transfer {
    /// A pending transfer that was made at this moment and of which nothing else is known.
    pub(crate) fn new(direction: Direction, table: impl Into<String>, now: OffsetDateTime) -> Self {
        Transfer {
            uuid: Uuid::now_v7(),
            direction,
            connection: None,
            session: None,
            remote_site_url: None,
            table_name: table.into(),
            records_requested: None,
            counters: TransferCounters::default(),
            conflict_strategy: None,
            status: TransferStatus::Pending,
            requires_approval: false,
            approved_at: None,
            approved_by: None,
            denied_at: None,
            denied_by: None,
            denial_reason: None,
            approval_expires_at: None,
            requester_ip: None,
            requester_user_agent: None,
            initiated_by: None,
            error_message: None,
            started_at: None,
            completed_at: None,
            metadata: Metadata::new(),
            inserted_at: now,
            verified: Verified::None,
        }
    }

    /// Whether it waits for approval, and its time to be approved is over at this moment.
    pub fn is_past_approval(&self, now: OffsetDateTime) -> bool {
        self.status == TransferStatus::PendingApproval && self.approval_expires_at.is_some_and(|at| at <= now)
    }

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

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn nothing_leads_out_of_an_end() {
        use TransferStep::*;
        let steps = [RequestApproval, Approve, Deny, Expire, Start, Complete, Fail, Cancel];
        for status in TransferStatus::ALL {
            let possible = steps.iter().filter(|step| status.after(**step, false).is_ok()).count();
            assert_eq!(possible == 0, status.is_final(), "{status}");
        }
        let kind = |status: TransferStatus, step| status.after(step, true).unwrap_err().kind();
        assert_eq!(kind(TransferStatus::Pending, Start), ErrorKind::CannotStart);
        assert_eq!(kind(TransferStatus::Completed, Start), ErrorKind::CannotStart);
        assert_eq!(kind(TransferStatus::Completed, Cancel), ErrorKind::InvalidTransition);
    }

    #[test]
    fn rate_and_duration_are_known_at_the_end() {
        let began = datetime!(2026-01-02 03:04:05 UTC);
        let mut transfer = Transfer::new(Direction::Receive, "users", began);
        assert_eq!((transfer.success_rate(), transfer.duration()), (None, None));
        transfer.counters = TransferCounters { records_transferred: 4, records_failed: 1, ..TransferCounters::default() };
        transfer.started_at = Some(began);
        transfer.completed_at = Some(began + time::Duration::seconds(90));
        assert_eq!(transfer.success_rate(), Some(0.75));
        assert_eq!(transfer.duration(), Some(time::Duration::seconds(90)));
    }

    #[test]
    fn counters_never_go_down() {
        let before = TransferCounters { records_transferred: 5, bytes_transferred: 10, ..TransferCounters::default() };
        let told = TransferCounters { records_transferred: 3, bytes_transferred: 20, ..TransferCounters::default() };
        let after = before.raised_to(&told);
        assert_eq!((after.records_transferred, after.bytes_transferred), (5, 20));
    }
}
