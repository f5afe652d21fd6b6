//! Asking a running call for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        CancelToken::default()
    }

    /// Asks for the end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
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
}
