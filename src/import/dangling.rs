//! Rows that refer to rows which are missing, and are kept all the same, where the caller wants that: see
//! [`Dangling`](crate::Dangling). Each is counted.
//!
//! A row that the database refuses for it is written once more, unchecked. Where references are checked when all rows of a group are there,
//! what is [broken](super::orphans) then stays.

use super::referred;
use super::transaction::{References, Transaction};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::{Dangling, Strategy};
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::Change;

/// What became of a row that was refused for what it refers to.
pub(super) enum Kept {
    /// It stays refused.
    Not,
    /// It was written, and nothing that it refers to is missing.
    Whole,
    /// It was written, and dangles.
    Dangling,
}

impl Kept {
    pub(super) fn is_dangling(&self) -> bool {
        matches!(self, Kept::Dangling)
    }
}

/// Writes a local row all the same that was refused with this failure, if it is only for want of rows that it refers to, and the plan says
/// so. Gives what it then is.
pub(super) fn keep(
    tx: &mut Transaction,
    plan: &TablePlan,
    change: Change<'_>,
    (rows, row): (&Rows, usize),
    failure: &Failure,
) -> Result<Kept> {
    // Without a column nothing is missing: rows refer to what this one has.
    if plan.dangling != Dangling::Keep || failure.reason != Reason::ForeignKey || failure.column.is_none() {
        return Ok(Kept::Not);
    }
    // What it refers to may be among the records that wait.
    if tx.references != References::Now || (plan.strategy != Strategy::Append && referred::has_late_parent(tx, plan)?) {
        return Ok(Kept::Not);
    }
    if let Change::Update { set, .. } = change {
        let referring = tx.referring(&plan.table)?;
        let mut referred = referring.iter().flat_map(|referring| &referring.key.parent_columns);
        if referred.any(|name| plan.table.column_index(name).is_some_and(|column| set.contains(&column))) {
            return Ok(Kept::Not);
        }
    }
    Ok(match tx.write_dangling(&plan.table, change, rows, row)? {
        Some(_) => Kept::Not,
        None if refers(plan, (rows, row), failure) => Kept::Dangling,
        None => Kept::Whole,
    })
}

/// Whether the row refers to something by the key that it was refused for: a key that cannot be checked refuses rows with NULL in it, too,
/// and those of its parent.
fn refers(plan: &TablePlan, (rows, row): (&Rows, usize), failure: &Failure) -> bool {
    let names = plan.table.names;
    let is_null = |name: &String| {
        let value = plan.table.column_index(name).and_then(|column| rows.get(row, column));
        value.is_some_and(ValueRef::is_null)
    };
    let is_refused = |column: &String| failure.column.as_ref().is_some_and(|refused| names.same(column, refused));
    plan.table.foreign_keys.iter().any(|key| key.columns.iter().any(is_refused) && !key.columns.iter().any(is_null))
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
        Kept::Not => tally.fail(failure),
        Kept::Whole | Kept::Dangling => {
            tally.outcome.created += 1;
            tally.outcome.dangling += u64::from(kept.is_dangling());
        }
    }
    Ok(!matches!(kept, Kept::Not))
}
