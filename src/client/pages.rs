//! Rows of tables in binary pages, which a rowferry sender sends by itself.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use tungstenite::Bytes;
use uuid::Uuid;

use super::channel::{Channel, Trouble};
use super::connection::{Client, Line};
use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::plan::table::key_of;
use crate::wire::message::{FEATURE_PAGES, FEATURE_PULLS, refused};
use crate::wire::native::{Answer, Fetch, Place, Refusal, Request, request_of};
use crate::wire::records::PageLimits;

/// A page's memory that is allowed in any case: a sender does not cut them as small as one may wish.
const LEAST_PAGE: usize = 1 << 20;

/// The most that a sender lets itself be allowed at a time.
const MOST_WINDOW: usize = 64 << 20;

/// What a sender is allowed at first, where it can be allowed more as it keeps up.
const FIRST_WINDOW: usize = 1 << 20;

/// What a sender is allowed of each table that is asked for ahead.
const AHEAD_WINDOW: usize = 64 << 10;

/// How many tables are asked for before the first of them has ended.
const MOST_ASKED: usize = 48;

/// For how long a new stream lets calls that wait already go first.
const TURN: Duration = Duration::from_millis(100);

/// The pages of tables, one after the other. Until it is dropped nothing else can be asked through this client: its line is
/// kept.
pub(crate) struct PageStream<'c> {
    client: &'c Client,
    line: MutexGuard<'c, Line>,
    /// The name of the pull, where the sender knows pulls by their names.
    pull: Option<Uuid>,
    /// Most rows of a page.
    page_rows: NonZeroU32,
    /// Tables that have not ended; the pages are those of the first.
    asked: VecDeque<Asked>,
    /// What pages cost that nobody acknowledged yet, with the request that each is of.
    unacknowledged: VecDeque<(u32, u64)>,
    /// Refusals of tables whose turn has not come.
    early: Vec<Bytes>,
    /// Named requests that have ended, and of which the sender was not told yet that their rows are safe here.
    ended: Vec<u32>,
    /// What the sender may have on its way.
    window: usize,
    /// Whether answers can be told apart from now on.
    is_usable: bool,
    /// Whether it ended so that another call has the line, without a word to the sender.
    has_yielded: bool,
}

/// A table that was asked for.
struct Asked {
    request: u32,
    name: String,
    columns: usize,
    /// The columns of its key.
    key: Vec<usize>,
    /// Pages and rows that came.
    pages: u32,
    rows: u64,
    /// Bytes that the sender may send.
    credit: i64,
    /// Bytes that were acknowledged here, and of which the sender was not told yet.
    untold: u64,
    /// Whether it is allowed all that it may be.
    is_first: bool,
    /// Whether the last page has come: the end comes next.
    last: bool,
}

/// What came beside the rows of a page.
pub(crate) struct StreamedPage {
    /// Records received, those that failed included.
    pub(crate) received: u64,
    /// Records that were too large to be sent.
    pub(crate) failures: Vec<Failure>,
    /// Whether there is more to wait for.
    pub(crate) has_more: bool,
    /// The place behind its last row.
    pub(crate) place: Option<Place>,
    /// The number of the sender's snapshot; `None` for the end, which has no rows.
    pub(crate) state: Option<u64>,
    /// Its size on the wire.
    pub(crate) bytes: u64,
    /// What it counts until it is [done with](PageStream::done_with).
    pub(crate) cost: u64,
}

impl Client {
    /// Begins to fetch rows for the pull of this name, in pages of at most so many records. `None` if the sender sends none by itself.
    pub(crate) fn stream(&self, pull: Uuid, most: Option<u32>, patience: &Patience) -> Result<Option<PageStream<'_>>> {
        let has =
            |wanted: &str| self.peer.as_ref().is_some_and(|peer| peer.features.iter().any(|feature| feature == wanted));
        if !has(FEATURE_PAGES) {
            return Ok(None);
        }
        let limits = &self.options.limits;
        let pull = has(FEATURE_PULLS).then_some(pull);
        let largest = limits.stream_window_bytes.min(MOST_WINDOW);
        // A lock is not fair: a call that waited while the stream before yielded has its turn first.
        let since = Instant::now();
        while self.shared.is_awaited() && since.elapsed() < TURN {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(PageStream {
            client: self,
            line: self.free_line("the rows of a table", patience)?,
            pull,
            page_rows: number(most.map_or(limits.page_rows, |most| limits.page_rows.min(most as usize))),
            asked: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            early: Vec::new(),
            ended: Vec::new(),
            window: if pull.is_some() { largest.min(FIRST_WINDOW) } else { largest },
            is_usable: true,
            has_yielded: false,
        }))
    }
}

fn number(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

impl PageStream<'_> {
    /// Asks for the rows of a table after a place and the records before it.
    pub(crate) fn ask(
        &mut self,
        table: &TableSchema,
        (after, records): (Option<Place>, u64),
        patience: &Patience,
    ) -> Result<()> {
        let key = key_of(table)?.map_or(Vec::new(), |(columns, _)| columns);
        let is_first = self.asked.is_empty();
        let window = if is_first { self.window } else { self.window.min(AHEAD_WINDOW) };
        let (page_rows, pull, window) = (self.page_rows, self.pull, number(window));
        let page_bytes = number(self.client.options.limits.stream_page_bytes);
        let request = self.talk(&table.name, patience, |channel, budget, late| {
            let (request, compress) = (channel.new_request(), !channel.is_local());
            let table = table.name.clone();
            let fetch = Fetch { request, table, after, records, page_bytes, page_rows, window, compress, pull };
            let message = Request::Fetch(fetch).encode().map_err(Trouble::Failed)?;
            channel.send_binary(message, budget, late).map(|()| request)
        })?;
        self.asked.push_back(Asked {
            request,
            name: table.name.clone(),
            columns: table.columns.len(),
            key,
            pages: 0,
            rows: 0,
            credit: window.get().into(),
            untold: 0,
            is_first,
            last: false,
        });
        Ok(())
    }

    /// How many tables may be asked for before the first of them has ended.
    pub(crate) fn most_asked(&self) -> usize {
        if self.pull.is_some() { MOST_ASKED } else { 1 }
    }

    /// Whether what was asked for still comes.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Waits for the next page of the table that was asked for first, and adds its rows to `rows`. The last one has none, and says that
    /// there is no more.
    pub(crate) fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<StreamedPage> {
        match self.try_next(rows, patience) {
            Ok(answer) => answer,
            Err(error) => {
                self.is_usable = false;
                Err(error)
            }
        }
    }

    /// The outer error leaves the stream useless; the inner one is how the sender refused the table.
    fn try_next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Result<StreamedPage>> {
        self.allow_first(patience)?;
        let Some((request, name)) = self.asked.front().map(|asked| (asked.request, asked.name.clone())) else {
            return Err(Error::new(ErrorKind::InvalidInput, "no table was asked for"));
        };
        let is_last = self.asked.front().is_some_and(|asked| asked.last);
        let message = match self.next_answer(request, &name, patience) {
            Ok(message) => message,
            // All is here: that the end is lost changes nothing.
            Err(error) if is_last && error.kind() == ErrorKind::Disconnected => {
                self.is_usable = false;
                self.ended.push(request);
                return Ok(Ok(self.end(0, None)));
            }
            Err(error) => return Err(error),
        };
        let bytes = message.len() as u64;
        match Answer::decode(&message)? {
            Answer::Page(page) => {
                let memory = self.page_memory();
                let bounds = PageLimits { records: self.page_rows.get().into(), bytes: memory };
                let Some(asked) = self.asked.front_mut() else { return Err(strange("sent rows nobody asked for,", &name)) };
                let cost = page.cost();
                asked.credit = asked.credit.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
                if page.head.sequence != asked.pages || page.rows == 0 || asked.last {
                    return Err(strange("sent pages out of order, or an empty one,", &name));
                }
                let failures = page.read(asked.columns, &asked.key, bounds, rows)?;
                asked.pages = asked.pages.wrapping_add(1);
                asked.rows = asked.rows.saturating_add(page.rows.into());
                asked.last = !page.head.more;
                self.unacknowledged.push_back((request, cost));
                if !page.head.more && self.pull.is_none() {
                    self.send(&name, Request::Done { request }, patience)?;
                }
                Ok(Ok(StreamedPage {
                    received: page.rows.into(),
                    failures,
                    has_more: true,
                    place: page.place,
                    state: Some(page.head.state),
                    bytes,
                    cost,
                }))
            }
            Answer::End(end) => {
                let rows = self.asked.front().map_or(0, |asked| asked.rows);
                if end.rows != rows {
                    return Err(strange("sent another number of rows than it says", &name));
                }
                self.ended.push(request);
                Ok(Ok(self.end(bytes, end.state.map(std::num::NonZeroU64::get))))
            }
            Answer::Error(refusal) => {
                self.asked.pop_front();
                Ok(Err(self.refused(&name, &refusal)))
            }
        }
    }

    /// The first table has ended.
    fn end(&mut self, bytes: u64, state: Option<u64>) -> StreamedPage {
        self.asked.pop_front();
        let (failures, place) = (Vec::new(), None);
        StreamedPage { received: 0, failures, has_more: false, place, state, bytes, cost: 0 }
    }

    /// Lets the sender send as much of the first table as it may have on its way: before, it was one of those asked for ahead.
    fn allow_first(&mut self, patience: &Patience) -> Result<()> {
        let window = i64::try_from(self.window).unwrap_or(i64::MAX);
        let Some(asked) = self.asked.front_mut().filter(|asked| !asked.is_first) else { return Ok(()) };
        asked.is_first = true;
        let more = window.saturating_sub(asked.credit);
        asked.credit = asked.credit.max(window);
        let (request, name) = (asked.request, asked.name.clone());
        match u32::try_from(more).ok().and_then(NonZeroU32::new) {
            Some(bytes) => self.send(&name, Request::Credit { request, bytes }, patience),
            None => Ok(()),
        }
    }

    /// The rows of a table are safe here: of the one at this place among those that have ended and of which that was not said yet.
    pub(crate) fn complete(&mut self, place: usize) -> Result<()> {
        if place >= self.ended.len() {
            return Ok(());
        }
        let request = self.ended.remove(place);
        match self.pull {
            Some(_) => self.send("a table", Request::Done { request }, &Patience::unbounded()),
            None => Ok(()),
        }
    }

    /// Whether a page may come before the sender is told that more of them are acknowledged.
    pub(crate) fn has_credit(&self) -> bool {
        self.asked.front().is_none_or(|asked| asked.credit > 0 || asked.last || !asked.is_first)
    }

    /// Pages that count so much are acknowledged. Where all that came was taken already, the sender does not keep up because of what it
    /// may have on its way: it is allowed more.
    pub(crate) fn ack(&mut self, mut cost: u64, is_hungry: bool) -> Result<()> {
        let mut of_first = 0;
        while cost > 0
            && let Some((request, left)) = self.unacknowledged.front_mut()
        {
            let part = cost.min(*left);
            cost -= part;
            *left -= part;
            of_first += if self.asked.front().is_some_and(|asked| asked.request == *request) { part } else { 0 };
            if *left == 0 {
                self.unacknowledged.pop_front();
            }
        }
        let largest = self.client.options.limits.stream_window_bytes.min(MOST_WINDOW);
        let Some(asked) = self.asked.front_mut().filter(|asked| !asked.last) else { return Ok(()) };
        asked.untold = asked.untold.saturating_add(of_first);
        // A message for each page would cost more than it is worth.
        let due = u64::try_from(self.window / 8).unwrap_or(u64::MAX);
        if asked.untold == 0 || (asked.untold < due && asked.credit > 0) {
            return Ok(());
        }
        if is_hungry && self.pull.is_some() && self.window < largest {
            let wider = self.window.saturating_mul(2).min(largest);
            asked.untold = asked.untold.saturating_add((wider - self.window) as u64);
            self.window = wider;
        }
        let more = u32::try_from(asked.untold).unwrap_or(u32::MAX);
        let Some(bytes) = NonZeroU32::new(more) else { return Ok(()) };
        asked.untold -= u64::from(more);
        asked.credit = asked.credit.saturating_add(more.into());
        let (request, name) = (asked.request, asked.name.clone());
        self.send(&name, Request::Credit { request, bytes }, &Patience::unbounded())
    }

    /// Sends a heartbeat if one is due. An error if the client was disconnected here meanwhile: what did so waits for the line.
    pub(crate) fn keep_open(&mut self) -> Result<()> {
        let name = self.asked.front().map_or_else(|| "a table".to_owned(), |asked| asked.name.clone());
        self.talk(&name, &Patience::unbounded(), |channel, budget, late| {
            budget.slice(late).map_err(Trouble::Failed)?;
            channel.keep_open()
        })
    }

    /// Whether a call waits for the line: then the stream is over. A sender that does not know pulls by their names is not told, so
    /// that the next stream resumes the same pull.
    pub(crate) fn should_yield(&mut self) -> bool {
        let is_awaited = self.client.shared.is_awaited();
        if is_awaited {
            (self.is_usable, self.has_yielded) = (false, true);
        }
        is_awaited
    }

    /// Waits for the next message that is an answer to this request. Those to requests that were given up are dropped as long as
    /// they may have been on their way then: more of them are no accident.
    fn next_answer(&mut self, request: u32, name: &str, patience: &Patience) -> Result<Bytes> {
        if let Some(at) = self.early.iter().position(|message| request_of(message) == Some(request)) {
            return Ok(self.early.swap_remove(at));
        }
        let limits = &self.client.options.limits;
        let most = limits.stream_window_bytes.saturating_add(limits.message_bytes);
        let later: Vec<u32> = self.asked.iter().skip(1).map(|asked| asked.request).collect();
        let mut early = std::mem::take(&mut self.early);
        let mut strays = 0usize;
        let answer = self.talk(name, patience, |channel, budget, late| {
            loop {
                let message = channel.next_binary(budget, late)?;
                let of = request_of(&message);
                if of == Some(request) || Answer::decode(&message).is_err() {
                    return Ok(message);
                }
                // A refusal need not wait for its turn.
                if of.is_some_and(|of| later.contains(&of)) && matches!(Answer::decode(&message), Ok(Answer::Error(_))) {
                    early.push(message);
                    continue;
                }
                strays = strays.saturating_add(message.len());
                if strays > most {
                    let why = format!("the other site goes on with what was given up, in place of the rows of {name:?}");
                    return Err(Trouble::Lost(Error::new(ErrorKind::Protocol, why)));
                }
            }
        });
        self.early = early;
        answer
    }

    /// How much memory the rows of a page may take: as much as was asked for, and a last row beyond that which just fits into a
    /// message. What the cells of that row take beside its bytes is far less than the rest.
    fn page_memory(&self) -> usize {
        let limits = &self.client.options.limits;
        limits.message_bytes.saturating_add(limits.stream_page_bytes.max(LEAST_PAGE).saturating_mul(2))
    }

    fn send(&mut self, name: &str, request: Request, patience: &Patience) -> Result<()> {
        let message = request.encode()?;
        self.talk(name, patience, |channel, budget, late| channel.send_binary(message, budget, late))
    }

    fn talk<T>(
        &mut self,
        name: &str,
        patience: &Patience,
        work: impl FnOnce(&mut Channel, &Budget, &dyn Fn() -> String) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        self.client.on_line(&mut self.line, &format!("the rows of {name:?}"), patience, |channel, budget| {
            work(channel, budget, &|| format!("the other site did not send the rows of {name:?}"))
        })
    }

    fn refused(&self, name: &str, refusal: &Refusal) -> Error {
        let text = match &*self.line {
            Line::Open(channel) => channel.cleaned(&refusal.text),
            Line::Gone(_) => refusal.text.clone(),
        };
        let asked = format!("the request for the rows of {name:?}");
        refused(&asked, Some(&refusal.code), &text, refusal.transfer, refusal.retry_after)
    }
}

fn strange(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the other site {what} of {name:?}"))
}

impl Drop for PageStream<'_> {
    fn drop(&mut self) {
        let given_up: Vec<u32> = match self.has_yielded && self.pull.is_none() {
            true => Vec::new(),
            false => self.asked.iter().map(|asked| asked.request).collect(),
        };
        let mut told = Ok(());
        for request in given_up {
            told = told.and_then(|()| self.send("a table", Request::Cancel { request }, &Patience::unbounded()));
        }
        if let Err(error) = told {
            log::debug!("the other site does not hear that its pages are no longer wanted: {error}");
        }
    }
}
