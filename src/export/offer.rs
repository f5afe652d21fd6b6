//! Which tables a site offers.

use crate::store::STATE_PREFIX;

/// The beginnings of the names of tables that belong to a database and not to its user, in any store.
const SYSTEM_PREFIXES: [&str; 3] = [STATE_PREFIX, "sqlite_", "pg_"];

/// Which tables a site offers: all but rowferry's own, the database's own, and those that the host hides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    hidden: Vec<String>,
}

impl Offer {
    pub(crate) fn hiding(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Offer { hidden: names.into_iter().map(Into::into).collect() }
    }

    /// Whether a table of this name is offered, if there is one. Names are compared without case in ASCII, as SQLite does.
    pub(crate) fn allows(&self, table: &str) -> bool {
        !is_system(table) && !self.hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(table))
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
        for name in ["users", "rowferr", "rowferry", "päge", "", "my_sqlite_copy"] {
            assert!(offer.allows(name), "{name}");
        }
    }
}
