//! One HTTP connection: requests in, answers out, until it ends or becomes a WebSocket.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Instant;

use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode, Version};
use time::OffsetDateTime;
use time::macros::format_description;

use super::answers;
use super::body::Body;
use super::chunks::Chunks;
use super::handler::Handler;
use super::head::{self, Framing, Head, Refusal};
use super::socket::Transport;
use super::websocket;
use crate::clock;
use crate::limits::Limits;

/// How many bytes are read at once.
const READ_BYTES: usize = 8 << 10;

/// How many bytes of a body are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why no further request is read.
enum Ended {
    /// The peer has gone, or nothing has come for too long, or the server stops: there is nobody to answer.
    Quietly,
    /// The peer is told, and the connection closed.
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Ended::Refused(refusal)
    }
}

/// Serves a connection to its end.
pub(crate) fn serve(mut transport: Transport, handler: &Handler, peer: IpAddr) {
    let limits = handler.site().limits();
    let mut connection = Incoming { buffer: Vec::new(), limits, first: true };
    loop {
        let (head, body) = match connection.request(&mut transport) {
            Ok(request) => request,
            Err(Ended::Quietly) => return transport.finish(),
            Err(Ended::Refused(refusal)) => {
                log::debug!("{peer} is refused: {}", refusal.why);
                let answer = refuse(refusal);
                return send(transport, answer, Sending::LAST, handler).map_or((), Transport::finish);
            }
        };
        // A body before the upgrade would be taken for frames by one side and not by the other.
        if head.framing == Framing::Empty && handler.is_upgrade(&head.request) {
            match handler.upgrade(&head.request, Some(peer)) {
                Ok(upgrade) => {
                    let answer = upgrade.response.map(|()| Body::empty());
                    let sent = send(transport, answer, Sending { keep_alive: true, ..Sending::LAST }, handler);
                    let tail = connection.buffer;
                    return sent.map_or((), |transport| websocket::serve(transport, tail, upgrade.session, limits));
                }
                Err(answer) => match respond(transport, answer, &head, handler) {
                    Some(open) => transport = open,
                    None => return,
                },
            }
        } else {
            let request = head.request.clone().map(|()| body);
            let answer = handler.handle(&request, Some(peer));
            match respond(transport, answer, &head, handler) {
                Some(open) => transport = open,
                None => return,
            }
        }
    }
}

/// Sends an answer; gives the transport back if the connection stays open.
fn respond(mut transport: Transport, answer: Response<Body>, head: &Head, handler: &Handler) -> Option<Transport> {
    // Without chunks an answer of unknown length ends where the connection does.
    let framed = head.request.version() == Version::HTTP_11 || answer.body().known_length().is_some();
    let keep_alive = head.keep_alive && framed && !transport.stopping();
    let sending = Sending { keep_alive, body: head.request.method() != Method::HEAD, chunks: framed };
    let transport = send(transport, answer, sending, handler)?;
    if keep_alive {
        return Some(transport);
    }
    transport.finish();
    None
}

/// What has arrived and was not used yet.
struct Incoming<'l> {
    buffer: Vec<u8>,
    limits: &'l Limits,
    first: bool,
}

impl Incoming<'_> {
    /// Reads a whole request.
    fn request(&mut self, transport: &mut Transport) -> Result<(Head, Vec<u8>), Ended> {
        let head = self.head(transport)?;
        self.buffer.drain(..head.bytes);
        if head.expects_continue && head.framing != Framing::Empty && self.buffer.is_empty() {
            transport.write_within(self.limits.write_time);
            let told = transport.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").and_then(|()| transport.flush());
            told.map_err(|_| Ended::Quietly)?;
        }
        transport.read_by(clock::later(Instant::now(), self.limits.request_time));
        let body = match head.framing {
            Framing::Empty => Vec::new(),
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.more(transport, true)?;
                }
                let rest = self.buffer.split_off(length);
                std::mem::replace(&mut self.buffer, rest)
            }
            Framing::Chunked => {
                let (mut chunks, mut body) = (Chunks::new(), Vec::new());
                loop {
                    let taken = chunks.take(&self.buffer, &mut body, self.limits.body_bytes)?;
                    self.buffer.drain(..taken);
                    if chunks.is_done() {
                        break body;
                    }
                    self.more(transport, true)?;
                }
            }
        };
        Ok((head, body))
    }

    fn head(&mut self, transport: &mut Transport) -> Result<Head, Ended> {
        // Between requests a peer may be silent for longer than within one.
        let wait =
            if self.first || !self.buffer.is_empty() { self.limits.request_time } else { self.limits.keep_alive_time };
        transport.read_by(clock::later(Instant::now(), wait));
        let mut waiting = !self.first && self.buffer.is_empty();
        self.first = false;
        loop {
            if let Some(head) = head::parse(&self.buffer, self.limits)? {
                return Ok(head);
            }
            let begun = !self.buffer.is_empty();
            self.more(transport, begun)?;
            if std::mem::take(&mut waiting) {
                transport.read_by(clock::later(Instant::now(), self.limits.request_time));
            }
        }
    }

    /// Reads some more. A peer that is too slow is told so once it has begun a request.
    fn more(&mut self, transport: &mut Transport, begun: bool) -> Result<(), Ended> {
        let mut piece = [0; READ_BYTES];
        match transport.read(&mut piece) {
            Ok(0) => Err(Ended::Quietly),
            Ok(length) => {
                self.buffer.extend_from_slice(piece.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun => {
                Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, why: "the request took too long" }.into())
            }
            Err(_) => Err(Ended::Quietly),
        }
    }
}

/// The answer to what never reached the handler.
pub(crate) fn refuse(refusal: Refusal) -> Response<Body> {
    answers::detail(refusal.status, refusal.why)
}

/// How an answer is sent.
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) keep_alive: bool,
    pub(crate) body: bool,
    /// Whether a body of unknown length may be sent in chunks.
    pub(crate) chunks: bool,
}

impl Sending {
    /// The last answer on a connection.
    pub(crate) const LAST: Sending = Sending { keep_alive: false, body: true, chunks: true };
}

/// Sends an answer; `None` if the peer does not take it, or if it ended before its end.
pub(crate) fn send(
    mut transport: Transport,
    answer: Response<Body>,
    sending: Sending,
    handler: &Handler,
) -> Option<Transport> {
    let (parts, mut body) = answer.into_parts();
    let chunked = sending.chunks && body.known_length().is_none();
    let status = parts.status;
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    };
    if let Some(date) = http_date(handler.site().clock().now()) {
        field(DATE.as_str(), date.as_bytes());
    }
    for (name, value) in &parts.headers {
        field(name.as_str(), value.as_bytes());
    }
    if chunked {
        field(TRANSFER_ENCODING.as_str(), b"chunked");
    }
    if !parts.headers.contains_key(CONNECTION) {
        field(CONNECTION.as_str(), if sending.keep_alive { b"keep-alive" } else { b"close" });
    }
    bytes.extend_from_slice(b"\r\n");
    let sent = if sending.body {
        send_body(&mut transport, bytes, &mut body, chunked, handler.site().limits())
    } else {
        put(&mut transport, &bytes, handler.site().limits())
    };
    match sent {
        Ok(()) => Some(transport),
        Err(error) => {
            log::debug!("an answer was not taken: {error}");
            None
        }
    }
}

/// Sends the body after what is to be sent before it. Each piece has the time of a write for itself.
fn send_body(
    transport: &mut Transport,
    mut bytes: Vec<u8>,
    body: &mut Body,
    chunked: bool,
    limits: &Limits,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = body.read(&mut piece)?;
        let read = piece.get(..length).unwrap_or_default();
        match (chunked, length) {
            (true, 0) => bytes.extend_from_slice(b"0\r\n\r\n"),
            (true, length) => {
                bytes.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                bytes.extend_from_slice(read);
                bytes.extend_from_slice(b"\r\n");
            }
            (false, _) => bytes.extend_from_slice(read),
        }
        if !bytes.is_empty() {
            put(transport, &bytes, limits)?;
            bytes.clear();
        }
        if length == 0 {
            return Ok(());
        }
    }
}

fn put(transport: &mut Transport, bytes: &[u8], limits: &Limits) -> io::Result<()> {
    transport.write_within(limits.write_time);
    transport.write_all(bytes).and_then(|()| transport.flush())
}

/// A moment as HTTP writes it; `None` where it has no such form.
fn http_date(at: OffsetDateTime) -> Option<String> {
    let form = format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    at.to_offset(time::UtcOffset::UTC).format(&form).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_http_writes_them() {
        let at = time::macros::datetime!(2026-11-01 10:04:05.5 +02:00);
        assert_eq!(http_date(at).as_deref(), Some("Sun, 01 Nov 2026 08:04:05 GMT"));
    }
}
