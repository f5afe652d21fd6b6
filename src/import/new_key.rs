//! Which key a record gets that is appended.

use super::append_page::Page;
use super::new_uuid::new_uuid;
use super::rows::row_of;
use super::transaction::Transaction;
use super::unique_match::{self, Match};
use crate::domain::record::Reason;
use crate::domain::strategy::OnTakenKey;
use crate::domain::value::Value;
use crate::error::Result;
use crate::plan::{Identity, TablePlan};

/// What becomes of a record's key.
pub(super) enum Key {
    /// The table has none, or the record came without one.
    None,
    /// A new row gets this key.
    New(Vec<Value>),
    /// The record is the row with this key.
    Existing(Vec<Value>),
    /// There is none to be had.
    Refused(Reason, String),
}

/// Finds a key for a record with these local values.
pub(super) fn find_key(tx: &mut Transaction, page: &Page<'_>, number: usize, values: &[Option<Value>]) -> Result<Key> {
    let plan = page.plan;
    match unique_match::find(tx, plan, values)? {
        Match::None => {}
        Match::Row(key) => return Ok(Key::Existing(key)),
        Match::Rows => {
            let message = format!(
                "one row of {:?} has its values in one unique set, and another row in another one: which of them it is cannot \
                 be told",
                plan.table.name
            );
            return Ok(Key::Refused(Reason::Ambiguous, message));
        }
    }
    let Identity::Key { columns, .. } = &plan.identity else { return Ok(Key::None) };
    if page.old(number).is_none() {
        return Ok(Key::None);
    }
    let key: Vec<Option<Value>> = columns.iter().map(|column| values[*column].clone()).collect();
    // Values of a unique set that stands for a key mean something: they are not replaced. That nobody has them was just seen.
    let is_primary = plan.table.column_indexes(&plan.table.primary_key).is_some_and(|primary| primary == *columns);
    let refers = |column: usize| refers(plan, column);
    if let ([column], true) = (&columns[..], is_primary)
        && (plan.table.rowid_alias || matches!(key[0], Some(Value::Integer(_))))
        && !refers(*column)
    {
        return Ok(match tx.next_integer(&plan.table, *column)? {
            Some(next) => Key::New(vec![next.into()]),
            None => {
                let message = format!("the largest key that there is, {}, is taken in {:?}", i64::MAX, plan.table.name);
                Key::Refused(Reason::NoNewKey, message)
            }
        });
    }
    let Some(mut key) = key.into_iter().collect::<Option<Vec<Value>>>() else {
        // A part of it refers to a parent that is lost.
        return Ok(Key::None);
    };
    if !is_primary {
        return Ok(Key::New(key));
    }
    for (part, _) in key.iter_mut().zip(columns).filter(|(_, column)| !refers(**column)) {
        if let Some(new) = new_uuid(part) {
            *part = new;
        }
    }
    let mut values = values.to_vec();
    columns.iter().zip(&key).for_each(|(column, value)| values[*column] = Some(value.clone()));
    Ok(match tx.find_by_key(&plan.table, columns, columns, &row_of(&values), 0)? {
        None => Key::New(key),
        Some(taken) if plan.append.on_taken_key == OnTakenKey::Map => Key::Existing(taken),
        Some(_) => {
            let message = format!(
                "its key is taken in {:?}, and no new one can be made of its kind; on_taken_key = map takes the row that has it",
                plan.table.name
            );
            Key::Refused(Reason::NoNewKey, message)
        }
    })
}

/// Whether a local column refers to another row, by the foreign keys of either side.
pub(super) fn refers(plan: &TablePlan, column: usize) -> bool {
    let name = &plan.table.columns[column].name;
    plan.table.foreign_keys.iter().any(|key| plan.table.names.is_among(name, &key.columns))
        || plan.follows.iter().flat_map(|follow| &follow.incoming).any(|at| plan.targets[*at] == Some(column))
}
