//! Records that wait until all tables of the pull are there: a unique value that rows of other tables refer to was renamed at the sender.
//!
//! The row cannot have its new value while others refer to the old one, and those cannot refer to the new one before it is there. So
//! both wait, and one transaction at the end of the pull writes them with references put off: the rows that refer first, because
//! not every store puts RESTRICT off. Then it is looked up whether each has what it refers to, and whether anything still refers to what is
//! gone. What is broken fails alone: everything is undone, and the rest is written again.

use std::collections::{BTreeSet, HashMap};

use super::exchange::{self, Renamed};
use super::orphans::Written;
use super::received::Received;
use super::staged::Finish;
use super::transaction::{References, Transaction, key_of_record, tally};
use super::waits::bytes;
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::schema::{ForeignKeyAction, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::stages::Stage;
use crate::ledger::waiting;
use crate::ledger::{Checkpoint, Ledger, Step};
use crate::plan::{Identity, TablePlan};
use crate::store::{Check, Found, Lookup, Target};

/// The most broken records that are taken note of in one pass: the rest is found in the next one. It bounds memory.
const MOST_BROKEN: usize = 10_000;

/// A table of whose records some wait for other tables.
pub(crate) struct Late {
    plan: TablePlan,
    stage: Stage,
    mark: Checkpoint,
}

impl Late {
    pub(super) fn new(plan: TablePlan, stage: Stage, mark: Checkpoint) -> Self {
        Late { plan, stage, mark }
    }

    /// How far it is, as far as it was committed, or tried.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        &self.mark
    }

    /// What became of the records.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.mark.outcome
    }
}

/// Whether a record that was refused may be written when all tables are there: rows refer to what its row has now, or it refers to one
/// that waits itself.
pub(super) fn may_come_right(tx: &mut Transaction, plan: &TablePlan, failure: &Failure) -> Result<bool> {
    if failure.reason != Reason::ForeignKey || plan.strategy == Strategy::Append {
        return Ok(false);
    }
    match failure.column {
        // Nothing is missing that it refers to: rows refer to what its row has, if they can.
        None => {
            let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(false) };
            let in_key = |name: &String| plan.table.column_index(name).is_some_and(|column| key.contains(&column));
            let referring = tx.referring(&plan.table)?;
            Ok(referring.iter().any(|referring| !referring.key.parent_columns.iter().all(in_key)))
        }
        Some(_) => has_late_parent(tx, plan),
    }
}

/// Whether a parent of the table has records that wait for other tables.
pub(super) fn has_late_parent(tx: &mut Transaction, plan: &TablePlan) -> Result<bool> {
    for key in &plan.table.foreign_keys {
        // Records are kept under the name that the table has itself.
        let Some(parent) = tx.writer.schema(&key.parent)? else { continue };
        let (sql, scope) = tx.state();
        if waiting::has_late(sql, scope, &parent.name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why a change of these columns is not tried before all tables are there, if it is not: what refers to them is checked only at the
/// commit, which would fail for all that the transaction did.
pub(super) fn must_wait(tx: &mut Transaction, plan: &TablePlan, key: &[usize], set: &[usize]) -> Result<Option<String>> {
    let table = &plan.table;
    if tx.references == References::Late || table.unique.is_empty() {
        return Ok(None);
    }
    if !tx.held.contains_key(&table.name) {
        let mut held = Vec::new();
        for referring in tx.referring(table)?.iter() {
            let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
            let is_late = match &tx.references {
                References::Now => referring.deferred,
                References::With(tables) => !table.names.is_among(&referring.table, tables),
                References::Late => false,
            };
            if stays && is_late {
                held.extend(referring.key.parent_columns.iter().filter_map(|name| table.column_index(name)));
            }
        }
        held.retain(|column| !key.contains(column));
        tx.held.insert(table.name.clone(), held);
    }
    let is_held = tx.held.get(&table.name).is_some_and(|held| set.iter().any(|column| held.contains(column)));
    Ok(is_held.then(|| "rows of another table may refer to what its row has now".to_owned()))
}

/// Whether changes of rows of a group change others of it, by references to more than the key.
pub(super) fn cascade<'p>(tx: &mut Transaction, plans: impl Iterator<Item = &'p TablePlan> + Clone) -> Result<bool> {
    for plan in plans.clone() {
        let Identity::Key { columns: key, .. } = &plan.identity else { continue };
        let table = &plan.table;
        let in_key = |name: &String| table.column_index(name).is_some_and(|column| key.contains(&column));
        let follows = tx.referring(table)?.iter().any(|referring| {
            let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
            let is_in_group = plans.clone().any(|other| table.names.same(&other.table.name, &referring.table));
            !stays && is_in_group && !referring.key.parent_columns.iter().all(in_key)
        });
        if follows {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes what a row has that rows of its own group may refer to, before a record of this key changes these columns.
pub(super) fn note_renamed<'v>(
    tx: &mut Transaction,
    plan: &TablePlan,
    set: &[usize],
    existing: impl Iterator<Item = (&'v usize, &'v Value)>,
    record: &[Value],
) -> Result<()> {
    let References::With(tables) = tx.references.clone() else { return Ok(()) };
    let table = &plan.table;
    let changes = |name: &String| table.column_index(name).is_some_and(|column| set.contains(&column));
    let is_held = tx.referring(table)?.iter().any(|referring| {
        let stays = matches!(referring.key.on_update, ForeignKeyAction::NoAction | ForeignKeyAction::Restrict);
        stays && table.names.is_among(&referring.table, &tables) && referring.key.parent_columns.iter().any(changes)
    });
    if is_held {
        let mut before = Rows::new(table.columns.len());
        before.start_row();
        existing.for_each(|(column, value)| before.set(*column, value.as_ref()));
        tx.renamed.push((table.clone(), bytes(record), before));
    }
    Ok(())
}

/// Records of a group that changed what a row still refers to, though all rows are there: by table and key, with the table of that row.
pub(super) fn broken_in_group(tx: &mut Transaction) -> Result<HashMap<(String, Vec<u8>), String>> {
    let mut broken = HashMap::new();
    for (table, key, before) in std::mem::take(&mut tx.renamed) {
        tx.check_cancelled()?;
        if let Some(child) = referring_to(tx, &table, &before, true)? {
            broken.insert((table.name, key), child);
        }
    }
    Ok(broken)
}

/// The failure of a record with the name of a table that refers to what its row has.
pub(super) fn explained(tx: &mut Transaction, plan: &TablePlan, row: Option<&Rows>, failure: Failure) -> Result<Failure> {
    match (failure.reason, &failure.column, row) {
        (Reason::ForeignKey, None, Some(row)) => match referring_to(tx, &plan.table, row, false)? {
            Some(child) => Ok(Failure { message: held_message(&child), ..failure }),
            None => Ok(failure),
        },
        _ => Ok(failure),
    }
}

pub(super) fn held_message(child: &str) -> String {
    format!("rows of {child:?} refer to what its row has here, and do not move with it")
}

/// The name of a table with a row that refers to what this local row of another table has; to what is `gone`, if that is asked.
fn referring_to(tx: &mut Transaction, table: &TableSchema, row: &Rows, gone: bool) -> Result<Option<String>> {
    for referring in tx.referring(table)?.iter() {
        let key = &referring.key;
        let Some(cells) = table.column_indexes(&key.parent_columns) else { continue };
        if cells.len() != key.columns.len() || (gone && has_row(tx, &table.name, &key.parent_columns, &cells, row)?) {
            continue;
        }
        if has_row(tx, &referring.table, &key.columns, &cells, row)? {
            return Ok(Some(referring.table.clone()));
        }
    }
    Ok(None)
}

/// Whether a row of a table has in these columns what this one has in these cells.
fn has_row(tx: &mut Transaction, table: &str, columns: &[String], cells: &[usize], row: &Rows) -> Result<bool> {
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let mut found = Found::default();
    tx.writer.lookup(&Lookup { table, columns: &columns, collations: &[], cells, read: &[] }, row, 0..1, &mut found)?;
    Ok(found.has(0))
}

/// Settles all that waits in these tables, which are in the order in which they were pulled.
pub(crate) fn apply(ledger: &Ledger<'_>, tx: &mut Transaction, tables: &mut [&mut Late], finish: Finish) -> Result<()> {
    let targets: Vec<Target<'_>> = tables.iter().map(|table| Target { table: &table.plan.table, updates: true }).collect();
    if !tx.writer.check_references(Check::AtCommit, &targets)? {
        let message = "this database cannot check references when the rows of several tables are there";
        return Err(Error::new(ErrorKind::ForeignKey, message).with_hint("Make the foreign keys deferrable."));
    }
    tx.put_off(References::Late);
    let mut tallies: Vec<Tally> = tables.iter().map(|table| tally(ledger, &table.mark.outcome)).collect();
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
        let broken = broken(tx, tables, &renamed)?;
        if broken.is_empty() {
            tx.release()?;
            return end(ledger, tx, tables, pass, finish);
        }
        tx.rollback_to()?;
        for (at, number, failure) in broken {
            waiting::remove(tx.state().0, &tables[at].stage, number)?;
            tallies[at].fail(failure);
        }
    }
}

fn end(
    ledger: &Ledger<'_>,
    tx: &mut Transaction,
    tables: &mut [&mut Late],
    tallies: Vec<Tally>,
    finish: Finish,
) -> Result<()> {
    let outcomes = tables.iter().zip(tallies);
    let done: Vec<Checkpoint> = outcomes
        .map(|(table, tally)| Checkpoint { step: Step::Done, outcome: tally.outcome, ..table.mark.clone() })
        .collect();
    for (table, mark) in tables.iter().zip(&done) {
        waiting::forget_one(tx.state().0, &table.stage.scope, table.stage.number)?;
        ledger.put_checkpoint(&mut *tx.writer, mark)?;
    }
    match finish {
        Finish::Commit => tx.commit(ledger)?,
        Finish::Keep => drop(tx.writer.check_references(Check::Now, &[])?),
    }
    tables.iter_mut().zip(done).for_each(|(table, mark)| table.mark = mark);
    Ok(())
}

/// A record that was settled and must not stay: its table's position, its number, and why.
type Broken = (usize, i64, Failure);

/// The records after which a reference is broken.
fn broken(tx: &mut Transaction, tables: &[&mut Late], renamed: &[(usize, Renamed)]) -> Result<Vec<Broken>> {
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
                let (key, column) = (key_of_record(plan, &record, 0), Some(column));
                broken.push((at, number, Failure { key, column, reason: Reason::ForeignKey, message }));
            }
        }
    }
    Ok(broken)
}
