//! The account of one download: what it may still take, what it has taken, and its place in the history.

use std::collections::VecDeque;

use time::OffsetDateTime;
use uuid::Uuid;

use super::course::{Repeats, Way};
use super::paused::{PausedPulls, Running};
use super::place;
use crate::domain::connection::Connection;
use crate::domain::row_sum::RowSum;
use crate::domain::transfer::{TransferCounters, TransferStatus};
use crate::error::{ErrorKind, Result};
use crate::secret::SiteKey;
use crate::site::Site;
use crate::state::connections;
use crate::state::transfers::pulls::Course;
use crate::state::transfers::{self, Change, GIVEN_UP, NOTHING_NEW, pulls};
use crate::store::Cursor;
use crate::store::Sql;
use crate::wire::native::Place;

/// How often a running download says in the store that it is alive.
const SIGN_OF_LIFE: time::Duration = time::Duration::minutes(1);

/// What a download of one table may take and has taken. Dropped before its end, it is one that the receiver gave up.
///
/// Where its connection has a limit on records, those of a page are reserved before the page is written, and what it does not use
/// is given back at once: nothing is set aside between pages. Where there is no limit, they are counted with its signs of life and at
/// its end.
#[derive(Debug)]
pub(crate) struct Account {
    site: Site,
    begun: Begun,
    way: Way,
    /// Each record once, although one that was lost on its way is sent again.
    sent: TransferCounters,
    /// After how many records the last pages ended, and where; the last at the end. For downloads without a name.
    places: VecDeque<(u64, Cursor)>,
    /// Records that were sent and cost something; and those of them that the connection has counted.
    costing: u64,
    counted: u64,
    /// Records that are reserved, and not used.
    spare: u64,
    told: OffsetDateTime,
    /// Whether it is worth telling: not where somebody ended it here, or somebody else has it.
    lives: bool,
    /// Up to where the store knows that it has come, at least.
    noted: u64,
    /// Why it ends early, if it does.
    why: Option<String>,
    /// Its end is not kept yet.
    open: bool,
    /// A look had ended, and was continued: it is told of no second time.
    is_continued: bool,
    /// There while it is somebody's turn, and not while it pauses. For downloads without a name.
    running: Option<Running>,
}

/// Where a receiver resumes, beside how many records it has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ResumeAt<'c> {
    /// The number of records is the place.
    Offset,
    /// After this row, or at the beginning: the number is only what the receiver says.
    Place(Option<&'c Cursor>),
}

/// Places after pages that were sent and that a receiver may come back to.
const PLACES: usize = 256;

/// A download as a transaction begins or resumes it. It has no [`Account`] yet: the transaction may still fail.
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
    /// Most records that its approval is good for.
    pub(super) approved: Option<u64>,
    /// Until when it may be resumed, and its approval is good.
    pub(super) until: OffsetDateTime,
    /// How much of it may be sent again.
    pub(super) repeats: Repeats,
    /// If it is of a named pull.
    pub(super) named: Option<Named>,
    /// Whether it is only a look: see [`Grant::begin_look`](super::Grant::begin_look).
    pub(super) is_look: bool,
}

/// What is known of a download of a named pull.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// Whose turn it is: see [`pulls::Kept::turn`].
    pub(super) turn: u64,
    pub(super) way: Way,
    pub(super) sent: TransferCounters,
    /// Whether it had ended well, and is only asked for its end again.
    pub(super) was_complete: bool,
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

/// What came of reserving records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserved {
    /// So many may be read.
    Records(u64),
    /// Somebody else resumed the download.
    TakenOver,
}

impl Account {
    pub(super) fn new(site: &Site, begun: Begun, all: &PausedPulls) -> Self {
        let (site, told) = (site.clone(), site.now());
        let named = begun.named.clone();
        let way = named.as_ref().map_or_else(Way::default, |named| named.way);
        Account {
            running: named.is_none().then(|| all.runs(begun.owner, &begun.table)),
            noted: way.course.reached,
            way,
            sent: named.map_or_else(TransferCounters::default, |named| named.sent),
            site,
            begun,
            places: VecDeque::new(),
            costing: 0,
            counted: 0,
            spare: 0,
            told,
            lives: true,
            why: Some(GIVEN_UP.to_owned()),
            open: true,
            is_continued: false,
        }
    }

    /// After how many records of its table the next page begins.
    pub(crate) fn at(&self) -> u64 {
        self.way.at
    }

    /// The receiver has so many records of its table: it asked for those after them, or said so.
    pub(crate) fn has_arrived(&mut self, records: u64) {
        self.way.has_arrived(records);
    }

    /// Whether a receiver that comes back and has so many records may resume it. A place must be one that was sent, or the
    /// one that it began at, with that number of records before it. For downloads without a name.
    pub(super) fn leads_on(&self, records: u64, at: ResumeAt<'_>) -> bool {
        let known = match at {
            ResumeAt::Offset => true,
            ResumeAt::Place(None) => records == 0,
            ResumeAt::Place(Some(place)) => self.places.iter().any(|(at, known)| *at == records && known == place),
        };
        known && self.way.leads_on(records, self.begun.repeats)
    }

    /// It begins after so many records, which the receiver says that it has.
    pub(crate) fn begins_after(&mut self, records: u64) {
        self.way = Way::from(records);
    }

    /// The page that was [sent](Account::sent) last ended at this place.
    pub(crate) fn passed(&mut self, place: &Cursor) {
        if self.begun.named.is_some() {
            return;
        }
        if self.places.len() == PLACES {
            self.places.pop_front();
        }
        self.places.push_back((self.way.at, place.clone()));
    }

    /// The place after a page of so many records that is about to be [sent](Account::sent), as its receiver gets it.
    ///
    /// `sum` is the name of its pull, and the sum over all records with that page, if they are summed.
    pub(crate) fn place(
        &self,
        key: Option<&SiteKey>,
        records: u64,
        cursor: &Cursor,
        sum: Option<(Uuid, RowSum)>,
    ) -> Option<Place> {
        match key.filter(|_| self.begun.named.is_some()) {
            Some(key) => place::sign(key, self.begun.transfer, self.way.at.saturating_add(records), cursor, sum),
            None => Some(Place { run: cursor.run, values: cursor.values.clone() }),
        }
    }

    /// It is paused: nobody has it.
    pub(super) fn paused(&mut self) {
        self.running = None;
    }

    /// It is resumed after so many records.
    pub(super) fn taken_up(&mut self, records: u64, running: Running) {
        self.way.go_back(records, self.begun.repeats);
        self.running = Some(running);
    }

    /// Whether all records were sent, and its end is kept. It may still be that the receiver lacks the last ones.
    pub(super) fn is_completed(&self) -> bool {
        !self.open && self.why.is_none()
    }

    /// Whether it is a look, which has ended after each of its pages and may be continued.
    pub(crate) fn is_look(&self) -> bool {
        self.begun.is_look
    }

    /// Whether it is a look that was continued.
    pub(crate) fn is_continued(&self) -> bool {
        self.is_continued
    }

    pub(crate) fn owner(&self) -> Uuid {
        self.begun.owner
    }

    /// How many records it has sent, each counted once.
    pub(super) fn records(&self) -> u64 {
        self.sent.records_transferred
    }

    /// A look that had ended is in progress again, as its transfer is.
    pub(super) fn is_reopened(&mut self) {
        (self.open, self.is_continued, self.told) = (true, true, self.site.now());
    }

    pub(super) fn transfer(&self) -> Uuid {
        self.begun.transfer
    }

    pub(crate) fn table(&self) -> &str {
        &self.begun.table
    }

    pub(crate) fn is_named(&self) -> bool {
        self.begun.named.is_some()
    }

    /// Whose turn it is, if it is of a named pull.
    pub(super) fn turn(&self) -> Option<u64> {
        self.begun.named.as_ref().map(|named| named.turn)
    }

    /// The next page is of this snapshot.
    pub(crate) fn in_state(&mut self, state: u64) {
        self.way.in_state(state);
    }

    /// How many of the records that are wanted are worth reading: no more can be sent at once.
    pub(crate) fn most(&self, wanted: u64) -> u64 {
        let Allowed { per_page, left } = self.begun.allowed;
        // What was sent before was counted then.
        let left = left.map_or(u64::MAX, |left| left.saturating_add(self.way.known()));
        wanted.min(per_page).min(left).min(self.approved_left())
    }

    /// Records until the end of what its approval is good for: so many of the table, and at most as many again because it was interrupted.
    fn approved_left(&self) -> u64 {
        let left = |records: u64| {
            let of_table = self.way.course.base.saturating_add(records).saturating_sub(self.way.at);
            let in_all = records.saturating_mul(2).saturating_sub(self.way.sent());
            of_table.min(in_all.saturating_add(self.way.known()))
        };
        self.begun.approved.map_or(u64::MAX, left)
    }

    /// Whether its approval is used up, or too old.
    pub(super) fn is_past_approval(&self, now: OffsetDateTime) -> bool {
        self.begun.approved.is_some() && (self.approved_left() == 0 || now >= self.begun.until)
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
            self.site.write(|sql| {
                connections::count_records(sql, uuid, uncounted)?;
                self.reach(sql, self.way.at).map(|_| ())
            })?;
            self.counted = self.counted.saturating_add(uncounted);
            allowed.left = Some(left.saturating_sub(uncounted));
        }
        self.begun.allowed = allowed;
        Ok(())
    }

    /// Reserves records of what the connection allows, for a page of so many that is about to be written, and says how many
    /// it may have: fewer than wanted where somebody else took some meanwhile. What was sent before needs no reserve.
    pub(super) fn reserve(&mut self, wanted: u64) -> Result<Reserved> {
        let furthest = self.way.at.saturating_add(wanted);
        let (Some(uuid), true) = (self.begun.connection, self.begun.allowed.left.is_some() || self.is_to_note(furthest))
        else {
            return Ok(Reserved::Records(wanted));
        };
        let known = wanted.min(self.way.known());
        let new = (wanted - known).saturating_sub(self.spare);
        if new > 0 {
            // How far the download is then is kept with it, so that nothing is counted twice if this process is killed.
            let taken = self.site.write(|sql| match self.reach(sql, furthest)? {
                true => connections::take_records(sql, uuid, new).map(Some),
                false => Ok(None),
            })?;
            let Some(taken) = taken else { return Ok(Reserved::TakenOver) };
            self.spare = self.spare.saturating_add(taken);
            self.noted = self.noted.max(furthest);
            self.begun.allowed.left = self.begun.allowed.left.map(|left| left.saturating_sub(taken));
        }
        Ok(Reserved::Records(known.saturating_add(self.spare).min(wanted)))
    }

    /// Whether the store is to know that it comes to here before it does: at its first page, and each time that it is twice as far. Another
    /// channel of its receiver, which resumes it while this one is open, must not take for new what was sent here.
    fn is_to_note(&self, furthest: u64) -> bool {
        let way = |to: u64| to.saturating_sub(self.way.course.base);
        self.is_named() && self.begun.repeats == Repeats::LIMITED && way(furthest) > way(self.noted).saturating_mul(2)
    }

    /// Gives back what was reserved and not used. When the store is busy, that is done later.
    fn give_back(&mut self) {
        let (Some(uuid), rest @ 1..) = (self.begun.connection, self.spare) else { return };
        let given = self.site.write(|sql| {
            self.reach(sql, self.way.at)?;
            connections::return_records(sql, uuid, rest)
        });
        match given {
            Ok(()) => {
                self.spare = 0;
                self.begun.allowed.left = self.begun.allowed.left.map(|left| left.saturating_add(rest));
            }
            Err(error) => {
                log::warn!(
                    target: "rowferry::access",
                    "records that were reserved and not sent cannot be given back yet: {error}"
                )
            }
        }
    }

    /// Keeps how far it is when it has come to here, if it is of a named pull: `false` if it is somebody else's by now.
    fn reach(&self, sql: &mut dyn Sql, at: u64) -> Result<bool> {
        let Some(turn) = self.turn() else { return Ok(true) };
        pulls::reach(sql, self.begun.transfer, turn, self.way.course.reached.max(at))
    }

    fn uncounted(&self) -> u64 {
        self.costing.saturating_sub(self.counted)
    }

    /// Counts for the connection what was sent without being taken before.
    fn count(&self, sql: &mut dyn Sql, records: u64) -> Result<()> {
        match (self.begun.connection, records) {
            (None, _) | (_, 0) => Ok(()),
            (Some(connection), records) => connections::count_records(sql, connection, records),
        }
    }

    /// Counts what was sent, and gives back what was reserved beyond it.
    pub(crate) fn sent(&mut self, records: u64, bytes: u64) {
        let costing = records.saturating_sub(self.way.known());
        let new = self.way.go(records);
        self.costing = self.costing.saturating_add(costing);
        self.sent.records_transferred = self.sent.records_transferred.saturating_add(new);
        self.sent.bytes_transferred = self.sent.bytes_transferred.saturating_add(bytes);
        let reserved = costing.min(self.spare);
        self.spare -= reserved;
        self.counted = self.counted.saturating_add(reserved);
        self.give_back();
    }

    /// Whether the store is to be told now that it is alive.
    pub(super) fn is_due(&self, now: OffsetDateTime) -> bool {
        // A clock that was set back shows life, too.
        self.open && self.lives && (now - self.told).abs() >= SIGN_OF_LIFE
    }

    /// Says in the store that it is alive, and how far it is: `false` if it is over, or somebody else has it.
    pub(super) fn write_life(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<bool> {
        if !self.save(sql, &self.way.course)? || !transfers::lives(sql, now, self.begun.transfer, &self.sent)? {
            return Ok(false);
        }
        self.count(sql, self.uncounted())?;
        Ok(true)
    }

    /// What came of [telling](Account::write_life) it; `None` if that failed. Then it is told a minute later, with what was sent until then:
    /// a store that is busy must not be waited for with each page.
    pub(super) fn told(&mut self, now: OffsetDateTime, lives: Option<bool>) {
        self.told = now;
        self.lives = lives.unwrap_or(true);
        if lives == Some(true) {
            self.counted = self.costing;
        }
    }

    /// Keeps the course of a download of a named pull: `false` if it is somebody else's by now. Then what it sent beyond what was
    /// known of it is counted.
    fn save(&self, sql: &mut dyn Sql, course: &Course) -> Result<bool> {
        let Some(turn) = self.turn() else { return Ok(true) };
        if pulls::save(sql, self.begun.transfer, turn, course)? {
            return Ok(true);
        }
        let more = pulls::raise(sql, self.begun.transfer, course.reached)?;
        self.count(sql, more.min(self.uncounted()))?;
        Ok(false)
    }

    /// All records were sent.
    pub(crate) fn complete(mut self) -> Result<()> {
        self.completed()
    }

    /// The same, of a download whose receiver may come back because it lacks the last ones.
    pub(crate) fn completed(&mut self) -> Result<()> {
        self.ends(None);
        self.running = None;
        self.end()
    }

    /// It ended early, for this reason.
    pub(crate) fn fail(mut self, why: &str) -> Result<()> {
        self.ends(Some(why.to_owned()));
        self.end()
    }

    /// It has ended: well, or for this reason. That is kept when [its end](Account::write_end) is, or when it is dropped.
    pub(crate) fn ends(&mut self, why: Option<String>) {
        self.why = why;
    }

    /// Keeps its end, unless that was done. When the store is busy it is tried once more as this is dropped.
    fn end(&mut self) -> Result<()> {
        let now = self.site.now();
        if self.open {
            self.site.change(|sql| self.write_end(sql, now))?;
        } else if self.uncounted() > 0 {
            // It had ended, and was resumed because its receiver lacked the last ones.
            self.site.write(|sql| self.count(sql, self.uncounted()))?;
        }
        self.is_written();
        Ok(())
    }

    /// Keeps its end and gives back what is not used, in a larger transaction: once that is done, [`Account::close`] is to be called.
    pub(super) fn write_end(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<()> {
        if !self.open {
            return Ok(());
        }
        if let (Some(uuid), rest @ 1..) = (self.begun.connection, self.spare) {
            connections::return_records(sql, uuid, rest)?;
        }
        if !self.save(sql, &self.way.ended())? {
            return Ok(());
        }
        self.count(sql, self.uncounted())?;
        self.write_status(sql, now)
    }

    fn is_written(&mut self) {
        (self.open, self.spare, self.counted) = (false, 0, self.costing);
    }

    /// Its end is kept; or it is not, and will be found as that of a process that was killed.
    pub(crate) fn close(mut self) {
        self.is_written();
    }

    fn write_status(&self, sql: &mut dyn Sql, now: OffsetDateTime) -> Result<()> {
        let transfer = self.begun.transfer;
        match transfers::by_uuid(sql, transfer)? {
            None => return Ok(()),
            Some(known) if known.status == TransferStatus::InProgress => {}
            // It was silent for so long that it was taken for dead.
            Some(known) if transfers::is_abandoned(&known) => drop(transfers::reopen(sql, now, &known, &self.sent)?),
            // Somebody here has ended it meanwhile.
            Some(known) => return transfers::settle(sql, now, &known, &self.sent),
        }
        let named = self.begun.named.as_ref();
        // What it got before is not told again.
        let got_nothing = named.is_some_and(|named| named.sent.records_transferred == self.sent.records_transferred);
        let written = match self.why.as_deref() {
            None if self.is_continued => transfers::change_quietly(sql, now, transfer, Change::Complete(&self.sent)),
            _ if got_nothing && named.is_some_and(|named| named.was_complete) => {
                transfers::change_quietly(sql, now, transfer, Change::Complete(&self.sent))
            }
            None => transfers::change(sql, now, &self.begun.actor, transfer, Change::Complete(&self.sent)),
            Some(why) => {
                transfers::progress(sql, now, transfer, &self.sent)?;
                if why == GIVEN_UP && got_nothing {
                    transfers::change_quietly(sql, now, transfer, Change::Fail(NOTHING_NEW))
                } else {
                    transfers::change(sql, now, &self.begun.actor, transfer, Change::Fail(why))
                }
            }
        };
        written.map(|_| ())
    }
}

/// Ends downloads that nobody resumed, in one transaction. What cannot be written is found as the end of a process that was killed.
pub(super) fn end_all(site: &Site, accounts: Vec<Account>) {
    if accounts.is_empty() {
        return;
    }
    let now = site.now();
    if let Err(error) = site.change(|sql| accounts.iter().try_for_each(|account| account.write_end(sql, now))) {
        log::error!(target: "rowferry::access", "the ends of {} pulls cannot be kept: {error}", accounts.len());
    }
    accounts.into_iter().for_each(Account::close);
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            let level = if error.kind() == ErrorKind::Locked { log::Level::Warn } else { log::Level::Error };
            log::log!(level, "the end of transfer {} cannot be kept: {error}", self.begun.transfer);
        }
    }
}
