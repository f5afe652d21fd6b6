//! The PostgreSQL store: the data and rowferry's state in one database, for several processes at once.

mod any;
mod arrays;
mod beside;
mod bulk;
mod casts;
mod catalogue;
mod clashes;
mod columns;
mod comparable;
mod connection;
mod constraint_checks;
mod constraints;
mod copy;
mod copy_binary;
mod ddl;
mod declared;
mod defaults;
mod examination;
mod faults;
mod find;
mod fit;
mod foreign_keys;
mod identity;
mod indexes;
mod looks;
mod lookup;
mod made_indexes;
mod making;
mod named;
mod options;
mod page;
mod parts;
mod pool;
mod quote;
mod references;
mod relations;
mod sequences;
mod snapshot;
mod statements;
mod table;
#[cfg(test)]
#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../../../tests/support/postgres/mod.rs"]
pub(crate) mod test_server;
#[cfg(test)]
mod testing;
mod texts;
mod tls;
mod transaction;
mod types;
mod values;
mod write;
mod writer;

pub(crate) use examination::Examination;
pub(crate) use options::NAME;
pub use options::PostgresOptions;

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::domain::value::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::store::{Snapshot, Sql, Store, StoreIdentity, Writer, migrate};
use connection::Connection;
use pool::Pooled;
use transaction::{COMMIT, ONE_WRITER};

/// The oldest version of PostgreSQL whose catalogue is known here.
const OLDEST: i32 = 130_000;

/// A PostgreSQL database, version 13 or newer.
///
/// Opening it makes rowferry's own `rowferry_*` tables in the first of the site's schemas; nothing else is changed. Several processes may
/// have it open. Its calls block, and may not be made on an async task.
#[derive(Debug)]
pub struct PostgresStore {
    pools: pool::Pools,
}

impl PostgresStore {
    /// Connects to a database.
    ///
    /// # Errors
    /// [`CannotOpen`](ErrorKind::CannotOpen), [`Tls`](ErrorKind::Tls) and [`Locked`](ErrorKind::Locked) say why not;
    /// [`ReadOnly`](ErrorKind::ReadOnly) that the server is a standby; [`NewerState`](ErrorKind::NewerState) that a newer rowferry was used
    /// on it; [`InvalidInput`](ErrorKind::InvalidInput) is the answer on an async task.
    pub fn open(options: &PostgresOptions, limits: &Limits) -> Result<Self> {
        let store = PostgresStore { pools: pool::Pools::open(options, limits)? };
        check_server(&mut *store.pools.reader()?, options)?;
        migrate::store(&store, migrate::POSTGRES, SystemClock.now())?;
        Ok(store)
    }
}

/// Refuses a server and a database that cannot keep a site.
fn check_server(connection: &mut Connection, options: &PostgresOptions) -> Result<()> {
    let cannot = |why: String, hint: &str| {
        Err(Error::new(ErrorKind::CannotOpen, format!("cannot open {}: {why}", options.name())).with_hint(hint))
    };
    let found = connection.rows(
        "SELECT current_setting('server_version_num')::int4, current_setting('server_version'),
                (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database())",
        &[],
    )?;
    let Some(row) = found.first() else { return cannot("it does not tell its version".into(), "See the server's log.") };
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST {
        return cannot(format!("it is PostgreSQL {version}"), "rowferry needs version 13 or newer.");
    }
    if encoding != "UTF8" {
        return cannot(format!("its encoding is {encoding}"), "Use a database with the encoding UTF8.");
    }
    for schema in &options.schemas {
        if connection.rows("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[schema])?.is_empty() {
            return cannot(format!("it has no schema {schema:?}"), "Make it first: CREATE SCHEMA.");
        }
    }
    Ok(())
}

impl Store for PostgresStore {
    fn name(&self) -> String {
        self.pools.name().to_owned()
    }

    fn names(&self) -> NameRules {
        NameRules::Exact
    }

    fn identity(&self) -> Option<StoreIdentity> {
        let mut connection = self.pools.reader().ok()?;
        identity::read(&mut connection).ok()
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(snapshot::PostgresSnapshot::begin(self.pools.reader()?)?))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(writer::PostgresWriter::begin(self.pools.writer()?)?))
    }

    /// A commit that is waited for takes all earlier ones to the disk. It is one only if it has written something.
    fn flush(&self) -> Result<()> {
        let mut small = Small::begin(self.pools.writer()?)?;
        small.connection.batch("SET LOCAL synchronous_commit = on")?;
        small.connection.rows("SELECT pg_catalog.pg_logical_emit_message(true, 'rowferry', ''::text)", &[])?;
        small.commit()
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        let mut small = Small::begin(self.pools.writer()?)?;
        work(&mut small)?;
        small.commit()
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        work(&mut statements::Reading::begin(self.pools.reader()?)?)
    }
}

/// A transaction over rowferry's own tables only.
struct Small {
    connection: Pooled,
}

impl Small {
    fn begin(mut connection: Pooled) -> Result<Self> {
        connection.in_transaction = true;
        let begun = connection.batch(&format!("BEGIN; {ONE_WRITER}"));
        let small = Small { connection };
        begun.map(|()| small)
    }

    fn commit(mut self) -> Result<()> {
        self.connection.batch(COMMIT)?;
        self.connection.in_transaction = false;
        Ok(())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if self.connection.in_transaction {
            self.connection.in_transaction = self.connection.batch("ROLLBACK").is_err();
        }
    }
}

impl Sql for Small {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        statements::execute(&mut self.connection, sql, values)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        statements::query(&mut self.connection, sql, values)
    }

    fn longest_indexed(&self) -> usize {
        statements::LONGEST_INDEXED
    }

    fn numbers_were_given(&mut self, table: &str) -> Result<()> {
        statements::raise_numbers(&mut self.connection, table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::CASES;

    /// Runs these cases of the suite, each on a database of its own.
    fn conforms(is_meant: impl Fn(&str) -> bool) {
        for case in CASES.iter().filter(|case| is_meant(case.name)) {
            let options = PostgresOptions::parse(&test_server::server().database()).unwrap();
            let store = PostgresStore::open(&options, &Limits::default()).unwrap();
            case.run(&store);
        }
    }

    #[test]
    fn a_commit_of_what_failed_is_an_error() {
        let options = PostgresOptions::parse(&test_server::server().database()).unwrap();
        let store = PostgresStore::open(&options, &Limits::default()).unwrap();
        let done = store.state(&mut |sql| {
            sql.execute("CREATE TABLE made (a int)", &[])?;
            drop(sql.execute("INSERT INTO nowhere VALUES (1)", &[]));
            Ok(())
        });
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Database);
        let mut writer = store.writer().unwrap();
        drop(writer.state().execute("INSERT INTO nowhere VALUES (1)", &[]));
        assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::Database);
        drop(writer);
        store.state(&mut |sql| sql.execute("CREATE TABLE made (a int)", &[]).map(drop)).unwrap();
    }

    /// Cases that take long, which have tests of their own.
    const LONG: [&str; 4] = [
        "bulk_model::records_of_every_kind",
        "bulk_model::records_that_are_refused",
        "bulk_model::rows_",
        "bulk_model::keys_",
    ];

    #[test]
    fn conforms_but_for_bulk_applies() {
        conforms(|name| !name.starts_with("bulk"));
    }

    #[test]
    fn conforms_in_bulk_applies() {
        conforms(|name| name.starts_with("bulk") && !LONG.iter().any(|long| name.starts_with(long)));
    }

    #[test]
    fn conforms_in_bulk_applies_of_every_kind() {
        conforms(|name| name.starts_with(LONG[0]));
    }

    #[test]
    fn conforms_in_bulk_applies_that_are_refused() {
        conforms(|name| name.starts_with(LONG[1]));
    }

    #[test]
    fn conforms_in_bulk_applies_of_rows_that_refer_to_each_other() {
        conforms(|name| name.starts_with(LONG[2]));
    }

    #[test]
    fn conforms_in_bulk_applies_by_all_kinds_of_keys() {
        conforms(|name| name.starts_with(LONG[3]));
    }
}
