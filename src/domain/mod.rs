//! The words of the field as types. Pure: nothing here reads a file, a socket or a clock.

mod logical;
pub mod record;
pub mod schema;
pub mod session;
pub mod settings;
pub mod strategy;
pub mod value;
