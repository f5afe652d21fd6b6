//! Decimal numbers of PostgreSQL's in columns of numbers of SQLite's.
//!
//! A `numeric` travels as its text, which such a column would rewrite. Where the text is just how the number is written, `5` or `0.1`, nothing
//! is lost by that: it is the number. `1.50` stays a text, and does not fit.

use std::borrow::Cow;

use crate::domain::schema::{LogicalType, Origin, TableSchema};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::plan::TablePlan;

/// The incoming columns whose texts are numbers to the local table.
pub(crate) fn columns(sender: &TableSchema, local: &TableSchema, targets: &[Option<usize>]) -> Vec<usize> {
    if sender.origin != Origin::Postgres || local.origin != Origin::Sqlite {
        return Vec::new();
    }
    let keeps_text = |declared: &str| {
        let declared = declared.to_ascii_uppercase();
        ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word)) && !declared.contains("INT")
    };
    let is_number = |(incoming, target): (usize, &Option<usize>)| {
        let column = &local.columns[(*target)?];
        let takes_numbers = matches!(column.logical, LogicalType::Numeric | LogicalType::Integer | LogicalType::Real)
            && !keeps_text(&column.declared_type);
        (takes_numbers && sender.columns.get(incoming)?.logical == LogicalType::Numeric).then_some(incoming)
    };
    targets.iter().enumerate().filter_map(is_number).collect()
}

/// The records with these texts as numbers.
pub(super) fn read<'r>(plan: &TablePlan, rows: &'r Rows) -> Cow<'r, Rows> {
    if plan.numerals.is_empty() {
        return Cow::Borrowed(rows);
    }
    let mut read = Rows::new(rows.width());
    for row in 0..rows.len() {
        read.start_row();
        for (column, value) in rows.row(row).enumerate() {
            let Some(value) = value else { continue };
            match plan.numerals.contains(&column).then(|| number(value)).flatten() {
                Some(number) => read.set(column, number.as_ref()),
                None => read.set(column, value),
            }
        }
    }
    Cow::Owned(read)
}

/// The number that is written just so.
fn number(value: ValueRef<'_>) -> Option<Value> {
    let ValueRef::Text(text) = value else { return None };
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(integer) = text.parse::<i64>() {
        return (integer.to_string() == text).then_some(Value::Integer(integer));
    }
    let real = text.parse::<f64>().ok().filter(|real| real.is_finite())?;
    (real.to_string() == text).then_some(Value::Real(real))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Column;

    #[test]
    fn only_what_is_written_as_a_number_is_one() {
        let of = |text: &str| number(ValueRef::Text(text.as_bytes()));
        assert_eq!(
            [of("5"), of("-9223372036854775808"), of("0.1")],
            [Some(5.into()), Some(i64::MIN.into()), Some(0.1.into())]
        );
        let large = format!("1{}", "0".repeat(300));
        assert_eq!(of(&large), Some(1e300.into()));
        for text in ["1.50", "007", "-0", "1.0", "NaN", "Infinity", "0.30000000000000000001", "", "1e3"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(number(ValueRef::Integer(5)), None);
    }

    #[test]
    fn columns_that_keep_text_are_left_alone() {
        let table = |origin, declared: &[&str]| TableSchema {
            origin,
            columns: declared
                .iter()
                .map(|declared| Column {
                    declared_type: (*declared).into(),
                    logical: match origin {
                        Origin::Postgres => LogicalType::from_postgres(declared),
                        _ => LogicalType::from_declared(declared),
                    },
                    ..Column::default()
                })
                .collect(),
            ..TableSchema::default()
        };
        let local = table(Origin::Sqlite, &["DECIMAL(10,2)", "NUMERIC TEXT", "INTEGER", "TEXT", "REAL", ""]);
        let sender = table(Origin::Postgres, &["numeric", "numeric", "numeric", "numeric", "text", "numeric"]);
        let targets: Vec<_> = (0..6).map(Some).collect();
        assert_eq!(columns(&sender, &local, &targets), [0, 2]);
        assert!(columns(&local, &local, &targets).is_empty());
    }
}
