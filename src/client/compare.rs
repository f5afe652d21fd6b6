//! Comparing a table with the other site's: that one scans its own, and answers with a sum, sketches, and the rows that are asked for by
//! their hashes.

use std::num::NonZeroU32;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use tungstenite::Bytes;

use super::channel::{Channel, Trouble};
use super::connection::{Client, Line};
use super::pages::{number, page_memory, strange};
use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::sketch::{CELL_BYTES, Sketch};
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::wire::message::{FEATURE_COMPARE, refused};
use crate::wire::native::{Answer, Compare, Refusal, Request, SketchOf, Summary, WANTED_ROWS, Want, request_of};
use crate::wire::records::PageLimits;

/// After which time without a byte it is looked whether the comparison is to end.
const QUIET: Duration = Duration::from_millis(100);

/// Bytes of pages that the sender may have on their way.
const WINDOW: usize = 4 << 20;

/// How often the sender may say how far its scan is: so often, and once for this many rows.
const SIGNS: u64 = 1_000;
const ROWS_A_SIGN: u64 = 64;

/// A table that the other site compares. Until it is dropped nothing else can be asked through this client: its line is kept.
pub(crate) struct Comparing<'c> {
    client: &'c Client,
    line: MutexGuard<'c, Line>,
    request: u32,
    name: String,
    /// How many columns are compared, and which of them are the key.
    columns: usize,
    key: Vec<usize>,
    /// Bytes of what was given up before that still came.
    strays: usize,
    /// When a heartbeat was last thought of.
    looked: Instant,
    /// Whether the sender has ended it.
    is_over: bool,
}

impl Client {
    /// Whether the other site can compare.
    pub(crate) fn can_compare(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.features.iter().any(|feature| feature == FEATURE_COMPARE))
    }

    /// Asks the other site to compare these columns of a table, whose rows are hashed with this seed; `key` are the positions of the key
    /// among them. Rows that come have these columns, in their order.
    pub(crate) fn compare(
        &self,
        table: &str,
        (columns, key): (&[String], &[usize]),
        seed: u64,
        patience: &Patience,
    ) -> Result<Comparing<'_>> {
        let line = self.free_line("a comparison", patience)?;
        let mut comparing = Comparing {
            client: self,
            line,
            request: 0,
            name: table.to_owned(),
            columns: columns.len(),
            key: key.to_vec(),
            strays: 0,
            looked: Instant::now(),
            // Until it is asked for.
            is_over: true,
        };
        let (table, columns) = (table.to_owned(), columns.to_vec());
        comparing.request = comparing.talk(patience, |channel, budget, late| {
            let request = channel.new_request();
            let message = Request::Compare(Compare { request, seed, table, columns }).encode().map_err(Trouble::Failed)?;
            channel.send_binary(message, budget, late).map(|()| request)
        })?;
        comparing.is_over = false;
        Ok(comparing)
    }
}

impl Comparing<'_> {
    /// Waits until the sender has read its table. `progress` is told how many rows it has read.
    pub(crate) fn summary(&mut self, patience: &Patience, progress: &mut dyn FnMut(u64)) -> Result<Summary> {
        let (mut rows, mut signs) = (0, 0u64);
        loop {
            match self.next(patience)? {
                Said::Summary(summary) => {
                    progress(summary.sum.rows);
                    return Ok(summary);
                }
                Said::Scanned(more) if more >= rows && signs < SIGNS.saturating_add(more / ROWS_A_SIGN) => {
                    (rows, signs) = (more, signs + 1);
                    progress(rows);
                }
                _ => return Err(self.strange("sent something else than the sum")),
            }
        }
    }

    /// Asks for a sketch of so many cells, once the summary is there.
    pub(crate) fn sketch(&mut self, cells: u32, patience: &Patience) -> Result<Sketch> {
        let mut sketch = Sketch::new(cells);
        let asked = NonZeroU32::new(sketch.len()).unwrap_or(NonZeroU32::MIN);
        self.send(Request::Sketch(SketchOf { request: self.request, cells: asked }), patience)?;
        let mut came = 0;
        while came < sketch.len() {
            match self.next(patience)? {
                Said::Cells(first, cells) if first == came && sketch.decode(first, &cells) => {
                    came += u32::try_from(cells.len() / CELL_BYTES).unwrap_or(u32::MAX);
                }
                _ => return Err(self.strange("sent something else than the sketch")),
            }
        }
        Ok(sketch)
    }

    /// Asks for the rows with these hashes, in ascending order, and gives them to `take`, page by page, with those that were too large to be
    /// sent. They come in any order.
    pub(crate) fn rows(
        &mut self,
        hashes: &[u64],
        patience: &Patience,
        take: &mut dyn FnMut(&Rows, Vec<Failure>) -> Result<()>,
    ) -> Result<()> {
        hashes.chunks(WANTED_ROWS).try_for_each(|hashes| self.some_rows(hashes, patience, take))
    }

    fn some_rows(
        &mut self,
        hashes: &[u64],
        patience: &Patience,
        take: &mut dyn FnMut(&Rows, Vec<Failure>) -> Result<()>,
    ) -> Result<()> {
        let limits = &self.client.options.limits;
        let (page_bytes, page_rows) = (number(limits.pull.stream_page_bytes), number(limits.wire.page_rows));
        let compress = match &*self.line {
            Line::Open(channel) => !channel.is_local(),
            Line::Gone(_) => false,
        };
        let want =
            Want { request: self.request, page_bytes, page_rows, window: number(WINDOW), compress, hashes: hashes.to_vec() };
        self.send(Request::Want(want), patience)?;
        let bounds = PageLimits { records: page_rows.get().into(), bytes: page_memory(&self.client.options.limits) };
        let (mut rows, mut pages, mut came, mut owed) = (Rows::new(self.columns), 0u32, 0u64, 0u64);
        loop {
            let message = self.next_message(patience)?;
            match Answer::decode(&message)? {
                Answer::Page(page) => {
                    came = came.saturating_add(page.rows.into());
                    if page.head.sequence != pages || page.rows == 0 || came > hashes.len() as u64 {
                        return Err(self.strange("sent pages out of order, or more rows than were asked for,"));
                    }
                    pages = pages.wrapping_add(1);
                    rows.clear(self.columns);
                    let failures = page.read(self.columns, &self.key, bounds, &mut rows)?;
                    take(&rows, failures)?;
                    owed = owed.saturating_add(page.cost());
                    // Without a message for each page.
                    let due = u32::try_from(owed).unwrap_or(u32::MAX);
                    if let Some(bytes) = NonZeroU32::new(due).filter(|_| owed >= WINDOW as u64 / 4) {
                        owed -= u64::from(due);
                        self.send(Request::Credit { request: self.request, bytes }, patience)?;
                    }
                }
                Answer::End(end) if end.rows == came => return Ok(()),
                Answer::End(_) => return Err(self.strange("sent a different number of rows than it says")),
                Answer::Error(refusal) => return Err(self.refused(&refusal)),
                _ => return Err(self.strange("sent something else than rows")),
            }
        }
    }

    /// Sends a heartbeat if one is due, while nothing is waited for. An error if all of it is to end.
    pub(crate) fn wait(&mut self, patience: &Patience) -> Result<()> {
        patience.check("comparing rows")?;
        if self.looked.elapsed() < QUIET {
            return Ok(());
        }
        self.looked = Instant::now();
        self.talk(patience, |channel, budget, late| {
            budget.slice(late).map_err(Trouble::Failed)?;
            channel.keep_open()
        })
    }

    /// The next answer but rows.
    fn next(&mut self, patience: &Patience) -> Result<Said> {
        let message = self.next_message(patience)?;
        match Answer::decode(&message)? {
            Answer::Scanned(scanned) => Ok(Said::Scanned(scanned.rows)),
            Answer::Summary(summary) => Ok(Said::Summary(summary)),
            Answer::Cells(cells) => Ok(Said::Cells(cells.first, cells.cells.to_vec())),
            Answer::Error(refusal) => Err(self.refused(&refusal)),
            Answer::Page(_) | Answer::End(_) => Err(self.strange("sent rows nobody asked for,")),
        }
    }

    /// Waits for the next message of this comparison. Those of what was given up before are dropped as long as they may have been on their
    /// way then.
    fn next_message(&mut self, patience: &Patience) -> Result<Bytes> {
        let limits = &self.client.options.limits;
        let most = limits.pull.stream_window_bytes.saturating_add(limits.wire.message_bytes);
        let (request, mut strays) = (self.request, self.strays);
        let mut waiting: Option<Budget> = None;
        let message = loop {
            let next = self.talk(patience, |channel, budget, late| {
                let budget = waiting.get_or_insert_with(|| budget.clone());
                let Some(message) = channel.next_binary(budget, QUIET, late)? else { return Ok(None) };
                if request_of(&message) != Some(request) {
                    strays = strays.saturating_add(message.len());
                    if strays > most {
                        let why = "the other site still answers cancelled requests instead of comparing";
                        return Err(Trouble::Lost(Error::new(ErrorKind::Protocol, why)));
                    }
                    budget.renew();
                    return Ok(None);
                }
                Ok(Some(message))
            })?;
            if let Some(message) = next {
                break message;
            }
        };
        self.strays = strays;
        Ok(message)
    }

    fn send(&mut self, request: Request, patience: &Patience) -> Result<()> {
        let message = request.encode()?;
        self.talk(patience, |channel, budget, late| channel.send_binary(message, budget, late))
    }

    fn talk<T>(
        &mut self,
        patience: &Patience,
        work: impl FnOnce(&mut Channel, &Budget, &dyn Fn() -> String) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let name = &self.name;
        self.client.on_line(&mut self.line, &format!("the comparison of {name:?}"), patience, |channel, budget| {
            work(channel, budget, &|| format!("the other site did not compare {name:?}"))
        })
    }

    fn refused(&mut self, refusal: &Refusal) -> Error {
        self.is_over = true;
        let text = match &*self.line {
            Line::Open(channel) => channel.cleaned(&refusal.text),
            Line::Gone(_) => refusal.text.clone(),
        };
        let asked = format!("the comparison of {:?}", self.name);
        refused(&asked, Some(&refusal.code), &text, refusal.transfer, refusal.retry_after).by_peer()
    }

    fn strange(&self, what: &str) -> Error {
        strange(what, &self.name)
    }
}

/// What the sender says but rows.
enum Said {
    Scanned(u64),
    Summary(Summary),
    Cells(u32, Vec<u8>),
}

impl Drop for Comparing<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // What it keeps of the scan is not needed any more.
        if let Err(error) = self.send(Request::Done { request: self.request }, &Patience::unbounded()) {
            log::debug!(target: "rowferry::client", "the other site cannot be told that a comparison is over: {error}");
        }
    }
}
