//! `rowferry status`

use rowferry::{Error, ErrorKind, Site, remote_status};
use serde_json::json;

use super::{cancelled_by_signals, connect_options, open_existing};
use crate::args::site::StatusArgs;
use crate::args::{Db, Network};
use crate::failure::{Done, Failure};
use crate::output::{Out, Table, grouped, printable};

pub fn run(args: &StatusArgs, out: &mut Out) -> Result<Done, Failure> {
    // clap asks for one of them. A URL goes before what the environment says of a database.
    match (&args.url, &args.db) {
        (Some(url), _) => remote(args, url, out)?,
        (None, Some(path)) => {
            let Network { prefix, ca_cert, timeout } = &args.network;
            if prefix.is_some() || ca_cert.is_some() || timeout.is_some() {
                let message = "--prefix, --ca-cert and --timeout are about another site, and none was given";
                return Err(Failure::usage(Error::new(ErrorKind::InvalidInput, message).with_hint("Give its URL.")));
            }
            let postgres = args.postgres.clone();
            let db = Db { path: path.clone(), postgres, key_file: None, trust_schema: args.trust_schema };
            own(args, &open_existing(&db)?, out)?;
        }
        (None, None) => {}
    }
    Ok(Done::Whole)
}

fn remote(args: &StatusArgs, url: &str, out: &mut Out) -> Result<(), Failure> {
    let options = connect_options(&args.network, &cancelled_by_signals()?)?;
    let status = remote_status(url, &options).map_err(Failure::typed)?;
    if args.format.json {
        return out.json(&json!({
            "enabled": status.enabled,
            "incoming_mode": status.incoming_mode,
            "password_required": status.password_required,
        }));
    }
    say(status.enabled, &status.incoming_mode, status.password_required, out)
}

/// What a site of one's own is set to, and has.
fn own(args: &StatusArgs, site: &Site, out: &mut Out) -> Result<(), Failure> {
    let (settings, counts) = (site.settings(), site.counts()?);
    let (status, site_url) = (settings.status()?, settings.site_url()?);
    if args.format.json {
        return out.json(&json!({
            "enabled": status.enabled,
            "incoming_mode": status.incoming_mode,
            "password_required": status.password_required,
            "site_url": site_url,
            "connections": counts.connections,
            "pending_approvals": counts.pending_approvals,
            "active_transfers": counts.active_transfers,
            "active_sessions": counts.active_sessions,
            "outbox": counts.outbox,
        }));
    }
    say(status.enabled, &status.incoming_mode, status.password_required, out)?;
    out.line(format!("This site's URL: {}.", site_url.as_deref().map_or_else(|| "not set".to_owned(), printable)))?;
    out.line("")?;
    let mut table = Table::new(["", ">number"]);
    for (status, number) in &counts.connections {
        table.row([format!("{status} connections"), grouped(*number)]);
    }
    table.row(["transfers that wait for approval", &grouped(counts.pending_approvals)]);
    table.row(["transfers that run", &grouped(counts.active_transfers)]);
    table.row(["sessions whose code works", &grouped(counts.active_sessions)]);
    table.row(["messages that wait for other sites", &grouped(counts.outbox)]);
    out.table(&table)
}

fn say(enabled: bool, incoming_mode: &str, password_required: bool, out: &mut Out) -> Result<(), Failure> {
    out.line(format!("Sync is switched {}.", if enabled { "on" } else { "off" }))?;
    let password = if password_required { ", with a password" } else { "" };
    out.line(format!("Requests to be connected: {}{password}.", printable(incoming_mode)))
}
