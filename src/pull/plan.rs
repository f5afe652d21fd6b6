//! The second phase of a pull: missing tables are made, each table is planned, and it is settled where each begins. One transaction.

use std::sync::Arc;

use super::TableReport;
use super::context::Context;
use super::errors::passes;
use super::offer::{Offer, Offered};
use super::order::groups;
use super::planned::{Earlier, Group, Plan, Table};
use super::settle::settle;
use super::states::States;
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::pulls::Sender;
use crate::ledger::{Begin, Checkpoint, Ledger};
use crate::plan::follow::link;
use crate::plan::meet::keys_may_meet;
use crate::plan::order::needs_stage;
use crate::plan::table::plan_table;
use crate::plan::{AppendRules, Identity, TablePlan};
use crate::store::{NewTable, Writer};

/// Plans what is offered. A database that cannot be read or written fails for all tables.
pub(super) fn make(cx: &mut Context<'_, '_>, ledger: &mut Ledger<'_>, offer: Offer, sender: Option<Sender>) -> Plan {
    let names: Vec<String> = offer.tables.iter().map(|table| table.name.clone()).collect();
    try_make(cx, ledger, offer, sender).unwrap_or_else(|error| {
        let failed = names.into_iter().map(|name| (name, TableReport::failed(error.copy()))).collect();
        Plan { tables: Vec::new(), groups: Vec::new(), failed, keeps_failed: false }
    })
}

fn try_make(cx: &mut Context<'_, '_>, ledger: &mut Ledger<'_>, offer: Offer, sender: Option<Sender>) -> Result<Plan> {
    let mut writer = ledger.open()?;
    let offered = offer.tables;
    let mut plan = Plan { tables: Vec::new(), groups: Vec::new(), failed: offer.failed, keeps_failed: false };
    let made = make_missing(cx, &mut *writer, &offered)?;
    for (offered, made) in offered.into_iter().zip(made) {
        match planned(cx, &mut *writer, &offered, made) {
            Ok(table) => plan.tables.push(table.with(offered)),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
            Err(error) => plan.failed.push((offered.name, TableReport::failed(error))),
        }
    }
    let senders: Vec<TableSchema> = plan.tables.iter().map(|table| (*table.sender).clone()).collect();
    let mut plans: Vec<TablePlan> = plan.tables.iter().map(|table| table.plan.clone()).collect();
    let parents = senders.iter().chain(plans.iter().map(|plan| &plan.table)).flat_map(|table| &table.foreign_keys);
    let named = parents.map(|key| key.parent.as_str()).chain(plans.iter().map(|plan| plan.table.name.as_str()));
    let known = ledger.known_rows(&mut *writer, named)?;
    link(&mut plans, &senders, &known);
    plan.tables.iter_mut().zip(plans).for_each(|(table, plan)| table.plan = plan);
    plan.groups = grouped(cx, &plan.tables);
    if sender.is_some() {
        put_off_indexes(cx, &mut *writer, &mut plan)?;
    }
    // A dry run makes the tables again, inside of the transaction that it does not commit.
    let begin = if cx.options.dry_run { Begin::Look } else { Begin::Resume };
    if cx.options.dry_run {
        drop(writer);
        writer = ledger.open()?;
    }
    // A table of which something passing is wrong is wanted all the same: what there is of it stays.
    let failed = plan.failed.iter().filter(|(_, report)| report.error.as_ref().is_some_and(|error| passes(error.kind())));
    let names = plan.tables.iter().map(|table| &table.name).chain(failed.map(|(name, _)| name));
    let wanted: Vec<_> = names.map(|name| (cx.names.fold(name).into_owned(), cx.options.strategy_of(name))).collect();
    let mut found = ledger.begin(&mut *writer, sender.clone(), begin, &wanted)?;
    settle(cx, ledger, &mut *writer, &mut plan, &mut found, sender.as_ref())?;
    plan.tell_sums(cx, &found);
    writer.commit()?;
    Ok(plan)
}

/// A table that was planned, without what is known from the offer.
struct Planned {
    plan: TablePlan,
    made: Option<TableSchema>,
    notes: Vec<String>,
}

impl Planned {
    fn with(self, offered: Offered) -> Table {
        let report = TableReport { created_table: self.made.is_some(), notes: self.notes, ..TableReport::default() };
        let checkpoint = Checkpoint::new(&offered.name, self.plan.strategy, String::new(), offered.announced);
        Table {
            name: offered.name,
            sender: Arc::new(offered.schema),
            announced: offered.announced,
            allowance: offered.allowance,
            plan: self.plan,
            made: self.made,
            follows: false,
            stage: None,
            checkpoint,
            earlier: Earlier::default(),
            has_ended: false,
            received: 0,
            bytes: 0,
            states: States::default(),
            before: None,
            transfer: None,
            report,
        }
    }
}

/// What was made of each table: nothing, its notes, or why it cannot be made.
type Made = Vec<Option<Result<Vec<String>>>>;

/// Makes the tables that are missing. Where one cannot be made to which others refer, all are made once more: they are made without these
/// references, each with a note.
fn make_missing(cx: &Context<'_, '_>, writer: &mut dyn Writer, offered: &[Offered]) -> Result<Made> {
    let mut missing = Vec::with_capacity(offered.len());
    for table in offered {
        missing.push(writer.schema(&table.name)?.is_none());
    }
    // Every pass but the last finds one more that cannot be made.
    let mut impossible: Vec<Option<Error>> = offered.iter().map(|_| None).collect();
    loop {
        writer.savepoint()?;
        let (mut made, mut again) = (Vec::with_capacity(offered.len()), false);
        for (at, table) in offered.iter().enumerate() {
            made.push(match (missing[at], &impossible[at]) {
                (false, _) => None,
                (true, Some(error)) => Some(Err(error.copy())),
                (true, None) => match make_one(cx, writer, &table.schema, offered, &impossible)? {
                    Ok(notes) => Some(Ok(notes)),
                    Err(error) => {
                        let refers = |other: &Offered| {
                            other.schema.foreign_keys.iter().any(|key| cx.names.same(&key.parent, &table.name))
                        };
                        again |= offered[..at].iter().zip(&missing).any(|(other, missing)| *missing && refers(other));
                        impossible[at] = Some(error.copy());
                        Some(Err(error))
                    }
                },
            });
        }
        if !again {
            writer.release()?;
            return Ok(made);
        }
        writer.rollback_to()?;
    }
}

/// Makes a missing table; gives what was left out. The outer error is the database's, the inner one this table's, of which nothing is left
/// then.
fn make_one(
    cx: &Context<'_, '_>,
    writer: &mut dyn Writer,
    sender: &TableSchema,
    offered: &[Offered],
    impossible: &[Option<Error>],
) -> Result<Result<Vec<String>>> {
    if cx.options.keep_missing_tables {
        let error = Error::new(ErrorKind::TableNotFound, format!("there is no table {:?} here", sender.name));
        return Ok(Err(error.with_hint("Make it first, or let missing tables be created.")));
    }
    writer.savepoint()?;
    let possible = offered.iter().zip(impossible).filter(|(_, error)| error.is_none()).map(|(table, _)| table);
    let parents = |name: &str| {
        let parent = possible.clone().find(|table| cx.names.same(&table.name, name));
        parent.map(|table| table.schema.clone())
    };
    match writer.create_table(&NewTable { schema: sender, exact: cx.source.is_rowferry(), parents: &parents }) {
        Ok(notes) => writer.release().map(|()| Ok(notes)),
        Err(error) => writer.rollback_to().map(|()| Err(error)),
    }
}

/// The same in a dry run, which makes its tables again.
pub(super) fn make_again(cx: &Context<'_, '_>, writer: &mut dyn Writer, tables: &[Table], at: usize) -> Result<()> {
    let sender = |table: &&Table| table.made.is_some();
    let parents = |name: &str| {
        let found = tables.iter().filter(sender).find(|table| cx.names.same(&table.name, name));
        found.map(|table| (*table.sender).clone())
    };
    let new = NewTable { schema: &tables[at].sender, exact: cx.source.is_rowferry(), parents: &parents };
    writer.create_table(&new).map(|_| ())
}

fn planned(
    cx: &Context<'_, '_>,
    writer: &mut dyn Writer,
    offered: &Offered,
    made: Option<Result<Vec<String>>>,
) -> Result<Planned> {
    let is_made = made.is_some();
    let notes = made.transpose()?.unwrap_or_default();
    let gone = || Error::new(ErrorKind::Database, format!("the table {:?} was made and is not there", offered.name));
    let local = writer.schema(&offered.name)?.ok_or_else(gone)?;
    writer.check_writable(&local)?;
    let mut plan = plan_table(&offered.schema, &local, cx.options.strategy_of(&offered.name), cx.options.extra_columns)?;
    // Nothing came to a table that is made only now.
    let again = cx.options.append_again || is_made;
    plan.append = AppendRules { again, on_taken_key: cx.options.on_taken_key };
    plan.dangling = cx.options.dangling;
    // Where keys are the sender's, none of them is given again that it once gave. An append gives keys of its own, and so does a table
    // that was here: its sequence is the host's.
    let takes_sequence = is_made && plan.strategy != Strategy::Append;
    if let Some(sequence) = offered.schema.sequence.filter(|sequence| takes_sequence && *sequence > 0) {
        writer.raise_sequence(&local, sequence)?;
    }
    // PhoenixKit does not tell its keys over HTTP.
    let tells_key = cx.source.is_rowferry() || !offered.schema.primary_key.is_empty();
    plan.keys_may_meet = tells_key && keys_may_meet(&offered.schema, &plan);
    Ok(Planned { plan, made: is_made.then_some(local), notes })
}

/// A table of fewer rows has its indexes at once: it would not be faster without. Fewer in tests, whose tables are small.
const PUT_OFF_FROM: u64 = if cfg!(test) { 20 } else { 2_000 };

/// In a file that this pull makes, large tables get their plain indexes after their rows: nobody else waits for the lock meanwhile. Not
/// where tables refer to each other: then rows are looked up by the columns that refer.
fn put_off_indexes(cx: &Context<'_, '_>, writer: &mut dyn Writer, plan: &mut Plan) -> Result<()> {
    let made: Vec<&str> = plan.tables.iter().filter_map(|table| Some(table.made.as_ref()?.name.as_str())).collect();
    let is_put_off = !cx.options.dry_run && cx.options.lock_time.is_none();
    if !is_put_off || made.is_empty() || !writer.file_numbers(&made)?.is_some_and(|(_, has_only_these)| has_only_these) {
        return Ok(());
    }
    for at in plan.groups.iter().filter(|group| !group.deferred).flat_map(|group| &group.tables) {
        let table = &mut plan.tables[*at];
        if table.announced >= PUT_OFF_FROM && table.made.is_some() {
            table.checkpoint.indexes = writer.put_off_indexes(&table.plan.table)?;
            if !table.checkpoint.indexes.is_empty() {
                table.plan.table.indexes.clear();
                table.made = Some(table.plan.table.clone());
            }
        }
    }
    Ok(())
}

/// The groups of tables in the order in which they are pulled. What decides it: the foreign keys of both sides. Those that are
/// enforced here say what must be there first; those of the sender say who follows whose new keys. All names are compared as they are
/// compared here.
fn grouped(cx: &Context<'_, '_>, tables: &[Table]) -> Vec<Group> {
    let references: Vec<TableSchema> = tables
        .iter()
        .map(|table| {
            let mut both = (*table.sender).clone();
            both.deferred = table.plan.table.deferred;
            both.foreign_keys.extend(table.plan.table.foreign_keys.iter().cloned());
            both
        })
        .collect();
    let needs_all = |at: &usize| tables[*at].plan.identity == Identity::WholeRow;
    let group = |group: Vec<usize>| {
        let deferred = needs_stage(&group, &references, cx.names);
        let staged = deferred || group.iter().any(needs_all);
        Group { deferred, staged, tables: group }
    };
    groups(&references, cx.names, cx.source.is_rowferry()).into_iter().map(group).collect()
}
