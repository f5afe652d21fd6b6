//! Indexes of tables that a pull made, which are made after their rows: that is faster. A checkpoint keeps them until then, so that no
//! table is left without: a pull that does not come to it leaves it to the next one of the table.

use super::checkpoints::{self, Checkpoint};
use super::scope::Scope;
use crate::domain::schema::Index;
use crate::error::Result;
use crate::store::Writer;

/// Makes the indexes that a table waits for, if it is there.
pub(super) fn build(writer: &mut dyn Writer, checkpoint: &Checkpoint) -> Result<()> {
    if checkpoint.indexes.is_empty() {
        return Ok(());
    }
    match writer.schema(&checkpoint.table)? {
        Some(table) => writer.create_indexes(&table, &checkpoint.indexes),
        None => Ok(()),
    }
}

/// Makes those of all tables of a pull that is about to be forgotten. One that cannot be made, because the table has changed, stays
/// away.
pub(crate) fn build_all(writer: &mut dyn Writer, scope: &Scope) -> Result<()> {
    for checkpoint in checkpoints::of_scope(writer.state(), scope)? {
        build_if_possible(writer, &checkpoint)?;
    }
    Ok(())
}

/// Makes those of all pulls, before rowferry's own tables are removed.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn build_of_all_pulls(writer: &mut dyn Writer) -> Result<()> {
    for scope in checkpoints::scopes(writer.state())? {
        build_all(writer, &scope)?;
    }
    Ok(())
}

/// Makes those of a table whose checkpoint is about to be forgotten, as well. Gives those that cannot be made.
pub(super) fn build_if_possible(writer: &mut dyn Writer, checkpoint: &Checkpoint) -> Result<Vec<Index>> {
    if checkpoint.missing_indexes().is_empty() {
        return Ok(Vec::new());
    }
    let Some(table) = writer.schema(&checkpoint.table)? else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    for index in checkpoint.missing_indexes() {
        writer.savepoint()?;
        match writer.create_indexes(&table, std::slice::from_ref(index)) {
            Ok(()) => writer.release()?,
            Err(error) => {
                log::warn!(
                    target: "rowferry::pull",
                    "the index {:?} of {:?}, which was to be made after its rows, is not: {error}",
                    index.name,
                    table.name
                );
                writer.rollback_to()?;
                left.push(index.clone());
            }
        }
    }
    Ok(left)
}
