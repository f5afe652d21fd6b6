//! Registering a connection with the other site.

use serde_json::json;
use uuid::Uuid;

use super::Notifier;
use crate::clock;
use crate::domain::connection::{Connection, ConnectionDirection, Metadata};
use crate::domain::remote::RegisterOutcome;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Token;

/// What the other site answered to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegisterReport {
    /// What became of it.
    pub outcome: RegisterOutcome,
    /// The status of the other site's answer; `None` if there was no answer.
    pub http_status: Option<u16>,
    /// What the other site said, or why there was no answer.
    pub message: String,
    /// The connection's id on the other site.
    pub remote_uuid: Option<Uuid>,
}

impl Notifier {
    /// Registers a sender connection with the other site: from then on that site can pull through it, at once or when its
    /// people have approved it. `token` is the one that was shown when the connection was made; `password` the other site's
    /// incoming password, where it asks for one.
    ///
    /// What became of it is kept in the connection's metadata, under `notification`, and as an event. Unless it was
    /// registered, or is pending, the token is to be given to the other site's people by hand. A receiver
    /// connection is [skipped](RegisterOutcome::Skipped).
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) if this site has no URL of its own (setting
    /// `site_url`), or the token is not this connection's; [`Cancelled`](ErrorKind::Cancelled); what the store says.
    pub fn register(&self, uuid: Uuid, token: &Token, password: Option<&str>) -> Result<RegisterReport> {
        let connection = self.site.connections().get(uuid)?;
        if connection.direction != ConnectionDirection::Sender {
            let message = "only a sender registers; this site is the receiver".to_owned();
            return Ok(RegisterReport { outcome: RegisterOutcome::Skipped, http_status: None, message, remote_uuid: None });
        }
        let own_url = self.own_url()?;
        self.check_token(uuid, token)?;
        let result = self.send_registration(&connection, &own_url, token, password)?;
        self.keep_registration(uuid, &result)?;
        Ok(result)
    }

    fn check_token(&self, uuid: Uuid, token: &Token) -> Result<()> {
        let owner = self.site.connections().find_by_token(token.as_str())?;
        match owner.is_some_and(|owner| owner.uuid == uuid) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::InvalidInput, "this is not the connection's token")
                .with_hint("Give the token that was shown when the connection was made or its token rotated.")),
        }
    }

    /// Sends it, and keeps nothing.
    pub(super) fn send_registration(
        &self,
        connection: &Connection,
        own_url: &str,
        token: &Token,
        password: Option<&str>,
    ) -> Result<RegisterReport> {
        let api = self.api(&connection.site_url)?;
        let failed = |error: Error, words: &str| {
            let message = if words.is_empty() { error.message() } else { words }.to_owned();
            let http_status = error.http_status();
            RegisterReport { outcome: RegisterOutcome::Failed, http_status, message, remote_uuid: None }
        };
        let strategy = Some(connection.policy.default_conflict_strategy).filter(|strategy| *strategy != Strategy::default());
        match api.register_connection_in_words(own_url, (&connection.name, strategy), token, password) {
            Ok((Ok(answer), words)) => {
                let outcome = match answer.connection_status.as_str() {
                    "active" => RegisterOutcome::Registered,
                    _ => RegisterOutcome::Pending,
                };
                let remote_uuid = Some(answer.connection_uuid);
                Ok(RegisterReport { outcome, http_status: Some(200), message: words, remote_uuid })
            }
            Ok((Err(error), words)) => Ok(failed(error, &words)),
            Err(error) if self.was_cancelled(&error) => Err(error),
            Err(error) => Ok(failed(error, "")),
        }
    }

    /// In the connection's metadata and as an event, which are kept together.
    fn keep_registration(&self, uuid: Uuid, result: &RegisterReport) -> Result<()> {
        let mut details = Metadata::new();
        details.insert("call".to_owned(), json!("register"));
        details.insert("outcome".to_owned(), json!(result.outcome));
        details.insert("http_status".to_owned(), json!(result.http_status));
        details.insert("message".to_owned(), json!(result.message));
        details.insert("remote_uuid".to_owned(), json!(result.remote_uuid));
        details.insert("at".to_owned(), json!(clock::to_text(self.site.now())));
        match self.site.connections().by(&self.actor).note_notification(uuid, details.clone()) {
            // It was deleted meanwhile: the event is kept all the same.
            Err(error) if error.kind() == ErrorKind::NotFound => self.notified(uuid, details),
            kept => kept.map(|_| ()),
        }
    }
}
