//! Finds the records of a batch that change nothing, by reading alone.
//!
//! Records mostly come in key order. Then one pass over the local rows, in the same order and beside the records, tells which
//! rows exist already and are to be skipped, or are equal already, at a fraction of what an upsert costs that does nothing.
//! Where a batch turns out to be otherwise (keys in no order, rows that differ) the pass ends, and the rest is upserted.
//!
//! All of this is found before the batch is written, and holds afterwards if to write a row changes no other row of the table. A
//! trigger may do that, or a reference that follows a changed column. There the pass ends at the first record that is written.

use std::cmp::Ordering;
use std::ops::Range;

use super::super::dialect::{borrowed, bound, failed, quote, quote_all};
use super::super::keys::key_parts;
use super::super::transaction::Transaction;
use super::shape::{Column, Extent, Shape};
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::plan::decide::{changes, newer};

/// Local rows that are passed over before the place of the next record is looked up instead.
const STEPS: usize = 32;

/// Records after which it is looked whether the pass pays.
const TRIAL: usize = 100;

/// Records that are upserted without a look after a pass that did not pay: at first, and when none pays for long.
const PAUSES: Range<usize> = 16..1 << 15;

/// For how many records no pass is tried, because the last one did not pay.
#[derive(Default)]
pub(super) struct Pause {
    left: usize,
    last: usize,
}

impl Pause {
    /// Whether a pass over so many records is tried.
    fn is_over(&mut self, records: usize) -> bool {
        let over = self.left == 0;
        self.left = self.left.saturating_sub(records);
        over
    }

    fn note(&mut self, seen: usize, found: usize) {
        if found * 4 >= seen {
            *self = Pause::default();
        } else {
            self.last = (self.last * 2).clamp(PAUSES.start, PAUSES.end);
            self.left = self.last;
        }
    }
}

/// What the look says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It is to be written.
    New,
    /// It changes nothing: its row is like it already.
    Same,
    /// It changes nothing, although its row is otherwise: the strategy skips it, or it is not newer.
    Skipped,
}

impl Found {
    pub(super) fn is_new(self) -> bool {
        self == Found::New
    }

    /// Counts a record that changes nothing.
    pub(super) fn count(self, strategy: Strategy, tally: &mut Tally) {
        match (self, strategy) {
            (Found::Skipped, _) | (_, Strategy::Skip | Strategy::Append) => tally.outcome.skipped += 1,
            (_, Strategy::Overwrite | Strategy::Merge) => tally.outcome.unchanged += 1,
        }
        tally.outcome.differing += u64::from(self == Found::Skipped);
    }
}

/// A look for records that change nothing.
pub(super) struct Unchanged<'u> {
    pub(super) transaction: &'u Transaction,
    pub(super) shape: &'u Shape,
    pub(super) rows: &'u Rows,
}

impl Unchanged<'_> {
    /// Says it of the first records; those after them are not looked at. All are plain.
    pub(super) fn find(&self, pause: &mut Pause, range: Range<usize>) -> Result<Vec<Found>> {
        if range.is_empty() || !is_ordered_alike(self.transaction, self.shape) || !pause.is_over(range.len()) {
            return Ok(Vec::new());
        }
        let others = self.shape.columns.iter().filter(|column| self.shape.may_differ(column)).collect();
        let key = self.shape.key.iter().map(|(at, _)| &self.shape.columns[*at]).collect();
        let Unchanged { transaction, shape, rows } = *self;
        let found = Scan { transaction, shape, rows, key, others }.run(range)?;
        pause.note(found.len(), found.iter().filter(|found| !found.is_new()).count());
        Ok(found)
    }
}

/// Whether SQLite orders the key as [`order`] does: bytes by their value. A collation may do otherwise, and so does a
/// database in UTF-16.
fn is_ordered_alike(transaction: &Transaction, shape: &Shape) -> bool {
    transaction.any_text && shape.key.iter().all(|(_, collation)| collation.is_none())
}

struct Scan<'p> {
    transaction: &'p Transaction,
    shape: &'p Shape,
    rows: &'p Rows,
    key: Vec<&'p Column>,
    /// What is compared where the keys are equal.
    others: Vec<&'p Column>,
}

impl Scan<'_> {
    /// Says it of the first records; the pass may end before the last one.
    fn run(&self, mut range: Range<usize>) -> Result<Vec<Found>> {
        let sql = self.sql();
        let mut unchanged: Vec<Found> = Vec::with_capacity(range.len());
        let mut count = 0;
        let (mut key, mut before) = (Vec::new(), Vec::new());
        while !range.is_empty() {
            let mut statement = self.transaction.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
            let mut local = statement.query(bound(self.key(range.start))).map_err(failed)?;
            let mut current = local.next().map_err(failed)?;
            while !range.is_empty() {
                let row = range.start;
                std::mem::swap(&mut before, &mut key);
                key.clear();
                key.extend(self.key(row));
                if order_all(&before, &key) != Ordering::Less {
                    return Ok(unchanged);
                }
                let mut steps = 0;
                let place = loop {
                    let Some(here) = current else {
                        // No local row comes after this one: all that follow in order are new.
                        return Ok(unchanged);
                    };
                    let place = place(here, &key)?;
                    if place != Ordering::Less || steps == STEPS {
                        break place;
                    }
                    steps += 1;
                    current = local.next().map_err(failed)?;
                };
                match (place, current) {
                    (Ordering::Less, _) | (_, None) => {
                        // Not before itself when it is looked at again.
                        key.clear();
                        break;
                    }
                    (Ordering::Greater, _) => unchanged.push(Found::New),
                    (Ordering::Equal, Some(here)) => {
                        let found = self.compare(here, row)?;
                        unchanged.push(found);
                        count += usize::from(!found.is_new());
                        current = local.next().map_err(failed)?;
                    }
                }
                range.start += 1;
                if self.shape.extent == Extent::First && count < unchanged.len() {
                    return Ok(unchanged);
                }
                if unchanged.len() >= TRIAL && count < unchanged.len() / 4 {
                    return Ok(unchanged);
                }
            }
        }
        Ok(unchanged)
    }

    /// Reads the rows from a key on, in its order: first the key's columns, then the others.
    fn sql(&self) -> String {
        let table = &self.shape.plan.table;
        let parts = key_parts(table, &self.key.iter().map(|column| column.local).collect::<Vec<_>>());
        let marks = (1..=self.key.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let order = parts.join(", ");
        let from = match &parts[..] {
            [part] => format!("{part} >= {marks}"),
            // SQLite looks nothing up in an index by a row value that begins with a COLLATE.
            [first, ..] if !table.key_collations.is_empty() => format!("{first} >= ?1 AND ({order}) >= ({marks})"),
            _ => format!("({order}) >= ({marks})"),
        };
        format!(
            "SELECT {} FROM {} WHERE {from} ORDER BY {order}",
            quote_all(self.key.iter().chain(&self.others).map(|column| self.shape.name(column))),
            quote(&table.name)
        )
    }

    /// The record's key as it is stored.
    fn key(&self, row: usize) -> impl Iterator<Item = ValueRef<'_>> {
        self.key.iter().map(move |column| self.stored(column, row))
    }

    fn stored(&self, column: &Column, row: usize) -> ValueRef<'_> {
        self.shape.stored(column, self.rows.get(row, column.incoming).unwrap_or(ValueRef::Null))
    }

    fn compare(&self, here: &rusqlite::Row<'_>, row: usize) -> Result<Found> {
        // What is skipped is compared as if it were to replace the row.
        let (strategy, changed) = match self.shape.plan.strategy {
            Strategy::Skip => (Strategy::Overwrite, Found::Skipped),
            strategy => (strategy, Found::New),
        };
        for (at, column) in self.others.iter().enumerate() {
            let existing = borrowed(here.get_ref(self.key.len() + at).map_err(failed)?);
            if changes(strategy, existing, self.stored(column, row)) {
                return if self.is_newer(here, row)? { Ok(changed) } else { Ok(Found::Skipped) };
            }
        }
        Ok(Found::Same)
    }

    /// Whether the record may change the local row, because it is newer.
    fn is_newer(&self, here: &rusqlite::Row<'_>, row: usize) -> Result<bool> {
        let Some(by) = self.shape.plan.newer_by else { return Ok(true) };
        // What is not compared is the same in both.
        let Some(at) = self.others.iter().position(|column| column.local == by) else { return Ok(false) };
        let existing = borrowed(here.get_ref(self.key.len() + at).map_err(failed)?);
        Ok(newer(existing, self.stored(self.others[at], row)))
    }
}

/// Where the local row is, beside a key.
fn place(here: &rusqlite::Row<'_>, key: &[ValueRef<'_>]) -> Result<Ordering> {
    for (at, value) in key.iter().enumerate() {
        let place = borrowed(here.get_ref(at).map_err(failed)?).order(*value);
        if place.is_ne() {
            return Ok(place);
        }
    }
    Ok(Ordering::Equal)
}

/// The order of two keys. None at all comes before any.
fn order_all(left: &[ValueRef<'_>], right: &[ValueRef<'_>]) -> Ordering {
    if left.is_empty() {
        return Ordering::Less;
    }
    let pairs = left.iter().zip(right);
    pairs.map(|(left, right)| left.order(*right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}
