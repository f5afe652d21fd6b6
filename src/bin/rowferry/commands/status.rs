//! `rowferry status`

use rowferry::remote_status;
use serde_json::json;

use super::{cancelled_by_signals, connect_options};
use crate::args::site::StatusArgs;
use crate::failure::{Done, Failure};
use crate::output::{Out, printable};

pub fn run(args: &StatusArgs, out: &mut Out) -> Result<Done, Failure> {
    let options = connect_options(&args.network, &cancelled_by_signals()?)?;
    let status = remote_status(&args.url, &options).map_err(Failure::typed)?;
    if args.format.json {
        out.json(&json!({
            "enabled": status.enabled,
            "incoming_mode": status.incoming_mode,
            "password_required": status.password_required,
        }))?;
        return Ok(Done::Whole);
    }
    out.line(format!("Sync is switched {}.", if status.enabled { "on" } else { "off" }))?;
    let password = if status.password_required { ", with a password" } else { "" };
    out.line(format!("Requests to be connected: {}{password}.", printable(&status.incoming_mode)))?;
    Ok(Done::Whole)
}
