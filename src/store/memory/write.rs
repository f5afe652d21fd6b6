//! One write transaction: a copy of the tables that takes their place at the commit, and one over rowferry's own tables.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::rows::{Data, no_nan};
use super::state::Working;
use super::table::is_nan;
use super::{Shared, make, read, rows};
use crate::domain::cells::whole;
use crate::domain::collation::Collation;
use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::TablePlan;
use crate::store::{
    Change, Check, Cursor, Fitted, Found, KeyColumns, Lookup, Misfit, NewTable, PageBounds, PageEnd, Referring, Refused,
    Sets, Sql, Target, Writer,
};

/// A write transaction.
pub(super) struct MemoryWriter {
    shared: Arc<Shared>,
    state: Working,
    data: Data,
    /// What [`Writer::rollback_to`] goes back to, the innermost last.
    savepoints: Vec<Data>,
    check: Check,
}

impl MemoryWriter {
    /// Begins a transaction, once all others are over.
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let state = shared.state.begin()?;
        let data = Data { tables: (*shared.committed()).clone(), unchecked: BTreeSet::new() };
        Ok(MemoryWriter { shared: Arc::clone(shared), state, data, savepoints: Vec::new(), check: Check::Now })
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
        let by = Collation::all(lookup.collations, columns.len())?;
        for row in range {
            let values: Option<Vec<ValueRef<'_>>> = lookup.cells.iter().map(|cell| rows.get(row, *cell)).collect();
            let first = values.and_then(|values| table.matching_by(&columns, &by, &values).into_iter().next());
            match first.and_then(|id| table.row(id)) {
                Some(row) => found.add(read.iter().map(|at| row[*at].as_ref())),
                None => found.add_none(),
            }
        }
        Ok(())
    }

    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()> {
        let collations = Collation::all(&columns.table.key_collations_of(columns.columns), cells.len())?;
        to.clear(cells.len());
        for row in range {
            to.start_row();
            for (at, (cell, collation)) in cells.iter().zip(&collations).enumerate() {
                if let Some(value) = rows.get(row, *cell) {
                    to.set(at, whole(collation.fold(value).as_ref()));
                }
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

    fn delete(
        &mut self,
        table: &TableSchema,
        columns: &[usize],
        rows: &Rows,
        row: usize,
        _: &mut Vec<Refused>,
    ) -> Result<bool> {
        rows::delete(self.data()?, table, columns, (rows, row))
    }

    fn clashes(
        &mut self,
        table: &TableSchema,
        key: &[usize],
        _: Sets,
        rows: &Rows,
        row: usize,
        found: &mut Rows,
    ) -> Result<()> {
        found.clear(key.len());
        let local = self.data()?.tables.table(&table.name)?;
        let positions = local.positions(table)?;
        let whole = rows::whole(local, &positions, rows, row);
        let by = Collation::all(&table.key_collations_of(key), key.len())?;
        let key: Vec<usize> = key.iter().map(|at| positions[*at]).collect();
        let own: Vec<ValueRef<'_>> = key.iter().map(|at| whole[*at].as_ref()).collect();
        let own = local.matching_by(&key, &by, &own);
        // All sets are full here.
        for id in local.conflicts(&whole, None).into_iter().filter(|id| !own.contains(id)) {
            if let Some(row) = local.row(id) {
                found.push(key.iter().map(|at| row[*at].as_ref()));
            }
        }
        Ok(())
    }

    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>> {
        Ok(self.data()?.tables.referring(&table.name))
    }

    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64> {
        let found = self.data()?.tables.table(&table.name)?;
        let missing = || Error::new(ErrorKind::SchemaMismatch, format!("table {:?} has no such column", table.name));
        let position = *found.positions(table)?.get(column).ok_or_else(missing)?;
        Ok(found.largest(position))
    }

    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        rows::write(self.data()?, Check::ByCaller, table, change, (rows, row..row + 1), refused)
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
        self.savepoints.push(self.data.clone());
        Ok(())
    }

    fn rollback_to(&mut self) -> Result<()> {
        self.state.rollback_to()?;
        // There is one where the state has one.
        if let Some(data) = self.savepoints.pop() {
            self.data = data;
        }
        Ok(())
    }

    fn release(&mut self) -> Result<()> {
        self.state.release()?;
        self.savepoints.pop();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::strategy::Strategy;
    use crate::domain::value::Value;
    use crate::plan::table::{ExtraColumns, plan_table};
    use crate::store::Store;
    use crate::store::memory::tests::{owned, put, rows, seen, store, table};

    const SET: &str = "INSERT INTO rowferry_settings (key, value) VALUES (?1, ?2) \
                       ON CONFLICT (key) DO UPDATE SET value = excluded.value";

    #[test]
    fn rows_tables_and_state_go_back_to_the_savepoint_together() {
        let (users, posts) = (table("users", "id!", "id"), table("posts", "id!", "id"));
        let store = store(&[&users]);
        let mut writer = store.writer().unwrap();
        assert!(writer.rollback_to().is_err());
        put(&mut *writer, &users, Change::Insert, &rows([[1.into()]]));
        writer.savepoint().unwrap();
        put(&mut *writer, &users, Change::Insert, &rows([[2.into()]]));
        writer.state().execute(SET, &["a".into(), "undone".into()]).unwrap();
        writer.create_table(&NewTable { schema: &posts, exact: true, parents: &|_| None }).unwrap();
        writer.rollback_to().unwrap();
        assert!(writer.rollback_to().is_err());
        writer.state().execute(SET, &["b".into(), "kept".into()]).unwrap();
        assert_eq!((seen(&mut *writer, &users), writer.schema("posts").unwrap()), (vec![vec![1.into()]], None));
        let mut before = store.snapshot().unwrap();
        writer.commit().unwrap();
        assert_eq!((before.count(&users).unwrap(), store.snapshot().unwrap().count(&users).unwrap()), (0, 1));
        let read = store.read_state(&mut |sql| {
            assert_eq!(sql.query("SELECT key FROM rowferry_settings WHERE key IN ('a', 'b')", &[])?, [["b".into()]]);
            Ok(())
        });
        read.unwrap();
    }

    #[test]
    fn a_closure_that_fails_keeps_nothing() {
        let store = store(&[]);
        let failed = store.state(&mut |sql| {
            sql.execute(SET, &["a".into(), "1".into()])?;
            Err(Error::new(ErrorKind::CodeUsed, "the work says no"))
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::CodeUsed);
        let found = |sql: &mut dyn Sql| sql.query("SELECT key FROM rowferry_settings", &[]);
        let mut look = |sql: &mut dyn Sql| {
            assert!(found(sql)?.is_empty());
            Ok(())
        };
        store.read_state(&mut look).unwrap();
        store.state(&mut look).unwrap();
    }

    #[test]
    fn values_are_kept_as_they_come_but_for_nan() {
        let any = table("any", "id! value", "id");
        let store = store(&[&any]);
        let mut writer = store.writer().unwrap();
        let any = writer.schema("ANY").unwrap().unwrap();
        // The columns come in another order.
        let sender = table("any", "value id!", "id");
        let plan = plan_table(&sender, &any, Strategy::Skip, ExtraColumns::Refuse).unwrap();
        let values =
            [Value::Null, (-0.0).into(), "007".into(), Value::Blob(vec![]), Value::Text(vec![0xff]), f64::NAN.into()];
        let given = rows(values.iter().enumerate().map(|(id, value)| [value.clone(), (id as i64).into()]));
        let mut fitted = Fitted::default();
        writer.fit(&plan, &given, 0..values.len(), &mut fitted).unwrap();
        let misfits: Vec<_> = fitted.misfits.iter().map(|misfit| (misfit.row, misfit.column, misfit.reason)).collect();
        assert_eq!(misfits, [(5, 1, Reason::ValueOutOfRange)]);
        let mut refused = Vec::new();
        writer.write(&any, Change::Insert, &fitted.rows, 0..6, &mut refused).unwrap();
        assert_eq!(refused.len(), 1);
        let kept = seen(&mut *writer, &any);
        assert!(kept.iter().zip(&values).all(|(row, value)| row[1].as_ref().same(value.as_ref())), "{kept:?}");
        assert_eq!((kept.len(), writer.last_integer(&any, 0).unwrap(), writer.last_integer(&any, 1).unwrap()), (5, 4, 0));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let users = table("users", "id! name", "id");
        let store = store(&[&users]);
        let mut writer = store.writer().unwrap();
        put(&mut *writer, &users, Change::Insert, &rows([[1.into(), "a".into()], [2.into(), "a".into()]]));
        let asked = rows([["a".into(), 1.0.into()], ["b".into(), Value::Null], ["a".into(), 3.into()]]);
        let mut look = |table: &str, columns: &[&str], cells: &[usize], read: &[&str]| {
            let lookup = Lookup { table, columns, collations: &[], cells, read };
            let mut found = Found::default();
            writer.lookup(&lookup, &asked, 0..3, &mut found).unwrap();
            let of = |row| found.get(row).map(|values| values.into_iter().map(ValueRef::to_owned).collect::<Vec<_>>());
            [of(0), of(1), of(2)]
        };
        assert_eq!(look("USERS", &["ID"], &[1], &["name", "id"]), [Some(vec!["a".into(), 1.into()]), None, None]);
        assert_eq!(look("users", &["name"], &[0], &["id"]), [Some(vec![1.into()]), None, Some(vec![1.into()])]);
        assert_eq!(look("users", &["name", "id"], &[0, 1], &[]), [Some(vec![]), None, None]);
        for (table, column, read) in [("gone", "id", "id"), ("users", "gone", "id"), ("users", "id", "gone")] {
            assert_eq!(look(table, &[column], &[1], &[read]), [None, None, None]);
        }
        let subset = table("users", "name", "");
        let mut page = Rows::default();
        writer.page(&subset, None, PageBounds { rows: 9, bytes: 9_000 }, &mut page).unwrap();
        assert_eq!(owned(&page), [["a".into()], ["a".into()]]);
    }
}
