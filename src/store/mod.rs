//! Where a site keeps its tables and its sync state: the trait [`Store`], and what implements it.
//!
//! A store is asked for three things: a [`Snapshot`] to read tables from, a [`Writer`] to change them in one transaction,
//! and [`Sql`] over its own `rowferry_*` tables, so that the statements for sessions and settings are written once for all
//! stores. Everything is in plain domain types; a store knows nothing of sockets, JSON or peers.

use std::fmt::Debug;
use std::ops::Range;
use std::path::PathBuf;

use crate::domain::record::Tally;
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, Value};
use crate::error::Result;
use crate::plan::TablePlan;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod migrate;
pub(crate) mod records;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// The beginning of the names of rowferry's own tables. They are never offered to a peer and never taken from one.
pub const STATE_PREFIX: &str = "rowferry_";

/// Where a site keeps its tables and its sync state.
///
/// Every method may be called from any thread. A store never changes a table of the host's but through a [`Writer`].
///
/// Whoever implements this trait for another database: bring its state up to date when it is opened ([`migrate`]), and run
/// the suite of the feature `conformance` over it, which checks what is said here.
pub trait Store: Debug + Send + Sync {
    /// What to call the store in a message: the file's path, or the database's name without credentials.
    fn name(&self) -> String;

    /// Where the site's key is kept when the host gives none; `None` if the store has no place beside itself.
    fn key_path(&self) -> Option<PathBuf>;

    /// A consistent view of all tables as they are now: of all that was committed, and of nothing else. It stays as it is
    /// whatever others write, until dropped; it neither waits for a writer nor makes one wait.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Begins a write transaction. There is one at a time: it waits for other writers, those of [`Store::state`] included, for
    /// at most the store's time-out, and then sees all that they committed. Foreign keys are checked with each statement until
    /// [`Writer::defer_foreign_keys`] says otherwise.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) when the time-out passes; [`ReadOnly`](crate::ErrorKind::ReadOnly).
    fn writer(&self) -> Result<Box<dyn Writer>>;

    /// Runs `work` on the store's own state in one write transaction: all of it is kept when it returns `Ok`, nothing otherwise.
    ///
    /// # Errors
    /// Those of `work`, as they are, and those of [`Store::writer`].
    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;

    /// Runs `work`, which only reads the store's own state as it was committed last, without waiting for a writer. A statement
    /// that writes is an error.
    ///
    /// # Errors
    /// Those of `work`, as they are.
    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;

    /// Does what the store put off while many rows were written: called at the end of each pull. Nothing, unless a store
    /// says otherwise.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}

/// A consistent read view. Dropping it releases it.
pub trait Snapshot: Send {
    /// The names of the tables, sorted by their bytes; no views, virtual tables and their shadows, system tables or
    /// rowferry's own, stages included.
    fn tables(&mut self) -> Result<Vec<String>>;

    /// The structure of a table, found by its name as the store compares names; its own name in it is as it was made. `None`
    /// if [`Snapshot::tables`] has none such.
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>>;

    /// How many rows a table has. A table that is not there is an error.
    fn count(&mut self, table: &TableSchema) -> Result<u64>;

    /// Reads the rows behind `after` (from the first one if `None`), leaving out `skip` of them, into `rows`, which is
    /// cleared first. Rows come in the order of the key that [`key_of`](crate::plan::table::key_of) finds, those with NULL in
    /// it first; without a key, in an order that is the same for each page of a snapshot. At most `bounds.rows` rows, and no
    /// further row once `bounds.bytes` are reached: at least one if there is one. A row has the columns of `table`, in order,
    /// none of them absent.
    ///
    /// Pages that follow each other's cursors give each row once. `after` may come from another snapshot of the same store:
    /// then the rows come whose keys are behind it now. A table that is not there is an error.
    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd>;

    /// Reads the rows whose value in this column is among `keys`, in the order of that column, into `rows`, which is cleared
    /// first; `skip` of them are left out. Values are compared as the store compares them with the column, so that a number in
    /// a text may find a number. Gives whether there are more than the bounds let in. A table that is not there is an error.
    fn find(
        &mut self,
        table: &TableSchema,
        column: usize,
        keys: &Keys<'_>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<bool>;

    /// How many bytes the store keeps back because of this snapshot (SQLite: the size of the write-ahead log).
    fn pinned_bytes(&self) -> u64;
}

/// Which values of a column are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keys<'k> {
    /// These.
    These(&'k [Value]),
    /// All from the first to the second, both included; none is no bound.
    Between(Option<&'k Value>, Option<&'k Value>),
}

/// Where a page is cut. Both bounds are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageBounds {
    /// Most rows.
    pub rows: usize,
    /// The number of bytes of values after which no further row is taken.
    pub bytes: usize,
}

/// The place behind a row: what [`Snapshot::page`] goes on from. Made by a store, understood only by the same kind of store.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// Which run of the order the row is in (SQLite: rows with NULL in the key, or those without).
    pub run: u8,
    /// The values that the order is by.
    pub values: Vec<Value>,
}

/// How a page ended.
#[derive(Debug, Clone, PartialEq)]
pub struct PageEnd {
    /// The place behind the last row; `None` if the page is empty.
    pub cursor: Option<Cursor>,
    /// Whether there are rows behind it.
    pub more: bool,
}

/// One write transaction. It sees what it has written; nobody else does before [`Writer::commit`]. Dropped without one,
/// everything is undone: rows, tables, stages, keys, counts and state.
///
/// When a method gives an error, what it was to do may be done in part: [`Writer::undo`] it, or drop the writer.
pub trait Writer {
    /// The structure of a table as this transaction sees it: see [`Snapshot::schema`].
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>>;

    /// How many rows a table has, as this transaction sees it. A table that is not there is an error.
    fn count(&mut self, table: &TableSchema) -> Result<u64>;

    /// Makes a table of this structure: names and types only, quoted; nothing of the structure is run as SQL. The structure
    /// has been through [`plan::create`](crate::plan::create), so that what cannot be made is no longer in it. It reads back
    /// the same, but for declared types and names of indexes, which are the store's own affair. Parents of foreign keys may be
    /// made later in the same transaction.
    ///
    /// # Errors
    /// What the database says, for example that the table exists.
    fn create_table(&mut self, table: &TableSchema) -> Result<()>;

    /// Applies the records of `range` whose identity is a key without NULL in it, in their order, each with exactly one
    /// outcome, which is added to `outcome`. What a strategy does is said by [`plan::decide`](crate::plan::decide); a key that
    /// comes twice meets the second time the row of the first. A new row takes the column's default for a value that the
    /// record lacks.
    ///
    /// A record that fails takes no other one with it and leaves its row as it was. It fails when a constraint refuses it, when
    /// it lacks its key ([`MissingKey`](crate::Reason::MissingKey)), when a column cannot hold a value
    /// ([`ValueWouldChange`](crate::Reason::ValueWouldChange), [`ValueOutOfRange`](crate::Reason::ValueOutOfRange),
    /// [`WrongType`](crate::Reason::WrongType)) - a column may store a number in its own class for numbers, and changes
    /// nothing else - and when a column [follows](crate::plan::TablePlan::follows) a parent that was not appended in `scope`
    /// ([`ForeignKey`](crate::Reason::ForeignKey)).
    fn apply(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()>;

    /// Prepares for [`Writer::apply_whole`]: counts the local rows of a table without a key (or, where the plan has one, those
    /// with NULL in it) by their content. The counts hold for the scope, over transactions; counting again begins anew.
    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()>;

    /// Applies the records of `range` whose identity is their whole content: as many equal rows as the sender has will be
    /// there, and none is taken away. Each local row that was counted stands for one record; it is then skipped, or unchanged
    /// under overwrite and merge. Equal is what has the same storage classes and bytes. Failures are as with
    /// [`Writer::apply`].
    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()>;

    /// Makes a stage: a table of rowferry's own for rows that cannot be applied as they come. Once committed it is there for
    /// later transactions, until its scope ends.
    fn stage_create(&mut self, stage: &Stage) -> Result<()>;

    /// Adds the rows of `range` to a stage. It keeps every value of every storage class as it is, and which are absent.
    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()>;

    /// Reads staged rows behind the row number `after` into `rows`, and their numbers into `numbers`, both cleared first.
    /// Numbers are larger than 0 and grow in the order in which the rows were added, so that `number - 1` is behind all rows
    /// before that one. Both are empty at the end. Bounds are as with [`Snapshot::page`].
    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()>;

    /// Takes rows out of a stage; numbers that it does not have are ignored.
    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()>;

    /// The numbers of staged rows whose local row now refers to a parent that does not exist, each once, with the position of
    /// a broken foreign key in the local table. At most `limit`. The rows have been applied by this plan in the stage's scope;
    /// those that were appended with a key have it from [`Writer::append_keys`], or their plan has `remember_keys`.
    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>>;

    /// Appends the records of `range` with new keys, following the keys of parents that were appended in the same `scope`, in
    /// this transaction or an earlier one. Where `keys` is [`AppendKeys::Known`], [`Writer::append_keys`] has given each record
    /// its key before.
    ///
    /// A record gets a key so: an integer key is the next one, larger than any that is there; a
    /// UUID is a new one of version 7; parts that are foreign keys follow their parents; any other key is kept if it is free,
    /// and else the record fails ([`NoNewKey`](crate::Reason::NoNewKey)). A record whose values another unique set already has
    /// is that row: it is skipped, and what refers to it follows to that row. A record without a key is a new row each time.
    /// Other failures are as with [`Writer::apply`].
    fn append(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        keys: AppendKeys,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()>;

    /// Gives each record its new key and remembers it, without writing a row: the first half of an append, for tables that
    /// refer to each other. It does so whether or not the plan has `remember_keys`. A record that can get no key is left for
    /// [`Writer::append`] to report.
    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()>;

    /// Forgets the keys and counts of a scope, and drops its stages. A scope that has none is no error.
    fn end_scope(&mut self, scope: &Scope) -> Result<()>;

    /// Puts the checks of foreign keys off until the commit, whatever the constraints say, or ends that. It ends with the
    /// transaction, too. Within one it may be ended only when all references are whole ([`Writer::orphans`] finds none): a
    /// store may not find later what was broken then.
    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()>;

    /// Marks the place that [`Writer::undo`] goes back to. There is one mark: a new one replaces it.
    fn mark(&mut self) -> Result<()>;

    /// Undoes everything since [`Writer::mark`], and takes the mark away: without one it is an error. The transaction goes on.
    fn undo(&mut self) -> Result<()>;

    /// rowferry's own tables, within this transaction.
    fn state(&mut self) -> &mut dyn Sql;

    /// Keeps everything; nothing can be written after it.
    ///
    /// # Errors
    /// [`ForeignKey`](crate::ErrorKind::ForeignKey) when deferred checks fail: then nothing is kept yet, and the transaction is
    /// still open, so that [`Writer::orphans`] can name the rows and [`Writer::undo`] take them back. A later commit may succeed.
    fn commit(&mut self) -> Result<()>;
}

/// Whether an append makes keys as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendKeys {
    /// Each record gets its key as it is written.
    Make,
    /// The keys were made before, by [`Writer::append_keys`].
    Known,
}

/// What one pull keeps for itself while it runs: stages, new keys, counts. Two pulls into one database have two scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(String);

impl Scope {
    /// A scope of its own.
    pub fn new() -> Self {
        Scope(uuid::Uuid::now_v7().simple().to_string())
    }

    /// A scope that was written down before.
    pub(crate) fn named(name: String) -> Self {
        Scope(name)
    }

    /// Its name: letters and digits only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Scope {
    fn default() -> Self {
        Scope::new()
    }
}

/// A stage: a table of rowferry's own that rows lie in until they can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The pull that it belongs to.
    pub scope: Scope,
    /// Its number within the pull.
    pub number: u32,
    /// How many columns its rows have.
    pub width: usize,
}

/// Statements over rowferry's own tables, in the SQL that all stores share: parameters are `?1`, `?2`, ...; texts and
/// integers; `ON CONFLICT` upserts; no functions of one store.
pub trait Sql {
    /// Runs a statement; gives the number of rows that it inserted, changed or deleted.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize>;

    /// Runs a query; gives all its rows. For small answers only.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>>;
}
