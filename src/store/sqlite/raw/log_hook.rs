//! How many pages the write-ahead log holds after a commit. SQLite tells a hook; rusqlite has that, but its versions differ in what
//! the hook is.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use rusqlite::ffi;

thread_local! {
    /// What the hook was told last on this thread.
    static PAGES: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Called by SQLite on the thread that commits, within the COMMIT and after the write lock is free.
extern "C" fn note(_: *mut c_void, _: *mut ffi::sqlite3, _: *const c_char, pages: c_int) -> c_int {
    PAGES.set(Some(pages));
    ffi::SQLITE_OK
}

/// Has [`committed`] know of this connection's commits. SQLite then makes no checkpoints by itself.
pub(in crate::store::sqlite) fn watch(sqlite: &rusqlite::Connection) {
    // SAFETY: the connection is open, since it is borrowed. The hook is a function that is always there, uses none of the pointers
    // that it is given, and cannot panic: the cell needs no destructor.
    unsafe { ffi::sqlite3_wal_hook(sqlite.handle(), Some(note), std::ptr::null_mut()) };
}

/// Does what commits on a connection that is watched; gives the pages that the log holds then, if something was written.
pub(in crate::store::sqlite) fn committed<E>(commit: impl FnOnce() -> Result<(), E>) -> Result<Option<i32>, E> {
    PAGES.set(None);
    commit().map(|()| PAGES.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_says_how_long_the_log_is() {
        let folder = tempfile::tempdir().unwrap();
        let sqlite = rusqlite::Connection::open(folder.path().join("a.db")).unwrap();
        sqlite.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(x)").unwrap();
        watch(&sqlite);
        let pages = |rows: u32| {
            let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})");
            sqlite.execute_batch(&format!("BEGIN; {numbers} INSERT INTO t SELECT zeroblob(4000) FROM n")).unwrap();
            committed(|| sqlite.execute_batch("COMMIT")).unwrap()
        };
        let (few, more) = (pages(1).unwrap(), pages(2_000).unwrap());
        assert!(few > 0 && few < 20 && more > 2_000, "{few} {more}");
        assert!(pages(1).unwrap() > more, "SQLite made no checkpoint by itself");
        assert_eq!(committed(|| sqlite.execute_batch("BEGIN; COMMIT")), Ok(None), "nothing was written");
        assert!(committed(|| sqlite.execute_batch("COMMIT")).is_err());
    }
}
