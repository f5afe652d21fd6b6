//! Rows that are applied as they come.

use super::append::Keys;
use super::late::Late;
use super::multiset;
use super::received::Received;
use super::route::{NullKeys, Way, apply, route};
use super::transaction::tally;
use super::waits;
use super::writing::Writing;
use super::written::{Written, may_wait};
use super::{by_key, exchange};
use crate::domain::record::{Failure, Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::domain::verified::Verified;
use crate::error::Result;
use crate::ledger::stages::{self, Stage};
use crate::ledger::{Checkpoint, Ledger, Reached, Step, waiting};
use crate::plan::{Identity, TablePlan};
use crate::state;
use crate::store::{PageBounds, Sql};

/// The import of one table.
pub(crate) struct Direct {
    plan: TablePlan,
    /// Where rows with NULL in their key wait, which are compared with all such rows here, so that all must be known; its number is
    /// also that of the records that wait for unique values.
    stage: Option<Stage>,
    /// What was committed.
    kept: Checkpoint,
    /// What the transaction in progress adds.
    pending: Option<Pending>,
    /// The keys of its records.
    received: Received,
    /// Whether records wait for other tables.
    is_late: bool,
    /// Failures that were committed and are not told yet.
    untold: Vec<Failure>,
}

struct Pending {
    tally: Tally,
    checkpoint: Checkpoint,
}

impl Direct {
    /// Resumes from a checkpoint. `stage` is its stage, if it [needs one](Direct::needs_stage).
    pub(crate) fn new(plan: TablePlan, stage: Option<Stage>, checkpoint: Checkpoint) -> Self {
        let received = Received::of(&plan, checkpoint.records == 0);
        Direct { plan, stage, kept: checkpoint, pending: None, received, is_late: false, untold: Vec::new() }
    }

    /// Whether rows of a table may have to wait.
    pub(crate) fn needs_stage(plan: &TablePlan) -> bool {
        has_nulls(plan) || may_wait(plan)
    }

    /// Whether records wait: for unique values, and for other tables. Those of the transaction in progress are included.
    fn waits(&self, ledger: &Ledger<'_>, writing: &mut Writing<'_>) -> Result<(bool, bool)> {
        let Some(stage) = self.stage.as_ref().filter(|_| may_wait(&self.plan)) else {
            return Ok((false, false));
        };
        let look = |sql: &mut dyn Sql| Ok((waiting::first(sql, stage)?.is_some(), waiting::is_late(sql, stage)?));
        match writing.open_tx() {
            Some(tx) => look(tx.state().0),
            None => state::read(ledger.store(), look),
        }
    }

    /// The rest of the table, if records of it wait for other tables when it is finished.
    pub(crate) fn late(&self) -> Option<Late> {
        let stage = self.stage.clone().filter(|_| self.is_late)?;
        Some(Late::new(self.plan.clone(), stage, self.kept.clone()))
    }

    /// How far it is, as far as it was committed.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.kept
    }

    /// What became of the records, as far as it was committed.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.kept.outcome
    }

    /// What became of the records, with what the transaction in progress adds.
    pub(crate) fn current_outcome(&self) -> &Outcome {
        self.pending.as_ref().map_or(&self.kept.outcome, |pending| &pending.tally.outcome)
    }

    /// Whether records wait for other tables, once it is finished.
    pub(crate) fn is_late(&self) -> bool {
        self.is_late
    }

    /// Whether the transaction in progress has something of it.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// How far it is with the transaction in progress, if that has something of it.
    pub(super) fn pending_checkpoint(&self) -> Option<Checkpoint> {
        let Pending { tally, checkpoint } = self.pending.as_ref()?;
        let lacks_parents = checkpoint.lacks_parents | tally.lacks_parents;
        Some(Checkpoint { outcome: tally.outcome.clone(), lacks_parents, ..checkpoint.clone() })
    }

    /// That was committed.
    pub(super) fn keep(&mut self, checkpoint: Checkpoint) {
        self.kept = checkpoint;
        self.untold.extend(self.pending.take().map(|mut pending| pending.tally.untold()).unwrap_or_default());
    }

    /// The failures that were committed since this was asked last, if they are told one by one.
    pub(crate) fn untold(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.untold)
    }

    /// What it wrote since the last commit is undone.
    pub(crate) fn undo(&mut self) {
        self.pending = None;
    }

    fn pending(&mut self, ledger: &Ledger<'_>) -> &mut Pending {
        let kept = &self.kept;
        self.pending.get_or_insert_with(|| Pending { tally: tally(ledger, &kept.outcome), checkpoint: kept.clone() })
    }

    /// Applies a batch, with records that failed before they came here, as part of the transaction in progress, with how far it
    /// `reached`. On an error nothing that the table wrote since the last commit is to be kept.
    pub(crate) fn push<'r>(
        &mut self,
        ledger: &Ledger<'r>,
        writing: &mut Writing<'r>,
        rows: &Rows,
        failures: &[Failure],
        reached: &Reached,
    ) -> Result<()> {
        let tx = writing.tx(ledger)?;
        let nulls = self.stage.as_ref().map_or(NullKeys::Leave, NullKeys::Stage);
        let mut written = match self.stage {
            Some(_) => Written::ignored().and_waiting(&self.plan),
            None => Written::ignored(),
        };
        written.received = match failures {
            [] => std::mem::take(&mut self.received),
            _ => Received::unknown(),
        };
        let kept = &self.kept;
        let pending =
            self.pending.get_or_insert_with(|| Pending { tally: tally(ledger, &kept.outcome), checkpoint: kept.clone() });
        pending.checkpoint.reach(reached);
        pending.checkpoint.step = Step::Fetching;
        failures.iter().for_each(|failure| pending.tally.fail(failure.clone()));
        by_key::expect(tx, &self.plan, rows, self.kept.announced);
        route(tx, &self.plan, Keys::Make, nulls, rows, &mut pending.tally, &mut written)?;
        self.received = std::mem::take(&mut written.received);
        if let Some(stage) = &self.stage {
            waits::keep(tx, &self.plan, stage, &[], &written)?;
        }
        writing.add(rows);
        Ok(())
    }

    /// All records are there, and so much is known of them: applies what had to wait. It is kept by the next commit.
    pub(crate) fn finish<'r>(&mut self, ledger: &Ledger<'r>, writing: &mut Writing<'r>, verified: Verified) -> Result<()> {
        self.pending.as_mut().map_or(&mut self.kept, |pending| &mut pending.checkpoint).verified = verified;
        let (waits, late) = self.waits(ledger, writing)?;
        self.is_late = late;
        let waits = waits || (has_nulls(&self.plan) && self.stage.is_some());
        let done = |late| if late { Step::Fetching } else { Step::Done };
        let Some(stage) = self.stage.clone().filter(|_| waits) else {
            if !late && !self.kept.indexes.is_empty() {
                // They are made with the commit that says that the table is done.
                writing.tx(ledger)?;
                self.pending(ledger);
            }
            match &mut self.pending {
                Some(pending) => pending.checkpoint.step = done(late),
                // Nothing is written for that alone: it is known again when nothing comes after the last row.
                None => self.kept.step = done(late),
            }
            return Ok(());
        };
        let tx = writing.tx(ledger)?;
        tx.compare_table(&self.plan)?;
        let whole = self.pending(ledger).checkpoint.clone();
        self.received.if_whole(&whole);
        if !ledger.keeps_keys() {
            // What a host imports need not be all that there is.
            self.received = Received::unknown();
        }
        let mut counts = std::mem::replace(&mut self.pending(ledger).tally, Tally::new(0));
        exchange::settle(tx, &self.plan, &stage, &mut counts, &Written::ignored, &mut self.received, None)?;
        let (mut rows, mut numbers, mut after) = (Rows::default(), Vec::new(), 0);
        let limits = ledger.limits();
        let bounds = PageBounds { rows: limits.pull.commit_rows.max(1), bytes: limits.pull.batch_bytes };
        let mut counted = whole.counted;
        while let Some(last) = stages::page(tx.state().0, &stage, after, bounds, &mut rows, &mut numbers)? {
            after = last;
            // Where some were applied before, the counts are what those left.
            if !counted {
                multiset::count(tx, &self.plan)?;
                counted = true;
            }
            let mut written = Written::ignored();
            apply(tx, &self.plan, Way::Multiset, &rows, 0..rows.len(), &mut counts, &mut written)?;
            stages::remove_to(tx.state().0, &stage, last)?;
        }
        self.is_late = waiting::is_late(tx.state().0, &stage)?;
        let step = done(self.is_late);
        let pending = self.pending(ledger);
        (pending.tally, pending.checkpoint.counted, pending.checkpoint.step) = (counts, counted, step);
        Ok(())
    }
}

/// Whether rows with NULL in their key may come.
fn has_nulls(plan: &TablePlan) -> bool {
    plan.strategy != Strategy::Append
        && matches!(&plan.identity, Identity::Key { nullable: true, incoming, .. } if !incoming.is_empty())
}
