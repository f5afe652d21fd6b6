//! What is to be done, decided before anything is done. Pure: no store, no socket, no clock.

pub mod decide;
pub mod meet;
pub mod order;
pub mod table;

use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;

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
    /// Which incoming columns follow the new key of a parent that is appended in the same pull.
    pub follows: Vec<Follow>,
    /// For an append: whether others follow this table's new keys, so that they must be remembered.
    pub remember_keys: bool,
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

/// Incoming columns that refer to a table whose rows get new keys in the same pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// The referring columns, as positions in the incoming rows, in the order of the parent's key.
    pub incoming: Vec<usize>,
    /// The parent's local name.
    pub parent: String,
}
