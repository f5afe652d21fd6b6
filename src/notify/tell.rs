//! Messages that are sent at once, past the outbox.

use serde_json::json;
use uuid::Uuid;

use super::{Notifier, described, is_offline};
use crate::client::Api;
use crate::domain::connection::Metadata;
use crate::domain::remote::NotifyOutcome;
use crate::error::{ErrorKind, Result};
use crate::wire::api::PeerStatus;

impl Notifier {
    /// Asks the other site to delete its end of a connection. Nothing changes here, and nothing is sent again: deleting the
    /// connection does that.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is no such connection here;
    /// [`InvalidInput`](ErrorKind::InvalidInput) if this site has no URL of its own; what the other site refuses with
    /// ([`Disabled`](ErrorKind::Disabled), say); what the store says.
    pub fn delete(&self, uuid: Uuid) -> Result<NotifyOutcome> {
        self.tell(uuid, json!({"call": "delete"}), |api, own_url| api.delete_connection(own_url))
    }

    /// Tells the other site where a connection stands, whatever it is here. Nothing changes here, and nothing is sent again:
    /// suspending, reactivating and revoking the connection do that.
    ///
    /// # Errors
    /// Those of [`Notifier::delete`]; [`InvalidTransition`](ErrorKind::InvalidTransition) if the other site's end cannot come
    /// to that from where it stands.
    pub fn status_change(&self, uuid: Uuid, status: PeerStatus) -> Result<NotifyOutcome> {
        let details = json!({"call": "status", "status": status});
        self.tell(uuid, details, |api, own_url| api.update_status(own_url, status))
    }

    fn tell(
        &self,
        uuid: Uuid,
        details: serde_json::Value,
        message: impl FnOnce(&Api, &str) -> Result<()>,
    ) -> Result<NotifyOutcome> {
        let api = self.api_of(&self.site.connections().get(uuid)?)?;
        let answer = message(&api, &self.own_url()?);
        let told = match &answer {
            Ok(()) => Some(NotifyOutcome::Done),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(NotifyOutcome::NotFound),
            Err(error) if is_offline(error) => Some(NotifyOutcome::Offline),
            Err(_) => None,
        };
        let mut kept: Metadata = details.as_object().cloned().unwrap_or_default();
        kept.insert("outcome".to_owned(), json!(told.map_or("error", NotifyOutcome::as_str)));
        if let Err(error) = &answer {
            kept.insert("error".to_owned(), described(error));
        }
        self.notified(uuid, kept)?;
        match told {
            Some(told) => Ok(told),
            None => answer.map(|()| NotifyOutcome::Done),
        }
    }
}
