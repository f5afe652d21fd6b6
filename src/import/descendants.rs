//! What falls with rows that refer to nothing: all rows that refer to them, however long the chain.
//!
//! They are found before the group is applied again, so that the good rows arrive in one pass. Everything that grows with the rows
//! lies in tables of rowferry's own: which staged row has which values that others may refer to, and which refers to which.

use super::orphans::{Orphans, table_of};
use super::rows::key_bytes;
use super::staged::{Staged, each_page};
use super::transaction::Transaction;
use super::unique_match;
use crate::domain::cells::{decode, encode};
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::ledger::references::{self, Link, StagedRow};
use crate::ledger::stages;
use crate::plan::Identity;
use crate::state::unreadable;
use crate::store::KeyColumns;

/// Rows and links that are read together.
const TOGETHER: i64 = 1_000;

/// Notes as orphans these rows, and all staged rows that refer to them, directly or through others. To be called when nothing of
/// the group is applied.
pub(super) fn fell(tx: &mut Transaction, tables: &[Staged], orphans: &Orphans) -> Result<()> {
    for (row, reference) in orphans {
        let (sql, scope) = tx.state();
        references::add_orphan(sql, scope, *row, *reference)?;
    }
    let sets = referenced_sets(tables);
    if sets.is_empty() {
        return Ok(());
    }
    link(tx, tables, &sets)?;
    let mut reader = stages::Reader::default();
    loop {
        let (sql, scope) = tx.state();
        let next = references::next_orphans(sql, scope, TOGETHER)?;
        if next.is_empty() {
            return Ok(());
        }
        for row in next {
            tx.check_cancelled()?;
            children_fall(tx, tables, &sets, row, &mut reader)?;
        }
    }
}

/// Notes as orphans the rows that refer to one.
fn children_fall(
    tx: &mut Transaction,
    tables: &[Staged],
    sets: &[ReferencedSet],
    row: StagedRow,
    reader: &mut stages::Reader,
) -> Result<()> {
    let (sql, scope) = tx.state();
    for (number, value) in references::values(sql, scope, row)? {
        let set = sets.get(number).ok_or_else(|| unreadable("reference"))?;
        let (sql, scope) = tx.state();
        // Another record may have the same value, or a row that is here.
        if references::is_had_by_another(sql, scope, &value)? || is_here(tx, tables, set, &value)? {
            continue;
        }
        let mut last = None;
        loop {
            let (sql, scope) = tx.state();
            let children = references::children(sql, scope, &value, last, TOGETHER)?;
            last = children.last().copied();
            if last.is_none() {
                break;
            }
            for Link { row, reference } in children {
                if !keeps_reference(tx, tables, reader, row, reference)? {
                    let (sql, scope) = tx.state();
                    references::add_orphan(sql, scope, row, reference)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a record leaves its reference unwritten, because of a row that is here: one that is skipped, that refers to the same
/// already, or, in an append, that is the record by a unique set.
fn keeps_reference(
    tx: &mut Transaction,
    tables: &[Staged],
    reader: &mut stages::Reader,
    row: StagedRow,
    reference: usize,
) -> Result<bool> {
    let Some(table) = table_of(tables, row.0) else { return Ok(false) };
    let plan = &table.plan;
    let columns = plan.table.foreign_keys.get(reference).and_then(|key| plan.table.column_indexes(&key.columns));
    let (Identity::Key { columns: key, .. }, Some(columns)) = (&plan.identity, columns) else { return Ok(false) };
    if plan.strategy == Strategy::Append && plan.table.unique.is_empty() {
        return Ok(false);
    }
    let Some(record) = reader.row(tx.state().0, &table.stage, row.1)? else { return Ok(false) };
    if plan.strategy == Strategy::Append {
        return unique_match::is_known(tx, plan, &record, &columns);
    }
    let fitted = tx.fit(plan, &record, 0..1)?;
    Ok(tx.find_by_key(&plan.table, key, &columns, &fitted.rows, 0)?.is_some_and(|existing| {
        let mut values = columns.iter().zip(&existing);
        let same = values.all(|(column, old)| fitted.rows.get(0, *column).is_none_or(|new| new.same(old.as_ref())));
        plan.strategy == Strategy::Skip || same
    }))
}

/// Columns of a table of the group that tables of it refer to.
#[derive(PartialEq)]
struct ReferencedSet {
    /// The position of the table.
    table: usize,
    columns: Vec<usize>,
}

impl ReferencedSet {
    /// The set that a foreign key refers to, if it is one of the group.
    fn of(tables: &[Staged], child: &TableSchema, key: &ForeignKey) -> Option<Self> {
        let table = tables.iter().position(|table| child.names.same(&table.plan.table.name, &key.parent))?;
        Some(ReferencedSet { table, columns: tables[table].plan.table.column_indexes(&key.parent_columns)? })
    }
}

fn referenced_sets(tables: &[Staged]) -> Vec<ReferencedSet> {
    let mut sets = Vec::new();
    for child in tables.iter().map(|table| &table.plan.table) {
        for set in child.foreign_keys.iter().filter_map(|key| ReferencedSet::of(tables, child, key)) {
            if !sets.contains(&set) {
                sets.push(set);
            }
        }
    }
    sets
}

/// Whether a row of the local table has a value of a set, whatever is pulled.
fn is_here(tx: &mut Transaction, tables: &[Staged], set: &ReferencedSet, value: &[u8]) -> Result<bool> {
    let values = decode(value).ok_or_else(|| unreadable("reference"))?;
    let table = &tables[set.table].plan.table;
    // An append gives new keys: no row that is here has the one that the record had.
    let gets_new_keys = tables[set.table].appends_key(&set.columns);
    if gets_new_keys {
        return Ok(false);
    }
    let mut rows = Rows::new(table.columns.len());
    rows.start_row();
    set.columns.iter().zip(values.iter().skip(1)).for_each(|(column, value)| rows.set(*column, value.as_ref()));
    Ok(tx.find(table, &set.columns, &[], &rows, 0)?.is_some())
}

/// Notes for all staged rows of the group which values of the sets they have, and which they refer to.
fn link(tx: &mut Transaction, tables: &[Staged], sets: &[ReferencedSet]) -> Result<()> {
    for (at, table) in tables.iter().enumerate() {
        let plan = &table.plan;
        let refers = plan.table.foreign_keys.iter().enumerate().filter_map(|(reference, key)| {
            let set = ReferencedSet::of(tables, &plan.table, key)?;
            let number = sets.iter().position(|other| *other == set)?;
            Some((reference, number, plan.table.column_indexes(&key.columns)?))
        });
        let refers: Vec<(usize, usize, Vec<usize>)> = refers.collect();
        each_page(&table.stage, tx, &mut |tx, rows, numbers, _| {
            let fitted = tx.fit(plan, rows, 0..rows.len())?.rows;
            let mut compared = |number: usize, cells: &[usize]| {
                let ReferencedSet { table, columns } = &sets[number];
                let columns = KeyColumns { table: &tables[*table].plan.table, columns };
                tx.comparable(&columns, cells, &fitted, 0..fitted.len())
            };
            let own = |number: &usize| sets[*number].table == at;
            let had: Vec<(usize, Rows)> = (0..sets.len())
                .filter(own)
                .map(|number| Ok((number, compared(number, &sets[number].columns)?)))
                .collect::<Result<_>>()?;
            let referred: Vec<(usize, usize, Rows)> = refers
                .iter()
                .map(|(reference, number, cells)| Ok((*reference, *number, compared(*number, cells)?)))
                .collect::<Result<_>>()?;
            for (row, number) in numbers.iter().enumerate() {
                if row % 100 == 0 {
                    tx.check_cancelled()?;
                }
                let id = (table.stage.number, *number);
                for (number, values) in &had {
                    if let Some(value) = value_of(*number, values, row) {
                        let (sql, scope) = tx.state();
                        references::has(sql, scope, id, *number, value)?;
                    }
                }
                for (reference, number, values) in &referred {
                    if let Some(value) = value_of(*number, values, row) {
                        let (sql, scope) = tx.state();
                        references::refers(sql, scope, Link { row: id, reference: *reference }, value)?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A value of a set, as bytes that no value of another set has; `None` if a part of it is NULL or absent.
fn value_of(set: usize, compared: &Rows, row: usize) -> Option<Vec<u8>> {
    let mut bytes = encode([ValueRef::Integer(i64::try_from(set).unwrap_or(i64::MAX))]);
    bytes.extend(key_bytes(compared, row)?);
    Some(bytes)
}
