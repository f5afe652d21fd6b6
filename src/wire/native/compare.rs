//! The messages by which two sites find the rows of a table that they do not share. Whoever compares sends the requests, and both
//! ends scan the table meanwhile.

use std::num::NonZeroU32;

use super::frame::{self, Fault, Kind, Reader};
use super::message::at_least_one;
use crate::domain::row_sum::{RowSum, SUM_BYTES};
use crate::domain::sketch::{CELL_BYTES, FIRST_CELLS, MOST_CELLS, Sketch};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::NAME_BYTES;

/// Most columns of a table that is compared.
pub const COMPARED_COLUMNS: usize = 2_000;
/// Most hashes of a [`Want`].
pub const WANTED_ROWS: usize = 65_536;
/// Most cells of a message of [`Cells`].
pub const SENT_CELLS: u32 = 16_384;

const COMPRESS: u8 = 1;

/// Asks for the sum and a sketch of a table's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    /// The number of the request, which the asker chooses and everything about it repeats.
    pub request: u32,
    /// What rows are hashed with: a random number for each request, so that nobody can choose rows by their hashes.
    pub seed: u64,
    /// The name of the table; at most 1,024 bytes.
    pub table: String,
    /// The columns that are compared, in the order in which their values are hashed; from 1 to [`COMPARED_COLUMNS`].
    pub columns: Vec<String>,
}

/// Asks for a sketch of another size, once the [`Summary`] is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SketchOf {
    /// The number of the request.
    pub request: u32,
    /// How many cells it is to have: at most [`MOST_CELLS`]. The sender makes it a multiple of 4.
    pub cells: NonZeroU32,
}

/// Asks for rows by their hashes, once the [`Summary`] is there. They come as pages, and an end.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// The number of the request.
    pub request: u32,
    /// At about how many bytes of rows a page is cut.
    pub page_bytes: NonZeroU32,
    /// Most rows of a page.
    pub page_rows: NonZeroU32,
    /// Bytes of pages that may be sent before the first credit.
    pub window: NonZeroU32,
    /// Whether pages may come compressed.
    pub compress: bool,
    /// The hashes, in ascending order, none twice; from 1 to [`WANTED_ROWS`].
    pub hashes: Vec<u64>,
}

/// How far a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// The number of the request.
    pub request: u32,
    /// How many rows were read so far.
    pub rows: u64,
}

/// What came of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The number of the request.
    pub request: u32,
    /// The number of the state of the sender's database that was scanned.
    pub state: u64,
    /// How many rows there are, and the sum of their hashes.
    pub(crate) sum: RowSum,
    /// A sketch of [`FIRST_CELLS`] cells of the lower 64 bits of the hashes.
    pub(crate) first: Sketch,
}

/// A piece of a sketch.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells<'f> {
    /// The number of the request.
    pub request: u32,
    /// Where in the sketch the first of them is.
    pub first: u32,
    /// The cells, from 1 to [`SENT_CELLS`]: see [`Sketch::decode`].
    pub cells: &'f [u8],
}

impl Compare {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let invalid = |what| Error::new(ErrorKind::InvalidInput, format!("{what}, so that the table cannot be compared"));
        if self.table.len() > NAME_BYTES || self.columns.iter().any(|name| name.len() > NAME_BYTES) {
            return Err(invalid("a name of a table or column is too long"));
        }
        let count = u16::try_from(self.columns.len()).ok().filter(|n| (1..=COMPARED_COLUMNS).contains(&usize::from(*n)));
        let count = count.ok_or_else(|| invalid("it has no columns, or too many"))?;
        let mut out = frame::begin(Kind::Compare, self.request);
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.push(0);
        frame::put_text(&mut out, &self.table);
        out.extend_from_slice(&count.to_le_bytes());
        self.columns.iter().for_each(|name| frame::put_text(&mut out, name));
        Ok(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (seed, _) = (reader.u64()?, reader.flags(0)?);
        let table = reader.text(NAME_BYTES)?.to_owned();
        let count = usize::from(reader.u16()?);
        if !(1..=COMPARED_COLUMNS).contains(&count) {
            return Err(Fault::Protocol("it compares no columns, or too many"));
        }
        let columns = (0..count).map(|_| reader.text(NAME_BYTES).map(str::to_owned)).collect::<Result<_, _>>()?;
        Ok(Compare { request, seed, table, columns })
    }
}

impl SketchOf {
    pub(super) fn encode(self) -> Result<Vec<u8>> {
        if self.cells.get() > MOST_CELLS {
            return Err(Error::new(ErrorKind::InvalidInput, "a sketch has fewer cells"));
        }
        let mut out = frame::begin(Kind::Sketch, self.request);
        out.extend_from_slice(&self.cells.get().to_le_bytes());
        Ok(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let cells = at_least_one(reader)?;
        if cells.get() > MOST_CELLS {
            return Err(Fault::TooLarge("it asks for a sketch of too many cells"));
        }
        Ok(SketchOf { request, cells })
    }
}

impl Want {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        if !(1..=WANTED_ROWS).contains(&self.hashes.len()) || !self.hashes.is_sorted_by(|one, next| one < next) {
            return Err(Error::new(ErrorKind::InvalidInput, "rows are wanted by 1 to 65,536 hashes in ascending order"));
        }
        let mut out = frame::begin(Kind::Want, self.request);
        for number in [self.page_bytes, self.page_rows, self.window] {
            out.extend_from_slice(&number.get().to_le_bytes());
        }
        out.push(frame::flag(COMPRESS, self.compress));
        // What is wanted of them: whole rows.
        out.push(0);
        out.extend(self.hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        Ok(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (page_bytes, page_rows, window) = (at_least_one(reader)?, at_least_one(reader)?, at_least_one(reader)?);
        let (compress, what) = (reader.flags(COMPRESS)? & COMPRESS != 0, reader.u8()?);
        if what != 0 {
            return Err(Fault::Protocol("it wants something else of rows than rows"));
        }
        let (hashes, rest) = reader.take_rest().as_chunks();
        if hashes.len() > WANTED_ROWS {
            return Err(Fault::TooLarge("it wants too many rows at once"));
        }
        let hashes: Vec<u64> = hashes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        if hashes.is_empty() || !rest.is_empty() || !hashes.is_sorted_by(|one, next| one < next) {
            return Err(Fault::Protocol("the hashes in it are not in their order"));
        }
        Ok(Want { request, page_bytes, page_rows, window, compress, hashes })
    }
}

impl Scanned {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(Kind::Scanned, self.request);
        out.extend_from_slice(&self.rows.to_le_bytes());
        frame::seal(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Scanned { request, rows: reader.u64()? })
    }
}

impl Summary {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(Kind::Summary, self.request);
        out.extend_from_slice(&self.state.to_le_bytes());
        out.extend_from_slice(&self.sum.to_bytes());
        self.first.encode(0, FIRST_CELLS, &mut out);
        frame::seal(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (state, sum) = (reader.u64()?, RowSum::from_bytes(reader.array::<SUM_BYTES>()?));
        let mut first = Sketch::new(FIRST_CELLS);
        if !first.decode(0, reader.bytes(FIRST_CELLS as usize * CELL_BYTES)?) {
            return Err(frame::CUT_SHORT);
        }
        Ok(Summary { request, state, sum, first })
    }
}

impl<'f> Cells<'f> {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(Kind::Cells, self.request);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(self.cells);
        frame::seal(out)
    }

    pub(super) fn decode(request: u32, reader: &mut Reader<'f>) -> Result<Self, Fault> {
        let (first, cells) = (reader.u32()?, reader.take_rest());
        let (whole, rest) = cells.as_chunks::<CELL_BYTES>();
        if whole.is_empty() || !rest.is_empty() {
            return Err(Fault::Protocol("its cells are not whole"));
        }
        if whole.len() > SENT_CELLS as usize {
            return Err(Fault::TooLarge("it has too many cells"));
        }
        Ok(Cells { request, first, cells })
    }
}
