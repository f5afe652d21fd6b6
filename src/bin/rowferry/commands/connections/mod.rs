//! `rowferry connections`

mod check;
mod create;
mod delete;
mod tell;

use rowferry::{Connection, ConnectionDirection, ConnectionFilter, Connections, Site};
use serde::Serialize;

use self::tell::{Teller, Told};
use super::ids::{self, ShortIds};
use super::{moment, open_existing};
use crate::args::Db;
use crate::args::connections::{ChangeArgs, ConnectionsCommand, EndArgs, ListArgs, ShowArgs, Tell, UpdateArgs};
use crate::args::secret::Secret;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, complain, grouped, printable};

pub fn run(command: &ConnectionsCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        ConnectionsCommand::List(args) => list(args, out)?,
        ConnectionsCommand::Show(args) => show(args, out)?,
        ConnectionsCommand::Create(args) => create::run(args, out)?,
        ConnectionsCommand::Update(args) => update(args, out)?,
        ConnectionsCommand::Approve(args) => approve(args, out)?,
        ConnectionsCommand::Suspend(EndArgs { reason, change: args }) => {
            change(One::of(args), out, "suspended", |connections, uuid| connections.suspend(uuid, reason.as_deref()))?;
        }
        ConnectionsCommand::Reactivate(args) => {
            change(One::of(args), out, "active again", |connections, uuid| connections.reactivate(uuid))?;
        }
        ConnectionsCommand::Revoke(EndArgs { reason, change: args }) => {
            let one = One { ends: true, ..One::of(args) };
            change(one, out, "revoked", |connections, uuid| connections.revoke(uuid, reason.as_deref()))?;
        }
        ConnectionsCommand::Delete(args) => delete::run(args, out)?,
        ConnectionsCommand::RotateToken(args) => create::rotate(args, out)?,
        ConnectionsCommand::Check(args) => check::run(args, out)?,
    }
    Ok(Done::Whole)
}

fn list(args: &ListArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let mut filter = ConnectionFilter::new();
    if let Some(direction) = args.direction {
        filter = filter.direction(direction);
    }
    if let Some(status) = args.status {
        filter = filter.status(status);
    }
    let connections = all(&site, &filter, args.limit, args.offset)?;
    if args.format.json {
        return connections.iter().try_for_each(|connection| out.json(&shown(connection)));
    }
    let short = ShortIds::new(connections.iter().map(|connection| connection.uuid));
    let mut table = Table::new(["name", "direction", "status", "site", ">transfers", ">records", "last used", "id"]);
    for connection in &connections {
        table.row([
            connection.name.clone(),
            connection.direction.to_string(),
            connection.status.to_string(),
            connection.site_url.clone(),
            grouped(connection.total_transfers),
            grouped(connection.total_records_transferred),
            connection.last_connected_at.map(moment).unwrap_or_default(),
            short.of(connection.uuid),
        ]);
    }
    match table.is_empty() {
        true => out.line("There are no such connections."),
        false => out.table(&table),
    }
}

fn show(args: &ShowArgs, out: &mut Out) -> Result<(), Failure> {
    let connection = find(&open_existing(&args.db)?, &args.connection)?;
    match args.format.json {
        true => out.json(&shown(&connection)),
        false => out.fields(&shown(&connection)),
    }
}

fn update(args: &UpdateArgs, out: &mut Out) -> Result<(), Failure> {
    let secrets = args.secrets()?;
    let token = secrets.token.as_ref().map(Secret::token).transpose()?;
    let hours = args.policy.hours().map_err(Failure::typed)?;
    let site = open_existing(&args.db)?;
    let connections = site.connections().by(&args.by.name);
    let Connection { uuid, direction, .. } = find(&site, &args.connection)?;
    // Before the rest is changed: what cannot be done whole is not done by half.
    if token.is_some() && direction == ConnectionDirection::Sender {
        return Err(create::no_token_of_a_sender("Leave --token out; `rowferry connections rotate-token` makes a new one."));
    }
    if let Some(strategy) = args.policy.default_conflict_strategy
        && direction == ConnectionDirection::Sender
    {
        return Err(create::no_strategy_of_a_sender(strategy));
    }
    let mut connection = connections
        .update(uuid, |edit| {
            args.policy.apply(&mut edit.policy, &hours);
            if let Some(name) = &args.name {
                edit.name.clone_from(name);
            }
            if let Some(url) = &args.site_url {
                edit.site_url.clone_from(url);
            }
            if let Some(metadata) = &args.notes.metadata {
                edit.metadata.clone_from(metadata);
            }
            if let Some(password) = &secrets.download_password {
                edit.set_download_password(password.as_str());
            }
            if args.no_download_password {
                edit.clear_download_password();
            }
        })
        .map_err(Failure::typed)?;
    warn_of_unknown_tables(&site, &connection);
    if let Some(token) = token {
        connection = connections.set_token(uuid, token).map_err(Failure::typed)?;
    }
    match args.format.json {
        true => out.json(&shown(&connection)),
        false => out.say(format!("Connection {} is changed.", printable(&connection.name))),
    }
}

/// Says on stderr which tables a sender's policy names that are not here. They may be made later.
fn warn_of_unknown_tables(site: &Site, connection: &Connection) {
    if connection.direction != ConnectionDirection::Sender {
        return;
    }
    match site.connections().unknown_tables(&connection.policy) {
        Ok(unknown) => unknown.into_iter().for_each(|(name, near)| {
            let hint = near.map_or(String::new(), |near| format!(" Did you mean {near:?}?"));
            complain(format!("warning: this site offers no table {name:?}.{hint}"));
        }),
        // The connection is made or changed all the same.
        Err(error) => complain(format!("warning: which tables there are cannot be said: {error}")),
    }
}

fn approve(args: &ChangeArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.one.db)?;
    let uuid = find(&site, &args.one.connection)?.uuid;
    let teller = Teller::new(&site, &args.tell, &args.one.by.name)?;
    let connection = site.connections().by(&args.one.by.name).approve(uuid)?;
    let told = teller.announce(&connection);
    if args.one.format.json {
        return out.json(&Changed { connection: shown(&connection), notified: told.as_ref() });
    }
    out.say(format!("Connection {} is active.", printable(&connection.name)))?;
    told.map_or(Ok(()), |told| out.say(told.text()))
}

/// A connection that is changed, and how.
struct One<'a> {
    connection: &'a str,
    by: &'a str,
    db: &'a Db,
    json: bool,
    tell: &'a Tell,
    /// It ends with that: a short part of its id is not enough.
    ends: bool,
}

impl<'a> One<'a> {
    fn of(ChangeArgs { one, tell }: &'a ChangeArgs) -> Self {
        One { connection: &one.connection, by: &one.by.name, db: &one.db, json: one.format.json, tell, ends: false }
    }
}

/// Makes a change of which the other site is told.
fn change(
    one: One<'_>,
    out: &mut Out,
    done: &str,
    work: impl FnOnce(Connections<'_>, uuid::Uuid) -> rowferry::Result<Connection>,
) -> Result<(), Failure> {
    let site = open_existing(one.db)?;
    let Connection { uuid, name, .. } = find(&site, one.connection)?;
    let is_named = name == one.connection.trim();
    if one.ends && !is_named {
        ids::enough(one.connection, &format!("connection {name:?} ({uuid})"))?;
    }
    let teller = Teller::new(&site, one.tell, one.by)?;
    let connection = work(site.connections().by(one.by), uuid)?;
    let told = teller.tell(&connection);
    if one.json {
        return out.json(&Changed { connection: shown(&connection), notified: told.as_ref() });
    }
    let id = if is_named { String::new() } else { format!(" ({uuid})") };
    out.say(format!("Connection {}{id} is {done}.", printable(&connection.name)))?;
    told.map_or(Ok(()), |told| out.say(told.text()))
}

/// The connections that a filter chooses; all of them without a limit.
fn all(site: &Site, filter: &ConnectionFilter, limit: Option<u32>, offset: u64) -> Result<Vec<Connection>, Failure> {
    super::all(limit, offset, |limit, offset| site.connections().list(&filter.clone().limit(limit).offset(offset)))
}

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    match !name.is_empty() && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", printable(name).replace('\'', r"'\''")),
    }
}

/// The connection of a name or uuid. A name that several have is wrong usage.
fn find(site: &Site, name_or_uuid: &str) -> Result<Connection, Failure> {
    site.connections().find(name_or_uuid).map_err(Failure::typed)
}

/// A connection as it is printed: its fields, and what follows from them.
#[derive(Serialize)]
struct Shown<'c> {
    #[serde(flatten)]
    connection: &'c Connection,
    remaining_downloads: Option<u64>,
    remaining_records: Option<u64>,
}

fn shown(connection: &Connection) -> Shown<'_> {
    let (remaining_downloads, remaining_records) = (connection.remaining_downloads(), connection.remaining_records());
    Shown { connection, remaining_downloads, remaining_records }
}

/// A connection that was changed, and what the other site said to it.
#[derive(Serialize)]
struct Changed<'c> {
    #[serde(flatten)]
    connection: Shown<'c>,
    notified: Option<&'c Told>,
}
