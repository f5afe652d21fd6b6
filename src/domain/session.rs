//! One-off pairings by a code.

use time::OffsetDateTime;
use uuid::Uuid;

string_enum! {
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
#[non_exhaustive]
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
    /// With what who used the code may come back, until its pull has completed; `None` if it cannot.
    pub ticket: Option<TicketInfo>,
}

/// The ticket of a session whose code is used: what its receiver comes back with when the pull is interrupted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TicketInfo {
    /// From when on it no longer works.
    pub expires_at: OffsetDateTime,
    /// The tables that it is good for: those of the pull that began with the code. `None` before the pull begins, and where the receiver
    /// is of a version that does not tell them: then it is good for all.
    pub tables: Option<Vec<String>>,
    /// The id that the receiver gave: with another one it does not work. `None` where the receiver is of a version that gives none.
    pub receiver: Option<Uuid>,
}

string_enum! {
    /// Where a session stands.
    #[non_exhaustive]
    pub enum SessionStatus("session status") {
        /// Its code works.
        Active = "active",
        /// Its code was used: codes work once.
        Used = "used",
        /// Its time is over.
        Expired = "expired",
    }
}
