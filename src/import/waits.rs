//! Which records wait for others of their table or of other tables, and how they are kept: see [`exchange`](super::exchange) and
//! [`late`](super::late).

use super::transaction::Transaction;
use super::written::Written;
use crate::domain::cells::{encode, whole};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::stages::Stage;
use crate::ledger::waiting;
use crate::plan::TablePlan;

/// The key of the row that a local row changes or becomes, as bytes: as it is stored, if it is.
pub(super) fn key_bytes(tx: &mut Transaction, plan: &TablePlan, key: &[usize], rows: &Rows, row: usize) -> Result<Vec<u8>> {
    if let Some(stored) = tx.find_by_key(&plan.table, key, key, rows, row)? {
        return Ok(bytes(&stored));
    }
    Ok(bytes(&key.iter().map(|at| rows.get(row, *at).unwrap_or(ValueRef::Null).to_owned()).collect::<Vec<_>>()))
}

/// A key as bytes. A number is the same in either class: a record may change the class of the number that is there.
pub(super) fn bytes(key: &[Value]) -> Vec<u8> {
    encode(key.iter().map(|value| whole(value.as_ref())))
}

/// Keeps the records that have to wait. `numbers` are those of the records in the table's stage, if they come from there.
pub(super) fn keep(tx: &mut Transaction, plan: &TablePlan, stage: &Stage, numbers: &[i64], written: &Written) -> Result<()> {
    let Some((rows, waiting)) = written.waiting() else { return Ok(()) };
    for (row, waits) in waiting.iter().enumerate() {
        let number = numbers.get(waits.record).copied().unwrap_or(0);
        let late = waits.late.then_some(plan.table.name.as_str());
        waiting::add(tx.state().0, stage, (rows, row), &waits.key, number, late)?;
    }
    Ok(())
}
