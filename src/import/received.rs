//! Which keys the records of a table came with, so that it can be told which rows of the sender are no more.
//!
//! A record that a row under another key keeps out is that row if the sender has no record with that row's key: it is the same thing
//! under a new key. Keys are kept as hashes, in memory: two keys with one hash only make a record fail that could have been told. Nothing
//! is known where records came in an earlier run, where there are too many, or where keys may look otherwise here than there.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;

use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::ledger::Checkpoint;
use crate::plan::{Identity, TablePlan};

/// Keys of a table that are kept at most: 32 MB.
const MOST: usize = 4_000_000;

/// The keys of a table's records.
#[derive(Debug, Default)]
pub(super) struct Received(Option<Keys>);

#[derive(Debug)]
struct Keys {
    hasher: RandomState,
    hashes: Vec<u64>,
    sorted: bool,
    /// For each column of the key the classes of values that came, a bit each.
    classes: Vec<u8>,
}

impl Received {
    /// Nothing is known.
    pub(super) fn unknown() -> Self {
        Received(None)
    }

    /// Collects the keys of a table from its first record on, if any of them may matter.
    pub(super) fn of(plan: &TablePlan, from_the_first: bool) -> Self {
        let Identity::Key { columns, .. } = &plan.identity else { return Received(None) };
        // Keys that compare otherwise than byte for byte may look otherwise here.
        let is_exact = |column: &usize| plan.table.columns[*column].collation.is_none();
        // Where the caller says what tells rows apart, a record with another key is another thing.
        let wanted = from_the_first
            && plan.kept_key.is_none()
            && plan.strategy != Strategy::Append
            && plan.has_unique_sets()
            && columns.iter().all(is_exact)
            && plan.table.key_collations_of(columns).iter().all(Option::is_none);
        let keys = Keys { hasher: RandomState::new(), hashes: Vec::new(), sorted: true, classes: vec![0; columns.len()] };
        Received(wanted.then_some(keys))
    }

    /// Adds the keys of records.
    pub(super) fn add(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>) {
        let (Some(keys), Identity::Key { incoming, .. }) = (&mut self.0, &plan.identity) else { return };
        if keys.hashes.len() + range.len() > MOST {
            self.0 = None;
            return;
        }
        keys.sorted = false;
        for row in range {
            let mut hasher = keys.hasher.build_hasher();
            for (classes, at) in keys.classes.iter_mut().zip(incoming) {
                let value = rows.get(row, *at).unwrap_or(ValueRef::Null);
                *classes |= hash(value, &mut hasher);
            }
            keys.hashes.push(hasher.finish());
        }
    }

    /// Leaves it at what is known only if all records of one state of the sender came: else one may be missing that is there.
    pub(super) fn if_whole(&mut self, checkpoint: &Checkpoint) {
        if !matches!(checkpoint.states[..], [state] if state != 0) || checkpoint.records < checkpoint.announced {
            self.0 = None;
        }
    }

    /// Whether a record came with the key of this local row; `None` if that is not known.
    pub(super) fn has(&mut self, key: &[Value]) -> Option<bool> {
        let keys = self.0.as_mut()?;
        if !std::mem::replace(&mut keys.sorted, true) {
            keys.hashes.sort_unstable();
        }
        let mut hasher = keys.hasher.build_hasher();
        for (classes, value) in keys.classes.iter().zip(key) {
            let class = hash(value.as_ref(), &mut hasher);
            // A number may be stored in another class here, and a text as a number.
            if *classes != class || class == REAL {
                return None;
            }
        }
        Some(keys.hashes.binary_search(&hasher.finish()).is_ok())
    }
}

const REAL: u8 = 4;

/// Adds a value to a hash; gives the bit of its class.
fn hash(value: ValueRef<'_>, hasher: &mut impl Hasher) -> u8 {
    match value {
        ValueRef::Null => 1,
        ValueRef::Integer(value) => {
            value.hash(hasher);
            2
        }
        ValueRef::Real(value) => {
            value.to_bits().hash(hasher);
            REAL
        }
        ValueRef::Text(value) => {
            value.hash(hasher);
            8
        }
        ValueRef::Blob(value) => {
            value.hash(hasher);
            16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, TableSchema, UniqueKind, UniqueSet};
    use crate::plan::table::{ExtraColumns, plan_table};

    fn plan(collation: Option<&str>, unique: bool) -> TablePlan {
        let column = |name: &str| Column { name: name.into(), ..Column::default() };
        let mut table = TableSchema {
            columns: vec![column("v"), Column { collation: collation.map(str::to_owned), ..column("k") }],
            primary_key: vec!["k".into()],
            ..TableSchema::default()
        };
        if unique {
            table.unique.push(UniqueSet { columns: vec!["v".into()], kind: UniqueKind::Full, ..UniqueSet::default() });
        }
        plan_table(&table, &table, Strategy::Overwrite, ExtraColumns::Refuse).unwrap()
    }

    fn received(plan: &TablePlan, keys: &[Value]) -> Received {
        let mut received = Received::of(plan, true);
        let mut rows = Rows::new(2);
        keys.iter().for_each(|key| rows.push([ValueRef::Null, key.as_ref()]));
        received.add(plan, &rows, 0..rows.len());
        received
    }

    #[test]
    fn keys_that_came_are_told_from_those_that_did_not() {
        let plan = plan(None, true);
        for keys in [[1.into(), 2.into(), 3.into()], ["a".into(), "b".into(), "c".into()]] {
            let mut received = received(&plan, &keys[..2]);
            let has = keys.each_ref().map(|key| received.has(std::slice::from_ref(key)));
            assert_eq!(has, [Some(true), Some(true), Some(false)]);
        }
    }

    #[test]
    fn what_may_look_otherwise_is_not_known() {
        let mixed = |keys: &[Value], key: Value| received(&plan(None, true), keys).has(&[key]);
        assert_eq!(mixed(&["1".into()], 1.into()), None);
        assert_eq!(mixed(&[1.into(), "2".into()], 3.into()), None);
        assert_eq!(mixed(&[Value::Real(1.0)], Value::Real(2.0)), None);
        assert_eq!(mixed(&[], 1.into()), None);
        assert_eq!(received(&plan(Some("NOCASE"), true), &["a".into()]).has(&["b".into()]), None);
        assert_eq!(received(&plan(None, false), &[1.into()]).has(&[2.into()]), None);
        assert_eq!(Received::of(&plan(None, true), false).has(&[1.into()]), None);
    }
}
