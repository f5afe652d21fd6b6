//! What a sender is still to be told of the tables that came to their end: it keeps what it takes to send a table again until it knows
//! what became of it.

use std::sync::Arc;

use super::fetch::{Fetch, Task};
use super::source::{Position, Stream};
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::Result;

/// Tables that the sender is to be told of, at most. It sends no further one when there are far more.
const MOST: usize = 128;

/// The tables that have come to their end, and of which the sender was not told yet what became of them.
#[derive(Default)]
pub(super) struct Owed {
    /// Those that came through the stream at hand.
    here: Vec<Ended>,
    /// Those whose stream is no more.
    later: Vec<Ended>,
}

/// A table that has come to its end.
struct Ended {
    at: usize,
    table: Arc<TableSchema>,
    /// Where it can be asked for after its last row.
    end: Option<Position>,
    is_committed: bool,
}

impl Owed {
    /// A table has come to its end, at this position.
    pub(super) fn add(&mut self, task: &Task, end: Option<Position>) {
        let end = end.filter(|end| end.place.is_some() || end.records == 0);
        self.here.push(Ended { at: task.at, table: Arc::clone(&task.table), end, is_committed: false });
    }

    /// Whether no further table may end before the sender is told of one.
    pub(super) fn is_full(&self) -> bool {
        self.here.len() >= MOST
    }

    /// Whether something is to be said through the stream at hand.
    pub(super) fn has_some(&self) -> bool {
        !self.here.is_empty()
    }

    /// Whether it is not known yet what becomes of a table.
    pub(super) fn is_open(&self) -> bool {
        self.here.iter().chain(&self.later).any(|ended| !ended.is_committed)
    }

    /// The stream at hand is no more.
    pub(super) fn lose_stream(&mut self) {
        self.later.append(&mut self.here);
    }

    /// All rows of a table are committed, or they will not be. The sender is told of it, now or once there is a connection again.
    pub(super) fn settle<'s>(
        &mut self,
        at: usize,
        is_committed: bool,
        stream: Option<&mut (dyn Stream + 's)>,
    ) -> Result<()> {
        match is_committed {
            true => self.later.iter_mut().filter(|ended| ended.at == at).for_each(|ended| ended.is_committed = true),
            false => self.later.retain(|ended| ended.at != at || ended.is_committed),
        }
        let Some(place) = self.here.iter().position(|ended| ended.at == at) else { return Ok(()) };
        let ended = self.here.remove(place);
        let told = stream.map_or(Ok(()), |stream| stream.settle(at, is_committed));
        if told.is_err() && is_committed {
            self.later.push(Ended { is_committed, ..ended });
        }
        told
    }

    /// Tells the sender of the tables whose stream was lost before it could be told, through a stream of its own: each is asked for
    /// after its last row, which says the same of it again.
    pub(super) fn tell(&mut self, fetch: &Fetch<'_>) -> Result<()> {
        let Fetch { source, pull, stream_records, patience, .. } = *fetch;
        let mut stream: Option<Box<dyn Stream + '_>> = None;
        while let Some(owed) = self.later.last() {
            if let (true, Some(end)) = (owed.is_committed, &owed.end) {
                let open = match stream.take() {
                    Some(open) => Some(open),
                    None => source.stream(pull, stream_records, patience)?.filter(|open| open.most_asked() > 1),
                };
                let Some(mut open) = open else { return Ok(()) };
                open.ask(owed.at, &owed.table, end, patience)?;
                let mut rows = Rows::new(owed.table.columns.len());
                let page = loop {
                    match open.next(&mut rows, patience) {
                        Ok(None) => {}
                        Ok(Some(page)) => break Some(page),
                        // It does not want to hear of this one.
                        Err(_) if open.is_usable() => break None,
                        Err(error) => return Err(error),
                    }
                };
                match page {
                    Some(page) if !page.has_more => open.settle(owed.at, true)?,
                    // It has rows that are not here: it is not complete, and no more of them is wanted.
                    Some(_) => {
                        self.later.pop();
                        continue;
                    }
                    None => {}
                }
                stream = Some(open);
            }
            self.later.pop();
        }
        Ok(())
    }
}
