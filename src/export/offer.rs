//! Which tables a site offers.

use crate::store::STATE_PREFIX;

/// The beginnings of the names of tables that belong to a database and not to its user, in any store.
const SYSTEM_PREFIXES: [&str; 3] = [STATE_PREFIX, "sqlite_", "pg_"];

/// Which tables a site offers: all but rowferry's own, the database's own, and those that the host hides; to one peer maybe
/// fewer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    hidden: Vec<String>,
    /// The only ones; empty for all.
    only: Vec<String>,
}

impl Offer {
    pub(crate) fn hiding(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Offer { hidden: names.into_iter().map(Into::into).collect(), only: Vec::new() }
    }

    /// What is offered to a peer that may see only some of it: those of `only` (all if there are none), but for `without`.
    pub(crate) fn narrowed(&self, only: &[String], without: &[String]) -> Self {
        Offer { hidden: [&self.hidden, without].concat(), only: only.to_vec() }
    }

    /// Whether a table of this name is offered, if there is one. Names are compared without case in ASCII, as SQLite does.
    pub(crate) fn allows(&self, table: &str) -> bool {
        let among = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(table));
        !is_system(table) && !among(&self.hidden) && (self.only.is_empty() || among(&self.only))
    }
}

fn is_system(table: &str) -> bool {
    let begins = |prefix: &str| table.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    SYSTEM_PREFIXES.iter().any(|prefix| begins(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_system_and_hidden_tables_are_not_offered() {
        let offer = Offer::hiding(["salaries"]);
        for name in ["rowferry_sessions", "ROWFERRY_x", "sqlite_sequence", "pg_class", "salaries", "Salaries"] {
            assert!(!offer.allows(name), "{name}");
        }
        let some = offer.narrowed(&["Users".into(), "salaries".into(), "posts".into()], &["posts".into()]);
        assert_eq!(["users", "salaries", "posts", "orders"].map(|name| some.allows(name)), [true, false, false, false]);
        let most = offer.narrowed(&[], &["posts".into()]);
        assert_eq!(["users", "salaries", "posts", "orders"].map(|name| most.allows(name)), [true, false, false, true]);
        for name in ["users", "rowferr", "rowferry", "päge", "", "my_sqlite_copy"] {
            assert!(offer.allows(name), "{name}");
        }
    }
}
