//! What can be typed.

pub mod connections;
pub mod policy;
pub mod pull;
pub mod secret;
pub mod site;
pub mod transfers;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use self::connections::ConnectionsCommand;
use self::pull::{KeymapCommand, PullArgs, RecordsArgs, TableArgs, TablesArgs};
use self::site::{DemoArgs, EventsArgs, ServeArgs, SessionsCommand, SettingsCommand, StatusArgs};
use self::transfers::TransfersCommand;
use crate::values::seconds;

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
    /// Other sites get nothing without a code or a connection: --code makes a code for them, as does `rowferry sessions
    /// create`; `rowferry connections create` pairs with one permanently. Every minute it sends what waits for other sites that
    /// were offline, and lets expire what is over.
    #[command(after_help = "Example:\n  rowferry serve --db shop.db --code")]
    Serve(ServeArgs),

    /// Pulls another site's tables into a database, which is made if it is missing. Spends the code.
    ///
    /// Tables that are missing are made. Nothing is ever deleted; what becomes of records whose key exists is the strategy's
    /// matter. The other site is asked with a code, with a token, or through a connection that is kept in the database.
    #[command(
        after_help = "Example:\n  rowferry pull http://127.0.0.1:7171 --code A7X9K2M4 --db backup.db --strategy overwrite\n  \
                      rowferry pull --connection Shop --db backup.db --wait-for-approval 600"
    )]
    Pull(PullArgs),

    /// Lists the tables that another site offers, with their numbers of rows. Of a rowferry site, no code is spent by it.
    #[command(after_help = "Example:\n  rowferry tables https://shop.example --code A7X9K2M4")]
    Tables(TablesArgs),

    /// Shows what a table of another site looks like. Of a rowferry site, no code is spent by it.
    #[command(after_help = "Example:\n  rowferry schema users https://shop.example --code A7X9K2M4")]
    Schema(TableArgs),

    /// Says how many rows a table of another site has. Of a rowferry site, no code is spent by it.
    #[command(after_help = "Example:\n  rowferry count users https://shop.example --code A7X9K2M4")]
    Count(TableArgs),

    /// Shows records of a table of another site. A code is spent by it, a token is not.
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

    /// Pairs with other sites permanently: makes connections, and says who may pull what, how much and how long.
    #[command(
        after_help = "Example:\n  rowferry connections create --db shop.db --name Backup --site-url https://backup.example"
    )]
    Connections {
        #[command(subcommand)]
        command: ConnectionsCommand,
    },

    /// Shows what was pulled, by whom and when, and approves what waits for approval.
    #[command(after_help = "Example:\n  rowferry transfers list --pending --db shop.db")]
    Transfers {
        #[command(subcommand)]
        command: TransfersCommand,
    },

    /// Shows and forgets what is remembered of pulls: how far those are that were cut off, and which tables were appended.
    #[command(after_help = "Example:\n  rowferry keymap list --db backup.db")]
    Keymap {
        #[command(subcommand)]
        command: KeymapCommand,
    },

    /// Shows what happened to connections and transfers, oldest first.
    #[command(after_help = "Example:\n  rowferry events --db shop.db --connection Backup --follow")]
    Events(EventsArgs),

    /// Asks another site whether it takes part in sync, which needs no code; or counts what a site of one's own has.
    #[command(after_help = "Example:\n  rowferry status https://shop.example\n  rowferry status --db shop.db")]
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub struct Db {
    /// The database: the path of a SQLite file
    #[arg(long = "db", value_name = "DB")]
    pub path: String,
}

#[derive(Debug, Args)]
pub struct By {
    /// Who does this, for the events
    #[arg(id = "by", long, value_name = "NAME", default_value = "command line")]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Format {
    /// Print one JSON object per line, and nothing else
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Network {
    /// What stands before /sync in the other site's paths; tried before the root and /phoenix_kit
    #[arg(long, value_name = "PATH")]
    pub prefix: Option<String>,

    /// Trust the certificate authority in this PEM file besides the usual ones
    #[arg(long, value_name = "PEM")]
    pub ca_cert: Option<PathBuf>,

    /// How long each step may take: to connect, 30 s at most, and then each answer; for a pull, all answers together. Without
    /// it, 30 s to connect and 60 s for each answer
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
            "rowferry pull http://h --token T --password P --db a.db --wait-for-approval 5",
            "rowferry pull --connection Shop --db a.db --json",
            "rowferry count users http://h --token-file -",
            "rowferry connections create --name N --site-url http://h --direction sender --no-notify --db a.db --json",
            "rowferry connections suspend N --db a.db --reason R --by B",
            "rowferry connections check --db a.db",
            "rowferry transfers list --db a.db --status failed --status denied",
            "rowferry events --db a.db --follow --kind connection.created",
            "rowferry status --db a.db",
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
