//! What can be typed after the commands about a site of one's own.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use rowferry::{AddressRange, Direction, EventKind, JournalMode};

use super::secret::Secret;
use super::{DATABASE, Db, Format, Network, OTHER_SITE, Postgres};
use crate::values::{hours, id, listen, word};

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

    /// Where to listen
    ///
    /// An address and a port; port 0 picks a free one. 0.0.0.0:7171 and [::]:7171 are all addresses of this machine.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7171", value_parser = listen)]
    pub listen: String,

    /// A path to answer under too, besides the root and /phoenix_kit
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,

    /// The URL that other sites reach this one by
    ///
    /// It is kept as the setting site_url.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub site_url: Option<String>,

    /// Make a session, and print its code
    #[arg(long)]
    pub code: bool,

    /// Proxies before this site
    ///
    /// Their addresses; what they say in X-Forwarded-For is believed. May be given again.
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub trusted_proxies: Vec<AddressRange>,

    /// Most connections at the same time
    ///
    /// When all are taken, one that waits for its next request is closed for a new one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: Option<u32>,

    /// Most connections of one address [default: a quarter of all]
    ///
    /// With IPv6: of one network of 64 bits. Where all peers come through a proxy, that is one address, unless --trusted-proxy says that it is a proxy: then each address
    /// behind it has so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections_per_address: Option<u32>,

    /// Serve https with the certificate in this PEM file
    ///
    /// With its chain, the server's own first. The names by which others reach this server must stand in it (subjectAltName). With one
    /// that is self-signed, others give it to --ca-cert.
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    ///
    /// Without a password: PKCS#8, PKCS#1 or SEC1.
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Trust the certificate in this PEM file, too
    ///
    /// When other sites are told something. Of a certificate authority, or a self-signed one; besides those that browsers and this
    /// system trust.
    #[arg(long, visible_alias = "ca-file", help_heading = OTHER_SITE, value_name = "PEM")]
    pub ca_cert: Option<PathBuf>,

    /// What stands before /sync in the other sites' paths
    ///
    /// When they are told something. It is tried before the root and /phoenix_kit.
    #[arg(long, help_heading = OTHER_SITE, value_name = "PATH")]
    pub remote_prefix: Option<String>,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Make a session, and print its code
    ///
    /// It works once, and is shown only now.
    #[command(after_long_help = "Example:\n  rowferry sessions create --db shop.db --expires-in 2")]
    Create {
        /// Who pulls
        ///
        /// send: the other site pulls from this one. receive: this site pulls from the other.
        #[arg(long, value_parser = word(Direction::ALL, Direction::as_str), hide_possible_values = true,
            value_name = "send|receive", default_value_t = Direction::Send)]
        direction: Direction,

        /// After how many hours the code no longer works
        #[arg(long, value_name = "HOURS", default_value = "24", value_parser = hours)]
        expires_in: Duration,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// List all sessions, used and expired ones, too
    ///
    /// Their codes are not known any more.
    #[command(after_long_help = "Example:\n  rowferry sessions list --db shop.db")]
    List {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Delete a session: its code no longer works
    #[command(after_long_help = "Example:\n  rowferry sessions delete A7X9K2M4 --db shop.db")]
    Delete {
        /// The session's code, while it works, or its uuid, or the beginning of that
        #[arg(value_name = "CODE_OR_UUID")]
        session: String,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Make a new site key after the old one was lost
    ///
    /// All sessions are deleted: only the old key knew them. Connections stay. The other sites can still pull through theirs, and are told of nothing until `connections
    /// rotate-token` makes a new token, which they are given by hand. To pull through one of this site's, it needs its token
    /// again: `connections update --token-file`. What waited for other sites is dropped.
    #[command(after_long_help = "Example:\n  rowferry sessions reset-key --db shop.db")]
    ResetKey {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Show one setting, or all of them
    #[command(after_long_help = "Example:\n  rowferry settings get enabled --db shop.db")]
    Get {
        /// The setting [default: all]
        ///
        /// enabled, incoming_mode, incoming_password (only whether it is set), site_url or allow_internal_urls.
        key: Option<String>,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Change a setting
    ///
    /// An empty value takes incoming_password and site_url away.
    #[command(after_long_help = "Example:\n  rowferry settings set enabled false --db shop.db\n  \
                      rowferry settings set incoming_password --value-file - --db shop.db")]
    Set {
        /// The setting
        ///
        /// enabled, incoming_mode, incoming_password, site_url or allow_internal_urls.
        key: String,

        /// Its new value
        ///
        /// Others on this machine can see it: --value-file hides a password.
        #[arg(allow_hyphen_values = true, required_unless_present = "value_file")]
        value: Option<Secret>,

        /// A file with the value, or -
        ///
        /// It stands in the first line. - is standard input.
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

    /// Only those about this connection, by name or uuid
    ///
    /// A deleted one only by its whole uuid.
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those about this transfer
    ///
    /// By its id, or the beginning or the end of it. One that is deleted only by its whole id.
    #[arg(long, value_name = "ID", value_parser = id)]
    pub transfer: Option<String>,

    /// Only those of this kind; may be given again
    ///
    /// Like connection.created.
    #[arg(long = "kind", value_parser = word(EventKind::ALL, EventKind::as_str), hide_possible_values = true,
        value_name = "KIND")]
    pub kinds: Vec<EventKind>,

    /// Most events to show: the newest ones
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,

    /// Wait for further events, until interrupted
    #[arg(long)]
    pub follow: bool,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The other site, like https://shop.example
    #[arg(required_unless_present = "db", value_hint = ValueHint::Url)]
    pub url: Option<String>,

    /// Instead of another site, a database of your own
    #[arg(long, value_name = "DB", env = "ROWFERRY_DB", value_hint = ValueHint::FilePath,
        help_heading = DATABASE)]
    pub db: Option<String>,

    #[command(flatten)]
    pub postgres: Postgres,

    /// Let the database's schema call anything; only for a file that you trust
    #[arg(long, conflicts_with = "url", help_heading = DATABASE)]
    pub trust_schema: bool,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub db: Db,

    /// Compare indexes with their tables, too, which takes longer
    ///
    /// Of a SQLite file; PostgreSQL has pg_amcheck for it.
    #[arg(long)]
    pub full: bool,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Take rowferry's tables out of a database again
    ///
    /// The key beside it is removed, too. It asks first. Lost are the settings, sessions, connections with their tokens, the history and its events, messages that were not sent,
    /// and where pulls resume. Other sites are told of nothing: revoke connections first, so that they learn of it. Your own tables
    /// stay as they are. It is refused while another program has the database open. The file keeps its size: `sqlite3 DB VACUUM` makes
    /// it smaller, and what was removed unreadable.
    #[command(after_long_help = "Example:\n  rowferry state remove --db shop.db --journal-mode delete")]
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub db: Db,

    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,

    /// The journal mode that the file is left in
    ///
    /// wal, as rowferry had it, or delete, SQLite's default.
    #[arg(long, value_parser = word(JournalMode::ALL, JournalMode::as_str), hide_possible_values = true,
        value_name = "MODE", default_value_t = JournalMode::Wal)]
    pub journal_mode: JournalMode,

    #[command(flatten)]
    pub format: Format,
}
