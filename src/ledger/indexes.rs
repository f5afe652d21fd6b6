//! Indexes of tables that a pull made, which are made after their rows: that is faster. A checkpoint keeps them until then, so that no
//! table is left without: a pull that does not come to it leaves it to the next one of the table.

use std::collections::BTreeSet;

use super::checkpoints::{self, Checkpoint};
use super::pulls;
use super::run::Ledger;
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

impl Ledger<'_> {
    /// Makes the indexes of these tables that other pulls put off, of whichever sender, and did not come to: those of pulls that do not
    /// run. Gives the others, which the tables still lack: the names of an index and, folded, of its table.
    pub(crate) fn build_of_others(&self, writer: &mut dyn Writer, tables: &[&str]) -> Result<BTreeSet<(String, String)>> {
        let (silent, names) = (self.silent(), self.names());
        let tables: BTreeSet<_> = tables.iter().map(|table| names.fold(table)).collect();
        let mut left = BTreeSet::new();
        for pull in pulls::kept(writer.state(), None)?.into_iter().filter(|pull| pull.scope != *self.scope()) {
            for checkpoint in checkpoints::of_scope(writer.state(), &pull.scope)? {
                let table = names.fold(&checkpoint.table).into_owned();
                if checkpoint.missing_indexes().is_empty() || !tables.contains(table.as_str()) {
                    continue;
                }
                let mut lacks = checkpoint.missing_indexes().to_vec();
                if !self.here.running.may_run(&pull, silent) {
                    lacks = build_if_possible(writer, &checkpoint)?;
                    let checkpoint = Checkpoint { indexes: lacks.clone(), ..checkpoint };
                    checkpoints::update(writer.state(), &pull.scope, &checkpoint, names, self.now())?;
                }
                left.extend(lacks.into_iter().map(|index| (table.clone(), index.name)));
            }
        }
        Ok(left)
    }
}
