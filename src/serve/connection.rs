//! One HTTP connection: requests in, answers out, until it ends or becomes a WebSocket.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, DATE, TRANSFER_ENCODING};
use http::{Method, Response, StatusCode, Version, response};
use time::OffsetDateTime;
use time::macros::format_description;

use super::answers;
use super::body::Body;
use super::chunks::Chunks;
use super::gate::{Announced, SMALL_BODY_BYTES};
use super::handler::Handler;
use super::head::{self, Framing, Head, Refusal};
use super::places::Place;
use super::socket::{Timed as _, Transport};
use super::websocket;
use crate::clock;
use crate::limits::Limits;

/// How many bytes are read at once.
const READ_BYTES: usize = 8 << 10;

/// How long a peer that is refused has to begin with TLS.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// How many bytes of a large body are read before it is asked whose it is.
const BEGINNING_BYTES: usize = 1 << 10;

/// How many bytes of a body are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why no further request is read.
enum Ended {
    /// The peer has gone, or nothing has come for too long, or the server stops: there is nobody to answer.
    Quietly,
    /// The peer gets this answer, and the connection is closed.
    Refused(Box<Response<Body>>),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        log::debug!(target: "rowferry::serve", "a request is refused: {}", refusal.why);
        answers::detail(refusal.status, refusal.why).into()
    }
}

impl From<Response<Body>> for Ended {
    fn from(answer: Response<Body>) -> Self {
        Ended::Refused(Box::new(answer))
    }
}

/// Serves a connection to its end.
pub(super) fn serve(mut transport: Transport, handler: &Handler, peer: IpAddr, place: &Place) {
    let limits = handler.site().limits();
    let mut connection = Incoming { buffer: Vec::new(), limits, first: true, handler, peer, place };
    loop {
        let (head, body) = match connection.request(&mut transport) {
            Ok(request) => request,
            Err(Ended::Quietly) => return transport.end(),
            Err(Ended::Refused(answer)) => return send_last(transport, *answer, handler),
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
    transport.end();
    None
}

/// What has arrived and was not used yet.
struct Incoming<'l> {
    buffer: Vec<u8>,
    limits: &'l Limits,
    first: bool,
    handler: &'l Handler,
    peer: IpAddr,
    place: &'l Place,
}

impl Incoming<'_> {
    /// Reads a whole request.
    fn request(&mut self, transport: &mut Transport) -> Result<(Head, Vec<u8>), Ended> {
        let head = self.head(transport)?;
        self.buffer.drain(..head.bytes);
        // What was read before is answered.
        self.place.holds(0);
        let announced = match head.framing {
            Framing::Empty => Announced::Nothing,
            Framing::Length(length) => Announced::Bytes(length),
            Framing::Chunked => Announced::Some,
        };
        let most = self.handler.most_body(&head.request, announced)?;
        if let Some(origin) =
            self.handler.origin(&head.request, Some(self.peer)).filter(|origin| !self.handler.is_proxy(*origin))
            && let Err(full) = self.place.is_of(origin)
        {
            self.place.refused(origin, full);
            return Err(answers::busy("too many connections").into());
        }
        if head.expects_continue && head.framing != Framing::Empty && self.buffer.is_empty() {
            transport.write_within(self.limits.server.write_time);
            let told = transport.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").and_then(|()| transport.flush());
            told.map_err(|_| Ended::Quietly)?;
        }
        transport.read_by(clock::later(Instant::now(), self.limits.server.request_time));
        let body = self.body(transport, &head, most)?;
        Ok((head, body))
    }

    /// Reads a body of so many bytes at most.
    fn body(&mut self, transport: &mut Transport, head: &Head, most: usize) -> Result<Vec<u8>, Ended> {
        match head.framing {
            Framing::Empty => Ok(Vec::new()),
            Framing::Length(length) => {
                let mut asked = length <= SMALL_BODY_BYTES;
                while self.buffer.len() < length {
                    if !asked && self.buffer.len() >= BEGINNING_BYTES {
                        self.large(head, &self.buffer, length)?;
                        asked = true;
                    }
                    self.more(transport, true)?;
                }
                let rest = self.buffer.split_off(length);
                Ok(std::mem::replace(&mut self.buffer, rest))
            }
            Framing::Chunked => {
                let (mut chunks, mut body, mut asked) = (Chunks::new(), Vec::new(), false);
                loop {
                    let taken = chunks.take(&self.buffer, &mut body, most)?;
                    self.buffer.drain(..taken);
                    if !asked && body.len() > SMALL_BODY_BYTES {
                        self.large(head, &body, most)?;
                        asked = true;
                    }
                    if chunks.is_done() {
                        return Ok(body);
                    }
                    self.more(transport, true)?;
                }
            }
        }
    }

    /// Asks whether so large a body may be read that begins so, and takes the memory for it.
    fn large(&self, head: &Head, beginning: &[u8], bytes: usize) -> Result<(), Ended> {
        self.handler.may_be_large(&head.request, Some(self.peer), beginning)?;
        match self.place.holds(bytes) {
            true => Ok(()),
            false => Err(answers::busy("too many large requests").into()),
        }
    }

    fn head(&mut self, transport: &mut Transport) -> Result<Head, Ended> {
        // Between requests a peer may be silent for longer than within one.
        let wait = if self.first || !self.buffer.is_empty() {
            self.limits.server.request_time
        } else {
            self.limits.server.keep_alive_time
        };
        transport.read_by(clock::later(Instant::now(), wait));
        if self.buffer.is_empty() {
            self.place.waits();
            self.more(transport, false)?;
            if !self.place.works() {
                return Err(Ended::Quietly);
            }
            if !self.first {
                transport.read_by(clock::later(Instant::now(), self.limits.server.request_time));
            }
        }
        self.first = false;
        loop {
            if let Some(head) = head::parse(&self.buffer, self.limits)? {
                return Ok(head);
            }
            self.more(transport, true)?;
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

/// Sends an answer, and closes the connection. Where TLS has not begun, it has so long to.
pub(super) fn send_last(mut transport: Transport, answer: Response<Body>, handler: &Handler) {
    transport.read_by(clock::later(Instant::now(), REFUSAL_TIME));
    if let Some(transport) = send(transport, answer, Sending::LAST, handler) {
        transport.end();
    }
}

/// How an answer is sent.
#[derive(Clone, Copy)]
struct Sending {
    keep_alive: bool,
    body: bool,
    /// Whether a body of unknown length may be sent in chunks.
    chunks: bool,
}

impl Sending {
    /// The last answer on a connection.
    const LAST: Sending = Sending { keep_alive: false, body: true, chunks: true };
}

/// Sends an answer; `None` if the peer does not take it, or if it ended before its end.
fn send(mut transport: Transport, answer: Response<Body>, sending: Sending, handler: &Handler) -> Option<Transport> {
    let (parts, mut body) = answer.into_parts();
    let chunked = sending.chunks && body.known_length().is_none();
    let bytes = written_head(&parts, sending.keep_alive, chunked, handler.site().clock().now());
    let sent = if sending.body {
        send_body(&mut transport, bytes, &mut body, chunked, handler.site().limits())
    } else {
        put(&mut transport, &bytes, handler.site().limits())
    };
    match sent {
        Ok(()) => Some(transport),
        Err(error) => {
            log::debug!(target: "rowferry::serve", "an answer was not taken: {error}");
            None
        }
    }
}

fn written_head(parts: &response::Parts, keep_alive: bool, chunked: bool, now: OffsetDateTime) -> Vec<u8> {
    let status = parts.status;
    let mut bytes = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    };
    if let Some(date) = http_date(now) {
        field(DATE.as_str(), date.as_bytes());
    }
    for (name, value) in &parts.headers {
        field(name.as_str(), value.as_bytes());
    }
    if chunked {
        field(TRANSFER_ENCODING.as_str(), b"chunked");
    }
    if !parts.headers.contains_key(CONNECTION) {
        field(CONNECTION.as_str(), if keep_alive { b"keep-alive" } else { b"close" });
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The last answer on a connection, as bytes.
///
/// # Errors
/// Those of reading its body: none where that is in memory.
pub(super) fn last_bytes(answer: Response<Body>, now: OffsetDateTime) -> io::Result<Vec<u8>> {
    let (parts, body) = answer.into_parts();
    let mut bytes = written_head(&parts, false, false, now);
    bytes.extend(body.into_bytes()?);
    Ok(bytes)
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
    transport.write_within(limits.server.write_time);
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
