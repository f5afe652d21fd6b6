//! Rows of other tables that refer to what a row has: which records must wait for them, and what is still referred to.

use std::collections::HashMap;

use super::transaction::{References, Transaction};
use super::waits::bytes;
use crate::domain::record::{Failure, Reason};
use crate::domain::schema::{ForeignKeyAction, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::ledger::waiting;
use crate::plan::{Identity, TablePlan};
use crate::store::{Found, Lookup};

/// Whether a record that was refused may be written when all tables are there: rows refer to what its row has now, or it refers to one
/// that waits itself.
pub(super) fn may_come_right(tx: &mut Transaction, plan: &TablePlan, failure: &Failure) -> Result<bool> {
    if failure.reason != Reason::ForeignKey || plan.strategy == Strategy::Append {
        return Ok(false);
    }
    match failure.column {
        // Nothing is missing that it refers to: rows refer to what its row has, if they can.
        None => {
            let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(false) };
            let stays = |column| key.contains(&column) || plan.keeps(column);
            let in_key = |name: &String| plan.table.column_index(name).is_some_and(stays);
            let referring = tx.referring(&plan.table)?;
            Ok(referring.iter().any(|referring| !referring.key.parent_columns.iter().all(in_key)))
        }
        Some(_) => has_late_parent(tx, plan),
    }
}

/// Whether a parent of the table has records that wait for other tables.
pub(super) fn has_late_parent(tx: &mut Transaction, plan: &TablePlan) -> Result<bool> {
    for key in &plan.table.foreign_keys {
        // Records are kept under the name that the table has itself.
        let Some(parent) = tx.writer.schema(&key.parent)? else { continue };
        let (sql, scope) = tx.state();
        if waiting::has_late(sql, scope, &parent.name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why a change of these columns is not tried before all tables are there, if it is not: what refers to them is checked only at the
/// commit, which would fail for all that the transaction did.
pub(super) fn must_wait(tx: &mut Transaction, plan: &TablePlan, key: &[usize], set: &[usize]) -> Result<Option<String>> {
    let table = &plan.table;
    if tx.references == References::Late || table.unique.is_empty() {
        return Ok(None);
    }
    if !tx.held.contains_key(&table.name) {
        let mut held = Vec::new();
        for referring in tx.referring(table)?.iter() {
            let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
            let is_late = match &tx.references {
                References::Now => referring.deferred,
                References::With(tables) => !table.names.is_among(&referring.table, tables),
                References::Late => false,
            };
            if stays && is_late {
                held.extend(referring.key.parent_columns.iter().filter_map(|name| table.column_index(name)));
            }
        }
        held.retain(|column| !key.contains(column));
        tx.held.insert(table.name.clone(), held);
    }
    let is_held = tx.held.get(&table.name).is_some_and(|held| set.iter().any(|column| held.contains(column)));
    Ok(is_held.then(|| "rows of another table may refer to what its row has now".to_owned()))
}

/// Whether changes of rows of a group change others of it, by references to more than the key.
pub(super) fn cascade<'p>(tx: &mut Transaction, plans: impl Iterator<Item = &'p TablePlan> + Clone) -> Result<bool> {
    for plan in plans.clone() {
        let Identity::Key { columns: key, .. } = &plan.identity else { continue };
        let table = &plan.table;
        let in_key =
            |name: &String| table.column_index(name).is_some_and(|column| key.contains(&column) || plan.keeps(column));
        let follows = tx.referring(table)?.iter().any(|referring| {
            let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
            let is_in_group = plans.clone().any(|other| table.names.same(&other.table.name, &referring.table));
            !stays && is_in_group && !referring.key.parent_columns.iter().all(in_key)
        });
        if follows {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes what a row has that rows of its own group may refer to, before a record of this key changes these columns.
pub(super) fn note_renamed<'v>(
    tx: &mut Transaction,
    plan: &TablePlan,
    set: &[usize],
    existing: impl Iterator<Item = (&'v usize, &'v Value)>,
    record: &[Value],
) -> Result<()> {
    let References::With(tables) = tx.references.clone() else { return Ok(()) };
    let table = &plan.table;
    let changes = |name: &String| table.column_index(name).is_some_and(|column| set.contains(&column));
    let is_held = tx.referring(table)?.iter().any(|referring| {
        let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
        stays && table.names.is_among(&referring.table, &tables) && referring.key.parent_columns.iter().any(changes)
    });
    if is_held {
        let mut before = Rows::new(table.columns.len());
        before.start_row();
        existing.for_each(|(column, value)| before.set(*column, value.as_ref()));
        tx.renamed.push((table.clone(), bytes(record), before));
    }
    Ok(())
}

/// Records of a group that changed what a row still refers to, though all rows are there: by table and key, with the table of that row.
pub(super) fn broken_in_group(tx: &mut Transaction) -> Result<HashMap<(String, Vec<u8>), String>> {
    let mut broken = HashMap::new();
    for (table, key, before) in std::mem::take(&mut tx.renamed) {
        tx.check_cancelled()?;
        if let Some(child) = referring_to(tx, &table, &before, true)? {
            broken.insert((table.name, key), child);
        }
    }
    Ok(broken)
}

/// The failure of a record with the name of a table that refers to what its row has.
pub(super) fn explained(tx: &mut Transaction, plan: &TablePlan, row: Option<&Rows>, failure: Failure) -> Result<Failure> {
    match (failure.reason, &failure.column, row) {
        (Reason::ForeignKey, None, Some(row)) => match referring_to(tx, &plan.table, row, false)? {
            Some(child) => Ok(Failure { message: held_message(&child), ..failure }),
            None => Ok(failure),
        },
        _ => Ok(failure),
    }
}

pub(super) fn held_message(child: &str) -> String {
    format!("rows of {child:?} refer to what its row has here, and do not move with it")
}

/// The name of a table with a row that refers to what this local row of another table has; to what is `gone`, if that is asked.
pub(super) fn referring_to(tx: &mut Transaction, table: &TableSchema, row: &Rows, gone: bool) -> Result<Option<String>> {
    for referring in tx.referring(table)?.iter() {
        let key = &referring.key;
        let Some(cells) = table.column_indexes(&key.parent_columns) else { continue };
        if cells.len() != key.columns.len() || (gone && has_row(tx, &table.name, &key.parent_columns, &cells, row)?) {
            continue;
        }
        if has_row(tx, &referring.table, &key.columns, &cells, row)? {
            return Ok(Some(referring.table.clone()));
        }
    }
    Ok(None)
}

/// Whether a row of a table has in these columns what this one has in these cells.
fn has_row(tx: &mut Transaction, table: &str, columns: &[String], cells: &[usize], row: &Rows) -> Result<bool> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut found = Found::default();
    tx.writer.lookup(&Lookup { table, columns: &columns, collations: &[], cells, read: &[] }, row, 0..1, &mut found)?;
    Ok(found.has(0))
}
