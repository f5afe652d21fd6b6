//! Waiting until someone on the other side approves the tables of a pull.

use std::time::Instant;

use uuid::Uuid;

use super::TableReport;
use super::context::Context;
use super::finish;
use super::plan::{Plan, Table};
use super::progress::{Phase, Teller};
use super::wait::{Allowance, Poll};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;

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
    fn error(&self) -> Option<Error> {
        let error = match (self.verdict, &self.reason) {
            (Verdict::Granted, _) => return None,
            (Verdict::Pending, _) => required(&self.table),
            (Verdict::Denied, None) => denied(&self.table, ""),
            (Verdict::Denied, Some(reason)) => denied(&self.table, &format!(": {reason}")),
        };
        Some(match self.transfer {
            Some(transfer) => error.with_transfer(transfer),
            None => error,
        })
    }
}

fn required(table: &str) -> Error {
    let message = format!("a pull of {table:?} waits for approval on the other side");
    Error::new(ErrorKind::ApprovalRequired, message).with_hint(HINT)
}

fn denied(table: &str, why: &str) -> Error {
    let message = format!("the other side denied the pull of {table:?}{why}");
    Error::new(ErrorKind::ApprovalDenied, message).with_hint("Ask whoever runs the other site.")
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

/// Waits until all planned tables are approved, or denied, or the time for it is over, if the caller waits for that and
/// the sender can be asked. Tables that are not approved then fail here, and their rows are never asked for.
pub(super) fn await_approvals(cx: &mut Context<'_, '_>, ledger: &mut Ledger<'_>, plan: &mut Plan, teller: &mut Teller) {
    let Some(until) = cx.approval_until else {
        return;
    };
    let mut waiting: Vec<usize> = (0..plan.tables.len()).filter(|at| !plan.tables[*at].has_ended).collect();
    let mut poll = Poll::new(cx.limits.approval_poll_time);
    while !waiting.is_empty() {
        let approvals = match ask(cx, plan, &waiting) {
            Ok(Some(approvals)) => approvals,
            Ok(None) => return,
            Err(error) => {
                // What is wrong is what the tables' own requests find out next.
                log::warn!("the other site could not be asked for approval: {error}");
                return;
            }
        };
        for at in std::mem::take(&mut waiting) {
            let table = &mut plan.tables[at];
            let approval = approvals.iter().find(|approval| approval.table == table.name);
            match approval.and_then(|approval| Some((approval.verdict, approval.error()?))) {
                None => {}
                Some((Verdict::Pending, error)) => {
                    table.report.approval = error.transfer();
                    waiting.push(at);
                    teller.note(at, Phase::AwaitingApproval, table);
                }
                Some((_, error)) => refuse(cx, ledger, table, teller, at, error),
            }
        }
        teller.tell(&mut cx.options.progress, &plan.tables);
        ledger.keep_alive();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || waiting.is_empty() {
            break;
        }
        if let Err(error) = poll.pause(&cx.patience, Some(until)) {
            cx.note_loss(&error);
            break;
        }
    }
    // One that was interrupted says so when its turn comes.
    if cx.lost.is_none() {
        for at in waiting {
            let table = &mut plan.tables[at];
            let error = match table.report.approval {
                Some(transfer) => required(&table.name).with_transfer(transfer),
                None => required(&table.name),
            };
            refuse(cx, ledger, table, teller, at, error);
        }
    }
    teller.tell(&mut cx.options.progress, &plan.tables);
}

fn ask(cx: &mut Context<'_, '_>, plan: &Plan, tables: &[usize]) -> Result<Option<Vec<Approval>>> {
    let names: Vec<String> = tables.iter().map(|at| plan.tables[*at].name.clone()).collect();
    cx.allowance = Allowance::new(cx.limits.rate_wait_time);
    cx.ask(|source, patience| source.approvals(&names, patience))
}

/// Ends a table before its rows were asked for.
fn refuse(cx: &Context<'_, '_>, ledger: &Ledger<'_>, table: &mut Table, teller: &mut Teller, at: usize, error: Error) {
    table.report.interrupt(error);
    finish::close(cx, ledger, table, teller, at);
}
