//! Sending one message of the outbox, and what its answer means.

use super::Notifier;
use crate::client::Api;
use crate::domain::connection::{Connection, ConnectionStatus};
use crate::domain::remote::RegisterOutcome;
use crate::domain::settings::IncomingMode;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Token;
use crate::state::outbox::{Message, Outgoing};
use crate::state::{self, connections};
use crate::wire::api::{PeerStatus, REASON_BYTES};
use crate::wire::excerpt;

/// What sending a message came to.
pub(super) enum Sending {
    /// The other site did what it was told.
    Done,
    /// The other site said no, and would say it again.
    Refused(Error),
    /// It may work later.
    Later(Error),
    /// It can never work.
    Never(Error),
}

impl Notifier {
    /// Sends a message.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled): whether it arrived is not known.
    pub(super) fn send(&self, message: &Outgoing) -> Result<Sending> {
        // A key that is not at hand may be put back; with the right one at hand a secret that does not open never will.
        if let Err(error) = self.site.key() {
            return Ok(Sending::Later(error));
        }
        let sent = match &message.message {
            Message::Status(status) => self.send_status(message, *status),
            Message::Delete => self.send_delete(message),
            Message::Rotate { token_sealed } => self.send_rotation(message, token_sealed),
        };
        match sent {
            Ok(sending) => Ok(sending),
            Err(error) if self.was_cancelled(&error) => Err(error),
            Err(error) => Ok(judge(error)),
        }
    }

    fn send_status(&self, message: &Outgoing, status: ConnectionStatus) -> Result<Sending> {
        let status = match status {
            ConnectionStatus::Active => PeerStatus::Active,
            ConnectionStatus::Suspended => PeerStatus::Suspended,
            ConnectionStatus::Revoked => PeerStatus::Revoked,
            // Nothing puts these into the outbox: no site is told of them.
            ConnectionStatus::Pending | ConnectionStatus::Expired => {
                let why = format!("no site is told that a connection is {status}");
                return Err(Error::new(ErrorKind::Corrupt, why));
            }
        };
        let own_url = self.own_url()?;
        // One that was deleted since has no reason any more.
        let connection = state::read(self.site.store_ref(), |sql| connections::by_uuid(sql, message.connection))?;
        let reason = connection.and_then(|connection| match status {
            PeerStatus::Suspended => connection.suspended_reason,
            PeerStatus::Revoked => connection.revoked_reason,
            PeerStatus::Active => None,
        });
        let reason = reason.as_deref().filter(|reason| reason.len() <= REASON_BYTES);
        self.api_for(message)?.update_status_because(&own_url, status, reason).map(|()| Sending::Done)
    }

    fn send_delete(&self, message: &Outgoing) -> Result<Sending> {
        let own_url = self.own_url()?;
        match self.api_for(message)?.delete_connection(&own_url) {
            // It is as it should be, though nobody there was told.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sending::Refused(error)),
            answer => answer.map(|()| Sending::Done),
        }
    }

    /// Tells of a new token. What was told before, its answer lost on the way, counts as told now.
    fn send_rotation(&self, message: &Outgoing, token_sealed: &str) -> Result<Sending> {
        let own_url = self.own_url()?;
        let new = self.site.connections().outgoing_token(message.connection, token_sealed)?;
        let old = self.api_for(message)?;
        match old.rotate_token(&own_url, &new) {
            Ok(true) => return Ok(Sending::Done),
            Ok(false) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(match self.knows(message, &own_url, &new)? {
                    true => Sending::Done,
                    false => Sending::Refused(by_hand(error)),
                });
            }
            Err(error) => return Err(error),
        }
        // A site of PhoenixKit cannot be told of a new token: the connection is made again there. First a look whether
        // it would be: nobody is helped by a connection that is only deleted.
        if let Some(refused) = self.would_refuse(&old, message, &own_url, &new)? {
            return Ok(refused);
        }
        gone_is_fine(old.delete_connection(&own_url))?;
        match state::read(self.site.store_ref(), |sql| connections::by_uuid(sql, message.connection))? {
            Some(connection) => self.register_again(message, &connection, &own_url, &new),
            // It was deleted here since: then the other site need not have it either.
            None => Ok(Sending::Done),
        }
    }

    /// What is known beforehand to come of registering again. The other site says it to anyone.
    fn would_refuse(&self, old: &Api, message: &Outgoing, own_url: &str, new: &Token) -> Result<Option<Sending>> {
        let status = old.status()?;
        if !status.enabled {
            let why = "sync is switched off on the other site: the connection cannot be made again there";
            return Ok(Some(Sending::Later(Error::new(ErrorKind::Disabled, why))));
        }
        let why = match (status.password_required, status.incoming_mode == IncomingMode::DenyAll.as_str()) {
            (false, false) => return Ok(None),
            (true, _) => "it asks for a password",
            (false, true) => "it takes no connections",
        };
        // It was registered before, and the answer was lost.
        if self.knows(message, own_url, new)? {
            return Ok(Some(Sending::Done));
        }
        let why =
            format!("the other site cannot be told of the new token, and would not register the connection again: {why}");
        Ok(Some(Sending::Refused(pair_again(Error::new(ErrorKind::Refused, why)))))
    }

    fn register_again(&self, message: &Outgoing, connection: &Connection, own_url: &str, new: &Token) -> Result<Sending> {
        let result = self.send_registration(connection, own_url, new, None)?;
        if result.outcome != RegisterOutcome::Failed {
            return self.tell_status_again(message, connection, own_url, new);
        }
        let why = format!("registering the connection again with its new token failed: {}", result.message);
        match result.http_status {
            // It was registered before, and the answer was lost.
            Some(409) if self.knows(message, own_url, new)? => self.tell_status_again(message, connection, own_url, new),
            Some(status @ (400 | 401 | 403 | 404 | 409)) => {
                Ok(Sending::Refused(pair_again(Error::new(ErrorKind::Refused, why).with_http_status(status))))
            }
            Some(status) => Ok(Sending::Later(Error::new(ErrorKind::Peer, why).with_http_status(status))),
            None => Ok(Sending::Later(Error::new(ErrorKind::Unreachable, why))),
        }
    }

    /// What was made again has none of the old one's status: it may be active there, though it is suspended here.
    fn tell_status_again(&self, message: &Outgoing, connection: &Connection, own_url: &str, new: &Token) -> Result<Sending> {
        let status = match connection.status {
            ConnectionStatus::Suspended => PeerStatus::Suspended,
            ConnectionStatus::Revoked => PeerStatus::Revoked,
            // No site is told of the others.
            ConnectionStatus::Active | ConnectionStatus::Pending | ConnectionStatus::Expired => return Ok(Sending::Done),
        };
        match self.api(&message.site_url)?.token(new).update_status(own_url, status) {
            Ok(()) => Ok(Sending::Done),
            Err(error) if self.was_cancelled(&error) => Err(error),
            Err(error) => match judge(error) {
                Sending::Refused(error) => {
                    // The new token was told all the same, and pulls are refused here in any case.
                    log::warn!(
                        target: "rowferry::notify",
                        "{} did not accept that a connection is {status}: {}",
                        message.site_url,
                        excerpt(&error.to_string())
                    );
                    Ok(Sending::Done)
                }
                later => Ok(later),
            },
        }
    }

    /// Whether the other site knows the connection by this token.
    fn knows(&self, message: &Outgoing, own_url: &str, token: &Token) -> Result<bool> {
        self.api(&message.site_url)?.token(token).verify_connection(own_url)
    }

    fn api_for(&self, message: &Outgoing) -> Result<Api> {
        Ok(self.api(&message.site_url)?.credential(self.site.connections().outgoing_credential(message)?))
    }
}

/// A connection that the other site does not have need not be deleted there.
fn gone_is_fine(answer: Result<()>) -> Result<()> {
    match answer {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

fn by_hand(error: Error) -> Error {
    error.with_hint("Give the new token to the other site's people by hand: it is set there for this connection.")
}

/// For a site of PhoenixKit, where the token of a connection is not changed.
fn pair_again(error: Error) -> Error {
    error.with_hint(
        "Pair the two sites again, or give the new token by hand: the other site's people make the connection again with it.",
    )
}

/// Whether an error is the last word. The other site's own answers of these four statuses are; whatever else goes wrong
/// (offline, busy, switched off, a proxy in between, a certificate) may be put right.
fn judge(error: Error) -> Sending {
    match (error.http_status(), error.kind()) {
        (Some(400 | 401 | 404 | 409), _) => Sending::Refused(error),
        (None, ErrorKind::SiteKey | ErrorKind::Corrupt) => Sending::Never(error),
        _ => Sending::Later(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_last_words_end_a_message() {
        let of = |status: Option<u16>, kind| {
            let error = Error::new(kind, "x");
            match judge(status.map_or(error.clone(), |status| error.with_http_status(status))) {
                Sending::Done => "done",
                Sending::Refused(_) => "refused",
                Sending::Later(_) => "later",
                Sending::Never(_) => "never",
            }
        };
        for status in [400, 401, 404, 409] {
            assert_eq!(of(Some(status), ErrorKind::Refused), "refused");
        }
        for status in [302, 403, 418, 429, 500, 503] {
            assert_eq!(of(Some(status), ErrorKind::Refused), "later", "{status}");
        }
        for kind in [ErrorKind::Unreachable, ErrorKind::Tls, ErrorKind::Protocol, ErrorKind::InvalidInput, ErrorKind::Locked]
        {
            assert_eq!(of(None, kind), "later", "{kind}");
        }
        assert_eq!(of(None, ErrorKind::SiteKey), "never");
    }
}
