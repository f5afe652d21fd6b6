//! What the makers of tables, indexes and references share: where a table goes, what was left out of it, and statements that may be refused.

use super::connection::Connection;
use super::faults::{failed, message};
use crate::domain::schema::TableSchema;
use crate::error::Result;
use crate::store::NewTable;

/// The schema and the name of a table that is made: `schema.table` names a further schema of the site's.
pub(super) fn place(connection: &Connection, name: &str) -> (String, String) {
    let schemas = connection.schemas();
    let further = schemas.iter().skip(1).find_map(|schema| {
        let table = name.strip_prefix(schema.as_str())?.strip_prefix('.')?;
        (!table.is_empty()).then(|| (schema.clone(), table.to_owned()))
    });
    let first = || schemas.first().cloned().unwrap_or_else(|| "public".to_owned());
    further.unwrap_or_else(|| (first(), name.to_owned()))
}

/// Runs a statement under a savepoint: gives what PostgreSQL says where it refuses it, and then nothing of it is left. What has nothing
/// to do with the statement, a lost connection for example, is an error.
pub(super) fn attempt(connection: &mut Connection, sql: &str) -> Result<Option<postgres::Error>> {
    let batch = format!("SAVEPOINT rowferry_ddl; {sql}; RELEASE rowferry_ddl");
    let Err(error) = connection.client.batch_execute(&batch) else { return Ok(None) };
    let class = error.code().and_then(|state| state.code().get(..2));
    if !class.is_some_and(|class| REFUSALS.contains(&class)) {
        return Err(failed(error));
    }
    connection.batch("ROLLBACK TO rowferry_ddl; RELEASE rowferry_ddl")?;
    Ok(Some(error))
}

/// Classes of errors that are about the statement: not supported, a value, a constraint, syntax and rights, PostgreSQL's bounds.
const REFUSALS: [&str; 6] = ["0A", "22", "23", "42", "2B", "54"];

/// A table that is being made.
pub(super) struct Making<'n, 't> {
    pub(super) new: &'n NewTable<'t>,
    pub(super) schema: String,
    /// Its name as SQL.
    pub(super) relation: String,
    pub(super) notes: Notes,
}

/// What was left out of a table, as sentences for a report.
pub(super) struct Notes {
    table: String,
    pub(super) sentences: Vec<String>,
    /// Of one kind, so far.
    left_out: usize,
}

/// How many indexes, and how many foreign keys, of a table are left out each with a sentence. A sender may describe thousands.
const MOST_NAMED: usize = 20;

impl Notes {
    pub(super) fn of(table: &TableSchema) -> Self {
        Notes { table: table.name.clone(), sentences: Vec::new(), left_out: 0 }
    }

    pub(super) fn add(&mut self, what: impl std::fmt::Display) {
        self.sentences.push(format!("Table {:?}: {what}.", self.table));
    }

    /// One of several that are alike.
    pub(super) fn leave_out(&mut self, what: impl std::fmt::Display) {
        self.left_out += 1;
        if self.left_out <= MOST_NAMED {
            self.add(what);
        }
    }

    /// Says how many more of them there were.
    pub(super) fn fold(&mut self, what: &str) {
        let more = std::mem::take(&mut self.left_out).saturating_sub(MOST_NAMED);
        if more > 0 {
            self.add(format_args!("more {what} are left out likewise: {more}"));
        }
    }
}

/// What PostgreSQL says of what was attempted, as the end of a sentence.
pub(super) fn because(error: &postgres::Error) -> String {
    format!("the server says: {}", message(error).trim_end_matches('.'))
}
