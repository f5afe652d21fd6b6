//! References of tables that are made: to tables that are here, and to those that are made later in the same transaction.

use std::collections::HashSet;

use super::connection::Connection;
use super::making::{Making, Notes, attempt, because};
use super::quote::quote_all;
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::error::Result;
use crate::store::NewTable;

/// References whose tables are not made yet.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// The table that refers.
    table: String,
    /// Its columns are named as they are.
    key: ForeignKey,
}

/// Adds the references of a table that was made just now, and those of earlier ones to it.
///
/// One that cannot be added to an earlier table is not told here: [`complete`] tells it of that table.
pub(super) fn make(connection: &mut Connection, making: &mut Making<'_, '_>, pending: &mut Pending) -> Result<()> {
    let sender = making.new.schema;
    let mut seen = HashSet::new();
    for key in &sender.foreign_keys {
        if !seen.insert(key) {
            continue;
        }
        let is_later = |parent: &str| (making.new.parents)(parent).is_some();
        match add(connection, sender, &making.relation, key)? {
            Added::Yes => {}
            Added::NoParent if is_later(&key.parent) => {
                pending.0.push(Waiting { table: sender.name.clone(), key: named_as_columns(sender, key) });
            }
            added => leave_out(&mut making.notes, key, &added),
        }
    }
    making.notes.fold("foreign keys");
    let (mine, others) = std::mem::take(&mut pending.0).into_iter().partition(|waiting| waiting.key.parent == sender.name);
    pending.0 = others;
    let mine: Vec<Waiting> = mine;
    for Waiting { table, key } in mine {
        // It may have been undone.
        if let Some(child) = connection.table(&table)? {
            add(connection, &child.schema, &child.relation, &key)?;
            connection.forget();
        }
    }
    Ok(())
}

/// Adds the references of a table that are missing: called when all tables that it may refer to were made. Gives which of them are left
/// out.
pub(super) fn complete(connection: &mut Connection, new: &NewTable<'_>) -> Result<Vec<String>> {
    let sender = new.schema;
    let mut notes = Notes::of(sender);
    if sender.foreign_keys.is_empty() {
        return Ok(notes.sentences);
    }
    connection.forget();
    let Some(table) = connection.table(&sender.name)? else { return Ok(notes.sentences) };
    let mut seen = HashSet::new();
    for key in &sender.foreign_keys {
        let named = named_as_columns(sender, key);
        let is_it = |here: &ForeignKey| {
            let columns = named.parent_columns.is_empty() || here.parent_columns == named.parent_columns;
            here.parent == named.parent && here.columns == named.columns && columns
        };
        if !seen.insert(key) || table.schema.foreign_keys.iter().any(is_it) {
            continue;
        }
        match add(connection, sender, &table.relation, key)? {
            Added::Yes => {}
            added => leave_out(&mut notes, key, &added),
        }
    }
    notes.fold("foreign keys");
    connection.forget();
    Ok(notes.sentences)
}

/// What became of a reference.
enum Added {
    Yes,
    /// The table that it refers to is not here.
    NoParent,
    /// It is refused.
    No(String),
}

fn leave_out(notes: &mut Notes, key: &ForeignKey, added: &Added) {
    let why = match added {
        Added::Yes => return,
        Added::NoParent => "that table is neither here nor pulled",
        Added::No(why) => why,
    };
    let columns: Vec<String> = key.columns.iter().map(|name| format!("{name:?}")).collect();
    let (columns, parent) = (columns.join(", "), &key.parent);
    notes.leave_out(format_args!("the foreign key ({columns}) to {parent:?} is left out, because {why}"));
}

/// The same reference with the columns named as they are among the columns of the table.
fn named_as_columns(table: &TableSchema, key: &ForeignKey) -> ForeignKey {
    let name = |name: &String| table.column(name).map_or_else(|| name.clone(), |column| column.name.clone());
    let is_own = table.names.same(&key.parent, &table.name);
    ForeignKey {
        columns: key.columns.iter().map(name).collect(),
        parent: if is_own { table.name.clone() } else { key.parent.clone() },
        parent_columns: if is_own { key.parent_columns.iter().map(name).collect() } else { key.parent_columns.clone() },
        ..key.clone()
    }
}

/// Adds one reference.
fn add(connection: &mut Connection, table: &TableSchema, relation: &str, key: &ForeignKey) -> Result<Added> {
    let key = named_as_columns(table, key);
    let (parent_relation, parent_key) = match key.parent == table.name {
        true => {
            let own = table.primary_key.iter().map(|name| table.column(name).map_or(name, |column| &column.name).clone());
            (relation.to_owned(), own.collect())
        }
        false => match connection.table(&key.parent)? {
            Some(parent) => (parent.relation.clone(), parent.schema.primary_key.clone()),
            None => return Ok(Added::NoParent),
        },
    };
    let parent_columns = if key.parent_columns.is_empty() { parent_key } else { key.parent_columns };
    let is_here = key.columns.iter().all(|name| table.column(name).is_some());
    if key.columns.is_empty() || key.columns.len() != parent_columns.len() || !is_here {
        return Ok(Added::No("its columns do not match".to_owned()));
    }
    let list = |names: &[String]| quote_all(names.iter().map(String::as_str));
    let sql = format!(
        "ALTER TABLE {relation} ADD FOREIGN KEY ({}) REFERENCES {parent_relation} ({}) ON DELETE {} ON UPDATE {} DEFERRABLE INITIALLY {}",
        list(&key.columns),
        list(&parent_columns),
        key.on_delete.as_sql(),
        key.on_update.as_sql(),
        if key.deferred { "DEFERRED" } else { "IMMEDIATE" },
    );
    Ok(match attempt(connection, &sql)? {
        None => Added::Yes,
        Some(error) if error.code() == Some(&postgres::error::SqlState::INVALID_FOREIGN_KEY) => {
            Added::No("what it refers to is not unique there".to_owned())
        }
        Some(error) => Added::No(because(&error)),
    })
}
