//! Which row a record is by its unique values.

use uuid::Uuid;

use super::new_uuid::new_uuid;
use super::rows::row_of;
use super::transaction::Transaction;
use crate::domain::schema::UniqueKind;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::Sets;

/// The row that has a record's values in a unique set.
pub(super) enum Match {
    /// There is none.
    None,
    /// This one: its key, or what tells it from others where the table has no key.
    Row(Vec<Value>),
    /// One row has the record's values in one set, and another row in another set.
    Rows,
}

impl Match {
    fn add(self, row: Vec<Value>) -> Self {
        match self {
            Match::None => Match::Row(row),
            Match::Row(one) if one.len() == row.len() => {
                match one.iter().zip(&row).all(|(one, other)| one.as_ref().same(other.as_ref())) {
                    true => Match::Row(one),
                    false => Match::Rows,
                }
            }
            Match::Row(_) | Match::Rows => Match::Rows,
        }
    }
}

/// Looks for the record with these local values by each full unique set. The primary key is none of them: an append replaces it.
pub(super) fn find(tx: &mut Transaction, plan: &TablePlan, values: &[Option<Value>]) -> Result<Match> {
    let table = &plan.table;
    if table.unique.is_empty() {
        return Ok(Match::None);
    }
    let read: Vec<usize> = match &plan.identity {
        Identity::Key { columns, .. } => columns.clone(),
        Identity::WholeRow => (0..table.columns.len()).collect(),
    };
    let primary = table.column_indexes(&table.primary_key).unwrap_or_default();
    let row = row_of(values);
    let (mut found, mut computed) = (Match::None, Vec::new());
    for set in table.unique.iter().filter(|set| set.kind == UniqueKind::Full) {
        let Some(columns) = table.column_indexes(&set.columns) else { continue };
        if columns.len() == primary.len() && columns.iter().all(|column| primary.contains(column)) {
            continue;
        }
        if columns.iter().any(|column| table.columns[*column].generated) {
            computed = columns;
        } else if let Some(row) = tx.find(table, &columns, &read, &row, 0)? {
            found = found.add(row);
        }
    }
    match (computed.is_empty(), &found) {
        (true, _) | (_, Match::Rows) => Ok(found),
        // Without a key it cannot be told whether it is the same row.
        (_, Match::Row(_)) if plan.identity == Identity::WholeRow => Ok(found),
        (false, _) => Ok(find_computed(tx, plan, &primary, values, &computed)?.into_iter().fold(found, Match::add)),
    }
}

/// The same where a set has generated columns, of which only the database knows the values; `set` is one such set.
fn find_computed(
    tx: &mut Transaction,
    plan: &TablePlan,
    primary: &[usize],
    values: &[Option<Value>],
    set: &[usize],
) -> Result<Vec<Vec<Value>>> {
    let mut values = values.to_vec();
    let key = match &plan.identity {
        Identity::Key { columns, .. } => columns,
        Identity::WholeRow => set,
    };
    // The row that has the record's old key may be the one, if the record gets another.
    for column in primary {
        let new = match &values[*column] {
            Some(Value::Integer(_)) if plan.table.rowid_alias => Some(None),
            Some(Value::Integer(_)) if primary.len() == 1 => Some(tx.peek_integer(&plan.table, *column)?.map(Value::from)),
            Some(value) => new_uuid(value).map(Some),
            None => None,
        };
        if let Some(new) = new {
            values[*column] = new;
        }
    }
    let mut found = clashing(tx, plan, key, &values)?;
    // A row with the key that the record keeps is looked for as well: beside it, the record has another.
    if !primary.is_empty() && tx.find_by_key(&plan.table, primary, &[], &row_of(&values), 0)?.is_some() {
        for column in primary {
            if let Some(Value::Text(_)) = values[*column] {
                values[*column] = Some(Uuid::new_v4().to_string().into());
            }
        }
        found.extend(clashing(tx, plan, key, &values)?);
    }
    Ok(found)
}

/// The rows, by the columns at `key`, that have in a full unique set what the row with these values would have.
fn clashing(tx: &mut Transaction, plan: &TablePlan, key: &[usize], values: &[Option<Value>]) -> Result<Vec<Vec<Value>>> {
    let mut found = Rows::default();
    tx.writer.clashes(&plan.table, key, Sets::Full, &row_of(values), 0, &mut found)?;
    let row = |row: usize| found.row(row).map(|value| value.unwrap_or(ValueRef::Null).to_owned()).collect();
    Ok((0..found.len()).map(row).collect())
}

/// Whether a record is a row that is here, by a unique set without these columns.
pub(super) fn is_known(tx: &mut Transaction, plan: &TablePlan, record: &Rows, without: &[usize]) -> Result<bool> {
    let fitted = tx.fit(plan, record, 0..1)?;
    let mut values: Vec<Option<Value>> = fitted.rows.row(0).map(|value| value.map(ValueRef::to_owned)).collect();
    without.iter().for_each(|column| values[*column] = None);
    Ok(matches!(find(tx, plan, &values)?, Match::Row(_)))
}
