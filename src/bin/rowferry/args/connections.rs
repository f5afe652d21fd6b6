//! What can be typed after `rowferry connections`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use rowferry::{ConnectionDirection, ConnectionStatus, Metadata};

use super::policy::PolicyArgs;
use super::secret::{Secret, at_most_one_from_stdin, secret};
use super::{By, Db, Format, Network, OTHER_SITE};
use crate::failure::Failure;
use crate::values::{metadata, word};

#[derive(Debug, Subcommand)]
pub enum ConnectionsCommand {
    /// List connections
    #[command(after_long_help = "Example:\n  rowferry connections list --db shop.db --status pending")]
    List(ListArgs),

    /// Show all of one connection, but for its token
    #[command(after_long_help = "Example:\n  rowferry connections show Backup --db shop.db")]
    Show(ShowArgs),

    /// Let another site pull from this one, and tell it so
    ///
    /// The token, with which the other site pulls, is shown only now. The other site is told by HTTP, if the setting site_url
    /// says what this one is called; whether it takes the connection at once is its own matter. With --direction receiver,
    /// it is the other way round: the other site's people gave the token, and this site pulls with it.
    #[command(
        after_long_help = "Example:\n  rowferry connections create --db shop.db --name Backup --site-url https://backup.example \
                      --allowed-tables users,posts --max-downloads 100"
    )]
    Create(Box<CreateArgs>),

    /// Change what a connection allows, or its name
    ///
    /// The other site is not told.
    #[command(
        after_long_help = "Example:\n  rowferry connections update Backup --db shop.db --max-downloads none --rate-limit 10"
    )]
    Update(Box<UpdateArgs>),

    /// Approve a connection that another site asked for
    #[command(after_long_help = "Example:\n  rowferry connections approve Shop --db backup.db")]
    Approve(ChangeArgs),

    /// Stop a connection until it is reactivated
    ///
    /// A pull that is running stops at its next page.
    #[command(after_long_help = "Example:\n  rowferry connections suspend Backup --db shop.db --reason 'stocktaking'")]
    Suspend(EndArgs),

    /// Let a suspended or expired connection work again
    #[command(after_long_help = "Example:\n  rowferry connections reactivate Backup --db shop.db")]
    Reactivate(ChangeArgs),

    /// End a connection permanently, and keep it for the record
    #[command(after_long_help = "Example:\n  rowferry connections revoke Backup --db shop.db --reason 'machine sold'")]
    Revoke(EndArgs),

    /// Make a new token: the old one no longer works
    ///
    /// For a connection that this site is the sender of. The new token is shown only now. The other site is told it; where it cannot be, share it by hand.
    #[command(after_long_help = "Example:\n  rowferry connections rotate-token Backup --db shop.db")]
    RotateToken(ChangeArgs),

    /// Delete a connection, or all that wait for approval
    ///
    /// Their transfers and events stay.
    #[command(
        after_long_help = "Examples:\n  rowferry connections delete Backup --db shop.db\n  rowferry connections delete --pending --yes --db shop.db"
    )]
    Delete(DeleteArgs),

    /// Ask the other sites how connections stand there
    ///
    /// All at once. A sender connection that the other site no longer has is suspended. One that cannot be reached changes nothing.
    #[command(after_long_help = "Example:\n  rowferry connections check --db shop.db")]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only those of which this site is the sender, or the receiver
    #[arg(long, value_parser = word(ConnectionDirection::ALL, ConnectionDirection::as_str), hide_possible_values = true,
        value_name = "sender|receiver")]
    pub direction: Option<ConnectionDirection>,

    /// Only those of this status
    ///
    /// pending, active, suspended, revoked or expired.
    #[arg(long, value_parser = word(ConnectionStatus::ALL, ConnectionStatus::as_str), hide_possible_values = true,
        value_name = "STATUS")]
    pub status: Option<ConnectionStatus>,

    /// Most connections to show
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,

    /// How many connections to leave out first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The connection, by its name or uuid, or the beginning of that
    #[arg(value_name = "NAME_OR_UUID")]
    pub connection: String,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

/// One connection, and who does something to it.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The connection, by its name or uuid, or the beginning of that
    #[arg(value_name = "NAME_OR_UUID")]
    pub connection: String,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

/// A change of which the other site is told.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    #[command(flatten)]
    pub one: OneArgs,

    #[command(flatten)]
    pub tell: Tell,
}

/// What is deleted.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The connection, by its name or uuid, or 8 digits of that
    #[arg(value_name = "NAME_OR_UUID", required_unless_present = "pending")]
    pub connection: Option<String>,

    /// All connections that wait for approval here
    ///
    /// Other sites asked for them; those sites are not told.
    #[arg(long, conflicts_with_all = ["connection", "no_notify", "prefix", "ca_cert", "timeout"])]
    pub pending: bool,

    /// Do not ask whether they may be deleted
    #[arg(long, conflicts_with = "connection")]
    pub yes: bool,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,

    #[command(flatten)]
    pub tell: Tell,
}

/// A change that has a reason.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// Why; it is kept with the connection
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    #[command(flatten)]
    pub change: ChangeArgs,
}

/// Whether and how the other site is told.
#[derive(Debug, Args)]
pub struct Tell {
    /// Do not tell the other site now
    ///
    /// What it must know waits, and is sent by `rowferry serve`.
    #[arg(long, help_heading = OTHER_SITE)]
    pub no_notify: bool,

    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// One connection, by its name or uuid [default: all]
    #[arg(value_name = "NAME_OR_UUID")]
    pub connection: Option<String>,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What people here call it
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// The other site, like https://backup.example
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub site_url: String,

    /// Which end of it this site is
    ///
    /// sender: the other site pulls from this one. receiver: this site pulls from the other, with the token it gave out.
    #[arg(long, value_parser = word(ConnectionDirection::ALL, ConnectionDirection::as_str), hide_possible_values = true,
        value_name = "sender|receiver", default_value_t = ConnectionDirection::Sender)]
    pub direction: ConnectionDirection,

    #[command(flatten)]
    pub token: TheirToken,

    /// The password that the other site asks for
    ///
    /// Before it takes connections.
    #[arg(long, help_heading = OTHER_SITE, value_name = "PASSWORD", conflicts_with = "no_notify", allow_hyphen_values = true)]
    pub remote_password: Option<Secret>,

    /// A file with that password, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, help_heading = OTHER_SITE, value_name = "FILE", conflicts_with_all = ["remote_password", "no_notify"])]
    pub remote_password_file: Option<PathBuf>,

    #[command(flatten)]
    pub download_password: DownloadPassword,

    #[command(flatten)]
    pub notes: Notes,

    /// Do not tell the other site: the token is then shared by hand
    #[arg(long, help_heading = OTHER_SITE)]
    pub no_notify: bool,

    #[command(flatten)]
    pub network: Network,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,

    // Last, because its heading stands over all that follow.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The connection, by its name or uuid, or the beginning of that
    #[arg(value_name = "NAME_OR_UUID")]
    pub connection: String,

    /// What people here call it from now on
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Where the other site is now
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub site_url: Option<String>,

    #[command(flatten)]
    pub token: TheirToken,

    #[command(flatten)]
    pub download_password: DownloadPassword,

    /// Ask for no download password any more
    #[arg(long, conflicts_with_all = ["download_password", "download_password_file"])]
    pub no_download_password: bool,

    #[command(flatten)]
    pub notes: Notes,

    #[command(flatten)]
    pub by: By,

    #[command(flatten)]
    pub db: Db,

    #[command(flatten)]
    pub format: Format,

    // Last, because its heading stands over all that follow.
    #[command(flatten)]
    pub policy: PolicyArgs,
}

/// The token of a receiver connection.
#[derive(Debug, Args)]
#[group(skip)]
pub struct TheirToken {
    /// For a receiver: the token that the other site gave out
    ///
    /// Others on this machine can see it: --token-file hides it.
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<Secret>,

    /// A file with that token, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
}

/// What the other site must give beside the token.
#[derive(Debug, Args)]
#[group(skip)]
pub struct DownloadPassword {
    /// A password that pulls must give beside the token
    #[arg(long, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub download_password: Option<Secret>,

    /// A file with that password, or -
    ///
    /// It stands in the first line. - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "download_password")]
    pub download_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(skip)]
pub struct Notes {
    /// Notes to keep with it, a JSON object
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    pub metadata: Option<Metadata>,
}

/// The secrets of `create` and `update`.
pub struct Secrets {
    pub token: Option<Secret>,
    pub download_password: Option<Secret>,
    pub remote_password: Option<Secret>,
}

impl CreateArgs {
    pub fn secrets(&self) -> Result<Secrets, Failure> {
        let (token, password) = (&self.token, &self.download_password);
        at_most_one_from_stdin(&[&token.token_file, &password.download_password_file, &self.remote_password_file])?;
        Ok(Secrets {
            token: secret(&token.token, &token.token_file)?,
            download_password: secret(&password.download_password, &password.download_password_file)?,
            remote_password: secret(&self.remote_password, &self.remote_password_file)?,
        })
    }
}

impl UpdateArgs {
    pub fn secrets(&self) -> Result<Secrets, Failure> {
        let (token, password) = (&self.token, &self.download_password);
        at_most_one_from_stdin(&[&token.token_file, &password.download_password_file])?;
        Ok(Secrets {
            token: secret(&token.token, &token.token_file)?,
            download_password: secret(&password.download_password, &password.download_password_file)?,
            remote_password: None,
        })
    }
}
