//! Rows that wait in stages until all of them are there. [`group`](super::group) then applies them by one transaction.

use super::late::Late;
use super::transaction::{Transaction, tally};
use crate::domain::record::{Failure, Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::domain::verified::Verified;
use crate::error::Result;
use crate::ledger::stages::{self, Stage};
use crate::ledger::{Checkpoint, Ledger, Reached, Step};
use crate::plan::{Identity, TablePlan};
use crate::store::PageBounds;

/// How much of a stage is applied at a time.
const PAGE: PageBounds = PageBounds { rows: 10_000, bytes: 4 << 20 };

/// One table of a group, staged.
pub(crate) struct Staged {
    pub(super) plan: TablePlan,
    pub(super) stage: Stage,
    /// Whether the table is here while rows are staged: a dry run makes missing tables only afterwards.
    pub(super) is_here: bool,
    /// How far it is, as far as it was committed.
    pub(super) kept: Checkpoint,
    /// What failed before anything was applied, or had to be left out.
    pub(super) failed: Tally,
    pub(super) applied: Outcome,
    /// Failures that were committed, or tried, and are not told yet.
    pub(super) untold: Vec<Failure>,
    /// Whether some of its records wait for other tables.
    pub(super) is_late: bool,
    pub(super) reported_failures: usize,
}

/// What is done with a page of staged rows: with their numbers, and that of the last row that was looked at.
type OnPage<'w> = dyn FnMut(&mut Transaction, &Rows, &[i64], i64) -> Result<()> + 'w;

/// How a group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Its transaction is committed.
    Commit,
    /// Its transaction continues, and its rows stay visible in it: a dry run.
    Keep,
}

impl Staged {
    /// Resumes from a checkpoint; its rows lie in this stage.
    pub(crate) fn new(ledger: &Ledger<'_>, plan: TablePlan, stage: Stage, checkpoint: Checkpoint, is_here: bool) -> Self {
        Staged {
            plan,
            stage,
            is_here,
            failed: tally(ledger, &checkpoint.outcome),
            kept: checkpoint,
            applied: Outcome::default(),
            untold: Vec::new(),
            is_late: false,
            reported_failures: ledger.limits().pull.reported_failures,
        }
    }

    /// Stages a batch, in a transaction of its own, with how far it `reached`. `failures` are records that failed before they
    /// came here.
    pub(crate) fn push(&mut self, ledger: &Ledger<'_>, rows: &Rows, failures: &[Failure], reached: &Reached) -> Result<()> {
        failures.iter().for_each(|failure| self.failed.fail(failure.clone()));
        let mut checkpoint = self.kept.clone();
        checkpoint.reach(reached);
        checkpoint.outcome.clone_from(&self.failed.outcome);
        checkpoint.lacks_parents |= self.failed.lacks_parents;
        let mut tx = Transaction::begin(ledger)?;
        if self.is_here {
            tx.compare_table(&self.plan)?;
        }
        stages::append(tx.state().0, &self.stage, rows, 0..rows.len())?;
        ledger.put_checkpoint(&mut *tx.writer, &checkpoint)?;
        tx.commit(ledger)?;
        self.kept = checkpoint;
        self.untold.extend(self.failed.untold());
        Ok(())
    }

    /// The failures since this was asked last, if they are told one by one.
    pub(crate) fn untold(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.untold)
    }

    /// All rows are there, and so much is known of them: they need not be fetched again, whatever becomes of them.
    pub(crate) fn complete(&mut self, ledger: &Ledger<'_>, verified: Verified) -> Result<()> {
        if self.kept.step == Step::Fetching {
            let checkpoint = Checkpoint { step: Step::Staged, verified, ..self.kept.clone() };
            ledger.note_checkpoint(&checkpoint)?;
            self.kept = checkpoint;
        }
        Ok(())
    }

    /// How far it is, as far as it was committed.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.kept
    }

    /// What became of the records.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = self.failed.outcome.clone();
        outcome.add(self.applied.clone(), self.reported_failures);
        outcome
    }

    /// The rest of the table, if records of it wait for other tables.
    pub(crate) fn late(&self) -> Option<Late> {
        let checkpoint = Checkpoint { outcome: self.outcome(), ..self.kept.clone() };
        self.is_late.then(|| Late::new(self.plan.clone(), self.stage.clone(), checkpoint))
    }

    pub(super) fn is_multiset(&self) -> bool {
        self.has_null_keys() || (self.plan.strategy != Strategy::Append && self.plan.identity == Identity::WholeRow)
    }

    pub(super) fn has_null_keys(&self) -> bool {
        self.plan.strategy != Strategy::Append && matches!(self.plan.identity, Identity::Key { nullable: true, .. })
    }

    /// Whether its records can be applied a second time: by their keys, each on its own.
    pub(super) fn may_be_repeated(&self) -> bool {
        let is_keyed = matches!(self.plan.identity, Identity::Key { .. });
        let changes = matches!(self.plan.strategy, Strategy::Overwrite | Strategy::Merge);
        // What a rule made of a row is not its record, which would change it again.
        is_keyed && changes && !self.plan.keys_may_meet && !self.has_null_keys() && !self.plan.asks
    }

    /// Whether records of the table get new keys, and these are the columns of the key.
    pub(super) fn appends_key(&self, columns: &[usize]) -> bool {
        let is_key =
            matches!(&self.plan.identity, Identity::Key { columns: key, .. } if key.iter().all(|at| columns.contains(at)));
        self.plan.strategy == Strategy::Append && is_key
    }
}

/// Gives each page of the rows of a stage to `work`, with their numbers and that of the last one.
pub(super) fn each_page(stage: &Stage, tx: &mut Transaction, work: &mut OnPage<'_>) -> Result<()> {
    let (mut rows, mut numbers, mut after) = (Rows::default(), Vec::new(), 0);
    loop {
        tx.check_cancelled()?;
        let Some(last) = stages::page(tx.state().0, stage, after, PAGE, &mut rows, &mut numbers)? else {
            return Ok(());
        };
        after = last;
        work(tx, &rows, &numbers, last)?;
    }
}
