//! The numbers that applications keep in the head of a SQLite file (`user_version`, `application_id`). They say what is in the file: it
//! has the sender's when this pull made it, and all that the sender offers came.

use super::TableStatus;
use super::context::Context;
use super::planned::{Plan, Table};
use crate::domain::table::FileNumbers;
use crate::error::Result;
use crate::store::Writer;

/// Takes the sender's numbers over, if that is right, in the transaction that notes the end of the pull. Gives why not, as a sentence for
/// the report.
pub(super) fn take_over(cx: &Context<'_, '_>, writer: &mut dyn Writer, plan: &Plan, is_all: bool) -> Result<Option<String>> {
    let there = plan.tables.first().map_or(FileNumbers::default(), |table| table.sender.file);
    if there == FileNumbers::default() || cx.options.dry_run {
        return Ok(None);
    }
    let is_made = |table: &&Table| table.checkpoint.created || table.checkpoint.made_before;
    let made: Vec<&str> = plan.tables.iter().filter(is_made).map(|table| table.plan.table.name.as_str()).collect();
    let Some((here, has_only_made)) = writer.file_numbers(&made)? else { return Ok(None) };
    let is_new = has_only_made && here == FileNumbers::default();
    let is_whole = plan.failed.is_empty() && plan.tables.iter().all(|table| table.report.status == TableStatus::Completed);
    if here == there || !(is_new || is_all) {
        // Of a file with things of its own that gets some tables, nobody expects it.
        return Ok(None);
    }
    if !is_new {
        return Ok(Some(left(there, &format!("the file was there before this pull, and has {}", told(here)))));
    }
    if !is_all || !is_whole {
        return Ok(Some(left(there, "not all tables came that the other site offers")));
    }
    if plan.tables.iter().any(|table| table.report.outcome.failed > 0) {
        return Ok(Some(left(there, "records could not be taken")));
    }
    writer.set_file_numbers(there)?;
    Ok(None)
}

fn told(numbers: FileNumbers) -> String {
    format!("user_version {} and application_id {}", numbers.user_version, numbers.application_id)
}

fn left(there: FileNumbers, why: &str) -> String {
    format!("The numbers of the other site's file ({}) are not taken over (file_numbers): {why}.", told(there))
}
