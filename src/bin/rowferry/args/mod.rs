//! What can be typed.

pub mod connections;
pub mod help;
pub mod policy;
pub mod pull;
pub mod secret;
pub mod site;
pub mod site_copy;
pub mod transfers;
pub mod verify;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

use self::connections::ConnectionsCommand;
use self::help::with_help;
use self::pull::{KeymapCommand, PullArgs, RecordsArgs, TableArgs, TablesArgs};
use self::site::{DemoArgs, DoctorArgs, EventsArgs, ServeArgs, SessionsCommand, SettingsCommand, StateCommand, StatusArgs};
use self::site_copy::SiteCommand;
use self::transfers::TransfersCommand;
use self::verify::VerifyArgs;
use crate::values::{log_filter, seconds};

/// Headings of options in the help.
pub const DATABASE: &str = "Database";
pub const OTHER_SITE: &str = "The other site";
pub const OUTPUT: &str = "Output";

/// Ferry rows between databases: serve a database's tables, pull another site's tables into your own.
#[derive(Debug, Parser)]
#[command(name = "rowferry", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub talk: Talk,
}

/// How much is said besides what is asked for.
#[derive(Debug, Args)]
pub struct Talk {
    /// Print only errors, warnings and what is asked for
    ///
    /// There is no progress and no summary. A code or token that is made is printed, as are lists; a pull prints its report only where
    /// something failed.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,

    /// Log what is done on standard error; -vv logs details
    ///
    /// Once: what is done, as `serve` logs it anyway. Twice: the details, too. Three times: everything.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Log what this filter says, like rowferry=debug
    ///
    /// A level (off, error, warn, info, debug, trace), or a list of modules with theirs: warn,rowferry::pull=debug. -q and -v come
    /// first. Without any of them RUST_LOG is read.
    #[arg(long = "log", global = true, value_name = "FILTER", value_parser = log_filter, env = "ROWFERRY_LOG", help_heading = OUTPUT)]
    pub log_filter: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it all on two temporary databases
    ///
    /// It makes a shop, serves it, pulls it into a second database, changes both, pulls again with each strategy, and checks every row.
    /// The databases are deleted at the end. Exit status 0 means that everything was as it should be.
    #[command(after_long_help = "Example:\n  rowferry demo --keep")]
    Demo(DemoArgs),

    /// Serve a database to other sites, until interrupted
    ///
    /// Other sites get nothing without a code or a connection. `--code` makes a code for them, as does `rowferry sessions create`;
    /// `rowferry connections create` pairs with one permanently. Every minute it sends what waits for other sites that were offline,
    /// and expires what is over.
    #[command(after_long_help = "Example:\n  rowferry serve --db shop.db --code")]
    Serve(ServeArgs),

    /// Pull another site's tables into a database
    ///
    /// The database and its tables are made if they are missing. Rows are never deleted; --strategy says what happens to records whose
    /// key exists here. The other site is asked with a code, which is spent, with a token, or through a connection that is kept in the
    /// database. A pull that was interrupted resumes when it is started again.
    #[command(
        override_usage = "rowferry pull [OPTIONS] --db <DB> <--code <CODE>|--token <TOKEN>> <URL>\n       \
                      rowferry pull [OPTIONS] --db <DB> --connection <NAME_OR_UUID>",
        after_long_help = "Examples:\n  rowferry pull http://127.0.0.1:7171 --code A7X9K2M4 --db backup.db --strategy overwrite\n  \
                      rowferry pull --connection Shop --db backup.db --wait-for-approval 600"
    )]
    Pull(Box<PullArgs>),

    /// Compare a database with another site, and change nothing
    ///
    /// Both sites read their tables once; what goes between them grows with what differs. Each table is equal, different, with keys of rows
    /// that differ, or inconclusive, with the reason. Rows that changed at the other site after the last pull are different. A code is spent,
    /// as by a pull. Exit status 0 means that all tables are equal, 3 that one differs, 1 that nothing can be said of one and none differs.
    #[command(
        override_usage = "rowferry verify [OPTIONS] --db <DB> <--code <CODE>|--token <TOKEN>> <URL>\n       \
                      rowferry verify [OPTIONS] --db <DB> --connection <NAME_OR_UUID>",
        after_long_help = "Examples:\n  rowferry verify http://127.0.0.1:7171 --code A7X9K2M4 --db backup.db\n  \
                      rowferry verify --connection Shop --db backup.db --table orders --json"
    )]
    Verify(Box<VerifyArgs>),

    /// List the tables that another site offers
    ///
    /// With their numbers of rows. With a rowferry site, this does not spend the code.
    #[command(
        override_usage = "rowferry tables [OPTIONS] <--code <CODE>|--token <TOKEN>> <URL>",
        after_long_help = "Example:\n  rowferry tables https://shop.example --code A7X9K2M4"
    )]
    Tables(TablesArgs),

    /// Show the columns and keys of a table
    ///
    /// With a rowferry site, this does not spend the code.
    #[command(
        override_usage = "rowferry schema [OPTIONS] <--code <CODE>|--token <TOKEN>> <TABLE> <URL>",
        after_long_help = "Example:\n  rowferry schema users https://shop.example --code A7X9K2M4"
    )]
    Schema(TableArgs),

    /// Count the rows of a table
    ///
    /// With a rowferry site, this does not spend the code.
    #[command(
        override_usage = "rowferry count [OPTIONS] <--code <CODE>|--token <TOKEN>> <TABLE> <URL>",
        after_long_help = "Example:\n  rowferry count users https://shop.example --code A7X9K2M4"
    )]
    Count(TableArgs),

    /// Show records of a table
    ///
    /// This spends a code; it does not spend a token.
    #[command(
        override_usage = "rowferry records [OPTIONS] <--code <CODE>|--token <TOKEN>> <TABLE> <URL>",
        after_long_help = "Example:\n  rowferry records users --limit 20 https://shop.example --code A7X9K2M4"
    )]
    Records(RecordsArgs),

    /// Make and list codes for others to pull with
    ///
    /// A session is a permission to pull by a code that works once, until it expires.
    #[command(after_long_help = "Example:\n  rowferry sessions create --db shop.db --expires-in 2")]
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },

    /// Show and change the settings of a site
    ///
    /// They are kept in its database.
    #[command(after_long_help = "Example:\n  rowferry settings set enabled false --db shop.db")]
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },

    /// Pair with other sites permanently
    ///
    /// A connection says who may pull what, how much and how long. The site that shares makes it and tells the other one.
    #[command(
        after_long_help = "Example:\n  rowferry connections create --db shop.db --name Backup --site-url https://backup.example"
    )]
    Connections {
        #[command(subcommand)]
        command: ConnectionsCommand,
    },

    /// Show what was pulled, and approve what waits
    ///
    /// The history has a transfer for each table of each pull, on both sides.
    #[command(after_long_help = "Example:\n  rowferry transfers list --pending --db shop.db")]
    Transfers {
        #[command(subcommand)]
        command: TransfersCommand,
    },

    /// Show and forget what is remembered of pulls
    ///
    /// How far interrupted pulls are, which tables were appended, and which rows their records became.
    #[command(after_long_help = "Example:\n  rowferry keymap list --db backup.db")]
    Keymap {
        #[command(subcommand)]
        command: KeymapCommand,
    },

    /// Show what happened to connections and transfers
    ///
    /// The oldest of them first.
    #[command(after_long_help = "Example:\n  rowferry events --db shop.db --connection Backup --follow")]
    Events(EventsArgs),

    /// Ask whether a site takes part in sync
    ///
    /// Another site is asked by its URL, which needs no code. With --db it is a site of your own, and what it has is counted.
    #[command(after_long_help = "Examples:\n  rowferry status https://shop.example\n  rowferry status --db shop.db")]
    Status(StatusArgs),

    /// Say what could go wrong with a database here
    ///
    /// It changes nothing. SQLite's version, the journal mode, damage, foreign keys that name nothing, rows that refer to nothing,
    /// collations and modules that are not registered, what is not offered, the file, the room for it, the clock, rowferry's own
    /// tables, and the key: a line each, `ok`, `warning` or `problem` with what to do. Exit status 3 means that there is a problem.
    #[command(after_long_help = "Example:\n  rowferry doctor --db shop.db")]
    Doctor(DoctorArgs),

    /// Take what rowferry keeps out of a database
    #[command(after_long_help = "Example:\n  rowferry state remove --db shop.db")]
    State {
        #[command(subcommand)]
        command: StateCommand,
    },

    /// Move a site into another database
    #[command(
        after_long_help = "Example:\n  rowferry site copy --from shop.db --to postgres://shop@db.example/shop --key-file shop.rowferry-key"
    )]
    Site {
        #[command(subcommand)]
        command: SiteCommand,
    },

    /// Print a script that completes commands in a shell
    ///
    /// Where it belongs depends on the shell; for bash, it is /etc/bash_completion.d, or ~/.local/share/bash-completion/completions.
    #[command(
        after_long_help = "Example:\n  rowferry completions bash > ~/.local/share/bash-completion/completions/rowferry"
    )]
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Print a manual page, or write all of them
    ///
    /// Without a command, it is the page of rowferry itself.
    #[command(after_long_help = "Examples:\n  rowferry man pull | man -l -\n  rowferry man --out /usr/local/share/man/man1")]
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command whose page is printed, like sessions create
    pub command: Vec<String>,

    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Db {
    /// The database: a SQLite file, or a postgres:// URL
    ///
    /// postgres://user@host/database needs a rowferry with support for PostgreSQL. Others on this machine can see a password in it:
    /// PGPASSWORD, a file that PGPASSFILE names, or ~/.pgpass hides it.
    #[arg(long = "db", value_name = "DB", env = "ROWFERRY_DB", value_hint = ValueHint::FilePath,
        help_heading = DATABASE)]
    pub path: String,

    #[command(flatten)]
    pub postgres: Postgres,

    /// The site's key [default: DB.rowferry-key]
    ///
    /// A file. It is made when it is first needed. Nobody but its owner may read it (mode 0600 or 0400). One that is named here may be a
    /// symbolic link, and its group may read it, too (0640 or 0440). A PostgreSQL database has no place beside it: name one.
    #[arg(long, value_name = "FILE", env = "ROWFERRY_KEY_FILE", hide_env_values = true, help_heading = DATABASE)]
    pub key_file: Option<PathBuf>,

    /// Let the database's schema call anything; only for a file that you trust
    ///
    /// Triggers, views and the like may then call also what SQLite does not know to be harmless, such as pragma_table_info.
    #[arg(long, help_heading = DATABASE)]
    pub trust_schema: bool,
}

/// How a PostgreSQL database is opened.
#[derive(Debug, Clone, Default, Args)]
pub struct Postgres {
    /// The schema of a PostgreSQL database [default: public]
    ///
    /// rowferry's own tables are in it. May be given again: tables of the further schemas are called schema.table.
    #[arg(long = "db-schema", value_name = "NAME", help_heading = DATABASE)]
    pub schemas: Vec<String>,

    /// Trust the certificate in this PEM file for PostgreSQL, too
    ///
    /// Of the authority that signed the server's certificate.
    #[arg(id = "db_ca_cert", long = "db-ca-cert", value_name = "PEM", help_heading = DATABASE)]
    pub ca_cert: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct By {
    /// Who does this, for the events
    #[arg(id = "by", long, value_name = "NAME", default_value = "command line", help_heading = DATABASE)]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct Format {
    /// Print one JSON object per line, and nothing else
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Network {
    /// What stands before /sync in the other site's paths
    ///
    /// It is tried before the root and /phoenix_kit.
    #[arg(long, value_name = "PATH", help_heading = OTHER_SITE)]
    pub prefix: Option<String>,

    /// Trust the certificate in this PEM file, too
    ///
    /// Of a certificate authority, or a self-signed one; besides those that browsers and this system trust.
    #[arg(long, visible_alias = "ca-file", value_name = "PEM", help_heading = OTHER_SITE)]
    pub ca_cert: Option<PathBuf>,

    /// How long a step may take [default: 30 to connect, 60 to answer]
    ///
    /// To connect, 30 s at most, and then each answer; for a pull, all answers together.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = OTHER_SITE)]
    pub timeout: Option<Duration>,
}

/// Options of which at most one may be typed, of a command that has the first of them.
const ONE_OF: &[&[&str]] = &[
    &["code", "code_file", "token", "token_file", "connection"],
    &["url", "db"],
    &["password", "password_file"],
    &["code", "password"],
    &["code", "password_file"],
    &["code_file", "password"],
    &["code_file", "password_file"],
];

/// Reads what was typed. A variable of the environment gives way to what was typed instead: clap's own conflicts do not.
pub fn parse(words: impl IntoIterator<Item: Into<OsString> + Clone>) -> Result<(Cli, ArgMatches), clap::Error> {
    let mut command = without_empty_variables(with_help(Cli::command()));
    let matches = command.try_get_matches_from_mut(words)?;
    let leaf = leaf(&matches);
    let typed =
        |id: &&&str| leaf.try_contains_id(id).unwrap_or(false) && leaf.value_source(id) == Some(ValueSource::CommandLine);
    let flag = |id: &&str| match *id {
        "url" => "URL".to_owned(),
        id => format!("--{}", id.replace('_', "-")),
    };
    for options in ONE_OF.iter().filter(|options| options.first().is_some_and(|id| leaf.try_contains_id(id).is_ok())) {
        let given: Vec<String> = options.iter().filter(typed).map(flag).collect();
        if given.len() > 1 {
            let message = format!("these cannot be used together: {}\n", given.join(", "));
            let error = clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, message);
            return Err(error.with_cmd(leaf_command(&command, &matches)));
        }
    }
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

/// The command as it is where no variable of the environment is empty: `ROWFERRY_DB= rowferry ..` is how a shell says that it has none.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |option: &clap::Arg| option.get_env().is_some_and(is_empty_variable);
    // There may be a password in it, and help shows what a variable says.
    let is_url = |option: &clap::Arg| option.get_env().is_some_and(is_url_variable);
    command
        .mut_args(|option| if is_empty(&option) { option.env(None) } else { option })
        .mut_args(|option| if is_url(&option) { option.hide_env_values(true) } else { option })
        .mut_subcommands(without_empty_variables)
}

/// Whether a variable of the environment is set, and empty.
#[expect(clippy::disallowed_methods, reason = "what clap and the logger read is read by the command")]
pub fn is_empty_variable(name: impl AsRef<OsStr>) -> bool {
    std::env::var_os(name.as_ref()).is_some_and(|value| value.is_empty())
}

/// Whether a variable of the environment has the URL of a PostgreSQL database.
#[expect(clippy::disallowed_methods, reason = "what clap reads is read by the command")]
fn is_url_variable(name: impl AsRef<OsStr>) -> bool {
    std::env::var_os(name.as_ref()).is_some_and(|value| crate::database::is_url(&value.to_string_lossy()))
}

/// The last command that was typed.
fn leaf_command<'c>(command: &'c clap::Command, matches: &ArgMatches) -> &'c clap::Command {
    let found = matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
    found.map_or(command, |(command, matches)| leaf_command(command, matches))
}

/// What was typed after the last command's name.
pub fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, matches)| leaf(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_together_and_each_has_an_example() {
        let mut cli = with_help(Cli::command());
        cli.clone().debug_assert();
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            let has_example =
                ["Example:\n  rowferry ", "Examples:\n  rowferry "].iter().any(|example| help.contains(example));
            assert!(has_example, "{}: {help}", command.get_name());
            command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(check);
        }
        check(&mut cli);
    }

    #[test]
    fn the_short_help_of_an_option_is_one_line() {
        let mut cli = with_help(Cli::command());
        cli.build();
        fn check(command: &mut clap::Command) {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            for option in command.get_arguments() {
                let help = option.get_help().map(ToString::to_string).unwrap_or_default();
                assert!((1..=80).contains(&help.len()) && !help.contains('\n'), "{name}: {help}");
            }
            let usage = command.render_usage().to_string();
            assert!(usage.lines().all(|line| line.len() <= 100), "{usage}");
            command.get_subcommands_mut().for_each(check);
        }
        check(&mut cli);
    }

    #[test]
    fn what_the_files_in_contrib_start_can_be_typed() {
        let units = [
            include_str!("../../../../contrib/rowferry-serve.service"),
            include_str!("../../../../contrib/rowferry-pull.service"),
        ];
        for line in units.map(|unit| unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap()) {
            assert!(parse(line.split(' ')).is_ok(), "{line}");
        }
        let image = include_str!("../../../../contrib/Dockerfile").lines();
        let lists = image.filter_map(|line| line.trim_start().strip_prefix("CMD "));
        let mut commands: Vec<Vec<String>> = lists.map(|list| serde_json::from_str(list).unwrap()).collect();
        // The image's entry point comes before the last one.
        commands.last_mut().unwrap().insert(0, "rowferry".to_owned());
        assert_eq!(commands.len(), 2);
        for command in commands {
            assert!(parse(command.clone()).is_ok(), "{command:?}");
        }
    }

    #[test]
    fn what_every_command_prints_as_json_is_in_the_schema() {
        let schema = include_str!("../../../../schema/output.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let mut cli = Cli::command();
        cli.build();
        fn check(command: &clap::Command, schema: &serde_json::Value) {
            if command.get_arguments().any(|option| option.get_long() == Some("json")) {
                let name = command.get_bin_name().unwrap_or_default().trim_start_matches("rowferry ").to_owned();
                assert!(schema["commands"][&name].is_array(), "{name}");
            }
            command.get_subcommands().for_each(|command| check(command, schema));
        }
        check(&cli, &schema);
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
            "rowferry verify http://h --db a.db --code C --table t --table u",
            "rowferry verify --connection NAME --db a.db --keys 5 --json",
            "rowferry connections create --name N --site-url http://h --direction sender --no-notify --db a.db --json",
            "rowferry connections suspend N --db a.db --reason R --by B",
            "rowferry connections check --db a.db",
            "rowferry transfers list --db a.db --status failed --status denied",
            "rowferry events --db a.db --follow --kind connection.created",
            "rowferry status --db a.db",
            "rowferry doctor --db a.db --full --json",
            "rowferry state remove --db a.db --yes --journal-mode delete --json",
            "rowferry site copy --from a.db --to postgres://h/d --key-file k --json",
        ] {
            assert!(parse(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "rowferry pull http://h --db a.db",
            "rowferry pull http://h --code C",
            "rowferry verify http://h --db a.db",
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
            assert!(parse(line.split(' ')).is_err(), "{line}");
        }
    }
}
