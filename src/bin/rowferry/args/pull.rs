//! What can be typed after `pull` and after the commands that look at another site.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use rowferry::{Dangling, OnTakenKey, Strategy};

use super::secret::Access;
use super::{By, Db, Format, Network};
use crate::values::{list, seconds, seconds_or_none, table_strategy};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").args(["code", "token", "token_file", "connection"]).required(true))]
pub struct PullArgs {
    /// The other site, like https://shop.example
    #[arg(required_unless_present = "connection", conflicts_with = "connection")]
    pub url: Option<String>,

    #[command(flatten)]
    pub db: Db,

    /// A receiver connection that is kept in the database, by its name or uuid, instead of a URL
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    #[command(flatten)]
    pub access: Access,

    /// The tables to pull, by the other site's names for them; may be given again. Without it all are pulled. A name with a comma in it
    /// goes into "double quotes"
    #[arg(long = "table", value_name = "TABLE,..", value_parser = list::<String>)]
    pub tables: Vec<Vec<String>>,

    /// What to do with a record whose key exists here
    ///
    /// skip: leave the row as it is. overwrite: the record's columns replace the row's. merge: the record's columns that are
    /// not null replace the row's. append: add the record as a new row with a new key. Without it: what the connection says
    /// that is pulled through, else skip.
    #[arg(long, value_name = "skip|overwrite|merge|append")]
    pub strategy: Option<Strategy>,

    /// Another strategy for one table; may be given again
    #[arg(long = "table-strategy", value_name = "TABLE=STRATEGY", value_parser = table_strategy)]
    pub table_strategies: Vec<(String, Strategy)>,

    /// Records to ask for at a time [default: 500; a rowferry site sends as many as make a page]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_size: Option<u32>,

    /// Let tables fail that are missing here, instead of making them
    #[arg(long)]
    pub no_create_tables: bool,

    /// Leave out columns that the table here lacks, instead of failing the table
    #[arg(long)]
    pub ignore_extra_columns: bool,

    /// Try everything and report it, but keep nothing. The code is spent all the same
    #[arg(long)]
    pub dry_run: bool,

    /// Append tables that were appended before: each of their rows is added a second time
    ///
    /// Without it, or --append-new, a table that was appended whole is refused. An append that was interrupted resumes either way.
    #[arg(long, conflicts_with = "append_new")]
    pub append_again: bool,

    /// Append what is new in tables that were appended before: records whose keys were not appended then
    ///
    /// The others are skipped, whether they changed or not. `rowferry keymap show TABLE` lists what is known of earlier appends.
    #[arg(long)]
    pub append_new: bool,

    /// When an interrupted pull is resumed: leave the tables as they are that came from an older state of the other site
    ///
    /// Without it they are pulled again, once all that was missing is there, so that everything is of one state. The report says how
    /// old they are.
    #[arg(long)]
    pub no_refresh: bool,

    /// What an append does with a record whose key is taken here, where no new one can be made of its kind (text)
    ///
    /// fail: the record fails. map: the record is the row that has the key; what refers to it refers to that row.
    #[arg(long, value_name = "fail|map", default_value = "fail")]
    pub on_taken_key: OnTakenKey,

    /// What becomes of a record that refers to a row which is neither here nor pulled
    ///
    /// fail: the record fails. keep: it becomes a row all the same, and the report counts it as dangling: for databases of
    /// applications that leave foreign keys unchecked.
    #[arg(long, value_name = "fail|keep", default_value = "fail")]
    pub dangling: Dangling,

    /// How long to wait until the other side approves the pull, where that is needed. Without it, nothing is
    /// waited for: the same pull may be started again after the approval
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "code")]
    pub wait_for_approval: Option<Duration>,

    /// For how long to reconnect when the connection is lost in the middle of the pull, and to retry what may pass; 0 gives up at once
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none, default_value = "30")]
    pub retry_time: Duration,

    /// Let other programs that write to the database wait for about so long at most; the pull takes longer then
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub lock_time: Option<u64>,

    #[command(flatten)]
    pub by: By,

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

/// Another site that is looked at.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").args(["code", "token", "token_file"]).required(true))]
pub struct Remote {
    /// The other site, like https://shop.example
    pub url: String,

    #[command(flatten)]
    pub access: Access,

    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Subcommand)]
pub enum KeymapCommand {
    /// Lists the tables of pulls that were cut off, with how far they are, and those that were appended.
    #[command(after_help = "Example:\n  rowferry keymap list --db backup.db")]
    List {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Lists which rows of a table here the records of other sites became.
    #[command(after_help = "Example:\n  rowferry keymap show orders --db backup.db --json")]
    Show {
        /// The table here
        table: String,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Forgets all that, or what is remembered of some tables, and which rows their records became: the next pull begins from the
    /// start, and may append again.
    #[command(after_help = "Example:\n  rowferry keymap clear --table orders --db backup.db")]
    Clear {
        /// Only of these tables, by the other site's names for them; may be given again
        #[arg(long = "table", value_name = "TABLE,..", value_parser = list::<String>)]
        tables: Vec<Vec<String>>,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}
