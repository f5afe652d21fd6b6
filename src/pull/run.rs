//! Moves the rows: fetches each table on a thread of its own and imports it on the caller's.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::comeback::Comeback;
use super::fetch::{Arrival, Batch, Fetch, Fetched, Spent, note_state};
use super::hold::waits_for;
use super::prepare::Group;
use super::progress::Phase;
use super::pull::{Job, Pull};
use super::resume::passes;
use crate::cancel::CancelToken;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::import::late::{self, Late};
use crate::import::{Checkpoint, Direct, Finish, Import, Lock, Staged, Step, apply_group};
use crate::plan::TablePlan;

/// The most records that a reference sender is asked for: it sends no more than this, but counts on from what was asked.
const REFERENCE_RECORDS: u32 = 1_000;

/// How often a pull that waits for a page looks whether it was cancelled.
const LOOK: Duration = Duration::from_secs(2);

/// What there is to do with a table that is being fetched.
enum Take<'b> {
    /// Take this batch.
    Batch(&'b Batch),
    /// The next batch is not there yet: nothing may be locked while waiting for it.
    Wait,
}

/// Ends what goes on with this token when it is dropped.
struct EndsWhenDropped(CancelToken);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Pull<'_, '_> {
    /// Pulls the tables of a group. What goes wrong stands in their reports.
    pub(super) fn run_group(&mut self, group: &Group) {
        let Group { deferred, staged, .. } = *group;
        let group = self.planned(group);
        if let Some(error) = self.waits(&group) {
            self.cut_off(&group, &error);
            return;
        }
        if !staged {
            for at in group {
                match self.run_direct(at) {
                    Ok(Some(late)) => self.late.push((at, late)),
                    Ok(None) => self.finish(at),
                    Err(error) => {
                        self.jobs[at].report.cut_off(error);
                        self.finish(at);
                    }
                }
            }
            return;
        }
        let (jobs, mut tables): (Vec<usize>, Vec<Staged>) = self.stage(&group).into_iter().unzip();
        if jobs.is_empty() {
            return;
        }
        let applied = self.all_are_staged(&group).and_then(|()| {
            let mut tx = self.import.transaction()?;
            apply_group(&self.import, &mut tx, &mut tables, deferred, Finish::Commit)
        });
        self.report_staged(&jobs, &tables, &applied);
    }

    fn cut_off(&mut self, group: &[usize], error: &Error) {
        for at in group {
            self.jobs[*at].report.cut_off(error.copy());
            self.finish(*at);
        }
    }

    /// Tries everything in one transaction that is not committed.
    pub(super) fn run_dry(&mut self, groups: &[Group]) {
        let mut staged: Vec<(Vec<usize>, Vec<Staged>, bool)> = Vec::new();
        for group in groups {
            let planned = self.planned(group);
            if let Some(error) = self.waits(&planned) {
                self.cut_off(&planned, &error);
                continue;
            }
            let (jobs, tables) = self.stage(&planned).into_iter().unzip();
            staged.push((jobs, tables, group.deferred));
        }
        let mut tx = match self.import.transaction() {
            Ok(tx) => tx,
            Err(error) => {
                for (jobs, tables, _) in &staged {
                    self.report_staged(jobs, tables, &Err(error.copy()));
                }
                return;
            }
        };
        let senders: Vec<_> = self.jobs.iter().map(|job| job.sender.clone()).collect();
        let mut missing = self.jobs.iter().filter(|job| job.create.is_some());
        let created = missing.try_for_each(|job| self.create_again(&mut tx, &job.sender, &senders));
        let apply = |(_, tables, deferred): &mut (Vec<usize>, Vec<Staged>, bool)| match &created {
            Ok(()) => apply_group(&self.import, &mut tx, tables, *deferred, Finish::Keep).inspect_err(|_| {
                // The groups after it are tried without its rows.
                if let Err(error) = tx.take_back() {
                    log::warn!("a dry run continues with rows of a group that failed: {error}");
                }
            }),
            Err(error) => Err(error.copy()),
        };
        let applied: Vec<Result<()>> = staged.iter_mut().map(apply).collect();
        // The database is locked until all is tried: only then the caller is told.
        let good = staged.iter().zip(&applied).filter(|(_, applied)| applied.is_ok());
        let all = good.flat_map(|((jobs, tables, _), _)| jobs.iter().zip(tables));
        let (jobs, mut late): (Vec<usize>, Vec<Late>) = all.filter_map(|(at, table)| Some((*at, table.late()?))).unzip();
        let tried = if jobs.is_empty() { Ok(()) } else { late::apply(&self.import, &mut tx, &mut late, Finish::Keep) };
        drop(tx);
        for ((jobs, tables, _), applied) in staged.iter().zip(&applied) {
            self.report_staged(jobs, tables, applied);
        }
        self.late.clear();
        self.report_late(&jobs, &late, &tried);
    }

    fn planned(&self, group: &Group) -> Vec<usize> {
        group.jobs.iter().copied().filter(|at| self.jobs[*at].plan.is_some()).collect()
    }

    /// Pulls a table whose rows are applied as they come. Gives the rest of it, if records wait for other tables.
    fn run_direct(&mut self, at: usize) -> Result<Option<Late>> {
        let plan = self.plan_of(at)?;
        let (before, stage) = (self.jobs[at].mark.clone(), self.jobs[at].stage.clone());
        // Over HTTP a table may come at once and in no order, so that nothing can be fetched behind its last row.
        let comes_at_once = self.source.asks_apart();
        if before.step == Step::Done && comes_at_once {
            return Ok(None);
        }
        let mut direct = Direct::new(plan, stage, before.clone());
        let fetched = self.receive(at, &mut |import, step| match step {
            Take::Batch(batch) => direct.push(import, &batch.rows, &batch.failures, &Job::reached(&before, batch)),
            Take::Wait => direct.commit(import).map(|()| Lock::Free),
        });
        let fetched = match fetched {
            Ok(fetched) => direct.finish(&self.import).map(|()| fetched),
            // What was applied before the connection was lost stays.
            Err(error) => direct.commit(&self.import).and(Err(error)),
        };
        self.jobs[at].report.outcome = direct.outcome().clone();
        self.jobs[at].mark = direct.mark().clone();
        match self.check_count(at, &before, &fetched?) {
            Ok(()) if comes_at_once => self.import.note_mark(direct.mark()).map(|()| direct.late()),
            // What did not come is not behind the last row. Rows that were appended must not be appended again for that.
            Err(error) if error.kind() == ErrorKind::Incomplete && before.strategy != Strategy::Append => {
                self.forget(at);
                Err(error)
            }
            checked => checked.map(|()| direct.late()),
        }
    }

    /// Settles what waits until all tables are there.
    pub(super) fn run_late(&mut self) {
        let (jobs, mut tables): (Vec<usize>, Vec<Late>) = std::mem::take(&mut self.late).into_iter().unzip();
        if jobs.is_empty() {
            return;
        }
        // The rows that they wait for may be those of a table that was cut off.
        let cut_off =
            self.jobs.iter().find_map(|job| Some((job, job.report.error.as_ref().filter(|error| passes(error.kind()))?)));
        let applied = match cut_off {
            Some((job, error)) if self.import.keeps_marks() => Err(waits_for(&job.name, error)),
            _ => {
                let tx = self.import.transaction();
                tx.and_then(|mut tx| late::apply(&self.import, &mut tx, &mut tables, Finish::Commit))
            }
        };
        self.report_late(&jobs, &tables, &applied);
    }

    fn report_late(&mut self, jobs: &[usize], tables: &[Late], applied: &Result<()>) {
        for (at, table) in jobs.iter().zip(tables) {
            self.jobs[*at].report.outcome = table.outcome().clone();
            self.jobs[*at].mark = table.mark().clone();
            if let Err(error) = applied {
                self.jobs[*at].report.cut_off(error.copy());
                // The same rows would fail in the same way.
                if !passes(error.kind()) {
                    self.forget(*at);
                }
            }
            self.finish(*at);
        }
    }

    /// Fetches the tables of a group into stages. Those that fail are left out.
    fn stage(&mut self, group: &[usize]) -> Vec<(usize, Staged)> {
        let mut staged = Vec::new();
        for at in group {
            if self.jobs[*at].mark.step == Step::Done {
                // It was applied by an earlier run.
                self.finish(*at);
                continue;
            }
            match self.stage_one(*at) {
                Ok(table) => {
                    self.progress(*at, Phase::Applying);
                    staged.push((*at, table));
                }
                Err(error) => {
                    self.jobs[*at].report.cut_off(error);
                    self.finish(*at);
                }
            }
        }
        staged
    }

    fn stage_one(&mut self, at: usize) -> Result<Staged> {
        let plan = self.plan_of(at)?;
        let job = &self.jobs[at];
        let (before, stage) = (job.mark.clone(), job.stage.clone());
        let stage = stage.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "a table without a stage is not staged"))?;
        let is_here = !self.options.dry_run || job.create.is_none();
        let mut staged = Staged::new(&self.import, plan, stage, before.clone(), is_here);
        if before.step == Step::Staged {
            return Ok(staged);
        }
        let fetched = self.receive(at, &mut |import, step| match step {
            Take::Batch(batch) => {
                let reached = Job::reached(&before, batch);
                staged.push(import, &batch.rows, &batch.failures, &reached).map(|()| Lock::Free)
            }
            Take::Wait => Ok(Lock::Free),
        });
        self.jobs[at].mark = staged.mark().clone();
        if let Err(error) = self.check_count(at, &before, &fetched?) {
            if error.kind() == ErrorKind::Incomplete {
                self.forget(at);
            }
            return Err(error);
        }
        staged.complete(&self.import)?;
        self.jobs[at].mark = staged.mark().clone();
        Ok(staged)
    }

    fn report_staged(&mut self, jobs: &[usize], tables: &[Staged], applied: &Result<()>) {
        for (at, table) in jobs.iter().zip(tables) {
            match applied {
                Ok(()) => self.jobs[*at].report.outcome = table.outcome(),
                Err(error) => {
                    self.jobs[*at].report.cut_off(error.copy());
                    // The same rows would fail in the same way.
                    if !passes(error.kind()) {
                        self.forget(*at);
                    }
                }
            }
            self.jobs[*at].mark = table.mark().clone();
            match (applied, table.late()) {
                (Ok(()), Some(late)) => self.late.push((*at, late)),
                _ => self.finish(*at),
            }
        }
    }

    fn plan_of(&self, at: usize) -> Result<TablePlan> {
        let missing = || Error::new(ErrorKind::InvalidInput, "a table without a plan is not pulled");
        self.jobs[at].plan.clone().ok_or_else(missing)
    }

    /// Fetches all pages of a table and gives each batch to `take`, while the next one is fetched.
    fn receive(&mut self, at: usize, take: &mut dyn FnMut(&Import<'_>, Take<'_>) -> Result<Lock>) -> Result<Fetched> {
        self.ask(|_, _| Ok(()))?;
        self.allowance = std::mem::take(&mut self.jobs[at].allowance);
        if let Some(history) = &mut self.history {
            let job = &mut self.jobs[at];
            let strategy = self.options.strategy_of(&job.name);
            job.report.transfer = Some(history.begin(&job.name, job.announced, strategy)?);
        }
        self.progress(at, Phase::Started);
        let sender = self.jobs[at].sender.clone();
        let patience = self.patience.child();
        let most = if self.source.is_rowferry() { u32::MAX } else { REFERENCE_RECORDS };
        let mut allowance = std::mem::take(&mut self.allowance);
        let mut comeback = std::mem::replace(&mut self.comeback, Comeback::new(Duration::ZERO));
        let mut fetch = Fetch {
            source: self.source,
            table: &sender,
            from: self.jobs[at].position(),
            limits: self.limits,
            page_records: self.options.page_records(most),
            stream_records: self.options.stream_records(),
            announced: self.jobs[at].announced,
            patience: &patience,
            allowance: &mut allowance,
            comeback: &mut comeback,
            approval_until: self.approval_until,
        };
        // While one batch is written, the next ones arrive. What is under way is bounded by what comes back as spent.
        let (arrivals, arriving) = channel::<Arrival>();
        let (spent, to_fill) = channel::<Spent>();
        let wanted = EndsWhenDropped(patience.cancel.clone());
        let (fetched, taken) = std::thread::scope(|threads| {
            let fetching = std::thread::Builder::new()
                .name("rowferry-fetch".to_owned())
                .spawn_scoped(threads, move || fetch.run(&arrivals, &to_fill));
            let taken = self.take_all(at, &arriving, &spent, take);
            // What ends the other thread if it has not come to its end: also if it waits for a page that never comes, and also if
            // the caller's own code has panicked.
            drop((arriving, spent, wanted));
            let fetched = match fetching.map(|thread| thread.join()) {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) => Err(Error::new(ErrorKind::System, "the thread that fetches pages died")),
                Err(error) => Err(Error::new(ErrorKind::System, format!("no thread to fetch pages on: {error}"))
                    .with_hint("The system is out of threads or memory; try again later.")
                    .with_source(error)),
            };
            (fetched, taken)
        });
        (self.allowance, self.comeback) = (allowance, comeback);
        taken.inspect_err(|error| {
            if error.kind() == ErrorKind::TakenOver {
                self.note_loss(error);
            }
        })?;
        let fetched = fetched.inspect_err(|error| self.note_loss(error))?;
        self.pages += fetched.pages;
        fetched.states.iter().for_each(|state| note_state(&mut self.states, *state));
        Ok(fetched)
    }

    /// Gives each batch to `take` as it arrives. The caller is told of the progress while the database is free, because its
    /// own code may write to it.
    fn take_all(
        &mut self,
        at: usize,
        arriving: &Receiver<Arrival>,
        spent: &Sender<Spent>,
        take: &mut dyn FnMut(&Import<'_>, Take<'_>) -> Result<Lock>,
    ) -> Result<()> {
        let (all_before, before) = (self.bytes, self.jobs[at].bytes);
        let mut lock = Lock::Free;
        let mut next = self.wait_for(at, arriving)?;
        while let Some(arrival) = next {
            match arrival {
                Arrival::Batch(batch) => {
                    self.jobs[at].received = batch.received;
                    // An empty table costs no transaction. What tells only that there is nothing more counts as no bytes: a pull
                    // that goes on behind the last row is told so once more.
                    if !batch.rows.is_empty() || !batch.failures.is_empty() {
                        self.jobs[at].bytes = before + batch.bytes;
                        self.bytes = all_before + batch.bytes;
                        lock = take(&self.import, Take::Batch(&batch))?;
                    }
                    // The other end is gone when the last page was fetched.
                    let _ = spent.send(Spent { rows: batch.rows, size: batch.size });
                    if lock == Lock::Free {
                        self.progress(at, Phase::Receiving);
                    }
                }
                Arrival::Waiting => {
                    if lock == Lock::Held {
                        lock = take(&self.import, Take::Wait)?;
                    }
                    self.progress(at, Phase::RateLimited);
                }
                Arrival::Reconnecting => {
                    if lock == Lock::Held {
                        lock = take(&self.import, Take::Wait)?;
                    }
                    self.progress(at, Phase::Reconnecting);
                }
                Arrival::AwaitingApproval(transfer) => {
                    self.jobs[at].report.approval = transfer;
                    self.progress(at, Phase::AwaitingApproval);
                }
            }
            if lock == Lock::Free {
                // All may be here already: what is not written yet is not written then.
                self.patience.check("writing rows")?;
                self.check_cancelled(at)?;
            }
            let more = match lock {
                Lock::Held => arriving.recv_timeout(self.linger),
                Lock::Free => arriving.recv_timeout(Duration::ZERO),
            };
            next = match more {
                Ok(arrival) => Some(arrival),
                Err(RecvTimeoutError::Disconnected) => None,
                Err(RecvTimeoutError::Timeout) => {
                    if lock == Lock::Held {
                        lock = take(&self.import, Take::Wait)?;
                        self.progress(at, Phase::Receiving);
                    }
                    self.wait_for(at, arriving)?
                }
            };
        }
        Ok(())
    }

    /// What arrives next, while nothing is locked; `None` after the last.
    fn wait_for(&mut self, at: usize, arriving: &Receiver<Arrival>) -> Result<Option<Arrival>> {
        loop {
            match arriving.recv_timeout(LOOK) {
                Ok(arrival) => return Ok(Some(arrival)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.check_cancelled(at)?,
            }
        }
    }

    /// An error if someone cancelled the table's transfer.
    fn check_cancelled(&mut self, at: usize) -> Result<()> {
        match (&mut self.history, self.jobs[at].report.transfer) {
            (Some(history), Some(transfer)) => history.check(transfer),
            _ => Ok(()),
        }
    }

    /// Compares what arrived with what the sender announced. A table may well change between the two, so the sender
    /// is asked again before it is held against it.
    fn check_count(&mut self, at: usize, before: &Checkpoint, fetched: &Fetched) -> Result<()> {
        if self.jobs[at].report.resumed {
            let mut states = before.states.clone();
            fetched.states.iter().for_each(|state| note_state(&mut states, *state));
            if states.contains(&0) {
                let note = format!(
                    "The pull went on behind the first {} records, but the other site does not keep its rows in the same order while \
                     they change: some may be missing or twice.",
                    before.records
                );
                self.jobs[at].report.notes.push(note);
            }
            if !matches!(states[..], [state] if state != 0) {
                return Ok(());
            }
        }
        // Rows of several states of the sender need not be as many as one of them has.
        if fetched.states.len() > 1 {
            return Ok(());
        }
        let announced = self.jobs[at].announced;
        if fetched.received >= announced {
            return Ok(());
        }
        let name = self.jobs[at].name.clone();
        let expected = self.ask(|source, patience| source.count(&name, patience))?;
        if fetched.received >= expected {
            return Ok(());
        }
        let message = format!("the other site has {expected} rows in {name:?} and sent {}", fetched.received);
        let hint = match before.strategy {
            Strategy::Append => {
                "What came is here, and is not appended again: see what is missing, and add it in another way."
            }
            _ => "Pull the table again.",
        };
        Err(Error::new(ErrorKind::Incomplete, message).with_hint(hint))
    }
}
