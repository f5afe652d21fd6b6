//! The body of an answer.

use std::fmt;
use std::io::{self, Cursor, Read};

/// The body of an answer: bytes in memory, or records that are read from the store while they are sent, so that memory stays
/// bounded whatever the answer holds.
///
/// Read it to its end and send what comes. A body whose [length](Body::known_length) is not known is sent in chunks, or until the
/// connection's end; when reading fails, end the connection, so that the peer does not take what came for the whole.
///
/// ```
/// use std::io::Read;
///
/// let mut body = rowferry::Body::from(b"abc".to_vec());
/// assert_eq!(body.known_length(), Some(3));
/// let mut text = String::new();
/// body.read_to_string(&mut text)?;
/// assert_eq!(text, "abc");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Body(Inner);

enum Inner {
    Bytes(Cursor<Vec<u8>>),
    Stream(Box<dyn Read + Send>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Body::from(Vec::new())
    }

    pub(super) fn stream(stream: impl Read + Send + 'static) -> Self {
        Body(Inner::Stream(Box::new(stream)))
    }

    /// How many bytes are still to come, where that is known.
    pub fn known_length(&self) -> Option<u64> {
        match &self.0 {
            Inner::Bytes(bytes) => Some((bytes.get_ref().len() as u64).saturating_sub(bytes.position())),
            Inner::Stream(_) => None,
        }
    }

    /// The bytes that are still to come, all in memory: for hosts that cannot stream. A pull of a large table takes much.
    ///
    /// # Errors
    /// Those of reading: the records could not be read, or the connection was suspended meanwhile. Never for a body whose
    /// length is known.
    pub fn into_bytes(mut self) -> io::Result<Vec<u8>> {
        match self.0 {
            Inner::Bytes(bytes) if bytes.position() == 0 => Ok(bytes.into_inner()),
            _ => {
                let mut bytes = Vec::new();
                self.read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Body::empty()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body(Inner::Bytes(Cursor::new(bytes)))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Bytes(bytes) => bytes.read(buffer),
            Inner::Stream(stream) => stream.read(buffer),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("known_length", &self.known_length()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_and_know_what_is_left() {
        let mut body = Body::from(b"abc".to_vec());
        assert_eq!(body.read(&mut [0]).unwrap(), 1);
        assert_eq!(body.known_length(), Some(2));
        assert_eq!(body.into_bytes().unwrap(), b"bc");
        assert_eq!(Body::empty().known_length(), Some(0));
        let stream = Body::stream(Cursor::new(b"xyz".to_vec()));
        assert_eq!(stream.known_length(), None);
        assert_eq!(stream.into_bytes().unwrap(), b"xyz");
    }
}
