//! Runs a plan against a store: incoming rows become rows of local tables, in transactions of bounded size.
//!
//! Rows whose key decides what becomes of them are applied as they come ([`direct`]). What cannot be decided page by page is
//! staged first and then applied by one transaction ([`staged`]): tables that refer to each other or to themselves, tables
//! without a key, and a dry run. Nothing here waits for a network: rows are received before a transaction begins.
//!
//! What a row means is known here, once for every store, and [`route`] gives each record to what knows it: [`row_by_row`] for keys,
//! [`taken`] for keys that are one here only, [`multiset`] for rows without one; [`append`], [`append_keys`], [`new_key`] and
//! [`unique_match`] for new keys, [`remap`] for what refers to them; [`waits`], [`exchange`] and [`park`] for unique values that move,
//! [`late`] for those that rows of other tables refer to; [`orphans`] and [`descendants`] for references. A store gives the
//! primitives, and a bulk apply if it has one.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::cancel::Patience;
use crate::clock::Clock;
use crate::domain::names::NameRules;
use crate::domain::record::{Outcome, Tally};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::pulls::{self, Touched};
use crate::ledger::stages::{self, Stage};
use crate::ledger::{Scope, checkpoints, forget_scope, taken_keys, waiting};
use crate::limits::Limits;
use crate::state;
use crate::store::{PageBounds, Store, Writer};

mod append;
mod append_keys;
mod descendants;
mod direct;
mod exchange;
mod known;
pub(crate) mod late;
mod multiset;
mod new_key;
mod orphans;
mod park;
mod pause;
mod received;
mod remap;
mod resume;
mod route;
mod row_by_row;
mod staged;
mod taken;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod transaction;
mod unique_match;
mod waits;

pub(crate) use crate::ledger::checkpoints::{Appended, Checkpoint, Step};
pub(crate) use direct::{Direct, Lock};
use pause::Pauses;
use resume::Running;
pub(crate) use staged::{Finish, Staged, apply_group};
pub(crate) use transaction::Transaction;

/// What the imports of one pull share: the store, and the scope of their stages, new keys and marks.
///
/// The scope of a pull that is killed stays. The next one from the same sender takes it over and resumes where its marks
/// say; when none comes for long, it is dropped. So each transaction notes that the pull is alive, and its own: one that was only
/// asleep, or that another process has taken over, learns of it in its next transaction, which then comes to nothing.
pub(crate) struct Import<'s> {
    store: &'s dyn Store,
    limits: &'s Limits,
    clock: &'s dyn Clock,
    patience: Patience,
    scope: Scope,
    /// Keeps others in this process from going on with the scope.
    _running: Option<Running>,
    /// This run of the pull.
    owner: String,
    /// Who the rows come from, if marks are kept.
    sender: Option<String>,
    /// Whose keys are kept, if they are for longer than the pull.
    kept: Option<Scope>,
    stages: u32,
    pauses: Pauses,
    /// When [`Import::keep_alive`] last noted that the pull is alive.
    touched: OffsetDateTime,
}

/// How often a pull that only waits notes that it is alive.
const TOUCH: Duration = Duration::from_secs(60);

/// A pull that did not note it for so long was killed, or sleeps.
const SILENT: time::Duration = time::Duration::seconds(2 * TOUCH.as_secs() as i64);

/// A place in the sender's table, and what it took to get there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    /// Records received up to here.
    pub(crate) records: u64,
    /// The sender's word for the place, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// Whether the pull can go on from here.
    pub(crate) continues: bool,
    /// The size of the pages up to here.
    pub(crate) bytes: u64,
    /// The numbers of the sender's snapshots that they came from.
    pub(crate) states: Vec<u64>,
}

impl Checkpoint {
    /// Moves on to a place.
    fn reach(&mut self, reached: &Reached) {
        self.records = reached.records;
        self.place.clone_from(&reached.place);
        self.continues = reached.continues;
        self.bytes = reached.bytes;
        self.states.clone_from(&reached.states);
    }
}

/// What is left of a pull that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It can be resumed.
    CutOff,
    /// It is over, but rows that have yet to come follow new keys of appended ones.
    Followed,
    /// It can be resumed if something came of a table that is not done.
    Open,
}

impl<'s> Import<'s> {
    pub(crate) fn new(store: &'s dyn Store, limits: &'s Limits, clock: &'s dyn Clock, patience: Patience) -> Self {
        let scope = Scope::new();
        Import {
            store,
            limits,
            clock,
            patience,
            _running: Running::claim(&scope),
            scope,
            owner: Uuid::new_v4().simple().to_string(),
            sender: None,
            kept: None,
            stages: 0,
            pauses: Pauses::default(),
            touched: clock.now(),
        }
    }

    /// What records of this sender become is kept for later pulls.
    pub(crate) fn keep_keys_of(&mut self, sender: &str) {
        self.kept = Some(Scope::named(sender.to_owned()));
    }

    /// Whose keys and counts of appended rows are kept.
    pub(crate) fn kept(&self) -> &Scope {
        self.kept.as_ref().unwrap_or(&self.scope)
    }

    /// Begins the first transaction of the pull: drops what dead pulls left behind before.
    pub(crate) fn open(&self) -> Result<Box<dyn Writer>> {
        // What others left behind is in nobody's way; that it stays is no reason not to pull.
        if let Err(error) = self.drop_abandoned() {
            log::warn!("what a dead pull left behind stays: {error}");
        }
        self.store.writer()
    }

    /// Notes that the pull runs. With a sender it resumes one that was interrupted before one of the wanted tables (folded names)
    /// was done, if there is one: gives that one's marks.
    pub(crate) fn begin(
        &mut self,
        writer: &mut dyn Writer,
        sender: Option<&str>,
        wanted: &[(String, Strategy)],
    ) -> Result<Vec<Checkpoint>> {
        let (sql, now) = (writer.state(), self.clock.now());
        self.sender = sender.map(str::to_owned);
        if let Some(sender) = sender
            && let Some((pull, running)) = resume::find(sql, sender, wanted, now.checked_sub(SILENT))?
        {
            log::info!("going on with the pull {} that was cut off", pull.scope.as_str());
            pulls::take_over(sql, &pull.scope, &self.owner, now)?;
            (self.scope, self.stages, self._running) = (pull.scope, pull.stages, Some(running));
            return checkpoints::of_scope(sql, &self.scope);
        }
        pulls::begin(sql, &self.scope, sender, &self.owner, now)?;
        Ok(Vec::new())
    }

    /// Drops the scopes of dead pulls, each in a transaction of its own. Gives how many there were.
    pub(crate) fn drop_abandoned(&self) -> Result<u64> {
        let earlier = |age| self.clock.now().checked_sub(time::Duration::try_from(age).ok()?);
        let (before, alone) = (earlier(self.limits.resume_time), earlier(self.limits.abandoned_time));
        let mut dropped = 0;
        // A look first, which needs no write lock.
        while state::read(self.store, |sql| pulls::abandoned(sql, before, alone))?.is_some() {
            let mut writer = self.store.writer()?;
            if let Some((scope, sender)) = pulls::abandoned(writer.state(), before, alone)? {
                log::info!("dropping what the dead pull {} left behind", scope.as_str());
                self.drop_pull(&mut *writer, &scope, sender.as_deref())?;
                dropped += 1;
            }
            writer.commit()?;
        }
        Ok(dropped)
    }

    /// Drops what a pull kept for itself, but for what it appended.
    fn drop_pull(&self, writer: &mut dyn Writer, scope: &Scope, sender: Option<&str>) -> Result<()> {
        if let Some(sender) = sender {
            let kept = checkpoints::of_scope(writer.state(), scope)?;
            checkpoints::remember_appends(writer.state(), sender, &kept, self.names(), self.clock.now())?;
        }
        forget_scope(writer.state(), scope)?;
        pulls::end(writer.state(), scope)
    }

    /// Begins a transaction of this pull, once others had their turn.
    pub(crate) fn transaction(&self) -> Result<Transaction> {
        self.pauses.wait(self.limits);
        let mut writer = self.store.writer()?;
        self.pauses.begin();
        self.touch(&mut *writer)?;
        Ok(Transaction::new(writer, self.scope.clone(), self.kept().clone(), self.patience.clone()))
    }

    /// Commits a transaction of this pull. The pull is noted as alive again, because the transaction may have taken long.
    fn commit(&self, tx: &mut Transaction) -> Result<()> {
        tx.keep_came()?;
        self.touch(&mut *tx.writer)?;
        tx.writer.commit()?;
        self.pauses.end();
        Ok(())
    }

    /// Notes that a pull is alive which may wait for long without a transaction, if that was not done for a minute. To be called
    /// while the pull does not lock the database.
    pub(crate) fn keep_alive(&mut self) {
        let now = self.clock.now();
        let often = TOUCH.min(self.limits.abandoned_time / 4).min(self.limits.resume_time / 4);
        if (now - self.touched).unsigned_abs() < often {
            return;
        }
        self.touched = now;
        // One that was taken for dead, or cannot write, learns of it in its next transaction.
        if let Err(error) = state::write(self.store, |sql| pulls::touch(sql, &self.scope, &self.owner, now)) {
            log::warn!("a running pull could not be noted as alive: {error}");
        }
    }

    fn touch(&self, writer: &mut dyn Writer) -> Result<()> {
        match pulls::touch(writer.state(), &self.scope, &self.owner, self.clock.now())? {
            Touched::Alive => Ok(()),
            Touched::Gone => {
                let time = if self.sender.is_some() { self.limits.resume_time } else { self.limits.abandoned_time };
                let message = format!(
                    "what the pull kept for itself is gone: another process finished it, it was forgotten, or it wrote nothing \
                     for {} s",
                    time.as_secs_f64()
                );
                Err(Error::new(ErrorKind::Timeout, message).with_hint("What was written stays; pull again."))
            }
            Touched::TakenOver => Err(Error::new(ErrorKind::TakenOver, "another process has taken this pull over").with_hint(
                "Nothing is lost or done twice. The other one's report tells of the tables that it pulls; pull the others \
                     when it has ended.",
            )),
        }
    }

    /// Whether marks are kept, so that the pull can be resumed.
    pub(crate) fn keeps_marks(&self) -> bool {
        self.sender.is_some()
    }

    /// Keeps a mark, as part of a transaction.
    pub(crate) fn put_mark(&self, writer: &mut dyn Writer, mark: &Checkpoint) -> Result<()> {
        match self.keeps_marks() {
            true => checkpoints::put(writer.state(), &self.scope, mark, self.names(), self.clock.now()),
            false => Ok(()),
        }
    }

    /// Keeps a mark, in a transaction of its own.
    pub(crate) fn note_mark(&self, mark: &Checkpoint) -> Result<()> {
        if !self.keeps_marks() {
            return Ok(());
        }
        let mut tx = self.transaction()?;
        self.put_mark(&mut *tx.writer, mark)?;
        self.commit(&mut tx)
    }

    /// Whether a table was done so long ago that it is not enough to fetch what comes after its last row. Appended rows are not
    /// fetched again, however old they are.
    pub(crate) fn is_outdated(&self, mark: &Checkpoint) -> bool {
        let age = mark.done_at.map(|at| self.clock.now() - at);
        mark.strategy != Strategy::Append && age.is_some_and(|age| age > self.limits.resume_time)
    }

    /// The marks of a table in other pulls of this sender: it was cut off in them, or they run.
    pub(crate) fn elsewhere(&self, writer: &mut dyn Writer, table: &str, strategy: Strategy) -> Result<Vec<Checkpoint>> {
        let Some(sender) = &self.sender else { return Ok(Vec::new()) };
        let found = checkpoints::elsewhere(writer.state(), &self.scope, sender, table, strategy, self.names())?;
        Ok(found.into_iter().map(|(_, mark)| mark).collect())
    }

    /// A table begins again: other pulls that were interrupted in it do not resume it.
    pub(crate) fn supersede(&self, writer: &mut dyn Writer, table: &str, strategy: Strategy) -> Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        for (scope, mark) in checkpoints::elsewhere(writer.state(), &self.scope, sender, table, strategy, self.names())? {
            let marks = std::slice::from_ref(&mark);
            checkpoints::remember_appends(writer.state(), sender, marks, self.names(), self.clock.now())?;
            checkpoints::remove(writer.state(), &scope, table, strategy, self.names())?;
            forget_stage(writer, &scope, &mark)?;
        }
        Ok(())
    }

    /// Forgets the rows that waited for a table which does not resume from this mark.
    pub(crate) fn forget_stage(&self, writer: &mut dyn Writer, mark: &Checkpoint) -> Result<()> {
        forget_stage(writer, &self.scope, mark)
    }

    /// Forgets which rows of a local table records of this pull have: it begins again.
    pub(crate) fn forget_taken(&self, writer: &mut dyn Writer, table: &str) -> Result<()> {
        taken_keys::forget_table(writer.state(), &self.scope, table)
    }

    /// What is remembered of an append of this table of this sender, if anything is.
    pub(crate) fn appended(&self, writer: &mut dyn Writer, table: &str) -> Result<Option<Appended>> {
        match &self.kept {
            Some(sender) => checkpoints::append_of(writer.state(), sender.as_str(), table, self.names()),
            None => Ok(None),
        }
    }

    /// How names are compared here.
    fn names(&self) -> NameRules {
        self.store.names()
    }

    fn tally(&self, outcome: &Outcome) -> Tally {
        Tally::after(outcome.clone(), self.limits.reported_failures)
    }

    /// A new stage, as part of a transaction that [`Import::note_stages`] is called in.
    pub(crate) fn stage(&mut self, width: usize) -> Stage {
        self.stages += 1;
        self.stage_of(self.stages, width)
    }

    /// A stage that was made before.
    pub(crate) fn stage_of(&self, number: u32, width: usize) -> Stage {
        Stage { scope: self.scope.clone(), number, width }
    }

    /// Notes which stages were made.
    pub(crate) fn note_stages(&self, writer: &mut dyn Writer) -> Result<()> {
        match self.stages {
            0 => Ok(()),
            stages => pulls::set_stages(writer.state(), &self.scope, stages),
        }
    }

    /// How much of a stage is read at a time.
    fn stage_bounds(&self) -> PageBounds {
        PageBounds { rows: self.limits.commit_rows.max(1), bytes: self.limits.batch_bytes }
    }

    /// Ends the pull: remembers the appends among the tables that are `done`, forgets the marks of those that cannot be
    /// resumed, and drops what the pull kept for itself, unless it is to be resumed. What is done is kept as such only for a pull
    /// that was interrupted: the next one is to get all rows of it.
    pub(crate) fn end(&self, done: &[Checkpoint], forgotten: &[Checkpoint], ending: Ending) -> Result<()> {
        let (mut writer, names) = (self.transaction()?.writer, self.names());
        if let Some(sender) = &self.sender {
            for mark in forgotten {
                checkpoints::remove(writer.state(), &self.scope, &mark.table, mark.strategy, names)?;
                self.forget_stage(&mut *writer, mark)?;
            }
            // Nothing is written for that alone when the last row was applied.
            let done: Vec<Checkpoint> = done.iter().map(|mark| Checkpoint { step: Step::Done, ..mark.clone() }).collect();
            checkpoints::remember_appends(writer.state(), sender, &done, names, self.clock.now())?;
            let is_done = |(table, strategy): &(String, Strategy)| {
                done.iter().any(|mark| names.same(&mark.table, table) && mark.strategy == *strategy)
            };
            let goes_on = match ending {
                Ending::CutOff | Ending::Followed => true,
                Ending::Open => !checkpoints::unfinished(writer.state(), &self.scope)?.iter().all(is_done),
            };
            if goes_on {
                for mark in &done {
                    // Rows that are yet to come need the new keys of appended ones.
                    match ending == Ending::CutOff || mark.strategy == Strategy::Append {
                        true => self.put_mark(&mut *writer, mark)?,
                        false => checkpoints::remove(writer.state(), &self.scope, &mark.table, mark.strategy, names)?,
                    }
                }
                pulls::release(writer.state(), &self.scope)?;
                return writer.commit();
            }
        }
        self.drop_pull(&mut *writer, &self.scope, self.sender.as_deref())?;
        writer.commit()
    }
}

fn forget_stage(writer: &mut dyn Writer, scope: &Scope, mark: &Checkpoint) -> Result<()> {
    mark.stage.map_or(Ok(()), |number| {
        stages::forget_one(writer.state(), scope, number)?;
        waiting::forget_one(writer.state(), scope, number)
    })
}
