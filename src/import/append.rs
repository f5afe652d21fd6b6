//! Appends records as new rows with new keys.
//!
//! Which key a record gets ([`new_key`]): parts that refer to an appended parent follow it (without it the record fails); then an
//! integer key becomes the next one, a UUID a new one of version 7 in the same form; any other key is kept if it is free. Where
//! another unique set already has the record's values, the record is that row: nothing is written, and what refers to the record
//! follows to that row.
//!
//! What each record became is kept in the key map of its sender, so that the next append brings only what is new.

use std::collections::BTreeMap;
use std::ops::Range;

use super::append_page::{OldKey, Page};
use super::dangling::{self, Kept};
use super::new_key::{Key, find_key};
use super::rows::row_of;
use super::transaction::Transaction;
use super::written::Written;
use crate::domain::digest::RowDigest;
use crate::domain::record::{Failure, Reason, Tally};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::ledger::counts;
use crate::ledger::key_map::{self, Became, KeyMap};
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, Refused};

/// Records after which the pull can be cancelled.
const RUN: usize = 64;

/// Records that are looked at together.
const TOGETHER: usize = 1_000;

/// Whether an append makes keys as it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Each record gets its key as it is written.
    Make,
    /// The keys were made before, by [`append_keys`](super::append_keys).
    Known,
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
    for first in range.clone().step_by(TOGETHER) {
        let range = first..range.end.min(first + TOGETHER);
        let page = Page::new(tx, plan, rows, range, plan.dangling)?;
        match plan.identity {
            Identity::WholeRow => append_keyless(tx, &page, tally, written)?,
            Identity::Key { .. } => append_page(tx, &page, keys, tally, written)?,
        }
    }
    Ok(())
}

fn append_page(tx: &mut Transaction, page: &Page<'_>, keys: Keys, tally: &mut Tally, written: &mut Written) -> Result<()> {
    let Page { plan, range, .. } = page;
    let map = tx.key_map(&plan.table)?;
    // What records became, by their old keys.
    let mut became: BTreeMap<&[u8], Became> = BTreeMap::new();
    for (number, row) in range.clone().enumerate() {
        if number % RUN == 0 {
            tx.check_cancelled()?;
        }
        if let Some(failure) = page.misfit(number) {
            tally.fail(failure);
            continue;
        }
        let old = page.old(number);
        if old.is_none() {
            append_unkeyed(tx, page, number, tally, written)?;
            continue;
        }
        let known = match old {
            // In a first append only what it wrote itself is known.
            Some(old) if keys == Keys::Known || key_map::has_earlier(map) => key_map::get(tx.state().0, map, &old.compared)?,
            _ => None,
        };
        let known = known.filter(|known| !known.new.key.is_empty());
        let mut values = page.values(number);
        let is_known = known.is_some();
        let key = match known {
            Some(known) if known.earlier && !plan.append.again => Key::Existing(known.new.key),
            Some(known) if keys == Keys::Known && known.new.existing => Key::Existing(known.new.key),
            Some(known) if keys == Keys::Known => Key::New(known.new.key),
            _ => find_key(tx, page, number, &values)?,
        };
        let mut new = match (key, page.lost(number)) {
            (Key::Existing(key), _) => {
                tally.outcome.skipped += 1;
                if let Some(old) = old.filter(|_| !is_known) {
                    became.insert(&old.compared, old.became(key, true, true));
                }
                continue;
            }
            (_, Some(failure)) => {
                tally.fail(failure);
                forget(tx, map, keys, old)?;
                continue;
            }
            (Key::Refused(reason, message), None) => {
                tally.fail(Failure { key: page.shown_key(number), column: None, reason, message });
                continue;
            }
            (Key::New(key), None) => Some(key),
            (Key::None, None) => None,
        };
        let (mut local, mut refused) = insert(tx, plan, new.as_deref(), &mut values)?;
        if keys == Keys::Make
            && refused.as_ref().is_some_and(|refused| refused.reason == Reason::UniqueConflict)
            && tx.forget_integers(&plan.table)
            && let Key::New(next) = find_key(tx, page, number, &values)?
        {
            // The number may have been taken by a trigger since the last one was given.
            (local, refused) = insert(tx, plan, Some(&next), &mut values)?;
            new = Some(next);
        }
        if keys == Keys::Known
            && refused.as_ref().is_some_and(|refused| refused.reason == Reason::UniqueConflict)
            && let Key::Existing(key) = find_key(tx, page, number, &page.values(number))?
        {
            // A record before it became the row that this one is.
            tally.outcome.skipped += 1;
            if let Some(old) = old {
                became.insert(&old.compared, old.became(key, true, true));
            }
            continue;
        }
        let failure = match refused {
            None => None,
            Some(refused) if refused.is_left_out => {
                tally.outcome.skipped += 1;
                forget(tx, map, keys, old)?;
                continue;
            }
            Some(refused) => {
                let failure = tx.failure_of(plan, page.shown_key(number), (&local, 0), refused)?;
                let kept = dangling::keep(tx, plan, Change::Insert, (&local, 0), &failure)?;
                tally.outcome.dangling += u64::from(kept.is_dangling());
                matches!(kept, Kept::Not).then_some(failure)
            }
        };
        match (failure, old) {
            (None, old) => {
                tally.outcome.created += 1;
                match (&plan.identity, &new) {
                    (Identity::Key { columns, .. }, Some(_)) => written.add_keyed(tx, plan, columns, row, &local)?,
                    _ => written.add_inserted(row, &local, 0),
                }
                if let (Some(key), Some(old), Keys::Make) = (new, old, keys) {
                    became.insert(&old.compared, old.became(key, false, true));
                }
            }
            (Some(failure), old) => {
                tally.fail(failure);
                forget(tx, map, keys, old)?;
            }
        }
    }
    key_map::put(tx.state().0, map, became.into_values().collect())?;
    tx.note_given(&plan.table, map)
}

fn append_keyless(tx: &mut Transaction, page: &Page<'_>, tally: &mut Tally, written: &mut Written) -> Result<()> {
    for number in 0..page.range.len() {
        if number % RUN == 0 {
            tx.check_cancelled()?;
        }
        append_unkeyed(tx, page, number, tally, written)?;
    }
    Ok(())
}

/// Forgets the key that was made for a record which then failed: it did not come here.
fn forget(tx: &mut Transaction, map: KeyMap, keys: Keys, old: Option<&OldKey>) -> Result<()> {
    match old {
        Some(old) if keys == Keys::Known => key_map::remove(tx.state().0, map, &old.compared),
        _ => Ok(()),
    }
}

/// Appends a record without a key of its own: of a table that has none, or with NULL in it. What came is counted by content: of a record
/// that came before as often as it comes now, nothing is new.
fn append_unkeyed(
    tx: &mut Transaction,
    page: &Page<'_>,
    number: usize,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let Page { plan, rows, range, fitted, .. } = page;
    let (row, name) = (range.start + number, key_map::name_of(&plan.table));
    if let Some(failure) = page.misfit(number) {
        tally.fail(failure);
        return Ok(());
    }
    let digest = digest(rows, row);
    if tx.came_before(&name, &digest)? {
        tally.outcome.skipped += 1;
        return Ok(());
    }
    match find_key(tx, page, number, &page.values(number))? {
        Key::Existing(_) => {
            tally.outcome.skipped += 1;
            return tx.note_came(&name, digest);
        }
        Key::Refused(reason, message) => {
            tally.fail(Failure { key: page.shown_key(number), column: None, reason, message });
            return Ok(());
        }
        Key::None | Key::New(_) => {}
    }
    if let Some(failure) = page.lost(number) {
        tally.fail(failure);
        return Ok(());
    }
    let local = (&fitted.rows, number);
    let is_written = match tx.write(&plan.table, Change::Insert, &fitted.rows, number)? {
        None => {
            tally.outcome.created += 1;
            true
        }
        Some(refused) if refused.is_left_out => {
            tally.outcome.skipped += 1;
            false
        }
        Some(refused) => {
            let failure = tx.failure_of(plan, page.shown_key(number), local, refused)?;
            dangling::keep_new(tx, plan, local, failure, tally)?
        }
    };
    if is_written {
        written.add_inserted(row, &fitted.rows, number);
        tx.note_came(&name, digest)?;
    }
    Ok(())
}

/// What stands for a record's content.
fn digest(rows: &Rows, row: usize) -> counts::Digest {
    let mut digest = RowDigest::new();
    rows.row(row).for_each(|value| digest.value(value.unwrap_or(ValueRef::Null)));
    digest.finish()
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
