//! Statements whose parameters are borrowed.
//!
//! rusqlite copies each text and blob that it binds, into memory that SQLite allocates for it. For statements of many rows
//! that is a quarter of an import's time. This module binds the bytes where they are.
//!
//! It is the only one with unsafe code, which is sound because
//!
//! - a [`Bulk`] borrows the connection that it was prepared on, and ends its statement when it is dropped;
//! - the bytes are borrowed for the whole of [`Bulk::execute`], which runs the statement to its end, resets it, and takes the
//!   parameters off again, whatever happens in between. Nothing that outlives the call refers to them;
//! - SQLite takes lengths, does not need a NUL behind the text, and only reads.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

use crate::domain::value::ValueRef;

/// A prepared statement that gives no rows.
pub(super) struct Bulk<'c> {
    statement: NonNull<ffi::sqlite3_stmt>,
    connection: &'c Connection,
}

impl<'c> Bulk<'c> {
    pub(super) fn prepare(connection: &'c Connection, sql: &str) -> rusqlite::Result<Self> {
        let length = i32::try_from(sql.len()).map_err(|_| failure(ffi::SQLITE_TOOBIG, None))?;
        let mut statement = std::ptr::null_mut();
        // SAFETY: the connection is open, since it is borrowed. SQLite reads `length` bytes of the text and keeps a copy.
        let code = unsafe {
            let flags = ffi::SQLITE_PREPARE_PERSISTENT;
            let rest = std::ptr::null_mut();
            ffi::sqlite3_prepare_v3(connection.handle(), sql.as_ptr().cast(), length, flags, &mut statement, rest)
        };
        let bulk = NonNull::new(statement).map(|statement| Bulk { statement, connection });
        match bulk {
            Some(bulk) if code == ffi::SQLITE_OK => Ok(bulk),
            _ => Err(last_failure(connection, code)),
        }
    }

    /// Runs the statement with these values as its parameters, from the first one on; gives the number of rows that it
    /// inserted or changed. Parameters beyond the values are NULL.
    pub(super) fn execute<'v>(&mut self, values: impl Iterator<Item = ValueRef<'v>>) -> rusqlite::Result<u64> {
        let bound = Bound(self);
        for (at, value) in (1..).zip(values) {
            // SAFETY: `Bound` takes the parameters off before the values, which outlive this call, can go.
            let code = unsafe { bound.0.bind(at, value) };
            if code != ffi::SQLITE_OK {
                return Err(last_failure(bound.0.connection, code));
            }
        }
        // SAFETY: the statement has not been finalized.
        match unsafe { ffi::sqlite3_step(bound.0.statement.as_ptr()) } {
            ffi::SQLITE_DONE => Ok(bound.0.connection.changes()),
            ffi::SQLITE_ROW => Err(rusqlite::Error::ExecuteReturnedResults),
            code => Err(last_failure(bound.0.connection, code)),
        }
    }

    /// # Safety
    /// Before the value's bytes go, the parameter must be bound anew or taken off.
    unsafe fn bind(&self, at: i32, value: ValueRef<'_>) -> i32 {
        let statement = self.statement.as_ptr();
        // SAFETY: the statement has not been finalized, and SQLite checks the parameter's number. The pointers are good for
        // as many bytes as is said, for as long as the caller promises.
        unsafe {
            match value {
                ValueRef::Null => ffi::sqlite3_bind_null(statement, at),
                ValueRef::Integer(v) => ffi::sqlite3_bind_int64(statement, at, v),
                ValueRef::Real(v) => ffi::sqlite3_bind_double(statement, at, v),
                ValueRef::Text(v) => {
                    let encoding = ffi::SQLITE_UTF8 as u8;
                    ffi::sqlite3_bind_text64(statement, at, v.as_ptr().cast(), v.len() as u64, ffi::SQLITE_STATIC(), encoding)
                }
                ValueRef::Blob(v) => {
                    ffi::sqlite3_bind_blob64(statement, at, v.as_ptr().cast(), v.len() as u64, ffi::SQLITE_STATIC())
                }
            }
        }
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        // SAFETY: this is the one place that finalizes the statement, and its connection is still open.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

/// Ends a run of the statement, and takes its parameters off.
struct Bound<'b, 'c>(&'b mut Bulk<'c>);

impl Drop for Bound<'_, '_> {
    fn drop(&mut self) {
        let statement = self.0.statement.as_ptr();
        // SAFETY: the statement has not been finalized. What `sqlite3_reset` returns is the failure of the step again.
        unsafe {
            ffi::sqlite3_reset(statement);
            ffi::sqlite3_clear_bindings(statement);
        }
    }
}

/// What the connection says of the call that just failed.
fn last_failure(connection: &Connection, code: i32) -> rusqlite::Error {
    // SAFETY: the connection is open, since it is borrowed. The message is a string with a NUL at its end that is good until
    // the connection is used again, and is copied here.
    let message = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errmsg(connection.handle())) };
    failure(code, Some(message.to_string_lossy().into_owned()))
}

fn failure(code: i32, message: Option<String>) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), message)
}
