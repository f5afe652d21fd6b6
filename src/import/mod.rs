//! Runs a plan against a store: incoming rows become rows of local tables, in transactions of bounded size.
//!
//! Rows whose key decides what becomes of them are applied as they come ([`direct`]), in transactions that small tables share
//! ([`writing`]). What cannot be decided page by page is [`staged`] first and then applied by one transaction ([`group`]): tables that
//! refer to each other or to themselves, tables without a key, and a dry run. Nothing here waits for a network: rows are received
//! before a transaction begins.
//!
//! What a row means is known here, once for every store, and [`route`] gives each record to what knows it: [`row_by_row`] for keys,
//! [`by_key`] for those that the caller chose, [`rule`] for what it decides itself,
//! [`taken`] for keys that are one here only, [`multiset`] for rows without one; [`append`], [`append_keys`], [`new_key`] and
//! [`unique_match`] for new keys, [`remap`] for what refers to them, [`settling`] for references in circles; [`waits`], [`exchange`] and [`park`] for unique values that move,
//! [`late`] and [`referred`] for those that rows of other tables refer to; [`orphans`] and [`descendants`] for references; [`lossy`] for values that do not fit, [`numerals`] for numbers that travel as text; [`recorder`] for what undoes the writes, and [`undo`] for the undoing. A store gives the
//! primitives, and a bulk apply if it has one.

mod append;
mod append_keys;
mod append_page;
mod became;
mod by_key;
mod dangling;
mod descendants;
mod direct;
mod exchange;
mod group;
mod kept_keys;
pub(crate) mod late;
mod lossy;
mod multiset;
mod new_key;
mod new_uuid;
pub(crate) mod numerals;
mod orphans;
mod park;
mod pending;
mod received;
mod recorder;
mod referred;
mod remap;
mod route;
mod row_by_row;
mod rows;
mod rule;
mod settling;
mod staged;
mod taken;
#[cfg(all(test, feature = "sqlite"))]
mod tests;
mod transaction;
pub(crate) mod undo;
mod unique_match;
mod waits;
mod writing;
mod written;

pub(crate) use direct::Direct;
pub(crate) use group::apply_group;
pub(crate) use staged::{Finish, Staged};
pub(crate) use transaction::Transaction;
pub(crate) use writing::Writing;
