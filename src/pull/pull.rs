//! A pull from its first question to its report.

use std::time::{Duration, Instant};

use super::approval;
use super::comeback::{Comeback, is_passing};
use super::history::{History, Origin};
use super::progress::Phase;
use super::resume::Earlier;
use super::wait::Allowance;
use super::{Progress, Report, Source, TableReport, TransferOptions};
use crate::cancel::Patience;
use crate::clock::{Clock, later};
use crate::domain::names::NameRules;
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::import::late::Late;
use crate::import::{Checkpoint, Import};
use crate::ledger::stages::Stage;
use crate::limits::Limits;
use crate::plan::TablePlan;
use crate::store::Store;

/// How long a transaction waits for its next batch where nobody else's wait was bounded.
const LINGER: Duration = Duration::from_millis(5);

/// One table of a pull.
pub(super) struct Job {
    /// The sender's name for it.
    pub(super) name: String,
    pub(super) sender: TableSchema,
    pub(super) announced: u64,
    /// What is left of its time to wait, where the other site counts calls.
    pub(super) allowance: Allowance,
    pub(super) plan: Option<TablePlan>,
    /// What was made here, because it was missing.
    pub(super) create: Option<TableSchema>,
    /// Whether its rows follow the new keys of a table that is appended.
    pub(super) follows: bool,
    /// Where its rows wait, if they have to.
    pub(super) stage: Option<Stage>,
    /// How far it is, as far as it was committed.
    pub(super) mark: Checkpoint,
    pub(super) earlier: Earlier,
    pub(super) received: u64,
    pub(super) bytes: u64,
    pub(super) report: TableReport,
}

pub(super) struct Pull<'a, 'p> {
    pub(super) source: &'a dyn Source,
    pub(super) limits: &'a Limits,
    pub(super) options: TransferOptions<'p>,
    pub(super) patience: Patience,
    pub(super) jobs: Vec<Job>,
    pub(super) import: Import<'a>,
    /// How names are compared here.
    pub(super) names: NameRules,
    /// Who the rows come from, if the pull may be gone on with.
    pub(super) sender: Option<String>,
    /// The marks of tables that cannot go on from them.
    pub(super) forgotten: Vec<Checkpoint>,
    /// Tables of which it is not even known what they look like.
    pub(super) not_inspected: Vec<(String, TableReport)>,
    pub(super) history: Option<History<'a>>,
    pub(super) states: Vec<u64>,
    pub(super) pages: u64,
    pub(super) bytes: u64,
    pub(super) done: usize,
    /// How long a transaction may wait for the next batch: beginning another one costs more.
    pub(super) linger: Duration,
    /// Until when to wait for the other side's approval.
    pub(super) approval_until: Option<Instant>,
    /// The time to wait that the question at hand has, where the other site counts calls.
    pub(super) allowance: Allowance,
    /// The time to come back after the connection was lost.
    pub(super) comeback: Comeback,
    /// Why nothing more can be asked of the sender.
    pub(super) lost: Option<Error>,
    /// The tables, by their positions among the jobs, that records wait in for all others.
    pub(super) late: Vec<(usize, Late)>,
}

/// Pulls tables from `source` into `store`. An error is the answer when no table could be tried; what becomes of each table
/// is in the report. With an origin, each table leaves a transfer in the history.
pub(crate) fn pull(
    source: &dyn Source,
    store: &dyn Store,
    limits: &Limits,
    clock: &dyn Clock,
    options: TransferOptions<'_>,
    origin: Option<Origin>,
) -> Result<Report> {
    let began = Instant::now();
    let patience = Patience::new(options.cancel.clone(), options.timeout);
    let yielding = options.lock_time.map(|time| limits.yielding(time));
    let limits = yielding.as_ref().unwrap_or(limits);
    let linger = if yielding.is_some() { Duration::ZERO } else { LINGER };
    if options.append_again && options.append_new {
        return Err(Error::new(ErrorKind::InvalidInput, "append_again and append_new exclude each other")
            .with_hint("append_new adds what was not appended before, append_again adds everything once more."));
    }
    let mut import = Import::new(store, limits, clock, patience.clone());
    let actor = options.initiated_by.clone().unwrap_or_else(|| "host".to_owned());
    let peer = origin.as_ref().map(|origin| match source.site() {
        Some(site) => format!("site:{site}"),
        None => format!("url:{}", origin.site_url),
    });
    if let Some(peer) = &peer {
        import.keep_keys_of(peer);
    }
    let sender = peer.filter(|_| !options.dry_run);
    let history = origin.filter(|_| !options.dry_run).map(|origin| History::new(store, clock, origin, actor));
    let approval_until = options.approval_time.map(|time| later(Instant::now(), time));
    let comeback = Comeback::new(options.retry_time.unwrap_or(limits.retry_time));
    let mut pull = Pull {
        source,
        limits,
        linger,
        options,
        patience,
        jobs: Vec::new(),
        import,
        names: store.names(),
        sender,
        forgotten: Vec::new(),
        not_inspected: Vec::new(),
        history,
        states: Vec::new(),
        pages: 0,
        bytes: 0,
        done: 0,
        approval_until,
        allowance: Allowance::new(limits.rate_wait_time),
        comeback,
        lost: None,
        late: Vec::new(),
    };
    pull.inspect()?;
    let groups = pull.prepare();
    pull.await_approvals();
    if pull.options.dry_run {
        pull.run_dry(&groups);
    } else {
        groups.iter().for_each(|group| pull.run_group(group));
        pull.run_late();
    }
    pull.end();
    if let Err(error) = store.tidy() {
        log::warn!("what was put off until the end of the pull is not done: {error}");
    }
    let mut report = Report {
        one_state: pull.is_one_state(),
        records: pull.jobs.iter().map(|job| job.report.outcome.total()).sum(),
        bytes: pull.bytes,
        duration: began.elapsed(),
        ..Report::default()
    };
    let order: Vec<usize> = groups.into_iter().flat_map(|group| group.jobs).collect();
    let mut jobs: Vec<Option<Job>> = pull.jobs.into_iter().map(Some).collect();
    report.tables.extend(order.into_iter().filter_map(|at| jobs[at].take()).map(|job| (job.name, job.report)));
    report.tables.append(&mut pull.not_inspected);
    Ok(report)
}

impl Pull<'_, '_> {
    /// Asks the sender, unless the connection is lost for good: then every further question has the same answer. Waits where the
    /// sender counts calls and says so, and connects anew where the connection is lost.
    pub(super) fn ask<T>(&mut self, question: impl Fn(&dyn Source, &Patience) -> Result<T>) -> Result<T> {
        if let Some(lost) = &self.lost {
            return Err(lost.copy().while_doing("not tried, because the pull was cut off"));
        }
        let (source, patience) = (self.source, &self.patience);
        let (allowance, comeback) = (&mut self.allowance, &mut self.comeback);
        let answer = loop {
            let answer =
                patience.check("the pull").and_then(|()| allowance.ask(patience, || question(source, patience), || Ok(())));
            match answer {
                Err(error) if is_passing(error.kind()) && patience.check("the pull").is_ok() => {
                    if let Err(error) = comeback.reconnect(source, patience, error) {
                        break Err(error);
                    }
                }
                Ok(answer) => {
                    comeback.reached();
                    break Ok(answer);
                }
                failed => break failed,
            }
        };
        answer.inspect_err(|error| self.note_loss(error))
    }

    pub(super) fn note_loss(&mut self, error: &Error) {
        if self.lost.is_some() {
            return;
        }
        self.lost = match error.kind() {
            // The other side may have cancelled this one table.
            ErrorKind::Cancelled if !self.options.cancel.is_cancelled() && self.source.is_open() => None,
            // That one answer is late says nothing of the next table's.
            ErrorKind::Timeout
                if self.source.asks_apart() && self.source.is_open() && self.patience.check("the pull").is_ok() =>
            {
                None
            }
            ErrorKind::Timeout | ErrorKind::Cancelled => Some(Error::new(error.kind(), error.message())),
            kind if refuses_all(kind) => Some(error.copy()),
            // What one table broke is no fault of those behind it: for them the connection is gone, and may be made again.
            _ if !self.source.is_open() => Some(Error::new(ErrorKind::Disconnected, error.message())),
            _ => None,
        };
    }

    /// The pull is done with a table: its report says how.
    pub(super) fn finish(&mut self, at: usize) {
        let job = &mut self.jobs[at];
        approval::note(&mut job.report);
        job.report.notes.extend(self.source.notes(&job.name, job.report.created_table));
        if let (Some(history), Some(uuid)) = (&mut self.history, job.report.transfer)
            && let Err(error) = history.end(uuid, &job.report, job.bytes, &job.earlier)
        {
            log::warn!("the end of the transfer {uuid} could not be noted: {error}");
            job.report.notes.push(format!("The history lacks the end of the transfer {uuid}: {error}."));
        }
        self.progress(at, Phase::Finished);
    }

    /// Tells how far it is. To be called while the database is not locked.
    pub(super) fn progress(&mut self, at: usize, phase: Phase) {
        self.import.keep_alive();
        if let Some(history) = &mut self.history {
            history.keep_alive();
        }
        let job = &self.jobs[at];
        let progress = Progress {
            table: &job.name,
            table_index: self.done,
            tables: self.jobs.len(),
            records: job.received,
            announced: job.announced,
            bytes: self.bytes,
            phase,
            approval: job.report.approval,
        };
        if let Some(call) = &mut self.options.progress {
            call(&progress);
        }
        self.done += usize::from(phase == Phase::Finished);
    }

    /// Whether all rows come from one state of the sender. Pages of a reference sender come without a number: only a single
    /// one is sure to be of one state.
    fn is_one_state(&self) -> bool {
        match &self.states[..] {
            [] => true,
            [0] => self.pages <= 1,
            [_] => true,
            _ => false,
        }
    }
}

/// Whether the whole pull is over, and not one table only: the other side refuses the connection, or another process has taken
/// over.
fn refuses_all(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken
            | ErrorKind::ConnectionNotActive
            | ErrorKind::ConnectionExpired
            | ErrorKind::DownloadLimit
            | ErrorKind::RecordLimit
            | ErrorKind::AddressNotAllowed
            | ErrorKind::OutsideAllowedHours
            | ErrorKind::PasswordRequired
            | ErrorKind::InvalidPassword
            | ErrorKind::Disabled
            | ErrorKind::TakenOver
    )
}
