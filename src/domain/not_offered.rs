//! What a database has beside the tables that it offers.

use std::collections::BTreeMap;

/// What a site has and does not offer, or offers without it: the rows of tables are pulled, and nothing that runs. All lists are
/// sorted. A name that is no UTF-8 is there as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotOffered {
    /// How many CHECK constraints tables have, by the table.
    pub checks: BTreeMap<String, u64>,
    /// The triggers of tables, by the table.
    pub triggers: BTreeMap<String, Vec<String>>,
    /// The views.
    pub views: Vec<String>,
    /// The virtual tables, full-text indexes and the like, with all that is in them.
    pub virtual_tables: Vec<String>,
    /// The tables behind virtual ones. Where the module of a virtual table is not registered in this program, these are all whose
    /// names begin with its name and an underscore.
    pub shadow_tables: Vec<String>,
    /// Tables with a name or default in them, their own included, that is no UTF-8 (`not_utf8`).
    pub not_utf8: Vec<String>,
    /// How many more there are, of any kind, than were named.
    pub more: u64,
}

impl NotOffered {
    /// Whether there is nothing of it.
    pub fn is_empty(&self) -> bool {
        *self == NotOffered::default()
    }

    fn lists(&mut self) -> [&mut Vec<String>; 4] {
        [&mut self.views, &mut self.virtual_tables, &mut self.shadow_tables, &mut self.not_utf8]
    }

    /// Keeps what has these names; of what belongs to a table, what belongs to one of these.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.lists().into_iter().for_each(|list| list.retain(|name| keeps(name)));
        self.checks.retain(|table, _| keeps(table));
        self.triggers.retain(|table, _| keeps(table));
    }

    pub(crate) fn sort(&mut self) {
        self.lists().into_iter().for_each(|list| list.sort_unstable());
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
    fn what_is_cut_is_counted() {
        let mut found = NotOffered {
            views: names("a b c"),
            not_utf8: names("abcd a"),
            triggers: [("t".into(), names("a b")), ("u".into(), names("c"))].into(),
            checks: [("t".into(), 2), ("u".into(), 3), ("long".into(), 9)].into(),
            more: 1,
            ..NotOffered::default()
        };
        let whole = found.clone();
        found.cut(3, 4);
        assert_eq!(found, whole);
        found.cut(2, 3);
        assert_eq!((found.views, found.not_utf8, found.more), (names("a b"), names("a"), 1 + 1 + 1 + 1 + 9));
        assert_eq!((found.triggers, found.checks.len()), ([("t".into(), names("a b"))].into(), 2));
        found = whole;
        found.retain(|name| name == "t" || name == "b");
        assert_eq!((found.views, found.triggers.len(), found.checks), (names("b"), 1, [("t".into(), 2)].into()));
    }
}
