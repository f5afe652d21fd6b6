//! Whether a column of SQLite would store a value as it is.
//!
//! A SQLite column has an affinity, found from its declared type, and rewrites what does not suit it: `'007'` in an INTEGER
//! column becomes 7, and 7 in a TEXT column becomes `'7'`. rowferry never changes a value silently, so each value is
//! compared with its column's affinity before it is written, and what would change is a failure of its record. The rules
//! are those of <https://www.sqlite.org/datatype3.html> (3.1 how the affinity is found, 3 what it does) and
//! <https://www.sqlite.org/stricttables.html>; the tests here ask SQLite itself.
//!
//! Numbers are let through where only their storage class changes and the number stays: 5 in a REAL column is stored as
//! 5.0, 5.0 in an INTEGER or NUMERIC column as 5, and -0.0 in any of the three loses its sign. SQLite itself holds these to
//! be one number there: such a column cannot tell them apart, neither here nor at the sender.

use crate::domain::record::Reason;
use crate::domain::schema::TableSchema;
use crate::domain::value::ValueRef;

/// What a column prefers to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affinity {
    /// Everything as it comes.
    Blob,
    /// Text: numbers become text.
    Text,
    /// Whole numbers: text that looks like a number becomes one.
    Integer,
    /// Doubles: whole numbers, and text that looks like a number, become doubles.
    Real,
    /// Numbers of either class. Stores the same as `Integer`.
    Numeric,
    /// `ANY` of a STRICT table: everything as it comes, unlike any other type of such a table.
    Any,
}

/// The least integer as a double.
const LEAST: f64 = i64::MIN as f64;

/// What becomes of a value in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fit {
    /// It is stored as it is.
    Same,
    /// It is stored as this: the same number in the column's storage class.
    Converted(ValueRef<'static>),
    /// It would be stored as another value.
    Changed {
        /// The storage class that it would have, as SQLite's `typeof` says it.
        would_be: &'static str,
    },
    /// The column refuses it.
    WrongType,
}

impl Affinity {
    /// The affinity of a declared type; `strict` if the table is STRICT.
    pub fn of(declared_type: &str, strict: bool) -> Affinity {
        if strict && declared_type.eq_ignore_ascii_case("ANY") {
            return Affinity::Any;
        }
        let declared = declared_type.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        // The five rules, in the order in which they apply: CHARINT is an INTEGER, FLOATING POINT is one too.
        if has(&["INT"]) {
            Affinity::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Affinity::Text
        } else if declared.is_empty() || has(&["BLOB"]) {
            Affinity::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }

    /// Whether the column stores numbers of both classes as they come, so that 1 and 1.0 stand in it side by side.
    pub fn keeps_all(self) -> bool {
        matches!(self, Affinity::Blob | Affinity::Any)
    }

    /// Whether SQLite calls this value equal to one of the other class, and the column holds both of them: so it is with the
    /// least integer, which as a double is not made an integer. Columns that [keep all](Affinity::keeps_all) have more such
    /// values and are not asked.
    pub fn has_twin(self, value: ValueRef<'_>) -> bool {
        let is_least = matches!(value, ValueRef::Integer(i64::MIN)) || matches!(value, ValueRef::Real(v) if v == LEAST);
        is_least && matches!(self, Affinity::Integer | Affinity::Numeric)
    }

    /// Whether a value of this class is stored as it is, whatever it is: the answer of [`fit`] to most values, for little.
    #[inline]
    pub fn keeps(self, value: ValueRef<'_>) -> bool {
        match value {
            ValueRef::Null => true,
            ValueRef::Integer(_) => matches!(self, Affinity::Integer | Affinity::Numeric | Affinity::Any),
            // Neither zero, which may be negative, nor NaN, which becomes NULL.
            ValueRef::Real(v) => self == Affinity::Real && v.is_normal(),
            ValueRef::Text(_) => matches!(self, Affinity::Text | Affinity::Any),
            ValueRef::Blob(_) => matches!(self, Affinity::Blob | Affinity::Any),
        }
    }

    /// The affinity of each column of a table, and whether the column refuses what does not suit it: what [`fit`] wants to
    /// know. Columns of STRICT tables refuse, and so does the rowid in every table.
    pub fn of_columns(table: &TableSchema) -> Vec<(Affinity, bool)> {
        let is_rowid =
            |name: &str| table.rowid_alias && table.primary_key.first().is_some_and(|key| key.eq_ignore_ascii_case(name));
        let columns = table.columns.iter();
        columns.map(|c| (Affinity::of(&c.declared_type, table.strict), table.strict || is_rowid(&c.name))).collect()
    }
}

/// What becomes of `value` in a column of this affinity; `strict` if the column refuses what does not suit it
/// ([`Affinity::of_columns`]). NULL is always `Same`: whether a column takes it is not decided here.
#[inline]
pub fn fit(value: ValueRef<'_>, affinity: Affinity, strict: bool) -> Fit {
    let unsuitable = if strict { Fit::WrongType } else { Fit::Same };
    match (affinity, value) {
        (_, ValueRef::Null) => Fit::Same,
        // SQLite has no NaN and stores NULL.
        (_, ValueRef::Real(real)) if real.is_nan() => Fit::Changed { would_be: "null" },
        (Affinity::Any, _) | (Affinity::Blob, ValueRef::Blob(_)) | (Affinity::Text, ValueRef::Text(_)) => Fit::Same,
        (Affinity::Blob, _) | (_, ValueRef::Blob(_)) => unsuitable,
        (Affinity::Text, _) => Fit::Changed { would_be: "text" },
        (Affinity::Integer | Affinity::Numeric, ValueRef::Integer(_)) => Fit::Same,
        (Affinity::Integer | Affinity::Numeric, ValueRef::Real(real)) => match whole(real) {
            Some(integer) => Fit::Converted(ValueRef::Integer(integer)),
            None => unsuitable,
        },
        // SQLite keeps the whole numbers among doubles as integers in the file, where -0.0 is 0.
        (Affinity::Real, ValueRef::Real(real)) if real.to_bits() == (-0.0f64).to_bits() => {
            Fit::Converted(ValueRef::Real(0.0))
        }
        (Affinity::Real, ValueRef::Real(_)) => Fit::Same,
        (Affinity::Real, ValueRef::Integer(integer)) => match exact_real(integer) {
            Some(real) => Fit::Converted(ValueRef::Real(real)),
            None => Fit::Changed { would_be: "real" },
        },
        (Affinity::Integer | Affinity::Numeric | Affinity::Real, ValueRef::Text(text)) => match number_class(text, affinity)
        {
            Some("real") if strict && affinity != Affinity::Real => Fit::WrongType,
            Some(would_be) => Fit::Changed { would_be },
            None => unsuitable,
        },
    }
}

impl Fit {
    /// What is stored for this value; the value itself where it does not fit.
    #[inline]
    pub fn stored(self, value: ValueRef<'_>) -> ValueRef<'_> {
        match self {
            Fit::Converted(stored) => stored,
            _ => value,
        }
    }

    /// Why a value cannot be stored in this column, as a reason and a sentence; `None` if it can.
    pub fn refusal(self, value: ValueRef<'_>, column: &str) -> Option<(Reason, String)> {
        let class = value.class();
        let (reason, what) = match self {
            Fit::Same | Fit::Converted(_) => return None,
            Fit::Changed { would_be } if would_be == class => (Reason::ValueWouldChange, "would change this value".into()),
            Fit::Changed { would_be } => {
                (Reason::ValueWouldChange, format!("would turn this {class} value into {would_be}"))
            }
            Fit::WrongType => (Reason::WrongType, format!("does not take this {class} value")),
        };
        Some((reason, format!("column {column:?} {what}")))
    }
}

/// The double that is this integer, if there is one.
fn exact_real(integer: i64) -> Option<f64> {
    let real = integer as f64;
    (real as i128 == i128::from(integer)).then_some(real)
}

/// The integer that SQLite makes of a double where it prefers integers: it leaves the two ends of the range alone.
fn whole(real: f64) -> Option<i64> {
    let integer = real as i64;
    (integer as f64 == real && integer != i64::MIN && integer != i64::MAX).then_some(integer)
}

/// The storage class that text takes on in a column that prefers numbers; `None` if it does not look like a number to SQLite:
/// a sign, digits with at most one point among or beside them, an exponent, and white space around it all.
fn number_class(text: &[u8], affinity: Affinity) -> Option<&'static str> {
    // Most text begins with a letter, and this is asked for each value.
    if text.first().is_none_or(u8::is_ascii_alphabetic) {
        return None;
    }
    // SQLite reads up to a NUL and drops what follows it.
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let is_space = |b: &u8| matches!(b, b'\t'..=b'\r' | b' ');
    let start = text.iter().position(|b| !is_space(b))?;
    let end = text.iter().rposition(|b| !is_space(b))? + 1;
    let text = text.get(start..end)?;

    let (whole_digits, rest) = digits(unsigned(text));
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', rest)) => digits(rest),
        _ => (0, rest),
    };
    if whole_digits + fraction == 0 {
        return None;
    }
    if let Some((b'e' | b'E', exponent)) = rest.split_first() {
        let (count, rest) = digits(unsigned(exponent));
        if count == 0 || !rest.is_empty() {
            return None;
        }
    } else if !rest.is_empty() {
        return None;
    }
    if affinity == Affinity::Real {
        return Some("real");
    }
    let text = std::str::from_utf8(text).ok()?;
    let integer = text.parse::<i64>().is_ok() || text.parse().is_ok_and(|real| whole(real).is_some());
    Some(if integer { "integer" } else { "real" })
}

/// The text without a sign in front of it.
fn unsigned(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text)
}

/// How many digits the text begins with, and what follows them.
fn digits(text: &[u8]) -> (usize, &[u8]) {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    (count, text.get(count..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::Column;

    #[test]
    fn what_is_said_to_be_kept_fits() {
        let reals = [0.5, -0.0, f64::NAN, f64::INFINITY].map(ValueRef::Real);
        let others = [ValueRef::Null, ValueRef::Integer(7), ValueRef::Text(b"7"), ValueRef::Blob(b"7")];
        let values = others.into_iter().chain(reals);
        let all = [Affinity::Blob, Affinity::Text, Affinity::Integer, Affinity::Real, Affinity::Numeric, Affinity::Any];
        let mut kept = 0;
        for affinity in all {
            for value in values.clone().filter(|value| affinity.keeps(*value)) {
                kept += 1;
                assert_eq!(
                    [fit(value, affinity, false), fit(value, affinity, true)],
                    [Fit::Same; 2],
                    "{affinity:?} {value:?}"
                );
            }
        }
        assert_eq!(kept, all.len() + 8);
    }

    #[test]
    fn affinity_follows_the_five_rules_in_their_order() {
        for (declared, affinity) in [
            ("INT", Affinity::Integer),
            ("unsigned big int", Affinity::Integer),
            ("CHARINT", Affinity::Integer),
            ("FLOATING POINT", Affinity::Integer),
            ("VARCHAR(255)", Affinity::Text),
            ("NUMERIC TEXT", Affinity::Text),
            ("TEXT BLOB", Affinity::Text),
            ("", Affinity::Blob),
            ("REAL BLOB", Affinity::Blob),
            ("DOUBLE PRECISION", Affinity::Real),
            ("NUMERIC(10,2)", Affinity::Numeric),
            ("STRING", Affinity::Numeric),
            ("ANY", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(declared, false), affinity, "{declared}");
        }
        assert_eq!(Affinity::of("any", true), Affinity::Any);
    }

    #[test]
    fn the_rowid_refuses_what_an_integer_column_takes() {
        let column =
            |name: &str, declared: &str| Column { name: name.into(), declared_type: declared.into(), ..Column::default() };
        let mut table = TableSchema {
            columns: vec![column("n", "INTEGER"), column("id", "INTEGER")],
            primary_key: vec!["ID".into()],
            rowid_alias: true,
            ..TableSchema::default()
        };
        assert_eq!(Affinity::of_columns(&table), [(Affinity::Integer, false), (Affinity::Integer, true)]);
        table.rowid_alias = false;
        assert_eq!(Affinity::of_columns(&table)[1], (Affinity::Integer, false));
    }

    #[test]
    fn a_refusal_names_the_column_and_says_what_would_happen() {
        let text = ValueRef::Text(b"007");
        let (reason, message) = fit(text, Affinity::Integer, false).refusal(text, "zip").expect("it would change");
        assert_eq!(reason, Reason::ValueWouldChange);
        assert_eq!(message, "column \"zip\" would turn this text value into integer");
        let blob = ValueRef::Blob(b"1");
        let (reason, _) = fit(blob, Affinity::Integer, true).refusal(blob, "zip").expect("it is refused");
        assert_eq!(reason, Reason::WrongType);
        assert_eq!(fit(blob, Affinity::Blob, true).refusal(blob, "zip"), None);
    }
}

/// The same questions, put to SQLite.
#[cfg(all(test, feature = "sqlite"))]
mod against_sqlite {
    use super::*;
    use crate::domain::value::Value;
    use proptest::prelude::*;
    use rusqlite::Connection;
    use rusqlite::types::{ToSqlOutput, Value as Own, ValueRef as Stored};

    /// Declared types, and whether the table is STRICT.
    const TYPES: &[(&str, bool)] = &[
        ("", false),
        ("BLOB", false),
        ("TEXT", false),
        ("VARCHAR(3)", false),
        ("CHARINT", false),
        ("INT", false),
        ("INTEGER", false),
        ("REAL", false),
        ("FLOATING POINT", false),
        ("DOUBLE", false),
        ("NUMERIC", false),
        ("BOOLEAN", false),
        ("UUID", false),
        ("ANY", false),
        ("INT", true),
        ("INTEGER", true),
        ("REAL", true),
        ("TEXT", true),
        ("BLOB", true),
        ("ANY", true),
    ];

    #[rustfmt::skip]
    const TEXTS: &[&str] = &[
        "", " ", "a", "5", "007", " 5 ", "\t5\n", "\u{b}5\u{c}", "\u{a0}5", "+5", "-5", "- 5", "+-5", "5a",
        "a5", "1e3", "1e", "1e+", "1e+3", "1E-3", "e3", ".", ".5", "5.", "-.5", "+.e1", "1.5.5", "1_000", "1,5",
        "0x10", "0b1", "inf", "-inf", "infinity", "nan", "NaN", "true", "5\0", "\x005", "5 \0",
        "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "1e400",
        "-1e400", "1e-400", "1e99999999999999999999", "0e99999999999999999999", "9007199254740993",
        "9007199254740993.0", "0.1", "00000000000000000000000000000000000000005",
        "123456789012345678901234567890", "2025-12-15", "07:08:09", "٣", "½", "-0", "-0.0", "1e3 ", " .5e1",
        "5e0.5", "--5", "12345678-1234-1234-1234-123456789012",
    ];

    struct Oracle {
        connection: Connection,
    }

    impl Oracle {
        /// A table for each type, and one more whose column is the rowid.
        fn new() -> Oracle {
            let connection = Connection::open_in_memory().unwrap();
            for (number, (declared, strict)) in TYPES.iter().enumerate() {
                let strict = if *strict { "STRICT" } else { "" };
                connection.execute_batch(&format!("CREATE TABLE t{number}(v {declared}) {strict}")).unwrap();
            }
            connection.execute_batch("CREATE TABLE row(v INTEGER PRIMARY KEY)").unwrap();
            Oracle { connection }
        }

        /// The value as SQLite gives it back; `None` if it refuses it.
        fn store(&self, table: &str, value: ValueRef<'_>) -> Option<Value> {
            let mut insert = self.connection.prepare_cached(&format!("INSERT INTO {table} VALUES (?)")).unwrap();
            let bound = match value {
                ValueRef::Null => ToSqlOutput::Owned(Own::Null),
                ValueRef::Integer(v) => ToSqlOutput::Owned(Own::Integer(v)),
                ValueRef::Real(v) => ToSqlOutput::Owned(Own::Real(v)),
                ValueRef::Text(v) => ToSqlOutput::Borrowed(Stored::Text(v)),
                ValueRef::Blob(v) => ToSqlOutput::Borrowed(Stored::Blob(v)),
            };
            if let Err(error) = insert.execute([bound]) {
                let code = error.sqlite_error_code();
                let refused = [rusqlite::ErrorCode::ConstraintViolation, rusqlite::ErrorCode::TypeMismatch];
                assert!(code.is_some_and(|code| refused.contains(&code)), "{error}");
                return None;
            }
            let read = |row: &rusqlite::Row<'_>| {
                Ok(match row.get_ref(0)? {
                    Stored::Null => Value::Null,
                    Stored::Integer(v) => Value::Integer(v),
                    Stored::Real(v) => Value::Real(v),
                    Stored::Text(v) => Value::Text(v.to_vec()),
                    Stored::Blob(v) => Value::Blob(v.to_vec()),
                })
            };
            let stored = self.connection.query_one(&format!("SELECT v FROM {table}"), [], read).unwrap();
            self.connection.execute_batch(&format!("DELETE FROM {table}")).unwrap();
            Some(stored)
        }

        /// What `fit` says must be what SQLite does, in a column of each type.
        fn check(&self, value: ValueRef<'_>) {
            for (number, (declared, strict)) in TYPES.iter().enumerate() {
                let said = fit(value, Affinity::of(declared, *strict), *strict);
                self.compare(&format!("t{number}"), value, said, &format!("{declared:?}, strict {strict}"));
            }
            // NULL for the rowid asks SQLite to choose one. The least integer as a double it takes, and `fit` does not: the
            // only such number, and no column at the sender holds it as that.
            let least = i64::MIN as f64;
            if !value.is_null() && !matches!(value, ValueRef::Real(v) if v.is_nan() || v == least) {
                self.compare("row", value, fit(value, Affinity::Integer, true), "rowid");
            }
        }

        fn compare(&self, table: &str, value: ValueRef<'_>, said: Fit, column: &str) {
            let stored = self.store(table, value);
            let context = format!("{} {value:?} into {column}: said {said:?}, stored {stored:?}", value.class());
            match said {
                Fit::Same => assert!(stored.is_some_and(|stored| stored.as_ref().same(value)), "{context}"),
                Fit::Converted(other) => {
                    assert!(!other.same(value), "{context}");
                    assert!(stored.is_some_and(|stored| stored.as_ref().same(other)), "{context}");
                }
                Fit::Changed { would_be } => {
                    assert!(stored.as_ref().is_some_and(|stored| stored.as_ref().class() == would_be), "{context}");
                    assert!(!stored.is_some_and(|stored| stored.as_ref().same(value)), "{context}");
                }
                Fit::WrongType => assert!(stored.is_none(), "{context}"),
            }
        }
    }

    #[test]
    fn fit_says_what_sqlite_does() {
        let oracle = Oracle::new();
        let big = 1i64 << 53;
        for integer in [0, 1, -1, 5, big, big + 1, -big - 1, 1 << 60, i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1] {
            oracle.check(ValueRef::Integer(integer));
        }
        let reals = [0.0, -0.0, 1.0, 5.5, -5.0, 1e15, 9007199254740993.0, 1e18, 9.2e18, 9223372036854775808.0, 1e19, 1e300];
        for real in reals.into_iter().flat_map(|real| [real, -real]).chain([f64::INFINITY, f64::NEG_INFINITY, f64::NAN]) {
            oracle.check(ValueRef::Real(real));
        }
        oracle.check(ValueRef::Real(f64::MIN_POSITIVE));
        oracle.check(ValueRef::Null);
        for text in TEXTS {
            oracle.check(ValueRef::Text(text.as_bytes()));
            oracle.check(ValueRef::Blob(text.as_bytes()));
        }
        oracle.check(ValueRef::Text(b"\xff"));
        oracle.check(ValueRef::Text(b"5\xff"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn fit_says_what_sqlite_does_to_any_text(text in prop_oneof![
            "[ \t\n\x0b]?[-+]?[0-9]{0,3}[.]?[0-9]{0,3}([eE][-+]?[0-9]{0,4})?[ \r\x00_x]?",
            "[-+]?[0-9]{15,40}([.][0-9]{0,20})?",
            "[-+ .eExXinfa_\x000-9]{0,8}",
            "\\PC{0,6}",
        ]) {
            Oracle::new().check(ValueRef::Text(text.as_bytes()));
        }

        #[test]
        fn fit_says_what_sqlite_does_to_any_number(integer: i64, shift in 0u32..63, bits: u64) {
            let oracle = Oracle::new();
            oracle.check(ValueRef::Integer(integer >> shift));
            oracle.check(ValueRef::Real((integer >> shift) as f64));
            oracle.check(ValueRef::Real(f64::from_bits(bits)));
            oracle.check(ValueRef::Real((integer >> shift) as f64 / 8.0));
        }
    }
}
