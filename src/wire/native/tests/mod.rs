//! What the tests share: messages, and short ways to write and read them.

mod layout;
mod pages;
mod strict;

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

use super::check::{page_of, same, sealed, written_again};
use super::frame::VERSION;
use super::message::{CODE_BYTES, TEXT_BYTES};
use super::page::Page;
use super::*;
use crate::domain::row_sum::RowSum;
use crate::domain::sketch::{FIRST_CELLS, Sketch};
use crate::domain::value::{Rows, Value, ValueRef};
use crate::error::{ErrorKind, Result};
use crate::wire::NAME_BYTES;
use crate::wire::records::{Cut, PageLimits};

const LIMITS: PageLimits = PageLimits { records: 10_000, bytes: 64 << 20 };
const SUM: RowSum = RowSum { rows: 5, sum: 0x0102 };
const PAGE: PageHead = PageHead { request: 0x0403_0201, sequence: 7, state: 9, more: true };

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn unsealed(frame: &[u8]) -> Vec<u8> {
    frame[..frame.len() - frame::CHECKSUM].to_vec()
}

fn page(frame: &[u8]) -> Page<'_> {
    match Answer::decode(frame).unwrap() {
        Answer::Page(page) => page,
        other => panic!("{other:?} is no page"),
    }
}

fn encode(rows: &Rows, range: Range<usize>, compress: bool) -> Vec<u8> {
    let mut encoder = PageEncoder::new(rows.width(), compress);
    assert_eq!(encoder.add(rows, range.clone(), &[], Cut::NONE), range.len());
    encoder.finish(PAGE, None)
}

fn read(frame: &[u8], columns: usize) -> Result<Rows> {
    let mut rows = Rows::new(columns);
    match Answer::decode(frame)? {
        Answer::Page(page) => page.read(columns, &[0], LIMITS, &mut rows).map(|_| rows),
        _ => Ok(rows),
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn rows_of(rows: &[Vec<Option<Value>>]) -> Rows {
    let mut out = Rows::new(rows.first().map_or(1, Vec::len));
    for row in rows {
        out.start_row();
        for (column, value) in row.iter().enumerate() {
            if let Some(value) = value {
                out.set(column, value.as_ref());
            }
        }
    }
    out
}

fn one_cell(value: Value) -> Rows {
    rows_of(&[vec![Some(value)]])
}

fn fetch() -> Fetch {
    Fetch {
        request: 0x0403_0201,
        table: "täble".into(),
        after: Some(Place { run: 2, values: vec![Value::Integer(-2), "k".into(), Value::Null] }),
        page_bytes: number(1 << 20),
        page_rows: number(5_000),
        window: number(4),
        records: 5,
        compress: true,
        pull: None,
        sums: false,
    }
}

fn refusal() -> Refusal {
    Refusal {
        request: 5,
        code: "approval_required".into(),
        text: "someone must approve it".into(),
        transfer: Some(Uuid::from_bytes(*b"0123456789abcdef")),
        retry_after: Some(Duration::from_secs(30)),
    }
}

fn compare() -> Compare {
    Compare { request: 0x0403_0201, seed: 258, table: "täble".into(), columns: vec!["a".into(), "é".into()] }
}

fn want() -> Want {
    Want {
        request: 0x0403_0201,
        page_bytes: number(1 << 20),
        page_rows: number(5_000),
        window: number(4),
        compress: true,
        hashes: vec![3, 258],
    }
}

fn summary() -> Summary {
    let mut first = Sketch::new(FIRST_CELLS);
    [1, 2, u64::MAX].into_iter().for_each(|hash| first.add(hash));
    Summary { request: 0x0403_0201, state: 9, sum: RowSum { rows: 3, sum: 258 }, first }
}

/// One message of each kind, of the shapes that matter. They are the fuzzer's seeds, too.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let rows = rows_of(&[
        vec![Some(Value::Integer(1)), Some("name".into()), Some(Value::Real(1.5)), None],
        vec![Some(Value::Integer(-300)), Some(Value::Text(vec![0, 255])), Some(Value::Null), Some(Value::Blob(vec![7; 3]))],
        vec![Some(Value::Integer(i64::MIN)), Some("x".repeat(130).as_str().into()), Some(Value::Null), None],
    ]);
    let many = rows_of(&vec![vec![Some(Value::Integer(1)), Some("the same".into())]; 200]);
    let mut encoder = PageEncoder::new(4, false);
    encoder.add(&rows, 0..3, &[0], Cut { record_bytes: 60, ..Cut::NONE });
    let left_out = encoder.finish(PAGE, Some(&Place { run: 1, values: vec![Value::Integer(i64::MIN)] }));
    let fetch_first = Fetch { after: None, compress: false, ..fetch() };
    vec![
        ("fetch", Request::Fetch(fetch()).encode().unwrap()),
        ("fetch_sums", Request::Fetch(Fetch { pull: Some(Uuid::from_u128(7)), sums: true, ..fetch() }).encode().unwrap()),
        ("fetch_first", Request::Fetch(fetch_first).encode().unwrap()),
        ("credit", Request::Credit { request: 1, bytes: number(2) }.encode().unwrap()),
        ("cancel", Request::Cancel { request: 1 }.encode().unwrap()),
        ("done", Request::Done { request: 1 }.encode().unwrap()),
        ("compare", Request::Compare(compare()).encode().unwrap()),
        ("sketch", Request::Sketch(SketchOf { request: 1, cells: number(1_000) }).encode().unwrap()),
        ("want", Request::Want(want()).encode().unwrap()),
        ("page", encode(&rows, 0..3, false)),
        ("page_empty", encode(&rows, 0..0, false)),
        ("page_left_out", left_out),
        ("page_packed", encode(&many, 0..200, true)),
        ("end", End { request: 1, rows: 3, state: None, sum: None }.encode()),
        ("end_sums", End { request: 1, rows: 3, state: NonZeroU64::new(9), sum: Some(SUM) }.encode()),
        ("error", refusal().encode()),
        ("error_plain", Refusal { transfer: None, retry_after: None, ..refusal() }.encode()),
        ("scanned", Scanned { request: 1, rows: 65_536 }.encode()),
        ("summary", summary().encode()),
        ("cells", Cells { request: 1, first: 4, cells: &[7; 24] }.encode()),
    ]
}
