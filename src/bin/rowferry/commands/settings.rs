//! `rowferry settings`

use rowferry::{Error, ErrorKind, Settings};
use serde_json::json;

use super::open_existing;
use crate::args::secret::secret;
use crate::args::site::SettingsCommand;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table};

pub fn run(command: &SettingsCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        SettingsCommand::Get { key, db, format } => {
            let site = open_existing(db)?;
            let settings = site.settings();
            let mut table = Table::new(["setting", "value"]);
            for name in key.as_deref().map_or(Settings::KEYS.to_vec(), |key| vec![key]) {
                let value = settings.get(name).map_err(unknown_is_usage)?;
                match (format.json, key) {
                    (true, _) => out.json(&json!({ "key": name, "value": value }))?,
                    (false, Some(_)) => out.line(value.unwrap_or_default())?,
                    (false, None) => table.row([name.to_owned(), value.unwrap_or_else(|| "(not set)".to_owned())]),
                }
            }
            if !table.is_empty() {
                out.table(&table)?;
            }
        }
        SettingsCommand::Set { key, value, value_file, db, format } => {
            // clap asks for one of them.
            let value = secret(value, value_file)?.ok_or_else(no_value)?;
            let site = open_existing(db)?;
            let settings = site.settings();
            settings.set(key, value.as_str()).map_err(unknown_is_usage)?;
            // As it is kept now: a URL in its normal form, of a password only that there is one.
            let kept = settings.get(key)?;
            match (format.json, kept) {
                (true, kept) => out.json(&json!({ "key": key, "value": kept }))?,
                (false, Some(kept)) => out.say(format!("{key} = {kept}"))?,
                (false, None) => out.say(format!("{key} is not set any more"))?,
            }
        }
    }
    Ok(Done::Whole)
}

fn no_value() -> Failure {
    Failure::usage(Error::new(ErrorKind::InvalidInput, "no value was given").with_hint("Give it, or --value-file."))
}

/// A setting that does not exist was mistyped, as was a value that it cannot have.
fn unknown_is_usage(error: Error) -> Failure {
    if error.kind() == ErrorKind::NotFound { Failure::usage(error) } else { Failure::typed(error) }
}
