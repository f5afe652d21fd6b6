//! The fast path: writes whole records that fit, in as few statements as possible, and knows exactly what became of them.
//!
//! Most records go many at a time into one upsert. `rowferry_hit()` in its condition counts the conflicts, so that
//! created = records - hits, updated = changes - created, unchanged = hits - updated. This holds for keys without NULL and
//! tables without triggers (a BEFORE trigger may make SQLite leave a row out).
//!
//! A table with indexes beside that of its key wants more care, because it is they that take the time:
//!
//! - An index is written anew for a column that is set, even if it stays as it is. So the upsert leaves columns of indexes
//!   out; where one of them does change it refuses, and its records are written one by one with all columns.
//! - A statement of many records that may have to be undone copies each page that it touches into a journal, and new records
//!   touch many pages of an index. So they go into an `INSERT OR FAIL`, which needs no journal. It stops at the first record
//!   that SQLite refuses, as it does one whose key exists; those in front of it are created.

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

/// Records in one statement: many, and not so many for what is left of a batch. Few sizes, so that statements that were
/// prepared for one batch serve the next.
const CHUNKS: [usize; 2] = [200, 25];

/// Records in one statement that may well refuse.
const SMALL_CHUNK: usize = 16;

/// SQLite's most parameters of a statement.
const PARAMETERS: usize = 32_766;

/// SQLite's largest row in bytes.
const LARGEST_ROW: usize = 1_000_000_000;

/// After so many records in a row that were new, or were not, the next ones are taken to be the same.
const STREAK: usize = 8;

/// The statements that write a batch.
pub(super) struct Upsert<'u> {
    writer: &'u SqliteWriter,
    batch: &'u Batch<'u>,
    /// Upsert many records; the largest is the first.
    many: Vec<Statement<'u>>,
    /// Whether `many` may refuse what `one` takes, and is slow for new records.
    is_picky: bool,
    /// Insert many new records; the largest is the first.
    insert: Vec<Statement<'u>>,
    /// Upserts any record.
    one: Statement<'u>,
    /// Whether the last record that was written on its own was new, and how many in a row were like it.
    streak: (bool, usize),
}

/// A statement that is prepared when it is first needed.
struct Statement<'u> {
    sql: String,
    records: usize,
    prepared: Option<Bulk<'u>>,
}

/// What a statement did.
struct Done {
    hits: u64,
    changes: u64,
}

impl<'u> Upsert<'u> {
    /// For at most so many records.
    pub(super) fn new(writer: &'u SqliteWriter, batch: &'u Batch<'u>, key: &[usize], records: usize) -> Self {
        let table = &batch.plan.table;
        let most = match stops_cleanly(batch) {
            true => PARAMETERS / batch.columns.len().max(1),
            false => 1,
        };
        let update = update_sql(batch, key);
        let statements = |chunks: &[usize], sql: &dyn Fn(usize) -> String| {
            let chunks = chunks.iter().filter(|chunk| (2..=records).contains(*chunk) && **chunk <= most);
            chunks.map(|chunk| Statement { sql: sql(*chunk), records: *chunk, prepared: None }).collect::<Vec<_>>()
        };
        let is_picky = !has_only_key(batch.plan, key);
        let many = match (is_picky, light_sql(batch)) {
            (false, _) => statements(&CHUNKS, &|chunk| upsert_sql(batch, key, chunk, &update)),
            (true, Some(light)) => statements(&[SMALL_CHUNK], &|chunk| upsert_sql(batch, key, chunk, &light)),
            (true, None) => Vec::new(),
        };
        let insert = match is_picky && !table.autoincrement {
            true => statements(&CHUNKS, &|chunk| insert_sql(batch, "FAIL", chunk)),
            false => Vec::new(),
        };
        let one = Statement { sql: upsert_sql(batch, key, 1, &update), records: 1, prepared: None };
        Upsert { writer, batch, many, is_picky, insert, one, streak: (false, 0) }
    }

    /// Writes these records in their order.
    pub(super) fn write(&mut self, rows: &[usize], tally: &mut Tally) -> Result<()> {
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let (new, streak) = self.streak;
            let done = match self.is_picky {
                true if streak < STREAK => 0,
                true if new => self.insert_many(rest, tally)?,
                _ => self.upsert_many(rest, tally)?,
            };
            if done == 0 {
                self.upsert_one(*first, tally)?;
            }
            rest = rest.get(done.max(1)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Upserts the first of these records, if there are enough; gives how many that were.
    fn upsert_many(&mut self, rows: &[usize], tally: &mut Tally) -> Result<usize> {
        let Some((many, records)) = enough(&mut self.many, rows) else {
            return Ok(0);
        };
        match many.run(self.writer, self.batch, records) {
            Ok(done) => {
                count(self.batch.plan.strategy, records.len() as u64, &done, tally);
                if done.hits == 0 {
                    self.streak = (true, STREAK);
                }
            }
            // The statement did nothing.
            Err(error) => {
                self.refused(error)?;
                records.iter().try_for_each(|row| self.upsert_one(*row, tally))?;
            }
        }
        Ok(records.len())
    }

    /// Inserts the first of these records, as long as SQLite takes them; gives how many it took.
    fn insert_many(&mut self, rows: &[usize], tally: &mut Tally) -> Result<usize> {
        let Some((insert, records)) = enough(&mut self.insert, rows) else {
            return Ok(0);
        };
        let created = match insert.run(self.writer, self.batch, records) {
            Ok(_) => records.len(),
            Err(error) if keeps_what_was_done(&error) => self.writer.connection.sqlite.changes() as usize,
            Err(error) if undoes_all(&error) => {
                records.iter().try_for_each(|row| self.upsert_one(*row, tally))?;
                return Ok(records.len());
            }
            Err(error) => return Err(self.broken(error)),
        };
        if created < records.len() {
            self.streak = (false, 0);
        }
        tally.outcome.created += created as u64;
        Ok(created)
    }

    fn upsert_one(&mut self, row: usize, tally: &mut Tally) -> Result<()> {
        let before = tally.outcome.created;
        match self.one.run(self.writer, self.batch, &[row]) {
            Ok(done) => count(self.batch.plan.strategy, 1, &done, tally),
            // Find out what is to be said of it.
            Err(error) => {
                self.refused(error)?;
                careful(self.writer, self.batch, row, tally)?;
            }
        }
        let new = tally.outcome.created > before;
        self.streak = if self.streak.0 == new { (new, self.streak.1 + 1) } else { (new, 1) };
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
        extended_code(error),
        Some(
            ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | ffi::SQLITE_CONSTRAINT_ROWID
                | ffi::SQLITE_CONSTRAINT_NOTNULL
                | ffi::SQLITE_CONSTRAINT_CHECK
        )
    )
}

/// Whether an `INSERT OR FAIL` that ends with this error has done nothing, because SQLite keeps a journal for it after all:
///
/// - A row is missing that one of the records refers to. This is found when the statement ends; SQLite keeps a journal for
///   tables with references.
/// - A function failed in a CHECK or an index. SQLite keeps a journal for statements that call functions, and that they fail
///   is no conflict to which `OR FAIL` applies.
fn undoes_all(error: &rusqlite::Error) -> bool {
    matches!(extended_code(error), Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_FUNCTION))
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

/// The largest of the statements that there are enough records for, with as many as it takes.
fn enough<'s, 'u, 'r>(
    statements: &'s mut [Statement<'u>],
    rows: &'r [usize],
) -> Option<(&'s mut Statement<'u>, &'r [usize])> {
    let statement = statements.iter_mut().find(|statement| statement.records <= rows.len())?;
    let records = rows.get(..statement.records)?;
    Some((statement, records))
}

impl<'u> Statement<'u> {
    /// Runs the statement with the values of these records.
    fn run(&mut self, writer: &'u SqliteWriter, batch: &Batch<'_>, records: &[usize]) -> rusqlite::Result<Done> {
        let prepared = match &mut self.prepared {
            Some(prepared) => prepared,
            none => none.insert(Bulk::prepare(&writer.connection, &self.sql)?),
        };
        let before = writer.connection.hits();
        let values = records.iter().flat_map(|row| {
            let (cells, bytes) = batch.rows.cells(*row);
            batch.columns.iter().map(move |column| cells[column.incoming].value(bytes).unwrap_or(ValueRef::Null))
        });
        let changes = prepared.execute(values)?;
        Ok(Done { hits: writer.connection.hits() - before, changes })
    }
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
    let record = format!("({})", vec!["?"; batch.columns.len()].join(","));
    let values = vec![record; records].join(",");
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

/// The same for rows in which no column of an index changes, refusing others; `None` if all columns are in indexes.
fn light_sql(batch: &Batch<'_>) -> Option<String> {
    if matches!(batch.plan.strategy, Strategy::Skip | Strategy::Append) {
        return None;
    }
    let table = &batch.plan.table;
    let sets = table.unique.iter().flat_map(|set| set.columns.iter());
    let indexed: Vec<&String> =
        sets.chain(table.indexes.iter().flat_map(|index| index.columns.iter().map(|(name, _)| name))).collect();
    let is_indexed = |column: &&Column| column.in_key || indexed.iter().any(|name| *name == batch.name(column));
    let changing = batch.columns.iter().filter(|column| batch.may_differ(column));
    let (indexed, others): (Vec<&Column>, Vec<&Column>) = changing.partition(is_indexed);
    if others.is_empty() {
        return None;
    }
    let (set, indexed, others) = (set(batch, &others), differ(batch, &indexed), differ(batch, &others));
    let otherwise = format!("CASE WHEN {indexed} THEN rowferry_refuse() ELSE {others} END");
    Some(format!("UPDATE SET {set} WHERE rowferry_hit() AND {otherwise}"))
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
