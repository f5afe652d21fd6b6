//! Asking a running call for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::later;
use crate::error::{Error, ErrorKind, Result};

/// Asks a running call for its end: give a clone to the call and keep one. All clones are one token.
///
/// A call that waits for the other site notices within about a tenth of a second, and ends with
/// [`ErrorKind::Cancelled`]. A token stays cancelled.
///
/// ```
/// let token = rowferry::CancelToken::new();
/// let kept = token.clone();
/// kept.cancel();
/// assert!(token.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    cancelled: AtomicBool,
    /// Cancels this one, too.
    parent: Option<CancelToken>,
}

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        CancelToken::default()
    }

    /// A token for a part of the call: it is cancelled with this one, and can be cancelled alone.
    pub(crate) fn child(&self) -> Self {
        CancelToken(Arc::new(Flag { cancelled: AtomicBool::new(false), parent: Some(self.clone()) }))
    }

    /// Asks for the end.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst) || self.0.parent.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// An error if the end was asked for; `doing` says in the message what was going on.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`].
    pub fn check(&self, doing: &str) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, format!("cancelled while {doing}"))),
            false => Ok(()),
        }
    }
}

/// How long a call may go on: until it is cancelled, and for no longer than was allowed.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    pub(crate) cancel: CancelToken,
    /// When the time is over, and how long it was.
    deadline: Option<(Instant, Duration)>,
}

impl Patience {
    /// Patience that begins now; without a time it ends only by the token.
    pub(crate) fn new(cancel: CancelToken, allowed: Option<Duration>) -> Self {
        Patience { cancel, deadline: allowed.map(|allowed| (later(Instant::now(), allowed), allowed)) }
    }

    /// Patience that never ends.
    pub(crate) fn unbounded() -> Self {
        Patience::new(CancelToken::new(), None)
    }

    /// That of a part of the call: it has the same time, and a token that can be cancelled alone.
    pub(crate) fn child(&self) -> Self {
        Patience { cancel: self.cancel.child(), deadline: self.deadline }
    }

    /// An error if it is over; `doing` says in the message what was going on.
    pub(crate) fn check(&self, doing: &str) -> Result<()> {
        self.cancel.check(doing)?;
        match self.deadline {
            Some((at, allowed)) if Instant::now() >= at => {
                let message =
                    format!("{doing} did not end within the {} s that the whole pull may take", in_seconds(allowed));
                Err(Error::new(ErrorKind::Timeout, message).with_hint(
                    "What was committed stays: pull again, and it resumes. Or allow more time: `PullOptions::timeout`.",
                ))
            }
            _ => Ok(()),
        }
    }

    /// The error that something ended with: where that only had no more time, because all of it is over, that is what is said.
    pub(crate) fn explain(&self, error: Error, doing: &str) -> Error {
        match error.kind() {
            ErrorKind::Timeout | ErrorKind::Disconnected | ErrorKind::Unreachable => match self.check(doing) {
                Err(over) if over.kind() == ErrorKind::Timeout => over,
                _ => error,
            },
            _ => error,
        }
    }

    /// When it is over, if it ends by itself.
    #[cfg(feature = "client")]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline.map(|(at, _)| at)
    }

    /// How long one step may take that has this time on its own.
    #[cfg(feature = "client")]
    pub(crate) fn within(&self, time: Duration) -> Duration {
        self.deadline.map_or(time, |(at, _)| at.saturating_duration_since(Instant::now()).min(time))
    }
}

/// A time as a person writes it: seconds, to the tenth where it is no whole number of them.
fn in_seconds(time: Duration) -> String {
    let text = format!("{:.1}", time.as_secs_f64());
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_token() {
        let token = CancelToken::new();
        let clone = token.clone();
        assert!(token.check("waiting").is_ok());
        clone.cancel();
        assert_eq!(token.check("waiting").map_err(|error| error.kind()), Err(ErrorKind::Cancelled));
        assert!(!CancelToken::new().is_cancelled());
    }

    #[test]
    fn a_part_ends_alone_and_with_the_whole() {
        let token = CancelToken::new();
        let (one, other) = (token.child(), token.child());
        one.cancel();
        assert!(one.child().is_cancelled() && !other.is_cancelled() && !token.is_cancelled());
        token.cancel();
        assert!(other.is_cancelled());
        let over = Patience::new(CancelToken::new(), Some(Duration::ZERO));
        assert_eq!(over.child().check("waiting").map_err(|error| error.kind()), Err(ErrorKind::Timeout));
    }

    #[test]
    fn patience_ends() {
        let kind = |patience: &Patience| patience.check("waiting").map_err(|error| error.kind());
        let token = CancelToken::new();
        for endless in [None, Some(Duration::MAX)] {
            assert_eq!(kind(&Patience::new(token.clone(), endless)), Ok(()));
        }
        let over = Patience::new(token.clone(), Some(Duration::ZERO));
        assert_eq!(kind(&over), Err(ErrorKind::Timeout));
        let late =
            |patience: &Patience| patience.explain(Error::new(ErrorKind::Timeout, "no answer within 60 s"), "waiting");
        assert!(
            late(&over).message().contains("the whole pull may take")
                && late(&Patience::unbounded()).message().contains("60 s")
        );
        assert_eq!(over.explain(Error::new(ErrorKind::DiskFull, "full"), "waiting").kind(), ErrorKind::DiskFull);
        token.cancel();
        assert_eq!(kind(&over), Err(ErrorKind::Cancelled));
    }
}
