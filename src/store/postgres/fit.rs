//! What columns make of records before they are written: see [`Writer::fit`](crate::store::Writer::fit).

use std::borrow::Cow;
use std::ops::Range;

use super::casts::{Adapted, Cast};
use super::texts::{self, Read, Texts};
use super::transaction::Transaction;
use super::types::Carried;
use crate::domain::record::Reason;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::{Fitted, Misfit};

pub(super) fn fit(
    transaction: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    fitted: &mut Fitted,
) -> Result<()> {
    fitted.rows.clear(plan.table.columns.len());
    fitted.misfits.clear();
    let (_, casts) = transaction.local(&plan.table)?;
    let targets: Vec<(usize, usize, &Cast)> = plan
        .targets
        .iter()
        .enumerate()
        .filter_map(|(incoming, target)| target.map(|column| (incoming, column, casts.get(column))))
        .collect();
    let read = read_texts(transaction, &targets, rows, range.clone())?;
    for (number, row) in range.enumerate() {
        fitted.rows.start_row();
        for (at, (incoming, column, cast)) in targets.iter().enumerate() {
            let Some(value) = rows.get(row, *incoming) else { continue };
            let asked = read.get(at).and_then(|read| read.get(number));
            let (stored, misfit) = match (cast.adapt(value), asked) {
                (Adapted::Ready(stored), _) => (stored, None),
                (Adapted::Text(_), Some(Read::Stored(text))) => (ValueRef::Text(text.as_bytes()), None),
                (Adapted::Text(_), Some(Read::Cut)) => (
                    value,
                    Some((
                        Reason::ValueWouldChange,
                        "it would store shorter, rounded, or without its zone or time".to_owned(),
                    )),
                ),
                (Adapted::Text(_), Some(Read::Refused(reason, why))) => (value, Some((*reason, format!("it says: {why}")))),
                (Adapted::Text(_), _) => (value, None),
                (Adapted::Misfit(reason, why), _) => (value, Some((reason, why.to_owned()))),
            };
            fitted.rows.set(*column, stored);
            if let Some((reason, why)) = misfit {
                let message = cast.told(&plan.table.columns[*column].name, value, &why);
                fitted.misfits.push(Misfit { row: number, column: *column, reason, message });
            }
        }
    }
    Ok(())
}

/// What the types of the columns that take texts make of them; nothing for the other columns.
fn read_texts(
    transaction: &mut Transaction,
    targets: &[(usize, usize, &Cast)],
    rows: &Rows,
    range: Range<usize>,
) -> Result<Vec<Vec<Read>>> {
    if targets.iter().all(|(.., cast)| cast.carried != Carried::Cast) {
        return Ok(Vec::new());
    }
    let text = |row: usize, incoming: usize, cast: &Cast| match rows.get(row, incoming).map(|value| cast.adapt(value)) {
        Some(Adapted::Text(text)) => Some(text),
        _ => None,
    };
    let columns: Vec<Vec<Option<Cow<'_, str>>>> = targets
        .iter()
        .map(|(incoming, _, cast)| match cast.carried {
            Carried::Cast => range.clone().map(|row| text(row, *incoming, cast)).collect(),
            _ => Vec::new(),
        })
        .collect();
    let asked: Vec<Texts<'_, '_>> = targets.iter().zip(&columns).map(|((.., cast), texts)| Texts { cast, texts }).collect();
    texts::stored(transaction, &asked)
}
