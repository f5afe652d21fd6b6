//! Rows that are applied as they come, several batches a transaction while there are batches to be had.

use std::time::{Duration, Instant};

use super::{Import, Mark, NullKeys, Reached, Step, route};
use crate::domain::record::{Failure, Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::{AppendKeys, Stage, Writer};

/// The import of one table.
pub(crate) struct Direct {
    plan: TablePlan,
    /// Where rows with NULL in their key wait: they are compared with all such rows here, so all must be known.
    nulls: Option<Stage>,
    /// What was committed.
    kept: Mark,
    open: Option<Open>,
    /// For how long the lock is yet to be left to others.
    owed: Duration,
}

/// Who waits for the lock as SQLite does looks again every tenth of a second at last, and more often at first.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Whether a transaction is left open, and others cannot write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Held,
    Free,
}

/// The transaction in progress, and what it adds.
struct Open {
    writer: Box<dyn Writer>,
    tally: Tally,
    mark: Mark,
    since: Instant,
    rows: usize,
    bytes: usize,
}

impl Direct {
    /// Goes on from a mark. `nulls` is its stage, if it [needs one](Direct::needs_stage).
    pub(crate) fn new(plan: TablePlan, nulls: Option<Stage>, mark: Mark) -> Self {
        Direct { plan, nulls, kept: mark, open: None, owed: Duration::ZERO }
    }

    /// Whether rows of a table may have to wait.
    pub(crate) fn needs_stage(plan: &TablePlan) -> bool {
        plan.strategy != Strategy::Append
            && matches!(&plan.identity, Identity::Key { nullable: true, incoming, .. } if !incoming.is_empty())
    }

    /// How far it is, as far as it was committed.
    pub(crate) fn mark(&self) -> &Mark {
        &self.kept
    }

    /// What became of the records, as far as it was committed.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.kept.outcome
    }

    /// Applies a batch, with records that failed before they came here. It is kept, with how far it `reached`, by the next
    /// [`Direct::commit`], or on its own when the transaction has become large or old; on an error nothing since the last
    /// commit is kept.
    pub(crate) fn push(
        &mut self,
        import: &Import<'_>,
        rows: &Rows,
        failures: &[Failure],
        reached: &Reached,
    ) -> Result<Lock> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let (tally, mark) = (import.tally(&self.kept.outcome), self.kept.clone());
                Open { writer: import.writer()?, tally, mark, since: Instant::now(), rows: 0, bytes: 0 }
            }
        };
        open.mark.reach(reached);
        open.mark.step = Step::Fetching;
        failures.iter().for_each(|failure| open.tally.fail(failure.clone()));
        let nulls = self.nulls.as_ref().map_or(NullKeys::Leave, NullKeys::Stage);
        route(&mut *open.writer, &self.plan, &import.scope, AppendKeys::Make, nulls, rows, &mut open.tally)?;
        open.rows += rows.len();
        open.bytes += rows.size_bytes();
        let limits = import.limits;
        let full = open.rows >= limits.commit_rows
            || open.bytes >= limits.commit_bytes
            || open.since.elapsed() >= limits.commit_time;
        let since = open.since;
        self.open = Some(open);
        if full {
            self.owed += since.elapsed() * limits.lock_pause_percent / 100;
            let free = self.end_transaction(import)?;
            // The next transaction would follow at once, and nobody else would ever find the lock free. A pause that is too
            // short to be found would be of no use.
            let least = if limits.lock_pause_time.is_zero() { LEAST_PAUSE } else { limits.lock_pause_time };
            if self.owed >= least || !limits.lock_pause_time.is_zero() {
                std::thread::sleep(self.owed.max(least).saturating_sub(free));
                self.owed = Duration::ZERO;
            }
        }
        Ok(if full { Lock::Free } else { Lock::Held })
    }

    /// Keeps what was applied and how far it is, and lets go of the database's lock.
    pub(crate) fn commit(&mut self, import: &Import<'_>) -> Result<()> {
        self.end_transaction(import).map(|_| ())
    }

    /// Commits. Gives how long the lock has been free since, while the store tidied up.
    fn end_transaction(&mut self, import: &Import<'_>) -> Result<Duration> {
        let Some(mut open) = self.open.take() else {
            return Ok(Duration::ZERO);
        };
        open.mark.outcome = open.tally.outcome;
        import.put_mark(&mut *open.writer, &open.mark)?;
        import.commit(&mut *open.writer)?;
        let committed = Instant::now();
        self.kept = open.mark;
        drop(open.writer);
        Ok(committed.elapsed())
    }

    /// Applies what had to wait, and keeps everything.
    pub(crate) fn finish(&mut self, import: &Import<'_>) -> Result<()> {
        if let (None, Some(open)) = (&self.nulls, &mut self.open) {
            open.mark.step = Step::Done;
        }
        self.commit(import)?;
        let Some(stage) = &self.nulls else {
            // Nothing is to be written for that alone: it is known again when nothing comes behind the last row.
            self.kept.step = Step::Done;
            return Ok(());
        };
        let mut writer = import.writer()?;
        let (mut tally, mut mark) = (import.tally(&self.kept.outcome), self.kept.clone());
        let (mut rows, mut numbers) = (Rows::default(), Vec::new());
        loop {
            writer.stage_page(stage, mark.applied, import.stage_bounds(), &mut rows, &mut numbers)?;
            let Some(last) = numbers.last() else {
                break;
            };
            // Where some were applied before, the counts are what those left.
            if mark.applied == 0 {
                writer.count_whole(&self.plan, &import.scope)?;
            }
            mark.applied = *last;
            writer.apply_whole(&self.plan, &import.scope, &rows, 0..rows.len(), &mut tally)?;
        }
        mark.outcome = tally.outcome;
        mark.step = Step::Done;
        import.put_mark(&mut *writer, &mark)?;
        import.commit(&mut *writer)?;
        self.kept = mark;
        Ok(())
    }
}
