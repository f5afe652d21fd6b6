//! Databases that tests open sites of.

// Where the tests' own helpers find this crate and the server.
use crate as rowferry;
#[cfg(feature = "postgres")]
use crate::store::postgres::test_server as postgres;

#[allow(dead_code)] // Each binary uses a part of it.
#[path = "../../tests/support/homes.rs"]
mod homes;

pub(crate) use homes::Home;
