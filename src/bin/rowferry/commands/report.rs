//! The report of a pull, for scripts and for people.

use rowferry::{Error, NotCopied, Reason, Report, TableReport, TableStatus, Verified};
use serde::Serialize;

use crate::failure::Failure;
use crate::hints;
use crate::output::{Out, Table, counted, grouped, printable, span, value_text};

/// Failures that are listed for people, for each table.
const LISTED: usize = 10;

/// The last line of a pull for scripts.
#[derive(Serialize)]
pub struct Event<'r> {
    event: &'static str,
    #[serde(flatten)]
    report: &'r Report,
}

impl<'r> Event<'r> {
    pub fn new(report: &'r Report) -> Self {
        Event { event: "report", report }
    }
}

/// The same report with the hints and notes of the library in words of the command line.
pub fn translated(mut report: Report) -> Report {
    let error = |error: &mut Option<Error>| {
        *error = error.take().map(|error| match hints::hint(&error, "pull") {
            Some(hint) => error.with_hint(hint),
            None => error,
        });
    };
    error(&mut report.error);
    report.notes.iter_mut().for_each(|note| *note = hints::translated(note));
    for table in &mut report.tables {
        error(&mut table.error);
        table.notes.iter_mut().for_each(|note| *note = hints::translated(note));
        // Others may quote what a record brought.
        let is_ours = |failure: &&mut rowferry::Failure| failure.reason == Reason::DuplicateKey;
        let ours = table.outcome.failures.iter_mut().filter(is_ours);
        ours.for_each(|failure| failure.message = hints::translated(&failure.message));
    }
    report
}

/// Prints the report for people.
pub fn print(report: &Report, dry_run: bool, out: &mut Out) -> Result<(), Failure> {
    if report.unchanged {
        out.line(format!("Unchanged since the last pull: nothing to do ({:.3} s).", report.duration.as_secs_f64()))?;
        return report.notes.iter().try_for_each(|note| out.line(format!("Note: {}", printable(note))));
    }
    if report.tables.is_empty() {
        return print_not_copied(&report.not_copied, out);
    }
    let mut table = Table::new(["table", ">created", ">updated", ">unchanged", ">skipped", ">failed", "status"]);
    for pulled in &report.tables {
        let outcome = &pulled.outcome;
        let counts = [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed].map(grouped);
        let status = match (pulled.status, pulled.created_table, pulled.resumed) {
            (TableStatus::Completed, true, true) => "completed, new table, resumed",
            (TableStatus::Completed, true, false) => "completed, new table",
            (TableStatus::Completed, false, true) => "completed, resumed",
            (status, _, _) => status.as_str(),
        };
        table.row(std::iter::once(pulled.name.as_str()).chain(counts.iter().map(String::as_str)).chain([status]));
    }
    out.table(&table)?;
    out.line("")?;
    let seconds = report.duration.as_secs_f64();
    let (tables, records) = (counted(report.tables.len() as u64, "table"), counted(report.records, "record"));
    out.line(format!("{tables}, {records}, {} in {seconds:.2} s.", size(report.bytes)))?;
    // Where it is not, a note says why.
    if report.verified() == Verified::Received {
        out.line("Verified: what arrived is what the other site sent.")?;
    }
    if !report.one_state {
        out.line("The rows come from more than one state of the other site: it may have changed during the pull.")?;
    }
    if dry_run {
        out.line("This was a dry run: nothing was kept.")?;
    }
    for note in &report.notes {
        out.line(format!("Note: {}", printable(note)))?;
    }
    for pulled in &report.tables {
        print_details(pulled, out)?;
    }
    print_not_copied(&report.not_copied, out)
}

fn print_not_copied(not_copied: &NotCopied, out: &mut Out) -> Result<(), Failure> {
    match not_copied.is_empty() {
        true => Ok(()),
        false => out.line(printable(&format!("Not copied: {not_copied}."))),
    }
}

fn print_details(table: &TableReport, out: &mut Out) -> Result<(), Failure> {
    let name = printable(&table.name);
    if let Some(error) = &table.error {
        out.line(format!("{name} {}: {}", table.status.as_str(), printable(&error.to_string())))?;
        if let Some(approval) = table.approval {
            out.line(format!("  The other site knows it as transfer {approval}."))?;
        }
    }
    if let Some(age) = table.age {
        out.line(format!("Note: the rows of {name} are of a state from {} ago.", span(age)))?;
    }
    for note in &table.notes {
        out.line(format!("Note: {}", printable(note)))?;
    }
    let outcome = &table.outcome;
    if outcome.differing > 0 {
        let rows = counted(outcome.differing, "row");
        out.line(format!("{name}: {rows} left as they are, although the other site's differ (skip)."))?;
    }
    if outcome.dangling > 0 {
        let rows = counted(outcome.dangling, "row");
        out.line(format!("Note: references to missing rows were kept in {rows} of {name} (dangling)."))?;
    }
    let replaced: u64 = outcome.lossy.values().sum();
    if replaced > 0 {
        let columns = outcome.lossy.iter().map(|(column, count)| format!("{} ({count})", printable(column)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let values = counted(replaced, "value");
        out.line(format!("Note: {values} of {name} did not fit as they are (lossy): {columns}."))?;
    }
    if outcome.failed > 0 {
        out.line(format!("{name}: {} failed.", counted(outcome.failed, "record")))?;
    }
    for failure in outcome.failures.iter().take(LISTED) {
        let key = failure.key.iter().map(value_text).collect::<Vec<_>>().join(", ");
        let key = if failure.key.is_empty() { "without a key".to_owned() } else { format!("key {key}") };
        let column = failure.column.as_ref().map_or(String::new(), |column| format!(", column {column}"));
        let line = format!("  {key}{column}: {} ({})", failure.message, failure.reason.code());
        out.line(printable(&line))?;
    }
    let listed = outcome.failures.len().min(LISTED) as u64;
    if outcome.failed > listed {
        out.line(format!("  ... and {} more.", grouped(outcome.failed - listed)))?;
    }
    Ok(())
}

/// Bytes for people: `1.5 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_report_with_the_name_of_the_event() {
        let line = serde_json::to_string(&Event::new(&Report::default())).unwrap();
        assert!(line.starts_with(r#"{"event":"report","tables":{},"one_state":false,"records":0,"#), "{line}");
    }

    #[test]
    fn hints_and_notes_of_a_report_name_flags() {
        let mut report = Report::default();
        report.error = Some(Error::new(rowferry::ErrorKind::Timeout, "m").with_hint("Allow more: `PullOptions::timeout`."));
        report.notes = vec!["For now: `Checkpoints::clear`".into()];
        let report = translated(report);
        assert_eq!(report.error.unwrap().hint(), Some("Allow more: `--max-time`."));
        assert_eq!(report.notes, ["For now: `rowferry keymap clear`"]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(5), size(1_500), size(2_000_000)], ["5 bytes", "1.5 kB", "2.0 MB"]);
    }
}
