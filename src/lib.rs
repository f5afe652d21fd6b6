//! rowferry
pub mod cancel;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod domain;
pub mod error;
pub mod limits;
#[cfg(feature = "client")]
mod net;
pub mod plan;
pub mod store;
pub mod wire;

pub use cancel::CancelToken;
#[cfg(feature = "client")]
pub use client::{Auth, Client, ConnectOptions, FetchOptions, Records, remote_status};
pub use clock::{Clock, ManualClock, SystemClock};
pub use domain::record::{Failure, Outcome, Reason};
pub use domain::schema;
pub use domain::session::{Direction, SessionInfo, SessionStatus};
pub use domain::settings::{IncomingMode, SiteStatus};
pub use domain::strategy::Strategy;
pub use domain::value::{Rows, Value, ValueRef};
pub use error::{Error, ErrorKind, Result};
pub use limits::Limits;
pub use wire::{Capabilities, PeerInfo, TableInfo};
