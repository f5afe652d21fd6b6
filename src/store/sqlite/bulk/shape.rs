//! What is the same for all records of a plan.

use super::super::affinity::{Affinity, Fit, fit};
use super::super::rows::is_utf8;
use super::super::transaction::Transaction;
use super::super::{catalogue, faults, keys};
use super::upsert::Statements;
use crate::domain::value::{Cell, Rows, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::plan::order::refers_to_itself;
use crate::store::Check;

/// Which records may be found.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Extent {
    /// All that change nothing.
    All,
    /// Those before the first one that changes something: it may change what is so of those after it.
    First,
}

/// A column that is written: where its values come from and go to.
pub(super) struct Column {
    /// Its position in the incoming rows.
    pub(super) incoming: usize,
    /// Its position in the local table.
    pub(super) local: usize,
    /// Whether it is part of the key that identifies a row.
    pub(super) in_key: bool,
    pub(super) affinity: Affinity,
    pub(super) strict: bool,
    /// The classes of values, as [`class_of`] gives them, that it holds whatever they are: a quick answer for most.
    pub(super) held: u8,
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
    pub(super) plan: TablePlan,
    pub(super) columns: Vec<Column>,
    /// For each incoming column, in order, the classes of values that need no further look; empty where one is left out.
    pub(super) held: Vec<u8>,
    /// The columns of the key, as positions among `columns`, and how it compares each of them: `None` byte for byte.
    pub(super) key: Vec<(usize, Option<String>)>,
    /// What an upsert names for it to be about the key.
    pub(super) conflict_target: String,
    pub(super) any_text: bool,
    /// Whether each row is written by a statement of its own, and none here: something of the host's runs with it, or SQLite refuses to
    /// write several at once because of a [faulty](super::super::faults) foreign key.
    pub(super) one_by_one: bool,
    /// Whether rows refer to columns that may change, and are checked only at the commit: the importer looks at each such change.
    pub(super) is_held: bool,
    /// Whether it shows when one statement writes several records: a row may refer to one that the same statement adds after it,
    /// which is found only when the statement ends.
    pub(super) order_shows: bool,
    /// What may be found unchanged before any row is written.
    pub(super) extent: Extent,
    pub(super) statements: Statements,
}

impl Shape {
    pub(super) fn new(transaction: &Transaction, plan: &TablePlan, key: &[usize]) -> Result<Self> {
        let affinities = Affinity::of_columns(&plan.table);
        let columns = plan.targets.iter().enumerate().filter_map(|(incoming, target)| {
            let local = (*target)?;
            let (affinity, strict) = *affinities.get(local)?;
            let in_key = key.contains(&local);
            Some(Column { incoming, local, in_key, affinity, strict, held: held(affinity, in_key, transaction.any_text) })
        });
        let columns: Vec<Column> = columns.collect();
        let sqlite = &transaction.connection.sqlite;
        let overview = transaction.connection.overview()?;
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
            any_text: transaction.any_text,
            one_by_one: has_triggers || faults::has_any(&transaction.connection, &plan.table)?,
            is_held: catalogue::is_held(&overview, references(), transaction.check),
            order_shows: transaction.check == Check::Now && refers_to_itself(&plan.table, plan.table.names),
            extent: if others_change { Extent::First } else { Extent::All },
            statements: Statements::default(),
        };
        shape.statements = Statements::new(&shape, key);
        Ok(shape)
    }

    pub(super) fn name(&self, column: &Column) -> &str {
        &self.plan.table.columns[column.local].name
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| self.name(column))
    }

    /// Whether the values of a column may differ between two rows of the same key: those of the key only where values that
    /// compare equal need not be the same.
    pub(super) fn may_differ(&self, column: &Column) -> bool {
        let part = self.key.iter().find(|(at, _)| self.columns[*at].local == column.local);
        column.affinity.keeps_all() || part.is_none_or(|(_, collation)| collation.is_some())
    }

    /// Whether the local table can hold a value as it is.
    pub(super) fn holds(&self, column: &Column, value: ValueRef<'_>) -> bool {
        (column.affinity.keeps(value) || matches!(fit(value, column.affinity, column.strict), Fit::Same | Fit::Converted(_)))
            && (self.any_text || is_utf8(value))
    }

    /// The value as the local column stores it.
    #[inline]
    pub(super) fn stored<'v>(&self, column: &Column, value: ValueRef<'v>) -> ValueRef<'v> {
        if column.affinity.keeps(value) {
            return value;
        }
        fit(value, column.affinity, column.strict).stored(value)
    }

    /// Whether a record can be applied here: all its columns are there and fit, its key has no NULL, and each value differs from
    /// those that SQLite says it differs from.
    pub(super) fn is_plain(&self, rows: &Rows, row: usize) -> bool {
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
