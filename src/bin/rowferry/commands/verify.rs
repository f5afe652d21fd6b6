//! `rowferry verify`

use rowferry::{
    Error, ErrorKind, ExtraColumns, Limits, TableVerification, Value, VerifyOptions, VerifyReport, VerifyStatus,
};
use serde::Serialize;

use super::from::{Entry, From};
use super::{cancelled_by_signals, open_with};
use crate::args::verify::VerifyArgs;
use crate::failure::{Done, Failure};
use crate::hints;
use crate::output::{Out, complain, counted, grouped, printable, value_text};
use crate::progress::{Bar, Events};
use crate::status::Status;

pub fn run(args: &VerifyArgs, out: &mut Out) -> Result<Done, Failure> {
    let cancel = cancelled_by_signals()?;
    let entry = Entry::read(args.connection.as_ref(), &args.access, &args.network, &cancel)?;
    let site = open_with(&args.db, Limits::default())?;
    let from = From::new(&site, args.connection.as_ref(), args.url.as_ref(), entry)?;
    let mut options = VerifyOptions::new().keys(args.keys).retry_time(args.retry_time).cancel(cancel.clone());
    if !args.tables.is_empty() {
        options = options.tables(args.tables.iter().flatten());
    }
    options = options.exclude(args.exclude.iter().flatten());
    if args.ignore_extra_columns {
        options = options.extra_columns(ExtraColumns::Ignore);
    }
    if let Some(all) = args.max_time.or(args.network.timeout) {
        options = options.timeout(all);
    }
    let report = match args.format.json && !out.is_quiet() {
        true => {
            let (mut events, mut failed) = (Events::default(), None);
            let verified = from.verify(
                &site,
                options.on_progress(|progress| {
                    if let Some(event) = events.event(progress)
                        && let Err(failure) = out.json(&event)
                    {
                        failed.get_or_insert(failure);
                    }
                }),
            );
            // That a line could not be printed must not end it half-way.
            failed.map_or(Ok(verified), Err)?
        }
        false => {
            let bar = Bar::new(out.is_quiet() || args.format.json);
            from.verify(&site, options.on_progress(|progress| bar.show(progress)))
        }
    };
    let report = translated(report.map_err(Failure::typed)?);
    match args.format.json {
        true => out.json(&Event { event: "verified", report: &report })?,
        false if out.is_quiet() && report.is_equal() => {}
        false => print(&report, out)?,
    }
    verdict(&report)
}

/// The last line for scripts.
#[derive(Serialize)]
struct Event<'r> {
    event: &'static str,
    #[serde(flatten)]
    report: &'r VerifyReport,
}

/// The same report with the hints of the library in words of the command line.
fn translated(mut report: VerifyReport) -> VerifyReport {
    for table in &mut report.tables {
        table.error = table.error.take().map(|error| match hints::hint(&error, "verify") {
            Some(hint) => error.with_hint(hint),
            None => error,
        });
    }
    report
}

fn print(report: &VerifyReport, out: &mut Out) -> Result<(), Failure> {
    for table in &report.tables {
        out.line(printable(&line(table)))?;
        for (what, keys) in [
            ("only there", &table.keys.only_there),
            ("only here", &table.keys.only_here),
            ("other values", &table.keys.different),
        ] {
            if !keys.is_empty() {
                let keys: Vec<String> = keys.iter().map(|key| key_text(key)).collect();
                out.line(printable(&format!("  {what}: {}", keys.join(", "))))?;
            }
        }
    }
    for note in &report.notes {
        out.line(format!("Note: {}", printable(note)))?;
    }
    let (tables, seconds) = (counted(report.tables.len() as u64, "table"), report.duration.as_secs_f64());
    out.line(format!("{tables} compared in {seconds:.2} s: {}.", report.status()))
}

/// One line of a table.
fn line(table: &TableVerification) -> String {
    let name = &table.name;
    let about = if table.estimated { "about " } else { "" };
    let why = || table.error.as_ref().map_or(String::new(), ToString::to_string);
    match (table.status, table.only_there, table.only_here, table.different) {
        (VerifyStatus::Equal, ..) => format!("{name}: equal, {}", counted(table.rows_here.unwrap_or_default(), "row")),
        (VerifyStatus::Different, Some(there), Some(here), Some(different)) => {
            let counts = [(there, "only there"), (here, "only here"), (different, "with other values")];
            let counts =
                counts.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{about}{} {what}", grouped(*rows)));
            format!("{name}: different, {}", counts.collect::<Vec<_>>().join(", "))
        }
        (VerifyStatus::Different, ..) => format!("{name}: different. {}", why()),
        (status, ..) => {
            let reason = table.reason.map_or(String::new(), |reason| format!(" ({reason})"));
            format!("{name}: {status}{reason}: {}", why())
        }
    }
}

fn key_text(key: &[Value]) -> String {
    match key {
        [one] => value_text(one),
        several => format!("({})", several.iter().map(value_text).collect::<Vec<_>>().join(", ")),
    }
}

/// How the command ends.
fn verdict(report: &VerifyReport) -> Result<Done, Failure> {
    let of = |status| report.tables.iter().filter(move |table| table.status == status);
    match report.status() {
        VerifyStatus::Equal => Ok(Done::Whole),
        VerifyStatus::Different => {
            let tables = counted(report.tables.len() as u64, "table");
            complain(format!("{} of {tables} differ: see the report", of(VerifyStatus::Different).count()));
            Ok(Done::Partly)
        }
        _ => {
            let first = of(VerifyStatus::Inconclusive).find_map(|table| Some((&table.name, table.error.as_ref()?)));
            let error = match first {
                Some((name, error)) => error.clone().while_doing(format!("nothing can be said of the table {name:?}")),
                None => Error::new(ErrorKind::TableNotFound, "there was no table to compare")
                    .with_hint("See at the other site which tables exist, and which of them may be pulled."),
            };
            Err(Failure::reported(error).with_status(Status::Failed))
        }
    }
}
