//! Finds the records of a batch that change nothing, by reading alone.
//!
//! Records mostly come in key order. Then one pass over the local rows, in the same order and beside the records, tells which
//! rows exist already and are to be skipped, or are equal already, at a fraction of what an upsert costs that does nothing.
//! Where a batch turns out to be otherwise (keys in no order, rows that differ) the pass ends, and the rest is upserted.

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
const TRIAL: usize = 512;

/// Takes out of `rows` (positions of whole records that fit, their keys without NULL) those that change nothing, and counts
/// them.
pub(super) fn settle(
    writer: &SqliteWriter,
    batch: &Batch<'_>,
    key: &[&Column],
    rows: &mut Vec<usize>,
    tally: &mut Tally,
) -> Result<()> {
    if rows.is_empty() || batch.plan.strategy == Strategy::Append || !is_ordered_alike(writer, batch, key) {
        return Ok(());
    }
    let compare_all = batch.plan.strategy != Strategy::Skip;
    let read: Vec<&Column> = match compare_all {
        true => key.iter().copied().chain(batch.columns.iter().filter(|c| key.iter().all(|k| k.local != c.local))).collect(),
        false => key.to_vec(),
    };
    let mut pass = Pass { writer, batch, key, sql: sql(batch, key, &read), read: &read };
    let settled = pass.run(rows, compare_all)?;
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

fn sql(batch: &Batch<'_>, key: &[&Column], read: &[&Column]) -> String {
    let names = quote_all(key.iter().map(|column| batch.name(column)));
    let marks = (1..=key.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
    let from = if key.len() == 1 { format!("{names} >= {marks}") } else { format!("({names}) >= ({marks})") };
    format!(
        "SELECT {} FROM {} WHERE {from} ORDER BY {names}",
        quote_all(read.iter().map(|column| batch.name(column))),
        quote(&batch.plan.table.name)
    )
}

struct Pass<'p> {
    writer: &'p SqliteWriter,
    batch: &'p Batch<'p>,
    key: &'p [&'p Column],
    read: &'p [&'p Column],
    sql: String,
}

impl Pass<'_> {
    /// For each of the first records whether it is settled; the pass may end before the last one.
    fn run(&mut self, rows: &[usize], compare_all: bool) -> Result<Vec<bool>> {
        let mut settled: Vec<bool> = Vec::with_capacity(rows.len());
        let mut count = 0;
        while let Some(first) = rows.get(settled.len()) {
            let mut statement = self.writer.connection.sqlite.prepare_cached(&self.sql).map_err(failed)?;
            let mut local = statement.query(bound(self.incoming(*first))).map_err(failed)?;
            let mut steps = 0;
            let mut current = local.next().map_err(failed)?;
            while let Some(row) = rows.get(settled.len()) {
                let before = settled.len().checked_sub(1).and_then(|at| rows.get(at));
                if before.is_some_and(|before| self.compare(self.incoming(*before), self.incoming(*row)) != Ordering::Less) {
                    return Ok(settled);
                }
                let Some(here) = current else {
                    // No local row is behind this one: all that follow in order are new.
                    return Ok(settled);
                };
                let mut place = Ordering::Equal;
                for (at, value) in self.incoming(*row).enumerate() {
                    place = order(borrowed(here.get_ref(at).map_err(failed)?), value);
                    if place != Ordering::Equal {
                        break;
                    }
                }
                match place {
                    Ordering::Less if steps >= STEPS => break,
                    Ordering::Less => {
                        steps += 1;
                        current = local.next().map_err(failed)?;
                    }
                    Ordering::Greater => {
                        settled.push(false);
                        steps = 0;
                    }
                    Ordering::Equal => {
                        let same = !compare_all || self.is_unchanged(here, *row)?;
                        settled.push(same);
                        count += usize::from(same);
                        steps = 0;
                        current = local.next().map_err(failed)?;
                    }
                }
                if settled.len() >= TRIAL && count < settled.len() / 4 {
                    return Ok(settled);
                }
            }
        }
        Ok(settled)
    }

    /// The record's key as it is stored.
    fn incoming(&self, row: usize) -> impl Iterator<Item = ValueRef<'_>> {
        self.key.iter().map(move |column| self.stored(column, row))
    }

    fn stored(&self, column: &Column, row: usize) -> ValueRef<'_> {
        self.batch.stored(column, self.batch.rows.get(row, column.incoming).unwrap_or(ValueRef::Null))
    }

    fn compare<'v>(&self, left: impl Iterator<Item = ValueRef<'v>>, right: impl Iterator<Item = ValueRef<'v>>) -> Ordering {
        left.zip(right).map(|(left, right)| order(left, right)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn is_unchanged(&self, here: &rusqlite::Row<'_>, row: usize) -> Result<bool> {
        for (at, column) in self.read.iter().enumerate() {
            let existing = borrowed(here.get_ref(at).map_err(failed)?);
            if changes(self.batch.plan.strategy, existing, self.stored(column, row)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
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
