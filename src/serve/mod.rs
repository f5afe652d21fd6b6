//! The sending end: what answers peers. [`Handler`] and [`ChannelSession`] know no sockets and can be mounted in any host;
//! [`Server`] is a small blocking listener around them.

pub mod channel;
pub(crate) mod chunks;
pub mod handler;
pub(crate) mod head;
mod query;
mod rate;

pub use channel::{ChannelSession, CloseCode, Reply};
pub use handler::{Handler, Upgrade};
