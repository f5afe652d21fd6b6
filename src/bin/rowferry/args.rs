//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rowferry::{Direction, Strategy};

use crate::values::{hours, listen, seconds, table_strategy};

/// Ferries rows between databases: serve a database's tables, pull another site's tables into your own.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but some records or tables failed.
#[derive(Debug, Parser)]
#[command(name = "rowferry", version, arg_required_else_help = true, after_help = "Example:\n  rowferry demo")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows it all on two databases of its own: serves one, pulls it into the other, and checks every row.
    ///
    /// The databases hold a made-up shop and are deleted at the end. Exit status 0 means that everything was as it should be.
    #[command(after_help = "Example:\n  rowferry demo --keep")]
    Demo(DemoArgs),

    /// Serves a database to other sites, until it is interrupted.
    ///
    /// Other sites get nothing without a code: --code makes one for them, as does `rowferry sessions create`.
    #[command(after_help = "Example:\n  rowferry serve --db shop.db --code")]
    Serve(ServeArgs),

    /// Pulls another site's tables into a database, which is made if it is missing. Spends the code.
    ///
    /// Tables that are missing are made. Nothing is ever deleted; what becomes of records whose key exists is the strategy's
    /// matter.
    #[command(
        after_help = "Example:\n  rowferry pull http://127.0.0.1:7171 --code A7X9K2M4 --db backup.db --strategy overwrite"
    )]
    Pull(PullArgs),

    /// Lists the tables that another site offers, with their numbers of rows. Spends the code.
    #[command(after_help = "Example:\n  rowferry tables https://shop.example --code A7X9K2M4")]
    Tables(TablesArgs),

    /// Shows what a table of another site looks like. Spends the code.
    #[command(after_help = "Example:\n  rowferry schema users https://shop.example --code A7X9K2M4")]
    Schema(TableArgs),

    /// Says how many rows a table of another site has. Spends the code.
    #[command(after_help = "Example:\n  rowferry count users https://shop.example --code A7X9K2M4")]
    Count(TableArgs),

    /// Shows records of a table of another site. Spends the code.
    #[command(after_help = "Example:\n  rowferry records users --limit 20 https://shop.example --code A7X9K2M4")]
    Records(RecordsArgs),

    /// Makes, lists and deletes sessions: one-off permissions to pull, each by a code that works once.
    #[command(after_help = "Example:\n  rowferry sessions create --db shop.db --expires-in 2")]
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },

    /// Reads and changes the settings that a site keeps in its database.
    #[command(after_help = "Example:\n  rowferry settings set enabled false --db shop.db")]
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },

    /// Asks another site whether it takes part in sync. Needs no code.
    #[command(after_help = "Example:\n  rowferry status https://shop.example")]
    Status(StatusArgs),
}

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

    /// Serve https with the certificate chain in this PEM file
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// The other site, like https://shop.example
    pub url: String,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub code: Code,

    /// A table to pull, by the other site's name for it; may be given again. Without it all are pulled
    #[arg(long = "table", value_name = "TABLE")]
    pub tables: Vec<String>,

    /// What to do with a record whose key exists here
    ///
    /// skip: leave the row as it is. overwrite: the record's columns replace the row's. merge: the record's columns that are
    /// not null replace the row's. append: add the record as a new row with a new key.
    #[arg(long, value_name = "skip|overwrite|merge|append", default_value_t = Strategy::Skip)]
    pub strategy: Strategy,

    /// Another strategy for one table; may be given again
    #[arg(long = "table-strategy", value_name = "TABLE=STRATEGY", value_parser = table_strategy)]
    pub table_strategies: Vec<(String, Strategy)>,

    /// Records to ask for at a time
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_size: u32,

    /// Let tables fail that are missing here, instead of making them
    #[arg(long)]
    pub no_create_tables: bool,

    /// Leave out columns that the table here lacks, instead of failing the table
    #[arg(long)]
    pub ignore_extra_columns: bool,

    /// Try everything and report it, but keep nothing. The code is spent all the same
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct TablesArgs {
    #[command(flatten)]
    pub remote: Remote,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct TableArgs {
    /// The table, by the other site's name for it
    pub table: String,

    #[command(flatten)]
    pub remote: Remote,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// The table, by the other site's name for it
    pub table: String,

    /// Most records to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,

    /// How many records to leave out first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,

    #[command(flatten)]
    pub remote: Remote,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The other site, like https://shop.example
    pub url: String,

    #[command(flatten)]
    pub network: Network,

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
    #[command(after_help = "Example:\n  rowferry settings set enabled false --db shop.db")]
    Set {
        /// enabled, incoming_mode, incoming_password, site_url or allow_internal_urls
        key: String,

        /// Its new value
        value: String,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub struct Db {
    /// The database: the path of a SQLite file
    #[arg(long = "db", value_name = "DB")]
    pub path: String,
}

#[derive(Debug, Args)]
pub struct Format {
    /// Print one JSON object per line, and nothing else
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Code {
    /// The code that the other site gave out. It works once
    #[arg(long, value_name = "CODE")]
    pub code: String,
}

/// The code stays out of it.
impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(..)")
    }
}

/// Another site that is looked at.
#[derive(Debug, Args)]
pub struct Remote {
    /// The other site, like https://shop.example
    pub url: String,

    #[command(flatten)]
    pub code: Code,

    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Args)]
pub struct Network {
    /// What stands before /sync in the other site's paths; tried before the root and /phoenix_kit
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,

    /// Trust the certificate authority in this PEM file besides the usual ones
    #[arg(long, value_name = "PEM")]
    pub ca_cert: Option<PathBuf>,

    /// How long all of it may take. Without it, 30 s to connect and 60 s for each answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_fit_together_and_each_has_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example:\n  rowferry "), "{}: {help}", command.get_name());
            command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(check);
        }
        check(&mut cli);
    }

    #[test]
    fn arguments_stand_in_the_order_of_the_contract() {
        for line in [
            "rowferry schema users http://h --code C",
            "rowferry records users --limit 5 --offset 10 http://h --code C --json",
            "rowferry tables http://h --code C",
            "rowferry pull http://h --code C --db a.db --table t --table u --table-strategy a=b=merge",
            "rowferry sessions delete X --db a.db",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "rowferry pull http://h --db a.db",
            "rowferry pull http://h --code C",
            "rowferry pull http://h --code C --db a.db --strategy replace",
            "rowferry pull http://h --code C --db a.db --table-strategy merge",
            "rowferry pull http://h --code C --db a.db --batch-size 0",
            "rowferry pull http://h --code C --db a.db --timeout 0",
            "rowferry pull http://h --code C --db a.db --token T",
            "rowferry serve --db a.db --tls-cert x.pem",
            "rowferry serve --db a.db --listen 7171",
            "rowferry records users --limit 0 http://h --code C",
            "rowferry demo --json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
