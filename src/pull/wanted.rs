//! Which of the tables that the sender offers are wanted, and whether the options name only such.

use super::PullOptions;
use crate::domain::names::nearest;
use crate::error::{Error, ErrorKind, Result};

/// The tables to pull, by the sender's names. `default` are those that are pulled where none is named; `offered` are all that the sender
/// offers, and `is_partial` says that these may not be all that it has.
pub(super) fn wanted(
    options: &PullOptions<'_>,
    default: impl Iterator<Item = String>,
    offered: &[&str],
    is_partial: bool,
) -> Result<Vec<String>> {
    let is_known = |name: &String| is_partial || offered.contains(&name.as_str());
    if let Some(name) = options.exclude.iter().find(|name| !is_known(name)) {
        return Err(nothing_to_leave_out(name, offered));
    }
    let wanted: Vec<String> = match &options.tables {
        Some(names) => match names.iter().find(|name| options.exclude.contains(name)) {
            Some(name) => {
                let message = format!("the table {name:?} is both to be pulled and to be left out");
                return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Name it once: tables, or exclude."));
            }
            None => names.clone(),
        },
        None => default.filter(|name| !options.exclude.contains(name)).collect(),
    };
    if wanted.is_empty() && !options.exclude.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "all tables that the other site offers are to be left out")
            .with_hint("Exclude fewer tables."));
    }
    only_wanted(&wanted, options.table_strategies.keys(), "a strategy")?;
    only_wanted(&wanted, options.keys.keys(), "a key")?;
    only_wanted(&wanted, options.table_newer_by.keys(), "a column that says which record is newer")?;
    only_wanted(&wanted, options.on_conflict.keys(), "a rule")?;
    options.check_rules(&wanted)?;
    Ok(wanted)
}

/// The error for a table that is to be left out, and is not there.
pub(super) fn nothing_to_leave_out(name: &str, offered: &[&str]) -> Error {
    let hint = match nearest(name, offered.iter().copied()) {
        Some(near) => format!("Did you mean {near:?}?"),
        None => "Names are compared exactly: see the list of tables.".to_owned(),
    };
    let message = format!("the table {name:?} is to be left out, and the other site offers none of this name");
    Error::new(ErrorKind::InvalidInput, message).with_hint(hint)
}

impl PullOptions<'_> {
    /// An error if the options contradict each other, whatever the sender offers: it is found before a code is spent.
    pub(crate) fn check(&self) -> Result<()> {
        if self.append_again && self.append_new {
            return Err(Error::new(ErrorKind::InvalidInput, "`append_again` and `append_new` exclude each other")
                .with_hint("append_new adds what was not appended before, append_again adds everything a second time."));
        }
        match &self.tables {
            Some(_) => wanted(self, std::iter::empty(), &[], true).map(drop),
            None => {
                // No table is named so: it stands for those that have no strategy of their own.
                let others = std::iter::once(String::new());
                self.check_rules(&self.table_strategies.keys().cloned().chain(others).collect::<Vec<_>>())
            }
        }
    }
}

/// An error if one of the tables that something is given for is not wanted.
fn only_wanted<'n>(wanted: &[String], mut names: impl Iterator<Item = &'n String>, what: &str) -> Result<()> {
    let Some(name) = names.find(|name| !wanted.contains(name)) else { return Ok(()) };
    let hint = match nearest(name, wanted.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean {near:?}?"),
        None => "Options of a table go by the sender's names of the tables that are pulled.".to_owned(),
    };
    let message = format!("{what} is given for {name:?}, which is not pulled");
    Err(Error::new(ErrorKind::InvalidInput, message).with_hint(hint))
}
