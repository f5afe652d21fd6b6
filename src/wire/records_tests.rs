use proptest::prelude::*;

use super::*;
use crate::domain::schema::{Column, LogicalType};
use crate::domain::value::Value;
use crate::wire::channel;
use crate::wire::message::requests::raw_ref;

const LIMITS: PageLimits = PageLimits { records: 1000, bytes: 1 << 20 };

fn table(columns: &[(&str, LogicalType)], key: &[&str]) -> TableSchema {
    let column = |(name, logical): &(&str, LogicalType)| Column {
        name: (*name).to_owned(),
        logical: logical.clone(),
        ..Column::default()
    };
    TableSchema {
        name: "t".into(),
        columns: columns.iter().map(column).collect(),
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        ..TableSchema::default()
    }
}

fn plain() -> TableSchema {
    table(&[("id", LogicalType::Integer), ("v", LogicalType::Text)], &["id"])
}

fn decode(payload: &str, table: &TableSchema, dialect: Dialect) -> (Result<RecordsPage>, Rows) {
    let mut rows = Rows::default();
    (decode_records(payload, table, dialect, LIMITS, &mut rows), rows)
}

fn pages_of(page_bytes: usize) -> Cut {
    Cut { page_bytes, ..Cut::NONE }
}

#[test]
fn a_record_that_is_too_large_is_told_of_and_the_others_arrive() {
    let table = TableSchema { primary_key: vec!["id".into()], ..plain() };
    let mut rows = Rows::new(2);
    rows.push([ValueRef::Integer(1), ValueRef::Text(b"small")]);
    rows.push([ValueRef::Integer(2), ValueRef::Text(&[b'x'; 200])]);
    // Its JSON is larger than its content.
    rows.push([ValueRef::Integer(3), ValueRef::Text(&[0; 60])]);
    rows.push([ValueRef::Integer(4), ValueRef::Null]);
    let mut json = Vec::new();
    let cut = Cut { record_bytes: 100, ..Cut::NONE };
    assert_eq!(encode_records(&mut json, &table, &rows, 0..4, Dialect::Rowferry, cut), 4);
    let payload = format!(r#"{{"has_more":false,"offset":0,"records":[{}]}}"#, std::str::from_utf8(&json).unwrap());
    let (page, rows) = decode(&payload, &table, Dialect::Rowferry);
    let page = page.unwrap();
    assert_eq!((page.received, rows.len()), (4, 2));
    let failed: Vec<_> = page.failures.iter().map(|failure| (failure.reason, failure.key.clone())).collect();
    assert_eq!(failed, [(Reason::TooLarge, vec![2.into()]), (Reason::TooLarge, vec![3.into()])]);
}

#[test]
fn a_page_as_the_reference_writes_it() {
    let payload = r#"{"has_more":true,"offset":2,"records":[{"id":1,"v":"row 1"},{"id":2,"v":null}],"ref":"9"}"#;
    let (page, rows) = decode(payload, &plain(), Dialect::ReferenceSocket);
    let expected = RecordsPage {
        received: 2,
        failures: Vec::new(),
        offset: Some(2),
        has_more: true,
        state: None,
        reference: Some("\"9\"".into()),
        bytes: 0,
    };
    assert_eq!(page.unwrap(), expected);
    assert_eq!(rows.get(0, 1), Some(ValueRef::Text(b"row 1")));
    assert_eq!(rows.get(1, 1), Some(ValueRef::Null));
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_page_as_it_is_written() {
    let mut rows = Rows::new(2);
    rows.push([ValueRef::Integer(1), ValueRef::Text(b"a\"b")]);
    rows.start_row();
    rows.set(0, ValueRef::Integer(2));
    let mut records = Vec::new();
    assert_eq!(encode_records(&mut records, &plain(), &rows, 0..2, Dialect::ReferenceSocket, Cut::NONE), 2);
    let reference = raw_ref(9);
    let head = PageHead { reference: Some(&reference), offset: -5, has_more: false, state: None };
    assert_eq!(
        encode_page("transfer:AB", head, &records),
        r#"[null,null,"transfer:AB","response:records",{"has_more":false,"offset":-5,"records":[{"id":1,"v":"a\"b"},{"id":2}],"ref":"9"}]"#
    );
    let head = PageHead { state: Some(7), ..head };
    assert!(encode_page("t", head, b"").ends_with(r#""records":[],"ref":"9","state":7}]"#));
}

#[test]
fn pages_are_cut_by_bytes_after_at_least_one_record() {
    let mut rows = Rows::new(2);
    (0..10).for_each(|id| rows.push([ValueRef::Integer(id), ValueRef::Text(b"12345678")]));
    let mut out = Vec::new();
    assert_eq!(encode_records(&mut out, &plain(), &rows, 0..10, Dialect::Rowferry, pages_of(1)), 1);
    assert_eq!(out, br#"{"id":0,"v":"12345678"}"#);
    out.clear();
    assert_eq!(encode_records(&mut out, &plain(), &rows, 2..10, Dialect::Rowferry, pages_of(40)), 2);
    assert_eq!(encode_records(&mut out, &plain(), &rows, 10..10, Dialect::Rowferry, pages_of(40)), 0);
}

#[test]
fn a_bad_record_takes_no_other_with_it() {
    let payload = r#"{"records":[
        {"id":1,"v":"good"},
        {"id":2,"v":"x","w":"unknown"},
        {"id":3,"v":"x","v":"again"},
        {"id":4,"v":{"deep":[[[[]]]]}},
        {"id":99999999999999999999,"v":"x"},
        5, null, "x", [1,[2]], true, -1, 1.5,
        {"v":"no key","w":1},
        {"v":"order","id":6},
        {}
    ],"has_more":false,"offset":null}"#;
    let (page, rows) = decode(payload, &plain(), Dialect::Rowferry);
    let page = page.unwrap();
    assert_eq!(page.received, 15);
    let reasons: Vec<_> = page.failures.iter().map(|failure| failure.reason).collect();
    let mut expected = vec![Reason::UnknownColumn, Reason::DuplicateColumn, Reason::Malformed, Reason::ValueOutOfRange];
    expected.extend([Reason::Malformed; 7]);
    expected.push(Reason::UnknownColumn);
    assert_eq!(reasons, expected);
    assert_eq!(page.failures[0].key, [Value::Integer(2)]);
    assert_eq!(page.failures[0].column.as_deref(), Some("w"));
    assert_eq!(page.failures[2].column.as_deref(), Some("v"));
    assert_eq!(page.failures[3].key, [], "the key could not be read");
    assert_eq!(page.failures[11].key, []);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows.get(0, 1), Some(ValueRef::Text(b"good")));
    assert_eq!((rows.get(1, 0), rows.get(1, 1)), (Some(ValueRef::Integer(6)), Some(ValueRef::Text(b"order"))));
    assert_eq!((rows.get(2, 0), rows.get(2, 1)), (None, None));
    assert_eq!(page.offset, None);
}

#[test]
fn integers_never_become_doubles_on_the_way() {
    for dialect in [Dialect::Rowferry, Dialect::ReferenceSocket, Dialect::ReferenceHttp] {
        let payload = r#"{"records":[{"id":9223372036854775807},{"id":9223372036854775808},{"id":18446744073709551616},
            {"id":-9223372036854775808},{"id":-9223372036854775809}],"has_more":false}"#;
        let (page, rows) = decode(payload, &plain(), dialect);
        let page = page.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows.get(0, 0), rows.get(1, 0)), (Some(ValueRef::Integer(i64::MAX)), Some(ValueRef::Integer(i64::MIN))));
        assert!(page.failures.iter().all(|failure| failure.reason == Reason::ValueOutOfRange));
        assert_eq!(page.failures.len(), 3);
    }
}

#[test]
fn pages_that_are_none_are_errors() {
    let kind = |payload: &str| decode(payload, &plain(), Dialect::Rowferry).0.map(|_| ()).map_err(|error| error.kind());
    for payload in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"records":[]}"#,
        r#"{"has_more":false}"#,
        r#"{"records":null,"has_more":false}"#,
        r#"{"records":[],"has_more":"no"}"#,
        r#"{"records":[],"records":[],"has_more":false}"#,
        r#"{"records":[{"id":1}"#,
        r#"{"records":[{"id":1,}],"has_more":false}"#,
        r#"{"records":[],"has_more":false,"state":-1}"#,
        r#"{"records":[],"has_more":false}x"#,
    ] {
        assert_eq!(kind(payload), Err(ErrorKind::Protocol), "{payload}");
    }
    assert_eq!(kind(&format!(r#"{{"records":[{}],"has_more":false}}"#, "[".repeat(100_000))), Err(ErrorKind::Protocol));
    assert_eq!(kind(r#"{"records":[],"has_more":false,"state":7,"x":{"y":[1]}}"#), Ok(()));
}

#[test]
fn deep_values_are_only_malformed() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let payload = format!(r#"{{"records":[{{"id":1,"v":{deep}}},{{"id":2}}],"has_more":false}}"#);
    let (page, rows) = decode(&payload, &plain(), Dialect::Rowferry);
    assert_eq!((page.unwrap().failures.len(), rows.len()), (1, 1));
}

#[test]
fn a_page_beyond_its_bounds_is_an_error() {
    let mut rows = Rows::default();
    let payload = r#"{"records":[{"id":1},{"id":2},5],"has_more":false}"#;
    let mut kind = |records, bytes| {
        decode_records(payload, &plain(), Dialect::Rowferry, PageLimits { records, bytes }, &mut rows)
            .map(|page| page.received)
            .map_err(|error| error.kind())
    };
    assert_eq!(kind(3, 1000), Ok(3));
    assert_eq!(kind(2, 1000), Err(ErrorKind::Protocol));
    assert_eq!(kind(3, 10), Err(ErrorKind::TooLarge));
}

#[test]
fn a_payload_is_read_where_it_stands_in_its_frame() {
    let text = r#"[null,null,"transfer:AB","response:records",{"has_more":false,"records":[{"id":1,"v":"a"}],"ref":"2"}]"#;
    let (table, mut rows) = (plain(), Rows::default());
    let mut decoder = PageDecoder::new(&table, Dialect::Rowferry, LIMITS, &mut rows);
    let (head, ()) = channel::decode_with(text, |_| &mut decoder).unwrap();
    assert_eq!(head.event, "response:records");
    assert_eq!(decoder.finish(Ok::<(), String>(())).unwrap().received, 1);
    assert_eq!(rows.len(), 1);
}

fn value() -> impl Strategy<Value = Option<Value>> {
    let real = any::<u64>().prop_map(f64::from_bits).prop_filter("SQLite has no NaN", |v| !v.is_nan());
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        3 => any::<i64>().prop_map(|v| Some(Value::Integer(v))),
        1 => proptest::sample::select(vec![0, 1, i64::MIN, i64::MAX, (1 << 53) + 1]).prop_map(|v| Some(Value::Integer(v))),
        3 => real.prop_map(|v| Some(Value::Real(v))),
        1 => proptest::sample::select(vec![-0.0, 0.0, 1.0, 1e15, 1e16, 1e21, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY])
            .prop_map(|v| Some(Value::Real(v))),
        3 => ".*".prop_map(|v| Some(Value::from(v))),
        1 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(|v| Some(Value::Text(v))),
        2 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(|v| Some(Value::Blob(v))),
    ]
}

fn same(a: Option<ValueRef<'_>>, b: Option<ValueRef<'_>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.same(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

proptest! {
    #[test]
    fn between_rowferry_sites_every_value_survives(drawn in proptest::collection::vec([value(), value(), value()], 0..12)) {
        let types = [("a", LogicalType::Boolean), ("ř \"\\", LogicalType::Json), ("", LogicalType::Uuid)];
        let table = table(&types, &["a"]);
        let mut rows = Rows::new(3);
        for row in &drawn {
            rows.start_row();
            for (column, value) in row.iter().enumerate() {
                if let Some(value) = value {
                    rows.set(column, value.as_ref());
                }
            }
        }
        let mut records = Vec::new();
        let written = encode_records(&mut records, &table, &rows, 0..rows.len(), Dialect::Rowferry, Cut::NONE);
        prop_assert_eq!(written, rows.len());
        let head = PageHead { reference: None, offset: 0, has_more: true, state: Some(u64::MAX) };
        let text = encode_page("t", head, &records);
        let frame = channel::decode(&text).unwrap();
        let (page, read) = decode(frame.payload.get(), &table, Dialect::Rowferry);
        let page = page.unwrap();
        prop_assert_eq!(&page.failures, &[]);
        prop_assert_eq!((page.received, page.state, page.has_more), (rows.len() as u64, Some(u64::MAX), true));
        prop_assert_eq!(read.len(), rows.len());
        for row in 0..rows.len() {
            for column in 0..3 {
                prop_assert!(same(rows.get(row, column), read.get(row, column)), "{:?} {:?}", rows, read);
            }
        }
    }

    #[test]
    fn what_goes_to_the_reference_is_json_whatever_is_stored(
        drawn in proptest::collection::vec(value(), 14),
        http in any::<bool>(),
    ) {
        let types = [
            LogicalType::Boolean, LogicalType::Integer, LogicalType::Real, LogicalType::Numeric, LogicalType::Text,
            LogicalType::Blob, LogicalType::Uuid, LogicalType::Date, LogicalType::Time, LogicalType::Timestamp,
            LogicalType::TimestampTz, LogicalType::Json, LogicalType::Any, LogicalType::Other("x".into()),
        ];
        let names: Vec<String> = (0..types.len()).map(|at| format!("c{at}")).collect();
        let columns: Vec<_> = names.iter().map(String::as_str).zip(types).collect();
        let table = table(&columns, &[]);
        let mut rows = Rows::new(columns.len());
        rows.push(drawn.iter().map(|value| value.as_ref().map_or(ValueRef::Null, Value::as_ref)));
        let mut records = Vec::new();
        let dialect = if http { Dialect::ReferenceHttp } else { Dialect::ReferenceSocket };
        encode_records(&mut records, &table, &rows, 0..1, dialect, Cut::NONE);
        let read: serde_json::Value = serde_json::from_slice(&records).unwrap();
        prop_assert_eq!(read.as_object().map(|object| object.len()), Some(columns.len()));
    }

    #[test]
    fn junk_is_never_a_panic(text in ".*", records in "[\\[\\]{}\":,a-b0-9.eE \\\\nulltrf-]*") {
        let table = plain();
        let _ = channel::decode(&text);
        let _ = decode(&text, &table, Dialect::Rowferry);
        let payload = format!(r#"{{"has_more":true,"records":[{records}]}}"#);
        for dialect in [Dialect::Rowferry, Dialect::ReferenceSocket] {
            let (page, rows) = decode(&payload, &table, dialect);
            if let Ok(page) = page {
                prop_assert_eq!(page.received, rows.len() as u64 + page.failures.len() as u64);
            }
        }
    }
}
