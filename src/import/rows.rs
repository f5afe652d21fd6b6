//! Rows made of values, and keys as bytes.

use crate::domain::cells::encode;
use crate::domain::value::{Rows, Value, ValueRef};

/// A row of these values.
pub(super) fn row_of(values: &[Option<Value>]) -> Rows {
    let mut rows = Rows::new(values.len());
    push(&mut rows, values);
    rows
}

/// Adds a row with these values.
pub(super) fn push(rows: &mut Rows, values: &[Option<Value>]) {
    rows.start_row();
    for (at, value) in values.iter().enumerate() {
        if let Some(value) = value {
            rows.set(at, value.as_ref());
        }
    }
}

/// A key as bytes; `None` if a part of it is NULL or absent.
pub(super) fn key_bytes(rows: &Rows, row: usize) -> Option<Vec<u8>> {
    let values = rows.row(row).map(|value| value.filter(|value| !value.is_null()));
    values.collect::<Option<Vec<ValueRef<'_>>>>().map(encode)
}
