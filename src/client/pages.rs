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
use crate::limits::Limits;
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

/// What the sender may have sent of tables that have ended, without having heard what became of them. It stops at twice as much, and
/// would keep the connection quiet until then.
const MOST_ENDED: u64 = 32 << 20;

/// After which time without a byte it is looked what there is to say to the sender.
const QUIET: Duration = Duration::from_millis(100);

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
    /// What pages cost that came and are not acknowledged.
    unspent: u64,
    /// Requests that have ended, and of which the sender was not told yet what became of their rows.
    ended: Vec<Ended>,
    /// What the sender may have on its way, together with what is not acknowledged.
    window: usize,
    /// How long the next page may still take, while it is waited for.
    waiting: Option<Budget>,
    /// Bytes of what was given up that came since the last page.
    strays: usize,
    /// Whether answers can be told apart from now on.
    is_usable: bool,
    /// Whether it ended so that another call has the line, without a word to the sender.
    has_yielded: bool,
}

/// A table that was asked for.
struct Asked {
    at: usize,
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
    /// Bytes that came beyond those that it was allowed since it was asked.
    in_flight: u64,
    /// Whether the last page has come: the end comes next.
    last: bool,
    /// How it was refused before its turn has come.
    refusal: Option<Refusal>,
}

/// A table that has come to its end.
struct Ended {
    at: usize,
    request: u32,
    in_flight: u64,
}

/// What came beside the rows of a page.
pub(crate) struct StreamedPage {
    /// Records received, those that failed included.
    pub(crate) received: u64,
    /// Records that were too large to be sent.
    pub(crate) failures: Vec<Failure>,
    /// Whether there is more to wait for.
    pub(crate) has_more: bool,
    /// The place after its last row.
    pub(crate) place: Option<Place>,
    /// The number of the sender's snapshot; `None` for the end, which has no rows.
    pub(crate) state: Option<u64>,
    /// Its size on the wire.
    pub(crate) bytes: u64,
    /// What it counts until it is [acknowledged](PageStream::ack).
    pub(crate) cost: u64,
}

impl Client {
    /// Begins to fetch rows for the pull of this name, in pages of at most so many records. `None` if the sender is of PhoenixKit
    /// system: it is asked for each page.
    pub(crate) fn stream(&self, pull: Uuid, most: Option<u32>, patience: &Patience) -> Result<Option<PageStream<'_>>> {
        let Some(peer) = &self.peer else { return Ok(None) };
        let has = |wanted: &str| peer.features.iter().any(|feature| feature == wanted);
        if !has(FEATURE_PAGES) {
            let why = "the other site is a rowferry site, but does not send pages by itself as each version does";
            return Err(Error::new(ErrorKind::Protocol, why));
        }
        let limits = &self.options.limits;
        let pull = has(FEATURE_PULLS).then_some(pull);
        let largest = limits.pull.stream_window_bytes.min(MOST_WINDOW);
        // A lock is not fair: a call that waited while the stream before yielded has its turn first.
        let since = Instant::now();
        while self.shared.is_awaited() && since.elapsed() < TURN {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Some(PageStream {
            client: self,
            line: self.free_line("the rows of a table", patience)?,
            pull,
            page_rows: number(most.map_or(limits.wire.page_rows, |most| limits.wire.page_rows.min(most as usize))),
            asked: VecDeque::new(),
            unspent: 0,
            ended: Vec::new(),
            window: if pull.is_some() { largest.min(FIRST_WINDOW) } else { largest },
            waiting: None,
            strays: 0,
            is_usable: true,
            has_yielded: false,
        }))
    }
}

pub(super) fn number(n: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
}

impl PageStream<'_> {
    /// Asks for the rows of a table, which has this number, after a place and the records before it.
    pub(crate) fn ask(
        &mut self,
        (at, table): (usize, &TableSchema),
        (after, records): (Option<Place>, u64),
        patience: &Patience,
    ) -> Result<()> {
        let key = key_of(table)?.map_or(Vec::new(), |(columns, _)| columns);
        let is_first = self.asked.is_empty();
        let window = if is_first { self.window } else { self.window.min(AHEAD_WINDOW) };
        let (page_rows, pull, window) = (self.page_rows, self.pull, number(window));
        let page_bytes = number(self.client.options.limits.pull.stream_page_bytes);
        let request = self.talk(&table.name, patience, |channel, budget, late| {
            let (request, compress) = (channel.new_request(), !channel.is_local());
            let table = table.name.clone();
            let fetch = Fetch { request, table, after, records, page_bytes, page_rows, window, compress, pull };
            let message = Request::Fetch(fetch).encode().map_err(Trouble::Failed)?;
            channel.send_binary(message, budget, late).map(|()| request)
        })?;
        self.asked.push_back(Asked {
            at,
            request,
            name: table.name.clone(),
            columns: table.columns.len(),
            key,
            pages: 0,
            rows: 0,
            credit: window.get().into(),
            in_flight: 0,
            last: false,
            refusal: None,
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
    /// there is no more. `None` if nothing came for a moment.
    pub(crate) fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Option<StreamedPage>> {
        match self.try_next(rows, patience) {
            Ok(answer) => answer,
            Err(error) => {
                self.is_usable = false;
                Err(error)
            }
        }
    }

    /// The outer error leaves the stream useless; the inner one is how the sender refused the table.
    fn try_next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Result<Option<StreamedPage>>> {
        let Some(first) = self.asked.front_mut() else {
            return Err(Error::new(ErrorKind::InvalidInput, "no table was asked for"));
        };
        let (request, name, is_last) = (first.request, first.name.clone(), first.last);
        if let Some(refusal) = first.refusal.take() {
            self.asked.pop_front();
            return Ok(Err(self.refused(&name, &refusal)));
        }
        // It may be one of those that were asked for ahead.
        if self.is_due() {
            self.allow(patience)?;
        }
        let message = match self.next_answer(request, &name, patience) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Ok(None)),
            // All is here: that the end is lost changes nothing.
            Err(error) if is_last && error.kind() == ErrorKind::Disconnected => {
                self.is_usable = false;
                return Ok(Ok(Some(self.end(0, None))));
            }
            Err(error) => return Err(error),
        };
        let bytes = message.len() as u64;
        match Answer::decode(&message)? {
            Answer::Page(page) => {
                let memory = page_memory(&self.client.options.limits);
                let bounds = PageLimits { records: self.page_rows.get().into(), bytes: memory };
                let Some(asked) = self.asked.front_mut() else { return Err(strange("sent rows nobody asked for,", &name)) };
                let cost = page.cost();
                asked.credit = asked.credit.saturating_sub(as_credit(cost));
                if page.head.sequence != asked.pages || page.rows == 0 || asked.last {
                    return Err(strange("sent pages out of order, or an empty one,", &name));
                }
                let failures = page.read(asked.columns, &asked.key, bounds, rows)?;
                asked.pages = asked.pages.wrapping_add(1);
                asked.rows = asked.rows.saturating_add(page.rows.into());
                asked.last = !page.head.more;
                asked.in_flight = asked.in_flight.saturating_add(cost);
                self.unspent = self.unspent.saturating_add(cost);
                if !page.head.more && self.pull.is_none() {
                    self.send(&name, Request::Done { request }, patience)?;
                }
                Ok(Ok(Some(StreamedPage {
                    received: page.rows.into(),
                    failures,
                    has_more: true,
                    place: page.place,
                    state: Some(page.head.state),
                    bytes,
                    cost,
                })))
            }
            Answer::End(end) => {
                let rows = self.asked.front().map_or(0, |asked| asked.rows);
                if end.rows != rows {
                    return Err(strange("sent a different number of rows than it says", &name));
                }
                Ok(Ok(Some(self.end(bytes, end.state.map(std::num::NonZeroU64::get)))))
            }
            Answer::Error(refusal) => {
                self.asked.pop_front();
                Ok(Err(self.refused(&name, &refusal)))
            }
            Answer::Scanned(_) | Answer::Summary(_) | Answer::Cells(_) => {
                Err(strange("compared rows that were to be sent,", &name))
            }
        }
    }

    /// The first table has ended.
    fn end(&mut self, bytes: u64, state: Option<u64>) -> StreamedPage {
        if let Some(Asked { at, request, in_flight, .. }) = self.asked.pop_front() {
            self.ended.push(Ended { at, request, in_flight });
        }
        let (failures, place) = (Vec::new(), None);
        StreamedPage { received: 0, failures, has_more: false, place, state, bytes, cost: 0 }
    }

    /// How much more the sender may be allowed of the first table, so that what is on its way and what is not acknowledged are within
    /// the window.
    fn more(&self) -> i64 {
        let free = as_credit(self.window as u64).saturating_sub(as_credit(self.unspent));
        self.asked.front().filter(|asked| !asked.last).map_or(0, |asked| free.saturating_sub(asked.credit))
    }

    /// Whether the sender is to be told of that now: a message for each page would cost more than it is worth.
    fn is_due(&self) -> bool {
        let (more, due) = (self.more(), as_credit(self.window as u64 / 8));
        more > 0 && (more >= due || self.asked.front().is_some_and(|asked| asked.credit <= 0))
    }

    fn allow(&mut self, patience: &Patience) -> Result<()> {
        let more = u32::try_from(self.more()).unwrap_or(u32::MAX);
        let (Some(bytes), Some(asked)) = (NonZeroU32::new(more), self.asked.front_mut()) else { return Ok(()) };
        asked.credit = asked.credit.saturating_add(more.into());
        asked.in_flight = asked.in_flight.saturating_sub(more.into());
        let (request, name) = (asked.request, asked.name.clone());
        self.send(&name, Request::Credit { request, bytes }, patience)
    }

    /// What became of the rows of a table that has ended: they are safe here, or they are not and will not be.
    pub(crate) fn settle(&mut self, at: usize, is_committed: bool) -> Result<()> {
        let Some(place) = self.ended.iter().position(|ended| ended.at == at) else { return Ok(()) };
        let request = self.ended.swap_remove(place).request;
        match (self.pull, is_committed) {
            // It was told when the last page came.
            (None, _) => Ok(()),
            (Some(_), true) => self.send("a table", Request::Done { request }, &Patience::unbounded()),
            (Some(_), false) => self.send("a table", Request::Cancel { request }, &Patience::unbounded()),
        }
    }

    /// The most that may be on its way and not acknowledged, for now.
    pub(crate) fn window(&self) -> u64 {
        self.window as u64
    }

    /// Whether a page may come before the sender is told that more of them are acknowledged, or what became of tables.
    pub(crate) fn has_credit(&self) -> bool {
        let ended: u64 = self.ended.iter().map(|ended| ended.in_flight).sum();
        self.asked.front().is_none_or(|asked| asked.last || (asked.credit > 0 && ended < MOST_ENDED))
    }

    /// Pages that count so much are acknowledged. Where all that came was taken already, the sender does not keep up because of what it
    /// may have on its way: it is allowed more.
    pub(crate) fn ack(&mut self, cost: u64, is_hungry: bool) -> Result<()> {
        self.unspent = self.unspent.saturating_sub(cost);
        if !self.is_due() {
            return Ok(());
        }
        if is_hungry && self.pull.is_some() {
            let largest = self.client.options.limits.pull.stream_window_bytes.min(MOST_WINDOW);
            self.window = self.window.saturating_mul(2).min(largest);
        }
        self.allow(&Patience::unbounded())
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

    /// Waits for the next message that is an answer to this request; `None` if nothing came for a moment. Those to requests that were
    /// given up are dropped as long as they may have been on their way then: more of them are no accident.
    fn next_answer(&mut self, request: u32, name: &str, patience: &Patience) -> Result<Option<Bytes>> {
        let limits = &self.client.options.limits;
        let most = limits.pull.stream_window_bytes.saturating_add(limits.wire.message_bytes);
        let (mut waiting, mut strays) = (self.waiting.take(), self.strays);
        let mut asked = std::mem::take(&mut self.asked);
        let answer = self.talk(name, patience, |channel, budget, late| {
            let budget = waiting.get_or_insert_with(|| budget.clone());
            loop {
                let Some(message) = channel.next_binary(budget, QUIET, late)? else { return Ok(None) };
                if request_of(&message) == Some(request) {
                    return Ok(Some(message));
                }
                match Answer::decode(&message) {
                    Err(_) => return Ok(Some(message)),
                    Ok(Answer::Error(refusal)) => {
                        let later = asked.iter_mut().skip(1).find(|asked| asked.request == refusal.request);
                        if let Some(later) = later.filter(|later| later.refusal.is_none()) {
                            // A refusal need not wait for its turn.
                            later.refusal = Some(refusal);
                            continue;
                        }
                    }
                    Ok(_) => {}
                }
                strays = strays.saturating_add(message.len());
                if strays > most {
                    let why =
                        format!("the other site still answers cancelled requests instead of sending the rows of {name:?}");
                    return Err(Trouble::Lost(Error::new(ErrorKind::Protocol, why)));
                }
                // The link is alive, and this was in the way of what is waited for.
                budget.renew();
            }
        });
        self.asked = asked;
        (self.waiting, self.strays) = match answer {
            Ok(None) => (waiting, strays),
            _ => (None, 0),
        };
        answer
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
        refused(&asked, Some(&refusal.code), &text, refusal.transfer, refusal.retry_after).by_peer()
    }
}

/// How much memory the rows of a page may take: as much as was asked for, and a last row beyond that which just fits into a
/// message. What the cells of that row take beside its bytes is far less than the rest.
pub(super) fn page_memory(limits: &Limits) -> usize {
    limits.wire.message_bytes.saturating_add(limits.pull.stream_page_bytes.max(LEAST_PAGE).saturating_mul(2))
}

fn as_credit(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn strange(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the other site {what} of {name:?}"))
}

impl Drop for PageStream<'_> {
    fn drop(&mut self) {
        let asked = self.asked.iter().map(|asked| asked.request);
        let given_up: Vec<u32> = match self.pull {
            // What became of tables that have ended is told in another way, if there is a way.
            Some(_) => asked.chain(self.ended.iter().map(|ended| ended.request)).collect(),
            None if self.has_yielded => Vec::new(),
            None => asked.collect(),
        };
        let mut told = Ok(());
        for request in given_up {
            told = told.and_then(|()| self.send("a table", Request::Cancel { request }, &Patience::unbounded()));
        }
        if let Err(error) = told {
            log::debug!(target: "rowferry::client", "the other site cannot be told that its pages are no longer wanted: {error}");
        }
    }
}
