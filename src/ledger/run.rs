//! The ledger as one run of a pull sees it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use super::appends::{self, Appended};
use super::checkpoints::{self, Checkpoint, Step};
use super::counted::Counted;
use super::here::Here;
use super::history::History;
use super::pause::Pauses;
use super::pulls::{self, KeptPull, Sender, Touched};
use super::resume::Running;
use super::scope::Scope;
use super::stages::{self, Stage};
use super::undo::Transfers;
use super::{counts, indexes, taken_keys, waiting};
use crate::cancel::Patience;
use crate::domain::conflict::ConflictRules;
use crate::domain::names::NameRules;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::state;
use crate::store::{Store, Writer};

/// What one run of a pull keeps: the one way in which it writes.
///
/// What a pull that is killed kept stays. The next one from the same sender takes it over and resumes at its checkpoints; when none
/// comes for long, it is dropped. So each transaction notes that the pull is alive, and which run has it: one that was only asleep, or
/// that another process has taken over, learns of it in its next transaction, which then comes to nothing.
pub(crate) struct Ledger<'s> {
    pub(super) here: Here<'s>,
    /// What the caller decides about rows, if anything.
    rules: Option<&'s dyn ConflictRules>,
    /// Whether the caller is told of each record that fails.
    tells_failures: bool,
    pub(super) patience: Patience,
    pub(super) scope: Scope,
    /// Keeps others in this process from resuming the pull.
    _running: Option<Running>,
    /// This run of the pull.
    owner: String,
    /// Who the rows come from, if the pull can be resumed.
    pub(super) sender: Option<Sender>,
    /// Whose keys are kept, if they are for longer than the pull.
    kept: Option<Scope>,
    /// The pull that would be resumed, if it is only looked at.
    looked_at: Option<Scope>,
    stages: u32,
    pub(super) pauses: Pauses,
    pub(super) history: Rc<RefCell<Option<History>>>,
    /// Which transfers what undoes its writes is kept for, if it is.
    pub(super) undo: Option<Rc<RefCell<Transfers>>>,
    /// Where the records that it keeps are counted, if they are.
    counted: Option<Arc<Counted>>,
    /// The tables that a pull made which was completed and could not say so.
    made_before: Vec<String>,
    /// When the run that it resumes wrote last.
    resumed_from: Option<OffsetDateTime>,
    /// When [`Ledger::keep_alive`] last noted that the pull is alive.
    touched: OffsetDateTime,
}

/// How often a pull that only waits notes that it is alive.
const TOUCH: Duration = Duration::from_secs(60);

/// A pull that did not note it for so long was killed, or sleeps.
const SILENT: time::Duration = time::Duration::seconds(2 * TOUCH.as_secs() as i64);

/// How a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It keeps checkpoints, and resumes an interrupted pull if there is one.
    Resume,
    /// It only looks what it would resume, and keeps nothing that stays.
    Look,
}

/// A table's checkpoint in another pull of the same sender.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) checkpoint: Checkpoint,
    /// Whether that pull may be running.
    pub(crate) may_run: bool,
    /// Whether its rows come from another copy of the sender's database.
    pub(crate) is_of_copy: bool,
}

impl<'s> Ledger<'s> {
    pub(crate) fn new(here: Here<'s>, patience: Patience) -> Self {
        let scope = Scope::new();
        Ledger {
            here,
            rules: None,
            tells_failures: false,
            patience,
            _running: here.running.claim(&scope),
            scope,
            owner: Uuid::new_v4().simple().to_string(),
            sender: None,
            kept: None,
            looked_at: None,
            stages: 0,
            pauses: Pauses::default(),
            history: Rc::new(RefCell::new(None)),
            undo: None,
            counted: None,
            made_before: Vec::new(),
            resumed_from: None,
            touched: here.clock.now(),
        }
    }

    /// What records of this sender become is kept for later pulls.
    pub(crate) fn keep_keys_of(&mut self, sender: &str) {
        self.kept = Some(Scope::named(sender.to_owned()));
    }

    /// The caller decides about rows from now on.
    pub(crate) fn ask(&mut self, rules: &'s dyn ConflictRules) {
        self.rules = Some(rules);
    }

    /// What the caller decides about rows, if anything.
    pub(crate) fn rules(&self) -> Option<&'s dyn ConflictRules> {
        self.rules
    }

    /// The caller is told of each record that fails from now on.
    pub(crate) fn tell_failures(&mut self) {
        self.tells_failures = true;
    }

    /// Whether the caller is told of each record that fails.
    pub(crate) fn tells_failures(&self) -> bool {
        self.tells_failures
    }

    /// From now on the records that are kept are counted for the connection that they come through.
    pub(crate) fn count_for(&mut self, counted: Arc<Counted>) {
        self.counted = Some(counted);
    }

    /// From now on the transfers of this pull are kept with its transactions.
    pub(crate) fn keep_history(&mut self, history: History) {
        self.history = Rc::new(RefCell::new(Some(history)));
    }

    /// The history of this pull, if it leaves one.
    pub(crate) fn history<T>(&self, work: impl FnOnce(&mut History) -> T) -> Option<T> {
        self.history.borrow_mut().as_mut().map(work)
    }

    /// The rows of a table are about to be asked for: its transfer, if the pull leaves a history.
    pub(crate) fn begin_transfer(&self, table: &str, announced: u64, strategy: Strategy) -> Option<Uuid> {
        let now = self.now();
        let transfer = self.history(|history| history.begin(table, announced, strategy, now));
        self.note_transfer(table, transfer);
        transfer
    }

    /// Whether others can see a transfer, and cancel it.
    pub(crate) fn is_seen(&self, transfer: Uuid) -> bool {
        self.history(|history| history.is_running(transfer)).unwrap_or(false)
    }

    /// Whose keys and counts of appended rows are kept.
    pub(crate) fn kept(&self) -> &Scope {
        self.kept.as_ref().unwrap_or(&self.scope)
    }

    /// The same, if they are kept for longer than the pull.
    pub(super) fn kept_of_sender(&self) -> Option<&Scope> {
        self.kept.as_ref()
    }

    /// Whether what records become is kept for later pulls.
    pub(crate) fn keeps_keys(&self) -> bool {
        self.kept.is_some()
    }

    /// The name that other sites know the pull by.
    pub(crate) fn name(&self) -> Uuid {
        self.scope.pull().unwrap_or_default()
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn limits(&self) -> &'s Limits {
        self.here.limits
    }

    pub(crate) fn store(&self) -> &'s dyn Store {
        self.here.store
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.patience
    }

    /// How names are compared here.
    pub(crate) fn names(&self) -> NameRules {
        self.here.store.names()
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.here.clock.now()
    }

    pub(super) fn silent(&self) -> Option<OffsetDateTime> {
        self.now().checked_sub(SILENT)
    }

    /// Begins the first transaction of the pull: drops what dead pulls left before.
    pub(crate) fn open(&self) -> Result<Box<dyn Writer>> {
        // What others left is in nobody's way; that it stays is no reason not to pull.
        if let Err(error) = self.here.drop_abandoned() {
            log::warn!(target: "rowferry::pull", "what a dead pull left stays: {error}");
        }
        self.lock()
    }

    /// Begins a write transaction. Another program may hold the lock for longer than SQLite waits: it is tried again, for as long as a
    /// lost connection is.
    fn lock(&self) -> Result<Box<dyn Writer>> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(10);
        loop {
            match self.here.store.writer() {
                Err(error)
                    if error.kind() == ErrorKind::Locked
                        && began.elapsed() < self.here.limits.pull.retry_time
                        && self.patience.check("waiting for the database").is_ok() =>
                {
                    log::info!(target: "rowferry::pull", "the database is locked by another program; trying again");
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
                answer => return answer,
            }
        }
    }

    /// Notes that the pull runs. With a sender it resumes one that was interrupted before one of the wanted tables (folded names)
    /// was done, if there is one: gives that one's checkpoints.
    pub(crate) fn begin(
        &mut self,
        writer: &mut dyn Writer,
        sender: Option<Sender>,
        how: Begin,
        wanted: &[(String, Strategy)],
    ) -> Result<Vec<Checkpoint>> {
        let (now, silent) = (self.now(), self.silent());
        let found = match &sender {
            Some(sender) => {
                if how == Begin::Resume {
                    for pull in self.here.running.over(writer.state(), sender, wanted, silent)? {
                        log::info!(target: "rowferry::pull", "the pull {} is over and could not note it", pull.scope.as_str());
                        let tables = checkpoints::of_scope(writer.state(), &pull.scope)?;
                        let made =
                            tables.into_iter().filter(|table| table.created || table.made_before).map(|table| table.table);
                        self.made_before.extend(made);
                        self.here.drop_pull(writer, &pull.scope, Some(&pull.of()))?;
                    }
                }
                self.here.running.find(writer.state(), sender, wanted, silent)?
            }
            None => None,
        };
        if how == Begin::Look {
            pulls::begin(writer.state(), &self.scope, None, &self.owner, now)?;
            let Some((pull, _)) = found else { return Ok(Vec::new()) };
            counts::copy_all(writer.state(), &pull.scope, &self.scope)?;
            let found = checkpoints::of_scope(writer.state(), &pull.scope)?;
            self.looked_at = Some(pull.scope);
            return Ok(found);
        }
        self.sender = sender;
        if let Some((pull, running)) = found {
            log::info!(target: "rowferry::pull", "resuming the pull {} that was interrupted", pull.scope.as_str());
            pulls::take_over(writer.state(), &pull.scope, &self.owner, now)?;
            self.resumed_from = Some(pull.touched_at);
            (self.scope, self.stages, self._running) = (pull.scope, pull.stages, Some(running));
            return checkpoints::of_scope(writer.state(), &self.scope);
        }
        pulls::begin(writer.state(), &self.scope, self.sender.as_ref(), &self.owner, now)?;
        Ok(Vec::new())
    }

    /// Begins a transaction of this pull, once others had their turn.
    pub(crate) fn transaction(&self) -> Result<Box<dyn Writer>> {
        self.pauses.wait(self.here.limits);
        let mut writer = self.lock()?;
        self.pauses.begin();
        self.touch(&mut *writer)?;
        Ok(writer)
    }

    /// Commits a transaction of this pull, with what there is to say of its transfers. The pull is noted as alive again, because the
    /// transaction may have taken long.
    pub(crate) fn commit(&self, writer: &mut dyn Writer) -> Result<()> {
        self.touch(writer)?;
        let told = self.tell(writer)?;
        writer.commit()?;
        self.told(told);
        self.pauses.end();
        Ok(())
    }

    /// Writes what there is to say of the transfers, as part of a transaction. Gives how much that was.
    pub(super) fn tell(&self, writer: &mut dyn Writer) -> Result<usize> {
        let now = self.now();
        self.history(|history| history.write(writer.state(), now)).unwrap_or(Ok(0))
    }

    /// What was told is committed.
    pub(super) fn told(&self, told: usize) {
        if told > 0 {
            self.history(History::written);
            self.here.wake.all();
        }
    }

    /// Notes that a pull is alive which may wait for long without a transaction, if that was not done for a minute, and that a
    /// transfer has begun, if it is due to be seen. To be called while the pull does not lock the database.
    pub(crate) fn keep_alive(&mut self) {
        let now = self.now();
        let limits = self.here.limits;
        let often = TOUCH.min(limits.retention.abandoned_time / 4).min(limits.retention.resume_time / 4);
        let is_due = (now - self.touched).unsigned_abs() >= often;
        let is_unseen = self.history(|history| history.is_due()).unwrap_or(false);
        if !is_due && !is_unseen {
            return;
        }
        self.touched = now;
        let mut told = 0;
        let written = state::write(self.here.store, |sql| {
            pulls::touch(sql, &self.scope, &self.owner, now)?;
            told = self
                .history(|history| {
                    if is_due { history.touch(sql, now) } else { Ok(()) }.and_then(|()| history.write(sql, now))
                })
                .unwrap_or(Ok(0))?;
            Ok(())
        });
        match written {
            Ok(()) => self.told(told),
            // One that was taken for dead, or cannot write, learns of it in its next transaction.
            Err(error) => log::warn!(target: "rowferry::pull", "a running pull could not be noted as alive: {error}"),
        }
    }

    fn touch(&self, writer: &mut dyn Writer) -> Result<()> {
        match pulls::touch(writer.state(), &self.scope, &self.owner, self.now())? {
            Touched::Alive => Ok(()),
            Touched::Gone => {
                let limits = self.here.limits;
                let time =
                    if self.sender.is_some() { limits.retention.resume_time } else { limits.retention.abandoned_time };
                let message = format!(
                    "what the pull kept for itself is gone: another process finished it, it was forgotten, or it wrote nothing \
                     for {} s",
                    time.as_secs_f64()
                );
                Err(Error::new(ErrorKind::Timeout, message).with_hint("What was written stays; pull again."))
            }
            Touched::TakenOver => Err(taken_over("another process has taken this pull over")),
        }
    }

    /// Whether the pull made a table before it could say that it was completed.
    pub(crate) fn made_before(&self, table: &str) -> bool {
        self.names().is_among(table, &self.made_before)
    }

    /// Whether checkpoints are kept, so that the pull can be resumed.
    pub(crate) fn keeps_checkpoints(&self) -> bool {
        self.sender.is_some()
    }

    /// The first checkpoint of a table in this run, as part of a transaction.
    pub(crate) fn begin_checkpoint(&self, writer: &mut dyn Writer, checkpoint: &Checkpoint) -> Result<()> {
        match self.keeps_checkpoints() {
            true => checkpoints::insert(writer.state(), &self.scope, checkpoint, self.names(), self.now()),
            false => Ok(()),
        }
    }

    /// Keeps a checkpoint, as part of a transaction. A table that is done gets the indexes with it that were put off.
    ///
    /// # Errors
    /// [`TakenOver`](ErrorKind::TakenOver) if the one before it was taken away: another pull has the table now.
    /// [`RecordLimit`](ErrorKind::RecordLimit) if the connection does not allow so many records.
    pub(crate) fn put_checkpoint(&self, writer: &mut dyn Writer, checkpoint: &Checkpoint) -> Result<()> {
        if checkpoint.step == Step::Done {
            indexes::build(writer, checkpoint)?;
        }
        if let Some(counted) = self.counted.as_ref().filter(|_| self.keeps_checkpoints()) {
            let (table, strategy) = (&checkpoint.table, checkpoint.strategy);
            let before = checkpoints::records(writer.state(), &self.scope, table, strategy, self.names())?;
            counted.add(writer.state(), before.map_or(0, |before| checkpoint.records.saturating_sub(before)))?;
        }
        if !self.keeps_checkpoints()
            || checkpoints::update(writer.state(), &self.scope, checkpoint, self.names(), self.now())?
        {
            return Ok(());
        }
        Err(taken_over(&format!(
            "another pull has taken the table {:?} over, or its checkpoint was forgotten",
            checkpoint.table
        )))
    }

    /// Keeps a checkpoint, in a transaction of its own.
    pub(crate) fn note_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        if !self.keeps_checkpoints() {
            return Ok(());
        }
        let mut writer = self.transaction()?;
        self.put_checkpoint(&mut *writer, checkpoint)?;
        self.commit(&mut *writer)
    }

    /// Whether a table was done so long ago that it is not enough to fetch what comes after its last row. Appended rows are not
    /// fetched again, however old they are.
    pub(crate) fn is_outdated(&self, checkpoint: &Checkpoint) -> bool {
        let age = checkpoint.done_at.map(|at| self.now() - at);
        checkpoint.strategy != Strategy::Append && age.is_some_and(|age| age > self.here.limits.retention.resume_time)
    }

    /// How old the rows of a table are that an earlier run pulled, in part or as a whole.
    pub(crate) fn age(&self, checkpoint: &Checkpoint) -> Option<Duration> {
        let at = checkpoint.done_at.or(self.resumed_from);
        at.map(|at| (self.now() - at).try_into().unwrap_or(Duration::ZERO))
    }

    /// The checkpoints of a table in other pulls of this sender, whichever copy of its database they are of: they were interrupted in
    /// it, or they run.
    pub(crate) fn elsewhere(
        &self,
        writer: &mut dyn Writer,
        sender: Option<&Sender>,
        table: &str,
        strategy: Strategy,
    ) -> Result<Vec<Other>> {
        let Some(sender) = sender else { return Ok(Vec::new()) };
        let silent = self.silent();
        let found = checkpoints::elsewhere(writer.state(), &self.scope, &sender.name, table, strategy, self.names())?;
        let other = |(pull, checkpoint): (KeptPull, Checkpoint)| Other {
            may_run: self.here.running.may_run(&pull, silent),
            is_of_copy: !sender.is_of(pull.incarnation),
            checkpoint,
        };
        Ok(found.into_iter().map(other).collect())
    }

    /// A table begins again: pulls that were interrupted in it and do not run will not resume it. Gives whether one of them made it.
    pub(crate) fn supersede(&self, writer: &mut dyn Writer, table: &str, strategy: Strategy) -> Result<bool> {
        let Some(sender) = &self.sender else { return Ok(false) };
        let (silent, names, mut was_made) = (self.silent(), self.names(), false);
        for (pull, checkpoint) in checkpoints::elsewhere(writer.state(), &self.scope, &sender.name, table, strategy, names)?
        {
            // One of another copy would resume among rows that are not its own: it ends, even if it runs.
            if self.here.running.may_run(&pull, silent) && sender.is_of(pull.incarnation) {
                continue;
            }
            appends::remember(writer.state(), &pull.of(), std::slice::from_ref(&checkpoint), names, self.now())?;
            indexes::build_if_possible(writer, &checkpoint)?;
            checkpoints::remove(writer.state(), &pull.scope, table, strategy, names)?;
            forget_stage(writer, &pull.scope, &checkpoint)?;
            was_made |= checkpoint.created || checkpoint.made_before;
        }
        Ok(was_made)
    }

    /// Forgets the rows that waited for a table which does not resume from this checkpoint.
    pub(crate) fn forget_stage(&self, writer: &mut dyn Writer, checkpoint: &Checkpoint) -> Result<()> {
        forget_stage(writer, &self.scope, checkpoint)
    }

    /// Forgets which rows of a local table records of this pull have: it begins again.
    pub(crate) fn forget_taken(&self, writer: &mut dyn Writer, table: &str) -> Result<()> {
        taken_keys::forget_table(writer.state(), &self.scope, table)
    }

    /// What is remembered of an append of this table of this sender, if anything is.
    pub(crate) fn appended(&self, writer: &mut dyn Writer, table: &str) -> Result<Option<Appended>> {
        match &self.kept {
            Some(sender) => appends::of_table(writer.state(), sender.as_str(), table, self.names()),
            None => Ok(None),
        }
    }

    /// A new stage, as part of a transaction that [`Ledger::note_stages`] is called in.
    pub(crate) fn stage(&mut self, width: usize) -> Stage {
        self.stages += 1;
        self.stage_of(self.stages, width)
    }

    /// A stage that was made before.
    pub(crate) fn stage_of(&self, number: u32, width: usize) -> Stage {
        Stage { scope: self.scope.clone(), number, width }
    }

    /// A stage with what waits in this one of the pull that would be resumed.
    pub(crate) fn copied_stage(&mut self, writer: &mut dyn Writer, number: u32, width: usize) -> Result<Stage> {
        let copy = self.stage(width);
        if let Some(scope) = &self.looked_at {
            let original = Stage { scope: scope.clone(), number, width };
            stages::copy(writer.state(), &original, &copy)?;
            waiting::copy(writer.state(), &original, &copy)?;
        }
        Ok(copy)
    }

    /// Notes which stages were made.
    pub(crate) fn note_stages(&self, writer: &mut dyn Writer) -> Result<()> {
        match self.stages {
            0 => Ok(()),
            stages => pulls::set_stages(writer.state(), &self.scope, stages),
        }
    }
}

pub(super) fn taken_over(why: &str) -> Error {
    Error::new(ErrorKind::TakenOver, why).with_hint(
        "Nothing is lost or done twice. The other one's report tells of the tables that it pulls; pull the others when it has \
         ended.",
    )
}

pub(super) fn forget_stage(writer: &mut dyn Writer, scope: &Scope, checkpoint: &Checkpoint) -> Result<()> {
    checkpoint.stage.map_or(Ok(()), |number| {
        stages::forget_one(writer.state(), scope, number)?;
        waiting::forget_one(writer.state(), scope, number)
    })
}
