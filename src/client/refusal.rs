//! What the texts of a refusal mean. The reference and rowferry refuse in the same words, over the WebSocket and over HTTP.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

const SWITCH_ON: &str = "Ask its people to switch it on.";
const NOT_KNOWN: &str =
    "Ask the other site's people whether the connection still exists; if its token was rotated, set the new one.";
const NOT_ACTIVE: &str = "Ask the other site's people to approve or reactivate the connection.";
const RAISE_LIMIT: &str = "Ask the other site's people to raise the connection's limit.";

/// The error that a known text is; `None` for any other text.
pub(super) fn by_text(text: &str) -> Option<Error> {
    use ErrorKind as Kind;
    let (kind, why, hint) = match text {
        "Invalid code" => {
            (Kind::InvalidCode, "the other site does not know this code", "Ask the other site for a new code.")
        }
        "Code already used" => {
            (Kind::CodeUsed, "this code was used already", "A code works once: ask the other site for a new one.")
        }
        "Module disabled" | "DB Sync module is disabled" | "Sync module is disabled" => {
            (Kind::Disabled, "sync is switched off on the other site", SWITCH_ON)
        }
        "Invalid token" | "Invalid connection" => {
            (Kind::InvalidToken, "the other site does not know this connection's token", NOT_KNOWN)
        }
        "Connection not found" => (Kind::NotFound, "the other site has no such connection", NOT_KNOWN),
        "Connection not active" | "Connection is not active" => {
            (Kind::ConnectionNotActive, "the connection is not active on the other site", NOT_ACTIVE)
        }
        "Connection expired" => (
            Kind::ConnectionExpired,
            "the connection has expired on the other site",
            "Ask the other site's people for a later date, or for a new connection.",
        ),
        "Download limit reached" => (Kind::DownloadLimit, "all pulls that the connection allows were made", RAISE_LIMIT),
        "Record limit reached" => (Kind::RecordLimit, "all records that the connection allows were pulled", RAISE_LIMIT),
        "IP not allowed" => (
            Kind::AddressNotAllowed,
            "the other site does not allow the connection from this address",
            "Ask the other site's people to allow this address.",
        ),
        "Outside allowed hours" => (
            Kind::OutsideAllowedHours,
            "the other site does not allow the connection at this hour",
            "Try again at an allowed hour (UTC).",
        ),
        "Password required" => {
            (Kind::PasswordRequired, "the other site asks for a password", "Give the password that its people set.")
        }
        "Invalid password" => {
            (Kind::InvalidPassword, "the other site does not take this password", "Give the password that its people set.")
        }
        "This connection is not authorised to access that table" => (
            Kind::TableNotAllowed,
            "the connection does not allow this table",
            "Ask the other site's people to allow this table.",
        ),
        "Incoming connections are not allowed" => (
            Kind::Refused,
            "the other site takes no new connections",
            "Ask its people for the connection's token, or to change the setting incoming_mode.",
        ),
        "A connection already exists" => (
            Kind::AlreadyExists,
            "the other site has a connection to this site already",
            "Ask its people to delete the old one first.",
        ),
        "Table not found" => {
            (Kind::TableNotFound, "the other site offers no such table", "List the tables that the other site offers.")
        }
        _ => return None,
    };
    Some(Error::new(kind, why).with_hint(hint))
}

/// The error that a rowferry site's code and text are; `None` for a code that a refusal cannot have.
pub(super) fn by_code(code: &str, text: &str) -> Option<Error> {
    use ErrorKind as Kind;
    // Only what is about the other site's mind: our own failures have codes, too.
    let (kind, hint) = [
        (Kind::InvalidCode, "Ask the other site for a new code."),
        (Kind::InvalidToken, NOT_KNOWN),
        (Kind::NotFound, NOT_KNOWN),
        (Kind::ConnectionNotActive, NOT_ACTIVE),
        (Kind::ConnectionExpired, "Ask the other site's people for a later date, or for a new connection."),
        (Kind::DownloadLimit, RAISE_LIMIT),
        (Kind::RecordLimit, RAISE_LIMIT),
        (Kind::AddressNotAllowed, "Ask the other site's people to allow this address."),
        (Kind::OutsideAllowedHours, "Try again at an allowed hour (UTC)."),
        (Kind::PasswordRequired, "Give the password that its people set."),
        (Kind::InvalidPassword, "Give the password that its people set."),
        (Kind::TableNotAllowed, "Ask the other site's people to allow this table."),
        (Kind::TableNotFound, "List the tables that the other site offers."),
        (Kind::RateLimited, "Wait, then try again."),
        (Kind::TooManyAttempts, "Wait, then try again."),
        (Kind::ApprovalRequired, "Ask the other site's people to approve the transfer, then pull again."),
        (Kind::ApprovalDenied, "Ask the other site's people why; a new pull can be asked for later."),
        (Kind::ApprovalExpired, "Pull again to ask anew."),
        (Kind::InvalidTransition, "Look at how the connection stands on both sides."),
        (Kind::AlreadyExists, "Ask its people to delete the old one first."),
        (Kind::ForbiddenAddress, "Give this site an address that the other one may connect to."),
        (Kind::SelfConnection, "Give the address of another site."),
        (Kind::Disabled, SWITCH_ON),
        (Kind::TooLarge, "Ask for less at a time."),
        (Kind::InvalidInput, "Check what was sent."),
        (Kind::Refused, "Ask the other site's people; its log and events may say more."),
    ]
    .into_iter()
    .find(|(kind, _)| kind.code() == code)?;
    // The words for a known text say more than its repetition.
    match by_text(text) {
        Some(error) if error.kind() == kind => Some(error),
        _ => Some(Error::new(kind, format!("the other site refused: {text}")).with_hint(hint)),
    }
}

/// Too many calls, or guesses: `429`. `retry_after` is the header of that name.
pub(super) fn too_many(kind: ErrorKind, what: &str, retry_after: Option<&str>) -> Error {
    let seconds = retry_after.and_then(|text| text.trim().parse::<u32>().ok());
    let when = retry_after.map_or(String::new(), |when| match seconds {
        Some(seconds) => format!("; it says to wait {seconds} s"),
        None => format!("; it says to wait until {when}"),
    });
    let error = Error::new(kind, format!("{what}{when}"));
    match seconds {
        Some(seconds) => error.with_retry_after(Duration::from_secs(seconds.into())),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_have_their_kind_and_a_hint() {
        for (text, kind) in [
            ("Invalid token", ErrorKind::InvalidToken),
            ("Connection not active", ErrorKind::ConnectionNotActive),
            ("Connection expired", ErrorKind::ConnectionExpired),
            ("Download limit reached", ErrorKind::DownloadLimit),
            ("Record limit reached", ErrorKind::RecordLimit),
            ("IP not allowed", ErrorKind::AddressNotAllowed),
            ("Outside allowed hours", ErrorKind::OutsideAllowedHours),
            ("Invalid password", ErrorKind::InvalidPassword),
            ("Invalid connection", ErrorKind::InvalidToken),
        ] {
            let error = by_text(text).unwrap();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.hint().is_some_and(|hint| hint.ends_with('.')), "{text}");
        }
        assert!(by_text("Ghost").is_none() && by_text("").is_none());
    }

    #[test]
    fn how_long_to_wait() {
        let error = too_many(ErrorKind::RateLimited, "too many calls", Some("30"));
        assert_eq!(
            (error.message(), error.retry_after()),
            ("too many calls; it says to wait 30 s", Some(Duration::from_secs(30)))
        );
        let error = too_many(ErrorKind::RateLimited, "too many calls", Some("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert!(error.message().contains("until Wed") && error.retry_after().is_none());
        assert_eq!(too_many(ErrorKind::RateLimited, "too many calls", None).message(), "too many calls");
    }
}
