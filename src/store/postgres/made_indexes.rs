//! Unique sets and plain indexes of a table that is made.

use std::collections::HashSet;

use super::connection::Connection;
use super::making::{Making, attempt, because};
use super::named;
use super::quote::{quote, quote_all};
use crate::domain::names::is_reserved;
use crate::domain::postgres_type::LONGEST_NAME;
use crate::domain::schema::{IndexPart, Origin, TableSchema, UniqueKind, UniqueSet};
use crate::error::Result;

/// Makes the unique sets and the plain indexes of a table that was made just now.
pub(super) fn make(connection: &mut Connection, making: &mut Making<'_, '_>) -> Result<()> {
    let sender = making.new.schema;
    let mut seen: HashSet<(Vec<usize>, Option<&str>)> = HashSet::new();
    seen.insert((sender.column_indexes(&sender.primary_key).unwrap_or_default(), None));
    for set in &sender.unique {
        let why = match unique(sender, set) {
            Err(why) => Some(why),
            Ok((columns, _)) if !seen.insert((columns.clone(), set.index.as_deref())) => None,
            Ok((columns, parts)) => make_unique(connection, making, set, &columns, &parts)?,
        };
        if let Some(why) = why {
            making.notes.leave_out(match &set.index {
                Some(index) => format!("the unique index {index:?} is left out, because {why}"),
                None => format!("a unique set is left out, because {why}"),
            });
        }
    }
    for index in &sender.indexes {
        let why = match listed(connection, sender, &index.parts)? {
            Some(on) => {
                let sql = create_sql(connection, making, "", &index.name, &on)?;
                attempt(connection, &sql)?.map(|error| because(&error))
            }
            None => Some("it is not over columns of the table, or compares by a collation that is not here".to_owned()),
        };
        if let Some(why) = why {
            making.notes.leave_out(format_args!("the index {:?} is left out, because {why}", index.name));
        }
    }
    for name in &sender.other_indexes {
        let why = "it is over an expression or some of the rows, or of another kind";
        making.notes.leave_out(format_args!("the index {name:?} is left out, because {why}"));
    }
    making.notes.fold("indexes and unique sets");
    Ok(())
}

/// Makes a unique set; gives why it cannot be made.
fn make_unique(
    connection: &mut Connection,
    making: &mut Making<'_, '_>,
    set: &UniqueSet,
    columns: &[usize],
    parts: &[IndexPart],
) -> Result<Option<String>> {
    let sender = making.new.schema;
    let names = quote_all(columns.iter().map(|at| sender.columns[*at].name.as_str()));
    let Some(on) = listed(connection, sender, parts)? else {
        return Ok(Some("it compares by a collation that is not here".to_owned()));
    };
    let (start, nulls, end) = match &set.index {
        Some(index) => (create_sql(connection, making, "UNIQUE ", index, &on)?, " NULLS NOT DISTINCT", String::new()),
        None => (format!("ALTER TABLE {} ADD UNIQUE", making.relation), " NULLS NOT DISTINCT", format!(" ({names})")),
    };
    if set.nulls_not_distinct {
        if attempt(connection, &format!("{start}{nulls}{end}"))?.is_none() {
            return Ok(None);
        }
        // Servers before version 15 know no such sets.
        making.notes.add(format_args!("the unique set ({names}) takes NULL several times here"));
    }
    Ok(attempt(connection, &format!("{start}{end}"))?.map(|error| because(&error)))
}

/// The columns of a unique set, each once, and its parts as an index lists them; or why it cannot be made.
fn unique(sender: &TableSchema, set: &UniqueSet) -> std::result::Result<(Vec<usize>, Vec<IndexPart>), String> {
    let is_collated = sender.origin != Origin::Postgres
        && set.parts.iter().any(|part| part.collation.as_deref().is_some_and(|by| !by.eq_ignore_ascii_case("BINARY")));
    let names: Vec<&String> = match set.kind {
        UniqueKind::Partial => return Err(format!("it is over some of the rows ({})", quote_all(names_of(&set.columns)))),
        UniqueKind::Expression if set.parts.is_empty() => return Err("it is over an expression".to_owned()),
        _ if is_collated => return Err("it compares by a collation that is not here".to_owned()),
        _ if set.parts.is_empty() => set.columns.iter().collect(),
        _ => set.parts.iter().map(|part| &part.column).collect(),
    };
    let mut columns: Vec<usize> = Vec::with_capacity(names.len());
    let mut parts = Vec::with_capacity(names.len());
    for (at, name) in names.into_iter().enumerate() {
        let column = sender.column_index(name).ok_or("it is not a list of columns of the table")?;
        if !columns.contains(&column) {
            columns.push(column);
            let plain = || IndexPart::plain(&sender.columns[column].name);
            parts.push(set.parts.get(at).map_or_else(plain, |part| IndexPart { column: plain().column, ..part.clone() }));
        }
    }
    if columns.is_empty() { Err("it has no columns".to_owned()) } else { Ok((columns, parts)) }
}

fn names_of(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str)
}

/// The columns of an index as SQL; `None` if one is not there, or is compared by a collation that is not here.
fn listed(connection: &mut Connection, table: &TableSchema, parts: &[IndexPart]) -> Result<Option<String>> {
    let mut listed = Vec::with_capacity(parts.len());
    for part in parts {
        let Some(column) = table.column(&part.column) else { return Ok(None) };
        let mut sql = quote(&column.name);
        match &part.collation {
            None => {}
            Some(by) if table.origin == Origin::Sqlite && by.eq_ignore_ascii_case("BINARY") => {}
            Some(_) if table.origin == Origin::Sqlite => return Ok(None),
            Some(by) => match named::find_collation(connection, by)? {
                Some(found) => sql.push_str(&format!(" COLLATE {found}")),
                None => return Ok(None),
            },
        }
        sql.push_str(if part.descending { " DESC" } else { "" });
        listed.push(sql);
    }
    Ok(Some(listed.join(", ")).filter(|_| !parts.is_empty()))
}

/// The statement that makes an index, under a name that is free.
fn create_sql(connection: &mut Connection, making: &Making<'_, '_>, unique: &str, name: &str, on: &str) -> Result<String> {
    let name = free_name(connection, &making.schema, name)?.map(|name| quote(&name)).unwrap_or_default();
    Ok(format!("CREATE {unique}INDEX {name} ON {} ({on})", making.relation))
}

/// This name, cut to what a name may have, or one like it with a number that is free; `None` where PostgreSQL had better choose it.
/// Tables, indexes and sequences of a schema share its names.
fn free_name(connection: &mut Connection, schema: &str, name: &str) -> Result<Option<String>> {
    if name.is_empty() || name.contains('\0') || is_reserved(name) {
        return Ok(None);
    }
    let taken =
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    for number in 1..100_u32 {
        let end = if number == 1 { String::new() } else { format!(" {number}") };
        let name = format!("{}{end}", cut(name, LONGEST_NAME - end.len()));
        if connection.rows(taken, &[&schema, &name])?.is_empty() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The beginning of a name, whole characters of it.
fn cut(name: &str, most: usize) -> &str {
    let end = (0..=most.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("abc", 63), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aßc", 2), "a");
        assert_eq!(cut("", 2), "");
    }
}
