//! Sockets: addresses and which of them are allowed, time budgets, TLS, and HTTP over them. What is said is not known here.

pub(crate) mod budget;
mod dial;
pub(crate) mod http;
mod policy;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;

pub(crate) use budget::Budget;
pub(crate) use policy::AddressPolicy;
pub(crate) use stream::Stream;
