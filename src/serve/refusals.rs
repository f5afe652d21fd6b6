//! What a peer on a channel is told when it gets nothing.

use crate::access::Refused;
use crate::error::{Error, ErrorKind};
use crate::wire::excerpt;
use crate::wire::message::text_with_standing;
use crate::wire::native::Refusal;

/// What is told of records, where the details stay here.
pub(super) const FAILED: &str = "Failed to fetch records";

/// What a peer is told of a refusal.
pub(super) fn told(doing: &str, refused: Refused) -> Error {
    match refused {
        Refused::Denied(denial) => denial.to_error(),
        Refused::Failed(error) => failed(doing, &error),
    }
}

/// What a peer is told of a failure: a code, in PhoenixKit's spelling where it has one. The details stay here.
pub(super) fn failed(doing: &str, error: &Error) -> Error {
    if error.kind() == ErrorKind::TableNotFound {
        return Error::new(error.kind(), format!("{doing}: :table_not_found"));
    }
    log::warn!(target: "rowferry::serve", "{doing} for a peer: {}", excerpt(&error.to_string()));
    if error.kind() == ErrorKind::UnknownCollation {
        // It names a table that the peer asked for and a collation, which its schema tells.
        return Error::new(error.kind(), format!("{doing}: {}", error.message()));
    }
    Error::new(error.kind(), format!("{doing}: {}", error.code()))
}

pub(super) fn refused(refused: Refused) -> Error {
    match refused {
        // In words of our own.
        Refused::Failed(error) if error.kind() == ErrorKind::SchemaMismatch => error,
        other => told(FAILED, other),
    }
}

pub(super) fn refusal(request: u32, error: &Error) -> Refusal {
    Refusal {
        request,
        code: error.code().to_owned(),
        text: text_with_standing(error),
        transfer: error.transfer(),
        retry_after: error.retry_after(),
    }
}
