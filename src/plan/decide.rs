//! What a strategy does to one row that exists here.
//!
//! The stores decide for thousands of rows with one statement where they can; this is the same decision for one row, for
//! the paths that go row by row, and the model that their tests compare the fast paths with.

use crate::domain::strategy::Strategy;
use crate::domain::value::ValueRef;

/// What is to be done with a row that exists here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The row stays, and the record counts as skipped.
    Skip {
        /// Whether the record says something else than the row. Never of an append.
        differs: bool,
    },
    /// The row is already as the record wants it.
    Unchanged,
    /// The columns at these positions, at least one, are set to the record's values.
    Update(Vec<usize>),
}

/// What `strategy` does to the row `existing` when `incoming` has its key. Both hold the same columns in the same order;
/// `incoming` has `None` for a column that the record lacks, and values as the column stores them.
///
/// Equal means the same storage class and bits ([`ValueRef::same`]), not what a collation or affinity calls equal. An append
/// never meets an existing key, because it makes its own; a row that it would clash with by another unique set stays: skip.
pub fn decide(strategy: Strategy, existing: &[ValueRef<'_>], incoming: &[Option<ValueRef<'_>>]) -> Decision {
    if matches!(strategy, Strategy::Skip | Strategy::Append) {
        let mut pairs = existing.iter().zip(incoming);
        let differs = strategy == Strategy::Skip && pairs.any(|(old, new)| new.is_some_and(|new| !new.same(*old)));
        return Decision::Skip { differs };
    }
    let changed: Vec<usize> = existing
        .iter()
        .zip(incoming)
        .enumerate()
        .filter_map(|(position, (old, new))| new.is_some_and(|new| changes(strategy, *old, new)).then_some(position))
        .collect();
    if changed.is_empty() { Decision::Unchanged } else { Decision::Update(changed) }
}

/// Whether `strategy` replaces the value `old` by `new`.
#[inline]
pub fn changes(strategy: Strategy, old: ValueRef<'_>, new: ValueRef<'_>) -> bool {
    match strategy {
        Strategy::Skip | Strategy::Append => false,
        Strategy::Overwrite => !new.same(old),
        Strategy::Merge => !new.is_null() && !new.same(old),
    }
}

/// Whether the value `new` of the column that says how new a record is is greater than that of its row. NULL is less than all else, then
/// come numbers, texts and blobs, as SQLite sorts them without a collation.
#[inline]
pub fn newer(old: ValueRef<'_>, new: ValueRef<'_>) -> bool {
    new.order(old).is_gt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ValueRef::{Integer, Null, Real, Text};

    const EXISTING: [ValueRef<'_>; 4] = [Integer(1), Text(b"a"), Null, Real(0.0)];

    #[test]
    fn skip_says_what_it_leaves() {
        let skip = |incoming: &[Option<ValueRef<'_>>]| decide(Strategy::Skip, &EXISTING, incoming);
        assert_eq!(skip(&EXISTING.map(Some)), Decision::Skip { differs: false });
        assert_eq!(skip(&[None; 4]), Decision::Skip { differs: false });
        assert_eq!(skip(&[Some(Integer(1)), None, Some(Text(b"")), None]), Decision::Skip { differs: true });
        assert_eq!(decide(Strategy::Append, &EXISTING, &[Some(Null); 4]), Decision::Skip { differs: false });
    }

    #[test]
    fn overwrite_takes_nulls_and_merge_does_not() {
        let incoming = [Some(Integer(1)), Some(Null), Some(Text(b"b")), None];
        assert_eq!(decide(Strategy::Overwrite, &EXISTING, &incoming), Decision::Update(vec![1, 2]));
        assert_eq!(decide(Strategy::Merge, &EXISTING, &incoming), Decision::Update(vec![2]));
    }

    #[test]
    fn equal_is_of_class_and_bits() {
        for strategy in [Strategy::Overwrite, Strategy::Merge] {
            assert_eq!(decide(strategy, &EXISTING, &EXISTING.map(Some)), Decision::Unchanged);
            assert_eq!(decide(strategy, &EXISTING, &[None; 4]), Decision::Unchanged);
            let lookalikes = [Some(Real(1.0)), Some(Text(b"A")), None, Some(Real(-0.0))];
            assert_eq!(decide(strategy, &EXISTING, &lookalikes), Decision::Update(vec![0, 1, 3]));
        }
    }

    #[test]
    fn merge_of_nothing_but_nulls_changes_nothing() {
        assert_eq!(decide(Strategy::Merge, &EXISTING, &[Some(Null); 4]), Decision::Unchanged);
    }
}
