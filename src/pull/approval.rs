//! Waiting until someone on the other side approves the tables of a pull.

use std::time::Instant;

use super::context::Context;
use super::finish;
use super::planned::{Plan, Table};
use super::progress::Phase;
use super::reporter::Reporter;
use super::verdict::{Approval, Verdict, required};
use super::wait::{Allowance, Poll, left};
use crate::error::{Error, Result};
use crate::ledger::Ledger;

/// Waits until all planned tables are approved, or denied, or the time for it is over, if the caller waits for that and
/// the sender can be asked. Tables that are not approved then fail here, and their rows are never asked for.
pub(super) fn await_approvals(cx: &mut Context<'_, '_>, ledger: &mut Ledger<'_>, plan: &mut Plan, reporter: &mut Reporter) {
    let Some(until) = cx.approval_until else {
        return;
    };
    let mut waiting: Vec<usize> = (0..plan.tables.len()).filter(|at| !plan.tables[*at].has_ended).collect();
    let mut poll = Poll::new(cx.limits.pull.approval_poll_time);
    while !waiting.is_empty() {
        let approvals = match ask(cx, plan, &waiting) {
            Ok(Some(approvals)) => approvals,
            Ok(None) => return,
            Err(error) => {
                // What is wrong is what the tables' own requests find out next.
                log::warn!(target: "rowferry::pull", "the other site could not be asked for approval: {error}");
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
                    reporter.note_wait(at, Phase::AwaitingApproval, left(cx.approval_until), table);
                }
                Some((_, error)) => refuse(cx, ledger, table, reporter, at, error),
            }
        }
        reporter.tell(cx, &plan.tables);
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
            refuse(cx, ledger, table, reporter, at, error);
        }
    }
    reporter.tell(cx, &plan.tables);
}

fn ask(cx: &mut Context<'_, '_>, plan: &Plan, tables: &[usize]) -> Result<Option<Vec<Approval>>> {
    let names: Vec<String> = tables.iter().map(|at| plan.tables[*at].name.clone()).collect();
    cx.allowance = Allowance::new(cx.limits.pull.rate_wait_time);
    cx.ask(|source, patience| source.approvals(&names, patience))
}

/// Ends a table before its rows were asked for.
fn refuse(cx: &Context<'_, '_>, ledger: &Ledger<'_>, table: &mut Table, reporter: &mut Reporter, at: usize, error: Error) {
    table.report.interrupt(error);
    finish::close(cx, ledger, table, reporter, at);
}
