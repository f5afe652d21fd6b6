//! Going on with a pull that was cut off: which tables go on from their marks, which begin anew, and what is kept at the end.

use sha2::{Digest, Sha256};

use super::fetch::{Batch, note_state};
use super::prepare::Group;
use super::pull::{Job, Pull};
use super::source::Position;
use super::{TableReport, TableStatus};
use crate::domain::record::Outcome;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::import::{Appended, Checkpoint, Direct, Ending, Reached, Step};
use crate::plan::{Follow, ParentKeys, TablePlan};
use crate::store::Writer;

/// What earlier runs of a pull did of a table.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Where this run found it, if it was in it: records received, and the step.
    pub(super) at: Option<(u64, Step)>,
    /// What their transfers have in the history.
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
}

impl Job {
    /// Where to begin to fetch.
    pub(super) fn position(&self) -> Position {
        Position { records: self.mark.records, place: self.mark.place.clone() }
    }

    /// How far a batch of this run leads; `before` is where the run began.
    pub(super) fn reached(before: &Checkpoint, batch: &Batch) -> Reached {
        let mut states = before.states.clone();
        batch.states.iter().for_each(|state| note_state(&mut states, *state));
        let bytes = before.bytes + batch.bytes;
        match &batch.position {
            Some(Position { records, place }) => {
                Reached { records: *records, place: place.clone(), continues: true, bytes, states }
            }
            None => Reached { records: batch.received, place: None, continues: false, bytes, states },
        }
    }

    /// Whether it failed where an earlier run had failed, for what the database said of its rows: it would do so for ever. Then it
    /// begins anew, because the rows may be others by then; an append cannot.
    fn is_stuck(&self) -> bool {
        self.mark.strategy != Strategy::Append
            && self.report.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Database)
            && self.earlier.at == Some((self.mark.records, self.mark.step))
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.plan = None;
        self.report = TableReport::failed(error);
    }
}

impl Pull<'_, '_> {
    /// What is looked for among the marks: tables by their folded names, and their strategies.
    pub(super) fn wanted(&self) -> Vec<(String, Strategy)> {
        let folded = |job: &Job| self.names.fold(&job.name).into_owned();
        self.jobs.iter().map(|job| (folded(job), self.options.strategy_of(&job.name))).collect()
    }

    /// Settles where each planned table begins: behind its mark among those that were `found`, or anew. Makes the stages.
    pub(super) fn settle(&mut self, writer: &mut dyn Writer, groups: &[Group], mut found: Vec<Checkpoint>) -> Result<()> {
        for group in groups {
            for at in &group.jobs {
                self.settle_table(writer, *at, group.staged, &mut found)?;
            }
        }
        self.hold_children(writer)?;
        self.import.note_stages(writer)
    }

    fn settle_table(&mut self, writer: &mut dyn Writer, at: usize, staged: bool, found: &mut Vec<Checkpoint>) -> Result<()> {
        let job = &self.jobs[at];
        let Some(plan) = &job.plan else {
            return Ok(());
        };
        let mut fresh = Checkpoint::new(&job.name, plan.strategy, digest(&job.sender, plan, staged), job.announced);
        let is_this = |mark: &Checkpoint| self.names.same(&mark.table, &job.name) && mark.strategy == plan.strategy;
        // Of a table that was only now made nothing can be here.
        let found = found.iter().position(is_this).map(|at| found.swap_remove(at)).filter(|_| job.create.is_none());
        (fresh.created, fresh.notes) = match &found {
            Some(found) if found.created => (true, found.notes.clone()),
            _ => (job.report.created_table, job.report.notes.clone()),
        };
        let is_append = plan.strategy == Strategy::Append;
        let again = plan.append.again || !is_append;
        let appended = if is_append { self.import.appended(writer, &job.name)? } else { None };
        let lacks_parents = |mark: &Checkpoint| mark.step == Step::Done && mark.lacks_parents;
        let is_lacking =
            appended.as_ref().is_some_and(|append| append.lacks_parents) || found.as_ref().is_some_and(lacks_parents);
        // What came before is skipped then.
        let knows = appended.as_ref().is_none_or(|append| append.keys_kept);
        let brings_new = is_lacking || (knows && self.options.append_new);
        let is_same = found.as_ref().is_some_and(|found| {
            let is_whole = !(brings_new && found.step == Step::Done);
            found.continues && found.plan == fresh.plan && is_whole && !self.import.is_outdated(found)
        });
        let resumed = is_same && found.as_ref().is_some_and(Checkpoint::has_progress);
        let was_applied = found.as_ref().is_some_and(|found| found.outcome.total() > found.outcome.failed);
        let refusal = match (resumed || again || brings_new, was_applied) {
            (true, _) => None,
            (false, true) => found.as_ref().map(changed_since),
            (false, false) => {
                let begun = self.import.elsewhere(writer, &job.name, plan.strategy)?;
                let appended = appended.as_ref().map(appended_before);
                appended.or_else(|| begun.iter().find(|mark| mark.records > 0).map(begun_elsewhere))
            }
        };
        let refusal = refusal.map(|error| if self.options.append_new { keys_not_kept(&error) } else { error });
        if let Some(made) = &job.create
            && !self.options.dry_run
        {
            self.import.forget_known(writer, made)?;
        }
        if let Some(error) = refusal {
            self.jobs[at].refuse(error);
            return Ok(());
        }
        let began = found.is_some() && is_same;
        if let Some(found) = found.as_ref().filter(|_| !is_same) {
            self.import.forget_stage(writer, found)?;
        }
        fresh.again = plan.append.again;
        let mut mark = match found {
            Some(found) if is_same => Checkpoint { announced: job.announced, ..found },
            _ => fresh,
        };
        if !resumed {
            self.import.supersede(writer, &job.name, plan.strategy)?;
            self.import.begin_table(writer, plan)?;
            if plan.keys_may_meet {
                self.import.forget_taken(writer, &plan.table.name)?;
            }
        }
        let width = plan.targets.len();
        let stage = match (staged || Direct::needs_stage(plan), mark.stage) {
            (false, _) => None,
            (true, Some(number)) => Some(self.import.stage_of(number, width)),
            (true, None) => Some(self.import.stage(width)),
        };
        mark.stage = stage.as_ref().map(|stage| stage.number);
        self.import.put_mark(writer, &mark)?;
        let job = &mut self.jobs[at];
        job.report.resumed = resumed;
        // That a table was made is told by the pull that made it, whichever run ends it.
        (job.report.created_table, job.report.notes) = (mark.created, mark.notes.clone());
        if resumed {
            if !staged || mark.step == Step::Done {
                job.report.outcome.clone_from(&mark.outcome);
            }
            (job.received, job.bytes) = (mark.records, mark.bytes);
            self.bytes += mark.bytes;
            self.pages += 1;
            mark.states.iter().for_each(|state| note_state(&mut self.states, *state));
        }
        let is_appended = |follow: &Follow| follow.keys != ParentKeys::Kept;
        job.follows = job.plan.as_ref().is_some_and(|plan| plan.follows.iter().any(is_appended));
        if let Some(plan) = &mut job.plan {
            plan.append.again = mark.again;
        }
        job.earlier = Earlier {
            at: began.then_some((mark.records, mark.step)),
            outcome: job.report.outcome.clone(),
            bytes: job.bytes,
        };
        (job.stage, job.mark) = (stage, mark);
        Ok(())
    }

    /// Notes that a table cannot go on from its mark: the next pull begins it anew.
    pub(super) fn forget(&mut self, at: usize) {
        self.forgotten.push(self.jobs[at].mark.clone());
    }

    /// Ends what the pull kept for itself, or leaves it for the run that goes on.
    pub(super) fn end(&mut self) {
        let settled = || self.jobs.iter().filter(|job| !job.mark.plan.is_empty());
        let passes = |job: &Job| job.report.error.as_ref().is_some_and(|error| passes(error.kind()));
        // Whatever the report says: what was appended whole is not to be appended again.
        let is_done = |job: &&Job| {
            let appended = job.mark.strategy == Strategy::Append && job.mark.step == Step::Done;
            (appended && !passes(job)) || job.report.status == TableStatus::Completed
        };
        let done: Vec<Checkpoint> = settled().filter(is_done).map(|job| job.mark.clone()).collect();
        let stuck: Vec<Checkpoint> = settled().filter(|job| job.is_stuck()).map(|job| job.mark.clone()).collect();
        let goes_on = |job: &Job| (passes(job) || self.lost.is_some()) && !job.is_stuck();
        let has_progress = settled().any(|job| job.mark.has_progress());
        let left = || settled().filter(|job| has_progress && !is_done(job));
        let ending = if left().any(goes_on) {
            Ending::CutOff
        } else if left().any(|job| job.follows) {
            // Rows that are not here yet need the new keys of those that they belong to.
            Ending::Followed
        } else {
            Ending::Open
        };
        self.forgotten.extend(stuck);
        if let Err(error) = self.import.end(&done, &self.forgotten, ending) {
            match error.kind() {
                ErrorKind::TakenOver | ErrorKind::Timeout => log::debug!("nothing is left of the pull: {error}"),
                _ => log::warn!("cleaning up after a pull failed: {error}"),
            }
        }
    }
}

fn appended_before(append: &Appended) -> Error {
    let (table, records) = (&append.table, append.records);
    let again = "To add what is new since then, ask for it: append_new, or --append-new. To add all its rows once more: \
                 append_again, or --append-again.";
    match append.whole {
        true => {
            Error::new(ErrorKind::AlreadyAppended, format!("{table:?} was appended before, all of its {records} records"))
                .with_hint(again)
        }
        false => Error::new(
            ErrorKind::AlreadyAppended,
            format!(
                "an append of {table:?} was begun before, and cut off after {records} records; it is too long ago to go on"
            ),
        )
        .with_hint("To add the others, ask for it: append_new, or --append-new."),
    }
}

/// Why what is new cannot be told.
fn keys_not_kept(error: &Error) -> Error {
    Error::new(error.kind(), format!("{}; the keys of its rows were not kept", error.message()))
        .with_hint("Older versions kept no keys, and a key map can be cleared. To add all its rows once more: append_again, or --append-again.")
}

fn begun_elsewhere(mark: &Checkpoint) -> Error {
    let (table, records) = (&mark.table, mark.records);
    let message = match mark.step {
        Step::Done => format!("{table:?} was appended before, all of its {records} records"),
        _ => format!("an append of {table:?} was begun by another pull, which runs or was cut off after {records} records"),
    };
    Error::new(ErrorKind::AlreadyAppended, message).with_hint(
        "Wait until the other pull has ended; if it was cut off, pull this table alone, and it goes on there. To add its rows \
         once more, ask for it: append_again, or --append-again.",
    )
}

fn changed_since(mark: &Checkpoint) -> Error {
    let (table, rows) = (&mark.table, mark.outcome.created);
    let message = format!(
        "an append of {table:?} was cut off after {rows} rows, and cannot go on: a table, or rowferry, has changed since, or the \
         other site cannot go on there"
    );
    Error::new(ErrorKind::AlreadyAppended, message).with_hint("To add the others, ask for it: append_new, or --append-new.")
}

/// Whether what went wrong may be right the next time: then the table goes on where it was.
pub(super) fn passes(kind: ErrorKind) -> bool {
    kind.is_retryable()
        || matches!(
            kind,
            ErrorKind::Cancelled
                | ErrorKind::TakenOver
                | ErrorKind::DiskFull
                | ErrorKind::ReadOnly
                | ErrorKind::Database
                | ErrorKind::System
        )
}

/// The digest of what must be the same for a table to go on from its mark: what the sender's rows are and in which order they come,
/// and what becomes of them here. It is compared with those of the same program only.
fn digest(sender: &TableSchema, plan: &TablePlan, staged: bool) -> String {
    let there = (&sender.columns, &sender.primary_key, &sender.key_collations);
    let here = (&plan.table.name, &plan.table.columns, &plan.table.primary_key, &plan.table.key_collations);
    let follows = plan.follows.iter().map(|follow| (&follow.incoming, &follow.parent.name, follow.keys));
    let follows: Vec<_> = follows.collect();
    let how = (plan.strategy, &plan.targets, &plan.identity, plan.keys_may_meet, follows, plan.append.on_taken_key, staged);
    let parts = format!("{there:?} {here:?} {how:?}");
    Sha256::digest(parts.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
