//! Applies records that are identified by a key.
//!
//! First what changes nothing is found by reading: see [`settle`](super::settle). What is left is written in as few statements
//! as possible: see [`upsert`](super::upsert).
//!
//! The careful path, here, looks the row up, decides, and writes: for tables with triggers, for records that lack a column, and
//! for each record of a statement that SQLite refused, so that each of them gets its own outcome.
//!
//! Every statement says OR ABORT: a constraint may be declared with ON CONFLICT REPLACE, which would delete another row, or
//! with IGNORE, which would leave the record out without a word.

use std::ops::Range;

use super::dialect::{Parameter, borrowed, column_of, failed, of_run, quote, quote_all, refusal};
use super::inspect;
use super::settle::settle;
use super::upsert::Upsert;
use super::write::SqliteWriter;
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Cell, Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::affinity::{Affinity, Fit, fit};
use crate::plan::decide::{Decision, decide};
use crate::plan::{Identity, TablePlan};

/// A column that is written: where its values come from and go to.
pub(super) struct Column {
    /// Its position in the incoming rows.
    pub(super) incoming: usize,
    /// Its position in the local table.
    pub(super) local: usize,
    /// Whether it is part of the key that identifies a row.
    pub(super) in_key: bool,
    pub(super) affinity: Affinity,
    strict: bool,
    /// The classes of values, as [`class_of`] gives them, that it holds whatever they are: a quick answer for most.
    held: u8,
}

/// One bit for the class of a value; none for what is seldom or must be looked at.
#[inline]
fn class_of(cell: Cell) -> u8 {
    match cell {
        Cell::Null => 1,
        Cell::Integer(_) => 2,
        Cell::Real(v) if v.is_normal() => 4,
        Cell::Text { .. } => 8,
        Cell::Blob { .. } => 16,
        Cell::Absent | Cell::Real(_) => 0,
    }
}

/// The bits of the classes that are held. A key is never NULL, and UTF-16 cannot hold all texts.
fn held(affinity: Affinity, in_key: bool, any_text: bool) -> u8 {
    let samples = [
        (Cell::Null, ValueRef::Null, !in_key),
        (Cell::Integer(1), ValueRef::Integer(1), true),
        (Cell::Real(1.5), ValueRef::Real(1.5), true),
        (Cell::Text { start: 0, length: 0 }, ValueRef::Text(b""), any_text),
        (Cell::Blob { start: 0, length: 0 }, ValueRef::Blob(b""), true),
    ];
    let held = samples.into_iter().filter(|(_, value, held)| *held && affinity.keeps(*value));
    held.map(|(cell, ..)| class_of(cell)).sum()
}

/// What is the same for all records of a batch.
pub(super) struct Batch<'b> {
    pub(super) plan: &'b TablePlan,
    pub(super) rows: &'b Rows,
    pub(super) columns: Vec<Column>,
    any_text: bool,
}

impl<'b> Batch<'b> {
    pub(super) fn new(writer: &SqliteWriter, plan: &'b TablePlan, rows: &'b Rows) -> Self {
        let affinities = Affinity::of_columns(&plan.table);
        let key: &[usize] = match &plan.identity {
            Identity::Key { columns, .. } => columns,
            Identity::WholeRow => &[],
        };
        let columns = plan.targets.iter().enumerate().filter_map(|(incoming, target)| {
            let local = (*target)?;
            let (affinity, strict) = *affinities.get(local)?;
            let in_key = key.contains(&local);
            Some(Column { incoming, local, in_key, affinity, strict, held: held(affinity, in_key, writer.any_text) })
        });
        Batch { plan, rows, columns: columns.collect(), any_text: writer.any_text }
    }

    pub(super) fn name(&self, column: &Column) -> &'b str {
        &self.plan.table.columns[column.local].name
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'b str> {
        self.columns.iter().map(|column| self.plan.table.columns[column.local].name.as_str())
    }

    /// The incoming key; columns that the record lacks are left out.
    pub(super) fn key(&self, row: usize) -> Vec<Value> {
        match &self.plan.identity {
            Identity::Key { incoming, .. } => {
                incoming.iter().filter_map(|at| self.rows.get(row, *at)).map(ValueRef::to_owned).collect()
            }
            Identity::WholeRow => Vec::new(),
        }
    }

    pub(super) fn failure(&self, row: usize, reason: Reason, column: Option<&str>, message: impl Into<String>) -> Failure {
        Failure { key: self.key(row), column: column.map(str::to_owned), reason, message: message.into() }
    }

    /// Whether the values of a column may differ between two rows of the same key: those of the key only where values that
    /// compare equal need not be the same.
    pub(super) fn may_differ(&self, column: &Column) -> bool {
        !column.in_key || column.affinity.keeps_all() || self.plan.table.columns[column.local].collation.is_some()
    }

    /// Whether the local table can hold a value as it is.
    fn holds(&self, column: &Column, value: ValueRef<'_>) -> bool {
        (column.affinity.keeps(value) || matches!(fit(value, column.affinity, column.strict), Fit::Same | Fit::Converted(_)))
            && (self.any_text || is_utf8(value))
    }

    /// The value as the local column stores it.
    #[inline]
    pub(super) fn stored<'v>(&self, column: &Column, value: ValueRef<'v>) -> ValueRef<'v> {
        if column.affinity.keeps(value) {
            return value;
        }
        match fit(value, column.affinity, column.strict) {
            Fit::Converted(stored) => stored,
            _ => value,
        }
    }

    /// The failure of a record that a trigger kept from being written.
    pub(super) fn left_out(&self, row: usize) -> Failure {
        self.failure(row, Reason::Trigger, None, format!("a trigger of {:?} left the record out", self.plan.table.name))
    }

    /// Why the local table cannot hold one of the record's values as it is; `None` if it can hold them all.
    pub(super) fn misfit(&self, row: usize) -> Option<Failure> {
        self.columns.iter().find_map(|column| {
            let value = self.rows.get(row, column.incoming)?;
            let name = self.name(column);
            if !self.any_text && !is_utf8(value) {
                let message = format!("{name:?} holds text that is not UTF-8, which this database (UTF-16) cannot store");
                return Some(self.failure(row, Reason::ValueOutOfRange, Some(name), message));
            }
            let (reason, message) = fit(value, column.affinity, column.strict).refusal(value, name)?;
            Some(self.failure(row, reason, Some(name), message))
        })
    }

    /// Whether the record can go through the fast path: all its columns are there and fit, and its key has no NULL.
    fn is_plain(&self, row: usize) -> bool {
        let (cells, bytes) = self.rows.cells(row);
        self.columns.iter().all(|column| {
            let cell = cells[column.incoming];
            column.held & class_of(cell) != 0
                || cell.value(bytes).is_some_and(|value| !(column.in_key && value.is_null()) && self.holds(column, value))
        })
    }

    /// What SQLite's refusal of a statement means for its one record; an error if it was no refusal.
    pub(super) fn refused(&self, writer: &SqliteWriter, row: usize, error: rusqlite::Error) -> Result<Failure> {
        let Some(reason) = refusal(&error) else {
            return Err(failed(error).while_doing(format_args!("writing to {:?}", self.plan.table.name)));
        };
        writer.still_open()?;
        let error = failed(error);
        if reason == Reason::ForeignKey
            && let Some((column, message)) = self.missing_parent(writer, row)?
        {
            return Ok(self.failure(row, reason, Some(&column), message));
        }
        let column = column_of(error.message(), &self.plan.table.name);
        Ok(self.failure(row, reason, column.as_deref(), error.message()))
    }

    /// Which of the record's references has no parent.
    fn missing_parent(&self, writer: &SqliteWriter, row: usize) -> Result<Option<(String, String)>> {
        for key in &self.plan.table.foreign_keys {
            let incoming = key.columns.iter().map(|name| {
                let local = self.plan.table.column_index(name)?;
                let column = self.columns.iter().find(|column| column.local == local)?;
                self.rows.get(row, column.incoming).filter(|value| !value.is_null())
            });
            let Some(values) = incoming.collect::<Option<Vec<_>>>() else {
                continue;
            };
            if !row_exists(writer, &key.parent, &key.parent_columns, &values)? {
                let message = format!("no row of {:?} has {} = {values:?}", key.parent, key.parent_columns.join(", "));
                return Ok(key.columns.first().map(|column| (column.clone(), message)));
            }
        }
        Ok(None)
    }
}

fn is_utf8(value: ValueRef<'_>) -> bool {
    !matches!(value, ValueRef::Text(text) if std::str::from_utf8(text).is_err())
}

/// Whether a row has these values in these columns. A table that does not exist has none.
pub(super) fn row_exists(writer: &SqliteWriter, table: &str, columns: &[String], values: &[ValueRef<'_>]) -> Result<bool> {
    if inspect::schema(&writer.connection.sqlite, table)?.is_none() {
        return Ok(false);
    }
    let sql = format!("SELECT EXISTS(SELECT 1 FROM {} WHERE {})", quote(table), equals(columns.iter().map(String::as_str)));
    let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
    statement.query_row(bound(values.iter().copied()), |row| row.get(0)).map_err(failed)
}

/// `"a" = ?1 AND "b" = ?2`
pub(super) fn equals<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.enumerate().map(|(at, name)| format!("{} = ?{}", quote(name), at + 1)).collect::<Vec<_>>().join(" AND ")
}

pub(super) fn bound<'v>(values: impl IntoIterator<Item = ValueRef<'v>>) -> impl rusqlite::Params {
    rusqlite::params_from_iter(values.into_iter().map(Parameter).collect::<Vec<_>>())
}

pub(super) fn apply(
    writer: &SqliteWriter,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<()> {
    let Identity::Key { columns: key, .. } = &plan.identity else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the table {:?} has no key to apply records by", plan.table.name),
        ));
    };
    let batch = Batch::new(writer, plan, rows);
    let careful_only = inspect::has_triggers(&writer.connection.sqlite, &plan.table.name)?;
    let mut upsert = Upsert::new(writer, &batch, key, range.len());
    let key = key_columns(&batch, key);
    let mut write = |plain: &mut Vec<usize>, tally: &mut Tally| {
        settle(writer, &batch, &key, plain, tally)?;
        if careful_only {
            plain.iter().try_for_each(|row| careful(writer, &batch, *row, tally))?;
        } else {
            upsert.write(plain, tally)?;
        }
        plain.clear();
        Ok::<(), Error>(())
    };
    // Records keep their order: the same key twice in a batch ends as the second one has it.
    let mut plain = Vec::new();
    for row in range {
        if batch.is_plain(row) {
            plain.push(row);
        } else {
            write(&mut plain, tally)?;
            careful(writer, &batch, row, tally)?;
        }
    }
    write(&mut plain, tally)
}

/// The columns of the key, as they are written.
fn key_columns<'b>(batch: &'b Batch<'_>, key: &[usize]) -> Vec<&'b Column> {
    key.iter().filter_map(|at| batch.columns.iter().find(|column| column.local == *at)).collect()
}

/// Applies one record by looking its row up first.
pub(super) fn careful(writer: &SqliteWriter, batch: &Batch<'_>, row: usize, tally: &mut Tally) -> Result<()> {
    let Identity::Key { columns: key, incoming, .. } = &batch.plan.identity else {
        return Err(Error::new(ErrorKind::InvalidInput, "a record without a key cannot be looked up"));
    };
    let mut key_values = Vec::with_capacity(incoming.len());
    for (at, local) in incoming.iter().zip(key) {
        match batch.rows.get(row, *at) {
            Some(value) if !value.is_null() => key_values.push(value),
            found => {
                let name = &batch.plan.table.columns[*local].name;
                let what = if found.is_some() { "NULL" } else { "nothing" };
                let message = format!("the record has {what} for {name:?}, which is part of the key");
                tally.fail(batch.failure(row, Reason::MissingKey, Some(name), message));
                return Ok(());
            }
        }
    }
    if let Some(failure) = batch.misfit(row) {
        // What would not be written need not fit: only the key must.
        let holds_key =
            || key_columns(batch, key).iter().zip(&key_values).all(|(column, value)| batch.holds(column, *value));
        if batch.plan.strategy == Strategy::Skip && holds_key() {
            let names: Vec<String> = key.iter().map(|at| batch.plan.table.columns[*at].name.clone()).collect();
            if row_exists(writer, &batch.plan.table.name, &names, &key_values)? {
                tally.outcome.skipped += 1;
                return Ok(());
            }
        }
        tally.fail(failure);
        return Ok(());
    }
    let present: Vec<&Column> = batch.columns.iter().filter(|c| batch.rows.get(row, c.incoming).is_some()).collect();
    let values: Vec<ValueRef<'_>> = present.iter().filter_map(|c| batch.rows.get(row, c.incoming)).collect();
    let table = quote(&batch.plan.table.name);
    let condition = equals(key.iter().map(|at| batch.plan.table.columns[*at].name.as_str()));
    let names = quote_all(present.iter().map(|column| batch.name(column)));
    let decision = {
        let sql = format!("SELECT {names} FROM {table} WHERE {condition}");
        let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
        let mut found = statement.query(bound(key_values.iter().copied())).map_err(failed)?;
        match found.next().map_err(failed)? {
            None => None,
            Some(existing) => {
                let existing = (0..present.len()).map(|at| existing.get_ref(at).map(borrowed));
                let existing = existing.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?;
                let stored: Vec<_> = present.iter().zip(&values).map(|(column, v)| Some(batch.stored(column, *v))).collect();
                Some(decide(batch.plan.strategy, &existing, &stored))
            }
        }
    };
    let (written, counter) = match decision {
        Some(Decision::Skip) => {
            tally.outcome.skipped += 1;
            return Ok(());
        }
        Some(Decision::Unchanged) => {
            tally.outcome.unchanged += 1;
            return Ok(());
        }
        None => (insert(writer, batch, &present, &values), &mut tally.outcome.created),
        Some(Decision::Update(changed)) => {
            let first = key_values.len() + 1;
            let set =
                changed.iter().enumerate().map(|(n, at)| format!("{} = ?{}", quote(batch.name(present[*at])), first + n));
            let sql = format!("UPDATE OR ABORT {table} SET {} WHERE {condition}", set.collect::<Vec<_>>().join(", "));
            let all = key_values.iter().copied().chain(changed.iter().map(|at| values[*at]));
            (run(writer, &sql, all), &mut tally.outcome.updated)
        }
    };
    match written {
        Ok(0) => tally.fail(batch.left_out(row)),
        Ok(_) => *counter += 1,
        Err(error) => tally.fail(batch.refused(writer, row, error)?),
    }
    Ok(())
}

/// Inserts one row.
pub(super) fn insert(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    columns: &[&Column],
    values: &[ValueRef<'_>],
) -> rusqlite::Result<usize> {
    let table = quote(&batch.plan.table.name);
    if columns.is_empty() {
        return run(writer, &format!("INSERT OR ABORT INTO {table} DEFAULT VALUES"), []);
    }
    let names = quote_all(columns.iter().map(|column| batch.name(column)));
    let marks = (1..=columns.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    run(writer, &format!("INSERT OR ABORT INTO {table}({names}) VALUES ({marks})"), values.iter().copied())
}

fn run<'v>(writer: &SqliteWriter, sql: &str, values: impl IntoIterator<Item = ValueRef<'v>>) -> rusqlite::Result<usize> {
    let sqlite = &writer.connection.sqlite;
    let mut statement = sqlite.prepare_cached(sql)?;
    statement.execute(bound(values)).map_err(|error| match of_run(error) {
        // SQLite prepares anew what was prepared for another schema, and may find that it cannot be.
        error if refusal(&error) == Some(Reason::Refused) => sqlite.prepare(sql).err().unwrap_or(error),
        error => error,
    })
}
