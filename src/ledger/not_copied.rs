//! The event that tells what a pull did not copy.

use serde_json::Value;

use super::Ledger;
use super::history::History;
use crate::domain::connection::Metadata;
use crate::domain::event::EventKind;
use crate::domain::not_copied::NotCopied;
use crate::error::Result;
use crate::state::{self, events};

impl Ledger<'_> {
    /// Notes what was not copied, if there is any of it and the pull leaves a history.
    pub(crate) fn tell_not_copied(&self, not_copied: &NotCopied) -> Result<()> {
        let Some((connection, actor)) = self.history(|history: &mut History| history.of_whom()) else { return Ok(()) };
        if not_copied.is_empty() {
            return Ok(());
        }
        let now = self.now();
        state::write(self.here.store, |sql| {
            events::add(sql, now, EventKind::PullNotCopied, &actor, connection, None, counts(not_copied))
        })?;
        self.here.wake.all();
        Ok(())
    }
}

/// How many there are of each kind: names are in the report.
fn counts(not_copied: &NotCopied) -> Metadata {
    let triggers = not_copied.triggers.values().map(Vec::len).sum::<usize>() as u64;
    let counts = [
        ("checks", not_copied.check_count()),
        ("triggers", triggers),
        ("views", not_copied.views.len() as u64),
        ("virtual_tables", not_copied.virtual_tables.len() as u64),
        ("shadow_tables", not_copied.shadow_tables.len() as u64),
        ("not_utf8", not_copied.not_utf8.len() as u64),
        ("more", not_copied.more),
    ];
    // Only of PostgreSQL.
    let others = [
        ("foreign_tables", not_copied.foreign_tables.len() as u64),
        ("sequences", not_copied.sequences.len() as u64),
        ("functions", not_copied.functions.len() as u64),
        ("not_readable", not_copied.not_readable.len() as u64),
        ("parts", not_copied.part_count()),
    ];
    let counts = counts.into_iter().chain(others.into_iter().filter(|(_, count)| *count > 0));
    counts.map(|(kind, count)| (kind.to_owned(), Value::from(count))).collect()
}
