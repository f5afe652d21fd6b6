//! `rowferry sessions`

use rowferry::{ErrorKind, SessionInfo, Site};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ids::{self, ShortIds};
use super::{moment, open_existing};
use crate::args::site::SessionsCommand;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, complain};

pub fn run(command: &SessionsCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        SessionsCommand::Create { direction, expires_in, db, format } => {
            let site = open_existing(db)?;
            let session = site.sessions().create_with(*direction, *expires_in).map_err(Failure::typed)?;
            let shown = if format.json {
                let mut line = session_json(session.info());
                line["code"] = session.code().into();
                out.json(&line)
            } else {
                let until = moment(session.expires_at());
                let said = out.line(session.code());
                said.and_then(|()| out.say(format!("It works once, until {until}. It is shown only now.")))
            };
            if let Err(failure) = shown {
                // Nobody knows the code.
                if let Err(error) = site.sessions().delete(session.info().uuid) {
                    complain(format!("the session {} stays: {error}", session.info().uuid));
                }
                return Err(failure);
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
                false => out.say(format!("Session {uuid} is deleted."))?,
            }
        }
        SessionsCommand::ResetKey { db, format } => {
            open_existing(db)?.reset_key()?;
            match format.json {
                true => out.json(&json!({ "reset": true }))?,
                false => {
                    out.say("The site has a new key, and no sessions.")?;
                    out.say("Its connections need new tokens: see `rowferry sessions reset-key --help`.")?;
                }
            }
        }
    }
    Ok(Done::Whole)
}

/// The session of a code that works, or of an id or a part of it.
fn find(site: &Site, session: &str) -> Result<Uuid, Failure> {
    if let Ok(uuid) = Uuid::try_parse(session) {
        return Ok(uuid);
    }
    match site.sessions().validate(session) {
        Ok(session) => Ok(session.uuid),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidCode | ErrorKind::CodeUsed) => {
            match site.sessions().find(session) {
                Ok(SessionInfo { uuid, .. }) => ids::enough(session, &format!("session {uuid}")).map(|()| uuid),
                Err(unknown) if unknown.kind() == ErrorKind::NotFound => Err(error
                    .with_hint(
                        "A session is found by its code only while that works: give its id, see `rowferry sessions list`.",
                    )
                    .into()),
                Err(ambiguous) => Err(Failure::typed(ambiguous)),
            }
        }
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
        "ticket": session.ticket.as_ref().map(|ticket| json!({
            "expires_at": moment(ticket.expires_at),
            "receiver": ticket.receiver.map(|receiver| receiver.to_string()),
            "tables": ticket.tables,
        })),
    })
}

fn print(sessions: &[SessionInfo], out: &mut Out) -> Result<(), Failure> {
    let short = ShortIds::new(sessions.iter().map(|session| session.uuid));
    let mut table = Table::new(["id", "direction", "status", "created", "expires", "used", "by", "ticket until"]);
    for session in sessions {
        table.row([
            short.of(session.uuid),
            session.direction.to_string(),
            session.status.as_str().to_owned(),
            moment(session.created_at),
            moment(session.expires_at),
            session.used_at.map(moment).unwrap_or_default(),
            session.used_by.clone().unwrap_or_default(),
            session.ticket.as_ref().map(|ticket| moment(ticket.expires_at)).unwrap_or_default(),
        ]);
    }
    match table.is_empty() {
        true => out.line("There are no sessions."),
        false => out.table(&table),
    }
}
