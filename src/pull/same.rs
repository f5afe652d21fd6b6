//! Whether anything is to be pulled at all. After a pull that brought all of one state of the sender, the token of that state is kept; the
//! next pull of the same kind first asks whether all is still so, and then ends without a list, a structure or a row.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::Report;
use super::context::Context;
use super::planned::Table;
use super::source::State;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::ledger::pulls::Sender;
use crate::ledger::same::{Kind, Same};
use crate::store::StateToken;

/// What is said where rows here may be others by now.
const NOT_CHECKED: &str = "The other site is unchanged since the last pull; rows here were not checked (rows_not_checked). Set `always` to \
     pull all the same.";

/// What a pull knows of the states of its sender and of this site, from its beginning.
pub(super) struct Known {
    /// Which pulls bring the same as this one; `None` where that cannot be told.
    kind: Option<Kind>,
    /// This site's state before the pull.
    local: Option<StateToken>,
    /// What was kept of others before.
    others: Vec<Same>,
}

/// What is to be done.
pub(super) enum Found {
    /// Nothing: here is the report.
    Unchanged(Box<Report>),
    /// To pull.
    Changed(Known),
}

/// Asks the sender whether anything has changed since the last pull of this kind, if there was one.
///
/// # Errors
/// What the sender says: it would not let tables be pulled, either.
pub(super) fn ask(
    cx: &mut Context<'_, '_>,
    ledger: &Ledger<'_>,
    sender: Option<&Sender>,
    through: &str,
    began: Instant,
) -> Result<Found> {
    let kind = sender.and_then(|sender| kind(cx, sender, through));
    let local = match &kind {
        Some(_) => ledger.store().state_token()?,
        None => None,
    };
    if let (Some(kind), Some(local)) = (&kind, local)
        && !cx.options.always
        && let Some(known) = ledger.same(kind)?
        // What was made here may be gone.
        && known.schema == local.schema()
        && cx.ask(|source, patience| source.is_same(&known.token, patience))?
    {
        let is_untouched = known.local.is_some_and(|known| known == local.to_bytes());
        let notes = if is_untouched { Vec::new() } else { vec![NOT_CHECKED.to_owned()] };
        let report = Report { unchanged: true, one_state: true, notes, duration: began.elapsed(), ..Report::default() };
        return Ok(Found::Unchanged(Box::new(report)));
    }
    Ok(Found::Changed(Known { kind, local, others: Vec::new() }))
}

/// Which pulls bring the same as this one: those of the same sender with the same choices, where nothing is decided by the caller's
/// own code or has to happen each time.
fn kind(cx: &Context<'_, '_>, sender: &Sender, through: &str) -> Option<Kind> {
    let options = &cx.options;
    let is_plain = !options.dry_run && !options.append_again && options.on_conflict.is_empty();
    let copy = options.copy.as_ref().filter(|_| is_plain && cx.source.tells_same())?;
    let chosen = (
        (options.strategy, &options.table_strategies, &options.tables, &options.exclude, &options.keys),
        (&options.newer_by, &options.table_newer_by, options.keep_missing_tables, options.extra_columns),
        (options.on_taken_key, options.dangling, options.on_lossy, options.outside_references),
        (&copy.terms, through, cx.protected, env!("CARGO_PKG_VERSION")),
    );
    let digest = Sha256::digest(format!("{chosen:?}"));
    let plan = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Kind { sender: sender.name.clone(), incarnation: sender.incarnation?, here: copy.incarnation, plan })
}

impl Known {
    /// Rows are about to be written: what is kept is dropped until it is known what became of them.
    pub(super) fn begin(&mut self, cx: &Context<'_, '_>, ledger: &Ledger<'_>) {
        if cx.options.dry_run {
            return;
        }
        match ledger.take_same() {
            Ok(mut known) => {
                known.retain(|known| Some(&known.kind) != self.kind.as_ref());
                self.others = known;
            }
            Err(error) => {
                log::warn!(target: "rowferry::pull", "what is known of earlier pulls cannot be dropped yet: {error}")
            }
        }
    }

    /// The pull is over: keeps the state that all came from, if it is here whole. What other pulls brought stands if nothing was written.
    pub(super) fn end(self, cx: &Context<'_, '_>, ledger: &Ledger<'_>, report: &Report, state: Option<State>) {
        if cx.options.dry_run {
            return;
        }
        let Known { kind, local, others } = self;
        let wrote = report.tables.iter().any(|table| {
            let outcome = &table.outcome;
            table.created_table || !table.is_clean() || outcome.total() > outcome.unchanged + outcome.skipped
        });
        let mut kept = if wrote { Vec::new() } else { others };
        let is_whole = report.is_clean() && report.one_state && !report.tables.iter().any(|table| table.resumed);
        if let (Some(kind), Some(state), Some(before), true) = (kind, state, local, is_whole)
            && let Ok(Some(now)) = ledger.store().state_token()
        {
            let is_apart = now.is_after_own(&before, ledger.writers());
            kept.push(ledger.new_same(kind, state.token, now, is_apart));
        }
        if let Err(error) = ledger.keep_same(&kept, wrote) {
            log::warn!(target: "rowferry::pull", "it cannot be kept which state of the other site is here: {error}");
        }
    }
}

/// The state that was listed, if all rows are of it.
pub(super) fn of_all(listed: Option<State>, tables: &[Table]) -> Option<State> {
    let is_of = |state: &State, table: &Table| match table.states.one() {
        Some(number) => number == state.number,
        None => table.states.as_slice().is_empty() && table.announced == 0 && table.received == 0,
    };
    listed.filter(|state| tables.iter().all(|table| is_of(state, table)))
}
