//! What can be typed after `rowferry transfers`.

use clap::{Args, Subcommand};
use rowferry::{Direction, TransferStatus};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{By, Db, Format};
use crate::values::{date, date_end};

#[derive(Debug, Subcommand)]
pub enum TransfersCommand {
    /// Lists transfers, the newest first: one for each table of each pull.
    #[command(after_help = "Example:\n  rowferry transfers list --db shop.db --connection Backup --status failed")]
    List(ListArgs),

    /// Shows all of one transfer.
    #[command(after_help = "Example:\n  rowferry transfers show 0199c2f8-0000-7000-8000-000000000000 --db shop.db")]
    Show(ShowArgs),

    /// Approves a pull that waits for approval, once.
    #[command(after_help = "Example:\n  rowferry transfers approve 0199c2f8-0000-7000-8000-000000000000 --db shop.db")]
    Approve(OneArgs),

    /// Refuses a pull that waits for approval.
    #[command(
        after_help = "Example:\n  rowferry transfers deny 0199c2f8-0000-7000-8000-000000000000 --db shop.db --reason 'not now'"
    )]
    Deny(ReasonArgs),

    /// Calls off a transfer that has not ended; one that is running stops at its next page.
    #[command(after_help = "Example:\n  rowferry transfers cancel 0199c2f8-0000-7000-8000-000000000000 --db shop.db")]
    Cancel(ReasonArgs),

    /// Deletes a transfer from the history.
    #[command(after_help = "Example:\n  rowferry transfers delete 0199c2f8-0000-7000-8000-000000000000 --db shop.db")]
    Delete(OneArgs),

    /// Adds up what was moved, in all and for each table.
    #[command(after_help = "Example:\n  rowferry transfers stats --db shop.db --connection Backup --from 2030-01-01")]
    Stats(StatsArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those that wait for approval and can still be approved
    #[arg(long, conflicts_with = "statuses")]
    pub pending: bool,

    /// send: the other site pulled from this one. receive: this site pulled
    #[arg(long, value_name = "send|receive")]
    pub direction: Option<Direction>,

    /// Only those of this status, like in_progress; may be given again
    #[arg(long = "status", value_name = "STATUS")]
    pub statuses: Vec<TransferStatus>,

    /// Only those through this connection, by name or uuid; a deleted one only by its uuid
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those of this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,

    /// Only those made at this moment or later: a date (its beginning, UTC) or like 2030-01-31T18:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub from: Option<OffsetDateTime>,

    /// Only those made at this moment or earlier: a date (its end, UTC) or like 2030-01-31T18:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date_end)]
    pub to: Option<OffsetDateTime>,

    /// Only those that need or needed approval, or with false only the others
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
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
    /// The transfer
    pub uuid: Uuid,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

/// One transfer, and who does something to it.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The transfer
    pub uuid: Uuid,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
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
    /// Only of this connection, by name or uuid; a deleted one only by its uuid
    #[arg(long, value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    /// Only those that this site sent, or received
    #[arg(long, value_name = "send|receive")]
    pub direction: Option<Direction>,

    /// Only those made at this moment or later: a date (its beginning, UTC) or like 2030-01-31T18:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub from: Option<OffsetDateTime>,

    /// Only those made at this moment or earlier: a date (its end, UTC) or like 2030-01-31T18:00:00Z
    #[arg(long, value_name = "DATE", value_parser = date_end)]
    pub to: Option<OffsetDateTime>,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}
