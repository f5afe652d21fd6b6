//! What a pull takes, whatever the sender sends: no more than the caller allows, and none of what this side's end of the connection
//! forbids.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::PullOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Counted;

/// What this side's end of the connection allows its own pulls.
pub(crate) trait Allowed: Send + Sync {
    /// Why a table may not be pulled.
    fn forbids(&self, table: &str) -> Option<Error>;

    /// How many more records may be asked for now; `None` where there is no limit.
    fn left(&self) -> Result<Option<u64>>;

    /// Takes so many records of a table, if that is allowed now.
    fn take(&self, table: &str, records: u64) -> Result<()>;

    /// Why none are taken when none are left.
    fn no_more(&self) -> Error;

    /// Where those are counted that are kept.
    fn counted(&self) -> Arc<Counted>;
}

impl fmt::Debug for dyn Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Allowed")
    }
}

/// How much a run of a pull may take, and how much it has taken, of all tables together.
#[derive(Debug)]
pub(super) struct Bounds {
    most: Counts,
    records: AtomicU64,
    bytes: AtomicU64,
    allowed: Option<Arc<dyn Allowed>>,
}

/// Records and bytes.
#[derive(Debug, Clone, Copy)]
struct Counts {
    records: u64,
    bytes: u64,
}

/// The most records and bytes of a pull, where the caller does not say: more than any honest sender has.
pub(super) const MOST: u64 = 1 << 40;

impl Bounds {
    pub(super) fn of(options: &PullOptions<'_>) -> Self {
        let most = Counts { records: options.max_records.unwrap_or(MOST), bytes: options.max_bytes.unwrap_or(MOST) };
        Bounds { most, records: AtomicU64::new(0), bytes: AtomicU64::new(0), allowed: options.allowed.clone() }
    }

    /// Why a table may not be pulled.
    pub(super) fn forbids(&self, table: &str) -> Option<Error> {
        self.allowed.as_ref()?.forbids(table)
    }

    /// How many more records the connection allows to be asked for.
    ///
    /// # Errors
    /// Why nothing may be pulled through it any more.
    pub(super) fn left(&self) -> Result<u64> {
        self.allowed.as_ref().map_or(Ok(u64::MAX), |allowed| Ok(allowed.left()?.unwrap_or(u64::MAX)))
    }

    /// An error if none may be asked for, where so many are expected.
    pub(super) fn check(&self, expected: u64) -> Result<()> {
        match &self.allowed {
            Some(allowed) if expected > 0 && allowed.left()? == Some(0) => Err(allowed.no_more()),
            _ => Ok(()),
        }
    }

    /// Takes a page of a table, of so many records and bytes, or none of it. One thread at a time fetches.
    ///
    /// # Errors
    /// [`PullLimit`](ErrorKind::PullLimit), and what the connection says.
    pub(super) fn take(&self, table: &str, records: u64, bytes: u64) -> Result<()> {
        let sum = |taken: &AtomicU64, more: u64| taken.load(Ordering::SeqCst).saturating_add(more);
        let (all_records, all_bytes) = (sum(&self.records, records), sum(&self.bytes, bytes));
        if all_records > self.most.records {
            return Err(reached(format!("{} records", self.most.records), "max_records"));
        }
        if all_bytes > self.most.bytes {
            return Err(reached(format!("{} bytes", self.most.bytes), "max_bytes"));
        }
        if let Some(allowed) = self.allowed.as_ref().filter(|_| records > 0) {
            allowed.take(table, records)?;
        }
        self.records.store(all_records, Ordering::SeqCst);
        self.bytes.store(all_bytes, Ordering::SeqCst);
        Ok(())
    }
}

fn reached(most: String, option: &str) -> Error {
    Error::new(ErrorKind::PullLimit, format!("this pull may take {most} at most, and there is more"))
        .with_hint(format!("What arrived is kept. Pull again: it resumes. Or allow more: `PullOptions::{option}`."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_taken_whole_or_not_at_all() {
        let bounds = Bounds::of(&PullOptions::new().max_records(10).max_bytes(100));
        let take = |records, bytes| bounds.take("t", records, bytes).map_err(|error| (error.kind(), error.hint().is_some()));
        let reached = Err((ErrorKind::PullLimit, true));
        assert_eq!(
            [take(6, 50), take(5, 1), take(4, 51), take(4, 50), take(0, 0)],
            [Ok(()), reached, reached, Ok(()), Ok(())]
        );
        assert_eq!([take(1, 0), take(0, 1), take(u64::MAX, u64::MAX)], [reached; 3]);
        let endless = Bounds::of(&PullOptions::new());
        assert!(endless.take("t", MOST, MOST).is_ok() && endless.take("t", 1, 0).is_err());
    }
}
