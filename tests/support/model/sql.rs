//! Rows into SQLite and out of it, past rowferry.

use rowferry::Value;
use rusqlite::types::{ToSqlOutput, ValueRef as SqliteRef};

use super::Row;

/// A value as a parameter, text that is not UTF-8 included.
struct Bind<'v>(&'v Value);

impl rusqlite::ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => SqliteRef::Null,
            Value::Integer(v) => SqliteRef::Integer(*v),
            Value::Real(v) => SqliteRef::Real(*v),
            Value::Text(v) => SqliteRef::Text(v),
            Value::Blob(v) => SqliteRef::Blob(v),
        }))
    }
}

/// Inserts rows by plain SQL.
pub fn fill(sqlite: &rusqlite::Connection, table: &str, rows: &[Row]) {
    for row in rows {
        let marks = vec!["?"; row.len()].join(", ");
        let sql = format!("INSERT INTO \"{table}\" VALUES ({marks})");
        sqlite.prepare_cached(&sql).unwrap().execute(rusqlite::params_from_iter(row.iter().map(Bind))).unwrap();
    }
}

/// The rows of a query.
pub fn read(sqlite: &rusqlite::Connection, sql: &str) -> Vec<Row> {
    let mut statement = sqlite.prepare(sql).unwrap();
    let width = statement.column_count();
    let cell = |row: &rusqlite::Row<'_>, at| match row.get_ref_unwrap(at) {
        SqliteRef::Null => Value::Null,
        SqliteRef::Integer(v) => Value::Integer(v),
        SqliteRef::Real(v) => Value::Real(v),
        SqliteRef::Text(v) => Value::Text(v.to_vec()),
        SqliteRef::Blob(v) => Value::Blob(v.to_vec()),
    };
    let rows = statement.query_map([], |row| Ok((0..width).map(|at| cell(row, at)).collect())).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}
