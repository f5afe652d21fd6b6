//! Bytes to messages and back: the frames of the reference protocol, its JSON, and what rowferry adds to it.
//!
//! Nothing here knows a socket or a store. Both ends use it: the client encodes requests and decodes answers, the server
//! decodes requests and encodes answers. What a peer sends is an error at worst, never a panic.

// Each end uses its half.
#![cfg_attr(not(all(feature = "client", feature = "server")), allow(dead_code, unused_imports))]

pub mod api;
pub mod channel;
pub mod dialect;
mod elixir;
mod extras;
pub mod fragments;
pub mod message;
#[cfg_attr(
    not(any(test, fuzzing, feature = "internals")),
    expect(dead_code, unused_imports, reason = "agreed on, tested and measured before the channel speaks it")
)]
pub mod native;
mod postgrex;
mod read;
pub mod records;
mod render;
pub mod schema;

pub use dialect::Dialect;
pub use message::{Capabilities, PeerInfo};

/// Longest name (of a table, a column, a type) that is taken from a peer, in bytes.
pub const NAME_BYTES: usize = 1024;

/// Headers of a refusal over HTTP, from a rowferry site only: how the connection stands that is not active, and why. The body has the
/// reference's words and nothing else.
pub(crate) const STATUS_HEADER: &str = "x-rowferry-status";
pub(crate) const REASON_HEADER: &str = "x-rowferry-reason";

/// A peer's text, cut to what fits in a message, without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 300;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        cut.push_str("...");
    }
    cut
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
        assert_eq!(excerpt(&"x".repeat(301)).len(), 303);
    }
}
