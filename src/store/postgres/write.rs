//! Writing rows, each on its own: see [`Writer::write`](crate::store::Writer::write).
//!
//! Many new rows go in by one COPY. Where one of them is refused, it is found by halves; so each row that is refused was alone then,
//! behind all those before it.

use std::ops::Range;
use std::sync::Arc;

use super::arrays::{Array, parameters};
use super::casts::{Adapted, Casts};
use super::table::Table;
use super::transaction::Transaction;
use super::{copy, faults, lookup};
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, Result};
use crate::plan::order::refers_to_itself;
use crate::store::{Change, Check, Refused};

/// Rows that are written one by one rather than together: fewer are not worth a COPY.
const FEW: usize = 4;

pub(super) fn write(
    transaction: &mut Transaction,
    schema: &TableSchema,
    change: Change<'_>,
    rows: &Rows,
    range: Range<usize>,
    refused: &mut Vec<Refused>,
) -> Result<()> {
    let (table, casts) = transaction.local(schema)?;
    transaction.lock(&table)?;
    let mut writing = Writing { transaction, table, casts, change, rows, refused };
    // A row may refer to one that the same statement adds after it: with one statement for all that would not show.
    let order_shows = writing.transaction.check == Check::Now && refers_to_itself(&writing.table.schema, schema.names);
    if change != Change::Insert || writing.table.schema.has_triggers || order_shows {
        return range.into_iter().try_for_each(|row| writing.one(row));
    }
    let mut next = range.start;
    while next < range.end {
        let columns = writing.columns(next);
        let end = (next + 1..range.end).find(|row| !writing.has(*row, &columns)).unwrap_or(range.end);
        writing.together(&columns, next..end)?;
        next = end;
    }
    Ok(())
}

struct Writing<'w> {
    transaction: &'w mut Transaction,
    table: Arc<Table>,
    casts: Arc<Casts>,
    change: Change<'w>,
    rows: &'w Rows,
    refused: &'w mut Vec<Refused>,
}

impl Writing<'_> {
    /// The columns that a row has.
    fn columns(&self, row: usize) -> Vec<usize> {
        (0..self.rows.width()).filter(|column| self.rows.get(row, *column).is_some()).collect()
    }

    /// Whether a row has just these columns.
    fn has(&self, row: usize, columns: &[usize]) -> bool {
        let mut rest = columns.iter();
        let cells = self.rows.row(row).enumerate().filter(|(_, cell)| cell.is_some());
        cells.into_iter().all(|(at, _)| rest.next() == Some(&at)) && rest.next().is_none()
    }

    /// Adds rows that all have these columns.
    fn together(&mut self, columns: &[usize], mut range: Range<usize>) -> Result<()> {
        let casts = Arc::clone(&self.casts);
        let cells: Vec<_> = columns.iter().map(|column| (*column, casts.get(*column))).collect();
        let mut most = range.len();
        while range.len() > FEW && !columns.is_empty() {
            let part = range.start..range.start + most.min(range.len());
            let (table, rows) = (Arc::clone(&self.table), self.rows);
            let all_fit = part.clone().all(|row| self.fits(&cells, row));
            let copied = match all_fit {
                true => self
                    .transaction
                    .attempt(|transaction| copy::copy(&mut transaction.connection, &table, &cells, rows, part.clone()))?,
                false => Ok(0),
            };
            match copied {
                Ok(_) if all_fit => {
                    range.start = part.end;
                    most = most.saturating_mul(2);
                }
                _ if part.len() > FEW => {
                    let line = copied.err().and_then(|error| copy::refused_line(&error)).unwrap_or(0);
                    most = if (FEW..part.len()).contains(&line) { line - 1 } else { part.len() / 2 };
                    if line > 0 && line <= FEW {
                        self.few(&mut range, line)?;
                    }
                }
                _ => self.few(&mut range, part.len())?,
            }
            most = most.max(FEW);
        }
        range.into_iter().try_for_each(|row| self.one(row))
    }

    /// Writes the first rows of a range one by one.
    fn few(&mut self, range: &mut Range<usize>, rows: usize) -> Result<()> {
        let end = range.end.min(range.start + rows);
        (range.start..end).try_for_each(|row| self.one(row))?;
        range.start = end;
        Ok(())
    }

    fn fits(&self, cells: &[(usize, &super::casts::Cast)], row: usize) -> bool {
        cells.iter().all(|(cell, cast)| match self.rows.get(row, *cell).map(|value| cast.adapt(value)) {
            Some(Adapted::Misfit(..)) => false,
            Some(Adapted::Text(text)) => cast.keeps_length(&text),
            _ => true,
        })
    }

    /// Writes one row.
    fn one(&mut self, row: usize) -> Result<()> {
        let (sql, columns) = match self.change {
            Change::Insert => {
                let columns = self.columns(row);
                (self.insert_sql(&columns), columns)
            }
            Change::Update { key, set } => (self.update_sql(set, key), set.iter().chain(key).copied().collect()),
        };
        let casts = Arc::clone(&self.casts);
        let mut arrays = Vec::with_capacity(columns.len());
        for column in columns {
            let cast = casts.get(column);
            let value = self.rows.get(row, column).unwrap_or(ValueRef::Null);
            if let Adapted::Misfit(reason, why) = cast.adapt(value) {
                let name = self.table.schema.columns[column].name.clone();
                let message = cast.told(&name, value, why);
                self.refused.push(Refused { row, reason, column: Some(name), message, is_left_out: false });
                return Ok(());
            }
            let mut array = Array::new(cast, 1);
            array.push(cast, value);
            arrays.push(array);
        }
        match self.transaction.attempt(|transaction| transaction.connection.run(&sql, &parameters(&arrays)))? {
            Ok(0) => self.nothing(row),
            Ok(_) => Ok(()),
            Err(error) => {
                let refused = refused(self.transaction, &self.table, row, error)?;
                self.refused.push(refused);
                Ok(())
            }
        }
    }

    /// A row was not written, and nothing went wrong.
    fn nothing(&mut self, row: usize) -> Result<()> {
        let name = &self.table.schema.name;
        let (is_left_out, message) = match self.change {
            Change::Insert => (true, format!("a trigger of {name:?} left the record out")),
            Change::Update { key, .. } => match lookup::is_there(self.transaction, &self.table, key, self.rows, row)? {
                true => (true, format!("a trigger of {name:?} left the record out")),
                false => (false, format!("there is no row in {name:?} any more that the record changes")),
            },
        };
        self.refused.push(Refused { row, reason: Reason::Trigger, column: None, message, is_left_out });
        Ok(())
    }

    fn insert_sql(&self, columns: &[usize]) -> String {
        if columns.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", self.table.relation);
        }
        let names: Vec<&str> = columns.iter().map(|column| self.casts.get(*column).quoted()).collect();
        let values: Vec<String> = columns.iter().enumerate().map(|(at, column)| self.parameter(*column, at)).collect();
        // A number is what the record says, also where the database would give one.
        let (names, values) = (names.join(", "), values.join(", "));
        format!("INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values})", self.table.relation)
    }

    fn update_sql(&self, set: &[usize], key: &[usize]) -> String {
        let name = |column: usize| self.casts.get(column).quoted();
        let sets: Vec<String> = set
            .iter()
            .enumerate()
            .map(|(at, column)| format!("{} = {}", name(*column), self.parameter(*column, at)))
            .collect();
        let equal: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cast = self.casts.get(*column);
                cast.equal(&format!("t.{}", cast.quoted()), &self.parameter(*column, set.len() + at))
            })
            .collect();
        format!("UPDATE {} AS t SET {} WHERE {}", self.table.source, sets.join(", "), equal.join(" AND "))
    }

    /// The only element of the array at this place.
    fn parameter(&self, column: usize, at: usize) -> String {
        let cast = self.casts.get(column);
        cast.typed(&format!("(${}::{})[1]", at + 1, cast.array_type()))
    }
}

/// What is said of a row that a statement was refused for; the error, if it is about something else.
pub(super) fn refused(transaction: &mut Transaction, table: &Table, row: usize, error: Error) -> Result<Refused> {
    let Some(refusal) = faults::refusal(&error, table) else {
        return Err(error.while_doing(format_args!("writing to {:?}", table.schema.name)));
    };
    let column = match (refusal.column, refusal.constraint) {
        (Some(column), _) => Some(column),
        (None, Some(constraint)) => column_of(transaction, table, &constraint)?,
        (None, None) => None,
    };
    Ok(Refused { row, reason: refusal.reason, column, message: refusal.message, is_left_out: false })
}

/// The first column of a constraint or a unique index.
fn column_of(transaction: &mut Transaction, table: &Table, constraint: &str) -> Result<Option<String>> {
    let sql = "SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = $1 AND a.attnum = COALESCE(
            (SELECT c.conkey[1] FROM pg_catalog.pg_constraint AS c WHERE c.conrelid = $1 AND c.conname = $2 AND c.contype <> 'c'),
            (SELECT i.indkey[0] FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
             WHERE i.indrelid = $1 AND c.relname = $2))";
    let rows = transaction.connection.rows(sql, &[&table.oid, &constraint])?;
    Ok(rows.first().map(|row| row.get(0)))
}
