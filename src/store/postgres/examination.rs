//! Looks a database over and changes nothing in it: what could go wrong with a site on it.

use super::connection::Connection;
use super::options::PostgresOptions;
use super::pool::Manager;
use super::{check_server, looks, statements};
use crate::domain::finding::Finding;
use crate::domain::value::Value;
use crate::error::Result;
use crate::limits::Limits;
use crate::store::Sql;

/// A database that is open to be looked at, in a transaction that can only read.
pub(crate) struct Examination {
    connection: Connection,
    /// What is found of the way to the server.
    way: [Finding; 2],
}

impl Examination {
    /// Connects to a database that is there.
    pub(crate) fn open(options: &PostgresOptions, limits: &Limits) -> Result<Self> {
        let manager = Manager::new(options, limits);
        let mut connection = manager.open()?;
        check_server(&mut connection, options)?;
        let pooler = looks::pooler(&mut connection, &mut manager.open()?)?;
        let tls = looks::tls(&mut connection, options.is_local())?;
        connection.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        Ok(Examination { connection, way: [tls, pooler] })
    }

    /// What is found. Tables of these names are hidden on purpose.
    pub(crate) fn findings(&mut self, is_hidden: &dyn Fn(&str) -> bool) -> Vec<Finding> {
        let looks: [(&str, &Look<'_>); 7] = [
            ("server_version", &|connection| Ok(vec![version(connection)?])),
            ("server", &|connection| Ok(vec![primary(connection)?])),
            ("rights", &|connection| Ok(vec![rights(connection)?])),
            ("durability", &looks::durability),
            ("clock", &looks::clock),
            ("foreign_keys", &looks::foreign_keys),
            ("tables", &|connection| looks::tables(connection, is_hidden)),
        ];
        let mut found = self.way.to_vec();
        for (code, look) in looks {
            match self.look(look) {
                Ok(more) => found.extend(more),
                Err(error) => {
                    let hint = error.hint().unwrap_or("See the server's log.").to_owned();
                    found.push(Finding::problem(code, format!("this could not be looked at: {}", error.message()), hint));
                }
            }
        }
        found
    }

    /// A statement that fails ends the transaction, but for a savepoint.
    fn look<T>(&mut self, look: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        self.connection.batch("SAVEPOINT look")?;
        let looked = look(&mut self.connection);
        self.connection.batch("ROLLBACK TO SAVEPOINT look; RELEASE SAVEPOINT look")?;
        looked
    }
}

type Look<'l> = dyn Fn(&mut Connection) -> Result<Vec<Finding>> + 'l;

/// The only cell of an answer, as text.
fn text(connection: &mut Connection, sql: &str) -> Result<String> {
    let rows = connection.rows(sql, &[])?;
    let cell = rows.first().map(|row| row.try_get::<_, Option<String>>(0).map_err(super::faults::failed)).transpose()?;
    Ok(cell.flatten().unwrap_or_default())
}

fn version(connection: &mut Connection) -> Result<Finding> {
    let version = text(connection, "SELECT current_setting('server_version')")?;
    Ok(Finding::ok("server_version", format!("PostgreSQL {version}")))
}

fn primary(connection: &mut Connection) -> Result<Finding> {
    const CODE: &str = "server";
    Ok(match text(connection, "SELECT pg_is_in_recovery()::text")?.as_str() {
        "true" => Finding::problem(CODE, "the server is a standby, which takes no changes", "Connect to the primary one."),
        _ => Finding::ok(CODE, "the server takes changes"),
    })
}

fn rights(connection: &mut Connection) -> Result<Finding> {
    const CODE: &str = "rights";
    let role = text(connection, "SELECT current_user::text")?;
    let may = text(connection, "SELECT has_schema_privilege(current_schema(), 'CREATE')::text")?;
    Ok(match may.as_str() {
        "true" => Finding::ok(CODE, format!("the role {role} may make tables")),
        _ => Finding::warning(
            CODE,
            format!("the role {role} may not make tables in the site's schema"),
            "rowferry's own tables are made there, and those that a pull makes: GRANT CREATE ON SCHEMA.",
        ),
    })
}

impl Sql for Examination {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<usize> {
        self.look(|connection| statements::execute(connection, sql, values))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.look(|connection| statements::query(connection, sql, values))
    }

    fn longest_indexed(&self) -> usize {
        statements::LONGEST_INDEXED
    }
}
