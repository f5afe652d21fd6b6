//! A channel over a WebSocket.

use std::io::ErrorKind;
use std::time::Instant;

use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::channel::{ChannelSession, CloseCode, IDLE_AFTER, Reply};
use super::socket::Timed;
use crate::clock;
use crate::limits::Limits;
use crate::wire::fragments::{TEXT_FRAGMENT_BYTES, fragments};

/// The most bytes of a binary message in one frame.
const FRAGMENT_BYTES: usize = 1 << 20;

/// Serves a channel to its end. `tail` is what has already arrived after the request.
pub(super) fn serve(stream: impl Timed, tail: Vec<u8>, mut session: ChannelSession, limits: &Limits) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits.server.body_bytes))
        .max_frame_size(Some(limits.server.body_bytes))
        .read_buffer_size(8 << 10);
    let mut socket = WebSocket::from_partially_read(stream, tail, Role::Server, Some(config));
    let closed = match talk(&mut socket, &mut session, limits) {
        Ok(Some(code)) => !close(&mut socket, code, limits),
        Ok(None) => true,
        Err(error) => {
            log::debug!(target: "rowferry::serve", "a channel ended: {error}");
            true
        }
    };
    // The snapshot goes before the wait for the peer's goodbye.
    drop(session);
    socket.into_inner().finish(closed);
}

/// Answers until the peer closes (`None`), or there is a reason to close.
fn talk(
    socket: &mut WebSocket<impl Timed>,
    session: &mut ChannelSession,
    limits: &Limits,
) -> tungstenite::Result<Option<CloseCode>> {
    let mut heard = Instant::now();
    let mut idle = false;
    loop {
        let wait = if idle { limits.server.idle_time } else { limits.server.idle_time.min(IDLE_AFTER) };
        socket.get_mut().read_by(clock::later(heard, wait));
        // Reading also answers pings and closes.
        socket.get_mut().write_within(limits.server.write_time);
        let mut waited = false;
        let reply = match socket.read() {
            Ok(Message::Text(text)) => session.on_text(&text),
            Ok(Message::Binary(bytes)) => session.on_binary(&bytes),
            Ok(Message::Close(_)) => {
                session.on_close();
                Reply::default()
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Reply::default(),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                if heard.elapsed() >= limits.server.idle_time {
                    return Ok(Some(CloseCode::Protocol));
                }
                session.idle();
                (idle, waited) = (true, true);
                Reply::default()
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionAborted => return Ok(Some(CloseCode::GoingAway)),
            Err(Error::ConnectionClosed) => return Ok(None),
            Err(Error::Capacity(error)) => {
                log::debug!(target: "rowferry::serve", "a peer is refused: {error}");
                return Ok(Some(CloseCode::TooLarge));
            }
            Err(Error::Utf8(_)) => return Ok(Some(CloseCode::InvalidData)),
            Err(Error::Protocol(error)) => {
                log::debug!(target: "rowferry::serve", "a peer is refused: {error}");
                return Ok(Some(CloseCode::Protocol));
            }
            Err(error) => return Err(error),
        };
        for frame in reply.frames {
            let most = if session.is_with_rowferry() { usize::MAX } else { TEXT_FRAGMENT_BYTES };
            send(socket, frame.into(), Data::Text, most, limits)?;
        }
        if reply.close.is_some() {
            return Ok(reply.close);
        }
        let mut sent = false;
        while let Some(message) = session.next_binary() {
            if socket.get_mut().stopping() {
                return Ok(Some(CloseCode::GoingAway));
            }
            send(socket, message.into(), Data::Binary, FRAGMENT_BYTES, limits)?;
            sent = true;
            // What the peer has to say meanwhile tells how fast it is, or that it wants no more.
            if socket.get_mut().has_input() {
                break;
            }
        }
        if !waited || sent {
            // Counted from here: what took long to answer is no silence of the peer's.
            (heard, idle) = (Instant::now(), false);
        }
    }
}

/// Sends a message, a large one in fragments: neither end then has to hold it once more in the buffer of its socket.
fn send(
    socket: &mut WebSocket<impl Timed>,
    message: Bytes,
    mut kind: Data,
    most: usize,
    limits: &Limits,
) -> tungstenite::Result<()> {
    for part in fragments(&message, most) {
        let is_last = part.end == message.len();
        let fragment = Frame::message(message.slice(part), OpCode::Data(kind), is_last);
        socket.get_mut().write_within(limits.server.write_time);
        socket.send(Message::Frame(fragment))?;
        kind = Data::Continue;
    }
    Ok(())
}

/// Tells the peer why its channel is closed; `false` when it does not take it.
fn close(socket: &mut WebSocket<impl Timed>, code: CloseCode, limits: &Limits) -> bool {
    socket.get_mut().write_within(limits.server.write_time);
    let frame = CloseFrame { code: code.number().into(), reason: "".into() };
    match socket.close(Some(frame)).and_then(|()| socket.flush()) {
        Ok(()) => true,
        Err(error) => {
            log::debug!(target: "rowferry::serve", "a peer does not hear that its channel is closed: {error}");
            false
        }
    }
}
