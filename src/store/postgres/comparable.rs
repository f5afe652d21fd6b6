//! What columns compare of values: see [`Writer::comparable`](crate::store::Writer::comparable).
//!
//! Numbers that are equal are the same, whatever their class. A text that a type reads is what the type's equal values have in common;
//! one that it does not read stays as it is, and is equal to none that is stored.

use std::borrow::Cow;
use std::ops::Range;

use super::casts::{Adapted, Cast};
use super::texts::{self, Read, Texts};
use super::transaction::Transaction;
use crate::domain::cells::whole;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::store::KeyColumns;

pub(super) fn of(
    transaction: &mut Transaction,
    columns: &KeyColumns<'_>,
    cells: &[usize],
    rows: &Rows,
    range: Range<usize>,
    to: &mut Rows,
) -> Result<()> {
    to.clear(cells.len());
    let (_, casts) = transaction.local(columns.table)?;
    let casts: Vec<&Cast> = casts.all(columns.columns);
    let text = |row: usize, cell: usize, cast: &Cast| match rows.get(row, cell).map(|value| cast.adapt(value)) {
        Some(Adapted::Text(text)) => Some(text),
        _ => None,
    };
    let asked: Vec<Vec<Option<Cow<'_, str>>>> =
        cells.iter().zip(&casts).map(|(cell, cast)| range.clone().map(|row| text(row, *cell, cast)).collect()).collect();
    let asked: Vec<Texts<'_, '_>> = casts.iter().zip(&asked).map(|(cast, texts)| Texts { cast, texts }).collect();
    let common = texts::common(transaction, &asked)?;
    for (number, row) in range.enumerate() {
        to.start_row();
        for (at, (cell, cast)) in cells.iter().zip(&casts).enumerate() {
            let Some(value) = rows.get(row, *cell) else { continue };
            let compared = match (cast.adapt(value), &common[at][number]) {
                (Adapted::Text(_), Read::Stored(text)) => ValueRef::Text(text.as_bytes()),
                (Adapted::Ready(stored), _) => whole(stored),
                _ => whole(value),
            };
            to.set(at, compared);
        }
    }
    Ok(())
}
