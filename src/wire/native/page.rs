//! Pages: rows to bytes and back, straight between a frame and [`Rows`].

use std::ops::Range;

use super::cell;
use super::frame::{self, Fault, HEAD, Kind, Reader};
use super::pack::{Packer, unpack};
use super::place::Place;
use crate::domain::canonical;
use crate::domain::record::{Failure, Reason};
use crate::domain::row_sum::{RowSum, Summing};
use crate::domain::value::{Cell, Rows, ValueRef};
use crate::error::Result;
use crate::wire::records::{Cut, PageLimits};

/// The bytes in front of the rows.
const ROWS_AT: usize = HEAD + 29;
/// No page, and no row, becomes larger than this, whatever bounds are given: lengths have 32 bits.
const MOST_BYTES: usize = 1 << 30;

/// Room for a place of usual length and the checksum.
const TAIL: usize = 256;
/// Memory that is taken for the next page before its first row is there, at most.
const KEPT_BYTES: usize = 4 << 20;

const COMPRESSED: u8 = 1;
const MORE: u8 = 2;

/// What a page says beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHead {
    /// The number of the request that it answers.
    pub request: u32,
    /// The number of the page within the answer, from 0 on.
    pub sequence: u32,
    /// Which state of the sender's database the rows are of: two pages of the same number are of one state.
    pub state: u64,
    /// Whether there are rows after it.
    pub more: bool,
}

/// Writes the pages of one table.
#[derive(Debug)]
pub struct PageEncoder {
    columns: usize,
    packer: Packer,
    /// The page in the making: room for the head, and the rows.
    frame: Vec<u8>,
    rows: u32,
    summing: Option<Summing>,
}

impl PageEncoder {
    /// For a table of so many columns. Pages are compressed where that pays, if it is wanted.
    pub fn new(columns: usize, compress: bool) -> Self {
        PageEncoder { columns, packer: Packer::new(compress), frame: vec![0; ROWS_AT], rows: 0, summing: None }
    }

    /// The same, which sums the rows that are added.
    #[must_use]
    pub fn summing(self, summing: Option<Summing>) -> Self {
        PageEncoder { summing, ..self }
    }

    /// The sum of the rows so far, those of the page in the making included; `None` if they are not summed.
    pub fn sum(&self) -> Option<RowSum> {
        self.summing.as_ref().map(Summing::sum)
    }

    /// Adds rows to the page until one has brought it to `cut.page_bytes` or beyond, and gives how many it added: at least one to
    /// an empty page. No row takes more bytes than it counts in [`Rows::size_bytes`]: rows that were read up to the same bound
    /// all fit.
    ///
    /// Of a row of more than `cut.record_bytes` only the columns in `key` are sent, and that it was too large. If these are too
    /// large as well, not even they are.
    ///
    /// # Panics
    /// If the rows are of another width than the table, or the range is beyond them.
    pub fn add(&mut self, rows: &Rows, range: Range<usize>, key: &[usize], cut: Cut) -> usize {
        assert_eq!(self.columns, rows.width(), "rows of another width");
        let (page_bytes, row_bytes) = (cut.page_bytes.min(MOST_BYTES), cut.record_bytes.min(MOST_BYTES));
        let first = range.start;
        for row in range.clone() {
            if self.rows > 0 && self.frame.len() - ROWS_AT >= page_bytes {
                return row - first;
            }
            let start = self.frame.len();
            if let Err(bytes) = put_row(&mut self.frame, rows.row(row), row_bytes) {
                put_left_out(&mut self.frame, rows, row, key, (row_bytes, bytes));
            }
            if let Some(summing) = &mut self.summing {
                summing.add(&self.frame[start..]);
            }
            self.rows += 1;
        }
        range.len()
    }

    /// What the page counts of what its receiver allows: see [`cost`].
    pub fn cost(&self) -> u64 {
        cost(self.frame.len() - ROWS_AT, self.rows, self.columns)
    }

    /// Ends the page, and begins the next one. A place of more than [`PLACE_BYTES`](super::PLACE_BYTES) is left out: the
    /// receiver cannot come back to it.
    pub fn finish(&mut self, head: PageHead, place: Option<&Place>) -> Vec<u8> {
        let raw = self.frame.len() - ROWS_AT;
        let rows = std::mem::take(&mut self.rows);
        let (mut out, packed) = match self.packer.pack(&self.frame[ROWS_AT..]) {
            Some(packed) => {
                let mut out = Vec::with_capacity(ROWS_AT + packed.len() + TAIL);
                out.resize(ROWS_AT, 0);
                out.extend_from_slice(packed);
                self.frame.truncate(ROWS_AT);
                (out, true)
            }
            None => {
                // Pages of a table are of about the same size; a single large row is no reason to keep so much memory.
                let mut fresh = Vec::with_capacity((self.frame.len() + raw / 8 + TAIL).min(KEPT_BYTES));
                fresh.resize(ROWS_AT, 0);
                (std::mem::replace(&mut self.frame, fresh), false)
            }
        };
        let stored = out.len() - ROWS_AT;
        let flags = frame::flag(COMPRESSED, packed) | frame::flag(MORE, head.more);

        let mut start = Vec::with_capacity(ROWS_AT);
        start.extend_from_slice(&frame::head(Kind::Page, head.request));
        start.extend_from_slice(&head.state.to_le_bytes());
        start.extend_from_slice(&head.sequence.to_le_bytes());
        // All below 2^32: see MOST_BYTES; a row with columns takes a byte at least.
        for number in [self.columns, rows as usize, raw, stored] {
            start.extend_from_slice(&(number as u32).to_le_bytes());
        }
        start.push(flags);
        out[..ROWS_AT].copy_from_slice(&start);
        if let Some(place) = place.and_then(Place::encode) {
            out.extend_from_slice(&place);
        }
        frame::seal(out)
    }
}

/// What so many bytes of rows take in memory, and so what a page counts of what its receiver allows: a value of one byte is a
/// [`Cell`] there.
fn cost(raw: usize, rows: u32, columns: usize) -> u64 {
    const CELL: u64 = 24;
    (raw as u64).saturating_add(u64::from(rows).saturating_mul(columns as u64).saturating_mul(CELL))
}

/// Adds a row; if it would take more than `most` bytes, adds nothing and gives how many it takes at least.
#[inline]
fn put_row<'v>(out: &mut Vec<u8>, row: impl Iterator<Item = Option<ValueRef<'v>>>, most: usize) -> Result<(), usize> {
    let start = out.len();
    for value in row {
        if let Some(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = value
            && bytes.len() > most
        {
            out.truncate(start);
            return Err(bytes.len());
        }
        canonical::put(out, value);
        if out.len() - start > most {
            let bytes = out.len() - start;
            out.truncate(start);
            return Err(bytes);
        }
    }
    Ok(())
}

/// Adds what stands for a row that has at least so many `bytes`.
#[cold]
fn put_left_out(out: &mut Vec<u8>, rows: &Rows, row: usize, key: &[usize], (most, bytes): (usize, usize)) {
    canonical::put_length(out, canonical::LEFT_OUT, bytes);
    let of_key = rows.row(row).enumerate().map(|(column, value)| value.filter(|_| key.contains(&column)));
    if put_row(out, of_key, most).is_err() {
        (0..rows.width()).for_each(|_| canonical::put(out, None));
    }
}

/// A page as it came, its rows not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<'f> {
    /// What it says beside its rows.
    pub head: PageHead,
    /// How many rows it has, those included that were too large to be sent.
    pub rows: u32,
    /// How many columns the sender's table has.
    pub columns: u32,
    /// The place after its last row; `None` if the sender gives none.
    pub place: Option<Place>,
    /// The bytes of the rows when they are unpacked.
    raw: usize,
    packed: bool,
    stored: &'f [u8],
}

impl<'f> Page<'f> {
    pub(super) fn decode(request: u32, reader: &mut Reader<'f>) -> Result<Self, Fault> {
        let (state, sequence) = (reader.u64()?, reader.u32()?);
        let (columns, rows, raw, stored) = (reader.u32()?, reader.u32()?, reader.u32()? as usize, reader.u32()? as usize);
        let flags = reader.flags(COMPRESSED | MORE)?;
        let packed = flags & COMPRESSED != 0;
        let fits = if packed { stored < raw } else { stored == raw };
        if !fits {
            return Err(Fault::Protocol("the lengths of its rows contradict each other"));
        }
        let stored = reader.bytes(stored)?;
        let place = Place::decode(reader.take_rest())?;
        let head = PageHead { request, sequence, state, more: flags & MORE != 0 };
        Ok(Page { head, rows, place, columns, raw, packed, stored })
    }

    /// What the page counts of what was allowed to its sender: see [`cost`].
    pub fn cost(&self) -> u64 {
        cost(self.raw, self.rows, self.columns as usize)
    }

    /// Whether its rows came compressed.
    #[cfg(any(test, fuzzing))]
    pub fn is_packed(&self) -> bool {
        self.packed
    }

    /// Reads the rows, of a table of so many columns, and adds them to `rows`; rows of another width are cleared first. Gives the
    /// rows that were too large to be sent; `key` are the columns of the table's key.
    ///
    /// # Errors
    /// [`Protocol`](crate::ErrorKind::Protocol) if they are not what they should be, and
    /// [`TooLarge`](crate::ErrorKind::TooLarge) if they would take more memory than the limit. Then none was added.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub fn read(&self, columns: usize, key: &[usize], limits: PageLimits, rows: &mut Rows) -> Result<Vec<Failure>> {
        self.read_summing(columns, (key, limits), rows, None)
    }

    /// The same, and adds the rows to a sum, if there is one: those that were too large as what stands for them.
    pub fn read_summing(
        &self,
        columns: usize,
        (key, limits): (&[usize], PageLimits),
        rows: &mut Rows,
        summing: Option<&mut Summing>,
    ) -> Result<Vec<Failure>> {
        if self.columns as usize != columns {
            return Err(Fault::Protocol("its rows have another number of columns than the table").into());
        }
        if u64::from(self.rows) > limits.records {
            return Err(Fault::Protocol("it has more rows than were asked for").into());
        }
        // Before any memory is taken. A cell takes a byte at least.
        let cells = u64::from(self.rows) * u64::from(self.columns);
        if cells > self.raw as u64 || (self.columns == 0 && self.rows > 0) {
            return Err(Fault::Protocol("its rows are cut short").into());
        }
        let memory = cells.saturating_mul(size_of::<Cell>() as u64).saturating_add(self.raw as u64);
        if memory > limits.bytes as u64 {
            return Err(Fault::TooLarge("its rows take more memory than the limit").into());
        }
        if rows.width() != columns {
            rows.clear(columns);
        }
        let before = rows.len();
        self.read_rows(key, rows, summing).map_err(|fault| {
            rows.truncate(before);
            fault.into()
        })
    }

    fn read_rows(&self, key: &[usize], rows: &mut Rows, mut summing: Option<&mut Summing>) -> Result<Vec<Failure>, Fault> {
        let mut at = rows.add_block(self.rows as usize, |bytes| match self.packed {
            true => unpack(self.stored, self.raw, bytes),
            false => {
                bytes.extend_from_slice(self.stored);
                Ok(())
            }
        })?;
        let end = at + self.raw;
        let mut failures = Vec::new();
        for _ in 0..self.rows {
            let (mut left_out, start) = (None, at);
            rows.add_row(|bytes, cells| {
                if bytes.get(at) == Some(&canonical::LEFT_OUT) {
                    at += 1;
                    left_out = Some(cell::take_length(bytes, &mut at)?);
                }
                for cell in cells {
                    *cell = cell::take(bytes, &mut at)?;
                }
                if let Some(summing) = &mut summing {
                    summing.add(&bytes[start..at]);
                }
                Ok(())
            })?;
            if let Some(bytes) = left_out {
                failures.push(failure(rows, key, bytes));
                rows.drop_row();
            }
        }
        if at < end {
            return Err(Fault::Protocol("it has more in it than its rows"));
        }
        Ok(failures)
    }
}

/// What becomes of the last row, which was too large to be sent.
#[cold]
fn failure(rows: &Rows, key: &[usize], bytes: usize) -> Failure {
    let last = rows.len().saturating_sub(1);
    let value = |column: &usize| rows.row(last).nth(*column).flatten().map(ValueRef::to_owned);
    let key = key.iter().map(value).collect::<Option<_>>().unwrap_or_default();
    let message = format!("the record has {bytes} bytes or more, too many for a message");
    Failure { key, column: None, reason: Reason::TooLarge, message }.shortened()
}
