//! Where a site keeps its tables and its sync state: the trait [`Store`], and what implements it.
//!
//! A store is asked for three things: a [`Snapshot`] to read tables from, a [`Writer`] to change them in one transaction,
//! and [`Sql`] over its own `rowferry_*` tables, so that the statements for sessions and settings are written once for all
//! stores. Everything is in plain domain types; a store knows nothing of sockets, JSON or peers.
//!
//! **Not stable:** what is in this module may change with any version, until a second database has a store.

use std::fmt::Debug;
use std::ops::Range;

use crate::domain::names::NameRules;
use crate::domain::not_copied::NotCopied;
use crate::domain::record::Reason;
pub use crate::domain::record::Tally;
use crate::domain::schema::{ForeignKey, Index, TableSchema};
pub use crate::domain::table::FileNumbers;
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::Result;
pub use crate::plan::decide::{Decision, decide, newer};
pub use crate::plan::table::key_of;
pub use crate::plan::{AppendRules, Follow, Identity, KeptKey, ParentKeys, TablePlan};

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "sqlite")]
mod memory;
pub mod migrate;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(test)]
pub(crate) mod stepping;

#[cfg(feature = "sqlite")]
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

/// The beginning of the names of rowferry's own tables. They are never offered to a peer and never taken from one.
pub const STATE_PREFIX: &str = "rowferry_";

/// Where a site keeps its tables and its sync state.
///
/// Every method may be called from any thread. A store never changes a table of the host's but through a [`Writer`].
///
/// To implement it for another database, bring its state up to date when it is opened ([`migrate`]), and run the suite of the
/// feature `conformance` over it, which checks what is said here.
pub trait Store: Debug + Send + Sync {
    /// What to call the store in a message: the file's path, or the database's name without credentials.
    fn name(&self) -> String;

    /// How names of tables and columns are compared.
    fn names(&self) -> NameRules;

    /// What tells this store from a copy of it, for [`Site::incarnation`](crate::Site::incarnation). `None`, unless a store says
    /// otherwise: then no copy is noticed.
    fn identity(&self) -> Option<StoreIdentity> {
        None
    }

    /// A consistent view of all tables as they are now: of all that was committed, and of nothing else. It stays as it is
    /// whatever others write, until dropped; it neither waits for a writer nor makes one wait.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Begins a write transaction. There is one at a time: it waits for other writers, those of [`Store::state`] included, for
    /// at most the store's time-out, and then sees all that they committed. References are checked with each row until
    /// [`Writer::check_references`] says otherwise.
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

    /// Makes sure that what was opened is still there, cheaply: a host may ask every second. A store asks itself before each
    /// transaction. Nothing, unless a store says otherwise.
    ///
    /// # Errors
    /// [`CannotOpen`](crate::error::ErrorKind::CannotOpen) if it is not.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Waits until all that was committed is on the disk, so that it survives a power failure, too. Nothing, unless a store says
    /// otherwise.
    ///
    /// # Errors
    /// [`Io`](crate::error::ErrorKind::Io) if the disk refuses it.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Does what the store put off while many rows were written: called at the end of each pull. Nothing, unless a store
    /// says otherwise.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}

/// What tells a store from a copy of it, as it is now. It is kept in the store, as digests, and a copy has those of its original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    pub(crate) machine: Option<String>,
    pub(crate) place: String,
    pub(crate) object: Option<String>,
}

impl StoreIdentity {
    /// Of a store at this place: for a file its path, without symbolic links.
    pub fn new(place: impl Into<String>) -> Self {
        StoreIdentity { machine: None, place: place.into(), object: None }
    }

    /// The machine that the place is on. Defaults to unknown.
    pub fn machine(mut self, id: impl Into<String>) -> Self {
        self.machine = Some(id.into());
        self
    }

    /// What stays when the store is moved to another place: for a file its number in the file system. Defaults to unknown.
    pub fn object(mut self, id: impl Into<String>) -> Self {
        self.object = Some(id.into());
        self
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

    /// What there is beside the tables of [`Snapshot::tables`], and what of those a pull does not take over. Nothing, unless a
    /// store says otherwise.
    fn not_copied(&mut self) -> Result<NotCopied> {
        Ok(NotCopied::default())
    }

    /// Adds to a table's structure what is true in this snapshot, although the structure stays: the
    /// [sequence](TableSchema::sequence) and the [numbers of the file](TableSchema::file). Nothing, unless a store says otherwise.
    fn tell(&mut self, table: &mut TableSchema) -> Result<()> {
        let _ = table;
        Ok(())
    }

    /// An error if it is known beforehand that a table cannot be made here from this description, whatever else is made: nothing is
    /// locked meanwhile. A store need not know.
    ///
    /// # Errors
    /// Those of [`Writer::create_table`].
    fn try_table(&mut self, table: &NewTable<'_>) -> Result<()> {
        let _ = table;
        Ok(())
    }

    /// How many rows a table has. A table that is not there is an error.
    fn count(&mut self, table: &TableSchema) -> Result<u64>;

    /// Reads the rows after `after` (from the first one if `None`), leaving out `skip` of them, into `rows`, which is
    /// cleared first. Rows come in the order of the key that [`key_of`] finds, as
    /// [the key compares](TableSchema::key_collations), those with NULL in it first; without a key, in an order that is the same for each page of a snapshot. At most `bounds.rows` rows, and no
    /// further row once `bounds.bytes` are reached: at least one if there is one. A row has the columns of `table`, in order,
    /// none of them absent.
    ///
    /// Pages that follow each other's cursors give each row once. `after` may come from another snapshot of the same store:
    /// then the rows come whose keys are after it now. A table that is not there is an error.
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

    /// How few rows are worth a [page](Snapshot::page) of their own when a whole table is read: with fewer it takes notably longer. 4,096,
    /// unless a store says otherwise.
    fn block_rows(&self) -> usize {
        4096
    }
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

/// The place after a row: where [`Snapshot::page`] resumes. Made by a store, understood only by the same kind of store.
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
    /// The place after the last row; `None` if the page is empty.
    pub cursor: Option<Cursor>,
    /// Whether there are rows after it.
    pub more: bool,
}

/// One write transaction. It sees what it has written; nobody else does before [`Writer::commit`]. Dropped without a commit,
/// everything is undone: rows, tables and state.
///
/// A writer moves rows and knows nothing of what they mean: what becomes of a record, new keys, rows without a key and rows that
/// wait are the importer's affair, for every store alike. When a method gives an error, what it was to do may be done in part:
/// [`Writer::rollback_to`] a savepoint, or drop the writer. A row that is refused is no error.
///
/// *Local rows* below are rows with the columns of the local table, in its order; a cell is absent where the record has no value
/// for that column.
pub trait Writer {
    /// The structure of a table as this transaction sees it: see [`Snapshot::schema`].
    fn schema(&mut self, table: &str) -> Result<Option<TableSchema>>;

    /// An error if it is known beforehand that a table takes no rows, whatever they are; a store need not know.
    ///
    /// # Errors
    /// [`UnknownCollation`](crate::ErrorKind::UnknownCollation).
    fn check_writable(&mut self, _table: &TableSchema) -> Result<()> {
        Ok(())
    }

    /// Makes a table like this one, which a sender described: names and types only, quoted; nothing of the structure is run as
    /// SQL. Gives what could not be taken over, as whole sentences for a report. `parents` finds the tables that are made later
    /// in the same transaction, so that tables may refer to each other.
    ///
    /// # Errors
    /// [`SchemaMismatch`](crate::ErrorKind::SchemaMismatch), [`ReservedName`](crate::ErrorKind::ReservedName) and
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where no such table can be made; what the database says, for example that the
    /// table exists.
    fn create_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>>;

    /// Adds to a table that [`Writer::create_table`] made what it could not have before the tables made after it were there: references
    /// to these. Called with what it was made from, when all of them are made, be it in another transaction. Gives what is left out, as
    /// whole sentences; those that were given before may come again. Nothing where a table may refer to one that is not there.
    fn complete_table(&mut self, table: &NewTable<'_>) -> Result<Vec<String>> {
        let _ = table;
        Ok(Vec::new())
    }

    /// Takes the plain indexes of a table away, which [`Writer::create_indexes`] makes again: rows come faster without. Gives what they
    /// were. A store to which indexes are no work leaves it at this.
    fn put_off_indexes(&mut self, table: &TableSchema) -> Result<Vec<Index>> {
        let _ = table;
        Ok(Vec::new())
    }

    /// Makes these plain indexes of a table, but for those that are there. Nothing where [`Writer::put_off_indexes`] is left at that.
    fn create_indexes(&mut self, table: &TableSchema, indexes: &[Index]) -> Result<()> {
        let _ = (table, indexes);
        Ok(())
    }

    /// Lets the numbers that AUTOINCREMENT gives to a table begin after this one, if they would begin earlier. Nothing, unless a store
    /// says otherwise.
    fn raise_sequence(&mut self, table: &TableSchema, to: i64) -> Result<()> {
        let _ = (table, to);
        Ok(())
    }

    /// The numbers of the file, and whether there is nothing in it but rowferry's own and these tables, with their indexes. `None`,
    /// unless a store says otherwise.
    fn file_numbers(&mut self, tables: &[&str]) -> Result<Option<(FileNumbers, bool)>> {
        let _ = tables;
        Ok(None)
    }

    /// Sets the numbers of the file. Nothing, unless a store says otherwise.
    fn set_file_numbers(&mut self, numbers: FileNumbers) -> Result<()> {
        let _ = numbers;
        Ok(())
    }

    /// A page of a table as this transaction sees it: see [`Snapshot::page`].
    fn page(&mut self, table: &TableSchema, after: Option<&Cursor>, bounds: PageBounds, rows: &mut Rows) -> Result<PageEnd>;

    /// What the columns of the local table make of the records of `range`: local rows with the values as they will be stored, and
    /// each value that a column cannot hold as it is
    /// ([`ValueWouldChange`](crate::Reason::ValueWouldChange), [`ValueOutOfRange`](crate::Reason::ValueOutOfRange),
    /// [`WrongType`](crate::Reason::WrongType)). A column may store a number in its own class for numbers, and changes nothing
    /// else. NULL fits every column: whether one takes it is found when it is written. `rows` have the incoming columns of
    /// the plan; `fitted` is cleared first.
    fn fit(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, fitted: &mut Fitted) -> Result<()>;

    /// Looks up one row for each of the rows of `range`, by values that are compared as the database compares them. `found` is
    /// cleared first. A row that lacks one of the values, or has NULL among them, finds nothing. So does any row where the table
    /// or one of the columns does not exist. Where several rows have the values, any one of them is found.
    fn lookup(&mut self, lookup: &Lookup<'_>, rows: &Rows, range: Range<usize>, found: &mut Found) -> Result<()>;

    /// What columns of a table compare of values: two rows of `to`, which is cleared first, are the same exactly if the database
    /// calls the values equal in these columns. A value that a column would store otherwise is turned into that (the text `1` is
    /// the integer 1 to a column of integers), and what its collation overlooks is gone. `cells` are the positions of the values in
    /// the rows of `range`, one for each of `columns`; what is absent or NULL stays so.
    fn comparable(
        &mut self,
        columns: &KeyColumns<'_>,
        cells: &[usize],
        rows: &Rows,
        range: Range<usize>,
        to: &mut Rows,
    ) -> Result<()>;

    /// Writes the local rows of `range` in their order, each on its own: one that is refused leaves nothing behind and takes no
    /// other with it. Adds to `refused` which were, and why. A row of which nothing came without an error is refused as well:
    /// a trigger [left it out](Refused::is_left_out), or there was none to update. No other row is ever replaced or deleted to make room for one, and
    /// triggers run as for any statement.
    fn write(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        range: Range<usize>,
        refused: &mut Vec<Refused>,
    ) -> Result<()>;

    /// Writes one local row as [`Writer::write`] does, although rows are missing that it refers to, and does not check its references. The caller
    /// knows that they are missing, that references are checked [with each row](Check::Now), and that an update sets nothing that other
    /// rows refer to. What triggers write to other tables may go unchecked, too.
    fn write_dangling(
        &mut self,
        table: &TableSchema,
        change: Change<'_>,
        rows: &Rows,
        row: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()>;

    /// Finds the rows that keep a local row out: all others than the row of its key (its columns are at `key`) that have its
    /// values in one of these unique sets, as the database compares them. What the row lacks takes its default, as when it is
    /// inserted. `found` gets the values at `key` of each such row, once; it is cleared first. A row that the table would not take
    /// for another reason may find none. Nothing changes, and no trigger runs.
    fn clashes(
        &mut self,
        table: &TableSchema,
        key: &[usize],
        sets: Sets,
        rows: &Rows,
        row: usize,
        found: &mut Rows,
    ) -> Result<()>;

    /// The foreign keys of all tables that refer to this one, its own included.
    fn referring(&mut self, table: &TableSchema) -> Result<Vec<Referring>>;

    /// Applies the first records of `range`, as many as it likes, exactly as [`Writer::fit`], [`Writer::lookup`],
    /// [`decide`] and [`Writer::write`] would one by one, and counts them. Gives how many that
    /// were: the caller takes care of the next record itself. The plan's identity is a key, and it appends nothing. Where the plan says
    /// which column [must be newer](TablePlan::newer_by), a record that differs from its row and is not
    /// [`newer`] is skipped, and counts as differing.
    ///
    /// One by one a record fails if it lacks a part of its key or has NULL there, and then if a value does not fit. Only under
    /// [`Skip`](crate::Strategy::Skip) it is enough that the key fits where its row is there: the record is skipped. What is
    /// left is written before the next record is looked at. So a record may meet what those before it wrote, and may not refer
    /// to what only those after it write.
    ///
    /// A store without a faster way than one by one leaves it at this.
    fn apply_bulk(&mut self, plan: &TablePlan, rows: &Rows, range: Range<usize>, tally: &mut Tally) -> Result<usize> {
        let _ = (plan, rows, range, tally);
        Ok(0)
    }

    /// The largest integer that a column has, or that the database ever gave to it, if it remembers that. At least 0.
    fn last_integer(&mut self, table: &TableSchema, column: usize) -> Result<i64>;

    /// Says when references are checked from now on, until this is called again or the transaction ends;
    /// [`Writer::rollback_to`] does not undo it. At first it is [`Check::Now`]. Gives whether the store can do that for rows
    /// that are written to these tables; if not, nothing has changed. [`Check::Now`] it always can; a store that
    /// cannot do either of the others does not take tables that refer to each other in a circle.
    /// Set it back to [`Check::Now`] only when all references that this transaction wrote are whole: a store may not find later
    /// what was broken then.
    fn check_references(&mut self, when: Check, tables: &[Target<'_>]) -> Result<bool>;

    /// Whether [`Check::Now`] forgets the references that were put off until then, so that rows may stay that refer to nothing. `true`,
    /// unless a store says otherwise.
    fn forgets_references(&self) -> bool {
        true
    }

    /// Marks the place that [`Writer::rollback_to`] goes back to. Savepoints nest: the latest is the innermost.
    fn savepoint(&mut self) -> Result<()>;

    /// Undoes everything since the innermost savepoint, and takes that savepoint away: without one it is an error. The transaction
    /// continues.
    fn rollback_to(&mut self) -> Result<()>;

    /// Takes the innermost savepoint away, and keeps what was done since: it is undone with the savepoint around it. Without one
    /// it is an error.
    fn release(&mut self) -> Result<()>;

    /// rowferry's own tables, within this transaction.
    fn state(&mut self) -> &mut dyn Sql;

    /// Keeps everything; nothing can be written after it.
    ///
    /// # Errors
    /// [`ForeignKey`](crate::ErrorKind::ForeignKey) when references that are checked [at the commit](Check::AtCommit) are broken.
    /// The transaction is over then, or it can be continued or dropped: that is the store's choice.
    fn commit(&mut self) -> Result<()>;
}

/// A table to make.
#[derive(Clone, Copy)]
pub struct NewTable<'t> {
    /// The table as the sender describes it.
    pub schema: &'t TableSchema,
    /// Whether the sender is rowferry: then declared types and properties of the description are the sender's own, and not
    /// derived from what PhoenixKit says.
    pub exact: bool,
    /// Finds tables that are not here yet and will be made in the same transaction, by name.
    pub parents: &'t dyn Fn(&str) -> Option<&'t TableSchema>,
}

/// Columns that values are compared by.
#[derive(Debug, Clone, Copy)]
pub struct KeyColumns<'k> {
    /// The table.
    pub table: &'k TableSchema,
    /// The positions of the columns.
    pub columns: &'k [usize],
}

/// What is looked up.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'l> {
    /// The table that is looked in, by its name.
    pub table: &'l str,
    /// The names of the columns whose values are given, at least one.
    pub columns: &'l [&'l str],
    /// How each of `columns` is compared: the name of a collation, `None` for the column's own; empty where that is so of all. They
    /// are given where a row is found by a primary key that [compares otherwise](TableSchema::key_collations).
    pub collations: &'l [Option<&'l str>],
    /// Where the values are: the positions of their cells in the rows that are given, one for each of `columns`.
    pub cells: &'l [usize],
    /// The names of the columns that are read; without any, only whether there is such a row is found.
    pub read: &'l [&'l str],
}

/// What a [`Writer::lookup`] found.
#[derive(Debug, Default)]
pub struct Found {
    rows: Rows,
    /// For each row that was looked for its position among `rows`.
    positions: Vec<Option<usize>>,
    found: usize,
}

impl Found {
    /// Forgets everything; from now on each row that is found has so many values.
    pub fn clear(&mut self, width: usize) {
        self.rows.clear(width);
        self.positions.clear();
        self.found = 0;
    }

    /// Notes that nothing was found for the next row.
    pub fn add_none(&mut self) {
        self.positions.push(None);
    }

    /// Notes what was found for the next row.
    pub fn add<'v>(&mut self, values: impl IntoIterator<Item = ValueRef<'v>>) {
        self.positions.push(Some(self.found));
        self.found += 1;
        // Without columns only whether there is one was asked for.
        if self.rows.width() > 0 {
            self.rows.push(values);
        }
    }

    /// Whether something was found for the row of this number, counted from the first of the range.
    pub fn has(&self, number: usize) -> bool {
        self.positions.get(number).is_some_and(Option::is_some)
    }

    /// The values that were found for the row of this number.
    pub fn get(&self, number: usize) -> Option<Vec<ValueRef<'_>>> {
        let position = (*self.positions.get(number)?)?;
        if self.rows.width() == 0 {
            return Some(Vec::new());
        }
        Some(self.rows.row(position).map(|value| value.unwrap_or(ValueRef::Null)).collect())
    }
}

/// Records as a local table will store them: see [`Writer::fit`].
#[derive(Debug, Default)]
pub struct Fitted {
    /// Local rows, one for each record of the range. A value that does not fit stands there as it came.
    pub rows: Rows,
    /// What does not fit, in the order of the rows.
    pub misfits: Vec<Misfit>,
}

/// A value that a column cannot hold as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// The row, counted from the first of the range.
    pub row: usize,
    /// The column's position in the local table.
    pub column: usize,
    /// Why.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
}

/// Which unique sets are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    /// All that the database has, over expressions and over some of the rows, too.
    All,
    /// Those of plain columns, over all rows ([`UniqueKind::Full`](crate::schema::UniqueKind::Full)).
    Full,
}

/// A foreign key that refers to a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Referring {
    /// The name of the table that refers.
    pub table: String,
    /// By this.
    pub key: ForeignKey,
    /// Whether the database itself may put its checks off until the commit.
    pub deferred: bool,
}

/// What a [`Writer::write`] does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'c> {
    /// Adds rows. A column that a row lacks takes its default.
    Insert,
    /// Changes rows that are there. The rows that are given lack none of these columns.
    Update {
        /// The positions of the columns that find the row. Where they are the primary key, they are compared
        /// [as it does](TableSchema::key_collations).
        key: &'c [usize],
        /// The positions of the columns that are set.
        set: &'c [usize],
    },
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// The row's position among all that were given, not only those of the range.
    pub row: usize,
    /// Why.
    pub reason: Reason,
    /// The column at fault, where that is known.
    pub column: Option<String>,
    /// Why, as a sentence.
    pub message: String,
    /// Whether nothing went wrong: a trigger left the row out (RAISE(IGNORE)), or its change.
    pub is_left_out: bool,
}

/// A table that rows are written to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The table.
    pub table: &'t TableSchema,
    /// Whether rows that are there may change, by the table's key; otherwise rows are only added.
    pub updates: bool,
}

/// When references to other rows are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// With each row, unless the database itself puts them off.
    Now,
    /// At the commit, whatever the constraints say.
    AtCommit,
    /// Not at all: the caller checks the references of all rows that it writes. A store cannot do that where more depends on them:
    /// triggers, or rows that refer to columns which may change.
    ByCaller,
}

/// Statements over rowferry's own tables, in the SQL that all stores share: parameters are `?1`, `?2`, ...; texts,
/// integers and blobs; `ON CONFLICT` upserts; no functions of one store.
pub trait Sql {
    /// Runs a statement; gives the number of rows that it inserted, changed or deleted.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<usize>;

    /// Runs a query; gives all its rows. For small answers only.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Vec<Value>>>;

    /// How many bytes of a blob a unique index holds at most: of a longer one its digest is kept in its place. Without bound, unless a
    /// store says otherwise.
    fn longest_indexed(&self) -> usize {
        usize::MAX
    }

    /// Rows of this table of the state were inserted with numbers of their own, in the column `id`: those that the store gives follow the
    /// largest. Nothing, unless a store says otherwise.
    fn numbers_were_given(&mut self, table: &str) -> Result<()> {
        let _ = table;
        Ok(())
    }
}
