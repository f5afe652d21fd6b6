//! Waiting in the middle of a pull, because the other site says so.

use std::time::{Duration, Instant};

use crate::cancel::Patience;
use crate::clock::later;
use crate::error::{ErrorKind, Result};

/// How long at most nobody looks whether the pull is to end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The shortest time between two questions, whatever the other site says.
const SHORTEST: Duration = Duration::from_millis(20);

/// Waits this long, or until the pull is to end.
pub(super) fn pause(patience: &Patience, time: Duration, doing: &str) -> Result<()> {
    pause_unless(&|| patience.check(doing), time)
}

/// Waits this long, or until there is an error.
pub(super) fn pause_unless(check: &dyn Fn() -> Result<()>, time: Duration) -> Result<()> {
    let until = later(Instant::now(), time);
    loop {
        check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(POLL_INTERVAL));
    }
}

/// The longest time between two questions for approval.
const LAST: Duration = Duration::from_secs(15);

/// How much time is left until then; none where there is nothing to wait for.
pub(super) fn left(until: Option<Instant>) -> Duration {
    until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
}

/// How often the other site is asked for approval: less and less often.
#[derive(Debug)]
pub(super) struct Poll {
    interval: Duration,
}

impl Poll {
    pub(super) fn new(first: Duration) -> Self {
        Poll { interval: first.max(SHORTEST) }
    }

    /// Whether there is time to ask again.
    pub(super) fn is_before(&self, until: Option<Instant>) -> bool {
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it is time to ask again, and no longer than until then.
    pub(super) fn pause(&mut self, patience: &Patience, until: Option<Instant>) -> Result<()> {
        pause(patience, self.interval.min(left(until)), "waiting for approval")?;
        self.interval = (self.interval * 3 / 2).min(LAST);
        Ok(())
    }
}

/// The time that there is to wait because the other site counts calls.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    left: Duration,
}

impl Allowance {
    pub(super) fn new(time: Duration) -> Self {
        Allowance { left: time }
    }

    /// Asks, and asks again as often as the other site says to wait for so long, while there is time left for that.
    /// `waiting` is called before each wait, with how long that is.
    pub(super) fn ask<T>(
        &mut self,
        patience: &Patience,
        mut question: impl FnMut() -> Result<T>,
        mut waiting: impl FnMut(Duration) -> Result<()>,
    ) -> Result<T> {
        loop {
            let began = Instant::now();
            let error = match question() {
                Err(error) if error.kind() == ErrorKind::RateLimited => error,
                answer => return answer,
            };
            let told = error.retry_after().map(|told| told.max(SHORTEST)).filter(|told| *told <= self.left);
            let Some(told) = told else {
                return Err(error);
            };
            // A question that is answered late costs its time, too.
            self.left = self.left.saturating_sub(told.max(began.elapsed()));
            waiting(told)?;
            pause(patience, told, "waiting as the other site asked")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::Error;

    /// What comes of asking a site that refuses so often, and how often it was asked.
    fn ask(refusals: u32, told: Option<Duration>, allowed: Duration, patience: &Patience) -> (Result<u32>, u32) {
        let mut asked = 0;
        let answer = Allowance::new(allowed).ask(
            patience,
            || {
                asked += 1;
                let error = Error::new(ErrorKind::RateLimited, "too many calls");
                match (asked > refusals, told) {
                    (true, _) => Ok(asked),
                    (false, Some(told)) => Err(error.with_retry_after(told)),
                    (false, None) => Err(error),
                }
            },
            |_| Ok(()),
        );
        (answer, asked)
    }

    #[test]
    fn it_waits_as_told_but_not_for_ever() {
        let patience = Patience::new(CancelToken::new(), None);
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(3600));
        assert_eq!(ask(3, Some(short), long, &patience).0.unwrap(), 4);
        let kind = |(answer, asked): (Result<u32>, u32)| (answer.unwrap_err().kind(), asked);
        assert_eq!(kind(ask(9, Some(short), 2 * SHORTEST, &patience)), (ErrorKind::RateLimited, 3));
        assert_eq!(kind(ask(9, Some(long), Duration::from_secs(60), &patience)), (ErrorKind::RateLimited, 1));
        assert_eq!(kind(ask(9, None, long, &patience)), (ErrorKind::RateLimited, 1));
    }

    #[test]
    fn slow_refusals_cost_their_time() {
        let patience = Patience::new(CancelToken::new(), None);
        let mut asked = 0;
        let slow = || {
            asked += 1;
            std::thread::sleep(2 * SHORTEST);
            Err::<(), _>(Error::new(ErrorKind::RateLimited, "x").with_retry_after(Duration::ZERO))
        };
        let answer = Allowance::new(4 * SHORTEST).ask(&patience, slow, |_| Ok(()));
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::RateLimited);
        assert!(asked <= 3, "{asked}");
    }

    #[test]
    fn it_ends_when_the_pull_does() {
        let token = CancelToken::new();
        let over = Patience::new(token.clone(), Some(Duration::ZERO));
        let hour = Duration::from_secs(3600);
        assert_eq!(ask(9, Some(hour), hour, &over).0.unwrap_err().kind(), ErrorKind::Timeout);
        token.cancel();
        let cancelled = Patience::new(token, None);
        assert_eq!(ask(9, Some(hour), hour, &cancelled).0.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}
