//! Looking rows up by values: see [`Writer::lookup`](crate::store::Writer::lookup).

use std::ops::Range;
use std::sync::Arc;

use postgres::Row;

use super::any;
use super::arrays::{self, Array};
use super::casts::{Cast, Casts};
use super::faults::failed;
use super::table::Table;
use super::transaction::Transaction;
use super::types::Carried;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Found, Lookup};

pub(super) fn lookup(
    transaction: &mut Transaction,
    lookup: &Lookup<'_>,
    rows: &Rows,
    range: Range<usize>,
    found: &mut Found,
) -> Result<()> {
    found.clear(lookup.read.len());
    let Some(looking) = Looking::new(transaction, lookup)? else {
        range.for_each(|_| found.add_none());
        return Ok(());
    };
    let mut all = Vec::with_capacity(range.len());
    looking.find(transaction, rows, range, &mut all)?;
    for values in all {
        match values {
            Some(values) => found.add(values.iter().map(Value::as_ref)),
            None => found.add_none(),
        }
    }
    Ok(())
}

/// Whether there is a row with these values in these columns.
pub(super) fn is_there(
    transaction: &mut Transaction,
    table: &Table,
    columns: &[usize],
    rows: &Rows,
    row: usize,
) -> Result<bool> {
    let names: Vec<&str> = columns.iter().map(|column| table.schema.columns[*column].name.as_str()).collect();
    let by_key = Lookup { table: &table.schema.name, columns: &names, collations: &[], cells: columns, read: &[] };
    let mut found = Found::default();
    lookup(transaction, &by_key, rows, row..row + 1, &mut found)?;
    Ok(found.has(0))
}

/// A lookup in a table that is there.
struct Looking<'l> {
    cells: &'l [usize],
    by: Vec<usize>,
    read: Vec<usize>,
    casts: Arc<Casts>,
    sql: String,
}

impl<'l> Looking<'l> {
    fn new(transaction: &mut Transaction, lookup: &Lookup<'l>) -> Result<Option<Self>> {
        let Some(table) = transaction.connection.table(lookup.table)? else { return Ok(None) };
        let positions =
            |names: &[&str]| -> Option<Vec<usize>> { names.iter().map(|name| table.schema.column_index(name)).collect() };
        let (Some(by), Some(read)) = (positions(lookup.columns), positions(lookup.read)) else { return Ok(None) };
        let casts = transaction.casts(&table)?;
        let equal: Vec<String> = casts
            .all(&by)
            .iter()
            .enumerate()
            .map(|(at, cast)| cast.equal(&format!("l.{}", cast.quoted()), &cast.typed(&format!("s.c{at}"))))
            .collect();
        let selected =
            |(at, cast): (usize, &&Cast)| format!(", {} AS r{at}", cast.selected(&format!("l.{}", cast.quoted())));
        let selected: String = casts.all(&read).iter().enumerate().map(selected).collect();
        let sql = format!(
            "SELECT f.* FROM {} CROSS JOIN LATERAL (SELECT s.n{selected} FROM {} AS l WHERE {} LIMIT 1) AS f",
            arrays::source(&casts.all(&by), 1),
            table.source,
            equal.join(" AND "),
        );
        Ok(Some(Looking { cells: lookup.cells, by, read, casts, sql }))
    }

    fn find(
        &self,
        transaction: &mut Transaction,
        rows: &Rows,
        range: Range<usize>,
        found: &mut Vec<Option<Vec<Value>>>,
    ) -> Result<()> {
        // A text that a type does not read is an error.
        let may_fail = self.casts.all(&self.by).iter().any(|cast| cast.carried == Carried::Cast);
        if !may_fail {
            found.extend(self.ask(transaction, rows, range)?);
            return Ok(());
        }
        match transaction.attempt(|transaction| self.ask(transaction, rows, range.clone()))? {
            Ok(answers) => found.extend(answers),
            Err(_) if range.len() == 1 => found.push(None),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.find(transaction, rows, range.start..middle, found)?;
                self.find(transaction, rows, middle..range.end, found)?;
            }
        }
        Ok(())
    }

    fn ask(&self, transaction: &mut Transaction, rows: &Rows, range: Range<usize>) -> Result<Vec<Option<Vec<Value>>>> {
        let mut answers = vec![None; range.len()];
        if range.is_empty() {
            return Ok(answers);
        }
        let by = self.casts.all(&self.by);
        let mut arrays: Vec<Array<'_>> = by.iter().map(|cast| Array::new(cast, range.len())).collect();
        for row in range {
            for ((array, cast), cell) in arrays.iter_mut().zip(&by).zip(self.cells) {
                // What the column cannot hold is NULL, and finds nothing.
                match rows.get(row, *cell) {
                    Some(value) => drop(array.push(cast, value)),
                    None => array.push_null(),
                }
            }
        }
        let read = self.casts.all(&self.read);
        for row in transaction.connection.rows(&self.sql, &arrays::parameters(&arrays))? {
            let number: i64 = row.try_get(0).map_err(failed)?;
            let values = read.iter().enumerate().map(|(at, cast)| value(cast, &row, at + 1));
            let answer = usize::try_from(number - 1).ok().and_then(|at| answers.get_mut(at));
            *answer.ok_or_else(|| Error::new(ErrorKind::Database, "a row was found that was not asked for"))? =
                Some(values.collect::<Result<_>>()?);
        }
        Ok(answers)
    }
}

/// A value that was read by [`Cast::selected`].
pub(super) fn value(cast: &Cast, row: &Row, at: usize) -> Result<Value> {
    let value = match cast.carried {
        Carried::Bool => row.try_get::<_, Option<bool>>(at).map_err(failed)?.map(|v| Value::Integer(v.into())),
        Carried::Int2 | Carried::Int4 | Carried::Int8 => {
            row.try_get::<_, Option<i64>>(at).map_err(failed)?.map(Value::Integer)
        }
        Carried::Float4 | Carried::Float8 => row.try_get::<_, Option<f64>>(at).map_err(failed)?.map(Value::Real),
        Carried::Bytes => row.try_get::<_, Option<Vec<u8>>>(at).map_err(failed)?.map(Value::Blob),
        Carried::Text | Carried::Cast => row.try_get::<_, Option<String>>(at).map_err(failed)?.map(Value::from),
        Carried::Any => row.try_get::<_, Option<&str>>(at).map_err(failed)?.map(|json| any::decode(json.as_bytes())),
    };
    Ok(value.unwrap_or(Value::Null))
}
