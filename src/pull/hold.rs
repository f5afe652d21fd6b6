//! Which tables wait for others: their rows would be lost, or join rows that are none of theirs, while a parent is missing.

use super::context::Context;
use super::errors::is_resumable;
use super::planned::{Plan, Table};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Ledger;
use crate::store::Writer;

/// Refuses tables that wait for one that is not pulled: where that may be pulled the next time, where the child or the parent is
/// appended, and where the parent's rows are found by a key of the caller's choice. A reference would lead to
/// a row that has the parent's old key by chance, or the record would fail and count as appended.
pub(super) fn hold_children(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    writer: &mut dyn Writer,
    plan: &mut Plan,
) -> Result<()> {
    while !plan.failed.is_empty()
        && let Some((at, error)) = held_child(cx, ledger, writer, plan)?
    {
        plan.refuse(at, error);
    }
    Ok(())
}

fn held_child(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    writer: &mut dyn Writer,
    plan: &Plan,
) -> Result<Option<(usize, Error)>> {
    for (at, table) in plan.tables.iter().enumerate().filter(|(_, table)| !table.has_ended) {
        for parent in parents(table) {
            let Some((name, error)) = plan.not_pulled(cx, parent) else { continue };
            let is_appended = |table: &str| cx.options.strategy_of(table) == Strategy::Append;
            let is_passing = is_resumable(error.kind()) && ledger.keeps_checkpoints();
            // Its rows may be here under other keys than there.
            let is_by_key = cx.options.keys.contains_key(name);
            if !is_passing && !is_by_key && !is_appended(&table.name) && !is_appended(name) {
                continue;
            }
            if error.kind() != ErrorKind::AlreadyAppended {
                return Ok(Some((at, waits_for(name, error))));
            }
            if !knows(cx, ledger, writer, table, name)? {
                let message = format!(
                    "rows of {:?} belong to those of {name:?}, which was appended before and is not appended now",
                    table.name
                );
                let error = Error::new(ErrorKind::AlreadyAppended, message).with_hint(error.hint().unwrap_or_default());
                return Ok(Some((at, error)));
            }
        }
    }
    Ok(None)
}

/// Whether all rows of a parent are known that was appended before, so that those of the child follow them.
fn knows(cx: &Context<'_, '_>, ledger: &Ledger<'_>, writer: &mut dyn Writer, child: &Table, parent: &str) -> Result<bool> {
    let mut followed = child.plan.follows.iter().map(|follow| &follow.parent.name);
    if !followed.any(|name| cx.names.same(name, parent)) {
        // A reference to other columns than the key leads where it does.
        return Ok(true);
    }
    let is_whole = ledger.appended(writer, parent)?.is_some_and(|append| append.whole);
    let known = ledger.known_rows(writer, std::iter::once(parent))?;
    Ok(is_whole && known.iter().any(|known| known.appended))
}

/// Why a group must wait for a table before it, a parent of one of its tables: that one was interrupted, or failed where the child
/// or the parent is appended, or has a key of the caller's choice. Without its rows those of the child would fail.
pub(super) fn waits(cx: &Context<'_, '_>, ledger: &Ledger<'_>, tables: &[Table], group: &[usize]) -> Option<Error> {
    group.iter().find_map(|at| {
        let child = &tables[*at];
        parents(child).find_map(|name| {
            let parent = tables.iter().position(|table| cx.names.same(&table.name, name))?;
            if group.contains(&parent) {
                return None;
            }
            let parent = &tables[parent];
            let error = parent.report.error.as_ref()?;
            must_wait(cx, ledger, &[child, parent], error).then(|| waits_for(&parent.name, error))
        })
    })
}

/// An error if a table of a group was interrupted: the others then wait for it, because their rows may refer to its rows.
pub(super) fn all_are_staged(cx: &Context<'_, '_>, ledger: &Ledger<'_>, tables: &[Table], group: &[usize]) -> Result<()> {
    let group: Vec<&Table> = group.iter().map(|at| &tables[*at]).collect();
    let failed = group.iter().find_map(|table| Some((table, table.report.error.as_ref()?)));
    match failed {
        Some((table, error)) if must_wait(cx, ledger, &group, error) => Err(waits_for(&table.name, error)),
        _ => Ok(()),
    }
}

fn must_wait(cx: &Context<'_, '_>, ledger: &Ledger<'_>, tables: &[&Table], error: &Error) -> bool {
    let has_other_keys = |table: &&Table| table.plan.strategy == Strategy::Append || table.plan.kept_key.is_some();
    let is_appended = tables.iter().any(has_other_keys);
    // A dry run tells what the run would.
    let is_resumed = ledger.keeps_checkpoints() || cx.options.dry_run;
    // What was appended before is known.
    (is_appended && error.kind() != ErrorKind::AlreadyAppended) || (is_resumable(error.kind()) && is_resumed)
}

/// The tables that a table refers to, by the foreign keys of both sides.
fn parents(table: &Table) -> impl Iterator<Item = &str> {
    table.sender.foreign_keys.iter().chain(&table.plan.table.foreign_keys).map(|key| key.parent.as_str())
}

/// Why a table was not tried: another one was interrupted, or failed.
pub(super) fn waits_for(other: &str, error: &Error) -> Error {
    let what = if is_resumable(error.kind()) { "was interrupted" } else { "failed" };
    error.clone().while_doing(format!("not tried, because {other:?} {what}"))
}
