//! What leaves the history because it is old: some of it at a time, so that nobody waits long for the write lock.

use std::ops::AddAssign;

use time::{Duration, OffsetDateTime};

use super::undo;
use crate::error::Result;
use crate::limits::Limits;
use crate::state::{events, read, transfers, write};
use crate::store::{Sql, Store};

/// Most rows of each kind that are deleted in one transaction.
const AT_ONCE: u32 = 1_000;

/// How many rows were deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) events: u64,
    pub(crate) transfers: u64,
    /// Transfers that can no longer be undone.
    pub(crate) undo: u64,
}

impl AddAssign for Pruned {
    fn add_assign(&mut self, more: Pruned) {
        self.events += more.events;
        self.transfers += more.transfers;
        self.undo += more.undo;
    }
}

/// Deletes up to [`AT_ONCE`] of the events, and as many of the transfers that have ended, that are older than the limits say, and
/// what undoes one transfer. It looks
/// first, which needs no write lock. For the end of each pull: what is left is deleted by later ones.
pub(crate) fn prune_some(store: &dyn Store, limits: &Limits, now: OffsetDateTime) -> Result<Pruned> {
    let events = prune(store, earlier(now, limits.retention.event_time), events::any_before, events::prune)?;
    let transfers = prune(store, earlier(now, limits.retention.transfer_time), transfers::any_ended, transfers::prune)?;
    let before = earlier(now, limits.retention.undo_time);
    let late = |sql: &mut dyn Sql| undo::late(sql, before, limits.retention.undo_bytes);
    let undo = match read(store, late)? {
        Some(_) => write(store, |sql| late(sql)?.map_or(Ok(0), |transfer| undo::forget(sql, &transfer).map(|()| 1)))?,
        None => 0,
    };
    Ok(Pruned { events, transfers, undo })
}

fn prune(
    store: &dyn Store,
    before: Option<OffsetDateTime>,
    any: fn(&mut dyn Sql, OffsetDateTime) -> Result<bool>,
    some: fn(&mut dyn Sql, OffsetDateTime, u32) -> Result<u64>,
) -> Result<u64> {
    match before {
        Some(before) if read(store, |sql| any(sql, before))? => write(store, |sql| some(sql, before, AT_ONCE)),
        _ => Ok(0),
    }
}

/// The moment so long before another one; `None` if there is no such moment: then nothing is old enough.
pub(crate) fn earlier(now: OffsetDateTime, time: std::time::Duration) -> Option<OffsetDateTime> {
    now.checked_sub(Duration::try_from(time).ok()?)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::clock;
    use crate::domain::value::Value;
    use crate::store::MemoryStore;

    const NOW: OffsetDateTime = datetime!(2026-06-01 00:00:00 UTC);

    fn count(store: &dyn Store, table: &str) -> i64 {
        let rows = read(store, |sql| sql.query(&format!("SELECT count(*) FROM {table}"), &[])).unwrap();
        rows[0][0].as_integer().unwrap()
    }

    /// A store with so many events and transfers, all from this moment.
    fn store(many: u32, at: OffsetDateTime) -> MemoryStore {
        let store = MemoryStore::new().unwrap();
        let events = "INSERT INTO rowferry_events (id, at, kind, actor, details) \
                      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                      SELECT i, ?2, 'transfer.completed', 'x', '{}' FROM n";
        let transfers = "INSERT INTO rowferry_transfers (uuid, direction, table_name, records_transferred, records_created, \
                         records_updated, records_skipped, records_failed, bytes_transferred, status, requires_approval, \
                         completed_at, touched_at, metadata, inserted_at) \
                         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                         SELECT i, 'receive', 't', 0, 0, 0, 0, 0, 0, 'completed', 0, ?2, ?2, '{}', ?2 FROM n";
        let values: [Value; 2] = [i64::from(many).into(), clock::to_text(at).into()];
        write(&store, |sql| sql.execute(events, &values).and_then(|_| sql.execute(transfers, &values))).unwrap();
        store
    }

    #[test]
    fn some_at_a_time_leave() {
        let limits = Limits::default();
        let old = NOW - Duration::days(400);
        let store = store(AT_ONCE * 2 + 1, old);
        let prune = || prune_some(&store, &limits, NOW).unwrap();
        let all = Pruned { events: 1_000, transfers: 1_000, undo: 0 };
        assert_eq!((prune(), prune()), (all, all));
        assert_eq!(prune(), Pruned { events: 1, transfers: 1, undo: 0 });
        assert_eq!(prune(), Pruned::default());
        assert_eq!((count(&store, "rowferry_events"), count(&store, "rowferry_transfers")), (0, 0));
    }

    #[test]
    fn each_kind_stays_for_its_time() {
        let limits = Limits::default();
        let pruned = |days| prune_some(&store(3, NOW - Duration::days(days)), &limits, NOW).unwrap();
        assert_eq!(pruned(90), Pruned::default());
        assert_eq!(pruned(91), Pruned { events: 3, transfers: 0, undo: 0 });
        assert_eq!(pruned(365), Pruned { events: 3, transfers: 0, undo: 0 });
        assert_eq!(pruned(366), Pruned { events: 3, transfers: 3, undo: 0 });
        let forever = {
            let mut limits = limits;
            limits.retention.event_time = std::time::Duration::MAX;
            limits.retention.transfer_time = std::time::Duration::MAX;
            limits
        };
        assert_eq!(prune_some(&store(3, NOW - Duration::days(999)), &forever, NOW).unwrap(), Pruned::default());
    }

    #[test]
    fn where_nothing_is_old_nobody_is_waited_for() {
        let limits = Limits::with(|limits| limits.store.busy_timeout = std::time::Duration::from_millis(1));
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::sqlite::SqliteStore::open(folder.path().join("a.db"), &limits).unwrap();
        let other = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert_eq!(prune_some(&store, &limits, NOW).unwrap(), Pruned::default());
    }
}
