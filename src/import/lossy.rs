//! Values that a column of the local table cannot hold, where the caller wants something stored in their place.
//!
//! It is the same for every store: what the columns make of a record is asked of [`Writer::fit`](crate::store::Writer::fit), and what does
//! not fit is replaced before anything is decided about the record. What is tried, in this order:
//!
//! 1. Text that is not UTF-8, or has NUL in it: the same text with U+FFFD in those places.
//! 2. A number in a column of texts: its digits. Text in a column of numbers that is a number: the number.
//! 3. NULL, where the column takes it.
//!
//! A column of the key is never replaced: two records could become one.

use std::borrow::Cow;

use super::transaction::Transaction;
use crate::domain::record::Tally;
use crate::domain::schema::LogicalType;
use crate::domain::strategy::OnLossy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};

/// The records with what does not fit replaced, if the plan says so; each value that was is counted, if it was not before. A record of which a value cannot be
/// replaced keeps all of them, and fails.
pub(super) fn replace<'r>(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &'r Rows,
    mut tally: Option<&mut Tally>,
) -> Result<Cow<'r, Rows>> {
    if plan.on_lossy == OnLossy::Fail || rows.is_empty() {
        return Ok(Cow::Borrowed(rows));
    }
    let fitted = tx.fit(plan, rows, 0..rows.len())?;
    // By row, and the incoming column with the local one.
    let mut misfits: Vec<(usize, usize, usize)> = Vec::new();
    for misfit in fitted.misfits.iter().filter(|misfit| misfit.reason.is_lossy()) {
        if let Some(incoming) = plan.targets.iter().position(|target| *target == Some(misfit.column)) {
            misfits.push((misfit.row, incoming, misfit.column));
        }
    }
    if misfits.is_empty() {
        return Ok(Cow::Borrowed(rows));
    }
    misfits.sort_unstable();
    let mut replaced: Vec<(usize, usize, Value)> = Vec::new();
    for of_row in misfits.chunk_by(|(a, ..), (b, ..)| a == b) {
        let row = of_row[0].0;
        if let Some(values) = of_record(tx, plan, rows, row, of_row)? {
            for ((_, incoming, column), value) in of_row.iter().zip(values) {
                if let Some(tally) = &mut tally {
                    tally.replaced(&plan.table.columns[*column].name);
                }
                replaced.push((row, *incoming, value));
            }
        }
    }
    Ok(Cow::Owned(with(rows, 0..rows.len(), &replaced)))
}

/// What stands in a record for each of the values that do not fit; `None` if one of them cannot be replaced.
fn of_record(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    row: usize,
    misfits: &[(usize, usize, usize)],
) -> Result<Option<Vec<Value>>> {
    let is_key = |column: &usize| match &plan.identity {
        Identity::Key { columns, .. } => columns.contains(column),
        Identity::WholeRow => false,
    } || plan.kept_key.as_ref().is_some_and(|kept| kept.columns.contains(column));
    let mut values = Vec::with_capacity(misfits.len());
    for (_, incoming, column) in misfits {
        let Some(value) = rows.get(row, *incoming).filter(|_| !is_key(column)) else { return Ok(None) };
        let described = &plan.table.columns[*column];
        let mut candidates = candidates(value, &described.logical);
        candidates.extend(described.nullable.then_some(Value::Null));
        let mut fits = None;
        for candidate in candidates {
            let one = with(rows, row..row + 1, &[(row, *incoming, candidate.clone())]);
            if !tx.fit(plan, &one, 0..1)?.misfits.iter().any(|misfit| misfit.column == *column) {
                fits = Some(candidate);
                break;
            }
        }
        match fits {
            Some(value) => values.push(value),
            None => return Ok(None),
        }
    }
    Ok(Some(values))
}

/// What may stand for a value in a column that means this, best first.
fn candidates(value: ValueRef<'_>, logical: &LogicalType) -> Vec<Value> {
    let is_number =
        matches!(logical, LogicalType::Integer | LogicalType::Real | LogicalType::Numeric | LogicalType::Boolean);
    match value {
        ValueRef::Integer(v) if !is_number => vec![Value::from(v.to_string())],
        ValueRef::Real(v) if !is_number && v.is_finite() => vec![Value::from(v.to_string())],
        ValueRef::Text(text) => {
            let clean = String::from_utf8_lossy(text).replace('\0', "\u{fffd}");
            let number = clean.trim();
            let integer = number.parse().ok().filter(|_| is_number).map(Value::Integer);
            let real = number.parse::<f64>().ok().filter(|v| is_number && v.is_finite()).map(Value::Real);
            let clean = (clean.as_bytes() != text).then(|| Value::from(clean.as_str()));
            clean.into_iter().chain(integer).chain(real).collect()
        }
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => Vec::new(),
    }
}

/// A run of rows with other values in some cells, in their order.
fn with(rows: &Rows, range: std::ops::Range<usize>, replaced: &[(usize, usize, Value)]) -> Rows {
    let mut changed = Rows::new(rows.width());
    let mut next = replaced.iter().peekable();
    for row in range {
        changed.start_row();
        for (column, value) in rows.row(row).enumerate() {
            let other = next.next_if(|(at, incoming, _)| (*at, *incoming) == (row, column));
            if let Some(value) = other.map(|(.., value)| value.as_ref()).or(value) {
                changed.set(column, value);
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_value_is_what_is_left_of_it() {
        let of = |value: Value, logical: &LogicalType| candidates(value.as_ref(), logical);
        let (text, integer) = (&LogicalType::Text, &LogicalType::Integer);
        assert_eq!(of(Value::Text(b"a\0b\xff".to_vec()), text), [Value::from("a\u{fffd}b\u{fffd}")]);
        assert_eq!(of(" 007 ".into(), integer), [Value::Integer(7), Value::Real(7.0)]);
        assert_eq!(of("1.5".into(), &LogicalType::Real), [Value::Real(1.5)]);
        assert_eq!([of("word".into(), integer), of("7".into(), text), of(f64::NAN.into(), integer)], [const { vec![] }; 3]);
        assert_eq!([of(5.into(), text), of(5.into(), integer)], [vec![Value::from("5")], vec![]]);
        assert_eq!(of(Value::Blob(vec![1]), text), []);
    }

    #[test]
    fn other_cells_stay_as_they_are() {
        let mut rows = Rows::new(2);
        rows.push([ValueRef::Integer(1), ValueRef::Text(b"a")]);
        rows.start_row();
        rows.set(1, ValueRef::Text(b"\xff"));
        let changed = with(&rows, 0..2, &[(1, 1, "b".into())]);
        let cells = |row| changed.row(row).map(|cell| cell.map(ValueRef::to_owned)).collect::<Vec<_>>();
        assert_eq!(cells(0), [Some(1.into()), Some("a".into())]);
        assert_eq!(cells(1), [None, Some("b".into())]);
    }
}
