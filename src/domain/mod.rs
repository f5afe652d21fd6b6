//! The words of the field as types. Pure: nothing here reads a file, a socket or a clock.

#[macro_use]
pub(crate) mod string_enum;

#[cfg(feature = "server")]
pub(crate) mod access;
pub mod address;
pub(crate) mod canonical;
pub(crate) mod cells;
pub(crate) mod collation;
pub mod conflict;
pub mod connection;
pub mod digest;
pub mod event;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod finding;
pub mod logical;
pub mod names;
pub mod not_copied;
pub(crate) mod postgres_type;
pub mod record;
pub mod remote;
pub(crate) mod row_sum;
pub mod schema;
pub mod session;
pub mod settings;
pub(crate) mod sketch;
pub mod strategy;
pub mod table;
pub(crate) mod text;
pub mod transfer;
pub mod url;
pub mod value;
pub(crate) mod value_json;
