//! Connections to databases of the tests' own server.

use super::connection::Connection;
use super::options::PostgresOptions;
use crate::limits::Limits;

/// A connection to a fresh database of the tests' server, in which these statements have been run.
pub(super) fn test(sql: &str) -> Connection {
    test_with(sql, &["public"])
}

/// The same of a site with these schemas.
pub(super) fn test_with(sql: &str, schemas: &[&str]) -> Connection {
    let url = super::test_server::server().database();
    let options = PostgresOptions::parse(&url).unwrap().schemas(schemas.iter().copied()).unwrap();
    let client = options.config.connect(postgres::NoTls).unwrap();
    let mut connection = Connection::new(client, &options, &Limits::default()).unwrap();
    connection.batch(sql).unwrap();
    connection
}
