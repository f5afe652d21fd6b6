//! What a caller may choose about a comparison.

use std::time::Duration;

use crate::cancel::CancelToken;
use crate::plan::table::ExtraColumns;
use crate::pull::{Progress, PullOptions};

/// How many keys of each kind are listed, where the caller does not say.
const KEYS: usize = 20;

/// How tables are compared. Each setter says its default.
#[derive(Debug)]
pub struct VerifyOptions<'p> {
    /// Which tables, and how the other site is asked: as a pull does.
    pub(super) how: PullOptions<'p>,
    pub(super) keys: usize,
}

impl Default for VerifyOptions<'_> {
    fn default() -> Self {
        VerifyOptions { how: PullOptions::new(), keys: KEYS }
    }
}

impl<'p> VerifyOptions<'p> {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn how(self, change: impl FnOnce(PullOptions<'p>) -> PullOptions<'p>) -> Self {
        VerifyOptions { how: change(self.how), ..self }
    }

    /// Compares this table, and the others that are named, by the sender's names. Defaults to all tables that it offers.
    #[must_use]
    pub fn table(self, table: impl Into<String>) -> Self {
        self.how(|how| how.table(table))
    }

    /// Compares these tables and no others, those of [`table`](Self::table) before it included.
    #[must_use]
    pub fn tables<T: Into<String>>(self, tables: impl IntoIterator<Item = T>) -> Self {
        self.how(|how| how.tables(tables))
    }

    /// Leaves these tables out, by the sender's names. A name that it does not offer is an error. Defaults to none.
    #[must_use]
    pub fn exclude<T: Into<String>>(self, tables: impl IntoIterator<Item = T>) -> Self {
        self.how(|how| how.exclude(tables))
    }

    /// What columns mean that only one of the two tables has. Defaults to [`ExtraColumns::Refuse`]: nothing can be said of the table
    /// ([`VerifyReason::SchemaDiffers`](crate::VerifyReason::SchemaDiffers)). With [`ExtraColumns::Ignore`] the others are compared.
    #[must_use]
    pub fn extra_columns(self, extra: ExtraColumns) -> Self {
        self.how(|how| how.extra_columns(extra))
    }

    /// How many keys of rows that differ are listed for each table, of each kind. Defaults to 20.
    #[must_use]
    pub fn keys(self, keys: usize) -> Self {
        VerifyOptions { keys, ..self }
    }

    /// How long all of it may take; then it ends with [`Timeout`](crate::ErrorKind::Timeout). Defaults to 24 hours.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.how(|how| how.timeout(timeout))
    }

    /// How long to try to reconnect when the connection is lost, or to connect to a site that says it is busy. The table that is being
    /// compared begins again then. Defaults to [`PullLimits::retry_time`](crate::PullLimits::retry_time), half a minute.
    #[must_use]
    pub fn retry_time(self, time: Duration) -> Self {
        self.how(|how| how.retry_time(time))
    }

    /// Ends the comparison when the token is cancelled.
    #[must_use]
    pub fn cancel(self, token: CancelToken) -> Self {
        self.how(|how| how.cancel(token))
    }

    /// Called on the calling thread at the beginning and end of each table, and while the other site reads it
    /// ([`Phase::Comparing`](crate::Phase::Comparing)): `records` are the rows that it has read.
    #[must_use]
    pub fn on_progress(self, progress: impl FnMut(&Progress<'_>) + 'p) -> Self {
        self.how(|how| how.on_progress(progress))
    }
}
