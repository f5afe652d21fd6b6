//! Applies records of which two may have one key here, though the sender tells them apart.
//!
//! The first record of the pull with such a key has the row, whatever the strategy makes of it; each later one fails. Else they
//! would change the row in turns, in every pull again. Which rows a record has is kept with the rows themselves, so that it holds over
//! transactions and runs.

use std::ops::Range;

use super::became::Became;
use super::kept_keys;
use super::row_by_row::{key_columns, may_wait, one};
use super::transaction::{Transaction, key_of_record, misfit_of};
use super::waits::key_bytes;
use super::written::{Waits, Written};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::taken_keys;
use crate::plan::TablePlan;

/// Records that are fitted together.
const RUN: usize = 64;

/// Applies records in their order, each with exactly one outcome.
pub(super) fn apply(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let key = key_columns(plan)?;
    for first in range.clone().step_by(RUN) {
        let run = first..range.end.min(first + RUN);
        let fitted = tx.fit(plan, rows, run.clone())?;
        for (number, row) in run.enumerate() {
            tx.check_cancelled()?;
            let record_key = || key_of_record(plan, rows, row);
            // One that could never become the row fails for that, also where the row is here: it is another record's.
            let misfit = misfit_of(plan, &fitted, number, record_key);
            if misfit.is_none() && is_taken(tx, plan, key, &fitted.rows, number)? {
                kept_keys::is_no_row(tx, plan, &fitted.rows, number)?;
                tally.fail(duplicate(plan, record_key()));
                continue;
            }
            let became = match (one(tx, plan, key, &fitted, number, &record_key)?, misfit) {
                (Became::Skipped { .. }, Some(misfit)) => Became::Failed(misfit),
                (became, _) => became,
            };
            if let Became::Failed(failure) = &became
                && let Some(late) = may_wait(tx, plan, written, failure)?
            {
                let key = key_bytes(tx, plan, key, &fitted.rows, number)?;
                written.wait(rows, Waits { record: row, key, late });
                continue;
            }
            if matches!(became, Became::Failed(_)) {
                kept_keys::fails(tx, plan, &fitted.rows, number)?;
            }
            if !matches!(became, Became::Failed(_) | Became::Refused(_)) {
                take(tx, plan, key, &fitted.rows, number)?;
            }
            if matches!(became, Became::Created { .. } | Became::Updated { .. }) && written.is_wanted() {
                let mut local = Rows::new(fitted.rows.width());
                local.push_rows(&fitted.rows, number..number + 1);
                written.add_keyed(tx, plan, key, row, &local)?;
            }
            became.count(tally);
        }
    }
    Ok(())
}

/// The failure of a record whose row another record has.
pub(super) fn duplicate(plan: &TablePlan, key: Vec<Value>) -> Failure {
    let table = &plan.table.name;
    let message = format!("an earlier record of the pull has the row of {table:?} with this key: the two keys are one here");
    Failure { key, column: None, reason: Reason::DuplicateKey, message }
}

/// Whether the row with a record's key is had by another one.
pub(super) fn is_taken(tx: &mut Transaction, plan: &TablePlan, key: &[usize], rows: &Rows, number: usize) -> Result<bool> {
    let Some(stands) = tx.find_by_key(&plan.table, key, key, rows, number)? else { return Ok(false) };
    let (sql, scope) = tx.state();
    taken_keys::is_taken(sql, scope, &plan.table.name, &stands)
}

/// Notes that a record has its row, by the key that it has now: an update may have set it, and a trigger may have changed it.
pub(super) fn take(tx: &mut Transaction, plan: &TablePlan, key: &[usize], rows: &Rows, number: usize) -> Result<()> {
    let stands: Vec<Value> = match tx.find_by_key(&plan.table, key, key, rows, number)? {
        Some(stands) => stands,
        None => key.iter().filter_map(|column| rows.get(number, *column)).map(ValueRef::to_owned).collect(),
    };
    let (sql, scope) = tx.state();
    taken_keys::take(sql, scope, &plan.table.name, &stands)
}
