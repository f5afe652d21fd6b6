//! What can be typed after `rowferry transfers`.

use clap::{Args, Subcommand};
use rowferry::{Direction, TransferStatus};
use time::OffsetDateTime;

use super::{By, Db, Format};
use crate::values::{date, date_end, id, word};

#[derive(Debug, Subcommand)]
pub enum TransfersCommand {
    /// List transfers, the newest first
    ///
    /// There is one for each table of each pull.
    #[command(after_long_help = "Example:\n  rowferry transfers list --db shop.db --connection Backup --status failed")]
    List(ListArgs),

    /// Show all of one transfer
    #[command(after_long_help = "Example:\n  rowferry transfers show 7f94a28d --db shop.db")]
    Show(ShowArgs),

    /// Approve a pull that waits for approval, or all of a connection
    ///
    /// The approval is good for one pull.
    #[command(after_long_help = "Examples:\n  rowferry transfers approve 7f94a28d --db shop.db\n  \
                      rowferry transfers approve --connection Backup --all --db shop.db")]
    Approve(DecideArgs),

    /// Refuse a pull that waits for approval, or all of a connection
    #[command(after_long_help = "Example:\n  rowferry transfers deny 7f94a28d --db shop.db --reason 'not now'")]
    Deny(DenyArgs),

    /// Call off a transfer that has not ended
    ///
    /// One that is running stops at its next page.
    #[command(after_long_help = "Example:\n  rowferry transfers cancel 7f94a28d --db shop.db")]
    Cancel(ReasonArgs),

    /// Delete a transfer from the history
    #[command(after_long_help = "Example:\n  rowferry transfers delete 7f94a28d --db shop.db")]
    Delete(OneArgs),

    /// Undo what a transfer did to its table, or all of its pull
    ///
    /// Only after `rowferry pull --undoable`. Rows become what they were before, and those that were added are deleted. A row that was
    /// changed since then stays as it is, and so does one that was added and that others refer to: then the exit status is 3.
    #[command(after_long_help = "Examples:\n  rowferry transfers undo 7f94a28d --db shop.db --dry-run\n  \
                      rowferry transfers undo 7f94a28d --db shop.db --pull")]
    Undo(UndoArgs),

    /// Add up what was moved, in all and for each table
    #[command(after_long_help = "Example:\n  rowferry transfers stats --db shop.db --connection Backup --from 2030-01-01")]
    Stats(StatsArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those that wait for approval and can still be approved
    #[arg(long, conflicts_with = "statuses")]
    pub pending: bool,

    /// Only those that this site sent, or received
    #[arg(long, value_parser = word(Direction::ALL, Direction::as_str), hide_possible_values = true, value_name = "send|receive")]
    pub direction: Option<Direction>,

    /// Only those of this status, like in_progress; may be given again
    #[arg(long = "status", value_parser = word(TransferStatus::ALL, TransferStatus::as_str), hide_possible_values = true,
        value_name = "STATUS")]
    pub statuses: Vec<TransferStatus>,

    /// Only those through this connection, by name or uuid
    ///
    /// A deleted one only by its whole uuid.
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those of this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,

    /// Only those made at this moment or later
    ///
    /// A date (its beginning, UTC), or like 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub from: Option<OffsetDateTime>,

    /// Only those made at this moment or earlier
    ///
    /// A date (its end, UTC), or like 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = date_end)]
    pub to: Option<OffsetDateTime>,

    /// Only those that need or needed approval, or with false only the others
    #[arg(long, value_name = "true|false", hide_possible_values = true, num_args = 0..=1, default_missing_value = "true")]
    pub requires_approval: Option<bool>,

    /// Most transfers to show
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,

    /// How many transfers to leave out first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The transfer: its id, or the beginning or the end of it
    #[arg(value_name = "ID", value_parser = id)]
    pub id: String,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

/// One transfer, and who does something to it.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The transfer: its id, or the beginning or the end of it
    #[arg(value_name = "ID", value_parser = id)]
    pub id: String,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

/// One transfer, or all of its pull.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// Undo all transfers of the same pull
    #[arg(long)]
    pub pull: bool,

    /// Report what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub one: OneArgs,
}

/// One transfer that waits for approval, or all of a connection.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The transfer: its id, or the beginning or the end of it
    #[arg(value_name = "ID", required_unless_present = "all", value_parser = id)]
    pub id: Option<String>,

    /// Those of this connection, by its name or uuid
    #[arg(long, value_name = "NAME_OR_UUID", requires = "all", conflicts_with = "id")]
    pub connection: Option<String>,

    /// All that wait for approval
    #[arg(long, requires = "connection", conflicts_with = "id")]
    pub all: bool,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct DenyArgs {
    /// Why; it is kept with the transfer
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    #[command(flatten)]
    pub decide: DecideArgs,
}

#[derive(Debug, Args)]
pub struct ReasonArgs {
    /// Why; it is kept with the transfer
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    #[command(flatten)]
    pub one: OneArgs,
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Only of this connection, by name or uuid
    ///
    /// A deleted one only by its whole uuid.
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those that this site sent, or received
    #[arg(long, value_parser = word(Direction::ALL, Direction::as_str), hide_possible_values = true, value_name = "send|receive")]
    pub direction: Option<Direction>,

    /// Only those made at this moment or later
    ///
    /// A date (its beginning, UTC), or like 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub from: Option<OffsetDateTime>,

    /// Only those made at this moment or earlier
    ///
    /// A date (its end, UTC), or like 2030-01-31T18:00:00Z.
    #[arg(long, value_name = "DATE", value_parser = date_end)]
    pub to: Option<OffsetDateTime>,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}
