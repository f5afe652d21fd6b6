//! What a receiver's own connection allows of the pulls through it: tables, hours, records.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::bounds::Allowed;
use super::stored::check;
use crate::domain::connection::{Connection, ConnectionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Counted;
use crate::site::Site;
use crate::state::connections::no_more;

/// How often it is looked at again while pages come.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The receiver's end of the connection that a pull goes through. What it allows is asked for here before rows are fetched; the
/// transaction that keeps them counts them, and has the last word where several pulls go through it.
pub(super) struct Receiver {
    site: Site,
    uuid: Uuid,
    counted: Arc<Counted>,
    known: Mutex<Known>,
}

/// What is known of it.
struct Known {
    /// As it was when it was looked at last.
    connection: Connection,
    looked: Instant,
    /// Records that this run took.
    taken: u64,
    /// How many more it may take; `None` where there is no limit.
    left: Option<u64>,
}

impl Receiver {
    /// # Errors
    /// Why nothing may be pulled through it now.
    pub(super) fn new(site: &Site, connection: Connection) -> Result<Self> {
        let (uuid, left) = (connection.uuid, connection.remaining_records());
        let known = Known { connection, looked: Instant::now(), taken: 0, left };
        let counted = Arc::new(Counted::new(uuid));
        let receiver = Receiver { site: site.clone(), uuid, counted, known: Mutex::new(known) };
        receiver.check(&receiver.known().connection)?;
        match left {
            Some(0) => Err(receiver.no_more()),
            _ => Ok(receiver),
        }
    }

    fn check(&self, now: &Connection) -> Result<()> {
        // One that is used up expires.
        if let (ConnectionStatus::Expired, Some(0)) = (now.status, now.remaining_records())
            && !now.is_past(self.site.now())
        {
            return Err(used_up(now));
        }
        check(now, &**self.site.clock())?;
        match now.policy.allowed_hours {
            Some(hours) if !hours.contains(self.site.now()) => {
                let (name, start, end) = (&now.name, hours.start(), hours.end());
                let message = format!("the connection {name:?} here allows pulls only from {start}:00 to {end}:59 (UTC)");
                Err(Error::new(ErrorKind::OutsideAllowedHours, message)
                    .with_hint("Pull within these hours, or change them."))
            }
            _ => Ok(()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whole after a panic elsewhere: it is replaced as a whole, and numbers.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the connection again, if that was not done for a while or fewer records than these seem to be left.
    fn look(&self, known: &mut Known, records: u64) -> Result<()> {
        if known.looked.elapsed() < POLL_INTERVAL && known.left.is_none_or(|left| left >= records) {
            return Ok(());
        }
        let now = self.site.connections().get(self.uuid)?;
        // After that: what was counted meanwhile is then left twice, and not taken twice. The transaction that keeps it has the last word.
        let under_way = known.taken.saturating_sub(self.counted.records());
        known.left = now.remaining_records().map(|left| left.saturating_sub(under_way));
        known.looked = Instant::now();
        known.connection = now;
        self.check(&known.connection)
    }

    fn forbids(&self, connection: &Connection, table: &str) -> Option<Error> {
        let (policy, names) = (&connection.policy, self.site.store().names());
        if policy.table_allowed(table, names) {
            return None;
        }
        let list = if policy.table_excluded(table, names) { "excludes" } else { "does not allow" };
        let message = format!("the connection {:?} here {list} the table {table:?}", connection.name);
        Some(
            Error::new(ErrorKind::TableNotAllowed, message)
                .with_hint("Leave it out, or change the tables that the connection allows."),
        )
    }
}

impl Allowed for Receiver {
    fn forbids(&self, table: &str) -> Option<Error> {
        self.forbids(&self.known().connection, table)
    }

    fn left(&self) -> Result<Option<u64>> {
        let mut known = self.known();
        self.look(&mut known, 1)?;
        Ok(known.left)
    }

    fn take(&self, table: &str, records: u64) -> Result<()> {
        let mut known = self.known();
        self.look(&mut known, records)?;
        if let Some(error) = self.forbids(&known.connection, table) {
            return Err(error);
        }
        if let Some(left) = known.left {
            known.left = Some(left.checked_sub(records).ok_or_else(|| used_up(&known.connection))?);
        }
        known.taken = known.taken.saturating_add(records);
        Ok(())
    }

    fn no_more(&self) -> Error {
        used_up(&self.known().connection)
    }

    fn counted(&self) -> Arc<Counted> {
        Arc::clone(&self.counted)
    }
}

fn used_up(connection: &Connection) -> Error {
    no_more(&connection.name, connection.policy.max_records_total.unwrap_or_default())
}
