//! Asks the caller what becomes of a row that a record would change.

use super::became::Became;
use super::transaction::Transaction;
use crate::domain::conflict::{Record, Resolution};
use crate::domain::record::{Failure, Reason};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::Fitted;

/// What the caller wants.
pub(super) enum Answer {
    /// The record changes the row as its strategy says.
    Take,
    /// This local row has the key, and what these columns of it are set to.
    Set(Rows, Vec<usize>),
    /// That is decided.
    Became(Became),
}

/// Asks about a fitted record, whose row is here.
pub(super) fn ask(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    (rows, number): (&Rows, usize),
    record_key: &dyn Fn() -> Vec<Value>,
) -> Result<Answer> {
    let Some(rules) = tx.rules.filter(|_| plan.asks) else { return Ok(Answer::Take) };
    let table = &plan.table;
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let Some(local) = tx.find_by_key(table, key, &all, rows, number)? else { return Ok(Answer::Take) };
    let values: Vec<Option<ValueRef<'_>>> = local.iter().map(|value| Some(value.as_ref())).collect();
    let incoming: Vec<Option<ValueRef<'_>>> = rows.row(number).collect();
    let resolution = rules.resolve(&Record::new(table, &values), &Record::new(table, &incoming));
    let refused = |message: String, column: Option<String>| {
        let failure = Failure { key: record_key(), column, reason: Reason::RefusedByRule, message };
        Ok(Answer::Became(Became::Refused(failure)))
    };
    let wanted = match resolution {
        Resolution::Take => return Ok(Answer::Take),
        Resolution::Keep => return Ok(Answer::Became(Became::Skipped { differs: true })),
        Resolution::Fail(message) => return refused(message, None),
        Resolution::Merge(wanted) => wanted,
    };
    let mut merged = Rows::new(table.columns.len());
    merged.start_row();
    let mut named = Vec::with_capacity(wanted.len());
    for (name, value) in &wanted {
        let Some(column) = table.column_index(name) else {
            return refused(format!("the rule sets {name:?}, and {:?} has no such column", table.name), None);
        };
        if table.columns[column].generated {
            return refused(format!("the rule sets {name:?}, which is computed"), Some(name.clone()));
        }
        named.push(column);
        merged.set(column, value.as_ref());
    }
    let fitted = fit(tx, plan, &merged)?;
    if let Some(misfit) = fitted.misfits.first() {
        let column = table.columns[misfit.column].name.clone();
        return refused(format!("the rule's value does not fit: {}", misfit.message), Some(column));
    }
    let differs = |column: &usize| fitted.rows.get(0, *column).is_some_and(|new| !new.same(local[*column].as_ref()));
    let set: Vec<usize> = named.into_iter().filter(differs).collect();
    let primary = table.column_indexes(&table.primary_key).unwrap_or_default();
    if let Some(column) = set.iter().find(|column| key.contains(column) || primary.contains(column)) {
        let name = &table.columns[*column].name;
        return refused(format!("the rule sets {name:?}, which is part of the key"), Some(name.clone()));
    }
    if set.is_empty() {
        return Ok(Answer::Became(Became::Unchanged));
    }
    let mut row = Rows::new(table.columns.len());
    row.start_row();
    key.iter().for_each(|column| row.set(*column, local[*column].as_ref()));
    set.iter().for_each(|column| row.set(*column, fitted.rows.get(0, *column).unwrap_or(ValueRef::Null)));
    Ok(Answer::Set(row, set))
}

/// A local row as the table will store it.
fn fit(tx: &mut Transaction, plan: &TablePlan, row: &Rows) -> Result<Fitted> {
    let columns = &plan.table.columns;
    let targets = columns.iter().enumerate().map(|(at, column)| (!column.generated).then_some(at)).collect();
    let incoming = columns.iter().map(|column| column.name.clone()).collect();
    tx.fit(&TablePlan { targets, incoming, ..plan.clone() }, row, 0..1)
}
