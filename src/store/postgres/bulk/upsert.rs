//! One statement for many records: INSERT .. ON CONFLICT, with exact counts.

use std::ops::Range;

use super::super::arrays::{self, Array};
use super::super::faults::failed;
use super::super::transaction::Transaction;
use super::super::types::Carried;
use super::shape::{Column, Shape};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// How many rows a statement created and changed, and how many records differ from their rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) created: u64,
    pub(super) updated: u64,
    pub(super) differing: u64,
    /// Whether a key came a second time, in another form.
    pub(super) is_twice: bool,
}

/// The statement; `None` if SQL cannot say which record is newer.
///
/// `s` are the records, `w` what became of them: a row that was changed has in `xmax` the transaction that locked it, and a new one nothing.
/// Where records may differ from rows that they do not change, or the table is partitioned and has no `xmax`, `d` looks at the rows as they
/// were before.
pub(super) fn sql(shape: &Shape) -> Option<String> {
    let (table, plan) = (&shape.table, &shape.plan);
    let columns: Vec<(usize, &Column)> = shape.columns.iter().enumerate().collect();
    let name = |column: &Column| shape.cast(column).quoted().to_owned();
    let names: Vec<String> = shape.columns.iter().map(name).collect();
    let typed: Vec<String> =
        columns.iter().map(|(at, column)| format!("{} AS c{at}", shape.cast(column).typed(&format!("s.c{at}")))).collect();
    let key: Vec<String> = shape.key.iter().map(|at| name(&shape.columns[*at])).collect();
    let compared: Vec<&(usize, &Column)> = columns.iter().filter(|(_, column)| shape.may_differ(column)).collect();
    let takes_null = plan.strategy != Strategy::Merge;
    let differ = |column: &Column, old: &str, new: &str| {
        let differ = shape.cast(column).differ(old, new);
        if takes_null { format!("({differ})") } else { format!("({new} IS NOT NULL AND {differ})") }
    };
    let set = |column: &Column| {
        let name = name(column);
        let new = format!("EXCLUDED.{name}");
        format!("{name} = {}", if takes_null { new } else { format!("coalesce({new}, t.{name})") })
    };
    let newer = match plan.newer_by {
        None => String::new(),
        Some(local) => match shape.columns.iter().find(|column| column.local == local) {
            // A record that lacks the column is as old as can be.
            None => " AND false".to_owned(),
            Some(column) => {
                let name = name(column);
                format!(" AND {}", shape.cast(column).newer(&format!("EXCLUDED.{name}"), &format!("t.{name}"))?)
            }
        },
    };
    let changes = !compared.is_empty() && plan.strategy != Strategy::Skip;
    let action = match changes {
        false => "NOTHING".to_owned(),
        true => {
            let sets: Vec<String> = compared.iter().map(|(_, column)| set(column)).collect();
            let differ: Vec<String> = compared
                .iter()
                .map(|(_, column)| differ(column, &format!("t.{}", name(column)), &format!("EXCLUDED.{}", name(column))))
                .collect();
            format!("UPDATE SET {} WHERE ({}){newer}", sets.join(", "), differ.join(" OR "))
        }
    };
    let is_new = match (changes, table.is_partitioned) {
        (false, _) => "true",
        (true, false) => "(t.xmax = 0)",
        (true, true) => "NULL::bool",
    };
    let asks = !compared.is_empty() && (!changes || plan.newer_by.is_some()) || (changes && table.is_partitioned);
    let before = match asks {
        false => ("0::int8", "0::int8", String::new()),
        true => {
            let differ: Vec<String> = compared
                .iter()
                .map(|(at, column)| differ(column, &format!("o.{}", name(column)), &format!("s.c{at}")))
                .collect();
            let old: Vec<String> = compared.iter().map(|(_, column)| format!("t.{}", name(column))).collect();
            let old = if old.is_empty() { "1 AS one".to_owned() } else { old.join(", ") };
            let equal: Vec<String> = shape
                .key
                .iter()
                .map(|at| {
                    shape.cast(&shape.columns[*at]).equal(&format!("t.{}", name(&shape.columns[*at])), &format!("s.c{at}"))
                })
                .collect();
            let differ = if differ.is_empty() { "false".to_owned() } else { differ.join(" OR ") };
            let d = format!(
                ", d AS (SELECT count(*) AS matched, count(*) FILTER (WHERE {differ}) AS differing FROM s CROSS JOIN LATERAL \
                 (SELECT {old} FROM {} AS t WHERE {} LIMIT 1) AS o)",
                table.source,
                equal.join(" AND "),
            );
            ("(SELECT matched FROM d)", "(SELECT differing FROM d)", d)
        }
    };
    let picked: Vec<String> = columns.iter().map(|(at, _)| format!("s.c{at}")).collect();
    Some(format!(
        "WITH s AS MATERIALIZED (SELECT {} FROM {}), \
         w AS (INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM s ON CONFLICT ({}) DO {action} RETURNING {is_new} AS is_new){} \
         SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM w WHERE is_new), (SELECT count(*) FROM w WHERE NOT is_new), {}, {}{}",
        typed.join(", "),
        arrays::source(&shape.casts(), 1),
        table.relation,
        names.join(", "),
        picked.join(", "),
        key.join(", "),
        before.2,
        before.0,
        before.1,
        twice(shape),
    ))
}

/// Whether two keys are one, where that cannot be seen before: DO NOTHING takes the second one for a row that was there.
fn twice(shape: &Shape) -> String {
    let keys: Vec<String> = shape.key.iter().map(|at| format!("s.c{at}")).collect();
    match shape.key.iter().any(|at| shape.cast(&shape.columns[*at]).carried == Carried::Cast) {
        false => ", false".to_owned(),
        true => format!(", (SELECT count(*) <> count(DISTINCT ({})) FROM s)", keys.join(", ")),
    }
}

pub(super) fn run(transaction: &mut Transaction, shape: &Shape, rows: &Rows, range: Range<usize>) -> Result<Counts> {
    let records = range.len() as u64;
    let mut arrays: Vec<Array<'_>> = shape.casts().iter().map(|cast| Array::new(cast, range.len())).collect();
    for row in range {
        for (array, column) in arrays.iter_mut().zip(&shape.columns) {
            array.push(shape.cast(column), rows.get(row, column.incoming).unwrap_or(ValueRef::Null));
        }
    }
    let answer = transaction.connection.rows(&shape.sql, &arrays::parameters(&arrays))?;
    let row = answer.first().ok_or_else(|| Error::new(ErrorKind::Database, "a statement says nothing of what it did"))?;
    let count = |at: usize| -> Result<u64> { Ok(u64::try_from(row.try_get::<_, i64>(at).map_err(failed)?).unwrap_or(0)) };
    let is_twice: bool = row.try_get(5).map_err(failed)?;
    let (written, matched, differing) = (count(0)?, count(3)?, count(4)?);
    let (created, updated) = match shape.table.is_partitioned && shape.plan.strategy != Strategy::Skip {
        true => (records.saturating_sub(matched), written.saturating_sub(records.saturating_sub(matched))),
        false => (count(1)?, count(2)?),
    };
    Ok(Counts { created, updated, differing: differing.max(updated), is_twice })
}
