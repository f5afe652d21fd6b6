//! What happened to connections and transfers, for audits.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::connection::Metadata;
use crate::domain::text::without_hidden;

string_enum! {
    /// What happened.
    #[non_exhaustive]
    pub enum EventKind("kind of event") {
        /// A connection was made here.
        ConnectionCreated = "connection.created",
        /// Another site registered a connection here.
        ConnectionRegistered = "connection.registered",
        /// A connection's policy, name or password was changed.
        ConnectionUpdated = "connection.updated",
        /// A pending connection was approved.
        ConnectionApproved = "connection.approved",
        /// A connection was suspended.
        ConnectionSuspended = "connection.suspended",
        /// A connection works again.
        ConnectionReactivated = "connection.reactivated",
        /// A connection was revoked.
        ConnectionRevoked = "connection.revoked",
        /// A date or limit of a connection has passed.
        ConnectionExpired = "connection.expired",
        /// A connection was deleted.
        ConnectionDeleted = "connection.deleted",
        /// A connection has a new token.
        ConnectionTokenRotated = "connection.token_rotated",
        /// The other site was told of a change, or could not be.
        ConnectionNotified = "connection.notified",
        /// A request to register a connection was refused.
        RegistrationRefused = "registration.refused",
        /// The code of a session was used up.
        SessionUsed = "session.used",
        /// The pull that a session's code began was resumed with its ticket.
        SessionResumed = "session.resumed",
        /// A pull or call was refused.
        AccessDenied = "access.denied",
        /// A transfer was made.
        TransferCreated = "transfer.created",
        /// A transfer waits for approval.
        TransferApprovalRequested = "transfer.approval_requested",
        /// A transfer was approved.
        TransferApproved = "transfer.approved",
        /// A transfer was denied.
        TransferDenied = "transfer.denied",
        /// Nobody approved a transfer in time.
        TransferExpired = "transfer.expired",
        /// Records began to move.
        TransferStarted = "transfer.started",
        /// All records were moved.
        TransferCompleted = "transfer.completed",
        /// An error ended a transfer.
        TransferFailed = "transfer.failed",
        /// A transfer was cancelled.
        TransferCancelled = "transfer.cancelled",
        /// A transfer was deleted from the history.
        TransferDeleted = "transfer.deleted",
        /// A pull was made of a database that has more than was copied: see [`Report::not_copied`](crate::Report::not_copied).
        PullNotCopied = "pull.not_copied",
        /// This database is a copy of another one: it has a new [incarnation](crate::Site::incarnation).
        SiteCopied = "site.copied",
    }
}

/// Most characters of an actor, and of a text in the details.
const ACTOR: usize = 300;

/// A text that a person or a peer wrote, as it is kept: at most this many characters, those that are not seen made blanks, and
/// none at its ends.
pub(crate) fn cleaned(text: &str, most: usize) -> String {
    without_hidden(text.trim(), most).trim().to_owned()
}

/// Who did something, as it is kept.
pub(crate) fn cleaned_actor(actor: &str) -> String {
    cleaned(actor, ACTOR)
}

/// The details of an event, as they are kept: each text in them is cut and cleaned as an actor is.
pub(crate) fn cleaned_details(details: Metadata) -> Metadata {
    details.into_iter().map(|(name, value)| (name, cleaned_value(value))).collect()
}

/// The depth is that of what this program writes.
fn cleaned_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(cleaned(&text, ACTOR)),
        Value::Array(list) => Value::Array(list.into_iter().map(cleaned_value).collect()),
        Value::Object(fields) => Value::Object(cleaned_details(fields)),
        other => other,
    }
}

/// How many events a list has where nothing else is said.
const LIMIT: u32 = 100;

/// Which events to list: all, unless setters say otherwise. An event must match all of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct EventFilter {
    pub(crate) after: u64,
    pub(crate) connection: Option<Uuid>,
    pub(crate) transfer: Option<Uuid>,
    pub(crate) kinds: Vec<EventKind>,
    pub(crate) newest_first: bool,
    pub(crate) limit: u32,
}

impl Default for EventFilter {
    fn default() -> Self {
        EventFilter { after: 0, connection: None, transfer: None, kinds: Vec::new(), newest_first: false, limit: LIMIT }
    }
}

impl EventFilter {
    /// All events, the oldest first, at most 100 in a list.
    pub fn new() -> Self {
        EventFilter::default()
    }

    /// Those that came after the one with this [number](Event::id): to continue where a list ended.
    pub fn after(mut self, id: u64) -> Self {
        self.after = id;
        self
    }

    /// Those about this connection.
    pub fn connection(mut self, uuid: Uuid) -> Self {
        self.connection = Some(uuid);
        self
    }

    /// Those about this transfer.
    pub fn transfer(mut self, uuid: Uuid) -> Self {
        self.transfer = Some(uuid);
        self
    }

    /// Those of these kinds; none given means all.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = kinds.into_iter().collect();
        self
    }

    /// The newest come first.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Most events in a list. Defaults to 100; at most [`ServerLimits::listed`](crate::ServerLimits::listed) count.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// Something that happened. It was kept in the same transaction as what it tells of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Its number: later events have larger ones.
    pub id: u64,
    /// When it happened.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What happened.
    pub kind: EventKind,
    /// Who did it: what the host said, `peer` and its URL or address, or `maintenance`.
    pub actor: String,
    /// The connection it is about, which may be deleted since.
    pub connection: Option<Uuid>,
    /// The transfer it is about.
    pub transfer: Option<Uuid>,
    /// What else there is to say. Never a secret.
    pub details: Metadata,
}
