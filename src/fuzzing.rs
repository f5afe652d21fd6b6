//! What the fuzz targets call, one function each. Only there when fuzzing, and for tests.
//!
//! Each reads bytes as a peer might send them. A panic is a finding, and so is an answer that contradicts itself: what was
//! read, written and read again must be the same.

use crate::domain::schema::{Column, LogicalType, TableSchema};
use crate::domain::value::Rows;
use crate::limits::Limits;
use crate::store::sqlite::creatable::creatable;
use crate::wire::native::check;
use crate::wire::records::{Cut, PageLimits, RecordsPage, decode_records, encode_records};
use crate::wire::schema::{decode_schema, encode_schema};
use crate::wire::{Dialect, channel, message};

#[cfg(all(feature = "client", feature = "server"))]
pub mod answers;
pub mod pull;
pub mod schema;
#[cfg(feature = "server")]
pub mod server;

/// Bytes that decide.
struct Choices<'b>(&'b [u8]);

impl Choices<'_> {
    fn below(&mut self, end: u8) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first % end
    }
}

const PAGE_LIMITS: PageLimits = PageLimits { records: 1_000, bytes: 1 << 20 };

/// A WebSocket text message: as a frame with whatever its payload may be, or else as a payload alone.
pub fn channel_frame(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let payload = match channel::decode(text) {
        Ok(frame) => {
            let _ = message::decode_request(&frame);
            let _ = message::answer_ref(&frame);
            let again = channel::encode(frame.head.reference, &frame.head.topic, &frame.head.event, &frame.payload);
            let again = channel::decode(&again).expect("what was written is a frame");
            assert_eq!((again.head.topic, again.head.event), (frame.head.topic, frame.head.event));
            assert_eq!(again.payload.get(), frame.payload.get());
            frame.payload.get()
        }
        Err(error) => {
            let _ = error.to_string();
            text
        }
    };
    answers(payload);
    table(payload);
    records(payload);
}

/// A binary message: as it is, with the checksum that it needs to be read any further, and as the rows of a page.
pub fn native_page(bytes: &[u8]) {
    check::written_again(bytes);
    check::written_again(&check::sealed(bytes));
    if let [columns, rows, bytes @ ..] = bytes {
        check::written_again(&check::page_of((*columns).into(), (*rows).into(), bytes));
    }
}

/// The head of an HTTP request, as it arrives piece by piece, and a chunked body behind it.
#[cfg(feature = "server")]
pub fn http_head(bytes: &[u8]) {
    use crate::serve::head::{Framing, parse};
    let limits = Limits::default();
    let Ok(Some(head)) = parse(bytes, &limits) else { return };
    assert!(head.bytes <= bytes.len());
    // What is a head must not have been refused, nor taken for a whole one, when only part of it was there.
    let part = bytes.first().map_or(0, |byte| usize::from(*byte) * 97 % head.bytes);
    assert!(matches!(parse(&bytes[..part], &limits), Ok(None)));
    let alone = parse(&bytes[..head.bytes], &limits).expect("it was read before").expect("it is whole");
    assert_eq!((alone.bytes, alone.framing, alone.keep_alive), (head.bytes, head.framing, head.keep_alive));
    if head.framing == Framing::Chunked {
        let body = &bytes[head.bytes..];
        assert_eq!(chunked(body, body.len()), chunked(body, 1));
    }
}

/// A chunked body that arrives in pieces of this size: its content, how many bytes it took, and whether it was all there.
#[cfg(feature = "server")]
fn chunked(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), crate::serve::head::Refusal> {
    let mut chunks = crate::serve::chunks::Chunks::new();
    let (mut body, mut waiting, mut used) = (Vec::new(), Vec::new(), 0);
    for piece in input.chunks(piece.max(1)) {
        waiting.extend_from_slice(piece);
        let taken = chunks.take(&waiting, &mut body, Limits::default().server.body_bytes)?;
        waiting.drain(..taken);
        used += taken;
    }
    assert!(body.len() <= input.len());
    Ok((body, used, chunks.is_done()))
}

fn answers(payload: &str) {
    let _ = message::decode_reply(payload);
    if let Some(answer) = message::Answer::read(payload) {
        let _ = (answer.capabilities(), answer.tables(&Limits::default()), answer.count(), answer.error());
        if let Ok(description) = answer.schema() {
            table(description);
        }
    }
}

fn table(json: &str) {
    let Ok(table) = decode_schema(json, &Limits::default()) else { return };
    for sender_is_rowferry in [false, true] {
        let _ = creatable(&table, sender_is_rowferry, &|_| None);
    }
    let again = encode_schema(&table, Dialect::Rowferry);
    let again = decode_schema(again.get(), &Limits::default()).expect("what was written can be read");
    assert_eq!(again, table);
}

fn records(payload: &str) {
    let table = table_of_all_types();
    for dialect in [Dialect::ReferenceSocket, Dialect::ReferenceHttp, Dialect::Rowferry] {
        let mut rows = Rows::new(0);
        if let Ok(page) = decode_records(payload, &table, dialect, PAGE_LIMITS, &mut rows) {
            assert_eq!(page.received, (rows.len() + page.failures.len()) as u64);
            written_and_read_again(&table, &rows);
        }
    }
}

/// Between two rowferry sites every value arrives as it was.
fn written_and_read_again(table: &TableSchema, rows: &Rows) {
    let mut json = br#"{"has_more":false,"records":["#.to_vec();
    encode_records(&mut json, table, rows, 0..rows.len(), Dialect::Rowferry, Cut::NONE);
    json.extend_from_slice(b"]}");
    let json = String::from_utf8(json).expect("records are UTF-8");
    let limits = PageLimits { bytes: usize::MAX, ..PAGE_LIMITS };
    let mut again = Rows::new(0);
    let page: RecordsPage =
        decode_records(&json, table, Dialect::Rowferry, limits, &mut again).expect("what was written can be read");
    assert!(page.failures.is_empty(), "{:?}", page.failures);
    assert_eq!(again.len(), rows.len());
    for (row, column) in (0..rows.len()).flat_map(|row| (0..rows.width()).map(move |column| (row, column))) {
        let same = match (rows.get(row, column), again.get(row, column)) {
            (Some(one), Some(other)) => one.same(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        assert!(same, "{rows:?} became {again:?}");
    }
}

fn table_of_all_types() -> TableSchema {
    let types = [
        ("bool", LogicalType::Boolean),
        ("id", LogicalType::Integer),
        ("real", LogicalType::Real),
        ("num", LogicalType::Numeric),
        ("text", LogicalType::Text),
        ("blob", LogicalType::Blob),
        ("uuid", LogicalType::Uuid),
        ("date", LogicalType::Date),
        ("time", LogicalType::Time),
        ("ts", LogicalType::Timestamp),
        ("tstz", LogicalType::TimestampTz),
        ("json", LogicalType::Json),
        ("any", LogicalType::Any),
        ("other", LogicalType::Other("interval".into())),
    ];
    let column = |(name, logical): (&str, LogicalType)| Column { name: name.into(), logical, ..Column::default() };
    TableSchema {
        name: "t".into(),
        columns: types.into_iter().map(column).collect(),
        primary_key: vec!["id".into()],
        ..TableSchema::default()
    }
}
