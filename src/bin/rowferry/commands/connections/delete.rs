//! `rowferry connections delete`

use std::io::{self, BufRead, IsTerminal, Write};

use rowferry::{Error, ErrorKind};
use serde_json::json;

use super::{One, change};
use crate::args::connections::DeleteArgs;
use crate::commands::open_existing;
use crate::failure::Failure;
use crate::output::{Out, counted};

pub fn run(args: &DeleteArgs, out: &mut Out) -> Result<(), Failure> {
    let (by, db, json) = (args.by.name.as_str(), &args.db, args.format.json);
    match &args.connection {
        Some(connection) => {
            let one = One { connection, by, db, json, tell: &args.tell, ends: true };
            change(one, out, "deleted", |connections, uuid| connections.delete(uuid))
        }
        None => pending(args, out),
    }
}

/// Deletes all that wait for approval.
fn pending(args: &DeleteArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let connections = site.connections().by(&args.by.name);
    let count = connections.count_pending()?;
    let waits = if count == 1 { "waits" } else { "wait" };
    let question = format!("{} {waits} for approval. Delete all?", counted(count, "connection"));
    if count > 0 && !args.yes && !asked(&question)? {
        return Err(Error::new(ErrorKind::Cancelled, "nothing was deleted").into());
    }
    let deleted = connections.delete_pending()?;
    match args.format.json {
        true => out.json(&json!({ "deleted": deleted })),
        false => out.say(format!("{} deleted.", counted(deleted, "connection"))),
    }
}

/// Asks a person; a script has to say it beforehand.
fn asked(question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        let error = Error::new(ErrorKind::InvalidInput, format!("{question} Nobody can be asked here"));
        return Err(Failure::usage(error.with_hint("Add --yes.")));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| Error::new(ErrorKind::System, format!("the answer cannot be read: {error}")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
