//! Undoes transfers: what was [recorded](super::recorder) is gone through from the last entry to the first.
//!
//! A row that is still as its transfer left it becomes what it was before; any other stays as it is, and is named. So each entry finds
//! its row as the entry after it left it. Nothing here cascades: a row that is to be deleted, and that others refer to, waits until the
//! others had their turn. What waits then is deleted together, as far as nothing else refers to it: rows that refer to each other, or
//! to themselves.

use std::collections::HashMap;

use uuid::Uuid;

use super::recorder::{hasher_of, stored};
use super::transaction::names;
use super::waits;
use crate::domain::row_sum::RowHasher;
use crate::domain::schema::TableSchema;
use crate::domain::undo::{Cells, Columns, Entry, hash_of};
use crate::domain::undone::{KeptReason, KeptRow, TableUndone};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::undo::page_before;
use crate::plan::table::key_of;
use crate::store::{Change, Found, Lookup, Referring, Refused, Writer};

/// How often rows that wait are tried together.
const ROUNDS: usize = 100;

/// Undoes transfers, each of one table, in this order. The caller commits, and forgets what was kept to undo them. Names at most so many rows
/// of each table that were kept.
pub(crate) fn undo(writer: &mut dyn Writer, transfers: &[(Uuid, TableSchema)], named: usize) -> Result<Vec<TableUndone>> {
    let mut undoing = Undoing { writer, tables: Vec::new(), waiting: Vec::new(), named };
    for (transfer, schema) in transfers {
        undoing.transfer(*transfer, schema)?;
    }
    undoing.delete_waiting()?;
    Ok(undoing.tables.into_iter().map(Table::finish).collect())
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Restored,
    Deleted,
    Kept,
    Unchanged,
    Waiting,
}

struct Undoing<'w> {
    writer: &'w mut dyn Writer,
    tables: Vec<Table>,
    /// Rows that others refer to: of which table, and the row.
    waiting: Vec<(usize, Rows)>,
    named: usize,
}

struct Table {
    schema: TableSchema,
    /// The columns whose values are stored.
    stored: Vec<usize>,
    /// What identifies a row: the key, or all that is stored.
    identity: Vec<usize>,
    hasher: RowHasher,
    referring: Vec<Referring>,
    /// What became of rows, by hashes of their keys.
    states: HashMap<u128, State>,
    undone: TableUndone,
}

impl Undoing<'_> {
    fn transfer(&mut self, transfer: Uuid, schema: &TableSchema) -> Result<()> {
        let stored = stored(schema);
        let identity = key_of(schema)?.map_or_else(|| stored.clone(), |(key, _)| key);
        let mut table = Table {
            schema: schema.clone(),
            stored,
            identity,
            hasher: hasher_of(transfer),
            referring: self.writer.referring(schema)?,
            states: HashMap::new(),
            undone: TableUndone::new(&schema.name, transfer),
        };
        let mut before = i64::MAX;
        while let Some((page, columns, entries)) = page_before(self.writer.state(), transfer, before)? {
            before = page;
            let key = table.key(&columns)?;
            for entry in entries.into_iter().rev() {
                self.entry(&mut table, &key, entry)?;
            }
        }
        self.tables.push(table);
        Ok(())
    }

    fn entry(&mut self, table: &mut Table, key: &[usize], entry: Entry) -> Result<()> {
        match entry {
            Entry::Created { key: values, after } => {
                let wanted = table.row(key, values.iter().map(Value::as_ref));
                let Some(now) = self.read(table, key, &wanted)? else {
                    table.note(table.id(&values), State::Unchanged);
                    return Ok(());
                };
                let id = table.id_of(&now);
                match table.is_free(id) {
                    false => Ok(()),
                    true if table.is_as(&now, after) => self.delete(table, id, now),
                    true => self.keep(table, id, values, KeptReason::Changed, None),
                }
            }
            Entry::CreatedKeyless { row } => {
                let row = table.whole(&row);
                let mut refused = Vec::new();
                if table.is_referred(self.writer, &row)? {
                    self.wait(table, None, row)
                } else if self.writer.delete(&table.schema, &table.stored, &row, 0, &mut refused)? {
                    table.undone.deleted += 1;
                    Ok(())
                } else {
                    table.undone.kept += 1;
                    self.name(table, table.values(&row, &table.stored), kept_for(refused.pop()))
                }
            }
            Entry::Updated { key: values, before, after } => {
                let wanted = table.row(key, values.iter().map(Value::as_ref));
                let Some(now) = self.read(table, key, &wanted)? else {
                    let id = table.id(&values);
                    return if table.is_free(id) { self.keep(table, id, values, KeptReason::Gone, None) } else { Ok(()) };
                };
                let id = table.id_of(&now);
                match table.is_free(id) {
                    false => Ok(()),
                    true if table.is_as(&now, after) => self.restore(table, id, key, values, &before, now),
                    true if table.has(&now, &before) => {
                        table.note(id, State::Unchanged);
                        Ok(())
                    }
                    true => self.keep(table, id, values, KeptReason::Changed, None),
                }
            }
            Entry::Deleted { before } => {
                let row = table.whole(&before);
                let values = table.values(&row, key);
                let now = if key.is_empty() { None } else { self.read(table, key, &row)? };
                let id = table.id_of(now.as_ref().unwrap_or(&row));
                match now {
                    _ if !key.is_empty() && !table.is_free(id) => Ok(()),
                    Some(now) if table.has(&now, &before) => {
                        table.note(id, State::Unchanged);
                        Ok(())
                    }
                    Some(_) => self.keep(table, id, values, KeptReason::Changed, None),
                    None => match self.write(table, Change::Insert, &row)? {
                        None if key.is_empty() => {
                            table.undone.restored += 1;
                            Ok(())
                        }
                        None => {
                            table.note(id, State::Restored);
                            Ok(())
                        }
                        Some(refused) => self.keep(table, id, values, KeptReason::Refused, Some(refused.message)),
                    },
                }
            }
        }
    }

    /// Gives a row back what it had in the columns that were changed.
    fn restore(
        &mut self,
        table: &mut Table,
        id: u128,
        key: &[usize],
        values: Vec<Value>,
        before: &Cells,
        now: Rows,
    ) -> Result<()> {
        let mut row = now;
        let mut set = Vec::new();
        for (column, value) in table.stored.iter().zip(before) {
            if let Some(value) = value {
                row.set(*column, value.as_ref());
                set.push(*column);
            }
        }
        match self.write(table, Change::Update { key, set: &set }, &row)? {
            None => {
                table.note(id, State::Restored);
                Ok(())
            }
            Some(refused) => self.keep(table, id, values, KeptReason::Refused, Some(refused.message)),
        }
    }

    /// Deletes a row that is as it was added, unless others refer to it.
    fn delete(&mut self, table: &mut Table, id: u128, row: Rows) -> Result<()> {
        if table.is_referred(self.writer, &row)? {
            return self.wait(table, Some(id), row);
        }
        let mut refused = Vec::new();
        if self.writer.delete(&table.schema, &table.identity, &row, 0, &mut refused)? {
            table.note(id, State::Deleted);
            return Ok(());
        }
        let (reason, message) = kept_for(refused.pop());
        let key = table.values(&row, &table.identity);
        self.keep(table, id, key, reason, message)
    }

    fn wait(&mut self, table: &mut Table, id: Option<u128>, row: Rows) -> Result<()> {
        if let Some(id) = id {
            table.note(id, State::Waiting);
        }
        self.waiting.push((self.tables.len(), row));
        Ok(())
    }

    /// Deletes the rows that wait, as far as nothing else refers to them.
    fn delete_waiting(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        for _ in 0..ROUNDS {
            if waiting.is_empty() {
                break;
            }
            let mut blocked: HashMap<usize, (KeptReason, Option<String>)> = HashMap::new();
            self.writer.savepoint()?;
            for (number, (at, row)) in waiting.iter().enumerate() {
                let (table, mut refused) = (&self.tables[*at], Vec::new());
                if !self.writer.delete(&table.schema, &table.identity, row, 0, &mut refused)? {
                    blocked.insert(number, kept_for(refused.pop()));
                }
            }
            for (number, (at, row)) in waiting.iter().enumerate() {
                if self.tables[*at].is_referred(self.writer, row)? {
                    blocked.insert(number, (KeptReason::Referenced, None));
                }
            }
            if blocked.is_empty() {
                self.writer.release()?;
                for (at, row) in waiting.drain(..) {
                    let table = &mut self.tables[at];
                    let id = table.id_of(&row);
                    if table.states.contains_key(&id) { table.note(id, State::Deleted) } else { table.undone.deleted += 1 }
                }
                break;
            }
            self.writer.rollback_to()?;
            let mut left = Vec::new();
            for (number, (at, row)) in waiting.into_iter().enumerate() {
                match blocked.remove(&number) {
                    Some((reason, message)) => self.keep_waiting(at, &row, reason, message),
                    None => left.push((at, row)),
                }
            }
            waiting = left;
        }
        for (at, row) in waiting {
            self.keep_waiting(at, &row, KeptReason::Referenced, None);
        }
        Ok(())
    }

    fn keep_waiting(&mut self, at: usize, row: &Rows, reason: KeptReason, message: Option<String>) {
        let (named, table) = (self.named, &mut self.tables[at]);
        let id = table.id_of(row);
        if table.states.contains_key(&id) {
            table.note(id, State::Kept)
        } else {
            table.undone.kept += 1
        }
        let key = table.values(row, &table.identity);
        table.name(named, KeptRow { key, reason, message });
    }

    fn keep(
        &mut self,
        table: &mut Table,
        id: u128,
        key: Vec<Value>,
        reason: KeptReason,
        message: Option<String>,
    ) -> Result<()> {
        table.note(id, State::Kept);
        self.name(table, key, (reason, message))
    }

    fn name(&mut self, table: &mut Table, key: Vec<Value>, (reason, message): (KeptReason, Option<String>)) -> Result<()> {
        table.name(self.named, KeptRow { key, reason, message });
        Ok(())
    }

    fn write(&mut self, table: &Table, change: Change<'_>, row: &Rows) -> Result<Option<Refused>> {
        let mut refused = Vec::new();
        self.writer.write(&table.schema, change, row, 0..1, &mut refused)?;
        Ok(refused.pop())
    }

    /// The row that has these values in its key.
    fn read(&mut self, table: &Table, key: &[usize], wanted: &Rows) -> Result<Option<Rows>> {
        let (by, read) = (names(&table.schema, key), names(&table.schema, &table.stored));
        let collations = table.schema.key_collations_of(key);
        let lookup = Lookup { table: &table.schema.name, columns: &by, collations: &collations, cells: key, read: &read };
        let mut found = Found::default();
        self.writer.lookup(&lookup, wanted, 0..1, &mut found)?;
        Ok(found.get(0).map(|values| table.row(&table.stored, values.into_iter())))
    }
}

/// Why a row could not be deleted.
fn kept_for(refused: Option<Refused>) -> (KeptReason, Option<String>) {
    match refused {
        None => (KeptReason::Changed, None),
        Some(refused) => (KeptReason::Refused, Some(refused.message)),
    }
}

impl Table {
    /// The columns that entries of a page are found by, if the table is still the one that they are about.
    fn key(&self, columns: &Columns) -> Result<Vec<usize>> {
        let now = names(&self.schema, &self.stored);
        let is_same = |(then, now): (&String, &&str)| self.schema.names.same(then, now);
        if columns.names.len() != now.len() || !columns.names.iter().zip(&now).all(is_same) {
            let message = format!("table {:?} has other columns than when the transfer wrote to it", self.schema.name);
            return Err(Error::new(ErrorKind::SchemaMismatch, message).with_transfer(self.undone.transfer));
        }
        Ok(columns.key.iter().filter_map(|at| self.stored.get(*at)).copied().collect())
    }

    /// One local row with these values in these columns.
    fn row<'v>(&self, columns: &[usize], values: impl Iterator<Item = ValueRef<'v>>) -> Rows {
        let mut row = Rows::new(self.schema.columns.len());
        row.start_row();
        columns.iter().zip(values).for_each(|(column, value)| row.set(*column, value));
        row
    }

    fn whole(&self, cells: &Cells) -> Rows {
        self.row(&self.stored, cells.iter().map(|cell| cell.as_ref().map_or(ValueRef::Null, Value::as_ref)))
    }

    fn values(&self, row: &Rows, columns: &[usize]) -> Vec<Value> {
        columns.iter().map(|at| row.get(0, *at).unwrap_or(ValueRef::Null).to_owned()).collect()
    }

    fn id_of(&self, row: &Rows) -> u128 {
        self.id(&self.values(row, &self.identity))
    }

    fn id(&self, key: &[Value]) -> u128 {
        self.hasher.hash_bytes(&waits::bytes(key))
    }

    /// Whether a row is still as an entry left it.
    fn is_as(&mut self, row: &Rows, after: u64) -> bool {
        hash_of(&mut self.hasher, self.stored.iter().map(|at| row.get(0, *at).unwrap_or(ValueRef::Null))) == after
    }

    /// Whether a row has these values.
    fn has(&self, row: &Rows, cells: &Cells) -> bool {
        let mut said = self.stored.iter().zip(cells).filter_map(|(column, cell)| Some((column, cell.as_ref()?)));
        said.all(|(column, cell)| row.get(0, *column).is_some_and(|value| value.same(cell.as_ref())))
    }

    /// Whether no later entry says that the row is to stay, or waits.
    fn is_free(&self, id: u128) -> bool {
        !matches!(self.states.get(&id), Some(State::Kept | State::Waiting))
    }

    fn note(&mut self, id: u128, state: State) {
        self.states.insert(id, state);
    }

    fn name(&mut self, most: usize, row: KeptRow) {
        if self.undone.kept_rows.len() < most {
            self.undone.kept_rows.push(row);
        }
    }

    /// Whether any row refers to this one.
    fn is_referred(&self, writer: &mut dyn Writer, row: &Rows) -> Result<bool> {
        for Referring { table, key, .. } in &self.referring {
            let Some(cells) = self.schema.column_indexes(&key.parent_columns) else { continue };
            let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
            let lookup = Lookup { table, columns: &columns, collations: &[], cells: &cells, read: &[] };
            let mut found = Found::default();
            writer.lookup(&lookup, row, 0..1, &mut found)?;
            if found.has(0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the rows.
    fn finish(mut self) -> TableUndone {
        for state in self.states.values() {
            match state {
                State::Restored => self.undone.restored += 1,
                State::Deleted => self.undone.deleted += 1,
                State::Kept | State::Waiting => self.undone.kept += 1,
                State::Unchanged => self.undone.unchanged += 1,
            }
        }
        self.undone
    }
}
