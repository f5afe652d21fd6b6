//! The transfers that a pull leaves in the history: one for each table whose rows were asked for. They are written with the pull's own
//! transactions, so that a small table costs none for that.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::domain::transfer::{Transfer, TransferCounters, TransferStatus};
use crate::domain::verified::Verified;
use crate::error::{Error, ErrorKind, Result};
use crate::state::transfers::{self, Change};
use crate::store::Sql;

/// After how long a table that is being pulled is to be seen in the history.
const SEEN_AFTER: Duration = Duration::from_secs(1);

/// Where a pull comes from, as far as the history tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The stored connection that it goes through.
    pub(crate) connection: Option<Uuid>,
    /// The other site's URL.
    pub(crate) site_url: String,
}

/// The transfers of one pull that are not written yet, or not to their end.
#[derive(Debug)]
pub(crate) struct History {
    origin: Origin,
    /// Who pulls.
    actor: String,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    transfer: Transfer,
    since: Instant,
    /// Whether it stands in the history as one that runs.
    is_running: bool,
    end: Option<End>,
    /// Whether the transaction in progress writes it.
    is_told: bool,
}

/// How the transfer of a table ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) status: TransferStatus,
    /// Why it did not complete.
    pub(crate) why: Option<String>,
    /// What this run of the pull moved.
    pub(crate) counters: TransferCounters,
    /// Whether what arrived is known to be what was sent.
    pub(crate) verified: Verified,
}

impl History {
    pub(crate) fn new(origin: Origin, actor: String) -> Self {
        History { origin, actor, entries: Vec::new() }
    }

    /// The connection that the pull goes through, and who pulls.
    pub(crate) fn of_whom(&self) -> (Option<Uuid>, String) {
        (self.origin.connection, self.actor.clone())
    }

    /// The rows of a table are about to be asked for.
    pub(crate) fn begin(&mut self, table: &str, announced: u64, strategy: Strategy, now: OffsetDateTime) -> Uuid {
        let mut transfer = Transfer::new(Direction::Receive, table, now);
        transfer.connection = self.origin.connection;
        transfer.remote_site_url = Some(self.origin.site_url.clone());
        transfer.records_requested = Some(announced);
        transfer.conflict_strategy = Some(strategy);
        transfer.initiated_by = Some(self.actor.clone());
        transfer.status = TransferStatus::InProgress;
        transfer.started_at = Some(now);
        let uuid = transfer.uuid;
        self.entries.push(Entry { transfer, since: Instant::now(), is_running: false, end: None, is_told: false });
        uuid
    }

    /// Rows of a table are written whose records came with a transfer that has ended.
    pub(crate) fn begin_ended(&mut self, table: &str, now: OffsetDateTime) -> Uuid {
        let uuid = self.begin(table, 0, Strategy::default(), now);
        if let Some(entry) = self.entries.last_mut() {
            entry.transfer.conflict_strategy = None;
        }
        self.end(
            uuid,
            End {
                status: TransferStatus::Completed,
                why: None,
                counters: TransferCounters::default(),
                verified: Verified::None,
            },
        );
        uuid
    }

    /// A table is done with.
    pub(crate) fn end(&mut self, uuid: Uuid, end: End) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.transfer.uuid == uuid) {
            entry.end = Some(end);
        }
    }

    /// Whether one has run unseen for so long that it is to be written, though nothing else is.
    pub(crate) fn is_due(&self) -> bool {
        let is_due = |entry: &Entry| (!entry.is_running || entry.end.is_some()) && entry.since.elapsed() >= SEEN_AFTER;
        self.entries.iter().any(is_due)
    }

    /// Writes what is not written yet, as part of a transaction. Gives how many transfers that is about.
    pub(crate) fn write(&mut self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<usize> {
        let actor = &self.actor;
        let mut told = 0;
        for entry in &mut self.entries {
            entry.is_told = false;
            match (&entry.end, entry.is_running) {
                (None, true) => continue,
                (None, false) => transfers::insert(sql, now, actor, &entry.transfer)?,
                (Some(end), false) => {
                    let ended = Transfer {
                        status: end.status,
                        error_message: end.why.clone(),
                        counters: end.counters,
                        verified: end.verified,
                        ..entry.transfer.clone()
                    };
                    transfers::insert_ended(sql, now, actor, &ended)?;
                }
                (Some(end), true) => end_running(sql, now, actor, entry.transfer.uuid, end)?,
            }
            entry.is_told = true;
            told += 1;
        }
        Ok(told)
    }

    /// What was [written](History::write) last is committed.
    pub(crate) fn written(&mut self) {
        self.entries.retain_mut(|entry| {
            let told = std::mem::take(&mut entry.is_told);
            entry.is_running |= told && entry.end.is_none();
            !(told && entry.end.is_some())
        });
    }

    /// Notes those that run as alive.
    pub(crate) fn touch(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<()> {
        let mut running = self.entries.iter().filter(|entry| entry.is_running);
        running.try_for_each(|entry| transfers::touch(sql, now, entry.transfer.uuid))
    }

    /// Whether a transfer can be cancelled by others: it is seen.
    pub(crate) fn is_running(&self, uuid: Uuid) -> bool {
        self.entries.iter().any(|entry| entry.transfer.uuid == uuid && entry.is_running)
    }
}

fn end_running(sql: &mut dyn Sql, now: OffsetDateTime, actor: &str, uuid: Uuid, end: &End) -> Result<()> {
    // Others may have ended it meanwhile, or taken it out of the history.
    match transfers::by_uuid(sql, uuid)? {
        None => return Ok(()),
        Some(ended) if ended.status.is_final() => return transfers::settle(sql, now, &ended, &end.counters),
        Some(_) => {}
    }
    let why = end.why.as_deref();
    let change = match end.status {
        TransferStatus::Completed => Change::Complete(&end.counters),
        TransferStatus::Cancelled => Change::Cancel(why),
        _ => Change::Fail(why.unwrap_or("the table was not pulled whole")),
    };
    if end.status != TransferStatus::Completed {
        transfers::progress(sql, now, uuid, &end.counters)?;
    }
    transfers::change(sql, now, actor, uuid, change)?;
    transfers::note_verified(sql, uuid, end.verified)
}

/// An error if others cancelled this transfer.
pub(crate) fn check_cancelled(sql: &mut dyn Sql, uuid: Uuid) -> Result<()> {
    match transfers::by_uuid(sql, uuid)? {
        Some(transfer) if transfer.status == TransferStatus::Cancelled => {
            let why = transfer.error_message.map_or(String::new(), |why| format!(": {why}"));
            Err(Error::new(ErrorKind::Cancelled, format!("the transfer was cancelled here{why}"))
                .with_hint("What was written stays; pull again to resume."))
        }
        // One that was only taken for dead is alive, as is seen here.
        _ => Ok(()),
    }
}
