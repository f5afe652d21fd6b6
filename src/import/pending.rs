//! References of written rows that no row satisfies yet.

use super::transaction::Transaction;
use super::written::Written;
use crate::domain::cells::encode;
use crate::domain::schema::ForeignKey;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::ledger::references::{self, Pending};
use crate::plan::TablePlan;
use crate::store::{Found, Lookup};

/// Notes the references of written rows that no row satisfies yet. `numbers` are those of the records in the stage.
pub(super) fn note(tx: &mut Transaction, plan: &TablePlan, stage: u32, numbers: &[i64], written: &Written) -> Result<()> {
    if written.records.is_empty() {
        return Ok(());
    }
    for (reference, key) in plan.table.foreign_keys.iter().enumerate() {
        tx.check_cancelled()?;
        let Some(cells) = plan.table.column_indexes(&key.columns) else { continue };
        let found = parents(tx, key, &cells, &written.rows)?;
        for (row, record) in written.records.iter().enumerate() {
            let values = cells.iter().map(|cell| written.rows.get(row, *cell));
            let Some(values) = values.collect::<Option<Vec<ValueRef<'_>>>>() else { continue };
            if found.has(row) || values.iter().any(|value| value.is_null()) {
                continue;
            }
            let pending = Pending { row: (stage, numbers[*record]), reference, parent: encode(values) };
            let (sql, scope) = tx.state();
            references::wait(sql, scope, pending)?;
        }
    }
    Ok(())
}

/// Looks for the rows that these refer to.
pub(super) fn parents(tx: &mut Transaction, key: &ForeignKey, cells: &[usize], rows: &Rows) -> Result<Found> {
    let columns: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
    let lookup = Lookup { table: &key.parent, columns: &columns, collations: &[], cells, read: &[] };
    let mut found = Found::default();
    if columns.len() == cells.len() {
        tx.writer.lookup(&lookup, rows, 0..rows.len(), &mut found)?;
    }
    Ok(found)
}
