//! Tokens: what this site must be able to send, and new ones.

use uuid::Uuid;

use super::new::{ConnectionWithToken, check_token};
use super::{Connections, details, found, not_found};
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus};
use crate::domain::event::EventKind;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Credential, Token};
use crate::state::{connections, outbox};
use crate::store::Sql;

impl Connections<'_> {
    /// Makes a new token for a sender connection: the old one no longer works. The other site is told, if the old one can
    /// still be opened with this site's key; else [`queued`](ConnectionWithToken::queued) is false, and the token is to be
    /// given to it by hand.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a receiver connection, whose token the other site makes;
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for a revoked one.
    pub fn regenerate_token(&self, uuid: Uuid) -> Result<ConnectionWithToken> {
        let token = Token::generate()?;
        let direction = ConnectionDirection::Sender;
        let sealed = self.seal(uuid, direction, &token)?;
        // What the other site is told is the token itself.
        let told = self.site.key()?.seal(&about(uuid), token.as_str())?;
        let before = self.read(|sql| connections::stored(sql, uuid))?.ok_or_else(|| not_found(uuid))?;
        let opens = self.open(uuid, direction, &before.token_sealed).is_ok();
        let now = self.site.now();
        let (connection, queued) = self.site.change(|sql| {
            let connection = found(sql, uuid)?;
            if connection.direction != direction {
                let message = "the token of a receiver connection is made by the other site";
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_hint("Rotate it there; a token that was given by hand is set with `Connections::set_token`."));
            }
            let stored = connections::stored(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
            // Of two rotations at once the second one finds what the first one sealed, under a key that was at hand.
            let queued = !self.by_peer && (opens || stored.token_sealed != before.token_sealed);
            self.replace(sql, &connection, &token, &sealed)?;
            if queued {
                outbox::rotate(sql, now, &connection, &stored.token_sealed, &told)?;
            }
            Ok((found(sql, uuid)?, queued))
        })?;
        Ok(ConnectionWithToken { connection, token, queued })
    }

    /// Gives a receiver connection the new token that the other site has made.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a sender connection, whose token this site makes;
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for a revoked one;
    /// [`SelfConnection`](ErrorKind::SelfConnection) for a token that this site made itself;
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) for one that another connection has. Nothing is written for the token that
    /// it has already.
    pub fn set_token(&self, uuid: Uuid, token: Token) -> Result<Connection> {
        let direction = ConnectionDirection::Receiver;
        let sealed = self.seal(uuid, direction, &token)?;
        let before = self.read(|sql| connections::stored(sql, uuid))?.ok_or_else(|| not_found(uuid))?;
        // The same one changes nothing, unless it was sealed under a key that is lost.
        let same =
            before.token_lookup == token.credential().lookup() && self.open(uuid, direction, &before.token_sealed).is_ok();
        self.site.change(|sql| {
            let connection = found(sql, uuid)?;
            if connection.direction != direction {
                let message = "the token of a sender connection is made by this site";
                return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Make a new one: rotate it."));
            }
            let stored = connections::stored(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
            let kept = same && stored.token_sealed == before.token_sealed;
            if kept && connection.status != ConnectionStatus::Revoked {
                return Ok(connection);
            }
            self.replace(sql, &connection, &token, &sealed)?;
            found(sql, uuid)
        })
    }

    fn replace(&self, sql: &mut dyn Sql, connection: &Connection, token: &Token, sealed: &str) -> Result<()> {
        if connection.status == ConnectionStatus::Revoked {
            return Err(Error::new(ErrorKind::InvalidTransition, "a connection that is revoked gets no new token")
                .with_hint("It has ended permanently: make a new one."));
        }
        let lookup = token.credential().lookup();
        check_token(sql, connection, &lookup)?;
        let now = self.site.now();
        let changes = vec![("token_lookup", lookup.into()), ("token_sealed", sealed.into())];
        connections::change(sql, connection.uuid, now, changes)?;
        let about = details([("name", &connection.name), ("site_url", &connection.site_url)]);
        self.tell(sql, now, EventKind::ConnectionTokenRotated, connection.uuid, about)
    }

    /// The token of a receiver connection, to pull with.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a sender connection: its token is not kept.
    pub(crate) fn token(&self, uuid: Uuid) -> Result<Token> {
        let (connection, sealed) = self.sealed(uuid)?;
        match self.open(uuid, connection.direction, &sealed)? {
            Opened::Token(token) => Ok(token),
            Opened::Credential(_) => {
                Err(Error::new(ErrorKind::InvalidInput, "a sender connection is for the other site to pull through")
                    .with_hint("Pull through a receiver connection."))
            }
        }
    }

    /// What a connection is known by on the wire.
    pub(crate) fn credential(&self, uuid: Uuid) -> Result<Credential> {
        let (connection, sealed) = self.sealed(uuid)?;
        Ok(self.open(uuid, connection.direction, &sealed)?.credential())
    }

    /// What the other site knows the connection of a message by.
    pub(crate) fn outgoing_credential(&self, message: &outbox::Outgoing) -> Result<Credential> {
        Ok(self.open(message.connection, message.direction, &message.credential_sealed)?.credential())
    }

    /// The new token that a message tells of ([`Message::Rotate`](outbox::Message::Rotate)).
    pub(crate) fn outgoing_token(&self, connection: Uuid, token_sealed: &str) -> Result<Token> {
        Token::parse(&self.site.key()?.open(&about(connection), token_sealed)?)
    }

    fn sealed(&self, uuid: Uuid) -> Result<(Connection, String)> {
        self.read(|sql| {
            let stored = connections::stored(sql, uuid)?.ok_or_else(|| not_found(uuid))?;
            Ok((found(sql, uuid)?, stored.token_sealed))
        })
    }

    /// What is kept of a token, sealed: of a receiver the token itself, of a sender only the wire credential.
    pub(super) fn seal(&self, uuid: Uuid, direction: ConnectionDirection, token: &Token) -> Result<String> {
        let key = self.site.key()?;
        match direction {
            ConnectionDirection::Receiver => key.seal(&about(uuid), token.as_str()),
            ConnectionDirection::Sender => key.seal(&about(uuid), token.credential().as_str()),
        }
    }

    fn open(&self, uuid: Uuid, direction: ConnectionDirection, sealed: &str) -> Result<Opened> {
        let text = self.site.key()?.open(&about(uuid), sealed)?;
        match direction {
            ConnectionDirection::Receiver => Ok(Opened::Token(Token::parse(&text)?)),
            ConnectionDirection::Sender => Credential::parse(&text).map(Opened::Credential).ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "what is stored of a connection's token cannot be read")
                    .with_hint("Rotate the token.")
            }),
        }
    }
}

/// What was sealed.
enum Opened {
    Token(Token),
    Credential(Credential),
}

impl Opened {
    fn credential(self) -> Credential {
        match self {
            Opened::Token(token) => token.credential(),
            Opened::Credential(credential) => credential,
        }
    }
}

/// What a sealed secret of a connection belongs to.
fn about(uuid: Uuid) -> String {
    format!("connection {uuid}")
}
