//! How a table comes to its end: its count, its report, its transfer.

use super::TableStatus;
use super::context::Context;
use super::errors::is_resumable;
use super::fetch::{Fetched, Sums};
use super::planned::Table;
use super::progress::Phase;
use super::put_off;
use super::reporter::Reporter;
use super::settle::{begin_rows, changed_since, place};
use super::states::States;
use super::verdict;
use crate::domain::record::Outcome;
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{TransferCounters, TransferStatus};
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};
use crate::import::Staged;
use crate::import::late::Late;
use crate::ledger::history::End;
use crate::ledger::{Checkpoint, Ledger, Step};

/// What is gathered over all tables.
#[derive(Default)]
pub(super) struct Gathered {
    /// The checkpoints of tables that cannot be resumed.
    pub(super) forgotten: Vec<Checkpoint>,
    pub(super) pages: u64,
    /// The number of the sender's latest state.
    pub(super) latest: Option<u64>,
}

impl Gathered {
    pub(super) fn fetched(&mut self, fetched: &Fetched) {
        self.pages += fetched.pages;
        self.latest = fetched.latest.or(self.latest);
    }

    /// Notes that a table cannot resume at its checkpoint: the next pull begins it again.
    pub(super) fn forget(&mut self, table: &Table) {
        self.forgotten.push(table.checkpoint.clone());
    }

    /// What did not come is not after the last row. Rows that were appended must not be appended again for that.
    pub(super) fn forget_if_incomplete(&mut self, table: &Table, error: &Error) {
        if error.kind() == ErrorKind::Incomplete && table.plan.strategy != Strategy::Append {
            self.forget(table);
        }
    }

    /// Where a table comes at once and in no order, that it is done must be kept: nothing after its last row would tell.
    pub(super) fn keep_done_apart(&self, cx: &Context<'_, '_>, ledger: &Ledger<'_>, table: &mut Table) {
        if cx.source.asks_apart()
            && let Err(error) = ledger.note_checkpoint(&table.checkpoint)
        {
            table.report.interrupt(error);
        }
    }
}

/// Compares what arrived with what the sender says it sent, and with what it has now, if it was asked.
pub(super) fn check_count(cx: &Context<'_, '_>, table: &mut Table, fetched: &Fetched) -> Result<()> {
    if table.report.resumed && table.before.is_none() && fetched.states.has_unnumbered() {
        let note = format!(
            "The pull was resumed after the first {} records, but the other site does not keep its rows in the same order while \
             they change: some may be missing or twice.",
            table.earlier.at.map_or(0, |(records, _)| records)
        );
        table.report.notes.push(note);
    }
    let hint = match table.plan.strategy {
        Strategy::Append => {
            "What arrived is here, and is not appended again: see what is missing, and add it in another way."
        }
        _ => "Pull the table again.",
    };
    table.report.verified = fetched.sums.verified();
    if let Sums::Different(arrived, sent) = fetched.sums {
        let message = format!(
            "what arrived of {:?} is not what the other site sent (rows and sum: {arrived} arrived, {sent} were sent)",
            table.name
        );
        return Err(Error::new(ErrorKind::Incomplete, message).with_hint(hint));
    }
    let Some(expected) = fetched.expected.filter(|expected| fetched.received < *expected) else { return Ok(()) };
    table.report.verified = Verified::None;
    debug_assert!(cx.source.is_rowferry() || fetched.states.has_unnumbered() || fetched.states.as_slice().is_empty());
    let message = format!("the other site has {expected} rows in {:?} and sent {}", table.name, fetched.received);
    Err(Error::new(ErrorKind::Incomplete, message).with_hint(hint))
}

/// The place in a table has expired: it comes from its first row again.
///
/// # Errors
/// [`AlreadyAppended`](ErrorKind::AlreadyAppended) where that would add rows twice.
pub(super) fn begin_again(cx: &Context<'_, '_>, ledger: &mut Ledger<'_>, tables: &mut [Table], at: usize) -> Result<()> {
    let table = &mut tables[at];
    let old = table.checkpoint.clone();
    let was_applied = old.outcome.total() > old.outcome.failed;
    if old.strategy == Strategy::Append && was_applied && (old.again || !ledger.keeps_keys()) {
        return Err(changed_since(&old));
    }
    log::info!(target: "rowferry::pull", "{:?} begins again: the other site's rows were reordered", table.name);
    let fresh = fresh(table);
    let mut writer = ledger.transaction()?;
    ledger.forget_stage(&mut *writer, &old)?;
    begin_rows(ledger, &mut *writer, &table.plan)?;
    let staged = table.stage.is_some();
    let fresh = place(cx, ledger, &mut *writer, table, staged, fresh)?;
    ledger.put_checkpoint(&mut *writer, &fresh)?;
    ledger.note_stages(&mut *writer)?;
    ledger.commit(&mut *writer)?;
    reset(table, fresh);
    Ok(())
}

/// A checkpoint at the first row of a table that was pulled before, in part or as a whole.
pub(super) fn fresh(table: &Table) -> Checkpoint {
    let old = &table.checkpoint;
    let before = match &old.before {
        Some(before) => old.outcome.clone().after(before),
        None => old.outcome.clone(),
    };
    Checkpoint {
        again: old.again,
        before: Some(Outcome { failures: Vec::new(), ..before }),
        made_before: old.made_before,
        created: old.created,
        notes: old.notes.clone(),
        indexes: old.missing_indexes().to_vec(),
        stage: old.stage,
        ..Checkpoint::new(&table.name, old.strategy, old.plan.clone(), table.announced)
    }
}

/// Makes a table ready to be fetched from its first row, which this checkpoint is at. Its transfer counts from there.
pub(super) fn reset(table: &mut Table, fresh: Checkpoint) {
    table.checkpoint = fresh;
    table.before.clone_from(&table.checkpoint.before);
    table.states = States::default();
    table.report.outcome = Outcome::default();
    table.report.verified = Verified::None;
    table.report.notes.clone_from(&table.checkpoint.notes);
    (table.earlier.outcome, table.earlier.bytes) = Default::default();
    (table.received, table.bytes, table.has_ended) = (0, 0, false);
}

/// Makes a table ready to be tried again from its checkpoint. What its transfer counted until there stays with that one.
pub(super) fn try_again(table: &mut Table, staged: bool) {
    let checkpoint = &table.checkpoint;
    table.report.error = None;
    table.report.status = TableStatus::Completed;
    table.report.notes.clone_from(&checkpoint.notes);
    table.report.verified = checkpoint.verified;
    let is_applied = !staged || checkpoint.step == Step::Done;
    table.report.outcome = if is_applied { checkpoint.outcome.clone() } else { Outcome::default() };
    (table.earlier.outcome, table.earlier.bytes) = (table.report.outcome.clone(), checkpoint.bytes);
    table.states = States::of(&checkpoint.states);
    (table.received, table.bytes, table.has_ended) = (checkpoint.records, checkpoint.bytes, false);
}

/// Says in the history how the transfer of a table ended. What is in those of earlier runs is left out.
pub(super) fn note_end(ledger: &Ledger<'_>, table: &Table) {
    let Some(transfer) = table.transfer else { return };
    let (outcome, before) = (&table.report.outcome, &table.earlier.outcome);
    let counters = TransferCounters {
        records_transferred: outcome.total().saturating_sub(before.total()),
        records_created: outcome.created.saturating_sub(before.created),
        records_updated: outcome.updated.saturating_sub(before.updated),
        records_skipped: (outcome.skipped + outcome.unchanged).saturating_sub(before.skipped + before.unchanged),
        records_failed: outcome.failed.saturating_sub(before.failed),
        bytes_transferred: table.bytes.saturating_sub(table.earlier.bytes),
    };
    let error = table.report.error.as_ref();
    let status = match (table.report.status, error.map(Error::kind)) {
        (TableStatus::Completed, _) => TransferStatus::Completed,
        (_, Some(ErrorKind::Cancelled)) => TransferStatus::Cancelled,
        _ => TransferStatus::Failed,
    };
    let why = (status != TransferStatus::Completed)
        .then(|| error.map_or("the table was not pulled whole", |error| error.message()).to_owned());
    ledger.history(|history| history.end(transfer, End { status, why, counters, verified: table.report.verified }));
}

/// A table is done with: its report says how.
pub(super) fn close(cx: &Context<'_, '_>, ledger: &Ledger<'_>, table: &mut Table, reporter: &mut Reporter, at: usize) {
    table.has_ended = true;
    verdict::note(&mut table.report);
    put_off::note_own(table);
    table.report.notes.extend(cx.source.notes(&table.name, table.report.created_table));
    note_end(ledger, table);
    if let Some(before) = &table.before {
        table.report.outcome = std::mem::take(&mut table.report.outcome).after(before);
    }
    reporter.note(at, Phase::Finished, table);
}

/// The staged tables of a group were applied, or not. Gives those of which records wait for others.
pub(super) fn staged(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    tables: &mut [Table],
    reporter: &mut Reporter,
    gathered: &mut Gathered,
    (at, staged, applied): (&[usize], &mut [Staged], &Result<()>),
) -> Vec<(usize, Late)> {
    let mut late = Vec::new();
    for (at, staged) in at.iter().copied().zip(staged) {
        reporter.note_failures(at, staged.untold());
        let table = &mut tables[at];
        match applied {
            Ok(()) => table.report.outcome = staged.outcome(),
            Err(error) => interrupt(table, gathered, error),
        }
        table.checkpoint.clone_from(staged.checkpoint());
        match (applied, staged.late()) {
            (Ok(()), Some(rest)) => late.push((at, rest)),
            _ => close(cx, ledger, table, reporter, at),
        }
    }
    late
}

/// What waited for all tables was applied, or not.
pub(super) fn late(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    tables: &mut [Table],
    reporter: &mut Reporter,
    gathered: &mut Gathered,
    (late, applied): (&mut [(usize, Late)], &Result<()>),
) {
    for (at, late) in late {
        reporter.note_failures(*at, late.untold());
        let table = &mut tables[*at];
        table.report.outcome = late.outcome().clone();
        table.checkpoint = late.checkpoint().clone();
        if let Err(error) = applied {
            interrupt(table, gathered, error);
        }
        close(cx, ledger, table, reporter, *at);
    }
}

fn interrupt(table: &mut Table, gathered: &mut Gathered, error: &Error) {
    table.report.interrupt(error.clone());
    // The same rows would fail in the same way.
    if !is_resumable(error.kind()) {
        gathered.forget(table);
    }
}

/// Whether a table is done, so that the next run of the pull need not fetch it to have all rows.
pub(super) fn is_done(table: &Table) -> bool {
    let passes = table.report.error.as_ref().is_some_and(|error| is_resumable(error.kind()));
    // Whatever the report says: what was appended whole is not to be appended again.
    let appended = table.checkpoint.strategy == Strategy::Append && table.checkpoint.step == Step::Done;
    (appended && !passes) || table.report.status == TableStatus::Completed
}
