//! Going on with a pull that was cut off: whose scope is taken, and which ones are in use by this process.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::strategy::Strategy;
use crate::error::Result;
use crate::store::records::marks;
use crate::store::records::pulls::{self, KeptPull};
use crate::store::{Scope, Sql};

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

/// The newest pull of this sender that was cut off in one of these tables, and is nobody's in this process.
pub(super) fn find(sql: &mut dyn Sql, sender: &str, wanted: &[(String, Strategy)]) -> Result<Option<(KeptPull, Running)>> {
    for pull in pulls::kept(sql, Some(sender))? {
        let tables = marks::tables(sql, &pull.scope)?;
        if !tables.iter().any(|table| wanted.contains(table)) {
            continue;
        }
        if let Some(running) = Running::claim(&pull.scope) {
            return Ok(Some((pull, running)));
        }
    }
    Ok(None)
}
