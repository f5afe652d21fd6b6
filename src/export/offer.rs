//! Which tables a site offers.

use crate::domain::names::{NameRules, is_reserved};

/// Which tables a site offers: all but rowferry's own, the database's own, and those that the host hides; to one peer maybe
/// fewer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    hidden: Vec<String>,
    /// The only ones; empty for all.
    only: Vec<String>,
    /// How the store compares names.
    names: NameRules,
}

impl Offer {
    /// All that a store which compares names like this offers, but for the `hidden` ones.
    pub(crate) fn hiding(hidden: impl IntoIterator<Item = impl Into<String>>, names: NameRules) -> Self {
        Offer { hidden: hidden.into_iter().map(Into::into).collect(), only: Vec::new(), names }
    }

    /// The tables that the host hides, and those that were left out.
    pub(crate) fn hidden(&self) -> &[String] {
        &self.hidden
    }

    /// What is offered to a peer that may see only some of it: those of `only` (all if there are none), but for `without`.
    pub(crate) fn narrowed(&self, only: &[String], without: &[String]) -> Self {
        Offer { hidden: [&self.hidden, without].concat(), only: only.to_vec(), names: self.names }
    }

    /// Whether a table of this name is offered, if there is one.
    pub(crate) fn allows(&self, table: &str) -> bool {
        let among = |names: &[String]| self.names.is_among(table, names);
        !is_reserved(table) && !among(&self.hidden) && (self.only.is_empty() || among(&self.only))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_system_and_hidden_tables_are_not_copied() {
        let offer = Offer::hiding(["salaries"], NameRules::IgnoreAsciiCase);
        for name in ["rowferry_sessions", "ROWFERRY_x", "sqlite_sequence", "salaries", "Salaries"] {
            assert!(!offer.allows(name), "{name}");
        }
        let some = offer.narrowed(&["Users".into(), "salaries".into(), "posts".into()], &["posts".into()]);
        assert_eq!(["users", "salaries", "posts", "orders"].map(|name| some.allows(name)), [true, false, false, false]);
        let most = offer.narrowed(&[], &["posts".into()]);
        assert_eq!(["users", "salaries", "posts", "orders"].map(|name| most.allows(name)), [true, false, false, true]);
        for name in ["users", "rowferr", "rowferry", "päge", "pg_ratings", "", "my_sqlite_copy"] {
            assert!(offer.allows(name), "{name}");
        }
        let exact = Offer::hiding(["salaries"], NameRules::Exact).narrowed(&["Users".into(), "Salaries".into()], &[]);
        let names = ["users", "Users", "salaries", "Salaries", "ROWFERRY_x"];
        assert_eq!(names.map(|name| exact.allows(name)), [false, true, false, true, false]);
    }
}
