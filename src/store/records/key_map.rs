//! The keys that appended rows got, for as long as the pull runs: what refers to an old key follows to the new one.

use super::{Scope, unreadable};
use crate::domain::cells;
use crate::domain::value::{Value, ValueRef};
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

/// Values as bytes. Numbers that are equal have the same bytes, because a reference may be stored as 1.0 where its parent's key is
/// 1.
pub(crate) fn encode<'v>(values: impl IntoIterator<Item = ValueRef<'v>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let value = match value {
            // As integers end before 2^63, so do doubles that are one.
            ValueRef::Real(v) if v < 9_223_372_036_854_775_808.0 && v == (v as i64) as f64 => ValueRef::Integer(v as i64),
            value => value,
        };
        cells::put(&mut bytes, Some(value));
    }
    bytes
}

/// The values of [`encode`]; `None` if the bytes are of something else.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(cells::take(&mut bytes)??.to_owned());
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_as_bytes() {
        let encode = |values: &[Value]| encode(values.iter().map(Value::as_ref));
        let key = vec![Value::Null, 5.into(), Value::Real(1.5), "a".into(), Value::Blob(vec![0, 255])];
        assert_eq!(decode(&encode(&key)), Some(key));
        assert_eq!(encode(&[Value::Real(7.0)]), encode(&[7.into()]));
        assert_eq!(encode(&[Value::Real(-9_223_372_036_854_775_808.0)]), encode(&[i64::MIN.into()]));
        assert_ne!(encode(&[Value::Real(9_223_372_036_854_775_808.0)]), encode(&[i64::MAX.into()]));
        assert_ne!(encode(&[Value::Real(1e300)]), encode(&[i64::MAX.into()]));
        assert_eq!(decode(b"i\0\0\0\x08abc"), None);
        assert_eq!(decode(b"-"), None);
    }
}
