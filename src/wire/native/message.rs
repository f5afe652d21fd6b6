//! The messages but for the page: what is asked for, and how an answer ends.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use uuid::Uuid;

use super::compare::{Cells, Compare, Scanned, SketchOf, Summary, Want};
use super::frame::{self, Fault, Kind, Reader};
use super::page::Page;
use super::place::Place;
use crate::domain::row_sum::RowSum;
use crate::domain::text::without_hidden;
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{NAME_BYTES, excerpt};

/// Most bytes of an error's code.
pub const CODE_BYTES: usize = 64;
/// Most bytes of an error's text.
pub const TEXT_BYTES: usize = 2048;

const COMPRESS: u8 = 1;
const NAMED: u8 = 2;
const SUMS: u8 = 4;
const TRANSFER: u8 = 1;
const RETRY_AFTER: u8 = 2;

/// What the receiver of rows says.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Send a table's rows.
    Fetch(Fetch),
    /// Send so many bytes more.
    Credit {
        /// The number of the request.
        request: u32,
        /// The bytes of pages that may be sent beyond those that were allowed before.
        bytes: NonZeroU32,
    },
    /// Send no more.
    Cancel {
        /// The number of the request.
        request: u32,
    },
    /// The last page has arrived.
    Done {
        /// The number of the request.
        request: u32,
    },
    /// Scan a table, to compare it.
    Compare(Compare),
    /// Send a sketch of what was scanned.
    Sketch(SketchOf),
    /// Send rows of what was scanned.
    Want(Want),
}

/// Asks for the rows of a table from a place on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetch {
    /// The number of the request, which the asker chooses and every answer repeats.
    pub request: u32,
    /// The name of the table; at most 1,024 bytes.
    pub table: String,
    /// Where to resume; `None` for the first row.
    pub after: Option<Place>,
    /// How many records of the table the asker has already: those before that place.
    pub records: u64,
    /// At about how many bytes of rows a page is cut.
    pub page_bytes: NonZeroU32,
    /// Most rows of a page.
    pub page_rows: NonZeroU32,
    /// Bytes of pages that may be sent before the first [`Request::Credit`]. A page is sent as long as there are any left.
    pub window: NonZeroU32,
    /// Whether pages may come compressed.
    pub compress: bool,
    /// The asker's name for its pull, which stays the same when the pull is resumed. Only for senders with the feature
    /// `pulls`: they answer requests of a named pull in their order, without waiting for
    /// [`Request::Done`], and a further one ends none before it.
    pub pull: Option<Uuid>,
    /// Whether the [`End`] is to have the sum of the table's rows. Only in named pulls, and for senders with the feature `sums`.
    pub sums: bool,
}

/// What the sender of rows says.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<'f> {
    /// Rows.
    Page(Page<'f>),
    /// All rows were sent.
    End(End),
    /// The request is refused or has failed: nothing more comes of it.
    Error(Refusal),
    /// A scan is so far.
    Scanned(Scanned),
    /// A scan has ended.
    Summary(Summary),
    /// Cells of a sketch.
    Cells(Cells<'f>),
}

/// The end of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// The number of the request.
    pub request: u32,
    /// How many rows the pages had, those included that were too large to be sent.
    pub rows: u64,
    /// The number of the state of the sender's database that there is nothing more in. Only in answers to a named pull.
    pub state: Option<NonZeroU64>,
    /// How many rows the table has from its first one on, and the sum over them. Only beside a state, and where it was asked for; it is
    /// not there if the sender does not know what came before.
    pub sum: Option<RowSum>,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The number of the request.
    pub request: u32,
    /// The stable code of the error: [`ErrorKind::code`]. Lower-case letters, digits and `_`.
    pub code: String,
    /// What failed and why. It is shortened when it is sent. No character of it is hidden.
    pub text: String,
    /// The transfer that waits for approval.
    pub transfer: Option<Uuid>,
    /// How long to wait before asking again, in whole seconds; a fraction is rounded up when it is sent.
    pub retry_after: Option<Duration>,
}

impl Request {
    /// The message.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a name, the place or what is asked for is longer than a message may hold.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Ok(frame::seal(match self {
            Request::Fetch(fetch) => fetch.encode()?,
            Request::Credit { request, bytes } => {
                let mut out = frame::begin(Kind::Credit, *request);
                out.extend_from_slice(&bytes.get().to_le_bytes());
                out
            }
            Request::Cancel { request } => frame::begin(Kind::Cancel, *request),
            Request::Done { request } => frame::begin(Kind::Done, *request),
            Request::Compare(compare) => compare.encode()?,
            Request::Sketch(sketch) => sketch.encode()?,
            Request::Want(want) => want.encode()?,
        }))
    }

    /// Reads a message of the receiver of rows.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it is none, [`ErrorKind::TooLarge`] if a part of it is too long.
    pub fn decode(frame: &[u8]) -> Result<Self> {
        let (kind, request, mut reader) = frame::open(frame)?;
        let asked = match kind {
            Kind::Fetch => Request::Fetch(Fetch::decode(request, &mut reader)?),
            Kind::Credit => Request::Credit { request, bytes: at_least_one(&mut reader)? },
            Kind::Cancel => Request::Cancel { request },
            Kind::Done => Request::Done { request },
            Kind::Compare => Request::Compare(Compare::decode(request, &mut reader)?),
            Kind::Sketch => Request::Sketch(SketchOf::decode(request, &mut reader)?),
            Kind::Want => Request::Want(Want::decode(request, &mut reader)?),
            Kind::Page | Kind::End | Kind::Error | Kind::Scanned | Kind::Summary | Kind::Cells => {
                return Err(Fault::Protocol("it is an answer where a request should be").into());
            }
        };
        reader.end()?;
        Ok(asked)
    }
}

impl Fetch {
    fn encode(&self) -> Result<Vec<u8>> {
        let too_long = |what| Error::new(ErrorKind::InvalidInput, format!("{what} is too long to be asked for"));
        if self.table.len() > NAME_BYTES {
            return Err(too_long("the table's name"));
        }
        let after = match &self.after {
            Some(place) => place.encode().ok_or_else(|| too_long("the place to resume at"))?,
            None => Vec::new(),
        };
        let mut out = frame::begin(Kind::Fetch, self.request);
        for number in [self.page_bytes, self.page_rows, self.window] {
            out.extend_from_slice(&number.get().to_le_bytes());
        }
        out.extend_from_slice(&self.records.to_le_bytes());
        let sums = self.sums && self.pull.is_some();
        out.push(frame::flag(COMPRESS, self.compress) | frame::flag(NAMED, self.pull.is_some()) | frame::flag(SUMS, sums));
        frame::put_text(&mut out, &self.table);
        out.extend(self.pull.iter().flat_map(|pull| *pull.as_bytes()));
        out.extend_from_slice(&after);
        Ok(out)
    }

    fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (page_bytes, page_rows, window) = (at_least_one(reader)?, at_least_one(reader)?, at_least_one(reader)?);
        let (records, flags) = (reader.u64()?, reader.flags(COMPRESS | NAMED | SUMS)?);
        let sums = flags & SUMS != 0;
        if sums && flags & NAMED == 0 {
            return Err(Fault::Protocol("it asks for a sum, and its pull has no name"));
        }
        let table = reader.text(NAME_BYTES)?.to_owned();
        let pull = if flags & NAMED != 0 { Some(Uuid::from_bytes(reader.array()?)) } else { None };
        let (compress, after) = (flags & COMPRESS != 0, Place::decode(reader.take_rest())?);
        Ok(Fetch { request, table, after, records, page_bytes, page_rows, window, compress, pull, sums })
    }
}

pub(super) fn at_least_one(reader: &mut Reader<'_>) -> Result<NonZeroU32, Fault> {
    NonZeroU32::new(reader.u32()?).ok_or(Fault::Protocol("a number in it is 0 that must be at least 1"))
}

impl<'f> Answer<'f> {
    /// Reads a message of the sender of rows. The rows of a page are read by [`Page::read`].
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it is none, [`ErrorKind::TooLarge`] if a part of it is too long.
    pub fn decode(frame: &'f [u8]) -> Result<Self> {
        let (kind, request, mut reader) = frame::open(frame)?;
        let answer = match kind {
            Kind::Page => Answer::Page(Page::decode(request, &mut reader)?),
            Kind::End => Answer::End(End::decode(request, &mut reader)?),
            Kind::Error => Answer::Error(Refusal::decode(request, &mut reader)?),
            Kind::Scanned => Answer::Scanned(Scanned::decode(request, &mut reader)?),
            Kind::Summary => Answer::Summary(Summary::decode(request, &mut reader)?),
            Kind::Cells => Answer::Cells(Cells::decode(request, &mut reader)?),
            Kind::Fetch | Kind::Credit | Kind::Cancel | Kind::Done | Kind::Compare | Kind::Sketch | Kind::Want => {
                return Err(Fault::Protocol("it is a request where an answer should be").into());
            }
        };
        reader.end()?;
        Ok(answer)
    }
}

impl End {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(Kind::End, self.request);
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend(self.state.iter().flat_map(|state| state.get().to_le_bytes()));
        out.extend(self.sum.filter(|_| self.state.is_some()).iter().flat_map(|sum| sum.to_bytes()));
        frame::seal(out)
    }

    fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let rows = reader.u64()?;
        let none = Fault::Protocol("the number of a state is 0");
        let state = if reader.is_empty() { None } else { Some(NonZeroU64::new(reader.u64()?).ok_or(none)?) };
        let sum = if reader.is_empty() { None } else { Some(RowSum::from_bytes(reader.array()?)) };
        Ok(End { request, rows, state, sum })
    }
}

impl Refusal {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = frame::begin(Kind::Error, self.request);
        let transfer = frame::flag(TRANSFER, self.transfer.is_some());
        out.push(transfer | frame::flag(RETRY_AFTER, self.retry_after.is_some()));
        let code: String = self.code.chars().filter(|c| is_of_code(*c)).take(CODE_BYTES).collect();
        frame::put_text(&mut out, &code);
        frame::put_text(&mut out, &excerpt(&self.text));
        out.extend(self.transfer.iter().flat_map(|transfer| *transfer.as_bytes()));
        if let Some(time) = self.retry_after {
            let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
            out.extend_from_slice(&u32::try_from(seconds).unwrap_or(u32::MAX).to_le_bytes());
        }
        frame::seal(out)
    }

    fn decode(request: u32, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let flags = reader.flags(TRANSFER | RETRY_AFTER)?;
        let (code, text) = (reader.text(CODE_BYTES)?, reader.text(TEXT_BYTES)?);
        if !code.chars().all(is_of_code) {
            return Err(Fault::Protocol("the error's code is not a code"));
        }
        if text.contains(char::is_control) {
            return Err(Fault::Protocol("the error's text has control characters"));
        }
        // Earlier versions of a peer sent other characters that are not seen as they were.
        let (code, text) = (code.to_owned(), without_hidden(text, usize::MAX));
        let transfer = if flags & TRANSFER != 0 { Some(Uuid::from_bytes(reader.array()?)) } else { None };
        let retry_after = if flags & RETRY_AFTER != 0 { Some(Duration::from_secs(reader.u32()?.into())) } else { None };
        Ok(Refusal { request, code, text, transfer, retry_after })
    }
}

fn is_of_code(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}
