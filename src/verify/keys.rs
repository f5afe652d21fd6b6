//! Rows that differ, told apart by their keys: only there, only here, or at both ends with other values.

use std::collections::HashMap;

use super::DifferingKeys;
use crate::domain::cells::whole;
use crate::domain::collation::Collation;
use crate::domain::row_sum::RowHasher;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value, ValueRef};

/// Pairs the rows that are only here with those that are only there. First all rows that are only here are [noted](Pairs::note_here), then
/// those that are only there, and where keys of the first are wanted their rows once more ([`Pairs::name_here`]).
pub(super) struct Pairs {
    hasher: RowHasher,
    collations: Vec<Collation>,
    /// The keys of rows here, as hashes, that no row there had yet.
    unmatched: HashMap<u128, u64>,
    /// Rows here with NULL in their key: they are told apart by their whole content.
    keyless_here: u64,
    counts: Counts,
    most: usize,
    keys: DifferingKeys,
}

#[derive(Debug, Default)]
struct Counts {
    only_there: u64,
    different: u64,
}

impl Pairs {
    /// For the key of a local table, which decides when two keys are the same. At most so many keys of each kind are listed. The seed is
    /// one that nobody else knows: keys are kept as hashes.
    pub(super) fn new(local: &TableSchema, key: &[usize], most: usize, seed: u64) -> Self {
        let of_key = local.key_collations_of(key);
        let collation = |(at, column): (usize, &usize)| {
            let own = local.columns[*column].collation.as_deref();
            // Of one that only the database knows, what is not the same byte for byte is another key.
            Collation::named(of_key.get(at).copied().flatten().or(own)).unwrap_or(Collation::Binary)
        };
        Pairs {
            hasher: RowHasher::new(seed),
            collations: key.iter().enumerate().map(collation).collect(),
            unmatched: HashMap::new(),
            keyless_here: 0,
            counts: Counts::default(),
            most,
            keys: DifferingKeys::default(),
        }
    }

    /// Notes a row that is only here; its key is in these cells.
    pub(super) fn note_here(&mut self, rows: &Rows, row: usize, cells: &[usize]) {
        match self.hash(rows, row, cells) {
            Some(key) => *self.unmatched.entry(key).or_default() += 1,
            None => self.keyless_here += 1,
        }
    }

    /// Notes a row that is only there.
    pub(super) fn note_there(&mut self, rows: &Rows, row: usize, cells: &[usize]) {
        let key = self.hash(rows, row, cells);
        let has_met = key.is_some_and(|key| match self.unmatched.get_mut(&key) {
            Some(1) => self.unmatched.remove(&key).is_some(),
            Some(more) => {
                *more -= 1;
                true
            }
            None => false,
        });
        let (count, list) = match has_met {
            true => (&mut self.counts.different, &mut self.keys.different),
            false => (&mut self.counts.only_there, &mut self.keys.only_there),
        };
        *count += 1;
        if list.len() < self.most {
            list.push(values(rows, row, cells));
        }
    }

    /// Whether a key of a row that is only here is still to be listed.
    pub(super) fn wants_here(&self) -> bool {
        let only_here = self.only_here();
        self.keys.only_here.len() < self.most && (self.keys.only_here.len() as u64) < only_here
    }

    /// Lists the key of this row, if it is only here. Called once for each row of [`note_here`](Self::note_here), after all rows there.
    pub(super) fn name_here(&mut self, rows: &Rows, row: usize, cells: &[usize]) {
        if !self.wants_here() {
            return;
        }
        let is_only_here = self.hash(rows, row, cells).is_none_or(|key| self.unmatched.contains_key(&key));
        if is_only_here {
            self.keys.only_here.push(values(rows, row, cells));
        }
    }

    fn only_here(&self) -> u64 {
        self.unmatched.values().sum::<u64>() + self.keyless_here
    }

    /// How many rows are only there, only here, and at both ends with other values; and keys of them.
    pub(super) fn end(self) -> ([u64; 3], DifferingKeys) {
        ([self.counts.only_there, self.only_here(), self.counts.different], self.keys)
    }

    /// What stands for the key of a row: the same for two keys that the local table calls equal. `None` if NULL stands in it.
    fn hash(&mut self, rows: &Rows, row: usize, cells: &[usize]) -> Option<u128> {
        let folded: Vec<Value> = cells
            .iter()
            .zip(&self.collations)
            .map(|(cell, collation)| {
                let value = rows.get(row, *cell).filter(|value| !value.is_null())?;
                Some(whole(collation.fold(value).as_ref()).to_owned())
            })
            .collect::<Option<_>>()?;
        Some(self.hasher.hash_row(folded.iter().map(|value| Some(value.as_ref()))))
    }
}

fn values(rows: &Rows, row: usize, cells: &[usize]) -> Vec<Value> {
    cells.iter().map(|cell| rows.get(row, *cell).unwrap_or(ValueRef::Null).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Column;

    fn rows(keys: &[Value]) -> Rows {
        let mut rows = Rows::new(1);
        keys.iter().for_each(|key| rows.push([key.as_ref()]));
        rows
    }

    /// Counts and keys of rows that are only here and only there, of a table with a key of this collation.
    fn paired(collation: Option<&str>, here: &[Value], there: &[Value], most: usize) -> ([u64; 3], DifferingKeys) {
        let column = Column { name: "k".into(), collation: collation.map(str::to_owned), ..Column::default() };
        let table = TableSchema { columns: vec![column], primary_key: vec!["k".into()], ..TableSchema::default() };
        let mut pairs = Pairs::new(&table, &[0], most, 7);
        let (here, there) = (rows(here), rows(there));
        (0..here.len()).for_each(|row| pairs.note_here(&here, row, &[0]));
        (0..there.len()).for_each(|row| pairs.note_there(&there, row, &[0]));
        (0..here.len()).for_each(|row| pairs.name_here(&here, row, &[0]));
        pairs.end()
    }

    #[test]
    fn keys_tell_what_is_only_at_one_end() {
        let (counts, keys) = paired(None, &[1.into(), 2.into(), 3.into()], &[2.into(), 4.into(), 5.into()], 9);
        assert_eq!(counts, [2, 2, 1]);
        assert_eq!(keys.only_there, [vec![4.into()], vec![5.into()]]);
        assert_eq!(keys.only_here, [vec![1.into()], vec![3.into()]]);
        assert_eq!(keys.different, [vec![2.into()]]);
        let (counts, keys) = paired(None, &[1.into(), 2.into(), 3.into()], &[2.into(), 4.into(), 5.into()], 1);
        assert_eq!(counts, [2, 2, 1], "all are counted, whatever is listed");
        assert_eq!([keys.only_there.len(), keys.only_here.len(), keys.different.len()], [1; 3]);
    }

    #[test]
    fn keys_are_the_same_as_the_local_table_compares_them() {
        let (upper, lower): (Value, Value) = ("A".into(), "a".into());
        assert_eq!(paired(Some("NOCASE"), &["A".into()], &["a".into()], 9).0, [0, 0, 1]);
        assert_eq!(paired(None, &[upper], &[lower], 9).0, [1, 1, 0]);
        assert_eq!(paired(None, &[1.into()], &[Value::Real(1.0)], 9).0, [0, 0, 1]);
        assert_eq!(paired(None, &["1".into()], &[1.into()], 9).0, [1, 1, 0]);
    }

    #[test]
    fn rows_with_null_in_their_key_meet_none() {
        let (counts, keys) = paired(None, &[Value::Null, Value::Null], &[Value::Null], 9);
        assert_eq!(counts, [1, 2, 0]);
        assert_eq!((keys.only_there.len(), keys.only_here.len()), (1, 2));
    }

    #[test]
    fn two_rows_there_with_one_key_here_are_one_that_differs() {
        assert_eq!(paired(Some("NOCASE"), &["a".into()], &["a".into(), "A".into()], 9).0, [1, 0, 1]);
    }
}
