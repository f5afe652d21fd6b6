//! What a pull did.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::not_copied::NotCopied;
use crate::domain::record::Outcome;
use crate::domain::string_enum::string_enum;
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};

/// What a pull of several tables did. One table's failure does not stop the others: [`ok`](Report::ok) says whether all is well.
///
/// A pull that was cancelled also gives its report, whenever that was: [`cancelled`](Report::cancelled) is set, and the tables that
/// were not pulled whole say [`Cancelled`](ErrorKind::Cancelled).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use = "tables and records may have failed: see `ok`"]
pub struct Report {
    /// The tables in the order in which they were pulled, each with its result.
    pub tables: Vec<TableReport>,
    /// What the sender has and this pull did not copy, as far as a rowferry sender of this version or a later one tells it:
    ///
    /// - the triggers, CHECK constraints and other [parts](NotCopied::parts) of tables that the pull made, this run of it or an earlier one that it resumes;
    /// - if all tables were wanted, and none was named: views, virtual tables and the tables behind them, where nothing of that name
    ///   is here, and tables whose names are no UTF-8.
    ///
    /// Where there is any of it, an event tells how many
    /// ([`EventKind::PullNotCopied`](crate::EventKind::PullNotCopied)), but for dry runs.
    pub not_copied: NotCopied,
    /// Whether all rows come from one state of the sender's database. Between two rowferry sites they do, unless its snapshot
    /// had to be renewed, or the pull was interrupted and what came before was not [pulled again](crate::PullOptions::refresh);
    /// PhoenixKit has no snapshots, so that only a pull of a single page can be sure of it.
    pub one_state: bool,
    /// Whether nothing was pulled because the sender says that nothing has changed there since the last pull of this kind, which was
    /// complete: what it offers, its tables and their rows. [`tables`](Report::tables) is empty then. Rows here are not looked at: unless
    /// this process knows that nothing was written here either, a note says so (`rows_not_checked`). See
    /// [`PullOptions::always`](crate::PullOptions::always).
    pub unchanged: bool,
    /// Records received, those of earlier runs of the same pull included.
    pub records: u64,
    /// Bytes received in pages, those of earlier runs of the same pull included.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    /// What to know about the pull as a whole. Whole sentences, each with its code in parentheses: `file_numbers` where the
    /// `user_version` and `application_id` of the sender's file are not taken over, `unverified` where the sender gave no sums of its rows.
    pub notes: Vec<String>,
    /// Whether the caller cancelled it before all was pulled. What was committed stays; the same pull again resumes.
    pub cancelled: bool,
    /// What failed besides the tables: it was cancelled before the sender said which tables it offers; or its end could not be noted,
    /// although the tables are as they are reported; or the file that was pulled into is no longer there, and all that was written is lost
    /// with it. The next pull resumes this one.
    pub error: Option<Error>,
}

/// What became of one table.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TableReport {
    /// The table, by the sender's name.
    pub name: String,
    /// Whether it was pulled.
    pub status: TableStatus,
    /// What became of its records.
    pub outcome: Outcome,
    /// Whether what arrived is known to be what the sender sent: see [`Report::verified`].
    pub verified: Verified,
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
    /// What to know about the table: what of the sender's could not be copied, and the like. Whole sentences.
    pub notes: Vec<String>,
}

string_enum! {
    /// Whether a table was pulled.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum TableStatus("status of a table") {
        /// All its records were received; each has its outcome.
        #[default]
        Completed = "completed",
        /// Some records were received and applied, but not all.
        Incomplete = "incomplete",
        /// Nothing was applied.
        Failed = "failed",
    }
}

impl Report {
    /// What became of a table.
    pub fn table(&self, name: &str) -> Option<&TableReport> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Whether tables were pulled, each is complete and no record failed; or nothing has [changed](Report::unchanged).
    pub fn is_clean(&self) -> bool {
        self.is_whole() && self.tables.iter().all(TableReport::is_clean)
    }

    /// How far the rows of all tables are known to be the sender's: the least that is known of one of them. Between two rowferry sites it
    /// is [`Received`](Verified::Received) once all tables are complete: each has as many rows as the sender sent, and the same sum over
    /// them, also where the pull was interrupted. Over HTTP, from PhoenixKit and from earlier versions it is [`None`](Verified::None),
    /// and a [note](Report::notes) says so.
    pub fn verified(&self) -> Verified {
        self.tables.iter().map(|table| table.verified).min().unwrap_or_default()
    }

    /// Whether tables were pulled, and each is complete, whatever became of its records.
    pub(crate) fn is_whole(&self) -> bool {
        let is_complete = |table: &TableReport| table.status == TableStatus::Completed;
        self.error.is_none() && (self.unchanged || !self.tables.is_empty()) && self.tables.iter().all(is_complete)
    }

    /// An error unless the report is [clean](Report::is_clean), for those who want all or to know why not.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled) if the caller cancelled the pull. [`TableNotFound`](ErrorKind::TableNotFound) if there was
    /// no table to pull. Otherwise the error of the first table that is not complete, or
    /// [`RecordsFailed`](ErrorKind::RecordsFailed) with the first record that failed. The message counts the others.
    pub fn ok(&self) -> Result<()> {
        if self.is_clean() {
            return Ok(());
        }
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        if self.tables.is_empty() {
            return Err(Error::new(ErrorKind::TableNotFound, "nothing was pulled: the other site offers no table")
                .with_hint("See there which tables exist, and which of them may be pulled."));
        }
        let failed: Vec<_> = self.tables.iter().filter(|table| table.status != TableStatus::Completed).collect();
        let mut errors = failed.iter().filter_map(|table| Some((&table.name, table.error.as_ref()?)));
        let first = match self.cancelled {
            true => errors.find(|(_, error)| error.kind() == ErrorKind::Cancelled),
            false => errors.next(),
        };
        if let Some((name, error)) = first {
            let count = format!("{} of {} tables were not pulled whole", failed.len(), self.tables.len());
            return Err(error.clone().while_doing(format!("{count}; {name:?}")));
        }
        let records: u64 = self.tables.iter().map(|table| table.outcome.failed).sum();
        let first = self.tables.iter().find_map(|table| Some((&table.name, table.outcome.failures.first()?)));
        let why = first.map_or(String::new(), |(name, failure)| {
            format!("; the first one, of {name:?}: {} ({})", failure.message, failure.reason.code())
        });
        Err(Error::new(ErrorKind::RecordsFailed, format!("{records} records could not be taken{why}"))
            .with_hint("The report names them."))
    }

    /// The report of the only table as a result: an incomplete or failed one is its error.
    pub(crate) fn into_table(self, table: &str) -> Result<TableReport> {
        match (self.tables.into_iter().next(), self.error) {
            (Some(report), error) => match (report.into_result(), error) {
                // The rows are lost with the file.
                (Ok(_), Some(error)) if error.kind() == ErrorKind::CannotOpen => Err(error),
                (done, _) => done,
            },
            (None, Some(error)) => Err(error),
            (None, None) if self.unchanged => {
                Ok(TableReport { name: table.to_owned(), notes: self.notes, ..TableReport::default() })
            }
            (None, None) => Err(Error::new(ErrorKind::TableNotFound, format!("there is no table {table:?} to pull"))),
        }
    }

    /// Says whether it was cancelled, if that `was_asked`: it may have been done before.
    pub(super) fn note_cancelled(&mut self, was_asked: bool) {
        let is_cancelled = |error: &Error| error.kind() == ErrorKind::Cancelled;
        self.cancelled = was_asked && self.tables.iter().any(|table| table.error.as_ref().is_some_and(is_cancelled));
    }

    /// Says of what was interrupted how to resume.
    pub(super) fn hint_again(&mut self, hint: &str) {
        self.hint(is_interruption, hint);
    }

    fn hint(&mut self, is_meant: impl Fn(&Error) -> bool, hint: &str) {
        for table in &mut self.tables {
            table.error = table.error.take().map(|error| if is_meant(&error) { error.with_hint(hint) } else { error });
        }
    }

    /// The report of a pull that was cancelled before the sender said which tables it offers.
    pub(super) fn of_cancelled(error: Error, duration: Duration) -> Self {
        Report { duration, cancelled: true, error: Some(error), ..Report::default() }
    }
}

/// Whether the pull ended with this error, and not one table only: that is what the other site answered, or called off.
fn is_interruption(error: &Error) -> bool {
    let is_cut =
        matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Unreachable | ErrorKind::Cancelled);
    is_cut && error.http_status().is_none()
}

impl TableReport {
    /// Whether the table is complete and no record failed.
    pub fn is_clean(&self) -> bool {
        self.status == TableStatus::Completed && self.outcome.failed == 0
    }

    pub(super) fn failed(name: &str, error: Error) -> Self {
        TableReport { name: name.to_owned(), status: TableStatus::Failed, error: Some(error), ..TableReport::default() }
    }

    /// Ends the table early: incomplete if something was applied.
    pub(super) fn interrupt(&mut self, error: Error) {
        let applied = self.outcome.total() > self.outcome.failed;
        self.status = if applied { TableStatus::Incomplete } else { TableStatus::Failed };
        self.verified = Verified::None;
        self.error = Some(error);
    }

    /// The report as a result: an incomplete or failed table is its error.
    fn into_result(mut self) -> Result<Self> {
        match (self.status, self.error.take()) {
            (TableStatus::Completed, _) => Ok(self),
            (_, Some(error)) => Err(error),
            (_, None) => Err(Error::new(ErrorKind::Incomplete, "the table was not pulled whole")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Failure, Reason};

    fn report(tables: Vec<TableReport>) -> Report {
        let name = |(at, table)| TableReport { name: format!("t{at}"), ..table };
        Report { tables: tables.into_iter().enumerate().map(name).collect(), ..Report::default() }
    }

    fn failed(kind: ErrorKind) -> TableReport {
        TableReport::failed("", Error::new(kind, "no"))
    }

    #[test]
    fn all_is_well_only_if_something_was_pulled_and_nothing_failed() {
        assert!(report(vec![TableReport::default()]).ok().is_ok());
        assert_eq!(report(vec![]).ok().unwrap_err().kind(), ErrorKind::TableNotFound);

        let tables = vec![TableReport::default(), failed(ErrorKind::SchemaMismatch), failed(ErrorKind::TableNotFound)];
        let error = report(tables).ok().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
        assert_eq!(error.message(), "2 of 3 tables were not pulled whole; \"t1\": no");

        let mut table = TableReport::default();
        let failure = Failure { key: vec![], column: None, reason: Reason::Check, message: "a < 3".to_owned() };
        (table.outcome.failed, table.outcome.failures) = (2, vec![failure]);
        let error = report(vec![TableReport::default(), table]).ok().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RecordsFailed);
        assert_eq!(error.message(), "2 records could not be taken; the first one, of \"t1\": a < 3 (check)");
    }

    #[test]
    fn a_cancelled_pull_is_cancelled_whatever_else_failed() {
        let mut report = report(vec![failed(ErrorKind::TableNotFound), failed(ErrorKind::Cancelled)]);
        report.note_cancelled(true);
        assert_eq!((report.cancelled, report.ok().unwrap_err().kind()), (true, ErrorKind::Cancelled));
        // The other site may call a table off.
        report.note_cancelled(false);
        assert_eq!((report.cancelled, report.ok().unwrap_err().kind()), (false, ErrorKind::TableNotFound));
    }

    #[test]
    fn only_what_was_interrupted_says_how_to_resume() {
        let error = |kind| Error::new(kind, "no").with_hint("first");
        let mut report = report(vec![
            TableReport::failed("", error(ErrorKind::Disconnected)),
            TableReport::failed("", error(ErrorKind::Timeout).with_http_status(504)),
            TableReport::failed("", error(ErrorKind::TableNotFound)),
        ]);
        report.hint_again("again");
        let hints: Vec<_> = report.tables.iter().map(|table| table.error.as_ref().and_then(Error::hint)).collect();
        assert_eq!(hints, [Some("again"), Some("first"), Some("first")]);
    }
}
