//! What carries the messages of a channel, and how it comes about: a WebSocket to a URL, or a link to a site in this process.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(feature = "server")]
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Message, WebSocket};
use zeroize::Zeroizing;

use super::auth::Pass;
use super::channel::{AGAIN, Outcome, Trouble};
use super::options::ConnectOptions;
#[cfg(feature = "server")]
use super::upgrade::Refusal;
use super::upgrade::{Asking, Upgrade, upgrade};
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "server")]
use crate::limits::Limits;
use crate::net::stream::refuse_without_tls;
use crate::net::{Budget, Stream};
use crate::wire::fragments::{TEXT_FRAGMENT_BYTES, fragments};

/// The least time that a socket is waited for.
pub(super) const INSTANT: Duration = Duration::from_millis(1);

/// Carries messages between a channel and the other site. When it is dropped without a goodbye, the connection is lost for that
/// site.
pub(crate) trait Transport: Send {
    /// Takes a message, and sends what it can until then. Gives whether nothing is left to be sent.
    fn send(&mut self, message: Message, until: Instant) -> Outcome<bool>;

    /// Sends what is left, as far as it can until then. Gives whether nothing is left.
    fn flush(&mut self, until: Instant) -> Outcome<bool>;

    /// The next message, if one comes until then.
    fn receive(&mut self, until: Instant) -> Outcome<Option<Message>>;

    /// Says goodbye, and waits at most until then for the other site's own.
    fn close(&mut self, until: Instant);

    /// Whether the other site is on this machine.
    fn is_local(&self) -> bool;

    /// How many bytes came so far, those of messages that are not complete included.
    fn received(&self) -> u64 {
        0
    }
}

/// A site in this process.
#[cfg(feature = "server")]
pub(crate) trait Near: Send + Sync {
    /// What it is called in place of a URL.
    fn name(&self) -> &str;

    /// Asks to be let in, with what the header of a request for a WebSocket holds for that. `limits` are the client's.
    fn enter(&self, given: &str, limits: &Limits) -> std::result::Result<Box<dyn Transport>, Refusal>;
}

/// Where a site was found by its URL, and how.
#[derive(Debug, Clone)]
pub(super) struct Found {
    prefix: String,
    /// Where it looks for what lets a client in.
    looks_at: Place,
}

/// Where what lets a client in stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a header, as rowferry takes it.
    Header,
    /// In the query, as PhoenixKit takes it, and rowferry 0.1.0.
    Query,
}

/// How a site is reached.
pub(super) enum Way {
    /// By its URL, where it was found.
    Url(SiteUrl, OnceLock<Found>),
    /// In this process.
    #[cfg(feature = "server")]
    Near(Box<dyn Near>),
}

impl Way {
    /// The way to a URL.
    pub(super) fn to(url: &str) -> Result<Way> {
        let url = SiteUrl::parse(url)?;
        refuse_without_tls(&url)?;
        Ok(Way::Url(url, OnceLock::new()))
    }

    /// Asks to be let in, and gives what carries messages from then on.
    pub(super) fn open(&self, pass: &Pass, options: &ConnectOptions, budget: &Budget) -> Result<Box<dyn Transport>> {
        match self {
            Way::Url(url, found) => Ok(Box::new(Socket::open(url, found, pass, options, budget)?)),
            #[cfg(feature = "server")]
            Way::Near(site) => site
                .enter(&pass.header(options.receiver), &options.limits)
                .map_err(|refusal| refusal.into_error(pass).by_peer()),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Url(url, _) => url.fmt(f),
            #[cfg(feature = "server")]
            Way::Near(site) => f.write_str(site.name()),
        }
    }
}

/// A WebSocket.
struct Socket {
    socket: WebSocket<Stream>,
    /// Whether something written still lies in its buffer.
    unflushed: bool,
}

impl Socket {
    /// Opens it under the first prefix that is not answered with 404, or under the one that was `found` before. Only a 404 leads to
    /// the next one: any other refusal is meant, and a code may be spent. What lets the client in stands in a header first; a site that does
    /// not look there misses it, spends nothing, and is asked again with a query; not where it was found before, because then what answers
    /// is not that site.
    fn open(
        url: &SiteUrl,
        found: &OnceLock<Found>,
        pass: &Pass,
        options: &ConnectOptions,
        budget: &Budget,
    ) -> Result<Socket> {
        let (prefixes, mut looks_at) = match found.get() {
            Some(found) => (vec![found.prefix.clone()], found.looks_at),
            None => (options.prefixes()?, Place::Header),
        };
        let mut tried = Vec::new();
        for prefix in prefixes {
            let path = url.path(&prefix, "/sync/websocket");
            let (stream, upgraded) = loop {
                let mut stream = Stream::connect(url, options.policy, &options.tls, budget)?;
                let (target, header) = match looks_at {
                    Place::Header => (Zeroizing::new(format!("{path}?vsn=2.0.0")), Some(pass.header(options.receiver))),
                    Place::Query => (Zeroizing::new(format!("{path}?{}", *pass.query)), None),
                };
                let header = header.as_ref().map(|header| header.as_str());
                let asking = Asking { host: &url.authority(), target: &target, header, pass };
                match upgrade(&mut stream, &asking, &options.limits, budget)? {
                    Upgrade::Missed if found.get().is_some() => return Err(no_more_there(url)),
                    Upgrade::Missed if looks_at == Place::Header => looks_at = Place::Query,
                    upgraded => break (stream, upgraded),
                }
            };
            match upgraded {
                Upgrade::NotFound | Upgrade::Missed => tried.push(path),
                Upgrade::Done(rest) => {
                    let bytes = Some(options.limits.wire.message_bytes);
                    let config = WebSocketConfig::default().max_message_size(bytes).max_frame_size(bytes);
                    let socket = WebSocket::from_partially_read(stream, rest, Role::Client, Some(config));
                    found.get_or_init(|| Found { prefix, looks_at });
                    return Ok(Socket { socket, unflushed: false });
                }
            }
        }
        let why = format!("{} has nothing to connect to at {}", url.authority(), tried.join(", "));
        Err(Error::new(ErrorKind::NotFound, why).with_hint("Check the address; a path before /sync is given as the prefix."))
    }
}

/// What let this client in before is not looked at now.
fn no_more_there(url: &SiteUrl) -> Error {
    let why = format!("what answers at {} does not read the credentials where it read them before", url.authority());
    Error::new(ErrorKind::Unreachable, why)
        .with_hint("Another site has the address now, or a proxy on the way drops the header `x-rowferry-auth`.")
}

impl Transport for Socket {
    fn send(&mut self, message: Message, until: Instant) -> Outcome<bool> {
        self.socket.get_mut().set_until(until);
        self.unflushed = true;
        let mut is_taken = true;
        for frame in frames(message) {
            match self.socket.write(frame) {
                Ok(()) => {}
                // Taken into the buffer all the same.
                Err(error) if would_block(&error) => is_taken = false,
                Err(error) => return Err(lost(error)),
            }
        }
        if is_taken { self.flush(until) } else { Ok(false) }
    }

    fn flush(&mut self, until: Instant) -> Outcome<bool> {
        if self.unflushed {
            self.socket.get_mut().set_until(until);
            match self.socket.flush() {
                Ok(()) => self.unflushed = false,
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(!self.unflushed)
    }

    fn receive(&mut self, until: Instant) -> Outcome<Option<Message>> {
        self.flush(Instant::now() + INSTANT)?;
        self.socket.get_mut().set_until(until);
        match self.socket.read() {
            Ok(message) => Ok(Some(message)),
            Err(error) if would_block(&error) => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    fn close(&mut self, until: Instant) {
        // Whatever goes wrong here, the connection ends all the same when it is dropped.
        self.socket.get_mut().set_until(until);
        if self.socket.close(None).is_err() {
            return;
        }
        while Instant::now() < until {
            if self.socket.read().is_err() {
                return;
            }
        }
    }

    fn is_local(&self) -> bool {
        self.socket.get_ref().is_local()
    }

    fn received(&self) -> u64 {
        self.socket.get_ref().received()
    }
}

/// A long text in frames that a server of PhoenixKit reads fast; any other message as it is.
fn frames(message: Message) -> Vec<Message> {
    match message {
        Message::Text(text) if text.len() > TEXT_FRAGMENT_BYTES => {
            let text = Bytes::from(text);
            let frame = |part: std::ops::Range<usize>| {
                let kind = if part.start == 0 { Data::Text } else { Data::Continue };
                let is_last = part.end == text.len();
                Message::Frame(Frame::message(text.slice(part), OpCode::Data(kind), is_last))
            };
            fragments(&text, TEXT_FRAGMENT_BYTES).map(frame).collect()
        }
        message => vec![message],
    }
}

impl Trouble {
    /// The other site closed the connection with this code, or without one.
    #[cfg(feature = "server")]
    pub(crate) fn closed(code: Option<u16>) -> Self {
        Trouble::Closed(code.map(|code| CloseFrame { code: code.into(), reason: "".into() }))
    }

    /// The other site sent a message that is too large.
    pub(crate) fn too_large(size: usize, most: usize) -> Self {
        let why = format!("the other site sent a message of {size} bytes; {most} are accepted");
        Trouble::Lost(
            Error::new(ErrorKind::TooLarge, why)
                .with_hint("Ask for fewer records at a time, or raise `Limits::wire.message_bytes`."),
        )
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn lost(error: tungstenite::Error) -> Trouble {
    use tungstenite::error::{CapacityError, ProtocolError};
    let why = format!("the connection to the other site is lost: {error}");
    Trouble::Lost(match &error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => return Trouble::Closed(None),
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            return Trouble::too_large(*size, *max_size);
        }
        tungstenite::Error::Io(_) | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Error::new(ErrorKind::Disconnected, why).with_hint(AGAIN).with_source(error)
        }
        _ => Error::new(ErrorKind::Protocol, why).with_source(error),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::client::Auth;

    #[test]
    fn a_site_that_looked_at_the_header_is_never_asked_with_a_query() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let way = Way::to(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let script = std::thread::spawn(move || {
            let socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 22\r\n\r\nMissing authentication").unwrap();
            listener.set_nonblocking(true).unwrap();
            (socket, String::from_utf8(asked).unwrap(), listener)
        });
        let pass = Auth::ticket("secret-ticket").pass().unwrap();
        let (options, budget) = (ConnectOptions::default(), Budget::new(Duration::from_secs(20), &[]));
        let first = way.open(&pass, &options, &budget).unwrap();
        let error = way.open(&pass, &options, &budget).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        let (_socket, asked, listener) = script.join().unwrap();
        assert!(asked.starts_with("GET /sync/websocket?vsn=2.0.0 HTTP/1.1\r\n"), "{asked}");
        assert_eq!(listener.accept().err().unwrap().kind(), io::ErrorKind::WouldBlock, "it was not asked once more");
        drop(first);
    }
}
