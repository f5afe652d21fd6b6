//! What an error means for the pull it came to.

use crate::error::ErrorKind;

/// Whether the whole pull is over, and not one table only: the other side refuses the connection.
pub(super) fn ends_all(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidToken
            | ErrorKind::ConnectionNotActive
            | ErrorKind::ConnectionExpired
            | ErrorKind::DownloadLimit
            | ErrorKind::RecordLimit
            | ErrorKind::AddressNotAllowed
            | ErrorKind::OutsideAllowedHours
            | ErrorKind::PasswordRequired
            | ErrorKind::InvalidPassword
            | ErrorKind::Disabled
            | ErrorKind::TakenOver
            | ErrorKind::PullLimit
    )
}

/// Whether an error of the other site says nothing of what was asked for: the way there is broken, a message was damaged on it, or its
/// database cannot be read just now.
pub(super) fn is_transient(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Disconnected
            | ErrorKind::Unreachable
            | ErrorKind::Timeout
            | ErrorKind::Damaged
            | ErrorKind::Locked
            | ErrorKind::DiskFull
            | ErrorKind::Io
    )
}

/// Whether what went wrong may be right the next time: then the table resumes where it was.
pub(super) fn is_resumable(kind: ErrorKind) -> bool {
    kind.is_retryable()
        || matches!(
            kind,
            ErrorKind::Cancelled
                | ErrorKind::TakenOver
                | ErrorKind::DiskFull
                | ErrorKind::ReadOnly
                | ErrorKind::Io
                | ErrorKind::Database
                | ErrorKind::System
                | ErrorKind::PullLimit
                | ErrorKind::Stopped
        )
}
