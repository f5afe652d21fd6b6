//! Records to append, with what is known of them before one is written.

use std::ops::Range;

use super::new_uuid::new_uuid;
use super::remap::{Followed, follow, lost_parent};
use super::rows::key_bytes;
use super::transaction::{Transaction, key_of_record, misfit_of};
use crate::domain::cells::encode;
use crate::domain::record::Failure;
use crate::domain::strategy::Dangling;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::key_map::{Became, NewKey};
use crate::plan::{Identity, TablePlan};
use crate::store::{Fitted, KeyColumns};

/// Records to append, with what is known of them before one is written.
pub(super) struct Page<'p> {
    pub(super) plan: &'p TablePlan,
    /// As they came.
    pub(super) rows: &'p Rows,
    pub(super) range: Range<usize>,
    /// `None` where no reference follows.
    pub(super) followed: Option<Followed>,
    /// As the local table will store them, their references following.
    pub(super) fitted: Fitted,
    /// Their keys as they came, as the key map finds them.
    olds: Vec<Option<OldKey>>,
}

/// A key as it came.
pub(super) struct OldKey {
    /// As its columns compare it.
    pub(super) compared: Vec<u8>,
    /// As the sender stores it.
    stored: Vec<u8>,
}

impl<'p> Page<'p> {
    /// References of which the parents did not come may stay only where that is `dangling`, and never before all keys are made.
    pub(super) fn new(
        tx: &mut Transaction,
        plan: &'p TablePlan,
        rows: &'p Rows,
        range: Range<usize>,
        dangling: Dangling,
    ) -> Result<Self> {
        let followed = follow(tx, plan, rows, range.clone(), dangling)?;
        let fitted = match &followed {
            Some(followed) => tx.fit(plan, &followed.rows, 0..followed.rows.len())?,
            None => tx.fit(plan, rows, range.clone())?,
        };
        let olds = old_keys(tx, plan, rows, range.clone())?;
        Ok(Page { plan, rows, range, followed, fitted, olds })
    }

    pub(super) fn old(&self, number: usize) -> Option<&OldKey> {
        self.olds.get(number).and_then(Option::as_ref)
    }

    /// The key of a record, for messages.
    pub(super) fn shown_key(&self, number: usize) -> Vec<Value> {
        key_of_record(self.plan, self.rows, self.range.start + number)
    }

    /// The local values of a record.
    pub(super) fn values(&self, number: usize) -> Vec<Option<Value>> {
        self.fitted.rows.row(number).map(|value| value.map(ValueRef::to_owned)).collect()
    }

    /// Gives a record of a circle a key of its own where it would have that of its parent: the parent then follows it.
    pub(super) fn fill_in_key(&self, tx: &mut Transaction, number: usize, values: &mut [Option<Value>]) -> Result<()> {
        let Identity::Key { columns, incoming, .. } = &self.plan.identity else { return Ok(()) };
        for (column, at) in columns.iter().zip(incoming) {
            if values[*column].is_some() {
                continue;
            }
            let old = self.rows.get(self.range.start + number, *at).map(ValueRef::to_owned);
            values[*column] = match old {
                Some(Value::Integer(_)) if columns.len() == 1 => {
                    tx.next_integer(&self.plan.table, *column)?.map(Value::from)
                }
                old => old.map(|old| new_uuid(&old).unwrap_or(old)),
            };
        }
        Ok(())
    }

    /// Why a record cannot be appended whatever its key: a value does not fit.
    pub(super) fn misfit(&self, number: usize) -> Option<Failure> {
        misfit_of(self.plan, &self.fitted, number, || self.shown_key(number))
    }

    /// Why a record cannot be appended although it fits: its parent is lost.
    pub(super) fn lost(&self, number: usize) -> Option<Failure> {
        let lost = self.followed.as_ref()?.lost(number).last()?;
        Some(lost_parent(self.plan, self.rows, self.range.start + number, lost))
    }
}

/// Their own keys; none where the table has none, or a record has none of its own.
pub(super) fn old_keys(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
) -> Result<Vec<Option<OldKey>>> {
    let Identity::Key { columns, incoming, .. } = &plan.identity else { return Ok(Vec::new()) };
    let compared = tx.comparable(&KeyColumns { table: &plan.table, columns }, incoming, rows, range.clone())?;
    let old = |(number, row): (usize, usize)| {
        let compared = key_bytes(&compared, number)?;
        let stored = encode(incoming.iter().filter_map(|at| rows.get(row, *at)));
        Some(OldKey { compared, stored })
    };
    Ok(range.enumerate().map(old).collect())
}

impl OldKey {
    /// What a record with this key became.
    pub(super) fn became(&self, key: Vec<Value>, existing: bool, appended: bool) -> Became {
        let stored = (self.stored != self.compared).then(|| self.stored.clone());
        Became { old: self.compared.clone(), stored, new: NewKey { key, existing, appended } }
    }
}
