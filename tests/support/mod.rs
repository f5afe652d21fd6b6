//! What the tests share: sites on real files, peers that are fakes, and a model of what a pull must come to.

pub mod command;
pub mod common;
pub mod counting;
pub mod fake;
pub mod fake_http;
pub mod homes;
pub mod http_common;
pub mod model;
pub mod notify_peer;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod recorded;
pub mod schema;

use ::rowferry;
