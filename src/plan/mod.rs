//! What is to be done, decided before anything is done. Pure: no store, no socket, no clock.

pub mod decide;
pub mod follow;
pub mod meet;
pub mod order;
pub mod table;

use std::sync::Arc;

use crate::domain::schema::{TableSchema, UniqueKind};
use crate::domain::strategy::{Dangling, OnLossy, OnTakenKey, Strategy};

/// How many numbers stay free above the largest key that a record brings: a table that gives each row a new one must not run out.
pub(crate) const NUMBERS_LEFT: i64 = 1 << 32;

/// The largest number that counts as a key of a record's own, where others are given after it.
pub(crate) const LARGEST_NUMBER: i64 = i64::MAX - NUMBERS_LEFT;

/// How the records of one of the sender's tables become rows of a local one.
#[derive(Debug, Clone, PartialEq)]
pub struct TablePlan {
    /// The local table.
    pub table: TableSchema,
    /// What to do where a row exists.
    pub strategy: Strategy,
    /// For each column of the incoming rows the position of the local column that takes it; `None` for one that is left out.
    pub targets: Vec<Option<usize>>,
    /// The names of the incoming columns, for messages.
    pub incoming: Vec<String>,
    /// What tells one row from another.
    pub identity: Identity,
    /// The primary key, where the caller chose another one to tell rows apart by: a row that is here keeps its own.
    pub kept_key: Option<KeptKey>,
    /// The position of the local column that must be greater in a record than in its row, for the record to change the row. `None`
    /// where any may.
    pub newer_by: Option<usize>,
    /// Whether the caller decides what becomes of a row that a record would change.
    pub asks: bool,
    /// Whether two of the sender's rows may have one key here: then the first record of a pull has the row,
    /// and each later one fails.
    pub keys_may_meet: bool,
    /// Which incoming columns follow a parent to the key that it has here.
    pub follows: Vec<Follow>,
    /// How an append goes about it.
    pub append: AppendRules,
    /// What becomes of records that refer to rows which are missing.
    pub dangling: Dangling,
    /// What becomes of values that a column cannot hold as they are.
    pub on_lossy: OnLossy,
    /// The incoming columns with decimal numbers as text that the local table has as numbers.
    pub numerals: Vec<usize>,
}

impl AsRef<TablePlan> for TablePlan {
    fn as_ref(&self) -> &TablePlan {
        self
    }
}

impl AsMut<TablePlan> for TablePlan {
    fn as_mut(&mut self) -> &mut TablePlan {
        self
    }
}

impl TablePlan {
    /// Whether no record changes this local column of a row that is here, because it is part of the primary key.
    pub(crate) fn keeps(&self, column: usize) -> bool {
        self.kept_key.as_ref().is_some_and(|kept| kept.columns.contains(&column))
    }

    /// Whether a store may apply many records at once: nothing is asked for each of them.
    pub(crate) fn may_be_bulk(&self) -> bool {
        !self.asks && self.kept_key.as_ref().is_none_or(|kept| kept.columns.is_empty())
    }

    /// Whether the table has unique sets beside the key that records are identified by.
    pub fn has_unique_sets(&self) -> bool {
        let Identity::Key { columns: key, .. } = &self.identity else { return false };
        let is_key = |names: &[String]| self.table.column_indexes(names).is_some_and(|columns| columns == *key);
        self.table.unique.iter().any(|set| set.kind != UniqueKind::Full || !is_key(&set.columns))
    }
}

/// What tells one row from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A key: the primary key, or else a unique set of columns that are all NOT NULL.
    Key {
        /// The key's columns, as positions in the local table.
        columns: Vec<usize>,
        /// The same columns, as positions in the incoming rows.
        incoming: Vec<usize>,
        /// Whether NULL may stand in one of them: such a row is identified by its whole content instead.
        nullable: bool,
    },
    /// The whole row, counted: a table may have the same row several times.
    WholeRow,
}

/// A primary key that does not tell rows apart, because the caller chose another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    /// Its columns, as positions in the local table; empty where that has no primary key.
    pub columns: Vec<usize>,
}

/// Incoming columns that refer to a row of the sender's which may have another key here.
#[derive(Debug, Clone, PartialEq)]
pub struct Follow {
    /// The referring columns, as positions in the incoming rows, in the order of the parent's key.
    pub incoming: Vec<usize>,
    /// The parent as it is here; the table itself for the key of a record.
    pub parent: Arc<TableSchema>,
    /// The columns of its key, as positions in it.
    pub key: Vec<usize>,
    /// How the parent's rows get their keys here.
    pub keys: ParentKeys,
}

/// How the rows of a parent get their keys here, and with that, which old keys are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentKeys {
    /// The parent is appended in this pull: its rows get new keys. A record whose parent is not known fails: a row here that has the
    /// old key is another one.
    Appended,
    /// The parent was appended in an earlier pull, and is not pulled now. The same.
    AppendedBefore,
    /// The parent's rows keep their keys, but for a few that are here under another: records that are the same thing under a new key.
    /// Only those are followed.
    Kept,
}

/// How an append goes about records and keys that are here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendRules {
    /// Whether records are added once more that an earlier append brought. Otherwise they are skipped.
    pub again: bool,
    /// What becomes of a record whose key is taken and cannot be replaced by a new one.
    pub on_taken_key: OnTakenKey,
}
