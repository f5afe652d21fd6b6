//! Where the time comes from, so that tests can set it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Gives the present moment, in UTC. Times decide when codes and sessions expire, never in which order rows are applied.
pub trait Clock: Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> OffsetDateTime;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
        OffsetDateTime::now_utc()
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at this moment (whole seconds).
    pub fn new(now: OffsetDateTime) -> Self {
        ManualClock(AtomicI64::new(now.unix_timestamp()))
    }

    /// Moves the clock on, by whole seconds.
    pub fn advance(&self, by: std::time::Duration) {
        let by = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
        let moved = |now: i64| Some(now.saturating_add(by));
        // Always `Ok`: the function never says no.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        // Beyond what the type can hold there is no moment: the clock stands at the end of time.
        OffsetDateTime::from_unix_timestamp(self.0.load(Ordering::SeqCst))
            .unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
    }
}

/// The moment that is this much later. A time that the clock cannot name is as good as none: it ends in a century.
pub(crate) fn later(from: Instant, time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    from.checked_add(time).unwrap_or_else(|| from + CENTURY)
}

/// A moment as it is kept in the store: RFC 3339 in UTC with whole seconds, which sorts as text.
pub(crate) fn to_text(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// A moment as it comes back from the store: without its fraction of a second.
pub(crate) fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    let at = at.to_offset(time::UtcOffset::UTC);
    at.replace_nanosecond(0).unwrap_or(at)
}

/// The moment that [`to_text`] wrote; `None` for any other text.
pub(crate) fn from_text(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn text_form_round_trips_and_sorts() {
        let early = datetime!(2026-01-02 03:04:05 UTC);
        let late = datetime!(2026-11-21 00:00:00 UTC);
        assert_eq!(to_text(early), "2026-01-02T03:04:05Z");
        assert_eq!(from_text(&to_text(early)), Some(early));
        assert!(to_text(early) < to_text(late));
        assert_eq!(from_text("yesterday"), None);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(datetime!(2026-01-01 00:00 UTC));
        assert_eq!(clock.now(), clock.now());
        clock.advance(std::time::Duration::from_secs(61));
        assert_eq!(clock.now(), datetime!(2026-01-01 00:01:01 UTC));
    }
}
