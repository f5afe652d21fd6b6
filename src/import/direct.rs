//! Rows that are applied as they come, a batch a transaction.

use super::{Import, NullKeys, route};
use crate::domain::record::{Failure, Outcome, Tally};
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::{AppendKeys, Stage};

/// The import of one table.
pub(crate) struct Direct {
    plan: TablePlan,
    /// Where rows with NULL in their key wait: they are compared with all such rows here, so all must be known.
    nulls: Option<Stage>,
    tally: Tally,
}

impl Direct {
    pub(crate) fn new(import: &mut Import<'_>, plan: TablePlan) -> Result<Self> {
        let nulls = match &plan.identity {
            Identity::Key { nullable: true, incoming, .. } if !incoming.is_empty() => {
                Some(import.stage(plan.targets.len())?)
            }
            _ => None,
        };
        Ok(Direct { plan, nulls, tally: import.tally() })
    }

    /// What was counted so far.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.tally.outcome
    }

    /// Counts a record that failed before it came here.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.tally.fail(failure);
    }

    /// Applies a batch in one transaction: all of it, or (on an error) nothing.
    pub(crate) fn push(&mut self, import: &Import<'_>, rows: &Rows) -> Result<()> {
        let mut writer = import.store.writer()?;
        // The counts of a batch that is rolled back do not count.
        let mut tally = self.tally.clone();
        let nulls = self.nulls.as_ref().map_or(NullKeys::Leave, NullKeys::Stage);
        route(&mut *writer, &self.plan, &import.scope, AppendKeys::Make, nulls, rows, &mut tally)?;
        writer.commit()?;
        self.tally = tally;
        Ok(())
    }

    /// Applies what had to wait.
    pub(crate) fn finish(&mut self, import: &Import<'_>) -> Result<()> {
        let Some(stage) = &self.nulls else {
            return Ok(());
        };
        let mut writer = import.store.writer()?;
        let mut tally = self.tally.clone();
        let (mut rows, mut numbers, mut after, mut counted) = (Rows::default(), Vec::new(), 0, false);
        loop {
            writer.stage_page(stage, after, import.stage_bounds(), &mut rows, &mut numbers)?;
            let Some(last) = numbers.last() else {
                break;
            };
            after = *last;
            if !counted {
                writer.count_whole(&self.plan, &import.scope)?;
                counted = true;
            }
            writer.apply_whole(&self.plan, &import.scope, &rows, 0..rows.len(), &mut tally)?;
        }
        writer.commit()?;
        self.tally = tally;
        Ok(())
    }
}
