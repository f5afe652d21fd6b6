//! Applies records that are identified by their whole content: tables without a key, and rows with NULL in theirs.
//!
//! Such rows form a multiset: the same row may stand there several times, and afterwards it stands there as often as at the
//! sender, or as often as it did if that was more. The local rows are counted by a digest of their content once, into a table of
//! rowferry's own; each record then takes one of its count, or is inserted where none is left.

use std::collections::BTreeMap;
use std::ops::Range;

use super::dangling;
use super::transaction::{Transaction, key_of_record, misfit_of};
use super::written::Written;
use crate::domain::digest::RowDigest;
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::ledger::counts;
use crate::plan::{Identity, TablePlan};
use crate::store::{Change, PageBounds};

/// How much of the local table is counted at a time.
const COUNTED: PageBounds = PageBounds { rows: 50_000, bytes: 4 << 20 };

/// Records after which the pull can be cancelled.
const RUN: usize = 64;

/// Counts the local rows of a table without a key; where it has one, those with NULL in it. The counts stay for later
/// transactions of the pull.
pub(super) fn count(tx: &mut Transaction, plan: &TablePlan) -> Result<()> {
    let (sql, scope) = tx.state();
    counts::forget_table(sql, scope, &plan.table.name)?;
    let key: Option<&[usize]> = match &plan.identity {
        Identity::WholeRow => None,
        Identity::Key { columns, .. } => Some(columns),
    };
    let columns: Vec<usize> = plan.targets.iter().flatten().copied().collect();
    let (mut rows, mut after) = (Rows::default(), None);
    loop {
        tx.check_cancelled()?;
        let end = tx.writer.page(&plan.table, after.as_ref(), COUNTED, &mut rows)?;
        // Rows with NULL in the key come first.
        let counted = |row: &usize| {
            key.is_none_or(|key| key.iter().any(|column| rows.get(*row, *column).is_some_and(ValueRef::is_null)))
        };
        let wanted = (0..rows.len()).take_while(counted).count();
        let mut copies = BTreeMap::new();
        for row in 0..wanted {
            if let Some(digest) = digest(&rows, row, &columns) {
                *copies.entry(digest).or_insert(0) += 1;
            }
        }
        let (sql, scope) = tx.state();
        counts::add(sql, scope, &plan.table.name, &copies)?;
        if !end.more || wanted < rows.len() {
            return Ok(());
        }
        after = end.cursor;
    }
}

/// What stands for these columns of a row; `None` if it lacks one.
fn digest(rows: &Rows, row: usize, columns: &[usize]) -> Option<counts::Digest> {
    let mut digest = RowDigest::new();
    for column in columns {
        digest.value(rows.get(row, *column)?);
    }
    Some(digest.finish())
}

/// Applies records after the local rows were [counted](count). Each local row that was counted stands for one record; it is then
/// skipped, or unchanged under overwrite and merge. Equal is what has the same storage classes and bytes.
pub(super) fn apply(
    tx: &mut Transaction,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
    written: &mut Written,
) -> Result<()> {
    let columns: Vec<usize> = plan.targets.iter().flatten().copied().collect();
    let fitted = tx.fit(plan, rows, range.clone())?;
    for (number, row) in range.enumerate() {
        if number % RUN == 0 {
            tx.check_cancelled()?;
        }
        let key = || key_of_record(plan, rows, row);
        if let Some(failure) = misfit_of(plan, &fitted, number, key) {
            tally.fail(failure);
            continue;
        }
        // A record that lacks a column has no whole content to compare: it is new.
        if plan.strategy != Strategy::Append
            && let Some(digest) = digest(&fitted.rows, number, &columns)
        {
            let (sql, scope) = tx.state();
            if counts::take(sql, scope, &plan.table.name, &digest)? {
                match plan.strategy {
                    Strategy::Skip | Strategy::Append => tally.outcome.skipped += 1,
                    Strategy::Overwrite | Strategy::Merge => tally.outcome.unchanged += 1,
                }
                continue;
            }
        }
        match tx.write(&plan.table, Change::Insert, &fitted.rows, number)? {
            None => {
                tally.outcome.created += 1;
                written.add_inserted(row, &fitted.rows, number);
            }
            Some(refused) if refused.is_left_out => tally.outcome.skipped += 1,
            Some(refused) => {
                let failure = tx.failure_of(plan, key(), (&fitted.rows, number), refused)?;
                dangling::keep_new(tx, plan, (&fitted.rows, number), failure, tally)?;
            }
        }
    }
    Ok(())
}
