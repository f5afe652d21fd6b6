//! One pull of a table that was let begin: what it may still take, and its place in the history.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::transfer::{TransferCounters, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::site::Site;
use crate::store::Sql;
use crate::store::records::connections;
use crate::store::records::transfers::{self, Change};

/// What the history says of a pull that its receiver gave up.
const GIVEN_UP: &str = "the receiver ended before the last page";

/// How often a running pull says in the store that it is alive.
const SIGN_OF_LIFE: time::Duration = time::Duration::minutes(1);

/// A pull of one table that may go on. Dropped before its end, it is one that the receiver gave up.
///
/// Of what its connection allows it has a block of records set aside; what it does not use goes back at its end. A program
/// that is killed leaves its block set aside: no more than [`Limits::grant_records`](crate::Limits::grant_records).
#[derive(Debug)]
pub(crate) struct Pull {
    site: Site,
    transfer: Uuid,
    /// The connection and who is at its other end; `None` for a session, which has no limits.
    connection: Option<Uuid>,
    actor: String,
    /// Records that may be sent before more must be set aside.
    left: u64,
    per_page: u64,
    sent: TransferCounters,
    told: OffsetDateTime,
    open: bool,
}

impl Pull {
    pub(super) fn new(
        site: &Site,
        transfer: Uuid,
        connection: Option<Uuid>,
        actor: &str,
        (left, per_page): (u64, u64),
    ) -> Self {
        let (site, told) = (site.clone(), site.now());
        let sent = TransferCounters::default();
        Pull { site, transfer, connection, actor: actor.to_owned(), left, per_page, sent, told, open: true }
    }

    pub(super) fn transfer(&self) -> Uuid {
        self.transfer
    }

    /// How many of the records that are wanted may be sent at once.
    pub(crate) fn most(&self, wanted: u64) -> u64 {
        wanted.min(self.per_page).min(self.left)
    }

    /// Most records that one answer may have.
    pub(crate) fn per_answer(&self) -> u64 {
        self.per_page
    }

    /// Whether more records must be set aside before as many can be sent as are wanted.
    pub(super) fn lacks(&self, wanted: u64) -> bool {
        self.left < wanted.min(self.per_page)
    }

    /// Sets more records aside, and takes over what the connection now says of a page.
    pub(super) fn top_up(&mut self, records: u64, per_page: u64) {
        self.left = self.left.saturating_add(records);
        self.per_page = per_page;
    }

    /// Counts what was sent.
    pub(crate) fn sent(&mut self, records: u64, bytes: u64) {
        if self.connection.is_some() {
            self.left = self.left.saturating_sub(records);
        }
        self.sent.records_transferred = self.sent.records_transferred.saturating_add(records);
        self.sent.bytes_transferred = self.sent.bytes_transferred.saturating_add(bytes);
    }

    /// Says now and then in the store that it is alive, and how far it is.
    pub(super) fn show_life(&mut self, now: OffsetDateTime) -> Result<()> {
        // A clock that was set back shows life, too.
        if (now - self.told).abs() < SIGN_OF_LIFE {
            return Ok(());
        }
        self.told = now;
        let (transfer, sent) = (self.transfer, self.sent);
        self.site.change(|sql| transfers::progress(sql, now, transfer, &sent))
    }

    /// All records were sent.
    pub(crate) fn complete(mut self) -> Result<()> {
        self.end(None)
    }

    /// It ended early, for this reason.
    pub(crate) fn fail(mut self, why: &str) -> Result<()> {
        self.end(Some(why))
    }

    fn end(&mut self, failed: Option<&str>) -> Result<()> {
        if !std::mem::take(&mut self.open) {
            return Ok(());
        }
        let now = self.site.now();
        self.site.change(|sql| {
            if let Some(connection) = self.connection {
                connections::give_back_records(sql, connection, self.left)?;
            }
            self.close(sql, now, failed)
        })
    }

    fn close(&self, sql: &mut dyn Sql, now: OffsetDateTime, failed: Option<&str>) -> Result<()> {
        // Somebody here may have ended it meanwhile, or taken it out of the history.
        let known = transfers::by_uuid(sql, self.transfer)?;
        if known.is_none_or(|known| known.status != TransferStatus::InProgress) {
            return Ok(());
        }
        let change = match failed {
            None => Change::Complete(&self.sent),
            Some(why) => {
                transfers::progress(sql, now, self.transfer, &self.sent)?;
                Change::Fail(why)
            }
        };
        transfers::change(sql, now, &self.actor, self.transfer, change).map(|_| ())
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        if let Err(error) = self.end(Some(GIVEN_UP)) {
            let level = if error.kind() == ErrorKind::Locked { log::Level::Warn } else { log::Level::Error };
            log::log!(level, "the end of transfer {} cannot be kept: {error}", self.transfer);
        }
    }
}
