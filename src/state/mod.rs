//! A site's own rows in any store: one file for each kind. With [`ledger`](crate::ledger), which keeps what pulls need, the only place
//! where SQL over them stands.

pub(crate) mod connections;
pub(crate) mod events;
pub(crate) mod fields;
#[cfg(feature = "server")]
pub(crate) mod guesses;
pub(crate) mod ids;
#[cfg(feature = "client")]
pub(crate) mod leases;
pub(crate) mod outbox;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod tickets;
pub(crate) mod transfers;
mod wake;

use time::OffsetDateTime;

use fields::Fields;
pub(crate) use wake::Wake;

use crate::clock;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Sql, Store};

/// Runs `work` in one transaction over the store's state, and gives what it gave.
pub(crate) fn write<T>(store: &dyn Store, mut work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
    let mut answer = None;
    store.state(&mut |sql| {
        answer = Some(work(sql)?);
        Ok(())
    })?;
    answered(answer)
}

/// The same for queries only; it need not wait for writers.
pub(crate) fn read<T>(store: &dyn Store, mut work: impl FnMut(&mut dyn Sql) -> Result<T>) -> Result<T> {
    let mut answer = None;
    store.read_state(&mut |sql| {
        answer = Some(work(sql)?);
        Ok(())
    })?;
    answered(answer)
}

fn answered<T>(answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| Error::new(ErrorKind::Database, "the store did not run what it was given"))
}

/// Rows that are inserted with one statement.
const TOGETHER: usize = 50;

/// Inserts rows, many with a statement.
pub(crate) fn insert<const N: usize>(
    sql: &mut dyn Sql,
    into: &str,
    on_conflict: &str,
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<()> {
    let statement = |rows: usize| {
        let row = |row: usize| {
            let marks: Vec<String> = (1..=N).map(|at| format!("?{}", row * N + at)).collect();
            format!("({})", marks.join(", "))
        };
        format!("{into} VALUES {} {on_conflict}", (0..rows).map(row).collect::<Vec<_>>().join(", "))
    };
    let (mut many, mut values) = (None, Vec::with_capacity(N * TOGETHER));
    for row in rows {
        values.extend(row);
        if values.len() == N * TOGETHER {
            sql.execute(many.get_or_insert_with(|| statement(TOGETHER)), &values)?;
            values.clear();
        }
    }
    if values.is_empty() {
        return Ok(());
    }
    let one = statement(1);
    values.chunks(N).try_for_each(|row| sql.execute(&one, row).map(|_| ()))
}

pub(crate) fn text(row: &[Value], column: usize) -> Result<String> {
    optional_text(row, column)?.ok_or_else(|| unreadable("value"))
}

fn optional_text(row: &[Value], column: usize) -> Result<Option<String>> {
    match row.get(column) {
        Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| unreadable("text")),
        None => Err(unreadable("column")),
    }
}

fn number(row: &[Value], column: usize) -> Result<u64> {
    let number = row.get(column).and_then(Value::as_integer);
    number.and_then(|number| u64::try_from(number).ok()).ok_or_else(|| unreadable("number"))
}

fn moment(text: &str) -> Result<OffsetDateTime> {
    clock::from_text(text).ok_or_else(|| unreadable("moment"))
}

pub(crate) fn unreadable(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a {what} in rowferry's own tables cannot be read"))
        .with_hint("Something else wrote to a table named rowferry_*; restore the database from a backup.")
}
