//! What all binary messages have in common: the head, the checksum, and how fields are read.

use crate::error::{Error, ErrorKind, Result};

/// What each message begins with.
const MAGIC: [u8; 2] = *b"rf";
/// The version of the layout. A peer that speaks another one is told apart before anything else is read.
pub const VERSION: u8 = 1;
/// The bytes of the head: magic, version, kind, request.
pub(super) const HEAD: usize = 8;
/// The bytes of the checksum at the end.
pub(super) const CHECKSUM: usize = 4;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Fetch = 0x01,
    Credit = 0x02,
    Cancel = 0x03,
    Done = 0x04,
    Compare = 0x05,
    Sketch = 0x06,
    Want = 0x07,
    Page = 0x11,
    End = 0x12,
    Error = 0x13,
    Scanned = 0x14,
    Summary = 0x15,
    Cells = 0x16,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::Fetch,
        Kind::Credit,
        Kind::Cancel,
        Kind::Done,
        Kind::Compare,
        Kind::Sketch,
        Kind::Want,
        Kind::Page,
        Kind::End,
        Kind::Error,
        Kind::Scanned,
        Kind::Summary,
        Kind::Cells,
    ];
}

/// Why a message cannot be read. Small, so that the loops over cells stay fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Protocol(&'static str),
    TooLarge(&'static str),
    Damaged(&'static str),
}

/// The message ended before what it should hold.
pub(super) const CUT_SHORT: Fault = Fault::Protocol("it is cut short");

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let (kind, why) = match fault {
            Fault::Protocol(why) => (ErrorKind::Protocol, why),
            Fault::TooLarge(why) => (ErrorKind::TooLarge, why),
            Fault::Damaged(why) => (ErrorKind::Damaged, why),
        };
        Error::new(kind, format!("the other site's binary message cannot be read: {why}"))
    }
}

/// Begins a message.
pub(super) fn begin(kind: Kind, request: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(64);
    frame.extend_from_slice(&head(kind, request));
    frame
}

/// The head of a message.
pub(super) fn head(kind: Kind, request: u32) -> [u8; HEAD] {
    let [a, b, c, d] = request.to_le_bytes();
    [MAGIC[0], MAGIC[1], VERSION, kind as u8, a, b, c, d]
}

/// Ends a message: adds the checksum of all that is there.
pub(super) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

/// Opens a message: its kind, its request, and what is between head and checksum.
pub(super) fn open(frame: &[u8]) -> Result<(Kind, u32, Reader<'_>)> {
    let mut head = Reader::new(frame);
    if head.array()? != MAGIC {
        return Err(Fault::Protocol("it does not begin as one").into());
    }
    let version = head.u8()?;
    if version != VERSION {
        let why = format!("the other site's binary message is of version {version}, and only version {VERSION} is known");
        return Err(Error::new(ErrorKind::Protocol, why));
    }
    let (signed, checksum) =
        frame.split_last_chunk::<CHECKSUM>().filter(|(signed, _)| signed.len() >= HEAD).ok_or(CUT_SHORT)?;
    if crc32fast::hash(signed) != u32::from_le_bytes(*checksum) {
        return Err(Fault::Damaged("its checksum does not fit").into());
    }
    let (kind, request) = (head.u8()?, head.u32()?);
    let kind =
        Kind::ALL.into_iter().find(|known| *known as u8 == kind).ok_or(Fault::Protocol("it is of an unknown kind"))?;
    Ok((kind, request, Reader::new(&signed[HEAD..])))
}

/// The request that a message says it is about, read before anything else of it is looked at; `None` if it is too short to be one.
pub fn request_of(frame: &[u8]) -> Option<u32> {
    frame.get(4..HEAD)?.try_into().ok().map(u32::from_le_bytes)
}

/// Reads the fields of a message one after the other.
#[derive(Debug)]
pub(super) struct Reader<'f> {
    rest: &'f [u8],
}

impl<'f> Reader<'f> {
    pub(super) fn new(bytes: &'f [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'f [u8], Fault> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// Flags of which only those in `known` may be set.
    pub(super) fn flags(&mut self, known: u8) -> Result<u8, Fault> {
        match self.u8()? {
            flags if flags & !known == 0 => Ok(flags),
            _ => Err(Fault::Protocol("it has an unknown flag")),
        }
    }

    /// A length of two bytes and so much UTF-8, of at most `most` bytes.
    pub(super) fn text(&mut self, most: usize) -> Result<&'f str, Fault> {
        let length = usize::from(self.u16()?);
        if length > most {
            return Err(Fault::TooLarge("a name or text in it is too long"));
        }
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Fault::Protocol("a name or text in it is not UTF-8"))
    }

    /// All that was not read yet.
    pub(super) fn take_rest(&mut self) -> &'f [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error if there is more.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Protocol("it has more in it than it should")) }
    }
}

/// The flag if it is set.
pub(super) fn flag(flag: u8, set: bool) -> u8 {
    if set { flag } else { 0 }
}

/// Adds a text with its length in two bytes; the caller has seen to its bound.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}
