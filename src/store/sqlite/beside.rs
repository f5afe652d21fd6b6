//! Reads the rows of many records in one pass beside them, where both are in the order of the key.

use std::cmp::Ordering;
use std::ops::Range;

use super::dialect::{borrowed, bound, failed, quote, quote_all};
use super::keys::{collations_of, key_parts};
use super::transaction::Transaction;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::store::Found;

/// Rows that are passed over before the place of the next record is looked up instead.
const STEPS: usize = 32;

/// Fewer records than that are looked up one by one.
const FEW: usize = 8;

/// What is read, of which table.
pub(super) struct Beside<'b> {
    pub(super) transaction: &'b Transaction,
    pub(super) table: &'b TableSchema,
    pub(super) key: &'b [usize],
    pub(super) read: &'b [usize],
}

impl Beside<'_> {
    /// Finds the rows of these records. `false`, and nothing is found, unless their keys ascend as the database compares them.
    pub(super) fn find(&self, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<bool> {
        found.clear(self.read.len());
        if range.len() < FEW || !self.is_ordered(rows, range.clone()) {
            return Ok(false);
        }
        let sqlite = &self.transaction.connection.sqlite;
        let sql = self.sql();
        let mut rest = range;
        while !rest.is_empty() {
            let mut statement = sqlite.prepare_cached(&sql).map_err(failed)?;
            let mut local = statement.query(bound(self.values(rows, rest.start))).map_err(failed)?;
            let mut here = local.next().map_err(failed)?;
            while !rest.is_empty() {
                let mut steps = 0;
                let place = loop {
                    let Some(row) = here else { break Ordering::Greater };
                    let place = self.place(row, rows, rest.start)?;
                    if place != Ordering::Less || steps == STEPS {
                        break place;
                    }
                    steps += 1;
                    here = local.next().map_err(failed)?;
                };
                match (place, here) {
                    (Ordering::Less, _) => break,
                    (Ordering::Equal, Some(row)) => {
                        let values = (0..self.read.len()).map(|at| row.get_ref(self.key.len() + at).map(borrowed));
                        found.add(values.collect::<rusqlite::Result<Vec<_>>>().map_err(failed)?);
                        here = local.next().map_err(failed)?;
                    }
                    _ => found.add_none(),
                }
                rest.start += 1;
            }
        }
        Ok(true)
    }

    /// Whether the database orders the key by bytes, a collation may do otherwise and so does UTF-16, and each record comes after the one
    /// before it.
    fn is_ordered(&self, rows: &Rows, mut range: Range<usize>) -> bool {
        let by_bytes = || collations_of(self.table, self.key).iter().all(|(_, collation)| collation.is_none());
        let has_key = |row: usize| self.key.iter().all(|at| rows.get(row, *at).is_some_and(|value| !value.is_null()));
        let ascends = |row: usize| {
            let order = |at: &usize| Some(rows.get(row - 1, *at)?.order(rows.get(row, *at)?));
            self.key.iter().filter_map(order).find(|order| order.is_ne()) == Some(Ordering::Less)
        };
        let first = range.start;
        self.transaction.any_text && by_bytes() && range.all(|row| has_key(row) && (row == first || ascends(row)))
    }

    fn values<'r>(&'r self, rows: &'r Rows, row: usize) -> impl Iterator<Item = ValueRef<'r>> {
        self.key.iter().map(move |at| rows.get(row, *at).unwrap_or(ValueRef::Null))
    }

    /// Where the local row is, beside a record.
    fn place(&self, here: &rusqlite::Row<'_>, rows: &Rows, row: usize) -> Result<Ordering> {
        for (at, value) in self.values(rows, row).enumerate() {
            let place = borrowed(here.get_ref(at).map_err(failed)?).order(value);
            if place.is_ne() {
                return Ok(place);
            }
        }
        Ok(Ordering::Equal)
    }

    /// Reads the rows from a key on, in its order: first the key, then what is read.
    fn sql(&self) -> String {
        let parts = key_parts(self.table, self.key);
        let marks = (1..=parts.len()).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ");
        let order = parts.join(", ");
        let from = match &parts[..] {
            [part] => format!("{part} >= {marks}"),
            // SQLite looks nothing up in an index by a row value that begins with a COLLATE.
            [first, ..] if !self.table.key_collations.is_empty() => format!("{first} >= ?1 AND ({order}) >= ({marks})"),
            _ => format!("({order}) >= ({marks})"),
        };
        let columns = self.key.iter().chain(self.read).map(|at| self.table.columns[*at].name.as_str());
        format!("SELECT {} FROM {} WHERE {from} ORDER BY {order}", quote_all(columns), quote(&self.table.name))
    }
}
