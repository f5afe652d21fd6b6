//! What a receiver asks the sender of a connection for.

use uuid::Uuid;

use super::{Notifier, must_be};
use crate::client::{Api, FetchedRecords, RecordsQuery, remote_status};
use crate::domain::connection::ConnectionDirection;
use crate::domain::schema::TableSchema;
use crate::domain::settings::SiteStatus;
use crate::error::Result;
use crate::pull::{PullOptions, TableReport};
use crate::wire::api::RemoteTable;

impl Notifier {
    /// What the site at a URL says of itself to anyone. The URL is the caller's choice, so that it may lead anywhere.
    ///
    /// # Errors
    /// Those of [`remote_status`].
    pub fn remote_status(&self, url: &str) -> Result<SiteStatus> {
        remote_status(url, &self.options)
    }

    /// The tables that a receiver connection may pull.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such connection here;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a sender connection; [`SiteKey`](crate::ErrorKind::SiteKey); what
    /// the other site refuses with, or why it was not reached: see [`Api`](crate::Api).
    pub fn fetch_sender_tables(&self, uuid: Uuid) -> Result<Vec<RemoteTable>> {
        self.sender(uuid)?.list_tables()
    }

    /// The columns of a table of the sender's.
    ///
    /// # Errors
    /// Those of [`Notifier::fetch_sender_tables`]; [`TableNotFound`](crate::ErrorKind::TableNotFound).
    pub fn fetch_table_schema(&self, uuid: Uuid, table: &str) -> Result<TableSchema> {
        self.sender(uuid)?.table_schema(table)
    }

    /// Some records of a table of the sender's, for people to look at.
    ///
    /// # Errors
    /// Those of [`Notifier::fetch_table_schema`].
    pub fn fetch_table_records(&self, uuid: Uuid, table: &str, query: &RecordsQuery) -> Result<FetchedRecords> {
        let api = self.sender(uuid)?;
        api.table_records(&api.table_schema(table)?, query)
    }

    /// Pulls one table through a receiver connection, as [`Site::pull`](crate::Site::pull) does: it is written here, and the
    /// transfer is kept on both sides.
    ///
    /// # Errors
    /// Those of [`Site::pull`](crate::Site::pull) and [`Client::pull_table`](crate::Client::pull_table).
    pub fn pull_table(&self, uuid: Uuid, table: &str, options: PullOptions<'_>) -> Result<TableReport> {
        self.site.pull(uuid, self.options.clone(), options.tables([table]))?.into_table(table)
    }

    fn sender(&self, uuid: Uuid) -> Result<Api> {
        let connection = self.site.connections().get(uuid)?;
        must_be(&connection, ConnectionDirection::Receiver, "the other site pulls from this one")?;
        let api = self.api_of(&connection)?;
        Ok(match self.options.password_for_downloads() {
            Some(password) => api.password(password),
            None => api,
        })
    }
}
