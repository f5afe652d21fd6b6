//! One-off pairings by a code.

use time::OffsetDateTime;
use uuid::Uuid;

words! {
    /// Which way the rows of a session or transfer go, seen from this site.
    pub enum Direction("direction") {
        /// The other site pulls from this one.
        Send = "send",
        /// This site pulls from the other.
        Receive = "receive",
    }
}

/// A stored session, without its code: the code is known only to whom it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    /// The session's own id.
    pub uuid: Uuid,
    /// Which way the rows go.
    pub direction: Direction,
    /// Where it stands.
    pub status: SessionStatus,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// From when on its code no longer works.
    pub expires_at: OffsetDateTime,
    /// When its code was used.
    pub used_at: Option<OffsetDateTime>,
    /// Who used it: the address, as the host saw it.
    pub used_by: Option<String>,
}

words! {
    /// Where a session stands.
    pub enum SessionStatus("session status") {
        /// Its code works.
        Active = "active",
        /// Its code was used: codes work once.
        Used = "used",
        /// Its time is over.
        Expired = "expired",
    }
}
