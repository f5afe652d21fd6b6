//! The transfers that a pull leaves in the history of the local site: one for each table whose rows were asked for.

use time::OffsetDateTime;
use uuid::Uuid;

use super::resume::Earlier;
use super::{TableReport, TableStatus};
use crate::clock::Clock;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::state;
use crate::state::transfers::{self, Change};
use crate::store::Store;

/// How often running transfers are noted as alive, in seconds.
const TOUCH: i64 = 60;

/// How often it is looked whether someone cancelled a running transfer, in seconds.
const LOOK: i64 = 2;

/// Where a pull comes from, as far as the history tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The stored connection that it goes through.
    pub(crate) connection: Option<Uuid>,
    /// The other site's URL.
    pub(crate) site_url: String,
}

/// Writes the transfers of one pull.
pub(super) struct History<'a> {
    store: &'a dyn Store,
    clock: &'a dyn Clock,
    origin: Origin,
    /// Who pulls.
    actor: String,
    running: Vec<Uuid>,
    touched: OffsetDateTime,
    looked: OffsetDateTime,
}

impl<'a> History<'a> {
    pub(super) fn new(store: &'a dyn Store, clock: &'a dyn Clock, origin: Origin, actor: String) -> Self {
        let now = clock.now();
        History { store, clock, origin, actor, running: Vec::new(), touched: now, looked: now }
    }

    /// The rows of a table are about to be asked for.
    pub(super) fn begin(&mut self, table: &str, announced: u64, strategy: Strategy) -> Result<Uuid> {
        let now = self.clock.now();
        let mut transfer = Transfer::new(Direction::Receive, table, now);
        transfer.connection = self.origin.connection;
        transfer.remote_site_url = Some(self.origin.site_url.clone());
        transfer.records_requested = Some(announced);
        transfer.conflict_strategy = Some(strategy);
        transfer.initiated_by = Some(self.actor.clone());
        transfer.status = TransferStatus::InProgress;
        transfer.started_at = Some(now);
        state::write(self.store, |sql| transfers::insert(sql, now, &self.actor, &transfer))?;
        self.running.push(transfer.uuid);
        Ok(transfer.uuid)
    }

    /// A table is done with, as its report says. What is in the report of `earlier` runs is in their transfers already.
    pub(super) fn end(&mut self, uuid: Uuid, report: &TableReport, bytes: u64, earlier: &Earlier) -> Result<()> {
        self.running.retain(|running| *running != uuid);
        let (outcome, before) = (&report.outcome, &earlier.outcome);
        let counters = TransferCounters {
            records_transferred: outcome.total().saturating_sub(before.total()),
            records_created: outcome.created.saturating_sub(before.created),
            records_updated: outcome.updated.saturating_sub(before.updated),
            records_skipped: (outcome.skipped + outcome.unchanged).saturating_sub(before.skipped + before.unchanged),
            records_failed: outcome.failed.saturating_sub(before.failed),
            bytes_transferred: bytes.saturating_sub(earlier.bytes),
        };
        let message = report.error.as_ref().map_or("the table was not pulled whole", |error| error.message());
        let change = match (report.status, report.error.as_ref().map(|error| error.kind())) {
            (TableStatus::Completed, _) => Change::Complete(&counters),
            (_, Some(ErrorKind::Cancelled)) => Change::Cancel(Some(message)),
            _ => Change::Fail(message),
        };
        let now = self.clock.now();
        let ended = state::write(self.store, |sql| {
            if let Some(ended) = transfers::by_uuid(sql, uuid)?.filter(|transfer| transfer.status.is_final()) {
                return transfers::settle(sql, now, &ended, &counters).map(|()| Some(ended.status));
            }
            if !matches!(change, Change::Complete(_)) {
                transfers::progress(sql, now, uuid, &counters)?;
            }
            transfers::change(sql, now, &self.actor, uuid, change).map(|_| None)
        })?;
        match ended {
            Some(status) if !(status == TransferStatus::Cancelled && matches!(change, Change::Cancel(_))) => {
                Err(Error::new(ErrorKind::InvalidTransition, format!("it was noted as {status} before")))
            }
            _ => Ok(()),
        }
    }

    /// An error if someone cancelled this transfer meanwhile, which is looked up every few seconds at most. To be called while the
    /// pull does not lock the database.
    pub(super) fn check(&mut self, uuid: Uuid) -> Result<()> {
        let now = self.clock.now();
        if (now - self.looked).whole_seconds().abs() < LOOK {
            return Ok(());
        }
        self.looked = now;
        match state::read(self.store, |sql| transfers::by_uuid(sql, uuid))? {
            Some(transfer) if transfer.status == TransferStatus::Cancelled => {
                let why = transfer.error_message.map_or(String::new(), |why| format!(": {why}"));
                let message = format!("the transfer was cancelled here{why}");
                Err(Error::new(ErrorKind::Cancelled, message).with_hint("What was written stays; pull again to go on."))
            }
            // One that was only taken for dead is alive, as is seen here.
            _ => Ok(()),
        }
    }

    /// Notes the running transfers as alive, if that was not done for a minute. To be called while the pull does not lock the
    /// database.
    pub(super) fn keep_alive(&mut self) {
        let now = self.clock.now();
        if self.running.is_empty() || (now - self.touched).whole_seconds().abs() < TOUCH {
            return;
        }
        self.touched = now;
        let touched =
            state::write(self.store, |sql| self.running.iter().try_for_each(|uuid| transfers::touch(sql, now, *uuid)));
        if let Err(error) = touched {
            // The next time may do; only one that is silent for long is taken for dead.
            log::warn!("a running pull could not be noted as alive: {error}");
        }
    }
}
