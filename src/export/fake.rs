//! A store made of vectors: the model that paging and digests are tested against.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::domain::names::NameRules;
use crate::domain::schema::{Column, TableSchema};
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Cursor, Keys, PageBounds, PageEnd, Snapshot, Sql, Store, Writer};

/// A table without a key.
pub(crate) fn table(name: &str, columns: &[&str]) -> TableSchema {
    let column = |name: &&str| Column { name: (*name).to_owned(), nullable: true, ..Column::default() };
    TableSchema { name: name.to_owned(), columns: columns.iter().map(column).collect(), ..TableSchema::default() }
}

type Tables = Vec<(TableSchema, Vec<Vec<Value>>)>;

/// A store that only reads. A cursor is the number of rows before it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeStore {
    pub(crate) tables: Arc<Mutex<Tables>>,
    pub(crate) pinned_bytes: Arc<AtomicU64>,
}

impl FakeStore {
    pub(crate) fn of(tables: Tables) -> Self {
        FakeStore { tables: Arc::new(Mutex::new(tables)), pinned_bytes: Arc::default() }
    }
}

impl Store for FakeStore {
    fn name(&self) -> String {
        "vectors".into()
    }

    fn names(&self) -> NameRules {
        NameRules::IgnoreAsciiCase
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let tables = self.tables.lock().unwrap().clone();
        Ok(Box::new(FakeSnapshot { tables, pinned_bytes: Arc::clone(&self.pinned_bytes) }))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Err(Error::new(ErrorKind::ReadOnly, "vectors are not written"))
    }

    fn state(&self, _: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        Err(Error::new(ErrorKind::ReadOnly, "vectors have no state"))
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.state(work)
    }
}

pub(crate) struct FakeSnapshot {
    tables: Tables,
    pinned_bytes: Arc<AtomicU64>,
}

impl FakeSnapshot {
    pub(crate) fn new(schema: TableSchema, rows: Vec<Vec<Value>>) -> Self {
        FakeSnapshot { tables: vec![(schema, rows)], pinned_bytes: Arc::default() }
    }
}

impl Snapshot for FakeSnapshot {
    fn tables(&mut self) -> Result<Vec<String>> {
        Ok(self.tables.iter().map(|(schema, _)| schema.name.clone()).collect())
    }

    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>> {
        let found = self.tables.iter().find(|(schema, _)| schema.names.same(&schema.name, table));
        Ok(found.map(|(schema, _)| schema.clone()))
    }

    fn count(&mut self, table: &TableSchema) -> Result<u64> {
        Ok(self.rows(table).len() as u64)
    }

    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd> {
        rows.clear(table.columns.len());
        let all = self.rows(table);
        let after = after.map_or(0, |cursor| cursor.values[0].as_integer().unwrap() as usize);
        let begin = all.len().min(after.saturating_add(skip as usize));
        let mut bytes = 0;
        for row in all[begin..].iter().take(bounds.rows) {
            if bytes >= bounds.bytes && !rows.is_empty() {
                break;
            }
            rows.push(row.iter().map(Value::as_ref));
            bytes += row.iter().map(|value| value.as_str().map_or(8, str::len)).sum::<usize>();
        }
        let end = begin + rows.len();
        let cursor = Cursor { run: 0, values: vec![Value::Integer(end as i64)] };
        Ok(PageEnd { cursor: (!rows.is_empty()).then_some(cursor), more: end < all.len() })
    }

    fn find(
        &mut self,
        table: &TableSchema,
        column: usize,
        keys: &Keys<'_>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<bool> {
        rows.clear(table.columns.len());
        let number = |value: &Value| value.as_integer().unwrap_or(0);
        let wanted = |row: &&Vec<Value>| match keys {
            Keys::These(these) => these.contains(&row[column]),
            Keys::Between(from, to) => {
                let at = number(&row[column]);
                from.is_none_or(|from| at >= number(from)) && to.is_none_or(|to| at <= number(to))
            }
        };
        let mut found: Vec<_> = self.rows(table).iter().filter(wanted).collect();
        found.sort_by_key(|row| number(&row[column]));
        let found: Vec<_> = found.into_iter().skip(skip as usize).collect();
        found.iter().take(bounds.rows).for_each(|row| rows.push(row.iter().map(Value::as_ref)));
        Ok(found.len() > bounds.rows)
    }

    fn pinned_bytes(&self) -> u64 {
        self.pinned_bytes.load(Ordering::SeqCst)
    }
}

impl FakeSnapshot {
    fn rows(&self, table: &TableSchema) -> &[Vec<Value>] {
        &self.tables.iter().find(|(schema, _)| schema.name == table.name).unwrap().1
    }
}
