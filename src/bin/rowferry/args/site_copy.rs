//! What can be typed to move a site into another database.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use rowferry::OnLossy;

use super::{DATABASE, Db, Format, Postgres};
use crate::values::word;

#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Copy a site into another database: its tables, and all that rowferry keeps
    ///
    /// From SQLite to PostgreSQL, back, or between two of a kind: the tables, and the site's id, settings, sessions, connections with their
    /// tokens, history, events and key maps. The other database is this site afterwards, and the old one must not be used any more. End
    /// what uses either of them first. The target must have no state of rowferry's. A copy that was interrupted resumes.
    ///
    /// Tables that the target has already are kept as they are, and take the rows by their keys: rows of the same key are overwritten,
    /// rows that only the target has stay. The state is copied only when every record has arrived.
    #[command(
        after_long_help = "Example:\n  rowferry site copy --from shop.db --to postgres://shop@db.example/shop --key-file shop.rowferry-key"
    )]
    Copy(Box<CopyArgs>),
}

#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The database of the site: a SQLite file, or a postgres:// URL
    #[arg(long, value_name = "DB", value_hint = ValueHint::FilePath, help_heading = DATABASE)]
    pub from: String,

    /// Its key [default: FROM.rowferry-key]
    #[arg(long, value_name = "FILE", help_heading = DATABASE)]
    pub from_key_file: Option<PathBuf>,

    /// The database that it is copied into
    ///
    /// A SQLite file is made if there is none.
    #[arg(long, value_name = "DB", value_hint = ValueHint::FilePath, help_heading = DATABASE)]
    pub to: String,

    /// The key of the copy [default: TO.rowferry-key]
    ///
    /// It is the same key: a file that is not there is written, one that is there must have it. With a PostgreSQL database on both sides of
    /// one machine, it may be the same file as --from-key-file.
    #[arg(long, value_name = "FILE", help_heading = DATABASE)]
    pub key_file: Option<PathBuf>,

    #[command(flatten)]
    pub postgres: Postgres,

    /// Let the schema of --from call anything; only for a file that you trust
    #[arg(long, help_heading = DATABASE)]
    pub trust_schema: bool,

    /// What to do with a record whose value a column of the target cannot hold
    ///
    /// fail: the record fails, and the state is not copied. replace: U+FFFD, the digits, the number, or NULL is stored. The report counts both
    /// by column (lossy).
    #[arg(long, value_parser = word(OnLossy::ALL, OnLossy::as_str), hide_possible_values = true, value_name = "fail|replace",
        default_value = "fail")]
    pub on_lossy: OnLossy,

    #[command(flatten)]
    pub format: Format,
}

impl CopyArgs {
    /// The two databases. What is said of PostgreSQL is about each of them that is one.
    pub fn databases(&self) -> (Db, Db) {
        let is_url = |text: &str| crate::database::is_url(text);
        let postgres = |text: &str| if is_url(text) { self.postgres.clone() } else { Postgres::default() };
        let from = Db {
            path: self.from.clone(),
            postgres: postgres(&self.from),
            key_file: self.from_key_file.clone(),
            trust_schema: self.trust_schema,
        };
        let to =
            Db { path: self.to.clone(), postgres: postgres(&self.to), key_file: self.key_file.clone(), trust_schema: false };
        (from, to)
    }
}
