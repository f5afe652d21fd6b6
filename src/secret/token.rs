//! Tokens of connections, and what is made of them.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{hex, random};
use crate::error::{Error, ErrorKind, Result};

/// How many random bytes a token has.
const TOKEN_BYTES: usize = 32;

/// Longest token that is taken from elsewhere. One that this crate makes has 43 characters.
const LONGEST: usize = 512;

/// The token of a connection: who has it may pull through the connection.
///
/// It does not print: `Debug` shows nothing of it, and there is no `Display`. [`Token::as_str`] gives the text.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new token: 32 random bytes in URL-safe base64 without padding, as in PhoenixKit.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; TOKEN_BYTES]);
        random(&mut bytes[..])?;
        Ok(Token(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes[..]))))
    }

    /// A token that someone else made.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) unless it is 1 to 512 visible ASCII characters.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(ErrorKind::InvalidInput, "this can be no token")
                .with_hint("Give the token as the other site shows it: a line of letters and digits."));
        }
        Ok(Token(Zeroizing::new(text.to_owned())))
    }

    /// The text, to be given to whom the token is for.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is sent instead of the token in most calls.
    pub(crate) fn credential(&self) -> Credential {
        Credential(Zeroizing::new(hex(&Sha256::digest(self.0.as_bytes()))))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What PhoenixKit's protocol calls `auth_token_hash`: the SHA-256 of a token in lower-case hex. On the wire it is as good as
/// the token itself, so it is a secret, too.
#[derive(Clone)]
pub(crate) struct Credential(Zeroizing<String>);

impl Credential {
    /// The credential of this text; `None` for what is not 64 digits in lower-case hex.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let right = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        right.then(|| Credential(Zeroizing::new(text.to_owned())))
    }

    /// The text that is sent.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A keyed digest of some text, as 32 hex digits. Without the credential nobody can make it, or compare it with one of their own.
    pub(crate) fn tag(&self, purpose: &str, of: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of any length");
        [purpose, "\0", of].into_iter().for_each(|part| mac.update(part.as_bytes()));
        hex(&mac.finalize().into_bytes()[..16])
    }

    /// What is stored to find the connection by: SHA-256 of the credential. Tokens have 256 random bits, so that there is
    /// nothing to guess, and nothing of use in it.
    pub(crate) fn lookup(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_as_in_the_reference_and_do_not_print() {
        let token = Token::generate().unwrap();
        assert_eq!(token.as_str().len(), 43);
        assert!(token.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(token.as_str(), Token::generate().unwrap().as_str());
        assert_eq!(format!("{token:?} {:?}", token.credential()), "Token(..) Credential(..)");
        for bad in ["", "a b", "a\n", "ž", &"x".repeat(513)] {
            assert_eq!(Token::parse(bad).map(|_| ()).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn credentials_are_the_sha_256_of_the_token() {
        let credential = Token::parse("abc").unwrap().credential();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(credential.as_str(), expected);
        assert_eq!(Credential::parse(expected).unwrap().lookup(), credential.lookup());
        assert_ne!(credential.lookup(), expected);
        assert_eq!(credential.lookup().len(), 64);
        for bad in ["", "abc", &expected.to_uppercase(), &format!("{expected}0"), &"g".repeat(64)] {
            assert!(Credential::parse(bad).is_none(), "{bad}");
        }
    }
}
