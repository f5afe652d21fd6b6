//! **rowferry** ferries rows between databases. A program links it to share tables of its SQLite database with another
//! site, and to pull another site's tables into its own: offline-capable backups, development copies of production, small
//! tools without an async runtime.
//!
//! Everything is synchronous: plain threads, blocking calls, no runtime. The library reads no environment variable (but for
//! [`ConnectOptions::system_certificates`], where a host asks for it) and no home directory, prints nothing, and logs through [`log`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (shop_db, backup_db) = (folder.path().join("shop.db"), folder.path().join("backup.db"));
//! # rusqlite::Connection::open(&shop_db)?.execute_batch(
//! #     "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE); INSERT INTO users VALUES (1, 'a@example.com');")?;
//! use rowferry::{Auth, Client, ConnectOptions, Direction, Server, Site, Strategy, PullOptions};
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
//! let report = client.pull(&backup, PullOptions::new().strategy(Strategy::Merge))?;
//! assert!(report.is_clean());
//! assert_eq!(shop.table_checksum("users")?, backup.table_checksum("users")?);
//! # Ok(())
//! # }
//! ```
//!
//! # The types
//!
//! | A site | |
//! |---|---|
//! | [`Site`], [`SiteBuilder`] | a database and what rowferry keeps beside its tables; imports records from memory |
//! | [`Settings`], [`IncomingMode`], [`SiteStatus`], [`SiteCounts`] | whether the site takes part, and how others may register |
//! | [`Sessions`], [`Session`], [`SessionGuard`], [`SessionInfo`], [`SessionStatus`], [`TicketInfo`], [`Direction`], [`Code`] | codes that work once |
//! | [`Connections`], [`Connection`], [`NewConnection`], [`ConnectionWithToken`], [`ConnectionEdit`], [`ConnectionFilter`] | permanent pairings with other sites |
//! | [`Policy`], [`ApprovalMode`], [`AllowedHours`], [`AddressRange`], [`ConnectionDirection`], [`ConnectionStatus`], [`Metadata`], [`Token`] | what a connection is, and what it allows |
//! | [`Transfers`], [`Transfer`], [`TransferFilter`], [`TransferStatus`], [`TransferCounters`], [`NewTransfer`], [`ConnectionStats`], [`TableStats`] | what was pulled, and what waits for approval |
//! | [`Events`], [`Event`], [`EventKind`], [`EventFilter`], [`EventStream`] | what happened to connections and pulls, and news of it |
//! | [`Checkpoints`], [`CheckpointInfo`], [`CheckpointKind`] | pulls that can be resumed, and appends that were finished |
//! | [`KeyMap`], [`KeyMapping`], [`KeyMappings`] | which rows the records of other sites became |
//! | [`MaintenanceReport`] | what [`Site::maintain`] did: to be called each minute or so |
//! | [`Finding`], [`FindingLevel`], [`IntegrityCheck`] | what [`SiteBuilder::doctor`] finds that could go wrong with a database here |
//! | [`PostgresOptions`] | how to reach a PostgreSQL database that a site is kept in |
//! | [`CopiedSite`] | what [`Site::copy_to`] moved into another database |
//! | [`RemovedState`], [`JournalMode`] | [`SiteBuilder::remove_state`] takes rowferry's tables out of a file again |
//! | [`SiteKey`], [`Clock`], [`SystemClock`], [`ManualClock`] | what a host may bring along: the key, the time |
//!
//! | Pulling | |
//! |---|---|
//! | [`Client`], [`Auth`], [`ConnectOptions`], [`PeerInfo`], [`Capabilities`] | asks another site over a WebSocket, and pulls from it; [`Client::link`] does so in the same process |
//! | [`PullOptions`], [`Strategy`], [`Dangling`], [`OnLossy`], [`OnTakenKey`], [`ExtraColumns`] | which tables, and what becomes of rows that are there |
//! | [`Record`], [`Resolution`], [`FailureAction`] | rules of your own: for rows that a record would change, and for records that fail |
//! | [`Progress`], [`Phase`], [`CancelToken`] | how far it is; its end on demand |
//! | [`Report`], [`TableReport`], [`TableStatus`], [`Outcome`], [`Failure`], [`Reason`], [`NotCopied`] | what became of each table and each record |
//! | [`VerifyOptions`], [`VerifyReport`], [`TableVerification`], [`VerifyStatus`], [`VerifyReason`], [`DifferingKeys`] | whether rows here are those of the other site: [`Site::verify`] |
//! | [`Api`], [`RemoteTable`], [`RecordsQuery`], [`FetchOptions`], [`FetchedRecords`], [`RegisterAnswer`], [`QueryStatusAnswer`], [`PeerStatus`] | the calls over HTTP, one by one |
//! | [`RemoteStatus`] | how another site takes part in sync: [`remote_status`] |
//! | [`Notifier`], [`RegisterReport`], [`RegisterOutcome`], [`DeliveryReport`], [`MessageReport`], [`DeliveryOutcome`], [`NotifyOutcome`], [`ConnectionCheck`] | tells other sites of connections, and asks how they stand there |
//!
//! | Serving | |
//! |---|---|
//! | [`Server`], [`ServerBuilder`], [`ServerHandle`], [`ServerTls`] | a small blocking server |
//! | [`Handler`], [`Upgrade`], [`ChannelSession`], [`Reply`], [`CloseCode`], [`Body`] | the same without sockets, for a host that has a server already |
//!
//! | Both | |
//! |---|---|
//! | [`Error`], [`ErrorKind`], [`Result`] | what failed, why, and what to do; [all codes](ErrorKind#codes) |
//! | [`Limits`], [`WireLimits`], [`ServerLimits`], [`PullLimits`], [`StoreLimits`], [`RetentionLimits`] | every bound on bytes, rows and time, with its default |
//! | [`Value`], [`ValueRef`], [`Rows`], [`Records`], [`Digest`] | rows in memory, and what tells whether two tables are equal |
//! | [`TableInfo`], [`NameRules`] | tables of a database, and when two names are one; [`schema`] is what they look like |
//! | [`store`] | where rows are kept, for those who keep them elsewhere than in SQLite; not stable yet |
//!
//! # What arrives
//!
//! Between two rowferry sites each value arrives bit for bit, in its storage class: integers of 64 bits, doubles with -0.0
//! and infinities, text with NUL or that is not UTF-8, empty blobs. Text that looks like a date or a number stays that text.
//! A value that the local column would rewrite fails its record with a [reason](Reason); nothing is changed silently, but
//! for numbers that stay the same number (5 in a REAL column is 5.0).
//!
//! A peer may also be PhoenixKit, whose sync module speaks JSON over a Phoenix channel. That JSON cannot carry everything.
//!
//! To PhoenixKit:
//!
//! - Over the WebSocket, a uuid or a blob that is not UTF-8 cannot be sent: it stores the text of an object instead.
//! - Infinities cannot be sent.
//! - Text that looks like an ISO date is refused by its text columns.
//!
//! From PhoenixKit:
//!
//! - Its connection dies on uuid and bytea values that are not UTF-8. Tables with such columns are pulled last.
//! - NaN fails its record: SQLite has none.
//! - JSON `null` and SQL NULL are one.
//! - Its pages are cut by offset, without a snapshot. A row that moves meanwhile may be missed, and [`Report::one_state`] says so.
//!
//! # Logs
//!
//! What rowferry logs goes to these targets, and holds no secret and no row:
//!
//! | target | `error`, `warn` | `info` | `debug` |
//! |---|---|---|---|
//! | `rowferry::pull` | what a pull could not note or tidy up; its report has the rest | that a pull resumes, waits for a lock or begins a table again | how it reconnects |
//! | `rowferry::serve` | requests that failed here; connections that are refused for want of room | questions that are not counted | peers that are sent away, and why; connections that end |
//! | `rowferry::access` | what could not be counted or kept | each session that is used or resumed, each refusal, 10 a minute from one address | - |
//! | `rowferry::client` | a thread that died | - | answers that are ignored |
//! | `rowferry::notify` | what maintenance and deliveries could not do | - | - |
//! | `rowferry::site` | what is odd about the key or the file | - | what the file system cannot do |
//! | `rowferry::store` | what SQLite refused at the end of a transaction | - | checkpoints of the write-ahead log that are late |
//!
//! The crate `tungstenite`, which it uses for WebSockets, logs whole messages at
//! level trace, and with them rows, the code of a session, which is spent by then, and the ticket with which a peer that came by it
//! may come back for a day: where logs are kept, leave that level of that crate out.
//!
//! # Features
//!
//! `sqlite`, `bundled`, `client`, `server` and `tls` are on by default. `native-certs` lets a client trust the
//! certificates of the system. `cli` builds the `rowferry` command. `conformance` gives the test suite for implementations of
//! [`store::Store`]. Features only add.
//!
//! # SQLite
//!
//! A program links one SQLite, and so one version of rusqlite: rowferry takes any from 0.36 to 0.43, whichever the program uses.
//! It is re-exported as [`rusqlite`], and its types are no part of what semantic versioning promises of this crate.
//!
//! `bundled` compiles SQLite in. Without it rowferry links the system's, which must be 3.37 or newer; rusqlite 0.41 and later ask
//! for 3.45.3. An older one is an error when a site is opened.
//!
//! ```toml
//! rowferry = { version = "0.2", default-features = false, features = ["sqlite", "client", "server", "tls"] }
//! ```
//!
//! The same line goes with SQLCipher, which the program chooses by a feature of rusqlite
//! (`rusqlite = { version = "0.43", features = ["bundled-sqlcipher"] }`); [`SiteBuilder::on_connection`] gives the key.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]
#![deny(unnameable_types)]
#![warn(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]
// What client, server and the stores share is not all used where one of them is left out.
#![cfg_attr(not(all(feature = "sqlite", feature = "client", feature = "server")), allow(dead_code, unused_imports))]

#[cfg(feature = "server")]
mod access;
mod cancel;
#[cfg(feature = "client")]
mod client;
mod clock;
#[cfg(all(feature = "client", feature = "server"))]
mod copy;
mod domain;
mod error;
mod export;
#[cfg(any(fuzzing, all(test, feature = "sqlite", feature = "client", feature = "server")))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(all(feature = "sqlite", feature = "client", feature = "server"))]
pub mod guide;
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
mod plan;
mod pull;
mod secret;
#[cfg(feature = "server")]
mod serve;
mod site;
mod state;
pub mod store;
#[cfg(feature = "client")]
mod verify;
mod wire;

pub mod protocol {
    //! The native protocol, for readers: binary messages between two rowferry sites, one in each binary frame of the WebSocket.
    //!
    //! A rowferry client says so in its join: `"receiver_info": {"rowferry": {"version": 1, "message_bytes": ..}}`. `message_bytes` is the
    //! largest message that it takes: a record that does not fit is sent as one that was too large. A rowferry sender then describes itself
    //! in the reply: `"rowferry": {"version": 1, "site": .., "incarnation": .., "ticket": .., "features": [..]}`. `site` is the id of its
    //! database, `incarnation` tells copies of it apart, and `ticket` is there for one who came by a code. Everything else is as with
    //! PhoenixKit. A client that says nothing of rowferry gets `{}` and never sees any of this.
    //!
    //! | feature | the sender |
    //! |---|---|
    //! | `snapshot` | sends rows of one snapshot as long as it can, and names the state that they are of (in JSON answers: `state`) |
    //! | `pages` | takes the binary messages below |
    //! | `pulls` | knows [named pulls](#named-pulls) |
    //! | `tickets` | wants to be told of a pull by a code: see below |
    //! | `approvals` | answers `request:approvals` |
    //!
    //! `request:approvals` has `{"tables": [..], "ref": ..}`, of 1,000 tables at most. `response:approvals` has `{"approvals": [..], "ref": ..}`,
    //! for each table `{"table", "status", "transfer_uuid", "reason"}`: the status is `granted`, `pending` or `denied`, and the transfer is the
    //! one that waits or was decided on. A pull asks this for all its tables before it begins, so that they are approved together.
    //!
    //! The credentials of a client are in the header `x-rowferry-auth` of its request for a WebSocket, in the form of PhoenixKit's query
    //! (`code=..`, `token=..&password=..`). A client that resumes gives `ticket=..` and `receiver=..`, the id that the ticket is bound to. A
    //! sender that does not read the header answers 403 with `Missing authentication`, and is asked again with the query. The body of a
    //! refusal has PhoenixKit's words. Where a connection is not active, the header `x-rowferry-status` says how it stands (`suspended`), and
    //! `x-rowferry-reason` why, in UTF-8.
    //!
    //! To a sender with the feature `tickets`, a client that used a code sends two messages that have no answer: `pull:of` before the pull
    //! (`{"tables": [..]}`), and `pull:over` when it is complete. No download begins after that.
    //!
    #![doc = include_str!("wire/native/layout.md")]
}

/// Crates whose types are in signatures here: [`Handler`] takes and gives `http`'s requests and responses, ids are of `uuid`, moments of
/// `time`, and [`Metadata`] is of `serde_json`.
#[doc(no_inline)]
pub use {http, serde_json, time, uuid};

/// The SQLite library that [`SiteBuilder::on_connection`] gives connections of: any version from 0.36 to 0.43, whichever the program uses.
/// It is outside of what semantic versioning promises of this crate: the range may move with any version.
#[cfg(feature = "sqlite")]
pub use rusqlite;

pub use cancel::CancelToken;
#[cfg(feature = "client")]
pub use client::{Api, Auth, Client, ConnectOptions, FetchOptions, FetchedRecords, RecordsQuery, remote_status};
pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(all(feature = "client", feature = "server"))]
pub use copy::CopiedSite;
pub use domain::conflict::{Record, Resolution};
pub use domain::connection::{
    AddressRange, AllowedHours, ApprovalMode, Connection, ConnectionDirection, ConnectionFilter, ConnectionStatus, Metadata,
    Policy,
};
pub use domain::event::{Event, EventFilter, EventKind};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use domain::finding::{Finding, FindingLevel, IntegrityCheck};
pub use domain::names::NameRules;
pub use domain::not_copied::NotCopied;
pub use domain::record::{Failure, Outcome, Reason};
pub use domain::remote::{DeliveryOutcome, NotifyOutcome, RegisterOutcome, RemoteStatus};
pub use domain::schema;
pub use domain::session::{Direction, SessionInfo, SessionStatus, TicketInfo};
pub use domain::settings::{IncomingMode, SiteStatus};
pub use domain::strategy::{Dangling, OnLossy, OnTakenKey, Strategy};
pub use domain::table::TableInfo;
pub use domain::transfer::{ConnectionStats, NewTransfer, TableStats, TransferFilter};
pub use domain::transfer::{Transfer, TransferCounters, TransferStatus};
pub use domain::value::{Records, Rows, Value, ValueRef};
pub use error::{Error, ErrorKind, Result};
pub use export::Digest;
pub use limits::{Limits, PullLimits, RetentionLimits, ServerLimits, StoreLimits, WireLimits};
pub use maintain::MaintenanceReport;
#[cfg(feature = "client")]
pub use notify::{ConnectionCheck, DeliveryReport, MessageReport, Notifier, RegisterReport};
pub use plan::table::ExtraColumns;
pub use pull::{FailureAction, Phase, Progress, PullOptions, Report, TableReport, TableStatus};
pub use secret::{Code, SiteKey, Token};
#[cfg(all(feature = "server", feature = "tls"))]
pub use serve::ServerTls;
#[cfg(feature = "server")]
pub use serve::{Body, ChannelSession, CloseCode, Handler, Reply, Server, ServerBuilder, ServerHandle, Upgrade};
#[cfg(feature = "sqlite")]
pub use site::JournalMode;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use site::RemovedState;
pub use site::SiteCounts;
pub use site::Transfers;
pub use site::{CheckpointInfo, CheckpointKind, Checkpoints, KeyMap, KeyMapping, KeyMappings};
pub use site::{ConnectionEdit, ConnectionWithToken, Connections, EventStream, Events, NewConnection};
pub use site::{Session, SessionGuard, Sessions, Settings, Site, SiteBuilder};
#[cfg(feature = "postgres")]
pub use store::postgres::PostgresOptions;
#[cfg(feature = "client")]
pub use verify::{DifferingKeys, TableVerification, VerifyOptions, VerifyReason, VerifyReport, VerifyStatus};
#[cfg(feature = "client")]
pub use wire::api::{PeerStatus, QueryStatusAnswer, RegisterAnswer, RemoteTable};
#[cfg(feature = "client")]
pub use wire::{Capabilities, PeerInfo};

/// The README's examples are tested.
#[cfg(all(doctest, feature = "sqlite", feature = "client", feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
