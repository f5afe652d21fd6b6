//! A report as JSON: what `rowferry verify --json` prints at its end. Fields are only ever added to it.

use serde::ser::{Serialize, Serializer};

use super::{DifferingKeys, TableVerification, VerifyReason, VerifyReport, VerifyStatus};
use crate::domain::value::Value;
use crate::domain::value_json::KeyJson;
use crate::error::{Error, ErrorKind};

/// The tables are an object, by name, in the order in which they were compared; a time is in seconds, and an error is its text, with its
/// code beside it.
impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Fields<'r> {
            tables: Tables<'r>,
            status: VerifyStatus,
            seconds: f64,
            notes: &'r [String],
        }

        let (seconds, notes) = (self.duration.as_secs_f64(), &self.notes[..]);
        Fields { tables: Tables(&self.tables), status: self.status(), seconds, notes }.serialize(serializer)
    }
}

struct Tables<'r>(&'r [TableVerification]);

impl Serialize for Tables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|table| (&table.name, Fields::of(table, None))))
    }
}

/// Beside its `name` what it has in a [`VerifyReport`], where the name is its key.
impl Serialize for TableVerification {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields::of(self, Some(&self.name)).serialize(serializer)
    }
}

#[derive(serde::Serialize)]
struct Fields<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    status: VerifyStatus,
    only_there: Option<u64>,
    only_here: Option<u64>,
    different: Option<u64>,
    estimated: bool,
    rows_there: Option<u64>,
    rows_here: Option<u64>,
    keys: Keys<'r>,
    reason: Option<VerifyReason>,
    error: Option<String>,
    error_code: Option<ErrorKind>,
}

impl<'r> Fields<'r> {
    fn of(table: &'r TableVerification, name: Option<&'r str>) -> Self {
        Fields {
            name,
            status: table.status,
            only_there: table.only_there,
            only_here: table.only_here,
            different: table.different,
            estimated: table.estimated,
            rows_there: table.rows_there,
            rows_here: table.rows_here,
            keys: Keys::of(&table.keys),
            reason: table.reason,
            error: table.error.as_ref().map(ToString::to_string),
            error_code: table.error.as_ref().map(Error::kind),
        }
    }
}

/// A key is a value, or a list of several.
#[derive(serde::Serialize)]
struct Keys<'r> {
    only_there: Vec<KeyJson<'r>>,
    only_here: Vec<KeyJson<'r>>,
    different: Vec<KeyJson<'r>>,
}

impl<'r> Keys<'r> {
    fn of(keys: &'r DifferingKeys) -> Self {
        let list = |keys: &'r [Vec<Value>]| keys.iter().map(|key| KeyJson(key)).collect();
        Keys { only_there: list(&keys.only_there), only_here: list(&keys.only_here), different: list(&keys.different) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{to_string, to_value};

    use super::*;

    #[test]
    fn a_report_has_all_that_scripts_read() {
        let mut differs = TableVerification::different("a", 5, 4).with_counts([2, 1, 0]);
        differs.keys.only_there = vec![vec![1.into()], vec![2.into(), "x".into()]];
        let error = Error::new(ErrorKind::SchemaMismatch, "no").with_hint("Do it.");
        let unknown = TableVerification::inconclusive("b", VerifyReason::SchemaDiffers, error);
        let report = VerifyReport { tables: vec![differs, unknown], ..VerifyReport::default() };
        let a = r#""a":{"status":"different","only_there":2,"only_here":1,"different":0,"estimated":false,"rows_there":5,"rows_here":4,"keys":{"only_there":[1,[2,"x"]],"only_here":[],"different":[]},"reason":null,"error":null,"error_code":null}"#;
        let b = r#""b":{"status":"inconclusive","only_there":null,"only_here":null,"different":null,"estimated":false,"rows_there":null,"rows_here":null,"keys":{"only_there":[],"only_here":[],"different":[]},"reason":"schema_differs","error":"no. Do it.","error_code":"schema_mismatch"}"#;
        assert_eq!(
            to_string(&report).unwrap(),
            format!(r#"{{"tables":{{{a},{b}}},"status":"different","seconds":0.0,"notes":[]}}"#)
        );
        assert_eq!(to_value(&report.tables[0]).unwrap()["name"], "a");
    }
}
