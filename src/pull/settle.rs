//! Where each table of a pull begins: at its checkpoint in an interrupted pull, or at its first row.

use super::context::Context;
use super::hold::hold_children;
use super::planned::{Earlier, Plan, Table, identity_of};
use super::put_off;
use super::states::States;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::import::Direct;
use crate::ledger::appends::Appended;
use crate::ledger::pulls::Sender;
use crate::ledger::{Checkpoint, Ledger, Other, Step};
use crate::plan::{Follow, ParentKeys, TablePlan};
use crate::store::Writer;

/// Settles where each planned table begins: at its checkpoint among those that were `found`, or at its first row. Makes the stages.
pub(super) fn settle(
    cx: &Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    writer: &mut dyn Writer,
    plan: &mut Plan,
    found: &mut Vec<Checkpoint>,
    sender: Option<&Sender>,
) -> Result<()> {
    for group in plan.groups.clone() {
        for at in group.tables {
            settle_table(cx, ledger, writer, plan, (at, group.staged), found, sender)?;
        }
    }
    hold_children(cx, ledger, writer, plan)?;
    ledger.note_stages(writer)
}

fn settle_table(
    cx: &Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    writer: &mut dyn Writer,
    plan: &mut Plan,
    (at, staged): (usize, bool),
    found: &mut Vec<Checkpoint>,
    sender: Option<&Sender>,
) -> Result<()> {
    let table = &plan.tables[at];
    let (name, strategy) = (table.name.clone(), table.plan.strategy);
    let mut fresh = Checkpoint::new(&name, strategy, identity_of(table, staged), table.announced);
    let made_before = ledger.made_before(&name);
    let is_this = |found: &Checkpoint| cx.names.same(&found.table, &name) && found.strategy == strategy;
    // Of a table that was only now made nothing can be here.
    let found = found.iter().position(is_this).map(|at| found.swap_remove(at));
    let found = match found {
        Some(found) if table.made.is_some() => {
            ledger.forget_stage(writer, &found)?;
            None
        }
        found => found,
    };
    fresh.indexes = match &found {
        Some(found) => found.missing_indexes().to_vec(),
        None => table.checkpoint.indexes.clone(),
    };
    (fresh.created, fresh.notes) = match &found {
        Some(found) if found.created => (true, found.notes.clone()),
        _ => (table.report.created_table, table.report.notes.clone()),
    };
    fresh.notes.extend(put_off::leave_out(&mut fresh.indexes, &table.plan.table));
    let begin = Beginning::of(cx, ledger, writer, plan, at, (&fresh, found.as_ref()), sender)?;
    if let Some(made) = plan.tables[at].made.clone()
        && !cx.options.dry_run
    {
        ledger.note_made(writer, &made)?;
    }
    let is_same = match begin {
        Beginning::Refused(error) => {
            plan.refuse(at, error);
            return Ok(());
        }
        Beginning::AtCheckpoint => true,
        Beginning::Fresh => false,
    };
    if let Some(found) = found.as_ref().filter(|_| !is_same) {
        ledger.forget_stage(writer, found)?;
    }
    let table = &mut plan.tables[at];
    fresh.again = table.plan.append.again;
    let began = found.is_some() && is_same;
    let made_before = made_before || found.as_ref().is_some_and(|found| found.made_before);
    let mut checkpoint = match found {
        Some(found) if is_same => Checkpoint { announced: table.announced, ..found },
        _ => fresh,
    };
    // It may be that only now the pull ended that made the table, or ends here.
    checkpoint.made_before |= made_before;
    let resumed = is_same && checkpoint.has_progress();
    if !resumed {
        checkpoint.made_before |= ledger.supersede(writer, &name, strategy)?;
        begin_rows(ledger, writer, &plan.tables[at].plan)?;
    }
    let table = &mut plan.tables[at];
    table.checkpoint = place(cx, ledger, writer, table, staged, checkpoint)?;
    ledger.begin_checkpoint(writer, &table.checkpoint)?;
    table.report.resumed = resumed;
    let checkpoint = &table.checkpoint;
    // That a table was made is told by the pull that made it, whichever run ends it.
    (table.report.created_table, table.report.notes) = (checkpoint.created, checkpoint.notes.clone());
    table.report.verified = checkpoint.verified;
    (table.states, table.before) = (States::of(&checkpoint.states), checkpoint.before.clone());
    if resumed {
        if !staged || checkpoint.step == Step::Done {
            table.report.outcome.clone_from(&checkpoint.outcome);
        }
        (table.received, table.bytes) = (checkpoint.records, checkpoint.bytes);
    }
    table.plan.append.again = checkpoint.again;
    let is_appended = |follow: &Follow| follow.keys != ParentKeys::Kept;
    table.follows = table.plan.follows.iter().any(is_appended);
    table.earlier = Earlier {
        at: began.then_some((checkpoint.records, checkpoint.step)),
        outcome: table.report.outcome.clone(),
        bytes: table.bytes,
    };
    Ok(())
}

/// A table comes from its first record on.
pub(super) fn begin_rows(ledger: &Ledger<'_>, writer: &mut dyn Writer, plan: &TablePlan) -> Result<()> {
    ledger.begin_table(writer, plan)?;
    match plan.keys_may_meet {
        true => ledger.forget_taken(writer, &plan.table.name),
        false => Ok(()),
    }
}

/// Gives a table its stage. Gives the checkpoint that it begins at with that.
pub(super) fn place(
    cx: &Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    writer: &mut dyn Writer,
    table: &mut Table,
    staged: bool,
    mut checkpoint: Checkpoint,
) -> Result<Checkpoint> {
    let width = table.plan.targets.len();
    let needs_stage = staged || cx.options.dry_run || Direct::needs_stage(&table.plan);
    table.stage = match (needs_stage, checkpoint.stage) {
        (false, _) => None,
        // What waits in the stage of the pull that would be resumed stays there.
        (true, Some(number)) if cx.options.dry_run => Some(ledger.copied_stage(writer, number, width)?),
        (true, Some(number)) => Some(ledger.stage_of(number, width)),
        (true, None) => Some(ledger.stage(width)),
    };
    checkpoint.stage = table.stage.as_ref().map(|stage| stage.number);
    Ok(checkpoint)
}

/// Where a table begins.
enum Beginning {
    AtCheckpoint,
    Fresh,
    /// It is not pulled: an append would add rows twice.
    Refused(Error),
}

impl Beginning {
    fn of(
        cx: &Context<'_, '_>,
        ledger: &Ledger<'_>,
        writer: &mut dyn Writer,
        plan: &Plan,
        at: usize,
        (fresh, found): (&Checkpoint, Option<&Checkpoint>),
        sender: Option<&Sender>,
    ) -> Result<Self> {
        let table = &plan.tables[at];
        if table.plan.strategy != Strategy::Append {
            let is_same = |found: &Checkpoint| found.continues && found.plan == fresh.plan && !ledger.is_outdated(found);
            return Ok(if found.is_some_and(is_same) { Beginning::AtCheckpoint } else { Beginning::Fresh });
        }
        let again = table.plan.append.again;
        let appended = ledger.appended(writer, &table.name)?;
        let others = ledger.elsewhere(writer, sender, &table.name, Strategy::Append)?;
        if let Some(other) = others.iter().find(|other| other.may_run) {
            return Ok(Beginning::Refused(runs_elsewhere(&other.checkpoint)));
        }
        let of_copy = others.iter().find(|other| other.is_of_copy && other.checkpoint.records > 0);
        let is_other_copy = of_copy.is_some()
            || matches!((&appended, sender), (Some(appended), Some(sender)) if !sender.is_of(appended.incarnation));
        let is_lacking = appended.as_ref().is_some_and(|append| append.lacks_parents)
            || found.is_some_and(|found| found.step == Step::Done && found.lacks_parents);
        // What came before is skipped then.
        let knows = appended.as_ref().is_none_or(|append| append.keys_kept) && !is_other_copy;
        let brings_new = knows && (is_lacking || cx.options.append_new);
        let is_same = found
            .is_some_and(|found| found.continues && found.plan == fresh.plan && !(brings_new && found.step == Step::Done));
        if is_same && found.is_some_and(Checkpoint::has_progress) {
            return Ok(Beginning::AtCheckpoint);
        }
        if again || brings_new {
            return Ok(if is_same { Beginning::AtCheckpoint } else { Beginning::Fresh });
        }
        let was_applied = |found: &&Checkpoint| found.outcome.total() > found.outcome.failed;
        let began = |other: &&Other| other.checkpoint.records > 0;
        let refusal = match (found.filter(was_applied), &appended) {
            (_, Some(appended)) if is_other_copy => Some(another_copy(&appended.table, appended.records)),
            (None, None) if is_other_copy => of_copy.map(|other| another_copy(&table.name, other.checkpoint.records)),
            (Some(found), _) => Some(changed_since(found)),
            (None, Some(appended)) => Some(appended_before(appended)),
            (None, None) => others.iter().find(began).map(|other| interrupted_elsewhere(&other.checkpoint)),
        };
        Ok(match refusal {
            Some(error) if cx.options.append_new && !is_other_copy => Beginning::Refused(keys_not_kept(&error)),
            Some(error) => Beginning::Refused(error),
            None if is_same => Beginning::AtCheckpoint,
            None => Beginning::Fresh,
        })
    }
}

fn appended_before(append: &Appended) -> Error {
    let (table, records) = (&append.table, append.records);
    let again = "To add what is new since then, ask for it: `PullOptions::append_new`. To add all its rows a second time: \
                 `PullOptions::append_again`.";
    match append.whole {
        true => {
            let why = format!("{table:?} was appended before as a whole (number of records: {records})");
            Error::new(ErrorKind::AlreadyAppended, why).with_hint(again)
        }
        false => Error::new(
            ErrorKind::AlreadyAppended,
            format!(
                "an append of {table:?} was begun before, and interrupted after {records} records; it is too long ago to resume"
            ),
        )
        .with_hint("To add the others, ask for it: `PullOptions::append_new`."),
    }
}

/// The sender is a copy of the site that the rows came from.
fn another_copy(table: &str, records: u64) -> Error {
    let message = format!(
        "{table:?} was appended before, {records} records of it, from another copy of the other site's database; which rows are the \
         same cannot be told"
    );
    Error::new(ErrorKind::AlreadyAppended, message)
        .with_hint("To add all rows of this copy, ask for it: `PullOptions::append_again`.")
}

/// Why what is new cannot be told.
fn keys_not_kept(error: &Error) -> Error {
    Error::new(error.kind(), format!("{}; the keys of its rows were not kept", error.message())).with_hint(
        "Older versions kept no keys, and a key map can be cleared. To add all its rows a second time: `PullOptions::append_again`.",
    )
}

fn runs_elsewhere(checkpoint: &Checkpoint) -> Error {
    let (table, records) = (&checkpoint.table, checkpoint.records);
    let message = format!("another pull is appending {table:?}, or was killed a moment ago; it has {records} records of it");
    Error::new(ErrorKind::AlreadyAppended, message).with_hint(
        "Wait until it has ended. If it was killed, pull the same tables, or wait two minutes: then it is resumed.",
    )
}

fn interrupted_elsewhere(checkpoint: &Checkpoint) -> Error {
    let (table, records) = (&checkpoint.table, checkpoint.records);
    let message = format!("an append of {table:?} was begun by another pull, which was interrupted after {records} records");
    Error::new(ErrorKind::AlreadyAppended, message).with_hint(
        "Pull this table alone, and it is resumed. To add its rows a second time, ask for it: `PullOptions::append_again`.",
    )
}

pub(super) fn changed_since(checkpoint: &Checkpoint) -> Error {
    let (table, rows) = (&checkpoint.table, checkpoint.outcome.created);
    let message = format!(
        "an append of {table:?} was interrupted after {rows} rows, and cannot resume: a table, or rowferry, has changed since, or the \
         other site cannot resume there"
    );
    Error::new(ErrorKind::AlreadyAppended, message).with_hint("To add the others, ask for it: `PullOptions::append_new`.")
}
