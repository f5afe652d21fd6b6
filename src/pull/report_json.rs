//! A report as JSON: what `rowferry pull --json` prints at its end. Fields are only ever added to it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::{Serialize, Serializer};
use uuid::Uuid;

use super::{Report, TableReport, TableStatus};
use crate::domain::not_copied::NotCopied;
use crate::domain::record::Failure;
use crate::domain::value_json::KeyJson;
use crate::error::{Error, ErrorKind};

/// The tables are an object, by name, in the order in which they were pulled; times are in seconds, and an error is its text, with its
/// code beside it.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Fields<'r> {
            tables: Tables<'r>,
            one_state: bool,
            records: u64,
            bytes: u64,
            seconds: f64,
            cancelled: bool,
            notes: &'r [String],
            error: Option<String>,
            error_code: Option<ErrorKind>,
            not_copied: Left<'r>,
        }

        let not_copied = &self.not_copied;
        let fields = Fields {
            tables: Tables(&self.tables),
            one_state: self.one_state,
            records: self.records,
            bytes: self.bytes,
            seconds: self.duration.as_secs_f64(),
            cancelled: self.cancelled,
            notes: &self.notes,
            error: self.error.as_ref().map(ToString::to_string),
            error_code: self.error.as_ref().map(Error::kind),
            not_copied: Left {
                checks: not_copied.check_count(),
                triggers: not_copied.triggers.values().flatten().collect(),
                rest: not_copied,
            },
        };
        fields.serialize(serializer)
    }
}

/// What is not copied: how many CHECK constraints, and the names of the rest.
struct Left<'r> {
    checks: u64,
    triggers: Vec<&'r String>,
    rest: &'r NotCopied,
}

impl Serialize for Left<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Fields<'r> {
            checks: u64,
            triggers: &'r [&'r String],
            views: &'r [String],
            virtual_tables: &'r [String],
            shadow_tables: &'r [String],
            not_utf8: &'r [String],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            foreign_tables: &'r [String],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            sequences: &'r [String],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            functions: &'r [String],
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            not_readable: &'r [String],
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            parts: &'r BTreeMap<String, BTreeMap<String, Vec<String>>>,
            more: u64,
        }

        let NotCopied { views, virtual_tables, shadow_tables, not_utf8, more, .. } = self.rest;
        let NotCopied { foreign_tables, sequences, functions, not_readable, parts, .. } = self.rest;
        Fields {
            checks: self.checks,
            triggers: &self.triggers,
            views,
            virtual_tables,
            shadow_tables,
            not_utf8,
            foreign_tables,
            sequences,
            functions,
            not_readable,
            parts,
            more: *more,
        }
        .serialize(serializer)
    }
}

struct Tables<'r>(&'r [TableReport]);

impl Serialize for Tables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|table| (&table.name, Fields::of(table, None))))
    }
}

/// Beside its `name` what it has in a [`Report`], where the name is its key.
impl Serialize for TableReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields::of(self, Some(&self.name)).serialize(serializer)
    }
}

#[derive(serde::Serialize)]
struct Fields<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    status: TableStatus,
    created: u64,
    updated: u64,
    unchanged: u64,
    skipped: u64,
    differing: u64,
    failed: u64,
    dangling: u64,
    lossy: &'r BTreeMap<String, u64>,
    errors: &'r [Failure],
    error: Option<String>,
    error_code: Option<ErrorKind>,
    resumed: bool,
    age_seconds: Option<u64>,
    approval: Option<Uuid>,
    transfer: Option<Uuid>,
    created_table: bool,
    notes: &'r [String],
}

impl<'r> Fields<'r> {
    fn of(table: &'r TableReport, name: Option<&'r str>) -> Self {
        let outcome = &table.outcome;
        Fields {
            name,
            status: table.status,
            created: outcome.created,
            updated: outcome.updated,
            unchanged: outcome.unchanged,
            skipped: outcome.skipped,
            differing: outcome.differing,
            failed: outcome.failed,
            dangling: outcome.dangling,
            lossy: &outcome.lossy,
            errors: &outcome.failures,
            error: table.error.as_ref().map(ToString::to_string),
            error_code: table.error.as_ref().map(Error::kind),
            resumed: table.resumed,
            age_seconds: table.age.as_ref().map(Duration::as_secs),
            approval: table.approval,
            transfer: table.transfer,
            created_table: table.created_table,
            notes: &table.notes,
        }
    }
}

/// The key is a value, a list of several, or null.
impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Fields<'r> {
            key: KeyJson<'r>,
            column: Option<&'r str>,
            code: &'static str,
            message: &'r str,
        }

        let key = KeyJson(&self.key);
        let (column, code) = (self.column.as_deref(), self.reason.code());
        Fields { key, column, code, message: &self.message }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_string, to_value};

    use super::*;
    use crate::domain::record::Reason;
    use crate::domain::value::Value;

    #[test]
    fn keys_are_values_lists_or_null() {
        let key = |key: Vec<Value>| {
            let failure = Failure { key, column: None, reason: Reason::Check, message: "m".into() };
            to_value(&failure).unwrap()["key"].to_string()
        };
        assert_eq!(key(vec![]), "null");
        assert_eq!(key(vec![5.into()]), "5");
        assert_eq!(key(vec!["a".into(), Value::Blob(vec![])]), r#"["a",{"__phoenix_kit_binary__":""}]"#);
    }

    #[test]
    fn a_report_has_all_that_scripts_read_in_the_order_of_its_tables() {
        let error = || Error::new(ErrorKind::Disconnected, "the connection ended").with_hint("Pull again.");
        let table = |name: &str| TableReport { name: name.to_owned(), ..TableReport::default() };
        let mut failed = TableReport { age: Some(Duration::from_secs(9)), ..TableReport::failed("b", error()) };
        failed.outcome.failures = vec![Failure {
            key: vec![1.into()],
            column: Some("x".into()),
            reason: Reason::NotNull,
            message: "no value".into(),
        }];
        let report = Report {
            tables: vec![failed, table("a")],
            duration: Duration::from_millis(1_500),
            error: Some(error()),
            ..Report::default()
        };
        let b = r#""b":{"status":"failed","created":0,"updated":0,"unchanged":0,"skipped":0,"differing":0,"failed":0,"dangling":0,"lossy":{},"errors":[{"key":1,"column":"x","code":"not_null","message":"no value"}],"error":"the connection ended. Pull again.","error_code":"disconnected","resumed":false,"age_seconds":9,"approval":null,"transfer":null,"created_table":false,"notes":[]}"#;
        let a = r#""a":{"status":"completed","created":0,"updated":0,"unchanged":0,"skipped":0,"differing":0,"failed":0,"dangling":0,"lossy":{},"errors":[],"error":null,"error_code":null,"resumed":false,"age_seconds":null,"approval":null,"transfer":null,"created_table":false,"notes":[]}"#;
        let rest = r#""one_state":false,"records":0,"bytes":0,"seconds":1.5,"cancelled":false,"notes":[],"error":"the connection ended. Pull again.","error_code":"disconnected","not_copied":{"checks":0,"triggers":[],"views":[],"virtual_tables":[],"shadow_tables":[],"not_utf8":[],"more":0}"#;
        assert_eq!(to_string(&report).unwrap(), format!(r#"{{"tables":{{{b},{a}}},{rest}}}"#));
        assert_eq!(to_value(table("a")).unwrap()["name"], json!("a"));
    }

    #[test]
    fn triggers_are_listed_by_name_and_checks_are_counted() {
        let mut report = Report::default();
        report.not_copied.checks = [("t".into(), 2), ("u".into(), 1)].into();
        report.not_copied.triggers = [("t".into(), vec!["x".into()]), ("u".into(), vec!["y".into()])].into();
        let left = &to_value(&report).unwrap()["not_copied"];
        assert_eq!((&left["checks"], &left["triggers"]), (&json!(3), &json!(["x", "y"])));
        assert_eq!(left.get("parts"), None);
        report.not_copied.parts.insert("t".into(), [("match_full".into(), vec!["k".into()])].into());
        assert_eq!(to_value(&report).unwrap()["not_copied"]["parts"], json!({ "t": { "match_full": ["k"] } }));
    }
}
