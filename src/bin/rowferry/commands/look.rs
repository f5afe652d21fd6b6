//! Another site that is looked at: through a channel, or over HTTP where it takes the token there only.

use rowferry::schema::TableSchema;
use rowferry::{Api, Auth, Client, Error, ErrorKind, FetchOptions, FetchedRecords, RecordsQuery, Result, TableInfo};

use super::plain::warn_of_plain_http;
use super::{cancelled_by_signals, connect_options};
use crate::args::pull::Remote;
use crate::failure::Failure;

/// The other site, connected to as far as that is possible.
pub enum Look {
    Channel(Box<Client>),
    /// A site of PhoenixKit. It is asked again for each answer.
    Http(Box<Api>),
}

impl Look {
    /// For its tables, their structures and counts: a rowferry site does not spend a code for that.
    pub fn without_records(remote: &Remote) -> std::result::Result<Self, Failure> {
        Look::by(remote, remote.access.auth()?.only_looking())
    }

    /// For records.
    pub fn at(remote: &Remote) -> std::result::Result<Self, Failure> {
        Look::by(remote, remote.access.auth()?)
    }

    fn by(remote: &Remote, auth: Auth) -> std::result::Result<Self, Failure> {
        let options = connect_options(&remote.network, &cancelled_by_signals()?)?;
        warn_of_plain_http(&remote.url);
        let client = Client::connect_to_rowferry(&remote.url, auth.clone(), options.clone()).map_err(Failure::typed)?;
        Ok(match client {
            Some(client) => Look::Channel(Box::new(client)),
            None => Look::Http(Box::new(Api::with_auth(&remote.url, &auth, &options).map_err(Failure::typed)?)),
        })
    }

    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        match self {
            Look::Channel(client) => client.list_tables(),
            Look::Http(api) => {
                let tables = api.list_tables()?.into_iter();
                Ok(tables.map(|table| TableInfo::new(table.name, table.row_count)).collect())
            }
        }
    }

    pub fn schema(&self, table: &str) -> Result<TableSchema> {
        match self {
            Look::Channel(client) => client.get_schema(table),
            Look::Http(api) => api.table_schema(table),
        }
    }

    pub fn count(&self, table: &str) -> Result<u64> {
        match self {
            Look::Channel(client) => client.get_count(table),
            // There is no call for it.
            Look::Http(_) => {
                let found = self.tables()?.into_iter().find(|offered| offered.name == table);
                found.map(|table| table.row_count).ok_or_else(|| {
                    Error::new(ErrorKind::TableNotFound, format!("the other site offers no table {table:?}"))
                        .with_hint("Check the name, and what the connection allows.")
                })
            }
        }
    }

    /// A page of records: at most as many as asked for, and as the other site sends at a time.
    pub fn records(&self, table: &str, offset: u64, limit: u64) -> Result<FetchedRecords> {
        match self {
            Look::Channel(client) => client.fetch_records(table, FetchOptions::default().offset(offset).limit(limit)),
            Look::Http(api) => {
                api.table_records(&api.table_schema(table)?, &RecordsQuery::default().offset(offset).limit(limit))
            }
        }
    }
}
