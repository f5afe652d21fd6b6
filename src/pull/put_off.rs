//! Indexes that were put off, by this pull or another one, and that a table still lacks: it is said.

use super::context::Context;
use super::planned::{Plan, Table};
use crate::domain::schema::{Index, TableSchema};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::store::Writer;

/// Says of a table that this pull left before its last row which indexes it lacks.
pub(super) fn note_own(table: &mut Table) {
    let names: Vec<&str> = table.checkpoint.missing_indexes().iter().map(|index| index.name.as_str()).collect();
    if !names.is_empty() {
        let why = "that comes after its last row, when the pull is resumed or given up. Pull again, or give it up: `Checkpoints::clear`";
        let note = sentence(&table.name, &names, why);
        table.report.notes.push(note);
    }
}

/// Makes what pulls that do not run any more left to be made in these tables. Gives the tables, by their places, that lack indexes
/// which another pull may be about to make, each with a sentence for its report.
pub(super) fn of_others(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    writer: &mut dyn Writer,
    plan: &Plan,
) -> Result<Vec<(usize, String)>> {
    if cx.options.dry_run {
        return Ok(Vec::new());
    }
    let tables: Vec<&str> = plan.tables.iter().map(|table| table.name.as_str()).collect();
    let left = ledger.build_of_others(writer, &tables)?;
    let of = |name: &str| -> Vec<&str> {
        left.iter().filter(|(table, _)| cx.names.same(table, name)).map(|(_, index)| index.as_str()).collect()
    };
    let lacking = tables.iter().enumerate().map(|(at, table)| (at, of(table))).filter(|(_, names)| !names.is_empty());
    let why = "another pull put them off, and may run yet. If it was killed, pull again after two minutes, or give it up: `Checkpoints::clear`";
    Ok(lacking.map(|(at, names)| (at, sentence(tables[at], &names, why))).collect())
}

/// Leaves the indexes out that cannot be made any more, because the table has changed since they were put off. Gives what is to be said.
pub(super) fn leave_out(indexes: &mut Vec<Index>, table: &TableSchema) -> Vec<String> {
    let mut notes = Vec::new();
    indexes.retain(|index| {
        let gone = index.parts.iter().find(|part| table.column_index(&part.column).is_none());
        notes.extend(gone.map(|part| {
            let (name, column) = (&index.name, &part.column);
            format!(
                "Table {:?}: the index {name:?} is left out, because the table has no column {column:?} any more.",
                table.name
            )
        }));
        gone.is_none()
    });
    notes
}

fn sentence(table: &str, names: &[&str], why: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{:?}", name)).collect();
    format!("Table {table:?}: its indexes are not made yet ({}; indexes_put_off): {why}.", names.join(", "))
}
