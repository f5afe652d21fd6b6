//! Messages are laid out as the module says, and come back as they were.

use super::*;
use crate::wire::native::frame::{self, Kind};

#[test]
fn messages_are_laid_out_as_the_module_says() {
    let head = |kind: u8| [b'r', b'f', VERSION, kind, 1, 2, 3, 4];
    let fetch = Request::Fetch(fetch()).encode().unwrap();
    let mut expected = head(0x01).to_vec();
    expected.extend_from_slice(&[0, 0, 16, 0, 0x88, 0x13, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend_from_slice(b"\x06\x00t\xc3\xa4ble");
    expected.extend_from_slice(&[2, 3, 0, 0x11, 0xfe, 0x81, b'k', 0x01]);
    assert_eq!(unsealed(&fetch), expected);
    assert_eq!(fetch[expected.len()..], crc32fast::hash(&expected).to_le_bytes());

    let named = Request::Fetch(Fetch { pull: Some(Uuid::from_u128(7)), ..self::fetch() }).encode().unwrap();
    expected.truncate(8 + 20);
    expected.extend_from_slice(b"\x03\x06\x00t\xc3\xa4ble");
    expected.extend_from_slice(Uuid::from_u128(7).as_bytes());
    expected.extend_from_slice(&[2, 3, 0, 0x11, 0xfe, 0x81, b'k', 0x01]);
    assert_eq!(unsealed(&named), expected);
    let summed = Request::Fetch(Fetch { pull: Some(Uuid::from_u128(7)), sums: true, ..self::fetch() }).encode().unwrap();
    expected[8 + 20] = 7;
    assert_eq!(unsealed(&summed), expected);

    let end = End { request: 0x0403_0201, rows: 258, state: None, sum: None }.encode();
    let mut expected = head(0x12).to_vec();
    expected.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(unsealed(&end), expected);
    let end = End { request: 0x0403_0201, rows: 258, state: NonZeroU64::new(3), sum: None }.encode();
    expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(unsealed(&end), expected);
    let end = End { request: 0x0403_0201, rows: 258, state: NonZeroU64::new(3), sum: Some(SUM) }.encode();
    expected.extend_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(unsealed(&end), expected);
    // There is none without a state.
    let end = End { request: 1, rows: 1, state: None, sum: Some(SUM) }.encode();
    assert!(matches!(Answer::decode(&end).unwrap(), Answer::End(End { state: None, sum: None, .. })));

    let long = "l".repeat(200);
    let rows = rows_of(&[
        vec![None, Some(Value::Null), Some(Value::Real(-0.0)), Some(Value::Integer(0)), Some(Value::Integer(-129))],
        vec![
            Some(Value::Text(vec![])),
            Some(Value::Blob(vec![])),
            Some(long.as_str().into()),
            Some(Value::Integer(127)),
            Some(Value::Integer(i64::MIN)),
        ],
    ]);
    let mut cells = vec![0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x10, 0x12, 0x7f, 0xff];
    cells.extend_from_slice(&[0x80, 4, 0, 3, 0xc8, 1]);
    cells.extend_from_slice(long.as_bytes());
    cells.extend_from_slice(&[0x11, 0x7f, 0x18, 0, 0, 0, 0, 0, 0, 0, 0x80]);
    let mut expected = head(0x11).to_vec();
    expected.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0]);
    let length = u8::try_from(cells.len()).unwrap();
    expected.extend_from_slice(&[length, 0, 0, 0, length, 0, 0, 0, 2]);
    expected.extend_from_slice(&cells);
    let mut encoder = PageEncoder::new(5, false);
    encoder.add(&rows, 0..2, &[], Cut::NONE);
    assert_eq!(unsealed(&encoder.finish(PAGE, None)), expected);
    encoder.add(&rows, 0..2, &[], Cut::NONE);
    expected.extend_from_slice(&[3, 1, 0, 0x10]);
    let place = Place { run: 3, values: vec![Value::Integer(0)] };
    assert_eq!(unsealed(&encoder.finish(PAGE, Some(&place))), expected);

    let error = Refusal { request: 0x0403_0201, code: "x_1".into(), text: "é".into(), ..refusal() }.encode();
    let mut expected = head(0x13).to_vec();
    expected.extend_from_slice(b"\x03\x03\x00x_1\x02\x00\xc3\xa90123456789abcdef\x1e\0\0\0");
    assert_eq!(unsealed(&error), expected);
}

#[test]
fn messages_that_compare_are_laid_out_as_the_module_says() {
    let head = |kind: u8| [b'r', b'f', VERSION, kind, 1, 2, 3, 4];
    let written = |kind: u8, frame: &[u8], body: &[&[u8]]| {
        assert_eq!(unsealed(frame), [&head(kind)[..], &body.concat()].concat(), "{kind:x}");
    };
    let request = 0x0403_0201;
    let names = b"\x06\x00t\xc3\xa4ble\x02\x00\x01\x00a\x02\x00\xc3\xa9";
    written(0x05, &Request::Compare(compare()).encode().unwrap(), &[&[2, 1, 0, 0, 0, 0, 0, 0, 0], names]);
    let sketch = SketchOf { request, cells: number(258) };
    written(0x06, &Request::Sketch(sketch).encode().unwrap(), &[&[2, 1, 0, 0]]);
    let (numbers, hashes) =
        ([0, 0, 16, 0, 0x88, 0x13, 0, 0, 4, 0, 0, 0, 1, 0], [3, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    written(0x07, &Request::Want(want()).encode().unwrap(), &[&numbers, &hashes]);
    written(0x14, &Scanned { request, rows: 258 }.encode(), &[&[2, 1, 0, 0, 0, 0, 0, 0]]);
    let mut cells = Vec::new();
    summary().first.encode(0, FIRST_CELLS, &mut cells);
    let (state, rows) = ([9, 0, 0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]);
    let sum = [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    written(0x15, &summary().encode(), &[&state, &rows, &sum, &cells]);
    written(0x16, &Cells { request, first: 258, cells: &[7; 12] }.encode(), &[&[2, 1, 0, 0], &[7; 12]]);

    // Where a hash is and what it is checked by, for other implementations: its cells in order, hash, check, count.
    let mut sketch = Sketch::new(8);
    sketch.add(0x0123_4567_89ab_cdef);
    let mut cells = Vec::new();
    sketch.encode(0, 8, &mut cells);
    let full: Vec<_> = cells.chunks(12).enumerate().filter(|(_, cell)| cell[10] != 0).map(|(at, _)| at).collect();
    assert_eq!(full, [1, 2, 4, 7]);
    let cell = [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01, 0xbe, 0xcc, 1, 0];
    assert_eq!(cells[full[0] * 12..][..12], cell);
}

/// `ROWFERRY_WRITE_SEEDS` writes them again: without the checksum, which the fuzzer adds.
#[test]
#[expect(clippy::disallowed_methods, reason = "only a person who changes the layout sets it")]
fn the_fuzzers_seeds_are_of_this_layout() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/native_page");
    let write = std::env::var_os("ROWFERRY_WRITE_SEEDS").is_some();
    for (name, frame) in samples() {
        if write {
            std::fs::write(folder.join(name), unsealed(&frame)).unwrap();
        }
        // The published crate is without them.
        if folder.exists() {
            let seed = std::fs::read(folder.join(name)).unwrap();
            match name {
                // Another version of the compressor may write it in another way.
                "page_packed" => assert!(same(&read(&sealed(&seed), 2).unwrap(), &read(&frame, 2).unwrap())),
                _ => assert_eq!(seed, unsealed(&frame), "{name}"),
            }
        }
    }
}

#[test]
fn requests_and_answers_come_back() {
    for request in [
        Request::Fetch(fetch()),
        Request::Fetch(Fetch { after: None, table: String::new(), compress: false, ..fetch() }),
        Request::Fetch(Fetch { after: Some(Place { run: 0, values: Vec::new() }), ..fetch() }),
        Request::Fetch(Fetch { after: None, pull: Some(Uuid::max()), ..fetch() }),
        Request::Fetch(Fetch { pull: Some(Uuid::max()), sums: true, ..fetch() }),
        Request::Credit { request: u32::MAX, bytes: number(u32::MAX) },
        Request::Cancel { request: 0 },
        Request::Done { request: 9 },
        Request::Compare(compare()),
        Request::Compare(Compare { table: String::new(), columns: vec![String::new()], ..compare() }),
        Request::Sketch(SketchOf { request: 1, cells: number(1) }),
        Request::Want(want()),
        Request::Want(Want { compress: false, hashes: vec![0], ..want() }),
    ] {
        assert_eq!(Request::decode(&request.encode().unwrap()).unwrap(), request);
    }
    for end in [
        End { request: 1, rows: u64::MAX, state: None, sum: None },
        End { request: 2, rows: 0, state: None, sum: None },
        End { request: 3, rows: 7, state: NonZeroU64::new(9), sum: None },
        End { request: 3, rows: 7, state: NonZeroU64::new(9), sum: Some(SUM) },
    ] {
        assert_eq!(Answer::decode(&end.encode()).unwrap(), Answer::End(end));
    }
    let scanned = Scanned { request: 1, rows: u64::MAX };
    assert_eq!(Answer::decode(&scanned.encode()).unwrap(), Answer::Scanned(scanned));
    assert_eq!(Answer::decode(&summary().encode()).unwrap(), Answer::Summary(summary()));
    let cells = Cells { request: 1, first: u32::MAX, cells: &[7; 24] };
    assert_eq!(Answer::decode(&cells.encode()).unwrap(), Answer::Cells(cells));
    for error in [
        refusal(),
        Refusal { transfer: None, ..refusal() },
        Refusal { retry_after: None, text: String::new(), code: String::new(), ..refusal() },
    ] {
        assert_eq!(Answer::decode(&error.encode()).unwrap(), Answer::Error(error));
    }
}

#[test]
fn what_an_error_says_is_made_to_fit() {
    let error = Refusal {
        code: format!("Ä B{}", "c".repeat(100)),
        text: format!("a\n\u{1b}[31m{}", "😀".repeat(1000)),
        retry_after: Some(Duration::from_millis(1)),
        ..refusal()
    };
    let Answer::Error(read) = Answer::decode(&error.encode()).unwrap() else { panic!() };
    assert_eq!(read.code, "c".repeat(CODE_BYTES));
    assert!(read.text.starts_with("a  [31m😀") && read.text.len() <= TEXT_BYTES, "{}", read.text);
    assert_eq!(read.retry_after, Some(Duration::from_secs(1)));
    let endless = Refusal { retry_after: Some(Duration::MAX), ..refusal() };
    let Answer::Error(read) = Answer::decode(&endless.encode()).unwrap() else { panic!() };
    assert_eq!(read.retry_after, Some(Duration::from_secs(u32::MAX.into())));
}

#[test]
fn what_is_not_seen_in_an_error_is_not_read() {
    // Earlier versions sent such characters as they were: these are the bytes of one.
    let error = |text: &str| {
        let mut out = frame::begin(Kind::Error, 1);
        out.push(0);
        frame::put_text(&mut out, "pull_limit");
        frame::put_text(&mut out, text);
        frame::seal(out)
    };
    let hidden = error("a\u{180b}b\u{202e}c \u{2764}\u{fe0f}");
    let Answer::Error(read) = Answer::decode(&hidden).unwrap() else { panic!() };
    assert_eq!(read.text, "a b c \u{2764}\u{fe0f}");
    for frame in [hidden, error(&"\u{200b}".repeat(301)), error(&"x".repeat(301)), error("")] {
        crate::wire::native::check::written_again(&frame);
    }
    assert_eq!(kind(Answer::decode(&error("a\x1b[0m"))), ErrorKind::Protocol);
}

#[test]
fn what_is_too_long_to_be_asked_for_is_not_asked_for() {
    let name = Fetch { table: "n".repeat(NAME_BYTES), ..fetch() };
    assert!(Request::decode(&Request::Fetch(name.clone()).encode().unwrap()).is_ok());
    let name = Fetch { table: "n".repeat(NAME_BYTES + 1), ..name };
    assert_eq!(kind(Request::Fetch(name).encode()), ErrorKind::InvalidInput);
    // Run, count, tag and length take three, two and one byte less than seven together.
    let place = |bytes: usize| Place { run: 0, values: vec![Value::Blob(vec![0; bytes])] };
    let after = |bytes| Request::Fetch(Fetch { after: Some(place(bytes)), ..fetch() });
    assert_eq!(Request::decode(&after(PLACE_BYTES - 7).encode().unwrap()).unwrap(), after(PLACE_BYTES - 7));
    assert_eq!(kind(after(PLACE_BYTES - 6).encode()), ErrorKind::InvalidInput);
    let mut encoder = PageEncoder::new(1, false);
    assert_eq!(page(&encoder.finish(PAGE, Some(&place(PLACE_BYTES - 7)))).place, Some(place(PLACE_BYTES - 7)));
    assert_eq!(page(&encoder.finish(PAGE, Some(&place(PLACE_BYTES - 6)))).place, None);
}
