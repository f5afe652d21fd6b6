//! Sites on PostgreSQL: real servers in temporary folders, as sender and as receiver.

#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../support/postgres/mod.rs"]
mod postgres;

mod common;

mod child;
mod copied;
mod directions;
mod faults;
mod killed;
mod names;
mod not_copied;
mod shared;
mod support;
mod tls;
mod types;
