//! How to use rowferry, by what you want to do.
//!
//! - [`backup`]: pull another site's tables, again and again; what a report says; how a pull resumes
//! - [`strategies`]: what becomes of rows that exist, of new keys, and of references
//! - [`connections`]: pair two sites, set limits, approve pulls
//! - [`database`]: what rowferry does to a database; the key and secrets
//! - [`postgres`]: a site on PostgreSQL, and how one moves there (feature `postgres`)
//! - [`postgres_types`]: what becomes of columns and values between SQLite, PostgreSQL and PhoenixKit
//! - [`serving`]: let other machines pull: addresses, a proxy, TLS, certificates, a service
//! - [`watching`]: progress, events, history and logs
//! - [`limits`]: what rowferry does not do, and where its bounds are
//! - [`command_line`]: the `rowferry` command
//! - [`json`]: what the command prints for scripts
//! - [`troubleshooting`]: what to do about an error, by its code
//! - [`phoenixkit`]: coming from PhoenixKit: its functions and ours
//! - [`security`]: what peers, senders, local users and web pages may and may not do

#[doc = include_str!("../docs/guide/backup.md")]
pub mod backup {}

#[doc = include_str!("../docs/guide/strategies.md")]
pub mod strategies {}

#[doc = include_str!("../docs/guide/connections.md")]
pub mod connections {}

#[doc = include_str!("../docs/guide/database.md")]
pub mod database {}

#[cfg(feature = "postgres")]
#[doc = include_str!("../docs/guide/postgres.md")]
pub mod postgres {}

#[doc = include_str!("../docs/guide/postgres-types.md")]
pub mod postgres_types {}

#[doc = include_str!("../docs/serving.md")]
pub mod serving {}

#[doc = include_str!("../docs/guide/watching.md")]
pub mod watching {}

#[doc = include_str!("../docs/guide/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/guide/command_line.md")]
pub mod command_line {}

#[doc = include_str!("../docs/json.md")]
pub mod json {}

#[doc = include_str!("../docs/guide/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("../docs/guide/phoenixkit.md")]
pub mod phoenixkit {}

#[doc = include_str!("../SECURITY.md")]
pub mod security {}
