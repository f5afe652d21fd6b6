//! What all phases of a pull share: the sender and how it is asked, what the caller chose, and how long all of it may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PullOptions;
use super::bounds::Bounds;
use super::errors::{ends_all, is_transient};
use super::reconnect::ReconnectPolicy;
use super::source::Source;
use super::wait::Allowance;
use crate::cancel::Patience;
use crate::clock::later;
use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// How long a transaction waits for its next batch where nobody else's wait was bounded.
const LINGER: Duration = Duration::from_millis(5);

pub(crate) struct Context<'a, 'p> {
    pub(super) source: &'a dyn Source,
    pub(super) limits: &'a Limits,
    pub(crate) options: PullOptions<'p>,
    pub(super) patience: Patience,
    /// What it takes at most.
    pub(super) bounds: Arc<Bounds>,
    /// Tables that no pull writes.
    pub(crate) protected: &'a [String],
    /// How names are compared here.
    pub(crate) names: NameRules,
    /// How long a transaction may wait for the next batch: beginning another one costs more.
    pub(super) linger: Duration,
    /// Until when to wait for the other side's approval.
    pub(super) approval_until: Option<Instant>,
    /// The time to wait that the question at hand has, where the other site counts calls.
    pub(super) allowance: Allowance,
    pub(super) reconnect: ReconnectPolicy,
    /// Why nothing more can be asked of the sender.
    pub(super) lost: Option<Error>,
}

impl<'a, 'p> Context<'a, 'p> {
    pub(crate) fn new(
        source: &'a dyn Source,
        limits: &'a Limits,
        names: NameRules,
        options: PullOptions<'p>,
        patience: Patience,
    ) -> Self {
        Context {
            source,
            limits,
            patience,
            bounds: Arc::new(Bounds::of(&options)),
            protected: &[],
            names,
            linger: if options.lock_time.is_some() { Duration::ZERO } else { LINGER },
            approval_until: options.approval_time.map(|time| later(Instant::now(), time)),
            allowance: Allowance::new(limits.pull.rate_wait_time),
            reconnect: ReconnectPolicy::new(limits.pull.retry_time),
            lost: None,
            options,
        }
    }

    /// Why a table of the sender's is none that this side takes: with a word for it.
    pub(super) fn forbids(&self, table: &str) -> Option<(&'static str, Error)> {
        if self.names.is_among(table, self.protected) {
            let message = format!("this site hides the table {table:?} from other sites, and accepts no table of that name");
            let error = Error::new(ErrorKind::TableNotAllowed, message).with_hint("Leave it out.");
            return Some(("hidden_table", error));
        }
        self.bounds.forbids(table).map(|error| ("table_not_allowed", error))
    }

    /// Asks the sender, unless the connection is lost: then every further question has the same answer. Waits where the sender counts
    /// calls and says so, and reconnects where the connection is lost.
    pub(crate) fn ask<T>(&mut self, mut question: impl FnMut(&dyn Source, &Patience) -> Result<T>) -> Result<T> {
        if let Some(lost) = &self.lost {
            return Err(not_tried(lost));
        }
        let (source, patience) = (self.source, &self.patience);
        let (allowance, reconnect) = (&mut self.allowance, &mut self.reconnect);
        let answer = loop {
            let answer =
                patience.check("the pull").and_then(|()| allowance.ask(patience, || question(source, patience), |_| Ok(())));
            match answer {
                Err(error) if is_transient(error.kind()) && patience.check("the pull").is_ok() => {
                    if let Err(error) = reconnect.again(source, patience, error) {
                        break Err(error);
                    }
                }
                Ok(answer) => {
                    reconnect.reached();
                    break Ok(answer);
                }
                failed => break failed,
            }
        };
        answer.map_err(|error| self.patience.explain(error, "the pull")).inspect_err(|error| self.note_loss(error))
    }

    /// Remembers an error after which nothing more can be asked.
    pub(super) fn note_loss(&mut self, error: &Error) {
        if self.lost.is_some() {
            return;
        }
        self.lost = match error.kind() {
            // The other side may have cancelled this one table.
            ErrorKind::Cancelled if !self.options.cancel.is_cancelled() && self.source.is_open() => None,
            // That one answer is late says nothing of the next table's.
            ErrorKind::Timeout
                if self.source.asks_apart() && self.source.is_open() && self.patience.check("the pull").is_ok() =>
            {
                None
            }
            ErrorKind::Timeout | ErrorKind::Cancelled => Some(Error::new(error.kind(), error.message())),
            kind if ends_all(kind) => Some(error.clone()),
            // What one table broke is no fault of those after it: for them the connection is gone, and may be made again.
            _ if !self.source.is_open() => Some(Error::new(ErrorKind::Disconnected, error.message())),
            _ => None,
        };
    }
}

/// Why a table was not tried after the connection was lost.
pub(super) fn not_tried(lost: &Error) -> Error {
    lost.clone().while_doing("not tried, because the pull was interrupted")
}
