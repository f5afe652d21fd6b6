//! Where the last pages of each table ended: what makes paging by offset and limit as cheap as paging by key.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::schema::TableSchema;
use crate::store::Cursor;

/// How many places are kept of one table: the last one is what the next request needs, the others serve one that is
/// repeated.
const PLACES_PER_TABLE: usize = 4;

/// A place in a table's order: `skip` rows after a row, or after the beginning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Place {
    /// The row; `None` for the beginning.
    pub(super) cursor: Option<Cursor>,
    /// Rows to leave out after it.
    pub(super) skip: u64,
    /// How many rows are before it.
    before: u64,
}

impl Place {
    /// Right after the row of this cursor, which is the `position`-th.
    pub(super) fn after(cursor: Cursor, position: u64) -> Self {
        Place { cursor: Some(cursor), skip: 0, before: position }
    }

    /// How many rows are before the place.
    pub(super) fn position(&self) -> u64 {
        self.before.saturating_add(self.skip)
    }

    fn further(&self, rows: u64) -> Self {
        Place { cursor: self.cursor.clone(), skip: self.skip.saturating_add(rows), before: self.before }
    }
}

/// A page that was sent.
#[derive(Debug)]
struct Sent {
    /// The offset that a client asks for next if it moves by its limit, and that limit.
    next: (u64, u64),
    began: Place,
    ended: Place,
}

#[derive(Debug)]
struct Table {
    schema: Arc<TableSchema>,
    /// The newest first.
    sent: VecDeque<Sent>,
}

/// The last places of the tables used last; of a bounded number.
#[derive(Debug)]
pub(super) struct Places {
    /// The one used last first.
    tables: VecDeque<Table>,
    most: usize,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Places { tables: VecDeque::new(), most: most.max(1) }
    }

    /// From where a page is read that is asked for by this offset and limit.
    pub(super) fn find(&self, table: &Arc<TableSchema>, offset: u64, limit: u64) -> Place {
        let known = self.tables.iter().find(|known| known.schema.name == table.name);
        // Cursors of a table that has another structure by now mean nothing.
        let sent = known.filter(|known| known.schema == *table).map(|known| &known.sent);
        let sent = || sent.into_iter().flatten();
        let goes_on = |sent: &&Sent| sent.next == (offset, limit) || sent.ended.position() == offset;
        if let Some(sent) = sent().find(goes_on) {
            return sent.ended.clone();
        }
        let ends = sent().map(|sent| &sent.ended).filter(|ended| ended.position() <= offset);
        let nearest = ends.max_by_key(|ended| ended.position()).cloned().unwrap_or_default();
        nearest.further(offset.saturating_sub(nearest.position()))
    }

    /// Whether a page that is asked for by this offset and limit begins where the last one of the table ended.
    pub(super) fn goes_on(&self, table: &Arc<TableSchema>, offset: u64, limit: u64) -> bool {
        let known = self.tables.iter().find(|known| known.schema == *table);
        let last = known.and_then(|known| known.sent.front());
        last.is_some_and(|sent| sent.next == (offset, limit) || sent.ended.position() == offset)
    }

    /// Keeps the place where the page that was asked for by this offset and limit ended.
    pub(super) fn remember(&mut self, table: &Arc<TableSchema>, offset: u64, limit: u64, began: Place, ended: Place) {
        let found = self.tables.iter().position(|known| known.schema.name == table.name);
        let mut entry = match found.and_then(|index| self.tables.remove(index)) {
            Some(entry) if entry.schema == *table => entry,
            _ => Table { schema: Arc::clone(table), sent: VecDeque::new() },
        };
        entry.sent.truncate(PLACES_PER_TABLE - 1);
        entry.sent.push_front(Sent { next: (offset.saturating_add(limit), limit), began, ended });
        self.tables.truncate(self.most - 1);
        self.tables.push_front(entry);
    }

    /// Moves the end of the page that was remembered last to after its first `rows` rows.
    pub(super) fn shorten_last(&mut self, rows: u64) {
        if let Some(sent) = self.tables.front_mut().and_then(|table| table.sent.front_mut()) {
            sent.ended = sent.began.further(rows);
        }
    }
}
