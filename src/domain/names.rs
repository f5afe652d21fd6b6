//! How a store compares the names of tables and columns.

use std::borrow::Cow;

/// When two names are the same. Names keep the form in which they were written; a store says which rule it compares them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum NameRules {
    /// Upper and lower case of ASCII letters are the same, as in SQLite.
    #[default]
    IgnoreAsciiCase,
    /// Byte for byte.
    Exact,
}

impl NameRules {
    /// Whether both name the same thing.
    pub fn same(self, one: &str, other: &str) -> bool {
        match self {
            NameRules::IgnoreAsciiCase => one.eq_ignore_ascii_case(other),
            NameRules::Exact => one == other,
        }
    }

    /// The form that all spellings of a name share.
    pub fn fold(self, name: &str) -> Cow<'_, str> {
        match self {
            NameRules::IgnoreAsciiCase if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Cow::Owned(name.to_ascii_lowercase())
            }
            _ => Cow::Borrowed(name),
        }
    }

    /// Whether a name is among others.
    pub fn is_among<N: AsRef<str>>(self, name: &str, others: &[N]) -> bool {
        others.iter().any(|other| self.same(name, other.as_ref()))
    }
}

/// Beginnings of the names of tables that belong to a database or to rowferry.
const RESERVED: [&str; 2] = ["sqlite_", "rowferry_"];

/// Whether tables of this name belong to a database or to rowferry itself. They are neither offered nor made.
pub fn is_reserved(table: &str) -> bool {
    RESERVED.iter().any(|prefix| begins_with(table, prefix))
}

/// Tables that a SQLite has of its own; which ones depends on how it was built, and a program may register more.
const BUILT_IN: [&str; 9] =
    ["json_each", "json_tree", "jsonb_each", "jsonb_tree", "dbstat", "bytecode", "tables_used", "generate_series", "carray"];

/// Whether SQLite has a table of this name, or may have one, without anybody making it. One that is made would hide it from all programs
/// that use the database, triggers included.
pub fn is_built_in(table: &str) -> bool {
    begins_with(table, "pragma_") || BUILT_IN.iter().any(|name| name.eq_ignore_ascii_case(table))
}

fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Names longer than this are not looked through for one that is near.
const LONGEST_COMPARED: usize = 64;

/// The name among `others` that someone who wrote `name` most likely meant: another spelling of it, or one with a letter or two more,
/// less, changed or swapped.
pub fn nearest<'n>(name: &str, others: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let most = (name.chars().count() / 3).clamp(1, 3);
    let distance = |other: &str| match other.eq_ignore_ascii_case(name) {
        true => 0,
        false => strsim::osa_distance(name, other),
    };
    let is_short = |name: &str| name.len() <= LONGEST_COMPARED;
    let compared = others.into_iter().filter(|other| is_short(name) && is_short(other));
    let (distance, other) = compared.map(|other| (distance(other), other)).min()?;
    (distance <= most && distance < name.chars().count()).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_case_is_all_that_is_folded() {
        let rules = NameRules::IgnoreAsciiCase;
        assert!(rules.same("Größe", "GRößE") && !rules.same("Größe", "GRÖSSE"));
        assert_eq!((rules.fold("GRößE"), rules.fold("a b")), ("größe".into(), "a b".into()));
        assert!(rules.is_among("A", &["b", "a"]) && !rules.is_among("A", &["b"]));
        let exact = NameRules::Exact;
        assert!(exact.same("a", "a") && !exact.same("a", "A"));
        assert_eq!(exact.fold("A"), "A");
    }
    #[test]
    fn a_near_name_is_a_likely_one() {
        let tables = ["users", "orders", "order_items", "a", "Ärzte"];
        let near = |name| nearest(name, tables);
        assert_eq!(
            ["user", "usres", "USERS", "order", "order_item"].map(near),
            ["users", "users", "users", "orders", "order_items"].map(Some)
        );
        assert_eq!(near("Arzte"), Some("Ärzte"));
        assert_eq!(["customers", "b", "", "x".repeat(1_000).as_str()].map(near), [None; 4]);
        assert_eq!(nearest("users", []), None);
    }
}
