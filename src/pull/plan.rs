//! The second phase of a pull: missing tables are made, each table is planned, and it is settled where each begins. One transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::TableReport;
use super::context::Context;
use super::errors::is_resumable;
use super::offer::{Offer, Offered};
use super::order::groups;
use super::planned::{Earlier, Group, Plan, Table};
use super::settle::settle;
use super::states::States;
use super::{make, numbers};
use crate::domain::schema::{ForeignKey, TableSchema};
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::import::numerals;
use crate::ledger::pulls::Sender;
use crate::ledger::{Begin, Checkpoint, Ledger};
use crate::plan::follow::{MOST_FURTHER, link};
use crate::plan::meet::keys_may_meet;
use crate::plan::order::needs_stage;
use crate::plan::table::{plan_table, plan_table_by};
use crate::plan::{AppendRules, Identity, TablePlan};
use crate::store::{NewTable, Writer};

/// Plans what is offered. A database that cannot be read or written fails for all tables.
pub(super) fn make(cx: &mut Context<'_, '_>, ledger: &mut Ledger<'_>, offer: Offer, sender: Option<Sender>) -> Plan {
    let names: Vec<String> = offer.tables.iter().map(|table| table.name.clone()).collect();
    let mut began = false;
    try_make(cx, ledger, offer, sender, &mut began).unwrap_or_else(|error| {
        let failed = names.iter().map(|name| TableReport::failed(name, error.clone())).collect();
        // Tables that were made and committed are told of by the run that resumes this one.
        Plan { tables: Vec::new(), groups: Vec::new(), failed, keeps_failed: began }
    })
}

fn try_make(
    cx: &mut Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    offer: Offer,
    sender: Option<Sender>,
    began: &mut bool,
) -> Result<Plan> {
    let offered = offer.tables;
    let mut plan = Plan { tables: Vec::new(), groups: Vec::new(), failed: offer.failed, keeps_failed: false };
    let (made, mut writer) = make::all(cx, ledger, &offered, sender.as_ref(), began)?;
    for (offered, table) in offered.into_iter().zip(made.tables) {
        match table {
            Ok(table) => plan.tables.push(table.with(offered)),
            Err(error) => plan.failed.push(TableReport::failed(&offered.name, error)),
        }
    }
    let senders: Vec<Arc<TableSchema>> = plan.tables.iter().map(|table| Arc::clone(&table.sender)).collect();
    let senders: Vec<&TableSchema> = senders.iter().map(|sender| &**sender).collect();
    let here = plan.tables.iter().map(|table| &table.plan.table);
    let parents = senders.iter().copied().chain(here.clone()).flat_map(|table| &table.foreign_keys);
    let named = parents.map(|key| key.parent.as_str()).chain(here.map(|table| table.name.as_str()));
    let known = ledger.known_rows(&mut *writer, named)?;
    let too_far = link(&mut plan.tables, &senders, &known);
    for at in too_far.into_iter().rev() {
        let table = plan.tables.remove(at);
        plan.failed.push(TableReport::failed(&table.name, leads_too_far()));
    }
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
    let mut found = match made.found {
        Some(found) => found,
        None => {
            // A table of which something passing is wrong is wanted all the same: what there is of it stays.
            let passing = |report: &&TableReport| report.error.as_ref().is_some_and(|error| is_resumable(error.kind()));
            let failed = plan.failed.iter().filter(|report| passing(report)).map(|report| report.name.as_str());
            let wanted = make::wanted(cx, plan.tables.iter().map(|table| table.name.as_str()).chain(failed));
            ledger.begin(&mut *writer, sender.clone(), begin, &wanted)?
        }
    };
    settle(cx, ledger, &mut *writer, &mut plan, &mut found, sender.as_ref())?;
    plan.tell_sums(cx, &found);
    writer.commit()?;
    Ok(plan)
}

fn leads_too_far() -> Error {
    let message =
        format!("its foreign keys lead through more than {MOST_FURTHER} others, by way of the tables that it refers to");
    Error::new(ErrorKind::TooLarge, message).with_hint("Pull it in a pull of its own.")
}

/// A table that was planned, without what is known from the offer.
pub(super) struct Planned {
    pub(super) plan: TablePlan,
    pub(super) made: Option<TableSchema>,
    /// What it was made from, where that is not all that the sender says.
    pub(super) made_from: Option<TableSchema>,
    /// The incoming column that may not use the numbers of the table up.
    pub(super) guarded: Option<usize>,
    pub(super) notes: Vec<String>,
}

impl Planned {
    fn with(self, offered: Offered) -> Table {
        let report = TableReport {
            name: offered.name.clone(),
            created_table: self.made.is_some(),
            notes: self.notes,
            ..TableReport::default()
        };
        let checkpoint = Checkpoint::new(&offered.name, self.plan.strategy, String::new(), offered.announced);
        let sender = Arc::new(offered.schema);
        let made_from = self.made_from.map_or_else(|| Arc::clone(&sender), Arc::new);
        Table {
            name: offered.name,
            sender,
            announced: offered.announced,
            allowance: offered.allowance,
            plan: self.plan,
            made_from: self.made.as_ref().map(|_| made_from),
            made: self.made,
            guarded: self.guarded,
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

/// The tables that a dry run makes again, by their folded names.
pub(super) type MadeAgain = HashMap<String, Arc<TableSchema>>;

/// A dry run makes these tables again.
pub(super) fn made_again(cx: &Context<'_, '_>, tables: &[Table]) -> MadeAgain {
    let again = |table: &Table| Some((cx.names.fold(&table.name).into_owned(), table.made_from.clone()?));
    tables.iter().filter_map(again).collect()
}

/// Makes one of them.
pub(super) fn make_again(cx: &Context<'_, '_>, writer: &mut dyn Writer, again: &MadeAgain, table: &Table) -> Result<()> {
    let Some(schema) = &table.made_from else { return Ok(()) };
    let parents = |name: &str| again.get(&*cx.names.fold(name)).map(|table| &**table);
    let new = NewTable { schema, exact: cx.source.is_rowferry(), parents: &parents };
    writer.create_table(&new).map(|_| ())
}

/// Plans a table that is here, or that was made just now, from this description if not from the sender's, and with these notes.
pub(super) fn planned(
    cx: &Context<'_, '_>,
    writer: &mut dyn Writer,
    offered: &Offered,
    made: Option<(Option<TableSchema>, Vec<String>)>,
) -> Result<Planned> {
    let is_made = made.is_some();
    let (made_from, mut notes) = made.unwrap_or_default();
    let gone = || Error::new(ErrorKind::Database, format!("the table {:?} was made and is not there", offered.name));
    let local = writer.schema(&offered.name)?.ok_or_else(gone)?;
    writer.check_writable(&local)?;
    let (strategy, extra) = (cx.options.strategy_of(&offered.name), cx.options.extra_columns);
    let mut plan = match cx.options.keys.get(&offered.name) {
        Some(key) => plan_table_by(&offered.schema, &local, strategy, extra, key),
        None => plan_table(&offered.schema, &local, strategy, extra),
    }?;
    let (newer_by, note) = cx.options.newer_by_of(&offered.name, &plan)?;
    plan.newer_by = newer_by;
    plan.asks = cx.options.on_conflict.contains_key(&offered.name);
    // In a table that is made only now there is nothing to change.
    notes.extend(note.filter(|_| !is_made));
    // Nothing came to a table that is made only now.
    let again = cx.options.append_again || is_made;
    plan.append = AppendRules { again, on_taken_key: cx.options.on_taken_key };
    plan.dangling = cx.options.dangling;
    plan.on_lossy = cx.options.on_lossy;
    plan.numerals = numerals::columns(&offered.schema, &local, &plan.targets);
    // Where keys are the sender's, none of them is given again that it once gave. An append gives keys of its own, and so does a table
    // that was here: its sequence is the host's.
    let takes_sequence = is_made && plan.strategy != Strategy::Append;
    if let Some(sequence) = offered.schema.sequence.filter(|sequence| takes_sequence && *sequence > 0) {
        writer.raise_sequence(&local, sequence)?;
    }
    // PhoenixKit does not tell its keys over HTTP.
    let tells_key = cx.source.is_rowferry() || !offered.schema.primary_key.is_empty();
    plan.keys_may_meet = tells_key && keys_may_meet(&offered.schema, &plan);
    let guarded = numbers::guarded(writer, &local, &plan)?;
    Ok(Planned { plan, made: is_made.then_some(local), made_from, guarded, notes })
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
            // No more than what decides it: a sender may describe tables that take much memory.
            let here = &table.plan.table;
            let keys = table.sender.foreign_keys.iter().chain(&here.foreign_keys);
            let mut seen = HashSet::new();
            let parents = keys.map(|key| key.parent.as_str()).filter(|parent| seen.insert(*parent));
            let to = |parent: &str| ForeignKey { parent: parent.to_owned(), ..ForeignKey::default() };
            let columns = if cx.source.is_rowferry() { Vec::new() } else { table.sender.columns.clone() };
            TableSchema {
                name: table.sender.name.clone(),
                deferred: here.deferred,
                foreign_keys: parents.map(to).collect(),
                columns,
                ..TableSchema::default()
            }
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
