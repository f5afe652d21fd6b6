//! Values: what a store keeps as it is, and what it refuses. It never keeps another one.

use super::harness::*;
use crate::domain::record::Reason;
use crate::domain::schema::{LogicalType, TableSchema};
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::store::{Fitted, Store};

/// What columns of these types must keep. A column that takes anything keeps all of it.
fn fitting() -> [(&'static str, Vec<Value>); 4] {
    let integers = [0, -1, 1, (1 << 53) + 1, i64::MAX, i64::MIN].map(Value::from);
    let reals = [1.5, -1.5, 0.0, 0.1 + 0.2, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e300, -1e-300].map(Value::from);
    let text = ["", " ", "a", "007", " 5 ", "1e3", "-0", "0x10", "NaN", "true", "2025-12-15", "07:08:09", "NULL", "'\"`;--"];
    let text = text.into_iter().chain(["\n\r\t", "e\u{301}", "Größe", "𝄞\u{10ffff}", "\u{feff}x"]).map(Value::from);
    let long = [Value::from("x".repeat(200_000))];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let blobs = [vec![], vec![0], b"text".to_vec(), all_bytes, vec![0xff; 200_000]].map(Value::Blob);
    [("integer", integers.into()), ("real", reals.into()), ("text", text.chain(long).collect()), ("blob", blobs.into())]
}

/// What some stores cannot hold, or not in every column.
fn exotic() -> Vec<Value> {
    let text: [&[u8]; 5] = [b"nul\0inside", b"\0", b"\xff\xfe not UTF-8", b"\xed\xa0\x80", b"cut\xc3"];
    let reals =
        [-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 9_007_199_254_740_993.0, 1e19, 5.0, -9.223372036854775e18];
    text.map(|text| Value::Text(text.to_vec())).into_iter().chain(reals.map(Value::from)).collect()
}

/// All of them.
pub(super) fn all_values() -> Vec<Value> {
    let mut values = exotic();
    values.extend(fitting().into_iter().flat_map(|(_, values)| values));
    values
}

pub(super) fn what_fits_is_kept_bit_for_bit(store: &dyn Store) {
    for (name, values) in fitting() {
        let [keeper] = create(store, [table(name, &format!("id integer!, value {name}"), "id")]);
        let records = rows((0..).zip(values).map(|(id, value)| [v(id), Some(value)]));
        fill(store, &keeper, &records);
        expect_rows(store, &keeper, &records);
        // A second look finds them equal.
        let again = apply(store, &plan(&keeper, Strategy::Overwrite), &records);
        expect_counts(&again, Counts { unchanged: records.len() as u64, ..NONE });
    }
}

/// Whether `found` is what a column may make of `given`: the same, or the same number in the class that the column has for
/// numbers, which has no two zeros.
fn is_kept(given: &Value, found: &Value) -> bool {
    match (given, found) {
        (Value::Integer(integer), Value::Real(real)) | (Value::Real(real), Value::Integer(integer)) => {
            *real as i128 == i128::from(*integer) && *integer as f64 == *real
        }
        (Value::Real(a), Value::Real(b)) => a == b || (a.is_nan() && b.is_nan()),
        _ => given == found,
    }
}

/// Whether the table has kept its column that takes anything.
fn keeps_anything(table: &TableSchema, column: &str) -> bool {
    table.column(column).is_some_and(|column| column.logical == LogicalType::Any)
}

pub(super) fn nothing_is_changed_silently(store: &dyn Store) {
    let names = ["integer", "real", "text", "blob", "any"];
    let values = all_values();
    for name in names {
        let [keeper] = create(store, [table(name, &format!("id integer!, value {name}"), "id")]);
        let records = rows((0..).zip(&values).map(|(id, value)| [v(id), Some(value.clone())]));
        let outcome = apply(store, &plan(&keeper, Strategy::Skip), &records);
        assert_eq!(outcome.created + outcome.failed, values.len() as u64, "each value is kept or refused");
        let kept = contents(store, &keeper);
        for (id, given) in (0..).zip(&values) {
            let stored = kept.iter().find(|row| row[0] == Value::Integer(id)).map(|row| &row[1]);
            let failure = outcome.failures.iter().find(|failure| failure.key == [Value::Integer(id)]);
            match (stored, failure) {
                (Some(stored), None) => {
                    let kept = if keeps_anything(&keeper, "value") && !matches!(given, Value::Real(real) if real.is_nan()) {
                        given.as_ref().same(stored.as_ref())
                    } else {
                        is_kept(given, stored)
                    };
                    assert!(kept, "a column of type {name} made {stored:?} of {given:?}, silently");
                }
                (None, Some(failure)) => {
                    let reasons = [Reason::ValueWouldChange, Reason::ValueOutOfRange, Reason::WrongType];
                    let (reason, column) = (failure.reason, failure.column.as_deref());
                    assert!(reasons.contains(&reason), "a column of type {name} refused {given:?} for {reason:?}");
                    assert_eq!(column, Some("value"), "the refusal of {given:?} by a column of type {name} names another");
                }
                _ => panic!("the value {given:?} for a column of type {name} is both there and not, or neither"),
            }
        }
    }
}

pub(super) fn what_is_fitted_is_what_is_stored(store: &dyn Store) {
    for name in ["integer", "real", "text", "blob", "any"] {
        let [keeper] = create(store, [table(name, &format!("id integer!, value {name}"), "id")]);
        let records = rows((0..).zip(all_values()).map(|(id, value)| [v(id), Some(value)]));
        let mut fitted = Fitted::default();
        let refused = write(store, |writer| {
            writer.fit(&plan(&keeper, Strategy::Skip), &records, 0..records.len(), &mut fitted)?;
            let mut fits = Rows::new(2);
            for row in (0..records.len()).filter(|row| !fitted.misfits.iter().any(|misfit| misfit.row == *row)) {
                fits.push_rows(&fitted.rows, row..row + 1);
            }
            let refused = add(writer, &keeper, &fits)?;
            fitted.rows = fits;
            Ok(refused)
        });
        expect_refused(&refused, &[]);
        expect_rows(store, &keeper, &fitted.rows);
    }
}
