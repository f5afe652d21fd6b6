//! The records of an answer to `pull-data`, read from the store page by page while they are sent.

use std::io::{self, Read};

use super::body::Body;
use crate::access::{Answer, Pass, Pull, Refused};
use crate::domain::value::Rows;
use crate::error::ErrorKind;
use crate::export::Exporter;
use crate::limits::Limits;
use crate::wire::Dialect;
use crate::wire::api::{PagesHead, PullData, head, tail};
use crate::wire::records::{Cut, encode_records};

/// Why an answer ends where the connection's limit does.
const ALL_SENT: &str = "all records that the connection allows were sent";

/// The body of an answer. Dropped before its end, it is a pull that the receiver gave up.
pub(super) struct RecordsBody {
    pass: Pass,
    /// `None` once all was read.
    pull: Option<Pull>,
    exporter: Exporter,
    /// The table's own name, and that by which it was asked for.
    table: String,
    asked: String,
    mark_cut: bool,
    sent: u64,
    rows: Rows,
    /// What is ready to be read, from this place on.
    ready: Vec<u8>,
    place: usize,
    page_bytes: usize,
    page_rows: u64,
    /// Records that the answer still may have.
    left: u64,
}

impl RecordsBody {
    /// Reads the first page, so that what is wrong with a table is known before the answer begins.
    pub(super) fn begin(pass: Pass, pull: Pull, exporter: Exporter, table: String, asked: &PullData) -> Answer<Self> {
        let limits: &Limits = pass.site().limits();
        let (page_bytes, page_rows) = (limits.page_bytes, limits.page_rows as u64);
        let mut body = RecordsBody {
            pass,
            left: pull.per_answer(),
            pull: Some(pull),
            exporter,
            table,
            asked: asked.table_name.clone(),
            mark_cut: asked.mark_cut,
            sent: 0,
            rows: Rows::default(),
            ready: head(PagesHead::Data { table: "", mark_cut: false }).as_bytes().to_vec(),
            place: 0,
            page_bytes,
            page_rows,
        };
        body.page()?;
        Ok(body)
    }

    /// A small answer is in memory already.
    pub(super) fn into_body(self) -> Body {
        match self.pull {
            None => Body::from(self.ready),
            Some(_) => Body::stream(self),
        }
    }

    /// Makes the next page ready.
    fn page(&mut self) -> Answer<()> {
        let Some(mut pull) = self.pull.take() else { return Ok(()) };
        let wanted = self.left.min(self.page_rows);
        if self.sent > 0 {
            let looked = self.pass.look(Some(&pull));
            match looked.and_then(|looked| self.pass.go_on(&mut pull, &looked, wanted)) {
                Ok(()) => {}
                // What was allowed has been sent: the answer ends there, as it does at its own limit.
                Err(Refused::Denied(denial)) if denial.kind == ErrorKind::RecordLimit => {
                    return self.end(pull, Some(ALL_SENT));
                }
                Err(refused) => return Err(given_up(pull, refused)),
            }
        }
        let most = pull.most(wanted);
        // The limit only says where the next page goes on; what it is makes no difference.
        let page = self.exporter.records_at_most(&self.table, self.sent, u64::MAX, most, &mut self.rows);
        let page = match page {
            Ok(page) => page,
            Err(error) => return Err(given_up(pull, error.into())),
        };
        let all = self.rows.len();
        let start = self.ready.len();
        if self.sent > 0 && all > 0 {
            self.ready.push(b',');
        }
        let before = self.ready.len();
        // The head that may be before the records counts for a few bytes of the page.
        let cut = Cut { page_bytes: self.page_bytes, record_bytes: usize::MAX };
        let whole = encode_records(&mut self.ready, &page.table, &self.rows, 0..all, Dialect::ReferenceHttp, cut);
        let written = match self.pass.take_page(&mut pull, whole as u64) {
            Ok(taken) => usize::try_from(taken).map_or(whole, |taken| taken.min(whole)),
            // Somebody else took the last of them.
            Err(Refused::Denied(denial)) if denial.kind == ErrorKind::RecordLimit && self.sent > 0 => {
                self.ready.truncate(start);
                return self.end(pull, Some(ALL_SENT));
            }
            Err(refused) => return Err(given_up(pull, refused)),
        };
        if written < whole {
            self.ready.truncate(before);
            encode_records(&mut self.ready, &page.table, &self.rows, 0..written, Dialect::ReferenceHttp, cut);
        }
        if written < all {
            self.exporter.sent_only(written as u64);
        }
        pull.sent(written as u64, (self.ready.len() - before) as u64);
        self.sent += written as u64;
        self.left = self.left.saturating_sub(written as u64);
        match (page.more || written < all, self.left) {
            (false, _) => self.end(pull, None),
            (true, 0) => self.end(pull, Some("the answer was cut at the most records that one may have")),
            (true, _) => {
                self.pull = Some(pull);
                Ok(())
            }
        }
    }

    /// Ends the answer; it was cut if there is a reason for that.
    fn end(&mut self, pull: Pull, cut: Option<&str>) -> Answer<()> {
        let call = PagesHead::Data { table: &self.asked, mark_cut: self.mark_cut };
        self.ready.extend_from_slice(tail(call, cut.is_some()).as_bytes());
        match cut {
            None => pull.complete()?,
            Some(why) => pull.fail(why)?,
        }
        // Nothing is read any more: the snapshot need not wait for the peer.
        self.exporter.idle();
        Ok(())
    }
}

/// Ends a pull that may not or cannot go on.
pub(super) fn given_up(pull: Pull, why: Refused) -> Refused {
    let kept = match &why {
        Refused::Denied(denial) => pull.fail(&denial.socket_text()),
        Refused::Failed(error) => pull.fail(error.code()),
    };
    if let Err(error) = kept {
        log::warn!("the end of a pull cannot be kept: {error}");
    }
    why
}

impl Read for RecordsBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A slow peer holds no snapshot for longer than another one would.
        self.exporter.let_go_if_spent();
        while self.place == self.ready.len() && self.pull.is_some() {
            self.ready.clear();
            self.place = 0;
            self.page().map_err(|refused| {
                let error = match refused {
                    Refused::Denied(denial) => denial.to_error(),
                    Refused::Failed(error) => error,
                };
                log::warn!("an answer with records of {:?} ends early: {error}", self.table);
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
