//! Which interrupted pull a new one resumes, and which ones run.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::checkpoints;
use super::pulls::{self, KeptPull, Sender};
use super::scope::Scope;
use crate::domain::strategy::Strategy;
use crate::error::Result;
use crate::store::Sql;

/// The scopes of the pulls that run through a site. Two at once in one program are two pulls, whatever they pull: none takes the other
/// for dead. What another process does cannot be known here; see [`pulls::take_over`].
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningPulls(Arc<Mutex<BTreeSet<String>>>);

/// A scope that is in use for as long as this lives.
#[derive(Debug)]
pub(super) struct Running {
    all: RunningPulls,
    scope: Scope,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.scopes().remove(self.scope.as_str());
    }
}

impl RunningPulls {
    /// `None` if the scope is in use already.
    pub(super) fn claim(&self, scope: &Scope) -> Option<Running> {
        self.scopes().insert(scope.as_str().to_owned()).then(|| Running { all: self.clone(), scope: scope.clone() })
    }

    fn scopes(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A set of names, which a panic elsewhere leaves whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a pull may be running: through this site, or elsewhere if it was heard of since it would be taken for `silent`.
    pub(super) fn may_run(&self, pull: &KeptPull, silent: Option<OffsetDateTime>) -> bool {
        let is_heard = pull.owned && silent.is_none_or(|silent| pull.touched_at >= silent);
        is_heard || self.scopes().contains(pull.scope.as_str())
    }

    /// The newest pull of this sender that has yet to finish one of these tables, and that does not run through this site. Another process may
    /// run it: unless it was `silent` since then, only a pull that wants all that it has yet to finish takes it over, so that nothing of
    /// it is left undone. One that has nothing left to do is over, although it could not say so: it is not resumed.
    pub(super) fn find(
        &self,
        sql: &mut dyn Sql,
        sender: &Sender,
        wanted: &[(String, Strategy)],
        silent: Option<OffsetDateTime>,
    ) -> Result<Option<(KeptPull, Running)>> {
        for pull in pulls::kept(sql, Some(&sender.name))?.into_iter().filter(|pull| sender.is_of(pull.incarnation)) {
            let open = checkpoints::open(sql, &pull.scope)?;
            if !open.iter().any(|table| wanted.contains(table)) {
                continue;
            }
            let others = || open.iter().any(|table| !wanted.contains(table));
            if self.may_run(&pull, silent) && others() {
                log::info!(
                    target: "rowferry::pull",
                    "the pull {} is left alone: it may run, and pulls other tables, too", pull.scope.as_str()
                );
                continue;
            }
            if let Some(running) = self.claim(&pull.scope) {
                return Ok(Some((pull, running)));
            }
        }
        Ok(None)
    }

    /// The pulls of this sender that have nothing left to do among these tables: each was completed and could not say so. And those that keep
    /// nothing of any table: each failed, and could not say so.
    pub(super) fn over(
        &self,
        sql: &mut dyn Sql,
        sender: &Sender,
        wanted: &[(String, Strategy)],
        silent: Option<OffsetDateTime>,
    ) -> Result<Vec<KeptPull>> {
        let mut over = Vec::new();
        for pull in pulls::kept(sql, Some(&sender.name))?.into_iter().filter(|pull| !self.may_run(pull, silent)) {
            let tables = checkpoints::tables(sql, &pull.scope)?;
            let is_over = tables.is_empty() || tables.iter().any(|table| wanted.contains(table));
            if is_over && checkpoints::open(sql, &pull.scope)?.is_empty() {
                over.push(pull);
            }
        }
        Ok(over)
    }
}
