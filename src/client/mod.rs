//! Asking another site, blocking: [`Client`] over a WebSocket, [`Api`] over HTTP.

mod api;
mod auth;
mod channel;
mod compare;
mod connection;
mod heartbeat;
mod options;
mod pages;
mod reconnect;
mod refusal;
mod told;
mod transport;
mod upgrade;

pub use api::{Api, RecordsQuery, remote_status};
pub use auth::Auth;
#[cfg(feature = "server")]
pub(crate) use channel::{Outcome, Trouble};
pub(crate) use compare::Comparing;
pub(crate) use connection::over_http_only;
pub use connection::{Client, FetchOptions, FetchedRecords};
pub use options::ConnectOptions;
pub(crate) use pages::PageStream;
#[cfg(feature = "server")]
pub(crate) use transport::{Near, Transport};
#[cfg(feature = "server")]
pub(crate) use upgrade::Refusal;
