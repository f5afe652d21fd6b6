//! Missing tables are made, and each table is planned: parents before the tables that refer to them, in transactions that are short
//! however many tables there are. What a sender describes was tried before, where nobody waits for it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::context::Context;
use super::errors::is_resumable;
use super::offer::Offered;
use super::plan::{Planned, planned};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::pulls::Sender;
use crate::ledger::{Begin, Checkpoint, Ledger};
use crate::plan::order::order;
use crate::store::{NewTable, Writer};

/// What became of the tables: each is planned, or cannot be pulled.
pub(super) struct Made {
    pub(super) tables: Vec<Result<Planned>>,
    /// The checkpoints that this run resumes at, if it had to begin because tables were committed.
    pub(super) found: Option<Vec<Checkpoint>>,
}

/// The tables that can be made, by their folded names.
type Possible<'o> = HashMap<String, &'o TableSchema>;

/// What was found before the database is locked.
struct Tried {
    /// Tables that are missing, by their folded names.
    missing: HashSet<String>,
    /// Of those, by their places, the ones that cannot be made.
    impossible: HashMap<usize, Error>,
}

/// Makes and plans these tables, which a writer is open for. What was committed on the way, if anything was, is kept for the run that
/// resumes this one; `began` says whether.
pub(super) fn all(
    cx: &Context<'_, '_>,
    ledger: &mut Ledger<'_>,
    offered: &[Offered],
    sender: Option<&Sender>,
    began: &mut bool,
) -> Result<(Made, Box<dyn Writer>)> {
    let Tried { missing, mut impossible } = tried(cx, ledger, offered)?;
    let schemas: Vec<&TableSchema> = offered.iter().map(|table| &table.schema).collect();
    let sequence: Vec<usize> = order(&schemas, cx.names).into_iter().flatten().collect();
    let fold = |name: &str| cx.names.fold(name).into_owned();
    let can_be = |at: &usize| !cx.options.keep_missing_tables && !impossible.contains_key(at);
    let mut possible: Possible<'_> =
        (0..offered.len()).filter(can_be).map(|at| (fold(&offered[at].name), &offered[at].schema)).collect();
    let mut tables: Vec<Option<Result<Planned>>> = offered.iter().map(|_| None).collect();
    let (mut writer, mut found) = (ledger.open()?, None);
    let may_change = |name: &str| matches!(cx.options.strategy_of(name), Strategy::Overwrite | Strategy::Merge);
    let changed = offered.iter().map(|table| table.name.as_str()).filter(|name| may_change(name)).map(fold).collect();
    let made_before = match (sender, missing.is_empty() || cx.options.outside_references) {
        (Some(sender), false) => ledger.made_by(&mut *writer, sender)?,
        _ => HashSet::new(),
    };
    let all = cx.options.outside_references || sender.is_none();
    let inside = Inside { all, missing, changed, made_before };
    let mut since = Instant::now();
    let (mut uncommitted, mut all_made): (Vec<usize>, Vec<usize>) = Default::default();
    for at in sequence {
        cx.patience.check("making tables")?;
        if since.elapsed() >= cx.limits.pull.commit_time && !uncommitted.is_empty() && !cx.options.dry_run {
            if found.is_none() {
                let wanted = wanted(cx, offered.iter().map(|table| table.name.as_str()));
                found = Some(ledger.begin(&mut *writer, sender.cloned(), Begin::Resume, &wanted)?);
            }
            for at in uncommitted.drain(..) {
                if let Some(Ok(planned)) = &tables[at] {
                    note(cx, ledger, &mut *writer, &offered[at], planned)?;
                }
            }
            ledger.commit(&mut *writer)?;
            *began = true;
            drop(writer);
            writer = ledger.transaction()?;
            since = Instant::now();
        }
        let made = match writer.schema(&offered[at].name)? {
            Some(_) => Ok(None),
            None => match impossible.remove(&at) {
                Some(error) => Err(error),
                None => {
                    let (schema, mut notes) = inside.only(cx, &mut *writer, &offered[at].schema)?;
                    let made = make(cx, &mut *writer, &schema, &possible)?;
                    made.map(|more| {
                        notes.extend(more);
                        let made_from = match schema {
                            Cow::Owned(schema) => Some(schema),
                            Cow::Borrowed(_) => None,
                        };
                        Some((made_from, notes))
                    })
                }
            },
        };
        let is_made = matches!(made, Ok(Some(_)));
        if made.is_err() {
            possible.remove(&fold(&offered[at].name));
        }
        let table = made.and_then(|notes| planned(cx, &mut *writer, &offered[at], notes));
        if table.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt) {
            return Err(table.err().unwrap_or_else(|| Error::new(ErrorKind::Corrupt, "the database is corrupt")));
        }
        tables[at] = Some(table);
        if is_made {
            uncommitted.push(at);
            all_made.push(at);
        }
    }
    for at in all_made {
        if let Some(Ok(planned)) = &mut tables[at] {
            complete(cx, &mut *writer, &offered[at].schema, planned, &possible)?;
        }
    }
    // Each is in the sequence once.
    let tables = tables.into_iter().flatten().collect();
    Ok((Made { tables, found }, writer))
}

/// Which tables a table that is made may refer to without being asked for.
struct Inside {
    /// To all.
    all: bool,
    /// Those that the pull makes.
    missing: HashSet<String>,
    /// Those whose rows the sender may change in any case.
    changed: HashSet<String>,
    /// Those that an earlier pull of the same sender made.
    made_before: HashSet<String>,
}

impl Inside {
    /// The table without the foreign keys that lead outside, and what is said of these. The rows of such a table could keep rows that were
    /// here before from being deleted or changed. One to a table that is nowhere is told of where the table is made.
    fn only<'t>(
        &self,
        cx: &Context<'_, '_>,
        writer: &mut dyn Writer,
        sender: &'t TableSchema,
    ) -> Result<(Cow<'t, TableSchema>, Vec<String>)> {
        let (mut inside, mut notes) = (Vec::new(), Vec::new());
        for key in &sender.foreign_keys {
            let parent = cx.names.fold(&key.parent);
            let is_inside = [&self.missing, &self.changed, &self.made_before].iter().any(|tables| tables.contains(&*parent));
            if self.all || is_inside || writer.schema(&key.parent)?.is_none() {
                inside.push(key.clone());
                continue;
            }
            let columns: Vec<String> = key.columns.iter().map(|name| format!("{name:?}")).collect();
            notes.push(format!(
                "Table {:?}: the foreign key ({}) to {:?} is left out (outside_reference), because no pull of this sender made \
                 that table; ask for outside references to have it: `PullOptions::outside_references`.",
                sender.name,
                columns.join(", "),
                key.parent
            ));
        }
        let sender = match notes.is_empty() {
            true => Cow::Borrowed(sender),
            false => Cow::Owned(TableSchema { foreign_keys: inside, ..sender.clone() }),
        };
        Ok((sender, notes))
    }
}

/// The names and strategies of tables that are wanted, as the ledger knows them.
pub(super) fn wanted<'n>(cx: &Context<'_, '_>, names: impl Iterator<Item = &'n str>) -> Vec<(String, Strategy)> {
    names.map(|name| (cx.names.fold(name).into_owned(), cx.options.strategy_of(name))).collect()
}

/// Which tables that are missing cannot be made, whatever is here: found before the database is locked.
fn tried(cx: &Context<'_, '_>, ledger: &Ledger<'_>, offered: &[Offered]) -> Result<Tried> {
    let (mut impossible, mut missing) = (HashMap::new(), HashSet::new());
    let mut snapshot = ledger.store().snapshot()?;
    for (at, table) in offered.iter().enumerate() {
        cx.patience.check("looking at the other site's tables")?;
        if snapshot.schema(&table.name)?.is_some() {
            continue;
        }
        missing.insert(cx.names.fold(&table.name).into_owned());
        if cx.options.keep_missing_tables {
            let error = Error::new(ErrorKind::TableNotFound, format!("there is no table {:?} here", table.name));
            impossible.insert(at, error.with_hint("Make it first, or let missing tables be created."));
            continue;
        }
        let new = NewTable { schema: &table.schema, exact: cx.source.is_rowferry(), parents: &|_| None };
        match snapshot.try_table(&new) {
            Ok(()) => {}
            Err(error) if is_resumable(error.kind()) && error.kind() != ErrorKind::Database => return Err(error),
            Err(error) => drop(impossible.insert(at, error)),
        }
    }
    Ok(Tried { missing, impossible })
}

/// Makes a missing table; gives what was left out. The outer error is the database's, the inner one this table's, of which nothing is
/// left then.
fn make(
    cx: &Context<'_, '_>,
    writer: &mut dyn Writer,
    sender: &TableSchema,
    possible: &Possible<'_>,
) -> Result<Result<Vec<String>>> {
    writer.savepoint()?;
    let parents = |name: &str| possible.get(&*cx.names.fold(name)).copied();
    match writer.create_table(&NewTable { schema: sender, exact: cx.source.is_rowferry(), parents: &parents }) {
        Ok(notes) => writer.release().map(|()| Ok(notes)),
        Err(error) => writer.rollback_to().map(|()| Err(error)),
    }
}

/// Adds the references of a table that was made to those that were made after it, and says which are left out.
fn complete(
    cx: &Context<'_, '_>,
    writer: &mut dyn Writer,
    sender: &TableSchema,
    planned: &mut Planned,
    possible: &Possible<'_>,
) -> Result<()> {
    let sender = planned.made_from.as_ref().unwrap_or(sender);
    let here = &mut planned.plan.table;
    if here.foreign_keys.len() >= sender.foreign_keys.len() {
        return Ok(());
    }
    let parents = |name: &str| possible.get(&*cx.names.fold(name)).copied();
    let new = NewTable { schema: sender, exact: cx.source.is_rowferry(), parents: &parents };
    for note in writer.complete_table(&new)? {
        if !planned.notes.contains(&note) {
            planned.notes.push(note);
        }
    }
    if let Some(now) = writer.schema(&here.name)?.filter(|now| now.foreign_keys != here.foreign_keys) {
        planned.made = Some(now.clone());
        *here = now;
    }
    Ok(())
}

/// Keeps that a table was made, with the transaction that made it: the run that resumes this one tells it.
fn note(
    cx: &Context<'_, '_>,
    ledger: &Ledger<'_>,
    writer: &mut dyn Writer,
    offered: &Offered,
    planned: &Planned,
) -> Result<()> {
    let Some(made) = &planned.made else { return Ok(()) };
    ledger.note_made(writer, made)?;
    let strategy = cx.options.strategy_of(&offered.name);
    let checkpoint = Checkpoint {
        created: true,
        again: planned.plan.append.again,
        notes: planned.notes.clone(),
        ..Checkpoint::new(&offered.name, strategy, String::new(), offered.announced)
    };
    ledger.begin_checkpoint(writer, &checkpoint)
}
