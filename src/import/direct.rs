//! Rows that are applied as they come, several batches a transaction while there are batches to be had.

use std::time::{Duration, Instant};

use super::{Import, NullKeys, route};
use crate::domain::record::{Failure, Outcome, Tally};
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
    kept: Tally,
    open: Option<Open>,
}

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
    since: Instant,
    rows: usize,
    bytes: usize,
}

impl Direct {
    pub(crate) fn new(import: &mut Import<'_>, plan: TablePlan) -> Result<Self> {
        let nulls = match &plan.identity {
            Identity::Key { nullable: true, incoming, .. } if !incoming.is_empty() => {
                Some(import.stage(plan.targets.len())?)
            }
            _ => None,
        };
        Ok(Direct { plan, nulls, kept: import.tally(), open: None })
    }

    /// What became of the records, as far as it was committed.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.kept.outcome
    }

    /// Applies a batch, with records that failed before they came here. It is kept with the next [`Direct::commit`], or on its
    /// own when the transaction has become large or old; on an error nothing since the last commit is kept.
    pub(crate) fn push(&mut self, import: &Import<'_>, rows: &Rows, failures: &[Failure]) -> Result<Lock> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let (writer, tally) = (import.writer()?, self.kept.clone());
                Open { writer, tally, since: Instant::now(), rows: 0, bytes: 0 }
            }
        };
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
            let pause = since.elapsed() * limits.lock_pause_percent / 100;
            let free = self.end_transaction(import)?;
            // The next transaction would follow at once, and nobody else would ever find the lock free.
            std::thread::sleep(pause.saturating_sub(free));
        }
        Ok(if full { Lock::Free } else { Lock::Held })
    }

    /// Keeps what was applied, and lets go of the database's lock.
    pub(crate) fn commit(&mut self, import: &Import<'_>) -> Result<()> {
        self.end_transaction(import).map(|_| ())
    }

    /// Commits. Gives how long the lock has been free since, while the store tidied up.
    fn end_transaction(&mut self, import: &Import<'_>) -> Result<Duration> {
        let Some(mut open) = self.open.take() else {
            return Ok(Duration::ZERO);
        };
        import.commit(&mut *open.writer)?;
        let committed = Instant::now();
        self.kept = open.tally;
        drop(open.writer);
        Ok(committed.elapsed())
    }

    /// Applies what had to wait, and keeps everything.
    pub(crate) fn finish(&mut self, import: &Import<'_>) -> Result<()> {
        self.commit(import)?;
        let Some(stage) = &self.nulls else {
            return Ok(());
        };
        let mut writer = import.writer()?;
        let mut tally = self.kept.clone();
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
        import.commit(&mut *writer)?;
        self.kept = tally;
        Ok(())
    }
}
