//! Pages of rows to bytes and back, without a store or a socket: the native protocol, compressed and not, summed and not, and the JSON between
//! two rowferry sites for comparison.
//!
//! Measured are pages of 1 MiB of rows like those of the other benchmarks, made in memory. Criterion prints the time of a page
//! and the rows per second; a table at the end the nanoseconds and bytes of a row. Run with
//! `cargo bench --bench codec --features internals`.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use rowferry::internals::native::{Answer, PageEncoder, PageHead};
use rowferry::internals::records::{Cut, PageDecoder, PageLimits, encode_records};
use rowferry::internals::{Dialect, RowHasher, RowSum, Summing};
use rowferry::schema::{Column, TableSchema};
use rowferry::{Rows, ValueRef};
use serde::de::DeserializeSeed;

/// About what a store gives for one page.
const PAGE_BYTES: usize = 1 << 20;
const LIMITS: PageLimits = PageLimits { records: u64::MAX, bytes: usize::MAX };
const HEAD: PageHead = PageHead { request: 1, sequence: 0, state: 1, more: true };

struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    row: fn(&mut Rows, i64),
}

/// Four short columns.
const NARROW: Table = Table {
    name: "narrow",
    columns: &["id", "name", "age", "score"],
    row: |rows, n| {
        let name = format!("name {n:07}");
        let score = ValueRef::Real(n as f64 * 0.37);
        rows.push([ValueRef::Integer(n), ValueRef::Text(name.as_bytes()), ValueRef::Integer(n % 90), score]);
    },
};

/// Eight columns, most of them text.
const WIDE: Table = Table {
    name: "wide",
    columns: &["id", "email", "name", "bio", "balance", "active", "created_at", "updated_at"],
    row: |rows, n| {
        let id = format!("{n:08x}-0000-7000-8000-{:012x}", n * 7919);
        let email = format!("user{}@example.com", n * 7919 % 1_000_003);
        let name = format!("User {n}");
        // Letters that do not repeat.
        let mut seed = n as u64;
        let mut letter = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'a' + (seed >> 60) as u8
        };
        let bio: Vec<u8> = (0..200).map(|_| letter()).collect();
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        rows.push([
            ValueRef::Text(id.as_bytes()),
            ValueRef::Text(email.as_bytes()),
            ValueRef::Text(name.as_bytes()),
            ValueRef::Text(&bio),
            ValueRef::Real(n as f64 * 1.01),
            ValueRef::Integer(n % 2),
            text("2026-01-01T00:00:00Z"),
            text("2026-01-02T00:00:00Z"),
        ]);
    },
};

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut lines = Vec::new();
    for table in [NARROW, WIDE] {
        lines.extend(table.measure(&mut criterion));
    }
    println!("\n{:<8} {:<12} {:>14} {:>14} {:>14}", "table", "form", "encode ns/row", "decode ns/row", "bytes/row");
    lines.iter().for_each(|line| println!("{line}"));
    criterion.final_summary();
}

impl Table {
    fn rows(&self) -> Rows {
        let mut rows = Rows::new(self.columns.len());
        for n in 1.. {
            (self.row)(&mut rows, n);
            if rows.size_bytes() >= PAGE_BYTES {
                break;
            }
        }
        rows
    }

    fn schema(&self) -> TableSchema {
        let column = |name: &&str| Column { name: (*name).into(), ..Column::default() };
        TableSchema { name: "t".into(), columns: self.columns.iter().map(column).collect(), ..TableSchema::default() }
    }

    fn measure(&self, criterion: &mut Criterion) -> Vec<String> {
        let (rows, schema, columns) = (self.rows(), self.schema(), self.columns.len());
        let native = |encoder: &mut PageEncoder| {
            assert_eq!(encoder.add(&rows, 0..rows.len(), &[0], Cut::NONE), rows.len());
            encoder.finish(HEAD, None)
        };
        let read_native = |frame: &[u8], into: &mut Rows| {
            let Ok(Answer::Page(page)) = Answer::decode(frame) else { panic!("a page") };
            page.read(columns, &[0], LIMITS, into).expect("its rows");
        };
        let summing = || Summing::new(RowHasher::new(7), RowSum::default());
        let read_summed = |frame: &[u8], into: &mut Rows| {
            let Ok(Answer::Page(page)) = Answer::decode(frame) else { panic!("a page") };
            page.read_summing(columns, (&[0], LIMITS), into, Some(&mut summing())).expect("its rows");
        };
        let json = || {
            let mut out = br#"{"has_more":false,"records":["#.to_vec();
            encode_records(&mut out, &schema, &rows, 0..rows.len(), Dialect::Rowferry, Cut::NONE);
            out.extend_from_slice(b"]}");
            out
        };
        let read_json = |payload: &[u8], into: &mut Rows| {
            let payload = std::str::from_utf8(payload).expect("text");
            let mut decoder = PageDecoder::new(&schema, Dialect::Rowferry, LIMITS, into);
            let read = decoder.deserialize(&mut serde_json::Deserializer::from_str(payload));
            decoder.finish(read).expect("its records");
        };
        let mut encoder = [PageEncoder::new(columns, false), PageEncoder::new(columns, true)];
        let [plain, packed] = &mut encoder;
        let summed = &mut PageEncoder::new(columns, false).summing(Some(summing()));
        vec![
            self.form(criterion, "native", &rows, &mut || native(plain), &read_native),
            self.form(criterion, "native, summed", &rows, &mut || native(summed), &read_summed),
            self.form(criterion, "native, lz4", &rows, &mut || native(packed), &read_native),
            self.form(criterion, "json", &rows, &mut || json(), &read_json),
        ]
    }

    fn form(
        &self,
        criterion: &mut Criterion,
        form: &str,
        rows: &Rows,
        encode: &mut dyn FnMut() -> Vec<u8>,
        decode: &dyn Fn(&[u8], &mut Rows),
    ) -> String {
        let bytes = encode();
        let mut into = Rows::new(rows.width());
        decode(&bytes, &mut into);
        assert_eq!(format!("{into:?}"), format!("{rows:?}"));

        let mut group = criterion.benchmark_group(format!("{} {form}", self.name));
        group.throughput(Throughput::Elements(rows.len() as u64));
        let mut per_row = |name: &str, work: &mut dyn FnMut()| {
            let best = Cell::new(f64::NAN);
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|iterations| {
                    let began = Instant::now();
                    (0..iterations).for_each(|_| work());
                    let took = began.elapsed();
                    best.set(best.get().min(took.as_nanos() as f64 / iterations as f64 / rows.len() as f64));
                    took
                });
            });
            best.get()
        };
        let encoding = per_row("encode", &mut || {
            black_box(encode());
        });
        let decoding = per_row("decode", &mut || {
            into.clear(rows.width());
            decode(&bytes, black_box(&mut into));
        });
        group.finish();
        let size = bytes.len() as f64 / rows.len() as f64;
        format!("{:<8} {form:<12} {encoding:>14.1} {decoding:>14.1} {size:>14.1}", self.name)
    }
}
