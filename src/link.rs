//! A client of a site in the same process: the channels of both ends are those of a WebSocket, and messages go from one to the
//! other by calls.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use tungstenite::Message;

use crate::client::{Auth, Client, ConnectOptions, Near, Outcome, Refusal, Transport, Trouble};
use crate::error::Result;
use crate::limits::Limits;
use crate::serve::channel::IDLE_AFTER;
use crate::serve::{ChannelSession, CloseCode, Handler, Reply};
use crate::site::Site;
use crate::wire::{REASON_HEADER, STATUS_HEADER};

/// What the client says it is.
const USER_AGENT: &str = concat!("rowferry/", env!("CARGO_PKG_VERSION"));

impl Client {
    /// Connects to a site in this process, without a socket. For the rest it is as over a WebSocket: codes are spent, access is
    /// decided and pulls are counted the same way, and a connection that is lost is made again. The peer has no address, so that a
    /// connection which allows only some addresses refuses it.
    ///
    /// It starts no thread but the client's own for [heartbeats](ConnectOptions::heartbeat): the site answers on the thread that
    /// asks. Time-outs and cancellation are noticed between answers and between pages. A client without heartbeats does not tell the
    /// site that nothing is asked: a snapshot of the tables stays open until the next call, or until the client is dropped.
    ///
    /// Each link counts wrong codes for itself, and does not know the pulls that another one left: [`Client::link_to`] shares a
    /// handler.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let (shop_db, backup_db) = (folder.path().join("shop.db"), folder.path().join("backup.db"));
    /// # rusqlite::Connection::open(&shop_db)?.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY); INSERT INTO users VALUES (1)")?;
    /// use rowferry::{Auth, Client, ConnectOptions, Direction, Site, PullOptions};
    ///
    /// let (shop, backup) = (Site::open(&shop_db)?, Site::open(&backup_db)?);
    /// let session = shop.sessions().create(Direction::Send)?;
    /// let client = Client::link(&shop, Auth::code(session.code()), ConnectOptions::default())?;
    /// let report = client.pull(&backup, PullOptions::new())?;
    /// assert!(report.is_clean());
    /// assert_eq!(shop.table_checksum("users")?, backup.table_checksum("users")?);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))] fn main() {}
    /// ```
    ///
    /// # Errors
    /// Those of [`Client::connect`], but for those of the network.
    pub fn link(site: &Site, auth: Auth, options: ConnectOptions) -> Result<Client> {
        Client::link_to(&site.handler(), auth, options)
    }

    /// [`Client::link`] to what answers for a site: wrong codes and passwords are counted, and pulls resumed, together with
    /// all that goes through this handler and its clones.
    ///
    /// # Errors
    /// Those of [`Client::link`].
    pub fn link_to(handler: &Handler, auth: Auth, options: ConnectOptions) -> Result<Client> {
        let name = format!("link:{}", handler.site().uuid()?);
        Client::near(Box::new(Served { name, handler: handler.clone() }), auth, options)
    }
}

/// A site that a client of this process can connect to.
struct Served {
    name: String,
    handler: Handler,
}

impl Near for Served {
    fn name(&self) -> &str {
        &self.name
    }

    fn enter(&self, given: &str, limits: &Limits) -> std::result::Result<Box<dyn Transport>, Refusal> {
        match self.handler.let_in(given, USER_AGENT) {
            Ok(session) => Ok(Box::new(Link::new(session, self.handler.site().limits(), limits))),
            Err(answer) => {
                let header = |name: &str| {
                    let value = answer.headers().get(name)?;
                    std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
                };
                let retry_after = header(RETRY_AFTER.as_str());
                let standing = (header(STATUS_HEADER), header(REASON_HEADER));
                let status = answer.status();
                // The status is the answer, also without its text.
                let text = answer.into_body().into_bytes().unwrap_or_default();
                Err(Refusal { status, text: String::from_utf8_lossy(&text).into_owned(), retry_after, standing })
            }
        }
    }
}

/// The other end's channel, as the client's transport. It does what the host of a [`ChannelSession`] does.
struct Link {
    /// `None` when it was closed.
    session: Option<ChannelSession>,
    /// What the session said and the client did not take yet: answers, and at most one page.
    said: VecDeque<Message>,
    /// Why the session was closed by its own end, which the client learns after the last message.
    closed: Option<CloseCode>,
    /// The largest message to the session and to the client, in bytes.
    largest: (usize, usize),
    /// When the client was heard last, for how long it may be silent, and whether the session knows that it is.
    heard: Instant,
    idle_time: Duration,
    idle: bool,
}

impl Link {
    fn new(session: ChannelSession, there: &Limits, here: &Limits) -> Self {
        Link {
            session: Some(session),
            said: VecDeque::new(),
            closed: None,
            largest: (there.server.body_bytes, here.wire.message_bytes),
            heard: Instant::now(),
            idle_time: there.server.idle_time,
            idle: false,
        }
    }

    /// The session's end closes the connection.
    fn end(&mut self, code: CloseCode) {
        (self.session, self.closed) = (None, Some(code));
    }

    /// Does what is due when nothing has come from the client for a while.
    fn look_at_silence(&mut self) {
        let silent = self.heard.elapsed();
        if silent >= self.idle_time {
            self.end(CloseCode::Protocol);
        } else if silent >= IDLE_AFTER && !self.idle {
            self.session.iter_mut().for_each(ChannelSession::idle);
            self.idle = true;
        }
    }

    /// The next message of the session, or why there is none.
    fn next(&mut self) -> Outcome<Option<Message>> {
        if let Some(message) = self.said.pop_front() {
            return Ok(Some(message));
        }
        let Some(session) = &mut self.session else {
            return Err(Trouble::closed(self.closed.map(CloseCode::number)));
        };
        let page = session.next_binary().map(Message::binary);
        if page.is_some() {
            (self.heard, self.idle) = (Instant::now(), false);
        }
        Ok(page)
    }
}

impl Transport for Link {
    fn send(&mut self, message: Message, _: Instant) -> Outcome<bool> {
        self.look_at_silence();
        let Some(session) = &mut self.session else {
            // As into a socket: that it is closed is read.
            return Ok(true);
        };
        if message.len() > self.largest.0 {
            self.end(CloseCode::TooLarge);
            return Ok(true);
        }
        let reply = match message {
            Message::Text(text) => session.on_text(&text),
            Message::Binary(bytes) => session.on_binary(&bytes),
            _ => Reply::default(),
        };
        self.said.extend(reply.frames.into_iter().map(Message::text));
        if let Some(code) = reply.close {
            self.end(code);
        } else if self.said.is_empty() {
            // What the message asks for is begun or ended now, and not only when the client waits. Further pages are made then.
            self.said.extend(session.next_binary().map(Message::binary));
        }
        (self.heard, self.idle) = (Instant::now(), false);
        Ok(true)
    }

    fn flush(&mut self, _: Instant) -> Outcome<bool> {
        self.look_at_silence();
        Ok(true)
    }

    fn receive(&mut self, until: Instant) -> Outcome<Option<Message>> {
        match self.next()? {
            Some(message) if message.len() > self.largest.1 => Err(Trouble::too_large(message.len(), self.largest.1)),
            Some(message) => Ok(Some(message)),
            None => {
                // The session says nothing without being asked.
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                self.look_at_silence();
                Ok(None)
            }
        }
    }

    fn close(&mut self, _: Instant) {
        if let Some(mut session) = self.session.take() {
            session.on_close();
        }
    }

    fn is_local(&self) -> bool {
        true
    }
}
