//! The sending end: what answers peers. [`Handler`] and [`ChannelSession`] know no sockets and can be mounted in any host;
//! [`Server`] is a small blocking listener around them.

pub mod channel;
pub(crate) mod chunks;
mod connection;
pub mod handler;
pub(crate) mod head;
mod query;
mod rate;
pub mod server;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod websocket;

pub use channel::{ChannelSession, CloseCode, Reply};
pub use handler::{Handler, Upgrade};
pub use server::{Server, ServerBuilder, ServerHandle};
#[cfg(feature = "tls")]
pub use tls::ServerTls;
