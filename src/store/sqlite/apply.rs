//! Applies records that are identified by a key.
//!
//! The fast path puts many records into one upsert and reads exact counts off it: `rowferry_hit()` in the upsert's
//! condition counts the conflicts, so that created = records - hits, updated = changes - created, unchanged = hits - updated.
//! This holds for keys without NULL and tables without triggers (a BEFORE trigger may make SQLite leave a row out).
//!
//! Before either, what changes nothing is found by reading: see [`settle`](super::settle).
//!
//! The careful path looks the row up, decides, and writes: for tables with triggers, for records that lack a column, and for
//! each record of a statement that SQLite refused, so that each of them gets its own outcome.
//!
//! A statement of many rows on a table with further unique indexes would copy each page that it touches into a statement
//! journal, because it may have to be undone as a whole; there one record a statement is faster.

use std::ops::Range;

use rusqlite::CachedStatement;

use super::dialect::{Parameter, borrowed, column_of, failed, quote, quote_all, refusal};
use super::inspect;
use super::settle::settle;
use super::write::SqliteWriter;
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::affinity::{Affinity, Fit, fit};
use crate::plan::decide::{Decision, decide};
use crate::plan::{Identity, TablePlan};

/// Records in one statement of the fast path.
const CHUNK: usize = 32;

/// SQLite's most parameters of a statement.
const PARAMETERS: usize = 32_766;

/// A column that is written: where its values come from and go to.
pub(super) struct Column {
    /// Its position in the incoming rows.
    pub(super) incoming: usize,
    /// Its position in the local table.
    pub(super) local: usize,
    affinity: Affinity,
    strict: bool,
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
        let columns = plan.targets.iter().enumerate().filter_map(|(incoming, target)| {
            let local = (*target)?;
            let (affinity, strict) = *affinities.get(local)?;
            Some(Column { incoming, local, affinity, strict })
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
    fn is_plain(&self, row: usize, key: &[usize]) -> bool {
        key.iter().all(|at| self.rows.get(row, *at).is_some_and(|value| !value.is_null()))
            && self
                .columns
                .iter()
                .all(|column| self.rows.get(row, column.incoming).is_some_and(|value| self.holds(column, value)))
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
    let Identity::Key { columns: key, incoming, .. } = &plan.identity else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the table {:?} has no key to apply records by", plan.table.name),
        ));
    };
    let batch = Batch::new(writer, plan, rows);
    let careful_only = inspect::has_triggers(&writer.connection.sqlite, &plan.table.name)?;
    let chunk = if plan.table.unique.is_empty() || only_key_is_unique(plan, key) {
        CHUNK.min(PARAMETERS / batch.columns.len().max(1)).max(1)
    } else {
        1
    };
    let prepare = |records| writer.connection.sqlite.prepare_cached(&upsert_sql(&batch, key, records)).map_err(failed);
    let mut upsert = Upsert { many: prepare(chunk)?, one: prepare(1)?, chunk };
    let key_columns = key_columns(&batch, key);
    // Records keep their order: the same key twice in a batch ends as the second one has it.
    let mut plain = Vec::new();
    for row in range {
        if batch.is_plain(row, incoming) {
            plain.push(row);
        } else {
            write(writer, &batch, &key_columns, &mut upsert, careful_only, &mut plain, tally)?;
            careful(writer, &batch, row, tally)?;
        }
    }
    write(writer, &batch, &key_columns, &mut upsert, careful_only, &mut plain, tally)
}

/// The columns of the key, as they are written.
fn key_columns<'b>(batch: &'b Batch<'_>, key: &[usize]) -> Vec<&'b Column> {
    key.iter().filter_map(|at| batch.columns.iter().find(|column| column.local == *at)).collect()
}

/// Applies whole records that fit, and empties the list of them.
fn write(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    key: &[&Column],
    upsert: &mut Upsert<'_>,
    careful_only: bool,
    rows: &mut Vec<usize>,
    tally: &mut Tally,
) -> Result<()> {
    settle(writer, batch, key, rows, tally)?;
    if careful_only {
        rows.iter().try_for_each(|row| careful(writer, batch, *row, tally))?;
    } else {
        fast(writer, batch, upsert, rows, tally)?;
    }
    rows.clear();
    Ok(())
}

/// Whether the key is itself the only unique set (it is one where the table has no primary key).
fn only_key_is_unique(plan: &TablePlan, key: &[usize]) -> bool {
    plan.table.primary_key.is_empty()
        && plan.table.unique.len() == 1
        && plan.table.column_indexes(&plan.table.unique[0].columns).as_deref() == Some(key)
}

/// The statement of the fast path, for a whole chunk and for one record.
struct Upsert<'c> {
    many: CachedStatement<'c>,
    one: CachedStatement<'c>,
    chunk: usize,
}

fn upsert_sql(batch: &Batch<'_>, key: &[usize], records: usize) -> String {
    let plan = batch.plan;
    let table = quote(&plan.table.name);
    let width = batch.columns.len();
    let record = |at: usize| {
        let marks = (0..width).map(|column| format!("?{}", at * width + column + 1)).collect::<Vec<_>>().join(",");
        format!("({marks})")
    };
    let values = (0..records).map(record).collect::<Vec<_>>().join(",");
    let target = quote_all(key.iter().map(|at| plan.table.columns[*at].name.as_str()));
    let action = match plan.strategy {
        Strategy::Skip | Strategy::Append => "NOTHING".to_owned(),
        Strategy::Overwrite | Strategy::Merge => update_sql(batch, key, &table),
    };
    format!("INSERT INTO {table}({}) VALUES {values} ON CONFLICT({target}) DO {action}", quote_all(batch.names()))
}

fn update_sql(batch: &Batch<'_>, key: &[usize], table: &str) -> String {
    let merge = batch.plan.strategy == Strategy::Merge;
    // A column of the key can only differ where values that compare equal need not be the same.
    let may_differ = |column: &&Column| {
        !key.contains(&column.local)
            || column.affinity.keeps_all()
            || batch.plan.table.columns[column.local].collation.is_some()
    };
    let changing: Vec<&Column> = batch.columns.iter().filter(may_differ).collect();
    let Some(first_key) = key.first() else {
        return "NOTHING".to_owned();
    };
    if changing.is_empty() {
        let name = quote(&batch.plan.table.columns[*first_key].name);
        // Not `rowferry_hit() AND 0`: SQLite folds that into 0 and never calls the function.
        return format!("UPDATE SET {name} = excluded.{name} WHERE NOT rowferry_hit()");
    }
    let set = changing.iter().map(|column| {
        let name = quote(batch.name(column));
        if merge {
            format!("{name} = COALESCE(excluded.{name}, {table}.{name})")
        } else {
            format!("{name} = excluded.{name}")
        }
    });
    let differs = changing.iter().map(|column| {
        let name = quote(batch.name(column));
        // Columns without affinity hold values of which `IS` says that they are equal when they are not the same.
        let differs = if column.affinity.keeps_all() {
            format!("NOT rowferry_same({table}.{name}, excluded.{name})")
        } else {
            format!("{table}.{name} COLLATE BINARY IS NOT excluded.{name}")
        };
        if merge { format!("(excluded.{name} IS NOT NULL AND {differs})") } else { differs }
    });
    let (set, differs) = (set.collect::<Vec<_>>().join(", "), any_of(&differs.collect::<Vec<_>>()));
    format!("UPDATE SET {set} WHERE rowferry_hit() AND ({differs})")
}

/// `a OR b OR ...`, nested in halves: SQLite allows expressions 1,000 deep, and a table may have 2,000 columns.
fn any_of(terms: &[String]) -> String {
    match terms {
        [] => "0".to_owned(),
        [term] => term.clone(),
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            format!("({} OR {})", any_of(left), any_of(right))
        }
    }
}

/// Applies records in as few statements as possible.
fn fast(writer: &SqliteWriter, batch: &Batch<'_>, upsert: &mut Upsert<'_>, rows: &[usize], tally: &mut Tally) -> Result<()> {
    let (whole, rest) = rows.split_at(rows.len() - rows.len() % upsert.chunk);
    for records in whole.chunks(upsert.chunk).chain(rest.chunks(1)) {
        let statement = if records.len() == upsert.chunk { &mut upsert.many } else { &mut upsert.one };
        let before = writer.connection.hits();
        match execute(statement, batch, records) {
            Ok(changes) => {
                let hits = writer.connection.hits() - before;
                count(batch.plan.strategy, records.len() as u64, hits, changes as u64, tally);
            }
            Err(error) if refusal(&error).is_some() => {
                // The statement did nothing: find out for each of its records what is to be said of it.
                writer.still_open()?;
                records.iter().try_for_each(|row| careful(writer, batch, *row, tally))?;
            }
            Err(error) => return Err(failed(error).while_doing(format_args!("writing to {:?}", batch.plan.table.name))),
        }
    }
    Ok(())
}

fn count(strategy: Strategy, records: u64, hits: u64, changes: u64, tally: &mut Tally) {
    let outcome = &mut tally.outcome;
    match strategy {
        Strategy::Skip | Strategy::Append => {
            outcome.created += changes;
            outcome.skipped += records - changes;
        }
        Strategy::Overwrite | Strategy::Merge => {
            let created = records - hits;
            let updated = changes - created;
            outcome.created += created;
            outcome.updated += updated;
            outcome.unchanged += hits - updated;
        }
    }
}

fn execute(statement: &mut CachedStatement<'_>, batch: &Batch<'_>, records: &[usize]) -> rusqlite::Result<usize> {
    let mut parameter = 1;
    for row in records {
        for column in &batch.columns {
            let value = batch.rows.get(*row, column.incoming).unwrap_or(ValueRef::Null);
            statement.raw_bind_parameter(parameter, Parameter(value))?;
            parameter += 1;
        }
    }
    statement.raw_execute()
}

/// Applies one record by looking its row up first.
fn careful(writer: &SqliteWriter, batch: &Batch<'_>, row: usize, tally: &mut Tally) -> Result<()> {
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
            let sql = format!("UPDATE {table} SET {} WHERE {condition}", set.collect::<Vec<_>>().join(", "));
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
        return run(writer, &format!("INSERT INTO {table} DEFAULT VALUES"), []);
    }
    let names = quote_all(columns.iter().map(|column| batch.name(column)));
    let marks = (1..=columns.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    run(writer, &format!("INSERT INTO {table}({names}) VALUES ({marks})"), values.iter().copied())
}

fn run<'v>(writer: &SqliteWriter, sql: &str, values: impl IntoIterator<Item = ValueRef<'v>>) -> rusqlite::Result<usize> {
    writer.connection.sqlite.prepare_cached(sql)?.execute(bound(values))
}
