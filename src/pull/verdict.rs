//! How the sender stands to a pull of a table.

use uuid::Uuid;

use super::TableReport;
use crate::error::{Error, ErrorKind};

/// What to do about a table that waits for approval.
const HINT: &str = "When the other site has approved it, pull again.";

/// How the sender stands to a pull of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approval {
    /// The table.
    pub(crate) table: String,
    pub(crate) verdict: Verdict,
    /// The sender's transfer, which is approved or denied there.
    pub(crate) transfer: Option<Uuid>,
    /// Why it was denied.
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "only a client hears of approvals"))]
pub(crate) enum Verdict {
    Granted,
    Pending,
    Denied,
}

impl Approval {
    /// Why the table cannot be pulled now; `None` if it can.
    pub(super) fn error(&self) -> Option<Error> {
        let error = match (self.verdict, &self.reason) {
            (Verdict::Granted, _) => return None,
            (Verdict::Pending, _) => required(&self.table),
            (Verdict::Denied, None) => denied(&self.table, ""),
            (Verdict::Denied, Some(reason)) => denied(&self.table, &format!(": {reason}")),
        };
        let error = error.by_peer();
        Some(match self.transfer {
            Some(transfer) => error.with_transfer(transfer),
            None => error,
        })
    }
}

pub(super) fn required(table: &str) -> Error {
    let message = format!("a pull of {table:?} waits for approval on the other side");
    Error::new(ErrorKind::ApprovalRequired, message).with_hint(HINT)
}

fn denied(table: &str, why: &str) -> Error {
    let message = format!("the other side denied the pull of {table:?}{why}");
    Error::new(ErrorKind::ApprovalDenied, message).with_hint("Ask those who run the other site.")
}

/// The report of a table that the sender refused says which of its transfers that is about.
pub(super) fn note(report: &mut TableReport) {
    let Some(error) = report.error.take() else {
        return;
    };
    report.error = Some(match error.kind() {
        ErrorKind::ApprovalRequired => {
            report.approval = error.transfer();
            error.with_hint(HINT)
        }
        ErrorKind::ApprovalDenied | ErrorKind::ApprovalExpired => {
            report.approval = error.transfer();
            error
        }
        _ => error,
    });
}
