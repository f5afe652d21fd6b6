//! The native protocol: binary messages between two rowferry sites, one in each binary frame of the WebSocket.
//!
#![doc = include_str!("layout.md")]

mod cell;
#[cfg(any(test, fuzzing))]
pub mod check;
mod compare;
mod frame;
mod message;
mod pack;
mod page;
mod place;
#[cfg(test)]
mod tests;

pub use compare::{Cells, Compare, SENT_CELLS, Scanned, SketchOf, Summary, WANTED_ROWS, Want};
pub use frame::request_of;
pub use message::{Answer, End, Fetch, Refusal, Request};
#[cfg(feature = "internals")]
pub use page::Page;
pub use page::{PageEncoder, PageHead};
pub use place::{PLACE_BYTES, Place};
