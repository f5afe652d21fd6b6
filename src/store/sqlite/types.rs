//! The types of the columns of tables that are made here.

use super::affinity::Affinity;
use crate::domain::schema::LogicalType;

/// The longest declared type that is taken over from a peer, in bytes.
const LONGEST_TYPE: usize = 64;

/// The type of a column that holds what a PhoenixKit sender sends, in JSON and by these meanings. Decimal numbers and JSON
/// documents arrive as text, which the affinity of TEXT keeps exactly: `1.50` stays `1.50`. The names of the others are
/// those by which a store finds the meaning again.
pub fn type_of(logical: &LogicalType) -> &'static str {
    match logical {
        LogicalType::Boolean => "BOOLEAN",
        LogicalType::Integer => "INTEGER",
        LogicalType::Real => "REAL",
        LogicalType::Numeric => "NUMERIC TEXT",
        LogicalType::Text | LogicalType::Other(_) => "TEXT",
        LogicalType::Blob => "BLOB",
        LogicalType::Uuid => "UUID",
        LogicalType::Date => "DATE",
        LogicalType::Time => "TIME",
        LogicalType::Timestamp => "TIMESTAMP",
        LogicalType::TimestampTz => "TIMESTAMPTZ",
        LogicalType::Json => "JSON TEXT",
        LogicalType::Any => "",
    }
}

/// A type of this affinity: what keeps the values of a column whose own type cannot be taken over.
pub fn type_of_affinity(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Blob | Affinity::Any => "",
        Affinity::Text => "TEXT",
        Affinity::Integer => "INT",
        Affinity::Real => "REAL",
        Affinity::Numeric => "NUMERIC",
    }
}

/// The types that SQLite allows in STRICT tables (<https://www.sqlite.org/stricttables.html>).
pub fn is_strict_type(declared: &str) -> bool {
    ["INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"].iter().any(|known| known.eq_ignore_ascii_case(declared))
}

/// Whether a declared type may be written into a statement as it is: words of ASCII letters, digits and underscores that
/// mean nothing else to SQLite, and after them at most two numbers in parentheses. `TEXT CHECK (f(1))` is no plain type.
pub fn is_plain_type(declared: &str) -> bool {
    let (words, numbers) = match declared.split_once('(') {
        None => (declared, None),
        Some((words, rest)) => match rest.strip_suffix(')') {
            Some(numbers) => (words, Some(numbers)),
            None => return false,
        },
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !KEYWORDS.contains(&word.to_ascii_uppercase().as_str())
    };
    let mut words = words.split(' ').filter(|word| !word.is_empty()).peekable();
    declared.len() <= LONGEST_TYPE
        && words.peek().is_some()
        && words.all(is_word)
        && numbers.is_none_or(|text| {
            text.split(',').count() <= 2 && text.split(',').all(|number| is_number(number.trim_matches(' ')))
        })
}

/// The keywords of SQLite that cannot be part of a type: they end it, or SQLite cuts them off (ALWAYS). Its other keywords
/// may be names of types as well (<https://www.sqlite.org/lang_keywords.html>; found by trying each of them).
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "ADD", "ALL", "ALTER", "ALWAYS", "AND", "AS", "AUTOINCREMENT", "BETWEEN", "CASE", "CHECK", "COLLATE", "COMMIT",
    "CONSTRAINT", "CREATE", "CROSS", "DEFAULT", "DEFERRABLE", "DELETE", "DISTINCT", "DROP", "ELSE", "ESCAPE", "EXCEPT",
    "EXISTS", "FOREIGN", "FROM", "FULL", "GROUP", "HAVING", "IN", "INDEX", "INDEXED", "INNER", "INSERT", "INTERSECT",
    "INTO", "IS", "ISNULL", "JOIN", "LEFT", "LIMIT", "NATURAL", "NOT", "NOTHING", "NOTNULL", "NULL", "ON", "OR",
    "ORDER", "OUTER", "PRIMARY", "REFERENCES", "RETURNING", "RIGHT", "SELECT", "SET", "TABLE", "THEN", "TO",
    "TRANSACTION", "UNION", "UNIQUE", "UPDATE", "USING", "VALUES", "WHEN", "WHERE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_words_and_numbers() {
        for plain in
            ["INTEGER", "int", "VARCHAR(255)", "DECIMAL(10,2)", "DECIMAL (10, 2)", "DOUBLE PRECISION", "my_type2", "KEY"]
        {
            assert!(is_plain_type(plain), "{plain}");
        }
        for code in [
            "",
            " ",
            "(1)",
            "INT PRIMARY KEY",
            "TEXT unique",
            "TEXT CHECK (1)",
            "INT AS (1)",
            "INT GENERATED ALWAYS",
            "INT DEFAULT 5",
            "INT(1,2,3)",
            "INT()",
            "INT(1,)",
            "INT(max)",
            "INT(1) x",
            "INT((1))",
            "INT, b INT",
            "INT) --",
            "INT)",
            "5INT",
            "a\"b",
            "a'b",
            "a;b",
            "integer[]",
            "a\0b",
            "a\nb",
            "ГОД",
            "INT(-1)",
        ] {
            assert!(!is_plain_type(code), "{code}");
        }
        assert!(is_plain_type(&"x".repeat(64)) && !is_plain_type(&"x".repeat(65)));
    }

    #[test]
    fn types_of_a_reference_sender_keep_what_arrives() {
        use super::super::affinity::{Fit, fit};
        use crate::domain::value::ValueRef;
        let arrives: [(LogicalType, &[u8]); 8] = [
            (LogicalType::Numeric, b"1.50"),
            (LogicalType::Text, b"007"),
            (LogicalType::Other("interval".into()), b"1"),
            (LogicalType::Json, b"5"),
            (LogicalType::Uuid, b"01234567-0123-0123-0123-012345678901"),
            (LogicalType::Date, b"2025-12-15"),
            (LogicalType::Time, b"07:08:09"),
            (LogicalType::Any, b"5"),
        ];
        for (logical, text) in arrives {
            let affinity = Affinity::of(type_of(&logical), false);
            assert_eq!(fit(ValueRef::Text(text), affinity, false), Fit::Same, "{logical:?}");
        }
        assert_eq!(Affinity::of(type_of(&LogicalType::Blob), false), Affinity::Blob);
        assert_eq!(Affinity::of(type_of(&LogicalType::Real), false), Affinity::Real);
        assert_eq!(Affinity::of(type_of(&LogicalType::Boolean), false), Affinity::Numeric);
    }

    #[test]
    fn a_type_of_an_affinity_has_it() {
        for affinity in [Affinity::Blob, Affinity::Text, Affinity::Integer, Affinity::Real, Affinity::Numeric] {
            assert_eq!(Affinity::of(type_of_affinity(affinity), false), affinity);
        }
    }

    /// What is plain must mean nothing but a type to SQLite.
    #[cfg(feature = "sqlite")]
    mod against_sqlite {
        use super::*;
        use proptest::prelude::*;
        use rusqlite::Connection;

        const OTHER_WORDS: &[&str] =
            &["INT", "text", "GENERATED", "KEY", "STORED", "WITHOUT", "ROWID", "STRICT", "INITIALLY", "x1", "_"];

        fn word() -> impl Strategy<Value = String> {
            let known: Vec<&str> = KEYWORDS.iter().chain(OTHER_WORDS).copied().collect();
            prop_oneof![
                2 => prop::sample::select(known).prop_map(String::from),
                4 => prop::sample::select(OTHER_WORDS).prop_map(String::from),
                1 => "[(),;'\"0-9a-z -]{1,4}",
                1 => "\\([0-9]{1,3}(, ?[0-9]{1,3})?\\)",
            ]
        }

        proptest! {
            #[test]
            fn a_plain_type_is_only_a_type(words in prop::collection::vec(word(), 1..5)) {
                let declared = words.join(" ");
                if is_plain_type(&declared) {
                    let connection = Connection::open_in_memory().unwrap();
                    connection.execute_batch(&format!("CREATE TABLE t(a {declared}, b)")).unwrap();
                    let query = "SELECT group_concat(name || ':' || type || ':' || \"notnull\" || pk || hidden || (dflt_value IS NULL)) \
                                 FROM pragma_table_xinfo('t')";
                    let columns: String = connection.query_one(query, [], |row| row.get(0)).unwrap();
                    // SQLite writes the names of its own types in capitals.
                    prop_assert_eq!(columns.to_lowercase(), format!("a:{}:0001,b::0001", declared.trim().to_lowercase()));
                }
            }
        }
    }
}
