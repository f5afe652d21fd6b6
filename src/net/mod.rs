//! Sockets: addresses, time budgets, TLS. What is said over them is not known here.

pub(crate) mod budget;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;

pub(crate) use budget::Budget;
pub(crate) use stream::Stream;
