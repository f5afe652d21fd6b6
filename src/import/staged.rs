//! Rows that wait in stages until all of them are there, and are then applied by one transaction.

use super::{Import, Mark, NullKeys, Reached, Step, route};
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Identity, TablePlan};
use crate::store::{AppendKeys, PageBounds, Stage, Writer};

/// How often the rows of a group are applied anew without those whose parents turned out to be missing. Each time takes
/// away at least one row, and one more generation of rows that refer to such.
const PASSES: usize = 100;

/// Rows found without parents at a time.
const ORPHANS: usize = 10_000;

/// One table of a group, staged.
pub(crate) struct Staged {
    plan: TablePlan,
    stage: Stage,
    /// How far it is, as far as it was committed.
    kept: Mark,
    /// What failed before anything was applied, or had to be left out.
    failed: Tally,
    applied: Outcome,
    reported_failures: usize,
}

/// How a group ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Its transaction is committed.
    Commit,
    /// Its transaction goes on, and its rows stay visible in it: a dry run.
    Keep,
}

impl Staged {
    /// Goes on from a mark; its rows lie in this stage.
    pub(crate) fn new(import: &Import<'_>, plan: TablePlan, stage: Stage, mark: Mark) -> Self {
        Staged {
            plan,
            stage,
            failed: import.tally(&mark.outcome),
            kept: mark,
            applied: Outcome::default(),
            reported_failures: import.limits.reported_failures,
        }
    }

    /// Stages a batch, in a transaction of its own, with how far it `reached`. `failures` are records that failed before they
    /// came here.
    pub(crate) fn push(&mut self, import: &Import<'_>, rows: &Rows, failures: &[Failure], reached: &Reached) -> Result<()> {
        failures.iter().for_each(|failure| self.failed.fail(failure.clone()));
        let mut mark = self.kept.clone();
        mark.reach(reached);
        mark.outcome.clone_from(&self.failed.outcome);
        let mut writer = import.writer()?;
        writer.stage_append(&self.stage, rows, 0..rows.len())?;
        import.put_mark(&mut *writer, &mark)?;
        import.commit(&mut *writer)?;
        self.kept = mark;
        Ok(())
    }

    /// All rows are there: they need not be fetched again, whatever becomes of them.
    pub(crate) fn complete(&mut self, import: &Import<'_>) -> Result<()> {
        if self.kept.step == Step::Fetching {
            let mark = Mark { step: Step::Staged, ..self.kept.clone() };
            import.note_mark(&mark)?;
            self.kept = mark;
        }
        Ok(())
    }

    /// How far it is, as far as it was committed.
    pub(crate) fn mark(&self) -> &Mark {
        &self.kept
    }

    /// What became of the records.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = self.failed.outcome.clone();
        outcome.add(self.applied.clone(), self.reported_failures);
        outcome
    }

    fn has_whole_rows(&self) -> bool {
        self.has_null_keys() || (self.plan.strategy != Strategy::Append && self.plan.identity == Identity::WholeRow)
    }

    fn has_null_keys(&self) -> bool {
        self.plan.strategy != Strategy::Append && matches!(self.plan.identity, Identity::Key { nullable: true, .. })
    }
}

/// Applies the staged rows of a group of tables. With `deferred`, references are checked when all rows are there: for tables
/// that refer to each other or to themselves. A row that refers to nothing then is left out, reported, and everything is
/// applied again without it, because other rows may refer to it.
pub(crate) fn apply_group(
    import: &Import<'_>,
    writer: &mut dyn Writer,
    tables: &mut [Staged],
    deferred: bool,
    finish: Finish,
) -> Result<()> {
    for _ in 0..PASSES {
        writer.mark()?;
        writer.defer_foreign_keys(deferred)?;
        let tallies = apply_all(import, writer, tables, deferred)?;
        let mut done = Vec::with_capacity(tables.len());
        for (table, tally) in tables.iter().zip(&tallies) {
            let mut outcome = table.failed.outcome.clone();
            outcome.add(tally.outcome.clone(), table.reported_failures);
            done.push(Mark { step: Step::Done, outcome, ..table.kept.clone() });
        }
        let broken = match finish {
            Finish::Commit => {
                match done.iter().try_for_each(|mark| import.put_mark(writer, mark)).and_then(|()| import.commit(writer)) {
                    Ok(()) => None,
                    Err(error) if error.kind() == ErrorKind::ForeignKey => Some(error),
                    Err(error) => return Err(error),
                }
            }
            Finish::Keep => None,
        };
        let look = broken.is_some() || (finish == Finish::Keep && deferred);
        let mut orphans = Vec::new();
        if look {
            for table in tables.iter() {
                orphans.push(writer.orphans(&table.plan, &table.stage, ORPHANS)?);
            }
        }
        if orphans.iter().all(Vec::is_empty) {
            if let Some(error) = broken {
                return Err(
                    error.with_hint("Rows that were here before may refer to nothing: see PRAGMA foreign_key_check.")
                );
            }
            for ((table, tally), mark) in tables.iter_mut().zip(tallies).zip(done) {
                table.applied = tally.outcome;
                table.kept = mark;
            }
            return Ok(());
        }
        writer.undo()?;
        for (table, orphans) in tables.iter_mut().zip(orphans) {
            leave_out(writer, table, &orphans)?;
        }
    }
    let names: Vec<&str> = tables.iter().map(|table| table.plan.table.name.as_str()).collect();
    let message = format!("rows of {} refer to missing rows over more than {PASSES} generations", names.join(", "));
    Err(Error::new(ErrorKind::ForeignKey, message).with_hint("Repair the references at the sender, then pull again."))
}

fn apply_all(import: &Import<'_>, writer: &mut dyn Writer, tables: &[Staged], deferred: bool) -> Result<Vec<Tally>> {
    let mut keys = AppendKeys::Make;
    if deferred && tables.iter().any(|table| table.plan.strategy == Strategy::Append) {
        // Rows may refer to rows that come later: all new keys must be known before the first row is written.
        keys = AppendKeys::Known;
        for table in tables.iter().filter(|table| table.plan.strategy == Strategy::Append) {
            each_page(import, writer, &table.stage, &mut |writer, rows| {
                writer.append_keys(&table.plan, &import.scope, rows, 0..rows.len())
            })?;
        }
    }
    let mut tallies = Vec::with_capacity(tables.len());
    for table in tables {
        let mut tally = import.tally(&Outcome::default());
        if table.has_whole_rows() {
            writer.count_whole(&table.plan, &import.scope)?;
        }
        let passes: &[NullKeys<'_>] =
            if table.has_null_keys() { &[NullKeys::Leave, NullKeys::Only] } else { &[NullKeys::Leave] };
        for nulls in passes {
            each_page(import, writer, &table.stage, &mut |writer, rows| {
                route(writer, &table.plan, &import.scope, keys, *nulls, rows, &mut tally)
            })?;
        }
        tallies.push(tally);
    }
    Ok(tallies)
}

fn each_page(
    import: &Import<'_>,
    writer: &mut dyn Writer,
    stage: &Stage,
    work: &mut dyn FnMut(&mut dyn Writer, &Rows) -> Result<()>,
) -> Result<()> {
    let (mut rows, mut numbers, mut after) = (Rows::default(), Vec::new(), 0);
    loop {
        writer.stage_page(stage, after, import.stage_bounds(), &mut rows, &mut numbers)?;
        let Some(last) = numbers.last() else {
            return Ok(());
        };
        after = *last;
        work(writer, &rows)?;
    }
}

/// Reports staged rows as failed for want of a parent, and takes them out of the stage.
fn leave_out(writer: &mut dyn Writer, table: &mut Staged, orphans: &[(i64, usize)]) -> Result<()> {
    let (mut rows, mut numbers) = (Rows::default(), Vec::new());
    let one = PageBounds { rows: 1, bytes: usize::MAX };
    for (number, foreign_key) in orphans {
        writer.stage_page(&table.stage, number - 1, one, &mut rows, &mut numbers)?;
        let key = match &table.plan.identity {
            Identity::Key { incoming, .. } if !rows.is_empty() => {
                incoming.iter().filter_map(|at| rows.get(0, *at)).map(ValueRef::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let foreign_key = table.plan.table.foreign_keys.get(*foreign_key);
        table.failed.fail(Failure {
            key,
            column: foreign_key.and_then(|key| key.columns.first().cloned()),
            reason: Reason::ForeignKey,
            message: match foreign_key {
                Some(key) => format!("it refers to a row of {:?} that is neither here nor among the records", key.parent),
                None => "it refers to a row that is neither here nor among the records".to_owned(),
            },
        });
    }
    writer.stage_remove(&table.stage, &orphans.iter().map(|(number, _)| *number).collect::<Vec<_>>())
}
