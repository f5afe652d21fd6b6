//! What a pull calls of the caller's own code, beside [`Progress`](super::Progress).

use crate::domain::conflict::{Record, Resolution};
use crate::domain::record::Failure;

/// Is told of a record that failed.
pub(super) type OnFailure<'p> = Box<dyn FnMut(&str, &Failure) -> FailureAction + 'p>;

/// Decides what becomes of a row that a record would change.
pub(super) type OnConflict<'p> = Box<dyn FnMut(&Record<'_>, &Record<'_>) -> Resolution + 'p>;

/// What a pull does after a record failed: see [`PullOptions::on_failure`](crate::PullOptions::on_failure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FailureAction {
    /// It continues with the next records.
    #[default]
    Continue,
    /// It ends the table of the record, and continues with others.
    StopTable,
    /// It ends.
    StopPull,
}
