//! [`Sql`] over rowferry's own tables: parameters are written `?1`, and PostgreSQL calls them `$1`.

use std::error::Error as StdError;

use bytes::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::connection::Connection;
use super::faults::failed;
use super::pool::Pooled;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Sql;

/// Less than the 2,704 bytes that a B-tree takes: other columns stand beside.
pub(super) const LONGEST_INDEXED: usize = 1_000;

/// A value as a parameter of whatever type the statement has at its place.
#[derive(Debug)]
struct Parameter<'v>(&'v Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(value) => match *kind {
                Type::INT4 => i32::try_from(*value)?.to_sql(kind, out),
                Type::INT2 => i16::try_from(*value)?.to_sql(kind, out),
                Type::BOOL => (*value != 0).to_sql(kind, out),
                Type::TEXT => value.to_string().to_sql(kind, out),
                _ => value.to_sql(&Type::INT8, out),
            },
            Value::Real(value) => value.to_sql(&Type::FLOAT8, out),
            Value::Text(value) => match std::str::from_utf8(value) {
                Ok(text) if !text.contains('\0') => text.to_sql(&Type::TEXT, out),
                _ => Err("a text of the state is not UTF-8, or holds NUL".into()),
            },
            Value::Blob(value) => value.as_slice().to_sql(&Type::BYTEA, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// The statement with PostgreSQL's parameters. What stands in quotes stays.
fn translate(sql: &str) -> String {
    let mut translated = String::with_capacity(sql.len());
    let mut quoted = None;
    for c in sql.chars() {
        match (quoted, c) {
            (None, '?') => translated.push('$'),
            _ => translated.push(c),
        }
        quoted = match (quoted, c) {
            (None, '\'' | '"') => Some(c),
            (Some(quote), c) if quote == c => None,
            _ => quoted,
        };
    }
    translated
}

pub(super) fn execute(connection: &mut Connection, sql: &str, values: &[Value]) -> Result<usize> {
    let sql = translate(sql);
    let parameters: Vec<Parameter<'_>> = values.iter().map(Parameter).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
    let changed = connection.run(&sql, &parameters)?;
    Ok(usize::try_from(changed).unwrap_or(usize::MAX))
}

pub(super) fn query(connection: &mut Connection, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
    let sql = translate(sql);
    let parameters: Vec<Parameter<'_>> = values.iter().map(Parameter).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|value| value as _).collect();
    let rows = connection.rows(&sql, &parameters)?;
    rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect()
}

/// Lets the numbers of a table's identity column `id` follow the largest that is there.
pub(super) fn raise_numbers(connection: &mut Connection, table: &str) -> Result<()> {
    let raise = format!(
        "SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest((SELECT max(id) FROM {table}), 1), \
         EXISTS (SELECT 1 FROM {table}))"
    );
    connection.rows(&raise, &[]).map(|_| ())
}

/// A cell of an answer: of the types that rowferry's own tables have, and that counts and sums give.
fn value(row: &postgres::Row, at: usize) -> Result<Value> {
    let kind = row.columns()[at].type_().clone();
    let integer = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
    Ok(match kind {
        Type::INT8 => integer(row.try_get(at).map_err(failed)?),
        Type::INT4 => integer(row.try_get::<_, Option<i32>>(at).map_err(failed)?.map(i64::from)),
        Type::INT2 => integer(row.try_get::<_, Option<i16>>(at).map_err(failed)?.map(i64::from)),
        Type::BOOL => integer(row.try_get::<_, Option<bool>>(at).map_err(failed)?.map(i64::from)),
        Type::FLOAT8 => row.try_get::<_, Option<f64>>(at).map_err(failed)?.map_or(Value::Null, Value::Real),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(at).map_err(failed)?.map_or(Value::Null, Value::Blob),
        Type::TEXT | Type::VARCHAR | Type::NAME | Type::UNKNOWN => {
            row.try_get::<_, Option<String>>(at).map_err(failed)?.map_or(Value::Null, Value::from)
        }
        other => {
            let message = format!("a statement over rowferry's tables gives the type {other}, which it may not");
            return Err(Error::new(ErrorKind::Database, message));
        }
    })
}

/// [`Sql`] on a reading connection, in a transaction that can only read.
pub(super) struct Reading(pub(super) Pooled);

impl Reading {
    pub(super) fn begin(mut connection: Pooled) -> Result<Self> {
        connection.in_transaction = true;
        connection.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        Ok(Reading(connection))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.in_transaction = self.0.batch("ROLLBACK").is_err();
    }
}

impl Sql for Reading {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        execute(&mut self.0, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        query(&mut self.0, sql, values)
    }

    fn longest_indexed(&self) -> usize {
        LONGEST_INDEXED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_get_their_names() {
        assert_eq!(
            translate("SELECT a FROM t WHERE b = ?1 AND c = '?2' AND \"d?\" = ?12"),
            "SELECT a FROM t WHERE b = $1 AND c = '?2' AND \"d?\" = $12"
        );
    }
}
