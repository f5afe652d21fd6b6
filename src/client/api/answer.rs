//! What an answer's status and body mean.

use serde::Deserialize;

use crate::client::refusal::{self, by_code, by_text};
use crate::error::{Error, ErrorKind, Result};
use crate::net::http::HttpAnswer;
use crate::wire::api::Refusal;
use crate::wire::excerpt;
use crate::wire::message::with_standing;

/// Whether there is nothing at the path: a 404 that is not the call's own, which says `success` or `exists` false.
pub(super) fn is_no_route(answer: &HttpAnswer) -> bool {
    #[derive(Deserialize)]
    struct Own {
        #[serde(default)]
        success: Option<bool>,
        #[serde(default)]
        exists: Option<bool>,
    }
    let own = |body: &[u8]| {
        let read = serde_json::from_slice::<Own>(body);
        read.is_ok_and(|own| own.success == Some(false) || own.exists == Some(false))
    };
    answer.status == 404 && !own(&answer.body)
}

/// What an answer says to people, whatever its status: cut short and printable, empty if it says nothing.
pub(super) fn words(answer: &HttpAnswer) -> String {
    #[derive(Deserialize)]
    struct Good {
        message: String,
    }
    match serde_json::from_slice::<Good>(&answer.body) {
        Ok(good) if answer.status == 200 => excerpt(&good.message),
        _ => Refusal::decode(&answer.body).error,
    }
}

/// The body of a good answer.
///
/// # Errors
/// What the answer refuses with.
pub(super) fn good(answer: HttpAnswer) -> Result<Vec<u8>> {
    match answer.status {
        200 => Ok(answer.body),
        status => {
            let error = refused(status, &answer).with_http_status(status).by_peer();
            Err(match refusal::seconds_to_wait(answer.retry_after()) {
                Some(wait) if status == 503 => error.with_retry_after(wait),
                _ => error,
            })
        }
    }
}

fn refused(status: u16, answer: &HttpAnswer) -> Error {
    if (300..=399).contains(&status) {
        return Error::new(ErrorKind::Refused, format!("it answered with a redirect ({status}), which is not followed"))
            .with_hint("Give the address that it leads to.");
    }
    let refusal = Refusal::decode(&answer.body);
    let text = refusal.error.as_str();
    if status == 429 {
        return refusal::too_many(
            ErrorKind::RateLimited,
            "the other site accepts no more calls for now",
            answer.retry_after(),
        )
        .with_hint("Wait, then try again.");
    }
    let of_transfer = refusal.transfer_uuid.is_some();
    let known = refusal.code.as_deref().and_then(|code| by_code(code, text, of_transfer)).or_else(|| by_text(text));
    let error = known.unwrap_or_else(|| by_status(status, text));
    let (standing, reason) = &answer.standing;
    let error = with_standing(error, standing.as_deref(), reason.as_deref());
    match refusal.transfer_uuid {
        // Without a code it can only be the one thing that a transfer is named for.
        Some(transfer) if error.kind() == ErrorKind::Refused => {
            Error::new(ErrorKind::ApprovalRequired, error.message()).with_transfer(transfer)
        }
        Some(transfer) => error.with_transfer(transfer),
        None => error,
    }
}

/// For texts that are not known.
fn by_status(status: u16, text: &str) -> Error {
    let behind = if text.is_empty() { String::new() } else { format!(": {text}") };
    let answered = |kind, hint| Error::new(kind, format!("it answered {status}{behind}")).with_hint(hint);
    match status {
        401 => answered(ErrorKind::InvalidToken, "Check the token, and that a proxy in between asks for none of its own."),
        400 | 403 => answered(ErrorKind::Refused, "Ask the other site's people; its log and events may say more."),
        404 => answered(ErrorKind::NotFound, "Ask the other site's people whether it is still there."),
        409 => answered(ErrorKind::InvalidTransition, "Look at how the connection stands on both sides."),
        413 => answered(ErrorKind::TooLarge, "Send less at a time."),
        502..=504 => answered(ErrorKind::Unreachable, "The other site is busy or down: try again later."),
        500..=599 => answered(ErrorKind::Peer, "The other site failed; its log may say more."),
        _ => answered(ErrorKind::Refused, "Check the address; a proxy may be in between."),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, body: &str) -> HttpAnswer {
        HttpAnswer { status, retry_after: Some("7".into()), standing: (None, None), body: body.into() }
    }

    #[test]
    fn a_404_of_the_call_itself_is_an_answer() {
        for (body, no_route) in [
            (r#"{"error":"Connection not found","success":false}"#, false),
            (r#"{"exists":false,"success":false}"#, false),
            (r#"{"exists":false}"#, false),
            (r#"{"errors":{"detail":"Not Found"}}"#, true),
            ("<h1>404</h1>", true),
            ("", true),
            ("{}", true),
            (r#"{"success":true}"#, true),
            (r#"{"success":"false"}"#, true),
        ] {
            assert_eq!(is_no_route(&answer(404, body)), no_route, "{body}");
        }
        assert!(!is_no_route(&answer(403, "")));
    }

    #[test]
    fn refusals_have_the_kind_of_their_reason() {
        let refusal = |text: &str| format!(r#"{{"error":"{text}","success":false}}"#);
        let kind = |status, body: &str| good(answer(status, body)).unwrap_err().kind();
        for (status, text, expected) in [
            (401, "Invalid connection", ErrorKind::InvalidToken),
            (403, "Connection is not active", ErrorKind::ConnectionNotActive),
            (403, "This connection is not authorised to access that table", ErrorKind::TableNotAllowed),
            (403, "Incoming connections are not allowed", ErrorKind::Refused),
            (401, "Password required", ErrorKind::PasswordRequired),
            (401, "Invalid password", ErrorKind::InvalidPassword),
            (409, "A connection already exists", ErrorKind::AlreadyExists),
            (404, "Connection not found", ErrorKind::NotFound),
            (404, "Table not found", ErrorKind::TableNotFound),
            (503, "DB Sync module is disabled", ErrorKind::Disabled),
            (503, "Sync module is disabled", ErrorKind::Disabled),
            (500, "Failed to pull data", ErrorKind::Peer),
            (400, "Invalid status value", ErrorKind::Refused),
        ] {
            assert_eq!(kind(status, &refusal(text)), expected, "{text}");
        }
        assert_eq!(kind(503, "Service Unavailable"), ErrorKind::Unreachable);
        assert_eq!(kind(500, r#"{"errors":{"detail":"Internal Server Error"}}"#), ErrorKind::Peer);
        let error = good(answer(302, "")).unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.message().contains("redirect"));
        let error = good(answer(429, "")).unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(7))));
    }

    #[test]
    fn what_waits_for_approval_names_its_transfer() {
        let uuid = "01a1fd46-7325-7232-98b7-56487b50f09e";
        for body in [
            format!(r#"{{"code":"approval_required","error":"x","success":false,"transfer_uuid":"{uuid}"}}"#),
            format!(r#"{{"error":"x","success":false,"transfer_uuid":"{uuid}"}}"#),
        ] {
            let error = good(answer(403, &body)).unwrap_err();
            assert_eq!((error.kind(), error.transfer()), (ErrorKind::ApprovalRequired, uuid.parse().ok()), "{body}");
        }
        let denied = r#"{"code":"approval_denied","error":"not today","success":false}"#;
        let error = good(answer(403, denied)).unwrap_err();
        assert!(error.kind() == ErrorKind::ApprovalDenied && error.message().contains("not today"), "{error}");
        // A peer does not choose what our own failures are called.
        let strange = r#"{"code":"database_corrupt","error":"x","success":false}"#;
        assert_eq!(good(answer(403, strange)).unwrap_err().kind(), ErrorKind::Refused);
    }
}
