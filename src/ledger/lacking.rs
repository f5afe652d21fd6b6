//! Tables that lack indexes which another pull put off.

use std::collections::BTreeSet;

use super::checkpoints::{self, Checkpoint};
use super::indexes::build_if_possible;
use super::pulls;
use super::run::Ledger;
use crate::error::Result;
use crate::store::Writer;

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
