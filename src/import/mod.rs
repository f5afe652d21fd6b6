//! Runs a plan against a store: incoming rows become rows of local tables, in transactions of bounded size.
//!
//! Rows whose key decides what becomes of them are applied as they come ([`direct`]). What cannot be decided page by page is
//! staged first and then applied by one transaction ([`staged`]): tables that refer to each other or to themselves, tables
//! without a key, and a dry run. Nothing here waits for a network: rows are received before a transaction begins.

use std::ops::Range;

use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::limits::Limits;
use crate::plan::{Identity, TablePlan};
use crate::store::{AppendKeys, PageBounds, Scope, Stage, Store, Writer};

mod direct;
mod staged;

pub(crate) use direct::Direct;
pub(crate) use staged::{Finish, Staged, apply_group};

/// What the imports of one pull share: the store, and the scope of their stages and new keys. Dropping it cleans up.
pub(crate) struct Import<'s> {
    store: &'s dyn Store,
    limits: &'s Limits,
    scope: Scope,
    stages: u32,
}

impl<'s> Import<'s> {
    pub(crate) fn new(store: &'s dyn Store, limits: &'s Limits) -> Self {
        Import { store, limits, scope: Scope::new(), stages: 0 }
    }

    fn tally(&self) -> Tally {
        Tally::new(self.limits.reported_failures)
    }

    /// Makes a stage, in a transaction of its own.
    fn stage(&mut self, width: usize) -> Result<Stage> {
        self.stages += 1;
        let stage = Stage { scope: self.scope.clone(), number: self.stages, width };
        let mut writer = self.store.writer()?;
        writer.stage_create(&stage)?;
        writer.commit()?;
        Ok(stage)
    }

    /// How much of a stage is read at a time.
    fn stage_bounds(&self) -> PageBounds {
        PageBounds { rows: self.limits.commit_rows, bytes: self.limits.batch_bytes }
    }

    /// Drops the stages and forgets the new keys.
    pub(crate) fn clean_up(&mut self) -> Result<()> {
        let mut writer = self.store.writer()?;
        writer.end_scope(&self.scope)?;
        writer.commit()
    }
}

/// Where rows of a keyed table go whose key has NULL in it.
#[derive(Clone, Copy)]
enum NullKeys<'a> {
    /// They are applied at once: the local ones were counted.
    Apply,
    /// They wait in this stage.
    Stage(&'a Stage),
}

/// Gives each row to what can apply it.
fn route(
    writer: &mut dyn Writer,
    plan: &TablePlan,
    scope: &Scope,
    keys: AppendKeys,
    nulls: NullKeys<'_>,
    rows: &Rows,
    tally: &mut Tally,
) -> Result<()> {
    if plan.strategy == Strategy::Append {
        return writer.append(plan, scope, keys, rows, 0..rows.len(), tally);
    }
    match &plan.identity {
        Identity::WholeRow => writer.apply_whole(plan, scope, rows, 0..rows.len(), tally),
        Identity::Key { nullable: false, .. } => writer.apply(plan, scope, rows, 0..rows.len(), tally),
        Identity::Key { incoming, .. } => {
            for (range, has_null) in runs(rows, incoming) {
                match (has_null, nulls) {
                    (false, _) => writer.apply(plan, scope, rows, range, tally)?,
                    (true, NullKeys::Apply) => writer.apply_whole(plan, scope, rows, range, tally)?,
                    (true, NullKeys::Stage(stage)) => writer.stage_append(stage, rows, range)?,
                }
            }
            Ok(())
        }
    }
}

/// Runs of rows with and without NULL in these columns.
fn runs(rows: &Rows, columns: &[usize]) -> Vec<(Range<usize>, bool)> {
    let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
    for row in 0..rows.len() {
        let has_null = columns.iter().any(|at| rows.get(row, *at).is_some_and(ValueRef::is_null));
        match runs.last_mut() {
            Some((range, same)) if *same == has_null => range.end = row + 1,
            _ => runs.push((row..row + 1, has_null)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_all_rows_in_order() {
        let mut rows = Rows::new(1);
        for value in [ValueRef::Integer(1), ValueRef::Integer(2), ValueRef::Null, ValueRef::Null, ValueRef::Integer(3)] {
            rows.push([value]);
        }
        assert_eq!(runs(&rows, &[0]), [(0..2, false), (2..4, true), (4..5, false)]);
        assert_eq!(runs(&Rows::new(1), &[0]), []);
    }
}
