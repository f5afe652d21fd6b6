//! Events: what happened, and a subscription to what happens.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Site;
use crate::clock;
use crate::domain::event::{Event, EventFilter};
use crate::error::Result;
use crate::store::records::{self, events};

/// How often a subscription looks for events of other processes while it waits.
const LOOK: Duration = Duration::from_secs(1);

/// How many events a subscription reads at a time.
const READ: u32 = 100;

/// What happened to the connections and transfers of a [`Site`]. Events are kept for
/// [`Limits::event_time`](crate::Limits::event_time).
///
/// Every method fails with what the store says.
#[derive(Debug, Clone, Copy)]
pub struct Events<'s> {
    site: &'s Site,
}

impl<'s> Events<'s> {
    pub(super) fn new(site: &'s Site) -> Self {
        Events { site }
    }

    /// The events that a filter chooses.
    pub fn list(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        records::read(self.site.store_ref(), |sql| events::list(sql, filter, self.site.limits().listed))
    }

    /// The events that come from now on, those of other processes on the same database too.
    pub fn subscribe(&self) -> Result<EventStream> {
        let last = records::read(self.site.store_ref(), events::newest)?;
        Ok(EventStream { site: self.site.clone(), last, ready: VecDeque::new() })
    }
}

/// The events that came since it was made, in their order, each once. It holds no resource but a little memory, and no thread:
/// it looks when it is asked. One that is asked more rarely than events are kept for misses those that were dropped.
#[derive(Debug)]
pub struct EventStream {
    site: Site,
    last: u64,
    ready: VecDeque<Event>,
}

impl EventStream {
    /// The next event, waited for at most this long; `None` if there was none. Events of this process come at once, those of
    /// others within a second.
    ///
    /// # Errors
    /// What the store says; the next call goes on where this one was.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let until = clock::later(Instant::now(), timeout);
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.last = event.id;
                return Ok(Some(event));
            }
            // Counted before the look, so that a change between the two is not slept through.
            let seen = self.site.wake().count();
            let filter = EventFilter::new().after(self.last).limit(READ);
            self.ready = records::read(self.site.store_ref(), |sql| events::list(sql, &filter, READ))?.into();
            if !self.ready.is_empty() {
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.site.wake().wait(seen, left.min(LOOK));
        }
    }
}

/// Counts the changes that were made through a site, and wakes those that wait for one.
#[derive(Debug, Default)]
pub(super) struct Wake {
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Wake {
    /// A change was committed.
    pub(super) fn all(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes = changes.wrapping_add(1);
        self.changed.notify_all();
    }

    fn count(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change beyond those that were seen, at most this long. Waking for nothing does no harm.
    fn wait(&self, seen: u64, time: Duration) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(changes, time, |changes| *changes == seen));
    }
}
