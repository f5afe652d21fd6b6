//! How long something may take.

use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};

/// How long a blocking call sleeps before it looks at its time budget and at cancellation again.
const SLICE: Duration = Duration::from_millis(100);

/// The time that one phase has, and who may end it sooner.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    allowed: Duration,
    ends: Instant,
    /// When it is over however often it is renewed.
    latest: Option<Instant>,
    cancel: Vec<CancelToken>,
}

impl Budget {
    /// A budget that begins now.
    pub(crate) fn new(allowed: Duration, cancel: &[&CancelToken]) -> Self {
        let cancel = cancel.iter().copied().cloned().collect();
        Budget { allowed, ends: clock::later(Instant::now(), allowed), latest: None, cancel }
    }

    /// The same, which is over then however often it is renewed.
    pub(crate) fn until(self, latest: Option<Instant>) -> Self {
        Budget { ends: latest.map_or(self.ends, |latest| self.ends.min(latest)), latest, ..self }
    }

    /// Begins again: something has come.
    pub(crate) fn renew(&mut self) {
        let ends = clock::later(Instant::now(), self.allowed);
        self.ends = self.latest.map_or(ends, |latest| ends.min(latest));
    }

    /// A part of it, which begins now and has this time at most.
    pub(crate) fn part(&self, allowed: Duration) -> Self {
        let allowed = allowed.min(self.left());
        let ends = clock::later(Instant::now(), allowed);
        Budget { allowed, ends, latest: Some(self.ends), cancel: self.cancel.clone() }
    }

    /// What is left; zero when it is over.
    pub(crate) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// The end of the next slice of waiting. `late` is what has not happened, for the message.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], [`ErrorKind::Timeout`].
    pub(crate) fn slice(&self, late: &dyn Fn() -> String) -> Result<Instant> {
        if self.cancel.iter().any(|token| token.is_cancelled()) {
            return Err(Error::new(ErrorKind::Cancelled, format!("cancelled; until then {}", late())));
        }
        let now = Instant::now();
        match now < self.ends {
            true => Ok((now + SLICE).min(self.ends)),
            false => Err(Error::new(ErrorKind::Timeout, format!("{} within {}", late(), seconds(self.allowed)))
                .with_hint("Try again later, or allow more time.")),
        }
    }
}

/// `60 s`, `0.5 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_phase_and_the_time() {
        let budget = Budget::new(Duration::ZERO, &[]);
        let error = budget.slice(&|| "nothing came".to_owned()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Timeout, "nothing came within 0 s"));
        assert_eq!(seconds(Duration::from_millis(1500)), "1.5 s");
    }

    #[test]
    fn a_budget_is_renewed_until_the_latest_moment() {
        let mut budget = Budget::new(Duration::ZERO, &[]);
        assert!(budget.slice(&String::new).is_err());
        budget.allowed = Duration::from_secs(60);
        budget.renew();
        assert!(budget.slice(&String::new).is_ok());
        let mut budget = Budget::new(Duration::from_secs(60), &[]).until(Some(Instant::now()));
        budget.renew();
        assert!(budget.slice(&String::new).is_err());
    }

    #[test]
    fn cancellation_comes_first_and_slices_are_short() {
        let token = CancelToken::new();
        let budget = Budget::new(Duration::MAX, &[&token]);
        let end = budget.slice(&String::new).unwrap();
        assert!(end <= Instant::now() + SLICE);
        token.cancel();
        assert_eq!(budget.slice(&String::new).map_err(|error| error.kind()), Err(ErrorKind::Cancelled));
    }
}
