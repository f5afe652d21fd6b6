//! Finds the records of a batch that change nothing, by reading alone.
//!
//! Records mostly come in key order. Then one pass over the local rows, in the same order and beside the records, tells which
//! rows exist already and are to be skipped, or are equal already, at a fraction of what an upsert costs that does nothing.
//! Where a batch turns out to be otherwise (keys in no order, rows that differ) the pass ends, and the rest is upserted.
//!
//! All of this is found before the batch is written, and holds afterwards if to write a row changes no other row of the table. A
//! trigger may do that, or a reference that follows a changed column. There the pass ends at the first record that is written.

use std::cmp::Ordering;

use super::apply::{Batch, Column, bound};
use super::dialect::{borrowed, failed, quote, quote_all};
use super::write::SqliteWriter;
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::ValueRef;
use crate::error::Result;
use crate::plan::decide::changes;

/// Local rows that are passed over before the place of the next record is looked up instead.
const STEPS: usize = 32;

/// Records after which it is looked whether the pass pays.
const TRIAL: usize = 100;

/// Which records may be taken out.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Settled {
    /// All that change nothing.
    All,
    /// Those in front of the first one that changes something: it may change what is so of those behind it.
    First,
}

/// Takes out of `rows` (positions of whole records that fit, their keys without NULL) those that change nothing, and counts
/// them.
pub(super) fn settle(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    key: &[&Column],
    which: Settled,
    rows: &mut Vec<usize>,
    tally: &mut Tally,
) -> Result<()> {
    if rows.is_empty() || batch.plan.strategy == Strategy::Append || !is_ordered_alike(writer, batch, key) {
        return Ok(());
    }
    let compare_all = batch.plan.strategy != Strategy::Skip;
    let others: Vec<&Column> = batch.columns.iter().filter(|column| compare_all && batch.may_differ(column)).collect();
    let pass = Pass { writer, batch, key, which, others: &others };
    let settled = pass.run(rows)?;
    let mut settled = settled.into_iter();
    let mut found = 0;
    rows.retain(|_| {
        let keep = !settled.next().unwrap_or(false);
        found += u64::from(!keep);
        keep
    });
    match batch.plan.strategy {
        Strategy::Skip | Strategy::Append => tally.outcome.skipped += found,
        Strategy::Overwrite | Strategy::Merge => tally.outcome.unchanged += found,
    }
    Ok(())
}

/// Whether SQLite orders the key as [`order`] does: bytes by their value. A collation may do otherwise, and so does a
/// database in UTF-16.
fn is_ordered_alike(writer: &SqliteWriter, batch: &Batch<'_>, key: &[&Column]) -> bool {
    writer.any_text && key.iter().all(|column| batch.plan.table.columns[column.local].collation.is_none())
}

struct Pass<'p> {
    writer: &'p SqliteWriter,
    batch: &'p Batch<'p>,
    key: &'p [&'p Column],
    which: Settled,
    /// What is compared where the keys are equal.
    others: &'p [&'p Column],
}

impl Pass<'_> {
    /// For each of the first records whether it is settled; the pass may end before the last one.
    fn run(&self, rows: &[usize]) -> Result<Vec<bool>> {
        let sql = self.sql();
        let mut settled: Vec<bool> = Vec::with_capacity(rows.len());
        let mut count = 0;
        let (mut key, mut before) = (Vec::new(), Vec::new());
        while let Some(first) = rows.get(settled.len()) {
            let mut statement = self.writer.connection.sqlite.prepare_cached(&sql).map_err(failed)?;
            let mut local = statement.query(bound(self.key(*first))).map_err(failed)?;
            let mut current = local.next().map_err(failed)?;
            while let Some(row) = rows.get(settled.len()) {
                std::mem::swap(&mut before, &mut key);
                key.clear();
                key.extend(self.key(*row));
                if order_all(&before, &key) != Ordering::Less {
                    return Ok(settled);
                }
                let mut steps = 0;
                let place = loop {
                    let Some(here) = current else {
                        // No local row is behind this one: all that follow in order are new.
                        return Ok(settled);
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
                        // Not in front of itself when it is looked at again.
                        key.clear();
                        break;
                    }
                    (Ordering::Greater, _) => settled.push(false),
                    (Ordering::Equal, Some(here)) => {
                        let same = self.is_unchanged(here, *row)?;
                        settled.push(same);
                        count += usize::from(same);
                        current = local.next().map_err(failed)?;
                    }
                }
                if self.which == Settled::First && count < settled.len() {
                    return Ok(settled);
                }
                if settled.len() >= TRIAL && count < settled.len() / 4 {
                    return Ok(settled);
                }
            }
        }
        Ok(settled)
    }

    /// Reads the rows from a key on, in its order: first the key's columns, then the others.
    fn sql(&self) -> String {
        let names = quote_all(self.key.iter().map(|column| self.batch.name(column)));
        let marks = (1..=self.key.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let from = if self.key.len() == 1 { format!("{names} >= {marks}") } else { format!("({names}) >= ({marks})") };
        format!(
            "SELECT {} FROM {} WHERE {from} ORDER BY {names}",
            quote_all(self.key.iter().chain(self.others).map(|column| self.batch.name(column))),
            quote(&self.batch.plan.table.name)
        )
    }

    /// The record's key as it is stored.
    fn key(&self, row: usize) -> impl Iterator<Item = ValueRef<'_>> {
        self.key.iter().map(move |column| self.stored(column, row))
    }

    fn stored(&self, column: &Column, row: usize) -> ValueRef<'_> {
        self.batch.stored(column, self.batch.rows.get(row, column.incoming).unwrap_or(ValueRef::Null))
    }

    fn is_unchanged(&self, here: &rusqlite::Row<'_>, row: usize) -> Result<bool> {
        for (at, column) in self.others.iter().enumerate() {
            let existing = borrowed(here.get_ref(self.key.len() + at).map_err(failed)?);
            if changes(self.batch.plan.strategy, existing, self.stored(column, row)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where the local row is, beside a key.
fn place(here: &rusqlite::Row<'_>, key: &[ValueRef<'_>]) -> Result<Ordering> {
    for (at, value) in key.iter().enumerate() {
        let place = order(borrowed(here.get_ref(at).map_err(failed)?), *value);
        if place.is_ne() {
            return Ok(place);
        }
    }
    Ok(Ordering::Equal)
}

/// The order of two keys. None at all is in front of any.
fn order_all(left: &[ValueRef<'_>], right: &[ValueRef<'_>]) -> Ordering {
    if left.is_empty() {
        return Ordering::Less;
    }
    let pairs = left.iter().zip(right);
    pairs.map(|(left, right)| order(*left, *right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// The order of SQLite's values: NULL, numbers by their value, text and blobs by their bytes.
fn order(left: ValueRef<'_>, right: ValueRef<'_>) -> Ordering {
    let class = |value: ValueRef<'_>| match value {
        ValueRef::Null => 0,
        ValueRef::Integer(_) | ValueRef::Real(_) => 1,
        ValueRef::Text(_) => 2,
        ValueRef::Blob(_) => 3,
    };
    match (left, right) {
        (ValueRef::Integer(left), ValueRef::Integer(right)) => left.cmp(&right),
        (ValueRef::Real(left), ValueRef::Real(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
        (ValueRef::Integer(left), ValueRef::Real(right)) => order_mixed(left, right),
        (ValueRef::Real(left), ValueRef::Integer(right)) => order_mixed(right, left).reverse(),
        (ValueRef::Text(left), ValueRef::Text(right)) | (ValueRef::Blob(left), ValueRef::Blob(right)) => left.cmp(right),
        (left, right) => class(left).cmp(&class(right)),
    }
}

/// An integer beside a double, compared exactly: not every integer is a double.
fn order_mixed(integer: i64, real: f64) -> Ordering {
    if real >= 9_223_372_036_854_775_808.0 {
        Ordering::Less
    } else if real < -9_223_372_036_854_775_808.0 {
        Ordering::Greater
    } else {
        let whole = real.trunc();
        integer.cmp(&(whole as i64)).then(0.0_f64.partial_cmp(&(real - whole)).unwrap_or(Ordering::Equal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ordered_as_sqlite_orders_them() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        let values = [
            ValueRef::Null,
            ValueRef::Real(f64::NEG_INFINITY),
            ValueRef::Integer(i64::MIN),
            ValueRef::Real(-9.3e18),
            ValueRef::Real(-1.5),
            ValueRef::Integer(-1),
            ValueRef::Integer(0),
            ValueRef::Real(-0.0),
            ValueRef::Real(0.5),
            ValueRef::Integer(1),
            ValueRef::Real(1.0),
            ValueRef::Integer(9_007_199_254_740_993),
            ValueRef::Real(9_007_199_254_740_992.0),
            ValueRef::Integer(i64::MAX),
            ValueRef::Real(9_223_372_036_854_775_808.0),
            ValueRef::Real(f64::INFINITY),
            ValueRef::Text(b""),
            ValueRef::Text(b"A"),
            ValueRef::Text(b"a\0b"),
            ValueRef::Text("é".as_bytes()),
            ValueRef::Text(b"\xff"),
            ValueRef::Blob(b""),
            ValueRef::Blob(b"A"),
        ];
        for left in values {
            for right in values {
                if left.is_null() || right.is_null() {
                    continue;
                }
                let sql = "SELECT CASE WHEN ?1 < ?2 THEN -1 WHEN ?1 > ?2 THEN 1 ELSE 0 END";
                let expected: i64 = sqlite.query_row(sql, bound([left, right]), |row| row.get(0)).unwrap();
                assert_eq!(order(left, right) as i64, expected, "{left:?} beside {right:?}");
            }
        }
    }
}
