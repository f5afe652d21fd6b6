//! References between rows of tables that are applied together: which ones no row satisfies, and what else falls with them.
//!
//! Such rows come in no order that would put each parent before its children, so that references can be checked only when all
//! rows are there. The importer does that itself: each row that was written and whose parent is not there *yet* is noted, and
//! looked at again at the end. The database would look for children of every parent instead, without an index in the whole table.
//!
//! Where a reference is broken for good, everything is undone, the row is left out, and with it all rows that refer to it, however
//! long the chain: they are found before anything is applied again.

use std::collections::{BTreeMap, BTreeSet};

use super::append;
use super::staged::Staged;
use super::transaction::{Transaction, names};
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::records::key_map::{decode, encode};
use crate::store::records::references::{self, Pending};
use crate::store::records::{stages, unreadable};
use crate::store::{Fitted, Found, Lookup};

/// References that are looked at together.
const TOGETHER: i64 = 5_000;

/// A staged row: the number of its stage, and its own in it.
pub(super) use crate::store::records::references::Staged as RowId;

/// Rows that were written, if somebody wants to know: their local values, those of foreign keys at least, and which of the
/// records each was.
#[derive(Debug, Default)]
pub(super) struct Written {
    wanted: bool,
    /// Whether the table had no rows before the first of them.
    was_empty: bool,
    rows: Rows,
    records: Vec<usize>,
}

impl Written {
    /// Nobody wants to know.
    pub(super) fn ignored() -> Self {
        Written::default()
    }

    /// Collects the rows that are written to this table and may refer to others.
    pub(super) fn of(table: &TableSchema, was_empty: bool) -> Self {
        Written {
            wanted: !table.foreign_keys.is_empty(),
            was_empty,
            rows: Rows::new(table.columns.len()),
            records: Vec::new(),
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// One that collects rows for the same table, of other records.
    pub(super) fn of_same_table(&self) -> Self {
        Written { wanted: self.wanted, was_empty: self.was_empty, rows: Rows::new(self.rows.width()), records: Vec::new() }
    }

    /// Adds what another one collected, whose records have these positions here.
    pub(super) fn extend(&mut self, other: &Written, records: &[usize]) {
        for (row, record) in other.records.iter().enumerate() {
            self.add(records[*record], &other.rows, row);
        }
    }

    pub(super) fn add(&mut self, record: usize, rows: &Rows, row: usize) {
        if self.wanted {
            self.rows.push_rows(rows, row..row + 1);
            self.records.push(record);
        }
    }
}

/// What rows refer to, for records that are identified by a key: as it is before they are applied, to be compared with how it is
/// afterwards.
pub(super) struct Before {
    key: Vec<usize>,
    /// The columns of foreign keys.
    columns: Vec<usize>,
    fitted: Fitted,
    found: Found,
}

impl Before {
    pub(super) fn look(tx: &mut Transaction, plan: &TablePlan, fitted: Fitted, written: &Written) -> Result<Self> {
        let key = match &plan.identity {
            Identity::Key { columns, .. } => columns.clone(),
            Identity::WholeRow => Vec::new(),
        };
        let names = plan.table.foreign_keys.iter().flat_map(|reference| &reference.columns);
        let columns: BTreeSet<usize> = names.filter_map(|name| plan.table.column_index(name)).collect();
        let columns: Vec<usize> = columns.into_iter().collect();
        let found = match written.was_empty {
            true => Found::default(),
            false => references_now(tx, plan, &key, &columns, &fitted)?,
        };
        Ok(Before { key, columns, fitted, found })
    }

    /// Adds the rows that were written since then; `first` is the position of the first record.
    pub(super) fn compare(&self, tx: &mut Transaction, plan: &TablePlan, first: usize, written: &mut Written) -> Result<()> {
        let now = references_now(tx, plan, &self.key, &self.columns, &self.fitted)?;
        for number in 0..self.fitted.rows.len() {
            let Some(values) = now.get(number).filter(|values| self.found.get(number).as_ref() != Some(values)) else {
                continue;
            };
            written.rows.start_row();
            self.columns.iter().zip(values).for_each(|(column, value)| written.rows.set(*column, value));
            written.records.push(first + number);
        }
        Ok(())
    }
}

fn references_now(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    columns: &[usize],
    fitted: &Fitted,
) -> Result<Found> {
    let (by, read) = (names(&plan.table, key), names(&plan.table, columns));
    let lookup = Lookup { table: &plan.table.name, columns: &by, cells: key, read: &read };
    let mut found = Found::default();
    tx.writer.lookup(&lookup, &fitted.rows, 0..fitted.rows.len(), &mut found)?;
    Ok(found)
}

/// Notes the references of written rows that no row satisfies yet. `numbers` are those of the records in the stage.
pub(super) fn note(tx: &mut Transaction, plan: &TablePlan, stage: u32, numbers: &[i64], written: &Written) -> Result<()> {
    for (reference, key) in plan.table.foreign_keys.iter().enumerate() {
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
fn parents(tx: &mut Transaction, key: &ForeignKey, cells: &[usize], rows: &Rows) -> Result<Found> {
    let columns: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
    let lookup = Lookup { table: &key.parent, columns: &columns, cells, read: &[] };
    let mut found = Found::default();
    if columns.len() == cells.len() {
        tx.writer.lookup(&lookup, rows, 0..rows.len(), &mut found)?;
    }
    Ok(found)
}

/// Rows that refer to nothing, each with the position of its broken foreign key.
pub(super) type Broken = BTreeMap<RowId, usize>;

/// The rows whose references are still broken when all are there; what was noted of them is forgotten.
pub(super) fn broken(tx: &mut Transaction, tables: &[Staged]) -> Result<Broken> {
    let (mut broken, mut last) = (Broken::new(), None);
    loop {
        tx.check_cancelled()?;
        let (sql, scope) = tx.state();
        let waiting = references::pending(sql, scope, last.as_ref(), TOGETHER)?;
        let Some(end) = waiting.last() else { break };
        last = Some(end.clone());
        // Those of one foreign key are looked up together.
        let mut by_key: BTreeMap<(u32, usize), Vec<&Pending>> = BTreeMap::new();
        for pending in &waiting {
            by_key.entry((pending.row.0, pending.reference)).or_default().push(pending);
        }
        for ((stage, reference), waiting) in by_key {
            let Some(key) = table_of(tables, stage).and_then(|table| table.plan.table.foreign_keys.get(reference)) else {
                return Err(unreadable("reference"));
            };
            let mut rows = Rows::new(key.columns.len());
            for pending in &waiting {
                let values = decode(&pending.parent).filter(|values| values.len() == key.columns.len());
                rows.push(values.ok_or_else(|| unreadable("reference"))?.iter().map(|value| value.as_ref()));
            }
            let cells: Vec<usize> = (0..key.columns.len()).collect();
            let found = parents(tx, key, &cells, &rows)?;
            let orphans = waiting.iter().enumerate().filter(|(row, _)| !found.has(*row));
            broken.extend(orphans.map(|(_, pending)| (pending.row, reference)));
        }
    }
    let (sql, scope) = tx.state();
    references::forget(sql, scope)?;
    Ok(broken)
}

fn table_of(tables: &[Staged], stage: u32) -> Option<&Staged> {
    tables.iter().find(|table| table.stage.number == stage)
}

/// Adds the rows that refer to broken ones, directly or through others. To be called when nothing of the group is applied.
pub(super) fn close(tx: &mut Transaction, tables: &[Staged], broken: &mut Broken) -> Result<()> {
    let sets = referenced_sets(tables);
    if sets.is_empty() {
        return Ok(());
    }
    link(tx, tables, &sets)?;
    let mut reader = stages::Reader::default();
    let mut queue: Vec<RowId> = broken.keys().copied().collect();
    while let Some(row) = queue.pop() {
        tx.check_cancelled()?;
        let (sql, scope) = tx.state();
        for (set, value) in references::values(sql, scope, row)? {
            let (sql, scope) = tx.state();
            // Another record may have the same values.
            if references::linked(sql, scope, &value, false)?.iter().any(|other| !broken.contains_key(other)) {
                continue;
            }
            let children = references::linked(sql, scope, &value, true)?;
            let set = sets.get(set).ok_or_else(|| unreadable("reference"))?;
            if children.is_empty() || is_here(tx, tables, set, &value)? {
                continue;
            }
            for child in children.into_iter().filter(|child| !broken.contains_key(child)).collect::<Vec<_>>() {
                let reference = set.reference_of(tables, child.0);
                if !keeps_reference(tx, tables, &mut reader, child, reference)? {
                    broken.insert(child, reference);
                    queue.push(child);
                }
            }
        }
    }
    let (sql, scope) = tx.state();
    references::forget(sql, scope)
}

/// Whether a record leaves its reference unwritten, because of a row that is here: one that is skipped, that refers to the same
/// already, or, in an append, that is the record by a unique set.
fn keeps_reference(
    tx: &mut Transaction,
    tables: &[Staged],
    reader: &mut stages::Reader,
    row: RowId,
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
        return append::is_known(tx, plan, &record, &columns);
    }
    let fitted = tx.fit(plan, &record, 0..1)?;
    Ok(tx.find(&plan.table, key, &columns, &fitted.rows, 0)?.is_some_and(|existing| {
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

    /// The position of the foreign key of a table that refers to this set.
    fn reference_of(&self, tables: &[Staged], stage: u32) -> usize {
        let child = table_of(tables, stage).map(|table| &table.plan.table);
        let keys = child.into_iter().flat_map(|child| child.foreign_keys.iter().map(move |key| (child, key)));
        keys.into_iter().position(|(child, key)| ReferencedSet::of(tables, child, key).as_ref() == Some(self)).unwrap_or(0)
    }

    /// A value of this set, as bytes that no value of another set has.
    fn value(&self, number: usize, values: &[ValueRef<'_>]) -> Vec<u8> {
        let number = ValueRef::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        encode(std::iter::once(number).chain(values.iter().copied()))
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
        let refers = plan.table.foreign_keys.iter().filter_map(|key| {
            let set = ReferencedSet::of(tables, &plan.table, key)?;
            let number = sets.iter().position(|other| *other == set)?;
            Some((number, plan.table.column_indexes(&key.columns)?))
        });
        let refers: Vec<(usize, Vec<usize>)> = refers.collect();
        table.each_page(tx, &mut |tx, rows, numbers, _| {
            let fitted = tx.fit(plan, rows, 0..rows.len())?;
            let values = |row: usize, columns: &[usize]| -> Option<Vec<ValueRef<'_>>> {
                columns.iter().map(|column| fitted.rows.get(row, *column).filter(|value| !value.is_null())).collect()
            };
            for (row, number) in numbers.iter().enumerate() {
                let id = (table.stage.number, *number);
                for (number, set) in sets.iter().enumerate().filter(|(_, set)| set.table == at) {
                    if let Some(values) = values(row, &set.columns) {
                        let value = set.value(number, &values);
                        let (sql, scope) = tx.state();
                        references::has(sql, scope, id, number, value)?;
                    }
                }
                for (number, columns) in &refers {
                    if let Some(values) = values(row, columns) {
                        let value = sets[*number].value(*number, &values);
                        let (sql, scope) = tx.state();
                        references::link(sql, scope, &value, true, id)?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
