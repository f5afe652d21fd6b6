//! What was planned: the tables that are pulled, how they are grouped, and how far each is.

use std::sync::Arc;

use uuid::Uuid;

use super::TableReport;
use super::context::Context;
use super::errors::is_resumable;
use super::identity;
use super::source::Position;
use super::states::States;
use super::wait::Allowance;
use crate::domain::record::Outcome;
use crate::domain::schema::TableSchema;
use crate::error::Error;
use crate::ledger::stages::Stage;
use crate::ledger::{Checkpoint, Step};
use crate::plan::TablePlan;

/// A table that is pulled.
pub(super) struct Table {
    /// The sender's name for it.
    pub(super) name: String,
    pub(super) sender: Arc<TableSchema>,
    pub(super) announced: u64,
    /// What is left of its time to wait, where the other site counts calls.
    pub(super) allowance: Allowance,
    pub(super) plan: TablePlan,
    /// The table that was made here, because it was missing.
    pub(super) made: Option<TableSchema>,
    /// What it was made from: the sender's, without what leads outside.
    pub(super) made_from: Option<Arc<TableSchema>>,
    /// The incoming column that may not [use the numbers of the table up](super::numbers).
    pub(super) guarded: Option<usize>,
    /// Whether its rows follow the new keys of a table that is appended.
    pub(super) follows: bool,
    /// Where its rows wait, if they have to.
    pub(super) stage: Option<Stage>,
    /// How far it is, as far as it was committed.
    pub(super) checkpoint: Checkpoint,
    pub(super) earlier: Earlier,
    /// Whether it has its report already.
    pub(super) has_ended: bool,
    pub(super) received: u64,
    pub(super) bytes: u64,
    /// The states of the sender that its rows are of.
    pub(super) states: States,
    /// What earlier passes over the table made of its records, if it is pulled again.
    pub(super) before: Option<Outcome>,
    /// Its transfer in the history.
    pub(super) transfer: Option<Uuid>,
    pub(super) report: TableReport,
}

impl Table {
    /// Where it is to be fetched from.
    pub(super) fn position(&self) -> Position {
        let Checkpoint { records, place, sum, .. } = &self.checkpoint;
        match records {
            0 => Position { place: place.clone(), ..Position::default() },
            records => Position { records: *records, place: place.clone(), sum: *sum },
        }
    }
}

impl AsRef<TablePlan> for Table {
    fn as_ref(&self) -> &TablePlan {
        &self.plan
    }
}

impl AsMut<TablePlan> for Table {
    fn as_mut(&mut self) -> &mut TablePlan {
        &mut self.plan
    }
}

/// What earlier runs of a pull did of a table.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Where this run found it, if it was in it: records received, and the step.
    pub(super) at: Option<(u64, Step)>,
    /// What their transfers have in the history.
    pub(super) outcome: Outcome,
    pub(super) bytes: u64,
}

/// Tables that are pulled together.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Their positions among the tables.
    pub(super) tables: Vec<usize>,
    /// Whether they refer to each other or to themselves, so that references can be checked only when all rows are there.
    pub(super) deferred: bool,
    /// Whether their rows wait in stages until all are there.
    pub(super) staged: bool,
}

/// What is to be done.
pub(super) struct Plan {
    pub(super) tables: Vec<Table>,
    /// In the order in which they are pulled.
    pub(super) groups: Vec<Group>,
    /// Tables that are not pulled, with the reason.
    pub(super) failed: Vec<TableReport>,
    /// Whether an earlier run came some way with one of these, so that the next one resumes it.
    pub(super) keeps_failed: bool,
}

impl Plan {
    /// The table of this name among those that cannot be pulled, with the reason.
    pub(super) fn not_pulled(&self, cx: &Context<'_, '_>, name: &str) -> Option<(&str, &Error)> {
        let report = self.failed.iter().find(|report| cx.names.same(&report.name, name))?;
        Some((&report.name, report.error.as_ref()?))
    }

    /// Tables that are not pulled report what earlier runs made of them.
    pub(super) fn tell_sums(&mut self, cx: &Context<'_, '_>, found: &[Checkpoint]) {
        for report in &mut self.failed {
            let Some(error) = report.error.take() else { continue };
            if let Some(found) = found.iter().find(|found| cx.names.same(&found.table, &report.name)) {
                report.outcome.clone_from(&found.outcome);
                (report.resumed, report.created_table) = (found.has_progress(), found.created);
                self.keeps_failed |= is_resumable(error.kind());
            }
            report.interrupt(error);
        }
    }

    /// Takes a table out that is not pulled.
    pub(super) fn refuse(&mut self, at: usize, error: Error) {
        let table = &mut self.tables[at];
        table.has_ended = true;
        table.report = TableReport::failed(&table.name, error);
        self.failed.push(table.report.clone());
    }
}

/// The identity of a table's plan within its group.
pub(super) fn identity_of(table: &Table, staged: bool) -> String {
    identity::of(&table.sender, &table.plan, staged)
}
