//! The rows of a table as a rowferry peer gets them: binary pages, sent by themselves as far as the peer lets them.

use std::sync::Arc;

use super::channel::{ChannelSession, ended, failed, told};
use crate::access::{Behind, Pull};
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Cursor, Page, PageBounds};
use crate::wire::native::{End, Fetch, PLACE_BYTES, PageEncoder, PageHead, Place, Refusal, Request};
use crate::wire::records::Cut;

/// The most bytes of a peer's credit that count, so that it is looked now and then what it has to say.
const MOST_CREDIT: i64 = 64 << 20;

/// The smallest and the largest page that a peer can ask for, in bytes.
const PAGE_BYTES: (usize, usize) = (4 << 10, 8 << 20);

/// What stands around rows and place in a message, at most.
const AROUND: usize = 1 << 10;

const FAILED: &str = "Failed to fetch records";

/// A table on its way to the peer.
pub(super) struct Sending {
    request: u32,
    table: Arc<TableSchema>,
    pub(super) pull: Pull,
    after: Option<Cursor>,
    bounds: PageBounds,
    cut: Cut,
    /// The longest place that there is room for.
    place_bytes: usize,
    /// Bytes that may be sent.
    credit: i64,
    /// The columns of the key.
    key: Vec<usize>,
    encoder: PageEncoder,
    /// Pages and rows that were sent.
    pages: u32,
    rows: u64,
    /// Whether the last page was sent.
    ended: bool,
    /// Whether the peer says that it has it: the pull is over only then, because a connection that is lost takes with it what
    /// was on its way.
    arrived: bool,
}

impl ChannelSession {
    /// Takes a binary message of a rowferry peer.
    ///
    /// # Errors
    /// If it is none: then the peer is to be sent away.
    pub(super) fn asked(&mut self, message: &[u8]) -> Result<()> {
        match Request::decode(message)? {
            Request::Fetch(fetch) => {
                // The one before is over before the next one is counted, which may well go on with it.
                if let Some(sending) = self.sending.take() {
                    self.pass.leave(sending.pull);
                }
                match self.begin(&fetch) {
                    Ok(sending) => self.sending = Some(Box::new(sending)),
                    Err(error) => self.refusal = Some(refusal(fetch.request, &error)),
                }
            }
            Request::Credit { request, bytes } => {
                if let Some(sending) = self.sending.as_mut().filter(|sending| sending.request == request) {
                    sending.credit = sending.credit.saturating_add(bytes.get().into()).min(MOST_CREDIT);
                }
            }
            Request::Done { request } => {
                if let Some(sending) = self.sending.as_mut().filter(|sending| sending.request == request && sending.ended) {
                    sending.arrived = true;
                }
            }
            Request::Cancel { request } => {
                // He may come back for the rest.
                if let Some(sending) = self.sending.take_if(|sending| sending.request == request) {
                    self.pass.leave(sending.pull);
                }
            }
        }
        Ok(())
    }

    /// The next binary message that is due: the host sends one after the other, after each message that it took in, until there
    /// is none. Pages are made as they are sent, so that no more than one is in memory.
    pub fn next_binary(&mut self) -> Option<Vec<u8>> {
        if let Some(refusal) = self.refusal.take() {
            return Some(refusal.encode());
        }
        let mut sending = self.sending.take()?;
        let waits = if sending.ended { !sending.arrived } else { sending.credit <= 0 };
        if waits {
            self.sending = Some(sending);
            return None;
        }
        let page = if sending.ended { Ok(None) } else { self.next_page(&mut sending) };
        match page {
            Ok(Some(page)) => {
                self.sending = Some(sending);
                Some(page)
            }
            Ok(None) => {
                ended(sending.pull.complete());
                Some(End { request: sending.request, rows: sending.rows, state: None }.encode())
            }
            Err(error) => {
                let refusal = refusal(sending.request, &error);
                ended(sending.pull.fail(error.message()));
                Some(refusal.encode())
            }
        }
    }

    fn begin(&mut self, fetch: &Fetch) -> Result<Sending> {
        self.pass.look(None).map_err(|refused| told("Failed to read settings", refused))?;
        self.exporter.offer(self.pass.offer());
        self.visible(&fetch.table)?;
        let table = self.exporter.schema(&fetch.table).map_err(|error| failed(FAILED, &error))?;
        let key = self.exporter.key(&table.name).map_err(|error| failed(FAILED, &error))?;
        drop(self.pulls.remove(&table.name));
        let after = fetch.after.clone().map(|place| Cursor { run: place.run, values: place.values });
        let pull = match self.pass.take_up(&table.name, fetch.records, Behind::Place(after.as_ref())) {
            Some(pull) => pull,
            None => {
                let mut pull = self.pass.begin(&table.name, None).map_err(|refused| told(FAILED, refused))?;
                pull.begins_behind(fetch.records);
                pull
            }
        };
        let number = |n: std::num::NonZeroU32| usize::try_from(n.get()).unwrap_or(usize::MAX);
        // A page that is nearly full, one more record, and the place all go into one message.
        let message = self.record_bytes;
        let page_bytes = number(fetch.page_bytes).clamp(PAGE_BYTES.0, PAGE_BYTES.1).min(message / 4);
        let place_bytes = PLACE_BYTES.min(message / 16);
        let record_bytes = message.saturating_sub(page_bytes + place_bytes + AROUND);
        Ok(Sending {
            request: fetch.request,
            pull,
            after,
            bounds: PageBounds { rows: number(fetch.page_rows).min(self.site.limits().page_rows), bytes: page_bytes },
            cut: Cut { page_bytes, record_bytes },
            place_bytes,
            credit: i64::from(fetch.window.get()).min(MOST_CREDIT),
            key,
            encoder: PageEncoder::new(table.columns.len(), fetch.compress),
            table,
            pages: 0,
            rows: 0,
            ended: false,
            arrived: false,
        })
    }

    /// The next page; `None` if there are no more rows.
    fn next_page(&mut self, sending: &mut Sending) -> Result<Option<Vec<u8>>> {
        let looked = self.pass.look(Some(&sending.pull)).map_err(|refused| told("Failed to read settings", refused))?;
        self.exporter.offer(self.pass.offer());
        let wanted = u64::try_from(sending.bounds.rows).unwrap_or(u64::MAX);
        self.pass.go_on(&mut sending.pull, &looked, wanted).map_err(|refused| told(FAILED, refused))?;
        let most = usize::try_from(sending.pull.most(wanted)).unwrap_or(usize::MAX);
        let mut bounds = PageBounds { rows: most.max(1), ..sending.bounds };
        let mut page = self.read(sending, bounds)?;
        let read = self.rows.len();
        let taken = self.pass.take_page(&mut sending.pull, read as u64).map_err(|refused| told(FAILED, refused))?;
        if taken < read as u64 {
            // Somebody else took of what the connection may have.
            bounds.rows = usize::try_from(taken).unwrap_or(read);
            page = self.read(sending, bounds)?;
        }
        let rows = self.rows.len();
        if rows == 0 {
            return Ok(None);
        }
        sending.encoder.add(&self.rows, 0..rows, &sending.key, sending.cut);
        let head = PageHead { request: sending.request, sequence: sending.pages, state: page.state, more: page.more };
        let place = page.cursor.as_ref().map(|cursor| Place { run: cursor.run, values: cursor.values.clone() });
        let place = place.filter(|place| place.encode().is_some_and(|bytes| bytes.len() <= sending.place_bytes));
        if self.rows.size_bytes() > sending.cut.page_bytes.saturating_mul(2) {
            // One large record is no reason to hold its memory any longer.
            self.rows = Rows::default();
        }
        let cost = i64::try_from(sending.encoder.cost()).unwrap_or(i64::MAX);
        let message = sending.encoder.finish(head, place.as_ref());
        sending.pull.sent(rows as u64, message.len() as u64);
        sending.credit = sending.credit.saturating_sub(cost);
        sending.rows = sending.rows.saturating_add(rows as u64);
        sending.pages = sending.pages.wrapping_add(1);
        if let Some(cursor) = page.cursor {
            sending.pull.passed(&cursor);
            sending.after = Some(cursor);
        }
        sending.ended = !page.more;
        Ok(Some(message))
    }

    /// Reads the rows of the next page.
    fn read(&mut self, sending: &Sending, bounds: PageBounds) -> Result<Page> {
        let page = self.exporter.behind(&sending.table.name, sending.after.as_ref(), bounds, &mut self.rows);
        let page = page.map_err(|error| failed(FAILED, &error))?;
        if page.table == sending.table {
            return Ok(page);
        }
        let why = format!("the table {:?} changed its structure in the middle", sending.table.name);
        Err(Error::new(ErrorKind::SchemaMismatch, why))
    }
}

fn refusal(request: u32, error: &Error) -> Refusal {
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
