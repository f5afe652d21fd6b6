//! What of the sender's database a pull did not copy: see [`Report::not_copied`].

use std::collections::HashSet;

use super::Report;
use super::context::Context;
use crate::domain::not_copied::NotCopied;
use crate::error::Result;
use crate::store::Store;

/// What the pull of this report left out of what the sender `told`.
pub(super) fn left_out(cx: &Context<'_, '_>, here: &dyn Store, mut told: NotCopied, report: &Report) -> Result<NotCopied> {
    let names = cx.names;
    let made = report.tables.iter().filter(|table| table.created_table);
    let made: HashSet<_> = made.map(|table| names.fold(&table.name)).collect();
    told.retain_of_tables(|table| made.contains(&names.fold(table)));
    if cx.options.tables.is_some() {
        // Nobody expects more than was named.
        return Ok(told.only_of_tables());
    }
    if told.elsewhere().iter().all(|list| list.is_empty()) {
        return Ok(named(told));
    }
    let mut snapshot = here.snapshot()?;
    let (mut beside, tables) = (snapshot.not_copied()?, snapshot.tables()?);
    let beside = beside.elsewhere().into_iter().flat_map(std::mem::take);
    let present: HashSet<String> = beside.chain(tables).map(|name| names.fold(&name).into_owned()).collect();
    for list in told.elsewhere() {
        list.retain(|name| !present.contains(&*names.fold(name)));
    }
    Ok(named(told))
}

/// What was not even named is told only beside something that is: it is of the same kinds.
fn named(left: NotCopied) -> NotCopied {
    let more = left.more;
    let named = NotCopied { more: 0, ..left };
    if named.is_empty() { named } else { NotCopied { more, ..named } }
}
