//! What a comparison found.

use std::time::Duration;

use crate::domain::string_enum::string_enum;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind};

/// What a comparison of tables found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use = "tables may differ: see `status`"]
pub struct VerifyReport {
    /// The tables that were compared, or could not be, by the sender's names.
    pub tables: Vec<TableVerification>,
    /// What is not compared: tables that are left out, and tables here that the other site does not offer. Whole sentences, each with its
    /// code in parentheses (`not_offered`, `hidden_table`, `table_not_allowed`, `ticket_tables`).
    pub notes: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

/// What is known of one table.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TableVerification {
    /// The table, by the sender's name.
    pub name: String,
    /// Whether it is the same at both ends.
    pub status: VerifyStatus,
    /// Rows of the sender's table, where they were counted.
    pub rows_there: Option<u64>,
    /// Rows of the local table, where they were counted.
    pub rows_here: Option<u64>,
    /// Rows whose key only the sender has. `None` where that is not known: nothing can be said, or the rows have no key.
    pub only_there: Option<u64>,
    /// Rows whose key is only here.
    pub only_here: Option<u64>,
    /// Rows whose key is at both ends, with other values.
    pub different: Option<u64>,
    /// Whether the three counts are estimates: more differs than could be told apart. They may be wrong by a third.
    pub estimated: bool,
    /// Keys of rows that differ, up to [`VerifyOptions::keys`](crate::VerifyOptions::keys) of each kind; none where counts are estimated, or the table is missing here.
    pub keys: DifferingKeys,
    /// Why nothing can be said, or no more than that something differs.
    pub reason: Option<VerifyReason>,
    /// The same in words.
    pub error: Option<Error>,
}

/// Keys of rows that differ: the values of their columns.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct DifferingKeys {
    /// Of rows that only the sender has.
    pub only_there: Vec<Vec<Value>>,
    /// Of rows that are only here.
    pub only_here: Vec<Vec<Value>>,
    /// Of rows at both ends with other values.
    pub different: Vec<Vec<Value>>,
}

string_enum! {
    /// Whether a table is the same at both ends.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum VerifyStatus("status of a comparison") {
        /// Both ends have the same rows.
        Equal = "equal",
        /// They do not.
        Different = "different",
        /// Nothing can be said: see the reason.
        #[default]
        Inconclusive = "inconclusive",
    }
}

string_enum! {
    /// Why nothing, or not all, can be said of a table.
    #[non_exhaustive]
    pub enum VerifyReason("reason of a comparison") {
        /// The tables have other columns, or columns that store the same value otherwise: then rows may differ although none was changed.
        SchemaDiffers = "schema_differs",
        /// The other site, or this one's own connection, does not allow it.
        NotAllowed = "not_allowed",
        /// The rows have no key: whether they are the same is known, but not which differ.
        NoKey = "no_key",
        /// The other site had to let go of the state that was compared, twice.
        SnapshotGone = "snapshot_gone",
        /// The other site cannot compare: it is PhoenixKit, or an older rowferry.
        PeerLacksFeature = "peer_lacks_feature",
        /// Something went wrong: see the error.
        Failed = "failed",
    }
}

impl VerifyReport {
    /// What was found of a table.
    pub fn table(&self, name: &str) -> Option<&TableVerification> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Different if a table is; otherwise inconclusive if nothing can be said of one, or there was none; otherwise equal.
    pub fn status(&self) -> VerifyStatus {
        let any = |status| self.tables.iter().any(|table| table.status == status);
        match self.tables.is_empty() || any(VerifyStatus::Inconclusive) {
            _ if any(VerifyStatus::Different) => VerifyStatus::Different,
            true => VerifyStatus::Inconclusive,
            false => VerifyStatus::Equal,
        }
    }

    /// Whether there are tables, and each is the same at both ends.
    pub fn is_equal(&self) -> bool {
        self.status() == VerifyStatus::Equal
    }
}

impl TableVerification {
    fn of(name: &str, status: VerifyStatus) -> Self {
        TableVerification { name: name.to_owned(), status, ..TableVerification::default() }
    }

    /// Both ends have the same rows, so many.
    pub(super) fn equal(name: &str, rows: u64) -> Self {
        TableVerification::of(name, VerifyStatus::Equal).with_rows(rows, rows).with_counts([0; 3])
    }

    /// They do not; how much differs is not said yet.
    pub(super) fn different(name: &str, there: u64, here: u64) -> Self {
        TableVerification::of(name, VerifyStatus::Different).with_rows(there, here)
    }

    /// Nothing can be said.
    pub(super) fn inconclusive(name: &str, reason: VerifyReason, error: Error) -> Self {
        TableVerification::of(name, VerifyStatus::Inconclusive).because(reason, error)
    }

    /// Nothing can be said because of this error.
    pub(super) fn failed(name: &str, error: Error) -> Self {
        TableVerification::inconclusive(name, reason_of(&error), error)
    }

    pub(super) fn because(self, reason: VerifyReason, error: Error) -> Self {
        TableVerification { reason: Some(reason), error: Some(error), ..self }
    }

    pub(super) fn with_rows(self, there: u64, here: u64) -> Self {
        TableVerification { rows_there: Some(there), rows_here: Some(here), ..self }
    }

    /// Rows that are only there, only here, and at both ends with other values.
    pub(super) fn with_counts(self, [only_there, only_here, different]: [u64; 3]) -> Self {
        let (only_there, only_here, different) = (Some(only_there), Some(only_here), Some(different));
        TableVerification { only_there, only_here, different, ..self }
    }
}

/// The reason that an error stands for.
fn reason_of(error: &Error) -> VerifyReason {
    match error.kind() {
        ErrorKind::SchemaMismatch => VerifyReason::SchemaDiffers,
        ErrorKind::CursorExpired => VerifyReason::SnapshotGone,
        ErrorKind::TableNotFound
        | ErrorKind::TableNotAllowed
        | ErrorKind::ReservedName
        | ErrorKind::ApprovalRequired
        | ErrorKind::ApprovalDenied
        | ErrorKind::ApprovalExpired
        | ErrorKind::ConnectionNotActive
        | ErrorKind::ConnectionExpired
        | ErrorKind::DownloadLimit
        | ErrorKind::RecordLimit
        | ErrorKind::AddressNotAllowed
        | ErrorKind::OutsideAllowedHours
        | ErrorKind::PasswordRequired
        | ErrorKind::InvalidPassword
        | ErrorKind::Disabled
        | ErrorKind::Refused => VerifyReason::NotAllowed,
        _ => VerifyReason::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_outweighs_all_that_is_not_known() {
        let report = |statuses: &[VerifyStatus]| {
            let tables = statuses.iter().map(|status| TableVerification::of("t", *status)).collect();
            VerifyReport { tables, ..VerifyReport::default() }.status()
        };
        use VerifyStatus::{Different, Equal, Inconclusive};
        assert_eq!(report(&[Equal, Equal]), Equal);
        assert_eq!(report(&[Equal, Inconclusive]), Inconclusive);
        assert_eq!(report(&[Inconclusive, Different, Equal]), Different);
        assert_eq!(report(&[]), Inconclusive);
    }

    #[test]
    fn a_refusal_is_not_a_failure() {
        let reason = |kind| reason_of(&Error::new(kind, "m"));
        assert_eq!(reason(ErrorKind::TableNotAllowed), VerifyReason::NotAllowed);
        assert_eq!(reason(ErrorKind::SchemaMismatch), VerifyReason::SchemaDiffers);
        assert_eq!(reason(ErrorKind::Disconnected), VerifyReason::Failed);
    }
}
