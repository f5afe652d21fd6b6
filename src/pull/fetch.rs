//! Fetches the tables of a pull one after the other on a thread of its own, and gives their rows on in batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::errors::{ends_all, is_transient};
use super::reconnect::ReconnectPolicy;
use super::source::{Page, Position, Source, Stream};
use super::states::States;
use super::wait::{Allowance, Poll};
use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Batches on their way to be written, where the sender does not bound what it sends by itself.
const BATCHES: usize = 2;

/// How often a fetch that waits for its batches to be written keeps the connection open.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Tables that have ended and are not committed, at most.
const MOST_UNCOMMITTED: usize = 128;

/// How often a table begins again because the place in it has expired.
const MOST_RESTARTS: u32 = 3;

/// A table to fetch.
pub(super) struct Task {
    /// Its position among the tables of the pull.
    pub(super) at: usize,
    pub(super) table: Arc<TableSchema>,
    /// Where to begin.
    pub(super) from: Position,
    /// The states that what came before is of.
    pub(super) before: States,
    /// How many rows the sender says there are.
    pub(super) announced: u64,
    /// The time to wait for this table, where the other site counts calls.
    pub(super) allowance: Allowance,
    /// Set when its rows are not wanted.
    pub(super) skip: Arc<AtomicBool>,
}

/// Rows that are written together.
pub(super) struct Batch {
    pub(super) rows: Rows,
    pub(super) failures: Vec<Failure>,
    /// The place after the last of them; `None` if the pull could not resume there.
    pub(super) position: Option<Position>,
    /// Records of this table received so far.
    pub(super) received: u64,
    /// Bytes of this table received so far, by this run of the pull.
    pub(super) bytes: u64,
    /// What its pages count, where they come by themselves.
    pub(super) size: u64,
    /// The states that the table's records are of so far.
    pub(super) states: States,
}

/// What comes from the thread that fetches, table after table.
pub(super) enum Arrival {
    Batch(Batch),
    /// The place in the table has expired: it comes from its first row again.
    Again,
    /// The other site said to wait, so that nothing will come for a while.
    Waiting,
    /// The connection was lost, and is about to be made again.
    Reconnecting,
    /// The other site has to approve the table first, by this transfer of its own.
    AwaitingApproval(Option<Uuid>),
    /// The table has come to its end.
    Ended(Result<Fetched>),
}

/// What comes back to the thread that fetches.
pub(super) enum Returned {
    /// A batch that is done with: its rows are memory to fill again, and what its pages count, where they come by themselves.
    Batch(Rows, u64),
    /// All rows of a table are committed: only now may the sender forget how to send them again.
    Committed(usize),
}

/// What there is to say when all pages of a table are there.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Records received, those of an earlier run included.
    pub(super) received: u64,
    pub(super) pages: u64,
    /// The states that all its records are of.
    pub(super) states: States,
    /// The number of the state that came last.
    pub(super) latest: Option<u64>,
    /// How many rows the sender says there are now, if fewer came than it had said.
    pub(super) expected: Option<u64>,
}

/// What is the same for all tables.
pub(super) struct Fetch<'f> {
    pub(super) source: &'f dyn Source,
    /// The pull's name.
    pub(super) pull: Uuid,
    pub(super) limits: &'f Limits,
    /// Records in a page, where they are asked for one by one.
    pub(super) page_records: u32,
    /// Most records in a page that comes by itself, if the caller minds.
    pub(super) stream_records: Option<u32>,
    pub(super) patience: &'f Patience,
    pub(super) reconnect: ReconnectPolicy,
    /// Until when to wait for the other side's approval, by asking for the first page again.
    pub(super) approval_until: Option<Instant>,
}

/// Where what is fetched goes to, and comes back from.
pub(super) struct Exchange {
    pub(super) arrivals: Sender<(usize, Arrival)>,
    pub(super) returned: Receiver<Returned>,
}

impl Fetch<'_> {
    /// Fetches the tables in their order. What is under way is bounded: it waits for batches to come back before it takes in more. It
    /// ends when nobody takes the batches any more.
    pub(super) fn run(self, tasks: Vec<Task>, exchange: Exchange) {
        let mut run = Run {
            fetch: self,
            exchange,
            stream: None,
            asked: 0,
            uncommitted: Vec::new(),
            owed: Vec::new(),
            under_way: 0,
            unspent: 0,
            stale: 0,
            free: Vec::new(),
        };
        let mut tasks: VecDeque<Task> = tasks.into();
        let mut over: Option<Error> = None;
        while let Some(mut task) = tasks.pop_front() {
            if task.skip.load(Ordering::SeqCst) {
                run.pass_over();
                if run.exchange.arrivals.send((task.at, Arrival::Ended(Err(gone())))).is_err() {
                    return;
                }
                continue;
            }
            let ended = match &over {
                Some(over) => Err(over.copy()),
                None => TableRun::new(&task).all_pages(&mut run, &mut task, &tasks),
            };
            if let Err(error) = &ended
                && over.is_none()
                && (ends_all(error.kind()) || !run.fetch.source.is_open())
            {
                over = Some(error.copy());
            }
            if run.exchange.arrivals.send((task.at, Arrival::Ended(ended))).is_err() {
                return;
            }
        }
        run.wait_for_commits();
    }
}

/// A table that has come to its end.
struct Ended {
    at: usize,
    table: Arc<TableSchema>,
    end: Option<Position>,
    is_committed: bool,
}

/// The fetch of all tables on its way.
struct Run<'f> {
    fetch: Fetch<'f>,
    exchange: Exchange,
    stream: Option<Box<dyn Stream + 'f>>,
    /// How many of the next tables were asked for through the stream.
    asked: usize,
    /// Tables that have ended through the stream and are not committed, each with its end.
    uncommitted: Vec<Ended>,
    /// Those whose stream is no more.
    owed: Vec<Ended>,
    /// Batches that are not written yet, and the size of their pages.
    under_way: usize,
    unspent: u64,
    /// How much of that came in a stream that is no more.
    stale: u64,
    /// Rows to fill again.
    free: Vec<Rows>,
}

impl<'f> Run<'f> {
    /// The next table is not wanted. What was asked for of it would come all the same.
    fn pass_over(&mut self) {
        if self.asked > 0 {
            self.end_stream();
        }
    }

    fn end_stream(&mut self) {
        // What came to its end before is committed soon, because nothing more comes; the sender is to know.
        while !self.uncommitted.is_empty() && self.stream.as_ref().is_some_and(|stream| stream.is_usable()) {
            let Ok(returned) = self.exchange.returned.recv_timeout(POLL_INTERVAL) else { break };
            if self.take_back(returned).is_err() {
                break;
            }
        }
        (self.stream, self.asked) = (None, 0);
        self.owed.append(&mut self.uncommitted);
    }

    /// Waits until there is room for another page. `false` if nobody wants one.
    fn room(&mut self, can_yield: bool) -> Result<bool> {
        loop {
            let full = match &self.stream {
                // A sender keeps what is not known to be safe, and no more than so much of it.
                Some(stream) => !stream.has_credit() || self.uncommitted.len() >= MOST_UNCOMMITTED,
                None => self.under_way > BATCHES,
            };
            let returned = match self.exchange.returned.try_recv() {
                Ok(returned) => returned,
                Err(TryRecvError::Disconnected) => return Ok(false),
                Err(TryRecvError::Empty) if !full || (self.under_way == 0 && self.uncommitted.is_empty()) => {
                    return Ok(true);
                }
                Err(TryRecvError::Empty) => match self.exchange.returned.recv_timeout(POLL_INTERVAL) {
                    Ok(returned) => returned,
                    Err(RecvTimeoutError::Disconnected) => return Ok(false),
                    Err(RecvTimeoutError::Timeout) => {
                        self.fetch.patience.check("fetching pages")?;
                        if can_yield && self.stream.as_mut().is_some_and(|stream| stream.should_yield()) {
                            self.end_stream();
                        }
                        self.stream.as_mut().map_or(Ok(()), |stream| stream.keep_open())?;
                        continue;
                    }
                },
            };
            self.take_back(returned)?;
        }
    }

    fn take_back(&mut self, returned: Returned) -> Result<()> {
        let (rows, size) = match returned {
            Returned::Batch(rows, size) => (rows, size),
            Returned::Committed(at) => return self.committed(at),
        };
        self.under_way = self.under_way.saturating_sub(1);
        self.unspent = self.unspent.saturating_sub(size);
        if self.free.len() < BATCHES && rows.size_bytes() <= self.fetch.limits.batch_bytes {
            self.free.push(rows);
        }
        // Batches come back in the order in which they went: first those of a stream that is no more.
        let stale = self.stale.min(size);
        self.stale -= stale;
        let is_hungry = self.under_way == 0;
        self.stream.as_mut().map_or(Ok(()), |stream| stream.ack(size - stale, is_hungry))
    }

    /// Asks for this table and for some of those after it, through one stream. Further ones are asked for in one go when half of those
    /// before have ended: the sender begins together what was asked for together.
    fn ask(&mut self, first: (&Task, &Position), later: &VecDeque<Task>) -> Result<()> {
        let Fetch { source, pull, stream_records, patience, .. } = self.fetch;
        if self.stream.is_none() {
            self.stream = source.stream(pull, stream_records, patience)?;
            self.asked = 0;
            self.stale = self.unspent;
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if self.asked == 0 {
            stream.ask(&first.0.table, first.1, patience)?;
            self.asked = 1;
        }
        let most = stream.most_asked();
        if self.asked <= most / 2 {
            for task in later.iter().take(most).skip(self.asked - 1) {
                if self.asked >= most || task.skip.load(Ordering::SeqCst) {
                    break;
                }
                stream.ask(&task.table, &task.from, patience)?;
                self.asked += 1;
            }
        }
        Ok(())
    }

    /// All rows of a table are committed.
    fn committed(&mut self, at: usize) -> Result<()> {
        self.owed.iter_mut().filter(|owed| owed.at == at).for_each(|owed| owed.is_committed = true);
        let Some(place) = self.uncommitted.iter().position(|ended| ended.at == at) else { return Ok(()) };
        self.uncommitted.remove(place);
        self.stream.as_mut().map_or(Ok(()), |stream| stream.complete(place))
    }

    /// All has come: the sender is told which tables are committed, until nobody tells that any more.
    fn wait_for_commits(&mut self) {
        let waits = |ended: &Ended| !ended.is_committed;
        while self.uncommitted.iter().any(waits) || self.owed.iter().any(waits) {
            match self.exchange.returned.recv_timeout(POLL_INTERVAL) {
                Ok(returned) => {
                    if self.take_back(returned).is_err() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let Some(stream) = &mut self.stream else { continue };
                    if stream.should_yield() || stream.keep_open().is_err() {
                        return;
                    }
                }
            }
        }
        for _ in 0..MOST_RESTARTS {
            let Err(error) = self.tell_owed() else { return };
            log::debug!("the other site does not hear yet that its rows are safe: {error}");
            self.stream = None;
            let (source, patience) = (self.fetch.source, self.fetch.patience);
            if !is_transient(error.kind()) || !source.can_reconnect() || source.reconnect(patience).is_err() {
                return;
            }
        }
    }

    /// The sender is told of tables whose connection was lost before it could be: each is asked for after its last row, which says the
    /// same of it again.
    fn tell_owed(&mut self) -> Result<()> {
        let Fetch { source, pull, stream_records, patience, .. } = self.fetch;
        while let Some(owed) = self.owed.last() {
            if let (true, Some(end)) = (owed.is_committed, &owed.end) {
                if self.stream.is_none() {
                    self.stream = source.stream(pull, stream_records, patience)?;
                }
                let Some(stream) = self.stream.as_mut().filter(|stream| stream.most_asked() > 1) else { return Ok(()) };
                stream.ask(&owed.table, end, patience)?;
                let page = stream.next(&mut Rows::new(owed.table.columns.len()), patience)?;
                match page.has_more {
                    false => stream.complete(0)?,
                    // It has rows that are not here: it is not complete.
                    true => self.stream = None,
                }
            }
            self.owed.pop();
        }
        Ok(())
    }

    fn tell(&self, at: usize, arrival: Arrival) -> Result<()> {
        self.exchange.arrivals.send((at, arrival)).map_err(|_| gone())
    }
}

/// The fetch of one table.
struct TableRun {
    at: usize,
    fetched: Fetched,
    bytes: u64,
    /// Where the next page begins; `None` if the sender gave no place to resume at.
    position: Option<Position>,
    /// The batch that is being filled.
    rows: Rows,
    failures: Vec<Failure>,
    size: u64,
    since: Instant,
    restarts: u32,
}

impl TableRun {
    fn new(task: &Task) -> Self {
        TableRun {
            at: task.at,
            fetched: Fetched { received: task.from.records, states: task.before.clone(), ..Fetched::default() },
            bytes: 0,
            position: Some(task.from.clone()),
            rows: Rows::new(task.table.columns.len()),
            failures: Vec::new(),
            size: 0,
            since: Instant::now(),
            restarts: 0,
        }
    }

    fn all_pages(mut self, run: &mut Run<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<Fetched> {
        let ended = self.pages(run, task, later);
        // What came before something went wrong is sound, and the sender may have counted it.
        if ended.is_err() && !self.is_empty() && run.fetch.patience.check("fetching pages").is_ok() {
            self.hand_over(run, task);
        }
        if ended.is_err() && run.stream.as_ref().is_none_or(|stream| !stream.is_usable()) {
            run.end_stream();
        }
        ended.map(|()| self.fetched)
    }

    fn pages(&mut self, run: &mut Run<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<()> {
        let limits = run.fetch.limits;
        let name = task.table.name.clone();
        let strange = |what: &str| Error::new(ErrorKind::Protocol, format!("{what} of {name:?}"));
        let mut most = believable(task.announced);
        let mut poll = Poll::new(limits.approval_poll_time);
        loop {
            run.fetch.patience.check("fetching pages")?;
            if task.skip.load(Ordering::SeqCst) {
                run.end_stream();
                return Err(gone());
            }
            let before = self.rows.len();
            let page = match run.room(self.position.is_some()) {
                Ok(true) => self.next(run, task, later),
                Ok(false) => return Err(gone()),
                Err(error) => Err(error),
            };
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    self.rows.truncate(before);
                    self.retry(run, task, error, &mut poll)?;
                    continue;
                }
            };
            run.fetch.reconnect.reached();
            let has_more = page.has_more;
            if page.received == 0 && has_more {
                return Err(strange("the other site sent an empty page and says that there is more"));
            }
            if page.received > 0
                && page.place.is_some()
                && self.position.as_ref().is_some_and(|position| position.place == page.place)
            {
                self.rows.truncate(before);
                run.end_stream();
                return Err(strange("the other site sends pages that lead no further"));
            }
            let streams = run.stream.is_some();
            self.take(page, streams);
            // A page that came by itself is as large as was asked for.
            let full = streams
                || self.rows.len() + self.failures.len() >= limits.commit_rows
                || self.rows.size_bytes() >= limits.batch_bytes
                || self.since.elapsed() >= limits.commit_time;
            if !has_more && streams {
                run.asked = run.asked.saturating_sub(1);
                let (table, end) = (Arc::clone(&task.table), self.position.clone());
                run.uncommitted.push(Ended { at: self.at, table, end, is_committed: false });
            }
            if (full || !has_more) && !self.is_empty() && !self.hand_over(run, task) {
                return Err(gone());
            }
            if !has_more {
                return self.check(run, task);
            }
            if self.fetched.received > most {
                // The table may have grown since. Nothing else can be asked while pages come.
                run.end_stream();
                most = believable(self.count(run, task)?);
                if self.fetched.received > most {
                    return Err(strange("the other site sends far more records than it says there are"));
                }
            }
        }
    }

    /// All is there. If that is less than was announced, and all of one state, the sender is asked again.
    fn check(&mut self, run: &mut Run<'_>, task: &mut Task) -> Result<()> {
        let is_resumed = task.from.records > 0;
        // Rows of several states of the sender need not be as many as one of them has.
        let is_one = match is_resumed {
            true => self.fetched.states.one().is_some(),
            false => self.fetched.states.as_slice().len() <= 1,
        };
        if is_one && self.fetched.received < task.announced {
            run.end_stream();
            self.fetched.expected = Some(self.count(run, task)?);
        }
        Ok(())
    }

    /// Fetches the next page; its rows are added to those of the batch.
    fn next(&mut self, run: &mut Run<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<Page> {
        let before = self.rows.len();
        let (source, patience, page_records) = (run.fetch.source, run.fetch.patience, run.fetch.page_records);
        let at = self.at;
        let arrivals = run.exchange.arrivals.clone();
        let mut allowance = std::mem::take(&mut task.allowance);
        let page = allowance.ask(
            patience,
            || {
                self.rows.truncate(before);
                if let Some(position) = &self.position {
                    run.ask((task, position), later)?;
                }
                let page = match &mut run.stream {
                    Some(stream) => stream.next(&mut self.rows, patience),
                    None => source.page(&task.table, self.fetched.received, page_records, &mut self.rows, patience),
                };
                page.inspect_err(|error| {
                    let is_refusal = run.stream.as_ref().is_some_and(|stream| stream.is_usable());
                    match is_refusal && error.kind() != ErrorKind::RateLimited {
                        true => run.asked = run.asked.saturating_sub(1),
                        false => run.end_stream(),
                    }
                })
            },
            || arrivals.send((at, Arrival::Waiting)).map_err(|_| gone()),
        );
        task.allowance = allowance;
        page
    }

    /// After an error: gets ready to ask once more, if that may help.
    fn retry(&mut self, run: &mut Run<'_>, task: &mut Task, error: Error, poll: &mut Poll) -> Result<()> {
        let Fetch { source, patience, approval_until, .. } = run.fetch;
        match error.kind() {
            ErrorKind::ApprovalRequired if self.fetched.pages == 0 && poll.is_before(approval_until) => {
                run.end_stream();
                run.tell(self.at, Arrival::AwaitingApproval(error.transfer()))?;
                poll.pause(patience, approval_until)
            }
            ErrorKind::CursorExpired if self.restarts < MOST_RESTARTS && self.position != Some(Position::default()) => {
                run.end_stream();
                self.restarts += 1;
                let restarts = self.restarts;
                (task.from, task.before) = (Position::default(), States::default());
                *self = TableRun { restarts, bytes: self.bytes, ..TableRun::new(task) };
                run.tell(self.at, Arrival::Again)
            }
            kind if is_transient(kind) && self.position.is_some() && patience.check("fetching pages").is_ok() => {
                run.end_stream();
                if !self.is_empty() {
                    self.hand_over(run, task);
                }
                run.tell(self.at, Arrival::Reconnecting)?;
                run.fetch.reconnect.again(source, patience, error)
            }
            _ => Err(error),
        }
    }

    fn count(&mut self, run: &mut Run<'_>, task: &mut Task) -> Result<u64> {
        let Fetch { source, patience, .. } = run.fetch;
        let waiting = || run.exchange.arrivals.send((self.at, Arrival::Waiting)).map_err(|_| gone());
        task.allowance.ask(patience, || source.count(&task.table.name, patience), waiting)
    }

    /// Takes in what came with the rows of a page.
    fn take(&mut self, page: Page, streams: bool) {
        self.fetched.received += page.received;
        self.fetched.pages += 1;
        self.bytes += page.bytes;
        self.size += page.cost;
        // The end of a stream may be a page of no state.
        if page.received > 0 || !streams || page.state.is_some() {
            self.fetched.states.add(page.state.unwrap_or(0));
            self.fetched.latest = page.state.or(self.fetched.latest);
        }
        self.failures.extend(page.failures);
        let records = self.fetched.received;
        if page.received > 0 {
            self.position = match (page.place, streams) {
                (None, true) => None,
                (place, _) => Some(Position { records, place }),
            };
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.failures.is_empty()
    }

    /// Gives the batch on, and begins the next one. `false` if nobody takes it.
    fn hand_over(&mut self, run: &mut Run<'_>, task: &Task) -> bool {
        let mut next = run.free.pop().unwrap_or_default();
        next.clear(task.table.columns.len());
        let batch = Batch {
            rows: std::mem::replace(&mut self.rows, next),
            failures: std::mem::take(&mut self.failures),
            position: self.position.clone(),
            received: self.fetched.received,
            bytes: self.bytes,
            size: std::mem::take(&mut self.size),
            states: self.fetched.states.clone(),
        };
        self.since = Instant::now();
        run.under_way += 1;
        run.unspent += batch.size;
        run.exchange.arrivals.send((self.at, Arrival::Batch(batch))).is_ok()
    }
}

/// Nobody takes what is fetched: what took it knows why.
fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the rows are no longer wanted")
}

/// How many records are taken of a table of so many rows, which may be an estimate, before the sender is asked again: one that
/// never comes to an end must not be followed forever.
fn believable(rows: u64) -> u64 {
    rows.saturating_mul(2).saturating_add(10_000)
}
