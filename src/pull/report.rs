//! What a pull did.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::record::Outcome;
use crate::error::{Error, ErrorKind, Result};

/// What a pull of several tables did. One table's failure does not stop the others.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The tables in the order in which they were pulled, each with what became of it.
    pub tables: Vec<(String, TableReport)>,
    /// Whether all rows come from one state of the sender's database. Between two rowferry sites they do, unless its snapshot
    /// had to be renewed, or the pull was interrupted and what came before was not [pulled again](crate::TransferOptions::refresh);
    /// PhoenixKit has no snapshots, so that only a pull of a single page can be sure of it.
    pub one_state: bool,
    /// Records received, those of earlier runs of the same pull included.
    pub records: u64,
    /// Bytes received in pages, those of earlier runs of the same pull included.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// What a reader should know of the pull as a whole. Whole sentences, each with its code in parentheses: `file_numbers` where the
    /// `user_version` and `application_id` of the sender's file are not taken over.
    pub notes: Vec<String>,
    /// Why the end of the pull could not be noted, although the tables are as they are reported. The next pull resumes this one.
    pub error: Option<Error>,
}

/// What became of one table.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TableReport {
    /// Whether it was pulled.
    pub status: TableStatus,
    /// What became of its records.
    pub outcome: Outcome,
    /// Why the table is incomplete or failed.
    pub error: Option<Error>,
    /// Whether it resumed where an earlier run of the same pull was interrupted. The counts are then those of all its runs.
    pub resumed: bool,
    /// How old its rows are, where an earlier run pulled them from an older state of the sender, and they were not pulled again.
    pub age: Option<Duration>,
    /// Whether the table was missing here and made.
    pub created_table: bool,
    /// The local [transfer](crate::Transfer) that the history has of it. `None` if its rows were never asked for, and for dry
    /// runs and imports, which leave none.
    pub transfer: Option<Uuid>,
    /// The other site's transfer that someone there is to approve, or that was waited for. It is named so in both sites'
    /// messages.
    pub approval: Option<Uuid>,
    /// What a reader should know: what of the sender's table could not be taken over, and the like. Whole sentences.
    pub notes: Vec<String>,
}

/// Whether a table was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TableStatus {
    /// All its records were received; each has its outcome.
    #[default]
    Completed,
    /// Some records were received and applied, but not all.
    Incomplete,
    /// Nothing was applied.
    Failed,
}

impl TableStatus {
    /// `completed`, `incomplete` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            TableStatus::Completed => "completed",
            TableStatus::Incomplete => "incomplete",
            TableStatus::Failed => "failed",
        }
    }
}

impl Report {
    /// What became of a table.
    pub fn table(&self, name: &str) -> Option<&TableReport> {
        self.tables.iter().find(|(table, _)| table == name).map(|(_, report)| report)
    }

    /// Whether every table is complete and no record failed.
    pub fn is_clean(&self) -> bool {
        self.error.is_none() && self.tables.iter().all(|(_, table)| table.is_clean())
    }
}

impl TableReport {
    /// Whether the table is complete and no record failed.
    pub fn is_clean(&self) -> bool {
        self.status == TableStatus::Completed && self.outcome.failed == 0
    }

    pub(super) fn failed(error: Error) -> Self {
        TableReport { status: TableStatus::Failed, error: Some(error), ..TableReport::default() }
    }

    /// Ends the table early: incomplete if something was applied.
    pub(super) fn interrupt(&mut self, error: Error) {
        let applied = self.outcome.total() > self.outcome.failed;
        self.status = if applied { TableStatus::Incomplete } else { TableStatus::Failed };
        self.error = Some(error);
    }

    /// The report of a single table as a result: an incomplete or failed one is its error.
    pub(crate) fn into_result(mut self) -> Result<Self> {
        match (self.status, self.error.take()) {
            (TableStatus::Completed, _) => Ok(self),
            (_, Some(error)) => Err(error),
            (_, None) => Err(Error::new(ErrorKind::Incomplete, "the table was not pulled whole")),
        }
    }
}
