//! What is to be done, decided before anything is done. Pure: no store, no socket, no clock.

pub mod decide;
pub mod follow;
pub mod meet;
pub mod order;
pub mod table;

use crate::domain::schema::{TableSchema, UniqueKind};
use crate::domain::strategy::{Dangling, OnTakenKey, Strategy};

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
    /// Whether two of the sender's rows [may have one key here](meet::keys_may_meet): then the first record of a pull has the row,
    /// and each later one fails.
    pub keys_may_meet: bool,
    /// Which incoming columns follow a parent to the key that it has here.
    pub follows: Vec<Follow>,
    /// How an append goes about it.
    pub append: AppendRules,
    /// What becomes of records that refer to rows which are missing.
    pub dangling: Dangling,
}

impl TablePlan {
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

/// Incoming columns that refer to a row of the sender's which may have another key here.
#[derive(Debug, Clone, PartialEq)]
pub struct Follow {
    /// The referring columns, as positions in the incoming rows, in the order of the parent's key.
    pub incoming: Vec<usize>,
    /// The parent as it is here; the table itself for the key of a record.
    pub parent: TableSchema,
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
