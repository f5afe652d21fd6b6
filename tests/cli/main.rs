//! The `rowferry` command as a user runs it.

#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "postgres")]
#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../support/postgres/mod.rs"]
mod postgres;

mod commands;
mod connections;
mod doctor;
mod flags;
mod help;
mod ids;
mod json;
mod key;
mod look;
#[cfg(feature = "postgres")]
#[path = "postgres.rs"]
mod on_postgres;
mod resume;
mod serve;
mod state;
mod status;
mod tls;
mod transfers;
mod verify;
