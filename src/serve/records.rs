//! The records of an answer to `pull-data`, read from the store page by page while they are sent.

use std::io::{self, Read};

use super::body::Body;
use super::download::{Ask, Checked, Download, Json, Place, Source};
use crate::access::{Account, Answer, Refused};
use crate::error::ErrorKind;
use crate::wire::api::{PagesHead, PullData, head, tail};
use crate::wire::records::Cut;
use crate::wire::{Dialect, excerpt};

/// The body of an answer. Dropped before its end, it is a pull that the receiver gave up.
pub(super) struct RecordsBody {
    source: Source,
    /// `None` once all was read.
    download: Option<Download>,
    /// The table's own name, and that by which it was asked for.
    table: String,
    asked: String,
    mark_cut: bool,
    sent: u64,
    /// What is ready to be read, from this place on.
    ready: Vec<u8>,
    place: usize,
    /// Records that the answer still may have.
    left: u64,
}

impl RecordsBody {
    /// Reads the first page, so that what is wrong with a table is known before the answer begins.
    pub(super) fn begin(source: Source, account: Account, table: String, asked: &PullData) -> Answer<Self> {
        // The limit only says where the next page begins; what it is makes no difference.
        let place = Place::Offset { table: table.clone(), offset: 0, limit: u64::MAX };
        let mut body = RecordsBody {
            source,
            left: account.per_answer(),
            download: Some(Download { account, place }),
            table,
            asked: asked.table_name.clone(),
            mark_cut: asked.mark_cut,
            sent: 0,
            ready: head(PagesHead::Data { table: "", mark_cut: false }).as_bytes().to_vec(),
            place: 0,
        };
        body.page()?;
        Ok(body)
    }

    /// A small answer is in memory already.
    pub(super) fn into_body(self) -> Body {
        match self.download {
            None => Body::from(self.ready),
            Some(_) => Body::stream(self),
        }
    }

    /// Makes the next page ready.
    fn page(&mut self) -> Answer<()> {
        let Some(download) = self.download.take() else { return Ok(()) };
        let page_bytes = self.source.limits().wire.page_bytes;
        let checked = if self.sent > 0 { Checked::No } else { Checked::Page };
        let ask = Ask { records: self.left, bytes: page_bytes, checked };
        // The head that may be before the records counts for a few bytes of the page.
        let cut = Cut { page_bytes, record_bytes: usize::MAX };
        let before = if self.sent > 0 { "," } else { "" };
        let mut json = Json { out: &mut self.ready, dialect: Dialect::ReferenceHttp, cut, before };
        let (download, sent) = match self.source.next(download, ask, &mut json) {
            Ok(next) => next,
            // What was allowed has been sent: the answer ends there, as it does at its own limit.
            Err(Refused::Denied(denial)) if denial.kind == ErrorKind::RecordLimit && self.sent > 0 => {
                self.end(true);
                return Ok(());
            }
            Err(refused) => return Err(refused),
        };
        self.sent += sent.rows;
        self.left = self.left.saturating_sub(sent.rows);
        match (sent.more, self.left) {
            (false, _) => {
                download.account.complete()?;
                self.end(false);
            }
            (true, 0) => {
                download.account.fail("the answer was cut at the most records that one may have")?;
                self.end(true);
            }
            (true, _) => self.download = Some(download),
        }
        Ok(())
    }

    /// Ends the answer.
    fn end(&mut self, was_cut: bool) {
        let call = PagesHead::Data { table: &self.asked, mark_cut: self.mark_cut };
        self.ready.extend_from_slice(tail(call, was_cut).as_bytes());
        // Nothing is read any more: the snapshot need not wait for the peer.
        self.source.exporter.idle();
    }
}

impl Read for RecordsBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A slow peer holds no snapshot for longer than another one would.
        self.source.exporter.let_go_if_spent();
        while self.place == self.ready.len() && self.download.is_some() {
            self.ready.clear();
            self.place = 0;
            self.page().map_err(|refused| {
                let error = match refused {
                    Refused::Denied(denial) => denial.to_error(),
                    Refused::Failed(error) => error,
                };
                log::warn!(
                    target: "rowferry::serve",
                    "an answer with records of {:?} ends early: {}", self.table, excerpt(&error.to_string())
                );
                io::Error::other(error)
            })?;
        }
        let rest = self.ready.get(self.place..).unwrap_or_default();
        let taken = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..taken), rest.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.place += taken;
        Ok(taken)
    }
}
