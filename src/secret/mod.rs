//! Secrets: session codes, tokens, the site's key, passwords. They come from the operating system's random source, are compared in
//! constant time, and never show in `Debug`.

#[cfg(feature = "server")]
mod ticket;
mod token;

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

#[cfg(feature = "server")]
pub(crate) use ticket::Ticket;
pub(crate) use token::Credential;
pub use token::Token;

use crate::error::{Error, ErrorKind, Result};

/// The letters of a code: no 0, 1, I, L and O, which people mix up. PhoenixKit's alphabet.
const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";

/// How many letters a code has.
const CODE_LENGTH: usize = 8;

/// How many bytes the site's key has.
pub(crate) const KEY_BYTES: usize = 32;

/// The code of a session: eight letters that let one peer in, once.
///
/// It does not print: `Debug` shows nothing of it, and there is no `Display`. [`Code::as_str`] gives the letters.
#[derive(Clone)]
pub struct Code(Zeroizing<String>);

impl Code {
    /// A new code: each of the 31^8 is equally likely.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut code = Zeroizing::new(String::with_capacity(CODE_LENGTH));
        let mut bytes = Zeroizing::new([0u8; 32]);
        while code.len() < CODE_LENGTH {
            random(&mut bytes[..])?;
            // 248 is the largest multiple of 31 in a byte: bytes from there on would favour the first letters.
            let fair = bytes.iter().filter(|byte| usize::from(**byte) < 256 / ALPHABET.len() * ALPHABET.len());
            let letters = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            for letter in letters.take(CODE_LENGTH - code.len()) {
                code.push(letter);
            }
        }
        Ok(Code(code))
    }

    /// The code of this text; `None` for what is not eight letters of the alphabet. Letters are upper case.
    pub fn parse(text: &str) -> Option<Self> {
        let right = text.len() == CODE_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte));
        right.then(|| Code(Zeroizing::new(text.to_owned())))
    }

    /// The letters, to be given to whom the code is for.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this text is the code, compared in constant time.
    pub fn matches(&self, text: &str) -> bool {
        equal(self.0.as_bytes(), text.as_bytes())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// The site's key: what makes the stored forms of codes useless to someone who only reads the database.
#[derive(Clone)]
pub struct SiteKey(Zeroizing<[u8; KEY_BYTES]>);

impl SiteKey {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
        random(&mut bytes[..])?;
        Ok(SiteKey(bytes))
    }

    /// The key of these bytes, which should be random and known to this site only.
    pub fn from_bytes(mut bytes: [u8; KEY_BYTES]) -> Self {
        let key = SiteKey(Zeroizing::new(bytes));
        bytes.zeroize();
        key
    }

    /// The bytes, to be written to the key's own file.
    pub(crate) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// What is stored of a code: it cannot be turned back, nor guessed without the key.
    pub(crate) fn code_hash(&self, code: &Code) -> String {
        self.mac("rowferry session code", code.as_str().as_bytes())
    }

    /// Under what the ticket is kept that came of a code at this URL: neither can be read or guessed from it.
    #[cfg(feature = "client")]
    pub(crate) fn ticket_place(&self, url: &str, code: &str) -> String {
        self.mac("rowferry kept ticket", format!("{url}\0{code}").as_bytes())
    }

    /// What a place in a table is signed with, so that nobody else makes one up.
    #[cfg(feature = "server")]
    pub(crate) fn place_tag(&self, place: &[u8]) -> [u8; 16] {
        let mut tag = [0; 16];
        tag.copy_from_slice(&self.mac_bytes("rowferry place in a table", place)[..16]);
        tag
    }

    /// Encrypts a secret that this site must itself be able to send later. `about` names what it belongs to, so that a sealed
    /// secret that is moved to another row does not open there.
    pub(crate) fn seal(&self, about: &str, secret: &str) -> Result<String> {
        let mut nonce = [0u8; 24];
        random(&mut nonce)?;
        let payload = Payload { msg: secret.as_bytes(), aad: about.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::new(ErrorKind::InvalidInput, "the secret is too long to be sealed"))?;
        Ok(format!("1:{}:{}", BASE64_STANDARD_NO_PAD.encode(nonce), BASE64_STANDARD_NO_PAD.encode(sealed)))
    }

    /// Decrypts what [`SiteKey::seal`] made.
    ///
    /// # Errors
    /// [`SiteKey`](ErrorKind::SiteKey) when it was sealed with another key or for something else.
    pub(crate) fn open(&self, about: &str, sealed: &str) -> Result<Zeroizing<String>> {
        let open = || {
            let (nonce, sealed) = sealed.strip_prefix("1:")?.split_once(':')?;
            let nonce: [u8; 24] = BASE64_STANDARD_NO_PAD.decode(nonce).ok()?.try_into().ok()?;
            let sealed = BASE64_STANDARD_NO_PAD.decode(sealed).ok()?;
            let payload = Payload { msg: &sealed, aad: about.as_bytes() };
            let bytes = Zeroizing::new(self.cipher().decrypt(&XNonce::from(nonce), payload).ok()?);
            std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
        };
        open().ok_or_else(|| {
            Error::new(ErrorKind::SiteKey, "a stored secret cannot be opened with this site's key")
                .with_hint("Put the right key back, or rotate the connection's token, or pair the two sites again.")
        })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        let mut key = Key::from(self.mac_bytes("rowferry sealing", b""));
        let cipher = XChaCha20Poly1305::new(&key);
        key.zeroize();
        cipher
    }

    /// What is stored to notice another key.
    pub(crate) fn fingerprint(&self) -> String {
        self.mac("rowferry site key", b"")
    }

    /// HMAC-SHA256 as hex. The purpose keeps what is made for one use from fitting another.
    fn mac(&self, purpose: &str, data: &[u8]) -> String {
        hex(&self.mac_bytes(purpose, data))
    }

    fn mac_bytes(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(data);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteKey(..)")
    }
}

/// The argon2id hash of a password, with its salt and parameters, as it is stored.
pub(crate) fn hash_password(password: &str) -> Result<String> {
    let mut salt = [0u8; 16];
    random(&mut salt)?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string());
    hash.map_err(|error| Error::new(ErrorKind::InvalidInput, format!("the password cannot be hashed: {error}")))
}

/// Whether this is the password that the stored hash was made from.
pub(crate) fn verify_password(password: &str, stored: &str) -> Result<bool> {
    let hash = PasswordHash::new(stored).map_err(|error| {
        Error::new(ErrorKind::Corrupt, format!("the stored password cannot be read: {error}"))
            .with_hint("Set the password again.")
    })?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Whether both are the same bytes, in a time that does not depend on where they differ.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Fills a buffer from the operating system's random source.
pub(crate) fn random(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer)
        .map_err(|error| Error::new(ErrorKind::File, format!("the operating system gives no random bytes: {error}")))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_of_the_alphabet_and_differ() {
        let mut seen = [0usize; 31];
        for _ in 0..500 {
            let code = Code::generate().unwrap();
            assert!(Code::parse(code.as_str()).is_some(), "{}", code.as_str());
            for letter in code.as_str().bytes() {
                seen[ALPHABET.iter().position(|l| *l == letter).unwrap()] += 1;
            }
        }
        // 4000 letters, 129 of each expected: none is missing or twice as frequent.
        assert!(seen.iter().all(|count| (60..220).contains(count)), "{seen:?}");
        assert_ne!(Code::generate().unwrap().as_str(), Code::generate().unwrap().as_str());
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in ["", "A7X9K2M", "A7X9K2M44", "a7x9k2m4", "A7X9K2M0", "A7X9K2MO", "ÄÄÄÄ"] {
            assert!(Code::parse(text).is_none(), "{text}");
        }
        assert!(Code::parse("A7X9K2M4").unwrap().matches("A7X9K2M4"));
        assert!(!Code::parse("A7X9K2M4").unwrap().matches("A7X9K2M5"));
    }

    #[test]
    fn secrets_do_not_print() {
        let code = Code::generate().unwrap();
        assert!(!format!("{code:?}").contains(code.as_str()));
        assert_eq!(format!("{:?}", SiteKey::from_bytes([7; 32])), "SiteKey(..)");
    }

    #[test]
    fn a_code_is_hashed_under_the_key() {
        let code = Code::parse("A7X9K2M4").unwrap();
        let (one, other) = (SiteKey::from_bytes([1; 32]), SiteKey::from_bytes([2; 32]));
        assert_eq!(one.code_hash(&code), one.clone().code_hash(&code));
        assert_ne!(one.code_hash(&code), other.code_hash(&code));
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.code_hash(&code).len(), 64);
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_for_the_same_thing_only() {
        let (one, other) = (SiteKey::from_bytes([1; 32]), SiteKey::from_bytes([2; 32]));
        let sealed = one.seal("connection 1", "hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_ne!(sealed, one.seal("connection 1", "hunter2").unwrap());
        assert_eq!(*one.open("connection 1", &sealed).unwrap(), "hunter2");
        let mut bent = sealed.clone().into_bytes();
        let last = bent.len() - 2;
        bent[last] = if bent[last] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).unwrap();
        for (key, about, sealed) in [
            (&other, "connection 1", &*sealed),
            (&one, "connection 2", &sealed),
            (&one, "connection 1", &bent),
            (&one, "", ""),
        ] {
            assert_eq!(key.open(about, sealed).map(|_| ()).unwrap_err().kind(), ErrorKind::SiteKey);
        }
    }

    #[test]
    fn passwords_verify_against_their_hash_only() {
        let stored = hash_password("correct horse").unwrap();
        assert!(stored.starts_with("$argon2id$") && !stored.contains("correct"));
        assert!(verify_password("correct horse", &stored).unwrap());
        assert!(!verify_password("Correct horse", &stored).unwrap());
        assert_ne!(stored, hash_password("correct horse").unwrap());
        assert_eq!(verify_password("x", "nonsense").unwrap_err().kind(), ErrorKind::Corrupt);
        // As rowferry 0.1.0 stored it.
        let older = "$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw$cTLmpgKLeruU6za+t2cUZ3fNfHVCYhGoJ8inpcUNcwc";
        assert!(verify_password("correct horse", older).unwrap() && !verify_password("correct", older).unwrap());
    }
}
