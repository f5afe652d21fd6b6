//! One peer's channel: frames in, frames out, no sockets.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::compare::Comparing;
use super::download::{Ask, Checked, Download, Json, Place, Source, ended};
use super::questions::{Question, Round};
use super::queue::Queue;
use super::refusals::{failed, told};
use super::sending::Sending;
use crate::access::{Account, Asked, Grant, Looked, Refused, ResumeAt, schema_digest};
use crate::domain::names::NameRules;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Code;
use crate::site::Site;
use crate::wire::api::Secret;
use crate::wire::channel::{self as frames, Frame, HEARTBEAT_TOPIC};
use crate::wire::message::{self, Announced, Approval, ApprovalStatus, PeerInfo, RecordsRequest, Request};
use crate::wire::native::Refusal;
use crate::wire::records::Cut;
use crate::wire::{Dialect, records, schema};

/// How long a host waits for the next message before it calls [`ChannelSession::idle`].
pub const IDLE_AFTER: Duration = Duration::from_secs(10);

/// What begins the topic of every channel.
const TOPIC: &str = "transfer:";

/// What stands after that in the topic of a connection's channel, before the connection's id. A peer with the token need not know
/// that id: [`SELF`] means the same.
const CONNECTION: &str = "conn:";

/// See [`CONNECTION`].
const SELF: &str = "self";

/// The topics that a peer may join.
#[derive(Debug)]
pub(super) enum Topics {
    /// That of its code.
    Code(Code),
    /// Those of its connection.
    Connection(Uuid),
    /// That of a peer with a ticket, which tells more than a topic could: [`SELF`].
    Ticket,
}

impl Topics {
    /// The topics of someone who has a token; of nobody else.
    pub(super) fn of_connection(grant: &Grant) -> Self {
        Topics::Connection(grant.connection().unwrap_or_default())
    }

    /// Whether this, which stands after [`TOPIC`], is one of them.
    fn has(&self, name: &str) -> bool {
        match self {
            Topics::Code(code) => code.matches(name),
            Topics::Ticket => name == SELF,
            Topics::Connection(uuid) => {
                name == SELF || name.strip_prefix(CONNECTION).is_some_and(|id| id.eq_ignore_ascii_case(&uuid.to_string()))
            }
        }
    }
}

/// The channel of a peer that was let in: it reads the peer's frames and gives the frames to send back.
/// [`ChannelSession::serve`] does so over a stream; the other methods are for a host whose WebSockets are its own.
///
/// Access is checked again for each request: a connection that was suspended stops at its next page. The first request for the
/// records of a table begins a pull, which is counted, maybe refused, and kept in the history; those that begin where the last
/// page ended belong to it.
///
/// It holds one snapshot of the tables, opened when first needed, from which all answers come; it is let go when the peer is
/// [idle](ChannelSession::idle), and replaced when it is too old or holds back too much
/// ([`StoreLimits::snapshot_time`](crate::StoreLimits::snapshot_time), [`StoreLimits::snapshot_wal_bytes`](crate::StoreLimits::snapshot_wal_bytes)).
pub struct ChannelSession {
    pub(super) site: Site,
    topics: Topics,
    /// What records come from: one snapshot for all of the peer's requests.
    pub(super) source: Source,
    /// The topic that the peer joined, and how values are written to it.
    joined: Option<(String, Dialect)>,
    /// What the peer got to come back with.
    ticket: Option<Secret>,
    /// Pulls that run, by the table's own name.
    pub(super) pulls: HashMap<String, Account>,
    /// The pull that ended last, until it is known that the peer has its last records.
    pub(super) last: Option<Account>,
    /// The largest record that the peer can be sent, in bytes.
    pub(super) record_bytes: usize,
    encoded: Vec<u8>,
    /// The table that is sent in binary pages.
    pub(super) sending: Option<Box<Sending>>,
    /// Why one is not.
    pub(super) refusal: Option<Refusal>,
    /// Those of named pulls.
    pub(super) queue: Queue,
    /// The table that the peer compares with its own.
    pub(super) comparing: Option<Box<Comparing>>,
    /// Whether the peer gets no records: its code is not spent.
    only_looks: bool,
    /// What it asked about tables.
    round: Round,
}

/// What to send to the peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Text messages, in this order. After them come those of [`ChannelSession::next_binary`].
    pub frames: Vec<String>,
    /// The connection is to be closed with this code, after the frames.
    pub close: Option<CloseCode>,
}

/// Why a WebSocket is closed by this end.
#[non_exhaustive]
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
    /// The channel of a peer that was just let in.
    pub(super) fn new(site: &Site, topics: Topics, grant: Grant) -> Self {
        ChannelSession {
            site: site.clone(),
            topics,
            source: Source::new(grant),
            joined: None,
            ticket: None,
            pulls: HashMap::new(),
            last: None,
            record_bytes: usize::MAX,
            encoded: Vec::new(),
            sending: None,
            refusal: None,
            queue: Queue::default(),
            comparing: None,
            only_looks: false,
            round: Round::default(),
        }
    }

    /// The same for a peer that gets no records: it may look at tables, their structures and counts.
    pub(super) fn only_looking(mut self) -> Self {
        self.only_looks = true;
        self
    }

    /// Takes a text message and gives what to send back. What is no frame ends the connection; a request that cannot be
    /// answered gets `response:error` and the channel stays open.
    pub fn on_text(&mut self, text: &str) -> Reply {
        self.source.exporter.let_go_if_spent();
        if self.queue.is_empty() {
            self.source.write_ends();
        }
        self.show_life();
        match frames::decode(text) {
            Ok(frame) => Reply { frames: self.answer(&frame).into_iter().collect(), close: None },
            Err(error) => {
                log::debug!(target: "rowferry::serve", "a peer is refused: {error}");
                let close = if error.close_code() == 1007 { CloseCode::InvalidData } else { CloseCode::Protocol };
                Reply { frames: Vec::new(), close: Some(close) }
            }
        }
    }

    /// Takes a binary message. Only rowferry peers send such: they ask for pages, which [`ChannelSession::next_binary`] gives.
    /// Those of others are ignored, as in PhoenixKit.
    pub fn on_binary(&mut self, message: &[u8]) -> Reply {
        self.source.exporter.let_go_if_spent();
        if !self.is_with_rowferry() || self.only_looks {
            return Reply::default();
        }
        match self.asked(message) {
            Ok(()) => Reply::default(),
            Err(error) => {
                log::debug!(target: "rowferry::serve", "a peer is refused: {error}");
                Reply { frames: Vec::new(), close: Some(CloseCode::Protocol) }
            }
        }
    }

    /// Whether the peer has joined as one of rowferry.
    pub(super) fn is_with_rowferry(&self) -> bool {
        matches!(self.joined, Some((_, Dialect::Rowferry)))
    }

    /// The peer says goodbye: it has all that it was sent. One whose connection is lost may lack the last page.
    pub fn on_close(&mut self) {
        self.last = None;
        let sending = self.sending.iter_mut().map(|sending| &mut sending.download.account);
        self.pulls.values_mut().chain(sending).for_each(|pull| pull.has_arrived(pull.at()));
        self.end_queue();
    }

    /// Nothing came for a while (10 s, say): lets go of memory and of the snapshot, so that the next request is answered
    /// from a new one. A rowferry peer may be busy writing what it got, and its pull should be of one state: its snapshot
    /// stays until it is too old or holds back too much.
    pub fn idle(&mut self) {
        match self.joined {
            Some((_, Dialect::Rowferry)) => self.source.exporter.let_go_if_spent(),
            _ => self.source.exporter.idle(),
        }
        self.source.write_ends();
        self.show_life();
        self.release();
        self.source.rows = Rows::default();
        self.encoded = Vec::new();
    }

    fn answer(&mut self, frame: &Frame<'_>) -> Option<String> {
        let request = message::decode_request(frame);
        match (request, self.joined.clone()) {
            (Ok(Request::Heartbeat), _) => Some(message::answer_ok(HEARTBEAT_TOPIC, frame.head.reference, None)),
            (Ok(Request::Join { rowferry }), _) => self.join(frame, rowferry),
            // PhoenixKit still serves a peer that left, and says nothing before a join.
            (Ok(Request::Leave | Request::Unknown), _) | (_, None) => None,
            // Who only looks pulls nothing, and has no say about the pull that the code is used for meanwhile.
            (Ok(Request::PullOf { tables }), Some((_, Dialect::Rowferry))) if !self.only_looks => {
                self.source.grant.begins_pull_of(tables);
                None
            }
            (Ok(Request::PullOver), Some((_, Dialect::Rowferry))) if !self.only_looks => {
                self.source.grant.pull_is_over();
                None
            }
            (Ok(Request::PullOf { .. } | Request::PullOver), Some(_)) => None,
            (request, Some((topic, dialect))) => {
                let reference = message::answer_ref(frame)?;
                let answer = request.and_then(|request| self.respond(&request, &topic, reference, dialect));
                if answer.is_err() {
                    self.round.end();
                }
                let exact = dialect == Dialect::Rowferry;
                Some(answer.unwrap_or_else(|error| message::answer_error(&topic, Some(reference), &error, exact)))
            }
        }
    }

    fn join(&mut self, frame: &Frame<'_>, rowferry: Option<Announced>) -> Option<String> {
        let (topic, reference) = (&*frame.head.topic, frame.head.reference);
        // PhoenixKit does not answer joins of topics that are none of its own.
        let name = topic.strip_prefix(TOPIC)?;
        if !self.topics.has(name) {
            return Some(message::answer_join_refused(topic, reference, message::CODE_MISMATCH));
        }
        let peer = match rowferry.map(|_| Ok((self.site.uuid()?, self.site.incarnation()?))) {
            None => None,
            Some(Ok((site, incarnation))) => {
                let features = [
                    message::FEATURE_SNAPSHOT,
                    message::FEATURE_APPROVALS,
                    message::FEATURE_PAGES,
                    message::FEATURE_PULLS,
                    message::FEATURE_TICKETS,
                    message::FEATURE_COMPARE,
                ];
                let features = if self.only_looks { &features[..1] } else { &features[..] };
                let features = features.iter().map(|feature| (*feature).to_owned()).collect();
                let (incarnation, version) = (Some(incarnation), message::ROWFERRY_VERSION);
                Some(PeerInfo { features, incarnation, site, ticket: self.ticket(), version })
            }
            Some(Err(error)) => {
                let refused = failed("Failed to join", &error);
                return Some(message::answer_join_refused(topic, reference, refused.message()));
            }
        };
        self.record_bytes = record_bytes(rowferry);
        let dialect = if peer.is_some() { Dialect::Rowferry } else { Dialect::ReferenceSocket };
        self.joined = Some((topic.to_owned(), dialect));
        Some(message::answer_ok(topic, reference, peer.as_ref()))
    }

    /// What a peer that came by a code gets to come back with when the connection is lost. One that came by a ticket keeps
    /// that one: it has it safely, while a new one might get lost on its way.
    fn ticket(&mut self) -> Option<Secret> {
        if self.ticket.is_none()
            && !self.only_looks
            && let Topics::Code(_) = self.topics
        {
            match self.source.grant.ticket() {
                Ok(ticket) => self.ticket = ticket.map(|ticket| Secret::new(ticket.as_str())),
                // The code is spent: to continue without is better than not at all.
                Err(error) => log::warn!(target: "rowferry::serve", "a peer gets no ticket to resume with: {error}"),
            }
        }
        self.ticket.clone()
    }

    /// # Errors
    /// With the text for `response:error`, which says nothing of this machine.
    fn respond(&mut self, request: &Request, topic: &str, reference: &RawValue, dialect: Dialect) -> Result<String> {
        if self.only_looks && matches!(request, Request::Records(_) | Request::Approvals { .. }) {
            return Err(Error::new(ErrorKind::Refused, "A code that is not to be spent gives no records"));
        }
        // A peer that asks for more has what was sent before.
        self.last = None;
        let goes_on = match request {
            Request::Records(request) => {
                self.take_up(&request.table, request.skip(), dialect);
                running(&self.pulls, &request.table, self.source.grant.site().names())
            }
            _ => None,
        };
        let looked = match self.source.grant.look(goes_on) {
            Ok(looked) => looked,
            Err(refused) => {
                if is_for_good(&refused) {
                    let sending = self.sending.take().map(|sending| sending.download.account);
                    self.pulls.drain().map(|(_, pull)| pull).chain(sending).for_each(|pull| self.source.leave(pull));
                    self.source.write_ends();
                }
                return Err(told("Failed to read settings", refused));
            }
        };
        self.source.exporter.offer(self.source.grant.offer());
        let reference = Some(reference);
        match request {
            Request::Tables => {
                self.asks(Question::Tables, "", dialect)?;
                let tables = self.source.exporter.tables().map_err(|error| failed("Failed to list tables", &error))?;
                let not_copied = match dialect {
                    Dialect::Rowferry => Some(self.source.exporter.not_copied()),
                    Dialect::ReferenceSocket | Dialect::ReferenceHttp => None,
                };
                let not_copied = not_copied.transpose().map_err(|error| failed("Failed to list tables", &error))?;
                Ok(message::answer_tables(topic, reference, &tables, not_copied))
            }
            Request::Schema { table } => {
                self.asks(Question::Schema, table, dialect)?;
                self.visible(table)?;
                let found = self.source.exporter.schema(table).map_err(|error| match error.kind() {
                    ErrorKind::TableNotFound => Error::new(error.kind(), format!("Table not found: {table}")),
                    _ => failed("Failed to get schema", &error),
                })?;
                Ok(message::answer_schema(topic, reference, &schema::encode_schema(&found, dialect)))
            }
            Request::Count { table } => {
                self.asks(Question::Count, table, dialect)?;
                self.visible(table)?;
                let count = self.source.exporter.count(table).map_err(|error| failed("Failed to get count", &error))?;
                Ok(message::answer_count(topic, reference, count))
            }
            Request::Records(request) => self.page(request, looked, topic, reference, dialect),
            Request::Approvals { tables } if dialect == Dialect::Rowferry => self.approvals(tables, topic, reference),
            Request::Capabilities => Ok(message::answer_capabilities(topic, reference)),
            Request::Approvals { .. }
            | Request::Join { .. }
            | Request::Leave
            | Request::Heartbeat
            | Request::PullOf { .. }
            | Request::PullOver
            | Request::Unknown => Err(Error::new(ErrorKind::InvalidInput, "This is no request")),
        }
    }

    fn asks(&mut self, question: Question, table: &str, dialect: Dialect) -> Result<()> {
        let asked = self.round.ask(&mut self.source.grant, question, table, dialect);
        asked.map_err(|refused| told("Failed to look", refused))
    }

    /// Whether the peer may see a table. One that does not exist for it is left to be looked for: what the answer says then
    /// depends on the request.
    pub(super) fn visible(&self, table: &str) -> Result<()> {
        match self.source.grant.table(table) {
            Err(Refused::Denied(denial)) if denial.kind == ErrorKind::TableNotFound => Ok(()),
            Err(refused) => Err(told("Failed to look", refused)),
            Ok(()) => Ok(()),
        }
    }

    fn page(
        &mut self,
        request: &RecordsRequest,
        looked: Looked,
        topic: &str,
        reference: Option<&RawValue>,
        dialect: Dialect,
    ) -> Result<String> {
        const FAILED: &str = "Failed to fetch records";
        if request.limit == 0 {
            self.source.grant.question(false).map_err(|refused| told(FAILED, refused))?;
            return Err(Error::new(ErrorKind::InvalidInput, "The limit must be at least 1"));
        }
        self.visible(&request.table)?;
        let table = self.source.exporter.schema(&request.table).map_err(|error| failed(FAILED, &error))?;
        let (account, checked) = self.account(&table, request, looked)?;
        let place = Place::Offset { table: request.table.clone(), offset: request.skip(), limit: request.limit };
        let page_bytes = self.site.limits().wire.page_bytes;
        self.encoded.clear();
        let cut = Cut { page_bytes, record_bytes: self.record_bytes };
        let mut json = Json { out: &mut self.encoded, dialect, cut, before: "" };
        let ask = Ask { records: request.limit, bytes: page_bytes, checked };
        let next = self.source.next(Download { account, place }, ask, &mut json);
        let (Download { mut account, .. }, sent) = next.map_err(|refused| told(FAILED, refused))?;
        match sent.more && !request.look {
            true => drop(self.pulls.insert(table.name.clone(), account)),
            false => {
                ended(account.completed());
                self.last = (dialect == Dialect::Rowferry).then_some(account);
            }
        }
        let state = (dialect == Dialect::Rowferry).then_some(sent.state);
        let head = records::PageHead { reference, offset: request.offset, has_more: sent.more, state };
        let frame = records::encode_page(topic, head, &self.encoded);
        if self.encoded.len() > page_bytes.saturating_mul(2) {
            // One large record is no reason to hold its memory for all others.
            self.encoded = Vec::new();
        }
        Ok(frame)
    }

    /// Resumes the download of a table that was interrupted when the peer's last channel was lost, if it is back for it.
    fn take_up(&mut self, table: &str, records: u64, dialect: Dialect) {
        if dialect == Dialect::Rowferry
            && running(&self.pulls, table, self.source.grant.site().names()).is_none()
            && let Some(pull) = self.source.grant.take_up(table, records, ResumeAt::Offset)
        {
            self.pulls.insert(pull.table().to_owned(), pull);
        }
    }

    /// The download that a page belongs to: the one of its table that runs, if the page begins where the last one ended, or a new
    /// one. With what is known of whether the peer may have the page.
    fn account(&mut self, table: &TableSchema, request: &RecordsRequest, looked: Looked) -> Result<(Account, Checked)> {
        const FAILED: &str = "Failed to fetch records";
        let goes_on = self.source.exporter.goes_on(&table.name, request.skip(), request.limit);
        let goes_on = goes_on.map_err(|error| failed(FAILED, &error))?;
        match self.pulls.remove(&table.name) {
            Some(mut account) if goes_on || account.at() == request.skip() => {
                // A peer that asks for more has what was sent before.
                account.has_arrived(account.at());
                Ok((account, Checked::Peer(looked)))
            }
            given_up => {
                // One that is not continued is over before the new one is counted.
                drop(given_up);
                let asked = self.source.asked(table).map_err(|error| failed(FAILED, &error))?;
                let begun = self.source.grant.begin(&asked, None);
                let mut account = begun.map_err(|refused| told(FAILED, refused))?;
                account.begins_after(request.skip());
                Ok((account, Checked::Page))
            }
        }
    }

    /// How the pulls of these tables stand with the people here.
    fn approvals(&mut self, tables: &[String], topic: &str, reference: Option<&RawValue>) -> Result<String> {
        const FAILED: &str = "Failed to look for approvals";
        let (mut known, mut answers) = (Vec::new(), Vec::new());
        for asked in tables {
            let own = self.visible(asked).and_then(|()| match self.source.exporter.schema(asked) {
                Ok(table) => Ok(Asked { table: table.name.clone(), digest: schema_digest(&table), count: None }),
                Err(error) if error.kind() == ErrorKind::TableNotFound => {
                    Err(Error::new(error.kind(), format!("Table not found: {asked}")))
                }
                Err(error) => Err(failed(FAILED, &error)),
            });
            match own {
                Ok(own) => known.push((asked.clone(), own)),
                Err(error) if matches!(error.kind(), ErrorKind::TableNotFound | ErrorKind::TableNotAllowed) => {
                    answers.push(Approval {
                        reason: Some(error.message().to_owned()),
                        status: ApprovalStatus::Denied,
                        table: asked.clone(),
                        transfer_uuid: None,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        let Source { grant, exporter, .. } = &mut self.source;
        let approvals = grant.approvals(&known, |table| exporter.count(table));
        answers.extend(approvals.map_err(|refused| told(FAILED, refused))?);
        Ok(message::answer_approvals(topic, reference, &answers))
    }
}

impl Drop for ChannelSession {
    fn drop(&mut self) {
        let pulls = self.pulls.drain().map(|(_, pull)| pull);
        let pulls = pulls.chain(self.sending.take().map(|sending| sending.download.account)).chain(self.last.take());
        for pull in pulls {
            // A rowferry peer may come back and resume; one of PhoenixKit begins again.
            match self.joined {
                Some((_, Dialect::Rowferry)) => self.source.grant.leave(pull),
                _ => self.source.leave(pull),
            }
        }
        self.drop_queue();
        self.source.grant.has_left();
    }
}

impl fmt::Debug for ChannelSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialect = self.joined.as_ref().map(|(_, dialect)| dialect);
        f.debug_struct("ChannelSession").field("joined", &dialect).finish_non_exhaustive()
    }
}

/// Whether a peer that is refused so cannot come back, either.
fn is_for_good(refused: &Refused) -> bool {
    matches!(refused, Refused::Denied(denial) if matches!(denial.kind, ErrorKind::InvalidToken | ErrorKind::InvalidCode))
}

/// The pull of a table that runs, however the peer spells its name where `names` lets it.
fn running<'p>(pulls: &'p HashMap<String, Account>, table: &str, names: NameRules) -> Option<&'p Account> {
    let spelt = || pulls.iter().find(|(name, _)| names.same(name, table)).map(|(_, pull)| pull);
    pulls.get(table).or_else(spelt)
}

/// The largest record that fits into a message to this peer, with room for what stands around it.
fn record_bytes(rowferry: Option<Announced>) -> usize {
    let message =
        rowferry.and_then(|peer| peer.message_bytes).map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    message.saturating_sub(1_024)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::limits::Limits;

    use crate::access::{Access, Caller};
    use crate::domain::session::Direction;

    /// Stands for the session's code in what is said.
    const CODE: &str = "KW6Z6HB6";

    fn site(limits: Limits) -> (tempfile::TempDir, Site) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database
            .execute_batch(
                "CREATE TABLE memberships (org TEXT NOT NULL, member INTEGER NOT NULL, role TEXT, PRIMARY KEY (org, member));
                 INSERT INTO memberships VALUES ('acme', 1, 'owner'), ('acme', 2, 'member'), ('zeta', 1, NULL);
                 CREATE TABLE many (id INTEGER PRIMARY KEY, v TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
                 INSERT INTO many SELECT i, 'row ' || i FROM n;
                 CREATE TABLE secret (id INTEGER PRIMARY KEY);
                 CREATE VIEW a_view AS SELECT 1;",
            )
            .unwrap();
        let site = Site::builder().limits(limits).hide_tables(["secret"]).open(&path).unwrap();
        (folder, site)
    }

    fn session(site: &Site) -> ChannelSession {
        let session = site.sessions().create(Direction::Send).unwrap();
        let (_, grant) = Access::new(site).by_code(session.code(), None, &Caller::default()).unwrap();
        ChannelSession::new(site, Topics::Code(Code::parse(CODE).unwrap()), grant)
    }

    fn joined(site: &Site) -> ChannelSession {
        let mut session = session(site);
        let join = r#"[null,"1","transfer:KW6Z6HB6","phx_join",{"receiver_info":{"project":"p"}}]"#;
        let ok = r#"[null,"1","transfer:KW6Z6HB6","phx_reply",{"response":{},"status":"ok"}]"#;
        assert_eq!(say(&mut session, join), [ok]);
        session
    }

    fn say(session: &mut ChannelSession, text: &str) -> Vec<String> {
        let reply = session.on_text(text);
        assert_eq!(reply.close, None, "{text}");
        reply.frames
    }

    /// Asks, and gives the answer's event and payload as text.
    fn ask(session: &mut ChannelSession, event: &str, payload: &str) -> String {
        let frames = say(session, &format!(r#"[null,"9","transfer:KW6Z6HB6","request:{event}",{payload}]"#));
        assert_eq!(frames.len(), 1, "{event} {payload}");
        let answer = frames[0].strip_prefix(r#"[null,null,"transfer:KW6Z6HB6","response:"#).unwrap();
        answer.strip_suffix(']').unwrap().to_owned()
    }

    #[test]
    fn heartbeats_and_joins() {
        let (_folder, site) = site(Limits::default());
        let mut session = session(&site);
        let silence: [String; 0] = [];
        assert_eq!(say(&mut session, r#"[null, "1", "transfer:KW6Z6HB6", "request:tables", {"ref": "1"}]"#), silence);
        assert_eq!(
            say(&mut session, r#"[null, "2", "phoenix", "heartbeat", {}]"#),
            [r#"[null,"2","phoenix","phx_reply",{"response":{},"status":"ok"}]"#]
        );
        assert_eq!(
            say(&mut session, r#"[null, "3", "transfer:XXXXXXXX", "phx_join", {}]"#),
            [r#"[null,"3","transfer:XXXXXXXX","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#]
        );
        assert_eq!(say(&mut session, r#"[null, "10", "room:1", "phx_join", {}]"#), silence);
        assert_eq!(
            say(&mut session, r#"["7", 8, "transfer:KW6Z6HB6", "phx_join", "x"]"#),
            [r#"[null,8,"transfer:KW6Z6HB6","phx_reply",{"response":{},"status":"ok"}]"#]
        );
        assert_eq!(say(&mut session, r#"[null, "11", "transfer:KW6Z6HB6", "phx_leave", {}]"#), silence);
        assert_eq!(say(&mut session, r#"[null, "12", "transfer:KW6Z6HB6", "request:nothing", {"ref": "1"}]"#), silence);
        assert_eq!(ask(&mut session, "count", r#"{"table":"many","ref":"1"}"#), r#"count",{"count":250,"ref":"1"}"#);
        assert_eq!(session.on_binary(b"x"), Reply::default());
    }

    #[test]
    fn answers_as_the_reference_gives_them() {
        let (_folder, site) = site(Limits::default());
        let mut session = joined(&site);
        for (event, payload, answer) in [
            (
                "capabilities",
                r#"{"ref":"12"}"#,
                r#"capabilities",{"capabilities":{"features":["list_tables","get_schema","fetch_records"],"phoenix_kit_version":"0.1.6","version":"1.0.0"},"ref":"12"}"#,
            ),
            ("capabilities", r#"{"ref":{"a":[1]}}"#, ""),
            (
                "tables",
                r#"{"ref":"13"}"#,
                r#"tables",{"ref":"13","tables":[{"estimated_count":250,"name":"many"},{"estimated_count":3,"name":"memberships"}]}"#,
            ),
            ("schema", r#"{"ref":"20","table":"ghost"}"#, r#"error",{"error":"Table not found: ghost","ref":"20"}"#),
            ("schema", r#"{"ref":"20","table":"a_view"}"#, r#"error",{"error":"Table not found: a_view","ref":"20"}"#),
            ("schema", r#"{"ref":"20","table":"secret"}"#, r#"error",{"error":"Table not found: secret","ref":"20"}"#),
            (
                "count",
                r#"{"ref":"23","table":"ghost"}"#,
                r#"error",{"error":"Failed to get count: :table_not_found","ref":"23"}"#,
            ),
            (
                "count",
                r#"{"ref":"23","table":"rowferry_sessions"}"#,
                r#"error",{"error":"Failed to get count: :table_not_found","ref":"23"}"#,
            ),
            (
                "records",
                r#"{"limit":100,"offset":0,"ref":"11","table":"ghost"}"#,
                r#"error",{"error":"Failed to fetch records: :table_not_found","ref":"11"}"#,
            ),
            (
                "records",
                r#"{"limit":2,"offset":0,"ref":"8","table":"memberships"}"#,
                r#"records",{"has_more":true,"offset":0,"records":[{"org":"acme","member":1,"role":"owner"},{"org":"acme","member":2,"role":"member"}],"ref":"8"}"#,
            ),
            (
                "records",
                r#"{"limit":2,"offset":2,"ref":"9","table":"memberships"}"#,
                r#"records",{"has_more":false,"offset":2,"records":[{"org":"zeta","member":1,"role":null}],"ref":"9"}"#,
            ),
            (
                "records",
                r#"{"ref":"30","table":"memberships","limit":3,"offset":3}"#,
                r#"records",{"has_more":false,"offset":3,"records":[],"ref":"30"}"#,
            ),
            (
                "records",
                r#"{"ref":"30","table":"memberships","limit":1,"offset":-5}"#,
                r#"records",{"has_more":true,"offset":-5,"records":[{"org":"acme","member":1,"role":"owner"}],"ref":"30"}"#,
            ),
        ] {
            let given = ask(&mut session, event, payload);
            assert!(answer.is_empty() || given == answer, "{given}\n{answer}");
        }
        let schema = ask(&mut session, "schema", r#"{"ref":"12","table":"memberships"}"#);
        let begins = r#"schema",{"ref":"12","schema":{"columns":[{"default":null,"max_length":null,"name":"org","nullable":false,"precision":null,"primary_key":true,"scale":null,"type":"text"}"#;
        assert!(schema.starts_with(begins), "{schema}");
        assert!(schema.ends_with(r#""primary_key":["org","member"],"schema":"public","table":"memberships"}}"#), "{schema}");
        assert!(ask(&mut session, "records", r#"{"ref":"30","table":"many"}"#).contains(r#"{"id":100,"v":"row 100"}],"#));
    }

    #[test]
    fn bad_requests_get_an_error_and_the_channel_goes_on() {
        let (_folder, site) = site(Limits::default());
        let mut session = joined(&site);
        for (event, payload) in [
            ("schema", r#"{"ref":"1"}"#),
            ("schema", r#"{"ref":"1","table":5}"#),
            ("count", r#"{"ref":"1","table":null}"#),
            ("records", r#"{"ref":"1"}"#),
            ("records", r#"{"ref":"1","table":"many","limit":0}"#),
            ("records", r#"{"ref":"1","table":"many","limit":-1}"#),
            ("records", r#"{"ref":"1","table":"many","limit":2.5}"#),
            ("records", r#"{"ref":"1","table":"many","limit":"2"}"#),
            ("records", r#"{"ref":"1","table":"many","offset":"5"}"#),
            ("records", "null"),
            ("records", "[1]"),
        ] {
            let answer = ask(&mut session, event, payload);
            assert!(answer.starts_with(r#"error",{"error":"The "#), "{payload}: {answer}");
        }
        assert_eq!(say(&mut session, r#"[null,"1","phoenix","heartbeat",{}]"#).len(), 1);
    }

    #[test]
    fn junk_ends_the_connection() {
        let (_folder, site) = site(Limits::default());
        let deep = "[".repeat(100_000);
        for (text, close) in [
            ("hello", CloseCode::InvalidData),
            ("", CloseCode::InvalidData),
            (deep.as_str(), CloseCode::InvalidData),
            ("5", CloseCode::Protocol),
            (r#"{"a":1}"#, CloseCode::Protocol),
            (r#"[null,"1","t","e"]"#, CloseCode::Protocol),
            (r#"[null,"1","t","e",{},1]"#, CloseCode::Protocol),
        ] {
            assert_eq!(joined(&site).on_text(text), Reply { frames: vec![], close: Some(close) }, "{text:.20}");
        }
    }

    #[test]
    fn pages_cut_by_bytes_lose_no_row_of_a_client_that_moves_by_its_limit() {
        let (_folder, site) = site(Limits::with(|limits| limits.wire.page_bytes = 500));
        for by_limit in [true, false] {
            let mut session = joined(&site);
            let (mut offset, mut ids, mut pages) = (0, Vec::new(), 0);
            loop {
                let payload = format!(r#"{{"limit":100,"offset":{offset},"ref":"1","table":"many"}}"#);
                let answer = ask(&mut session, "records", &payload);
                assert!(answer.len() < 1000);
                let payload: serde_json::Value = serde_json::from_str(answer.strip_prefix(r#"records","#).unwrap()).unwrap();
                let page: Vec<_> =
                    payload["records"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect();
                assert_eq!(payload["offset"], offset);
                offset += if by_limit { 100 } else { page.len() };
                ids.extend(page);
                pages += 1;
                if payload["has_more"] == false {
                    break;
                }
            }
            assert_eq!(ids, (1..=250).collect::<Vec<_>>());
            assert!(pages > 10);
        }
    }

    #[test]
    fn rowferry_gets_more_than_the_reference() {
        let (folder, site) = site(Limits::default());
        let mut session = session(&site);
        let join = r#"[null,"1","transfer:KW6Z6HB6","phx_join",{"receiver_info":{"rowferry":{"version":1}}}]"#;
        let reply = say(&mut session, join).remove(0);
        assert!(reply.contains(&site.uuid().unwrap().to_string()), "{reply}");
        let first = ask(&mut session, "records", r#"{"ref":"1","table":"many","limit":1}"#);
        let (_, state) = first.split_once(r#""ref":"1","state":"#).unwrap();
        let database = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        database.execute("DELETE FROM many WHERE id > 200", []).unwrap();
        assert_eq!(ask(&mut session, "count", r#"{"ref":"1","table":"many"}"#), r#"count",{"count":250,"ref":"1"}"#);
        // A pull may be busy writing for long: it reads on from the state that it began with.
        session.idle();
        let next = ask(&mut session, "records", r#"{"ref":"1","table":"many","limit":1}"#);
        assert!(next.ends_with(&format!(r#""state":{state}"#)), "{next}");
        assert_eq!(ask(&mut session, "count", r#"{"ref":"1","table":"many"}"#), r#"count",{"count":250,"ref":"1"}"#);
    }

    #[test]
    fn a_silent_peer_holds_no_snapshot() {
        let (folder, site) = site(Limits::default());
        let mut session = joined(&site);
        let count = |session: &mut ChannelSession| ask(session, "count", r#"{"ref":"1","table":"many"}"#);
        assert_eq!(count(&mut session), r#"count",{"count":250,"ref":"1"}"#);
        let database = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        database.execute("DELETE FROM many WHERE id > 200", []).unwrap();
        assert_eq!(count(&mut session), r#"count",{"count":250,"ref":"1"}"#);
        session.idle();
        assert_eq!(count(&mut session), r#"count",{"count":200,"ref":"1"}"#);
    }

    #[test]
    fn switching_sync_off_holds_at_once() {
        let (_folder, site) = site(Limits::default());
        let mut session = joined(&site);
        site.settings().set_enabled(false).unwrap();
        for event in ["tables", "capabilities"] {
            assert_eq!(ask(&mut session, event, r#"{"ref":"1"}"#), r#"error",{"error":"Module disabled","ref":"1"}"#);
        }
        site.settings().set_enabled(true).unwrap();
        assert!(ask(&mut session, "tables", r#"{"ref":"1"}"#).starts_with("tables"));
    }

    #[test]
    fn failures_of_the_store_reveal_nothing() {
        let (folder, site) = site(Limits::default());
        let mut session = joined(&site);
        let database = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        database.execute("INSERT OR REPLACE INTO rowferry_settings VALUES ('enabled', 'perhaps')", []).unwrap();
        let answer = ask(&mut session, "tables", r#"{"ref":"1"}"#);
        assert_eq!(answer, r#"error",{"error":"Failed to read settings: database_corrupt","ref":"1"}"#);
        assert!(!format!("{session:?}").contains(CODE));
    }
}
