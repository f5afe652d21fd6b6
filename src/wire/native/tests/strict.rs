//! What is not as it should be is an error, and costs little.

use proptest::prelude::*;

use super::*;

#[test]
fn only_this_version_and_these_kinds_are_known() {
    let cancel = unsealed(&Request::Cancel { request: 1 }.encode().unwrap());
    let with = |at: usize, byte: u8| {
        let mut bent = cancel.clone();
        bent[at] = byte;
        sealed(&bent)
    };
    assert!(Request::decode(&with(0, b'r')).is_ok());
    assert_eq!(kind(Request::decode(&with(0, b'R'))), ErrorKind::Protocol);
    let error = Request::decode(&with(2, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.message().contains("version 2"), "{error}");
    for other in 0..=u8::MAX {
        let (asked, answered) = (Request::decode(&with(3, other)), Answer::decode(&with(3, other)).map(|_| ()));
        assert_eq!(asked.is_ok(), matches!(other, 0x03 | 0x04), "{other}");
        assert_eq!(kind(answered), ErrorKind::Protocol);
    }
    for (name, frame) in samples() {
        assert_ne!(Request::decode(&frame).is_ok(), Answer::decode(&frame).is_ok(), "{name}");
    }
}

#[test]
fn every_piece_and_every_bent_bit_is_an_error() {
    for (name, frame) in samples() {
        let refused = |bytes: &[u8]| Request::decode(bytes).is_err() && Answer::decode(bytes).is_err();
        for length in 0..frame.len() {
            assert!(refused(&frame[..length]), "{name} cut to {length}");
        }
        for bit in 0..frame.len() * 8 {
            let mut bent = frame.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bent), "{name} with bit {bit} turned");
        }
    }
}

/// With the right checksum: a peer that means harm.
#[test]
fn what_is_cut_or_has_more_is_an_error_whatever_its_checksum() {
    for (name, frame) in samples() {
        let whole = unsealed(&frame);
        let refused = |bytes: &[u8]| {
            let frame = sealed(bytes);
            Request::decode(&frame).is_err() && Answer::decode(&frame).is_err()
        };
        for length in 0..whole.len() {
            // What ends where a place may begin is whole without it.
            let is_whole = match name {
                "fetch" | "fetch_sums" => length == whole.len() - 8,
                "page_left_out" | "cells" => length == whole.len() - 12,
                // Without the sum, or the state.
                "end_sums" => [24, 32].contains(&(whole.len() - length)),
                "want" => length == whole.len() - 8,
                _ => false,
            };
            assert_eq!(!refused(&whole[..length]), is_whole, "{name} cut to {length}");
        }
        for more in [&b"\0"[..], b"\x01\0\0\0", b"rf"] {
            assert!(refused(&[&whole, more].concat()), "{name} and {more:?}");
        }
    }
}

#[test]
fn numbers_that_must_not_be_0_and_unknown_flags_are_refused() {
    let whole = unsealed(&Request::Fetch(fetch()).encode().unwrap());
    for at in [8, 12, 16] {
        let mut bent = whole.clone();
        bent[at..at + 4].fill(0);
        assert_eq!(kind(Request::decode(&sealed(&bent))), ErrorKind::Protocol);
    }
    let flags = [("fetch", 28, 1), ("page", 36, 3), ("error", 8, 3), ("compare", 16, 0), ("want", 20, 1)];
    for (name, at, known) in flags {
        let (_, frame) = samples().into_iter().find(|(sample, _)| *sample == name).unwrap();
        let mut bent = unsealed(&frame);
        assert_eq!(bent[at] & !known, 0);
        for flag in (0..8).map(|bit| 1 << bit).filter(|flag| known & flag == 0) {
            bent[at] |= flag;
            let refused = Request::decode(&sealed(&bent)).is_err() && Answer::decode(&sealed(&bent)).is_err();
            assert!(refused, "{name} with flag {flag}");
            bent[at] &= !flag;
        }
    }
}

#[test]
fn names_codes_and_texts_are_bounded_and_clean() {
    let start = unsealed(&Request::Cancel { request: 1 }.encode().unwrap());
    let fetch = |name: &[u8]| {
        let mut out = start.clone();
        out[3] = 0x01;
        out.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend_from_slice(name);
        Request::decode(&sealed(&out))
    };
    assert!(fetch(&[b'n'; NAME_BYTES]).is_ok());
    assert_eq!(kind(fetch(&[b'n'; NAME_BYTES + 1])), ErrorKind::TooLarge);
    assert_eq!(kind(fetch(b"\xff")), ErrorKind::Protocol);
    let after = |bytes: usize| {
        let mut out = unsealed(&Request::Fetch(Fetch { after: None, ..super::fetch() }).encode().unwrap());
        out.extend_from_slice(&[0, u8::MAX, u8::MAX]);
        out.resize(out.len() + bytes - 3, 0x01);
        Request::decode(&sealed(&out))
    };
    // As many values as it says, but too many bytes.
    assert_eq!(kind(after(3 + usize::from(u16::MAX))), ErrorKind::TooLarge);
    assert_eq!(kind(after(PLACE_BYTES)), ErrorKind::Protocol, "its values are cut short");
    let error = |code: &str, text: &str| {
        let mut out = start.clone();
        out[3] = 0x13;
        out.push(0);
        frame::put_text(&mut out, code);
        frame::put_text(&mut out, text);
        Answer::decode(&sealed(&out)).map(|_| ())
    };
    assert!(error(&"c".repeat(CODE_BYTES), &"t".repeat(TEXT_BYTES)).is_ok());
    assert_eq!(kind(error(&"c".repeat(CODE_BYTES + 1), "")), ErrorKind::TooLarge);
    assert_eq!(kind(error("", &"t".repeat(TEXT_BYTES + 1))), ErrorKind::TooLarge);
    assert_eq!(kind(error("Code", "")), ErrorKind::Protocol);
    assert_eq!(kind(error("code", "a\nb")), ErrorKind::Protocol);
}

#[test]
fn what_compares_is_bounded_and_in_order() {
    let columns = |count: usize| Request::Compare(Compare { columns: vec!["c".into(); count], ..compare() });
    assert!(Request::decode(&columns(2_000).encode().unwrap()).is_ok());
    assert_eq!(kind(columns(2_001).encode()), ErrorKind::InvalidInput);
    assert_eq!(kind(columns(0).encode()), ErrorKind::InvalidInput);
    let bent = |request: &Request, at: usize, bytes: &[u8]| {
        let mut bent = unsealed(&request.encode().unwrap());
        bent[at..at + bytes.len()].copy_from_slice(bytes);
        kind(Request::decode(&sealed(&bent)))
    };
    let long = Compare { columns: vec!["c".repeat(NAME_BYTES + 1)], ..compare() };
    assert_eq!(kind(Request::Compare(long).encode()), ErrorKind::InvalidInput);
    assert_eq!(bent(&Request::Compare(Compare { table: String::new(), ..compare() }), 19, &[0, 0]), ErrorKind::Protocol);

    let cells = |cells| Request::Sketch(SketchOf { request: 1, cells: number(cells) });
    assert!(Request::decode(&cells(1 << 20).encode().unwrap()).is_ok());
    assert_eq!(kind(cells((1 << 20) + 1).encode()), ErrorKind::InvalidInput);
    assert_eq!(bent(&cells(1), 8, &[0, 0, 0, 0]), ErrorKind::Protocol);
    assert_eq!(bent(&cells(1), 8, &[1, 0, 16, 0]), ErrorKind::TooLarge);

    let hashes = |hashes: &[u64]| Request::Want(Want { hashes: hashes.to_vec(), ..want() });
    for bad in [&[][..], &[1, 1], &[2, 1]] {
        assert_eq!(kind(hashes(bad).encode()), ErrorKind::InvalidInput);
    }
    let many: Vec<u64> = (0..65_536).collect();
    let most = unsealed(&hashes(&many).encode().unwrap());
    assert_eq!(kind(Request::decode(&sealed(&[&most[..], &[0xff; 8]].concat()))), ErrorKind::TooLarge);
    for at in [8, 12, 16] {
        assert_eq!(bent(&hashes(&[1]), at, &[0; 4]), ErrorKind::Protocol);
    }
    assert_eq!(bent(&hashes(&[1]), 21, &[1]), ErrorKind::Protocol, "it wants what is not known");
    assert_eq!(bent(&hashes(&[1, 2]), 22, &[2]), ErrorKind::Protocol);

    let cells = |bytes: usize| Answer::decode(&Cells { request: 1, first: 0, cells: &vec![0; bytes] }.encode()).map(drop);
    assert!(cells(16_384 * 12).is_ok());
    assert_eq!(kind(cells(16_385 * 12)), ErrorKind::TooLarge);
    assert_eq!(kind(cells(0)), ErrorKind::Protocol);
    assert_eq!(kind(cells(13)), ErrorKind::Protocol);
}

#[test]
fn there_is_one_way_to_write_a_value() {
    let value =
        |cells: &[u8]| read(&page_of(1, 1, cells), 1).map(|rows| rows.row(0).next().unwrap().map(ValueRef::to_owned));
    assert_eq!(value(&[0x11, 0x80]).unwrap(), Some(Value::Integer(-128)));
    assert_eq!(value(&[0x00]).unwrap(), None);
    for bent in [
        &[0x11, 0][..],
        &[0x12, 0x80, 0xff],
        &[0x12, 0x7f, 0],
        &[0x18, 1, 2, 3, 4, 5, 6, 7, 0],
        &[0x18, 1, 2, 3, 4, 5, 6, 0x80, 0xff],
        &[0x19, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[0x03, 0],
        &[0x03, 1, b'a'],
        &[0x04, 0x81, 0, b'a'],
        &[0x04, 0x80, 0],
        &[0x06],
        &[0x0f],
        &[0x7f],
        &[0x01, 0x01],
        // A row that was left out, twice, and one without values.
        &[0x05, 1, 0x05, 1, 0x01],
        &[0x05, 1],
        &[],
        // Lengths beyond what is there.
        &[0x81],
        &[0x04, 2, b'a'],
        &[0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        &[0x02, 1, 2, 3, 4, 5, 6, 7],
        &[0x12, 1],
    ] {
        assert_eq!(kind(value(bent)), ErrorKind::Protocol, "{bent:x?}");
    }
    for long in [
        &[0x04, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..],
        &[0x04, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    ] {
        assert_eq!(kind(value(long)), ErrorKind::TooLarge, "{long:x?}");
    }
}

#[test]
fn a_page_that_cannot_be_read_leaves_nothing_behind() {
    let mut rows = one_cell("kept".into());
    let frame = page_of(1, 2, &[0x81, b'a', 0x06]);
    assert_eq!(kind(page(&frame).read(1, &[0], LIMITS, &mut rows)), ErrorKind::Protocol);
    assert!(same(&rows, &one_cell("kept".into())));
    let frame = page_of(1, 1, &[0x81, b'a']);
    page(&frame).read(1, &[0], LIMITS, &mut rows).unwrap();
    assert!(same(&rows, &rows_of(&[vec![Some("kept".into())], vec![Some("a".into())]])));
}

#[test]
fn a_small_message_takes_no_large_memory() {
    let bend = |frame: &[u8], at: usize, number: u32| {
        let mut bent = unsealed(frame);
        bent[at..at + 4].copy_from_slice(&number.to_le_bytes());
        sealed(&bent)
    };
    let no_limits = PageLimits { records: u64::MAX, bytes: usize::MAX };
    let refused = |frame: &[u8], columns: usize| {
        let mut rows = Rows::new(columns);
        let read = Answer::decode(frame).and_then(|answer| match answer {
            Answer::Page(page) => page.read(columns, &[0], no_limits, &mut rows),
            _ => panic!("no page"),
        });
        assert_eq!(kind(read), ErrorKind::Protocol);
        assert_eq!(rows.size_bytes(), 0);
    };
    let (columns, count, raw, stored) = (20, 24, 28, 32);
    let plain = page_of(1, 1, &[1]);
    refused(&bend(&plain, count, u32::MAX), 1);
    refused(&bend(&plain, columns, u32::MAX), u32::MAX as usize);
    refused(&bend(&bend(&plain, columns, u32::MAX), count, u32::MAX), u32::MAX as usize);
    refused(&bend(&plain, columns, 0), 0);
    refused(&bend(&plain, raw, u32::MAX), 1);
    refused(&bend(&plain, stored, u32::MAX), 1);
    refused(&bend(&bend(&plain, stored, u32::MAX), raw, u32::MAX), 1);
    let packed = encode(&rows_of(&vec![vec![Some("the same".into())]; 200]), 0..200, true);
    assert!(page(&packed).is_packed());
    refused(&bend(&packed, raw, u32::MAX), 1);
    refused(&bend(&packed, raw, 1801), 1);
    refused(&bend(&packed, raw, 1799), 1);
    refused(&bend(&packed, raw, 10), 1);
    assert!(read(&bend(&packed, raw, 1800), 1).is_ok());
}

#[test]
fn pages_are_held_to_what_was_asked_for() {
    let frame = encode(&rows_of(&vec![vec![Some(Value::Null), Some(Value::Null)]; 10]), 0..10, false);
    let read = |columns: usize, records: u64, bytes: usize| {
        page(&frame).read(columns, &[], PageLimits { records, bytes }, &mut Rows::default()).map(|_| ())
    };
    let memory = 20 * size_of::<crate::domain::value::Cell>() + 20;
    assert!(read(2, 10, memory).is_ok());
    assert_eq!(kind(read(1, 10, memory)), ErrorKind::Protocol);
    assert_eq!(kind(read(4, 10, memory)), ErrorKind::Protocol);
    assert_eq!(kind(read(2, 9, memory)), ErrorKind::Protocol);
    assert_eq!(kind(read(2, 10, memory - 1)), ErrorKind::TooLarge);
}

proptest! {
    /// Whatever the bytes are: an error, or a message that is written again as it came.
    #[test]
    fn bent_messages_with_a_right_checksum_are_errors_or_messages(
        sample in 0usize..samples().len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_, frame) = samples().swap_remove(sample);
        let mut bent = unsealed(&frame);
        for (at, byte) in changes {
            let at = at.index(bent.len());
            bent[at] = byte;
        }
        written_again(&sealed(&bent));
    }

    #[test]
    fn any_bytes_are_errors_or_messages(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let mut frame = vec![b'r', b'f', 1, kind, 0, 0, 0, 0];
        frame.extend_from_slice(&body);
        written_again(&sealed(&frame));
    }
}
