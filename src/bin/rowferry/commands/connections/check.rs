//! What the other sites say of connections.

use rowferry::{ConnectionCheck, ConnectionFilter};
use serde::Serialize;

use super::{Shown, all, find, shown};
use crate::args::connections::CheckArgs;
use crate::commands::plain::warn_of_plain_http;
use crate::commands::{cancelled_by_signals, connect_options, open_existing};
use crate::failure::Failure;
use crate::output::{Out, Table};

/// A connection, and what the other site says of it.
#[derive(Serialize)]
struct Line<'c> {
    #[serde(flatten)]
    connection: Shown<'c>,
    remote_status: &'static str,
    error: Option<String>,
    error_code: Option<&'static str>,
    /// Whether it was suspended just now, because the other site no longer has it.
    suspended_now: bool,
}

impl<'c> Line<'c> {
    fn new(checked: &'c ConnectionCheck) -> Self {
        Line {
            connection: shown(&checked.connection),
            remote_status: checked.status.as_str(),
            error: checked.error.as_ref().map(ToString::to_string),
            error_code: checked.error.as_ref().map(rowferry::Error::code),
            suspended_now: checked.suspended,
        }
    }
}

pub fn run(args: &CheckArgs, out: &mut Out) -> Result<(), Failure> {
    let site = open_existing(&args.db)?;
    let connections = match &args.connection {
        Some(connection) => vec![find(&site, connection)?],
        None => all(&site, &ConnectionFilter::new(), None, 0)?,
    };
    let cancel = cancelled_by_signals()?;
    let notifier = site.notifier(connect_options(&args.network, &cancel)?).by(&args.by.name);
    connections.iter().for_each(|connection| warn_of_plain_http(&connection.site_url));
    if args.format.json {
        let mut printed = Ok(());
        notifier.check(&connections, |checked| {
            if printed.is_ok() {
                printed = out.json(&Line::new(checked));
            }
        });
        printed?;
        return Ok(cancel.check("checking connections")?);
    }
    let checked = notifier.check(&connections, |_| {});
    cancel.check("checking connections")?;
    let mut table = Table::new(["name", "direction", "site", "here", "there", ""]);
    for checked in &checked {
        let connection = &checked.connection;
        let note = match (&checked.error, checked.suspended) {
            (_, true) => "suspended here now".to_owned(),
            (Some(error), false) => error.message().to_owned(),
            (None, false) => String::new(),
        };
        table.row([
            connection.name.clone(),
            connection.direction.to_string(),
            connection.site_url.clone(),
            connection.status.to_string(),
            checked.status.to_string(),
            note,
        ]);
    }
    match table.is_empty() {
        true => out.line("There are no connections."),
        false => out.table(&table),
    }
}
