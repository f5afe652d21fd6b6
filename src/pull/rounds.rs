//! The third and fourth phase of a pull: rows are fetched and applied, in as many rounds as it takes.

use std::sync::Arc;
use std::time::Instant;

use super::TableStatus;
use super::apply::Apply;
use super::context::Context;
use super::errors::is_resumable;
use super::fetch::{Fetch, Task};
use super::finish::{self, Gathered};
use super::hold::waits_for;
use super::options::BATCH_SIZE;
use super::planned::{Group, Plan, Table};
use super::reconnect::ReconnectPolicy;
use super::reporter::Reporter;
use super::session::{self, Session};
use super::settle::{begin_rows, place};
use super::wait::Poll;
use crate::domain::record::Outcome;
use crate::domain::strategy::Strategy;
use crate::domain::verified::Verified;
use crate::error::{ErrorKind, Result};
use crate::import::late::{self, Late};
use crate::import::{Finish, Transaction};
use crate::ledger::{Ledger, Step};

/// The most records that PhoenixKit is asked for: it sends no more than this, but counts on from what was asked.
const PHOENIX_RECORDS: u32 = 1_000;

/// Fetches and applies all tables. What goes wrong stands in their reports.
pub(super) fn all(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    plan: &mut Plan,
    reporter: &mut Reporter,
    gathered: &mut Gathered,
) {
    round(cx, ledger, plan, reporter, gathered);
    retry(cx, ledger, plan, reporter, gathered);
    refresh(cx, ledger, plan, reporter, gathered);
}

/// Fetches the tables that have not ended, and applies them.
fn round(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    plan: &mut Plan,
    reporter: &mut Reporter,
    gathered: &mut Gathered,
) {
    let groups = open_groups(plan);
    let mut late = Vec::new();
    let done = with_session(cx, ledger, &mut plan.tables, &groups, |cx, ledger, tables, session| {
        late = Apply::new(cx, ledger, tables, reporter, session, gathered).groups(&groups);
    });
    if let Err(error) = done {
        for (at, table) in plan.tables.iter_mut().enumerate().filter(|(_, table)| !table.has_ended) {
            table.report.interrupt(error.clone());
            finish::close(cx, ledger, table, reporter, at);
        }
    }
    if !late.is_empty() {
        settle_late(cx, ledger, &mut plan.tables, reporter, gathered, late);
    }
    reporter.tell(cx, &plan.tables);
}

/// Runs `work` while the tables of these groups are fetched.
pub(super) fn with_session<'a, 'p, 's>(
    cx: &mut Context<'a, 'p>,
    ledger: &mut Ledger<'s>,
    tables: &mut [Table],
    groups: &[Group],
    work: impl FnOnce(&mut Context<'a, 'p>, &mut Ledger<'s>, &mut [Table], &mut Session),
) -> Result<()> {
    let page_records = match cx.source.is_rowferry() {
        true => cx.options.page_records(BATCH_SIZE),
        // It takes as long for a small page as for a large one.
        false => cx.options.page_records(PHOENIX_RECORDS).min(PHOENIX_RECORDS),
    };
    let (patience, bounds) = (cx.patience.child(), Arc::clone(&cx.bounds));
    let fetch = Fetch {
        source: cx.source,
        pull: ledger.name(),
        limits: cx.limits,
        page_records,
        stream_records: cx.options.stream_records(),
        patience: &patience,
        bounds: &bounds,
        reconnect: std::mem::replace(&mut cx.reconnect, ReconnectPolicy::new(std::time::Duration::ZERO)),
        approval_until: cx.approval_until,
    };
    cx.reconnect = fetch.reconnect.clone();
    let mut tasks = Vec::new();
    for at in groups.iter().flat_map(|group| &group.tables) {
        let table = &mut tables[*at];
        if !table.has_ended && table.checkpoint.step == Step::Fetching {
            tasks.push(Task {
                at: *at,
                table: Arc::clone(&table.sender),
                from: table.position(),
                before: table.states.clone(),
                announced: table.announced,
                allowance: std::mem::take(&mut table.allowance),
                skip: Arc::default(),
            });
        }
    }
    session::with(fetch, tasks, |session| work(cx, ledger, tables, session))
}

/// The groups with what is left of their tables.
fn open_groups(plan: &Plan) -> Vec<Group> {
    let open = |group: &Group| {
        let tables = group.tables.iter().copied().filter(|at| !plan.tables[*at].has_ended).collect();
        Group { tables, ..group.clone() }
    };
    plan.groups.iter().map(open).filter(|group| !group.tables.is_empty()).collect()
}

/// Settles what waits until all tables are there.
fn settle_late(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    tables: &mut [Table],
    reporter: &mut Reporter,
    gathered: &mut Gathered,
    mut late: Vec<(usize, Late)>,
) {
    // The rows that they wait for may be those of a table that was interrupted.
    let interrupted = tables
        .iter()
        .find_map(|table| Some((table, table.report.error.as_ref().filter(|error| is_resumable(error.kind()))?)));
    let applied = match interrupted {
        Some((table, error)) if ledger.keeps_checkpoints() => Err(waits_for(&table.name, error)),
        _ => Transaction::begin(ledger).and_then(|mut tx| {
            let mut waiting: Vec<&mut Late> = late.iter_mut().map(|(_, late)| late).collect();
            late::apply(ledger, &mut tx, &mut waiting, Finish::Commit)
        }),
    };
    finish::late(cx, ledger, tables, reporter, gathered, (&mut late, &applied));
}

/// Whether what this database said may pass. The lock was waited for already.
fn is_local_trouble(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DiskFull | ErrorKind::Io)
}

/// Tries the tables again that ended because this database's disk was full or failed, for as long as a lost connection is tried again.
fn retry(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    plan: &mut Plan,
    reporter: &mut Reporter,
    gathered: &mut Gathered,
) {
    let mut until = None;
    let mut poll = Poll::new(std::time::Duration::from_millis(200));
    let mut reached: u64 = 0;
    loop {
        let in_trouble =
            |table: &&mut Table| table.report.error.as_ref().is_some_and(|error| is_local_trouble(error.kind()));
        let now: u64 = plan.tables.iter().map(|table| table.checkpoint.records).sum();
        if now > reached {
            (reached, until) = (now, None);
        }
        let time = cx.limits.pull.retry_time;
        let until = *until.get_or_insert_with(|| crate::clock::later(Instant::now(), time));
        if cx.lost.is_some()
            || Instant::now() >= until
            || !plan.tables.iter_mut().any(|table| in_trouble(&table))
            || poll.pause(&cx.patience, Some(until)).is_err()
        {
            return;
        }
        for group in &plan.groups {
            for at in &group.tables {
                let Some(table) = Some(&mut plan.tables[*at]).filter(in_trouble) else { continue };
                log::info!(target: "rowferry::pull", "trying {:?} again", table.name);
                finish::try_again(table, group.staged);
                reporter.again();
            }
        }
        round(cx, ledger, plan, reporter, gathered);
    }
}

/// Pulls those tables again that came, wholly or in part, from an older state of the sender: now that nothing is missing, all comes
/// from one.
fn refresh(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    plan: &mut Plan,
    reporter: &mut Reporter,
    gathered: &mut Gathered,
) {
    let latest = gathered.latest;
    let is_stale = |table: &Table| {
        let is_current = latest.is_some() && table.states.one() == latest;
        table.report.resumed && table.report.status == TableStatus::Completed && !is_current
    };
    let stale: Vec<usize> = (0..plan.tables.len()).filter(|at| is_stale(&plan.tables[*at])).collect();
    if stale.is_empty() {
        return;
    }
    let may_be = |at: &usize| plan.tables[*at].plan.strategy != Strategy::Append;
    let again: Vec<usize> = match cx.options.no_refresh || cx.lost.is_some() {
        true => Vec::new(),
        false => stale.iter().copied().filter(may_be).collect(),
    };
    for at in stale.iter().copied().filter(|at| !again.contains(at)) {
        plan.tables[at].report.age = ledger.age(&plan.tables[at].checkpoint);
    }
    if again.is_empty() {
        return;
    }
    let again = with_children(cx, plan, again);
    let former = again.iter().map(|at| &plan.tables[*at].report);
    let former: Vec<(Outcome, Verified)> = former.map(|report| (report.outcome.clone(), report.verified)).collect();
    match begin_again(cx, ledger, plan, &again) {
        Ok(()) => {
            again.iter().for_each(|_| reporter.again());
            round(cx, ledger, plan, reporter, gathered);
            retry(cx, ledger, plan, reporter, gathered);
        }
        Err(error) => again.iter().for_each(|at| plan.tables[*at].report.interrupt(error.clone())),
    }
    for (at, former) in again.into_iter().zip(former) {
        leave_if_interrupted(ledger, &mut plan.tables[at], former);
    }
}

/// These tables, and those of which records failed that may refer to rows which are there only when these were pulled again.
fn with_children(cx: &Context<'_, '_>, plan: &Plan, mut again: Vec<usize>) -> Vec<usize> {
    loop {
        let refers = |table: &Table| {
            let mut keys = table.sender.foreign_keys.iter().chain(&table.plan.table.foreign_keys);
            keys.any(|key| again.iter().any(|parent| cx.names.same(&key.parent, &plan.tables[*parent].name)))
        };
        let next = plan.tables.iter().enumerate().position(|(at, table)| {
            let lacks = table.report.outcome.failed > 0 && table.report.status == TableStatus::Completed;
            lacks && table.plan.strategy != Strategy::Append && !again.contains(&at) && refers(table)
        });
        match next {
            Some(child) => again.push(child),
            None => return again,
        }
    }
}

/// The tables begin again at their first rows, in one transaction.
fn begin_again(cx: &Context<'_, '_>, ledger: &mut Ledger<'_>, plan: &mut Plan, again: &[usize]) -> Result<()> {
    let mut writer = ledger.transaction()?;
    let mut begun = Vec::new();
    for group in plan.groups.clone() {
        for at in group.tables.into_iter().filter(|at| again.contains(at)) {
            let table = &mut plan.tables[at];
            let fresh = finish::fresh(table);
            begin_rows(ledger, &mut *writer, &table.plan)?;
            let fresh = place(cx, ledger, &mut *writer, table, group.staged, fresh)?;
            ledger.put_checkpoint(&mut *writer, &fresh)?;
            begun.push((at, fresh));
        }
    }
    ledger.note_stages(&mut *writer)?;
    ledger.commit(&mut *writer)?;
    begun.into_iter().for_each(|(at, fresh)| finish::reset(&mut plan.tables[at], fresh));
    Ok(())
}

/// A table that could not be pulled a second time, or only in part, is there all the same: its records became what they were before.
fn leave_if_interrupted(ledger: &Ledger<'_>, table: &mut Table, (former, verified): (Outcome, Verified)) {
    let Some(error) = table.report.error.take() else { return };
    table.report.outcome = former;
    if !may_be_left(error.kind()) {
        table.report.status = TableStatus::Incomplete;
        table.report.error = Some(error);
        return;
    }
    table.report.status = TableStatus::Completed;
    table.report.age = ledger.age(&table.checkpoint);
    let applied = if table.stage.is_none() { table.checkpoint.records } else { 0 };
    table.report.verified = if applied == 0 { verified } else { Verified::None };
    let which = match applied {
        0 => "Its rows".to_owned(),
        records => format!("Its rows but the first {records}"),
    };
    table.report.notes.push(format!(
        "{which} are of an older state of the other site, and could not be pulled again ({}): {}.",
        error.code(),
        error.message()
    ));
}

/// Whether a table whose rows are all here is complete although this kept it from being pulled a second time: the sender does not give
/// it again, or not now.
fn may_be_left(kind: ErrorKind) -> bool {
    kind.is_retryable()
        || matches!(
            kind,
            ErrorKind::DownloadLimit
                | ErrorKind::RecordLimit
                | ErrorKind::ApprovalRequired
                | ErrorKind::ApprovalDenied
                | ErrorKind::ApprovalExpired
                | ErrorKind::RateLimited
                | ErrorKind::PullLimit
        )
}
