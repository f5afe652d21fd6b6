//! What the site keeps of its pulls: the one place that knows which are alive, how far each table is, which appends were finished,
//! which rows wait, and what records became.

pub(crate) mod checkpoints;
pub(crate) mod counts;
pub(crate) mod key_map;
pub(crate) mod pulls;
pub(crate) mod references;
pub(crate) mod stages;
pub(crate) mod taken_keys;
pub(crate) mod waiting;

use crate::error::Result;
use crate::store::Sql;

/// Whose rows in rowferry's own tables are meant: what one pull keeps for itself while it runs (stages, counts, marks), or what is kept
/// of a sender after it (keys, counts of appended rows). Two pulls into one database have two scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope(String);

impl Scope {
    /// A scope of its own.
    pub(crate) fn new() -> Self {
        Scope(uuid::Uuid::now_v7().simple().to_string())
    }

    /// A scope that was written down before.
    pub(crate) fn named(name: String) -> Self {
        Scope(name)
    }

    /// Its name: letters and digits only for a pull, `site:` or `url:` and more for a sender.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Forgets what a pull kept for itself, but for how far it is.
pub(crate) fn forget_scope(sql: &mut dyn Sql, scope: &Scope) -> Result<()> {
    stages::forget(sql, scope)?;
    waiting::forget(sql, scope)?;
    references::forget(sql, scope)?;
    key_map::forget(sql, scope)?;
    taken_keys::forget(sql, scope)?;
    counts::forget(sql, scope)
}
