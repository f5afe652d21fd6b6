//! A pull from its first question to its report.

use std::time::Instant;

use super::approval::await_approvals;
use super::context::Context;
use super::errors::is_resumable;
use super::finish::{self, Gathered};
use super::not_copied::left_out;
use super::planned::{Plan, Table};
use super::reporter::Reporter;
use super::rules::Rules;
use super::same::{self, Found};
use super::source::Source;
use super::states::States;
use super::{PullOptions, Report, TableReport, TableStatus, dry, file_numbers, offer, plan, put_off, rounds};
use crate::cancel::{CancelToken, Patience};
use crate::domain::strategy::Strategy;
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::{History, Origin};
use crate::ledger::prune::prune_some;
use crate::ledger::pulls::Sender;
use crate::ledger::{Checkpoint, Ending, Here, Ledger};
use crate::store::Writer;

/// Pulls tables from `source` into the site that is `here`. An error is the answer when no table could be tried; what becomes of each
/// table is in the report. With an origin, each table leaves a transfer in the history.
pub(crate) fn pull(source: &dyn Source, here: Here<'_>, options: PullOptions<'_>, origin: Option<Origin>) -> Result<Report> {
    let cancel = options.cancel.clone();
    unless_cancelled(&[cancel], || try_pull(source, here, options, origin))
}

/// The report of a pull, also where one of these tokens was cancelled before the first table was tried.
pub(super) fn unless_cancelled(tokens: &[CancelToken], pull: impl FnOnce() -> Result<Report>) -> Result<Report> {
    let began = Instant::now();
    match pull() {
        Err(error) if error.kind() == ErrorKind::Cancelled && tokens.iter().any(CancelToken::is_cancelled) => {
            Ok(Report::of_cancelled(error, began.elapsed()))
        }
        pulled => pulled,
    }
}

fn try_pull(source: &dyn Source, here: Here<'_>, mut options: PullOptions<'_>, origin: Option<Origin>) -> Result<Report> {
    let began = Instant::now();
    options.check()?;
    let mut limits = here.limits.clone();
    if let Some(time) = options.lock_time {
        limits = limits.yielding(time);
    }
    limits.pull.retry_time = options.retry_time.unwrap_or(limits.pull.retry_time);
    let here = Here { limits: &limits, ..here };
    let patience = Patience::new(options.cancel.clone(), Some(options.time()));
    let rules = Rules::take(&mut options, here.store.names());
    let mut ledger = Ledger::new(here, patience.clone());
    ledger.ask(&rules);
    if options.on_failure.is_some() {
        ledger.tell_failures();
    }
    let sender = origin.as_ref().map(|origin| sender_of(source, origin));
    let through = origin.as_ref().and_then(|origin| origin.connection).map_or(String::new(), |uuid| uuid.to_string());
    let is_from_outside = origin.is_some();
    if let Some(sender) = &sender {
        ledger.keep_keys_of(&sender.name);
    }
    if let Some(allowed) = options.allowed.as_ref().filter(|_| !options.dry_run) {
        ledger.count_for(allowed.counted());
    }
    if let Some(origin) = origin.filter(|_| !options.dry_run) {
        let actor = options.initiated_by.clone().unwrap_or_else(|| "host".to_owned());
        ledger.keep_history(History::new(origin, actor));
    }
    let mut cx = Context::new(source, here.limits, here.store.names(), options, patience);
    cx.protected = if is_from_outside { here.protected } else { &[] };
    let (mut reporter, mut gathered) = (Reporter::default(), Gathered::default());

    let mut known = match same::ask(&mut cx, &ledger, sender.as_ref(), &through, began)? {
        Found::Unchanged(report) => return Ok(*report),
        Found::Changed(known) => known,
    };
    let mut offer = offer::ask(&mut cx)?;
    cx.options.check_newer_by(&offer.tables, here.store)?;
    let not_copied = std::mem::take(&mut offer.not_copied);
    let (is_all, state) = (offer.is_all, offer.state.take());
    known.begin(&cx, &ledger);
    let left_out_here = std::mem::take(&mut offer.notes);
    let mut plan = plan::make(&mut cx, &mut ledger, offer, sender);
    reporter.bytes = plan.tables.iter().map(|table| table.bytes).sum();
    await_approvals(&mut cx, &mut ledger, &mut plan, &mut reporter);
    match cx.options.dry_run {
        true => dry::run(&mut cx, &mut ledger, &mut plan, &mut reporter, &mut gathered),
        false => rounds::all(&mut cx, &mut ledger, &mut plan, &mut reporter, &mut gathered),
    }
    let (mut notes, mut lacking) = (Vec::new(), Vec::new());
    let error = end(&cx, &ledger, &plan, &gathered, &mut |writer| {
        lacking = put_off::of_others(&cx, &ledger, writer, &plan)?;
        notes = file_numbers::take_over(&cx, writer, &plan, is_all)?.into_iter().collect();
        Ok(())
    });
    let error = error.err();
    lacking.into_iter().for_each(|(at, note)| plan.tables[at].report.notes.push(note));
    if let Err(error) = here.store.tidy() {
        log::warn!(target: "rowferry::pull", "what was put off until the end of the pull is not done: {error}");
    }
    if let Err(error) = prune_some(here.store, here.limits, here.clock.now()) {
        log::warn!(target: "rowferry::pull", "the old part of the history stays: {error}");
    }
    let state = same::of_all(state, &plan.tables);
    let mut report = report(plan, &gathered, reporter.bytes, began, error);
    report.notes = notes;
    report.notes.extend(left_out_here);
    report.notes.extend(unverified(&report).filter(|_| is_from_outside));
    report.hint_again("Pull again: it resumes.");
    report.note_cancelled(cx.options.cancel.is_cancelled());
    match left_out(&cx, here.store, not_copied, &report) {
        Ok(left_out) => report.not_copied = left_out,
        Err(error) => report.notes.push(format!("What was not copied cannot be listed (not_copied): {error}")),
    }
    if let Err(error) = ledger.tell_not_copied(&report.not_copied) {
        log::warn!(target: "rowferry::pull", "what was not copied cannot be noted: {error}");
    }
    // What was committed is lost with the file.
    if let Err(error) = here.store.check() {
        report.error.get_or_insert(error);
    }
    known.end(&cx, &ledger, &report, state);
    Ok(report)
}

/// Who the rows come from: the other site, or the URL where it told none.
fn sender_of(source: &dyn Source, origin: &Origin) -> Sender {
    let name = match source.site() {
        Some(site) => format!("site:{site}"),
        None => format!("url:{}", origin.site_url),
    };
    Sender { name, incarnation: source.incarnation() }
}

/// Ends what the pull kept for itself, or leaves it for the run that resumes it.
fn end(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    plan: &Plan,
    gathered: &Gathered,
    last: &mut dyn FnMut(&mut dyn Writer) -> Result<()>,
) -> Result<()> {
    let tables = || plan.tables.iter().filter(|table| !table.checkpoint.plan.is_empty());
    let done: Vec<Checkpoint> =
        tables().filter(|table| finish::is_done(table)).map(|table| table.checkpoint.clone()).collect();
    let mut forgotten = gathered.forgotten.clone();
    forgotten.extend(tables().filter(|table| is_stuck(table)).map(|table| table.checkpoint.clone()));
    let passes = |table: &Table| table.report.error.as_ref().is_some_and(|error| is_resumable(error.kind()));
    let is_interrupted = |table: &Table| (passes(table) || cx.lost.is_some()) && !is_stuck(table);
    let has_progress = tables().any(|table| table.checkpoint.has_progress() || table.checkpoint.created);
    let left = || tables().filter(|table| has_progress && !finish::is_done(table));
    let ending = if left().any(is_interrupted) || plan.keeps_failed {
        Ending::Interrupted
    } else if left().any(|table| table.follows) {
        // Rows that are not here yet need the new keys of those that they belong to.
        Ending::Followed
    } else {
        Ending::Open
    };
    match ledger.end(&done, &forgotten, ending, last) {
        Err(error) if matches!(error.kind(), ErrorKind::TakenOver | ErrorKind::Timeout) => {
            log::debug!(target: "rowferry::pull", "nothing is left of the pull: {error}");
            Ok(())
        }
        ended => ended.map_err(|error| error.while_doing("the end of the pull could not be noted")),
    }
}

/// Whether a table failed where an earlier run had failed, for what the database said of its rows: it would do so forever. Then it
/// begins again, because the rows may be others by then; an append cannot.
fn is_stuck(table: &Table) -> bool {
    table.checkpoint.strategy != Strategy::Append
        && table.report.error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Database)
        && table.earlier.at == Some((table.checkpoint.records, table.checkpoint.step))
}

fn report(plan: Plan, gathered: &Gathered, bytes: u64, began: Instant, error: Option<Error>) -> Report {
    let mut states = States::default();
    plan.tables.iter().for_each(|table| states.extend(&table.states));
    let mut report = Report {
        one_state: is_one_state(&states, gathered.pages, &plan.tables),
        records: plan.tables.iter().map(|table| table.report.outcome.total()).sum(),
        bytes,
        duration: began.elapsed(),
        error,
        ..Report::default()
    };
    let order: Vec<usize> = plan.groups.into_iter().flat_map(|group| group.tables).collect();
    let refused = |name: &str| plan.failed.iter().any(|failed| failed.name == name);
    let mut tables: Vec<Option<Table>> =
        plan.tables.into_iter().map(|table| Some(table).filter(|table| !refused(&table.name))).collect();
    report.tables.extend(order.into_iter().filter_map(|at| tables[at].take()).map(|table| table.report));
    report.tables.extend(plan.failed);
    report
}

/// What to know where tables are complete of which nothing was compared.
fn unverified(report: &Report) -> Option<String> {
    let is_unknown = |table: &TableReport| table.status == TableStatus::Completed && table.verified == Verified::None;
    report.tables.iter().any(is_unknown).then(|| {
        "The other site gave no sum of the rows of some tables: what arrived was not compared with what it sent (unverified)."
            .to_owned()
    })
}

/// Whether all rows come from one state of the sender. Pages of PhoenixKit come without a number: only a single one is sure to be of
/// one state.
fn is_one_state(states: &States, pages: u64, tables: &[Table]) -> bool {
    match states.as_slice() {
        [] => true,
        [0] => pages <= 1 && !tables.iter().any(|table| table.report.resumed),
        states => states.len() == 1,
    }
}
