//! Who is let onto a channel.

// A refusal is an answer to send, of the type that all answers have; it is made once for each connection.
#![expect(clippy::result_large_err)]

use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::answers::{expected_upgrade, forbidden, no_upgrade};
use super::body::Body;
use super::channel::{ChannelSession, Topics};
use super::head::has_token;
use super::query::parameter;
use crate::access::{Access, Caller, Returning};
use crate::wire::AUTH_HEADER;

/// A peer that is let onto a channel.
#[derive(Debug)]
pub struct Upgrade {
    /// The answer that turns the connection into a WebSocket: 101, with nothing to follow but WebSocket frames.
    pub response: Response<()>,
    /// The peer's channel: [`ChannelSession::serve`] serves it over the connection.
    pub session: ChannelSession,
}

/// Lets a peer in, or gives the answer that refuses it. Its code is used up only if everything else is as it should be.
pub(super) fn upgrade<T>(access: &Access, request: &Request<T>, caller: &Caller) -> Result<Upgrade, Response<Body>> {
    access.enabled().map_err(|refused| no_upgrade(&refused))?;
    let spoken = request.version() == Version::HTTP_11;
    let accept = accept_key(request.headers()).filter(|_| spoken).ok_or_else(expected_upgrade)?;
    let session = let_in(access, &Given::of(request), caller)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(Upgrade { response, session })
}

/// What a peer gives to be let in, in the form of a query.
pub(super) struct Given<'g> {
    text: Option<&'g str>,
    /// Whether it is of a rowferry peer, which comes back where it can.
    by_rowferry: bool,
}

impl<'g> Given<'g> {
    /// What stands in the header of a rowferry peer, or else in the URL.
    fn of<T>(request: &'g Request<T>) -> Self {
        let mut headers = request.headers().get_all(AUTH_HEADER).iter();
        match (headers.next().and_then(|value| value.to_str().ok()), headers.next()) {
            (Some(text), None) => Given::by_rowferry(text),
            _ => {
                let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
                let by_rowferry = agent.is_some_and(|agent| agent.starts_with("rowferry/"));
                Given { text: request.uri().query(), by_rowferry }
            }
        }
    }

    pub(super) fn by_rowferry(text: &'g str) -> Self {
        Given { text: Some(text), by_rowferry: true }
    }

    fn parameter(&self, name: &str) -> Option<Zeroizing<String>> {
        parameter(self.text, name).map(Zeroizing::new)
    }
}

/// The channel of a peer that gives this, or the answer that refuses it.
pub(super) fn let_in(access: &Access, given: &Given<'_>, caller: &Caller) -> Result<ChannelSession, Response<Body>> {
    let receiver = given.parameter("receiver").and_then(|receiver| Uuid::try_parse(&receiver).ok());
    let returning = Returning { receiver };
    // A token wins over a ticket, and that over a code.
    let let_in = match (given.parameter("token"), given.parameter("ticket"), given.parameter("code")) {
        (Some(token), _, _) => {
            let password = given.parameter("password");
            access.by_token(&token, password.as_deref().map(String::as_str), caller).and_then(|pass| {
                pass.connected()?;
                Ok((Topics::of_connection(&pass), pass))
            })
        }
        (None, Some(ticket), _) => access.by_ticket(&ticket, returning, caller).map(|pass| (Topics::Ticket, pass)),
        // A peer that does not know of it asks for no look, and spends its code.
        (None, None, Some(code)) if given.parameter("look").is_some_and(|look| look.as_str() == "1") => {
            let looking = access.look_by_code(&code, caller).map_err(|refused| no_upgrade(&refused))?;
            let session = ChannelSession::new(access.site(), Topics::Code(looking.0), looking.1);
            return Ok(session.only_looking());
        }
        (None, None, Some(code)) => {
            let returning = given.by_rowferry.then_some(returning);
            access.by_code(&code, returning, caller).map(|(code, pass)| (Topics::Code(code), pass))
        }
        (None, None, None) => return Err(forbidden("Missing authentication")),
    };
    let (topics, pass) = let_in.map_err(|refused| no_upgrade(&refused))?;
    Ok(ChannelSession::new(access.site(), topics, pass))
}

/// The accept key for a request that asks for a WebSocket as RFC 6455 says; `None` for any other.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let single = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let wants = has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade");
    let version = single(&SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
    let key = single(&SEC_WEBSOCKET_KEY)?.as_bytes();
    // Sixteen bytes in base64.
    let right =
        key.len() == 24 && key.ends_with(b"==") && base64::Engine::decode(&base64::prelude::BASE64_STANDARD, key).is_ok();
    if wants && version && right { HeaderValue::try_from(derive_accept_key(key)).ok() } else { None }
}
