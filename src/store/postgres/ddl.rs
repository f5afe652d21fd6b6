//! Makes tables from their structure: names are quoted, types are [read and written again](crate::domain::postgres_type), and no text
//! of a peer is run.
//!
//! Columns and the key are made in one statement. What a table can be without (defaults, unique sets, indexes, references) is made
//! after it, each under a savepoint: what PostgreSQL refuses is left out, with a sentence for the report.

use std::collections::{HashMap, HashSet};

use postgres::error::SqlState;

use super::connection::Connection;
use super::declared::{self, Wanted};
use super::faults::failed;
use super::foreign_keys::{self, Pending};
use super::making::{Making, Notes, attempt, place};
use super::quote::{quote, quote_all};
use super::{defaults, made_indexes, named};
use crate::domain::names::{is_built_in, is_reserved};
use crate::domain::postgres_type::LONGEST_NAME;
use crate::domain::schema::{Column, Numbering, OnConflict, Origin, TableSchema};
use crate::error::{Error, ErrorKind, Result};
use crate::store::NewTable;

/// The most columns that a table may have: PostgreSQL's own bound.
const MOST_COLUMNS: usize = 1_600;

/// Makes a table; gives what of it was left out, as sentences.
pub(super) fn create(connection: &mut Connection, new: &NewTable<'_>, pending: &mut Pending) -> Result<Vec<String>> {
    let sender = new.schema;
    let (schema, name) = place(connection, &sender.name);
    check(sender, &name)?;
    let mut making =
        Making { relation: format!("{}.{}", quote(&schema), quote(&name)), schema, new, notes: Notes::of(sender) };
    let columns = making.columns(connection)?;
    making.table(connection, &columns)?;
    making.defaults(connection, &columns)?;
    making.say_what_is_left_out();
    made_indexes::make(connection, &mut making)?;
    connection.forget();
    foreign_keys::make(connection, &mut making, pending)?;
    connection.forget();
    Ok(making.notes.sentences)
}

/// An error if a table cannot be made, whatever else is here.
pub(super) fn try_out(connection: &Connection, new: &NewTable<'_>) -> Result<()> {
    check(new.schema, &place(connection, &new.schema.name).1)
}

/// What a column is here.
struct Made {
    /// Its type as SQL.
    type_of: String,
    collation: Option<String>,
    numbering: Option<Numbering>,
}

impl Making<'_, '_> {
    fn columns(&mut self, connection: &mut Connection) -> Result<Vec<Made>> {
        let sender = self.new.schema;
        let mut known = HashMap::new();
        let mut made = Vec::with_capacity(sender.columns.len());
        for column in &sender.columns {
            let type_of = self.type_of(connection, column, &mut known)?;
            let numbering = declared::numbering(sender, column, self.new.exact);
            let is_whole = matches!(type_of.as_str(), "smallint" | "integer" | "bigint");
            let collation = self.collation(connection, column, &type_of)?;
            made.push(Made { numbering: numbering.filter(|_| is_whole && !column.generated), type_of, collation });
        }
        Ok(made)
    }

    /// The type of a column as SQL. Each that must be looked for is looked for once.
    fn type_of(
        &mut self,
        connection: &mut Connection,
        column: &Column,
        known: &mut HashMap<String, Option<String>>,
    ) -> Result<String> {
        let sender = self.new.schema;
        let is_key = sender.names.is_among(&column.name, &sender.primary_key);
        match declared::wanted(sender, column, self.new.exact) {
            Wanted::Any => named::any(connection),
            // It cannot be compared.
            Wanted::Own(json) if json == "json" && is_key => Ok("text".to_owned()),
            Wanted::Own(type_of) => Ok(type_of),
            Wanted::Unnamed(instead) => {
                let (name, declared) = (&column.name, &column.declared_type);
                self.notes.add(format_args!(
                    "{declared:?}, the type of column {name:?}, is no name of a type; it becomes {instead}"
                ));
                Ok(instead.to_owned())
            }
            Wanted::Named(wanted, instead) => {
                let found = match known.get(&column.declared_type) {
                    Some(found) => found.clone(),
                    None => {
                        let found = self.named_type(connection, column, &wanted)?;
                        known.insert(column.declared_type.clone(), found.clone());
                        found
                    }
                };
                Ok(found.unwrap_or_else(|| {
                    let (name, declared) = (&column.name, &column.declared_type);
                    self.notes.add(format_args!("there is no type {declared:?} here; column {name:?} becomes {instead}"));
                    instead.to_owned()
                }))
            }
        }
    }

    fn named_type(
        &mut self,
        connection: &mut Connection,
        column: &Column,
        wanted: &crate::domain::postgres_type::PostgresType,
    ) -> Result<Option<String>> {
        let Some(mut found) = named::find_type(connection, wanted)? else { return Ok(None) };
        if !found.parameters.is_empty() && attempt(connection, &format!("SELECT NULL::{found}"))?.is_some() {
            found.parameters.clear();
            let name = &column.name;
            self.notes
                .add(format_args!("the type of column {name:?} becomes {found}: this server does not take its bounds"));
        }
        Ok(Some(found.to_string()))
    }

    /// The collation of a column as SQL.
    fn collation(&mut self, connection: &mut Connection, column: &Column, type_of: &str) -> Result<Option<String>> {
        let Some(name) = &column.collation else { return Ok(None) };
        let sender = self.new.schema;
        let is_binary = sender.origin == Origin::Sqlite && name.eq_ignore_ascii_case("BINARY");
        if is_binary {
            return Ok(None);
        }
        if sender.origin == Origin::Postgres
            && let Some(found) = named::find_collation(connection, name)?
            // What is not text has none: the type became another.
            && attempt(connection, &format!("SELECT NULL::{type_of} COLLATE {found}"))?.is_none()
        {
            return Ok(Some(found));
        }
        self.notes.add(format_args!("the collation {name:?} of column {:?} is left out", column.name));
        Ok(None)
    }

    /// Makes the table with its columns and its key.
    fn table(&mut self, connection: &mut Connection, columns: &[Made]) -> Result<()> {
        let sender = self.new.schema;
        let mut parts: Vec<String> = Vec::with_capacity(columns.len() + 1);
        for (column, made) in sender.columns.iter().zip(columns) {
            let mut part = format!("{} {}", quote(&column.name), made.type_of);
            if let Some(collation) = &made.collation {
                part.push_str(&format!(" COLLATE {collation}"));
            }
            if !column.nullable {
                part.push_str(" NOT NULL");
            }
            part.push_str(match made.numbering {
                Some(Numbering::Always) => " GENERATED ALWAYS AS IDENTITY",
                Some(Numbering::ByDefault) => " GENERATED BY DEFAULT AS IDENTITY",
                None => "",
            });
            parts.push(part);
        }
        if !sender.primary_key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", quote_all(self.key())));
        }
        let sql = format!("CREATE TABLE {} ({})", self.relation, parts.join(", "));
        connection.client.batch_execute(&sql).map_err(|error| {
            let is_taken =
                error.code().is_some_and(|state| [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT].contains(state));
            let doing = format!("cannot create the table {:?}", sender.name);
            match is_taken {
                true => {
                    let why = format!("{doing}: there is something of that name");
                    Error::new(ErrorKind::SchemaMismatch, why).with_hint("Rename one of the two, or leave it out.")
                }
                false => failed(error).while_doing(doing),
            }
        })
    }

    /// The columns of the key as the columns are named.
    pub(super) fn key(&self) -> impl Iterator<Item = &str> {
        let sender = self.new.schema;
        sender.primary_key.iter().filter_map(|name| sender.column(name)).map(|column| column.name.as_str())
    }

    fn defaults(&mut self, connection: &mut Connection, columns: &[Made]) -> Result<()> {
        let sender = self.new.schema;
        let origin = if self.new.exact { sender.origin } else { Origin::Postgres };
        let (mut names, mut changes) = (Vec::new(), Vec::new());
        let sides =
            sender.columns.iter().zip(columns).filter(|(column, made)| !column.generated && made.numbering.is_none());
        for (column, made) in sides {
            match defaults::of(column, origin, &made.type_of) {
                defaults::Default::None => {}
                defaults::Default::LeftOut => self.leave_default_out(column),
                defaults::Default::Sql(sql) => {
                    names.push(column);
                    changes.push(format!("ALTER COLUMN {} SET DEFAULT {sql}", quote(&column.name)));
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let alter = |change: &str| format!("ALTER TABLE {} {change}", self.relation);
        if attempt(connection, &alter(&changes.join(", ")))?.is_none() {
            return Ok(());
        }
        let alone: Vec<String> = changes.iter().map(|change| alter(change)).collect();
        for (column, sql) in names.into_iter().zip(alone) {
            if attempt(connection, &sql)?.is_some() {
                self.leave_default_out(column);
            }
        }
        Ok(())
    }

    fn leave_default_out(&mut self, column: &Column) {
        let what = "is an expression, or nothing that its type takes, and is left out";
        self.notes.add(format_args!("the default of column {:?} {what}", column.name));
    }

    /// What tables here do not have.
    fn say_what_is_left_out(&mut self) {
        let sender = self.new.schema;
        for column in sender.columns.iter().filter(|column| column.generated) {
            self.notes.add(format_args!("column {:?} is computed by the sender and is a plain column here", column.name));
        }
        if self.new.exact {
            let collations = sender.primary_key.iter().zip(&sender.key_collations);
            for (name, by) in collations.filter_map(|(name, by)| Some((name, by.as_ref()?))) {
                if !by.eq_ignore_ascii_case("BINARY") {
                    self.notes.add(format_args!("the collation {by:?} of column {name:?} in the key is left out"));
                }
            }
        }
        let says = |what: &OnConflict| *what != OnConflict::Abort;
        let clauses = sender.columns.iter().map(|column| &column.not_null_on_conflict);
        let clauses = clauses.chain(sender.unique.iter().map(|set| &set.on_conflict)).chain([&sender.key_on_conflict]);
        if clauses.into_iter().any(says) {
            self.notes
                .add("what its constraints do with a row that breaks them (ON CONFLICT) is left out: such a row fails here");
        }
        if sender.is_unread {
            self.notes.add("its statement at the sender makes no sense (unread_statement): DEFERRABLE is left out");
        }
    }
}

/// What can be said of a table without looking at the database. `relname` is its name within its schema.
fn check(sender: &TableSchema, relname: &str) -> Result<()> {
    let name = &sender.name;
    let starts = |prefix: &str| relname.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if is_reserved(relname) || is_built_in(relname) || starts("pg_") {
        return Err(Error::new(ErrorKind::ReservedName, format!("a table named {name:?} is not made here")).with_hint(
            "Names that databases or rowferry use themselves are reserved; rename the table at the sender, or leave it out.",
        ));
    }
    let mismatch =
        |what: String| Err(Error::new(ErrorKind::SchemaMismatch, format!("table {name:?} cannot be made: {what}")));
    let too_large = |what: String, hint: String| {
        Err(Error::new(ErrorKind::TooLarge, format!("table {name:?} cannot be made: {what}")).with_hint(hint))
    };
    if sender.columns.is_empty() {
        return mismatch("the sender says that it has no columns".into());
    }
    if sender.columns.len() > MOST_COLUMNS {
        let hint = format!("A table has at most {MOST_COLUMNS} columns.");
        return too_large(format!("it has {} columns", sender.columns.len()), hint);
    }
    let mut seen = HashSet::with_capacity(sender.columns.len());
    for one in std::iter::once(name).chain(sender.columns.iter().map(|column| &column.name)) {
        if one.is_empty() || one.contains('\0') {
            return mismatch("a name is empty, or has a NUL in it".into());
        }
    }
    for column in &sender.columns {
        if column.name.len() > LONGEST_NAME {
            let hint = format!("PostgreSQL's names have at most {LONGEST_NAME} bytes: rename the column at the sender.");
            return too_large(format!("the name of its column {:?} is too long", column.name), hint);
        }
        if !seen.insert(&column.name) {
            return mismatch(format!("it has the column {:?} twice", column.name));
        }
    }
    if relname.len() > LONGEST_NAME {
        let hint = format!("PostgreSQL's names have at most {LONGEST_NAME} bytes: rename the table at the sender.");
        return too_large("its name is too long".into(), hint);
    }
    let mut seen = HashSet::new();
    let is_key = |name: &String| sender.column_index(name).is_some_and(|at| seen.insert(at));
    match sender.primary_key.iter().all(is_key) {
        true => Ok(()),
        false => mismatch("its primary key is not a list of its columns".into()),
    }
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;
