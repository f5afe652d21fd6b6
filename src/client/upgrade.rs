//! The WebSocket's opening handshake.
//!
//! It is not left to tungstenite: that one logs the request line, and with it the code, at trace level, and of a refusal it
//! gives only the text that came in the same packet as the head.

use std::io::{self, Read, Write};
use std::time::Duration;

use http::StatusCode;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use zeroize::Zeroizing;

use super::auth::{By, Pass};
use super::refusal::{by_text, seconds_to_wait, too_many, without};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::net::{Budget, Stream};
use crate::wire::message::with_standing;
use crate::wire::{AUTH_HEADER, REASON_HEADER, STATUS_HEADER, excerpt};

/// How much of a refusal's text is read.
const REFUSAL_BYTES: usize = 4096;

/// How an upgrade ended, if it did not fail.
pub(super) enum Upgrade {
    /// It is a WebSocket now; the bytes came after the head.
    Done(Vec<u8>),
    /// There is nothing at this path: 404.
    NotFound,
    /// The other site does not look at the header where what lets the client in stands.
    Missed,
}

/// What is asked for, and with what.
pub(super) struct Asking<'a> {
    pub(super) host: &'a str,
    pub(super) target: &'a str,
    /// What lets the client in, where it does not stand in the target.
    pub(super) header: Option<&'a str>,
    pub(super) pass: &'a Pass,
}

/// What a site says that looks for what lets a client in, and does not find it.
const MISSED: &str = "Missing authentication";

/// Asks for a WebSocket.
///
/// # Errors
/// What the other site refuses with, by its text; [`ErrorKind::Timeout`], [`ErrorKind::Disconnected`],
/// [`ErrorKind::Protocol`], [`ErrorKind::TooLarge`], [`ErrorKind::Cancelled`].
pub(super) fn upgrade(stream: &mut Stream, asking: &Asking<'_>, limits: &Limits, budget: &Budget) -> Result<Upgrade> {
    let Asking { host, target, header, pass } = *asking;
    let key = generate_key();
    let header = header.map(|header| Zeroizing::new(format!("{AUTH_HEADER}: {header}\r\n")));
    let request = Zeroizing::new(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nUser-Agent: rowferry/{}\r\n{}\r\n",
        env!("CARGO_PKG_VERSION"),
        header.as_ref().map_or("", |header| header.as_str()),
    ));
    write_all(stream, request.as_bytes(), budget)?;
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(head) = read_head(&bytes, limits)? {
            break head;
        }
        if bytes.len() > limits.wire.head_bytes {
            let why = format!("the other site's answer has a head of more than {} bytes", limits.wire.head_bytes);
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        if read_more(stream, &mut bytes, budget)? == 0 {
            return Err(lost("the other site closed the connection before it answered"));
        }
    };
    let rest = bytes.split_off(head.length);
    match head.status {
        StatusCode::SWITCHING_PROTOCOLS => head.check(&key).map(|()| Upgrade::Done(rest)),
        StatusCode::NOT_FOUND => Ok(Upgrade::NotFound),
        _ => {
            let text = refusal_text(stream, rest, head.body_bytes, budget);
            let Head { status, retry_after, standing, .. } = head;
            if header.is_some() && status == StatusCode::FORBIDDEN && text == MISSED {
                return Ok(Upgrade::Missed);
            }
            Err(Refusal { status, text, retry_after, standing }.into_error(pass).by_peer())
        }
    }
}

/// What matters of an answer's head.
struct Head {
    length: usize,
    status: StatusCode,
    body_bytes: Option<usize>,
    upgrade: bool,
    connection: bool,
    accept: Option<String>,
    /// The answer claims an extension or sub-protocol, which was not asked for.
    unasked: bool,
    retry_after: Option<String>,
    /// How a connection stands that is not active, and why.
    standing: (Option<String>, Option<String>),
}

fn read_head(bytes: &[u8], limits: &Limits) -> Result<Option<Head>> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.wire.head_fields];
    let mut response = httparse::Response::new(&mut fields);
    let no_http = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Protocol, format!("the other side does not answer in HTTP: {why}"))
            .with_hint("Check the address and the port, and whether it should begin with https://.")
    };
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(no_http(&error)),
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let text = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    let lists =
        |name, token: &str| text(name).is_some_and(|all| all.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)));
    Ok(Some(Head {
        length,
        status: status.ok_or_else(|| no_http(&"it has no status"))?,
        body_bytes: text("content-length").and_then(|length| length.parse().ok()),
        upgrade: lists("upgrade", "websocket"),
        connection: lists("connection", "upgrade"),
        accept: text("sec-websocket-accept").map(str::to_owned),
        unasked: text("sec-websocket-extensions").or(text("sec-websocket-protocol")).is_some_and(|text| !text.is_empty()),
        retry_after: text("retry-after").map(excerpt),
        standing: (text(STATUS_HEADER).map(excerpt), text(REASON_HEADER).map(excerpt)),
    }))
}

impl Head {
    /// Whether this is the answer to our request for a WebSocket (RFC 6455, 4.1).
    fn check(&self, key: &str) -> Result<()> {
        let accepted = self.accept.as_deref() == Some(derive_accept_key(key.as_bytes()).as_str());
        match self.upgrade && self.connection && accepted && !self.unasked {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Protocol, "the other side's answer to the WebSocket upgrade is not valid")
                .with_hint("A proxy in between may not let WebSockets through.")),
        }
    }
}

/// An answer that refuses the upgrade.
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// Its body.
    pub(crate) text: String,
    /// The header of this name.
    pub(crate) retry_after: Option<String>,
    /// The headers that tell how a connection stands that is not active, and why.
    pub(crate) standing: (Option<String>, Option<String>),
}

impl Refusal {
    /// The error that it is: by its text where that is known, else by its status.
    pub(super) fn into_error(self, pass: &Pass) -> Error {
        let by = pass.by;
        let clean = |text: &str| excerpt(&without(text, pass.secrets.iter().map(|secret| secret.as_str())));
        let text = &clean(&self.text);
        if matches!(self.status.as_u16(), 400..=428 | 430..=599)
            && let Some(error) = by_text(text)
        {
            let (status, reason) = (self.standing.0.as_deref(), self.standing.1.as_deref().map(clean));
            let error = with_standing(error, status, reason.as_deref());
            return if by == By::Ticket { of_ticket(error) } else { error };
        }
        let (kind, why, hint) = match (self.status.as_u16(), by) {
            (429, By::Code | By::Ticket) => {
                let what = "the other site accepts no more codes from this address for now";
                return too_many(ErrorKind::TooManyAttempts, what, self.retry_after.as_deref())
                    .with_hint("Wait, then try again with the right code.");
            }
            (429, By::Token) => {
                let what = "the other site accepts no more calls from here for now";
                return too_many(ErrorKind::RateLimited, what, self.retry_after.as_deref())
                    .with_hint("Wait, then try again.");
            }
            (503, _) => {
                let error = Error::new(ErrorKind::Unreachable, format!("the other site is busy{}", behind(text)));
                let error = error.with_hint("Try again later.").with_http_status(503);
                return match seconds_to_wait(self.retry_after.as_deref()) {
                    Some(wait) => error.with_retry_after(wait),
                    None => error,
                };
            }
            (502 | 504, _) => {
                let why = format!("the other site is not there, says a proxy before it ({})", self.status);
                (ErrorKind::Unreachable, why, "Try again later.")
            }
            (403, By::Code | By::Ticket) => {
                (ErrorKind::Refused, format!("the other site refused{}", behind(text)), "Ask the other site for a new code.")
            }
            (403, By::Token) => (
                ErrorKind::Refused,
                format!("the other site refused{}", behind(text)),
                "Ask the other site's people; its log and events may say more.",
            ),
            (300..=399, _) => (
                ErrorKind::Refused,
                format!("the other site answered with a redirect ({}), which is not followed", self.status),
                "Give the address that it leads to.",
            ),
            (400 | 426, _) => (
                ErrorKind::Refused,
                format!("the other site answered {} to the connection{}", self.status, behind(text)),
                NO_UPGRADE,
            ),
            _ => (
                ErrorKind::Refused,
                format!("the other site answered {} to the connection{}", self.status, behind(text)),
                "Check the address; the other site's log may say more.",
            ),
        };
        Error::new(kind, why).with_hint(hint)
    }
}

/// What to do where a request for a WebSocket arrived as another one.
const NO_UPGRADE: &str = "A proxy in between may not let WebSockets through: it has to pass on the headers Upgrade and Connection, \
                          over HTTP/1.1. Else check the address.";

/// A refusal of a code, where it was the ticket that came of one.
fn of_ticket(error: Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidCode => Error::new(
            ErrorKind::InvalidCode,
            "the pull cannot be resumed with its code: the session has ended at the other site",
        )
        .with_hint("Ask the other site for a new code."),
        _ => error,
    }
}

fn behind(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn refusal_text(stream: &mut Stream, mut body: Vec<u8>, length: Option<usize>, budget: &Budget) -> String {
    let wanted = length.unwrap_or(REFUSAL_BYTES).min(REFUSAL_BYTES);
    // The status is the answer. Its text is worth a moment, and no second error when it does not come.
    let moment = Budget::new(budget.left().min(Duration::from_secs(2)), &[]);
    while body.len() < wanted && read_more(stream, &mut body, &moment).is_ok_and(|read| read > 0) {}
    body.truncate(wanted);
    String::from_utf8_lossy(&body).trim().to_owned()
}

fn late() -> String {
    "the other site did not answer the connection".to_owned()
}

fn lost(why: &str) -> Error {
    Error::new(ErrorKind::Disconnected, why).with_hint("Check the address and the port, and try again.")
}

fn read_more(stream: &mut Stream, bytes: &mut Vec<u8>, budget: &Budget) -> Result<usize> {
    let mut buffer = [0; 4096];
    loop {
        stream.set_until(budget.slice(&late)?);
        match stream.read(&mut buffer) {
            Ok(read) => {
                bytes.extend_from_slice(&buffer[..read]);
                return Ok(read);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&format!("the connection was lost before an answer: {error}")).with_source(error)),
        }
    }
}

fn write_all(stream: &mut Stream, mut bytes: &[u8], budget: &Budget) -> Result<()> {
    while !bytes.is_empty() {
        stream.set_until(budget.slice(&late)?);
        match stream.write(bytes) {
            Ok(0) => return Err(lost("the other site closed the connection before it was asked")),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&format!("the connection was lost: {error}")).with_source(error)),
        }
    }
    loop {
        stream.set_until(budget.slice(&late)?);
        match stream.flush() {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&format!("the connection was lost: {error}")).with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::Auth;
    use super::*;

    fn head(text: &str) -> Head {
        read_head(text.as_bytes(), &Limits::default()).unwrap().unwrap()
    }

    #[test]
    fn an_answer_must_fit_the_question() {
        let accept = derive_accept_key(b"key");
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        assert!(head(&good).check("key").is_ok());
        assert!(head(&good).check("other").is_err());
        assert!(head(&good.replace("WebSocket", "h2c")).check("key").is_err());
        assert!(head(&good.replace("upgrade:", "sec-websocket-extensions: x\r\nupgrade:")).check("key").is_err());
        assert!(read_head(&good.as_bytes()[..good.len() - 1], &Limits::default()).unwrap().is_none());
        assert!(read_head(b"SSH-2.0-OpenSSH\r\n\r\n", &Limits::default()).is_err());
    }

    #[test]
    fn refusals_by_their_texts() {
        let refused = |status: u16, text: &str, auth: &Auth| {
            let standing = "x-rowferry-status: suspended\r\nx-rowferry-reason: für die Inventur zq81";
            let answer = head(&format!("HTTP/1.1 {status} X\r\nretry-after: 30\r\n{standing}\r\n\r\n"));
            let Head { status, retry_after, standing, .. } = answer;
            Refusal { status, text: text.to_owned(), retry_after, standing }.into_error(&auth.pass().unwrap())
        };
        let (code, token) = (Auth::code("A7X9K2M4"), Auth::token("zq81"));
        let kind = |status, text| refused(status, text, &code).kind();
        assert_eq!(kind(403, "Invalid code"), ErrorKind::InvalidCode);
        assert_eq!(kind(403, "Code already used"), ErrorKind::CodeUsed);
        assert_eq!(kind(403, "Module disabled"), ErrorKind::Disabled);
        assert_eq!(kind(403, "Missing authentication"), ErrorKind::Refused);
        assert_eq!(kind(429, ""), ErrorKind::TooManyAttempts);
        assert_eq!(kind(503, ""), ErrorKind::Unreachable);
        let busy = refused(503, "", &code);
        assert_eq!((busy.http_status(), busy.retry_after()), (Some(503), Some(Duration::from_secs(30))));
        assert_eq!((kind(502, ""), kind(504, "x")), (ErrorKind::Unreachable, ErrorKind::Unreachable));
        assert_eq!(kind(301, ""), ErrorKind::Refused);
        let error = refused(403, "Invalid code", &Auth::ticket("zq82"));
        assert!(error.kind() == ErrorKind::InvalidCode && error.message().contains("session has ended"), "{error}");
        assert_eq!(kind(500, ""), ErrorKind::Refused);
        for status in [400, 426] {
            let error = refused(status, "Expected WebSocket upgrade", &code);
            assert!(error.kind() == ErrorKind::Refused && error.hint().unwrap().contains("proxy"), "{error}");
        }
        let error = refused(429, "", &code);
        assert!(error.message().contains("wait 30 s"), "{error}");
        let by_token = |status, text| refused(status, text, &token);
        assert_eq!(by_token(403, "Invalid token").kind(), ErrorKind::InvalidToken);
        assert_eq!(by_token(401, "Invalid password").kind(), ErrorKind::InvalidPassword);
        let error = by_token(429, "");
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(30))));
        let error = by_token(403, "Connection not active");
        let why = "the other site refused: the connection is suspended by the other site: für die Inventur (..)";
        assert_eq!((error.kind(), error.message()), (ErrorKind::ConnectionNotActive, why));
        let error = by_token(403, "Something new");
        assert!(error.kind() == ErrorKind::Refused && !error.hint().unwrap().contains("code"), "{error}");
    }
}
