//! What is the same for all records of a plan, for as long as a transaction lasts.

use std::sync::Arc;

use super::super::casts::{Adapted, Cast, Casts};
use super::super::references;
use super::super::table::{Table, UniqueIndex};
use super::super::transaction::Transaction;
use super::super::types::{Carried, oid};
use super::upsert;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, ValueRef};
use crate::error::Result;
use crate::plan::TablePlan;
use crate::store::Check;

/// A column that is written: where its values come from and go to.
pub(super) struct Column {
    /// Its position in the incoming rows.
    pub(super) incoming: usize,
    /// Its position in the local table.
    pub(super) local: usize,
    /// Whether it is part of the key that identifies a row.
    pub(super) in_key: bool,
}

/// A foreign key of the table to itself, which is checked with each row: positions among the columns that are written.
pub(super) struct OwnReference {
    pub(super) from: Vec<usize>,
    pub(super) to: Vec<usize>,
}

pub(super) struct Shape {
    pub(super) plan: TablePlan,
    pub(super) table: Arc<Table>,
    casts: Arc<Casts>,
    pub(super) columns: Vec<Column>,
    /// The columns of the key, as positions among `columns`.
    pub(super) key: Vec<usize>,
    /// Whether all rows of the table are this transaction's.
    pub(super) was_empty: bool,
    /// Whether each row is written by a statement of its own, and none here.
    pub(super) one_by_one: bool,
    /// Whether records may meet rows that are there: not where rows refer to what may change, which shows with each change.
    pub(super) may_upsert: bool,
    pub(super) references: Vec<OwnReference>,
    /// The statement that applies records to rows that may be there.
    pub(super) sql: String,
}

impl Shape {
    pub(super) fn new(transaction: &mut Transaction, plan: &TablePlan, key: &[usize]) -> Result<Self> {
        let (table, casts) = transaction.local(&plan.table)?;
        let columns: Vec<Column> = plan
            .targets
            .iter()
            .enumerate()
            .filter_map(|(incoming, target)| target.map(|local| Column { incoming, local, in_key: key.contains(&local) }))
            .collect();
        let positions = |names: &[String]| -> Option<Vec<usize>> {
            let locals = table.schema.column_indexes(names)?;
            locals.iter().map(|local| columns.iter().position(|column| column.local == *local)).collect()
        };
        let is_own = |parent: &str| parent == table.schema.name;
        let own: Vec<_> = table.schema.foreign_keys.iter().filter(|key| is_own(&key.parent)).collect();
        let checked = |key: &&&crate::domain::schema::ForeignKey| transaction.check == Check::Now && !key.deferred;
        let references: Vec<Option<OwnReference>> = own
            .iter()
            .filter(checked)
            // What records do not bring refers to nothing, or to what its default says.
            .filter(|key| positions(&key.columns).is_some())
            .map(|key| Some(OwnReference { from: positions(&key.columns)?, to: positions(&key.parent_columns)? }))
            .collect();
        let is_exact = |at: &usize| is_exact(casts.get(columns[*at].local));
        let order_is_known =
            references.iter().all(|found| found.as_ref().is_some_and(|key| key.from.iter().chain(&key.to).all(is_exact)));
        let was_empty = transaction.lock(&table)?;
        let referring = references::referring(transaction, &table.schema)?;
        let changes = |name: &String| {
            let local = table.schema.column_index(name);
            local.is_some_and(|local| columns.iter().any(|column| column.local == local && !column.in_key))
        };
        let is_held = plan.strategy != Strategy::Skip
            && referring.iter().any(|referring| referring.key.parent_columns.iter().any(changes));
        let positions_of_key: Option<Vec<usize>> =
            key.iter().map(|local| columns.iter().position(|column| column.local == *local)).collect();
        let is_key = |index: &UniqueIndex| {
            index.columns.len() == key.len()
                && key.iter().all(|column| index.columns.contains(column))
                && !(index.is_deferrable || index.is_coarser || index.predicate.is_some())
        };
        let one_by_one = table.schema.has_triggers
            || table.has_rules
            || !table.primary.iter().chain(&table.unique).any(is_key)
            || !order_is_known
            || positions_of_key.is_none()
            || key.iter().any(|local| !is_plain_key(casts.get(*local)));
        let mut shape = Shape {
            plan: plan.clone(),
            table,
            casts,
            columns,
            key: positions_of_key.unwrap_or_default(),
            was_empty,
            one_by_one,
            may_upsert: !is_held,
            references: references.into_iter().flatten().collect(),
            sql: String::new(),
        };
        match upsert::sql(&shape) {
            Some(sql) => shape.sql = sql,
            None => shape.may_upsert = false,
        }
        Ok(shape)
    }

    pub(super) fn cast(&self, column: &Column) -> &Cast {
        self.casts.get(column.local)
    }

    /// Whether a column takes integers as they are.
    pub(super) fn is_integer(&self, column: usize) -> bool {
        matches!(self.cast(&self.columns[column]).carried, Carried::Int2 | Carried::Int4 | Carried::Int8)
    }

    /// The columns' casts, in order.
    pub(super) fn casts(&self) -> Vec<&Cast> {
        self.columns.iter().map(|column| self.cast(column)).collect()
    }

    /// Where the values of the columns are.
    pub(super) fn cells(&self) -> Vec<(usize, &Cast)> {
        self.columns.iter().map(|column| (column.incoming, self.cast(column))).collect()
    }

    /// Whether a record can be applied here: all its columns are there and fit, and its key has no NULL.
    pub(super) fn is_plain(&self, rows: &Rows, row: usize) -> bool {
        self.columns.iter().all(|column| {
            let cast = self.cast(column);
            match rows.get(row, column.incoming).map(|value| cast.adapt(value)) {
                None | Some(Adapted::Misfit(..)) => false,
                Some(Adapted::Ready(ValueRef::Null)) => !column.in_key,
                Some(Adapted::Ready(_)) => true,
                Some(Adapted::Text(text)) => cast.keeps_length(&text),
            }
        })
    }

    /// Whether two rows of the same key may have different values in this column of it.
    pub(super) fn may_differ(&self, column: &Column) -> bool {
        // Both zeros are equal, and so are 1.0 and 1.00.
        !column.in_key || !is_exact(self.cast(column)) && self.cast(column).carried != Carried::Any
    }
}

/// Whether equal values of the column are the same, byte for byte, as they come.
fn is_exact(cast: &Cast) -> bool {
    matches!(cast.carried, Carried::Int2 | Carried::Int4 | Carried::Int8 | Carried::Text | Carried::Bytes | Carried::Bool)
        || cast.base.oid == oid::UUID
}

/// Whether a key of this type can be the target of an upsert, and its duplicates be found here or by the server.
fn is_plain_key(cast: &Cast) -> bool {
    !matches!(cast.carried, Carried::Cast) || !cast.is_compared_as_text()
}
