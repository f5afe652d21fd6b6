//! `rowferry tables`, `schema`, `count` and `records`: a look at another site.

use rowferry::schema::{ForeignKey, TableSchema};
use rowferry::{Error, ErrorKind};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::look::Look;
use crate::args::pull::{RecordsArgs, TableArgs, TablesArgs};
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, complain, grouped, printable, value_text};

pub fn tables(args: &TablesArgs, out: &mut Out) -> Result<Done, Failure> {
    let tables = Look::without_records(&args.remote)?.tables()?;
    if args.format.json {
        let tables: Vec<_> =
            tables.iter().map(|table| json!({ "name": table.name, "row_count": table.row_count })).collect();
        out.json(&json!({ "tables": tables }))?;
        return Ok(Done::Whole);
    }
    let mut lines = Table::new(["table", ">rows"]);
    tables.iter().for_each(|table| lines.row([table.name.clone(), grouped(table.row_count)]));
    match lines.is_empty() {
        true => out.line("The other site offers no tables.")?,
        false => out.table(&lines)?,
    }
    Ok(Done::Whole)
}

pub fn schema(args: &TableArgs, out: &mut Out) -> Result<Done, Failure> {
    let table = Look::without_records(&args.remote)?.schema(&args.table)?;
    match args.format.json {
        true => out.json(&raw(table.to_json())?)?,
        false => print_schema(&table, out)?,
    }
    Ok(Done::Whole)
}

pub fn count(args: &TableArgs, out: &mut Out) -> Result<Done, Failure> {
    let count = Look::without_records(&args.remote)?.count(&args.table)?;
    match args.format.json {
        true => out.json(&json!({ "table": args.table, "count": count }))?,
        false => out.line(count.to_string())?,
    }
    Ok(Done::Whole)
}

pub fn records(args: &RecordsArgs, out: &mut Out) -> Result<Done, Failure> {
    let page = Look::at(&args.remote)?.records(&args.table, args.offset, args.limit)?;
    if args.format.json {
        let records = raw(page.to_json())?;
        out.json(&Page { table: &page.table.name, records, offset: page.offset, has_more: page.has_more })?;
    } else {
        let mut lines = Table::new(page.table.columns.iter().map(|column| &column.name));
        for row in 0..page.rows.len() {
            let cell = |column| page.rows.get(row, column).map_or(String::new(), |value| value_text(&value.to_owned()));
            lines.row((0..page.rows.width()).map(cell));
        }
        out.table(&lines)?;
        if page.has_more {
            let next = page.offset + page.rows.len() as u64 + page.failures.len() as u64;
            out.line("")?;
            let code = if args.remote.access.is_code() { " That takes another code." } else { "" };
            out.line(format!("There are more: --offset {next} shows them.{code}"))?;
        }
    }
    for failure in &page.failures {
        complain(format!("a record cannot be shown: {}", failure.message));
    }
    Ok(if page.failures.is_empty() { Done::Whole } else { Done::Partly })
}

/// The answer as JSON. The records stand in it as text, so that their columns keep their order.
#[derive(Serialize)]
struct Page<'p> {
    table: &'p str,
    records: Box<RawValue>,
    offset: u64,
    has_more: bool,
}

/// JSON that is written already, to be put into an answer as it is.
fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("the answer cannot be shown as JSON: {error}")).with_source(error).into()
    })
}

fn print_schema(table: &TableSchema, out: &mut Out) -> Result<(), Failure> {
    let mut lines = Table::new(["column", "type", "null", "key", "default", ""]);
    for column in &table.columns {
        let key = table.primary_key.iter().position(|name| table.names.same(name, &column.name));
        let key = key.map_or(String::new(), |at| (at + 1).to_string());
        let null = if column.nullable { "yes" } else { "no" };
        let more = if column.generated { "generated" } else { "" };
        let default = column.default.as_deref().unwrap_or_default();
        lines.row([column.name.as_str(), column.declared_type.as_str(), null, key.as_str(), default, more]);
    }
    out.table(&lines)?;
    let flags: Vec<&str> = [(table.without_rowid, "WITHOUT ROWID"), (table.strict, "STRICT")]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
    let mut more: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    let collated = table.primary_key.iter().zip(&table.key_collations);
    more.extend(collated.filter_map(|(name, by)| Some(format!("key: {name} COLLATE {}", by.as_ref()?))));
    more.extend(
        table.unique.iter().filter(|set| !set.columns.is_empty()).map(|set| format!("unique: {}", list(&set.columns))),
    );
    more.extend(table.foreign_keys.iter().map(reference));
    if !more.is_empty() {
        out.line("")?;
    }
    more.iter().try_for_each(|line| out.line(format!("  {}", printable(line))))
}

fn reference(key: &ForeignKey) -> String {
    format!("foreign key: {} -> {} ({})", list(&key.columns), key.parent, list(&key.parent_columns))
}

fn list(names: &[String]) -> String {
    names.join(", ")
}
