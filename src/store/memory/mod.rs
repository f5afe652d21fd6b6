//! A store in memory: for tests, for tools that keep nothing, and as the plainest example of a [`Store`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::domain::names::NameRules;
use crate::error::Result;
use crate::limits::Limits;
use crate::store::{Snapshot, Sql, Store, Writer, migrate};

mod make;
mod read;
mod references;
mod rows;
mod state;
mod table;
mod turn;
mod write;

/// A store in memory. It begins empty, and all of it is gone when it is dropped.
///
/// A column keeps each value as it comes, whatever its type says; only NaN is refused. Texts are compared byte for byte, but in a
/// primary key as it [says](crate::schema::TableSchema::key_collations). A transaction copies the tables that it writes to, so that it is for tables of a modest size.
pub struct MemoryStore(Arc<Shared>);

/// What a store and its writers share.
struct Shared {
    committed: Mutex<Arc<table::Tables>>,
    state: state::State,
}

impl Shared {
    /// The tables as they were committed last.
    fn committed(&self) -> Arc<table::Tables> {
        // Nothing can fail while the mutex is held, so that what it guards is whole.
        Arc::clone(&self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, tables: table::Tables) {
        let old = std::mem::replace(&mut *self.committed.lock().unwrap_or_else(PoisonError::into_inner), Arc::new(tables));
        // The end of large tables takes a while: nobody has to wait for it.
        drop(old);
    }
}

impl MemoryStore {
    /// An empty store with the default limits.
    ///
    /// # Errors
    /// What SQLite says, which keeps rowferry's own tables in memory as well: there may be too little of it.
    pub fn new() -> Result<Self> {
        MemoryStore::open(&Limits::default())
    }

    /// An empty store. Of the limits it takes [`StoreLimits::busy_timeout`](crate::StoreLimits::busy_timeout): for how long a writer waits for another one.
    ///
    /// # Errors
    /// Those of [`MemoryStore::new`].
    pub fn open(limits: &Limits) -> Result<Self> {
        let state = state::State::open(limits.store.busy_timeout)?;
        let store = MemoryStore(Arc::new(Shared { committed: Mutex::default(), state }));
        migrate::store(&store, migrate::SQLITE, SystemClock.now())?;
        Ok(store)
    }
}

/// Says nothing of what is in it.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

impl Store for MemoryStore {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn names(&self) -> NameRules {
        table::NAMES
    }

    fn undoes(&self) -> bool {
        true
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(read::MemorySnapshot(self.0.committed())))
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(write::MemoryWriter::begin(&self.0)?))
    }

    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        write::MemoryWriter::begin(&self.0)?.keep_state(work)
    }

    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()> {
        self.0.state.read(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, ForeignKey, LogicalType, TableSchema};
    use crate::domain::strategy::Strategy;
    use crate::domain::value::{Records, Rows, Value, ValueRef};
    use crate::error::ErrorKind;
    use crate::pull::PullOptions;
    use crate::secret::SiteKey;
    use crate::site::Site;
    use crate::store::{Change, NewTable, PageBounds, Refused, conformance};

    /// A table with these columns, `!` for NOT NULL.
    pub(super) fn table(name: &str, columns: &str, key: &str) -> TableSchema {
        let column = |word: &str| Column {
            name: word.trim_end_matches('!').into(),
            nullable: !word.ends_with('!'),
            logical: LogicalType::Any,
            ..Column::default()
        };
        TableSchema {
            name: name.into(),
            columns: columns.split_whitespace().map(column).collect(),
            primary_key: key.split_whitespace().map(String::from).collect(),
            ..TableSchema::default()
        }
    }

    pub(super) fn reference(column: &str, parent: &str, parent_column: &str) -> ForeignKey {
        ForeignKey {
            columns: vec![column.into()],
            parent: parent.into(),
            parent_columns: vec![parent_column.into()],
            ..ForeignKey::default()
        }
    }

    /// A store with these tables.
    pub(super) fn store(tables: &[&TableSchema]) -> MemoryStore {
        let limits = Limits::with(|limits| limits.store.busy_timeout = std::time::Duration::from_millis(20));
        let store = MemoryStore::open(&limits).unwrap();
        let mut writer = store.writer().unwrap();
        for schema in tables {
            let notes = writer.create_table(&NewTable { schema, exact: true, parents: &|_| None }).unwrap();
            assert_eq!(notes, Vec::<String>::new());
        }
        writer.commit().unwrap();
        store
    }

    pub(super) fn rows<const N: usize>(values: impl IntoIterator<Item = [Value; N]>) -> Rows {
        let mut rows = Rows::new(N);
        values.into_iter().for_each(|row| rows.push(row.iter().map(Value::as_ref)));
        rows
    }

    pub(super) fn put(writer: &mut dyn Writer, table: &TableSchema, change: Change<'_>, rows: &Rows) -> Vec<Refused> {
        let mut refused = Vec::new();
        writer.write(table, change, rows, 0..rows.len(), &mut refused).unwrap();
        refused
    }

    pub(super) fn owned(rows: &Rows) -> Vec<Vec<Value>> {
        (0..rows.len()).map(|row| rows.row(row).map(|value| value.unwrap().to_owned()).collect()).collect()
    }

    /// All rows of a table as a transaction sees them.
    pub(super) fn seen(writer: &mut dyn Writer, table: &TableSchema) -> Vec<Vec<Value>> {
        let mut rows = Rows::default();
        writer.page(table, None, PageBounds { rows: 1_000, bytes: 1 << 20 }, &mut rows).unwrap();
        owned(&rows)
    }

    fn count(store: &MemoryStore, table: &TableSchema) -> u64 {
        store.snapshot().unwrap().count(table).unwrap()
    }

    #[test]
    fn keeps_the_contract_of_a_store() {
        conformance::run(&mut || Arc::new(MemoryStore::new().unwrap()));
    }

    #[test]
    fn its_state_is_up_to_date() {
        let store = MemoryStore::new().unwrap();
        assert_eq!((store.name().as_str(), format!("{store:?}").as_str()), ("memory", "MemoryStore"));
        let newest = i64::from(migrate::SQLITE.scripts.last().unwrap().version);
        let version = |sql: &mut dyn Sql| sql.query("SELECT max(version) FROM rowferry_migrations", &[]);
        let mut look = |sql: &mut dyn Sql| {
            assert_eq!(version(sql)?, [[Value::Integer(newest)]]);
            Ok(())
        };
        store.read_state(&mut look).unwrap();
        store.state(&mut look).unwrap();
    }

    #[test]
    fn two_threads_write_in_turn_and_one_is_told_when_it_waits_too_long() {
        let users = table("users", "id!", "id");
        let store = store(&[&users]);
        let mut writer = store.writer().unwrap();
        put(&mut *writer, &users, Change::Insert, &rows([[1.into()]]));
        std::thread::scope(|threads| {
            let other = threads.spawn(|| store.writer().err().map(|error| error.kind()));
            assert_eq!(other.join().unwrap(), Some(ErrorKind::Locked));
            // A look needs no turn.
            assert_eq!(threads.spawn(|| count(&store, &users)).join().unwrap(), 0);
            assert!(threads.spawn(|| store.read_state(&mut |_| Ok(()))).join().unwrap().is_ok());
        });
        writer.commit().unwrap();
        // Its turn is over with the commit, and it can do nothing more.
        let mut next = store.writer().unwrap();
        assert!(writer.write(&users, Change::Insert, &rows([[2.into()]]), 0..1, &mut Vec::new()).is_err());
        assert!(writer.commit().is_err() && writer.savepoint().is_err());
        drop(writer);
        put(&mut *next, &users, Change::Insert, &rows([[3.into()]]));
        drop(next);
        assert_eq!(count(&store, &users), 1);
    }

    #[test]
    fn a_site_imports_into_it_with_each_strategy() {
        for keyed in [true, false] {
            for strategy in Strategy::ALL.iter().copied() {
                let site =
                    Site::builder().key(SiteKey::generate().unwrap()).with_store(Arc::new(MemoryStore::new().unwrap()));
                let mut users = table("users", "id! name", if keyed { "id" } else { "" });
                users.columns[0].declared_type = "INTEGER".into();
                users.rowid_alias = keyed;
                assert_eq!(site.create_table(&users).unwrap(), Vec::<String>::new());
                let import = |rows: [(i64, Option<&str>); 2]| {
                    let mut records = Records::new(["id", "name"]);
                    rows.into_iter().for_each(|(id, name)| records.push([Value::from(id), name.into()]));
                    let options = PullOptions::new().strategy(strategy);
                    site.import_records("users", &records, options).unwrap().outcome
                };
                let first = import([(1, Some("a")), (2, Some("b"))]);
                assert_eq!((first.created, first.failed), (2, 0), "{strategy:?}");
                let second = import([(1, None), (2, Some("B"))]);
                assert_eq!(second.failed, 0, "{strategy:?}");
                let all = site.export_records("users", 0, 10).unwrap().rows;
                let names: Vec<_> = (0..all.len()).map(|row| all.get(row, 1).and_then(ValueRef::as_str)).collect();
                let expected: &[Option<&str>] = match (keyed, strategy) {
                    (true, Strategy::Skip) => &[Some("a"), Some("b")],
                    (true, Strategy::Overwrite) => &[None, Some("B")],
                    (true, Strategy::Merge) => &[Some("a"), Some("B")],
                    (true, Strategy::Append) | (false, _) => &[Some("a"), Some("b"), None, Some("B")],
                };
                assert_eq!(names, expected, "{strategy:?}");
            }
        }
    }

    #[test]
    fn a_site_imports_tables_that_refer_to_each_other() {
        let site = Site::builder().with_store(Arc::new(MemoryStore::new().unwrap()));
        let mut node = table("node", "id! up", "id");
        node.foreign_keys = vec![reference("up", "node", "id")];
        site.create_table(&node).unwrap();
        let mut records = Records::new(["id", "up"]);
        // The second row's parent comes later; the third one's never.
        for (id, up) in [(1, None), (2, Some(4)), (3, Some(9)), (4, Some(1)), (5, Some(3))] {
            records.push([Value::from(id), up.into()]);
        }
        let report = site.import_records("node", &records, PullOptions::new().strategy(Strategy::Overwrite)).unwrap();
        assert_eq!((report.outcome.created, report.outcome.failed), (3, 2), "{:?}", report.outcome);
        let all = site.export_records("node", 0, 10).unwrap().rows;
        assert_eq!(owned(&all), [[1.into(), Value::Null], [2.into(), 4.into()], [4.into(), 1.into()]]);
    }
}
