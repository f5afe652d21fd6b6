//! Makes the new keys of appended tables that refer to each other or to themselves, before the first of their rows is written.
//!
//! A row may refer to one that comes later. Where the new key of its parent decides which row it is (the reference is part of a
//! unique set, or of the key), it waits for its parent: however the sender numbered its rows, parents are decided first. Rows that
//! wait for each other in a circle, or for a parent that never comes, are decided at last as if they referred to nothing.

use std::collections::BTreeSet;

use super::append_page::{OldKey, Page};
use super::new_key::{Key, find_key};
use super::remap::Lost;
use super::staged::{Staged, each_page};
use super::transaction::Transaction;
use crate::domain::schema::UniqueKind;
use crate::domain::strategy::{Dangling, Strategy};
use crate::domain::value::Rows;
use crate::error::Result;
use crate::ledger::key_map::{self, KeyMap};
use crate::ledger::references::{self, Link, StagedRow};
use crate::ledger::stages;
use crate::plan::{Identity, TablePlan};

/// Records after which the pull can be cancelled.
const RUN: usize = 64;

/// Rows that wait for one parent and are read together.
const TOGETHER: i64 = 1_000;

/// What is noted of a record that waits: its own key, and what it waits for.
const OWN: usize = 0;
const PARENT: usize = 1;

/// Records that are followed from one that waits to its parent and on, at most. It bounds memory.
const MOST_SEEN: usize = 1_000_000;

/// Gives each record of the appended tables its new key and remembers it. A record that can get none is left for
/// [`append`](super::append::append) to report.
pub(super) fn make_keys(tx: &mut Transaction, tables: &[Staged]) -> Result<()> {
    let mut making = Making { tables, appended: Vec::new(), any_waits: false, reader: stages::Reader::default() };
    for (at, table) in tables.iter().enumerate() {
        let Identity::Key { .. } = table.plan.identity else { continue };
        if table.plan.strategy == Strategy::Append {
            let map = tx.key_map(&table.plan.table)?;
            making.appended.push(AppendedTable { at, map, decisive: decisive(&table.plan, tables) });
        }
    }
    for number in 0..making.appended.len() {
        let stage = &tables[making.appended[number].at].stage;
        each_page(stage, tx, &mut |tx, rows, numbers, _| making.page(tx, number, rows, numbers, Wait::ForParents))?;
    }
    making.force(tx)?;
    for AppendedTable { at, map, .. } in &making.appended {
        tx.note_given(&tables[*at].plan.table, *map)?;
    }
    let (sql, scope) = tx.state();
    references::forget(sql, scope)
}

/// Which of the follows must be known before it is known what a record is: those that lead to a table of the group, and are part of
/// the key or of a unique set.
fn decisive(plan: &TablePlan, tables: &[Staged]) -> Vec<usize> {
    let in_group = |name: &str| {
        let is_it = |table: &Staged| table.plan.strategy == Strategy::Append && table.plan.table.name == name;
        tables.iter().any(is_it)
    };
    let sets = plan.table.unique.iter().filter(|set| set.kind == UniqueKind::Full).map(|set| &set.columns);
    let columns: Vec<usize> =
        sets.chain([&plan.table.primary_key]).flatten().filter_map(|name| plan.table.column_index(name)).collect();
    let decides = |at: &usize| plan.targets[*at].is_some_and(|column| columns.contains(&column));
    let follows = plan.follows.iter().enumerate();
    follows
        .filter(|(_, follow)| in_group(&follow.parent.name) && follow.incoming.iter().any(decides))
        .map(|(position, _)| position)
        .collect()
}

/// One of the appended tables.
struct AppendedTable {
    /// Its position in the group.
    at: usize,
    map: KeyMap,
    /// The positions of its decisive follows.
    decisive: Vec<usize>,
}

/// Whether a record whose parent is not decided yet is put off.
#[derive(Clone, Copy, PartialEq)]
enum Wait {
    ForParents,
    No,
}

struct Making<'t> {
    tables: &'t [Staged],
    appended: Vec<AppendedTable>,
    /// Whether a record waits, or did.
    any_waits: bool,
    reader: stages::Reader,
}

impl Making<'_> {
    /// Decides the records of a page of this table, and those that waited for them.
    fn page(&mut self, tx: &mut Transaction, number: usize, rows: &Rows, numbers: &[i64], wait: Wait) -> Result<()> {
        let mut decided = Vec::new();
        self.decide(tx, number, rows, numbers, wait, &mut decided)?;
        while let Some((parent, key)) = decided.pop() {
            let mut last = None;
            loop {
                let (sql, scope) = tx.state();
                let children = references::children(sql, scope, &waits_for(parent, &key), last, TOGETHER)?;
                last = children.last().copied();
                if last.is_none() {
                    break;
                }
                for child in children {
                    tx.check_cancelled()?;
                    self.stop_waiting(tx, child, &waits_for(parent, &key))?;
                    self.decide_one(tx, child.row, Wait::ForParents, &mut decided)?;
                }
            }
        }
        Ok(())
    }

    /// Notes what a record waits for, and what others wait for that wait for it.
    fn wait(&mut self, tx: &mut Transaction, row: StagedRow, own: Vec<u8>, parent: Vec<u8>) -> Result<()> {
        let (sql, scope) = tx.state();
        references::has(sql, scope, row, OWN, own)?;
        references::has(sql, scope, row, PARENT, parent.clone())?;
        references::refers(sql, scope, Link { row, reference: 0 }, parent)
    }

    fn stop_waiting(&mut self, tx: &mut Transaction, link: Link, value: &[u8]) -> Result<()> {
        let (sql, scope) = tx.state();
        references::has_none(sql, scope, link.row)?;
        references::unlink(sql, scope, link, value)
    }

    /// Decides what still waits when all rows were seen, each with those that waited for it: first a row of each circle, or one whose
    /// parent never came, because what hangs on it is decided with it.
    fn force(&mut self, tx: &mut Transaction) -> Result<()> {
        while self.any_waits {
            let (sql, scope) = tx.state();
            let Some((mut waiting, mut value)) = references::any_link(sql, scope)? else { return Ok(()) };
            let mut seen = BTreeSet::new();
            while seen.insert(waiting.row) && seen.len() < MOST_SEEN {
                tx.check_cancelled()?;
                let (sql, scope) = tx.state();
                let Some(row) = references::own_of(sql, scope, &value, OWN)? else { break };
                let parents = references::values(sql, scope, row)?.into_iter().find(|(number, _)| *number == PARENT);
                let Some((_, parent)) = parents else { break };
                (waiting, value) = (Link { row, reference: 0 }, parent);
            }
            self.stop_waiting(tx, waiting, &value)?;
            let Some((number, rows)) = self.read(tx, waiting.row)? else { continue };
            self.page(tx, number, &rows, &[waiting.row.1], Wait::No)?;
        }
        Ok(())
    }

    fn decide_one(
        &mut self,
        tx: &mut Transaction,
        row: StagedRow,
        wait: Wait,
        decided: &mut Vec<(usize, Vec<u8>)>,
    ) -> Result<()> {
        match self.read(tx, row)? {
            Some((number, rows)) => self.decide(tx, number, &rows, &[row.1], wait, decided),
            None => Ok(()),
        }
    }

    /// A staged row, and the number of its table.
    fn read(&mut self, tx: &mut Transaction, (stage, row): StagedRow) -> Result<Option<(usize, Rows)>> {
        let is_it = |table: &AppendedTable| self.tables[table.at].stage.number == stage;
        let Some(number) = self.appended.iter().position(is_it) else { return Ok(None) };
        let stage = &self.tables[self.appended[number].at].stage;
        Ok(self.reader.row(tx.state().0, stage, row)?.map(|rows| (number, rows)))
    }

    /// Decides those records that wait for no parent, and adds their keys to `decided` if others may wait for them.
    fn decide(
        &mut self,
        tx: &mut Transaction,
        number: usize,
        rows: &Rows,
        numbers: &[i64],
        wait: Wait,
        decided: &mut Vec<(usize, Vec<u8>)>,
    ) -> Result<()> {
        let AppendedTable { at, map, .. } = self.appended[number];
        let Staged { plan, stage, .. } = &self.tables[at];
        let page = Page::new(tx, plan, rows, 0..rows.len(), Dangling::Fail)?;
        for (record, staged) in numbers.iter().enumerate() {
            if record % RUN == 0 {
                tx.check_cancelled()?;
            }
            let Some(old) = page.old(record) else { continue };
            let known = key_map::get(tx.state().0, map, &old.compared)?;
            if known.is_none_or(|known| known.earlier && plan.append.again) {
                let lost = self.decisive_lost(number, &page, record);
                if wait == Wait::ForParents
                    && let Some(parent) = self.undecided_parent(tx, number, &lost, old)?
                {
                    self.any_waits = true;
                    let row = (stage.number, *staged);
                    self.wait(tx, row, waits_for(at, &old.compared), parent)?;
                    continue;
                }
                // Its parents may be known now that were not when the page was looked at.
                let again = if lost.is_empty() {
                    None
                } else {
                    Some(Page::new(tx, plan, rows, record..record + 1, Dangling::Fail)?)
                };
                let (page, record) = again.as_ref().map_or((&page, record), |page| (page, 0));
                let mut values = page.values(record);
                if wait == Wait::No {
                    page.fill_in_key(tx, record, &mut values)?;
                }
                let became = match find_key(tx, page, record, &values)? {
                    Key::New(key) => old.became(key, false, true),
                    Key::Existing(key) => old.became(key, true, true),
                    Key::None | Key::Refused(..) => continue,
                };
                key_map::put(tx.state().0, map, vec![became])?;
            }
            if self.any_waits {
                decided.push((at, old.compared.clone()));
            }
        }
        Ok(())
    }

    /// Those of a record's lost references that decide what it is.
    fn decisive_lost<'p>(&self, number: usize, page: &'p Page<'_>, record: usize) -> Vec<&'p Lost> {
        let lost = page.followed.as_ref().map_or(&[][..], |followed| followed.lost(record));
        lost.iter().filter(|lost| self.appended[number].decisive.contains(&lost.follow)).collect()
    }

    /// What a record waits for: a parent that is not decided yet, and is not the record itself.
    fn undecided_parent(
        &self,
        tx: &mut Transaction,
        number: usize,
        lost: &[&Lost],
        old: &OldKey,
    ) -> Result<Option<Vec<u8>>> {
        let plan = &self.tables[self.appended[number].at].plan;
        for Lost { follow, parent: key } in lost {
            let parent = &plan.follows[*follow].parent;
            let is_itself = parent.name == plan.table.name && *key == old.compared;
            // It may have come earlier on the same page.
            if !is_itself && tx.known_key(parent, key)?.is_none() {
                return Ok(self.position_of(&parent.name).map(|parent| waits_for(parent, key)));
            }
        }
        Ok(None)
    }

    fn position_of(&self, table: &str) -> Option<usize> {
        self.tables.iter().position(|other| other.plan.table.name == table)
    }
}

/// What stands for a key of a table of the group among the links.
fn waits_for(table: usize, key: &[u8]) -> Vec<u8> {
    let mut bytes = (table as u64).to_be_bytes().to_vec();
    bytes.extend_from_slice(key);
    bytes
}
