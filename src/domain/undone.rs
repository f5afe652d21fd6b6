//! What came of undoing transfers.

use serde::Serialize;
use uuid::Uuid;

use super::value::Value;

string_enum! {
    /// Why a row was kept as it is when its transfer was undone.
    #[non_exhaustive]
    pub enum KeptReason("reason to keep a row") {
        /// It is no longer as the transfer left it: somebody changed it, or another row has its key.
        Changed = "changed",
        /// It is gone.
        Gone = "gone",
        /// The transfer added it, and other rows refer to it.
        Referenced = "referenced",
        /// The database does not take what it was before: see the message.
        Refused = "refused",
    }
}

/// A row that was kept as it is when its transfer was undone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeptRow {
    /// The values of its key; all of its values where it has none.
    pub key: Vec<Value>,
    /// Why.
    pub reason: KeptReason,
    /// What the database said, if it was asked.
    pub message: Option<String>,
}

/// What came of undoing one transfer. Counts are of rows, each once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TableUndone {
    /// The table.
    pub table: String,
    /// The transfer that was undone.
    pub transfer: Uuid,
    /// The transfer of the history that says so. `None` in a dry run.
    pub undone_by: Option<Uuid>,
    /// Rows that are as they were before the transfer.
    pub restored: u64,
    /// Rows that the transfer added and that are gone again.
    pub deleted: u64,
    /// Rows that are still as the transfer, or somebody after it, left them.
    pub kept: u64,
    /// Rows that somebody else has made what they were before the transfer.
    pub unchanged: u64,
    /// The first of those that were kept.
    pub kept_rows: Vec<KeptRow>,
}

impl TableUndone {
    pub(crate) fn new(table: &str, transfer: Uuid) -> Self {
        let (table, undone_by, kept_rows) = (table.to_owned(), None, Vec::new());
        TableUndone { table, transfer, undone_by, restored: 0, deleted: 0, kept: 0, unchanged: 0, kept_rows }
    }
}

/// What came of undoing transfers. As JSON it has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UndoReport {
    /// Whether it was only tried.
    pub dry_run: bool,
    /// The transfers, in the order in which they were undone.
    pub tables: Vec<TableUndone>,
}

impl UndoReport {
    pub(crate) fn new(dry_run: bool, tables: Vec<TableUndone>) -> Self {
        UndoReport { dry_run, tables }
    }

    /// How many rows were kept, of all tables.
    pub fn kept(&self) -> u64 {
        self.tables.iter().map(|table| table.kept).sum()
    }
}

/// How transfers are undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct UndoOptions {
    pub(crate) dry_run: bool,
    pub(crate) whole_pull: bool,
}

impl UndoOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to try and report everything and to keep nothing. Defaults to false.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether all transfers of the same pull are undone: those of tables that refer to others first. Defaults to false.
    pub fn whole_pull(mut self, whole_pull: bool) -> Self {
        self.whole_pull = whole_pull;
        self
    }
}
