//! Tickets: what lets a receiver come back after its code is spent.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{hex, random};
use crate::error::Result;

/// How many random bytes a ticket has.
const TICKET_BYTES: usize = 32;

/// How many letters that makes.
const TICKET_LENGTH: usize = 43;

/// A ticket. It does not print.
#[derive(Clone)]
pub(crate) struct Ticket(Zeroizing<String>);

impl Ticket {
    /// A new ticket: 32 random bytes in URL-safe base64 without padding.
    pub(crate) fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; TICKET_BYTES]);
        random(&mut bytes[..])?;
        Ok(Ticket(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes[..]))))
    }

    /// The ticket of this text; `None` for what [`Ticket::generate`] cannot have made.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (text.len() == TICKET_LENGTH && text.bytes().all(letter)).then(|| Ticket(Zeroizing::new(text.to_owned())))
    }

    /// The text that is sent.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What is stored to find it by. It has 256 random bits: there is nothing to guess, and nobody takes the hash for the ticket.
    pub(crate) fn lookup(&self) -> String {
        let mut hash = Sha256::new_with_prefix("rowferry ticket\0");
        hash.update(self.0.as_bytes());
        hex(&hash.finalize())
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_differ_and_do_not_print() {
        let ticket = Ticket::generate().unwrap();
        assert_eq!(Ticket::parse(ticket.as_str()).unwrap().lookup(), ticket.lookup());
        assert_ne!(ticket.as_str(), Ticket::generate().unwrap().as_str());
        assert_eq!(format!("{ticket:?}"), "Ticket(..)");
        assert!(ticket.lookup().len() == 64 && ticket.lookup() != hex(&Sha256::digest(ticket.as_str().as_bytes())));
        for bad in ["", "A7X9K2M4", &"x".repeat(42), &"x".repeat(44), &format!("{}=", "x".repeat(42)), &"ä".repeat(21)] {
            assert!(Ticket::parse(bad).is_none(), "{bad}");
        }
    }
}
