//! `rowferry keymap`

use rowferry::{CheckpointInfo, KeyMapping, KeyMappings, Site};
use serde_json::{Value, json};

use super::{moment, open_existing};
use crate::args::pull::KeymapCommand;
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, counted, grouped, value_text};

pub fn run(command: &KeymapCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        KeymapCommand::List { db, format } => {
            let site = open_existing(db)?;
            let all = site.checkpoints().list()?;
            match format.json {
                true => all.iter().try_for_each(|remembered| out.json(&remembered_json(remembered)))?,
                false => print(&all, &with_key_map(&site)?, out)?,
            }
        }
        KeymapCommand::Show { table, db, format } => {
            let site = open_existing(db)?;
            let entries = site.key_map(table).entries();
            match format.json {
                true => {
                    for entry in entries {
                        out.json(&mapping_json(&entry?))?;
                    }
                }
                false => print_mappings(table, entries, out)?,
            }
        }
        KeymapCommand::Clear { tables, db, format } => {
            let tables: Vec<&str> = tables.iter().flatten().map(String::as_str).collect();
            let site = open_existing(db)?;
            let (all, names) = (site.checkpoints().list()?, site.store().names());
            let is_meant = |one: &&CheckpointInfo| tables.is_empty() || names.is_among(&one.table, &tables);
            let forgotten = all.iter().filter(is_meant).count() as u64;
            if tables.is_empty() {
                site.checkpoints().clear()?;
            } else {
                all.iter()
                    .filter(is_meant)
                    .try_for_each(|one| site.checkpoints().forget(&one.sender, &one.table).map(|_| ()))?;
                tables.iter().try_for_each(|table| site.key_map(table).clear().map(|_| ()))?;
            }
            match format.json {
                true => out.json(&json!({ "cleared": forgotten }))?,
                false => {
                    let maps = if tables.is_empty() { "all key maps" } else { "the key maps of these tables" };
                    out.say(format!("{} forgotten, and {maps}.", counted(forgotten, "checkpoint")))?
                }
            }
        }
    }
    Ok(Done::Whole)
}

fn remembered_json(one: &CheckpointInfo) -> Value {
    json!({
        "sender": one.sender,
        "table": one.table,
        "strategy": one.strategy,
        "kind": one.kind.as_str(),
        "records": one.records,
        "at": moment(one.at),
    })
}

fn mapping_json(entry: &KeyMapping) -> Value {
    json!({ "sender": entry.sender, "old": entry.old, "new": entry.new, "existing": entry.existing })
}

fn print_mappings(name: &str, entries: KeyMappings<'_>, out: &mut Out) -> Result<(), Failure> {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return out.line(format!("Nothing is known: no record of {name:?} was appended."));
    }
    let mut table = Table::new(["sender", "key there", "key here", "row"]);
    for entry in entries {
        let entry = entry?;
        let values = |values: &[rowferry::Value]| values.iter().map(value_text).collect::<Vec<_>>().join(", ");
        let row = if entry.existing { "was here" } else { "new" };
        table.row([&*entry.sender, &values(&entry.old), &values(&entry.new), row]);
    }
    out.table(&table)
}

/// The tables that have a key map.
fn with_key_map(site: &Site) -> Result<Vec<String>, Failure> {
    let mut names = site.store().snapshot()?.tables()?;
    let mut failed = None;
    names.retain(|name| match site.key_map(name).entries().next() {
        Some(Ok(_)) => true,
        Some(Err(error)) => {
            failed.get_or_insert(error);
            false
        }
        None => false,
    });
    failed.map_or(Ok(names), |error| Err(error.into()))
}

fn print(all: &[CheckpointInfo], with_key_map: &[String], out: &mut Out) -> Result<(), Failure> {
    if all.is_empty() && with_key_map.is_empty() {
        return out.line("Nothing is remembered: no pull was interrupted, and no table was appended.");
    }
    let mut table = Table::new(["sender", "table", "strategy", "kind", ">records", "at"]);
    for one in all {
        let (records, at) = (grouped(one.records), moment(one.at));
        let cells = [&*one.sender, &one.table, one.strategy.as_str(), one.kind.as_str(), &records, &at];
        table.row(cells);
    }
    if !all.is_empty() {
        out.table(&table)?;
    }
    if !with_key_map.is_empty() {
        let names = with_key_map.join(", ");
        out.line(format!("Which rows records became is kept for {names}: see `rowferry keymap show`."))?;
    }
    Ok(())
}
