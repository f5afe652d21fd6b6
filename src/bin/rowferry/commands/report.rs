//! The report of a pull, for scripts and for people.

use rowferry::{Failure as Refused, NotCopied, Report, TableReport, TableStatus};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Out, Table, counted, grouped, printable, span, value_json, value_text};

/// Failures that are listed for people, for each table.
const LISTED: usize = 10;

/// The report as one JSON object, its tables in the order in which they were pulled.
pub struct Json<'r>(pub &'r Report);

struct Tables<'r>(&'r [(String, TableReport)]);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", "report")?;
        map.serialize_entry("tables", &Tables(&self.0.tables))?;
        map.serialize_entry("one_state", &self.0.one_state)?;
        map.serialize_entry("records", &self.0.records)?;
        map.serialize_entry("bytes", &self.0.bytes)?;
        map.serialize_entry("seconds", &self.0.duration.as_secs_f64())?;
        map.serialize_entry("cancelled", &self.0.cancelled)?;
        map.serialize_entry("notes", &self.0.notes)?;
        map.serialize_entry("error", &self.0.error.as_ref().map(ToString::to_string))?;
        map.serialize_entry("error_code", &self.0.error.as_ref().map(rowferry::Error::code))?;
        map.serialize_entry("not_copied", &not_copied_json(&self.0.not_copied))?;
        map.end()
    }
}

impl Serialize for Tables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, table)| (name, table_json(table))))
    }
}

fn table_json(table: &TableReport) -> serde_json::Value {
    let outcome = &table.outcome;
    json!({
        "status": table.status.as_str(),
        "created": outcome.created,
        "updated": outcome.updated,
        "unchanged": outcome.unchanged,
        "skipped": outcome.skipped,
        "differing": outcome.differing,
        "failed": outcome.failed,
        "dangling": outcome.dangling,
        "errors": outcome.failures.iter().map(failure_json).collect::<Vec<_>>(),
        "error": table.error.as_ref().map(ToString::to_string),
        "error_code": table.error.as_ref().map(rowferry::Error::code),
        "resumed": table.resumed,
        "age_seconds": table.age.map(|age| age.as_secs()),
        "approval": table.approval,
        "transfer": table.transfer,
        "created_table": table.created_table,
        "notes": table.notes,
    })
}

/// What is not copied: how many CHECK constraints, and the names of the rest.
pub fn not_copied_json(not_copied: &NotCopied) -> serde_json::Value {
    json!({
        "checks": not_copied.check_count(),
        "triggers": not_copied.triggers.values().flatten().collect::<Vec<_>>(),
        "views": not_copied.views,
        "virtual_tables": not_copied.virtual_tables,
        "shadow_tables": not_copied.shadow_tables,
        "not_utf8": not_copied.not_utf8,
        "more": not_copied.more,
    })
}

fn failure_json(failure: &Refused) -> serde_json::Value {
    let key = match &failure.key[..] {
        [] => json!(null),
        [value] => value_json(value),
        values => values.iter().map(value_json).collect(),
    };
    json!({ "key": key, "column": failure.column, "code": failure.reason.code(), "message": failure.message })
}

/// Prints the report for people.
pub fn print(report: &Report, dry_run: bool, out: &mut Out) -> Result<(), Failure> {
    if report.tables.is_empty() {
        return print_not_copied(&report.not_copied, out);
    }
    let mut table = Table::new(["table", ">created", ">updated", ">unchanged", ">skipped", ">failed", "status"]);
    for (name, pulled) in &report.tables {
        let outcome = &pulled.outcome;
        let counts = [outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed].map(grouped);
        let status = match (pulled.status, pulled.created_table, pulled.resumed) {
            (TableStatus::Completed, true, true) => "completed, new table, resumed",
            (TableStatus::Completed, true, false) => "completed, new table",
            (TableStatus::Completed, false, true) => "completed, resumed",
            (status, _, _) => status.as_str(),
        };
        table.row(std::iter::once(name.as_str()).chain(counts.iter().map(String::as_str)).chain([status]));
    }
    out.table(&table)?;
    out.line("")?;
    let seconds = report.duration.as_secs_f64();
    let (tables, records) = (counted(report.tables.len() as u64, "table"), counted(report.records, "record"));
    out.line(format!("{tables}, {records}, {} in {seconds:.2} s.", size(report.bytes)))?;
    if !report.one_state {
        out.line("The rows come from more than one state of the other site: it may have changed during the pull.")?;
    }
    if dry_run {
        out.line("This was a dry run: nothing of it was kept.")?;
    }
    for note in &report.notes {
        out.line(format!("Note: {}", printable(note)))?;
    }
    for (name, pulled) in &report.tables {
        print_details(name, pulled, out)?;
    }
    print_not_copied(&report.not_copied, out)
}

fn print_not_copied(not_copied: &NotCopied, out: &mut Out) -> Result<(), Failure> {
    match not_copied.is_empty() {
        true => Ok(()),
        false => out.line(printable(&format!("Not copied: {not_copied}."))),
    }
}

fn print_details(name: &str, table: &TableReport, out: &mut Out) -> Result<(), Failure> {
    let name = printable(name);
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
    use rowferry::{Reason, Value};

    #[test]
    fn keys_are_values_lists_or_null() {
        let failure = |key: Vec<Value>| {
            let failure = Refused { key, column: None, reason: Reason::Check, message: "m".into() };
            failure_json(&failure)["key"].to_string()
        };
        assert_eq!(failure(vec![]), "null");
        assert_eq!(failure(vec![5.into()]), "5");
        assert_eq!(failure(vec!["a".into(), Value::Blob(vec![])]), r#"["a",{"__phoenix_kit_binary__":""}]"#);
    }

    #[test]
    fn the_report_has_the_shape_of_the_contract() {
        let text = serde_json::to_string(&Json(&Report::default())).unwrap();
        assert_eq!(
            text,
            r#"{"event":"report","tables":{},"one_state":false,"records":0,"bytes":0,"seconds":0.0,"cancelled":false,"notes":[],"error":null,"error_code":null,"not_copied":{"checks":0,"more":0,"not_utf8":[],"shadow_tables":[],"triggers":[],"views":[],"virtual_tables":[]}}"#
        );
        let table = table_json(&TableReport::default());
        assert_eq!((&table["status"], &table["dangling"]), (&json!("completed"), &json!(0)));
        assert!(table["error"].is_null() && table["errors"].as_array().is_some_and(Vec::is_empty));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(5), size(1_500), size(2_000_000)], ["5 bytes", "1.5 kB", "2.0 MB"]);
    }
}
