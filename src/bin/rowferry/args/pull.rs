//! What can be typed after `pull` and after the commands that look at another site.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueHint};
use rowferry::{Dangling, OnLossy, OnTakenKey, Strategy};

use super::secret::Access;
use super::{By, Db, Format, Network, OTHER_SITE};
use crate::values::{list, newer_by, seconds, seconds_or_none, table_key, table_strategy, word};

/// Headings of options in the help.
const ROWS: &str = "Tables and rows";
const APPENDS: &str = "Appends";
const BOUNDS: &str = "Bounds";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").args(["code", "code_file", "token", "token_file", "connection"]).required(true).multiple(true))]
pub struct PullArgs {
    /// The other site, like https://shop.example
    #[arg(required_unless_present = "connection", conflicts_with = "connection", value_hint = ValueHint::Url)]
    pub url: Option<String>,

    #[command(flatten)]
    pub db: Db,

    /// Instead of a URL: a connection that is kept in the database
    ///
    /// A receiver's, by its name or uuid; the beginning of the uuid will do, from 4 characters on.
    #[arg(long, value_name = "NAME_OR_UUID", help_heading = OTHER_SITE)]
    pub connection: Option<String>,

    #[command(flatten)]
    pub access: Access,

    /// The tables to pull [default: all]
    ///
    /// By the other site's names for them; may be given again. A name with a comma in it goes into "double quotes".
    #[arg(long = "table", value_name = "TABLE,..", value_parser = list::<String>, help_heading = ROWS)]
    pub tables: Vec<Vec<String>>,

    /// Tables to leave out
    ///
    /// By the other site's names for them; may be given again. A name that the other site does not have is an error.
    #[arg(long, value_name = "TABLE,..", value_parser = list::<String>, help_heading = ROWS)]
    pub exclude: Vec<Vec<String>>,

    /// What to do with a record whose key exists here [default: skip]
    ///
    /// skip: leave the row as it is. overwrite: the record's columns replace the row's. merge: the record's columns that are
    /// not null replace the row's. append: add the record as a new row with a new key. A connection may have another default.
    #[arg(long, value_parser = word(Strategy::ALL, Strategy::as_str), hide_possible_values = true,
        value_name = "skip|overwrite|merge|append", help_heading = ROWS)]
    pub strategy: Option<Strategy>,

    /// Another strategy for one table; may be given again
    #[arg(long = "table-strategy", value_name = "TABLE=STRATEGY", value_parser = table_strategy, help_heading = ROWS)]
    pub table_strategies: Vec<(String, Strategy)>,

    /// The columns by which records meet rows here [default: the primary key]
    ///
    /// They must be unique here. A row that is here keeps its primary key, and what refers to the record follows to it. May be given
    /// again for other tables.
    #[arg(long = "key", value_name = "TABLE=COLUMN,..", value_parser = table_key, help_heading = ROWS)]
    pub keys: Vec<(String, Vec<String>)>,

    /// Replace a row only where the record's value in this column is greater
    ///
    /// For overwrite and merge. Other records are skipped; those that say the same as their row count as unchanged. NULL is oldest;
    /// dates are compared as the texts or numbers that they are. May be given again for single tables.
    #[arg(long = "newer-by", value_name = "[TABLE=]COLUMN", value_parser = newer_by, help_heading = ROWS)]
    pub newer_by: Vec<(Option<String>, String)>,

    /// Records to ask for at a time [default: 500]
    ///
    /// A rowferry site sends as many as make a page, unless this is given.
    #[arg(long, value_name = "N", help_heading = BOUNDS, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_size: Option<u32>,

    /// Let tables fail that are missing here, instead of making them
    #[arg(long, help_heading = ROWS)]
    pub no_create_tables: bool,

    /// Leave out columns that the table here lacks, instead of failing
    #[arg(long, help_heading = ROWS)]
    pub ignore_extra_columns: bool,

    /// Try everything and report it, but keep nothing
    ///
    /// The code is spent all the same.
    #[arg(short = 'n', long, help_heading = ROWS)]
    pub dry_run: bool,

    /// Append tables again: each of their rows is added a second time
    ///
    /// Without it, or --append-new, a table that was appended whole is refused. An append that was interrupted resumes either way.
    #[arg(long, conflicts_with = "append_new", help_heading = APPENDS)]
    pub append_again: bool,

    /// Append what is new in tables that were appended before
    ///
    /// That is records whose keys were not appended then. The others are skipped, whether they changed or not. `rowferry keymap show
    /// TABLE` lists what is known of earlier appends.
    #[arg(long, help_heading = APPENDS)]
    pub append_new: bool,

    /// When a pull resumes: leave tables of an older state as they are
    ///
    /// Without it, tables that came from an older state of the other site are pulled again, once all that was missing is there, so that
    /// everything is of one state. The report says how old they are.
    #[arg(long, help_heading = ROWS)]
    pub no_refresh: bool,

    /// What an append does with a key that is taken
    ///
    /// And that cannot be replaced: no new key can be made where it is text. fail: the record fails. map: the record is the row that has
    /// the key; what refers to it refers to that row.
    #[arg(long, help_heading = APPENDS, value_parser = word(OnTakenKey::ALL, OnTakenKey::as_str), hide_possible_values = true,
        value_name = "fail|map", default_value = "fail")]
    pub on_taken_key: OnTakenKey,

    /// What to do with a record that refers to a missing row
    ///
    /// The row is neither here nor pulled.
    /// fail: the record fails. keep: it becomes a row all the same, and the report counts it as dangling: for databases of
    /// applications that leave foreign keys unchecked.
    #[arg(long, help_heading = ROWS, value_parser = word(Dangling::ALL, Dangling::as_str), hide_possible_values = true,
        value_name = "fail|keep", default_value = "fail")]
    pub dangling: Dangling,

    /// What to do with a record whose value a column here cannot hold
    ///
    /// Text that is not UTF-8 or has NUL in it, a number out of range, text in a column of numbers.
    /// fail: the record fails. replace: U+FFFD, the digits, the number, or NULL is stored. The report counts both by column (lossy).
    #[arg(long, help_heading = ROWS, value_parser = word(OnLossy::ALL, OnLossy::as_str), hide_possible_values = true,
        value_name = "fail|replace", default_value = "fail")]
    pub on_lossy: OnLossy,

    /// Keep what undoes the pull, for `rowferry transfers undo`
    ///
    /// What each row that it changes was before, for 7 days. It takes space in the database, and time.
    #[arg(long, help_heading = ROWS)]
    pub undoable: bool,

    /// Let tables that are made refer to tables that were here before
    ///
    /// By foreign keys as the other site describes them. Without it such a foreign key is left out, and the report says so (outside_reference): rows of the new table could keep rows of
    /// yours from being deleted or changed. Tables that this pull makes refer to each other in any case, and to tables that it
    /// overwrites or merges.
    #[arg(long, help_heading = ROWS)]
    pub outside_references: bool,

    /// The most records of this run [default: 2^40]
    ///
    /// Of all tables together; pages are taken whole. What came stays, and the same pull again resumes.
    #[arg(long, help_heading = BOUNDS, visible_alias = "max-rows", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_records: Option<u64>,

    /// The most bytes of values of this run [default: 2^40]
    ///
    /// Pages are taken whole. What came stays, and the same pull again resumes.
    #[arg(long, help_heading = BOUNDS, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_bytes: Option<u64>,

    /// How long this run may take [default: 86400, a day]
    ///
    /// What came stays, and the same pull again resumes.
    #[arg(long, help_heading = BOUNDS, value_name = "SECONDS", value_parser = seconds)]
    pub max_time: Option<Duration>,

    /// How long to wait until the other side approves the pull
    ///
    /// Where that is needed. Without it, nothing is waited for: start the same pull again after the approval.
    #[arg(long, help_heading = OTHER_SITE, value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["code", "code_file"])]
    pub wait_for_approval: Option<Duration>,

    /// For how long to reconnect; 0 gives up at once
    ///
    /// When the connection is lost in the middle of the pull, when the other site says that it is busy, and for whatever else may pass.
    #[arg(long, help_heading = OTHER_SITE, value_name = "SECONDS", value_parser = seconds_or_none, default_value = "30")]
    pub retry_time: Duration,

    /// How long other programs that write here may have to wait, about
    ///
    /// The pull takes longer then. Without it, it is a second or so.
    #[arg(long, help_heading = BOUNDS, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..))]
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
#[command(group = ArgGroup::new("who").args(["code", "code_file", "token", "token_file"]).required(true).multiple(true))]
pub struct Remote {
    /// The other site, like https://shop.example
    #[arg(value_hint = ValueHint::Url)]
    pub url: String,

    #[command(flatten)]
    pub access: Access,

    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Subcommand)]
pub enum KeymapCommand {
    /// List interrupted pulls, and tables that were appended
    ///
    /// With how far they are.
    #[command(after_long_help = "Example:\n  rowferry keymap list --db backup.db")]
    List {
        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// List which rows of a table the records of other sites became
    #[command(after_long_help = "Example:\n  rowferry keymap show orders --db backup.db --json")]
    Show {
        /// The table here
        table: String,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },

    /// Forget all that, or what is remembered of some tables
    ///
    /// Which rows their records became is forgotten, too. The next pull begins from the start, and may append again.
    #[command(after_long_help = "Example:\n  rowferry keymap clear --table orders --db backup.db")]
    Clear {
        /// Only of these tables, by the other site's names; may be given again
        #[arg(long = "table", value_name = "TABLE,..", value_parser = list::<String>)]
        tables: Vec<Vec<String>>,

        #[command(flatten)]
        db: Db,

        #[command(flatten)]
        format: Format,
    },
}
