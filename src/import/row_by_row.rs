//! Applies records that are identified by a key: in bulk where the store can, and otherwise one by one.
//!
//! One by one a record's row is looked up, the strategy decides, and the row is written. So each record has its own outcome, and
//! one that is refused takes no other with it; one that
//! another row keeps out by a unique value may [wait](super::exchange). A store's bulk apply does the same to many at once.

use std::ops::Range;

use super::became::Became;
use super::dangling::{self, Kept};
use super::rule::{self, Answer};
use super::transaction::{Transaction, key_of_record, misfit_of};
use super::waits::key_bytes;
use super::written::{Waits, Written};
use super::{by_key, kept_keys, referred};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::decide::{Decision, decide, newer};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, Fitted};

/// The most records that are applied one by one before the store is asked again.
const ALONE: usize = 64;

/// Applies records in their order, each with exactly one outcome.
pub(super) fn apply(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let Range { start: mut next, end } = range;
    let mut alone = 1;
    while next < end {
        tx.check_cancelled()?;
        let run = next..end.min(next + tx.bulk_run());
        let applied = match plan.may_be_bulk() {
            true => tx.apply_bulk(plan, rows, run.clone(), tally)?,
            false => 0,
        };
        next += applied;
        if applied > 0 {
            alone = 1;
        }
        // The store left the next one to us. Where it does so again and again, it is asked less often.
        let left = next..run.end.min(next + alone);
        next = left.end;
        alone = if applied > 0 { 1 } else { (alone * 2).min(ALONE) };
        one_by_one(tx, plan, rows, left, tally, written)?;
    }
    Ok(())
}

fn one_by_one(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let key = key_columns(plan)?;
    let fitted = tx.fit(plan, rows, range.clone())?;
    for (number, row) in range.enumerate() {
        if number > 0 {
            tx.check_cancelled()?;
        }
        match one(tx, plan, key, &fitted, number, &|| key_of_record(plan, rows, row))? {
            Became::Failed(failure) => match may_wait(tx, plan, written, &failure)? {
                Some(late) => {
                    let key = key_bytes(tx, plan, key, &fitted.rows, number)?;
                    written.wait(rows, Waits { record: row, key, late });
                }
                None => {
                    kept_keys::fails(tx, plan, &fitted.rows, number)?;
                    tally.fail(failure);
                }
            },
            became => became.count(tally),
        }
    }
    Ok(())
}

/// Whether a record that was refused waits, and if so, whether for other tables.
pub(super) fn may_wait(
    tx: &mut Transaction,
    plan: &TablePlan,
    written: &Written,
    failure: &Failure,
) -> Result<Option<bool>> {
    if !written.may_wait() {
        return Ok(None);
    }
    let late = referred::may_come_right(tx, plan, failure)?;
    Ok((late || failure.reason == Reason::UniqueConflict).then_some(late))
}

/// The columns of the key that records are applied by.
pub(super) fn key_columns(plan: &TablePlan) -> Result<&[usize]> {
    match &plan.identity {
        Identity::Key { columns, .. } => Ok(columns),
        Identity::WholeRow => {
            let message = format!("the table {:?} has no key to apply records by", plan.table.name);
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}

/// Applies one record, of which these are the fitted rows.
pub(super) fn one(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    fitted: &Fitted,
    number: usize,
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Became> {
    match plan.kept_key.as_ref().filter(|kept| !kept.columns.is_empty()) {
        None => one_by_identity(tx, plan, key, fitted, number, record_key),
        Some(kept) => by_key::one(tx, plan, kept, key, fitted, number, record_key),
    }
}

/// The same by the plan's key alone.
pub(super) fn one_by_identity(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    fitted: &Fitted,
    number: usize,
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Became> {
    let rows = &fitted.rows;
    for column in key {
        let found = rows.get(number, *column);
        if found.is_none_or(ValueRef::is_null) {
            let name = &plan.table.columns[*column].name;
            let what = if found.is_some() { "NULL" } else { "nothing" };
            let message = format!("the record has {what} for {name:?}, which is part of the key");
            let (reason, column) = (Reason::MissingKey, Some(name.clone()));
            return Ok(Became::Failed(Failure { key: record_key(), column, reason, message }));
        }
    }
    if let Some(failure) = misfit_of(plan, fitted, number, record_key) {
        // What would not be written need not fit: only the key must.
        let mut misfits = fitted.misfits.iter().filter(|misfit| misfit.row == number);
        let key_fits = misfits.all(|misfit| !key.contains(&misfit.column));
        if plan.strategy == Strategy::Skip && key_fits && tx.find_by_key(&plan.table, key, &[], rows, number)?.is_some() {
            return Ok(Became::Skipped { differs: true });
        }
        return Ok(Became::Failed(failure));
    }
    let is_compared = |column: &usize| rows.get(number, *column).is_some() && !plan.keeps(*column);
    let present: Vec<usize> = (0..rows.width()).filter(is_compared).collect();
    let Some(existing) = tx.find_by_key(&plan.table, key, &present, rows, number)? else {
        return write(tx, plan, Change::Insert, (rows, number), record_key);
    };
    let decision = {
        let existing: Vec<ValueRef<'_>> = existing.iter().map(Value::as_ref).collect();
        let incoming: Vec<_> = present.iter().map(|column| rows.get(number, *column)).collect();
        match decide(plan.strategy, &existing, &incoming) {
            Decision::Update(_) if !is_newer(plan, &present, &existing, &incoming) => Decision::Skip { differs: true },
            decision => decision,
        }
    };
    let set: Vec<usize> = match decision {
        Decision::Skip { differs } => return Ok(Became::Skipped { differs }),
        Decision::Unchanged => return Ok(Became::Unchanged),
        Decision::Update(changed) => changed.iter().map(|at| present[*at]).collect(),
    };
    let present_now = present.iter().zip(&existing);
    match rule::ask(tx, plan, key, (rows, number), record_key)? {
        Answer::Became(became) => Ok(became),
        Answer::Take => update(tx, plan, key, &set, (rows, number), present_now, record_key),
        // What another row keeps out is not tried again: the rule would be asked again.
        Answer::Set(row, set) => match update(tx, plan, key, &set, (&row, 0), present_now, record_key)? {
            Became::Failed(failure) => Ok(Became::Refused(failure)),
            became => Ok(became),
        },
    }
}

/// Whether a record may change its row, which has these values, because it is newer.
fn is_newer(plan: &TablePlan, present: &[usize], existing: &[ValueRef<'_>], incoming: &[Option<ValueRef<'_>>]) -> bool {
    let Some(column) = plan.newer_by else { return true };
    // A record that lacks the column is as old as can be.
    let at = present.iter().position(|at| *at == column);
    at.and_then(|at| Some((existing[at], incoming[at]?))).is_some_and(|(old, new)| newer(old, new))
}

/// Changes these columns of a row that is here.
fn update<'v>(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    set: &[usize],
    (rows, number): (&Rows, usize),
    existing: impl Iterator<Item = (&'v usize, &'v Value)>,
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Became> {
    if let Some(message) = referred::must_wait(tx, plan, key, set)? {
        return Ok(Became::Failed(Failure { key: record_key(), column: None, reason: Reason::ForeignKey, message }));
    }
    let record: Vec<Value> = key.iter().filter_map(|at| rows.get(number, *at)).map(ValueRef::to_owned).collect();
    referred::note_renamed(tx, plan, set, existing, &record)?;
    write(tx, plan, Change::Update { key, set }, (rows, number), record_key)
}

fn write(
    tx: &mut Transaction,
    plan: &TablePlan,
    change: Change<'_>,
    (rows, number): (&Rows, usize),
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Became> {
    let became = |dangling| match change {
        Change::Insert => Became::Created { dangling },
        Change::Update { .. } => Became::Updated { dangling },
    };
    match tx.write(&plan.table, change, rows, number)? {
        None => Ok(became(false)),
        Some(refused) if refused.is_left_out => Ok(Became::Skipped { differs: false }),
        Some(refused) => {
            let failure = tx.failure_of(plan, record_key(), (rows, number), refused)?;
            match dangling::keep(tx, plan, change, (rows, number), &failure)? {
                Kept::Not => Ok(Became::Failed(failure)),
                kept => Ok(became(kept.is_dangling())),
            }
        }
    }
}
