//! Moments before and after now.

use time::OffsetDateTime;

/// A moment before which the clock cannot count is as good as the first.
pub(super) fn earlier(now: OffsetDateTime, time: std::time::Duration) -> OffsetDateTime {
    let time = time::Duration::try_from(time).ok();
    time.and_then(|time| now.checked_sub(time)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A moment beyond which the clock cannot count is as good as the last.
pub(super) fn later(now: OffsetDateTime, time: std::time::Duration) -> OffsetDateTime {
    let time = time::Duration::try_from(time).ok();
    time.and_then(|time| now.checked_add(time)).unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
}
