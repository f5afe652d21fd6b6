//! Chunked request bodies. Pure: bytes in, bytes out.

use http::StatusCode;

use super::head::Refusal;

/// Longest line in the framing: a chunk's size with its extensions, or a trailer.
const LINE_BYTES: usize = 256;

/// Most trailers; they are read and dropped.
const TRAILERS: usize = 16;

/// Takes chunks apart as they come.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    trailers: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(usize),
    DataEnd,
    Trailer,
    Done,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Chunks { state: State::Size, trailers: 0 }
    }

    /// Whether the body is complete.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes from the beginning of `input` what it can, adds the content to `body`, and gives the number of bytes taken.
    ///
    /// # Errors
    /// When the framing is not exactly what HTTP says, or the content grows beyond `most`.
    pub(crate) fn take(&mut self, input: &[u8], body: &mut Vec<u8>, most: usize) -> Result<usize, Refusal> {
        let mut taken = 0;
        loop {
            let rest = input.get(taken..).unwrap_or_default();
            match self.state {
                State::Done => return Ok(taken),
                State::Data(left) => {
                    let now = rest.get(..left.min(rest.len())).unwrap_or_default();
                    body.extend_from_slice(now);
                    taken += now.len();
                    if now.len() < left {
                        self.state = State::Data(left - now.len());
                        return Ok(taken);
                    }
                    self.state = State::DataEnd;
                }
                State::Size | State::DataEnd | State::Trailer => {
                    let Some(line) = line(rest)? else { return Ok(taken) };
                    taken += line.len() + 2;
                    self.state = self.after(line, body.len(), most)?;
                }
            }
        }
    }

    fn after(&mut self, line: &[u8], have: usize, most: usize) -> Result<State, Refusal> {
        match self.state {
            State::Size => match size(line)? {
                0 => Ok(State::Trailer),
                size if size > most.saturating_sub(have) => {
                    Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, why: "the request's body is too large" })
                }
                size => Ok(State::Data(size)),
            },
            State::DataEnd if line.is_empty() => Ok(State::Size),
            State::Trailer if line.is_empty() => Ok(State::Done),
            State::Trailer if self.trailers < TRAILERS => {
                self.trailers += 1;
                Ok(State::Trailer)
            }
            _ => Err(BAD),
        }
    }
}

const BAD: Refusal = Refusal { status: StatusCode::BAD_REQUEST, why: "the chunked body is malformed" };

/// A line without its CR LF; `None` if it is not all there yet. A bare CR or LF is no end of a line.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    match input.iter().take(LINE_BYTES).position(|byte| *byte == b'\n') {
        Some(end) => match input.get(..end).and_then(|line| line.strip_suffix(b"\r")) {
            Some(line) if !line.contains(&b'\r') => Ok(Some(line)),
            _ => Err(BAD),
        },
        None if input.len() >= LINE_BYTES => Err(BAD),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    // Eight digits are 4 GiB: more than any limit, and no overflow.
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BAD);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BAD)?;
    u32::from_str_radix(text, 16).ok().and_then(|size| usize::try_from(size).ok()).ok_or(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the input in pieces of this size; gives the body and what is left of the input.
    fn read(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), Refusal> {
        let (mut chunks, mut body, mut buffer, mut used) = (Chunks::new(), Vec::new(), Vec::new(), 0);
        for piece in input.chunks(piece) {
            buffer.extend_from_slice(piece);
            let taken = chunks.take(&buffer, &mut body, 20)?;
            buffer.drain(..taken);
            used += taken;
        }
        Ok((body, input.len() - used, chunks.is_done()))
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let input = b"4\r\nWiki\r\nA;name=value\r\n5678901234\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for piece in 1..=input.len() {
            assert_eq!(read(input, piece), Ok((b"Wiki5678901234".to_vec(), 5, true)), "{piece}");
        }
        assert_eq!(read(b"0\r\n\r\n", 9), Ok((vec![], 0, true)));
        assert_eq!(read(b"4\r\nWi", 9), Ok((b"Wi".to_vec(), 0, false)));
    }

    #[test]
    fn anything_else_is_refused() {
        for input in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n0\r\n\r\n",
            "fffffffff\r\n",
            "1\r;\r\n",
        ] {
            assert_eq!(read(input.as_bytes(), 100).map_err(|r| r.status.as_u16()), Err(400), "{input:?}");
        }
        assert_eq!(read(format!("1;{}", "x".repeat(300)).as_bytes(), 1).map_err(|r| r.status.as_u16()), Err(400));
        assert_eq!(read(format!("0\r\n{}", "a: b\r\n".repeat(17)).as_bytes(), 1).map_err(|r| r.status.as_u16()), Err(400));
        for large in ["15\r\n", "14\r\n01234567890123456789\r\n1\r\n", "ffffffff\r\n"] {
            assert_eq!(read(large.as_bytes(), 100).map_err(|r| r.status.as_u16()), Err(413), "{large:?}");
        }
    }
}
