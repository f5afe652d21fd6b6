//! The sending end: what answers peers. [`Handler`] and [`ChannelSession`] know no sockets and can be mounted in any host
//! ([`ChannelSession::serve`] takes the host's stream); [`Server`] is a small blocking listener around them.

mod answers;
pub mod body;
mod calls;
pub mod channel;
pub(crate) mod chunks;
mod compare;
mod connection;
mod data;
mod download;
mod forwarded;
mod gate;
pub mod handler;
pub(crate) mod head;
mod mounted;
mod pages;
mod places;
mod query;
mod questions;
mod queue;
mod records;
mod refusals;
mod routes;
mod sending;
pub mod server;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;
mod websocket;

pub use body::Body;
pub use channel::{ChannelSession, CloseCode, Reply};
pub use handler::Handler;
pub use server::{Server, ServerBuilder, ServerHandle};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
pub use upgrade::Upgrade;
