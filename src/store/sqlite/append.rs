//! Appends records as new rows with new keys.
//!
//! Which key a record gets: parts that refer to an appended parent follow it (without it the record fails); then an integer key becomes the next one, a
//! UUID a new one of version 7 in the same form; any other key is kept if it is free. Where another unique set already has
//! the record's values, the record is that row: nothing is written, and what refers to the record follows to that row.
//!
//! The new keys are remembered, under the old ones, in `rowferry_key_map` for as long as the pull runs.

use std::ops::Range;

use uuid::Uuid;

use super::apply::{Batch, Column, bound, equals, has_row, insert};
use super::cells;
use super::dialect::{failed, quote, quote_all, refusal};
use super::write::SqliteWriter;
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::schema::UniqueKind;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Identity, TablePlan};
use crate::store::{AppendKeys, Scope, Sql};

/// What becomes of a record's key.
enum Key {
    /// The table has none, or its rows may be told apart by their content only.
    None,
    /// A new row gets this key.
    New(Vec<Value>),
    /// The record is this row, which exists.
    Existing(Vec<Value>),
    /// There is none to be had.
    Taken,
}

pub(super) fn append(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    scope: &Scope,
    keys: AppendKeys,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<()> {
    let batch = Batch::new(writer, plan, rows);
    let remembers = plan.remember_keys && keys == AppendKeys::Make;
    for row in range {
        if let Some(failure) = batch.misfit(row) {
            tally.fail(failure);
            continue;
        }
        let (mut values, lost) = followed(writer, &batch, scope, row)?;
        let key = match keys {
            AppendKeys::Known => match map_entry(writer, scope, &plan.table.name, &batch.key(row))? {
                Some((key, true)) => Key::Existing(key),
                Some((key, false)) => Key::New(key),
                None if has_key(plan, &batch, row) => Key::Taken,
                None => Key::None,
            },
            AppendKeys::Make => find_key(writer, &batch, row, &values)?,
        };
        let mut new = match (key, lost) {
            (Key::Existing(key), _) => {
                tally.outcome.skipped += 1;
                if remembers {
                    remember(writer, &batch, scope, row, &key, true)?;
                }
                continue;
            }
            (_, Some(failure)) => {
                tally.fail(failure);
                continue;
            }
            (Key::Taken, None) => {
                let message = format!("its key is taken in {:?}, and no new one can be made of its kind", plan.table.name);
                tally.fail(batch.failure(row, Reason::NoNewKey, None, message));
                continue;
            }
            (Key::New(key), None) => Some(key),
            (Key::None, None) => None,
        };
        let mut written = insert_new(writer, &batch, new.as_deref(), &mut values);
        if keys == AppendKeys::Make
            && written.as_ref().is_err_and(|error| refusal(error) == Some(Reason::UniqueConflict))
            && writer.last_keys.remove(&plan.table.name).is_some()
            && let Key::New(next) = find_key(writer, &batch, row, &values)?
        {
            // The number may have been taken by a trigger since the last one was given.
            written = insert_new(writer, &batch, Some(&next), &mut values);
            new = Some(next);
        }
        match written {
            Ok(0) => tally.fail(batch.left_out(row)),
            Ok(_) => {
                tally.outcome.created += 1;
                if let Some(key) = new.as_ref().filter(|_| remembers) {
                    remember(writer, &batch, scope, row, key, false)?;
                }
            }
            Err(error) => tally.fail(batch.refused(writer, row, error)?),
        }
    }
    Ok(())
}

/// Inserts the record with these values under a new key.
fn insert_new(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    key: Option<&[Value]>,
    values: &mut [Option<Value>],
) -> rusqlite::Result<usize> {
    if let (Some(key), Identity::Key { incoming, .. }) = (key, &batch.plan.identity) {
        for (at, value) in incoming.iter().zip(key) {
            values[*at] = Some(value.clone());
        }
    }
    let present: Vec<&Column> = batch.columns.iter().filter(|c| values[c.incoming].is_some()).collect();
    let written: Vec<ValueRef<'_>> = present.iter().filter_map(|c| values[c.incoming].as_ref()).map(Value::as_ref).collect();
    insert(writer, batch, &present, &written)
}

pub(super) fn append_keys(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    scope: &Scope,
    rows: &Rows,
    range: Range<usize>,
) -> Result<()> {
    let batch = Batch::new(writer, plan, rows);
    for row in range {
        // A parent that is missing so far may get its key later.
        let (values, _) = followed(writer, &batch, scope, row)?;
        match find_key(writer, &batch, row, &values)? {
            Key::New(key) => remember(writer, &batch, scope, row, &key, false)?,
            Key::Existing(key) => remember(writer, &batch, scope, row, &key, true)?,
            Key::None | Key::Taken => {}
        }
    }
    Ok(())
}

/// The records with those values that refer to an appended parent following it; `None` where no column does. Records whose
/// parent is lost fail and are left out.
pub(super) fn followed_rows(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    scope: &Scope,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<Option<Rows>> {
    if plan.follows.is_empty() {
        return Ok(None);
    }
    let batch = Batch::new(writer, plan, rows);
    let mut all = Rows::new(rows.width());
    for row in range {
        let (values, lost) = followed(writer, &batch, scope, row)?;
        if let Some(failure) = lost {
            tally.fail(failure);
            continue;
        }
        all.start_row();
        for (at, value) in values.iter().enumerate() {
            if let Some(value) = value {
                all.set(at, value.as_ref());
            }
        }
    }
    Ok(Some(all))
}

/// The record's values, with those that refer to an appended parent already following it; and the failure of a record whose
/// parent was not appended. Its reference must not stay, and is taken out: the row here that happens to have that key is
/// another one, also for a unique set that the reference is part of.
fn followed(
    writer: &mut SqliteWriter,
    batch: &Batch<'_>,
    scope: &Scope,
    row: usize,
) -> Result<(Vec<Option<Value>>, Option<Failure>)> {
    let mut values: Vec<Option<Value>> =
        (0..batch.rows.width()).map(|at| batch.rows.get(row, at).map(ValueRef::to_owned)).collect();
    let mut lost = None;
    for follow in &batch.plan.follows {
        let old: Option<Vec<Value>> =
            follow.incoming.iter().map(|at| batch.rows.get(row, *at).map(ValueRef::to_owned)).collect();
        let Some(old) = old.filter(|old| old.iter().all(|value| !value.is_null())) else {
            continue;
        };
        match map_entry(writer, scope, &follow.parent, &old)? {
            Some((new, _)) => {
                for (at, value) in follow.incoming.iter().zip(new) {
                    values[*at] = Some(value);
                }
            }
            None => {
                follow.incoming.iter().for_each(|at| values[*at] = None);
                let column = batch.columns.iter().find(|column| follow.incoming.first() == Some(&column.incoming));
                let column = column.map(|column| batch.name(column));
                let message = format!("no row of {:?} with the key {old:?} was appended", follow.parent);
                lost = Some(batch.failure(row, Reason::ForeignKey, column, message));
            }
        }
    }
    Ok((values, lost))
}

pub(super) fn has_key(plan: &TablePlan, batch: &Batch<'_>, row: usize) -> bool {
    match &plan.identity {
        Identity::WholeRow => false,
        Identity::Key { nullable, .. } => !(*nullable && batch.key(row).iter().any(Value::is_null)),
    }
}

fn find_key(writer: &mut SqliteWriter, batch: &Batch<'_>, row: usize, values: &[Option<Value>]) -> Result<Key> {
    let plan = batch.plan;
    let Identity::Key { columns, incoming, .. } = &plan.identity else {
        return Ok(Key::None);
    };
    let names: Vec<String> = columns.iter().map(|at| plan.table.columns[*at].name.clone()).collect();
    if let Some(existing) = unique_match(writer, batch, &names, values)? {
        return Ok(Key::Existing(existing));
    }
    let old: Vec<Option<Value>> = match incoming.is_empty() {
        true => vec![None; columns.len()],
        false => incoming.iter().map(|at| values[*at].clone()).collect(),
    };
    if !has_key(plan, batch, row) {
        return Ok(Key::None);
    }
    if let [name] = &names[..] {
        let follows = plan.follows.iter().any(|follow| follow.incoming == *incoming);
        let integer = plan.table.rowid_alias || matches!(old[0], Some(Value::Integer(_)));
        if integer && !follows {
            return Ok(match next_integer(writer, &plan.table.name, name)? {
                Some(next) => Key::New(vec![next.into()]),
                None => Key::Taken,
            });
        }
    }
    let Some(mut key) = old.into_iter().collect::<Option<Vec<Value>>>() else {
        return Ok(Key::Taken);
    };
    let is_reference = |at: &usize| {
        let name = &plan.table.columns[columns[*at]].name;
        plan.table.foreign_keys.iter().any(|key| key.columns.iter().any(|column| column.eq_ignore_ascii_case(name)))
    };
    for at in (0..key.len()).filter(|at| !is_reference(at)) {
        if let Some(new) = new_uuid(&key[at]) {
            key[at] = new;
        }
    }
    let taken = has_row(writer, &plan.table.name, &names, &key.iter().map(Value::as_ref).collect::<Vec<_>>())?;
    Ok(if taken { Key::Taken } else { Key::New(key) })
}

/// The key of a row that has the record's values in a unique set.
fn unique_match(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    key: &[String],
    values: &[Option<Value>],
) -> Result<Option<Vec<Value>>> {
    let table = &batch.plan.table;
    for set in table.unique.iter().filter(|set| set.kind == UniqueKind::Full) {
        if set.columns.len() == key.len() && set.columns.iter().all(|column| key.contains(column)) {
            continue;
        }
        let of = |name: &String| {
            let column = batch.columns.iter().find(|column| batch.name(column).eq_ignore_ascii_case(name))?;
            values[column.incoming].as_ref().filter(|value| !value.is_null())
        };
        let Some(wanted) = set.columns.iter().map(of).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            quote_all(key.iter().map(String::as_str)),
            quote(&table.name),
            equals(set.columns.iter().map(String::as_str))
        );
        let mut statement = writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
        let mut found = statement.query(bound(wanted.into_iter().map(Value::as_ref))).map_err(failed)?;
        if let Some(row) = found.next().map_err(failed)? {
            let cells = (0..key.len()).map(|at| row.get_ref(at).map(|value| super::dialect::borrowed(value).to_owned()));
            return Ok(Some(cells.collect::<rusqlite::Result<_>>().map_err(failed)?));
        }
    }
    Ok(None)
}

/// The next integer of a key: one more than the largest there is, was given in this transaction, or (AUTOINCREMENT) ever was.
fn next_integer(writer: &mut SqliteWriter, table: &str, column: &str) -> Result<Option<i64>> {
    let last = match writer.last_keys.get(table) {
        Some(last) => *last,
        None => {
            let column = quote(column);
            let sql = format!(
                "SELECT {column} FROM {} WHERE typeof({column}) = 'integer' ORDER BY {column} DESC LIMIT 1",
                quote(table)
            );
            let largest = integer(writer.query(&sql, &[])?);
            let ever = match writer.query("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", &[])?.is_empty() {
                true => 0,
                false => integer(writer.query("SELECT seq FROM sqlite_sequence WHERE name = ?1", &[table.into()])?),
            };
            largest.max(ever).max(0)
        }
    };
    let next = last.checked_add(1);
    if let Some(next) = next {
        writer.last_keys.insert(table.to_owned(), next);
    }
    Ok(next)
}

fn integer(rows: Vec<Vec<Value>>) -> i64 {
    rows.first().and_then(|row| row.first()).and_then(Value::as_integer).unwrap_or(0)
}

/// A new UUID in the form of this one: 16 bytes, or text with or without hyphens. `None` if this is no UUID.
fn new_uuid(old: &Value) -> Option<Value> {
    match old {
        Value::Blob(bytes) if bytes.len() == 16 => Some(Value::Blob(Uuid::now_v7().as_bytes().to_vec())),
        Value::Text(text) => {
            let text = std::str::from_utf8(text).ok()?;
            Uuid::try_parse(text).ok()?;
            let new = Uuid::now_v7();
            match text.len() {
                36 => Some(new.hyphenated().to_string().into()),
                32 => Some(new.simple().to_string().into()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn remember(
    writer: &mut SqliteWriter,
    batch: &Batch<'_>,
    scope: &Scope,
    row: usize,
    new: &[Value],
    existing: bool,
) -> Result<()> {
    let old = batch.key(row);
    if old.is_empty() {
        return Ok(());
    }
    let values = [
        scope.as_str().into(),
        batch.plan.table.name.as_str().into(),
        Value::Blob(encode(&old)),
        Value::Blob(encode(new)),
        i64::from(existing).into(),
    ];
    let sql = "INSERT INTO rowferry_key_map(scope, parent, old, new, existing) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT(scope, parent, old) DO UPDATE SET new = excluded.new, existing = excluded.existing";
    writer.execute(sql, &values)?;
    Ok(())
}

/// The key that stands for an old one in this scope.
pub(super) fn new_key_of(
    writer: &mut SqliteWriter,
    scope: &Scope,
    table: &str,
    old: &[Value],
) -> Result<Option<Vec<Value>>> {
    Ok(map_entry(writer, scope, table, old)?.map(|(key, _)| key))
}

fn map_entry(writer: &mut SqliteWriter, scope: &Scope, table: &str, old: &[Value]) -> Result<Option<(Vec<Value>, bool)>> {
    let sql = "SELECT new, existing FROM rowferry_key_map WHERE scope = ?1 AND parent = ?2 AND old = ?3";
    let found = writer.query(sql, &[scope.as_str().into(), table.into(), Value::Blob(encode(old))])?;
    let Some([Value::Blob(new), Value::Integer(existing)]) = found.first().map(Vec::as_slice) else {
        return Ok(None);
    };
    let key = decode(new)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "rowferry_key_map holds a key that rowferry did not write"))?;
    Ok(Some((key, *existing != 0)))
}

/// A key as bytes. Numbers that are equal have the same bytes, because a reference may be stored as 1.0 where its parent's key
/// is 1.
fn encode(key: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in key {
        cells::put(
            &mut bytes,
            Some(match value {
                // As integers end in front of 2^63, so do doubles that are one.
                Value::Real(v) if *v < 9_223_372_036_854_775_808.0 && *v == (*v as i64) as f64 => {
                    ValueRef::Integer(*v as i64)
                }
                value => value.as_ref(),
            }),
        );
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut key = Vec::new();
    while !bytes.is_empty() {
        key.push(cells::take(&mut bytes)??.to_owned());
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::strategy::Strategy;

    #[test]
    fn keys_round_trip_as_bytes() {
        let key = vec![Value::Null, 5.into(), Value::Real(1.5), "a".into(), Value::Blob(vec![0, 255])];
        assert_eq!(decode(&encode(&key)), Some(key));
        assert_eq!(encode(&[Value::Real(7.0)]), encode(&[7.into()]));
        assert_eq!(encode(&[Value::Real(-9_223_372_036_854_775_808.0)]), encode(&[i64::MIN.into()]));
        assert_ne!(encode(&[Value::Real(9_223_372_036_854_775_808.0)]), encode(&[i64::MAX.into()]));
        assert_ne!(encode(&[Value::Real(1e300)]), encode(&[i64::MAX.into()]));
        assert_eq!(decode(b"i\0\0\0\x08abc"), None);
        assert_eq!(decode(b"-"), None);
    }

    /// Appends these records to `t`; gives how many were created, and how many pragmas that took.
    fn append_to_t(sql: &str, keys: impl Iterator<Item = Value>) -> (u64, usize) {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

        use crate::plan::table::{ExtraColumns, plan_table};
        use crate::store::{Writer, sqlite::SqliteStore};

        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("site.db"), &crate::Limits::default()).unwrap();
        let mut writer = SqliteWriter::bulk(store.pools.writer().unwrap(), &store.log_pages).unwrap();
        writer.connection.sqlite.execute_batch(sql).unwrap();
        let table = writer.schema("t").unwrap().unwrap();
        let plan = plan_table(&table, &table, Strategy::Append, ExtraColumns::Refuse).unwrap();
        let mut rows = Rows::new(2);
        keys.for_each(|key| rows.push([key.as_ref(), ValueRef::Text(b"a")]));
        let pragmas = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&pragmas);
        let count = move |context: AuthContext<'_>| {
            counter.fetch_add(usize::from(matches!(context.action, AuthAction::Pragma { .. })), Ordering::Relaxed);
            Authorization::Allow
        };
        writer.connection.sqlite.authorizer(Some(count)).unwrap();
        let mut tally = Tally::new(10);
        let range = 0..rows.len();
        super::append(&mut writer, &plan, &Scope::new(), AppendKeys::Make, &rows, range, &mut tally).unwrap();
        writer.connection.sqlite.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).unwrap();
        assert_eq!(tally.outcome.failures, []);
        (tally.outcome.created, pragmas.load(Ordering::Relaxed))
    }

    #[test]
    fn a_number_that_a_trigger_took_is_not_given_again() {
        for key in ["INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", "INT PRIMARY KEY"] {
            let sql = format!(
                "CREATE TABLE t(id {key}, note TEXT);
                 CREATE TRIGGER log AFTER INSERT ON t WHEN NEW.note <> 'log' BEGIN
                   INSERT INTO t(id, note) SELECT max(id) + 1, 'log' FROM t;
                 END;"
            );
            assert_eq!(append_to_t(&sql, (1..=4).map(Value::Integer)).0, 4, "{key}");
        }
    }

    #[test]
    fn a_record_does_not_have_its_table_inspected() {
        let uuids = (0..50).map(|_| Uuid::now_v7().to_string().into());
        let (created, pragmas) = append_to_t("CREATE TABLE t(id TEXT PRIMARY KEY, note TEXT)", uuids);
        assert!(created == 50 && pragmas < 50, "{created} created, {pragmas} pragmas");
    }

    #[test]
    fn a_new_uuid_has_the_form_of_the_old_one() {
        let form = |old: &str| new_uuid(&old.into()).map(|new| new.as_str().map(str::len));
        assert_eq!(form("67e55044-10b1-426f-9247-bb680e5fe0c8"), Some(Some(36)));
        assert_eq!(form("67e5504410b1426f9247bb680e5fe0c8"), Some(Some(32)));
        assert_eq!(form("not-a-uuid"), None);
        assert!(matches!(new_uuid(&Value::Blob(vec![1; 16])), Some(Value::Blob(new)) if new.len() == 16));
        assert_eq!(new_uuid(&5.into()), None);
    }
}
