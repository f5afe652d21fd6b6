//! What is known of a transfer when it is made.

use time::OffsetDateTime;
use uuid::Uuid;

use super::Transfer;
use crate::domain::connection::Metadata;
use crate::domain::session::Direction;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};

/// What is known of a transfer when it is made: a direction and a table, and what the setters add. Each defaults to unknown.
#[derive(Debug, Clone)]
#[must_use]
pub struct NewTransfer(Transfer);

impl NewTransfer {
    /// A transfer of a table in this direction.
    pub fn new(direction: Direction, table: impl Into<String>) -> Self {
        // The moment and the id are given when it is made.
        NewTransfer(Transfer::new(direction, table, OffsetDateTime::UNIX_EPOCH))
    }

    /// The connection that it goes through. Its URL is taken as the other site's, if no other is given.
    pub fn connection(mut self, uuid: Uuid) -> Self {
        self.0.connection = Some(uuid);
        self
    }

    /// The session that it goes through.
    pub fn session(mut self, uuid: Uuid) -> Self {
        self.0.session = Some(uuid);
        self
    }

    /// The other site's URL.
    pub fn remote_site_url(mut self, url: impl Into<String>) -> Self {
        self.0.remote_site_url = Some(url.into());
        self
    }

    /// How many records are asked for or announced.
    pub fn records_requested(mut self, records: u64) -> Self {
        self.0.records_requested = Some(records);
        self
    }

    /// What becomes of records whose key exists.
    pub fn conflict_strategy(mut self, strategy: Strategy) -> Self {
        self.0.conflict_strategy = Some(strategy);
        self
    }

    /// Whether it must be approved before it starts. Defaults to false.
    pub fn requires_approval(mut self, required: bool) -> Self {
        self.0.requires_approval = required;
        self
    }

    /// The address of who asked.
    pub fn requester_ip(mut self, address: std::net::IpAddr) -> Self {
        self.0.requester_ip = Some(address.to_canonical().to_string());
        self
    }

    /// What who asked said of itself.
    pub fn requester_user_agent(mut self, agent: impl Into<String>) -> Self {
        self.0.requester_user_agent = Some(agent.into());
        self
    }

    /// Who began it. Defaults to the actor that makes it.
    pub fn initiated_by(mut self, who: impl Into<String>) -> Self {
        self.0.initiated_by = Some(who.into());
        self
    }

    /// Notes.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.0.metadata = metadata;
        self
    }

    /// The transfer, made by `actor` at this moment.
    pub(crate) fn made(self, actor: &str, now: OffsetDateTime) -> Result<Transfer> {
        let mut transfer = self.0;
        if transfer.table_name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "a transfer is of a table, and none is named"));
        }
        transfer.uuid = Uuid::now_v7();
        transfer.inserted_at = now;
        transfer.initiated_by.get_or_insert_with(|| actor.to_owned());
        Ok(transfer)
    }
}
