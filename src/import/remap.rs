//! Lets records follow parents that got new keys in the same pull.

use std::ops::Range;

use super::transaction::{Transaction, key_of_record};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::records::key_map;

/// Records after which the pull can be cancelled.
const RUN: usize = 1_000;

/// Records that follow, with the positions that they had.
pub(super) struct Remapped {
    pub(super) rows: Rows,
    pub(super) records: Vec<usize>,
}

/// The records with the values that refer to an appended parent following it; `None` where no column does. Records whose parent is
/// lost fail and are left out.
pub(super) fn remap(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<Option<Remapped>> {
    if plan.follows.is_empty() {
        return Ok(None);
    }
    let mut remapped = Remapped { rows: Rows::new(rows.width()), records: Vec::with_capacity(range.len()) };
    for row in range {
        if row % RUN == 0 {
            tx.check_cancelled()?;
        }
        let mut values: Vec<Option<Value>> = rows.row(row).map(|value| value.map(ValueRef::to_owned)).collect();
        if let Some(failure) = follow(tx, plan, rows, row, &mut values, &Some)? {
            tally.fail(failure);
            continue;
        }
        push(&mut remapped.rows, &values);
        remapped.records.push(row);
    }
    Ok(Some(remapped))
}

/// Adds a row with these values.
pub(super) fn push(rows: &mut Rows, values: &[Option<Value>]) {
    rows.start_row();
    for (at, value) in values.iter().enumerate() {
        if let Some(value) = value {
            rows.set(at, value.as_ref());
        }
    }
}

/// Sets those of a record's `values` that refer to an appended parent to its new key; `place` says where the value of an incoming
/// column stands. Gives the failure of a record whose parent was not appended: its reference must not stay, and is taken out,
/// because the row here that happens to have that key is another one, also for a unique set that the reference is part of.
pub(super) fn follow(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    row: usize,
    values: &mut [Option<Value>],
    place: &dyn Fn(usize) -> Option<usize>,
) -> Result<Option<Failure>> {
    let mut lost = None;
    for follow in &plan.follows {
        let old: Option<Vec<Value>> = follow.incoming.iter().map(|at| rows.get(row, *at).map(ValueRef::to_owned)).collect();
        let Some(old) = old.filter(|old| old.iter().all(|value| !value.is_null())) else {
            continue;
        };
        let (sql, scope) = tx.state();
        match key_map::get(sql, scope, &follow.parent, &old)? {
            Some(new) => {
                for (at, value) in follow.incoming.iter().zip(new.key) {
                    if let Some(at) = place(*at) {
                        values[at] = Some(value);
                    }
                }
            }
            None => {
                follow.incoming.iter().filter_map(|at| place(*at)).for_each(|at| values[at] = None);
                let column = follow.incoming.first().and_then(|at| plan.targets[*at]);
                lost = Some(Failure {
                    key: key_of_record(plan, rows, row),
                    column: column.map(|column| plan.table.columns[column].name.clone()),
                    reason: Reason::ForeignKey,
                    message: format!("no row of {:?} with the key {old:?} was appended", follow.parent),
                });
            }
        }
    }
    Ok(lost)
}
