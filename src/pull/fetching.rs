//! Fetches the tables of a pull one after the other on a thread of its own, and gives their rows on in batches.

use std::collections::VecDeque;
use std::time::Instant;

use super::errors::{ends_all, is_transient};
use super::fetch::{Arrival, Batch, Exchange, Fetch, Fetched, Sums, Task, gone};
use super::flow::Flow;
use super::source::{Page, Position};
use super::states::States;
use super::wait::{Poll, left};
use crate::domain::record::Failure;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};

/// How often a table begins again because the place in it has expired.
const MOST_RESTARTS: u32 = 3;

/// Fetches the tables in their order. What is under way is bounded: it waits for batches to come back before it takes in more. It ends
/// when nobody takes the batches any more.
pub(super) fn run(fetch: Fetch<'_>, tasks: Vec<Task>, exchange: Exchange) {
    let mut flow = Flow::new(fetch, exchange);
    let mut tasks: VecDeque<Task> = tasks.into();
    let mut over: Option<Error> = None;
    while let Some(mut task) = tasks.pop_front() {
        if task.is_skipped() {
            flow.pass_over();
            if flow.tell(task.at, Arrival::Ended(Err(gone()))).is_err() {
                return;
            }
            continue;
        }
        let ended = match &over {
            Some(over) => Err(over.clone()),
            None => TableRun::new(&task).all_pages(&mut flow, &mut task, &tasks),
        };
        if let Err(error) = &ended
            && over.is_none()
            && (ends_all(error.kind()) || !flow.fetch.source.is_open())
        {
            over = Some(error.clone());
        }
        if flow.tell(task.at, Arrival::Ended(ended)).is_err() {
            return;
        }
    }
    flow.wait_for_commits();
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

    fn all_pages(mut self, flow: &mut Flow<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<Fetched> {
        let ended = self.pages(flow, task, later);
        let ended = ended.map_err(|error| flow.fetch.patience.explain(error, "fetching pages"));
        // What came before something went wrong is sound, and the sender may have counted it.
        if ended.is_err() && !self.is_empty() && flow.fetch.patience.check("fetching pages").is_ok() {
            self.hand_over(flow, task);
        }
        if ended.is_err() && !flow.is_usable() {
            flow.end_stream();
        }
        ended.map(|()| self.fetched)
    }

    fn pages(&mut self, flow: &mut Flow<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<()> {
        let limits = flow.fetch.limits;
        let name = task.table.name.clone();
        let strange = |what: &str| Error::new(ErrorKind::Protocol, format!("{what} of {name:?}"));
        let mut most = believable(task.announced);
        let mut poll = Poll::new(limits.pull.approval_poll_time);
        loop {
            flow.fetch.patience.check("fetching pages")?;
            let (before, size) = (self.rows.len(), self.rows.size_bytes());
            // No rows are asked for that may not be taken.
            flow.fetch
                .bounds
                .check(task.announced.saturating_sub(self.fetched.received))
                .inspect_err(|_| flow.end_stream())?;
            let page = flow.room(task, self.position.is_some()).and_then(|()| self.next(flow, task, later));
            let page = match page {
                Ok(Some(page)) => page,
                // The connection was needed for something else.
                Ok(None) => {
                    self.rows.truncate(before);
                    continue;
                }
                Err(error) => {
                    self.rows.truncate(before);
                    self.retry(flow, task, error, &mut poll)?;
                    continue;
                }
            };
            flow.fetch.reconnect.reached();
            let has_more = page.has_more;
            if page.received == 0 && has_more {
                return Err(strange("the other site sent an empty page and says that there is more"));
            }
            if page.received > 0
                && page.place.is_some()
                && self.position.as_ref().is_some_and(|position| position.place == page.place)
            {
                self.rows.truncate(before);
                flow.end_stream();
                return Err(strange("the other site sends pages that lead no further"));
            }
            let bytes = page.bytes.max(self.rows.size_bytes().saturating_sub(size) as u64);
            if let Err(error) = flow.fetch.bounds.take(&name, page.received, bytes) {
                self.rows.truncate(before);
                flow.end_stream();
                // Some of it may fit: then no more than that are asked for.
                let left = flow.fetch.bounds.left()?;
                if error.kind() == ErrorKind::RecordLimit
                    && self.position.is_some()
                    && (1..flow.most_records()).contains(&left)
                {
                    continue;
                }
                return Err(error);
            }
            let streams = flow.streams();
            self.take(page, streams);
            // A page that came by itself is as large as was asked for.
            let full = streams
                || self.rows.len() + self.failures.len() >= limits.pull.commit_rows
                || self.rows.size_bytes() >= limits.pull.batch_bytes
                || self.since.elapsed() >= limits.pull.commit_time;
            if !has_more && streams {
                flow.ended(task, self.position.clone())?;
            }
            if (full || !has_more) && !self.is_empty() && !self.hand_over(flow, task) {
                return Err(gone());
            }
            if !has_more {
                return self.check(flow, task);
            }
            if self.fetched.received > most {
                // The table may have grown since. Nothing else can be asked while pages come.
                flow.end_stream();
                most = believable(self.count(flow, task)?);
                if self.fetched.received > most {
                    return Err(strange("the other site sends far more records than it says there are"));
                }
            }
        }
    }

    /// All is there. If that is less than was announced, and all of one state, the sender is asked again.
    fn check(&mut self, flow: &mut Flow<'_>, task: &mut Task) -> Result<()> {
        let is_resumed = task.from.records > 0;
        // Rows of several states of the sender need not be as many as one of them has.
        let is_one = match is_resumed {
            true => self.fetched.states.one().is_some(),
            false => self.fetched.states.as_slice().len() <= 1,
        };
        if is_one && self.fetched.received < task.announced {
            flow.end_stream();
            self.fetched.expected = Some(self.count(flow, task)?);
        }
        Ok(())
    }

    /// Fetches the next page; its rows are added to those of the batch.
    fn next(&mut self, flow: &mut Flow<'_>, task: &mut Task, later: &VecDeque<Task>) -> Result<Option<Page>> {
        let before = self.rows.len();
        let (source, patience) = (flow.fetch.source, flow.fetch.patience);
        let (at, arrivals) = (self.at, flow.arrivals());
        let mut allowance = std::mem::take(&mut task.allowance);
        let page = allowance.ask(
            patience,
            || {
                self.rows.truncate(before);
                if let Some(position) = &self.position {
                    flow.ask((task, position), later)?;
                }
                if !flow.streams() {
                    let from = self.fetched.received;
                    let most = flow.page_records()?;
                    return source.page(&task.table, from, most, &mut self.rows, patience).map(Some);
                }
                let page = flow.next_page(task, self.position.is_some(), &mut self.rows);
                page.inspect_err(|error| match flow.is_usable() && error.kind() != ErrorKind::RateLimited {
                    true => flow.is_refused(),
                    false => flow.end_stream(),
                })
            },
            |time| arrivals.send((at, Arrival::Waiting(time))).map_err(|_| gone()),
        );
        task.allowance = allowance;
        page
    }

    /// After an error: gets ready to ask once more, if that may help.
    fn retry(&mut self, flow: &mut Flow<'_>, task: &mut Task, error: Error, poll: &mut Poll) -> Result<()> {
        let Fetch { source, patience, approval_until, .. } = flow.fetch;
        match error.kind() {
            ErrorKind::ApprovalRequired if self.fetched.pages == 0 && poll.is_before(approval_until) => {
                flow.end_stream();
                flow.tell(self.at, Arrival::AwaitingApproval(error.transfer(), left(approval_until)))?;
                poll.pause(patience, approval_until)
            }
            ErrorKind::CursorExpired if self.restarts < MOST_RESTARTS && self.position != Some(Position::default()) => {
                flow.end_stream();
                self.restarts += 1;
                let restarts = self.restarts;
                (task.from, task.before) = (Position::default(), States::default());
                *self = TableRun { restarts, bytes: self.bytes, ..TableRun::new(task) };
                flow.tell(self.at, Arrival::Again)
            }
            kind if is_transient(kind) && self.position.is_some() && patience.check("fetching pages").is_ok() => {
                flow.end_stream();
                if !self.is_empty() {
                    self.hand_over(flow, task);
                }
                flow.tell(self.at, Arrival::Reconnecting(flow.fetch.reconnect.left()))?;
                flow.fetch.reconnect.again(source, patience, error)
            }
            _ => Err(error),
        }
    }

    fn count(&mut self, flow: &mut Flow<'_>, task: &mut Task) -> Result<u64> {
        let Fetch { source, patience, .. } = flow.fetch;
        let waiting = |time| flow.tell(self.at, Arrival::Waiting(time));
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
        if !page.has_more {
            self.fetched.sums = Sums::of(page.sum, page.sent);
        }
        self.failures.extend(page.failures);
        let records = self.fetched.received;
        if page.received > 0 {
            self.position = match (page.place, streams) {
                (None, true) => None,
                (place, _) => Some(Position { records, place, sum: page.sum }),
            };
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.failures.is_empty()
    }

    /// Gives the batch on, and begins the next one. `false` if nobody takes it.
    fn hand_over(&mut self, flow: &mut Flow<'_>, task: &Task) -> bool {
        let next = flow.free_rows(task.table.columns.len());
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
        flow.hand_over(self.at, batch)
    }
}

/// How many records are taken of a table of so many rows, which may be an estimate, before the sender is asked again: one that
/// never comes to an end must not be followed forever.
fn believable(rows: u64) -> u64 {
    rows.saturating_mul(2).saturating_add(10_000)
}
