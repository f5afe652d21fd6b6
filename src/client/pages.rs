//! Rows of a table in binary pages, which a rowferry sender sends by itself.

use std::num::NonZeroU32;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use tungstenite::Bytes;

use super::channel::{Channel, Trouble};
use super::connection::{Client, Line};
use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::wire::message::{FEATURE_PAGES, refused};
use crate::wire::native::{Answer, Fetch, Place, Refusal, Request, request_of};
use crate::wire::records::PageLimits;

/// A page's memory that is allowed in any case: a sender does not cut them as small as one may wish.
const LEAST_PAGE: usize = 1 << 20;

/// The most that a sender lets itself be allowed at a time.
const MOST_WINDOW: usize = 64 << 20;

/// For how long a new stream lets calls that wait already go first.
const TURN: Duration = Duration::from_millis(100);

/// The pages of one table, one after the other. Until it is dropped nothing else can be asked through this client: its line is
/// kept.
pub(crate) struct PageStream<'c> {
    client: &'c Client,
    line: MutexGuard<'c, Line>,
    table: &'c TableSchema,
    /// The columns of its key.
    key: Vec<usize>,
    request: u32,
    /// Most rows of a page.
    page_rows: u32,
    /// Pages and rows that came.
    pages: u32,
    rows: u64,
    /// Bytes that the sender may send.
    credit: i64,
    /// Bytes that are done with, and of which the sender was not told yet.
    untold: u64,
    /// Whether the last page has come: the end comes next.
    last: bool,
    /// Whether the sender has no more to say.
    ended: bool,
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
    /// Asks for the pages of a table behind a place and the records before it, each of at most so many records; `key` are the columns of the table's key.
    /// `None` if the sender sends none by itself.
    pub(crate) fn stream<'c>(
        &'c self,
        table: &'c TableSchema,
        key: Vec<usize>,
        (after, records): (Option<Place>, u64),
        most: Option<u32>,
        patience: &Patience,
    ) -> Result<Option<PageStream<'c>>> {
        if !self.peer.as_ref().is_some_and(|peer| peer.features.iter().any(|feature| feature == FEATURE_PAGES)) {
            return Ok(None);
        }
        let limits = &self.options.limits;
        let number = |n: usize| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let window = number(limits.stream_window_bytes.min(MOST_WINDOW));
        let page_rows = number(most.map_or(limits.page_rows, |most| limits.page_rows.min(most as usize)));
        // A lock is not fair: whoever waited while the stream before gave way has its turn first.
        let since = Instant::now();
        while self.shared.is_awaited() && since.elapsed() < TURN {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut stream = PageStream {
            client: self,
            line: self.free_line("the rows of a table", patience)?,
            table,
            key,
            request: 0,
            page_rows: page_rows.get(),
            pages: 0,
            rows: 0,
            credit: window.get().into(),
            untold: 0,
            last: false,
            ended: false,
        };
        stream
            .talk(patience, |channel, budget, late| {
                let request = channel.new_request();
                let fetch = Fetch {
                    request,
                    table: table.name.clone(),
                    after,
                    records,
                    page_bytes: number(limits.stream_page_bytes),
                    page_rows,
                    window,
                    compress: !channel.is_local(),
                    pull: None,
                };
                let message = Request::Fetch(fetch).encode().map_err(Trouble::Failed)?;
                channel.send_binary(message, budget, late).map(|()| request)
            })
            .map(|request| stream.request = request)?;
        Ok(Some(stream))
    }
}

impl PageStream<'_> {
    /// Waits for the next page, and adds its rows to `rows`. The last one has none, and says that there is no more.
    pub(crate) fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<StreamedPage> {
        if self.ended {
            return Err(self.strange("was asked for more than there is"));
        }
        let message = match self.next_answer(patience) {
            Ok(message) => message,
            // All is here: that the end is lost changes nothing.
            Err(error) if self.last && error.kind() == ErrorKind::Disconnected => return Ok(self.the_end(0)),
            Err(error) => return Err(error),
        };
        let bytes = message.len() as u64;
        match Answer::decode(&message)? {
            Answer::Page(page) => {
                let cost = page.cost();
                self.credit = self.credit.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
                if page.head.sequence != self.pages || page.rows == 0 || self.last {
                    return Err(self.strange("sent pages out of order, or an empty one,"));
                }
                let bounds = PageLimits { records: self.page_rows.into(), bytes: self.page_memory() };
                let failures = page.read(self.table.columns.len(), &self.key, bounds, rows)?;
                self.pages = self.pages.wrapping_add(1);
                self.rows = self.rows.saturating_add(page.rows.into());
                if !page.head.more {
                    self.last = true;
                    let done = Request::Done { request: self.request }.encode()?;
                    self.talk(patience, |channel, budget, late| channel.send_binary(done, budget, late))?;
                }
                Ok(StreamedPage {
                    received: page.rows.into(),
                    failures,
                    has_more: true,
                    place: page.place,
                    state: Some(page.head.state),
                    bytes,
                    cost,
                })
            }
            Answer::End(end) => {
                let page = self.the_end(bytes);
                match end.rows == self.rows {
                    true => Ok(page),
                    false => Err(self.strange("sent another number of rows than it says")),
                }
            }
            Answer::Error(refusal) => {
                self.ended = true;
                Err(self.refused(&refusal))
            }
        }
    }

    fn the_end(&mut self, bytes: u64) -> StreamedPage {
        self.ended = true;
        let (failures, place) = (Vec::new(), None);
        StreamedPage { received: 0, failures, has_more: false, place, state: None, bytes, cost: 0 }
    }

    /// Waits for the next message that is no answer to another request. Those to one that was given up are dropped as long as
    /// they may have been on their way then: more of them are no accident.
    fn next_answer(&mut self, patience: &Patience) -> Result<Bytes> {
        let limits = &self.client.options.limits;
        let most = limits.stream_window_bytes.saturating_add(limits.message_bytes);
        let (request, table) = (self.request, self.table);
        let strange = || {
            let why = format!("the other site goes on with what was given up, in place of the rows of {:?}", table.name);
            Trouble::Lost(Error::new(ErrorKind::Protocol, why))
        };
        let mut strays = 0usize;
        self.talk(patience, |channel, budget, late| {
            loop {
                let message = channel.next_binary(budget, late)?;
                if request_of(&message) == Some(request) || Answer::decode(&message).is_err() {
                    return Ok(message);
                }
                strays = strays.saturating_add(message.len());
                if strays > most {
                    return Err(strange());
                }
            }
        })
    }

    /// How much memory the rows of a page may take: as much as was asked for, and a last row beyond that which just fits into a
    /// message. What the cells of that row take beside its bytes is far less than the rest.
    fn page_memory(&self) -> usize {
        let limits = &self.client.options.limits;
        limits.message_bytes.saturating_add(limits.stream_page_bytes.max(LEAST_PAGE).saturating_mul(2))
    }

    /// Whether a page may come before the sender is told that more of them are done with.
    pub(crate) fn may_come(&self) -> bool {
        self.credit > 0 || self.last || self.ended
    }

    /// Pages that count so much are done with.
    pub(crate) fn done_with(&mut self, cost: u64) -> Result<()> {
        self.untold = self.untold.saturating_add(cost);
        // A message for each page would cost more than it is worth.
        let due = u64::try_from(self.client.options.limits.stream_window_bytes / 8).unwrap_or(u64::MAX);
        let more = u32::try_from(self.untold).unwrap_or(u32::MAX);
        let (Some(bytes), false) = (NonZeroU32::new(more), self.last || self.ended || self.untold < due && self.credit > 0)
        else {
            return Ok(());
        };
        let message = Request::Credit { request: self.request, bytes }.encode()?;
        let forever = Patience::new(crate::cancel::CancelToken::new(), None);
        self.talk(&forever, |channel, budget, late| channel.send_binary(message, budget, late))?;
        self.untold -= u64::from(more);
        self.credit = self.credit.saturating_add(more.into());
        Ok(())
    }

    /// Sends a heartbeat if one is due. An error if the client was disconnected here meanwhile: whoever did waits for the line.
    pub(crate) fn keep_open(&mut self) -> Result<()> {
        let forever = Patience::new(crate::cancel::CancelToken::new(), None);
        self.talk(&forever, |channel, budget, late| {
            budget.slice(late).map_err(Trouble::Failed)?;
            channel.keep_open()
        })
    }

    /// Gives way if a call waits for the line, and says whether it does: then nothing more comes of this stream. The sender is not
    /// told, so that the next stream goes on with the same pull.
    pub(crate) fn gives_way(&mut self) -> bool {
        let gives_way = self.client.shared.is_awaited();
        self.ended |= gives_way;
        gives_way
    }

    fn talk<T>(
        &mut self,
        patience: &Patience,
        work: impl FnOnce(&mut Channel, &Budget, &dyn Fn() -> String) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let (name, client) = (&self.table.name, self.client);
        client.on_line(&mut self.line, &format!("the rows of {name:?}"), patience, |channel, budget| {
            work(channel, budget, &|| format!("the other site did not send the rows of {name:?}"))
        })
    }

    fn strange(&self, what: &str) -> Error {
        Error::new(ErrorKind::Protocol, format!("the other site {what} of {:?}", self.table.name))
    }

    fn refused(&self, refusal: &Refusal) -> Error {
        let text = match &*self.line {
            Line::Open(channel) => channel.cleaned(&refusal.text),
            Line::Gone(_) => refusal.text.clone(),
        };
        let asked = format!("the request for the rows of {:?}", self.table.name);
        refused(&asked, Some(&refusal.code), &text, refusal.transfer, refusal.retry_after)
    }
}

impl Drop for PageStream<'_> {
    fn drop(&mut self) {
        if self.ended || self.request == 0 {
            return;
        }
        let told = Request::Cancel { request: self.request }.encode().and_then(|message| {
            let forever = Patience::new(crate::cancel::CancelToken::new(), None);
            self.talk(&forever, |channel, budget, late| channel.send_binary(message, budget, late))
        });
        if let Err(error) = told {
            log::debug!("the other site does not hear that its pages are no longer wanted: {error}");
        }
    }
}
