//! `rowferry site copy`

use rowferry::{ErrorKind, Limits, PullOptions, Strategy};
use serde_json::json;

use super::{cancelled_by_signals, open, open_with, report};
use crate::args::site_copy::{CopyArgs, SiteCommand};
use crate::database::without_password;
use crate::failure::{Done, Failure};
use crate::output::{Out, complain, counted, printable};
use crate::progress::Bar;

pub fn run(command: &SiteCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        SiteCommand::Copy(args) => copy(args, out),
    }
}

fn copy(args: &CopyArgs, out: &mut Out) -> Result<Done, Failure> {
    let cancel = cancelled_by_signals()?;
    let (from, to) = args.databases();
    let (site, target) = (open_with(&from, Limits::default())?, open(&to)?);
    let options =
        PullOptions::new().strategy(Strategy::Overwrite).on_lossy(args.on_lossy).initiated_by("site copy").cancel(cancel);
    let copied = match args.format.json || out.is_quiet() {
        true => site.copy_to(&target, options)?,
        false => {
            let bar = Bar::new(false);
            site.copy_to(&target, options.on_progress(|progress| bar.show(progress)))?
        }
    };
    let (state, id, notes, is_complete) =
        (&copied.state, copied.site.map(|id| id.to_string()), &copied.notes, copied.is_complete());
    let pulled = report::translated(copied.report);
    let to = printable(&without_password(&args.to));
    if args.format.json {
        out.json(&report::Event::new(&pulled))?;
        let rows: serde_json::Map<String, serde_json::Value> =
            state.iter().map(|(kind, rows)| (kind.clone(), json!(rows))).collect();
        out.json(&json!({ "event": "copied", "site": id, "rows": rows, "notes": notes }))?;
        if !pulled.not_copied.is_empty() {
            complain(format!("not copied: {}", pulled.not_copied));
        }
    } else if !(out.is_quiet() && pulled.ok().is_ok()) {
        report::print(&pulled, false, out)?;
    }
    if !args.format.json && is_complete {
        let rows: u64 = state.iter().map(|(_, rows)| rows).sum();
        out.say(format!("{to} is this site now, with {} of its state.", counted(rows, "row")))?;
        notes.iter().try_for_each(|note| out.say(note))?;
        out.say(format!("Do not use {} any more.", printable(&without_password(&args.from))))?;
    }
    if !is_complete {
        let failed: Vec<String> = pulled
            .tables
            .iter()
            .filter(|table| table.outcome.failed > 0)
            .map(|table| format!("{} ({})", printable(&table.name), counted(table.outcome.failed, "record")))
            .collect();
        complain(match failed.is_empty() {
            true => "the site is not copied yet: see the report, and copy again, which resumes".to_owned(),
            false => format!(
                "the site is not copied yet: records failed in {}. Mend them in the old database, or add --on-lossy replace where a column \
                 cannot hold a value, and copy again, which resumes",
                failed.join(", ")
            ),
        });
        return match pulled.ok() {
            Err(error) if error.kind() != ErrorKind::RecordsFailed => Err(Failure::reported(error)),
            _ => Ok(Done::Partly),
        };
    }
    match pulled.ok() {
        Ok(()) => Ok(Done::Whole),
        // An empty database has a state, too.
        Err(_) if pulled.tables.is_empty() => Ok(Done::Whole),
        Err(_) => Ok(Done::Partly),
    }
}
