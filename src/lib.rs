//! rowferry
pub mod cancel;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod domain;
pub mod error;
pub mod export;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod import;
pub mod limits;
#[cfg(feature = "client")]
mod net;
pub mod plan;
mod secret;
#[cfg(feature = "server")]
pub mod serve;
mod site;
pub mod store;
mod sync;
pub mod wire;

pub use cancel::CancelToken;
#[cfg(feature = "client")]
pub use client::{Auth, Client, ConnectOptions, FetchOptions, FetchedRecords, remote_status};
pub use clock::{Clock, ManualClock, SystemClock};
pub use domain::record::{Failure, Outcome, Reason};
pub use domain::schema;
pub use domain::session::{Direction, SessionInfo, SessionStatus};
pub use domain::settings::{IncomingMode, SiteStatus};
pub use domain::strategy::Strategy;
pub use domain::table::TableInfo;
pub use domain::value::{Records, Rows, Value, ValueRef};
pub use error::{Error, ErrorKind, Result};
pub use export::Digest;
pub use limits::Limits;
pub use plan::table::ExtraColumns;
pub use secret::{Code, SiteKey};
#[cfg(all(feature = "server", feature = "tls"))]
pub use serve::ServerTls;
#[cfg(feature = "server")]
pub use serve::{ChannelSession, Handler, Server, ServerBuilder, ServerHandle};
pub use site::{Session, SessionGuard, Sessions, Settings, Site, SiteBuilder};
pub use sync::{Phase, Progress, Report, TableReport, TableStatus, TransferOptions};
pub use wire::{Capabilities, PeerInfo};
