//! A pull from its first question to its report.

use std::time::Instant;

use super::progress::Phase;
use super::{Progress, Report, Source, TableReport, TransferOptions};
use crate::cancel::Patience;
use crate::clock::Clock;
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::import::Import;
use crate::limits::Limits;
use crate::plan::TablePlan;
use crate::store::Store;

/// One table of a pull.
pub(super) struct Job {
    /// The sender's name for it.
    pub(super) name: String,
    pub(super) sender: TableSchema,
    pub(super) announced: u64,
    pub(super) plan: Option<TablePlan>,
    /// What was made here, because it was missing.
    pub(super) create: Option<TableSchema>,
    pub(super) received: u64,
    pub(super) report: TableReport,
}

pub(super) struct Pull<'a, 'p> {
    pub(super) source: &'a dyn Source,
    pub(super) limits: &'a Limits,
    pub(super) options: TransferOptions<'p>,
    pub(super) patience: Patience,
    pub(super) jobs: Vec<Job>,
    pub(super) import: Import<'a>,
    pub(super) states: Vec<u64>,
    pub(super) pages: u64,
    pub(super) bytes: u64,
    pub(super) done: usize,
    /// Why nothing more can be asked of the sender.
    pub(super) lost: Option<(ErrorKind, String)>,
}

/// Pulls tables from `source` into `store`. An error is the answer when no table could be tried; what becomes of each table
/// is in the report.
pub(crate) fn pull(
    source: &dyn Source,
    store: &dyn Store,
    limits: &Limits,
    clock: &dyn Clock,
    options: TransferOptions<'_>,
) -> Result<Report> {
    let began = Instant::now();
    let patience = Patience::new(options.cancel.clone(), options.timeout);
    let import = Import::new(store, limits, clock);
    let mut pull = Pull {
        source,
        limits,
        options,
        patience,
        jobs: Vec::new(),
        import,
        states: Vec::new(),
        pages: 0,
        bytes: 0,
        done: 0,
        lost: None,
    };
    let mut failed = pull.inspect()?;
    let groups = pull.prepare();
    if pull.options.dry_run {
        pull.run_dry(&groups);
    } else {
        groups.iter().for_each(|group| pull.run_group(group));
    }
    // What the pull kept for itself is no longer needed; that it stays behind when this fails does no harm to the report.
    if let Err(error) = pull.import.clean_up() {
        log::warn!("cleaning up after a pull failed: {error}");
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
    report.tables.append(&mut failed);
    Ok(report)
}

impl Pull<'_, '_> {
    /// Asks the sender, unless the connection is lost: then every further question has the same answer.
    pub(super) fn ask<T>(&mut self, question: impl FnOnce(&dyn Source, &Patience) -> Result<T>) -> Result<T> {
        if let Some((kind, message)) = &self.lost {
            return Err(Error::new(*kind, format!("not tried, because the pull was cut off: {message}")));
        }
        let answer = self.patience.check("the pull").and_then(|()| question(self.source, &self.patience));
        answer.inspect_err(|error| self.note_loss(error))
    }

    pub(super) fn note_loss(&mut self, error: &Error) {
        let ends_the_pull = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Cancelled) || !self.source.is_open();
        if ends_the_pull && self.lost.is_none() {
            // What one table broke is no fault of those behind it: for them the connection is gone, and may be made again.
            let kind = match error.kind() {
                kind @ (ErrorKind::Timeout | ErrorKind::Cancelled) => kind,
                _ => ErrorKind::Disconnected,
            };
            self.lost = Some((kind, error.message().to_owned()));
        }
    }

    pub(super) fn progress(&mut self, at: usize, phase: Phase) {
        let job = &self.jobs[at];
        let progress = Progress {
            table: &job.name,
            table_index: self.done,
            tables: self.jobs.len(),
            records: job.received,
            announced: job.announced,
            bytes: self.bytes,
            phase,
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
