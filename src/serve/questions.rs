//! The questions about tables on a channel: each is a call of the connection's rate. Those of a rowferry peer's pull (which tables there
//! are, and of each its structure and its count) are one call together, and the pull that follows them is no further one. Who asks the
//! same again, or for what is not there, begins another round.

use std::collections::HashSet;

use crate::access::{Answer, Grant, Refused};
use crate::wire::Dialect;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Tables,
    Schema,
    Count,
    Same,
}

/// The questions that were asked since a call was taken, with the tables' names as the site compares them.
#[derive(Debug, Default)]
pub(super) struct Round {
    asked: HashSet<(Question, String)>,
    is_paid: bool,
}

impl Round {
    /// Takes a call for a question, unless it is one more of those for which one was taken.
    pub(super) fn ask(&mut self, grant: &mut Grant, question: Question, table: &str, dialect: Dialect) -> Answer<()> {
        let (is_of_pull, name) = (dialect == Dialect::Rowferry, grant.site().names().fold(table).into_owned());
        if is_of_pull && self.is_paid && self.asked.insert((question, name.clone())) {
            return Ok(());
        }
        self.end();
        match grant.question(is_of_pull) {
            // Another program holds the database: the answer needs no more than a look, and the next round is counted.
            Err(Refused::Failed(error)) if error.is_retryable() => {
                log::info!(target: "rowferry::serve", "a question is not counted: {error}")
            }
            counted => counted?,
        }
        self.is_paid = true;
        self.asked.insert((question, name));
        Ok(())
    }

    /// The next question is of another round: what was asked for is not there, or may not be seen.
    pub(super) fn end(&mut self) {
        *self = Round::default();
    }
}
