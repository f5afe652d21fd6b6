//! What is known of the records of a sender that came in earlier pulls: see [`key_map`].

use super::Import;
use crate::domain::schema::TableSchema;
use crate::error::Result;
use crate::plan::follow::KnownRows;
use crate::plan::{Identity, TablePlan};
use crate::store::Writer;
use crate::store::records::counts;
use crate::store::records::key_map::{self, Knows};

impl Import<'_> {
    /// Those of these tables of whose records something is known.
    pub(crate) fn known_rows<'n>(
        &self,
        writer: &mut dyn Writer,
        tables: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<KnownRows>> {
        let mut known: Vec<KnownRows> = Vec::new();
        if self.kept.is_none() || !key_map::has_any(writer.state(), self.kept())? {
            return Ok(known);
        }
        for name in tables {
            if known.iter().any(|known| self.names().same(&known.table.name, name)) {
                continue;
            }
            let Some(table) = writer.schema(name)? else { continue };
            match key_map::knows(writer.state(), self.kept(), &key_map::name_of(&table))? {
                Knows::Nothing => {}
                knows => known.push(KnownRows { table, appended: knows == Knows::Appended }),
            }
        }
        Ok(known)
    }

    /// Whether it is known which records of a table earlier appends brought.
    pub(crate) fn knows_appended(&self, writer: &mut dyn Writer, plan: &TablePlan) -> Result<bool> {
        let name = key_map::name_of(&plan.table);
        match plan.identity {
            _ if self.kept.is_none() => Ok(false),
            Identity::Key { .. } => Ok(key_map::knows(writer.state(), self.kept(), &name)? == Knows::Appended),
            Identity::WholeRow => counts::knows(writer.state(), self.kept(), &name),
        }
    }

    /// Forgets what records of a table became: it was made only now.
    pub(crate) fn forget_known(&self, writer: &mut dyn Writer, table: &TableSchema) -> Result<()> {
        let name = key_map::name_of(table);
        key_map::forget_table(writer.state(), self.kept(), &name).map(|_| ())?;
        counts::forget_table(writer.state(), self.kept(), &name)
    }
}
