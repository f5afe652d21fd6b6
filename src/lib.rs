//! **rowferry** ferries rows between databases. A program links it to share tables of its SQLite database with another
//! site, and to pull another site's tables into its own: offline-capable backups, development copies of production, small
//! tools without an async runtime.
//!
//! Everything is synchronous: plain threads, blocking calls, no runtime. The library reads no environment variable and no
//! home directory, prints nothing, and logs through [`log`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (shop_db, backup_db) = (folder.path().join("shop.db"), folder.path().join("backup.db"));
//! # rusqlite::Connection::open(&shop_db)?.execute_batch(
//! #     "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE); INSERT INTO users VALUES (1, 'a@example.com');")?;
//! use rowferry::{Auth, Client, ConnectOptions, Direction, Server, Site, Strategy, TransferOptions};
//!
//! // One site serves, and gives out a code that works once.
//! let shop = Site::open(&shop_db)?;
//! let server = Server::bind(&shop, "127.0.0.1:0")?.spawn()?;
//! let session = shop.sessions().create(Direction::Send)?;
//!
//! // The other one pulls. Tables that it lacks are made.
//! let backup = Site::open(&backup_db)?;
//! let client = Client::connect(server.url(), Auth::code(session.code()), ConnectOptions::default())?;
//! for table in client.list_tables()? {
//!     println!("{} {}", table.name, table.row_count);
//! }
//! let report = client.transfer_all(&backup, TransferOptions::new().strategy(Strategy::Merge))?;
//! assert!(report.is_clean());
//! assert_eq!(shop.table_checksum("users")?, backup.table_checksum("users")?);
//! # Ok(())
//! # }
//! ```
//!
//! # Where to begin
//!
//! - [`Site`]: a database and what rowferry keeps beside its tables: [`sessions`](Site::sessions),
//!   [`settings`](Site::settings). [`Site::import_records`] takes records from memory.
//! - [`Connections`]: permanent pairings with other sites, what each may pull, and for how long. [`Events`] says what happened
//!   to them, [`Transfers`] what was pulled and what waits for approval.
//! - [`Client`]: asks another site, with a session's code or a connection's token, and pulls from it:
//!   [`Client::transfer_all`]; [`Client::link`] pulls from a site in the same process. [`Api`] makes the calls over HTTP. [`TransferOptions`] and [`Strategy`] say what
//!   becomes of rows that are there; a [`Report`] says what became of each record.
//! - [`Server`]: a small blocking listener. [`Handler`] and [`ChannelSession`] are the same without sockets, for a host that
//!   has a server already.
//! - [`store`]: the trait behind it all, for those who keep their rows elsewhere than in SQLite.
//! - [`Error`]: what failed, why, and what to do; its [`kind`](Error::kind) has a stable code.
//! - [`Limits`]: every bound on bytes, rows and time.
//!
//! # What arrives
//!
//! Between two rowferry sites each value arrives bit for bit, in its storage class: integers of 64 bits, doubles with -0.0
//! and infinities, text with NUL or that is not UTF-8, empty blobs. Text that looks like a date or a number stays that text.
//! A value that the local column would rewrite fails its record with a [reason](Reason); nothing is changed silently, but
//! for numbers that stay the same number (5 in a REAL column is 5.0).
//!
//! A peer may also be the reference system, PhoenixKit's sync module, which speaks JSON over a Phoenix channel. What that JSON
//! cannot carry: to it, a uuid or a blob that is not UTF-8 cannot be sent over the WebSocket (it stores the text of an object
//! instead), nor infinities, and text that looks like an ISO date is refused by its text columns. From it, its connection dies
//! on uuid and bytea values that are not UTF-8, so that tables with such columns are pulled last; NaN fails its record, since
//! SQLite has none; JSON `null` and SQL NULL are one. Its pages are cut by offset without a snapshot: a row that
//! moves meanwhile may be missed, and [`Report::one_state`] says so.
//!
//! # Logs
//!
//! What rowferry logs holds no secret and no row. The crate `tungstenite`, which it uses for WebSockets, logs whole messages at
//! level trace, and with them rows, the code of a session, which is spent by then, and the ticket with which a peer that came by it
//! may come back for a day: where logs are kept, leave that level of that crate out.
//!
//! # Features
//!
//! `sqlite`, `client`, `server` and `tls` are on by default. `cli` builds the `rowferry` command. `conformance` gives the
//! test-suite for implementations of [`store::Store`]. Features only add.

#![deny(missing_docs, unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
#![warn(rustdoc::broken_intra_doc_links)]

#[cfg(feature = "server")]
mod access;
mod cancel;
#[cfg(feature = "client")]
mod client;
mod clock;
pub mod domain;
mod error;
mod export;
#[cfg(any(fuzzing, all(test, feature = "sqlite", feature = "client", feature = "server")))]
#[doc(hidden)]
pub mod fuzzing;
mod import;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    //! What the benchmarks need of the inside. No part of the API.
    pub use crate::wire::{Dialect, native, records};
}
mod ledger;
mod limits;
#[cfg(all(feature = "client", feature = "server"))]
mod link;
mod maintain;
#[cfg(feature = "client")]
mod net;
#[cfg(feature = "client")]
mod notify;
pub mod plan;
mod pull;
mod secret;
#[cfg(feature = "server")]
pub mod serve;
mod site;
mod state;
pub mod store;
mod wire;

pub mod protocol {
    //! The native protocol, for readers: binary messages between two rowferry sites, one in each binary frame of the WebSocket.
    //!
    //! A client that is rowferry says so in its join (`"receiver_info": {"rowferry": {"version": 1, "message_bytes": ..}}`), and a
    //! sender that is rowferry then tells of itself in the reply: its site, its version and what it can do (`features`). One with
    //! the feature `pages` takes the messages below; everything else goes as with the reference system. A client that says
    //! nothing of rowferry gets `{}` and never sees any of this.
    //!
    #![doc = include_str!("wire/native/layout.md")]
}

/// The SQLite library that [`SiteBuilder::on_connection`] gives connections of. It follows its own versions: a new one may come with
/// any version of this crate.
#[cfg(feature = "sqlite")]
pub use rusqlite;

pub use cancel::CancelToken;
#[cfg(feature = "client")]
pub use client::{Api, Auth, Client, ConnectOptions, FetchOptions, FetchedRecords, RecordsQuery, remote_status};
pub use clock::{Clock, ManualClock, SystemClock};
pub use domain::connection::{
    AddressRange, AllowedHours, ApprovalMode, Connection, ConnectionDirection, ConnectionFilter, ConnectionStatus, Metadata,
    Policy,
};
pub use domain::event::{Event, EventFilter, EventKind};
pub use domain::names::NameRules;
pub use domain::not_copied::NotCopied;
pub use domain::record::{Failure, Outcome, Reason};
pub use domain::remote::{DeliveryOutcome, RegisterOutcome, RemoteStatus, Told};
pub use domain::schema;
pub use domain::session::{Direction, SessionInfo, SessionStatus};
pub use domain::settings::{IncomingMode, SiteStatus};
pub use domain::strategy::{Dangling, OnTakenKey, Strategy};
pub use domain::table::TableInfo;
pub use domain::transfer::{ConnectionStats, NewTransfer, TableStats, TransferFilter};
pub use domain::transfer::{Transfer, TransferCounters, TransferStatus};
pub use domain::value::{Records, Rows, Value, ValueRef};
pub use error::{Error, ErrorKind, Result};
pub use export::Digest;
pub use limits::Limits;
pub use maintain::Maintenance;
#[cfg(feature = "client")]
pub use notify::{Checked, Delivered, Delivery, Notifier, RegisterResult};
pub use plan::table::ExtraColumns;
pub use pull::{Phase, Progress, Report, TableReport, TableStatus, TransferOptions};
pub use secret::{Code, SiteKey, Token};
#[cfg(all(feature = "server", feature = "tls"))]
pub use serve::ServerTls;
#[cfg(feature = "server")]
pub use serve::{Body, ChannelSession, Handler, Server, ServerBuilder, ServerHandle};
pub use site::SiteCounts;
pub use site::Transfers;
pub use site::{Checkpoints, KeyMap, KeyMapping, KeyMappings, Remembered, RememberedKind};
pub use site::{ConnectionEdit, Connections, EventStream, Events, NewConnection, NewlyConnected};
pub use site::{Session, SessionGuard, Sessions, Settings, Site, SiteBuilder};
#[cfg(feature = "client")]
pub use wire::api::{ListedTable, PeerStatus, Queried, Registered};
#[cfg(feature = "client")]
pub use wire::{Capabilities, PeerInfo};

/// The README's examples are tested.
#[cfg(all(doctest, feature = "sqlite", feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
