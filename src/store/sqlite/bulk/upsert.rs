//! The fast path: writes whole records that fit, in as few statements as possible, and knows exactly what became of them.
//!
//! Most records go many at a time into one upsert. `rowferry_hit()` in its condition counts the conflicts, so that
//! created = records - hits, updated = changes - created, unchanged = hits - updated. This holds for keys without NULL and
//! tables without triggers (a BEFORE trigger may make SQLite leave a row out). Where records must be newer than their rows,
//! `rowferry_older()` counts those that differ and are not: skipped = older, unchanged = hits - updated - older.
//!
//! A table with indexes beside that of its key wants more care, because it is they that take the time:
//!
//! - An index is written again for a column that is set, even if it stays as it is. So the upsert leaves columns of indexes
//!   out; where one of them does change it refuses, and its records are written one by one with all columns.
//! - A statement of many records that may have to be undone copies each page that it touches into a journal, and new records
//!   touch many pages of an index. So they go into an `INSERT OR FAIL`, which needs no journal. It stops at the first record
//!   that SQLite refuses, as it does one whose key exists; those before it are created.

use rusqlite::ffi;

use super::super::dialect::{failed, quote, quote_all, refusal};
use super::super::raw::bind::Bulk;
use super::super::transaction::Transaction;
use super::shape::{Column, Shape};
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
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

/// Whether the last record that was written on its own was new, and how many in a row were like it.
#[derive(Clone, Copy, Default)]
pub(super) struct Streak {
    new: bool,
    records: usize,
}

/// The statements that write records of one plan.
#[derive(Default)]
pub(super) struct Statements {
    /// Upsert many records; the largest is the first.
    many: Vec<Statement>,
    /// Whether `many` may refuse what `one` takes, and is slow for new records: the table has indexes beside that of its key.
    has_secondary_indexes: bool,
    /// Insert many new records; the largest is the first.
    insert: Vec<Statement>,
    /// Upserts any record.
    one: Statement,
}

#[derive(Default)]
struct Statement {
    sql: String,
    records: usize,
}

/// What a statement did.
struct Done {
    hits: u64,
    older: u64,
    changes: u64,
}

impl Statements {
    pub(super) fn new(shape: &Shape, key: &[usize]) -> Self {
        let most = match stops_cleanly(shape) && !shape.order_shows {
            true => PARAMETERS / shape.columns.len().max(1),
            false => 1,
        };
        let update = update_sql(shape, key);
        let statements = |chunks: &[usize], sql: &dyn Fn(usize) -> String| {
            let chunks = chunks.iter().filter(|chunk| **chunk <= most);
            chunks.map(|chunk| Statement { sql: sql(*chunk), records: *chunk }).collect::<Vec<_>>()
        };
        let has_secondary_indexes = !has_only_key(&shape.plan, key);
        let many = match (has_secondary_indexes, light_sql(shape)) {
            (false, _) => statements(&CHUNKS, &|chunk| upsert_sql(shape, chunk, &update)),
            (true, Some(light)) => statements(&[SMALL_CHUNK], &|chunk| upsert_sql(shape, chunk, &light)),
            (true, None) => Vec::new(),
        };
        let insert = match has_secondary_indexes && !shape.plan.table.autoincrement {
            true => statements(&CHUNKS, &|chunk| insert_sql(shape, "FAIL", chunk)),
            false => Vec::new(),
        };
        let one = Statement { sql: upsert_sql(shape, 1, &update), records: 1 };
        Statements { many, has_secondary_indexes, insert, one }
    }
}

/// Writes records of a batch.
pub(super) struct Upsert<'u> {
    transaction: &'u Transaction,
    shape: &'u Shape,
    rows: &'u Rows,
    streak: &'u mut Streak,
    /// Whether a record was refused.
    stopped: bool,
}

impl<'u> Upsert<'u> {
    pub(super) fn new(transaction: &'u Transaction, shape: &'u Shape, rows: &'u Rows, streak: &'u mut Streak) -> Self {
        Upsert { transaction, shape, rows, streak, stopped: false }
    }

    /// Writes these plain records in their order up to the first one that is refused; gives how many that were.
    pub(super) fn write(&mut self, records: &[usize], tally: &mut Tally) -> Result<usize> {
        // A single row that is too large for SQLite must not stop others half-way through a statement.
        let may_be_many = self.rows.size_bytes() < LARGEST_ROW;
        let mut rest = records;
        while !rest.is_empty() && !self.stopped {
            let mut done = match self.shape.statements.has_secondary_indexes {
                _ if !may_be_many => 0,
                true if self.streak.records < STREAK => 0,
                true if self.streak.new => self.insert_many(rest, tally)?,
                _ => self.upsert_many(rest, tally)?,
            };
            if done == 0 && !self.stopped {
                done = usize::from(self.upsert_one(rest[0], tally)?);
            }
            rest = &rest[done..];
        }
        Ok(records.len() - rest.len())
    }

    /// Inserts these plain records in their order, many at a time, up to the first one that is not new or is refused; gives how many that
    /// were.
    pub(super) fn insert(&mut self, records: &[usize], tally: &mut Tally) -> Result<usize> {
        let mut rest = records;
        while self.rows.size_bytes() < LARGEST_ROW {
            let done = self.insert_many(rest, tally)?;
            rest = &rest[done..];
            if done == 0 || self.stopped {
                break;
            }
        }
        Ok(records.len() - rest.len())
    }

    /// Upserts the first of these records, if there are enough, up to the first one that is refused; gives how many that were.
    fn upsert_many(&mut self, records: &[usize], tally: &mut Tally) -> Result<usize> {
        let Some((many, records)) = enough(&self.shape.statements.many, records) else {
            return Ok(0);
        };
        match self.run(many, records) {
            Ok(done) => {
                count(self.shape.plan.strategy, records.len() as u64, &done, tally);
                if done.hits == 0 {
                    *self.streak = Streak { new: true, records: STREAK };
                }
                Ok(records.len())
            }
            Err(error) => {
                self.refused(error)?;
                self.one_by_one(records, tally)
            }
        }
    }

    /// Inserts the first of these records, as long as SQLite takes them; gives how many it took.
    fn insert_many(&mut self, records: &[usize], tally: &mut Tally) -> Result<usize> {
        let Some((insert, records)) = enough(&self.shape.statements.insert, records) else {
            return Ok(0);
        };
        let created = match self.run(insert, records) {
            Ok(_) => records.len(),
            Err(error) if keeps_what_was_done(&error) => self.transaction.connection.sqlite.changes() as usize,
            Err(error) if undoes_all(&error) && self.shape.is_held => 0,
            Err(error) if undoes_all(&error) => return self.one_by_one(records, tally),
            Err(error) => return Err(self.broken(error)),
        };
        if created < records.len() {
            *self.streak = Streak::default();
        }
        tally.outcome.created += created as u64;
        Ok(created)
    }

    /// Upserts these records one by one up to the first one that is refused; gives how many that were.
    fn one_by_one(&mut self, records: &[usize], tally: &mut Tally) -> Result<usize> {
        for (done, record) in records.iter().enumerate() {
            if !self.upsert_one(*record, tally)? {
                return Ok(done);
            }
        }
        Ok(records.len())
    }

    /// Upserts a record; gives whether it was taken.
    fn upsert_one(&mut self, record: usize, tally: &mut Tally) -> Result<bool> {
        let before = tally.outcome.created;
        match self.run(&self.shape.statements.one, &[record]) {
            Ok(done) => count(self.shape.plan.strategy, 1, &done, tally),
            Err(error) => {
                self.refused(error)?;
                self.stopped = true;
                return Ok(false);
            }
        }
        let new = tally.outcome.created > before;
        let records = if self.streak.new == new { self.streak.records + 1 } else { 1 };
        *self.streak = Streak { new, records };
        Ok(true)
    }

    /// Runs a statement with the values of these records.
    fn run(&self, statement: &Statement, records: &[usize]) -> rusqlite::Result<Done> {
        let mut prepared = Bulk::prepare(&self.transaction.connection, &statement.sql)?;
        let connection = &self.transaction.connection;
        let (hits, older) = (connection.hits(), connection.older());
        let changes = prepared.execute(|parameters| {
            for row in records {
                let (cells, bytes) = self.rows.cells(*row);
                for column in &self.shape.columns {
                    parameters.bind(cells[column.incoming].value(bytes).unwrap_or(ValueRef::Null))?;
                }
            }
            Ok(())
        })?;
        Ok(Done { hits: connection.hits() - hits, older: connection.older() - older, changes })
    }

    /// Passes the error on unless SQLite refused a record for its own sake, and the transaction continues.
    fn refused(&self, error: rusqlite::Error) -> Result<()> {
        if refusal(&error).is_none() {
            return Err(self.broken(error));
        }
        self.transaction.still_open()
    }

    fn broken(&self, error: rusqlite::Error) -> Error {
        failed(error).while_doing(format_args!("writing to {:?}", self.shape.plan.table.name))
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
fn stops_cleanly(shape: &Shape) -> bool {
    shape.columns.len() == shape.plan.table.columns.len()
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
fn enough<'s, 'r>(statements: &'s [Statement], records: &'r [usize]) -> Option<(&'s Statement, &'r [usize])> {
    let statement = statements.iter().find(|statement| statement.records <= records.len())?;
    Some((statement, records.get(..statement.records)?))
}

fn count(strategy: Strategy, records: u64, done: &Done, tally: &mut Tally) {
    let outcome = &mut tally.outcome;
    match strategy {
        Strategy::Skip | Strategy::Append => {
            outcome.created += done.changes;
            outcome.skipped += records - done.changes;
            outcome.differing += done.hits;
        }
        Strategy::Overwrite | Strategy::Merge => {
            let created = records - done.hits;
            let updated = done.changes - created;
            outcome.created += created;
            outcome.updated += updated;
            outcome.skipped += done.older;
            outcome.differing += done.older;
            outcome.unchanged += done.hits - updated - done.older;
        }
    }
}

fn insert_sql(shape: &Shape, or: &str, records: usize) -> String {
    let record = format!("({})", vec!["?"; shape.columns.len()].join(","));
    let values = vec![record; records].join(",");
    format!("INSERT OR {or} INTO {}({}) VALUES {values}", quote(&shape.plan.table.name), quote_all(shape.names()))
}

fn upsert_sql(shape: &Shape, records: usize, action: &str) -> String {
    format!("{} ON CONFLICT({}) DO {action}", insert_sql(shape, "ABORT", records), shape.conflict_target)
}

/// What an upsert does with a row that exists. What is skipped counts as a hit only where it differs.
fn update_sql(shape: &Shape, key: &[usize]) -> String {
    let changing: Vec<&Column> = shape.columns.iter().filter(|column| shape.may_differ(column)).collect();
    match (shape.plan.strategy, &changing[..]) {
        (Strategy::Append, _) | (Strategy::Skip, []) => return "NOTHING".to_owned(),
        // Updates nothing: it counts the rows that differ.
        (Strategy::Skip, [first, ..]) => {
            return format!("UPDATE SET {} WHERE {} AND NOT rowferry_hit()", set(shape, &[first]), differ(shape, &changing));
        }
        _ => {}
    }
    let Some(first_key) = key.first() else {
        return "NOTHING".to_owned();
    };
    if changing.is_empty() {
        let name = quote(&shape.plan.table.columns[*first_key].name);
        // Not `rowferry_hit() AND 0`: SQLite folds that into 0 and never calls the function.
        return format!("UPDATE SET {name} = excluded.{name} WHERE NOT rowferry_hit()");
    }
    let (set, differ) = (set(shape, &changing), differ(shape, &changing));
    match newer(shape) {
        None => format!("UPDATE SET {set} WHERE rowferry_hit() AND ({differ})"),
        Some(newer) => format!(
            "UPDATE SET {set} WHERE rowferry_hit() AND CASE WHEN NOT ({differ}) THEN 0 WHEN {newer} THEN 1 ELSE rowferry_older() END"
        ),
    }
}

/// Whether a record is newer than its row, if that makes a difference.
fn newer(shape: &Shape) -> Option<String> {
    let name = quote(&shape.plan.table.columns.get(shape.plan.newer_by?)?.name);
    let old = format!("{}.{name}", quote(&shape.plan.table.name));
    Some(format!("(excluded.{name} COLLATE BINARY > {old} OR ({old} IS NULL AND excluded.{name} IS NOT NULL))"))
}

/// The same for rows in which no column of an index changes, refusing others; `None` if all columns are in indexes.
fn light_sql(shape: &Shape) -> Option<String> {
    if matches!(shape.plan.strategy, Strategy::Skip | Strategy::Append) {
        return None;
    }
    let table = &shape.plan.table;
    let sets = table.unique.iter().flat_map(|set| set.columns.iter());
    let indexed: Vec<&String> =
        sets.chain(table.indexes.iter().flat_map(|index| index.parts.iter().map(|part| &part.column))).collect();
    let is_indexed = |column: &&Column| column.in_key || indexed.iter().any(|name| *name == shape.name(column));
    let changing: Vec<&Column> = shape.columns.iter().filter(|column| shape.may_differ(column)).collect();
    let any = differ(shape, &changing);
    let (indexed, others): (Vec<&Column>, Vec<&Column>) = changing.into_iter().partition(is_indexed);
    if others.is_empty() {
        return None;
    }
    let (set, indexed, others) = (set(shape, &others), differ(shape, &indexed), differ(shape, &others));
    let otherwise = match newer(shape) {
        None => format!("CASE WHEN {indexed} THEN rowferry_refuse() ELSE {others} END"),
        Some(newer) => format!(
            "CASE WHEN NOT ({any}) THEN 0 WHEN NOT ifnull({newer}, 0) THEN rowferry_older() WHEN {indexed} THEN rowferry_refuse() \
             ELSE {others} END"
        ),
    };
    Some(format!("UPDATE SET {set} WHERE rowferry_hit() AND {otherwise}"))
}

fn set(shape: &Shape, columns: &[&Column]) -> String {
    let table = quote(&shape.plan.table.name);
    let set = columns.iter().map(|column| {
        let name = quote(shape.name(column));
        match shape.plan.strategy {
            Strategy::Merge => format!("{name} = COALESCE(excluded.{name}, {table}.{name})"),
            _ => format!("{name} = excluded.{name}"),
        }
    });
    set.collect::<Vec<_>>().join(", ")
}

/// Whether the strategy changes one of these columns.
fn differ(shape: &Shape, columns: &[&Column]) -> String {
    let table = quote(&shape.plan.table.name);
    let differs = columns.iter().map(|column| {
        let name = quote(shape.name(column));
        // Columns without affinity hold values of which `IS` says that they are equal when they are not the same. The only such
        // value of other columns does not get here.
        let differs = if column.affinity.keeps_all() {
            format!("NOT rowferry_same({table}.{name}, excluded.{name})")
        } else {
            format!("{table}.{name} COLLATE BINARY IS NOT excluded.{name}")
        };
        match shape.plan.strategy {
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
