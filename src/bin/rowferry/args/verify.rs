//! What can be typed after `verify`.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueHint};

use super::secret::Access;
use super::{Db, Format, Network, OTHER_SITE};
use crate::values::{list, seconds, seconds_or_none};

/// Headings of options in the help.
const ROWS: &str = "Tables and rows";
const BOUNDS: &str = "Bounds";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").args(["code", "code_file", "token", "token_file", "connection"]).required(true).multiple(true))]
pub struct VerifyArgs {
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

    /// The tables to compare [default: all]
    ///
    /// By the other site's names for them; may be given again. A name with a comma in it goes into "double quotes".
    #[arg(long = "table", value_name = "TABLE,..", value_parser = list::<String>, help_heading = ROWS)]
    pub tables: Vec<Vec<String>>,

    /// Tables to leave out
    ///
    /// By the other site's names for them; may be given again. A name that the other site does not have is an error.
    #[arg(long, value_name = "TABLE,..", value_parser = list::<String>, help_heading = ROWS)]
    pub exclude: Vec<Vec<String>>,

    /// Compare the columns that both tables have, where one has more
    ///
    /// Without it, nothing can be said of such a table.
    #[arg(long, help_heading = ROWS)]
    pub ignore_extra_columns: bool,

    /// How many keys to list of each table
    ///
    /// Of rows that are only there, only here, and at both ends with other values: so many of each.
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = ROWS)]
    pub keys: usize,

    /// How long all of it may take [default: 86400, a day]
    #[arg(long, help_heading = BOUNDS, value_name = "SECONDS", value_parser = seconds)]
    pub max_time: Option<Duration>,

    /// For how long to reconnect; 0 gives up at once
    ///
    /// When the connection is lost, or the other site says that it is busy. The table that is being compared begins again then.
    #[arg(long, help_heading = OTHER_SITE, value_name = "SECONDS", value_parser = seconds_or_none, default_value = "30")]
    pub retry_time: Duration,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub format: Format,
}
