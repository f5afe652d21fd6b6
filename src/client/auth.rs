//! What gives the right to ask.

use std::fmt;

use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::Token;
use crate::wire::api::Secret;
use crate::wire::channel::topic;

/// Longest password that is sent, in bytes: it is part of a request's first line.
const PASSWORD_BYTES: usize = 1024;

/// The credentials of a client: the code of a session, or the token of a connection. It is never shown by `Debug`.
#[derive(Clone)]
pub struct Auth {
    by: By,
    secret: Zeroizing<String>,
    password: Option<Zeroizing<String>>,
    only_looks: bool,
}

/// What the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The code of a session.
    Code,
    /// The token of a connection.
    Token,
    /// A ticket, which came of a code that is spent.
    Ticket,
}

/// What lets the client in, in the form of a query, and the topic to join. Both hold the secret.
pub(super) struct Pass {
    pub(super) by: By,
    pub(super) query: Zeroizing<String>,
    pub(super) topic: Zeroizing<String>,
    /// All forms in which a secret is sent.
    pub(super) secrets: Vec<Zeroizing<String>>,
}

impl Pass {
    /// What stands in the header of a request for a WebSocket: the same as in the query, and which receiver asks.
    pub(super) fn header(&self, receiver: Option<Uuid>) -> Zeroizing<String> {
        let mut header = self.query.clone();
        if let Some(receiver) = receiver {
            header.push_str(&format!("&receiver={receiver}"));
        }
        header
    }
}

impl Auth {
    /// The code of a session: eight characters, given out by the other site, good for one connection. Space around it and the
    /// case of its letters do not matter.
    pub fn code(code: impl AsRef<str>) -> Self {
        Auth {
            by: By::Code,
            secret: Zeroizing::new(code.as_ref().trim().to_ascii_uppercase()),
            password: None,
            only_looks: false,
        }
    }

    /// The token of a connection: the other site shows it when it makes the connection. It works until that site suspends,
    /// revokes or deletes the connection, or until one of its limits is reached. Space around it does not matter.
    pub fn token(token: impl AsRef<str>) -> Self {
        Auth { by: By::Token, secret: Zeroizing::new(token.as_ref().trim().to_owned()), password: None, only_looks: false }
    }

    /// What the other site gave to a client that came by a code, to come back with.
    pub(crate) fn ticket(ticket: &str) -> Self {
        Auth { by: By::Ticket, secret: Zeroizing::new(ticket.to_owned()), password: None, only_looks: false }
    }

    /// Only to look at tables, their structures and counts, which does not spend a code: a rowferry site then gives no records, and takes
    /// the code again. Other sites, and those of rowferry 0.1.0, do not know of it, and spend the code. A token is not spent anyway.
    #[must_use]
    pub fn only_looking(mut self) -> Self {
        self.only_looks = self.by == By::Code;
        self
    }

    /// The code, if it is one.
    pub(crate) fn as_code(&self) -> Option<&str> {
        (self.by == By::Code).then_some(self.secret.as_str())
    }

    /// With what a client that came by this may come back, when its connection was lost: a token works again, and a code gave
    /// it a ticket if the other site gives any.
    pub(super) fn to_come_back(&self, ticket: Option<&Secret>) -> Option<Self> {
        match self.by {
            By::Token | By::Ticket => Some(self.clone()),
            By::Code => ticket.map(|ticket| Auth::ticket(ticket.as_str())),
        }
    }

    /// The ticket, if it is one.
    pub(crate) fn as_ticket(&self) -> Option<&str> {
        (self.by == By::Ticket).then_some(self.secret.as_str())
    }

    /// The download password, which the other site may ask for beside a token. Defaults to none; at most 1024 bytes. A code
    /// takes none.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Zeroizing::new(password.into()));
        self
    }

    /// What is sent, if it can be what it claims to be.
    pub(super) fn pass(&self) -> Result<Pass> {
        match self.by {
            By::Code => self.code_pass(),
            By::Token => self.token_pass(),
            By::Ticket => Ok(self.ticket_pass()),
        }
    }

    fn code_pass(&self) -> Result<Pass> {
        let code = &*self.secret;
        if self.password.is_some() {
            return Err(Error::new(ErrorKind::InvalidInput, "a code takes no password")
                .with_hint("Leave the password out, or give a connection's token."));
        }
        if !(1..=64).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::new(ErrorKind::InvalidInput, "this is not a code: a code has letters and digits only")
                .with_hint("Give the code that the other site shows, like A7X9K2M4."));
        }
        let look = if self.only_looks { "&look=1" } else { "" };
        let query = Zeroizing::new(format!("code={code}{look}&vsn=2.0.0"));
        let secrets = vec![self.secret.clone()];
        Ok(Pass { by: By::Code, query, topic: Zeroizing::new(topic(code)), secrets })
    }

    fn ticket_pass(&self) -> Pass {
        let encoded = encoded(&self.secret);
        let query = Zeroizing::new(format!("ticket={}&vsn=2.0.0", *encoded));
        let secrets = vec![encoded, self.secret.clone()];
        Pass { by: By::Ticket, query, topic: Zeroizing::new(topic("self")), secrets }
    }

    fn token_pass(&self) -> Result<Pass> {
        let (token, password) = self.token_and_password()?;
        let mut secrets = vec![encoded(token.as_str()), Zeroizing::new(token.as_str().to_owned())];
        let mut query = format!("token={}", *secrets[0]);
        if let Some(password) = password {
            let encoded = encoded(password);
            query.push_str(&format!("&password={}", *encoded));
            secrets.extend([encoded, Zeroizing::new(password.to_owned())]);
        }
        query.push_str("&vsn=2.0.0");
        // Nobody tells the receiver the uuid by which PhoenixKit names this topic.
        Ok(Pass { by: By::Token, query: Zeroizing::new(query), topic: Zeroizing::new(topic("self")), secrets })
    }

    /// The token, and the password if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what can be none, and for a code.
    pub(super) fn token_and_password(&self) -> Result<(Token, Option<&str>)> {
        match self.by {
            By::Token => Ok((Token::parse(&self.secret)?, self.download_password()?)),
            By::Code | By::Ticket => Err(Error::new(ErrorKind::InvalidInput, "a code is not taken over HTTP")
                .with_hint("Give a connection's token, or connect a client with the code.")),
        }
    }

    /// The password, if there is one.
    fn download_password(&self) -> Result<Option<&str>> {
        match self.password.as_deref().map(String::as_str) {
            Some(password) if password.len() > PASSWORD_BYTES => {
                let why = format!("the download password is longer than {PASSWORD_BYTES} bytes");
                Err(Error::new(ErrorKind::InvalidInput, why).with_hint("Ask the other site's people for a shorter one."))
            }
            password => Ok(password),
        }
    }
}

/// Percent-encodes all but what a URL's query may always hold (RFC 3986, 2.3).
fn encoded(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half & 15)]);
                out.extend(['%', digit(byte >> 4), digit(byte)]);
            }
        }
    }
    out
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            By::Code => "Auth::code(..)",
            By::Token => "Auth::token(..)",
            By::Ticket => "Auth::ticket(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(auth: &Auth) -> ErrorKind {
        auth.pass().map(|_| ()).unwrap_err().kind()
    }

    #[test]
    fn a_code_is_not_shown_and_not_sent_malformed() {
        let auth = Auth::code(" a7x9k2m4\n");
        let pass = auth.pass().unwrap();
        assert_eq!((pass.by, &**pass.query, &**pass.topic), (By::Code, "code=A7X9K2M4&vsn=2.0.0", "transfer:A7X9K2M4"));
        assert_eq!(&**auth.clone().only_looking().pass().unwrap().query, "code=A7X9K2M4&look=1&vsn=2.0.0");
        assert_eq!(format!("{auth:?}"), "Auth::code(..)");
        for bad in ["", "A&token=x", "A B", "Ř", &"A".repeat(65)] {
            let error = Auth::code(bad).pass().map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("token"));
        }
        assert_eq!(kind(&Auth::code("A7X9K2M4").password("x")), ErrorKind::InvalidInput);
    }

    #[test]
    fn who_came_by_a_code_comes_back_by_its_ticket() {
        let back = Auth::code("A7X9K2M4").to_come_back(Some(&Secret::new("tick_et-1"))).unwrap();
        let pass = back.pass().unwrap();
        assert_eq!((pass.by, &**pass.query, &**pass.topic), (By::Ticket, "ticket=tick_et-1&vsn=2.0.0", "transfer:self"));
        assert_eq!(format!("{back:?}"), "Auth::ticket(..)");
        assert_eq!(back.to_come_back(None).unwrap().as_ticket(), Some("tick_et-1"), "it works again");
        assert!(Auth::code("A7X9K2M4").to_come_back(None).is_none());
        assert!(Auth::token("t").to_come_back(None).is_some_and(|back| back.by == By::Token));
    }

    #[test]
    fn tokens_and_passwords_are_encoded_and_not_shown() {
        let auth = Auth::token(" ab-C_9+/= ").password("p&ss wörd%");
        let pass = auth.pass().unwrap();
        assert_eq!(&**pass.query, "token=ab-C_9%2B%2F%3D&password=p%26ss%20w%C3%B6rd%25&vsn=2.0.0");
        assert_eq!((pass.by, &**pass.topic), (By::Token, "transfer:self"));
        assert_eq!(format!("{auth:?}"), "Auth::token(..)");
        for bad in [Auth::token(""), Auth::token("a b"), Auth::token("x").password("p".repeat(1025))] {
            assert_eq!(kind(&bad), ErrorKind::InvalidInput);
        }
    }
}
