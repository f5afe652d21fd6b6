//! What was written of a page, and what of it has to wait.

use std::collections::BTreeSet;

use super::received::Received;
use super::transaction::{Transaction, names};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::plan::{Identity, TablePlan};
use crate::store::{Fitted, Found, Lookup};

/// Rows that were written, where orphans are looked for: their local values, those of foreign keys at least, and which of the
/// records each was.
#[derive(Debug, Default)]
pub(super) struct Written {
    wanted: bool,
    /// Whether the table had no rows before the first of them.
    was_empty: bool,
    /// The columns of foreign keys.
    columns: Vec<usize>,
    /// Those that have a default or are generated: where a record lacks one, its row refers to what only the database knows.
    defaults: Vec<usize>,
    /// Whether a row was written that lacks one of them.
    has_unknown: bool,
    pub(super) rows: Rows,
    pub(super) records: Vec<usize>,
    /// The records that have to wait, if any may.
    waiting: Option<Waiting>,
    /// The keys of all records of the table so far.
    pub(super) received: Received,
}

/// Records that wait, as they came.
type Waiting = (Rows, Vec<Waits>);

/// A record that waits.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    /// Its position.
    pub(super) record: usize,
    /// The key of its row, as bytes.
    pub(super) key: Vec<u8>,
    /// Whether it waits for other tables, and not only for the rows of its own.
    pub(super) late: bool,
}

impl Written {
    /// Where orphans are not looked for.
    pub(super) fn ignored() -> Self {
        Written::default()
    }

    /// Collects the rows that are written to this table and may refer to others.
    pub(super) fn of(table: &TableSchema, was_empty: bool) -> Self {
        let columns = columns_of_references(table);
        let is_filled = |column: &&usize| table.columns[**column].default.is_some() || table.columns[**column].generated;
        Written {
            wanted: !table.foreign_keys.is_empty(),
            was_empty,
            defaults: columns.iter().filter(is_filled).copied().collect(),
            columns,
            has_unknown: false,
            rows: Rows::new(table.columns.len()),
            records: Vec::new(),
            waiting: None,
            received: Received::unknown(),
        }
    }

    /// Collects the records that have to wait, too, if any of the plan may. What comes has so many columns.
    pub(super) fn and_waiting(mut self, plan: &TablePlan) -> Self {
        self.waiting = may_wait(plan).then(|| (Rows::new(plan.targets.len()), Vec::new()));
        self
    }

    /// Adds a record that has to wait.
    pub(super) fn wait(&mut self, rows: &Rows, waits: Waits) {
        if let Some((waiting, all)) = &mut self.waiting {
            waiting.push_rows(rows, waits.record..waits.record + 1);
            all.push(waits);
        }
    }

    pub(super) fn may_wait(&self) -> bool {
        self.waiting.is_some()
    }

    /// The records that have to wait.
    pub(super) fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// One that collects rows for the same table, of other records; it takes the keys so far along.
    pub(super) fn of_same_table(&mut self) -> Self {
        Written {
            wanted: self.wanted,
            was_empty: self.was_empty,
            columns: self.columns.clone(),
            defaults: self.defaults.clone(),
            rows: Rows::new(self.rows.width()),
            waiting: self.waiting.as_ref().map(|(rows, _)| (Rows::new(rows.width()), Vec::new())),
            received: std::mem::take(&mut self.received),
            ..Written::default()
        }
    }

    /// Adds what another one collected, whose records have these positions here.
    pub(super) fn extend(&mut self, other: Written, records: &[usize]) {
        for (row, record) in other.records.iter().enumerate() {
            self.add(records[*record], &other.rows, row);
        }
        self.has_unknown |= other.has_unknown;
        self.received = other.received;
        if let (Some((rows, all)), Some((more, of))) = (&mut self.waiting, &other.waiting) {
            rows.push_rows(more, 0..more.len());
            all.extend(of.iter().map(|waits| Waits { record: records[waits.record], ..waits.clone() }));
        }
    }

    /// Whether rows were written whose references cannot be told.
    pub(super) fn has_unknown(&self) -> bool {
        self.has_unknown
    }

    pub(super) fn add(&mut self, record: usize, rows: &Rows, row: usize) {
        if self.wanted {
            self.rows.push_rows(rows, row..row + 1);
            self.records.push(record);
        }
    }

    /// The same for a row that was inserted under this key, as the database has it now: defaults and triggers count.
    pub(super) fn add_keyed(
        &mut self,
        tx: &mut Transaction,
        plan: &TablePlan,
        key: &[usize],
        record: usize,
        row: &Rows,
    ) -> Result<()> {
        if !self.wanted {
            return Ok(());
        }
        if let Some(values) = tx.find_by_key(&plan.table, key, &self.columns, row, 0)? {
            self.rows.start_row();
            self.columns.iter().zip(&values).for_each(|(column, value)| self.rows.set(*column, value.as_ref()));
            self.records.push(record);
        }
        Ok(())
    }

    /// The same for a row whose columns are all that is known of it: the database may have added defaults.
    pub(super) fn add_inserted(&mut self, record: usize, rows: &Rows, row: usize) {
        self.add(record, rows, row);
        self.has_unknown |= self.wanted && self.defaults.iter().any(|column| rows.get(row, *column).is_none());
    }
}

/// What rows refer to, for records that are identified by a key: as it is before they are applied, to be compared with how it is
/// afterwards.
pub(super) struct Before {
    key: Vec<usize>,
    /// The columns of foreign keys.
    columns: Vec<usize>,
    fitted: Fitted,
    found: Found,
}

impl Before {
    pub(super) fn look(tx: &mut Transaction, plan: &TablePlan, fitted: Fitted, written: &Written) -> Result<Self> {
        let key = match &plan.identity {
            Identity::Key { columns, .. } => columns.clone(),
            Identity::WholeRow => Vec::new(),
        };
        let columns = columns_of_references(&plan.table);
        let found = match written.was_empty {
            true => Found::default(),
            false => references_now(tx, plan, &key, &columns, &fitted)?,
        };
        Ok(Before { key, columns, fitted, found })
    }

    /// Adds the rows that were written since then; `first` is the position of the first record.
    pub(super) fn compare(&self, tx: &mut Transaction, plan: &TablePlan, first: usize, written: &mut Written) -> Result<()> {
        let now = references_now(tx, plan, &self.key, &self.columns, &self.fitted)?;
        for number in 0..self.fitted.rows.len() {
            let Some(values) = now.get(number).filter(|values| self.found.get(number).as_ref() != Some(values)) else {
                continue;
            };
            written.rows.start_row();
            self.columns.iter().zip(values).for_each(|(column, value)| written.rows.set(*column, value));
            written.records.push(first + number);
        }
        Ok(())
    }
}

/// The positions of the columns of all foreign keys of a table.
fn columns_of_references(table: &TableSchema) -> Vec<usize> {
    let names = table.foreign_keys.iter().flat_map(|reference| &reference.columns);
    let columns: BTreeSet<usize> = names.filter_map(|name| table.column_index(name)).collect();
    columns.into_iter().collect()
}

fn references_now(
    tx: &mut Transaction,
    plan: &TablePlan,
    key: &[usize],
    columns: &[usize],
    fitted: &Fitted,
) -> Result<Found> {
    let (by, read) = (names(&plan.table, key), names(&plan.table, columns));
    let collations = plan.table.key_collations_of(key);
    let lookup = Lookup { table: &plan.table.name, columns: &by, collations: &collations, cells: key, read: &read };
    let mut found = Found::default();
    tx.writer.lookup(&lookup, &fitted.rows, 0..fitted.rows.len(), &mut found)?;
    Ok(found)
}

/// Whether records of a table may have to wait: it has unique sets beside its key, or refers to others.
pub(super) fn may_wait(plan: &TablePlan) -> bool {
    let is_keyed = matches!(plan.identity, Identity::Key { .. });
    is_keyed && plan.strategy != Strategy::Append && (plan.has_unique_sets() || !plan.table.foreign_keys.is_empty())
}
