//! Answers over HTTP.

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use super::body::Body;
use crate::access::Refused;
use crate::domain::access::Denial;
use crate::error::Error;
use crate::wire::api::{self, BadRequest, Refusal};
use crate::wire::{REASON_HEADER, STATUS_HEADER, excerpt};

const JSON: &str = "application/json; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// After how many seconds a peer that there is no room for may come again.
const BUSY_SECONDS: u16 = 5;

/// A good answer.
pub(super) fn good(message: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, api::encode(message))
}

pub(super) fn json(status: StatusCode, body: impl Into<Vec<u8>>) -> Response<Body> {
    answer(status, JSON, Body::from(body.into()))
}

/// A good answer whose body may be long.
pub(super) fn records(body: Body) -> Response<Body> {
    answer(StatusCode::OK, JSON, body)
}

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let length = body.known_length();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        // Said here and not where it is sent: the answer to HEAD has the length of a body that it does not have.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    for_nobody_else(headers);
    response
}

/// Says that an answer is kept by nothing on the way, and is taken for nothing else than it says.
pub(super) fn for_nobody_else(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// An answer as PhoenixKit gives it where no call of its own answers.
fn plain_error(status: StatusCode) -> Response<Body> {
    detail(status, status.canonical_reason().unwrap_or("Error"))
}

/// The same in words of our own: for what never reached a call.
pub(super) fn detail(status: StatusCode, detail: &str) -> Response<Body> {
    json(status, serde_json::json!({ "errors": { "detail": detail } }).to_string())
}

/// The answer to a connection or request that there is no room for.
pub(super) fn busy(why: &str) -> Response<Body> {
    let mut response = detail(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(BUSY_SECONDS));
    response
}

pub(super) fn not_found() -> Response<Body> {
    plain_error(StatusCode::NOT_FOUND)
}

pub(super) fn too_large() -> Response<Body> {
    plain_error(StatusCode::PAYLOAD_TOO_LARGE)
}

pub(super) fn bad_request(bad: &BadRequest) -> Response<Body> {
    json(StatusCode::BAD_REQUEST, bad.body())
}

/// A refusal of a call.
pub(super) fn refused(status: StatusCode, refusal: &Refusal) -> Response<Body> {
    json(status, api::encode(refusal))
}

/// A refusal that PhoenixKit does not have, with a code for programs.
pub(super) fn own(status: StatusCode, code: &str, why: &str) -> Response<Body> {
    json(status, serde_json::json!({ "code": code, "error": why, "success": false }).to_string())
}

/// A refusal of a call, in PhoenixKit's own words and with nothing else.
pub(super) fn refused_plainly(status: StatusCode, text: &str) -> Response<Body> {
    refused(status, &Refusal::new(text))
}

/// The answer to a call that is denied, or has failed.
pub(super) fn not_allowed(why: &Refused, failed: &str) -> Response<Body> {
    match why {
        Refused::Denied(denial) => denied(denial),
        Refused::Failed(error) => broken_call(error, failed),
    }
}

pub(super) fn denied(denial: &Denial) -> Response<Body> {
    let refusal = Refusal::new(denial.http_text()).with_transfer(denial.transfer);
    let refusal = if denial.is_references() { refusal } else { refusal.with_code(denial.kind) };
    let status = StatusCode::from_u16(denial.http_status()).unwrap_or(StatusCode::FORBIDDEN);
    with_more(refused(status, &refusal), denial)
}

/// The answer to an upgrade that is denied, or has failed.
pub(super) fn no_upgrade(why: &Refused) -> Response<Body> {
    match why {
        Refused::Denied(denial) => {
            let status = if denial.retry_after.is_some() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::FORBIDDEN };
            with_more(text(status, &denial.socket_text()), denial)
        }
        Refused::Failed(error) => broken(error),
    }
}

/// What stands in the header of a refusal, whose body has PhoenixKit's words and nothing else.
fn with_more(mut response: Response<Body>, denial: &Denial) -> Response<Body> {
    let headers = response.headers_mut();
    if let Some(wait) = denial.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(status) = denial.status {
        headers.insert(STATUS_HEADER, HeaderValue::from_static(status.as_str()));
        let reason = denial.reason.as_deref().map(|reason| HeaderValue::from_bytes(excerpt(reason).as_bytes()));
        if let Some(Ok(reason)) = reason {
            headers.insert(REASON_HEADER, reason);
        }
    }
    response
}

fn text(status: StatusCode, why: &str) -> Response<Body> {
    answer(status, TEXT, Body::from(why.as_bytes().to_vec()))
}

pub(super) fn forbidden(why: &str) -> Response<Body> {
    text(StatusCode::FORBIDDEN, why)
}

pub(super) fn expected_upgrade() -> Response<Body> {
    let mut response = text(StatusCode::BAD_REQUEST, "Expected WebSocket upgrade");
    response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// The peer learns that it failed; the log learns why.
pub(super) fn broken(error: &Error) -> Response<Body> {
    log::error!(target: "rowferry::serve", "a request failed: {}", excerpt(&error.to_string()));
    plain_error(failed_with(error))
}

/// The same, in the words that the call has for it.
pub(super) fn broken_call(error: &Error, failed: &str) -> Response<Body> {
    log::error!(target: "rowferry::serve", "a request failed: {}", excerpt(&error.to_string()));
    // Not 503, also where it may pass: to PhoenixKit that means that the site takes part in no sync.
    refused(StatusCode::INTERNAL_SERVER_ERROR, &Refusal::new(failed))
}

fn failed_with(error: &Error) -> StatusCode {
    if error.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR }
}
