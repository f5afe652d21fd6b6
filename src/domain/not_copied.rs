//! What of a database a pull does not copy: the rows of tables come over, and nothing that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a pull of a site does not copy. All lists are sorted. A name that is no UTF-8 is there as far as it can be read.
///
/// Its text is one line: `3 CHECK constraints, 30 triggers, 5 views, 2 virtual tables (docs, words)`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NotCopied {
    /// How many CHECK constraints tables have, by the table.
    pub checks: BTreeMap<String, u64>,
    /// The triggers of tables, by the table.
    pub triggers: BTreeMap<String, Vec<String>>,
    /// The views.
    pub views: Vec<String>,
    /// The virtual tables, full-text indexes and the like, with all that is in them.
    pub virtual_tables: Vec<String>,
    /// The shadow tables of virtual ones. Where the module of a virtual table is not registered in this program, these are all whose
    /// names begin with its name and an underscore.
    pub shadow_tables: Vec<String>,
    /// Tables with a name or default in them, their own included, that is no UTF-8 (`not_utf8`).
    pub not_utf8: Vec<String>,
    /// PostgreSQL: tables that are another server's, or a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreign_tables: Vec<String>,
    /// PostgreSQL: sequences that belong to no column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<String>,
    /// PostgreSQL: functions and procedures, but those of extensions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// PostgreSQL: tables that the site's role may not read as a whole, that have no columns, or whose name stands for a table of an
    /// earlier one of the site's schemas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_readable: Vec<String>,
    /// PostgreSQL: what else tables have that a new table does not get, by the table, and then by what it is:
    ///
    /// - constraints and indexes by their names: `exclude` (EXCLUDE constraints), `deferrable_keys` (keys and unique constraints that are
    ///   DEFERRABLE), `temporal_keys` (WITHOUT OVERLAPS and PERIOD), `match_full` and `delete_sets_some` (foreign keys with MATCH FULL, and
    ///   with ON DELETE SET NULL or SET DEFAULT of some columns), `not_valid` (foreign keys that are NOT VALID, and valid in a new table),
    ///   `include_columns`, `nulls_order` (NULLS FIRST or LAST where it is not the rule), `operator_classes` (of unique indexes);
    /// - of the table as a whole: `partitioned` (by what), `inherits` (from which), `of_type`, `row_security` (policies), `rules`, `grants`
    ///   (to whom), `comments` (on the table, columns, constraints and indexes of these names), `sequence_options` (of its columns'
    ///   sequences, where they are not the usual ones), `unlogged`, `storage` (parameters and the tablespace), `replica_identity`,
    ///   `publications`, `statistics`.
    ///
    /// A later version may tell more kinds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// How many more there are, of any kind, than were named: a sender names 1,000 of each.
    pub more: u64,
}

/// How many of a kind are named in a line.
const NAMED: usize = 10;

impl fmt::Display for NotCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let triggers = self.triggers.values().map(Vec::len).sum::<usize>() as u64;
        let named = |list: &[String]| match list.get(..NAMED) {
            Some(first) if list.len() > NAMED => format!(" ({}, ...)", first.join(", ")),
            _ => format!(" ({})", list.join(", ")),
        };
        let parts = [
            (self.check_count(), String::new(), "CHECK constraint", "CHECK constraints"),
            (triggers, String::new(), "trigger", "triggers"),
            (self.views.len() as u64, String::new(), "view", "views"),
            (self.virtual_tables.len() as u64, named(&self.virtual_tables), "virtual table", "virtual tables"),
            (self.shadow_tables.len() as u64, named(&self.shadow_tables), "shadow table", "shadow tables"),
            (
                self.not_utf8.len() as u64,
                named(&self.not_utf8),
                "table with a name that is not UTF-8",
                "tables with names that are not UTF-8",
            ),
            (self.foreign_tables.len() as u64, named(&self.foreign_tables), "foreign table", "foreign tables"),
            (self.sequences.len() as u64, String::new(), "sequence of no column", "sequences of no column"),
            (self.functions.len() as u64, String::new(), "function", "functions"),
            (
                self.not_readable.len() as u64,
                named(&self.not_readable),
                "table that cannot be read",
                "tables that cannot be read",
            ),
            (
                self.part_count(),
                format!(" ({})", self.part_kinds().into_iter().collect::<Vec<_>>().join(", ")),
                "other part of a table",
                "other parts of tables",
            ),
            (self.more, String::new(), "more that is not named", "more that are not named"),
        ];
        let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
        let text = parts.map(|(count, names, one, many)| format!("{count} {}{names}", if count == 1 { one } else { many }));
        f.write_str(&text.collect::<Vec<_>>().join(", "))
    }
}

impl NotCopied {
    /// How many CHECK constraints there are.
    pub fn check_count(&self) -> u64 {
        self.checks.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many [`parts`](NotCopied::parts) of tables there are.
    pub fn part_count(&self) -> u64 {
        self.parts.values().flat_map(BTreeMap::values).map(Vec::len).sum::<usize>() as u64
    }

    /// Of which kinds they are.
    fn part_kinds(&self) -> BTreeSet<&str> {
        self.parts.values().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    /// What belongs to tables, and goes with one that is made: the rest is forgotten.
    pub(crate) fn only_of_tables(self) -> NotCopied {
        NotCopied { checks: self.checks, triggers: self.triggers, parts: self.parts, ..NotCopied::default() }
    }

    /// Keeps what belongs to these tables, of what belongs to tables.
    pub(crate) fn retain_of_tables(&mut self, keeps: impl Fn(&str) -> bool) {
        self.checks.retain(|table, _| keeps(table));
        self.triggers.retain(|table, _| keeps(table));
        self.parts.retain(|table, _| keeps(table));
    }

    /// What this name is, if it is none of an ordinary table: `a view`, say.
    pub(crate) fn what_is(&self, name: &str) -> Option<&'static str> {
        let kinds = [
            (&self.views, "a view"),
            (&self.virtual_tables, "a virtual table"),
            (&self.shadow_tables, "a shadow table"),
            (&self.not_utf8, "a table with a name or default that is not UTF-8"),
            (&self.foreign_tables, "a foreign table"),
            (&self.sequences, "a sequence"),
            (&self.not_readable, "a table that the site's role cannot read"),
        ];
        kinds.into_iter().find(|(list, _)| list.iter().any(|other| other == name)).map(|(_, what)| what)
    }

    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        *self == NotCopied::default()
    }

    fn lists(&mut self) -> [&mut Vec<String>; 8] {
        [
            &mut self.views,
            &mut self.virtual_tables,
            &mut self.shadow_tables,
            &mut self.not_utf8,
            &mut self.foreign_tables,
            &mut self.sequences,
            &mut self.functions,
            &mut self.not_readable,
        ]
    }

    /// What one database has and another may have as well, of the same name or by a table of it.
    pub(crate) fn elsewhere(&mut self) -> [&mut Vec<String>; 6] {
        let NotCopied { views, virtual_tables, shadow_tables, foreign_tables, sequences, functions, .. } = self;
        [views, virtual_tables, shadow_tables, foreign_tables, sequences, functions]
    }

    /// Keeps what has these names; of what belongs to a table, what belongs to one of these.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.lists().into_iter().for_each(|list| list.retain(|name| keeps(name)));
        self.retain_of_tables(keeps);
    }

    pub(crate) fn sort(&mut self) {
        self.lists().into_iter().for_each(|list| list.sort_unstable());
        self.parts.values_mut().flat_map(BTreeMap::values_mut).for_each(|list| list.sort_unstable());
        self.triggers.values_mut().for_each(|list| list.sort_unstable());
    }

    /// Leaves out what has a name that is longer than so many bytes, and of each kind what is beyond so many names; counts what was
    /// left out.
    pub(crate) fn cut(&mut self, most_names: usize, most_bytes: usize) {
        let mut more = 0;
        for list in self.lists() {
            more += cut(list, most_names, most_bytes);
        }
        let mut room = most_names;
        for (table, triggers) in &mut self.triggers {
            more += cut(triggers, if table.len() > most_bytes { 0 } else { room }, most_bytes);
            room -= triggers.len();
        }
        self.triggers.retain(|_, triggers| !triggers.is_empty());
        let mut room = most_names;
        for (table, kinds) in &mut self.parts {
            for (kind, list) in kinds.iter_mut() {
                let is_long = table.len() > most_bytes || kind.len() > most_bytes;
                more += cut(list, if is_long { 0 } else { room }, most_bytes);
                room -= list.len();
            }
            kinds.retain(|_, list| !list.is_empty());
        }
        self.parts.retain(|_, kinds| !kinds.is_empty());
        let mut room = most_names;
        self.checks.retain(|table, count| {
            let keeps = room > 0 && table.len() <= most_bytes;
            match keeps {
                true => room -= 1,
                false => more = more.saturating_add(*count),
            }
            keeps
        });
        self.more = self.more.saturating_add(more);
    }
}

fn cut(list: &mut Vec<String>, most: usize, most_bytes: usize) -> u64 {
    let before = list.len();
    list.retain(|name| name.len() <= most_bytes);
    list.truncate(most);
    (before - list.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn it_is_told_in_one_line() {
        let mut found = NotCopied { checks: [("t".into(), 2), ("u".into(), 1)].into(), ..NotCopied::default() };
        assert_eq!(found.to_string(), "3 CHECK constraints");
        found.views = names("v");
        found.virtual_tables = names("docs words");
        found.more = 2;
        found.triggers.insert("t".into(), names("a b"));
        let line = "3 CHECK constraints, 2 triggers, 1 view, 2 virtual tables (docs, words), 2 more that are not named";
        assert_eq!(found.to_string(), line);
        found = NotCopied { not_utf8: vec!["x".into(); 11], ..NotCopied::default() };
        assert!(found.to_string().ends_with("(x, x, x, x, x, x, x, x, x, x, ...)"), "{found}");
        found = NotCopied::default();
        found.parts.insert("t".into(), [("match_full".into(), names("k")), ("comments".into(), names("a b"))].into());
        found.parts.insert("u".into(), [("comments".into(), names("u"))].into());
        assert_eq!((found.to_string().as_str(), found.part_count()), ("4 other parts of tables (comments, match_full)", 4));
        found = NotCopied { not_utf8: names("x"), ..found };
        assert_eq!((NotCopied::default().to_string().as_str(), found.what_is("x").is_some()), ("", true));
    }

    #[test]
    fn what_is_cut_is_counted() {
        let mut found = NotCopied {
            views: names("a b c"),
            not_utf8: names("abcd a"),
            triggers: [("t".into(), names("a b")), ("u".into(), names("c"))].into(),
            checks: [("t".into(), 2), ("u".into(), 3), ("long".into(), 9)].into(),
            parts: [("t".into(), [("kin".into(), names("a bc d"))].into())].into(),
            more: 1,
            ..NotCopied::default()
        };
        let whole = found.clone();
        found.cut(3, 4);
        assert_eq!(found, whole);
        found.cut(2, 3);
        assert_eq!((found.views, found.not_utf8, found.more), (names("a b"), names("a"), 1 + 1 + 1 + 1 + 1 + 9));
        assert_eq!((found.triggers, found.checks.len()), ([("t".into(), names("a b"))].into(), 2));
        assert_eq!((found.parts["t"]["kin"].clone(), found.parts.len()), (names("a bc"), 1));
        found = whole;
        found.retain(|name| name == "t" || name == "b");
        assert_eq!((found.views.clone(), found.triggers.len(), &found.checks), (names("b"), 1, &[("t".into(), 2)].into()));
        assert_eq!(found.part_count(), 3);
        found.retain(|name| name == "b");
        assert_eq!(found, NotCopied { views: names("b"), more: 1, ..NotCopied::default() });
    }
}
