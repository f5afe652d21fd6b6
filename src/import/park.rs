//! Gives a row other unique values for a while, so that another one can have them: see [`exchange`](super::exchange).
//!
//! Of each unique set that the two share, one column of the row becomes NULL, or a value that no row has: NULL only where no other
//! row refers to the column, because what follows a reference to NULL does not come back. What an index over expressions is made
//! of is not known: there one column after the other is tried.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::transaction::{Transaction, names};
use crate::domain::schema::{TableSchema, UniqueKind};
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::{Change, Found, Lookup, Refused, Sets};

/// Texts and blobs of so many bytes are replaced by others of the same length.
const RANDOM_BYTES: std::ops::RangeInclusive<usize> = 8..=32;

pub(super) struct Parking<'p> {
    table: &'p TableSchema,
    key: &'p [usize],
    /// The columns that other rows refer to, once they are known.
    referred: Option<Vec<usize>>,
    /// The last integers that were given to columns.
    integers: BTreeMap<usize, i64>,
}

impl<'p> Parking<'p> {
    pub(super) fn new(plan: &'p TablePlan, key: &'p [usize]) -> Self {
        Parking { table: &plan.table, key, referred: None, integers: BTreeMap::new() }
    }

    /// Makes the row of this key give up what the row `wanted` is to have. Otherwise gives why a change of the row was refused, if it
    /// was; the row may be half changed then.
    pub(super) fn park(
        &mut self,
        tx: &mut Transaction,
        key: &[Value],
        wanted: &Rows,
    ) -> Result<std::result::Result<(), Option<Refused>>> {
        let mut refused = None;
        for columns in self.shared_sets(tx, key, wanted)? {
            let mut columns: Vec<usize> = columns.into_iter().filter(|column| !self.key.contains(column)).collect();
            columns.sort_by_key(|column| !self.table.columns[*column].nullable);
            let mut changed = false;
            for column in columns {
                changed = changed || self.give_up(tx, key, column, &mut refused)?;
            }
            if !changed {
                return Ok(Err(refused));
            }
        }
        // What an index over expressions says cannot be told from the values.
        let mut others = (0..self.table.columns.len())
            .filter(|column| !self.key.contains(column) && !self.table.columns[*column].generated)
            .collect::<Vec<_>>()
            .into_iter();
        while self.is_in_the_way(tx, key, wanted)? {
            let Some(column) = others.next() else { return Ok(Err(refused)) };
            self.give_up(tx, key, column, &mut refused)?;
        }
        Ok(Ok(()))
    }

    fn is_in_the_way(&self, tx: &mut Transaction, key: &[Value], wanted: &Rows) -> Result<bool> {
        let mut found = Rows::default();
        tx.writer.clashes(self.table, self.key, Sets::All, wanted, 0, &mut found)?;
        let is_it = |row: usize| key.iter().enumerate().all(|(at, value)| found.get(row, at) == Some(value.as_ref()));
        Ok((0..found.len()).any(is_it))
    }

    /// The sets of plain columns of which the row of this key has the same values as `wanted`.
    fn shared_sets(&self, tx: &mut Transaction, key: &[Value], wanted: &Rows) -> Result<Vec<Vec<usize>>> {
        let mut shared = Vec::new();
        for set in self.table.unique.iter().filter(|set| set.kind != UniqueKind::Expression) {
            let Some(columns) = self.table.column_indexes(&set.columns) else { continue };
            // The values of the set, then those of the key.
            let mut probe = Rows::new(columns.len() + key.len());
            probe.start_row();
            for (at, column) in columns.iter().enumerate() {
                wanted.get(0, *column).into_iter().for_each(|value| probe.set(at, value));
            }
            key.iter().enumerate().for_each(|(at, value)| probe.set(columns.len() + at, value.as_ref()));
            let looked_in: Vec<&str> = names(self.table, &columns).into_iter().chain(names(self.table, self.key)).collect();
            let cells: Vec<usize> = (0..probe.width()).collect();
            let lookup = Lookup { table: &self.table.name, columns: &looked_in, collations: &[], cells: &cells, read: &[] };
            let mut found = Found::default();
            tx.writer.lookup(&lookup, &probe, 0..1, &mut found)?;
            if found.has(0) {
                shared.push(columns);
            }
        }
        Ok(shared)
    }

    /// Gives the row another value in this column. Gives whether one was taken; the first refusal is noted.
    fn give_up(
        &mut self,
        tx: &mut Transaction,
        key: &[Value],
        column: usize,
        refused: &mut Option<Refused>,
    ) -> Result<bool> {
        let mut row = Rows::new(self.table.columns.len());
        row.start_row();
        self.key.iter().zip(key).for_each(|(at, value)| row.set(*at, value.as_ref()));
        let Some(now) = tx.find_by_key(self.table, self.key, &[column], &row, 0)?.and_then(|mut values| values.pop()) else {
            return Ok(false);
        };
        for value in self.other_values(tx, column, &now)? {
            row.set(column, value.as_ref());
            let change = Change::Update { key: self.key, set: &[column] };
            match tx.write(self.table, change, &row, 0)? {
                None => return Ok(true),
                Some(why) => refused.get_or_insert(why),
            };
        }
        Ok(false)
    }

    /// Values for this column that no row has, best first.
    fn other_values(&mut self, tx: &mut Transaction, column: usize, now: &Value) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        if self.table.columns[column].nullable && !now.is_null() && !self.referred(tx)?.contains(&column) {
            values.push(Value::Null);
        }
        let random = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let length = |length: usize| if RANDOM_BYTES.contains(&length) { length } else { *RANDOM_BYTES.end() };
        match now {
            // A CHECK may be against the first.
            Value::Integer(_) => {
                for _ in 0..2 {
                    values.push(self.next_integer(tx, column)?.into());
                }
            }
            Value::Real(_) => values.push(Value::Real(-(Uuid::new_v4().as_u128() as f64) - 0.5)),
            Value::Blob(blob) => values.push(Value::Blob(random[..length(blob.len())].to_vec())),
            Value::Text(text) => {
                let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
                values.push(digits[..length(text.len())].into());
            }
            Value::Null => values.push(Uuid::new_v4().simple().to_string().into()),
        }
        Ok(values)
    }

    fn next_integer(&mut self, tx: &mut Transaction, column: usize) -> Result<i64> {
        let last = match self.integers.get(&column) {
            Some(last) => *last,
            None => tx.writer.last_integer(self.table, column)?,
        };
        // After the largest there is none: any below zero is as likely to be free.
        let next = last.checked_add(1).unwrap_or_else(|| i64::MIN | Uuid::new_v4().as_u128() as i64);
        if next > 0 {
            self.integers.insert(column, next);
        }
        Ok(next)
    }

    /// The columns that other rows refer to.
    pub(super) fn referred(&mut self, tx: &mut Transaction) -> Result<&[usize]> {
        let referred = match self.referred.take() {
            Some(referred) => referred,
            None => {
                let keys = tx.referring(self.table)?;
                let columns = keys.iter().flat_map(|referring| &referring.key.parent_columns);
                columns.filter_map(|name| self.table.column_index(name)).collect()
            }
        };
        Ok(self.referred.insert(referred))
    }
}
