//! `rowferry pull`

use std::path::{Path, PathBuf};
use std::time::Duration;

use rowferry::{Auth, ConnectOptions};
use rowferry::{Error, ErrorKind, ExtraColumns, Report, Site, TableStatus, TransferOptions};
use uuid::Uuid;

use super::{cancelled_by_signals, connect_options, open_existing, report, sqlite_path};
use crate::args::pull::PullArgs;
use crate::demo::scratch::Scratch;
use crate::failure::{Done, Failure};
use crate::output::{Out, complain, counted};
use crate::progress::{Bar, Events};

pub fn run(args: &PullArgs, out: &mut Out) -> Result<Done, Failure> {
    let cancel = cancelled_by_signals()?;
    let mut connect = connect_options(&args.network, &cancel)?;
    // Before a database is made: secrets that cannot be read must not leave an empty one behind.
    let auth = match &args.connection {
        Some(_) => {
            if let Some(password) = args.access.password.secret()? {
                connect = connect.download_password(password.as_str());
            }
            None
        }
        None => Some(args.access.auth()?),
    };
    // Before the code is spent: a database that cannot be written is found out now.
    let Target { site: backup, made, _scratch } = target(args)?;
    let from = match (&args.connection, &args.url, auth) {
        (Some(connection), _, _) => {
            From::Connection(backup.connections().find(connection).map_err(Failure::typed)?.uuid, connect)
        }
        (None, Some(url), Some(auth)) => From::Url(url, auth, connect),
        // clap asks for one of them.
        (None, _, _) => return Err(Failure::usage(no_other_site())),
    };
    let mut options = TransferOptions::new()
        .create_missing_tables(!args.no_create_tables)
        .dry_run(args.dry_run)
        .retry_time(args.retry_time)
        .append_again(args.append_again)
        .append_new(args.append_new)
        .refresh(!args.no_refresh)
        .on_taken_key(args.on_taken_key)
        .dangling(args.dangling)
        .initiated_by(&args.by.name)
        .cancel(cancel.clone());
    if let Some(records) = args.batch_size {
        options = options.batch_size(records);
    }
    if let Some(milliseconds) = args.lock_time {
        options = options.lock_time(Duration::from_millis(milliseconds));
    }
    if let Some(strategy) = args.strategy {
        options = options.strategy(strategy);
    }
    if args.ignore_extra_columns {
        options = options.extra_columns(ExtraColumns::Ignore);
    }
    if !args.tables.is_empty() {
        options = options.tables(args.tables.iter().flatten());
    }
    for (table, strategy) in &args.table_strategies {
        options = options.table_strategy(table, *strategy);
    }
    if let Some(wait) = args.wait_for_approval {
        options = options.wait_for_approval(wait);
    }
    if let Some(all) = args.network.timeout {
        options = options.timeout(all);
    }
    let pulled = match args.format.json {
        true => with_events(from, &backup, options, out)?,
        false => {
            let bar = Bar::new();
            from.pull(&backup, options.on_progress(|progress| bar.show(progress)))
        }
    };
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(error) => {
            // Whatever came of it before is not thrown away.
            let empty = backup.list_tables().is_ok_and(|tables| tables.is_empty());
            drop(backup);
            if let Some(made) = made.filter(|_| empty) {
                remove(&made);
            }
            return Err(Failure::typed(error));
        }
    };
    match args.format.json {
        true => {
            out.json(&report::Json(&pulled))?;
            // Also where nobody reads the report: what stays out of a copy must be seen.
            if !pulled.not_copied.is_empty() {
                complain(format!("not copied: {}", pulled.not_copied));
            }
        }
        false => report::print(&pulled, args.dry_run, out)?,
    }
    verdict(pulled)
}

/// Where the tables come from.
enum From<'a> {
    /// The site at a URL that was typed.
    Url(&'a str, Auth, ConnectOptions),
    /// A connection that is kept in the database.
    Connection(Uuid, ConnectOptions),
}

impl From<'_> {
    fn pull(self, backup: &Site, options: TransferOptions<'_>) -> rowferry::Result<Report> {
        match self {
            From::Url(url, auth, connect) => backup.pull_from(url, auth, connect, options),
            From::Connection(uuid, connect) => backup.pull(uuid, connect, options),
        }
    }
}

fn no_other_site() -> Error {
    Error::new(ErrorKind::InvalidInput, "there is nothing to pull from").with_hint("Give a URL or --connection.")
}

/// The database that is pulled into.
struct Target {
    site: Site,
    /// The file, if it was not there before.
    made: Option<PathBuf>,
    /// What is deleted at the end: a dry run into a database that is missing takes another one.
    _scratch: Option<Scratch>,
}

fn target(args: &PullArgs) -> Result<Target, Failure> {
    if args.connection.is_some() {
        return Ok(Target { site: open_existing(&args.db)?, made: None, _scratch: None });
    }
    let path = sqlite_path(&args.db)?;
    let made = (!path.exists()).then(|| path.to_owned());
    if args.dry_run && made.is_some() {
        let scratch = Scratch::new()?;
        return Ok(Target { site: Site::open(scratch.path("dry-run.db"))?, made: None, _scratch: Some(scratch) });
    }
    Ok(Target { site: Site::open(path)?, made, _scratch: None })
}

/// Takes away a database that was made for nothing.
fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        complain(format!("the empty database {} stays: {error}", path.display()));
    }
}

fn with_events(
    from: From<'_>,
    backup: &Site,
    options: TransferOptions<'_>,
    out: &mut Out,
) -> Result<rowferry::Result<Report>, Failure> {
    let (mut events, mut failed) = (Events::default(), None);
    let options = options.on_progress(|progress| {
        if let Some(event) = events.event(progress)
            && let Err(failure) = out.json(&event)
        {
            failed.get_or_insert(failure);
        }
    });
    let pulled = from.pull(backup, options);
    // That a line could not be printed must not end a pull half-way.
    failed.map_or(Ok(pulled), Err)
}

/// How the command ends after this report of a pull.
fn verdict(report: Report) -> Result<Done, Failure> {
    let Err(error) = report.ok() else { return Ok(Done::Whole) };
    if report.cancelled {
        return Err(Failure::reported(error));
    }
    if let Some(error) = report.error {
        return Err(Failure::reported(error));
    }
    let tables = report.tables.len();
    let failed = report.tables.iter().filter(|(_, table)| table.status == TableStatus::Failed).count();
    let incomplete = report.tables.iter().filter(|(_, table)| table.status != TableStatus::Completed).count();
    let records: u64 = report.tables.iter().map(|(_, table)| table.outcome.failed).sum();
    let mut errors: Vec<Error> = report.tables.into_iter().filter_map(|(_, table)| table.error).collect();
    if let Some(at) = errors.iter().position(cuts_off) {
        return Err(Failure::reported(errors.swap_remove(at)));
    }
    if tables == 0 {
        complain(error.to_string());
        return Ok(Done::Partly);
    }
    if failed == tables
        && let Some(error) = errors.into_iter().next()
    {
        return Err(Failure::reported(error));
    }
    let tables = (incomplete > 0).then(|| format!("{incomplete} of {}", counted(tables as u64, "table")));
    let records = (records > 0).then(|| counted(records, "record"));
    let what: Vec<String> = tables.into_iter().chain(records).collect();
    complain(format!("{} failed: see the report", what.join(" and ")));
    Ok(Done::Partly)
}

/// Whether the connection ended with this error. What the other site answered, or called off, ends one table only.
fn cuts_off(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Unreachable)
        && error.http_status().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_the_other_site_called_off_does_not_end_the_pull() {
        let error = |kind| Error::new(kind, "m");
        assert!(cuts_off(&error(ErrorKind::Timeout)) && cuts_off(&error(ErrorKind::Disconnected)));
        assert!(!cuts_off(&error(ErrorKind::Timeout).with_http_status(504)));
        assert!(!cuts_off(&error(ErrorKind::Cancelled)) && !cuts_off(&error(ErrorKind::TableNotFound)));
    }
}
