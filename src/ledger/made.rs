//! Which tables pulls of a sender made. Tables that come from it later may refer to them: the sender may change their rows in any case.

use std::collections::HashSet;

use super::checkpoints;
use super::pulls::{self, Sender};
use super::run::Ledger;
use crate::domain::digest::RowDigest;
use crate::domain::schema::TableSchema;
use crate::domain::value::Value;
use crate::error::Result;
use crate::state::text;
use crate::store::Writer;

impl Ledger<'_> {
    /// A table was made just now, as part of this transaction: what records of one of its name became is forgotten.
    pub(crate) fn note_made(&self, writer: &mut dyn Writer, table: &TableSchema) -> Result<()> {
        self.forget_known(writer, table)?;
        let Some(sender) = self.kept_of_sender() else { return Ok(()) };
        let (sender, name) = (sender.as_str().to_owned(), self.names().fold(&table.name).into_owned());
        writer.state().execute("DELETE FROM rowferry_made WHERE table_name = ?1", &[name.as_str().into()])?;
        let insert = "INSERT INTO rowferry_made (sender, table_name, columns) VALUES (?1, ?2, ?3)";
        writer.state().execute(insert, &[sender.into(), name.into(), columns_of(table)]).map(|_| ())
    }

    /// The folded names of the tables that pulls of this sender made, and that are still what they were then.
    pub(crate) fn made_by(&self, writer: &mut dyn Writer, sender: &Sender) -> Result<HashSet<String>> {
        let mut made = HashSet::new();
        for pull in pulls::kept(writer.state(), Some(&sender.name))? {
            let tables = checkpoints::of_scope(writer.state(), &pull.scope)?;
            let own = tables.into_iter().filter(|table| table.created || table.made_before);
            made.extend(own.map(|table| self.names().fold(&table.table).into_owned()));
        }
        let select = "SELECT table_name, columns FROM rowferry_made WHERE sender = ?1";
        for row in writer.state().query(select, &[sender.name.as_str().into()])? {
            let name = text(&row, 0)?;
            match writer.schema(&name)? {
                Some(now) if row.get(1) == Some(&columns_of(&now)) => drop(made.insert(name)),
                // It is gone, or another one.
                _ => {
                    let delete = "DELETE FROM rowferry_made WHERE table_name = ?1";
                    writer.state().execute(delete, &[name.into()])?;
                }
            }
        }
        Ok(made)
    }
}

/// A digest of the names and types of a table's columns.
fn columns_of(table: &TableSchema) -> Value {
    let mut digest = RowDigest::new();
    for column in &table.columns {
        digest.name(&column.name);
        digest.name(&column.declared_type);
    }
    Value::Blob(digest.finish().to_vec())
}
