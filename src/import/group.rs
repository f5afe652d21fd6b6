//! Applies the rows of a group of tables that wait in stages.

use std::collections::{BTreeSet, HashMap};

use super::append::Keys;
use super::append_keys::make_keys;
use super::by_key;
use super::descendants;
use super::exchange;
use super::multiset;
use super::orphans::{self, Orphans};
use super::pending;
use super::received::Received;
use super::referred;
use super::route::{NullKeys, route};
use super::settling::Settling;
use super::staged::{Finish, Staged, each_page};
use super::transaction::{References, Transaction, key_of_record, tally};
use super::waits;
use super::written::Written;
use crate::domain::record::{Failure, Outcome, Reason, Tally};
use crate::domain::strategy::{Dangling, Strategy};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::references;
use crate::ledger::stages;
use crate::ledger::waiting;
use crate::ledger::{Checkpoint, Ledger, Step};
use crate::plan::{Identity, TablePlan};
use crate::store::{Check, PageBounds, Target};

/// How often the rows of a group are applied again without those that turned out to refer to nothing. Once is enough, unless a
/// reference compares its values in a way of its own.
const PASSES: usize = 1_000;

/// How often the rows of a group are applied again because it was found out which rows their records are. Twice is enough, unless that
/// depends on what they refer to.
const MOST_SETTLING: usize = 100;

/// Applies the staged rows of a group of tables, and takes them out of their stages. With `deferred`, references are checked when
/// all rows are there: for tables that refer to each other or to themselves. A row that refers to nothing then is left out and
/// reported, with all that refer to it, and everything else is applied again.
pub(crate) fn apply_group(
    ledger: &Ledger<'_>,
    tx: &mut Transaction,
    tables: &mut [Staged],
    deferred: bool,
    finish: Finish,
) -> Result<()> {
    let mut checks = Checks::Here;
    let mut stale = keyed_tables(tables);
    let mut settled_passes = 0;
    let mut keys_received = KeysReceived::new(ledger, tables);
    for _ in 0..PASSES {
        tx.savepoint()?;
        tx.renamed.clear();
        if deferred {
            tx.settling = Settling::of_pass(std::mem::take(&mut stale));
        }
        let mut applied = apply_all(ledger, tx, tables, deferred, checks, &mut keys_received)?;
        keys_received.are_all = true;
        if applied.needs_database {
            tx.rollback_to()?;
            checks = Checks::ByDatabase;
            continue;
        }
        // What was written before it was known which row a record is could not follow it.
        let (moved, doubted) = (tx.take_moved()?, tx.settling.doubted());
        if doubted || !moved.is_empty() {
            settled_passes += 1;
            if settled_passes > MOST_SETTLING {
                return Err(unsettled(tables));
            }
            tx.rollback_to()?;
            tx.move_again(moved)?;
            continue;
        }
        let keeps = deferred && may_keep(tables, checks, tx.writer.forgets_references());
        // What may refer to records that wait for other tables waits for them, whatever becomes of the rest.
        let follow = if keeps { Some(follow_late(tx, tables)?) } else { None };
        let orphans = match (deferred, &follow) {
            (false, _) => Orphans::new(),
            (true, None) => orphans::orphans(tx, tables, &vec![true; tables.len()])?,
            (true, Some(follow)) => orphans::orphans(tx, tables, follow)?,
        };
        if keeps && orphans.is_empty() {
            for (tally, dangling) in applied.tallies.iter_mut().zip(orphans::count(tx, tables)?) {
                tally.outcome.dangling += dangling;
            }
        }
        let (sql, scope) = tx.state();
        references::forget(sql, scope)?;
        if orphans.is_empty() {
            let broken = referred::broken_in_group(tx)?;
            if broken.is_empty() {
                return finish_group(ledger, tx, tables, applied.tallies, finish);
            }
            tx.rollback_to()?;
            tables.iter_mut().try_for_each(|table| leave_out_held(tx, table, &broken))?;
            continue;
        }
        let follow = follow.map_or_else(|| follow_late(tx, tables), Ok)?;
        tx.rollback_to()?;
        descendants::fell(tx, tables, &orphans)?;
        for (table, follows) in tables.iter_mut().zip(follow) {
            leave_out(tx, table, follows)?;
        }
        let (sql, scope) = tx.state();
        references::forget(sql, scope)?;
    }
    let names: Vec<&str> = tables.iter().map(|table| table.plan.table.name.as_str()).collect();
    let message = format!("rows of {} refer to missing rows over more than {PASSES} generations", names.join(", "));
    Err(Error::new(ErrorKind::ForeignKey, message).with_hint("Repair the references at the sender, then pull again."))
}

/// The tables of a group whose records meet rows by another key than the primary one: each may be another row than in an earlier pull.
fn keyed_tables(tables: &[Staged]) -> Vec<String> {
    let is_keyed = |table: &&Staged| table.plan.kept_key.as_ref().is_some_and(|kept| !kept.columns.is_empty());
    tables.iter().filter(is_keyed).map(|table| table.plan.table.name.clone()).collect()
}

fn unsettled(tables: &[Staged]) -> Error {
    let names: Vec<&str> = tables.iter().map(|table| table.plan.table.name.as_str()).collect();
    let message = format!(
        "which rows the records of {} are here depends on what they refer to, over more than {MOST_SETTLING} generations",
        names.join(", ")
    );
    Error::new(ErrorKind::ForeignKey, message).with_hint("Choose a key that has no reference in it, or pull without one.")
}

/// Whether rows that refer to nothing stay. The database cannot be told so of keys that it puts off itself, and of others only where it
/// forgets what was put off.
fn may_keep(tables: &[Staged], checks: Checks, forgets: bool) -> bool {
    let keeps = |table: &Staged| table.plan.dangling == Dangling::Keep;
    let is_deferred = tables.iter().any(|table| table.plan.table.deferred);
    tables.iter().all(keeps) && forgets && (checks == Checks::Here || !is_deferred)
}

/// Which tables of a group have rows that may refer to records that wait for other tables, directly or through others of the group.
fn follow_late(tx: &mut Transaction, tables: &[Staged]) -> Result<Vec<bool>> {
    let mut follow = Vec::with_capacity(tables.len());
    for table in tables {
        follow.push(referred::has_late_parent(tx, &table.plan)?);
    }
    let refers = |child: &Staged, parent: &Staged| {
        let table = &child.plan.table;
        table.foreign_keys.iter().any(|key| table.names.same(&key.parent, &parent.plan.table.name))
    };
    loop {
        let follows = |at: &usize| {
            let mut parents = tables.iter().zip(&follow).filter(|(_, follows)| **follows);
            !follow[*at] && parents.any(|(parent, _)| refers(&tables[*at], parent))
        };
        let Some(next) = (0..tables.len()).find(follows) else { return Ok(follow) };
        follow[next] = true;
    }
}

fn finish_group(
    ledger: &Ledger<'_>,
    tx: &mut Transaction,
    tables: &mut [Staged],
    tallies: Vec<Tally>,
    finish: Finish,
) -> Result<()> {
    tx.release()?;
    tx.settling = Settling::default();
    tx.put_off(References::Now);
    if tallies.iter().any(|tally| tally.outcome.dangling > 0) {
        // What was put off until the commit is forgotten with it.
        tx.writer.check_references(Check::Now, &[])?;
    }
    let mut done = Vec::with_capacity(tables.len());
    for (table, tally) in tables.iter_mut().zip(&tallies) {
        table.is_late = waiting::is_late(tx.state().0, &table.stage)?;
        let mut outcome = table.failed.outcome.clone();
        outcome.add(tally.outcome.clone(), table.reported_failures);
        let lacks_parents = table.kept.lacks_parents || table.failed.lacks_parents || tally.lacks_parents;
        let step = if table.is_late { Step::Staged } else { Step::Done };
        done.push(Checkpoint { step, outcome, lacks_parents, ..table.kept.clone() });
    }
    match finish {
        Finish::Commit => {
            done.iter().try_for_each(|checkpoint| ledger.put_checkpoint(&mut *tx.writer, checkpoint))?;
            tx.commit(ledger).map_err(|error| match error.kind() {
                ErrorKind::ForeignKey => error.with_hint(
                    "A trigger may have written a row that refers to nothing: look at the triggers of these tables.",
                ),
                _ => error,
            })?;
        }
        Finish::Keep => {
            tx.writer.check_references(Check::Now, &[])?;
        }
    }
    for ((table, mut tally), checkpoint) in tables.iter_mut().zip(tallies).zip(done) {
        table.untold.extend(table.failed.untold());
        table.untold.extend(tally.untold());
        table.applied = tally.outcome;
        table.kept = checkpoint;
    }
    Ok(())
}

/// Who checks references when all rows of a group are there.
#[derive(Clone, Copy, PartialEq)]
enum Checks {
    /// The importer, where the store lets it.
    Here,
    /// The database, at the commit.
    ByDatabase,
}

/// The keys of the records of each table. They are collected when the records are applied for the first time: later on, some were left
/// out.
struct KeysReceived {
    of: Vec<Received>,
    are_all: bool,
}

impl KeysReceived {
    fn new(ledger: &Ledger<'_>, tables: &[Staged]) -> Self {
        let received = |table: &Staged| {
            // What a host imports need not be all that there is.
            let is_whole = ledger.keeps_keys() && table.failed.outcome.failed == 0;
            let mut received = Received::of(&table.plan, is_whole);
            received.if_whole(&table.kept);
            received
        };
        KeysReceived { of: tables.iter().map(received).collect(), are_all: false }
    }
}

struct Applied {
    tallies: Vec<Tally>,
    /// Whether the importer cannot tell whether all references are whole: rows changed of a table that had none before, or
    /// refer to what a default says.
    needs_database: bool,
}

/// Applies all rows of a group. Where a change of one row changes others of the group (ON UPDATE CASCADE, SET NULL or SET DEFAULT), those
/// may be written already: all are applied a second time, so that each is as its record says.
fn apply_all(
    ledger: &Ledger<'_>,
    tx: &mut Transaction,
    tables: &[Staged],
    deferred: bool,
    checks: Checks,
    keys_received: &mut KeysReceived,
) -> Result<Applied> {
    let mut were_empty = Vec::with_capacity(tables.len());
    for table in tables {
        tx.compare_table(&table.plan)?;
        let mut rows = Rows::default();
        tx.writer.page(&table.plan.table, None, PageBounds { rows: 1, bytes: 1 }, &mut rows)?;
        were_empty.push(rows.is_empty());
    }
    let mut keys = Keys::Make;
    if deferred {
        tx.put_off(References::With(tables.iter().map(|table| table.plan.table.name.clone()).collect()));
        put_off_checks(tx, tables, checks, &were_empty)?;
        // Rows may refer to rows that come later: all new keys must be known before the first row is written.
        if tables.iter().any(|table| table.plan.strategy == Strategy::Append) {
            keys = Keys::Known;
            make_keys(tx, tables)?;
        }
    }
    let mut repeats = vec![false; tables.len()];
    if deferred && referred::cascade(tx, tables.iter().map(|table| &table.plan))? {
        repeats = tables.iter().map(Staged::may_be_repeated).collect();
    }
    let (mut tallies, mut has_unknown): (Vec<Tally>, bool) = (Vec::with_capacity(tables.len()), false);
    for round in 0..2 {
        for (at, (table, was_empty)) in tables.iter().zip(&were_empty).enumerate() {
            if round == 1 && !repeats[at] {
                continue;
            }
            let mut tally = tally(ledger, &Outcome::default());
            if table.is_multiset() {
                multiset::count(tx, &table.plan)?;
            }
            let collect = || match deferred {
                true => Written::of(&table.plan.table, *was_empty),
                false => Written::ignored(),
            };
            let (received, collects) = (&mut keys_received.of[at], !keys_received.are_all && round == 0);
            let passes: &[NullKeys<'_>] =
                if table.has_null_keys() { &[NullKeys::Leave, NullKeys::Only] } else { &[NullKeys::Leave] };
            for (pass, nulls) in passes.iter().enumerate() {
                let is_last = pass + 1 == passes.len() && (round == 1 || !repeats[at]);
                each_page(&table.stage, tx, &mut |tx, rows, numbers, last| {
                    let mut written = collect().and_waiting(&table.plan);
                    if collects {
                        written.received = std::mem::take(received);
                    }
                    by_key::expect(tx, &table.plan, rows, table.kept.announced);
                    route(tx, &table.plan, keys, *nulls, rows, &mut tally, &mut written)?;
                    pending::note(tx, &table.plan, table.stage.number, numbers, &written)?;
                    waits::keep(tx, &table.plan, &table.stage, numbers, &written)?;
                    has_unknown |= written.has_unknown();
                    if collects {
                        *received = written.received;
                    }
                    match is_last {
                        // Their place in the file serves the rows that are applied next.
                        true => stages::remove_to(tx.state().0, &table.stage, last),
                        false => Ok(()),
                    }
                })?;
                exchange::settle(tx, &table.plan, &table.stage, &mut tally, &collect, received, None)?;
            }
            tx.keep_came()?;
            match round {
                0 => tallies.push(tally),
                _ => tallies[at].again(tally),
            }
        }
    }
    let has_updates = tallies.iter().zip(&were_empty).any(|(tally, was_empty)| *was_empty && tally.outcome.updated > 0);
    Ok(Applied { tallies, needs_database: deferred && checks == Checks::Here && (has_updates || has_unknown) })
}

/// Has references checked here, and not by the database; where it cannot be without, at the commit.
fn put_off_checks(tx: &mut Transaction, tables: &[Staged], checks: Checks, were_empty: &[bool]) -> Result<()> {
    let may_change = |plan: &TablePlan| {
        matches!(plan.strategy, Strategy::Overwrite | Strategy::Merge) && plan.identity != Identity::WholeRow
    };
    let targets: Vec<Target<'_>> = tables
        .iter()
        .zip(were_empty)
        .map(|(table, was_empty)| Target { table: &table.plan.table, updates: may_change(&table.plan) && !was_empty })
        .collect();
    let here = checks == Checks::Here && tx.writer.check_references(Check::ByCaller, &targets)?;
    if here || tx.writer.check_references(Check::AtCommit, &targets)? {
        return Ok(());
    }
    let names: Vec<&str> = tables.iter().map(|table| table.plan.table.name.as_str()).collect();
    let message = format!("this database cannot check the references of {} when all rows are there", names.join(", "));
    Err(Error::new(ErrorKind::ForeignKey, message)
        .with_hint("Make these foreign keys deferrable, or pull the tables apart."))
}

/// Reports the records as failed that change what other rows refer to, and takes them out of the stage.
fn leave_out_held(tx: &mut Transaction, table: &mut Staged, broken: &HashMap<(String, Vec<u8>), String>) -> Result<()> {
    let Staged { plan, stage, failed, .. } = table;
    let Identity::Key { columns: key, .. } = &plan.identity else { return Ok(()) };
    each_page(stage, tx, &mut |tx, rows, numbers, _| {
        let fitted = tx.fit(plan, rows, 0..rows.len())?.rows;
        let mut out = BTreeSet::new();
        for (row, number) in numbers.iter().enumerate() {
            let values: Vec<Value> = key.iter().filter_map(|at| fitted.get(row, *at)).map(ValueRef::to_owned).collect();
            let Some(child) = broken.get(&(plan.table.name.clone(), waits::bytes(&values))) else { continue };
            let (key, message) = (key_of_record(plan, rows, row), referred::held_message(child));
            failed.fail(Failure { key, column: None, reason: Reason::ForeignKey, message });
            by_key::fails_as_it_came(tx, plan, rows, row)?;
            out.insert(*number);
        }
        stages::remove(tx.state().0, stage, &out)
    })
}

/// Reports the orphans among the staged rows as failed for want of a parent, and takes them out of the stage. Where a parent of the
/// table has records that wait for other tables, its orphans wait for those.
fn leave_out(tx: &mut Transaction, table: &mut Staged, follows: bool) -> Result<()> {
    let Staged { plan, stage, failed, .. } = table;
    each_page(stage, tx, &mut |tx, rows, numbers, last| {
        let Some(first) = numbers.first() else { return Ok(()) };
        let (sql, scope) = tx.state();
        let orphans = references::orphans_among(sql, scope, stage.number, *first..=last)?;
        for (row, number) in numbers.iter().enumerate() {
            let Some(reference) = orphans.get(number) else { continue };
            if let (true, Identity::Key { columns: key, .. }) = (follows, &plan.identity) {
                let fitted = tx.fit(plan, rows, row..row + 1)?.rows;
                let key = waits::key_bytes(tx, plan, key, &fitted, 0)?;
                waiting::add(tx.state().0, stage, (rows, row), &key, *number, Some(&plan.table.name))?;
                continue;
            }
            by_key::fails_as_it_came(tx, plan, rows, row)?;
            let key = plan.table.foreign_keys.get(*reference);
            failed.fail(Failure {
                key: key_of_record(plan, rows, row),
                column: key.and_then(|key| key.columns.first().cloned()),
                reason: Reason::ForeignKey,
                message: match key {
                    Some(key) => {
                        format!("it refers to a row of {:?} that is neither here nor among the records", key.parent)
                    }
                    None => "it refers to a row that is neither here nor among the records".to_owned(),
                },
            });
        }
        stages::remove(tx.state().0, stage, &orphans.into_keys().collect::<BTreeSet<i64>>())
    })
}
