//! SQL functions that rowferry's own statements use on its own connections. They can be called from no trigger or view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;
use rusqlite::functions::FunctionFlags;

use super::dialect::borrowed;

/// What functions count on a connection.
#[derive(Default)]
pub(super) struct Counters {
    /// Calls of `rowferry_hit`.
    pub(super) hits: AtomicU64,
    /// Calls of `rowferry_older`.
    pub(super) older: AtomicU64,
}

/// Registers:
///
/// - `rowferry_hit()`: true, and counts its calls. In the condition of an upsert it counts the conflicts, which makes exact
///   counts of created and updated rows possible without a query per row. It is not declared deterministic, so that SQLite
///   calls it for each row.
/// - `rowferry_older()`: false, and counts its calls. It counts the conflicts whose record differs and is not newer.
/// - `rowferry_refuse()`: fails as a constraint does, which undoes the statement that calls it.
/// - `rowferry_same(a, b)`: whether both are of the same storage class and the same bytes, which SQL's `IS` does not say
///   (`1 IS 1.0`, `0.0 IS -0.0`).
pub(super) fn register(sqlite: &rusqlite::Connection, counters: Arc<Counters>) -> rusqlite::Result<()> {
    // Only this connection counts here: it need not be one step, which would take ten times as long.
    let count = |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    let of_hits = Arc::clone(&counters);
    let private = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    let pure = private | FunctionFlags::SQLITE_DETERMINISTIC;
    sqlite.create_scalar_function("rowferry_hit", 0, private, move |_| {
        count(&of_hits.hits);
        Ok(true)
    })?;
    sqlite.create_scalar_function("rowferry_older", 0, private, move |_| {
        count(&counters.older);
        Ok(false)
    })?;
    sqlite.create_scalar_function("rowferry_refuse", 0, private, |_| -> rusqlite::Result<bool> {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CONSTRAINT_FUNCTION), None))
    })?;
    sqlite.create_scalar_function("rowferry_same", 2, pure, |context| {
        Ok(borrowed(context.get_raw(0)).same(borrowed(context.get_raw(1))))
    })
}
