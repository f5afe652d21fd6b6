//! What a refusal means. PhoenixKit and rowferry refuse in the same words over the WebSocket and over HTTP; what may be said
//! on a channel is known to [`refusals`](crate::wire::message), what only HTTP says is added here.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::wire::message::{LONGEST_WAIT, hint, reason, reason_of_text};

/// The error that a known text is; `None` for any other text.
pub(super) fn by_text(text: &str) -> Option<Error> {
    let kind = match text {
        "Invalid code" => ErrorKind::InvalidCode,
        "Code already used" => ErrorKind::CodeUsed,
        "DB Sync module is disabled" | "Sync module is disabled" => ErrorKind::Disabled,
        "Invalid connection" => ErrorKind::InvalidToken,
        "Connection not found" => ErrorKind::NotFound,
        "Incoming connections are not allowed" => ErrorKind::Refused,
        "A connection already exists" => ErrorKind::AlreadyExists,
        _ => reason_of_text(text)?,
    };
    Some(refused(kind, text))
}

/// The error that a rowferry site's code and text are; `None` for a code that is none of a refusal: our own failures have
/// codes, too. `of_transfer` says whether it is about a transfer of the other site's.
pub(super) fn by_code(code: &str, text: &str, of_transfer: bool) -> Option<Error> {
    let also = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::InvalidTransition,
        ErrorKind::ForbiddenAddress,
        ErrorKind::SelfConnection,
        ErrorKind::InvalidInput,
        ErrorKind::TooLarge,
        ErrorKind::Refused,
    ];
    let kind = reason(code, of_transfer).or_else(|| also.into_iter().find(|kind| kind.code() == code))?;
    Some(refused(kind, text))
}

fn refused(kind: ErrorKind, text: &str) -> Error {
    let own = match kind {
        ErrorKind::InvalidCode => "Ask the other site for a new code.",
        ErrorKind::CodeUsed => "A code works once: ask the other site for a new one.",
        ErrorKind::NotFound => "The other site's people may have deleted the connection: pair the two sites again.",
        ErrorKind::AlreadyExists => "Ask the other site's people to delete the old connection first.",
        ErrorKind::InvalidTransition => "Look at how the connection stands on both sides.",
        ErrorKind::ForbiddenAddress => "Give this site an address that the other one may connect to.",
        ErrorKind::SelfConnection => "Give the address of another site.",
        ErrorKind::TooLarge => "Ask for less at a time.",
        _ => "Ask the other site's people; its log and events may say more.",
    };
    let why = match kind {
        ErrorKind::InvalidCode => "the other site does not know this code".to_owned(),
        ErrorKind::CodeUsed => "this code was used already".to_owned(),
        ErrorKind::Disabled => "sync is switched off on the other site".to_owned(),
        _ => format!("the other site refused: {text}"),
    };
    Error::new(kind, why).with_hint(hint(kind).unwrap_or(own))
}

/// What the other side answered, without the secrets that it was sent: an answer may well repeat the question.
pub(super) fn without<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    /// The shortest beginning of a secret that is worth hiding.
    const BEGINNING: usize = 4;
    let mut text = text.to_owned();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "(..)");
        // A text that was cut short may end within the secret.
        for (length, _) in secret.char_indices().skip(BEGINNING) {
            text = text.replace(&format!("{}...", &secret[..length]), "(..)...");
        }
    }
    text
}

/// Too many calls, or guesses: `429`. `retry_after` is the header of that name.
pub(super) fn too_many(kind: ErrorKind, what: &str, retry_after: Option<&str>) -> Error {
    let seconds = seconds(retry_after);
    // A date is not worth showing a text that the other side chose freely.
    let when = seconds.map_or(String::new(), |seconds| format!("; it says to wait {seconds} s"));
    let error = Error::new(kind, format!("{what}{when}")).with_hint("Wait, then try again.");
    match seconds_to_wait(retry_after) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// How long the header of this name says to wait, if it says so in seconds.
pub(super) fn seconds_to_wait(retry_after: Option<&str>) -> Option<Duration> {
    seconds(retry_after).map(|seconds| Duration::from_secs(seconds.into()).min(LONGEST_WAIT))
}

fn seconds(retry_after: Option<&str>) -> Option<u32> {
    retry_after.and_then(|text| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_have_their_kind_and_a_hint() {
        for (text, kind) in [
            ("Invalid code", ErrorKind::InvalidCode),
            ("Invalid token", ErrorKind::InvalidToken),
            ("Connection not active", ErrorKind::ConnectionNotActive),
            ("Connection expired", ErrorKind::ConnectionExpired),
            ("Download limit reached", ErrorKind::DownloadLimit),
            ("Record limit reached", ErrorKind::RecordLimit),
            ("IP not allowed", ErrorKind::AddressNotAllowed),
            ("Outside allowed hours", ErrorKind::OutsideAllowedHours),
            ("Invalid password", ErrorKind::InvalidPassword),
            ("Invalid connection", ErrorKind::InvalidToken),
            ("Module disabled", ErrorKind::Disabled),
            ("A connection already exists", ErrorKind::AlreadyExists),
        ] {
            let error = by_text(text).unwrap();
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.hint().is_some_and(|hint| hint.ends_with('.')), "{text}");
        }
        assert!(by_text("Ghost").is_none() && by_text("").is_none());
    }

    #[test]
    fn codes_of_refusals_only() {
        for kind in [ErrorKind::ApprovalDenied, ErrorKind::InvalidTransition, ErrorKind::ForbiddenAddress] {
            assert_eq!(by_code(kind.code(), "x", false).map(|error| error.kind()), Some(kind));
        }
        for code in ["database_corrupt", "timeout", "unreachable", "", "nonsense"] {
            assert!(by_code(code, "x", true).is_none(), "{code}");
        }
        let cancelled = |of_transfer| by_code("cancelled", "x", of_transfer).map(|error| error.kind());
        assert_eq!((cancelled(true), cancelled(false)), (Some(ErrorKind::Cancelled), Some(ErrorKind::Refused)));
    }

    #[test]
    fn secrets_are_cut_out() {
        assert_eq!(without("no such token: abc abc", ["abc", ""]), "no such token: (..) (..)");
        assert_eq!(without("no such token: tok-123...", ["tok-123456", "x"]), "no such token: (..)...");
    }

    #[test]
    fn how_long_to_wait() {
        let told = |header| too_many(ErrorKind::RateLimited, "too many calls", header);
        let error = told(Some("30"));
        assert_eq!(error.message(), "too many calls; it says to wait 30 s");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
        assert!(told(Some("4294967295")).retry_after() <= Some(Duration::from_secs(24 * 3600)));
        let error = told(Some("is3W3OM_Jq"));
        assert!(error.message() == "too many calls" && error.retry_after().is_none());
        assert_eq!(told(None).message(), "too many calls");
    }
}
