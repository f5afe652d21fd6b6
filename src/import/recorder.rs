//! Records what undoes the writes of a transaction: each row as it was before, and how to tell that it still is as it was written.
//!
//! Everything that writes a row comes by here, because only [`Transaction`](super::Transaction) writes. What the database itself does
//! with a write (triggers, foreign keys that follow) is not recorded.

use std::collections::HashSet;
use std::ops::Range;

use uuid::Uuid;

use super::transaction::names;
use crate::domain::cells::encode;
use crate::domain::row_sum::RowHasher;
use crate::domain::schema::TableSchema;
use crate::domain::undo::{Columns, PageBuilder, hash_of};
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::undo::Keeper;
use crate::plan::TablePlan;
use crate::plan::decide::{changes, newer};
use crate::plan::order::refers_to_itself;
use crate::plan::table::key_of;
use crate::store::{Change, Fitted, Found, Lookup, Sql, Writer};

/// How large a page grows before it is kept.
const PAGE_BYTES: usize = 1 << 20;

/// What undoes the writes of a transaction and is not kept yet.
pub(super) struct Recorder {
    keeper: Keeper,
    /// The tables that were written to.
    tables: Vec<Recorded>,
}

/// A table that was written to.
struct Recorded {
    name: String,
    transfer: Uuid,
    hasher: RowHasher,
    /// The columns whose values are stored.
    stored: Vec<usize>,
    /// One after the other; the last one is being filled.
    pages: Vec<PageBuilder>,
}

/// Rows of a batch as they were before it.
pub(super) struct Before {
    fitted: Fitted,
    found: Found,
    /// Whether it follows from them and the records what the rows are afterwards.
    follows: bool,
}

impl Recorder {
    pub(super) fn new(keeper: Keeper) -> Self {
        Recorder { keeper, tables: Vec::new() }
    }

    /// Keeps what was recorded.
    pub(super) fn keep(&mut self, sql: &mut dyn Sql) -> Result<()> {
        self.tables.iter_mut().try_for_each(|table| table.keep(&self.keeper, sql))
    }

    /// Forgets what is not kept: it was undone.
    pub(super) fn forget(&mut self) {
        self.tables.iter_mut().for_each(|table| table.pages.clear());
    }

    /// What a row that is about to be changed has; nothing of one that is new.
    pub(super) fn look(
        &mut self,
        writer: &mut dyn Writer,
        table: &TableSchema,
        change: Change<'_>,
        (rows, row): (&Rows, usize),
    ) -> Result<Found> {
        match change {
            Change::Insert => Ok(Found::default()),
            Change::Update { key, .. } => self.read(writer, table, key, rows, row..row + 1),
        }
    }

    /// Records a row that was written, and what it [was](Recorder::look).
    pub(super) fn note(
        &mut self,
        writer: &mut dyn Writer,
        table: &TableSchema,
        change: Change<'_>,
        (rows, row): (&Rows, usize),
        before: Found,
    ) -> Result<()> {
        let Change::Update { key, .. } = change else {
            return self.note_new(writer, table, rows, row);
        };
        let now = self.read(writer, table, key, rows, row..row + 1)?;
        if let (Some(before), Some(now)) = (before.get(0), now.get(0)) {
            let recorded = self.table(table)?;
            recorded.updated(table, key, &before, &now);
        }
        self.keep_full(writer.state(), table)
    }

    fn note_new(&mut self, writer: &mut dyn Writer, table: &TableSchema, rows: &Rows, row: usize) -> Result<()> {
        let key = key_of(table)?.map(|(key, _)| key).unwrap_or_default();
        let is_there = |at: &usize| rows.get(row, *at).is_some_and(|value| !value.is_null());
        let now = match &key[..] {
            [] => Found::default(),
            key if key.iter().all(is_there) => self.read(writer, table, key, rows, row..row + 1)?,
            // The database numbered it.
            [number] if table.rowid_alias => {
                let mut by = Rows::new(table.columns.len());
                by.start_row();
                by.set(*number, ValueRef::Integer(writer.last_integer(table, *number)?));
                self.read(writer, table, &[*number], &by, 0..1)?
            }
            _ => Found::default(),
        };
        let recorded = self.table(table)?;
        match now.get(0) {
            Some(now) => recorded.created(table, &key, &now),
            None => {
                let values = recorded.stored.iter().map(|at| match rows.get(row, *at) {
                    Some(value) => Ok(value),
                    None if table.columns[*at].default.is_none() => Ok(ValueRef::Null),
                    None => Err(cannot_tell(table, *at)),
                });
                let row = values.collect::<Result<Vec<_>>>()?;
                recorded.page(table, &key).created_keyless(&row);
            }
        }
        self.keep_full(writer.state(), table)
    }

    /// What the rows of these records have that are about to be applied.
    pub(super) fn look_at_all(
        &mut self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        key: &[usize],
        rows: &Rows,
        range: Range<usize>,
    ) -> Result<Before> {
        let mut fitted = Fitted::default();
        writer.fit(plan, rows, range, &mut fitted)?;
        let stored = &self.table(&plan.table)?.stored;
        let mut found = Found::default();
        let all = 0..fitted.rows.len();
        let differ = writer.rows_of(&plan.table, key, stored, &fitted.rows, all, &mut found)?;
        Ok(Before { fitted, found, follows: differ && follows(plan, stored) })
    }

    /// Records the rows of the first records that were applied.
    pub(super) fn note_all(
        &mut self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        key: &[usize],
        before: Before,
        applied: usize,
    ) -> Result<()> {
        match (applied, before.follows) {
            (0, _) => return Ok(()),
            (_, true) => self.note_what_follows(plan, key, &before, applied)?,
            (_, false) => self.note_what_is(writer, plan, key, &before, applied)?,
        }
        self.keep_full(writer.state(), &plan.table)
    }

    /// Records rows as they are now.
    fn note_what_is(
        &mut self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        key: &[usize],
        before: &Before,
        applied: usize,
    ) -> Result<()> {
        let found = self.read(writer, &plan.table, key, &before.fitted.rows, 0..applied)?;
        let recorded = self.table(&plan.table)?;
        // Several records may be one row: it is as the last one left it.
        let mut seen = HashSet::new();
        for number in 0..applied {
            let Some(now) = found.get(number) else { continue };
            let before = before.found.get(number);
            if before.as_ref().is_some_and(|before| are_same(before, &now)) {
                continue;
            }
            let at = |column: &usize| recorded.stored.iter().position(|stored| stored == column);
            if !seen.insert(encode(key.iter().filter_map(at).map(|at| now[at]))) {
                continue;
            }
            match before {
                Some(before) => recorded.updated(&plan.table, key, &before, &now),
                None => recorded.created(&plan.table, key, &now),
            }
        }
        Ok(())
    }

    /// Records rows as they follow from what they were and the records, each of which is another row.
    fn note_what_follows(&mut self, plan: &TablePlan, key: &[usize], before: &Before, applied: usize) -> Result<()> {
        let recorded = self.table(&plan.table)?;
        let records = &before.fitted.rows;
        let by = plan.newer_by.and_then(|by| recorded.stored.iter().position(|stored| *stored == by));
        let (mut old, mut now) = (Vec::new(), Vec::new());
        for number in 0..applied {
            let is_there = before.found.get_into(number, &mut old);
            now.clear();
            now.extend(recorded.stored.iter().map(|at| records.get(number, *at).unwrap_or(ValueRef::Null)));
            if !is_there {
                recorded.created(&plan.table, key, &now);
                continue;
            }
            if plan.newer_by.is_some() && !by.is_some_and(|by| newer(old[by], now[by])) {
                continue;
            }
            for (at, column) in recorded.stored.iter().enumerate() {
                if plan.keeps(*column) || !changes(plan.strategy, old[at], now[at]) {
                    now[at] = old[at];
                }
            }
            recorded.updated(&plan.table, key, &old, &now);
        }
        Ok(())
    }

    /// The stored values of rows that are found by a key.
    fn read(
        &mut self,
        writer: &mut dyn Writer,
        table: &TableSchema,
        key: &[usize],
        rows: &Rows,
        range: Range<usize>,
    ) -> Result<Found> {
        let stored = &self.table(table)?.stored;
        let (by, read) = (names(table, key), names(table, stored));
        let collations = table.key_collations_of(key);
        let lookup = Lookup { table: &table.name, columns: &by, collations: &collations, cells: key, read: &read };
        let mut found = Found::default();
        writer.lookup(&lookup, rows, range, &mut found)?;
        Ok(found)
    }

    fn table(&mut self, table: &TableSchema) -> Result<&mut Recorded> {
        let at = match self.tables.iter().position(|recorded| recorded.name == table.name) {
            Some(at) => at,
            None => {
                let transfer = self
                    .keeper
                    .transfer_of(&table.name)
                    .ok_or_else(|| Error::new(ErrorKind::InvalidInput, "only a pull that leaves a history can be undone"))?;
                self.tables.push(Recorded {
                    name: table.name.clone(),
                    transfer,
                    hasher: hasher_of(transfer),
                    stored: stored(table),
                    pages: Vec::new(),
                });
                self.tables.len() - 1
            }
        };
        Ok(&mut self.tables[at])
    }

    fn keep_full(&mut self, sql: &mut dyn Sql, table: &TableSchema) -> Result<()> {
        let full = |recorded: &&mut Recorded| {
            recorded.name == table.name && recorded.pages.iter().any(|page| page.bytes().len() >= PAGE_BYTES)
        };
        match self.tables.iter_mut().find(full) {
            Some(recorded) => recorded.keep(&self.keeper, sql),
            None => Ok(()),
        }
    }
}

impl Recorded {
    fn keep(&mut self, keeper: &Keeper, sql: &mut dyn Sql) -> Result<()> {
        let mut pages = std::mem::take(&mut self.pages).into_iter();
        pages.try_for_each(|page| keeper.keep(sql, self.transfer, &self.name, &page))
    }

    /// The page that entries go to which are found by this key.
    fn page(&mut self, table: &TableSchema, key: &[usize]) -> &mut PageBuilder {
        let at = |column: &usize| self.stored.iter().position(|stored| stored == column);
        let key: Vec<usize> = key.iter().filter_map(at).collect();
        let last = match self.pages.iter().rposition(|page| page.columns.key == key).filter(|at| at + 1 == self.pages.len())
        {
            Some(last) => last,
            None => {
                let names = names(table, &self.stored).into_iter().map(str::to_owned).collect();
                self.pages.push(PageBuilder::new(Columns { names, key }));
                self.pages.len() - 1
            }
        };
        &mut self.pages[last]
    }

    fn created(&mut self, table: &TableSchema, key: &[usize], now: &[ValueRef<'_>]) {
        let after = hash_of(&mut self.hasher, now.iter().copied());
        self.page(table, key).created(now, after);
    }

    fn updated(&mut self, table: &TableSchema, key: &[usize], before: &[ValueRef<'_>], now: &[ValueRef<'_>]) {
        if are_same(before, now) {
            return;
        }
        let after = hash_of(&mut self.hasher, now.iter().copied());
        self.page(table, key).updated(before, now, after);
    }
}

fn are_same(before: &[ValueRef<'_>], now: &[ValueRef<'_>]) -> bool {
    before.iter().zip(now).all(|(before, now)| before.same(*now))
}

/// Whether what a bulk apply makes of a row follows from the row and its record: each record has all columns that are stored, or is none
/// for the store, and no row changes because another one does.
fn follows(plan: &TablePlan, stored: &[usize]) -> bool {
    let comes = |column: &usize| plan.targets.contains(&Some(*column));
    stored.iter().all(comes) && !refers_to_itself(&plan.table, plan.table.names)
}

/// The columns of a table whose values are stored: generated ones follow from them.
pub(super) fn stored(table: &TableSchema) -> Vec<usize> {
    (0..table.columns.len()).filter(|column| !table.columns[*column].generated).collect()
}

/// Each transfer hashes rows in its own way.
pub(super) fn hasher_of(transfer: Uuid) -> RowHasher {
    RowHasher::new(transfer.as_u64_pair().1)
}

fn cannot_tell(table: &TableSchema, column: usize) -> Error {
    let (table, column) = (&table.name, &table.columns[column].name);
    let message = format!(
        "rows of {table:?} have no key, and the records lack {column:?}, which has a default: what was added could not be told afterwards"
    );
    Error::new(ErrorKind::NotUndoable, message).with_hint("Pull it without keeping what undoes the pull.")
}
