//! Reconnecting after the connection to the other site was lost, and connecting where it is busy.

use std::time::{Duration, Instant};

use super::errors::is_transient;
use super::source::Source;
use super::wait::pause_unless;
use crate::cancel::Patience;
use crate::clock::later;
use crate::error::{Error, ErrorKind, Result};

/// The first and the longest time between two tries.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How long it is tried to make a lost connection again. The time begins when it is lost, and again whenever something came
/// meanwhile.
#[derive(Debug, Clone)]
pub(super) struct ReconnectPolicy {
    time: Duration,
    until: Option<Instant>,
    wait: Duration,
}

impl ReconnectPolicy {
    pub(super) fn new(time: Duration) -> Self {
        ReconnectPolicy { time, until: None, wait: FIRST }
    }

    /// For how long it is still tried.
    pub(super) fn left(&self) -> Duration {
        self.until.map_or(self.time, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Something came: what is lost after this is lost for the first time.
    pub(super) fn reached(&mut self) {
        self.until = None;
        self.wait = FIRST;
    }

    /// Connects again, waiting longer and longer between tries. When that comes to nothing, the error is the one that the
    /// connection was `lost` with, or what the other site said to the last try if that is final. Where the connection is still there,
    /// and the other site only failed to answer, waiting is all.
    pub(super) fn again(&mut self, source: &dyn Source, patience: &Patience, lost: Error) -> Result<()> {
        if !source.can_reconnect() {
            return Err(lost);
        }
        let until = *self.until.get_or_insert_with(|| later(Instant::now(), self.time));
        let mut told = lost.retry_after();
        loop {
            if Instant::now() >= until {
                return Err(lost);
            }
            self.pause(told, until, &|| patience.check("reconnecting"))?;
            match source.reconnect(patience) {
                Ok(()) => return Ok(()),
                Err(error)
                    if is_transient(error.kind())
                        || matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::TooManyAttempts) =>
                {
                    log::debug!(target: "rowferry::pull", "not reconnected yet: {error}");
                    told = error.retry_after();
                }
                Err(error) => return Err(error.while_doing("reconnecting")),
            }
            patience.check("reconnecting")?;
        }
    }

    /// Waits before the next try, as long as the other site `told` at least, but not beyond `until`.
    fn pause(&mut self, told: Option<Duration>, until: Instant, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let wait = self.wait.mul_f64(jitter()).saturating_add(told.unwrap_or_default());
        self.wait = (self.wait * 2).min(LONGEST);
        pause_unless(check, wait.min(until.saturating_duration_since(Instant::now())))
    }

    /// Makes the first connection. Where the other site is busy, it is tried again as a lost one is: nothing was asked for, so that a
    /// code is good as before. `waiting` is called before each wait, with the time that is left for all of them; `check` says whether
    /// to wait on.
    #[cfg(feature = "client")]
    pub(super) fn first<T>(
        mut self,
        mut connect: impl FnMut() -> Result<T>,
        check: &dyn Fn() -> Result<()>,
        mut waiting: impl FnMut(Duration),
    ) -> Result<T> {
        let until = later(Instant::now(), self.time);
        loop {
            let busy = match connect() {
                Err(error) if error.kind() == ErrorKind::Unreachable && error.http_status() == Some(503) => error,
                answer => return answer,
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(busy);
            }
            waiting(left);
            self.pause(busy.retry_after(), until, check)?;
        }
    }
}

/// Between a half and one, so that many receivers that lost the same sender do not all come back at once.
fn jitter() -> f64 {
    // Without randomness there is just no spread.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0
}
