//! Rules of the caller's own for a pull: tables that are left out, keys, and which rows a record may change.

mod conflict;
mod exclude;
mod failures;
mod key;
mod model;
mod newer;

use rowferry::{Outcome, Records, Report, Value};

/// `created/updated/unchanged/skipped/failed`
fn counts(outcome: &Outcome) -> String {
    format!("{}/{}/{}/{}/{}", outcome.created, outcome.updated, outcome.unchanged, outcome.skipped, outcome.failed)
}

fn reasons(outcome: &Outcome) -> Vec<&'static str> {
    outcome.failures.iter().map(|failure| failure.reason.code()).collect()
}

fn of<'r>(report: &'r Report, table: &str) -> &'r Outcome {
    &report.table(table).unwrap_or_else(|| panic!("{table} is not in {report:?}")).outcome
}

fn records(columns: &[&str], rows: &[&[Value]]) -> Records {
    let mut records = Records::new(columns.iter().copied());
    rows.iter().for_each(|row| records.push(row.iter().cloned()));
    records
}

fn v(value: impl Into<Value>) -> Value {
    value.into()
}
