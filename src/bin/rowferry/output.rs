//! What is printed on stdout: lines and tables for people, or a JSON object per line.

use std::io::{self, Write};
use std::time::Duration;

use rowferry::{Error, ErrorKind, Value};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::failure::Failure;

/// The widest that a cell of a table for people gets, in characters.
const CELL: usize = 48;

/// Standard output. Once its reader has gone (`rowferry records ... | head -1`), nothing more is printed, and the command goes
/// on to its end.
#[derive(Debug)]
pub struct Out {
    closed: bool,
    quiet: bool,
}

impl Out {
    pub fn new(quiet: bool) -> Self {
        Out { closed: false, quiet }
    }

    /// Whether only what is asked for is printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// A line for people: what was asked for.
    pub fn line(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        self.bytes(&[text.as_ref().as_bytes(), b"\n"].concat())
    }

    /// A line for people that says what was done. It is not printed where only what is asked for is.
    pub fn say(&mut self, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// A JSON object.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(no_json)?;
        line.push(b'\n');
        self.bytes(&line)
    }

    /// A table for people.
    pub fn table(&mut self, table: &Table) -> Result<(), Failure> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }

    /// A table for people that says what was done. It is not printed where only what is asked for is.
    pub fn say_table(&mut self, table: &Table) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.table(table) }
    }

    /// The fields of an object for people, one on a line, without those that have no value.
    pub fn fields(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        field_lines(object)?.iter().try_for_each(|line| self.line(line))
    }

    /// Writes lines at once: one who reads events must not wait for the next one.
    pub fn bytes(&mut self, lines: &[u8]) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(lines).and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                let message = format!("cannot write to standard output: {error}");
                Err(Error::new(ErrorKind::File, message).with_source(error).into())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A line on stderr. Where even that cannot be written, there is nobody to be told.
pub fn complain(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "rowferry: {}", one_line(text.as_ref()));
}

/// A table for people.
#[derive(Debug)]
pub struct Table {
    heads: Vec<String>,
    /// Which columns hold numbers, and stand to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; one whose name begins with `>` stands to the right.
    pub fn new<H: AsRef<str>>(heads: impl IntoIterator<Item = H>) -> Self {
        let (heads, right) = heads
            .into_iter()
            .map(|head| match head.as_ref().strip_prefix('>') {
                Some(head) => (printable(head), true),
                None => (printable(head.as_ref()), false),
            })
            .unzip();
        Table { heads, right, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cell = |cell: C| shortened(&printable(cell.as_ref()));
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(self.heads.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).zip(&self.right).map(|((cell, width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            format!("  {}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
        };
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        [line(&self.heads), line(&rule)].into_iter().chain(self.rows.iter().map(|row| line(row))).collect()
    }
}

fn no_json(error: serde_json::Error) -> Failure {
    Error::new(ErrorKind::TooLarge, format!("the answer cannot be written as JSON: {error}")).with_source(error).into()
}

/// The fields of a JSON object, in their order.
struct Fields(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

fn field_lines(object: &impl Serialize) -> Result<Vec<String>, Failure> {
    let text = serde_json::to_string(object).map_err(no_json)?;
    let Fields(fields) = serde_json::from_str(&text).map_err(no_json)?;
    let said: Vec<(String, String)> =
        fields.iter().filter_map(|(name, value)| Some((name.replace('_', " "), field_text(value)?))).collect();
    let width = said.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    Ok(said.iter().map(|(name, text)| format!("  {name:<width$}  {}", printable(text))).collect())
}

/// The value of a field for people; `None` for one that has none.
fn field_text(value: &serde_json::Value) -> Option<String> {
    use serde_json::Value;

    match value {
        Value::Null => None,
        Value::Array(values) if values.is_empty() => None,
        Value::Object(values) if values.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Array(values) => {
            let texts = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            Some(texts.collect::<Vec<_>>().join(", "))
        }
        value => Some(value.to_string()),
    }
}

/// Text without control characters: what another site sends must not steer the terminal.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that turn the direction of writing change what is read as well.
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

/// Text on one line.
pub fn one_line(text: &str) -> String {
    printable(&text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(CELL) {
        Some(_) => text.chars().take(CELL - 3).chain("...".chars()).collect(),
        None => text.to_owned(),
    }
}

/// A count with its thousands apart: `12,345`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and what is counted: `1 table`, `2 tables`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A value for people.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(v) => v.to_string(),
        Value::Real(v) => format!("{v:?}"),
        Value::Text(v) => String::from_utf8_lossy(v).into_owned(),
        Value::Blob(v) => format!("blob of {} bytes", v.len()),
    }
}

/// A time for people: `3 hours`.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds < 120 => counted(seconds, "second"),
        seconds if seconds < 7_200 => counted(seconds / 60, "minute"),
        seconds => counted(seconds / 3_600, "hour"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_harmless() {
        let mut table = Table::new(["name", ">rows"]);
        table.row(["größe", "1,000"]);
        table.row(["a\u{1b}[2Jb\u{202e}", "7"]);
        table.row(["x".repeat(60), String::new()]);
        let lines = table.lines();
        assert_eq!(lines[0], format!("  name{}   rows", " ".repeat(44)));
        assert_eq!(lines[2], format!("  größe{}  1,000", " ".repeat(43)));
        assert!(lines[3].starts_with(r"  a\u{1b}[2Jb\u{202e} ") && lines[3].ends_with("      7"), "{}", lines[3]);
        assert_eq!(lines[4], format!("  {}...", "x".repeat(45)));
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let object = r#"{"site_url":"u","name":"a\u001b","no":null,"none":[],"empty":{},"list":[1,"x"],"flag":true}"#;
        let object = serde_json::value::RawValue::from_string(object.to_owned()).unwrap();
        let lines = [r"  site url  u", r"  name      a\u{1b}", r"  list      1, x", r"  flag      yes"];
        assert_eq!(field_lines(&object).unwrap(), lines);
    }

    #[test]
    fn counts_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), text);
        }
        assert_eq!([counted(1, "row"), counted(0, "row"), counted(2_000, "row")], ["1 row", "0 rows", "2,000 rows"]);
    }

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\r\n  b\tc\n"), r"a b\tc");
    }
    #[test]
    fn spans_are_short() {
        let spans = [1, 119, 120, 7_199, 90_000].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(spans, ["1 second", "119 seconds", "2 minutes", "119 minutes", "25 hours"]);
    }
}
