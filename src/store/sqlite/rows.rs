//! The primitives over rows: what a column makes of a value, looking rows up, and writing them one by one.
//!
//! Every statement that writes says OR ABORT: a constraint may be declared with ON CONFLICT REPLACE, which would delete another
//! row, or with IGNORE, which would leave the row out without a word. Where there are [triggers] more care is taken.

use std::ops::Range;

use super::affinity::{Affinity, fit as fit_value};
use super::dialect::{Parameter, borrowed, column_of, failed, of_run, quote, quote_all, refusal};
use super::keys::{collated, key_parts};
use super::pool::Connection;
use super::transaction::Transaction;
use super::{faults, triggers};
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{Change, Fitted, Found, Lookup, Misfit, Refused};

pub(super) fn fit(transaction: &Transaction, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) {
    let affinities = Affinity::of_columns(&plan.table);
    fitted.rows.clear(plan.table.columns.len());
    fitted.misfits.clear();
    for (number, row) in range.enumerate() {
        fitted.rows.start_row();
        for (incoming, target) in plan.targets.iter().enumerate() {
            let (Some(column), Some(value)) = (*target, rows.get(row, incoming)) else { continue };
            let name = &plan.table.columns[column].name;
            let (affinity, strict) = affinities[column];
            let mut stored = value;
            let refusal = if !transaction.any_text && !is_utf8(value) {
                let message = format!("{name:?} holds text that is not UTF-8, which this database (UTF-16) cannot store");
                Some((Reason::ValueOutOfRange, message))
            } else if affinity.keeps(value) {
                None
            } else {
                let fit = fit_value(value, affinity, strict);
                stored = fit.stored(value);
                fit.refusal(value, name)
            };
            fitted.rows.set(column, stored);
            if let Some((reason, message)) = refusal {
                fitted.misfits.push(Misfit { row: number, column, reason, message });
            }
        }
    }
}

pub(super) fn is_utf8(value: ValueRef<'_>) -> bool {
    !matches!(value, ValueRef::Text(text) if std::str::from_utf8(text).is_err())
}

pub(super) fn lookup(
    transaction: &Transaction,
    lookup: &Lookup<'_>,
    rows: &Rows,
    range: Range<usize>,
    found: &mut Found,
) -> Result<()> {
    found.clear(lookup.read.len());
    let sqlite = &transaction.connection.sqlite;
    // Only with the table's name is a quoted name that is no column an error, and not a string.
    let column = |name: &str| format!("l.{}", quote(name));
    let read: Vec<String> = lookup.read.iter().map(|name| column(name)).collect();
    let equal = lookup.columns.iter().enumerate().map(|(at, name)| {
        format!("{} = ?{}", collated(&column(name), lookup.collations.get(at).copied().flatten()), at + 1)
    });
    let sql = format!(
        "SELECT {} FROM {} AS l WHERE {} LIMIT 1",
        if read.is_empty() { "1".to_owned() } else { read.join(", ") },
        quote(lookup.table),
        equal.collect::<Vec<_>>().join(" AND "),
    );
    // SQLite takes these for the rowid where they are no columns.
    let may_be_rowid = |name: &&str| ["rowid", "oid", "_rowid_"].iter().any(|other| other.eq_ignore_ascii_case(name));
    let names = || lookup.columns.iter().chain(lookup.read);
    let mut statement = match sqlite.prepare_cached(&sql) {
        Ok(statement) if !names().any(may_be_rowid) || exists(&transaction.connection, lookup)? => statement,
        Ok(_) => {
            range.for_each(|_| found.add_none());
            return Ok(());
        }
        Err(_) if !exists(&transaction.connection, lookup)? => {
            range.for_each(|_| found.add_none());
            return Ok(());
        }
        Err(error) => return Err(failed(error)),
    };
    'rows: for row in range {
        for (at, cell) in lookup.cells.iter().enumerate() {
            match rows.get(row, *cell) {
                Some(value) if !value.is_null() => {
                    statement.raw_bind_parameter(at + 1, Parameter(value)).map_err(failed)?;
                }
                _ => {
                    found.add_none();
                    continue 'rows;
                }
            }
        }
        let mut answer = statement.raw_query();
        match answer.next().map_err(failed)? {
            None => found.add_none(),
            Some(row) => {
                let values = (0..lookup.read.len()).map(|at| row.get_ref(at).map(borrowed));
                found.add(values.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?);
            }
        }
    }
    Ok(())
}

/// Whether there is such a table with such columns.
fn exists(connection: &Connection, lookup: &Lookup<'_>) -> Result<bool> {
    let mut names = lookup.columns.iter().chain(lookup.read);
    Ok(connection.schema(lookup.table)?.is_some_and(|table| names.all(|name| table.column(name).is_some())))
}

pub(super) fn write(
    transaction: &Transaction,
    table: &TableSchema,
    change: Change<'_>,
    rows: &Rows,
    range: Range<usize>,
    refused: &mut Vec<Refused>,
) -> Result<()> {
    let mut columns = Vec::new();
    for row in range {
        columns.clear();
        let statement = match change {
            Change::Insert => {
                columns.extend((0..rows.width()).filter(|column| rows.get(row, *column).is_some()));
                insert_sql(table, &columns)
            }
            Change::Update { key, set } => {
                columns.extend(set.iter().chain(key));
                update_sql(table, set, key)
            }
        };
        let values = || columns.iter().map(|column| rows.get(row, *column).unwrap_or(ValueRef::Null));
        let refusal_of = |reason, column, message| Refused { row, reason, column, message, is_left_out: false };
        match triggers::run(transaction, table, &statement, &values)? {
            Ok(0) => {
                let is_there = match change {
                    Change::Insert => true,
                    Change::Update { key, .. } => is_there(transaction, table, key, rows, row)?,
                };
                let message = match is_there {
                    true => format!("a trigger of {:?} left the record out", table.name),
                    false => format!("a trigger removed the row from {:?} that the record changes", table.name),
                };
                refused.push(Refused { is_left_out: is_there, ..refusal_of(Reason::Trigger, None, message) });
            }
            Ok(_) => {}
            Err(error) => {
                let Some(reason) = refusal(&error) else {
                    if let Some((column, message)) = faults::behind(&transaction.connection, table, &error)? {
                        refused.push(refusal_of(Reason::ForeignKey, column, message));
                        continue;
                    }
                    return Err(failed(error).while_doing(format_args!("writing to {:?}", table.name)));
                };
                let error = failed(error);
                let column = column_of(error.message(), &table.name);
                refused.push(refusal_of(reason, column, error.message().to_owned()));
            }
        }
    }
    Ok(())
}

/// Deletes one row that has exactly these values: see [`Writer::delete`](crate::store::Writer::delete).
pub(super) fn delete(
    transaction: &Transaction,
    table: &TableSchema,
    columns: &[usize],
    (rows, row): (&Rows, usize),
    refused: &mut Vec<Refused>,
) -> Result<bool> {
    let name = quote(&table.name);
    // The first term may use an index. What it overlooks (a collation, 1 and 1.0, 0.0 and -0.0) the other one sees.
    let same = columns.iter().enumerate().map(|(at, column)| {
        let (column, mark) = (format!("d.{}", quote(&table.columns[*column].name)), at + 1);
        format!("{column} IS ?{mark} AND rowferry_same({column}, ?{mark})")
    });
    let same = same.collect::<Vec<_>>().join(" AND ");
    let sql = match table.without_rowid {
        // Its key is among the columns, so that there is one such row at most.
        true => format!("DELETE FROM {name} AS d WHERE {same}"),
        false => {
            let rowid = rowid_of(table)?;
            format!("DELETE FROM {name} WHERE {rowid} = (SELECT d.{rowid} FROM {name} AS d WHERE {same} LIMIT 1)")
        }
    };
    let values = columns.iter().map(|column| rows.get(row, *column).unwrap_or(ValueRef::Null));
    match run(transaction, &sql, values) {
        Ok(deleted) => Ok(deleted > 0),
        Err(error) => {
            let Some(reason) = refusal(&error) else {
                return Err(failed(error).while_doing(format_args!("deleting from {:?}", table.name)));
            };
            transaction.still_open()?;
            let message = failed(error).message().to_owned();
            refused.push(Refused { row, reason, column: None, message, is_left_out: false });
            Ok(false)
        }
    }
}

/// A name of the rowid that no column has.
fn rowid_of(table: &TableSchema) -> Result<&'static str> {
    let free = ["rowid", "oid", "_rowid_"].into_iter().find(|name| table.column(name).is_none());
    free.ok_or_else(|| {
        let message = format!("the rows of {:?} cannot be told apart: columns have all names of the rowid", table.name);
        Error::new(ErrorKind::NotUndoable, message)
    })
}

/// Whether there is a row with this key.
fn is_there(transaction: &Transaction, table: &TableSchema, key: &[usize], rows: &Rows, row: usize) -> Result<bool> {
    let columns: Vec<&str> = names(table, key).collect();
    let collations = table.key_collations_of(key);
    let by_key = Lookup { table: &table.name, columns: &columns, collations: &collations, cells: key, read: &[] };
    let mut found = Found::default();
    lookup(transaction, &by_key, rows, row..row + 1, &mut found)?;
    Ok(found.has(0))
}

fn names<'t>(table: &'t TableSchema, columns: &'t [usize]) -> impl Iterator<Item = &'t str> {
    columns.iter().map(|column| table.columns[*column].name.as_str())
}

/// A statement that writes a row, in two parts: its conflict clause stands between them.
pub(super) struct Statement {
    verb: &'static str,
    rest: String,
}

impl Statement {
    /// With a clause that overrides those of constraints: a row that breaks one is refused.
    pub(super) fn or_abort(&self) -> String {
        format!("{} OR ABORT {}", self.verb, self.rest)
    }

    /// Without one.
    pub(super) fn plain(&self) -> String {
        format!("{} {}", self.verb, self.rest)
    }
}

fn insert_sql(table: &TableSchema, columns: &[usize]) -> Statement {
    let rest = match columns {
        [] => format!("INTO {} DEFAULT VALUES", quote(&table.name)),
        _ => {
            let marks = vec!["?"; columns.len()].join(", ");
            format!("INTO {}({}) VALUES ({marks})", quote(&table.name), quote_all(names(table, columns)))
        }
    };
    Statement { verb: "INSERT", rest }
}

fn update_sql(table: &TableSchema, set: &[usize], key: &[usize]) -> Statement {
    let set: Vec<String> = names(table, set).map(|name| format!("{} = ?", quote(name))).collect();
    let equal: Vec<String> = key_parts(table, key).iter().map(|part| format!("{part} = ?")).collect();
    let rest = format!("{} SET {} WHERE {}", quote(&table.name), set.join(", "), equal.join(" AND "));
    Statement { verb: "UPDATE", rest }
}

/// Runs a statement that writes one row; gives how many were written.
pub(super) fn run<'v>(
    transaction: &Transaction,
    sql: &str,
    values: impl Iterator<Item = ValueRef<'v>>,
) -> rusqlite::Result<usize> {
    let sqlite = &transaction.connection.sqlite;
    let mut statement = sqlite.prepare_cached(sql)?;
    for (at, value) in values.enumerate() {
        statement.raw_bind_parameter(at + 1, Parameter(value))?;
    }
    statement.raw_execute().map_err(|error| match of_run(error) {
        // SQLite prepares again what was prepared for another schema, and may find that it cannot be.
        error if refusal(&error) == Some(Reason::Refused) => sqlite.prepare(sql).err().unwrap_or(error),
        error => error,
    })
}
