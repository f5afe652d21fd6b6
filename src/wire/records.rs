//! Pages of records: rows to JSON objects and back, straight between bytes and [`Rows`].

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::dialect::{Dialect, announced};
use super::read::{self, Fault, Scratch};
use super::{excerpt, render};
use crate::domain::record::{Failure, Reason};
use crate::domain::schema::TableSchema;
use crate::domain::value::{Rows, ValueRef};
use crate::error::{Error, ErrorKind, Result};

/// Stands in a record that was too large to be sent, beside its key: how many bytes it has at least.
const TOO_LARGE: &str = "__rowferry_too_large__";

/// Where what is written is cut.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// No further record is begun once the records have this many bytes.
    pub page_bytes: usize,
    /// A record of more bytes is not sent to a rowferry peer, which would refuse the message: the peer is told instead, and
    /// the rest of the table comes.
    pub record_bytes: usize,
}

impl Cut {
    /// No bound at all.
    pub const NONE: Cut = Cut { page_bytes: usize::MAX, record_bytes: usize::MAX };
}

/// Appends rows as JSON objects with commas between them, until one has brought `out` to `cut.page_bytes` or beyond, and gives
/// how many it appended: at least one if there is one. Keys come in column order; absent cells are left out.
///
/// # Panics
/// If the rows are of another width than the table, or the range is beyond them.
pub fn encode_records(
    out: &mut Vec<u8>,
    table: &TableSchema,
    rows: &Rows,
    range: Range<usize>,
    dialect: Dialect,
    cut: Cut,
) -> usize {
    assert_eq!(table.columns.len(), rows.width(), "rows of another width");
    let key = |name: &String| format!("{}:", serde_json::Value::from(name.as_str()));
    let keys: Vec<String> = table.columns.iter().map(|column| key(&column.name)).collect();
    let all = |_: usize| true;
    let of_key = |column: usize| table.primary_key.iter().any(|name| *name == table.columns[column].name);
    let mut written = 0;
    for row in range {
        if written > 0 {
            if out.len() >= cut.page_bytes {
                break;
            }
            out.push(b',');
        }
        let start = out.len();
        let bytes = content_bytes(rows, row);
        if bytes <= cut.record_bytes {
            encode_record(out, table, rows, row, dialect, (&keys, &all));
            out.push(b'}');
        }
        let bytes = bytes.max(out.len() - start);
        if bytes > cut.record_bytes && dialect == Dialect::Rowferry {
            out.truncate(start);
            encode_record(out, table, rows, row, dialect, (&keys, &of_key));
            if out.len() - start > cut.record_bytes {
                out.truncate(start);
                out.push(b'{');
            }
            let comma = if out.ends_with(b"{") { "" } else { "," };
            out.extend_from_slice(format!("{comma}\"{TOO_LARGE}\":{bytes}}}").as_bytes());
        }
        written += 1;
    }
    written
}

/// The bytes of a row's text and blobs: its JSON has at least as many.
fn content_bytes(rows: &Rows, row: usize) -> usize {
    let bytes = |column| match rows.get(row, column) {
        Some(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => bytes.len(),
        _ => 0,
    };
    (0..rows.width()).map(bytes).sum()
}

/// Appends a record without its closing brace.
fn encode_record(
    out: &mut Vec<u8>,
    table: &TableSchema,
    rows: &Rows,
    row: usize,
    dialect: Dialect,
    (keys, wanted): (&[String], &dyn Fn(usize) -> bool),
) {
    out.push(b'{');
    let mut first = true;
    for (column, key) in keys.iter().enumerate().filter(|(column, _)| wanted(*column)) {
        let Some(value) = rows.get(row, column) else { continue };
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        out.extend_from_slice(key.as_bytes());
        render::value(out, dialect, &announced(&table.columns[column].logical), value);
    }
}

/// What a page of records says beside its records.
#[derive(Debug, Clone, Copy)]
pub struct PageHead<'a> {
    /// The ref of the request.
    pub reference: Option<&'a RawValue>,
    /// The request's offset, as it was sent.
    pub offset: i64,
    /// Whether there is more after this page. Never true with an empty page: PhoenixKit's client would loop.
    pub has_more: bool,
    /// Which state of the sender the records are of: only towards rowferry.
    pub state: Option<u64>,
}

/// Writes the whole frame `response:records` around what [`encode_records`] wrote.
pub fn encode_page(topic: &str, head: PageHead<'_>, records: &[u8]) -> String {
    let mut out = Vec::with_capacity(records.len() + topic.len() + 128);
    let json = serde_json::Value::from;
    out.extend_from_slice(format!("[null,null,{},\"response:records\",", json(topic)).as_bytes());
    out.extend_from_slice(format!("{{\"has_more\":{},\"offset\":{},\"records\":[", head.has_more, head.offset).as_bytes());
    out.extend_from_slice(records);
    let reference = head.reference.map_or("null", RawValue::get);
    out.extend_from_slice(format!("],\"ref\":{reference}").as_bytes());
    if let Some(state) = head.state {
        out.extend_from_slice(format!(",\"state\":{state}").as_bytes());
    }
    out.extend_from_slice(b"}]");
    String::from_utf8(out).expect("all parts are text, and what is not UTF-8 in records is in base64")
}

/// A page of records as it came, its rows apart.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordsPage {
    /// Records in the answer: the rows, and the failures.
    pub received: u64,
    /// Records that are no rows: malformed, or with values that cannot be stored.
    pub failures: Vec<Failure>,
    /// The offset that the sender says; `None` if it says none.
    pub offset: Option<i64>,
    /// Whether the sender has more after this page. PhoenixKit says so too when the last page happened to be full.
    pub has_more: bool,
    /// Which state of the sender's database the records are of, where it says so.
    pub state: Option<u64>,
    /// The request's ref, as JSON.
    pub reference: Option<String>,
    /// The size of the message that it came in, which only who received it knows: 0 until then.
    pub bytes: u64,
}

/// What bounds a page that is read.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// Most records; a page with more is an error.
    pub records: u64,
    /// Most memory for the rows, in bytes: records may be far smaller on the wire than the rows they become.
    pub bytes: usize,
}

/// Reads the payload of `response:records` and adds its records to `rows`: see [`PageDecoder`].
///
/// # Errors
/// [`ErrorKind::Protocol`] if the payload as a whole is not what it should be, [`ErrorKind::TooLarge`].
#[cfg(any(test, fuzzing))]
pub fn decode_records(
    payload: &str,
    table: &TableSchema,
    dialect: Dialect,
    limits: PageLimits,
    rows: &mut Rows,
) -> Result<RecordsPage> {
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    let mut decoder = PageDecoder::new(table, dialect, limits, rows);
    let read = decoder.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    decoder.finish(read)
}

/// Reads a page of records. As a seed it may read a frame's payload where it stands; [`PageDecoder::finish`] then gives the page.
///
/// A record that is not as it should be becomes a [`Failure`] and is no row; the rest of the page is read all the same.
#[derive(Debug)]
pub struct PageDecoder<'d> {
    table: &'d TableSchema,
    dialect: Dialect,
    limits: PageLimits,
    rows: &'d mut Rows,
    before_bytes: usize,
    /// The order of columns in the record before, which the next one most likely has too.
    order: Vec<usize>,
    /// The columns sorted by name, for keys that come in another order.
    by_name: Vec<usize>,
    scratch: Scratch,
    page: RecordsPage,
    seen: Seen,
    /// Whether it is the answer to an HTTP call, which need not say whether there is more, and may call its records `data`.
    call: bool,
    /// Whether they came under that name: a whole table, of which no number of records was asked for.
    whole: bool,
    beyond: Option<Error>,
}

#[derive(Debug, Default)]
struct Seen {
    records: bool,
    has_more: bool,
}

impl<'d> PageDecoder<'d> {
    /// A decoder for records of this table of the sender, which adds to `rows`. Rows of another width are cleared first.
    pub fn new(table: &'d TableSchema, dialect: Dialect, limits: PageLimits, rows: &'d mut Rows) -> Self {
        if rows.width() != table.columns.len() {
            rows.clear(table.columns.len());
        }
        let before_bytes = rows.size_bytes();
        let page = RecordsPage {
            received: 0,
            failures: Vec::new(),
            offset: None,
            has_more: false,
            state: None,
            reference: None,
            bytes: 0,
        };
        let order: Vec<usize> = (0..table.columns.len()).collect();
        let mut by_name = order.clone();
        by_name.sort_unstable_by_key(|&column| &table.columns[column].name);
        let (scratch, seen) = (Scratch::default(), Seen::default());
        PageDecoder {
            table,
            dialect,
            limits,
            rows,
            before_bytes,
            order,
            by_name,
            scratch,
            page,
            seen,
            call: false,
            whole: false,
            beyond: None,
        }
    }

    /// The same for the answer to an HTTP call.
    pub fn of_call(mut self) -> Self {
        self.call = true;
        self
    }

    /// The page, after the payload was read with this outcome.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the payload as a whole is not what it should be, [`ErrorKind::TooLarge`].
    pub fn finish<E: fmt::Display>(self, read: Result<(), E>) -> Result<RecordsPage> {
        let name = &self.table.name;
        if let Some(error) = self.beyond {
            return Err(error);
        }
        let why = match read {
            Err(error) => excerpt(&error.to_string()),
            Ok(()) if !self.seen.records => "it has no records".to_owned(),
            Ok(()) if !self.seen.has_more && !self.call => "it does not say whether there is more".to_owned(),
            Ok(()) => return Ok(self.page),
        };
        Err(Error::new(ErrorKind::Protocol, format!("the other site's page of table {name:?} cannot be read: {why}")))
    }

    /// The column that a key stands for; `at` is the key's place in its record.
    fn column(&mut self, at: usize, key: &str) -> Option<usize> {
        let columns = &self.table.columns;
        if let Some(&guess) = self.order.get(at)
            && columns[guess].name == key
        {
            return Some(guess);
        }
        let found = self.by_name.binary_search_by_key(&key, |&column| &columns[column].name).ok()?;
        let found = self.by_name[found];
        if let Some(place) = self.order.get_mut(at) {
            *place = found;
        }
        Some(found)
    }

    /// Ends the last row's record.
    fn end_record(&mut self, fault: Option<(Option<String>, Fault)>) {
        let Some((column, fault)) = fault else { return };
        let last = self.rows.len().saturating_sub(1);
        let value = |column: usize| self.rows.get(last, column).map(ValueRef::to_owned);
        let key = self.table.column_indexes(&self.table.primary_key).unwrap_or_default();
        let key: Option<Vec<_>> = key.into_iter().map(value).collect();
        self.rows.drop_row();
        let failure = Failure { key: key.unwrap_or_default(), column, reason: fault.reason, message: fault.message };
        self.page.failures.push(failure.shortened());
    }

    /// Counts a record; an error if the page is now beyond its bounds.
    fn begin_record(&mut self) -> bool {
        let (limits, name) = (&self.limits, &self.table.name);
        self.page.received += 1;
        let message = if self.page.received > limits.records && self.whole {
            (
                ErrorKind::TooLarge,
                format!("the other site sent more than {} records of table {name:?} at once", limits.records),
            )
        } else if self.page.received > limits.records {
            let kind = ErrorKind::Protocol;
            (kind, format!("the other site sent more than the {} records of table {name:?} asked for", limits.records))
        } else if self.rows.size_bytes().saturating_sub(self.before_bytes) > limits.bytes {
            (ErrorKind::TooLarge, format!("a page of table {name:?} takes more than {} bytes of memory", limits.bytes))
        } else {
            return true;
        };
        let error = Error::new(message.0, message.1);
        self.beyond = Some(match message.0 {
            ErrorKind::TooLarge => {
                error.with_hint("Ask for fewer records at a time, or raise `Limits::wire.message_bytes`.")
            }
            _ => error,
        });
        false
    }
}

/// The payload: an object.
impl<'de> DeserializeSeed<'de> for &mut PageDecoder<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut PageDecoder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let records = key == "records" || (key == "data" && self.call);
            match &*key {
                _ if records && self.seen.records => return Err(serde::de::Error::duplicate_field("records")),
                _ if records => {
                    self.seen.records = true;
                    self.whole = key == "data";
                    map.next_value_seed(Records(self))?;
                }
                "has_more" => {
                    self.page.has_more = map.next_value()?;
                    self.seen.has_more = true;
                }
                // PhoenixKit gives back whatever it was sent.
                "offset" => self.page.offset = map.next_value::<&RawValue>()?.get().parse().ok(),
                "state" => self.page.state = map.next_value()?,
                "ref" => self.page.reference = Some(map.next_value::<&RawValue>()?.get().to_owned()),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The array of records.
struct Records<'p, 'd>(&'p mut PageDecoder<'d>);

impl<'de> DeserializeSeed<'de> for Records<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Record(self.0))?.is_some() {}
        Ok(())
    }
}

/// One record. It never fails for what the record says, only for broken JSON and for the page's bounds.
struct Record<'p, 'd>(&'p mut PageDecoder<'d>);

impl Record<'_, '_> {
    fn no_object<E: serde::de::Error>(self) -> Result<(), E> {
        if !self.0.begin_record() {
            return Err(E::custom("beyond the page's bounds"));
        }
        self.0.rows.start_row();
        self.0.end_record(Some((None, Fault::new(Reason::Malformed, "the record is not an object"))));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Record<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let page = self.0;
        if !page.begin_record() {
            return Err(serde::de::Error::custom("beyond the page's bounds"));
        }
        page.rows.start_row();
        let mut fault = None;
        let mut at = 0;
        while let Some(key) = map.next_key_seed(Key { page, at })? {
            at += 1;
            let raw: &'de RawValue = map.next_value()?;
            let column = match key {
                Ok(column) => column,
                Err(name) if name == TOO_LARGE && page.dialect == Dialect::Rowferry => {
                    let message = format!("the record has {} bytes or more, too many for a message", excerpt(raw.get()));
                    fault.get_or_insert_with(|| (None, Fault::new(Reason::TooLarge, message)));
                    continue;
                }
                Err(name) => {
                    let message = "the sender's schema has no such column";
                    fault.get_or_insert_with(|| (Some(name), Fault::new(Reason::UnknownColumn, message)));
                    continue;
                }
            };
            let described = &page.table.columns[column];
            let read = match page.rows.last_has(column) {
                true => Err(Fault::new(Reason::DuplicateColumn, "the record has the column twice")),
                false => read::of_column(raw.get(), page.dialect, described, &mut page.scratch),
            };
            match read {
                Ok(value) => page.rows.set(column, value),
                Err(why) => {
                    fault.get_or_insert_with(|| (Some(described.name.clone()), why));
                }
            }
        }
        page.end_record(fault);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.no_object()
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.no_object()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.no_object()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.no_object()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.no_object()
    }
}

/// A record's key: the column, or the name of one that does not exist.
struct Key<'p, 'd> {
    page: &'p mut PageDecoder<'d>,
    at: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Result<usize, String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.page.column(self.at, key).ok_or_else(|| excerpt(key)))
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
