//! What was taken out of a database.

use std::path::PathBuf;

/// What [`SiteBuilder::remove_state`](crate::SiteBuilder::remove_state) removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedState {
    /// rowferry's tables, sorted by name; none if there were none.
    pub tables: Vec<String>,
    /// Tables that are named like rowferry's (`rowferry_*`) and are not its own, sorted by name: they stay.
    pub left: Vec<String>,
    /// The file with the site's key, if it lay beside the database and was removed.
    pub key_file: Option<PathBuf>,
}
