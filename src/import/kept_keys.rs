//! What the key map knows of records that met their rows by a chosen key, while the rows keep their primary keys.

use super::rows::{key_bytes, row_of};
use super::transaction::Transaction;
use crate::domain::cells::encode;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::key_map::{Became as NewKeyOf, NewKey};
use crate::plan::{Identity, KeptKey, TablePlan};
use crate::store::KeyColumns;

/// Notes that a record fails, of which these are the fitted rows: it is the row that has its key, or none.
pub(super) fn fails(tx: &mut Transaction, plan: &TablePlan, rows: &Rows, number: usize) -> Result<()> {
    let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(()) };
    let Some(kept) = kept_key(plan) else { return Ok(()) };
    let old = old_key(tx, plan, kept, rows, number)?;
    let stands = tx.find_by_key(&plan.table, key, &kept.columns, rows, number)?;
    remember(tx, plan, kept, old.as_ref(), stands.as_deref(), true)
}

/// Notes that a record became no row, although one has its key: it is another record's.
pub(super) fn is_no_row(tx: &mut Transaction, plan: &TablePlan, rows: &Rows, number: usize) -> Result<()> {
    let Some(kept) = kept_key(plan) else { return Ok(()) };
    let old = old_key(tx, plan, kept, rows, number)?;
    remember(tx, plan, kept, old.as_ref(), None, false)
}

pub(super) fn kept_key(plan: &TablePlan) -> Option<&KeptKey> {
    plan.kept_key.as_ref().filter(|kept| !kept.columns.is_empty())
}

/// Whether the key map knows from this pull what a record became.
pub(super) fn knows_now(tx: &mut Transaction, plan: &TablePlan, old: &OldKey) -> Result<bool> {
    if !tx.has_moved(&plan.table)? {
        return Ok(false);
    }
    tx.key_map(&plan.table)?;
    Ok(tx.known_key(&plan.table, &old.compared)?.is_some_and(|known| !known.earlier))
}

/// The primary key that a record came with.
pub(super) struct OldKey {
    /// As it would be stored.
    pub(super) key: Vec<Value>,
    /// As its columns compare it.
    pub(super) compared: Vec<u8>,
}

/// `None` if the record has none of its own.
pub(super) fn old_key(
    tx: &mut Transaction,
    plan: &TablePlan,
    kept: &KeptKey,
    rows: &Rows,
    number: usize,
) -> Result<Option<OldKey>> {
    let columns = KeyColumns { table: &plan.table, columns: &kept.columns };
    let compared = tx.comparable(&columns, &kept.columns, rows, number..number + 1)?;
    let Some(compared) = key_bytes(&compared, 0) else { return Ok(None) };
    let key = kept.columns.iter().filter_map(|column| rows.get(number, *column)).map(ValueRef::to_owned).collect();
    Ok(Some(OldKey { key, compared }))
}

pub(super) fn is_taken(tx: &mut Transaction, plan: &TablePlan, kept: &KeptKey, rows: &Rows, number: usize) -> Result<bool> {
    Ok(tx.find_by_key(&plan.table, &kept.columns, &[], rows, number)?.is_some())
}

pub(super) fn is_had(tx: &mut Transaction, plan: &TablePlan, kept: &KeptKey, key: &[Value]) -> Result<bool> {
    let mut values = vec![None; plan.table.columns.len()];
    kept.columns.iter().zip(key).for_each(|(column, value)| values[*column] = Some(value.clone()));
    is_taken(tx, plan, kept, &row_of(&values), 0)
}

/// Remembers which key the row of a record has, where it is another than the record's; without one, that it became no row.
pub(super) fn remember(
    tx: &mut Transaction,
    plan: &TablePlan,
    kept: &KeptKey,
    old: Option<&OldKey>,
    new: Option<&[Value]>,
    existing: bool,
) -> Result<()> {
    let Some(old) = old else { return Ok(()) };
    let known = tx.known_key(&plan.table, &old.compared)?;
    let is_same =
        |new: &[Value]| new.len() == old.key.len() && new.iter().zip(&old.key).all(|(a, b)| a.as_ref().same(b.as_ref()));
    let is_own = match new {
        Some(new) => is_same(new),
        // Nothing else has its key: what refers to it refers to nothing.
        None => !is_had(tx, plan, kept, &old.key)?,
    };
    // Where an earlier pull found that another record is this row, it is to be told from it.
    let is_claimed = is_own && new.is_some() && tx.is_moved_to(&plan.table, &encode(old.key.iter().map(Value::as_ref)))?;
    if is_own && !is_claimed {
        return match known {
            Some(known) if !known.new.appended => tx.forget_moved(&plan.table, &old.compared),
            _ => Ok(()),
        };
    }
    let key = new.unwrap_or_default().to_vec();
    if known.is_some_and(|known| !known.new.appended && known.new.key == key) {
        return Ok(());
    }
    let stored = encode(old.key.iter().map(Value::as_ref));
    let stored = (stored != old.compared).then_some(stored);
    let new = NewKey { key, existing, appended: false };
    tx.remember_moved(&plan.table, NewKeyOf { old: old.compared.clone(), stored, new })
}
