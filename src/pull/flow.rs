//! What is on its way from the sender to the thread that applies it, and how much of that there may be.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use super::errors::is_transient;
use super::fetch::{Arrival, Batch, Exchange, Fetch, Returned, Task, gone};
use super::owed::Owed;
use super::source::{Page, Position, Stream};
use crate::domain::value::Rows;
use crate::error::Result;

/// Batches on their way to be written, where the sender does not bound what it sends by itself.
const BATCHES: usize = 2;

/// How often a fetch that waits for its batches to be written keeps the connection open.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often it is tried to tell the sender what it could not be told before.
const TRIES: u32 = 3;

/// The fetch of all tables on its way.
pub(super) struct Flow<'f> {
    pub(super) fetch: Fetch<'f>,
    exchange: Exchange,
    stream: Option<Box<dyn Stream + 'f>>,
    /// How many of the next tables were asked for through the stream.
    asked: usize,
    owed: Owed,
    /// Batches that are not written yet, and the size of their pages.
    under_way: usize,
    unspent: u64,
    /// How much of that came in a stream that is no more.
    stale: u64,
    /// Rows to fill again.
    free: Vec<Rows>,
    /// The most records that a page may have, as they were asked for last.
    most: u64,
}

impl<'f> Flow<'f> {
    pub(super) fn new(fetch: Fetch<'f>, exchange: Exchange) -> Self {
        let (owed, free) = (Owed::default(), Vec::new());
        Flow { fetch, exchange, stream: None, asked: 0, owed, under_way: 0, unspent: 0, stale: 0, free, most: u64::MAX }
    }

    pub(super) fn tell(&self, at: usize, arrival: Arrival) -> Result<()> {
        self.exchange.arrivals.send((at, arrival)).map_err(|_| gone())
    }

    pub(super) fn arrivals(&self) -> Sender<(usize, Arrival)> {
        self.exchange.arrivals.clone()
    }

    /// Whether pages come by themselves.
    pub(super) fn streams(&self) -> bool {
        self.stream.is_some()
    }

    /// The most records that a page may have, as they were asked for last.
    pub(super) fn most_records(&self) -> u64 {
        self.most
    }

    /// How many records to ask for in a page that is asked for by itself: no more than the connection allows.
    pub(super) fn page_records(&mut self) -> Result<u32> {
        let most = u64::from(self.fetch.page_records).min(self.fetch.bounds.left()?.max(1));
        self.most = most;
        Ok(u32::try_from(most).unwrap_or(self.fetch.page_records))
    }

    /// Whether what was asked for after the table at hand still comes.
    pub(super) fn is_usable(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_usable())
    }

    /// The next table is not wanted. What was asked for of it would come all the same.
    pub(super) fn pass_over(&mut self) {
        if self.asked > 0 {
            self.end_stream();
        }
    }

    /// The table at hand was refused; those after it still come.
    pub(super) fn is_refused(&mut self) {
        self.asked = self.asked.saturating_sub(1);
    }

    /// The table at hand has come to its end through the stream.
    pub(super) fn ended(&mut self, task: &Task, end: Option<Position>) -> Result<()> {
        self.asked = self.asked.saturating_sub(1);
        self.owed.add(task, end);
        match task.is_skipped() {
            // That it is over may have been said before it was owed.
            true => self.settle(task.at, false),
            false => Ok(()),
        }
    }

    pub(super) fn end_stream(&mut self) {
        // What came to its end before is committed soon, because nothing more comes; the sender is to know.
        while self.owed.has_some() && self.is_usable() {
            let Ok(returned) = self.exchange.returned.recv_timeout(POLL_INTERVAL) else { break };
            if self.take_back(returned).is_err() {
                break;
            }
        }
        (self.stream, self.asked) = (None, 0);
        self.owed.lose_stream();
    }

    /// Waits until there is room for another page. An error if nobody wants one.
    pub(super) fn room(&mut self, task: &Task, can_yield: bool) -> Result<()> {
        loop {
            if task.is_skipped() {
                self.end_stream();
                return Err(gone());
            }
            let full = match &self.stream {
                // A sender keeps what is not known to be safe, and no more than so much of it.
                Some(stream) => !stream.has_credit() || self.unspent >= stream.window() || self.owed.is_full(),
                None => self.under_way > BATCHES,
            };
            let returned = match self.exchange.returned.try_recv() {
                Ok(returned) => returned,
                Err(TryRecvError::Disconnected) => return Err(gone()),
                Err(TryRecvError::Empty) if !full || !self.is_awaited() => return Ok(()),
                Err(TryRecvError::Empty) => match self.exchange.returned.recv_timeout(POLL_INTERVAL) {
                    Ok(returned) => returned,
                    Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                    Err(RecvTimeoutError::Timeout) => {
                        self.fetch.patience.check("fetching pages")?;
                        if can_yield {
                            self.give_way();
                        }
                        self.stream.as_mut().map_or(Ok(()), |stream| stream.keep_open())?;
                        continue;
                    }
                },
            };
            self.take_back(returned)?;
        }
    }

    /// Waits for the next page of the table at hand. `None` if another call had to go first: then the table is asked for again.
    pub(super) fn next_page(&mut self, task: &Task, can_yield: bool, rows: &mut Rows) -> Result<Option<Page>> {
        loop {
            let Some(stream) = &mut self.stream else { return Ok(None) };
            if let Some(page) = stream.next(rows, self.fetch.patience)? {
                return Ok(Some(page));
            }
            // What was committed meanwhile may be what the sender waits to hear of.
            loop {
                match self.exchange.returned.try_recv() {
                    Ok(returned) => self.take_back(returned)?,
                    Err(TryRecvError::Disconnected) => return Err(gone()),
                    Err(TryRecvError::Empty) => break,
                }
            }
            if task.is_skipped() {
                self.end_stream();
                return Err(gone());
            }
            if can_yield && self.is_awaited() {
                self.give_way();
            }
        }
    }

    /// Whether something is still to come back.
    fn is_awaited(&self) -> bool {
        self.under_way > 0 || self.owed.has_some()
    }

    /// Ends the stream if another call waits for the connection.
    fn give_way(&mut self) {
        if self.stream.as_mut().is_some_and(|stream| stream.should_yield()) {
            self.end_stream();
        }
    }

    fn take_back(&mut self, returned: Returned) -> Result<()> {
        let (rows, size) = match returned {
            Returned::Batch(rows, size) => (rows, size),
            Returned::Committed(at) => return self.settle(at, true),
            Returned::Dropped(at) => return self.settle(at, false),
        };
        self.under_way = self.under_way.saturating_sub(1);
        self.unspent = self.unspent.saturating_sub(size);
        if self.free.len() < BATCHES && rows.size_bytes() <= self.fetch.limits.pull.batch_bytes {
            self.free.push(rows);
        }
        // Batches come back in the order in which they went: first those of a stream that is no more.
        let stale = self.stale.min(size);
        self.stale -= stale;
        let is_hungry = self.under_way == 0;
        self.stream.as_mut().map_or(Ok(()), |stream| stream.ack(size - stale, is_hungry))
    }

    fn settle(&mut self, at: usize, is_committed: bool) -> Result<()> {
        self.owed.settle(at, is_committed, self.stream.as_deref_mut())
    }

    /// Asks for this table and for some of those after it, through one stream. Further ones are asked for in one go when half of those
    /// before have ended: the sender begins together what was asked for together.
    pub(super) fn ask(&mut self, first: (&Task, &Position), later: &VecDeque<Task>) -> Result<()> {
        let Fetch { source, pull, stream_records, patience, bounds, .. } = self.fetch;
        let left = bounds.left()?;
        if self.stream.is_none() {
            self.most = stream_records.map_or(u64::MAX, u64::from).min(left.max(1));
            self.stream = source.stream(pull, u32::try_from(self.most).ok().or(stream_records), patience)?;
            self.asked = 0;
            self.stale = self.unspent;
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if self.asked == 0 {
            stream.ask(first.0.at, &first.0.table, first.1, patience)?;
            self.asked = 1;
        }
        let most = stream.most_asked();
        if self.asked <= most / 2 {
            // Only what may be taken is asked for ahead.
            let mut expected = first.0.announced.saturating_sub(first.1.records);
            for (before, task) in (1..).zip(later.iter().take(most)) {
                expected = expected.saturating_add(task.announced.saturating_sub(task.from.records));
                if before < self.asked {
                    continue;
                }
                if self.asked >= most || task.is_skipped() || expected > left {
                    break;
                }
                stream.ask(task.at, &task.table, &task.from, patience)?;
                self.asked += 1;
            }
        }
        Ok(())
    }

    /// Empty rows to fill.
    pub(super) fn free_rows(&mut self, columns: usize) -> Rows {
        let mut rows = self.free.pop().unwrap_or_default();
        rows.clear(columns);
        rows
    }

    /// Gives a batch on. `false` if nobody takes it.
    pub(super) fn hand_over(&mut self, at: usize, batch: Batch) -> bool {
        self.under_way += 1;
        self.unspent += batch.size;
        self.tell(at, Arrival::Batch(Box::new(batch))).is_ok()
    }

    /// All has come: the sender is told which tables are committed, until nobody tells that any more.
    pub(super) fn wait_for_commits(mut self) {
        while self.owed.is_open() {
            match self.exchange.returned.recv_timeout(POLL_INTERVAL) {
                Ok(returned) => {
                    if let Err(error) = self.take_back(returned) {
                        log::debug!(target: "rowferry::pull", "the connection is lost after all has come: {error}");
                        self.end_stream();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.give_way();
                    if self.stream.as_mut().is_some_and(|stream| stream.keep_open().is_err()) {
                        self.end_stream();
                    }
                }
            }
        }
        (self.stream, self.asked) = (None, 0);
        self.owed.lose_stream();
        for _ in 0..TRIES {
            let Err(error) = self.owed.tell(&self.fetch) else { return };
            log::debug!(target: "rowferry::pull", "the other site cannot be told yet that its rows are safe: {error}");
            let (source, patience) = (self.fetch.source, self.fetch.patience);
            if !is_transient(error.kind()) || !source.can_reconnect() || source.reconnect(patience).is_err() {
                return;
            }
        }
    }
}
