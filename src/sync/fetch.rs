//! Fetches the pages of one table and gives them on in batches.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use uuid::Uuid;

use super::wait::{Allowance, Poll};
use crate::cancel::Patience;
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

/// What comes from the thread that fetches.
pub(super) enum Arrival {
    Batch(Batch),
    /// The other site said to wait, so that nothing will come for a while.
    Waiting,
    /// Someone there has to approve the table first, by this transfer of theirs.
    AwaitingApproval(Option<Uuid>),
}

/// What there is to say when all pages are there.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) received: u64,
    pub(super) pages: u64,
    /// The numbers of the sender's snapshots that the pages came from, see [`note_state`]; 0 stands for a page without one.
    pub(super) states: Vec<u64>,
}

pub(super) struct Fetch<'f> {
    pub(super) source: &'f dyn Source,
    pub(super) table: &'f TableSchema,
    pub(super) limits: &'f Limits,
    pub(super) page_records: u32,
    /// How many rows the sender says there are.
    pub(super) announced: u64,
    pub(super) patience: &'f Patience,
    /// The time to wait for this table, where the other site counts calls.
    pub(super) allowance: &'f mut Allowance,
    /// Until when to wait for the other side's approval, by asking for the first page again.
    pub(super) approval_until: Option<Instant>,
}

impl Fetch<'_> {
    /// Fetches all pages. It waits for the other end of `arrivals` to take each batch, so that at most one is filled while
    /// another is written; it ends when that end is gone. `spent` gives rows to fill again.
    pub(super) fn run(&mut self, arrivals: &SyncSender<Arrival>, spent: &Receiver<Rows>) -> Result<Fetched> {
        let mut fetched = Fetched::default();
        let (mut offset, mut bytes) = (0, 0);
        let mut most = believable(self.announced);
        let mut rows = Rows::new(self.table.columns.len());
        let mut failures = Vec::new();
        let mut since = Instant::now();
        let allowance = &mut *self.allowance;
        let mut poll = Poll::new(self.limits.approval_poll_time);
        let waiting = || arrivals.send(Arrival::Waiting).map_err(|_| gone());
        loop {
            self.patience.check("fetching pages")?;
            let before = rows.len();
            let ask = || self.source.page(self.table, offset, self.page_records, &mut rows, self.patience);
            let page = match allowance.ask(self.patience, ask, waiting) {
                Ok(page) => page,
                Err(error)
                    if offset == 0 && error.kind() == ErrorKind::ApprovalRequired && poll.is_before(self.approval_until) =>
                {
                    rows.truncate(before);
                    arrivals.send(Arrival::AwaitingApproval(error.transfer())).map_err(|_| gone())?;
                    poll.pause(self.patience, self.approval_until)?;
                    continue;
                }
                Err(error) => {
                    rows.truncate(before);
                    // What came before is sound, and the sender may have counted it.
                    if !(rows.is_empty() && failures.is_empty()) && self.patience.check("fetching pages").is_ok() {
                        let batch = Batch { rows, failures, received: fetched.received, bytes };
                        // That nobody takes it any more changes nothing.
                        let _ = arrivals.send(Arrival::Batch(batch));
                    }
                    return Err(error);
                }
            };
            let strange = |what: &str| Error::new(ErrorKind::Protocol, format!("{what} of {:?}", self.table.name));
            if page.received == 0 && page.has_more {
                return Err(strange("the other site sent an empty page and says that there is more"));
            }
            offset += page.received;
            bytes += page.bytes;
            fetched.received += page.received;
            fetched.pages += 1;
            note_state(&mut fetched.states, page.state.unwrap_or(0));
            failures.extend(page.failures);
            if page.has_more && fetched.received > most {
                // The table may have grown since.
                most = believable(allowance.ask(
                    self.patience,
                    || self.source.count(&self.table.name, self.patience),
                    waiting,
                )?);
                if fetched.received > most {
                    return Err(strange("the other site sends far more records than it says there are"));
                }
            }
            let full = rows.len() + failures.len() >= self.limits.commit_rows
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
                if arrivals.send(Arrival::Batch(batch)).is_err() {
                    return Ok(fetched);
                }
                since = Instant::now();
            }
            if !page.has_more {
                return Ok(fetched);
            }
        }
    }
}

/// Nobody takes what is fetched: whoever took it knows why.
fn gone() -> Error {
    Error::new(ErrorKind::Cancelled, "the rows are no longer wanted")
}

/// How many records are taken of a table of so many rows, which may be an estimate, before the sender is asked again: one that
/// never comes to an end must not be followed for ever.
fn believable(rows: u64) -> u64 {
    rows.saturating_mul(2).saturating_add(10_000)
}

/// Notes the number of a state. Whether there were none, one or several is all that matters: two are kept.
pub(super) fn note_state(states: &mut Vec<u64>, state: u64) {
    if states.len() < 2 && !states.contains(&state) {
        states.push(state);
    }
}
