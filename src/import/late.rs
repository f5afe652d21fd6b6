//! Records that wait until all tables of the pull are there: a unique value that rows of other tables refer to was renamed at the sender.
//!
//! The row cannot have its new value while others refer to the old one, and those cannot refer to the new one before it is there. So
//! both wait, and one transaction at the end of the pull writes them with references put off: the rows that refer first, because
//! not every store puts RESTRICT off. Then it is looked up whether each has what it refers to, and whether anything still refers to what is
//! gone. What is broken fails alone: everything is undone, and the rest is written again.

use std::collections::BTreeSet;

use super::by_key;
use super::exchange::{self, Renamed};
use super::received::Received;
use super::referred::{held_message, referring_to};
use super::staged::Finish;
use super::transaction::{References, Transaction, key_of_record, tally};
use super::written::Written;
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::strategy::Dangling;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::stages::Stage;
use crate::ledger::waiting;
use crate::ledger::{Checkpoint, Ledger, Step};
use crate::plan::{Identity, TablePlan};
use crate::store::{Check, Target};

/// The most broken records that are taken note of in one pass: the rest is found in the next one. It bounds memory.
const MOST_BROKEN: usize = 10_000;

/// A table of whose records some wait for other tables.
pub(crate) struct Late {
    plan: TablePlan,
    stage: Stage,
    checkpoint: Checkpoint,
    /// Failures that were committed, or tried, and are not told yet.
    untold: Vec<Failure>,
}

impl Late {
    pub(super) fn new(plan: TablePlan, stage: Stage, checkpoint: Checkpoint) -> Self {
        Late { plan, stage, checkpoint, untold: Vec::new() }
    }

    /// How far it is, as far as it was committed, or tried.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The failures since this was asked last, if they are told one by one.
    pub(crate) fn untold(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.untold)
    }

    /// What became of the records.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.checkpoint.outcome
    }
}

/// Settles all that waits in these tables, which are in the order in which they were pulled.
pub(crate) fn apply(ledger: &Ledger<'_>, tx: &mut Transaction, tables: &mut [&mut Late], finish: Finish) -> Result<()> {
    let targets: Vec<Target<'_>> = tables.iter().map(|table| Target { table: &table.plan.table, updates: true }).collect();
    if !tx.writer.check_references(Check::AtCommit, &targets)? {
        let message = "this database cannot check references when the rows of several tables are there";
        return Err(Error::new(ErrorKind::ForeignKey, message).with_hint("Make the foreign keys deferrable."));
    }
    tx.put_off(References::Late);
    let mut tallies: Vec<Tally> = tables.iter().map(|table| tally(ledger, &table.checkpoint.outcome)).collect();
    loop {
        tx.savepoint()?;
        let (mut pass, mut renamed) = (tallies.clone(), Vec::new());
        for (at, table) in tables.iter().enumerate().rev() {
            tx.compare_table(&table.plan)?;
            let mut changed = Vec::new();
            waiting::begin_late(tx.state().0, &table.stage)?;
            exchange::settle(
                tx,
                &table.plan,
                &table.stage,
                &mut pass[at],
                &Written::ignored,
                &mut Received::unknown(),
                Some(&mut changed),
            )?;
            renamed.extend(changed.into_iter().map(|row| (at, row)));
        }
        let (broken, dangling) = broken(tx, tables, &renamed)?;
        if broken.is_empty() {
            tx.release()?;
            if dangling.iter().any(|dangling| *dangling > 0) {
                // What was put off until the commit is forgotten with it.
                tx.writer.check_references(Check::Now, &[])?;
            }
            pass.iter_mut().zip(dangling).for_each(|(tally, dangling)| tally.outcome.dangling += dangling);
            return end(ledger, tx, tables, pass, finish);
        }
        tx.rollback_to()?;
        for (at, number, failure) in broken {
            let Late { plan, stage, .. } = &tables[at];
            let record = waiting::get(tx.state().0, stage, number)?.record;
            by_key::fails_as_it_came(tx, plan, &record, 0)?;
            waiting::remove(tx.state().0, stage, number)?;
            tallies[at].fail(failure);
        }
    }
}

fn end(
    ledger: &Ledger<'_>,
    tx: &mut Transaction,
    tables: &mut [&mut Late],
    mut tallies: Vec<Tally>,
    finish: Finish,
) -> Result<()> {
    let untold: Vec<Vec<Failure>> = tallies.iter_mut().map(Tally::untold).collect();
    let outcomes = tables.iter().zip(tallies);
    let done: Vec<Checkpoint> = outcomes
        .map(|(table, tally)| Checkpoint { step: Step::Done, outcome: tally.outcome, ..table.checkpoint.clone() })
        .collect();
    for (table, checkpoint) in tables.iter().zip(&done) {
        waiting::forget_one(tx.state().0, &table.stage.scope, table.stage.number)?;
        ledger.put_checkpoint(&mut *tx.writer, checkpoint)?;
    }
    match finish {
        Finish::Commit => tx.commit(ledger)?,
        Finish::Keep => drop(tx.writer.check_references(Check::Now, &[])?),
    }
    for ((table, checkpoint), untold) in tables.iter_mut().zip(done).zip(untold) {
        table.checkpoint = checkpoint;
        table.untold.extend(untold);
    }
    Ok(())
}

/// A record that was settled and must not stay: its table's position, its number, and why.
type Broken = (usize, i64, Failure);

/// The records after which a reference is broken; and how many each table has that refer to missing rows and are kept. The database cannot
/// be told so of keys that it puts off itself, and of others only where it forgets what was put off.
fn broken(tx: &mut Transaction, tables: &[&mut Late], renamed: &[(usize, Renamed)]) -> Result<(Vec<Broken>, Vec<u64>)> {
    let keeps = tx.writer.forgets_references() && !tables.iter().any(|table| table.plan.table.deferred);
    let mut dangling = vec![0; tables.len()];
    let (mut broken, mut seen): (Vec<Broken>, BTreeSet<(usize, i64)>) = (Vec::new(), BTreeSet::new());
    for (at, Renamed { number, before }) in renamed {
        tx.check_cancelled()?;
        if broken.len() >= MOST_BROKEN || seen.contains(&(*at, *number)) {
            continue;
        }
        let Late { plan, stage, .. } = &tables[*at];
        if let Some(child) = referring_to(tx, &plan.table, before, true)? {
            let key = key_of_record(plan, &waiting::get(tx.state().0, stage, *number)?.record, 0);
            let failure = Failure { key, column: None, reason: Reason::ForeignKey, message: held_message(&child) };
            seen.insert((*at, *number));
            broken.push((*at, *number, failure));
        }
    }
    for (at, Late { plan, stage, .. }) in tables.iter().enumerate() {
        let Identity::Key { columns: key, .. } = &plan.identity else { continue };
        let all: Vec<usize> = (0..plan.table.columns.len()).collect();
        let mut after = 0;
        while let Some(number) = waiting::next_settled(tx.state().0, stage, after)? {
            tx.check_cancelled()?;
            after = number;
            if seen.contains(&(at, number)) {
                continue;
            }
            if broken.len() >= MOST_BROKEN {
                break;
            }
            let record = waiting::get(tx.state().0, stage, number)?.record;
            let fitted = tx.fit(plan, &record, 0..1)?.rows;
            let Some(values) = tx.find_by_key(&plan.table, key, &all, &fitted, 0)? else { continue };
            let mut row = Rows::new(values.len());
            row.push(values.iter().map(Value::as_ref));
            if let Some((column, message)) = tx.missing_parent(&plan.table, &row, 0)? {
                if keeps && plan.dangling == Dangling::Keep {
                    dangling[at] += 1;
                    continue;
                }
                let (key, column) = (key_of_record(plan, &record, 0), Some(column));
                broken.push((at, number, Failure { key, column, reason: Reason::ForeignKey, message }));
            }
        }
    }
    Ok((broken, dangling))
}
