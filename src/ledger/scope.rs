//! Whose rows in rowferry's own tables are meant.

use uuid::Uuid;

/// Whose rows in rowferry's own tables are meant: what one pull keeps for itself while it runs (stages, counts, checkpoints), or what is kept
/// of a sender after it (keys, counts of appended rows). Two pulls into one database have two scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope(String);

impl Scope {
    /// A scope of its own.
    pub(crate) fn new() -> Self {
        Scope(Uuid::now_v7().simple().to_string())
    }

    /// The name that other sites know a pull by; `None` for a sender.
    pub(crate) fn pull(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.0).ok()
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
