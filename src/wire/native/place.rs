//! The place after a row.

use super::cell;
use super::frame::{Fault, Reader};
use crate::domain::canonical;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};

/// Most bytes that a place takes in a message.
pub const PLACE_BYTES: usize = 64 << 10;

/// The place after a row of a table: where the next page resumes. The sender makes it, and only the sender understands it;
/// the receiver keeps it and may give it back.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Which run of the sender's order the row is in.
    pub run: u8,
    /// The values that the order is by.
    pub values: Vec<Value>,
}

impl Place {
    /// The place as bytes; `None` if they are more than [`PLACE_BYTES`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let count = u16::try_from(self.values.len()).ok()?;
        let mut out = vec![self.run];
        out.extend_from_slice(&count.to_le_bytes());
        for value in &self.values {
            canonical::put(&mut out, Some(value.as_ref()));
            if out.len() > PLACE_BYTES {
                return None;
            }
        }
        Some(out)
    }

    /// Reads what [`Place::encode`] wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for what it did not write.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let unreadable = || Error::new(ErrorKind::Corrupt, "the place at which a pull was interrupted cannot be read");
        Self::decode(bytes).ok().flatten().ok_or_else(unreadable)
    }

    /// Reads a place that takes all of `bytes`; no place if there are none.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > PLACE_BYTES {
            return Err(Fault::TooLarge("the place in it is too long"));
        }
        let mut reader = Reader::new(bytes);
        let (run, count) = (reader.u8()?, usize::from(reader.u16()?));
        let (bytes, mut at) = (reader.take_rest(), 0);
        // Each value takes a byte at least.
        let mut values = Vec::with_capacity(count.min(bytes.len()));
        for _ in 0..count {
            let value = cell::take(bytes, &mut at)?.value(bytes);
            values.push(value.ok_or(Fault::Protocol("the place in it lacks a value"))?.to_owned());
        }
        if at < bytes.len() {
            return Err(Fault::Protocol("the place in it has more in it than it should"));
        }
        Ok(Some(Place { run, values }))
    }
}
