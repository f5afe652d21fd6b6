//! What can be typed after `rowferry connections`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rowferry::{ConnectionDirection, ConnectionStatus, Metadata};

use super::policy::PolicyArgs;
use super::secret::{Secret, at_most_one_from_stdin, secret};
use super::{By, Db, Format, Network};
use crate::failure::Failure;
use crate::values::metadata;

#[derive(Debug, Subcommand)]
pub enum ConnectionsCommand {
    /// Lists connections.
    #[command(after_help = "Example:\n  rowferry connections list --db shop.db --status pending")]
    List(ListArgs),

    /// Shows all of one connection, but for its token.
    #[command(after_help = "Example:\n  rowferry connections show Backup --db shop.db")]
    Show(ShowArgs),

    /// Makes a connection: lets another site pull from this one, and tells it so.
    ///
    /// The token, with which the other site pulls, is shown only now. The other site is told by HTTP, if the setting site_url
    /// says what this one is called; whether it takes the connection at once is its own matter. With --direction receiver,
    /// it is the other way round: the other site's people gave the token, and this site pulls with it.
    #[command(
        after_help = "Example:\n  rowferry connections create --db shop.db --name Backup --site-url https://backup.example \
                      --allowed-tables users,posts --max-downloads 100"
    )]
    Create(Box<CreateArgs>),

    /// Changes what a connection allows, or what it is called. The other site is not told.
    #[command(
        after_help = "Example:\n  rowferry connections update Backup --db shop.db --max-downloads none --rate-limit 10"
    )]
    Update(Box<UpdateArgs>),

    /// Approves a connection that another site asked for.
    #[command(after_help = "Example:\n  rowferry connections approve Shop --db backup.db")]
    Approve(ChangeArgs),

    /// Stops a connection until it is reactivated; a pull that is running stops at its next page.
    #[command(after_help = "Example:\n  rowferry connections suspend Backup --db shop.db --reason 'stocktaking'")]
    Suspend(EndArgs),

    /// Lets a suspended or expired connection work again.
    #[command(after_help = "Example:\n  rowferry connections reactivate Backup --db shop.db")]
    Reactivate(ChangeArgs),

    /// Ends a connection permanently, and keeps it for the record.
    #[command(after_help = "Example:\n  rowferry connections revoke Backup --db shop.db --reason 'machine sold'")]
    Revoke(EndArgs),

    /// Makes a new token for a connection that this site is the sender of: the old one no longer works.
    ///
    /// The new token is shown only now. The other site is told it; where it cannot be, share it by hand.
    #[command(after_help = "Example:\n  rowferry connections rotate-token Backup --db shop.db")]
    RotateToken(ChangeArgs),

    /// Deletes a connection. Its transfers and events stay.
    #[command(after_help = "Example:\n  rowferry connections delete Backup --db shop.db")]
    Delete(ChangeArgs),

    /// Asks the other sites what they say of connections; all at once.
    ///
    /// A sender connection that the other site no longer has is suspended. One that cannot be reached changes nothing.
    #[command(after_help = "Example:\n  rowferry connections check --db shop.db")]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// sender: the other site pulls from this one. receiver: this site pulls from the other
    #[arg(long, value_name = "sender|receiver")]
    pub direction: Option<ConnectionDirection>,

    /// Only those that are pending, active, suspended, revoked or expired
    #[arg(long, value_name = "STATUS")]
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
    /// The connection, by its name or uuid
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
    /// The connection, by its name or uuid
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
    /// Do not tell the other site now. What it must know waits and is sent by `rowferry serve`
    #[arg(long)]
    pub no_notify: bool,

    #[command(flatten)]
    pub network: Network,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// One connection, by its name or uuid. Without it, all are checked
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
    #[arg(long, value_name = "URL")]
    pub site_url: String,

    /// sender: the other site pulls from this one. receiver: this site pulls from the other, with the token it gave out
    #[arg(long, value_name = "sender|receiver", default_value_t = ConnectionDirection::Sender)]
    pub direction: ConnectionDirection,

    #[command(flatten)]
    pub token: TheirToken,

    /// The password that the other site asks for before it takes connections
    #[arg(long, value_name = "PASSWORD", conflicts_with = "no_notify", allow_hyphen_values = true)]
    pub remote_password: Option<Secret>,

    /// A file with that password in its first line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["remote_password", "no_notify"])]
    pub remote_password_file: Option<PathBuf>,

    #[command(flatten)]
    pub download_password: DownloadPassword,

    #[command(flatten)]
    pub notes: Notes,

    /// Do not tell the other site: the token is then shared by hand
    #[arg(long)]
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
    /// The connection, by its name or uuid
    #[arg(value_name = "NAME_OR_UUID")]
    pub connection: String,

    /// What people here call it from now on
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Where the other site is now
    #[arg(long, value_name = "URL")]
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
    /// For a receiver: the token that the other site gave out. Others on this machine can see it: --token-file hides it
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<Secret>,

    /// A file with that token in its first line; - is standard input
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

    /// A file with that password in its first line; - is standard input
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
