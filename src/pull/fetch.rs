//! Fetches the pages of one table and gives them on in batches.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::comeback::{Comeback, is_passing};
use super::source::{Page, Position, Source, Stream};
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
const LOOK: Duration = Duration::from_millis(500);

/// Rows that are written in one transaction.
pub(super) struct Batch {
    pub(super) rows: Rows,
    pub(super) failures: Vec<Failure>,
    /// The place behind the last of them; `None` if the pull could not go on from there.
    pub(super) position: Option<Position>,
    /// Records of this table received so far.
    pub(super) received: u64,
    /// Bytes of this table received so far, by this run of the pull.
    pub(super) bytes: u64,
    /// What its pages count, where they come by themselves.
    pub(super) size: u64,
    /// The numbers of the sender's snapshots so far, see [`note_state`].
    pub(super) states: Vec<u64>,
}

/// What comes from the thread that fetches.
pub(super) enum Arrival {
    Batch(Batch),
    /// The other site said to wait, so that nothing will come for a while.
    Waiting,
    /// The connection was lost, and is about to be made anew.
    Reconnecting,
    /// Someone there has to approve the table first, by this transfer of theirs.
    AwaitingApproval(Option<Uuid>),
}

/// A batch that is done with: its rows are memory to fill again.
pub(super) struct Spent {
    pub(super) rows: Rows,
    /// What its pages count, where they come by themselves.
    pub(super) size: u64,
}

/// What there is to say when all pages are there.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Records received, those of an earlier run that this one goes on with included.
    pub(super) received: u64,
    pub(super) pages: u64,
    /// The numbers of the sender's snapshots that the pages came from, see [`note_state`]; 0 stands for a page without one.
    pub(super) states: Vec<u64>,
}

pub(super) struct Fetch<'f> {
    pub(super) source: &'f dyn Source,
    pub(super) table: &'f TableSchema,
    pub(super) limits: &'f Limits,
    /// Records in a page, where they are asked for one by one.
    pub(super) page_records: u32,
    /// Most records in a page that comes by itself, if the caller minds.
    pub(super) stream_records: Option<u32>,
    /// Where to begin.
    pub(super) from: Position,
    /// How many rows the sender says there are.
    pub(super) announced: u64,
    pub(super) patience: &'f Patience,
    /// The time to wait for this table, where the other site counts calls.
    pub(super) allowance: &'f mut Allowance,
    /// The time to come back after the connection was lost.
    pub(super) comeback: &'f mut Comeback,
    /// Until when to wait for the other side's approval, by asking for the first page again.
    pub(super) approval_until: Option<Instant>,
}

/// A fetch on its way.
struct Run<'r, 'f> {
    fetch: &'r mut Fetch<'f>,
    arrivals: &'r Sender<Arrival>,
    spent: &'r Receiver<Spent>,
    fetched: Fetched,
    bytes: u64,
    /// Where the next page begins; `None` if the sender gave no place to go on from.
    position: Option<Position>,
    /// The batch that is being filled.
    rows: Rows,
    failures: Vec<Failure>,
    size: u64,
    since: Instant,
    /// Batches that are not written yet, and the size of their pages.
    under_way: usize,
    unspent: u64,
    /// How much of that came in a stream that is no more.
    stale: u64,
    /// Rows to fill again.
    free: Vec<Rows>,
}

impl Fetch<'_> {
    /// Fetches all pages. What is under way is bounded: it waits for batches to be spent before it takes in more. It ends when
    /// nobody takes the batches any more.
    pub(super) fn run(&mut self, arrivals: &Sender<Arrival>, spent: &Receiver<Spent>) -> Result<Fetched> {
        let mut run = Run {
            position: Some(self.from.clone()),
            fetched: Fetched { received: self.from.records, ..Fetched::default() },
            rows: Rows::new(self.table.columns.len()),
            fetch: self,
            arrivals,
            spent,
            bytes: 0,
            failures: Vec::new(),
            size: 0,
            since: Instant::now(),
            under_way: 0,
            unspent: 0,
            stale: 0,
            free: Vec::new(),
        };
        let ended = run.all_pages();
        // What came before something went wrong is sound, and the sender may have counted it.
        if ended.is_err() && !run.is_empty() && run.fetch.patience.check("fetching pages").is_ok() {
            run.hand_over();
        }
        ended.map(|()| run.fetched)
    }
}

impl<'f> Run<'_, 'f> {
    fn all_pages(&mut self) -> Result<()> {
        let limits = self.fetch.limits;
        let strange = |what: &str, table: &str| Error::new(ErrorKind::Protocol, format!("{what} of {table:?}"));
        let mut most = believable(self.fetch.announced);
        let mut poll = Poll::new(limits.approval_poll_time);
        let mut stream = None;
        loop {
            self.fetch.patience.check("fetching pages")?;
            let before = self.rows.len();
            let page = match self
                .room(&mut stream)
                .and_then(|wanted| if wanted { self.ask(&mut stream).map(Some) } else { Ok(None) })
            {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.rows.truncate(before);
                    stream = None;
                    self.come_back(error, &mut poll)?;
                    continue;
                }
            };
            self.fetch.comeback.reached();
            let has_more = page.has_more;
            if page.received == 0 && has_more {
                return Err(strange(
                    "the other site sent an empty page and says that there is more",
                    &self.fetch.table.name,
                ));
            }
            if page.received > 0
                && page.place.is_some()
                && self.position.as_ref().is_some_and(|position| position.place == page.place)
            {
                self.rows.truncate(before);
                return Err(strange("the other site sends pages that lead no further", &self.fetch.table.name));
            }
            self.take(page, stream.is_some());
            // A page that came by itself is as large as was asked for.
            let full = stream.is_some()
                || self.rows.len() + self.failures.len() >= limits.commit_rows
                || self.rows.size_bytes() >= limits.batch_bytes
                || self.since.elapsed() >= limits.commit_time;
            let wanted = if full || !has_more { self.hand_over() } else { true };
            if !wanted || !has_more {
                return Ok(());
            }
            if self.fetched.received > most {
                // The table may have grown since. Nothing else can be asked while pages come.
                stream = None;
                most = believable(self.count()?);
                if self.fetched.received > most {
                    return Err(strange(
                        "the other site sends far more records than it says there are",
                        &self.fetch.table.name,
                    ));
                }
            }
        }
    }

    /// Waits until there is room for another page. `false` if nobody wants one.
    fn room(&mut self, stream: &mut Option<Box<dyn Stream + 'f>>) -> Result<bool> {
        loop {
            let full = match stream {
                Some(stream) => !stream.may_come(),
                None => self.under_way > BATCHES,
            };
            let spent = match self.spent.try_recv() {
                Ok(spent) => spent,
                Err(TryRecvError::Disconnected) => return Ok(false),
                Err(TryRecvError::Empty) if !full || self.under_way == 0 => return Ok(true),
                Err(TryRecvError::Empty) => match self.spent.recv_timeout(LOOK) {
                    Ok(spent) => spent,
                    Err(RecvTimeoutError::Disconnected) => return Ok(false),
                    Err(RecvTimeoutError::Timeout) => {
                        self.fetch.patience.check("fetching pages")?;
                        let goes_on = self.position.is_some();
                        if goes_on && stream.as_mut().is_some_and(|stream| stream.gives_way()) {
                            *stream = None;
                        }
                        stream.as_mut().map_or(Ok(()), |stream| stream.keep_open())?;
                        continue;
                    }
                },
            };
            self.under_way = self.under_way.saturating_sub(1);
            self.unspent = self.unspent.saturating_sub(spent.size);
            if self.free.len() < BATCHES && spent.rows.size_bytes() <= self.fetch.limits.batch_bytes {
                self.free.push(spent.rows);
            }
            // Batches are spent in the order in which they came: first those of a stream that is no more.
            let stale = self.stale.min(spent.size);
            self.stale -= stale;
            if let Some(stream) = stream {
                stream.done_with(spent.size - stale)?;
            }
        }
    }

    /// Fetches the next page; its rows are added to those of the batch.
    fn ask(&mut self, stream: &mut Option<Box<dyn Stream + 'f>>) -> Result<Page> {
        let Fetch { source, table, patience, page_records, stream_records, .. } = *self.fetch;
        let (rows, position, arrivals) = (&mut self.rows, &self.position, self.arrivals);
        let (before, offset) = (rows.len(), self.fetched.received);
        let mut opened = false;
        let question = || {
            rows.truncate(before);
            if stream.is_none()
                && let Some(position) = position
            {
                *stream = source.stream(table, position, stream_records, patience)?;
                opened = stream.is_some();
            }
            let page = match stream {
                Some(stream) => stream.next(rows, patience),
                None => source.page(table, offset, page_records, rows, patience),
            };
            page.inspect_err(|_| *stream = None)
        };
        let page = self.fetch.allowance.ask(patience, question, || arrivals.send(Arrival::Waiting).map_err(|_| gone()));
        if opened {
            self.stale = self.unspent;
        }
        page
    }

    /// After an error: gets ready to ask once more, if that may help.
    fn come_back(&mut self, error: Error, poll: &mut Poll) -> Result<()> {
        let Fetch { source, patience, approval_until, .. } = *self.fetch;
        match error.kind() {
            ErrorKind::ApprovalRequired if self.fetched.pages == 0 && poll.is_before(approval_until) => {
                self.tell(Arrival::AwaitingApproval(error.transfer()))?;
                poll.pause(patience, approval_until)
            }
            kind if is_passing(kind) && self.position.is_some() && patience.check("fetching pages").is_ok() => {
                if !self.is_empty() {
                    self.hand_over();
                }
                self.tell(Arrival::Reconnecting)?;
                self.fetch.comeback.reconnect(source, patience, error)
            }
            _ => Err(error),
        }
    }

    fn count(&mut self) -> Result<u64> {
        let Fetch { source, table, patience, .. } = *self.fetch;
        let arrivals = self.arrivals;
        let waiting = || arrivals.send(Arrival::Waiting).map_err(|_| gone());
        self.fetch.allowance.ask(patience, || source.count(&table.name, patience), waiting)
    }

    /// Takes in what came with the rows of a page.
    fn take(&mut self, page: Page, streams: bool) {
        self.fetched.received += page.received;
        self.fetched.pages += 1;
        self.bytes += page.bytes;
        self.size += page.cost;
        // The end of a stream is a page of no state.
        if page.received > 0 || !streams {
            note_state(&mut self.fetched.states, page.state.unwrap_or(0));
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
    fn hand_over(&mut self) -> bool {
        let mut next = self.free.pop().unwrap_or_default();
        next.clear(self.fetch.table.columns.len());
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
        self.under_way += 1;
        self.unspent += batch.size;
        self.arrivals.send(Arrival::Batch(batch)).is_ok()
    }

    fn tell(&self, arrival: Arrival) -> Result<()> {
        self.arrivals.send(arrival).map_err(|_| gone())
    }
}

/// Nobody takes what is fetched: whoever took it knows why.
fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the rows are no longer wanted")
}

/// How many records are taken of a table of so many rows, which may be an estimate, before the sender is asked again: one that
/// never comes to an end must not be followed for ever.
fn believable(rows: u64) -> u64 {
    rows.saturating_mul(2).saturating_add(10_000)
}

/// Notes the number of a state. Whether there were none, one or several is all that matters: two are kept.
pub(super) fn note_state(states: &mut Vec<u64>, state: u64) {
    if states.len() < 2 && !states.contains(&state) {
        states.push(state);
    }
}
