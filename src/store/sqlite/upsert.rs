//! The fast path: writes whole records that fit, in as few statements as possible, and knows exactly what became of them.
//!
//! A table whose key is its only index takes many records in one upsert. `rowferry_hit()` in its condition counts the
//! conflicts, so that created = records - hits, updated = changes - created, unchanged = hits - updated. This holds for keys
//! without NULL and tables without triggers (a BEFORE trigger may make SQLite leave a row out).
//!
//! On a table with further indexes such a statement is slow: it may have to be undone as a whole, so it copies each page that
//! it touches into a statement journal. There
//!
//! - new records go many at a time into an `INSERT OR FAIL`, which needs no such journal. It stops at the first record that
//!   SQLite refuses, as it does one whose key exists; those in front of it are created.
//! - other records are upserted one by one, and columns of indexes are left out of SET: an index is written anew for a
//!   column that is set, even if it stays as it is. Where one does change the condition calls `rowferry_hit()` again and
//!   is false, and the record is upserted once more with all columns.

use rusqlite::ffi;

use super::apply::{Batch, Column, careful};
use super::bulk::Bulk;
use super::dialect::{failed, quote, quote_all, refusal};
use super::write::SqliteWriter;
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::ValueRef;
use crate::error::{Error, Result};
use crate::plan::TablePlan;

/// Records in one statement.
const CHUNK: usize = 64;

/// SQLite's most parameters of a statement.
const PARAMETERS: usize = 32_766;

/// SQLite's largest row in bytes.
const LARGEST_ROW: usize = 1_000_000_000;

/// After so many new records in a row the next ones are taken to be new, too.
const STREAK: usize = 8;

/// So many records are written with all columns after one that needed it.
const HEAVY: usize = 16;

/// The statements that write a batch.
pub(super) struct Upsert<'u> {
    writer: &'u SqliteWriter,
    batch: &'u Batch<'u>,
    /// How many records `many` and `insert` take.
    chunk: usize,
    /// Upserts a chunk: where the key is the only index.
    many: Option<Bulk<'u>>,
    /// Inserts a chunk of new records: where there are further indexes.
    insert: Option<Bulk<'u>>,
    /// Upserts a record whose columns in indexes stay as they are: where there are further indexes.
    light: Option<Bulk<'u>>,
    /// Upserts any record.
    one: Bulk<'u>,
    /// New records that came one behind the other just now.
    streak: usize,
    /// For how many records `light` is not tried.
    heavy: usize,
}

/// What a statement did.
struct Done {
    hits: u64,
    changes: u64,
}

impl<'u> Upsert<'u> {
    pub(super) fn new(writer: &'u SqliteWriter, batch: &'u Batch<'u>, key: &[usize]) -> Result<Self> {
        let plan = batch.plan;
        let prepare = |sql: String| Bulk::prepare(&writer.connection.sqlite, &sql).map_err(failed);
        let chunk = CHUNK.min(PARAMETERS / batch.columns.len().max(1)).max(1);
        let only_key = has_only_key(plan, key);
        let many = (only_key && stops_cleanly(batch)).then(|| upsert_sql(batch, key, chunk, &update_sql(batch, key)));
        let insert = (!only_key && stops_cleanly(batch) && plan.table.foreign_keys.is_empty() && !plan.table.autoincrement)
            .then(|| insert_sql(batch, "FAIL", chunk));
        let light = if only_key { None } else { light_sql(batch) };
        Ok(Upsert {
            writer,
            batch,
            chunk,
            many: many.map(prepare).transpose()?,
            insert: insert.map(prepare).transpose()?,
            light: light.map(|action| prepare(upsert_sql(batch, key, 1, &action))).transpose()?,
            one: prepare(upsert_sql(batch, key, 1, &update_sql(batch, key)))?,
            streak: 0,
            heavy: 0,
        })
    }

    /// Writes these records in their order.
    pub(super) fn write(&mut self, rows: &[usize], tally: &mut Tally) -> Result<()> {
        let mut rest = rows;
        while let Some((first, others)) = rest.split_first() {
            rest = match rest.split_at_checked(self.chunk) {
                Some((records, behind)) if self.many.is_some() => {
                    self.upsert_chunk(records, tally)?;
                    behind
                }
                Some((records, _)) if self.insert.is_some() && self.streak >= STREAK => {
                    let created = self.insert_chunk(records)?;
                    tally.outcome.created += created as u64;
                    if created < records.len() {
                        self.streak = 0;
                    }
                    rest.get(created..).unwrap_or_default()
                }
                _ => {
                    self.upsert_one(*first, tally)?;
                    others
                }
            };
        }
        Ok(())
    }

    fn upsert_chunk(&mut self, records: &[usize], tally: &mut Tally) -> Result<()> {
        let Some(many) = &mut self.many else {
            return Ok(());
        };
        match run(self.writer, many, self.batch, records) {
            Ok(done) => {
                count(self.batch.plan.strategy, records.len() as u64, &done, tally);
                Ok(())
            }
            // The statement did nothing: find out for each of its records what is to be said of it.
            Err(error) => {
                self.refused(error)?;
                records.iter().try_for_each(|row| careful(self.writer, self.batch, *row, tally))
            }
        }
    }

    /// Inserts records as long as SQLite takes them; gives how many it took.
    fn insert_chunk(&mut self, records: &[usize]) -> Result<usize> {
        let Some(insert) = &mut self.insert else {
            return Ok(0);
        };
        match run(self.writer, insert, self.batch, records) {
            Ok(_) => Ok(records.len()),
            Err(error) if keeps_what_was_done(&error) => Ok(self.writer.connection.sqlite.changes() as usize),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn upsert_one(&mut self, row: usize, tally: &mut Tally) -> Result<()> {
        let before = tally.outcome.created;
        let light = self.light.as_mut().filter(|_| self.heavy == 0);
        self.heavy = self.heavy.saturating_sub(1);
        let mut done = match light {
            Some(light) => run(self.writer, light, self.batch, &[row]),
            None => run(self.writer, &mut self.one, self.batch, &[row]),
        };
        if done.as_ref().is_ok_and(|done| done.hits > 1) {
            self.heavy = HEAVY;
            done = run(self.writer, &mut self.one, self.batch, &[row]);
        }
        match done {
            Ok(done) => count(self.batch.plan.strategy, 1, &done, tally),
            Err(error) => {
                self.refused(error)?;
                careful(self.writer, self.batch, row, tally)?;
            }
        }
        self.streak = if tally.outcome.created > before { self.streak + 1 } else { 0 };
        Ok(())
    }

    /// Gives the error on unless SQLite refused a record for its own sake, and the transaction goes on.
    fn refused(&self, error: rusqlite::Error) -> Result<()> {
        if refusal(&error).is_none() {
            return Err(self.broken(error));
        }
        self.writer.still_open()
    }

    fn broken(&self, error: rusqlite::Error) -> Error {
        failed(error).while_doing(format_args!("writing to {:?}", self.batch.plan.table.name))
    }
}

/// Whether the table has no index beside that of this key.
fn has_only_key(plan: &TablePlan, key: &[usize]) -> bool {
    let table = &plan.table;
    // The key is a unique set itself where the table has no primary key.
    let is_key = |columns: &[String]| table.primary_key.is_empty() && table.column_indexes(columns).as_deref() == Some(key);
    table.indexes.is_empty() && table.unique.iter().all(|set| is_key(&set.columns))
}

/// Whether a statement of many records that SQLite refuses has done nothing, or what is known, for any record that gets here.
///
/// It is not so where a value is found to be of a wrong type, or a row too large, in the middle of a statement for which
/// SQLite saw no need of a journal: what came before stays, and is not counted. The values that a record brings are checked
/// before, but those of defaults and generated columns are not.
fn stops_cleanly(batch: &Batch<'_>) -> bool {
    batch.columns.len() == batch.plan.table.columns.len() && batch.rows.size_bytes() < LARGEST_ROW
}

/// Whether an `INSERT OR FAIL` that ends with this error keeps, and counts, what it did before.
fn keeps_what_was_done(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error().map(|error| error.extended_code),
        Some(
            ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | ffi::SQLITE_CONSTRAINT_ROWID
                | ffi::SQLITE_CONSTRAINT_NOTNULL
                | ffi::SQLITE_CONSTRAINT_CHECK
        )
    )
}

/// Runs a statement with the values of these records. What it did is that of all of them together.
fn run(writer: &SqliteWriter, statement: &mut Bulk<'_>, batch: &Batch<'_>, records: &[usize]) -> rusqlite::Result<Done> {
    let before = writer.connection.hits();
    let value = |row: usize, column: &Column| batch.rows.get(row, column.incoming).unwrap_or(ValueRef::Null);
    let values = records.iter().flat_map(|row| batch.columns.iter().map(|column| value(*row, column)));
    let changes = statement.execute(values)?;
    Ok(Done { hits: writer.connection.hits() - before, changes })
}

fn count(strategy: Strategy, records: u64, done: &Done, tally: &mut Tally) {
    let outcome = &mut tally.outcome;
    match strategy {
        Strategy::Skip | Strategy::Append => {
            outcome.created += done.changes;
            outcome.skipped += records - done.changes;
        }
        Strategy::Overwrite | Strategy::Merge => {
            let created = records - done.hits;
            let updated = done.changes - created;
            outcome.created += created;
            outcome.updated += updated;
            outcome.unchanged += done.hits - updated;
        }
    }
}

fn insert_sql(batch: &Batch<'_>, or: &str, records: usize) -> String {
    let width = batch.columns.len();
    let record = |at: usize| {
        let marks = (0..width).map(|column| format!("?{}", at * width + column + 1)).collect::<Vec<_>>().join(",");
        format!("({marks})")
    };
    let values = (0..records).map(record).collect::<Vec<_>>().join(",");
    format!("INSERT OR {or} INTO {}({}) VALUES {values}", quote(&batch.plan.table.name), quote_all(batch.names()))
}

fn upsert_sql(batch: &Batch<'_>, key: &[usize], records: usize, action: &str) -> String {
    let target = quote_all(key.iter().map(|at| batch.plan.table.columns[*at].name.as_str()));
    format!("{} ON CONFLICT({target}) DO {action}", insert_sql(batch, "ABORT", records))
}

/// What an upsert does with a row that exists.
fn update_sql(batch: &Batch<'_>, key: &[usize]) -> String {
    if matches!(batch.plan.strategy, Strategy::Skip | Strategy::Append) {
        return "NOTHING".to_owned();
    }
    let changing: Vec<&Column> = batch.columns.iter().filter(|column| batch.may_differ(column)).collect();
    let Some(first_key) = key.first() else {
        return "NOTHING".to_owned();
    };
    if changing.is_empty() {
        let name = quote(&batch.plan.table.columns[*first_key].name);
        // Not `rowferry_hit() AND 0`: SQLite folds that into 0 and never calls the function.
        return format!("UPDATE SET {name} = excluded.{name} WHERE NOT rowferry_hit()");
    }
    format!("UPDATE SET {} WHERE rowferry_hit() AND ({})", set(batch, &changing), differ(batch, &changing))
}

/// The same, with those columns alone that stand in no index; `None` if that is all of them, or none. A row of which other
/// columns change is left as it is, and hit twice.
fn light_sql(batch: &Batch<'_>) -> Option<String> {
    if matches!(batch.plan.strategy, Strategy::Skip | Strategy::Append) {
        return None;
    }
    let table = &batch.plan.table;
    let sets = table.unique.iter().flat_map(|set| set.columns.iter());
    let indexed: Vec<&String> =
        sets.chain(table.indexes.iter().flat_map(|index| index.columns.iter().map(|(name, _)| name))).collect();
    let is_heavy = |column: &&Column| column.in_key || indexed.iter().any(|name| *name == batch.name(column));
    let changing = batch.columns.iter().filter(|column| batch.may_differ(column));
    let (heavy, light): (Vec<&Column>, Vec<&Column>) = changing.partition(is_heavy);
    if heavy.is_empty() || light.is_empty() {
        return None;
    }
    let (heavy, set, light) = (differ(batch, &heavy), set(batch, &light), differ(batch, &light));
    Some(format!("UPDATE SET {set} WHERE rowferry_hit() AND CASE WHEN {heavy} THEN NOT rowferry_hit() ELSE {light} END"))
}

fn set(batch: &Batch<'_>, columns: &[&Column]) -> String {
    let table = quote(&batch.plan.table.name);
    let set = columns.iter().map(|column| {
        let name = quote(batch.name(column));
        match batch.plan.strategy {
            Strategy::Merge => format!("{name} = COALESCE(excluded.{name}, {table}.{name})"),
            _ => format!("{name} = excluded.{name}"),
        }
    });
    set.collect::<Vec<_>>().join(", ")
}

/// Whether the strategy changes one of these columns.
fn differ(batch: &Batch<'_>, columns: &[&Column]) -> String {
    let table = quote(&batch.plan.table.name);
    let differs = columns.iter().map(|column| {
        let name = quote(batch.name(column));
        // Columns without affinity hold values of which `IS` says that they are equal when they are not the same.
        let differs = if column.affinity.keeps_all() {
            format!("NOT rowferry_same({table}.{name}, excluded.{name})")
        } else {
            format!("{table}.{name} COLLATE BINARY IS NOT excluded.{name}")
        };
        match batch.plan.strategy {
            Strategy::Merge => format!("(excluded.{name} IS NOT NULL AND {differs})"),
            _ => differs,
        }
    });
    any_of(&differs.collect::<Vec<_>>())
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
