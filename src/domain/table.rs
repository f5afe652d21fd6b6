//! A table in a list of tables.

/// The numbers that applications keep in the head of a SQLite file, to know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileNumbers {
    /// `PRAGMA user_version`: mostly the version of the application's schema. 0 where none was set.
    pub user_version: i32,
    /// `PRAGMA application_id`: which kind of file it is. 0 where none was set.
    pub application_id: i32,
}

/// A table that a site offers.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// How many rows it has. PhoenixKit estimates this, and says 0 for names in mixed case.
    pub row_count: u64,
}

impl TableInfo {
    /// A table of this name with so many rows.
    pub fn new(name: impl Into<String>, row_count: u64) -> Self {
        TableInfo { name: name.into(), row_count }
    }
}
