//! `rowferry state`

use std::io::{self, BufRead, Write};

use rowferry::{Error, ErrorKind, RemovedState};
use serde_json::json;

use crate::args::site::{RemoveArgs, StateCommand};
use crate::database::{Database, without_password};
use crate::failure::{Done, Failure};
use crate::output::{Out, counted, printable};

pub fn run(command: &StateCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        StateCommand::Remove(args) => remove(args, out),
    }
}

fn remove(args: &RemoveArgs, out: &mut Out) -> Result<Done, Failure> {
    let database = args.db.database()?;
    if !args.yes && !is_wanted(&without_password(&args.db.path))? {
        return Err(Error::new(ErrorKind::Cancelled, "nothing was removed").with_hint("Answer yes, or give --yes.").into());
    }
    let builder = args.db.builder();
    let RemovedState { tables, left, key_file, .. } = match database {
        Database::File(path) => builder.remove_state(path, args.journal_mode)?,
        #[cfg(feature = "postgres")]
        Database::Postgres(options) => builder.remove_state_postgres(*options)?,
    };
    let key_file = key_file.map(|file| file.display().to_string());
    if args.format.json {
        out.json(&json!({ "event": "removed", "tables": tables, "left": left, "key_file": key_file }))?;
        return Ok(Done::Whole);
    }
    let db = printable(&without_password(&args.db.path));
    match tables.len() as u64 {
        0 if key_file.is_some() => out.say(format!("rowferry has no tables in {db}."))?,
        0 => out.say(format!("rowferry was not used with {db}: nothing was changed."))?,
        count => out.say(format!("{} of rowferry removed from {db}.", counted(count, "table")))?,
    }
    if !left.is_empty() {
        let names: Vec<_> = left.iter().map(|name| printable(name)).collect();
        out.say(format!("Not rowferry's, and left as they are: {}.", names.join(", ")))?;
    }
    if let Some(file) = key_file {
        out.say(format!("The key {} was removed, too.", printable(&file)))?;
    }
    if let (Some(file), false) = (&args.db.key_file, tables.is_empty()) {
        out.say(format!(
            "The key {} stays: remove it if no other database has it.",
            printable(&file.display().to_string())
        ))?;
    }
    Ok(Done::Whole)
}

/// Asks on stderr, and takes a line of stdin for the answer.
fn is_wanted(db: &str) -> Result<bool, Failure> {
    let ask = || {
        let mut stderr = io::stderr().lock();
        write!(
            stderr,
            "This removes what rowferry keeps in {}: settings, sessions, connections with their tokens, history, events, and where \
             pulls resume.\nOther sites are not told. Your own tables stay as they are. Remove it? [y/N] ",
            printable(db)
        )?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        // What follows begins on a line of its own, also after an answer that nobody typed.
        if !answer.ends_with('\n') || !io::IsTerminal::is_terminal(&io::stdin()) {
            writeln!(stderr)?;
        }
        Ok(answer)
    };
    let answer = ask().map_err(|error: io::Error| {
        Error::new(ErrorKind::Io, format!("you cannot be asked: {error}")).with_hint("Give --yes.").with_source(error)
    })?;
    Ok(["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes)))
}
