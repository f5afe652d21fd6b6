//! The end of a run: what is left of its pull.

use std::time::{Duration, Instant};

use super::checkpoints::{Checkpoint, Step};
use super::run::{Ledger, forget_stage};
use super::{appends, checkpoints, indexes, pulls};
use crate::domain::strategy::Strategy;
use crate::error::{ErrorKind, Result};
use crate::state;
use crate::store::Writer;

/// How long the end is tried again after the caller has cancelled the pull.
const CANCELLED_TIME: Duration = Duration::from_secs(1);

/// What is left of a pull that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It can be resumed.
    Interrupted,
    /// It is over, but rows that have yet to come follow new keys of appended ones.
    Followed,
    /// It can be resumed if something came of a table that is not done.
    Open,
}

impl Ledger<'_> {
    /// Ends the pull: remembers the appends among the tables that are `done`, forgets the checkpoints of those that cannot be
    /// resumed, and drops what the pull kept for itself, unless it is to be resumed. What is done is kept as such only for a pull
    /// that was interrupted: the next one is to get all rows of it. It is tried again for a while: what could not be noted would be
    /// resumed by the next pull. `last` is run in the same transaction.
    pub(crate) fn end(
        &self,
        done: &[Checkpoint],
        forgotten: &[Checkpoint],
        ending: Ending,
        last: &mut dyn FnMut(&mut dyn Writer) -> Result<()>,
    ) -> Result<()> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(50);
        loop {
            let ended = self.try_end(done, forgotten, ending, last);
            let Err(error) = &ended else { return Ok(()) };
            let time = match self.patience.check("the end of a pull") {
                Ok(()) => self.here.limits.pull.retry_time,
                Err(_) => self.here.limits.pull.retry_time.min(CANCELLED_TIME),
            };
            if may_pass(error.kind()) && began.elapsed() < time {
                log::warn!(target: "rowferry::pull", "the end of a pull could not be noted yet: {error}");
                std::thread::sleep(wait);
                wait = (wait * 2).min(Duration::from_secs(1));
                continue;
            }
            if matches!(error.kind(), ErrorKind::TakenOver | ErrorKind::Timeout) {
                self.tell_alone();
            }
            return ended;
        }
    }

    /// Keeps what there is to say of the transfers, where the pull itself is no longer this run's.
    fn tell_alone(&self) {
        let (now, mut told) = (self.now(), 0);
        let written = state::write(self.here.store, |sql| {
            told = self.history(|history| history.write(sql, now)).unwrap_or(Ok(0))?;
            Ok(())
        });
        match written {
            Ok(()) => self.told(told),
            Err(error) => {
                log::warn!(target: "rowferry::pull", "how the transfers of a pull ended could not be noted: {error}")
            }
        }
    }

    fn try_end(
        &self,
        done: &[Checkpoint],
        forgotten: &[Checkpoint],
        ending: Ending,
        last: &mut dyn FnMut(&mut dyn Writer) -> Result<()>,
    ) -> Result<()> {
        let (mut writer, names) = (self.transaction()?, self.names());
        last(&mut *writer)?;
        let told = self.tell(&mut *writer)?;
        let mut stays = false;
        if let Some(sender) = &self.sender {
            for checkpoint in forgotten {
                indexes::build_if_possible(&mut *writer, checkpoint)?;
                checkpoints::remove(writer.state(), &self.scope, &checkpoint.table, checkpoint.strategy, names)?;
                forget_stage(&mut *writer, &self.scope, checkpoint)?;
            }
            // Nothing is written for that alone when the last row was applied.
            let done: Vec<Checkpoint> = done.iter().map(|done| Checkpoint { step: Step::Done, ..done.clone() }).collect();
            appends::remember(writer.state(), sender, &done, names, self.now())?;
            done.iter().try_for_each(|done| indexes::build(&mut *writer, done))?;
            let is_done = |(table, strategy): &(String, Strategy)| {
                done.iter().any(|done| names.same(&done.table, table) && done.strategy == *strategy)
            };
            stays = match ending {
                Ending::Interrupted | Ending::Followed => true,
                Ending::Open => !checkpoints::unfinished(writer.state(), &self.scope)?.iter().all(is_done),
            };
            if stays {
                for done in &done {
                    // Rows that are yet to come need the new keys of appended ones.
                    if ending == Ending::Interrupted || done.strategy == Strategy::Append {
                        // One that was taken away meanwhile is another pull's.
                        checkpoints::update(writer.state(), &self.scope, done, names, self.now())?;
                    } else {
                        checkpoints::remove(writer.state(), &self.scope, &done.table, done.strategy, names)?;
                    }
                }
                pulls::release(writer.state(), &self.scope)?;
            }
        }
        if !stays {
            self.here.drop_pull(&mut *writer, &self.scope, self.sender.as_ref())?;
        }
        writer.commit()?;
        self.told(told);
        self.pauses.end();
        Ok(())
    }
}

/// Whether the end of a pull may be noted the next time.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Locked | ErrorKind::DiskFull | ErrorKind::Io)
}
