//! The thread that fetches while the caller's own applies.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::fetch::{Arrival, Exchange, Fetch, Returned, Task};
use super::fetching;
use crate::cancel::CancelToken;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};

/// How long a fetch that has told all may take to tell the sender what became of it, where a connection was lost before.
const LAST_WORD_TIME: Duration = Duration::from_secs(5);

/// What arrives of the tables that are fetched, one after the other.
pub(super) struct Session {
    arriving: Receiver<(usize, Arrival)>,
    returned: Sender<Returned>,
    skips: HashMap<usize, Arc<AtomicBool>>,
    /// Tables whose end has not come.
    unended: Cell<usize>,
    // Last: what ends the fetch if nobody takes its rows.
    _wanted: EndsWhenDropped,
}

/// Ends what has this token when it is dropped.
struct EndsWhenDropped(CancelToken);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What there is of a table.
pub(super) enum Next {
    Arrival(Arrival),
    /// Nothing came in time.
    Nothing,
}

/// Fetches the tables of these tasks on a thread of its own while `work` takes what arrives. The thread ends with `work`.
pub(super) fn with<T>(fetch: Fetch<'_>, tasks: Vec<Task>, work: impl FnOnce(&mut Session) -> T) -> Result<T> {
    let (arrivals, arriving) = channel();
    let (returned, to_take) = channel();
    let skips = tasks.iter().map(|task| (task.at, Arc::clone(&task.skip))).collect();
    let (unended, wanted) = (Cell::new(tasks.len()), EndsWhenDropped(fetch.patience.cancel.clone()));
    let mut session = Session { arriving, returned, skips, unended, _wanted: wanted };
    std::thread::scope(|threads| {
        let exchange = Exchange { arrivals, returned: to_take };
        let fetching = std::thread::Builder::new()
            .name("rowferry-fetch".to_owned())
            .spawn_scoped(threads, move || fetching::run(fetch, tasks, exchange))
            .map_err(|error| {
                Error::new(ErrorKind::System, format!("no thread to fetch pages on: {error}"))
                    .with_hint("The system is out of threads or memory; try again later.")
                    .with_source(error)
            })?;
        let done = work(&mut session);
        // What ends the other thread if it has not come to its end: also if it waits for a page that never comes, and also if
        // the caller's own code has panicked. What was said last is heard before.
        session.end();
        match fetching.join() {
            Ok(()) => Ok(done),
            Err(_) => Err(Error::new(ErrorKind::System, "the thread that fetches pages panicked")),
        }
    })
}

impl Session {
    /// Nothing more is wanted.
    fn end(self) {
        let Session { arriving, returned, unended, _wanted, .. } = self;
        drop(returned);
        if unended.get() == 0 {
            // It only tells the sender which tables are safe, and says nothing here.
            let _ = arriving.recv_timeout(LAST_WORD_TIME);
        }
    }

    /// A table is over here: its rows are not wanted any more. Unless they were [committed](Session::committed) before, the sender
    /// is told so.
    pub(super) fn skip(&self, at: usize) {
        if let Some(skip) = self.skips.get(&at) {
            // First: the fetch looks at it when the table comes to its end after what is said next was heard.
            skip.store(true, Ordering::SeqCst);
            let _ = self.returned.send(Returned::Dropped(at));
        }
    }

    /// What comes next of a table, if it comes within this time. What still comes of tables that were skipped is dropped.
    pub(super) fn next(&self, at: usize, time: Duration) -> Result<Next> {
        let until = Instant::now() + time;
        loop {
            match self.arriving.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((of, arrival)) => {
                    if matches!(arrival, Arrival::Ended(_)) {
                        self.unended.set(self.unended.get().saturating_sub(1));
                    }
                    match arrival {
                        arrival if of == at => return Ok(Next::Arrival(arrival)),
                        Arrival::Batch(batch) => self.recycle(batch.rows, batch.size),
                        _ => {}
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(Next::Nothing),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(ErrorKind::System, "the thread that fetches pages panicked"));
                }
            }
        }
    }

    /// A batch is done with.
    pub(super) fn recycle(&self, rows: Rows, size: u64) {
        // The other end is gone when the last page was fetched.
        let _ = self.returned.send(Returned::Batch(rows, size));
    }

    /// All rows of a table are committed.
    pub(super) fn committed(&self, at: usize) {
        let _ = self.returned.send(Returned::Committed(at));
    }
}
