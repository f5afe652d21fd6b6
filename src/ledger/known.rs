//! What is known of the records of a sender that came in earlier pulls: see [`key_map`].

use std::collections::HashSet;

use super::counts;
use super::key_map::{self, Knows};
use super::run::Ledger;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::error::Result;
use crate::plan::TablePlan;
use crate::plan::follow::KnownRows;
use crate::store::Writer;

impl Ledger<'_> {
    /// Those of these tables of whose records something is known.
    pub(crate) fn known_rows<'n>(
        &self,
        writer: &mut dyn Writer,
        tables: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<KnownRows>> {
        let mut known: Vec<KnownRows> = Vec::new();
        if !self.keeps_keys() {
            return Ok(known);
        }
        // Each is asked for once, although thousands of foreign keys may name it: the database is locked.
        let mut asked = HashSet::new();
        for name in tables {
            let folded = self.names().fold(name);
            if asked.contains(&folded) {
                continue;
            }
            let knows = key_map::knows(writer.state(), self.kept(), &folded)?;
            asked.insert(folded);
            // All of its records may have failed.
            let appended = knows == Knows::Appended || self.appended(writer, name)?.is_some();
            if (appended || knows != Knows::Nothing)
                && let Some(table) = writer.schema(name)?
            {
                known.push(KnownRows { table, appended });
            }
        }
        Ok(known)
    }

    /// A table comes from its first record on. For an append, what came before is known as such, unless it is appended again.
    pub(crate) fn begin_table(&self, writer: &mut dyn Writer, plan: &TablePlan) -> Result<()> {
        let Some(kept) = self.kept_of_sender().filter(|_| plan.strategy == Strategy::Append) else { return Ok(()) };
        let name = key_map::name_of(&plan.table);
        key_map::begin_run(writer.state(), kept, &name, self.scope())?;
        match plan.append.again {
            true => counts::forget_table(writer.state(), self.scope(), &name),
            false => counts::copy(writer.state(), kept, self.scope(), &name),
        }
    }

    /// Forgets what records of a table became: it was made only now.
    pub(super) fn forget_known(&self, writer: &mut dyn Writer, table: &TableSchema) -> Result<()> {
        let name = key_map::name_of(table);
        key_map::forget_table(writer.state(), self.kept(), &name)?;
        counts::forget_table(writer.state(), self.kept(), &name)
    }
}
