//! Rows that have certain values in a column.

use super::connection::Connection;
use super::page::{add_row, check_readable, each_row, is_full};
use super::table::{Column, Table};
use super::types::Carried;
use super::values::compared;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Keys, PageBounds};

/// Reads the rows whose value in a column is among keys: see [`Snapshot::find`](crate::store::Snapshot::find).
pub(super) fn find(
    connection: &mut Connection,
    table: &Table,
    column: usize,
    keys: &Keys<'_>,
    (skip, bounds): (u64, PageBounds),
    rows: &mut Rows,
) -> Result<bool> {
    rows.clear(table.columns.len());
    let Some(key) = table.columns.get(column) else {
        let why = format!("table {:?} has no such column", table.schema.name);
        return Err(Error::new(ErrorKind::SchemaMismatch, why));
    };
    check_readable(table)?;
    let Some(condition) = condition(connection, key, keys)? else { return Ok(false) };
    let columns: Vec<String> = table.columns.iter().map(Column::select).collect();
    // Rows with the same value come in the same order each time, or pages would miss some.
    let mut order = vec![format!("t.{}", key.quoted)];
    let others = table.order.iter().filter(|(at, collate)| *at != column || !collate.is_empty());
    order.extend(others.map(|(at, collate)| format!("t.{}{collate}", table.columns[*at].quoted)));
    if table.order.is_empty() {
        order.extend(["t.tableoid".to_owned(), "t.ctid".to_owned()]);
    }
    let sql = format!(
        "SELECT {} FROM {} AS t WHERE {condition} ORDER BY {} LIMIT {} OFFSET {}",
        columns.join(", "),
        table.source,
        order.join(", "),
        i64::try_from(bounds.rows).unwrap_or(i64::MAX - 1).saturating_add(1),
        i64::try_from(skip).unwrap_or(i64::MAX),
    );
    let mut more = false;
    each_row(connection, &sql, &mut |mut cells| {
        more = is_full(rows, bounds);
        if !more {
            add_row(table, &mut cells, rows)?;
        }
        Ok(!more)
    })?;
    Ok(more)
}

/// Which rows are meant; `None` if there can be none.
fn condition(connection: &mut Connection, column: &Column, keys: &Keys<'_>) -> Result<Option<String>> {
    let key = &column.quoted;
    match keys {
        Keys::These(these) => {
            let mut literals: Vec<String> = these.iter().filter_map(|value| compared(column, value)).collect();
            if column.carried == Carried::Cast {
                literals = readable(connection, literals)?;
            }
            let literals = Some(literals.join(", ")).filter(|literals| !literals.is_empty());
            Ok(literals.map(|literals| match &column.base.operators {
                Some([_, _, equal, ..]) => format!("{key} {equal} ANY (ARRAY[{literals}])"),
                None => format!("{key} IN ({literals})"),
            }))
        }
        Keys::Between(from, to) => {
            let mut bounds = Vec::new();
            for (value, operator) in [(from, ">="), (to, "<=")] {
                let Some(value) = value else { continue };
                match bound(connection, column, value, operator)? {
                    Bound::At(literal) => {
                        bounds.push(format!("{key} {} {literal}", column.base.operator(operator)));
                    }
                    Bound::None => return Ok(None),
                }
            }
            Ok(Some(if bounds.is_empty() { "true".to_owned() } else { bounds.join(" AND ") }))
        }
    }
}

enum Bound {
    /// This one.
    At(String),
    /// No row is on its side.
    None,
}

/// A bound as SQL: of integers the next one that is within, since 1.5 is none.
fn bound(connection: &mut Connection, column: &Column, value: &Value, operator: &str) -> Result<Bound> {
    let is_integer = matches!(column.carried, Carried::Int2 | Carried::Int4 | Carried::Int8);
    let number = match value {
        Value::Real(number) => Some(*number),
        Value::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    if let (true, Some(number), None) = (is_integer, number, compared(column, value)) {
        let within: f64 = if operator == ">=" { number.ceil() } else { number.floor() };
        return Ok(if number.is_nan() { Bound::None } else { Bound::At(format!("'{within:.0}'::numeric")) });
    }
    let mut literals: Vec<String> = compared(column, value).into_iter().collect();
    if column.carried == Carried::Cast {
        literals = readable(connection, literals)?;
    }
    match literals.pop() {
        Some(literal) => Ok(Bound::At(literal)),
        None if value.is_null() => Ok(Bound::None),
        None => {
            let why = format!("{:?} is no value of the type {}, which the column has", value, column.type_sql);
            Err(Error::new(ErrorKind::InvalidInput, why))
        }
    }
}

/// Those of these literals that their type can read: what is no value of the type is in no row.
fn readable(connection: &mut Connection, literals: Vec<String>) -> Result<Vec<String>> {
    if literals.is_empty() || try_out(connection, &literals)? {
        return Ok(literals);
    }
    let mut readable = Vec::with_capacity(literals.len());
    for literal in literals {
        if try_out(connection, std::slice::from_ref(&literal))? {
            readable.push(literal);
        }
    }
    Ok(readable)
}

/// Whether all of these are values. The transaction stays as it was.
fn try_out(connection: &mut Connection, literals: &[String]) -> Result<bool> {
    connection.batch("SAVEPOINT rowferry_try")?;
    let done = connection.client.batch_execute(&format!("SELECT {}", literals.join(", ")));
    connection.batch("ROLLBACK TO rowferry_try; RELEASE rowferry_try")?;
    match done {
        Ok(()) => Ok(true),
        // What its class of errors says: data that is none, or a constraint of a domain.
        Err(error) if error.code().is_some_and(|code| ["22", "23"].iter().any(|class| code.code().starts_with(class))) => {
            Ok(false)
        }
        Err(error) => Err(super::faults::failed(error)),
    }
}
