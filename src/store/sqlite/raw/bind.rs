//! Statements whose parameters are borrowed.
//!
//! rusqlite copies each text and blob that it binds, into memory that SQLite allocates for it. For statements of many rows
//! that is a quarter of an import's time. This module binds the bytes where they are. It also keeps statements prepared from
//! one batch to the next: to prepare one of many rows takes as long as to write a hundred of them.
//!
//! Its unsafe code is sound because
//!
//! - SQLite reads parameters in `sqlite3_step` alone, and only in [`Bulk::execute`], which binds all of them again before, and
//!   for the whole of which their bytes are borrowed. It runs the statement to its end and resets it, whatever happens in
//!   between. Afterwards the parameters point to bytes that may be gone, but nothing looks at them until they are bound again;
//! - a statement lives in the same [`Connection`] as SQLite's connection or is borrowed from it, so that both are used by the
//!   same thread, and is ended before (SQLite would also keep a connection that has statements);
//! - SQLite takes lengths, does not need a NUL after the text, and only reads.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ptr::NonNull;

use rusqlite::ffi;

use super::super::dialect::of_run;
use super::super::pool::Connection;
use crate::domain::value::ValueRef;

/// How many statements a connection keeps.
const KEPT: usize = 8;

/// The statements that a connection keeps prepared, the latest last.
#[derive(Default)]
pub(in crate::store::sqlite) struct Kept(RefCell<Vec<Prepared>>);

struct Prepared {
    sql: String,
    statement: NonNull<ffi::sqlite3_stmt>,
    parameters: usize,
}

// SAFETY: it goes to another thread only inside of its `Connection`, together with SQLite's own.
unsafe impl Send for Prepared {}

/// A prepared statement that gives no rows.
pub(in crate::store::sqlite) struct Bulk<'c> {
    /// There until it is dropped.
    prepared: Option<Prepared>,
    connection: &'c Connection,
}

impl<'c> Bulk<'c> {
    pub(in crate::store::sqlite) fn prepare(connection: &'c Connection, sql: &str) -> rusqlite::Result<Self> {
        let kept = {
            let mut kept = connection.kept.0.borrow_mut();
            kept.iter().position(|prepared| prepared.sql == sql).map(|at| kept.remove(at))
        };
        let prepared = match kept {
            Some(prepared) => prepared,
            None => Prepared::new(connection, sql)?,
        };
        Ok(Bulk { prepared: Some(prepared), connection })
    }

    /// Runs the statement with the values that `fill` binds as its parameters, one for each; gives the number of rows that it
    /// inserted or changed.
    pub(in crate::store::sqlite) fn execute<'v>(
        &mut self,
        fill: impl FnOnce(&mut Parameters<'_, 'v>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<u64> {
        let prepared = self.prepared.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        let mut parameters = Parameters { prepared, connection: self.connection, bound: 0, values: PhantomData };
        fill(&mut parameters)?;
        let bound = parameters.bound;
        if bound as usize != prepared.parameters {
            return Err(rusqlite::Error::InvalidParameterCount(bound as usize, prepared.parameters));
        }
        // SAFETY: the statement has not been finalized, and each of its parameters points to bytes that are borrowed.
        let code = unsafe { ffi::sqlite3_step(prepared.statement.as_ptr()) };
        let done = match code {
            ffi::SQLITE_DONE => Ok(self.connection.sqlite.changes()),
            ffi::SQLITE_ROW => Err(rusqlite::Error::ExecuteReturnedResults),
            code => Err(of_run(last_failure(self.connection, code))),
        };
        // SAFETY: the statement has not been finalized. What is returned is the failure of the step again.
        unsafe { ffi::sqlite3_reset(prepared.statement.as_ptr()) };
        done
    }
}

/// The parameters of a statement that is about to run. The values outlive the whole of [`Bulk::execute`].
pub(in crate::store::sqlite) struct Parameters<'p, 'v> {
    prepared: &'p Prepared,
    connection: &'p Connection,
    bound: i32,
    values: PhantomData<ValueRef<'v>>,
}

impl<'v> Parameters<'_, 'v> {
    /// Binds the next parameter.
    #[inline]
    pub(in crate::store::sqlite) fn bind(&mut self, value: ValueRef<'v>) -> rusqlite::Result<()> {
        self.bound += 1;
        // SAFETY: the value outlives the call that this is a part of. The statement is run in it, and in no other before all
        // parameters are bound again.
        match unsafe { self.prepared.bind(self.bound, value) } {
            ffi::SQLITE_OK => Ok(()),
            code => Err(last_failure(self.connection, code)),
        }
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        let Some(prepared) = self.prepared.take() else {
            return;
        };
        let mut kept = self.connection.kept.0.borrow_mut();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(prepared);
    }
}

impl Prepared {
    fn new(connection: &Connection, sql: &str) -> rusqlite::Result<Self> {
        let length = i32::try_from(sql.len()).map_err(|_| failure(ffi::SQLITE_TOOBIG, None))?;
        let mut statement = std::ptr::null_mut();
        // SAFETY: the connection is open, since it is borrowed. SQLite reads `length` bytes of the text and keeps a copy.
        let code = unsafe {
            let rest = std::ptr::null_mut();
            ffi::sqlite3_prepare_v2(connection.sqlite.handle(), sql.as_ptr().cast(), length, &mut statement, rest)
        };
        let (Some(statement), ffi::SQLITE_OK) = (NonNull::new(statement), code) else {
            return Err(last_failure(connection, code));
        };
        // SAFETY: the statement was just prepared.
        let parameters = unsafe { ffi::sqlite3_bind_parameter_count(statement.as_ptr()) };
        Ok(Prepared { sql: sql.to_owned(), statement, parameters: parameters as usize })
    }

    /// # Safety
    /// When the value's bytes are gone, the statement must not be run before the parameter is bound again.
    #[inline]
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
                    ffi::sqlite3_bind_text64(
                        statement,
                        at,
                        v.as_ptr().cast(),
                        v.len() as u64,
                        ffi::SQLITE_STATIC(),
                        encoding,
                    )
                }
                ValueRef::Blob(v) => {
                    ffi::sqlite3_bind_blob64(statement, at, v.as_ptr().cast(), v.len() as u64, ffi::SQLITE_STATIC())
                }
            }
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: this is the one place that finalizes the statement. Of its parameters SQLite frees only what it has copied.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

/// What the connection says of the call that just failed.
fn last_failure(connection: &Connection, code: i32) -> rusqlite::Error {
    // SAFETY: the connection is open, since it is borrowed. The message is a string with a NUL at its end that is good until
    // the connection is used again, and is copied here.
    let message = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errmsg(connection.sqlite.handle())) };
    failure(code, Some(message.to_string_lossy().into_owned()))
}

fn failure(code: i32, message: Option<String>) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), message)
}
