//! Applies records that meet rows by a key of the caller's choice, instead of by the primary key.
//!
//! A row that is here keeps its primary key. A new one gets the record's if no other row has it, and a new one otherwise, where one can be
//! made of its kind. A new number is above those that later records bring, as far as that is known: each record whose number was given
//! away would need another one itself. Where the two differ, the key map remembers it, so that what refers to the record follows. It also remembers a
//! record that became no row, while another row has its key: what refers to the record must not refer to that row.

use super::became::Became;
use super::kept_keys::{OldKey, fails, is_had, is_taken, kept_key, knows_now, old_key, remember};
use super::new_key::refers;
use super::new_uuid::new_uuid;
use super::remap::follow;
use super::row_by_row::one_by_identity;
use super::rows::row_of;
use super::transaction::Transaction;
use crate::domain::record::{Failure, Reason};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{KeptKey, LARGEST_NUMBER, TablePlan};
use crate::store::Fitted;

/// How many numbers are tried that rows turn out to have.
const TRIES: usize = 1_000;

/// Takes note of which numbers the records of a table bring as primary keys: those of this page, and as many as the sender announces.
pub(super) fn expect(tx: &mut Transaction, plan: &TablePlan, page: &Rows, announced: u64) {
    let Some([column]) = plan.kept_key.as_ref().map(|kept| &kept.columns[..]) else { return };
    let Some(at) = plan.targets.iter().position(|target| target == &Some(*column)) else { return };
    let numbers = (0..page.len()).filter_map(|row| match page.get(row, at) {
        Some(ValueRef::Integer(number)) => Some(number),
        _ => None,
    });
    // Larger ones are not kept clear of: too few would be left above them.
    let known = numbers.chain(i64::try_from(announced)).filter(|number| *number <= LARGEST_NUMBER);
    if let Some(largest) = known.max() {
        tx.expect_integers(&plan.table, largest);
    }
}

/// Applies one record, of which these are the fitted rows.
pub(super) fn one(
    tx: &mut Transaction,
    plan: &TablePlan,
    kept: &KeptKey,
    key: &[usize],
    fitted: &Fitted,
    number: usize,
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Became> {
    let old = old_key(tx, plan, kept, &fitted.rows, number)?;
    if let Some(stands) = tx.find_by_key(&plan.table, key, &kept.columns, &fitted.rows, number)? {
        // Whatever becomes of the row: it is the record's.
        remember(tx, plan, kept, old.as_ref(), Some(&stands), true)?;
        return one_by_identity(tx, plan, key, fitted, number, record_key);
    }
    // A record that becomes no row needs no place.
    let has_key = key.iter().all(|column| fitted.rows.get(number, *column).is_some_and(|value| !value.is_null()));
    let place = match has_key && !fitted.misfits.iter().any(|misfit| misfit.row == number) {
        true => place(tx, plan, kept, old.as_ref(), &fitted.rows, number)?,
        false => Place::Own,
    };
    let became = match place {
        Place::Taken => {
            let message = format!(
                "the row is new, and another row of {:?} has its primary key; no new one can be made of its kind",
                plan.table.name
            );
            let column = kept.columns.first().map(|column| plan.table.columns[*column].name.clone());
            Became::Failed(Failure { key: record_key(), column, reason: Reason::NoNewKey, message })
        }
        Place::Other(new) => {
            let mut values: Vec<_> = fitted.rows.row(number).map(|value| value.map(ValueRef::to_owned)).collect();
            kept.columns.iter().zip(&new).for_each(|(column, value)| values[*column] = Some(value.clone()));
            let moved = Fitted { rows: row_of(&values), misfits: Vec::new() };
            let became = one_by_identity(tx, plan, key, &moved, 0, record_key)?;
            if matches!(became, Became::Created { .. }) {
                remember(tx, plan, kept, old.as_ref(), Some(&new), false)?;
                return Ok(became);
            }
            became
        }
        Place::Own => one_by_identity(tx, plan, key, fitted, number, record_key)?,
    };
    match (&became, &old) {
        (Became::Created { .. }, Some(old)) => remember(tx, plan, kept, Some(old), Some(&old.key), false)?,
        // It may be tried again: what this pull knows of it already stays until it fails.
        (Became::Failed(_), Some(old)) if knows_now(tx, plan, old)? => {}
        _ => remember(tx, plan, kept, old.as_ref(), None, false)?,
    }
    Ok(became)
}

/// The same for a record as it came.
pub(super) fn fails_as_it_came(tx: &mut Transaction, plan: &TablePlan, rows: &Rows, row: usize) -> Result<()> {
    if kept_key(plan).is_none() {
        return Ok(());
    }
    let fitted = match follow(tx, plan, rows, row..row + 1, plan.dangling)? {
        Some(followed) => tx.fit(plan, &followed.rows, 0..1)?,
        None => tx.fit(plan, rows, row..row + 1)?,
    };
    fails(tx, plan, &fitted.rows, 0)
}

/// Where a new row can stand.
enum Place {
    /// Under the key of its record, or under one that the database gives it.
    Own,
    /// Under this one.
    Other(Vec<Value>),
    /// Nowhere: its key is taken, and there is no other.
    Taken,
}

fn place(
    tx: &mut Transaction,
    plan: &TablePlan,
    kept: &KeptKey,
    old: Option<&OldKey>,
    rows: &Rows,
    number: usize,
) -> Result<Place> {
    let Some(old) = old else { return Ok(Place::Own) };
    if !is_taken(tx, plan, kept, rows, number)? {
        return Ok(Place::Own);
    }
    if kept.columns.iter().any(|column| refers(plan, *column)) {
        return Ok(Place::Taken);
    }
    if let ([column], [Value::Integer(_)]) = (&kept.columns[..], &old.key[..]) {
        // Records may have brought larger numbers since the last one was made.
        tx.forget_integers(&plan.table);
        for _ in 0..TRIES {
            let Some(next) = tx.next_integer(&plan.table, *column)? else { break };
            if !is_had(tx, plan, kept, &[next.into()])? {
                return Ok(Place::Other(vec![next.into()]));
            }
        }
        return Ok(Place::Taken);
    }
    // One part is enough for another key.
    let mut new = old.key.clone();
    let made = new.iter_mut().find_map(|part| {
        *part = new_uuid(part)?;
        Some(())
    });
    match made.is_some() && !is_had(tx, plan, kept, &new)? {
        true => Ok(Place::Other(new)),
        false => Ok(Place::Taken),
    }
}
