//! Rows come back bit for bit, pages are cut, and compressed where that pays.

use proptest::prelude::*;

use super::*;
use crate::domain::record::{Failure, Reason};
use crate::domain::row_sum::{RowHasher, Summing};

#[test]
fn a_page_is_cut_once_it_is_full() {
    let rows = rows_of(&vec![vec![Some("12345678".into())]; 10]);
    let cut = |page_bytes| Cut { page_bytes, ..Cut::NONE };
    let mut encoder = PageEncoder::new(1, false);
    let mut taken = |range: Range<usize>, page_bytes: usize| {
        let taken = encoder.add(&rows, range.clone(), &[], cut(page_bytes));
        let frame = encoder.finish(PAGE, None);
        let mut back = Rows::default();
        page(&frame).read(1, &[], LIMITS, &mut back).unwrap();
        assert_eq!(back.len(), taken);
        taken
    };
    assert_eq!(taken(0..10, 1), 1);
    assert_eq!(taken(0..10, 0), 1);
    assert_eq!(taken(0..10, 9), 1);
    assert_eq!(taken(0..10, 10), 2);
    assert_eq!(taken(0..10, 90), 10);
    assert_eq!(taken(7..10, 1000), 3);
    assert_eq!(taken(10..10, 1), 0);
    // More rows for the same page.
    assert_eq!(encoder.add(&rows, 0..2, &[], cut(27)), 2);
    assert_eq!(encoder.add(&rows, 2..10, &[], cut(27)), 1);
    assert_eq!(encoder.add(&rows, 3..10, &[], cut(27)), 0);
    assert_eq!(page(&encoder.finish(PAGE, None)).rows, 3);
}

#[test]
fn a_row_that_is_too_large_is_told_of_and_the_others_arrive() {
    let text = |bytes: usize| Some("x".repeat(bytes).as_str().into());
    let rows = rows_of(&[
        vec![text(10), text(50), Some(Value::Integer(1))],
        vec![text(11), text(1000), Some(Value::Integer(2))],
        // No single value is too large, but the row is.
        vec![text(12), Some(Value::Blob(vec![0; 90])), Some(Value::Integer(3))],
        vec![text(500), text(500), Some(Value::Integer(4))],
        vec![text(13), None, Some(Value::Integer(5))],
    ]);
    let mut encoder = PageEncoder::new(3, false);
    assert_eq!(encoder.add(&rows, 0..5, &[2, 0], Cut { record_bytes: 100, ..Cut::NONE }), 5);
    let frame = encoder.finish(PAGE, None);
    let mut back = Rows::default();
    let failures = page(&frame).read(3, &[2, 0], LIMITS, &mut back).unwrap();
    assert_eq!(page(&frame).rows, 5);
    let key = |number: i64, bytes| vec![Value::Integer(number), text(bytes).unwrap()];
    let failed = |key: Vec<Value>, bytes: u32| Failure {
        key,
        column: None,
        reason: Reason::TooLarge,
        message: format!("the record has {bytes} bytes or more, too many for a message"),
    };
    assert_eq!(failures, [failed(key(2, 11), 1000), failed(key(3, 12), 105), failed(Vec::new(), 500)]);
    assert_eq!(back.len(), 2);
    assert_eq!(back.get(0, 2), Some(ValueRef::Integer(1)));
    assert_eq!(back.get(1, 2), Some(ValueRef::Integer(5)));
}

#[test]
fn extremes_come_back() {
    let integers = [0, 1, -1, i64::MAX, i64::MIN];
    let edges = (0..8).flat_map(|byte| {
        let edge = 1i64.checked_shl(8 * byte + 7).unwrap_or(0);
        [edge, edge.wrapping_sub(1), edge.wrapping_neg(), edge.wrapping_neg().wrapping_sub(1)]
    });
    let reals = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::NAN, f64::from_bits(!0)];
    let mut values: Vec<Value> = integers.into_iter().chain(edges).map(Value::Integer).collect();
    values.extend(reals.map(Value::Real));
    for length in [0, 1, 127, 128, 129, 16_383, 16_384] {
        values.push(Value::Text(vec![0; length]));
        values.push(Value::Blob(vec![255; length]));
    }
    // One by one, and all in one row, where other bytes follow each.
    for value in &values {
        let rows = one_cell(value.clone());
        assert!(same(&read(&encode(&rows, 0..1, false), 1).unwrap(), &rows), "{value:?}");
    }
    let rows = rows_of(&[values.into_iter().map(Some).collect()]);
    assert!(same(&read(&encode(&rows, 0..1, false), rows.width()).unwrap(), &rows));
}

#[test]
fn wide_rows_large_rows_and_no_rows_come_back() {
    let wide: Vec<_> = (0..2_000).map(|n| if n % 3 == 0 { None } else { Some(Value::Integer(n)) }).collect();
    let large: Vec<u8> = (0..3u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = vec![Some(Value::Integer(1)), Some(Value::Blob(large))];
    for rows in [rows_of(&vec![wide; 5]), rows_of(&vec![large; 2]), Rows::new(3), Rows::new(0)] {
        for compress in [false, true] {
            let frame = encode(&rows, 0..rows.len(), compress);
            assert_eq!(page(&frame).head, PAGE);
            assert!(same(&read(&frame, rows.width()).unwrap(), &rows));
        }
    }
}

#[test]
fn compression_goes_on_while_it_pays_and_is_tried_more_and_more_seldom_when_not() {
    let alike = rows_of(&vec![vec![Some("the same in each row".into())]; 100]);
    let mut seed = 1u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Value::Integer(seed as i64)
    };
    let unlike = rows_of(&(0..100).map(|_| vec![Some(noise())]).collect::<Vec<_>>());
    let mut encoder = PageEncoder::new(1, true);
    let mut is_packed = |rows: &Rows| {
        encoder.add(rows, 0..rows.len(), &[], Cut::NONE);
        let frame = encoder.finish(PAGE, None);
        assert!(same(&read(&frame, 1).unwrap(), rows));
        page(&frame).is_packed()
    };
    for _ in 0..5 {
        assert!(is_packed(&alike));
    }
    for wait in [1, 3, 7, 15, 31, 63, 63, 63] {
        assert!(!is_packed(&unlike));
        // So many pages go by that would have been worth it.
        (0..wait).for_each(|_| assert!(!is_packed(&alike)));
    }
    assert!(is_packed(&alike));
    assert!(!is_packed(&rows_of(&vec![vec![Some("small".into())]; 3])));
}

fn value() -> impl Strategy<Value = Option<Value>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        any::<i64>().prop_map(|v| Some(Value::Integer(v))),
        (any::<i64>(), 0u32..64).prop_map(|(v, shift)| Some(Value::Integer(v >> shift))),
        any::<u64>().prop_map(|v| Some(Value::Real(f64::from_bits(v)))),
        any::<f64>().prop_map(|v| Some(Value::Real(v))),
        bytes().prop_map(|v| Some(Value::Text(v))),
        ".{0,40}".prop_map(|v| Some(Value::from(v))),
        bytes().prop_map(|v| Some(Value::Blob(v))),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    (1usize..8).prop_flat_map(|width| {
        let row = proptest::collection::vec(value(), width);
        proptest::collection::vec(row, 0..30)
            .prop_map(move |rows| if rows.is_empty() { Rows::new(width) } else { rows_of(&rows) })
    })
}

proptest! {
    #[test]
    fn rows_come_back_bit_for_bit(
        rows in rows(),
        compress: bool,
        head: (u32, u32, u64, bool),
        place in proptest::option::of((any::<u8>(), proptest::collection::vec(value(), 0..5))),
    ) {
        let head = PageHead { request: head.0, sequence: head.1, state: head.2, more: head.3 };
        let place = place.map(|(run, values)| Place { run, values: values.into_iter().flatten().collect() });
        let mut encoder = PageEncoder::new(rows.width(), compress);
        prop_assert_eq!(encoder.add(&rows, 0..rows.len(), &[], Cut::NONE), rows.len());
        let frame = encoder.finish(head, place.as_ref());
        let page = page(&frame);
        prop_assert_eq!((page.head, page.rows as usize), (head, rows.len()));
        // As text: a place may hold NaN.
        prop_assert_eq!(format!("{:?}", page.place), format!("{place:?}"));
        let mut back = Rows::default();
        prop_assert!(page.read(rows.width(), &[0], LIMITS, &mut back).unwrap().is_empty());
        prop_assert!(same(&back, &rows));
        // Onto what is there already.
        page.read(rows.width(), &[0], LIMITS, &mut back).unwrap();
        prop_assert_eq!(back.len(), 2 * rows.len());
        for row in 0..rows.len() {
            prop_assert_eq!(format!("{:?}", back.row(rows.len() + row).collect::<Vec<_>>()),
                format!("{:?}", rows.row(row).collect::<Vec<_>>()));
        }
    }

    /// So that a page that a store has cut by bytes is not cut once more.
    #[test]
    fn no_row_takes_more_bytes_than_it_counts(rows in rows()) {
        let frame = encode(&rows, 0..rows.len(), false);
        let empty = encode(&rows, 0..0, false);
        prop_assert!(frame.len() - empty.len() <= rows.size_bytes());
    }
}

/// The sums of both ends over rows in pages that begin at these rows.
fn sums_of(rows: &Rows, cuts: &[usize], row_bytes: usize, before: RowSum) -> (RowSum, RowSum) {
    let summing = || Summing::new(RowHasher::new(7), before);
    let mut encoder = PageEncoder::new(rows.width(), true).summing(Some(summing()));
    let (mut arrived, mut back) = (summing(), Rows::default());
    let ends = cuts.iter().copied().chain([rows.len()]);
    cuts.iter().copied().zip(ends.skip(1)).filter(|(first, end)| first < end).for_each(|(first, end)| {
        encoder.add(rows, first..end, &[0], Cut { record_bytes: row_bytes, ..Cut::NONE });
        let frame = encoder.finish(PAGE, None);
        page(&frame).read_summing(rows.width(), (&[0], LIMITS), &mut back, Some(&mut arrived)).unwrap();
    });
    (encoder.sum().unwrap(), arrived.sum())
}

proptest! {
    #[test]
    fn pages_cut_anywhere_sum_up_to_the_whole(
        rows in rows(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        row_bytes in prop_oneof![Just(usize::MAX), 0usize..40],
    ) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(rows.len() + 1)).chain([0]).collect();
        cuts.sort_unstable();
        let (whole, arrived) = sums_of(&rows, &[0], row_bytes, RowSum::default());
        prop_assert_eq!((whole, whole.rows), (arrived, rows.len() as u64), "also of rows that are too large");
        prop_assert_eq!(sums_of(&rows, &cuts, row_bytes, RowSum::default()), (whole, whole));
        // Resumed after some of them.
        let (first, rest) = cuts.split_at(cuts.len() / 2);
        let mut begin = Rows::new(rows.width());
        (0..rest[0]).for_each(|row| { begin.start_row(); for (at, value) in rows.row(row).enumerate() { if let Some(value) = value { begin.set(at, value); } } });
        let (before, _) = sums_of(&begin, if first.is_empty() { &[0] } else { first }, row_bytes, RowSum::default());
        prop_assert_eq!(sums_of(&rows, rest, row_bytes, before), (whole, whole));
        // A row twice and a row less are not the same.
        if rows.len() > 1 && rest[0] > 0 && rest[0] < rows.len() {
            prop_assert_ne!(sums_of(&rows, &[1], row_bytes, RowSum::default()).0, whole);
        }
    }
}
