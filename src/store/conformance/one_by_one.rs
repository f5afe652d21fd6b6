//! What becomes of a record, by the primitives of a writer alone: with this the cases fill their tables, and a bulk apply is
//! compared with it. It shares nothing with the importer, so that neither hides a fault of the other.

use std::ops::Range;

use super::harness::tally;
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::decide::{Decision, decide};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, Fitted, Found, Lookup, Writer};

/// Applies records in their order, each on its own. Where the table has no key each becomes a new row.
pub(crate) fn apply_one_by_one(writer: &mut dyn Writer, plan: &TablePlan, rows: &Rows) -> Result<Outcome> {
    let mut tally = tally();
    apply_each(writer, plan, rows, 0..rows.len(), &mut tally)?;
    Ok(tally.outcome)
}

/// The same with the records of a range.
pub(crate) fn apply_each(
    writer: &mut dyn Writer,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<()> {
    let mut fitted = Fitted::default();
    for row in range {
        writer.fit(plan, rows, row..row + 1, &mut fitted)?;
        assert_eq!(fitted.rows.len(), 1, "a record was fitted into another number of rows");
        let outcome = &mut tally.outcome;
        match one(writer, plan, &fitted)? {
            Became::Created => outcome.created += 1,
            Became::Updated => outcome.updated += 1,
            Became::Unchanged => outcome.unchanged += 1,
            Became::Skipped { differs } => {
                outcome.skipped += 1;
                outcome.differing += u64::from(differs);
            }
            Became::Failed { reason, column, message } => {
                tally.fail(Failure { key: key_of_record(plan, rows, row), column, reason, message });
            }
        }
    }
    Ok(())
}

enum Became {
    Created,
    Updated,
    Unchanged,
    Skipped { differs: bool },
    Failed { reason: Reason, column: Option<String>, message: String },
}

fn one(writer: &mut dyn Writer, plan: &TablePlan, fitted: &Fitted) -> Result<Became> {
    let (table, rows) = (&plan.table, &fitted.rows);
    let key: &[usize] = match &plan.identity {
        Identity::Key { columns, .. } => columns,
        Identity::WholeRow => &[],
    };
    let name = |column: usize| Some(table.columns[column].name.clone());
    if let Some(column) = key.iter().find(|column| rows.get(0, **column).is_none_or(ValueRef::is_null)) {
        let message = "a part of the key is missing".to_owned();
        return Ok(Became::Failed { reason: Reason::MissingKey, column: name(*column), message });
    }
    if let Some(misfit) = fitted.misfits.first() {
        // A row that is there is skipped whatever else the record holds.
        let key_fits = !key.is_empty() && !fitted.misfits.iter().any(|misfit| key.contains(&misfit.column));
        if plan.strategy == Strategy::Skip && key_fits && find(writer, table, key, &[], rows)?.is_some() {
            return Ok(Became::Skipped { differs: true });
        }
        let message = misfit.message.clone();
        return Ok(Became::Failed { reason: misfit.reason, column: name(misfit.column), message });
    }
    let present: Vec<usize> = (0..rows.width()).filter(|column| rows.get(0, *column).is_some()).collect();
    let existing = if key.is_empty() { None } else { find(writer, table, key, &present, rows)? };
    let decision = existing.map(|existing| {
        let existing: Vec<_> = existing.iter().map(Value::as_ref).collect();
        let incoming: Vec<_> = present.iter().map(|column| rows.get(0, *column)).collect();
        decide(plan.strategy, &existing, &incoming)
    });
    let mut refused = Vec::new();
    let became = match decision {
        Some(Decision::Skip { differs }) => return Ok(Became::Skipped { differs }),
        Some(Decision::Unchanged) => return Ok(Became::Unchanged),
        Some(Decision::Update(changed)) => {
            let set: Vec<usize> = changed.iter().map(|at| present[*at]).collect();
            writer.write(table, Change::Update { key, set: &set }, rows, 0..1, &mut refused)?;
            Became::Updated
        }
        None => {
            writer.write(table, Change::Insert, rows, 0..1, &mut refused)?;
            Became::Created
        }
    };
    assert!(refused.len() <= 1, "one row was refused more than once: {refused:?}");
    Ok(refused.pop().map_or(became, |refused| Became::Failed {
        reason: refused.reason,
        column: refused.column,
        message: refused.message,
    }))
}

/// The columns at `read` of the row whose key, the columns at `by`, is as in the first of these local rows.
fn find(
    writer: &mut dyn Writer,
    table: &TableSchema,
    by: &[usize],
    read: &[usize],
    rows: &Rows,
) -> Result<Option<Vec<Value>>> {
    let names = |columns: &[usize]| columns.iter().map(|column| table.columns[*column].name.as_str()).collect::<Vec<_>>();
    let collations = table.key_collations_of(by);
    let lookup = Lookup { table: &table.name, columns: &names(by), collations: &collations, cells: by, read: &names(read) };
    let mut found = Found::default();
    writer.lookup(&lookup, rows, 0..1, &mut found)?;
    Ok(found.get(0).map(|values| values.into_iter().map(ValueRef::to_owned).collect()))
}

/// The key that a record came with.
fn key_of_record(plan: &TablePlan, rows: &Rows, row: usize) -> Vec<Value> {
    match &plan.identity {
        Identity::Key { incoming, .. } => {
            incoming.iter().filter_map(|at| rows.get(row, *at)).map(ValueRef::to_owned).collect()
        }
        Identity::WholeRow => Vec::new(),
    }
}
