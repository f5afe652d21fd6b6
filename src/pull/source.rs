//! What a pull reads from.

use uuid::Uuid;

use super::verdict::Approval;
use crate::cancel::Patience;
use crate::domain::not_copied::NotCopied;
use crate::domain::record::Failure;
use crate::domain::row_sum::RowSum;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::Result;

/// The sending side as a pull sees it. Calls come from one thread at a time, and end when the pull's patience does.
pub(crate) trait Source: Sync {
    /// Whether the other side is rowferry: then its schemas are whole, and its pages come from numbered snapshots.
    fn is_rowferry(&self) -> bool;

    /// The other site's id, if it told one.
    fn site(&self) -> Option<Uuid> {
        None
    }

    /// Which copy of the other site's database it is, if it told that.
    fn incarnation(&self) -> Option<Uuid> {
        None
    }

    /// Whether it lets this pull see only what an earlier one, by a code that is spent, was of.
    fn is_by_ticket(&self) -> bool {
        false
    }

    /// Whether it can be asked further: false once its connection is lost.
    fn is_open(&self) -> bool;

    /// Whether each question is asked on its own, so that one which is answered late does not hold up the next.
    fn asks_apart(&self) -> bool {
        false
    }

    /// The tables it offers.
    fn tables(&self, patience: &Patience) -> Result<Vec<TableInfo>>;

    /// The same, with what else it says.
    fn list(&self, patience: &Patience) -> Result<Listed> {
        Ok(Listed { tables: self.tables(patience)?, ..Listed::default() })
    }

    /// Whether it can tell that nothing has changed.
    fn tells_same(&self) -> bool {
        false
    }

    /// Whether all is as it was when it gave this [token](State::token): what it offers, its structure and its rows.
    fn is_same(&self, _token: &str, _patience: &Patience) -> Result<bool> {
        Ok(false)
    }

    /// The structure of a table.
    fn schema(&self, table: &str, patience: &Patience) -> Result<TableSchema>;

    /// The structures of tables, as many of them in the order of their names as could be asked for at once; at least one.
    fn schemas(&self, tables: &[String], patience: &Patience) -> Vec<Result<TableSchema>> {
        tables.iter().take(1).map(|table| self.schema(table, patience)).collect()
    }

    /// How many rows a table has now.
    fn count(&self, table: &str, patience: &Patience) -> Result<u64>;

    /// Tells which tables the pull is of, those that cannot be pulled included, where the other side wants to know.
    fn begins(&self, _tables: &[String], _patience: &Patience) {}

    /// Asks for approval of pulls of these tables, and how that stands; `None` if the other side cannot be asked.
    fn approvals(&self, _tables: &[String], _patience: &Patience) -> Result<Option<Vec<Approval>>> {
        Ok(None)
    }

    /// Begins to fetch rows for the pull of this name, where the sender sends pages by itself, each of at most so many records if that
    /// is said; `None` where each page is asked for by [`Source::page`].
    fn stream<'s>(&'s self, _pull: Uuid, _most: Option<u32>, _patience: &Patience) -> Result<Option<Box<dyn Stream + 's>>> {
        Ok(None)
    }

    /// Whether a lost connection can be made again.
    fn can_reconnect(&self) -> bool {
        false
    }

    /// Connects again after the connection was lost, so that the pull can resume.
    fn reconnect(&self, _patience: &Patience) -> Result<()> {
        Ok(())
    }

    /// Fetches the page after the first `offset` records and adds its rows to `rows`, which has the columns of `table`. It has
    /// no more than `limit` records where the other side can be asked for so few.
    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, patience: &Patience) -> Result<Page>;

    /// What a reader of the report should know of how a table was fetched, whole sentences. `created` says whether it was made
    /// here.
    fn notes(&self, _table: &str, _created: bool) -> Vec<String> {
        Vec::new()
    }
}

/// What a sender lists.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The tables that it offers.
    pub(crate) tables: Vec<TableInfo>,
    /// What it says that it does not copy.
    pub(crate) not_copied: NotCopied,
    /// The state that this is of, if it has a token for it.
    pub(crate) state: Option<State>,
}

/// A state of the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// Its number, as it stands with pages.
    pub(crate) number: u64,
    /// What to ask with whether all is still so.
    pub(crate) token: String,
}

/// The pages of tables as they come. Dropped before the last one, no more are wanted.
pub(crate) trait Stream {
    /// Asks for the rows of a table from a position on, under a number that no other table has. The pages of tables come in the order
    /// in which they were asked for.
    fn ask(&mut self, at: usize, table: &TableSchema, from: &Position, patience: &Patience) -> Result<()>;

    /// How many tables may be asked for before the first of them has come to its end; at least one.
    fn most_asked(&self) -> usize {
        1
    }

    /// Waits for the next page of the table that was asked for first and has not ended, and adds its rows to `rows`, which has the
    /// columns of that table. With the page that has no more after it, or with an error, the table has ended. `None` if nothing came
    /// for a moment: the sender may wait for something that is to be said first.
    fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Option<Page>>;

    /// Whether the tables that were asked for after one that ended with an error still come.
    fn is_usable(&self) -> bool;

    /// Whether a page may come before more of those that came are acknowledged.
    fn has_credit(&self) -> bool;

    /// Says that pages of this [cost](Page::cost) are done with: the sender may send as many more, and beyond that if all that came
    /// is done with (`is_hungry`). The pages that are not acknowledged are what is bounded, for the memory of both ends.
    fn ack(&mut self, cost: u64, is_hungry: bool) -> Result<()>;

    /// The most that pages which are not done with should count, of all tables together.
    fn window(&self) -> u64 {
        u64::MAX
    }

    /// What became of the table that was asked for under this number and came to its end through this stream: all of its rows are
    /// committed, or they are not and will not be.
    fn settle(&mut self, _at: usize, _is_committed: bool) -> Result<()> {
        Ok(())
    }

    /// Keeps the connection open while no page is waited for.
    fn keep_open(&mut self) -> Result<()>;

    /// Whether it must end because another call waits for the connection, while no page is waited for: another stream then resumes.
    /// The call may be one of what is to take the pages, which would take none until then.
    fn should_yield(&mut self) -> bool {
        false
    }
}

/// A place in a sender's table, right after a record: where a pull resumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// How many records were received up to here.
    pub(crate) records: u64,
    /// The sender's own word for the place, if it has one: then it counts, and not the number of records.
    pub(crate) place: Option<Vec<u8>>,
    /// The sum over these records, if it is known.
    pub(crate) sum: Option<RowSum>,
}

/// In front of the first record.
impl Default for Position {
    fn default() -> Self {
        Position { records: 0, place: None, sum: Some(RowSum::default()) }
    }
}

/// What came beside the rows of a page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Records received, those that failed included.
    pub(crate) received: u64,
    /// Records that are no rows.
    pub(crate) failures: Vec<Failure>,
    /// Whether there are more after them.
    pub(crate) has_more: bool,
    /// The sender's word for the place after them, if it has one.
    pub(crate) place: Option<Vec<u8>>,
    /// The number of the sender's snapshot, if it says one.
    pub(crate) state: Option<u64>,
    /// The page's size on the wire.
    pub(crate) bytes: u64,
    /// What it counts of what a [`Stream`] may send.
    pub(crate) cost: u64,
    /// The sum over all records of the table up to here, if they are summed.
    pub(crate) sum: Option<RowSum>,
    /// The same of those that the sender says it sent, with the end of the table.
    pub(crate) sent: Option<RowSum>,
}
