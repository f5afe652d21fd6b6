//! The key map: which row here each record of a sender became.
//!
//! It is kept per sender and table. What refers to an old key follows to the new one, in the pull that made it and in later ones; an
//! append knows by it which records it brought before. An old key is found as the columns of the key compare it, see
//! [`Writer::comparable`](crate::store::Writer::comparable).

use super::Scope;
use super::indexed::indexed;
use crate::domain::cells::{decode, encode};
use crate::domain::schema::TableSchema;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::fields::Fields;
use crate::state::{insert, unreadable};
use crate::store::Sql;

/// The key map of a table of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyMap {
    id: i64,
    /// The run that writes now: what earlier ones wrote has a smaller number.
    run: i64,
}

/// What an old key became.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewKey {
    /// Empty where the record became no row, while the row with its old key is another one.
    pub(crate) key: Vec<Value>,
    /// Whether it is that of a row that was here before.
    pub(crate) existing: bool,
    /// Whether an append made it so.
    pub(crate) appended: bool,
}

/// What is kept of an old key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) new: NewKey,
    /// Whether an earlier pull wrote it.
    pub(crate) earlier: bool,
    /// Whether the new key is the old one.
    pub(crate) same: bool,
}

/// How much a key map knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knows {
    /// Nothing.
    Nothing,
    /// Some records that came under another key than the row has.
    Some,
    /// The records of an append: one that it does not know is not here.
    Appended,
}

/// An entry, for those who ask.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) scope: String,
    pub(crate) old: Vec<Value>,
    pub(crate) new: NewKey,
}

/// The place after an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct After {
    map: i64,
    old: Vec<u8>,
}

/// The name of a local table in key maps.
pub(crate) fn name_of(table: &TableSchema) -> String {
    table.names.fold(&table.name).into_owned()
}

/// The map of a table, which is made if there is none, for this pull to write to.
pub(crate) fn open(sql: &mut dyn Sql, scope: &Scope, table: &str, pull: &Scope) -> Result<KeyMap> {
    let upsert = "INSERT INTO rowferry_key_maps (scope, parent, pull, runs) VALUES (?1, ?2, ?3, 1) \
                  ON CONFLICT (scope, parent) DO UPDATE SET pull = excluded.pull, runs = rowferry_key_maps.runs + 1 \
                  WHERE rowferry_key_maps.pull <> excluded.pull";
    sql.execute(upsert, &[scope.as_str().into(), table.into(), pull.as_str().into()])?;
    find(sql, scope, table)?.ok_or_else(|| unreadable("key map"))
}

/// The records of a table come from the first one on: what is in its map was written by earlier runs.
pub(crate) fn begin_run(sql: &mut dyn Sql, scope: &Scope, table: &str, pull: &Scope) -> Result<()> {
    let update = "UPDATE rowferry_key_maps SET pull = ?3, runs = runs + 1 WHERE scope = ?1 AND parent = ?2";
    sql.execute(update, &[scope.as_str().into(), table.into(), pull.as_str().into()]).map(|_| ())
}

/// The largest number that an append gave to a row of this table.
pub(crate) fn last_given(sql: &mut dyn Sql, table: &str) -> Result<i64> {
    let select = "SELECT last_given FROM rowferry_key_maps WHERE parent = ?1 ORDER BY last_given DESC LIMIT 1";
    let found = sql.query(select, &[table.into()])?;
    Ok(found.first().and_then(|row| row.first()).and_then(Value::as_integer).unwrap_or(0))
}

/// Notes the largest number that was given.
pub(crate) fn note_given(sql: &mut dyn Sql, map: KeyMap, last: i64) -> Result<()> {
    let update = "UPDATE rowferry_key_maps SET last_given = ?2 WHERE id = ?1 AND last_given < ?2";
    sql.execute(update, &[map.id.into(), last.into()]).map(|_| ())
}

/// The map of a table, to be read.
pub(crate) fn find(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<Option<KeyMap>> {
    let select = "SELECT id, runs FROM rowferry_key_maps WHERE scope = ?1 AND parent = ?2";
    let found = sql.query(select, &[scope.as_str().into(), table.into()])?;
    match found.first().map(Vec::as_slice) {
        None => Ok(None),
        Some([Value::Integer(id), Value::Integer(run)]) => Ok(Some(KeyMap { id: *id, run: *run })),
        Some(_) => Err(unreadable("key map")),
    }
}

/// How much is known of the records of a table.
pub(crate) fn knows(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<Knows> {
    let Some(map) = find(sql, scope, table)? else { return Ok(Knows::Nothing) };
    // A map has entries of appends only, or few entries.
    let mut has = |condition: &str| -> Result<bool> {
        let select = format!("SELECT 1 FROM rowferry_keys WHERE map = ?1 {condition} LIMIT 1");
        Ok(!sql.query(&select, &[map.id.into()])?.is_empty())
    };
    Ok(match (has("AND appended = 1")?, has("")?) {
        (true, _) => Knows::Appended,
        (false, true) => Knows::Some,
        (false, false) => Knows::Nothing,
    })
}

/// Whether records are rows under other keys, but for appended ones.
pub(crate) fn has_moved(sql: &mut dyn Sql, map: KeyMap) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_keys WHERE map = ?1 AND appended = 0 LIMIT 1";
    Ok(!sql.query(select, &[map.id.into()])?.is_empty())
}

/// Whether a record that came under another key is the row of this one, but for appended ones.
pub(crate) fn is_moved_to(sql: &mut dyn Sql, map: KeyMap, key: &[u8]) -> Result<bool> {
    let select = "SELECT 1 FROM rowferry_keys WHERE map = ?1 AND appended = 0 AND new = ?2 LIMIT 1";
    Ok(!sql.query(select, &[map.id.into(), Value::Blob(key.to_vec())])?.is_empty())
}

/// Whether earlier pulls wrote to the map.
pub(crate) fn has_earlier(map: KeyMap) -> bool {
    map.run > 1
}

/// What is to be remembered of an old key.
#[derive(Debug, Clone)]
pub(crate) struct Became {
    /// The key as its columns compare it.
    pub(crate) old: Vec<u8>,
    /// How they store it, where that is something else.
    pub(crate) stored: Option<Vec<u8>>,
    pub(crate) new: NewKey,
}

/// Remembers what old keys became. Each comes once.
pub(crate) fn put(sql: &mut dyn Sql, map: KeyMap, keys: Vec<Became>) -> Result<()> {
    let longest = sql.longest_indexed();
    let rows = keys.into_iter().map(|Became { old, stored, new }| {
        let key = indexed(&old, longest);
        // Of a digest the key cannot be told.
        let stored = stored.or_else(|| (old.len() > longest).then_some(old));
        [
            map.id.into(),
            key,
            stored.map_or(Value::Null, Value::Blob),
            Value::Blob(encode(new.key.iter().map(Value::as_ref))),
            i64::from(new.existing).into(),
            i64::from(new.appended).into(),
            map.run.into(),
        ]
    });
    insert(
        sql,
        "INSERT INTO rowferry_keys (map, old, stored, new, existing, appended, run)",
        "ON CONFLICT (map, old) DO UPDATE SET stored = excluded.stored, new = excluded.new, existing = excluded.existing, \
         appended = excluded.appended, run = excluded.run",
        rows,
    )
}

/// What became of an old key.
pub(crate) fn get(sql: &mut dyn Sql, map: KeyMap, old: &[u8]) -> Result<Option<Known>> {
    let select = "SELECT existing, appended, run, new, stored FROM rowferry_keys WHERE map = ?1 AND old = ?2";
    let key = indexed(old, sql.longest_indexed());
    let found = sql.query(select, &[map.id.into(), key])?;
    let Some(row) = found.first() else { return Ok(None) };
    let mut fields = Fields::of(row);
    let (existing, appended, run) = (fields.flag()?, fields.flag()?, fields.number()?);
    match &row[3..] {
        [Value::Blob(new), stored] => {
            let same = match stored {
                Value::Blob(stored) => stored == new,
                _ => old == new.as_slice(),
            };
            let key = decode(new).ok_or_else(|| unreadable("key"))?;
            let earlier = i64::try_from(run).is_ok_and(|run| run < map.run);
            Ok(Some(Known { new: NewKey { key, existing, appended }, earlier, same }))
        }
        _ => Err(unreadable("key")),
    }
}

/// The entry of an old key, as it was put.
pub(crate) fn entry(sql: &mut dyn Sql, map: KeyMap, old: &[u8]) -> Result<Option<Became>> {
    let select = "SELECT existing, appended, stored, new FROM rowferry_keys WHERE map = ?1 AND old = ?2";
    let key = indexed(old, sql.longest_indexed());
    let found = sql.query(select, &[map.id.into(), key])?;
    let Some(row) = found.first() else { return Ok(None) };
    let mut fields = Fields::of(row);
    let (existing, appended) = (fields.flag()?, fields.flag()?);
    let [stored, Value::Blob(new)] = &row[2..] else { return Err(unreadable("key")) };
    let stored = match stored {
        Value::Blob(stored) => Some(stored.clone()),
        _ => None,
    };
    let key = decode(new).ok_or_else(|| unreadable("key"))?;
    Ok(Some(Became { old: old.to_vec(), stored, new: NewKey { key, existing, appended } }))
}

/// Forgets an old key.
pub(crate) fn remove(sql: &mut dyn Sql, map: KeyMap, old: &[u8]) -> Result<()> {
    let key = indexed(old, sql.longest_indexed());
    sql.execute("DELETE FROM rowferry_keys WHERE map = ?1 AND old = ?2", &[map.id.into(), key]).map(|_| ())
}

/// Entries of the maps of a table, of all senders, after one that was given: so many at most, with the place after the last.
pub(crate) fn entries(
    sql: &mut dyn Sql,
    table: &str,
    after: Option<&After>,
    most: i64,
) -> Result<(Vec<Entry>, Option<After>)> {
    // A scope that is no sender is that of a pull.
    let select = "SELECT id, scope FROM rowferry_key_maps WHERE parent = ?1 AND id >= ?2 AND scope LIKE '%:%' ORDER BY id";
    let (first, mut old) = after.map_or((-1, Vec::new()), |after| (after.map, after.old.clone()));
    let mut entries = Vec::new();
    for map in sql.query(select, &[table.into(), first.into()])? {
        let [Value::Integer(map), scope] = &map[..] else { return Err(unreadable("key map")) };
        let scope = scope.as_str().ok_or_else(|| unreadable("key map"))?;
        if *map != first {
            old.clear();
        }
        let select = "SELECT existing, appended, old, coalesce(stored, old), new FROM rowferry_keys \
                      WHERE map = ?1 AND old > ?2 ORDER BY old LIMIT ?3";
        let mut last = None;
        for row in sql.query(select, &[(*map).into(), Value::Blob(old.clone()), most.into()])? {
            let mut fields = Fields::of(&row);
            let (existing, appended) = (fields.flag()?, fields.flag()?);
            let [Value::Blob(old), Value::Blob(stored), Value::Blob(new)] = &row[2..] else {
                return Err(unreadable("key"));
            };
            last = Some(After { map: *map, old: old.clone() });
            let values = |bytes: &[u8]| decode(bytes).ok_or_else(|| unreadable("key"));
            let new = NewKey { key: values(new)?, existing, appended };
            entries.push(Entry { scope: scope.to_owned(), old: values(stored)?, new });
        }
        // A page is of one map.
        if last.is_some() {
            return Ok((entries, last));
        }
    }
    Ok((entries, None))
}

/// Forgets the map of a table; gives whether there was one.
pub(crate) fn forget_table(sql: &mut dyn Sql, scope: &Scope, table: &str) -> Result<bool> {
    let Some(map) = find(sql, scope, table)? else { return Ok(false) };
    sql.execute("DELETE FROM rowferry_keys WHERE map = ?1", &[map.id.into()])?;
    sql.execute("DELETE FROM rowferry_key_maps WHERE id = ?1", &[map.id.into()])?;
    Ok(true)
}

/// Forgets the maps of a table, of all senders; gives how many there were.
pub(crate) fn forget_all_of(sql: &mut dyn Sql, table: &str) -> Result<u64> {
    let parent = [table.into()];
    sql.execute("DELETE FROM rowferry_keys WHERE map IN (SELECT id FROM rowferry_key_maps WHERE parent = ?1)", &parent)?;
    Ok(sql.execute("DELETE FROM rowferry_key_maps WHERE parent = ?1", &parent)? as u64)
}

/// Forgets all maps of a scope.
pub(crate) fn forget(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    let scope = [scope.as_str().into()];
    sql.execute("DELETE FROM rowferry_keys WHERE map IN (SELECT id FROM rowferry_key_maps WHERE scope = ?1)", &scope)?;
    sql.execute("DELETE FROM rowferry_key_maps WHERE scope = ?1", &scope).map(|_| ())
}

/// Forgets all maps.
pub(crate) fn forget_all(sql: &mut dyn Sql) -> Result<()> {
    sql.execute("DELETE FROM rowferry_keys", &[])?;
    sql.execute("DELETE FROM rowferry_key_maps", &[]).map(|_| ())
}
