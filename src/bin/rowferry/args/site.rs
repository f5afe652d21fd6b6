//! What can be typed after the commands about a site of one's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use rowferry::{AddressRange, Direction, EventKind};
use uuid::Uuid;

use super::secret::Secret;
use super::{Db, Format, Network};
use crate::values::{hours, listen};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// About how many rows the shop has
    #[arg(long, value_name = "N", default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub rows: u32,

    /// Keep the databases, and say where they are
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub db: Db,

    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7171", value_parser = listen)]
    pub listen: String,

    /// A path to answer under too, besides the root and /phoenix_kit
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,

    /// The URL that other sites reach this one by; kept as the setting site_url
    #[arg(long, value_name = "URL")]
    pub site_url: Option<String>,

    /// Make a session, and print its code
    #[arg(long)]
    pub code: bool,

    /// Addresses of proxies before this site, whose X-Forwarded-For is believed; may be given again
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub trusted_proxies: Vec<AddressRange>,

    /// Serve https with the certificate chain in this PEM file
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// When other sites are told something: trust the certificate authority in this PEM file besides the usual ones
    #[arg(long, value_name = "PEM")]
    pub ca_cert: Option<PathBuf>,

    /// When other sites are told something: what stands before /sync in their paths; tried before the root and /phoenix_kit
    #[arg(long, value_name = "PATH")]
    pub remote_prefix: Option<String>,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Makes a session and prints its code: it works once, and is shown only now.
    #[command(after_help = "Example:\n  rowferry sessions create --db shop.db --expires-in 2")]
    Create {
        /// send: the other site pulls from this one. receive: this site pulls from the other
        #[arg(long, value_name = "send|receive", default_value_t = Direction::Send)]
        direction: Direction,

        /// After how many hours the code no longer works
        #[arg(long, value_name = "HOURS", default_value = "24", value_parser = hours)]
        expires_in: Duration,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Lists all sessions, used and expired ones too. Their codes are not known any more.
    #[command(after_help = "Example:\n  rowferry sessions list --db shop.db")]
    List {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Deletes a session: its code no longer works.
    #[command(after_help = "Example:\n  rowferry sessions delete A7X9K2M4 --db shop.db")]
    Delete {
        /// The session's code, while it works, or its uuid
        #[arg(value_name = "CODE_OR_UUID")]
        session: String,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Makes a new site key after the old one was lost, and deletes all sessions, which only the old one knew.
    ///
    /// Connections stay. The other sites can still pull through theirs, and are told of nothing until `connections
    /// rotate-token` makes a new token, which they are given by hand. To pull through one of this site's, it needs its token
    /// again: `connections update --token-file`. What waited for other sites is dropped.
    #[command(after_help = "Example:\n  rowferry sessions reset-key --db shop.db")]
    ResetKey {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Shows one setting, or all of them.
    #[command(after_help = "Example:\n  rowferry settings get enabled --db shop.db")]
    Get {
        /// enabled, incoming_mode, incoming_password (only whether it is set), site_url or allow_internal_urls
        key: Option<String>,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Changes a setting. An empty value takes incoming_password and site_url away.
    #[command(after_help = "Example:\n  rowferry settings set enabled false --db shop.db\n  \
                      rowferry settings set incoming_password --value-file - --db shop.db")]
    Set {
        /// enabled, incoming_mode, incoming_password, site_url or allow_internal_urls
        key: String,

        /// Its new value. Others on this machine can see it: --value-file hides a password
        #[arg(allow_hyphen_values = true, required_unless_present = "value_file")]
        value: Option<Secret>,

        /// A file with the value in its first line; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        value_file: Option<PathBuf>,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    #[command(flatten)]
    pub db: Db,

    /// Only those about this connection, by name or uuid; a deleted one only by its uuid
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those about this transfer
    #[arg(long, value_name = "UUID")]
    pub transfer: Option<Uuid>,

    /// Only those of this kind, like connection.created; may be given again
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<EventKind>,

    /// Most events to show: the newest ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// Wait for further events and show them as they happen, until interrupted
    #[arg(long)]
    pub follow: bool,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The other site, like https://shop.example
    #[arg(required_unless_present = "db")]
    pub url: Option<String>,

    /// Instead of another site, the database of one's own: the path of a SQLite file
    #[arg(long, value_name = "DB", conflicts_with_all = ["url", "prefix", "ca_cert", "timeout"])]
    pub db: Option<String>,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub format: Format,
}
