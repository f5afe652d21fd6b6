//! The fourth phase of a pull: what arrives is applied, group after group.

use std::time::Duration;

use time::OffsetDateTime;

use super::context::{Context, not_tried};
use super::fetch::{Arrival, Batch, Fetched};
use super::finish::{self, Gathered};
use super::hold::{all_are_staged, waits};
use super::numbers;
use super::planned::{Group, Table};
use super::progress::Phase;
use super::reporter::Reporter;
use super::session::{Next, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::import::late::Late;
use crate::import::{Direct, Finish, Staged, Transaction, Writing, apply_group};
use crate::ledger::history::check_cancelled;
use crate::ledger::{Ledger, Reached, Step};
use crate::state;

/// How often a pull that waits for a page looks whether it was cancelled.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// A table of at most so many rows may join a transaction of others, and rows up to which others may join it.
const SMALL: u64 = 2_000;

/// A table whose rows are applied as they come, as long as something of it is not committed.
struct Open {
    at: usize,
    direct: Direct,
    /// How its fetch ended, once it has.
    ended: Option<Result<()>>,
}

/// The work on tables while they arrive.
pub(super) struct Apply<'r, 'a, 'p, 's> {
    pub(super) cx: &'r mut Context<'a, 'p>,
    pub(super) ledger: &'r mut Ledger<'s>,
    pub(super) tables: &'r mut [Table],
    pub(super) reporter: &'r mut Reporter,
    pub(super) session: &'r Session,
    /// Tables of which records wait for all others.
    pub(super) late: Vec<(usize, Late)>,
    pub(super) gathered: &'r mut Gathered,
    writing: Writing<'s>,
    /// Those that the transaction in progress is about, in their order; the last one may still arrive.
    open: Vec<Open>,
    /// When it was last looked whether the table at hand was cancelled.
    looked: OffsetDateTime,
}

impl<'r, 'a, 'p, 's> Apply<'r, 'a, 'p, 's> {
    pub(super) fn new(
        cx: &'r mut Context<'a, 'p>,
        ledger: &'r mut Ledger<'s>,
        tables: &'r mut [Table],
        reporter: &'r mut Reporter,
        session: &'r Session,
        gathered: &'r mut Gathered,
    ) -> Self {
        let (writing, open, late, looked) = (Writing::default(), Vec::new(), Vec::new(), ledger.now());
        Apply { cx, ledger, tables, reporter, session, late, gathered, writing, open, looked }
    }

    /// Applies the tables of these groups. What goes wrong stands in their reports. Gives the tables of which records wait for others.
    pub(super) fn groups(mut self, groups: &[Group]) -> Vec<(usize, Late)> {
        for group in groups {
            self.group(group);
        }
        self.commit_quietly();
        self.late
    }

    fn group(&mut self, group: &Group) {
        let Group { deferred, staged, .. } = *group;
        let group: Vec<usize> = group.tables.iter().copied().filter(|at| !self.tables[*at].has_ended).collect();
        if group.is_empty() {
            return;
        }
        let joins = !staged && group.iter().all(|at| self.may_join(*at));
        if !(joins && self.writing.has_room(self.ledger.limits(), SMALL as usize)) {
            // This comes first: where it fails, it is about tables that this one may have to wait for.
            self.commit_quietly();
        }
        if let Some(error) = waits(self.cx, self.ledger, self.tables, &group) {
            for at in group {
                self.session.skip(at);
                self.interrupt(at, error.clone());
            }
            return;
        }
        if !staged {
            group.into_iter().for_each(|at| self.direct(at, joins));
            return;
        }
        let (at, mut tables): (Vec<usize>, Vec<Staged>) = self.stage(&group).into_iter().unzip();
        if at.is_empty() {
            return;
        }
        let applied = all_are_staged(self.cx, self.ledger, self.tables, &group).and_then(|()| {
            let mut tx = Transaction::begin(self.ledger)?;
            apply_group(self.ledger, &mut tx, &mut tables, deferred, Finish::Commit)
        });
        let late =
            finish::staged(self.cx, self.ledger, self.tables, self.reporter, self.gathered, (&at, &mut tables, &applied));
        self.late.extend(late);
        self.tell();
    }

    /// Applies a table as its rows come.
    fn direct(&mut self, at: usize, joins: bool) {
        // Over HTTP a table may come at once and in no order, so that nothing can be fetched after its last row.
        if self.tables[at].checkpoint.step == Step::Done {
            self.close(at);
            return;
        }
        if let Err(error) = self.try_direct(at, joins) {
            // The transaction in progress is about others.
            self.session.skip(at);
            self.open.retain(|open| open.at != at);
            self.interrupt(at, error);
        }
    }

    fn try_direct(&mut self, at: usize, joins: bool) -> Result<()> {
        self.begin(at)?;
        self.writing.join()?;
        let table = &self.tables[at];
        let direct = Direct::new(table.plan.clone(), table.stage.clone(), table.checkpoint.clone());
        self.open.push(Open { at, direct, ended: None });
        let received = self.receive(at, &mut |me, taken| match taken {
            Taken::Batch(batch) => me.push(at, batch),
            Taken::Again => me.again(at),
        });
        let finished = match received {
            Ok(fetched) => {
                let Apply { ledger, writing, open, .. } = self;
                let current = open.last_mut().filter(|open| open.at == at);
                let finish = |open: &mut Open| open.direct.finish(ledger, writing, fetched.sums.verified());
                match current.map_or(Ok(()), finish) {
                    Ok(()) => Ok(finish::check_count(self.cx, &mut self.tables[at], &fetched)),
                    Err(error) => {
                        self.undo(at)?;
                        Err(error)
                    }
                }
            }
            // What was applied before the connection was lost stays.
            Err(error) if self.open.iter().any(|open| open.at == at) => Ok(Err(error)),
            Err(error) => Err(error),
        }?;
        self.writing.joined()?;
        self.end(at, finished, joins);
        Ok(())
    }

    /// A table that was applied as its rows came has come to its end.
    fn end(&mut self, at: usize, finished: Result<()>, joins: bool) {
        let Some(open) = self.open.last_mut().filter(|open| open.at == at) else { return };
        self.tables[at].report.outcome = open.direct.current_outcome().clone();
        if let Err(error) = &finished {
            self.tables[at].report.interrupt(error.clone());
        }
        finish::note_end(self.ledger, &self.tables[at]);
        let failed = finished.is_err();
        open.ended = Some(finished);
        let is_late = open.direct.is_late();
        if !joins || failed || is_late || self.cx.source.asks_apart() || !self.writing.is_open() {
            self.commit_quietly();
        }
    }

    /// Whether a table may be part of a transaction that others are part of: if it is small, and if what others do to the rows of the
    /// transaction does not depend on it.
    fn may_join(&self, at: usize) -> bool {
        let table = &self.tables[at];
        table.announced <= SMALL && !table.plan.table.deferred && !table.plan.table.has_triggers
    }

    fn push(&mut self, at: usize, batch: &Batch) -> Result<()> {
        let reached = reached(&self.tables[at], batch);
        let Apply { ledger, writing, open, .. } = self;
        let Some(open) = open.last_mut().filter(|open| open.at == at) else { return Ok(()) };
        if let Err(error) = open.direct.push(ledger, writing, &batch.rows, &batch.failures, &reached) {
            self.undo(at)?;
            return Err(error);
        }
        if self.writing.is_full(self.ledger.limits()) {
            self.commit()?;
        }
        Ok(())
    }

    /// Undoes what a table wrote since the last commit.
    fn undo(&mut self, at: usize) -> Result<()> {
        self.open.iter_mut().filter(|open| open.at == at).for_each(|open| open.direct.undo());
        let undone = self.writing.undo_joined();
        if let Some(mut open) = self.open.pop_if(|open| open.at == at) {
            open.direct.undo();
            self.tables[at].checkpoint = open.direct.checkpoint().clone();
            self.tables[at].report.outcome = open.direct.outcome().clone();
        }
        match undone {
            Ok(_) => Ok(()),
            Err(error) => {
                self.lose_open(&error);
                Err(error)
            }
        }
    }

    /// The place in a table has expired: it comes from its first row again.
    fn again(&mut self, at: usize) -> Result<()> {
        self.commit()?;
        self.open.retain(|open| open.at != at);
        finish::begin_again(self.cx, self.ledger, self.tables, at)?;
        let table = &self.tables[at];
        let direct = Direct::new(table.plan.clone(), table.stage.clone(), table.checkpoint.clone());
        self.open.push(Open { at, direct, ended: None });
        Ok(())
    }

    /// Commits what is in progress; an error is what became of this table. Those of the others stand in their reports.
    fn commit(&mut self) -> Result<()> {
        let Apply { ledger, writing, open, .. } = self;
        if let Err(error) = writing.commit(ledger, open.iter_mut().map(|open| &mut open.direct)) {
            self.lose_open(&error);
            return Err(error);
        }
        for open in std::mem::take(&mut self.open) {
            self.kept(open);
        }
        self.ledger.keep_alive();
        self.tell();
        Ok(())
    }

    /// All that a table wrote so far is committed.
    fn kept(&mut self, mut open: Open) {
        self.reporter.note_failures(open.at, open.direct.untold());
        let table = &mut self.tables[open.at];
        let before = table.checkpoint.records;
        table.checkpoint.clone_from(open.direct.checkpoint());
        match open.ended {
            None => {
                table.report.outcome.clone_from(open.direct.outcome());
                // What is committed while its rows are waited for is of other tables.
                if table.checkpoint.records != before {
                    self.reporter.note_rows(open.at, table);
                }
                self.open.push(open);
            }
            Some(Ok(())) => match open.direct.late() {
                Some(late) => {
                    self.session.committed(open.at);
                    self.late.push((open.at, late));
                }
                None => {
                    self.session.committed(open.at);
                    self.gathered.keep_done_apart(self.cx, self.ledger, table);
                    self.close(open.at);
                }
            },
            Some(Err(error)) => {
                self.gathered.forget_if_incomplete(table, &error);
                self.close(open.at);
            }
        }
    }

    fn commit_quietly(&mut self) {
        // What went wrong is in the reports of the tables.
        let _ = self.commit();
    }

    /// The transaction in progress is lost: nothing that it was about is kept since the last commit.
    fn lose_open(&mut self, error: &Error) {
        self.writing.undo();
        if matches!(error.kind(), ErrorKind::TakenOver | ErrorKind::RecordLimit) {
            self.cx.note_loss(error);
        }
        for mut open in std::mem::take(&mut self.open) {
            if open.ended.is_some() && !open.direct.is_pending() {
                self.kept(open);
                continue;
            }
            open.direct.undo();
            let table = &mut self.tables[open.at];
            table.checkpoint.clone_from(open.direct.checkpoint());
            table.report.outcome.clone_from(open.direct.outcome());
            if open.ended.is_some() {
                self.interrupt(open.at, error.clone());
            }
        }
    }

    /// Fetches the tables of a group into stages, for a dry run. Those that fail, or wait for one that did, are left out.
    pub(super) fn stage_group(&mut self, group: &Group) -> Vec<(usize, Staged)> {
        let group: Vec<usize> = group.tables.iter().copied().filter(|at| !self.tables[*at].has_ended).collect();
        if let Some(error) = waits(self.cx, self.ledger, self.tables, &group) {
            for at in group {
                self.session.skip(at);
                self.interrupt(at, error.clone());
            }
            return Vec::new();
        }
        self.stage(&group)
    }

    /// Fetches the tables of a group into stages. Those that fail are left out.
    fn stage(&mut self, group: &[usize]) -> Vec<(usize, Staged)> {
        let mut staged = Vec::new();
        for at in group.iter().copied() {
            if self.tables[at].checkpoint.step == Step::Done {
                // It was applied by an earlier run.
                self.close(at);
                continue;
            }
            match self.stage_one(at) {
                Ok(table) => {
                    self.reporter.note(at, Phase::Applying, &self.tables[at]);
                    self.tell();
                    staged.push((at, table));
                }
                Err(error) => {
                    self.session.skip(at);
                    self.interrupt(at, error);
                }
            }
        }
        staged
    }

    pub(super) fn stage_one(&mut self, at: usize) -> Result<Staged> {
        let mut staged = Some(self.new_staged(at)?);
        if self.tables[at].checkpoint.step == Step::Staged {
            // All of it was fetched before, and what becomes of it is yet to be said.
            self.begin_transfer(at);
            return staged.ok_or_else(lacks_stage);
        }
        self.begin(at)?;
        let received = self.receive(at, &mut |me, taken| match (taken, &mut staged) {
            (Taken::Batch(batch), Some(staged)) => {
                let reached = reached(&me.tables[at], batch);
                staged.push(me.ledger, &batch.rows, &batch.failures, &reached)?;
                me.tables[at].checkpoint.clone_from(staged.checkpoint());
                me.reporter.note_failures(at, staged.untold());
                me.reporter.note_rows(at, &me.tables[at]);
                me.ledger.keep_alive();
                me.tell();
                Ok(())
            }
            (_, staged) => {
                finish::begin_again(me.cx, me.ledger, me.tables, at)?;
                *staged = Some(me.new_staged(at)?);
                Ok(())
            }
        });
        let mut staged = staged.ok_or_else(lacks_stage)?;
        self.tables[at].checkpoint.clone_from(staged.checkpoint());
        if let Err(error) = finish::check_count(self.cx, &mut self.tables[at], &received?) {
            if error.kind() == ErrorKind::Incomplete {
                self.gathered.forget(&self.tables[at]);
            }
            return Err(error);
        }
        staged.complete(self.ledger, self.tables[at].report.verified)?;
        self.session.committed(at);
        self.tables[at].checkpoint.clone_from(staged.checkpoint());
        Ok(staged)
    }

    fn new_staged(&self, at: usize) -> Result<Staged> {
        let table = &self.tables[at];
        let stage = table.stage.clone().ok_or_else(lacks_stage)?;
        let is_here = !self.cx.options.dry_run || table.made.is_none();
        Ok(Staged::new(self.ledger, table.plan.clone(), stage, table.checkpoint.clone(), is_here))
    }

    /// The rows of a table are about to be asked for.
    fn begin(&mut self, at: usize) -> Result<()> {
        if let Some(lost) = &self.cx.lost {
            return Err(not_tried(lost));
        }
        self.cx.patience.check("the pull").inspect_err(|error| self.cx.lost = Some(error.clone()))?;
        self.begin_transfer(at);
        self.reporter.note(at, Phase::Started, &self.tables[at]);
        if !self.writing.is_open() {
            self.tell();
        }
        Ok(())
    }

    fn begin_transfer(&mut self, at: usize) {
        let table = &mut self.tables[at];
        table.transfer = self.ledger.begin_transfer(&table.name, table.announced, table.plan.strategy);
        table.report.transfer = table.transfer;
    }

    /// Gives what arrives of a table to `take`, until it has come to its end. The caller is told of the progress while the database is
    /// free, because its own code may write to it.
    fn receive(&mut self, at: usize, take: &mut dyn FnMut(&mut Self, Taken<'_>) -> Result<()>) -> Result<Fetched> {
        let (all_before, before) = (self.reporter.bytes, self.tables[at].bytes);
        loop {
            match self.arrival(at)? {
                Arrival::Batch(mut batch) => {
                    if let Some(column) = self.tables[at].guarded {
                        numbers::let_fail(&mut batch, &self.tables[at].sender, column);
                    }
                    self.tables[at].received = batch.received;
                    self.tables[at].bytes = before + batch.bytes;
                    self.reporter.bytes = all_before + batch.bytes;
                    let taken = take(self, Taken::Batch(&batch));
                    self.session.recycle(batch.rows, batch.size);
                    taken?;
                }
                Arrival::Again => take(self, Taken::Again)?,
                Arrival::Waiting(time) => self.pause(at, Phase::RateLimited, time)?,
                Arrival::Reconnecting(time) => self.pause(at, Phase::Reconnecting, time)?,
                Arrival::AwaitingApproval(transfer, time) => {
                    self.tables[at].report.approval = transfer;
                    self.pause(at, Phase::AwaitingApproval, time)?;
                }
                Arrival::Ended(Ok(fetched)) => {
                    self.gathered.fetched(&fetched);
                    self.tables[at].states = fetched.states.clone();
                    return Ok(fetched);
                }
                Arrival::Ended(Err(error)) => {
                    self.cx.note_loss(&error);
                    return Err(error);
                }
            }
            if !self.writing.is_open() {
                // All may be here already: what is not written yet is not written then.
                self.cx.patience.check("writing rows")?;
                self.reporter.check_stopped(at, self.tables)?;
                self.check_cancelled(at)?;
            }
        }
    }

    /// Nothing will come for so long at most: the database is left to others.
    fn pause(&mut self, at: usize, phase: Phase, time: Duration) -> Result<()> {
        self.commit()?;
        self.reporter.note_wait(at, phase, time, &self.tables[at]);
        self.tell();
        Ok(())
    }

    /// What arrives next of a table. While it is waited for nothing is locked, but for a moment.
    fn arrival(&mut self, at: usize) -> Result<Arrival> {
        let linger = if self.writing.is_open() { self.cx.linger } else { Duration::ZERO };
        if let Next::Arrival(arrival) = self.session.next(at, linger)? {
            return Ok(arrival);
        }
        self.commit()?;
        loop {
            match self.session.next(at, POLL_INTERVAL)? {
                Next::Arrival(arrival) => return Ok(arrival),
                Next::Nothing => {
                    self.ledger.keep_alive();
                    self.check_cancelled(at)?;
                }
            }
        }
    }

    /// An error if someone cancelled the table's transfer.
    fn check_cancelled(&mut self, at: usize) -> Result<()> {
        let Some(transfer) = self.tables[at].transfer else { return Ok(()) };
        let now = self.ledger.now();
        if (now - self.looked).unsigned_abs() < POLL_INTERVAL || !self.ledger.is_seen(transfer) {
            return Ok(());
        }
        self.looked = now;
        state::read(self.ledger.store(), |sql| check_cancelled(sql, transfer))
    }

    fn interrupt(&mut self, at: usize, error: Error) {
        self.tables[at].report.interrupt(error);
        self.close(at);
        self.tell();
    }

    fn close(&mut self, at: usize) {
        // However it ended: the fetch waits to hear of each table that came whole.
        self.session.skip(at);
        finish::close(self.cx, self.ledger, &mut self.tables[at], self.reporter, at);
    }

    fn tell(&mut self) {
        if !self.writing.is_open() {
            self.reporter.tell(self.cx, self.tables);
        }
    }
}

/// What arrived of a table.
enum Taken<'b> {
    Batch(&'b Batch),
    /// It comes from its first row again.
    Again,
}

/// How far a batch of this run leads.
fn reached(table: &Table, batch: &Batch) -> Reached {
    let bytes = table.earlier.bytes + batch.bytes;
    let states = batch.states.as_slice().to_vec();
    let (records, place, continues, sum) = match &batch.position {
        Some(position) => (position.records, position.place.clone(), true, position.sum),
        None => (batch.received, None, false, None),
    };
    Reached { records, place, continues, bytes, states, sum }
}

fn lacks_stage() -> Error {
    Error::new(ErrorKind::InvalidInput, "a table without a stage is not staged")
}
