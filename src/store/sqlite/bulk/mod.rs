//! Applies many records at once: what `fit`, `lookup`, `decide` and `write` would do one by one, at a fraction of the time.
//!
//! First what changes nothing is found by reading ([`skip_unchanged`]). What is left is written in as few statements as possible
//! ([`upsert`]), with values that are bound where they lie ([`bind`]). The first record that needs more care ends it: one that
//! lacks a column, holds what its column would store otherwise, or is refused; in a table with triggers each that is written.

use std::ops::Range;
use std::rc::Rc;

use super::affinity::{Affinity, Fit, fit};
use super::rows::is_utf8;
use super::write::SqliteWriter;
use super::{catalogue, keys};
use crate::domain::record::Tally;
use crate::domain::value::{Cell, Rows, ValueRef};
use crate::error::Result;
use crate::plan::order::refers_to_itself;
use crate::plan::{Identity, TablePlan};
use crate::store::Check;

pub(super) mod bind;
mod skip_unchanged;
mod upsert;

use skip_unchanged::{Extent, Unchanged};
use upsert::{Statements, Upsert};

/// A column that is written: where its values come from and go to.
struct Column {
    /// Its position in the incoming rows.
    incoming: usize,
    /// Its position in the local table.
    local: usize,
    /// Whether it is part of the key that identifies a row.
    in_key: bool,
    affinity: Affinity,
    strict: bool,
    /// The classes of values, as [`class_of`] gives them, that it holds whatever they are: a quick answer for most.
    held: u8,
}

/// One bit for the class of a value; none for what is seldom or must be looked at.
#[inline]
fn class_of(cell: Cell) -> u8 {
    match cell {
        Cell::Null => 1,
        Cell::Integer(v) if v != i64::MIN => 2,
        Cell::Real(v) if v.is_normal() => 4,
        Cell::Text { .. } => 8,
        Cell::Blob { .. } => 16,
        Cell::Absent | Cell::Integer(_) | Cell::Real(_) => 0,
    }
}

/// The bits of the classes that are held. A key is never NULL, and UTF-16 cannot hold all texts.
fn held(affinity: Affinity, in_key: bool, any_text: bool) -> u8 {
    let samples = [
        (Cell::Null, ValueRef::Null, !in_key),
        (Cell::Integer(1), ValueRef::Integer(1), true),
        (Cell::Real(1.5), ValueRef::Real(1.5), true),
        (Cell::Text { start: 0, length: 0 }, ValueRef::Text(b""), any_text),
        (Cell::Blob { start: 0, length: 0 }, ValueRef::Blob(b""), true),
    ];
    let held = samples.into_iter().filter(|(_, value, held)| *held && affinity.keeps(*value));
    held.map(|(cell, ..)| class_of(cell)).sum()
}

/// What is the same for all records of a plan, for as long as a transaction lasts.
pub(super) struct Shape {
    plan: TablePlan,
    columns: Vec<Column>,
    /// For each incoming column, in order, the classes of values that need no further look; empty where one is left out.
    held: Vec<u8>,
    /// The columns of the key, as positions among `columns`, and how it compares each of them: `None` byte for byte.
    key: Vec<(usize, Option<String>)>,
    /// What an upsert names for it to be about the key.
    conflict_target: String,
    any_text: bool,
    /// Whether something of the host's runs when a row is written: then none is written here.
    has_triggers: bool,
    /// Whether rows refer to columns that may change, and are checked only at the commit: the importer looks at each such change.
    is_held: bool,
    /// Whether it shows when one statement writes several records: a row may refer to one that the same statement adds after it,
    /// which is found only when the statement ends.
    order_shows: bool,
    /// What may be found unchanged before any row is written.
    extent: Extent,
    statements: Statements,
}

/// What earlier records of the transaction say of those to come.
#[derive(Default)]
pub(super) struct Pace {
    unchanged: skip_unchanged::Pause,
    streak: upsert::Streak,
}

/// The shape of the last plan, and its pace.
#[derive(Default)]
pub(super) struct Cache(Option<(Rc<Shape>, Pace)>);

impl Cache {
    /// Forgets what it knows of the catalogue.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

impl Shape {
    fn new(writer: &SqliteWriter, plan: &TablePlan, key: &[usize]) -> Result<Self> {
        let affinities = Affinity::of_columns(&plan.table);
        let columns = plan.targets.iter().enumerate().filter_map(|(incoming, target)| {
            let local = (*target)?;
            let (affinity, strict) = *affinities.get(local)?;
            let in_key = key.contains(&local);
            Some(Column { incoming, local, in_key, affinity, strict, held: held(affinity, in_key, writer.any_text) })
        });
        let columns: Vec<Column> = columns.collect();
        let sqlite = &writer.connection.sqlite;
        let overview = writer.connection.overview()?;
        let has_triggers = overview.has_triggers(&plan.table.name);
        let references = || catalogue::references_to_changing(&overview, &plan.table, key);
        let others_change = has_triggers || references().any(|reference| reference.follows);
        let mut shape = Shape {
            plan: plan.clone(),
            held: if columns.len() == plan.targets.len() { columns.iter().map(|c| c.held).collect() } else { Vec::new() },
            key: keys::collations_of(&plan.table, key)
                .into_iter()
                .filter_map(|(at, collation)| Some((columns.iter().position(|column| column.local == at)?, collation)))
                .collect(),
            conflict_target: keys::conflict_target(sqlite, &plan.table, key)?,
            columns,
            any_text: writer.any_text,
            has_triggers,
            is_held: catalogue::is_held(&overview, references(), writer.check),
            order_shows: writer.check == Check::Now && refers_to_itself(&plan.table, plan.table.names),
            extent: if others_change { Extent::First } else { Extent::All },
            statements: Statements::default(),
        };
        shape.statements = Statements::new(&shape, key);
        Ok(shape)
    }

    fn name(&self, column: &Column) -> &str {
        &self.plan.table.columns[column.local].name
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| self.name(column))
    }

    /// Whether the values of a column may differ between two rows of the same key: those of the key only where values that
    /// compare equal need not be the same.
    fn may_differ(&self, column: &Column) -> bool {
        let part = self.key.iter().find(|(at, _)| self.columns[*at].local == column.local);
        column.affinity.keeps_all() || part.is_none_or(|(_, collation)| collation.is_some())
    }

    /// Whether the local table can hold a value as it is.
    fn holds(&self, column: &Column, value: ValueRef<'_>) -> bool {
        (column.affinity.keeps(value) || matches!(fit(value, column.affinity, column.strict), Fit::Same | Fit::Converted(_)))
            && (self.any_text || is_utf8(value))
    }

    /// The value as the local column stores it.
    #[inline]
    fn stored<'v>(&self, column: &Column, value: ValueRef<'v>) -> ValueRef<'v> {
        if column.affinity.keeps(value) {
            return value;
        }
        fit(value, column.affinity, column.strict).stored(value)
    }

    /// Whether a record can be applied here: all its columns are there and fit, its key has no NULL, and each value differs from
    /// those that SQLite says it differs from.
    fn is_plain(&self, rows: &Rows, row: usize) -> bool {
        let (cells, bytes) = rows.cells(row);
        let need_no_look = |(cell, held): (&Cell, &u8)| held & class_of(*cell) != 0;
        if self.held.len() == cells.len() && cells.iter().zip(&self.held).all(need_no_look) {
            return true;
        }
        self.columns.iter().all(|column| {
            let cell = cells[column.incoming];
            column.held & class_of(cell) != 0
                || cell.value(bytes).is_some_and(|value| {
                    !(column.in_key && value.is_null()) && self.holds(column, value) && !column.affinity.has_twin(value)
                })
        })
    }
}

/// Applies the first records of the range; gives how many that were.
pub(super) fn apply(
    writer: &mut SqliteWriter,
    plan: &TablePlan,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<usize> {
    let Identity::Key { columns: key, .. } = &plan.identity else {
        return Ok(0);
    };
    let (shape, mut pace) = match writer.bulk.0.take() {
        Some((shape, pace)) if shape.plan == *plan => (shape, pace),
        _ => (Rc::new(Shape::new(writer, plan, key)?), Pace::default()),
    };
    let applied = apply_shape(writer, &shape, &mut pace, rows, range, tally);
    writer.bulk.0 = Some((shape, pace));
    applied
}

fn apply_shape(
    writer: &SqliteWriter,
    shape: &Shape,
    pace: &mut Pace,
    rows: &Rows,
    range: Range<usize>,
    tally: &mut Tally,
) -> Result<usize> {
    let plain = range.clone().take_while(|row| shape.is_plain(rows, *row)).count();
    let range = range.start..range.start + plain;
    let unchanged = Unchanged { writer, shape, rows }.find(&mut pace.unchanged, range.clone())?;
    let is_unchanged = |row: usize| unchanged.get(row - range.start).copied().unwrap_or(false);
    let others: Vec<usize> = range.clone().filter(|row| !is_unchanged(*row)).collect();
    let mut upsert = Upsert::new(writer, shape, rows, &mut pace.streak);
    let written = match (shape.has_triggers, shape.is_held) {
        (true, _) => 0,
        // Nothing refers to a row that is new.
        (false, true) => upsert.insert(&others, tally)?,
        (false, false) => upsert.write(&others, tally)?,
    };
    // The first one that was not written ends it; of those before it each is applied.
    let end = others.get(written).copied().unwrap_or(range.end);
    let passed_over = (range.start..end).filter(|row| is_unchanged(*row)).count() as u64;
    skip_unchanged::count(shape.plan.strategy, passed_over, tally);
    Ok(end - range.start)
}
