//! Bytes to messages and back: the frames of PhoenixKit's protocol, its JSON, and what rowferry adds to it.
//!
//! Nothing here knows a socket or a store. Both ends use it: the client encodes requests and decodes answers, the server
//! decodes requests and encodes answers. What a peer sends is an error at worst, never a panic.

// Each end uses its half.
#![cfg_attr(not(all(feature = "client", feature = "server")), allow(dead_code, unused_imports))]

pub mod api;
pub mod channel;
#[allow(unnameable_types, reason = "the lint takes the impls for `&mut PageDecoder` for public ones")]
pub mod dialect;
mod elixir;
mod extras;
pub mod fragments;
pub mod message;
pub mod native;
mod postgrex;
mod read;
#[allow(unnameable_types, reason = "the lint takes the impls for `&mut PageDecoder` for public ones")]
pub mod records;
mod render;
pub mod schema;

pub use dialect::Dialect;
pub use message::{Capabilities, PeerInfo};

use crate::domain::text::without_hidden;

/// Longest name (of a table, a column, a type) that is taken from a peer, in bytes.
pub const NAME_BYTES: usize = 1024;
/// Longest token of a state, in bytes.
pub(crate) const TOKEN_BYTES: usize = 128;

/// Headers of a refusal over HTTP, from a rowferry site only: how the connection stands that is not active, and why. The body has
/// PhoenixKit's words and nothing else.
pub(crate) const STATUS_HEADER: &str = "x-rowferry-status";
pub(crate) const REASON_HEADER: &str = "x-rowferry-reason";

/// The header of a request for a WebSocket that holds what lets the peer in, in the form of the query by which PhoenixKit takes it: a
/// query is what proxies and servers on the way write into their logs.
pub(crate) const AUTH_HEADER: &str = "x-rowferry-auth";

/// A peer's text, cut to what fits in a message, without control characters and others that are not seen.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    const MORE: &str = "...";
    if text.chars().nth(LONGEST).is_none() {
        return without_hidden(text, LONGEST);
    }
    without_hidden(text, LONGEST - MORE.len()) + MORE
}

/// A message without the value that it quotes: that may be what the other site was sent, and a secret.
pub(crate) fn unquoted(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}..{}", &message[..=first], &message[last..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(excerpt("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(excerpt("a\u{202e}b\u{200b}ü"), "a b ü");
        assert_eq!(excerpt(&"x".repeat(300)), "x".repeat(300));
        assert_eq!(excerpt(&"x".repeat(301)), "x".repeat(297) + "...");
    }
}
