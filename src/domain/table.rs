//! A table in a list of tables.

/// A table that a site offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// How many rows it has. The reference estimates this, and says 0 for names in mixed case.
    pub row_count: u64,
}
