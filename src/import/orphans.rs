//! References between rows of tables that are applied together: which ones no row satisfies.
//!
//! Such rows come in no order that would put each parent before its children, so that references can be checked only when all
//! rows are there. The importer does that itself: each row that was written and whose parent is not there *yet* is noted, and
//! looked at again at the end. The database would look for children of every parent instead, without an index in the whole table.
//!
//! Where a reference stays broken, everything is undone, and the row is left out with all that refer to it: see
//! [`descendants`](super::descendants).

use std::collections::BTreeMap;

use super::pending::parents;
use super::staged::Staged;
use super::transaction::Transaction;
use crate::domain::cells::decode;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::ledger::references::{self, Pending, StagedRow};
use crate::state::unreadable;

/// References that are looked at together.
const TOGETHER: i64 = 5_000;

/// The most orphans that are taken note of in one pass: the rest is found in the next one. It bounds memory.
const MOST_ORPHANS: usize = 200_000;

/// Rows that refer to nothing, each with the position of its broken foreign key.
pub(super) type Orphans = BTreeMap<StagedRow, usize>;

/// The rows whose references are still broken when all are there, of those tables of which they are wanted.
pub(super) fn orphans(tx: &mut Transaction, tables: &[Staged], wanted: &[bool]) -> Result<Orphans> {
    let mut orphans = Orphans::new();
    each_broken(tx, tables, &mut |broken| {
        let is_wanted = |stage: u32| position(tables, stage).is_some_and(|at| wanted[at]);
        orphans.extend(broken.into_iter().filter(|((stage, _), _)| is_wanted(*stage)));
        orphans.len() < MOST_ORPHANS
    })?;
    Ok(orphans)
}

/// How many such rows each of the tables has.
pub(super) fn count(tx: &mut Transaction, tables: &[Staged]) -> Result<Vec<u64>> {
    let (mut counts, mut last) = (vec![0; tables.len()], None);
    each_broken(tx, tables, &mut |broken| {
        for row in broken.keys() {
            // References of one row follow each other.
            if last != Some(*row)
                && let Some(at) = position(tables, row.0)
            {
                counts[at] += 1;
                last = Some(*row);
            }
        }
        true
    })?;
    Ok(counts)
}

/// Gives the rows that refer to nothing, some of them at a time, in the order of their tables and numbers, for as long as more are wanted.
fn each_broken(tx: &mut Transaction, tables: &[Staged], wants_more: &mut dyn FnMut(Orphans) -> bool) -> Result<()> {
    let mut last = None;
    loop {
        tx.check_cancelled()?;
        let (sql, scope) = tx.state();
        let waiting = references::pending(sql, scope, last.as_ref(), TOGETHER)?;
        let Some(end) = waiting.last() else { break };
        last = Some(end.clone());
        // Those of one foreign key are looked up together.
        let mut by_key: BTreeMap<(u32, usize), Vec<&Pending>> = BTreeMap::new();
        for pending in &waiting {
            by_key.entry((pending.row.0, pending.reference)).or_default().push(pending);
        }
        let mut orphans = Orphans::new();
        for ((stage, reference), waiting) in by_key {
            let Some(key) = table_of(tables, stage).and_then(|table| table.plan.table.foreign_keys.get(reference)) else {
                return Err(unreadable("reference"));
            };
            let mut rows = Rows::new(key.columns.len());
            for pending in &waiting {
                let values = decode(&pending.parent).filter(|values| values.len() == key.columns.len());
                rows.push(values.ok_or_else(|| unreadable("reference"))?.iter().map(|value| value.as_ref()));
            }
            let cells: Vec<usize> = (0..key.columns.len()).collect();
            let found = parents(tx, key, &cells, &rows)?;
            let broken = waiting.iter().enumerate().filter(|(row, _)| !found.has(*row));
            orphans.extend(broken.map(|(_, pending)| (pending.row, reference)));
        }
        if !wants_more(orphans) {
            break;
        }
    }
    Ok(())
}

pub(super) fn table_of(tables: &[Staged], stage: u32) -> Option<&Staged> {
    tables.get(position(tables, stage)?)
}

fn position(tables: &[Staged], stage: u32) -> Option<usize> {
    tables.iter().position(|table| table.stage.number == stage)
}
