//! Appends records as new rows with new keys.
//!
//! Which key a record gets: parts that refer to an appended parent follow it (without it the record fails); then an integer key
//! becomes the next one, a UUID a new one of version 7 in the same form; any other key is kept if it is free. Where another unique
//! set already has the record's values, the record is that row: nothing is written, and what refers to the record follows to that
//! row.
//!
//! The new keys are remembered under the old ones for as long as the pull runs.

use std::ops::Range;

use uuid::Uuid;

use super::orphans::Written;
use super::remap::{follow, push};
use super::transaction::{Transaction, key_of_record, misfit_of};
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::schema::UniqueKind;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::records::key_map::{self, NewKey};
use crate::store::{Change, Refused};

/// Records after which the pull can be cancelled.
const RUN: usize = 64;

/// Whether an append makes keys as it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Each record gets its key as it is written.
    Make,
    /// The keys were made before, by [`make_keys`].
    Known,
}

/// What becomes of a record's key.
enum Key {
    /// The table has none, or its rows can be told apart by their content only.
    None,
    /// A new row gets this key.
    New(Vec<Value>),
    /// The record is this row, which exists.
    Existing(Vec<Value>),
    /// There is none to be had.
    Taken,
}

pub(super) fn append(
    tx: &mut Transaction,
    plan: &TablePlan,
    keys: Keys,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let remembers = plan.remember_keys && keys == Keys::Make;
    let fitted = tx.fit(plan, rows, range.clone())?;
    for (number, row) in range.enumerate() {
        if number % RUN == 0 {
            tx.check_cancelled()?;
        }
        let old = key_of_record(plan, rows, row);
        if let Some(failure) = misfit_of(plan, &fitted, number, || old.clone()) {
            tally.fail(failure);
            continue;
        }
        let mut values = owned(&fitted.rows, number);
        let lost = follow_local(tx, plan, rows, row, &mut values)?;
        let key = match keys {
            Keys::Known if has_key(plan, &old) => {
                let (sql, scope) = tx.state();
                match key_map::get(sql, scope, &plan.table.name, &old)? {
                    Some(NewKey { key, existing: true }) => Key::Existing(key),
                    Some(NewKey { key, existing: false }) => Key::New(key),
                    None => Key::Taken,
                }
            }
            // A record without a key of its own has no place among the known ones.
            Keys::Make | Keys::Known => find_key(tx, plan, &old, &values)?,
        };
        let mut new = match (key, lost) {
            (Key::Existing(key), _) => {
                tally.outcome.skipped += 1;
                if remembers {
                    remember(tx, plan, &old, NewKey { key, existing: true })?;
                }
                continue;
            }
            (_, Some(failure)) => {
                tally.fail(failure);
                continue;
            }
            (Key::Taken, None) => {
                let message = format!("its key is taken in {:?}, and no new one can be made of its kind", plan.table.name);
                tally.fail(Failure { key: old, column: None, reason: Reason::NoNewKey, message });
                continue;
            }
            (Key::New(key), None) => Some(key),
            (Key::None, None) => None,
        };
        let (mut local, mut refused) = insert(tx, plan, new.as_deref(), &mut values)?;
        if keys == Keys::Make
            && refused.as_ref().is_some_and(|refused| refused.reason == Reason::UniqueConflict)
            && tx.forget_integers(&plan.table)
            && let Key::New(next) = find_key(tx, plan, &old, &values)?
        {
            // The number may have been taken by a trigger since the last one was given.
            (local, refused) = insert(tx, plan, Some(&next), &mut values)?;
            new = Some(next);
        }
        match refused {
            None => {
                tally.outcome.created += 1;
                match (&plan.identity, &new) {
                    (Identity::Key { columns, .. }, Some(_)) => written.add_keyed(tx, plan, columns, row, &local)?,
                    _ => written.add_inserted(row, &local, 0),
                }
                if let Some(key) = new.filter(|_| remembers) {
                    remember(tx, plan, &old, NewKey { key, existing: false })?;
                }
            }
            Some(refused) => tally.fail(tx.failure_of(plan, old, (&local, 0), refused)?),
        }
    }
    Ok(())
}

/// Gives each record its new key and remembers it, without writing a row: the first half of an append of tables that refer to each
/// other. A record that can get no key is left for [`append`] to report.
pub(super) fn make_keys(tx: &mut Transaction, plan: &TablePlan, rows: &Rows, range: Range<usize>) -> Result<()> {
    let fitted = tx.fit(plan, rows, range.clone())?;
    for (number, row) in range.enumerate() {
        if number % RUN == 0 {
            tx.check_cancelled()?;
        }
        let old = key_of_record(plan, rows, row);
        let mut values = owned(&fitted.rows, number);
        // A parent that is missing so far may get its key later.
        follow_local(tx, plan, rows, row, &mut values)?;
        match find_key(tx, plan, &old, &values)? {
            Key::New(key) => remember(tx, plan, &old, NewKey { key, existing: false })?,
            Key::Existing(key) => remember(tx, plan, &old, NewKey { key, existing: true })?,
            Key::None | Key::Taken => {}
        }
    }
    Ok(())
}

fn owned(rows: &Rows, row: usize) -> Vec<Option<Value>> {
    rows.row(row).map(|value| value.map(ValueRef::to_owned)).collect()
}

/// The same as [`follow`] for values in the order of the local columns.
fn follow_local(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    row: usize,
    values: &mut [Option<Value>],
) -> Result<Option<Failure>> {
    follow(tx, plan, rows, row, values, &|incoming| plan.targets[incoming])
}

/// Inserts the record with these values under a new key. Gives the row, and why it was refused if it was.
fn insert(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: Option<&[Value]>,
    values: &mut [Option<Value>],
) -> Result<(Rows, Option<Refused>)> {
    if let (Some(key), Identity::Key { columns, .. }) = (key, &plan.identity) {
        for (column, value) in columns.iter().zip(key) {
            values[*column] = Some(value.clone());
        }
    }
    let row = row_of(values);
    let refused = tx.write(&plan.table, Change::Insert, &row, 0)?;
    Ok((row, refused))
}

fn row_of(values: &[Option<Value>]) -> Rows {
    let mut rows = Rows::new(values.len());
    push(&mut rows, values);
    rows
}

/// Whether a record has a key of its own: it came with one, and without NULL in it.
fn has_key(plan: &TablePlan, old: &[Value]) -> bool {
    match &plan.identity {
        Identity::WholeRow => false,
        Identity::Key { columns, nullable, .. } => {
            old.len() == columns.len() && !(*nullable && old.iter().any(Value::is_null))
        }
    }
}

fn find_key(tx: &mut Transaction, plan: &TablePlan, old: &[Value], values: &[Option<Value>]) -> Result<Key> {
    let Identity::Key { columns, incoming, .. } = &plan.identity else {
        return Ok(Key::None);
    };
    if let Some(existing) = unique_match(tx, plan, columns, values)? {
        return Ok(Key::Existing(existing));
    }
    if !has_key(plan, old) {
        return Ok(Key::None);
    }
    let key: Vec<Option<Value>> = columns.iter().map(|column| values[*column].clone()).collect();
    if let [column] = &columns[..] {
        let follows = plan.follows.iter().any(|follow| follow.incoming == *incoming);
        let integer = plan.table.rowid_alias || matches!(key[0], Some(Value::Integer(_)));
        if integer && !follows {
            return Ok(match tx.next_integer(&plan.table, *column)? {
                Some(next) => Key::New(vec![next.into()]),
                None => Key::Taken,
            });
        }
    }
    let Some(mut key) = key.into_iter().collect::<Option<Vec<Value>>>() else {
        return Ok(Key::Taken);
    };
    let is_reference = |column: usize| {
        let name = &plan.table.columns[column].name;
        plan.table.foreign_keys.iter().any(|key| plan.table.names.is_among(name, &key.columns))
    };
    for (part, _) in key.iter_mut().zip(columns).filter(|(_, column)| !is_reference(**column)) {
        if let Some(new) = new_uuid(part) {
            *part = new;
        }
    }
    let mut values = values.to_vec();
    columns.iter().zip(&key).for_each(|(column, value)| values[*column] = Some(value.clone()));
    let taken = tx.find_by_key(&plan.table, columns, &[], &row_of(&values), 0)?.is_some();
    Ok(if taken { Key::Taken } else { Key::New(key) })
}

/// The key of a row that has the record's values in a unique set.
fn unique_match(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    values: &[Option<Value>],
) -> Result<Option<Vec<Value>>> {
    let row = row_of(values);
    for set in plan.table.unique.iter().filter(|set| set.kind == UniqueKind::Full) {
        let Some(columns) = plan.table.column_indexes(&set.columns) else { continue };
        if columns.len() == key.len() && columns.iter().all(|column| key.contains(column)) {
            continue;
        }
        if let Some(found) = tx.find(&plan.table, &columns, key, &row, 0)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Whether a record is a row that is here, by a unique set without these columns.
pub(super) fn is_known(tx: &mut Transaction, plan: &TablePlan, record: &Rows, without: &[usize]) -> Result<bool> {
    let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(false) };
    let fitted = tx.fit(plan, record, 0..1)?;
    let mut values = owned(&fitted.rows, 0);
    without.iter().for_each(|column| values[*column] = None);
    Ok(unique_match(tx, plan, key, &values)?.is_some())
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

fn remember(tx: &mut Transaction, plan: &TablePlan, old: &[Value], new: NewKey) -> Result<()> {
    if !has_key(plan, old) {
        return Ok(());
    }
    let (sql, scope) = tx.state();
    key_map::put(sql, scope, &plan.table.name, old, &new)
}

#[cfg(test)]
mod tests {
    use super::*;

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
