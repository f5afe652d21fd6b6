//! Fetches the pages of one table and gives them on in batches.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::sync::Source;

/// Rows that are written in one transaction.
pub(super) struct Batch {
    pub(super) rows: Rows,
    pub(super) failures: Vec<Failure>,
    /// Records of this table received so far.
    pub(super) received: u64,
    /// Bytes of this table received so far.
    pub(super) bytes: u64,
}

/// What there is to say when all pages are there.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) received: u64,
    pub(super) pages: u64,
    /// The numbers of the sender's snapshots that the pages came from; 0 stands for a page without one.
    pub(super) states: Vec<u64>,
}

pub(super) struct Fetch<'f> {
    pub(super) source: &'f dyn Source,
    pub(super) table: &'f TableSchema,
    pub(super) limits: &'f Limits,
    pub(super) page_records: u32,
    pub(super) cancel: &'f CancelToken,
    /// When the whole pull must be done, and how long that was.
    pub(super) deadline: Option<(Instant, Duration)>,
}

impl Fetch<'_> {
    /// Fetches all pages. It waits for the other end of `batches` to take each batch, so that at most one is filled while
    /// another is written; it ends when that end is gone. `spent` gives rows to fill again.
    pub(super) fn run(&self, batches: &SyncSender<Batch>, spent: &Receiver<Rows>) -> Result<Fetched> {
        let mut fetched = Fetched::default();
        let (mut offset, mut bytes) = (0, 0);
        let mut rows = Rows::new(self.table.columns.len());
        let mut failures = Vec::new();
        let mut since = Instant::now();
        loop {
            self.check_time()?;
            let page = self.source.page(self.table, offset, self.page_records, &mut rows, self.cancel)?;
            let strange = |what: &str| Error::new(ErrorKind::Protocol, format!("{what} of {:?}", self.table.name));
            if page.received > u64::from(self.page_records) {
                return Err(strange("the other site sent more records than were asked for"));
            }
            if page.received == 0 && page.has_more {
                return Err(strange("the other site sent an empty page and says that there is more"));
            }
            offset += page.received;
            bytes += page.bytes;
            fetched.received += page.received;
            fetched.pages += 1;
            let state = page.state.unwrap_or(0);
            if !fetched.states.contains(&state) {
                fetched.states.push(state);
            }
            failures.extend(page.failures);
            let full = rows.len() >= self.limits.commit_rows
                || rows.size_bytes() >= self.limits.batch_bytes
                || since.elapsed() >= self.limits.commit_time;
            if full || !page.has_more {
                let mut next = spent.try_recv().unwrap_or_default();
                next.clear(self.table.columns.len());
                let batch = Batch {
                    rows: std::mem::replace(&mut rows, next),
                    failures: std::mem::take(&mut failures),
                    received: fetched.received,
                    bytes,
                };
                if batches.send(batch).is_err() {
                    return Ok(fetched);
                }
                since = Instant::now();
            }
            if !page.has_more {
                return Ok(fetched);
            }
        }
    }

    fn check_time(&self) -> Result<()> {
        self.cancel.check("fetching pages")?;
        match self.deadline {
            Some((at, allowed)) if Instant::now() >= at => {
                let message = format!("the pull did not finish within {} s", allowed.as_secs_f64());
                Err(Error::new(ErrorKind::Timeout, message).with_hint("What was written stays; pull again to go on."))
            }
            _ => Ok(()),
        }
    }
}
