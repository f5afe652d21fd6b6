//! Keys that would use up the numbers of a table: where SQLite gives each row a number that was never given before (AUTOINCREMENT), a
//! record with the last one lets every later insert fail.

use super::fetch::Batch;
use crate::domain::record::{Failure, Reason};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, LARGEST_NUMBER, NUMBERS_LEFT, TablePlan};
use crate::store::Writer;

/// Which of the incoming columns of a table may not bring a larger number. `None` where none is given out, where records get numbers of
/// their own, and where the table is that far already.
pub(super) fn guarded(writer: &mut dyn Writer, local: &TableSchema, plan: &TablePlan) -> Result<Option<usize>> {
    let columns = match (&plan.kept_key, &plan.identity) {
        (Some(kept), _) => &kept.columns,
        (None, Identity::Key { columns, .. }) => columns,
        (None, Identity::WholeRow) => return Ok(None),
    };
    let [column] = columns[..] else { return Ok(None) };
    if !local.autoincrement || plan.strategy == Strategy::Append || writer.last_integer(local, column)? > LARGEST_NUMBER {
        return Ok(None);
    }
    Ok(plan.targets.iter().position(|target| *target == Some(column)))
}

/// Lets the records of a batch fail that would use the numbers up.
pub(super) fn let_fail(batch: &mut Batch, table: &TableSchema, column: usize) {
    let too_large = |row: &usize| batch.rows.get(*row, column).is_some_and(is_too_large);
    let failing: Vec<usize> = (0..batch.rows.len()).filter(too_large).collect();
    if failing.is_empty() {
        return;
    }
    let mut rows = Rows::new(batch.rows.width());
    let mut next = 0;
    for row in failing {
        rows.push_rows(&batch.rows, next..row);
        next = row + 1;
        let key = batch.rows.get(row, column).map_or(Value::Null, ValueRef::to_owned);
        let message =
            format!("the table gives each row a new number (AUTOINCREMENT), and fewer than {NUMBERS_LEFT} would be left");
        let column = table.columns.get(column).map(|column| column.name.clone());
        let failure = Failure { key: vec![key], column, reason: Reason::ValueOutOfRange, message };
        batch.failures.push(failure.shortened());
    }
    rows.push_rows(&batch.rows, next..batch.rows.len());
    batch.rows = rows;
}

/// Whether a key column makes a number that is too large of it.
fn is_too_large(value: ValueRef<'_>) -> bool {
    match value {
        ValueRef::Integer(number) => number > LARGEST_NUMBER,
        ValueRef::Real(number) => number >= LARGEST_NUMBER as f64,
        ValueRef::Text(text) => {
            let text = std::str::from_utf8(text).unwrap_or_default().trim();
            text.parse::<f64>().is_ok_and(|number| number >= LARGEST_NUMBER as f64)
        }
        ValueRef::Null | ValueRef::Blob(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_a_large_number_is_one() {
        for large in [
            ValueRef::Integer(i64::MAX),
            ValueRef::Integer(LARGEST_NUMBER + 1),
            ValueRef::Real(9.3e18),
            ValueRef::Text(b" 9223372036854775807 "),
            ValueRef::Text(b"9.223372036854775e18"),
        ] {
            assert!(is_too_large(large), "{large:?}");
        }
        let others = [ValueRef::Integer(LARGEST_NUMBER), ValueRef::Integer(i64::MIN), ValueRef::Real(1e18), ValueRef::Null];
        for other in others.into_iter().chain([ValueRef::Text(b"x"), ValueRef::Text(b"1"), ValueRef::Blob(b"9e99")]) {
            assert!(!is_too_large(other), "{other:?}");
        }
    }
}
