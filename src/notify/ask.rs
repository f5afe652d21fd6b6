//! What a receiver asks the sender of a connection for.

use uuid::Uuid;

use super::{Line, Notifier, must_be};
use crate::client::{FetchedRecords, RecordsQuery, remote_status};
use crate::domain::connection::ConnectionDirection;
use crate::domain::schema::TableSchema;
use crate::domain::settings::SiteStatus;
use crate::error::Result;
use crate::wire::api::ListedTable;

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
    pub fn fetch_sender_tables(&self, uuid: Uuid) -> Result<Vec<ListedTable>> {
        self.sender(uuid)?.ask(|api| api.list_tables())
    }

    /// The columns of a table of the sender's.
    ///
    /// # Errors
    /// Those of [`Notifier::fetch_sender_tables`]; [`TableNotFound`](crate::ErrorKind::TableNotFound).
    pub fn fetch_table_schema(&self, uuid: Uuid, table: &str) -> Result<TableSchema> {
        self.sender(uuid)?.ask(|api| api.table_schema(table))
    }

    /// Some records of a table of the sender's, for people to look at.
    ///
    /// # Errors
    /// Those of [`Notifier::fetch_table_schema`].
    pub fn fetch_table_records(&self, uuid: Uuid, table: &str, query: &RecordsQuery) -> Result<FetchedRecords> {
        let line = self.sender(uuid)?;
        let schema = line.ask(|api| api.table_schema(table))?;
        line.ask(|api| api.table_records(&schema, query))
    }

    fn sender(&self, uuid: Uuid) -> Result<Line> {
        let connection = self.site.connections().get(uuid)?;
        must_be(&connection, ConnectionDirection::Receiver, "the other site pulls from this one")?;
        let line = self.line_of(&connection)?;
        Ok(match &self.password {
            Some(password) => {
                Line { api: line.api.password(password.0.as_str()), secrets: line.secrets.and(Some(&password.0)) }
            }
            None => line,
        })
    }
}
