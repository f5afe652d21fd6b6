//! Records in the answers of `pull-data` and `table-records`. They are written in parts, so that an answer need not be in memory
//! as a whole: [`head`], what [`encode_records`](crate::wire::records::encode_records) writes, [`tail`].

use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::Result;
use crate::wire::Dialect;
use crate::wire::records::{PageDecoder, PageLimits, RecordsPage};

/// Which of the two calls is answered.
#[derive(Debug, Clone, Copy)]
pub enum PagesHead<'a> {
    /// `pull-data` of this table.
    Data {
        /// The table's name, as it was asked for.
        table: &'a str,
        /// Whether to say if there was more.
        mark_cut: bool,
    },
    /// `table-records`.
    Records,
}

/// What stands before the records.
pub fn head(call: PagesHead<'_>) -> &'static str {
    match call {
        PagesHead::Data { .. } => r#"{"data":["#,
        PagesHead::Records => r#"{"records":["#,
    }
}

/// What follows the records; `more` is whether there were more than were sent.
pub fn tail(call: PagesHead<'_>, more: bool) -> String {
    match call {
        PagesHead::Data { table, mark_cut } => {
            let mark = if mark_cut { format!("\"has_more\":{more},") } else { String::new() };
            format!("],{mark}\"success\":true,\"table\":{}}}", serde_json::Value::from(table))
        }
        PagesHead::Records => r#"],"success":true}"#.to_owned(),
    }
}

/// Reads the records of an answer and adds them to `rows`. `has_more` of the page is what the answer says; false where it
/// says nothing, as PhoenixKit never does.
///
/// # Errors
/// [`Protocol`](crate::ErrorKind::Protocol) if the answer as a whole is not what it should be,
/// [`TooLarge`](crate::ErrorKind::TooLarge).
pub fn decode_records(body: &str, table: &TableSchema, limits: PageLimits, rows: &mut Rows) -> Result<RecordsPage> {
    use serde::de::DeserializeSeed;

    let mut deserializer = serde_json::Deserializer::from_str(body);
    let mut decoder = PageDecoder::new(table, Dialect::ReferenceHttp, limits, rows).of_call();
    let read = decoder.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    decoder.finish(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Column, LogicalType};
    use crate::domain::value::Value;

    #[test]
    fn what_is_written_is_read() {
        let column = Column { name: "id".into(), logical: LogicalType::Integer, ..Column::default() };
        let table = TableSchema { name: "t".into(), columns: vec![column], ..TableSchema::default() };
        let limits = PageLimits { records: 10, bytes: 1 << 20 };
        let plain = PagesHead::Data { table: "t", mark_cut: false };
        for (call, body, more) in [
            (plain, r#"{"data":[{"id":1}],"success":true,"table":"t"}"#, false),
            (
                PagesHead::Data { table: "t", mark_cut: true },
                r#"{"data":[{"id":1}],"has_more":true,"success":true,"table":"t"}"#,
                true,
            ),
            (PagesHead::Records, r#"{"records":[{"id":1}],"success":true}"#, false),
        ] {
            assert_eq!(format!("{}{}{}", head(call), r#"{"id":1}"#, tail(call, true)), body);
            let mut rows = Rows::default();
            let page = decode_records(body, &table, limits, &mut rows).unwrap();
            assert_eq!((page.received, page.has_more), (1, more));
            assert_eq!(rows.get(0, 0).unwrap().to_owned(), Value::Integer(1));
        }
        for junk in ["null", "{}", r#"{"success":true}"#, r#"{"data":1}"#, r#"{"data":[],"data":[]}"#, r#"{"data":[]"#] {
            assert!(decode_records(junk, &table, limits, &mut Rows::default()).is_err(), "{junk}");
        }
    }
}
