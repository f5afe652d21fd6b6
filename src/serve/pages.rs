//! The rows of a table as a rowferry peer gets them: binary pages, sent by themselves as far as the peer lets them.

use std::num::NonZeroU32;

use super::channel::ChannelSession;
use super::download::{Ask, Checked, Download, Place as Start, ended};
use super::refusals::{FAILED, failed, refusal, refused, told};
use super::sending::{MOST_CREDIT, Pages, Sending};
use crate::access::{GivenPlace, ResumeAt};
use crate::domain::schema::TableSchema;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::native::{End, Fetch, PLACE_BYTES, PageEncoder, Request};
use crate::wire::records::Cut;

/// The smallest and the largest page that a peer can ask for, in bytes.
const PAGE_BYTES: (usize, usize) = (4 << 10, 8 << 20);

/// The most records of a table that a peer can say it has.
const MOST_RECORDS: u64 = 1 << 53;

/// What stands around rows and place in a message, at most.
const AROUND: usize = 1 << 10;

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
                self.comparing = None;
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
                _ => {
                    if !self.credits_comparing(request, bytes.get()) {
                        self.credit(request, bytes);
                    }
                }
            },
            Request::Done { request } => match self.sending.as_mut() {
                Some(sending) if sending.request == request => sending.arrived = sending.ended,
                _ => {
                    if !self.end_comparing(request) {
                        self.done(request);
                    }
                }
            },
            Request::Cancel { request } => match self.sending.take_if(|sending| sending.request == request) {
                // It may come back for the rest.
                Some(sending) => self.source.grant.leave(sending.download.account),
                None if self.end_comparing(request) => {}
                None => self.cancel(request),
            },
            request @ (Request::Compare(_) | Request::Sketch(_) | Request::Want(_)) => self.compares(request),
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
        let Some(sending) = self.sending.take() else { return self.next_queued().or_else(|| self.next_compared()) };
        let waits = if sending.ended { !sending.arrived } else { sending.credit <= 0 };
        if waits {
            self.sending = Some(sending);
            return self.next_compared();
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
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the peer says that it has more records than any table has: what is counted from there would
    /// not be exact.
    pub(super) fn pages(&mut self, fetch: &Fetch, table: &TableSchema) -> Result<Pages> {
        if fetch.records > MOST_RECORDS {
            return Err(Error::new(ErrorKind::Protocol, "No table has more than 2^53 records"));
        }
        let key = self.source.exporter.key(&table.name).map_err(|error| failed(FAILED, &error))?;
        let (cut, place_bytes) = self.cut(fetch.page_bytes);
        Ok(Pages {
            request: fetch.request,
            encoder: PageEncoder::new(table.columns.len(), fetch.compress),
            key,
            cut,
            place_bytes,
            places: None,
            count: 0,
            last: None,
        })
    }

    /// Where pages are cut of which so many bytes were asked for, and the longest place that there is room for: a page that is nearly
    /// full, one more record, and the place all go into one message.
    pub(super) fn cut(&self, page_bytes: NonZeroU32) -> (Cut, usize) {
        let message = self.record_bytes;
        let asked = usize::try_from(page_bytes.get()).unwrap_or(usize::MAX);
        let page_bytes = asked.clamp(PAGE_BYTES.0, PAGE_BYTES.1).min(message / 4);
        let place_bytes = PLACE_BYTES.min(message / 16);
        (Cut { page_bytes, record_bytes: message.saturating_sub(page_bytes + place_bytes + AROUND) }, place_bytes)
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

#[cfg(all(test, feature = "sqlite"))]
#[path = "pages_tests.rs"]
mod tests;
