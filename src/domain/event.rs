//! What happened to connections and transfers, for audits.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::connection::Metadata;

words! {
    /// What happened.
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
        /// A transfer was called off.
        TransferCancelled = "transfer.cancelled",
        /// A transfer was deleted from the history.
        TransferDeleted = "transfer.deleted",
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
