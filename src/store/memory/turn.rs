//! Things that one at a time may use, lent for as long as a time-out allows to wait for them.

use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// Something that is lent to one at a time.
pub(super) struct Turn<T> {
    /// It, unless it is lent.
    thing: Mutex<Option<T>>,
    given_back: Condvar,
}

impl<T> Turn<T> {
    pub(super) fn new(thing: T) -> Arc<Self> {
        Arc::new(Turn { thing: Mutex::new(Some(thing)), given_back: Condvar::new() })
    }

    /// Waits for it for so long at most. A second call by the thread that has it waits in vain, and is told so in time.
    pub(super) fn take(self: &Arc<Self>, time: Duration) -> Result<Lease<T>> {
        // Nothing can fail while the mutex is held, so that what it guards is whole.
        let thing = self.thing.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given_back.wait_timeout_while(thing, time, |thing| thing.is_none());
        let (mut thing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match thing.take() {
            Some(thing) => Ok(Lease { turn: Arc::clone(self), thing: Some(thing) }),
            None => {
                let message = format!("the store in memory was in use for {} s", time.as_secs_f64());
                Err(Error::new(ErrorKind::Locked, message)
                    .with_hint("Another transaction is open, perhaps of this very thread: end it, then try again."))
            }
        }
    }
}

/// Something that was lent. Dropped, it is given back.
pub(super) struct Lease<T> {
    turn: Arc<Turn<T>>,
    /// It is there until this is dropped.
    thing: Option<T>,
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is given back only when the lease is dropped")
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        *self.turn.thing.lock().unwrap_or_else(PoisonError::into_inner) = self.thing.take();
        self.turn.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it() {
        let turn = Turn::new(7);
        let lease = turn.take(Duration::ZERO).unwrap();
        assert_eq!(*lease, 7);
        let error = turn.take(Duration::from_millis(5)).err().unwrap();
        assert!(error.kind() == ErrorKind::Locked && error.hint().is_some(), "{error}");
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| *turn.take(Duration::from_secs(60)).unwrap());
            drop(lease);
            assert_eq!(waiting.join().unwrap(), 7);
        });
    }

    #[test]
    fn a_panic_gives_it_back() {
        let turn = Turn::new(7);
        let other = Arc::clone(&turn);
        let panicked = std::thread::spawn(move || {
            let _lease = other.take(Duration::ZERO).unwrap();
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*turn.take(Duration::ZERO).unwrap(), 7);
    }
}
