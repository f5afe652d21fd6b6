//! Which tables wait for others: their rows would be lost, or join rows that are none of theirs, while a parent is missing.

use super::pull::{Job, Pull};
use super::resume::passes;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Writer;

impl Pull<'_, '_> {
    /// Refuses tables that wait for one that is not pulled: where the child or the parent is appended, a reference would lead to
    /// a row that has the parent's old key by chance, or the record would fail and count as appended.
    pub(super) fn hold_children(&mut self, writer: &mut dyn Writer) -> Result<()> {
        while let Some((at, error)) = self.held_child(writer)? {
            self.jobs[at].refuse(error);
        }
        Ok(())
    }

    fn held_child(&self, writer: &mut dyn Writer) -> Result<Option<(usize, Error)>> {
        for (at, job) in self.jobs.iter().enumerate().filter(|(_, job)| job.plan.is_some()) {
            for parent in parents(job) {
                let Some((name, error)) = self.not_pulled(parent) else { continue };
                if !self.is_appended(&job.name) && !self.is_appended(name) {
                    continue;
                }
                if error.kind() != ErrorKind::AlreadyAppended {
                    return Ok(Some((at, waits_for(name, error))));
                }
                if !self.knows(writer, job, name)? {
                    let message = format!(
                        "rows of {:?} belong to those of {name:?}, which was appended before and is not appended now",
                        job.name
                    );
                    let error = Error::new(ErrorKind::AlreadyAppended, message).with_hint(error.hint().unwrap_or_default());
                    return Ok(Some((at, error)));
                }
            }
        }
        Ok(None)
    }

    /// Whether all rows of a parent are known that was appended before, so that those of the child follow them.
    fn knows(&self, writer: &mut dyn Writer, child: &Job, parent: &str) -> Result<bool> {
        let follows = child.plan.iter().flat_map(|plan| &plan.follows);
        if !follows.map(|follow| &follow.parent.name).any(|name| self.names.same(name, parent)) {
            // A reference to other columns than the key leads where it does.
            return Ok(true);
        }
        let is_whole = self.import.appended(writer, parent)?.is_some_and(|append| append.whole);
        let known = self.import.known_rows(writer, std::iter::once(parent))?;
        Ok(is_whole && known.iter().any(|known| known.appended))
    }

    /// The table of this name among those that cannot be pulled, with the reason.
    fn not_pulled(&self, name: &str) -> Option<(&str, &Error)> {
        let jobs = self.jobs.iter().filter(|job| job.plan.is_none()).map(|job| (&job.name, &job.report));
        let mut failed = jobs.chain(self.not_inspected.iter().map(|(name, report)| (name, report)));
        let (name, report) = failed.find(|(other, _)| self.names.same(other, name))?;
        Some((name, report.error.as_ref()?))
    }

    fn is_appended(&self, table: &str) -> bool {
        self.options.strategy_of(table) == Strategy::Append
    }

    /// Why a group must wait for a table before it, a parent of one of its tables: that one was cut off, or failed where the child
    /// or the parent is appended. Without its rows those of the child would fail.
    pub(super) fn waits(&self, group: &[usize]) -> Option<Error> {
        group.iter().find_map(|at| {
            let child = &self.jobs[*at];
            parents(child).find_map(|name| {
                let parent = self.jobs.iter().position(|job| self.names.same(&job.name, name))?;
                if group.contains(&parent) {
                    return None;
                }
                let parent = &self.jobs[parent];
                let error = parent.report.error.as_ref()?;
                self.must_wait(&[child, parent], error).then(|| waits_for(&parent.name, error))
            })
        })
    }

    /// An error if a table of a group was cut off: the others then wait for it, because their rows may refer to its rows.
    pub(super) fn all_are_staged(&self, group: &[usize]) -> Result<()> {
        let jobs: Vec<&Job> = group.iter().map(|at| &self.jobs[*at]).collect();
        let failed = jobs.iter().find_map(|job| Some((job, job.report.error.as_ref()?)));
        match failed {
            Some((job, error)) if self.must_wait(&jobs, error) => Err(waits_for(&job.name, error)),
            _ => Ok(()),
        }
    }

    fn must_wait(&self, tables: &[&Job], error: &Error) -> bool {
        let is_appended = tables.iter().any(|job| self.is_appended(&job.name));
        // What was appended before is known.
        (is_appended && error.kind() != ErrorKind::AlreadyAppended) || (passes(error.kind()) && self.import.keeps_marks())
    }
}

/// The tables that a table refers to, by the foreign keys of both sides.
fn parents(job: &Job) -> impl Iterator<Item = &str> {
    let here = job.plan.iter().flat_map(|plan| &plan.table.foreign_keys);
    job.sender.foreign_keys.iter().chain(here).map(|key| key.parent.as_str())
}

/// Why a table was not tried: another one was cut off, or failed.
pub(super) fn waits_for(other: &str, error: &Error) -> Error {
    let what = if passes(error.kind()) { "was cut off" } else { "failed" };
    error.copy().while_doing(format!("not tried, because {other:?} {what}"))
}
