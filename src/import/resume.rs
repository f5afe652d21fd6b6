//! Going on with a pull that was cut off: whose scope is taken, and which ones are in use by this process.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use crate::domain::strategy::Strategy;
use crate::error::Result;
use crate::ledger::Scope;
use crate::ledger::checkpoints;
use crate::ledger::pulls::{self, KeptPull};
use crate::store::Sql;

/// The scopes of the pulls that run in this process. Two at once in one program are two pulls, whatever they pull: none takes
/// the other for dead. What another process does cannot be known here; see [`pulls::take_over`].
static RUNNING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A scope that is in use by this process for as long as this lives.
#[derive(Debug)]
pub(super) struct Running(Scope);

impl Running {
    /// `None` if the scope is in use already.
    pub(super) fn claim(scope: &Scope) -> Option<Self> {
        running().insert(scope.as_str().to_owned()).then(|| Running(scope.clone()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        running().remove(self.0.as_str());
    }
}

fn running() -> MutexGuard<'static, BTreeSet<String>> {
    // A set of names, which a panic elsewhere leaves whole.
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest pull of this sender that has yet to finish one of these tables, and is nobody's in this process. Another process
/// may run it: unless it was `silent` since then, only who wants all that it has yet to finish takes it over, so that nothing of
/// it is left undone.
pub(super) fn find(
    sql: &mut dyn Sql,
    sender: &str,
    wanted: &[(String, Strategy)],
    silent: Option<OffsetDateTime>,
) -> Result<Option<(KeptPull, Running)>> {
    for pull in pulls::kept(sql, Some(sender))? {
        let mut open = checkpoints::open(sql, &pull.scope)?;
        if open.is_empty() {
            // All was done, but it could not say so any more.
            open = checkpoints::tables(sql, &pull.scope)?;
            if !open.iter().all(|table| wanted.contains(table)) {
                continue;
            }
        }
        if !open.iter().any(|table| wanted.contains(table)) {
            continue;
        }
        let may_run = pull.owned && silent.is_none_or(|silent| pull.touched_at >= silent);
        if may_run && !open.iter().all(|table| wanted.contains(table)) {
            log::info!("the pull {} is left alone: it may run, and pulls other tables, too", pull.scope.as_str());
            continue;
        }
        if let Some(running) = Running::claim(&pull.scope) {
            return Ok(Some((pull, running)));
        }
    }
    Ok(None)
}
