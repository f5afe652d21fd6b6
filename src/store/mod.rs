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

pub mod migrate;
pub(crate) mod records;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// The beginning of the names of rowferry's own tables. They are never offered to a peer and never taken from one.
pub const STATE_PREFIX: &str = "rowferry_";

/// Where a site keeps its tables and its sync state.
///
/// Every method may be called from any thread. A store never changes a table of the host's but through a [`Writer`].
pub trait Store: Debug + Send + Sync {
    /// What to call the store in a message: the file's path, or the database's name without credentials.
    fn name(&self) -> String;

    /// Where the site's key is kept when the host gives none; `None` if the store has no place beside itself.
    fn key_path(&self) -> Option<PathBuf>;

    /// A consistent view of all tables as they are now. It stays as it is whatever others write, until dropped.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Begins a write transaction. It waits for other writers for at most the store's time-out. Foreign keys are checked with
    /// each statement until [`Writer::defer_foreign_keys`] says otherwise.
    ///
    /// # Errors
    /// [`Locked`](crate::ErrorKind::Locked) when the time-out passes; [`ReadOnly`](crate::ErrorKind::ReadOnly).
    fn writer(&self) -> Result<Box<dyn Writer>>;

    /// Runs `work` on the store's own state in one write transaction: all of it is kept when it returns `Ok`, nothing otherwise.
    fn state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;

    /// Runs `work`, which only reads the store's own state, without waiting for a writer.
    fn read_state(&self, work: &mut dyn FnMut(&mut dyn Sql) -> Result<()>) -> Result<()>;
}

/// A consistent read view. Dropping it releases it.
pub trait Snapshot: Send {
    /// The names of the tables, sorted; no views, virtual tables and their shadows, system tables or rowferry's own.
    fn tables(&mut self) -> Result<Vec<String>>;

    /// The structure of a table, found by its name as the store compares names. `None` if [`Snapshot::tables`] has none such.
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>>;

    /// How many rows a table has.
    fn count(&mut self, table: &TableSchema) -> Result<u64>;

    /// Reads the rows behind `after` (from the first one if `None`), leaving out `skip` of them, into `rows`, which is
    /// cleared first. Rows come in key order, those with NULL in their key first; without a key, in the order they are
    /// stored. At most `bounds.rows` rows, and no further row once `bounds.bytes` are reached: at least one if there is one.
    /// A row has the columns of `table`, in order.
    fn page(
        &mut self,
        table: &TableSchema,
        after: Option<&Cursor>,
        skip: u64,
        bounds: PageBounds,
        rows: &mut Rows,
    ) -> Result<PageEnd>;

    /// How many bytes the store keeps back because of this snapshot (SQLite: the size of the write-ahead log).
    fn pinned_bytes(&self) -> u64;
}

/// Where a page is cut.
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

/// One write transaction. Dropped without [`Writer::commit`], everything is undone.
pub trait Writer {
    /// The structure of a table as this transaction sees it.
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>>;

    /// How many rows a table has, as this transaction sees it.
    fn count(&mut self, table: &TableSchema) -> Result<u64>;

    /// Makes a table of this structure: names and types only, quoted; nothing of the structure is run as SQL. The structure
    /// has been through [`plan::create`](crate::plan::create), so that what cannot be made is no longer in it.
    fn create_table(&mut self, table: &TableSchema) -> Result<()>;

    /// Applies records whose identity is a key without NULL in it, each with exactly one outcome. A record that fails takes
    /// no other one with it.
    fn apply(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()>;

    /// Prepares for [`Writer::apply_whole`]: counts the local rows of a table without a key (or, where the plan has one, those
    /// with NULL in it) by their content.
    fn count_whole(&mut self, plan: &TablePlan, scope: &Scope) -> Result<()>;

    /// Applies records whose identity is their whole content: as many equal rows as the sender has will be there.
    fn apply_whole(
        &mut self,
        plan: &TablePlan,
        scope: &Scope,
        rows: &Rows,
        range: Range<usize>,
        outcome: &mut Tally,
    ) -> Result<()>;

    /// Makes a stage: a table of rowferry's own for rows that cannot be applied as they come.
    fn stage_create(&mut self, stage: &Stage) -> Result<()>;

    /// Adds rows to a stage.
    fn stage_append(&mut self, stage: &Stage, rows: &Rows, range: Range<usize>) -> Result<()>;

    /// Reads staged rows behind the row number `after` into `rows`, which is cleared first, and their numbers into `numbers`.
    fn stage_page(
        &mut self,
        stage: &Stage,
        after: i64,
        bounds: PageBounds,
        rows: &mut Rows,
        numbers: &mut Vec<i64>,
    ) -> Result<()>;

    /// Takes rows out of a stage.
    fn stage_remove(&mut self, stage: &Stage, numbers: &[i64]) -> Result<()>;

    /// The numbers of staged rows whose local row now refers to a parent that does not exist, with the position of the foreign
    /// key in the local table. At most `limit`.
    fn orphans(&mut self, plan: &TablePlan, stage: &Stage, limit: usize) -> Result<Vec<(i64, usize)>>;

    /// Appends records with new keys, following the keys of parents that were appended in the same `scope`. Where `keys` is
    /// [`AppendKeys::Known`], [`Writer::append_keys`] has given each record its key before.
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
    /// refer to each other. A record that can get none is left for [`Writer::append`] to report.
    fn append_keys(&mut self, plan: &TablePlan, scope: &Scope, rows: &Rows, range: Range<usize>) -> Result<()>;

    /// Forgets the keys and counts of a scope, and drops its stages.
    fn end_scope(&mut self, scope: &Scope) -> Result<()>;

    /// Puts the checks of foreign keys off until the commit, whatever the constraints say, or ends that.
    fn defer_foreign_keys(&mut self, deferred: bool) -> Result<()>;

    /// Marks the place that [`Writer::undo`] goes back to. There is one mark: a new one replaces it.
    fn mark(&mut self) -> Result<()>;

    /// Undoes everything since [`Writer::mark`].
    fn undo(&mut self) -> Result<()>;

    /// rowferry's own tables, within this transaction.
    fn state(&mut self) -> &mut dyn Sql;

    /// Keeps everything; nothing can be written after it.
    ///
    /// # Errors
    /// [`ForeignKey`](crate::ErrorKind::ForeignKey) when deferred checks fail: then nothing is kept yet, and the transaction is
    /// still open, so that [`Writer::orphans`] can name the rows and [`Writer::undo`] take them back.
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
    /// Runs a statement; gives the number of rows that it changed.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize>;

    /// Runs a query; gives all its rows. For small answers only.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>>;
}
