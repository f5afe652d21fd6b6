//! What a pull reads from.

use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::sync::Approval;

/// The sending side as a pull sees it. Calls come from one thread at a time, and end when the pull's patience does.
pub(crate) trait Source: Sync {
    /// Whether the other side is rowferry: then its schemas are whole, and its pages come from numbered snapshots.
    fn is_rowferry(&self) -> bool;

    /// Whether it can be asked further: false once its connection is lost.
    fn is_open(&self) -> bool;

    /// Whether each question is asked on its own, so that one which is answered late does not hold up the next.
    fn asks_apart(&self) -> bool {
        false
    }

    /// The tables it offers.
    fn tables(&self, patience: &Patience) -> Result<Vec<TableInfo>>;

    /// The structure of a table.
    fn schema(&self, table: &str, patience: &Patience) -> Result<TableSchema>;

    /// How many rows a table has now.
    fn count(&self, table: &str, patience: &Patience) -> Result<u64>;

    /// Asks for approval of pulls of these tables, and how that stands; `None` if the other side cannot be asked.
    fn approvals(&self, _tables: &[String], _patience: &Patience) -> Result<Option<Vec<Approval>>> {
        Ok(None)
    }

    /// Fetches the page behind the first `offset` records and adds its rows to `rows`, which has the columns of `table`. It has
    /// no more than `limit` records where the other side can be asked for so few.
    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, patience: &Patience) -> Result<Page>;

    /// What a reader of the report should know of how a table was fetched, whole sentences. `created` says whether it was made
    /// here.
    fn notes(&self, _table: &str, _created: bool) -> Vec<String> {
        Vec::new()
    }
}

/// What came beside the rows of a page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Records received, those that failed included.
    pub(crate) received: u64,
    /// Records that are no rows.
    pub(crate) failures: Vec<Failure>,
    /// Whether there are more behind them.
    pub(crate) has_more: bool,
    /// The number of the sender's snapshot, if it says one.
    pub(crate) state: Option<u64>,
    /// The page's size on the wire.
    pub(crate) bytes: u64,
}
