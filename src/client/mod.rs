//! Asking another site, blocking: [`Client`] over a WebSocket, [`Api`] over HTTP.

mod api;
mod auth;
mod callback;
mod channel;
mod connection;
mod keeper;
mod options;
mod pages;
mod reconnect;
mod refusal;
mod upgrade;

pub use api::{Api, RecordsQuery, remote_status};
pub use auth::Auth;
pub(crate) use callback::call_back;
pub use connection::{Client, FetchOptions, FetchedRecords};
pub use options::ConnectOptions;
pub(crate) use pages::PageStream;
