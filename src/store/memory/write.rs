//! One write transaction: a copy of the tables that takes their place at the commit, and one over rowferry's own tables.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::rows::{Data, no_nan};
use super::state::Working;
use super::table::is_nan;
use super::{Shared, make, read, rows};
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, Lookup, Misfit, NewTable, PageBounds, PageEnd, Refused, Sql, Target, Writer,
};

/// A write transaction.
pub(super) struct MemoryWriter {
    shared: Arc<Shared>,
    state: Working,
    data: Data,
    /// What [`Writer::rollback_to`] goes back to.
    savepoint: Option<Data>,
    check: Check,
}

impl MemoryWriter {
    /// Begins a transaction, once all others are over.
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let state = shared.state.begin()?;
        let data = Data { tables: (*shared.committed()).clone(), unchecked: BTreeSet::new() };
        Ok(MemoryWriter { shared: Arc::clone(shared), state, data, savepoint: None, check: Check::Now })
    }

    /// Does something in the state alone, and commits it.
    pub(super) fn keep_state(mut self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        work(&mut self.state)?;
        self.commit()
    }

    /// What it changes; an error after the commit.
    fn data(&mut self) -> Result<&mut Data> {
        self.state.connection()?;
        Ok(&mut self.data)
    }
}

impl Writer for MemoryWriter {
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        Ok(self.data()?.tables.get(table).map(|table| (*table.schema).clone()))
    }

    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        make::create(&mut self.data()?.tables, table)
    }

    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd> {
        read::page(&self.data()?.tables, table, after, 0, bounds, rows)
    }

    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()> {
        fitted.rows.clear(plan.table.columns.len());
        fitted.misfits.clear();
        for (number, row) in range.enumerate() {
            fitted.rows.start_row();
            for (incoming, target) in plan.targets.iter().enumerate() {
                let (Some(column), Some(value)) = (*target, rows.get(row, incoming)) else { continue };
                fitted.rows.set(column, value);
                if is_nan(value) {
                    let message = no_nan(&plan.table.columns[column].name);
                    fitted.misfits.push(Misfit { row: number, column, reason: Reason::ValueOutOfRange, message });
                }
            }
        }
        Ok(())
    }

    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()> {
        found.clear(lookup.read.len());
        let table = self.data()?.tables.get(lookup.table);
        let positions = |names: &[&str]| -> Option<Vec<usize>> {
            names.iter().map(|name| table.and_then(|table| table.schema.column_index(name))).collect()
        };
        let (Some(table), Some(columns), Some(read)) = (table, positions(lookup.columns), positions(lookup.read)) else {
            range.for_each(|_| found.add_none());
            return Ok(());
        };
        for row in range {
            let values: Option<Vec<ValueRef<'_>>> = lookup.cells.iter().map(|cell| rows.get(row, *cell)).collect();
            let first = values.and_then(|values| table.matching(&columns, &values).into_iter().next());
            match first.and_then(|id| table.row(id)) {
                Some(row) => found.add(read.iter().map(|at| row[*at].as_ref())),
                None => found.add_none(),
            }
        }
        Ok(())
    }

    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let check = self.check;
        rows::write(self.data()?, check, table, change, (rows, range), refused)
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        let found = self.data()?.tables.table(&table.name)?;
        let missing = || Error::new(ErrorKind::SchemaMismatch, format!("table {:?} has no such column", table.name));
        let position = *found.positions(table)?.get(column).ok_or_else(missing)?;
        Ok(found.largest(position))
    }

    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool> {
        let data = self.data()?;
        if when == Check::ByCaller {
            for target in tables {
                if data.depends_on_checks(target)? {
                    return Ok(false);
                }
            }
        }
        self.check = when;
        Ok(true)
    }

    fn savepoint(&mut self) -> Result<()> {
        self.state.savepoint()?;
        self.savepoint = Some(self.data.clone());
        Ok(())
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.state.rollback_to()?;
        // There is one where the state has one.
        if let Some(data) = self.savepoint.take() {
            self.data = data;
        }
        Ok(())
    }

    fn state(&mut self) -> &mut dyn Sql {
        &mut self.state
    }

    fn commit(&mut self) -> Result<()> {
        self.data()?.check_all()?;
        let (shared, tables) = (&self.shared, &mut self.data.tables);
        shared.state.commit(&mut self.state, || shared.publish(std::mem::take(tables)))
    }
}
