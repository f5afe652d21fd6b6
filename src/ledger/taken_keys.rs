//! The rows that records of a pull have, by their keys, where two of the sender's rows may have one key here.

use super::Scope;
use super::indexed::indexed;
use crate::domain::cells::encode;
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

/// Whether a record has the row with exactly this key.
pub(crate) fn is_taken(sql: &mut dyn Sql, scope: &Scope, table: &str, key: &[Value]) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_taken_keys WHERE scope = ?1 AND table_name = ?2 AND key = ?3";
    let place = place(sql, scope, table, key);
    Ok(!sql.query(select, &place)?.is_empty())
}

/// Notes that a record has it.
pub(crate) fn take(sql: &mut dyn Sql, scope: &Scope, table: &str, key: &[Value]) -> Result<()> {
    let insert = "INSERT INTO rowferry_taken_keys (scope, table_name, key) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let place = place(sql, scope, table, key);
    sql.execute(insert, &place).map(|_| ())
}

fn place(sql: &dyn Sql, scope: &Scope, table: &str, key: &[Value]) -> [Value; 3] {
    let key = indexed(&encode(key.iter().map(Value::as_ref)), sql.longest_indexed());
    [scope.as_str().into(), table.into(), key]
}

/// Forgets the rows of a table.
pub(crate) fn forget_table(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<()> {
    let delete = "DELETE FROM rowferry_taken_keys WHERE scope = ?1 AND table_name = ?2";
    sql.execute(delete, &[scope.as_str().into(), table.into()]).map(|_| ())
}

/// Forgets all rows of a pull.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_taken_keys WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
