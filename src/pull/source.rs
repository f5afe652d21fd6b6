//! What a pull reads from.

use uuid::Uuid;

use crate::cancel::Patience;
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::pull::Approval;

/// The sending side as a pull sees it. Calls come from one thread at a time, and end when the pull's patience does.
pub(crate) trait Source: Sync {
    /// Whether the other side is rowferry: then its schemas are whole, and its pages come from numbered snapshots.
    fn is_rowferry(&self) -> bool;

    /// The other site's id, if it told one.
    fn site(&self) -> Option<Uuid> {
        None
    }

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

    /// Begins to fetch a table from a position on, where the sender sends pages by itself, each of at most so many records if that
    /// is said; `None` where each page is asked for by [`Source::page`].
    fn stream<'s>(
        &'s self,
        _table: &'s TableSchema,
        _from: &Position,
        _most: Option<u32>,
        _patience: &Patience,
    ) -> Result<Option<Box<dyn Stream + 's>>> {
        Ok(None)
    }

    /// Whether a lost connection can be made anew.
    fn can_reconnect(&self) -> bool {
        false
    }

    /// Connects anew after the connection was lost, so that the pull can go on.
    fn reconnect(&self, _patience: &Patience) -> Result<()> {
        Ok(())
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

/// The pages of one table as they come. Dropped before the last one, no more are wanted.
pub(crate) trait Stream {
    /// Waits for the next page and adds its rows to `rows`, which has the columns of the table.
    fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Page>;

    /// Whether a page may come before more of those that came are done with.
    fn may_come(&self) -> bool;

    /// Says that pages of this [cost](Page::cost) are done with: the sender may send as many more. The pages that nobody is
    /// done with yet are what is bounded, for the memory of both ends.
    fn done_with(&mut self, cost: u64) -> Result<()>;

    /// Keeps the connection open while no page is waited for.
    fn keep_open(&mut self) -> Result<()>;

    /// Whether it has given way to another call that waits for the connection, while no page is waited for: the stream is over
    /// then, and another one goes on. The call may be one of whoever is to take the pages, who would take none until then.
    fn gives_way(&mut self) -> bool {
        false
    }
}

/// A place in a sender's table, right behind a record: where a pull goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// How many records were received up to here.
    pub(crate) records: u64,
    /// The sender's own word for the place, if it has one: then it counts, and not the number of records.
    pub(crate) place: Option<Vec<u8>>,
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
    /// The sender's word for the place behind them, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// The number of the sender's snapshot, if it says one.
    pub(crate) state: Option<u64>,
    /// The page's size on the wire.
    pub(crate) bytes: u64,
    /// What it counts of what a [`Stream`] may send.
    pub(crate) cost: u64,
}
