//! The rows of a table as a rowferry peer gets them: binary pages, sent by themselves as far as the peer lets them.

use super::channel::{ChannelSession, failed, told};
use super::download::{Ask, Checked, Download, Encoder, Place as Start, ended};
use crate::access::{Account, GivenPlace, Refused, ResumeAt};
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Page;
use crate::secret::SiteKey;
use crate::wire::native::{End, Fetch, PLACE_BYTES, PageEncoder, PageHead, Refusal, Request};
use crate::wire::records::Cut;

/// The most bytes of a peer's credit that count, so that it is looked now and then what it has to say.
pub(super) const MOST_CREDIT: i64 = 64 << 20;

/// The smallest and the largest page that a peer can ask for, in bytes.
const PAGE_BYTES: (usize, usize) = (4 << 10, 8 << 20);

/// What stands around rows and place in a message, at most.
const AROUND: usize = 1 << 10;

pub(super) const FAILED: &str = "Failed to fetch records";

/// A table on its way to the peer.
pub(super) struct Sending {
    request: u32,
    pub(super) download: Download,
    /// Most records of a page.
    page_rows: u64,
    /// Bytes that may be sent.
    credit: i64,
    pages: Pages,
    /// Rows that were sent.
    rows: u64,
    /// Whether the last page was sent.
    ended: bool,
    /// Whether the peer says that it has it: the pull is over only then, because a connection that is lost takes with it what
    /// was on its way.
    arrived: bool,
}

/// Writes the pages of an answer.
pub(super) struct Pages {
    pub(super) request: u32,
    encoder: PageEncoder,
    /// The columns of the key.
    key: Vec<usize>,
    pub(super) cut: Cut,
    /// The longest place that there is room for.
    place_bytes: usize,
    /// What the places of named pulls are signed with.
    pub(super) places: Option<SiteKey>,
    /// Pages that were written.
    count: u32,
    /// The one that was written last, and what it counts of the credit.
    pub(super) last: Option<(Vec<u8>, i64)>,
}

impl Encoder for Pages {
    fn encode(&mut self, page: &Page, rows: &Rows, account: &Account) -> (usize, u64) {
        let count = self.encoder.add(rows, 0..rows.len(), &self.key, self.cut);
        let head = PageHead {
            request: self.request,
            sequence: self.count,
            state: page.state,
            more: page.more || count < rows.len(),
        };
        let place = page.cursor.as_ref().and_then(|cursor| account.place(self.places.as_ref(), count as u64, cursor));
        let place = place.filter(|place| place.encode().is_some_and(|bytes| bytes.len() <= self.place_bytes));
        let cost = i64::try_from(self.encoder.cost()).unwrap_or(i64::MAX);
        let message = self.encoder.finish(head, place.as_ref());
        let bytes = message.len() as u64;
        self.last = Some((message, cost));
        self.count = self.count.wrapping_add(1);
        (count, bytes)
    }
}

impl ChannelSession {
    /// Takes a binary message of a rowferry peer.
    ///
    /// # Errors
    /// If it is none: then the peer is to be sent away.
    pub(super) fn asked(&mut self, message: &[u8]) -> Result<()> {
        match Request::decode(message)? {
            Request::Fetch(fetch) => {
                // The one before is over before the next one is counted, which may well resume it.
                if let Some(sending) = self.sending.take() {
                    self.source.grant.leave(sending.download.account);
                }
                if fetch.pull.is_some() {
                    self.queue(fetch)?;
                } else {
                    self.end_queue();
                    match self.begin(&fetch) {
                        Ok(sending) => self.sending = Some(Box::new(sending)),
                        Err(error) => self.refusal = Some(refusal(fetch.request, &error)),
                    }
                }
            }
            Request::Credit { request, bytes } => match self.sending.as_mut() {
                Some(sending) if sending.request == request => {
                    sending.credit = sending.credit.saturating_add(bytes.get().into()).min(MOST_CREDIT);
                }
                _ => self.credit(request, bytes),
            },
            Request::Done { request } => match self.sending.as_mut() {
                Some(sending) if sending.request == request => sending.arrived = sending.ended,
                _ => self.done(request),
            },
            Request::Cancel { request } => match self.sending.take_if(|sending| sending.request == request) {
                // It may come back for the rest.
                Some(sending) => self.source.grant.leave(sending.download.account),
                None => self.cancel(request),
            },
        }
        self.source.write_due_ends();
        Ok(())
    }

    /// The next binary message that is due: the host sends one after the other, after each message that it took in, until there
    /// is none. Pages are made as they are sent, so that no more than one is in memory.
    pub fn next_binary(&mut self) -> Option<Vec<u8>> {
        if let Some(refusal) = self.refusal.take() {
            return Some(refusal.encode());
        }
        let Some(sending) = self.sending.take() else { return self.next_queued() };
        let waits = if sending.ended { !sending.arrived } else { sending.credit <= 0 };
        if waits {
            self.sending = Some(sending);
            return None;
        }
        if sending.ended {
            ended(sending.download.account.complete());
            return Some(End { request: sending.request, rows: sending.rows, state: None }.encode());
        }
        let request = sending.request;
        self.next_page(*sending).unwrap_or_else(|error| Some(refusal(request, &error).encode()))
    }

    fn begin(&mut self, fetch: &Fetch) -> Result<Sending> {
        self.source.grant.look(None).map_err(|refused| told("Failed to read settings", refused))?;
        self.source.exporter.offer(self.source.grant.offer());
        self.visible(&fetch.table)?;
        let table = self.source.exporter.schema(&fetch.table).map_err(|error| failed(FAILED, &error))?;
        let pages = self.pages(fetch, &table)?;
        drop(self.pulls.remove(&table.name));
        let after = fetch.after.clone().map(|place| GivenPlace::new(place).cursor);
        let account = match self.source.grant.take_up(&table.name, fetch.records, ResumeAt::Place(after.as_ref())) {
            Some(account) => account,
            None => {
                let asked = self.source.asked(&table).map_err(|error| failed(FAILED, &error))?;
                let begun = self.source.grant.begin(&asked, None);
                let mut account = begun.map_err(|refused| told(FAILED, refused))?;
                account.begins_after(fetch.records);
                account
            }
        };
        Ok(Sending {
            request: fetch.request,
            pages,
            download: Download { account, place: Start::After { table, cursor: after } },
            page_rows: fetch.page_rows.get().into(),
            credit: i64::from(fetch.window.get()).min(MOST_CREDIT),
            rows: 0,
            ended: false,
            arrived: false,
        })
    }

    /// What writes the pages of an answer.
    pub(super) fn pages(&mut self, fetch: &Fetch, table: &TableSchema) -> Result<Pages> {
        let key = self.source.exporter.key(&table.name).map_err(|error| failed(FAILED, &error))?;
        // A page that is nearly full, one more record, and the place all go into one message.
        let message = self.record_bytes;
        let asked = usize::try_from(fetch.page_bytes.get()).unwrap_or(usize::MAX);
        let page_bytes = asked.clamp(PAGE_BYTES.0, PAGE_BYTES.1).min(message / 4);
        let place_bytes = PLACE_BYTES.min(message / 16);
        let record_bytes = message.saturating_sub(page_bytes + place_bytes + AROUND);
        Ok(Pages {
            request: fetch.request,
            encoder: PageEncoder::new(table.columns.len(), fetch.compress),
            key,
            cut: Cut { page_bytes, record_bytes },
            place_bytes,
            places: None,
            count: 0,
            last: None,
        })
    }

    /// The next page of a table, or the end of one that has no more rows.
    fn next_page(&mut self, mut sending: Sending) -> Result<Option<Vec<u8>>> {
        let ask = Ask { records: sending.page_rows, bytes: sending.pages.cut.page_bytes, checked: Checked::No };
        let (download, sent) = self.source.next(sending.download, ask, &mut sending.pages).map_err(refused)?;
        let Some((message, cost)) = sending.pages.last.take() else {
            ended(download.account.complete());
            return Ok(Some(End { request: sending.request, rows: sending.rows, state: None }.encode()));
        };
        sending.download = download;
        sending.credit = sending.credit.saturating_sub(cost);
        sending.rows = sending.rows.saturating_add(sent.rows);
        sending.ended = !sent.more;
        self.sending = Some(Box::new(sending));
        Ok(Some(message))
    }
}

/// What a peer is told when its download ends.
pub(super) fn refused(refused: Refused) -> Error {
    match refused {
        // In words of our own.
        Refused::Failed(error) if error.kind() == ErrorKind::SchemaMismatch => error,
        other => told(FAILED, other),
    }
}

pub(super) fn refusal(request: u32, error: &Error) -> Refusal {
    Refusal {
        request,
        code: error.code().to_owned(),
        text: error.message().to_owned(),
        transfer: error.transfer(),
        retry_after: error.retry_after(),
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[path = "pages_tests.rs"]
mod tests;
