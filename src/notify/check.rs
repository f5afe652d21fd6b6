//! What the other sites say of connections, asked of many at once.

use uuid::Uuid;

use super::{Notifier, is_offline, must_be, parallel};
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus};
use crate::domain::remote::RemoteStatus;
use crate::error::{Error, ErrorKind, Result};

/// Why a connection was suspended that the other site does not have.
const SEVERED: &str = "the other site does not have this connection any more";

/// What is sent as this site's URL where it has none: nobody looks at it.
const NO_URL: &str = "unknown";

/// What the other site says of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectionCheck {
    /// The connection as it is here now.
    pub connection: Connection,
    /// What the other site says.
    pub status: RemoteStatus,
    /// Why it was not reached, or what is wrong with its answer.
    pub error: Option<Error>,
    /// Whether the connection was suspended here just now, because the other site does not have it.
    pub suspended: bool,
}

impl Notifier {
    /// Asks a receiver connection's sender where the connection stands there. A sender that waits for this makes its end
    /// active. If the other site does not have it, it is suspended here, without a message to the other site.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a sender connection;
    /// [`SiteKey`](ErrorKind::SiteKey) if the connection's secret cannot be opened;
    /// [`Cancelled`](ErrorKind::Cancelled); what the store says.
    pub fn query_sender_status(&self, uuid: Uuid) -> Result<ConnectionCheck> {
        let connection = self.site.connections().get(uuid)?;
        must_be(&connection, ConnectionDirection::Receiver, "a sender is verified instead")?;
        self.look(connection)
    }

    /// Asks a sender connection's receiver whether it still has the connection. If it does not, it is suspended here, without
    /// a message to the other site. While the other site is still to be told of a new token, it is asked for the old one, and
    /// nothing is suspended.
    ///
    /// # Errors
    /// Those of [`Notifier::query_sender_status`], for a receiver connection; [`InvalidInput`](ErrorKind::InvalidInput) if
    /// this site has no URL of its own.
    pub fn verify(&self, uuid: Uuid) -> Result<ConnectionCheck> {
        let connection = self.site.connections().get(uuid)?;
        must_be(&connection, ConnectionDirection::Sender, "a receiver asks for its status instead")?;
        self.look(connection)
    }

    /// Lets the other site know that this end of a receiver connection works, after it was approved here: a sender that
    /// waits for this makes its end active. It is [`Notifier::query_sender_status`] by another name.
    ///
    /// # Errors
    /// Those of [`Notifier::query_sender_status`].
    pub fn announce(&self, uuid: Uuid) -> Result<ConnectionCheck> {
        self.query_sender_status(uuid)
    }

    /// Asks of each connection what the other site says: [`Notifier::query_sender_status`] of receivers,
    /// [`Notifier::verify`] of senders. Eight are asked at a time; `on_each` is called on this thread with each answer as it
    /// comes in. The answers come back in the order of the connections. What goes wrong with one connection stands in its
    /// [`ConnectionCheck::error`].
    pub fn check(&self, connections: &[Connection], on_each: impl FnMut(&ConnectionCheck)) -> Vec<ConnectionCheck> {
        let any = |_: &Connection| Ok(());
        self.check_all(connections, any, on_each)
    }

    /// [`Notifier::check`] of receiver connections; of others it is an error.
    pub fn fetch_sender_statuses(
        &self,
        connections: &[Connection],
        on_each: impl FnMut(&ConnectionCheck),
    ) -> Vec<ConnectionCheck> {
        let receiver = |c: &Connection| must_be(c, ConnectionDirection::Receiver, "a sender is verified instead");
        self.check_all(connections, receiver, on_each)
    }

    /// [`Notifier::check`] of sender connections, whose other sites are receivers; of others it is an error.
    pub fn verify_receiver_connections(
        &self,
        connections: &[Connection],
        on_each: impl FnMut(&ConnectionCheck),
    ) -> Vec<ConnectionCheck> {
        let sender = |c: &Connection| must_be(c, ConnectionDirection::Sender, "a receiver asks for its status instead");
        self.check_all(connections, sender, on_each)
    }

    fn check_all(
        &self,
        connections: &[Connection],
        fits: impl Fn(&Connection) -> Result<()> + Sync,
        mut on_each: impl FnMut(&ConnectionCheck),
    ) -> Vec<ConnectionCheck> {
        let places: Vec<usize> = (0..connections.len()).collect();
        let mut answers: Vec<Option<ConnectionCheck>> = connections.iter().map(|_| None).collect();
        let look = |place: &usize| {
            let connection = &connections[*place];
            let failed = |error| ConnectionCheck {
                connection: connection.clone(),
                status: RemoteStatus::Error,
                error: Some(error),
                suspended: false,
            };
            (*place, fits(connection).and_then(|()| self.look(connection.clone())).unwrap_or_else(failed))
        };
        parallel::each(&places, look, |(place, checked)| {
            on_each(&checked);
            answers[place] = Some(checked);
        });
        answers.into_iter().flatten().collect()
    }

    /// Asks about one connection, and suspends it if the other site does not have it.
    fn look(&self, connection: Connection) -> Result<ConnectionCheck> {
        let known_by = self.known_by(&connection)?;
        let asked = known_by.lookup();
        let api = self.api(&connection.site_url)?.credential(known_by);
        let answer = match connection.direction {
            ConnectionDirection::Receiver => {
                let own_url = self.site.settings().site_url()?.unwrap_or_else(|| NO_URL.to_owned());
                api.get_connection_status(&own_url).and_then(|answer| status(&answer.status))
            }
            ConnectionDirection::Sender => {
                let own_url = self.own_url()?;
                let exists = |exists| if exists { RemoteStatus::Exists } else { RemoteStatus::NotFound };
                api.verify_connection(&own_url).map(exists)
            }
        };
        let (status, error) = match answer {
            Ok(status) => (status, None),
            Err(error) if self.was_cancelled(&error) => return Err(error),
            Err(error) if error.kind() == ErrorKind::NotFound => (RemoteStatus::NotFound, None),
            Err(error) if is_offline(&error) => (RemoteStatus::Offline, Some(error)),
            Err(error) => (RemoteStatus::Error, Some(error)),
        };
        let (connection, suspended) = match status {
            RemoteStatus::NotFound => {
                // Nobody is told: the other site does not have it. If it is known by another token since, that was no answer.
                let connections = self.site.connections().by_peer(&self.actor);
                connections.sever(connection.uuid, &asked, SEVERED)?
            }
            _ => (connection, false),
        };
        Ok(ConnectionCheck { connection, status, error, suspended })
    }
}

/// What a sender says of a connection.
fn status(word: &str) -> Result<RemoteStatus> {
    match word.parse::<ConnectionStatus>() {
        Ok(ConnectionStatus::Active) => Ok(RemoteStatus::Active),
        Ok(ConnectionStatus::Pending) => Ok(RemoteStatus::Pending),
        Ok(ConnectionStatus::Suspended) => Ok(RemoteStatus::Suspended),
        Ok(ConnectionStatus::Revoked) => Ok(RemoteStatus::Revoked),
        Ok(ConnectionStatus::Expired) => Ok(RemoteStatus::Expired),
        Err(_) => {
            // The word itself is the other site's choice: it may be the secret that it was just sent.
            let why = "the other site says that the connection has a status that means nothing here";
            Err(Error::new(ErrorKind::Protocol, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_a_status() {
        for known in ConnectionStatus::ALL {
            assert_eq!(status(known.as_str()).unwrap().as_str(), known.as_str());
        }
        for strange in ["", "ACTIVE", "exists", "not_found", "offline", "\u{1b}[2J"] {
            assert_eq!(status(strange).unwrap_err().kind(), ErrorKind::Protocol, "{strange}");
        }
    }
}
