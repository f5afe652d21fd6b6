//! Tables that a rowferry peer compares with its own: scans in steps, so that the peer sees that they go on and can end them, then sketches
//! and rows as it asks for them. One table at a time.

use std::mem;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::channel::ChannelSession;
use super::refusals::{failed, refusal, told};
use super::sending::MOST_CREDIT;
use crate::domain::sketch::Sketch;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Compared, Search, Sketching};
use crate::wire::native::{
    Cells, Compare, End, PageEncoder, PageHead, Request, SENT_CELLS, Scanned, SketchOf, Summary, Want,
};
use crate::wire::records::Cut;

const FAILED: &str = "Failed to compare records";

/// After how many rows, or how long, the peer is told how far a scan is.
const STEP_ROWS: u64 = 65_536;
const STEP_TIME: Duration = Duration::from_secs(1);

/// How many sketches of a table a peer gets: each is made of all rows, and the second or third one is enough.
const SKETCHES: u32 = 8;

/// A table that is compared.
pub(super) struct Comparing {
    request: u32,
    table: String,
    compared: Compared,
    sketches: u32,
    doing: Doing,
}

enum Doing {
    /// The peer is to say what is next.
    Nothing,
    /// The first scan.
    Scan,
    Sketch(Sketching),
    /// Sends a sketch from this cell on.
    Cells(Sketch, u32),
    Rows(Box<Wanting>),
}

/// Rows on their way to the peer.
struct Wanting {
    search: Search,
    encoder: PageEncoder,
    key: Vec<usize>,
    cut: Cut,
    page_rows: usize,
    credit: i64,
    pages: u32,
    rows: u64,
    /// What was found for the next page.
    found: Rows,
    /// Whether it was more than the peer may have.
    is_cut: bool,
}

impl ChannelSession {
    /// Takes a request that compares, and ends the comparison if that cannot be.
    pub(super) fn compares(&mut self, request: Request) {
        let (number, answered) = match request {
            Request::Compare(compare) => {
                self.comparing = None;
                (
                    compare.request,
                    self.begin_to_compare(&compare).map(|comparing| self.comparing = Some(Box::new(comparing))),
                )
            }
            Request::Sketch(sketch) => (sketch.request, self.wants_sketch(sketch)),
            Request::Want(want) => (want.request, self.wants_rows(want)),
            _ => return,
        };
        if let Err(error) = answered {
            self.end_comparing(number);
            self.refusal = Some(refusal(number, &error));
        }
    }

    /// Ends the comparison of this number. Gives whether it is there.
    pub(super) fn end_comparing(&mut self, request: u32) -> bool {
        self.comparing.take_if(|comparing| comparing.request == request).is_some()
    }

    /// Allows so many bytes more of the rows that the peer wants. Gives whether the request is the comparison.
    pub(super) fn credits_comparing(&mut self, request: u32, bytes: u32) -> bool {
        let Some(comparing) = self.comparing.as_mut().filter(|comparing| comparing.request == request) else { return false };
        if let Doing::Rows(wanting) = &mut comparing.doing {
            wanting.credit = wanting.credit.saturating_add(bytes.into()).min(MOST_CREDIT);
        }
        true
    }

    fn begin_to_compare(&mut self, compare: &Compare) -> Result<Comparing> {
        self.source.grant.look(None).map_err(|refused| told("Failed to read settings", refused))?;
        self.source.exporter.offer(self.source.grant.offer());
        self.visible(&compare.table)?;
        let table = self.source.exporter.schema(&compare.table).map_err(|error| failed(FAILED, &error))?;
        self.source.grant.compare(&table.name).map_err(|refused| told(FAILED, refused))?;
        let room = self.source.grant.room();
        let compared = self.source.exporter.compare(&table.name, &compare.columns, compare.seed, &room);
        let compared = compared.map_err(|error| explained(error, FAILED))?;
        let table = table.name.clone();
        Ok(Comparing { request: compare.request, table, compared, sketches: 0, doing: Doing::Scan })
    }

    /// The comparison that a request belongs to, which must have nothing else to do.
    fn compared(&mut self, request: u32) -> Result<&mut Comparing> {
        let unknown = || Error::new(ErrorKind::InvalidInput, "No table is compared, or not all of it is scanned yet");
        let comparing = self.comparing.as_deref_mut().filter(|comparing| comparing.request == request);
        comparing.filter(|comparing| matches!(comparing.doing, Doing::Nothing)).ok_or_else(unknown)
    }

    /// Where nothing is kept of a table, it is scanned again, which takes a call.
    fn pays_for_scan(&mut self, request: u32) -> Result<()> {
        match self.compared(request)?.compared.is_kept() {
            true => Ok(()),
            false => self.source.grant.call().map_err(|refused| told(FAILED, refused)),
        }
    }

    fn wants_sketch(&mut self, sketch: SketchOf) -> Result<()> {
        self.pays_for_scan(sketch.request)?;
        let comparing = self.compared(sketch.request)?;
        if comparing.sketches >= SKETCHES {
            return Err(Error::new(ErrorKind::Refused, "There are no further sketches of a table that is compared"));
        }
        comparing.sketches += 1;
        comparing.doing = Doing::Sketch(comparing.compared.sketch(sketch.cells.get()));
        Ok(())
    }

    fn wants_rows(&mut self, want: Want) -> Result<()> {
        self.pays_for_scan(want.request)?;
        let (cut, _) = self.cut(want.page_bytes);
        let comparing = self.compared(want.request)?;
        let width = comparing.compared.width();
        comparing.doing = Doing::Rows(Box::new(Wanting {
            key: comparing.compared.key().map_err(|error| failed(FAILED, &error))?,
            search: comparing.compared.search(want.hashes),
            encoder: PageEncoder::new(width, want.compress),
            cut,
            page_rows: usize::try_from(want.page_rows.get()).unwrap_or(usize::MAX),
            credit: i64::from(want.window.get()).min(MOST_CREDIT),
            pages: 0,
            rows: 0,
            found: Rows::new(width),
            is_cut: false,
        }));
        Ok(())
    }

    /// The next message of a comparison that is due.
    pub(super) fn next_compared(&mut self) -> Option<Vec<u8>> {
        let mut comparing = self.comparing.take()?;
        let request = comparing.request;
        match self.step(&mut comparing) {
            Ok(message) => {
                self.comparing = Some(comparing);
                message
            }
            Err(error) => Some(refusal(request, &error).encode()),
        }
    }

    fn step(&mut self, comparing: &mut Comparing) -> Result<Option<Vec<u8>>> {
        let Comparing { request, table, compared, doing, .. } = comparing;
        let request = *request;
        let waits = match doing {
            Doing::Nothing => true,
            Doing::Rows(wanting) => wanting.credit <= 0,
            Doing::Scan | Doing::Sketch(_) | Doing::Cells(..) => false,
        };
        if waits {
            return Ok(None);
        }
        self.source.grant.still_compares(table).map_err(|refused| told(FAILED, refused))?;
        self.source.exporter.offer(self.source.grant.offer());
        let (exporter, rows) = (&mut self.source.exporter, &mut self.source.rows);
        let since = Instant::now();
        let scanned = |rows| Some(Scanned { request, rows }.encode());
        match mem::replace(doing, Doing::Nothing) {
            Doing::Nothing => Ok(None),
            Doing::Scan => {
                let before = compared.sum().rows;
                while !compared.scan(exporter, rows).map_err(|error| explained(error, FAILED))? {
                    if compared.sum().rows - before >= STEP_ROWS || since.elapsed() >= STEP_TIME {
                        *doing = Doing::Scan;
                        return Ok(scanned(compared.sum().rows));
                    }
                }
                let (state, sum, first) = (compared.state(), compared.sum(), compared.first().clone());
                Ok(Some(Summary { request, state, sum, first }.encode()))
            }
            Doing::Sketch(mut sketching) => {
                let before = sketching.rows();
                while !sketching.step(compared, exporter, rows).map_err(|error| explained(error, FAILED))? {
                    if sketching.rows() - before >= STEP_ROWS || since.elapsed() >= STEP_TIME {
                        let read = sketching.rows();
                        *doing = Doing::Sketch(sketching);
                        return Ok(scanned(read));
                    }
                }
                Ok(Some(next_cells(request, sketching.into_sketch(), 0, doing)))
            }
            Doing::Cells(sketch, from) => Ok(Some(next_cells(request, sketch, from, doing))),
            Doing::Rows(mut wanting) => {
                if wanting.is_cut {
                    return Err(Error::new(ErrorKind::RecordLimit, "The connection may have no more records"));
                }
                let before = wanting.search.rows();
                wanting.found.clear(compared.width());
                let allowed = usize::try_from(self.source.grant.compared_at_once()).unwrap_or(usize::MAX);
                let most = wanting.page_rows.min(self.source.grant.site().limits().wire.page_rows).min(allowed).max(1);
                let bounds = (most, wanting.cut.page_bytes);
                while !wanting.search.is_over()
                    && wanting.found.len() <= most / 2
                    && wanting.found.size_bytes() <= bounds.1 / 2
                {
                    let found = wanting.search.step(compared, exporter, bounds, rows, &mut wanting.found);
                    found.map_err(|error| explained(error, FAILED))?;
                    if wanting.search.rows() - before >= STEP_ROWS || since.elapsed() >= STEP_TIME {
                        break;
                    }
                }
                let message = match wanting.found.len() {
                    0 if wanting.search.is_over() => {
                        let state = NonZeroU64::new(compared.state());
                        return Ok(Some(End { request, rows: wanting.rows, state }.encode()));
                    }
                    0 => scanned(wanting.search.rows()),
                    _ => Some(self.page_of(compared.state(), (request, table), &mut wanting)?),
                };
                *doing = Doing::Rows(wanting);
                Ok(message)
            }
        }
    }

    /// A page of the rows that were found, as far as the peer may have them.
    fn page_of(&mut self, state: u64, (request, table): (u32, &str), wanting: &mut Wanting) -> Result<Vec<u8>> {
        let found = wanting.found.len();
        let taken = self.source.grant.compared_rows(table, found as u64).map_err(|refused| told(FAILED, refused))?;
        let taken = usize::try_from(taken).unwrap_or(usize::MAX).min(found);
        // The bound is on what was found, so that all of it fits.
        wanting.encoder.add(&wanting.found, 0..taken, &wanting.key, Cut { page_bytes: usize::MAX, ..wanting.cut });
        let cost = i64::try_from(wanting.encoder.cost()).unwrap_or(i64::MAX);
        wanting.credit = wanting.credit.saturating_sub(cost);
        wanting.rows = wanting.rows.saturating_add(taken as u64);
        wanting.is_cut = taken < found;
        let head = PageHead { request, sequence: wanting.pages, state, more: wanting.is_cut || !wanting.search.is_over() };
        wanting.pages = wanting.pages.wrapping_add(1);
        Ok(wanting.encoder.finish(head, None))
    }
}

/// A message of the cells of a sketch from this one on, and what is to be done then.
fn next_cells(request: u32, sketch: Sketch, first: u32, doing: &mut Doing) -> Vec<u8> {
    let mut cells = Vec::new();
    sketch.encode(first, SENT_CELLS, &mut cells);
    let next = first.saturating_add(SENT_CELLS);
    if next < sketch.len() {
        *doing = Doing::Cells(sketch, next);
    }
    Cells { request, first, cells: &cells }.encode()
}

/// What a peer is told of a failure; in words of our own where it says nothing but what the peer asked for.
fn explained(error: Error, doing: &str) -> Error {
    match error.kind() {
        ErrorKind::CursorExpired | ErrorKind::SchemaMismatch | ErrorKind::InvalidInput => error,
        _ => failed(doing, &error),
    }
}

#[cfg(all(test, feature = "sqlite"))]
#[path = "compare_tests.rs"]
mod tests;
