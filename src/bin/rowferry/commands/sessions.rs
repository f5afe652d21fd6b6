//! `rowferry sessions`

use rowferry::{ErrorKind, SessionInfo, Site};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{moment, open_existing};
use crate::args::site::SessionsCommand;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table};

pub fn run(command: &SessionsCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        SessionsCommand::Create { direction, expires_in, db, format } => {
            let site = open_existing(db)?;
            let session = site.sessions().create_with(*direction, *expires_in).map_err(Failure::typed)?;
            if format.json {
                let mut line = session_json(session.info());
                line["code"] = session.code().into();
                out.json(&line)?;
            } else {
                out.line(session.code())?;
                out.line(format!("It works once, until {}. It is shown only now.", moment(session.expires_at())))?;
            }
        }
        SessionsCommand::List { db, format } => {
            let sessions = open_existing(db)?.sessions().list()?;
            if format.json {
                sessions.iter().try_for_each(|session| out.json(&session_json(session)))?;
            } else {
                print(&sessions, out)?;
            }
        }
        SessionsCommand::Delete { session, db, format } => {
            let site = open_existing(db)?;
            let uuid = find(&site, session)?;
            site.sessions().delete(uuid)?;
            match format.json {
                true => out.json(&json!({ "deleted": uuid.to_string() }))?,
                false => out.line(format!("Session {uuid} is deleted."))?,
            }
        }
        SessionsCommand::ResetKey { db, format } => {
            open_existing(db)?.reset_key()?;
            match format.json {
                true => out.json(&json!({ "reset": true }))?,
                false => {
                    out.line("The site has a new key, and no sessions.")?;
                    out.line("Its connections need new tokens: see `rowferry sessions reset-key --help`.")?;
                }
            }
        }
    }
    Ok(Done::Whole)
}

/// The session of a uuid, or of a code that works.
fn find(site: &Site, session: &str) -> Result<Uuid, Failure> {
    if let Ok(uuid) = Uuid::try_parse(session) {
        return Ok(uuid);
    }
    match site.sessions().validate(session) {
        Ok(session) => Ok(session.uuid),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidCode | ErrorKind::CodeUsed) => Err(error
            .with_hint("A session is found by its code only while that works: give its uuid, see `rowferry sessions list`.")
            .into()),
        Err(error) => Err(error.into()),
    }
}

fn session_json(session: &SessionInfo) -> Value {
    json!({
        "uuid": session.uuid.to_string(),
        "direction": session.direction.as_str(),
        "status": session.status.as_str(),
        "created_at": moment(session.created_at),
        "expires_at": moment(session.expires_at),
        "used_at": session.used_at.map(moment),
        "used_by": session.used_by,
    })
}

fn print(sessions: &[SessionInfo], out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(["uuid", "direction", "status", "created", "expires", "used", "by"]);
    for session in sessions {
        table.row([
            session.uuid.to_string(),
            session.direction.to_string(),
            session.status.as_str().to_owned(),
            moment(session.created_at),
            moment(session.expires_at),
            session.used_at.map(moment).unwrap_or_default(),
            session.used_by.clone().unwrap_or_default(),
        ]);
    }
    match table.is_empty() {
        true => out.line("There are no sessions."),
        false => out.table(&table),
    }
}
