//! Which row a record is by its unique values.

use super::append::row_of;
use super::transaction::Transaction;
use crate::domain::schema::UniqueKind;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::{Identity, TablePlan};

/// The row that has a record's values in a unique set.
pub(super) enum Match {
    /// There is none.
    None,
    /// This one: its key, or all of its values where the table has no key.
    Row(Vec<Value>),
    /// One row has the record's values in one set, and another row in another set: the names of the columns of both.
    Rows([Vec<String>; 2]),
}

/// Looks for the record with these local values by each full unique set. The primary key is none of them: an append replaces it.
pub(super) fn find(tx: &mut Transaction, plan: &TablePlan, values: &[Option<Value>]) -> Result<Match> {
    let read: Vec<usize> = match &plan.identity {
        Identity::Key { columns, .. } => columns.clone(),
        Identity::WholeRow => (0..plan.table.columns.len()).collect(),
    };
    let primary = plan.table.column_indexes(&plan.table.primary_key).unwrap_or_default();
    let row = row_of(values);
    let mut first: Option<(&Vec<String>, Vec<Value>)> = None;
    for set in plan.table.unique.iter().filter(|set| set.kind == UniqueKind::Full) {
        let Some(columns) = plan.table.column_indexes(&set.columns) else { continue };
        if columns.len() == primary.len() && columns.iter().all(|column| primary.contains(column)) {
            continue;
        }
        let Some(found) = tx.find(&plan.table, &columns, &read, &row, 0)? else { continue };
        match &first {
            None => first = Some((&set.columns, found)),
            Some((_, same)) if same.iter().zip(&found).all(|(one, other)| one.as_ref().same(other.as_ref())) => {}
            Some((columns, _)) => return Ok(Match::Rows([(*columns).clone(), set.columns.clone()])),
        }
    }
    Ok(first.map_or(Match::None, |(_, row)| Match::Row(row)))
}

/// Whether a record is a row that is here, by a unique set without these columns.
pub(super) fn is_known(tx: &mut Transaction, plan: &TablePlan, record: &Rows, without: &[usize]) -> Result<bool> {
    let fitted = tx.fit(plan, record, 0..1)?;
    let mut values: Vec<Option<Value>> = fitted.rows.row(0).map(|value| value.map(ValueRef::to_owned)).collect();
    without.iter().for_each(|column| values[*column] = None);
    Ok(matches!(find(tx, plan, &values)?, Match::Row(_)))
}
