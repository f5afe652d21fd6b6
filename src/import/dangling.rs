//! Rows that refer to rows which are missing, and are kept all the same, where the caller wants that: see
//! [`Dangling`](crate::Dangling). Each is counted.
//!
//! A row that the database refuses for it is written once more, unchecked. Where references are checked when all rows of a group are there,
//! what is [broken](super::orphans) then stays.

use super::referred;
use super::transaction::{References, Transaction};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::{Dangling, Strategy};
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::Change;

/// Writes a local row all the same that was refused with this failure, if it is only for want of rows that it refers to, and the plan says
/// so. Gives whether it was written.
pub(super) fn keep(
    tx: &mut Transaction,
    plan: &TablePlan,
    change: Change<'_>,
    (rows, row): (&Rows, usize),
    failure: &Failure,
) -> Result<bool> {
    // Without a column nothing is missing: rows refer to what this one has.
    if plan.dangling != Dangling::Keep || failure.reason != Reason::ForeignKey || failure.column.is_none() {
        return Ok(false);
    }
    // What it refers to may be among the records that wait.
    if tx.references != References::Now || (plan.strategy != Strategy::Append && referred::has_late_parent(tx, plan)?) {
        return Ok(false);
    }
    if let Change::Update { set, .. } = change {
        let referring = tx.referring(&plan.table)?;
        let mut referred = referring.iter().flat_map(|referring| &referring.key.parent_columns);
        if referred.any(|name| plan.table.column_index(name).is_some_and(|column| set.contains(&column))) {
            return Ok(false);
        }
    }
    tx.write_dangling(&plan.table, change, rows, row).map(|refused| refused.is_none())
}

/// The same for a new row, which is counted as created or failed.
pub(super) fn keep_new(
    tx: &mut Transaction,
    plan: &TablePlan,
    local: (&Rows, usize),
    failure: Failure,
    tally: &mut Tally,
) -> Result<bool> {
    let kept = keep(tx, plan, Change::Insert, local, &failure)?;
    match kept {
        true => {
            tally.outcome.created += 1;
            tally.outcome.dangling += 1;
        }
        false => tally.fail(failure),
    }
    Ok(kept)
}
