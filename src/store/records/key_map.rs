//! The keys that appended rows got, for as long as the pull runs: what refers to an old key follows to the new one.

use super::{Scope, unreadable};
use crate::domain::cells::{decode, encode};
use crate::domain::value::Value;
use crate::error::Result;
use crate::store::Sql;

/// What an old key became.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewKey {
    pub(crate) key: Vec<Value>,
    /// Whether it is that of a row that was here before.
    pub(crate) existing: bool,
}

/// Remembers what the key of a record became.
pub(crate) fn put(sql: &mut dyn Sql, scope: &Scope, table: &str, old: &[Value], new: &NewKey) -> Result<()> {
    let upsert = "INSERT INTO rowferry_key_map (scope, parent, old, new, existing) VALUES (?1, ?2, ?3, ?4, ?5) \
                  ON CONFLICT (scope, parent, old) DO UPDATE SET new = excluded.new, existing = excluded.existing";
    let row = [
        scope.as_str().into(),
        table.into(),
        Value::Blob(encode(old.iter().map(Value::as_ref))),
        Value::Blob(encode(new.key.iter().map(Value::as_ref))),
        i64::from(new.existing).into(),
    ];
    sql.execute(upsert, &row).map(|_| ())
}

/// What became of an old key of this table.
pub(crate) fn get(sql: &mut dyn Sql, scope: &Scope, table: &str, old: &[Value]) -> Result<Option<NewKey>> {
    let select = "SELECT new, existing FROM rowferry_key_map WHERE scope = ?1 AND parent = ?2 AND old = ?3";
    let old = Value::Blob(encode(old.iter().map(Value::as_ref)));
    match sql.query(select, &[scope.as_str().into(), table.into(), old])?.pop().map(<[Value; 2]>::try_from) {
        None => Ok(None),
        Some(Ok([Value::Blob(new), Value::Integer(existing)])) => {
            let key = decode(&new).ok_or_else(|| unreadable("key"))?;
            Ok(Some(NewKey { key, existing: existing != 0 }))
        }
        Some(_) => Err(unreadable("key")),
    }
}

/// Forgets the keys of a pull.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    sql.execute("DELETE FROM rowferry_key_map WHERE scope = ?1", &[scope.as_str().into()]).map(|_| ())
}
