//! The requests of named pulls on a channel: they are answered one after the other, in their order, and begun and ended together.

use std::collections::VecDeque;
use std::mem;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::channel::ChannelSession;
use super::download::{Ask, Checked, Download, Place};
use super::refusals::{FAILED, failed, refusal, refused, told};
use super::sending::{MOST_CREDIT, Pages};
use crate::access::{Account, GivenPlace, Wanted};
use crate::domain::row_sum::{RowHasher, RowSum, Summing};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SiteKey;
use crate::wire::native::{End, Fetch, Refusal};

/// Requests that may wait for their answer.
const QUEUED: usize = 64;

/// Downloads that may have ended without being acknowledged. When there are so many, no further one is sent from.
const UNACKNOWLEDGED: usize = 256;

/// Bytes of tables that may be sent whole before the peer has begun to read the first of them, where what is lost on its way counts.
const UNREAD: u64 = 128 << 10;

/// Where the first page of an answer is cut, in bytes. Until it is known how fast the peer is, it should not wait long for one.
const FIRST_PAGE: usize = 32 << 10;

/// Within which time a page must be acknowledged for the next ones to be larger.
const QUICK: Duration = Duration::from_millis(500);

/// The requests of named pulls on one channel.
#[derive(Default)]
pub(super) struct Queue {
    /// The first one is being answered.
    requests: VecDeque<Queued>,
    /// Those whose answers have ended, until the peer says that it has them.
    unacknowledged: Vec<Unacknowledged>,
    /// What places are signed with, once it was needed; and whether it was looked for and is not there.
    key: Option<SiteKey>,
    has_no_key: bool,
    /// How many of the requests that waited were begun together last.
    batch: usize,
    /// The most bytes that a request allowed to be sent at first.
    widest: u32,
    /// Whether the peer was waited for in vain: then it does not say what it reads.
    is_released: bool,
}

struct Queued {
    request: u32,
    /// Bytes that may be sent.
    credit: i64,
    /// Whether more is to be allowed once the peer has come to read this answer.
    is_ahead: bool,
    stage: Stage,
}

enum Stage {
    New(Box<Fetch>),
    Refused(Box<Refusal>),
    Begun(Box<Answering>),
}

/// An answer that is being sent.
struct Answering {
    pull: Uuid,
    download: Download,
    /// Most records of a page.
    page_rows: u64,
    pages: Pages,
    rows: u64,
    flight: Flight,
    /// The state of the last page, once it was sent.
    ended: Option<u64>,
    /// Whether the peer says that it has that page, before it could be told of the end.
    done: bool,
}

struct Unacknowledged {
    request: u32,
    /// See [`Queued::is_ahead`].
    is_ahead: bool,
    /// Whether the peer has come to an answer behind it.
    is_read: bool,
    pull: Uuid,
    account: Account,
    flight: Flight,
}

/// Pages that were sent and not acknowledged, and how large the next one is to be.
struct Flight {
    pages: VecDeque<Flying>,
    /// What they count of the credit.
    bytes: u64,
    /// Bytes that were acknowledged beyond the pages before those.
    acknowledged: u64,
    page_bytes: usize,
    /// The smallest and the largest that it may be.
    bounds: (usize, usize),
}

struct Flying {
    /// What it counts of the credit.
    cost: u64,
    /// How many records of the table the receiver has with it.
    end: u64,
    /// At how many bytes it was cut.
    page_bytes: usize,
    sent: Instant,
}

impl Flight {
    fn new(most: usize) -> Self {
        let first = FIRST_PAGE.min(most);
        Flight { pages: VecDeque::new(), bytes: 0, acknowledged: 0, page_bytes: first, bounds: (first, most) }
    }

    fn sent(&mut self, cost: u64, end: u64, now: Instant) {
        self.bytes = self.bytes.saturating_add(cost);
        self.pages.push_back(Flying { cost, end, page_bytes: self.page_bytes, sent: now });
    }

    /// So many bytes more are acknowledged. Gives how many records of the table the receiver has with them, if that is known. Pages
    /// that are acknowledged quickly make the next ones twice as large, and those that are not half as large.
    fn acknowledge(&mut self, bytes: u64, now: Instant) -> Option<u64> {
        self.acknowledged = self.acknowledged.saturating_add(bytes);
        let mut end = None;
        while let Some(page) = self.pages.front().filter(|page| page.cost <= self.acknowledged) {
            self.acknowledged -= page.cost;
            self.bytes = self.bytes.saturating_sub(page.cost);
            end = Some(page.end);
            // What is said of a page of another size was taken into account before.
            if page.page_bytes == self.page_bytes {
                let is_quick = now.saturating_duration_since(page.sent) <= QUICK;
                let size = if is_quick { page.page_bytes.saturating_mul(2) } else { page.page_bytes / 2 };
                self.page_bytes = size.clamp(self.bounds.0, self.bounds.1);
            }
            self.pages.pop_front();
        }
        end
    }
}

impl Queue {
    /// Whether nothing is to be answered.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether so much was sent and not acknowledged that nothing more is, for now.
    fn is_full(&self, first: &Answering) -> bool {
        let bytes = self.unacknowledged.iter().map(|ended| ended.flight.bytes).sum::<u64>();
        self.unacknowledged.len() >= UNACKNOWLEDGED || bytes.saturating_add(first.flight.bytes) >= MOST_CREDIT.unsigned_abs()
    }

    /// Whether an answer that the peer has not come to read is not to be begun yet, because so much before it may be on its way: all of
    /// that is lost with the connection. A peer that allows little of what it asks for ahead allows more when it comes to it, and says so
    /// with that what it has read.
    fn is_unread(&self, next: &Queued) -> bool {
        let is_begun = matches!(&next.stage, Stage::Begun(answering) if answering.rows > 0);
        let unread = self.unacknowledged.iter().filter(|ended| !ended.is_read).map(|ended| ended.flight.bytes);
        next.is_ahead && !is_begun && !self.is_released && unread.sum::<u64>() >= UNREAD
    }

    /// The peer has come to read an answer: all before it have arrived.
    fn has_come_to(&mut self, request: u32) {
        let before = self.unacknowledged.iter().position(|ended| ended.request == request);
        let before = before.unwrap_or(self.unacknowledged.len());
        self.unacknowledged.iter_mut().take(before).for_each(|ended| ended.is_read = true);
    }

    /// Puts a request at the end.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) where there are too many, or one of its number is not over.
    fn push(&mut self, fetch: Fetch) -> Result<()> {
        let protocol = |what: &str| Err(Error::new(ErrorKind::Protocol, what));
        if self.requests.len() >= QUEUED {
            return protocol("more requests wait than may");
        }
        let request = fetch.request;
        let is_known = self.requests.iter().any(|queued| queued.request == request)
            || self.unacknowledged.iter().any(|ended| ended.request == request);
        if is_known {
            return protocol("a request of the same number is not over");
        }
        let window = fetch.window.get();
        self.widest = self.widest.max(window);
        let (credit, is_ahead) = (i64::from(window).min(MOST_CREDIT), window < self.widest);
        self.requests.push_back(Queued { request, credit, is_ahead, stage: Stage::New(Box::new(fetch)) });
        Ok(())
    }
}

impl ChannelSession {
    /// Takes a request of a named pull.
    ///
    /// # Errors
    /// See [`Queue::push`].
    pub(super) fn queue(&mut self, fetch: Fetch) -> Result<()> {
        self.leave_ended(&fetch);
        self.queue.push(fetch)
    }

    /// What the peer asks for again it does not have: the download is over here before it is resumed.
    fn leave_ended(&mut self, fetch: &Fetch) {
        let is_same = |ended: &mut Unacknowledged| {
            Some(ended.pull) == fetch.pull && self.site.names().same(ended.account.table(), &fetch.table)
        };
        let again: Vec<_> = self.queue.unacknowledged.extract_if(.., is_same).collect();
        again.into_iter().for_each(|ended| self.source.leave(ended.account));
    }

    /// The peer allows so many bytes more: it is done with as many, or has come to what it asked for ahead.
    pub(super) fn credit(&mut self, request: u32, bytes: NonZeroU32) {
        let (now, acknowledged) = (Instant::now(), u64::from(bytes.get()));
        if let Some(queued) = self.queue.requests.iter_mut().find(|queued| queued.request == request) {
            queued.credit = queued.credit.saturating_add(bytes.get().into()).min(MOST_CREDIT);
            let was_ahead = mem::take(&mut queued.is_ahead);
            if let Stage::Begun(answering) = &mut queued.stage
                && !was_ahead
                && let Some(records) = answering.flight.acknowledge(acknowledged, now)
            {
                answering.download.account.has_arrived(records);
            }
        }
        self.queue.has_come_to(request);
        let ended = self.queue.unacknowledged.iter_mut().find(|ended| ended.request == request);
        if let Some(ended) = ended
            && !mem::take(&mut ended.is_ahead)
            && let Some(records) = ended.flight.acknowledge(acknowledged, now)
        {
            ended.account.has_arrived(records);
        }
    }

    /// The peer has all of an answer.
    pub(super) fn done(&mut self, request: u32) {
        if let Some(Queued { stage: Stage::Begun(answering), .. }) = self.queue.requests.front_mut()
            && answering.pages.request == request
        {
            answering.done = answering.ended.is_some();
        }
        let found = self.queue.unacknowledged.iter().position(|ended| ended.request == request);
        if let Some(Unacknowledged { mut account, .. }) = found.map(|found| self.queue.unacknowledged.swap_remove(found)) {
            account.has_arrived(account.at());
            self.source.ends(account, None);
            // Nothing is left that it could be written with.
            if self.queue.requests.is_empty() && self.queue.unacknowledged.is_empty() {
                self.source.write_ends();
            }
        }
    }

    /// The peer wants no more of an answer. It may come back for the rest.
    pub(super) fn cancel(&mut self, request: u32) {
        let queued = self.queue.requests.iter().position(|queued| queued.request == request);
        let queued = queued.and_then(|found| self.queue.requests.remove(found));
        let ended = self.queue.unacknowledged.iter().position(|ended| ended.request == request);
        let ended = ended.map(|found| self.queue.unacknowledged.swap_remove(found).account);
        let account = queued.and_then(Queued::account).or(ended);
        if let Some(account) = account {
            self.source.leave(account);
        }
    }

    /// The channel ends, or something else is asked for: what is not acknowledged may be resumed. Writes all ends.
    pub(super) fn end_queue(&mut self) {
        let Queue { requests, unacknowledged, .. } = &mut self.queue;
        let accounts = requests.drain(..).filter_map(Queued::account);
        let accounts = accounts.chain(unacknowledged.drain(..).map(|ended| ended.account));
        accounts.for_each(|account| self.source.leave(account));
        self.source.write_ends();
    }

    /// The channel is gone: ends that cannot be written by now are found as those of a process that was killed.
    pub(super) fn drop_queue(&mut self) {
        self.end_queue();
        self.source.write_last_ends();
    }

    /// The next message that is due in answer to a named pull.
    pub(super) fn next_queued(&mut self) -> Option<Vec<u8>> {
        loop {
            let first = self.queue.requests.front()?;
            if self.source.grant.is_limited() && self.queue.is_unread(first) {
                return None;
            }
            if let Stage::New(_) = first.stage {
                self.begin_queued();
            }
            let mut first = self.queue.requests.pop_front()?;
            match first.stage {
                // It was just begun, or refused.
                Stage::New(_) => {}
                Stage::Refused(refusal) => return Some(refusal.encode()),
                Stage::Begun(answering) => match answering.ended {
                    Some(state) => return Some(self.end_answer((first.request, first.is_ahead), *answering, state)),
                    None if first.credit <= 0 || self.queue.is_full(&answering) => {
                        first.stage = Stage::Begun(answering);
                        self.queue.requests.push_front(first);
                        return None;
                    }
                    None => return Some(self.send_page((first.request, first.credit, first.is_ahead), *answering)),
                },
            }
        }
    }

    fn end_answer(&mut self, (request, is_ahead): (u32, bool), answering: Answering, state: u64) -> Vec<u8> {
        let Answering { pull, download, pages, flight, rows, done, .. } = answering;
        let account = download.account;
        self.queue.unacknowledged.push(Unacknowledged { request, is_ahead, is_read: false, pull, account, flight });
        if done {
            self.done(request);
        }
        End { request, rows, state: NonZeroU64::new(state), sum: pages.encoder.sum() }.encode()
    }

    /// The next page of the first request, or the end of its answer.
    fn send_page(&mut self, (request, credit, is_ahead): (u32, i64, bool), mut answering: Answering) -> Vec<u8> {
        self.show_life();
        let page_bytes = answering.flight.page_bytes;
        answering.pages.cut.page_bytes = page_bytes;
        let ask = Ask { records: answering.page_rows, bytes: page_bytes, checked: Checked::No };
        let (download, sent) = match self.source.next(answering.download, ask, &mut answering.pages) {
            Ok(next) => next,
            Err(why) => return refusal(request, &refused(why)).encode(),
        };
        answering.download = download;
        answering.rows = answering.rows.saturating_add(sent.rows);
        let Some((message, cost)) = answering.pages.last.take() else {
            return self.end_answer((request, is_ahead), answering, sent.state);
        };
        answering.flight.sent(cost.unsigned_abs(), answering.download.account.at(), Instant::now());
        answering.ended = (!sent.more).then_some(sent.state);
        let credit = credit.saturating_sub(cost);
        let stage = Stage::Begun(Box::new(answering));
        self.queue.requests.push_front(Queued { request, credit, is_ahead, stage });
        message
    }

    /// The peer has said nothing for long: it is not waited for again.
    pub(super) fn release(&mut self) {
        self.queue.is_released = true;
    }

    /// Downloads that wait for others, for more to be allowed, or for their acknowledgement, are alive.
    pub(super) fn show_life(&mut self) {
        let Queue { requests, unacknowledged, .. } = &mut self.queue;
        let waiting = requests.iter_mut().filter_map(|queued| match &mut queued.stage {
            Stage::Begun(answering) => Some(&mut answering.download.account),
            _ => None,
        });
        let waiting = waiting.chain(unacknowledged.iter_mut().map(|ended| &mut ended.account));
        let unnamed = self.sending.iter_mut().map(|sending| &mut sending.download.account);
        let unnamed = unnamed.chain(self.pulls.values_mut());
        self.source.grant.show_life(waiting.chain(unnamed));
    }

    /// Begins requests that wait to be begun, in one transaction: twice as many as the last time, because those before them went out
    /// without a stop. What is asked for behind a large table, or on a link that is cut often, is not begun for nothing.
    fn begin_queued(&mut self) {
        let looked = self.source.grant.look(None).map(|_| ()).map_err(|why| told("Failed to read settings", why));
        self.source.exporter.offer(self.source.grant.offer());
        let mut requests = std::mem::take(&mut self.queue.requests);
        self.queue.batch = self.queue.batch.saturating_mul(2).clamp(1, QUEUED);
        let new = requests.iter_mut().filter(|queued| matches!(queued.stage, Stage::New(_))).take(self.queue.batch);
        match looked.and_then(|()| self.place_key()) {
            Ok(key) => self.begin_all(new, key.as_ref()),
            Err(error) => new.for_each(|queued| queued.stage = Stage::refused(queued.request, &error)),
        }
        self.queue.requests = requests;
    }

    fn begin_all<'q>(&mut self, requests: impl Iterator<Item = &'q mut Queued>, key: Option<&SiteKey>) {
        let (mut wanted, mut prepared) = (Vec::new(), Vec::new());
        for queued in requests {
            let Stage::New(fetch) = &queued.stage else { continue };
            self.leave_ended(fetch);
            match self.prepare(fetch, key.cloned()) {
                Ok((one, answering)) => {
                    wanted.push(one);
                    prepared.push((queued, answering));
                }
                Err(error) => queued.stage = Stage::refused(queued.request, &error),
            }
        }
        if wanted.is_empty() {
            return;
        }
        match self.source.begin(&wanted, key) {
            Ok(begun) => {
                for ((queued, answering), begun) in prepared.into_iter().zip(begun) {
                    queued.stage = match begun {
                        Ok(account) => Stage::Begun(Box::new(answering(account))),
                        Err(why) => Stage::refused(queued.request, &told(FAILED, why)),
                    };
                }
            }
            Err(why) => {
                let error = told(FAILED, why);
                prepared.into_iter().for_each(|(queued, _)| queued.stage = Stage::refused(queued.request, &error));
            }
        }
    }

    /// What a request wants, and what becomes its answer once that is let begin.
    fn prepare(
        &mut self,
        fetch: &Fetch,
        key: Option<SiteKey>,
    ) -> Result<(Wanted, impl FnOnce(Account) -> Answering + use<>)> {
        self.visible(&fetch.table)?;
        let table = self.source.exporter.schema(&fetch.table).map_err(|error| failed(FAILED, &error))?;
        let asked = self.source.asked(&table).map_err(|error| failed(FAILED, &error))?;
        let mut pages = self.pages(fetch, &table)?;
        let after = fetch.after.clone().map(GivenPlace::new);
        let (hasher, before) =
            (RowHasher::of_pull(fetch.pull.unwrap_or_default()), sum_before(fetch, after.as_ref(), key.as_ref()));
        pages.encoder = pages.encoder.summing(before.map(|before| Summing::new(hasher, before)));
        pages.places = key;
        let cursor = after.as_ref().map(|place| place.cursor.clone());
        let (page_rows, pull) = (u64::from(fetch.page_rows.get()), fetch.pull.unwrap_or_default());
        let answering = move |account| Answering {
            pull,
            download: Download { account, place: Place::After { table, cursor } },
            page_rows,
            flight: Flight::new(pages.cut.page_bytes),
            pages,
            rows: 0,
            ended: None,
            done: false,
        };
        Ok((Wanted { asked, pull, records: fetch.records, after }, answering))
    }

    /// The key that places are signed with. Without it a download can be resumed only from where it began.
    fn place_key(&mut self) -> Result<Option<SiteKey>> {
        if self.queue.key.is_none() && !self.queue.has_no_key {
            match self.site.key() {
                Ok(key) => self.queue.key = Some(key),
                Err(error) if error.kind() == ErrorKind::SiteKey => {
                    log::warn!(
                        target: "rowferry::serve",
                        "pulls of this peer can be resumed only from the beginning of a table: {error}"
                    );
                    self.queue.has_no_key = true;
                }
                Err(error) => return Err(failed(FAILED, &error)),
            }
        }
        Ok(self.queue.key.clone())
    }
}

/// The sum over the records that the peer has already, if sums are asked for and it is known.
fn sum_before(fetch: &Fetch, after: Option<&GivenPlace>, key: Option<&SiteKey>) -> Option<RowSum> {
    let known = match after {
        None => Some(RowSum::default()),
        Some(place) => place.sum(key?, fetch.pull?),
    };
    // Other places are given for as many records as there are.
    known.filter(|known| fetch.sums && known.rows == fetch.records)
}

impl Stage {
    fn refused(request: u32, error: &Error) -> Self {
        Stage::Refused(Box::new(refusal(request, error)))
    }
}

impl Queued {
    fn account(self) -> Option<Account> {
        match self.stage {
            Stage::Begun(answering) => Some(answering.download.account),
            Stage::New(_) | Stage::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_while_they_are_acknowledged_quickly() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let mut flight = Flight::new(1 << 20);
        let mut sizes = Vec::new();
        let mut send = |flight: &mut Flight, takes| {
            sizes.push(flight.page_bytes >> 10);
            flight.sent(100, 7, now);
            assert_eq!(flight.acknowledge(100, after(takes)), Some(7));
        };
        for takes in [0, 500, 0, 501, 501, 501, 501, 0, 0, 0, 0, 0, 0, 0] {
            send(&mut flight, takes);
        }
        assert_eq!(sizes, [32, 64, 128, 256, 128, 64, 32, 32, 64, 128, 256, 512, 1024, 1024]);
        assert_eq!(Flight::new(4096).page_bytes, 4096, "no larger than was asked for");
    }

    #[test]
    fn a_burst_of_acknowledgements_says_one_thing() {
        let now = Instant::now();
        let mut flight = Flight::new(1 << 20);
        (1..=10).for_each(|page| flight.sent(100, page * 10, now));
        assert_eq!(flight.acknowledge(99, now), None);
        assert_eq!(flight.acknowledge(1, now), Some(10));
        assert_eq!(flight.acknowledge(850, now), Some(90));
        assert_eq!(flight.page_bytes, 64 << 10);
        // More than was sent is no more than all.
        assert_eq!(flight.acknowledge(u64::MAX, now), Some(100));
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[path = "queue_tests/mod.rs"]
mod session_tests;
