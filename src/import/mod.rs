//! Runs a plan against a store: incoming rows become rows of local tables, in transactions of bounded size.
//!
//! Rows whose key decides what becomes of them are applied as they come ([`direct`]). What cannot be decided page by page is
//! staged first and then applied by one transaction ([`staged`]): tables that refer to each other or to themselves, tables
//! without a key, and a dry run. Nothing here waits for a network: rows are received before a transaction begins.

use std::ops::Range;
use std::time::Duration;

use time::OffsetDateTime;

use crate::clock::Clock;
use crate::domain::record::Tally;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::plan::{Identity, TablePlan};
use crate::store::records::pulls;
use crate::store::{AppendKeys, PageBounds, Scope, Stage, Store, Writer, records};

mod direct;
mod staged;

pub(crate) use direct::{Direct, Lock};
pub(crate) use staged::{Finish, Staged, apply_group};

/// What the imports of one pull share: the store, and the scope of their stages and new keys.
///
/// A pull that is killed leaves its scope behind. So each transaction notes that the pull is alive, and the next pull drops
/// the scopes of those that have not for long. One that was only asleep learns of it in its next transaction, which then
/// comes to nothing: the note is checked in the same transaction that relies on the scope.
pub(crate) struct Import<'s> {
    store: &'s dyn Store,
    limits: &'s Limits,
    clock: &'s dyn Clock,
    scope: Scope,
    stages: u32,
    /// When [`Import::keep_alive`] last noted that the pull is alive.
    touched: OffsetDateTime,
}

/// How often a pull that only waits notes that it is alive.
const TOUCH: Duration = Duration::from_secs(60);

impl<'s> Import<'s> {
    pub(crate) fn new(store: &'s dyn Store, limits: &'s Limits, clock: &'s dyn Clock) -> Self {
        Import { store, limits, clock, scope: Scope::new(), stages: 0, touched: clock.now() }
    }

    /// Begins: drops what dead pulls left behind, and notes that this one runs.
    pub(crate) fn begin(&self) -> Result<()> {
        // What others left behind is in nobody's way; that it stays is no reason not to pull.
        if let Err(error) = self.drop_abandoned() {
            log::warn!("what a dead pull left behind stays: {error}");
        }
        records::write(self.store, |sql| pulls::begin(sql, &self.scope, self.clock.now()))
    }

    /// Drops the scopes of dead pulls, each in a transaction of its own. Gives how many there were.
    pub(crate) fn drop_abandoned(&self) -> Result<u64> {
        let age = time::Duration::try_from(self.limits.abandoned_time).ok();
        let Some(before) = age.and_then(|age| self.clock.now().checked_sub(age)) else {
            return Ok(0);
        };
        let mut dropped = 0;
        // A look first, which needs no write lock.
        while records::read(self.store, |sql| pulls::abandoned(sql, before))?.is_some() {
            let mut writer = self.store.writer()?;
            if let Some(scope) = pulls::abandoned(writer.state(), before)? {
                log::info!("dropping what the dead pull {} left behind", scope.as_str());
                writer.end_scope(&scope)?;
                pulls::end(writer.state(), &scope)?;
                dropped += 1;
            }
            writer.commit()?;
        }
        Ok(dropped)
    }

    /// Begins a transaction of this pull.
    pub(crate) fn writer(&self) -> Result<Box<dyn Writer>> {
        let mut writer = self.store.writer()?;
        self.touch(&mut *writer)?;
        Ok(writer)
    }

    /// Commits a transaction of this pull. The pull is noted as alive again, because the transaction may have taken long.
    fn commit(&self, writer: &mut dyn Writer) -> Result<()> {
        self.touch(writer)?;
        writer.commit()
    }

    /// Notes that a pull is alive which may wait for long without a transaction, if that was not done for a minute. To be called
    /// while the pull does not lock the database.
    pub(crate) fn keep_alive(&mut self) {
        let now = self.clock.now();
        if (now - self.touched).unsigned_abs() < TOUCH.min(self.limits.abandoned_time / 4) {
            return;
        }
        self.touched = now;
        // One that was taken for dead, or cannot write, learns of it in its next transaction.
        if let Err(error) = records::write(self.store, |sql| pulls::touch(sql, &self.scope, now)) {
            log::warn!("a running pull could not be noted as alive: {error}");
        }
    }

    fn touch(&self, writer: &mut dyn Writer) -> Result<()> {
        if pulls::touch(writer.state(), &self.scope, self.clock.now())? {
            return Ok(());
        }
        let seconds = self.limits.abandoned_time.as_secs_f64();
        let message = format!("the pull wrote nothing for {seconds} s, and another one took it for dead");
        Err(Error::new(ErrorKind::Timeout, message).with_hint("What was written stays; pull again to go on."))
    }

    fn tally(&self) -> Tally {
        Tally::new(self.limits.reported_failures)
    }

    /// Makes a stage, in a transaction of its own.
    fn stage(&mut self, width: usize) -> Result<Stage> {
        self.stages += 1;
        let stage = Stage { scope: self.scope.clone(), number: self.stages, width };
        let mut writer = self.writer()?;
        writer.stage_create(&stage)?;
        self.commit(&mut *writer)?;
        Ok(stage)
    }

    /// How much of a stage is read at a time.
    fn stage_bounds(&self) -> PageBounds {
        PageBounds { rows: self.limits.commit_rows.max(1), bytes: self.limits.batch_bytes }
    }

    /// Drops the stages and forgets the new keys.
    pub(crate) fn clean_up(&mut self) -> Result<()> {
        let mut writer = self.store.writer()?;
        writer.end_scope(&self.scope)?;
        pulls::end(writer.state(), &self.scope)?;
        writer.commit()
    }
}

/// What is done with rows of a keyed table whose key has NULL in it. They are applied behind all others.
#[derive(Clone, Copy)]
enum NullKeys<'a> {
    /// They wait in this stage.
    Stage(&'a Stage),
    /// They are left out: another pass over the same rows applies them.
    Leave,
    /// Only they are applied: the local ones were counted.
    Only,
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
                    (true, NullKeys::Stage(stage)) => writer.stage_append(stage, rows, range)?,
                    (true, NullKeys::Only) => writer.apply_whole(plan, scope, rows, range, tally)?,
                    (true, NullKeys::Leave) | (false, NullKeys::Only) => {}
                    (false, _) => writer.apply(plan, scope, rows, range, tally)?,
                }
            }
            Ok(())
        }
    }
}

/// Runs of rows with and without NULL in these columns. A row that lacks one of them counts as without: it has no key at all.
fn runs(rows: &Rows, columns: &[usize]) -> Vec<(Range<usize>, bool)> {
    let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
    for row in 0..rows.len() {
        let key = || columns.iter().map(|at| rows.get(row, *at));
        let has_null = key().all(|cell| cell.is_some()) && key().flatten().any(ValueRef::is_null);
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
