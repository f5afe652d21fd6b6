//! What is asked of SQLite itself and not of rusqlite: the only unsafe code of the library.
#![allow(unsafe_code)]

pub(super) mod bind;
pub(super) mod log_hook;
