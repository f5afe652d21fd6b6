//! Which records one statement may take: as many as make no difference to one after the other.

use std::collections::HashSet;
use std::ops::Range;

use super::super::casts::Adapted;
use super::shape::Shape;
use crate::domain::cells::put;
use crate::domain::value::{Rows, ValueRef};

/// Where the records end that one statement may take: before one that is not plain, that has the key of an earlier one, or that
/// an earlier one refers to.
pub(super) fn end(shape: &Shape, rows: &Rows, range: Range<usize>) -> usize {
    let mut keys = Keys::default();
    let mut referred: Vec<HashSet<Vec<u8>>> = shape.references.iter().map(|_| HashSet::new()).collect();
    for row in range.clone() {
        if !shape.is_plain(rows, row) || !keys.add(shape, rows, row) {
            return row;
        }
        for (reference, referred) in shape.references.iter().zip(&mut referred) {
            // Earlier records may refer to it, which one by one would fail; it itself may.
            if values(shape, rows, row, &reference.to).is_some_and(|to| referred.contains(&to)) {
                return row;
            }
            if let Some(from) = values(shape, rows, row, &reference.from) {
                referred.insert(from);
            }
        }
    }
    range.end
}

/// The keys that came. Most come in ascending order, as integers: then the last one says it all.
#[derive(Default)]
struct Keys {
    last: Option<i64>,
    ascending: Vec<i64>,
    others: HashSet<Vec<u8>>,
    is_mixed: bool,
}

impl Keys {
    /// Adds the key of a record; false if it came before.
    fn add(&mut self, shape: &Shape, rows: &Rows, row: usize) -> bool {
        if let ([key], false) = (&*shape.key, self.is_mixed)
            && let Some(ValueRef::Integer(v)) = rows.get(row, shape.columns[*key].incoming)
            && shape.is_integer(*key)
            && self.last.is_none_or(|last| v > last)
        {
            self.last = Some(v);
            self.ascending.push(v);
            return true;
        }
        if !self.is_mixed {
            self.is_mixed = true;
            let bytes = |v: i64| {
                let mut bytes = Vec::new();
                put(&mut bytes, Some(ValueRef::Integer(v)));
                bytes
            };
            self.others.extend(std::mem::take(&mut self.ascending).into_iter().map(bytes));
        }
        values(shape, rows, row, &shape.key).is_none_or(|key| self.others.insert(key))
    }
}

/// Values as bytes, the same for those that are equal; `None` if one is NULL.
fn values(shape: &Shape, rows: &Rows, row: usize, columns: &[usize]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for column in columns {
        let column = &shape.columns[*column];
        match shape.cast(column).adapt(rows.get(row, column.incoming)?) {
            Adapted::Ready(ValueRef::Null) => return None,
            // Both zeros are equal.
            Adapted::Ready(ValueRef::Real(v)) => put(&mut bytes, Some(ValueRef::Real(v + 0.0))),
            Adapted::Ready(value) => put(&mut bytes, Some(value)),
            // What a UUID may be written with.
            Adapted::Text(text) => {
                let plain: Vec<u8> =
                    text.bytes().filter(|byte| !b"-{}".contains(byte)).map(|byte| byte.to_ascii_lowercase()).collect();
                put(&mut bytes, Some(ValueRef::Text(&plain)));
            }
            Adapted::Misfit(..) => return None,
        }
    }
    Some(bytes)
}
