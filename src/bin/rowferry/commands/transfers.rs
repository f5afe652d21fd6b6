//! `rowferry transfers`

use rowferry::{Transfer, TransferFilter, TransferStatus, Transfers};
use serde::Serialize;
use serde_json::json;

use super::{all, connection_uuid, moment, open_existing, size};
use crate::args::transfers::{ListArgs, OneArgs, ReasonArgs, ShowArgs, StatsArgs, TransfersCommand};
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, grouped, printable};

pub fn run(command: &TransfersCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        TransfersCommand::List(args) => list(args, out)?,
        TransfersCommand::Show(args) => show(args, out)?,
        TransfersCommand::Approve(args) => change(args, out, "approved", |transfers| transfers.approve(args.uuid))?,
        TransfersCommand::Deny(ReasonArgs { reason, one }) => {
            change(one, out, "denied", |transfers| transfers.deny(one.uuid, reason.as_deref()))?;
        }
        TransfersCommand::Cancel(ReasonArgs { reason, one }) => {
            change(one, out, "cancelled", |transfers| transfers.cancel(one.uuid, reason.as_deref()))?;
        }
        TransfersCommand::Delete(args) => delete(args, out)?,
        TransfersCommand::Stats(args) => stats(args, out)?,
    }
    Ok(Done::Whole)
}

fn list(args: &ListArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let mut filter = TransferFilter::new().statuses(args.statuses.iter().copied());
    if let Some(direction) = args.direction {
        filter = filter.direction(direction);
    }
    if let Some(connection) = &args.connection {
        filter = filter.connection(connection_uuid(&site, connection)?);
    }
    if let Some(table) = &args.table {
        filter = filter.table(table);
    }
    if let Some(required) = args.requires_approval {
        filter = filter.requires_approval(required);
    }
    if let Some(from) = args.from {
        filter = filter.from(from);
    }
    if let Some(to) = args.to {
        filter = filter.to(to);
    }
    let transfers = all(Some(args.limit), args.offset, |limit, offset| {
        let page = filter.clone().limit(limit).offset(offset);
        match args.pending {
            true => site.transfers().pending_approvals(&page),
            false => site.transfers().list(&page),
        }
    })?;
    if args.format.json {
        return transfers.iter().try_for_each(|transfer| out.json(&shown(transfer)));
    }
    let mut table = Table::new(["uuid", "made", "direction", "table", "status", ">records", "with"]);
    for transfer in &transfers {
        table.row([
            transfer.uuid.to_string(),
            moment(transfer.inserted_at),
            transfer.direction.to_string(),
            transfer.table_name.clone(),
            transfer.status.to_string(),
            grouped(transfer.counters.records_transferred),
            other_side(transfer),
        ]);
    }
    match (table.is_empty(), args.pending) {
        (true, true) => out.line("No transfers wait for approval."),
        (true, false) => out.line("There are no such transfers."),
        (false, _) => out.table(&table),
    }
}

/// Who is at the other end, as far as it is known.
fn other_side(transfer: &Transfer) -> String {
    transfer.remote_site_url.clone().or_else(|| transfer.requester_ip.clone()).unwrap_or_default()
}

fn show(args: &ShowArgs, out: &mut Out) -> Result<(), Failure> {
    let transfer = open_existing(&args.db)?.transfers().get(args.uuid)?;
    match args.format.json {
        true => out.json(&shown(&transfer)),
        false => out.fields(&shown(&transfer)),
    }
}

fn change(
    args: &OneArgs,
    out: &mut Out,
    done: &str,
    work: impl FnOnce(Transfers<'_>) -> rowferry::Result<Transfer>,
) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let transfer = work(site.transfers().by(&args.by.name))?;
    match args.format.json {
        true => out.json(&shown(&transfer)),
        false => out.line(format!("The transfer of {} is {done}.", printable(&transfer.table_name))),
    }
}

fn delete(args: &OneArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    site.transfers().by(&args.by.name).delete(args.uuid)?;
    match args.format.json {
        true => out.json(&json!({ "deleted": args.uuid })),
        false => out.line(format!("Transfer {} is deleted.", args.uuid)),
    }
}

fn stats(args: &StatsArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let transfers = site.transfers();
    let mut filter = TransferFilter::new();
    if let Some(connection) = &args.connection {
        filter = filter.connection(connection_uuid(&site, connection)?);
    }
    if let Some(direction) = args.direction {
        filter = filter.direction(direction);
    }
    if let Some(from) = args.from {
        filter = filter.from(from);
    }
    if let Some(to) = args.to {
        filter = filter.to(to);
    }
    let count = |status| transfers.count(&filter.clone().status(status));
    let total = transfers.count(&filter)?;
    let (completed, failed) = (count(TransferStatus::Completed)?, count(TransferStatus::Failed)?);
    let tables = transfers.table_stats(&filter)?;
    let records = tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.records));
    let bytes = tables.iter().fold(0u64, |sum, table| sum.saturating_add(table.bytes));
    if args.format.json {
        return out.json(&json!({
            "total_transfers": total,
            "completed": completed,
            "failed": failed,
            "total_records": records,
            "total_bytes": bytes,
            "tables": tables,
        }));
    }
    let mut lines = Table::new(["table", ">transfers", ">records", ">bytes"]);
    for table in &tables {
        lines.row([table.table_name.clone(), grouped(table.transfers), grouped(table.records), size(table.bytes)]);
    }
    lines.row(["all".to_owned(), grouped(total), grouped(records), size(bytes)]);
    out.table(&lines)?;
    out.line("")?;
    out.line(format!("{} completed, {} failed.", grouped(completed), grouped(failed)))
}

/// A transfer as it is printed: its fields, and what follows from them.
#[derive(Serialize)]
struct Shown<'t> {
    #[serde(flatten)]
    transfer: &'t Transfer,
    success_rate: Option<f64>,
    duration_seconds: Option<f64>,
}

fn shown(transfer: &Transfer) -> Shown<'_> {
    let duration_seconds = transfer.duration().map(time::Duration::as_seconds_f64);
    Shown { transfer, success_rate: transfer.success_rate(), duration_seconds }
}
