//! `rowferry events`

use std::time::Duration;

use rowferry::{Event, EventFilter};

use super::{cancelled_by_signals, connection_uuid, moment, open_existing};
use crate::args::site::EventsArgs;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, printable};

/// How long an event is waited for before a look at whether to end.
const LOOK: Duration = Duration::from_millis(200);

pub fn run(args: &EventsArgs, out: &mut Out) -> Result<Done, Failure> {
    let site = open_existing(&args.db)?;
    let connection = args.connection.as_deref().map(|name| connection_uuid(&site, name)).transpose()?;
    let mut filter = EventFilter::new().kinds(args.kinds.iter().copied()).newest_first().limit(args.limit);
    if let Some(uuid) = connection {
        filter = filter.connection(uuid);
    }
    if let Some(uuid) = args.transfer {
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
        let Some(event) = stream.next(LOOK)? else { continue };
        let wanted = event.id > last
            && connection.is_none_or(|uuid| event.connection == Some(uuid))
            && args.transfer.is_none_or(|uuid| event.transfer == Some(uuid))
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
    let mut table = Table::new(["at", "what", "who", "connection or transfer", "details"]);
    for event in events {
        table.row([moment(event.at), event.kind.to_string(), event.actor.clone(), about(event), details(event)]);
    }
    match table.is_empty() {
        true => out.line("There are no such events."),
        false => out.table(&table),
    }
}

/// An event on a line of its own: what comes later is not known yet, and cannot stand below it in columns.
fn line(event: &Event) -> String {
    let line = [moment(event.at), event.kind.to_string(), event.actor.clone(), about(event), details(event)].join("  ");
    printable(line.trim_end())
}

fn about(event: &Event) -> String {
    event.transfer.or(event.connection).map_or_else(String::new, |uuid| uuid.to_string())
}

fn details(event: &Event) -> String {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    event.details.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}
