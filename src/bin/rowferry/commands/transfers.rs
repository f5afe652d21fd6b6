//! `rowferry transfers`

use rowferry::{ErrorKind, Transfer, TransferFilter, TransferStatus, Transfers, UndoOptions};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::ids::{self, ShortIds};
use super::{all, connection_uuid, moment, open_existing, size};
use crate::args::transfers::{
    DecideArgs, DenyArgs, ListArgs, OneArgs, ReasonArgs, ShowArgs, StatsArgs, TransfersCommand, UndoArgs,
};
use crate::failure::{Done, Failure};
use crate::hints;
use crate::output::{Out, Table, complain, grouped, printable};

/// How many rows are named that an undo kept, of each table.
const NAMED_ROWS: usize = 20;

pub fn run(command: &TransfersCommand, out: &mut Out) -> Result<Done, Failure> {
    match command {
        TransfersCommand::List(args) => list(args, out)?,
        TransfersCommand::Show(args) => show(args, out)?,
        TransfersCommand::Approve(args) => {
            return decide(args, out, "approved", |transfers, uuid| transfers.approve(uuid));
        }
        TransfersCommand::Deny(DenyArgs { reason, decide: args }) => {
            return decide(args, out, "denied", |transfers, uuid| transfers.deny(uuid, reason.as_deref()));
        }
        TransfersCommand::Cancel(ReasonArgs { reason, one }) => cancel(one, reason.as_deref(), out)?,
        TransfersCommand::Delete(args) => delete(args, out)?,
        TransfersCommand::Undo(args) => return undo(args, out),
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
    let short = ShortIds::new(transfers.iter().map(|transfer| transfer.uuid));
    let mut table = Table::new(["id", "made", "direction", "table", "status", ">records", "with"]);
    for transfer in &transfers {
        table.row([
            short.of(transfer.uuid),
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
    let transfer = open_existing(&args.db)?.transfers().find(&args.id).map_err(Failure::typed)?;
    match args.format.json {
        true => out.json(&shown(&transfer)),
        false => out.fields(&shown(&transfer)),
    }
}

/// Approves or denies one transfer, or all of a connection that wait.
fn decide(
    args: &DecideArgs,
    out: &mut Out,
    done: &str,
    work: impl Fn(Transfers<'_>, Uuid) -> rowferry::Result<Transfer>,
) -> Result<Done, Failure> {
    let site = open_existing(&args.db)?;
    let transfers = site.transfers().by(&args.by.name);
    if let Some(id) = &args.id {
        let uuid = transfers.find(id).map_err(Failure::typed)?.uuid;
        tell(&work(transfers, uuid)?, args.format.json, out, done)?;
        return Ok(Done::Whole);
    }
    // clap asks for the connection.
    let name = args.connection.as_deref().unwrap_or_default();
    let filter = TransferFilter::new().connection(connection_uuid(&site, name)?);
    // All of them first: one that is decided no longer waits.
    let waiting = all(None, 0, |limit, offset| transfers.pending_approvals(&filter.clone().limit(limit).offset(offset)))?;
    if waiting.is_empty() && !args.format.json {
        out.say(format!("No transfers of {} wait for approval.", printable(name)))?;
    }
    let mut ended = Done::Whole;
    for transfer in waiting {
        match work(transfers, transfer.uuid) {
            Ok(transfer) => tell(&transfer, args.format.json, out, done)?,
            // Somebody else was faster, or it expired just now: the others are decided all the same.
            Err(error) if is_late(error.kind()) => {
                complain(hints::text(&error, "transfers"));
                ended = Done::Partly;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ended)
}

/// Whether a transfer does not wait any more.
fn is_late(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidTransition | ErrorKind::ApprovalExpired | ErrorKind::NotFound)
}

fn tell(transfer: &Transfer, json: bool, out: &mut Out, done: &str) -> Result<(), Failure> {
    match json {
        true => out.json(&shown(transfer)),
        false => out.say(format!("The transfer of {} is {done}.", printable(&transfer.table_name))),
    }
}

fn cancel(args: &OneArgs, reason: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let transfers = site.transfers().by(&args.by.name);
    let uuid = transfers.find(&args.id).map_err(Failure::typed)?.uuid;
    tell(&transfers.cancel(uuid, reason)?, args.format.json, out, "cancelled")
}

fn delete(args: &OneArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let transfers = site.transfers().by(&args.by.name);
    let Transfer { uuid, table_name, .. } = transfers.find(&args.id).map_err(Failure::typed)?;
    ids::enough(&args.id, &format!("the transfer of {table_name:?} ({uuid})"))?;
    transfers.delete(uuid)?;
    match args.format.json {
        true => out.json(&json!({ "deleted": uuid })),
        false => out.say(format!("Transfer {uuid} is deleted.")),
    }
}

fn undo(args: &UndoArgs, out: &mut Out) -> Result<Done, Failure> {
    let site = open_existing(&args.one.db)?;
    let transfers = site.transfers().by(&args.one.by.name);
    let uuid = transfers.find(&args.one.id).map_err(Failure::typed)?.uuid;
    let report = transfers.undo(uuid, UndoOptions::new().dry_run(args.dry_run).whole_pull(args.pull))?;
    let done = if report.kept() == 0 { Done::Whole } else { Done::Partly };
    if args.one.format.json {
        out.json(&report)?;
        return Ok(done);
    }
    let mut lines = Table::new(["table", ">restored", ">deleted", ">kept", ">unchanged"]);
    for table in &report.tables {
        let counts = [table.restored, table.deleted, table.kept, table.unchanged].map(grouped);
        lines.row(std::iter::once(table.table.clone()).chain(counts));
    }
    out.table(&lines)?;
    for table in report.tables.iter().filter(|table| table.kept > 0) {
        for row in table.kept_rows.iter().take(NAMED_ROWS) {
            let key = serde_json::to_string(&row.key).unwrap_or_default();
            let why = row.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
            complain(format!("{} {} is kept ({}{})", printable(&table.table), printable(&key), row.reason, printable(&why)));
        }
        if table.kept > NAMED_ROWS as u64 {
            complain(format!("{}: {} rows are kept", printable(&table.table), grouped(table.kept)));
        }
    }
    if report.dry_run {
        out.line("This was a dry run: nothing was changed.")?;
    }
    Ok(done)
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
