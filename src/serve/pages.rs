//! The rows of a table as a rowferry peer gets them: binary pages, sent by themselves as far as the peer lets them.

use super::channel::{ChannelSession, failed, told};
use super::download::{Ask, Checked, Download, Encoder, Place as Start, ended};
use crate::access::{Account, Behind, Refused};
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Cursor, Page};
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
struct Pages {
    request: u32,
    encoder: PageEncoder,
    /// The columns of the key.
    key: Vec<usize>,
    cut: Cut,
    /// The longest place that there is room for.
    place_bytes: usize,
    /// Pages that were written.
    count: u32,
    /// The one that was written last, and what it counts of the credit.
    last: Option<(Vec<u8>, i64)>,
}

impl Encoder for Pages {
    fn encode(&mut self, page: &Page, rows: &Rows, _: &Account) -> (usize, u64) {
        let count = self.encoder.add(rows, 0..rows.len(), &self.key, self.cut);
        let head = PageHead {
            request: self.request,
            sequence: self.count,
            state: page.state,
            more: page.more || count < rows.len(),
        };
        let place = page.cursor.as_ref().map(|cursor| Place { run: cursor.run, values: cursor.values.clone() });
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
                // The one before is over before the next one is counted, which may well go on with it.
                if let Some(sending) = self.sending.take() {
                    self.source.grant.leave(sending.download.account);
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
                    self.source.grant.leave(sending.download.account);
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
        let sending = self.sending.take()?;
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
        let key = self.source.exporter.key(&table.name).map_err(|error| failed(FAILED, &error))?;
        drop(self.pulls.remove(&table.name));
        let after = fetch.after.clone().map(|place| Cursor { run: place.run, values: place.values });
        let account = match self.source.grant.take_up(&table.name, fetch.records, Behind::Place(after.as_ref())) {
            Some(account) => account,
            None => {
                let mut account = self.source.grant.begin(&table.name, None).map_err(|refused| told(FAILED, refused))?;
                account.begins_behind(fetch.records);
                account
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
            pages: Pages {
                request: fetch.request,
                encoder: PageEncoder::new(table.columns.len(), fetch.compress),
                key,
                cut: Cut { page_bytes, record_bytes },
                place_bytes,
                count: 0,
                last: None,
            },
            download: Download { account, place: Start::After { table, cursor: after } },
            page_rows: fetch.page_rows.get().into(),
            credit: i64::from(fetch.window.get()).min(MOST_CREDIT),
            rows: 0,
            ended: false,
            arrived: false,
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
fn refused(refused: Refused) -> Error {
    match refused {
        // In words of our own.
        Refused::Failed(error) if error.kind() == ErrorKind::SchemaMismatch => error,
        other => told(FAILED, other),
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
