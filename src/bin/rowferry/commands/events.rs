//! `rowferry events`

use std::time::Duration;

use rowferry::{Event, EventFilter, Site};
use uuid::Uuid;

use super::ids::ShortIds;
use super::{cancelled_by_signals, connection_uuid, moment, open_existing};
use crate::args::site::EventsArgs;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, printable};

/// How long an event is waited for before a look at whether to end.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub fn run(args: &EventsArgs, out: &mut Out) -> Result<Done, Failure> {
    let site = open_existing(&args.db)?;
    let connection = args.connection.as_deref().map(|name| connection_uuid(&site, name)).transpose()?;
    let mut filter = EventFilter::new().kinds(args.kinds.iter().copied()).newest_first().limit(args.limit);
    if let Some(uuid) = connection {
        filter = filter.connection(uuid);
    }
    let transfer = args.transfer.as_deref().map(|id| transfer_uuid(&site, id)).transpose()?;
    if let Some(uuid) = transfer {
        filter = filter.transfer(uuid);
    }
    // Before the list, so that nothing falls between the two.
    let following = match args.follow {
        true => Some((site.events().subscribe()?, cancelled_by_signals()?)),
        false => None,
    };
    let mut events = site.events().list(&filter)?;
    events.reverse();
    let last = events.last().map_or(0, |event| event.id);
    match (args.format.json, args.follow) {
        (true, _) => events.iter().try_for_each(|event| out.json(event))?,
        (false, true) => events.iter().try_for_each(|event| out.line(line(event)))?,
        (false, false) => print(&events, out)?,
    }
    let Some((mut stream, cancel)) = following else { return Ok(Done::Whole) };
    while !cancel.is_cancelled() && !out.is_closed() {
        let Some(event) = stream.next(POLL_INTERVAL)? else { continue };
        let wanted = event.id > last
            && connection.is_none_or(|uuid| event.connection == Some(uuid))
            && transfer.is_none_or(|uuid| event.transfer == Some(uuid))
            && (args.kinds.is_empty() || args.kinds.contains(&event.kind));
        if wanted {
            match args.format.json {
                true => out.json(&event)?,
                false => out.line(line(&event))?,
            }
        }
    }
    Ok(Done::Whole)
}

fn print(events: &[Event], out: &mut Out) -> Result<(), Failure> {
    let short = ShortIds::new(events.iter().filter_map(subject));
    let mut table = Table::new(["at", "what", "who", "connection or transfer", "details"]);
    for event in events {
        table.row([
            moment(event.at),
            event.kind.to_string(),
            event.actor.clone(),
            subject(event).map_or_else(String::new, |id| short.of(id)),
            details(event),
        ]);
    }
    match table.is_empty() {
        true => out.line("There are no such events."),
        false => out.table(&table),
    }
}

/// An event on a line of its own: what comes later is not known yet, and cannot stand below it in columns.
fn line(event: &Event) -> String {
    let line = [
        moment(event.at),
        event.kind.to_string(),
        event.actor.clone(),
        subject(event).map_or_else(String::new, |id| id.to_string()),
        details(event),
    ]
    .join("  ");
    printable(line.trim_end())
}

/// What it is about.
fn subject(event: &Event) -> Option<Uuid> {
    event.transfer.or(event.connection)
}

/// The uuid of a transfer that is given by its id or a part of it. One that is deleted has its events still.
fn transfer_uuid(site: &Site, id: &str) -> Result<Uuid, Failure> {
    match Uuid::try_parse(id) {
        Ok(uuid) => Ok(uuid),
        Err(_) => Ok(site.transfers().find(id).map_err(Failure::typed)?.uuid),
    }
}

fn details(event: &Event) -> String {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    event.details.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}
