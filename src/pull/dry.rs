//! A dry run: everything is tried in one transaction that is not committed.

use super::apply::Apply;
use super::context::Context;
use super::finish::{self, Gathered};
use super::hold::{all_are_staged, waits};
use super::plan::{MadeAgain, made_again, make_again};
use super::planned::Plan;
use super::reporter::Reporter;
use super::rounds::with_session;
use crate::error::{Error, Result};
use crate::import::late::{self, Late};
use crate::import::{Finish, Staged, Transaction, apply_group};
use crate::ledger::Ledger;

/// The staged tables of a group, by their positions.
struct StagedGroup {
    at: Vec<usize>,
    tables: Vec<Staged>,
    deferred: bool,
}

/// Tries everything. What would become of each table stands in its report.
pub(super) fn run(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    plan: &mut Plan,
    reporter: &mut Reporter,
    gathered: &mut Gathered,
) {
    let groups = plan.groups.clone();
    let mut staged: Vec<StagedGroup> = Vec::new();
    let fetched = with_session(cx, ledger, &mut plan.tables, &groups, |cx, ledger, tables, session| {
        let mut apply = Apply::new(cx, ledger, tables, reporter, session, gathered);
        for group in &groups {
            let (at, tables) = apply.stage_group(group).into_iter().unzip();
            staged.push(StagedGroup { at, tables, deferred: group.deferred });
        }
    });
    let began = fetched.and_then(|()| Transaction::begin(ledger));
    let mut tx = match began {
        Ok(tx) => tx,
        Err(error) => {
            let failed = Err(error);
            for group in &mut staged {
                finish::staged(cx, ledger, &mut plan.tables, reporter, gathered, (&group.at, &mut group.tables, &failed));
            }
            return;
        }
    };
    let mut applied: Vec<Result<()>> = Vec::with_capacity(staged.len());
    let made = made_again(cx, &plan.tables);
    for group in &mut staged {
        let tried = try_group(cx, ledger, (plan, &made), &mut tx, group);
        if let Err(error) = &tried {
            // Those that refer to them wait, as they would.
            for at in &group.at {
                plan.tables[*at].report.error = Some(error.clone());
            }
        }
        applied.push(tried);
    }
    // The database is locked until all is tried: only then the caller is told.
    let good = staged.iter().zip(&applied).filter(|(_, applied)| applied.is_ok());
    let mut late: Vec<(usize, Late)> = good
        .flat_map(|(group, _)| group.at.iter().zip(&group.tables))
        .filter_map(|(at, table)| Some((*at, table.late()?)))
        .collect();
    let tried = match late.is_empty() {
        true => Ok(()),
        false => {
            let mut waiting: Vec<&mut Late> = late.iter_mut().map(|(_, late)| late).collect();
            late::apply(ledger, &mut tx, &mut waiting, Finish::Keep)
        }
    };
    drop(tx);
    for (group, applied) in staged.iter_mut().zip(&applied) {
        finish::staged(cx, ledger, &mut plan.tables, reporter, gathered, (&group.at, &mut group.tables, applied));
    }
    finish::late(cx, ledger, &mut plan.tables, reporter, gathered, (&mut late, &tried));
    reporter.tell(cx, &plan.tables);
}

fn try_group(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    (plan, made): (&Plan, &MadeAgain),
    tx: &mut Transaction,
    group: &mut StagedGroup,
) -> Result<()> {
    if group.at.is_empty() {
        return Ok(());
    }
    if let Some(error) = waits(cx, ledger, &plan.tables, &group.at) {
        return Err(error);
    }
    all_are_staged(cx, ledger, &plan.tables, &group.at)?;
    for at in group.at.iter().filter(|at| plan.tables[**at].made.is_some()) {
        cx.patience.check("making tables")?;
        make_again(cx, tx.writer(), made, &plan.tables[*at])?;
    }
    let tried = apply_group(ledger, tx, &mut group.tables, group.deferred, Finish::Keep);
    tried.inspect_err(|_: &Error| {
        // The groups after it are tried without its rows.
        if let Err(error) = tx.take_back() {
            log::warn!(target: "rowferry::pull", "a dry run continues with rows of a group that failed: {error}");
        }
    })
}
