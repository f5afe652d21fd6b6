//! One peer's channel: frames in, frames out, no sockets.

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Exporter;
use crate::secret::Code;
use crate::site::Site;
use crate::wire::channel::{self as frames, Frame, HEARTBEAT_TOPIC};
use crate::wire::message::{self, PeerInfo, RecordsRequest, Request};
use crate::wire::{Dialect, records, schema};

/// How long a host waits for the next message before it calls [`ChannelSession::idle`].
pub const IDLE_AFTER: Duration = Duration::from_secs(10);

/// What begins the topic of every channel.
const TOPIC: &str = "transfer:";

/// The channel of a peer that was let in: it reads the peer's frames and gives the frames to send back.
///
/// It holds one snapshot of the tables, opened when first needed, from which all answers come; it is let go when the peer is
/// [idle](ChannelSession::idle), and replaced when it is too old or holds back too much
/// ([`Limits::snapshot_time`](crate::Limits::snapshot_time), [`Limits::snapshot_wal_bytes`](crate::Limits::snapshot_wal_bytes)).
pub struct ChannelSession {
    site: Site,
    code: Code,
    /// How values are written, once the peer has joined.
    joined: Option<Dialect>,
    exporter: Exporter,
    rows: Rows,
    encoded: Vec<u8>,
}

/// What to send to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Text messages, in this order.
    pub frames: Vec<String>,
    /// The connection is to be closed with this code, after the frames.
    pub close: Option<CloseCode>,
}

/// Why a WebSocket is closed by this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The server stops.
    GoingAway,
    /// The peer broke the protocol, or was silent for too long.
    Protocol,
    /// A message was not of the form that its type says.
    InvalidData,
    /// A message was too large.
    TooLarge,
}

impl CloseCode {
    /// The number that stands in the close frame.
    pub fn number(self) -> u16 {
        match self {
            CloseCode::GoingAway => 1001,
            CloseCode::Protocol => 1002,
            CloseCode::InvalidData => 1007,
            CloseCode::TooLarge => 1009,
        }
    }
}

impl ChannelSession {
    /// The channel of a peer whose code was just used up.
    pub(crate) fn new(site: &Site, code: Code) -> Self {
        ChannelSession {
            site: site.clone(),
            code,
            joined: None,
            exporter: site.exporter(),
            rows: Rows::default(),
            encoded: Vec::new(),
        }
    }

    /// Takes a text message and gives what to send back. What is no frame ends the connection; a request that cannot be
    /// answered gets `response:error` and the channel goes on.
    pub fn on_text(&mut self, text: &str) -> Reply {
        match frames::decode(text) {
            Ok(frame) => Reply { frames: self.answer(&frame).into_iter().collect(), close: None },
            Err(error) => {
                log::debug!("a peer is sent away: {error}");
                let close = if error.close_code() == 1007 { CloseCode::InvalidData } else { CloseCode::Protocol };
                Reply { frames: Vec::new(), close: Some(close) }
            }
        }
    }

    /// Takes a binary message. Nothing in this protocol is binary: it is ignored, as in the reference.
    pub fn on_binary(&mut self, _message: &[u8]) -> Reply {
        Reply::default()
    }

    /// Nothing came for a while ([`IDLE_AFTER`]): lets go of the snapshot and of memory. The next request is answered from
    /// a new snapshot.
    pub fn idle(&mut self) {
        self.exporter.idle();
        self.rows = Rows::default();
        self.encoded = Vec::new();
    }

    fn answer(&mut self, frame: &Frame<'_>) -> Option<String> {
        let request = message::decode_request(frame);
        match (request, self.joined) {
            (Ok(Request::Heartbeat), _) => Some(message::answer_ok(HEARTBEAT_TOPIC, frame.head.reference, None)),
            (Ok(Request::Join { rowferry }), _) => self.join(frame, rowferry),
            // The reference goes on serving a peer that left, and says nothing before a join.
            (Ok(Request::Leave | Request::Unknown), _) | (_, None) => None,
            (request, Some(dialect)) => {
                let reference = message::answer_ref(frame)?;
                let answer = request.and_then(|request| self.serve(&request, reference, dialect));
                Some(answer.unwrap_or_else(|error| message::answer_error(&self.topic(), Some(reference), error.message())))
            }
        }
    }

    fn join(&mut self, frame: &Frame<'_>, rowferry: Option<u32>) -> Option<String> {
        let (topic, reference) = (&*frame.head.topic, frame.head.reference);
        // The reference does not answer joins of topics that are none of its own.
        let code = topic.strip_prefix(TOPIC)?;
        if !self.code.matches(code) {
            return Some(message::answer_join_refused(topic, reference, message::CODE_MISMATCH));
        }
        let peer = match rowferry.map(|_| self.site.uuid()) {
            None => None,
            Some(Ok(site)) => {
                let features = vec![message::FEATURE_SNAPSHOT.to_owned()];
                Some(PeerInfo { features, site, version: message::ROWFERRY_VERSION })
            }
            Some(Err(error)) => {
                let refused = failed("Failed to join", &error);
                return Some(message::answer_join_refused(topic, reference, refused.message()));
            }
        };
        self.joined = Some(if peer.is_some() { Dialect::Rowferry } else { Dialect::ReferenceSocket });
        Some(message::answer_ok(topic, reference, peer.as_ref()))
    }

    /// # Errors
    /// With the text for `response:error`, which says nothing of this machine.
    fn serve(&mut self, request: &Request, reference: &RawValue, dialect: Dialect) -> Result<String> {
        if !self.site.settings().enabled().map_err(|error| failed("Failed to read settings", &error))? {
            return Err(Error::new(ErrorKind::Disabled, "Module disabled"));
        }
        let (topic, reference) = (self.topic(), Some(reference));
        match request {
            Request::Tables => {
                let tables = self.exporter.tables().map_err(|error| failed("Failed to list tables", &error))?;
                Ok(message::answer_tables(&topic, reference, &tables))
            }
            Request::Schema { table } => {
                let found = self.exporter.schema(table).map_err(|error| match error.kind() {
                    ErrorKind::TableNotFound => Error::new(error.kind(), format!("Table not found: {table}")),
                    _ => failed("Failed to get schema", &error),
                })?;
                Ok(message::answer_schema(&topic, reference, &schema::encode_schema(&found, dialect)))
            }
            Request::Count { table } => {
                let count = self.exporter.count(table).map_err(|error| failed("Failed to get count", &error))?;
                Ok(message::answer_count(&topic, reference, count))
            }
            Request::Records(request) => self.page(request, &topic, reference, dialect),
            Request::Capabilities => Ok(message::answer_capabilities(&topic, reference)),
            Request::Join { .. } | Request::Leave | Request::Heartbeat | Request::Unknown => {
                Err(Error::new(ErrorKind::InvalidInput, "This is no request"))
            }
        }
    }

    fn page(
        &mut self,
        request: &RecordsRequest,
        topic: &str,
        reference: Option<&RawValue>,
        dialect: Dialect,
    ) -> Result<String> {
        if request.limit == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "The limit must be at least 1"));
        }
        let page = self
            .exporter
            .records(&request.table, request.skip(), request.limit, &mut self.rows)
            .map_err(|error| failed("Failed to fetch records", &error))?;
        self.encoded.clear();
        let all = self.rows.len();
        let most = self.site.limits().page_bytes;
        let sent = records::encode_records(&mut self.encoded, &page.table, &self.rows, 0..all, dialect, most);
        if sent < all {
            self.exporter.sent_only(sent as u64);
        }
        let head = records::PageHead {
            reference,
            offset: request.offset,
            has_more: page.more || sent < all,
            state: (dialect == Dialect::Rowferry).then_some(page.state),
        };
        Ok(records::encode_page(topic, head, &self.encoded))
    }

    fn topic(&self) -> String {
        frames::topic(self.code.as_str())
    }
}

impl fmt::Debug for ChannelSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSession").field("joined", &self.joined).finish_non_exhaustive()
    }
}

/// What a peer is told of a failure: a code, in the reference's spelling where it has one. The details stay here.
fn failed(doing: &str, error: &Error) -> Error {
    if error.kind() == ErrorKind::TableNotFound {
        return Error::new(error.kind(), format!("{doing}: :table_not_found"));
    }
    log::warn!("{doing} for a peer: {error}");
    Error::new(error.kind(), format!("{doing}: {}", error.code()))
}
