//! Gives each record to what can apply it: by its key, by its content, or as a new row.

use std::ops::Range;

use super::append::{self, Keys};
use super::received::Received;
use super::transaction::Transaction;
use super::written::{Before, Written};
use super::{lossy, multiset, numerals, remap, row_by_row, taken};
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::ledger::stages::{self, Stage};
use crate::plan::{Identity, TablePlan};

/// What is done with rows of a keyed table whose key has NULL in it. They are applied after all others.
#[derive(Clone, Copy)]
pub(super) enum NullKeys<'a> {
    /// They wait in this stage.
    Stage(&'a Stage),
    /// They are left out: another pass over the same rows applies them.
    Leave,
    /// Only they are applied: the local ones were counted.
    Only,
}

/// Gives each row to what can apply it.
pub(super) fn route(
    tx: &mut Transaction,
    plan: &TablePlan,
    keys: Keys,
    nulls: NullKeys<'_>,
    rows: &Rows,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    tx.compare_table(plan)?;
    // Of another pass over the same rows nothing is counted again.
    let counts = if let NullKeys::Only = nulls { None } else { Some(&mut *tally) };
    let rows = &*numerals::read(plan, rows);
    let rows = &*lossy::replace(tx, plan, rows, counts)?;
    if plan.strategy == Strategy::Append {
        return append::append(tx, plan, keys, rows, 0..rows.len(), tally, written);
    }
    match &plan.identity {
        Identity::WholeRow => apply(tx, plan, Way::Multiset, rows, 0..rows.len(), tally, written),
        Identity::Key { nullable: false, .. } => apply(tx, plan, Way::Keyed, rows, 0..rows.len(), tally, written),
        Identity::Key { incoming, .. } => {
            for (range, has_null) in runs(rows, incoming) {
                match (has_null, nulls) {
                    (true, NullKeys::Stage(stage)) => stages::append(tx.state().0, stage, rows, range)?,
                    (true, NullKeys::Only) => apply(tx, plan, Way::Multiset, rows, range, tally, written)?,
                    (true, NullKeys::Leave) | (false, NullKeys::Only) => {}
                    (false, _) => apply(tx, plan, Way::Keyed, rows, range, tally, written)?,
                }
            }
            Ok(())
        }
    }
}

/// What tells rows from each other.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Keyed,
    Multiset,
}

/// Applies records that keep their keys; those that refer to appended rows follow them first.
pub(super) fn apply(
    tx: &mut Transaction,
    plan: &TablePlan,
    way: Way,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let Some(remapped) = remap::remap(tx, plan, rows, range.clone(), tally)? else {
        return apply_remapped(tx, plan, way, rows, range, tally, written);
    };
    let mut of_remapped = written.of_same_table();
    if remapped.records.len() < range.len() {
        of_remapped.received = Received::unknown();
    }
    let range = 0..remapped.rows.len();
    apply_remapped(tx, plan, way, &remapped.rows, range, tally, &mut of_remapped)?;
    written.extend(of_remapped, &remapped.records);
    Ok(())
}

fn apply_remapped(
    tx: &mut Transaction,
    plan: &TablePlan,
    way: Way,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    if let Way::Keyed = way {
        written.received.add(plan, rows, range.clone());
    }
    match way {
        Way::Multiset => multiset::apply(tx, plan, rows, range, tally, written),
        Way::Keyed if plan.keys_may_meet => taken::apply(tx, plan, rows, range, tally, written),
        Way::Keyed if !written.is_wanted() => row_by_row::apply(tx, plan, rows, range, tally, written),
        Way::Keyed => {
            // A bulk apply does not say which rows it wrote: they are those that refer to something else now.
            let fitted = tx.fit(plan, rows, range.clone())?;
            let before = Before::look(tx, plan, fitted, written)?;
            row_by_row::apply(tx, plan, rows, range.clone(), tally, written)?;
            before.compare(tx, plan, range.start, written)
        }
    }
}

/// Runs of rows with and without NULL in these columns. A row that lacks one of them counts as without: it has no key at all.
pub(super) fn runs(rows: &Rows, columns: &[usize]) -> Vec<(Range<usize>, bool)> {
    let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
    for row in 0..rows.len() {
        let key = || columns.iter().map(|at| rows.get(row, *at));
        let has_null = key().all(|cell| cell.is_some()) && key().flatten().any(ValueRef::is_null);
        match runs.last_mut() {
            Some((range, same)) if *same == has_null => range.end = row + 1,
            _ => runs.push((row..row + 1, has_null)),
        }
    }
    runs
}
