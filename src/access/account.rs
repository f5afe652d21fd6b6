//! The account of one download: what it may still take, what it has taken, and its place in the history.

use std::collections::VecDeque;

use time::OffsetDateTime;
use uuid::Uuid;

use super::paused::{PausedPulls, Running};
use crate::domain::connection::Connection;
use crate::domain::transfer::{TransferCounters, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::export::Cursor;
use crate::site::Site;
use crate::state::transfers::{self, Change};
use crate::state::{self, connections};
use crate::store::Sql;

/// What the history says of a pull that its receiver gave up.
const GIVEN_UP: &str = "the receiver ended before the last page";

/// How often a running pull says in the store that it is alive.
const SIGN_OF_LIFE: time::Duration = time::Duration::minutes(1);

/// Records that a pull may have sent again, beyond as many as it had sent at all: a receiver that comes back may have lost some, and
/// one that comes back for ever must not get a table twice for one pull.
const AGAIN: u64 = 10_000;

/// What a download of one table may take and has taken. Dropped before its end, it is one that the receiver gave up.
///
/// Where its connection has a limit on records, those of a page are reserved before the page is read, and what it does not use is
/// given back at once: nothing is set aside between pages. Where there is no limit, they are counted with its signs of life and at its
/// end.
#[derive(Debug)]
pub(crate) struct Account {
    site: Site,
    begun: Begun,
    /// Each record once, although one that was lost on its way is sent again.
    sent: TransferCounters,
    way: Way,
    /// Behind how many records the last pages ended, and where; the last at the end.
    places: VecDeque<(u64, Cursor)>,
    /// Of the records that were sent, those that the connection has counted.
    counted: u64,
    /// Records that are reserved, and not used.
    spare: u64,
    told: OffsetDateTime,
    /// Why it ends early, if it does.
    why: Option<String>,
    /// Its end is not kept yet.
    open: bool,
    /// There while it is somebody's turn, and not while it pauses.
    running: Option<Running>,
}

/// How far a pull is, in records of its table.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    /// The next one that is sent is behind so many.
    at: u64,
    /// The furthest that it was.
    reached: u64,
    /// So many the receiver certainly has.
    arrived: u64,
    /// How many were or will be sent again, because the receiver came back behind fewer.
    again: u64,
    /// It began behind so many, of which it knows nothing.
    base: u64,
}

/// Where a receiver goes on, beside how many records he has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behind<'c> {
    /// The number of records is the place.
    Offset,
    /// Behind this row, or at the beginning: the number is only what he says.
    Place(Option<&'c Cursor>),
}

/// Places behind pages that were sent and that a receiver may come back to.
const PLACES: usize = 256;

impl Way {
    /// Whether it may go on behind so many: not where the receiver just begins anew.
    fn leads_on(&self, records: u64) -> bool {
        if records < self.base {
            return false;
        }
        let again = self.again.saturating_add(self.at.saturating_sub(records));
        let most = (self.reached - self.base.min(self.reached)).saturating_add(AGAIN);
        records <= self.reached && (records > 0 || self.arrived == 0) && again <= most
    }

    fn go_back(&mut self, records: u64) {
        self.again = self.again.saturating_add(self.at.saturating_sub(records));
        self.at = records;
    }

    /// How many of the next ones were sent before.
    fn known(&self) -> u64 {
        self.reached.saturating_sub(self.at)
    }

    fn go(&mut self, records: u64) {
        self.at = self.at.saturating_add(records);
        self.reached = self.reached.max(self.at);
    }
}

/// A pull as a transaction begins it. It is no [`Account`] yet: the transaction may still fail.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) transfer: Uuid,
    /// The table's own name.
    pub(super) table: String,
    /// `None` for a session, which has no limits.
    pub(super) connection: Option<Uuid>,
    /// The connection, or the session.
    pub(super) owner: Uuid,
    pub(super) actor: String,
    pub(super) allowed: Allowed,
}

/// What a connection allowed when it was read last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Records in one answer.
    per_page: u64,
    /// Records in all, if there is a limit on them.
    left: Option<u64>,
}

impl Allowed {
    /// What somebody with a code is allowed.
    pub(super) const ALL: Allowed = Allowed { per_page: u64::MAX, left: None };

    pub(super) fn by(connection: &Connection) -> Self {
        Allowed { per_page: connection.policy.max_records_per_request, left: connection.remaining_records() }
    }
}

impl Account {
    pub(super) fn new(site: &Site, begun: Begun, all: &PausedPulls) -> Self {
        let (site, told) = (site.clone(), site.now());
        Account {
            running: Some(all.runs(begun.owner, &begun.table)),
            site,
            begun,
            sent: TransferCounters::default(),
            way: Way::default(),
            places: VecDeque::new(),
            counted: 0,
            spare: 0,
            told,
            why: Some(GIVEN_UP.to_owned()),
            open: true,
        }
    }

    /// Behind how many records of its table it goes on.
    pub(crate) fn at(&self) -> u64 {
        self.way.at
    }

    /// The receiver has so many records of its table: it asked for those behind them, or said so.
    pub(crate) fn has_arrived(&mut self, records: u64) {
        self.way.arrived = self.way.arrived.max(records);
    }

    /// Whether a receiver that comes back and has so many records may go on with it. A place must be one that was sent, or the
    /// one that it began at, with that number of records before it.
    pub(super) fn leads_on(&self, records: u64, behind: Behind<'_>) -> bool {
        let known = match behind {
            Behind::Offset => true,
            Behind::Place(None) => records == 0,
            Behind::Place(Some(place)) => self.places.iter().any(|(at, known)| *at == records && known == place),
        };
        known && self.way.leads_on(records)
    }

    /// It begins behind so many records, which the receiver says that he has.
    pub(crate) fn begins_behind(&mut self, records: u64) {
        self.way = Way { at: records, reached: records, arrived: records, again: 0, base: records };
    }

    /// The page that was [sent](Account::sent) last ended at this place.
    pub(crate) fn passed(&mut self, place: &Cursor) {
        if self.places.len() == PLACES {
            self.places.pop_front();
        }
        self.places.push_back((self.way.at, place.clone()));
    }

    /// It is paused: nobody has it.
    pub(super) fn paused(&mut self) {
        self.running = None;
    }

    /// It goes on behind so many records.
    pub(super) fn taken_up(&mut self, records: u64, running: Running) {
        self.way.go_back(records);
        self.running = Some(running);
    }

    /// Whether all records were sent, and its end is kept. It may still be that the receiver lacks the last ones.
    pub(super) fn is_completed(&self) -> bool {
        !self.open && self.why.is_none()
    }

    pub(super) fn transfer(&self) -> Uuid {
        self.begun.transfer
    }

    pub(crate) fn table(&self) -> &str {
        &self.begun.table
    }

    /// How many of the records that are wanted are worth reading: no more can be sent at once.
    pub(crate) fn most(&self, wanted: u64) -> u64 {
        let Allowed { per_page, left } = self.begun.allowed;
        // What was sent before was counted then.
        wanted.min(per_page).min(left.map_or(u64::MAX, |left| left.saturating_add(self.way.known())))
    }

    /// Most records that one answer may have.
    pub(crate) fn per_answer(&self) -> u64 {
        self.begun.allowed.per_page
    }

    /// Takes over what the connection now allows.
    pub(super) fn allow(&mut self, connection: &Connection) -> Result<()> {
        let mut allowed = Allowed::by(connection);
        let (uuid, uncounted) = (connection.uuid, self.uncounted());
        if let Some(left) = allowed.left.filter(|_| uncounted > 0) {
            // There was no limit before: what was sent until now counts for it.
            state::write(self.site.store_ref(), |sql| connections::count_records(sql, uuid, uncounted))?;
            self.counted = self.counted.saturating_add(uncounted);
            allowed.left = Some(left.saturating_sub(uncounted));
        }
        self.begun.allowed = allowed;
        Ok(())
    }

    /// Reserves records of what the connection allows, for a page of at most so many that is about to be read, and says how many
    /// it may have: fewer than wanted where somebody else took some meanwhile. What was sent before needs no reserve.
    pub(super) fn reserve(&mut self, wanted: u64) -> Result<u64> {
        let (Some(uuid), Some(left)) = (self.begun.connection, self.begun.allowed.left) else { return Ok(wanted) };
        let known = wanted.min(self.way.known());
        let new = (wanted - known).saturating_sub(self.spare);
        if new > 0 {
            let taken = state::write(self.site.store_ref(), |sql| connections::take_records(sql, uuid, new))?;
            self.spare = self.spare.saturating_add(taken);
            self.begun.allowed.left = Some(left.saturating_sub(taken));
        }
        Ok(known.saturating_add(self.spare).min(wanted))
    }

    /// Gives back what was reserved and not used. When the store is busy, that is done later.
    fn give_back(&mut self) {
        let (Some(uuid), rest @ 1..) = (self.begun.connection, self.spare) else { return };
        match state::write(self.site.store_ref(), |sql| connections::return_records(sql, uuid, rest)) {
            Ok(()) => {
                self.spare = 0;
                self.begun.allowed.left = self.begun.allowed.left.map(|left| left.saturating_add(rest));
            }
            Err(error) => log::warn!("records that were reserved and not sent cannot be given back yet: {error}"),
        }
    }

    fn uncounted(&self) -> u64 {
        self.sent.records_transferred.saturating_sub(self.counted)
    }

    /// Counts for the connection what was sent without being taken before.
    fn count(&self, sql: &mut dyn Sql) -> Result<()> {
        match (self.begun.connection, self.uncounted()) {
            (None, _) | (_, 0) => Ok(()),
            (Some(connection), uncounted) => connections::count_records(sql, connection, uncounted),
        }
    }

    /// Counts what was sent, and gives back what was reserved beyond it.
    pub(crate) fn sent(&mut self, records: u64, bytes: u64) {
        let new = records.saturating_sub(self.way.known());
        self.way.go(records);
        self.sent.records_transferred = self.sent.records_transferred.saturating_add(new);
        self.sent.bytes_transferred = self.sent.bytes_transferred.saturating_add(bytes);
        let reserved = new.min(self.spare);
        self.spare -= reserved;
        self.counted = self.counted.saturating_add(reserved);
        self.give_back();
    }

    /// Says now and then in the store that it is alive, and how far it is.
    pub(super) fn show_life(&mut self, now: OffsetDateTime) -> Result<()> {
        // A clock that was set back shows life, too.
        if (now - self.told).abs() < SIGN_OF_LIFE {
            return Ok(());
        }
        self.site.change(|sql| {
            self.count(sql)?;
            transfers::progress(sql, now, self.begun.transfer, &self.sent)
        })?;
        (self.told, self.counted) = (now, self.sent.records_transferred);
        Ok(())
    }

    /// All records were sent.
    pub(crate) fn complete(mut self) -> Result<()> {
        self.completed()
    }

    /// The same, of a pull whose receiver may come back because it lacks the last ones.
    pub(crate) fn completed(&mut self) -> Result<()> {
        self.why = None;
        self.running = None;
        self.end()
    }

    /// It ended early, for this reason.
    pub(crate) fn fail(mut self, why: &str) -> Result<()> {
        self.why = Some(why.to_owned());
        self.end()
    }

    /// Keeps its end, unless that was done. When the store is busy it is tried once more as this is dropped.
    fn end(&mut self) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        self.give_back();
        let now = self.site.now();
        self.site.change(|sql| {
            self.count(sql)?;
            self.close(sql, now)
        })?;
        self.open = false;
        Ok(())
    }

    fn close(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<()> {
        // Somebody here may have ended it meanwhile, or taken it out of the history.
        match transfers::by_uuid(sql, self.begun.transfer)? {
            None => return Ok(()),
            Some(known) if known.status == TransferStatus::InProgress => {}
            Some(known) => return transfers::settle(sql, now, &known, &self.sent),
        }
        let change = match &self.why {
            None => Change::Complete(&self.sent),
            Some(why) => {
                transfers::progress(sql, now, self.begun.transfer, &self.sent)?;
                Change::Fail(why)
            }
        };
        transfers::change(sql, now, &self.begun.actor, self.begun.transfer, change).map(|_| ())
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            let level = if error.kind() == ErrorKind::Locked { log::Level::Warn } else { log::Level::Error };
            log::log!(level, "the end of transfer {} cannot be kept: {error}", self.begun.transfer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_goes_on_where_something_may_have_been_lost() {
        let mut way = Way::default();
        way.go(500);
        assert!(way.leads_on(0) && way.leads_on(500) && !way.leads_on(501), "the first page may be lost");
        way.arrived = 500;
        way.go(500);
        assert!(!way.leads_on(0) && way.leads_on(1) && way.leads_on(1_000));
        way.go_back(600);
        assert_eq!((way.known(), way.again), (400, 400));
        way.go(500);
        assert_eq!((way.at, way.reached, way.known()), (1_100, 1_100, 0));
    }

    #[test]
    fn a_table_is_not_sent_again_and_again() {
        let mut way = Way { at: 100_000, reached: 100_000, arrived: 100_000, again: 0, base: 0 };
        way.go_back(1);
        way.go(99_999);
        assert!(!way.leads_on(1) && !way.leads_on(89_998) && way.leads_on(89_999));
    }
}
