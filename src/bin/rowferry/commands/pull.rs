//! `rowferry pull`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rowferry::{Error, ErrorKind, ExtraColumns, Limits, PullOptions, Report, Site, TableStatus};

use super::from::{Entry, From};
use super::{cancelled_by_signals, open, open_with, report};
use crate::args::pull::PullArgs;
use crate::demo::scratch::Scratch;
use crate::failure::{Done, Failure};
use crate::hints;
use crate::output::{Out, complain, counted};
use crate::progress::{Bar, Events, log};
use crate::status::Status;

pub fn run(args: &PullArgs, out: &mut Out) -> Result<Done, Failure> {
    once_for_each("--table-strategy", args.table_strategies.iter().map(|(table, _)| Some(table)))?;
    once_for_each("--key", args.keys.iter().map(|(table, _)| Some(table)))?;
    once_for_each("--newer-by", args.newer_by.iter().map(|(table, _)| table.as_ref()))?;
    let cancel = cancelled_by_signals()?;
    let entry = Entry::read(args.connection.as_ref(), &args.access, &args.network, &cancel)?;
    // Before the code is spent: a database that cannot be written is found out now.
    let Target { site: backup, made, _scratch } = target(args)?;
    let from = From::new(&backup, args.connection.as_ref(), args.url.as_ref(), entry)?;
    let mut options = PullOptions::new()
        .create_missing_tables(!args.no_create_tables)
        .dry_run(args.dry_run)
        .retry_time(args.retry_time)
        .append_again(args.append_again)
        .append_new(args.append_new)
        .refresh(!args.no_refresh)
        .on_taken_key(args.on_taken_key)
        .dangling(args.dangling)
        .on_lossy(args.on_lossy)
        .outside_references(args.outside_references)
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
    options = options.exclude(args.exclude.iter().flatten());
    for (table, strategy) in &args.table_strategies {
        options = options.table_strategy(table, *strategy);
    }
    for (table, columns) in &args.keys {
        options = options.key(table, columns);
    }
    for (table, column) in &args.newer_by {
        options = match table {
            Some(table) => options.table_newer_by(table, column),
            None => options.newer_by(column),
        };
    }
    if let Some(wait) = args.wait_for_approval {
        options = options.wait_for_approval(wait);
    }
    if let Some(records) = args.max_records {
        options = options.max_records(records);
    }
    if let Some(bytes) = args.max_bytes {
        options = options.max_bytes(bytes);
    }
    if let Some(all) = args.max_time.or(args.network.timeout) {
        options = options.timeout(all);
    }
    let pulled = match args.format.json {
        true => with_events(from, &backup, options, out)?,
        false => {
            let bar = Bar::new(out.is_quiet());
            from.pull(&backup, options.on_progress(|progress| bar.show(progress)))
        }
    };
    let pulled = match pulled {
        Ok(pulled) => report::translated(pulled),
        Err(error) => {
            // Whatever came of it before is not thrown away.
            let empty = backup.list_tables().is_ok_and(|tables| tables.is_empty());
            drop(backup);
            if let Some(made) = made.filter(|made| empty && !made.keeps_ticket(&error)) {
                remove(&made.path);
            }
            return Err(Failure::typed(error));
        }
    };
    match args.format.json {
        true => {
            out.json(&report::Event::new(&pulled))?;
            // Also where nobody reads the report: what stays out of a copy must be seen.
            if !pulled.not_copied.is_empty() {
                complain(format!("not copied: {}", pulled.not_copied));
            }
        }
        false if out.is_quiet() && pulled.ok().is_ok() => {}
        false => report::print(&pulled, args.dry_run, out)?,
    }
    verdict(pulled, args.max_time)
}

/// An error if an option is given twice for one table, or for all of them (`None`): the last one alone would count. Names are compared as
/// the other site's are, exactly.
fn once_for_each<'t>(option: &str, mut tables: impl Iterator<Item = Option<&'t String>>) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    let Some(twice) = tables.find(|table| !seen.insert(*table)) else { return Ok(()) };
    let what = twice.map_or("all tables".to_owned(), |table| format!("the table {table:?}"));
    let error = Error::new(ErrorKind::InvalidInput, format!("{option} is given twice for {what}"));
    Err(Failure::usage(error.with_hint(format!("Give it once for each table: {option} TABLE=.."))))
}

/// The database that is pulled into.
struct Target {
    site: Site,
    /// The file itself, never a link to it, if it was not there before.
    made: Option<Made>,
    /// What is deleted at the end: a dry run into a database that is missing takes another one.
    _scratch: Option<Scratch>,
}

/// A database that was not there before.
struct Made {
    path: PathBuf,
    /// The file of its key, and whether that was there before.
    key: (PathBuf, bool),
}

impl Made {
    /// Whether there may be a ticket in it, with which the code works again after this error: where there is one, there is a key.
    fn keeps_ticket(&self, error: &Error) -> bool {
        let (key, was_there) = &self.key;
        key.exists() && (!was_there || error.kind() == ErrorKind::InvalidInput)
    }
}

fn target(args: &PullArgs) -> Result<Target, Failure> {
    if args.connection.is_some() {
        return Ok(Target { site: open_with(&args.db, Limits::default())?, made: None, _scratch: None });
    }
    let Some(path) = args.db.database()?.file() else {
        return Ok(Target { site: open(&args.db)?, made: None, _scratch: None });
    };
    let is_missing = !path.exists();
    if args.dry_run && is_missing {
        let scratch = Scratch::new()?;
        return Ok(Target { site: Site::open(scratch.path("dry-run.db"))?, made: None, _scratch: Some(scratch) });
    }
    let key = args.db.key_file.clone().unwrap_or_else(|| PathBuf::from(format!("{}.rowferry-key", args.db.path)));
    let key = (key.clone(), key.exists());
    let site = open(&args.db)?;
    let made = if is_missing { Some(Made { path: resolved(path)?, key }) } else { None };
    Ok(Target { site, made, _scratch: None })
}

/// The file that a path leads to.
fn resolved(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).map_err(|error| {
        let message = format!("cannot find the database {} that was just made: {error}", path.display());
        Error::new(ErrorKind::CannotOpen, message)
            .with_hint("Check the path, and whether another program moves files there.")
            .with_source(error)
    })
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
    options: PullOptions<'_>,
    out: &mut Out,
) -> Result<rowferry::Result<Report>, Failure> {
    if out.is_quiet() {
        return Ok(from.pull(backup, options.on_progress(log)));
    }
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
fn verdict(report: Report, max_time: Option<Duration>) -> Result<Done, Failure> {
    let Err(error) = report.ok() else { return Ok(Done::Whole) };
    // The pull took as long as it may: the other site is there.
    let is_over = max_time.is_some_and(|most| report.duration >= most);
    let reported = |error: Error| match error.kind() {
        ErrorKind::Timeout if is_over => Failure::reported(error).with_status(Status::Failed),
        _ => Failure::reported(error),
    };
    if report.cancelled {
        return Err(Failure::reported(error));
    }
    if let Some(error) = report.error {
        return Err(reported(error));
    }
    let tables = report.tables.len();
    let failed = report.tables.iter().filter(|table| table.status == TableStatus::Failed).count();
    let incomplete = report.tables.iter().filter(|table| table.status != TableStatus::Completed).count();
    let records: u64 = report.tables.iter().map(|table| table.outcome.failed).sum();
    let mut errors: Vec<Error> = report.tables.into_iter().filter_map(|table| table.error).collect();
    if let Some(at) = errors.iter().position(cuts_off) {
        return Err(reported(errors.swap_remove(at)));
    }
    if tables == 0 {
        complain(hints::text(&error, "pull"));
        return Ok(Done::Partly);
    }
    if failed == tables && !errors.is_empty() {
        let status = Status::of_all(&errors);
        return Err(Failure::reported(errors.swap_remove(0)).with_status(status));
    }
    let tables = (incomplete > 0).then(|| format!("{incomplete} of {}", counted(tables as u64, "table")));
    let records = (records > 0).then(|| counted(records, "record"));
    let what: Vec<String> = tables.into_iter().chain(records).collect();
    complain(format!("{} failed: see the report", what.join(" and ")));
    Ok(Done::Partly)
}

/// Whether the connection ended with this error, or the pull with its bounds. What the other site answered, or called off, ends one table only.
fn cuts_off(error: &Error) -> bool {
    use ErrorKind::{Disconnected, PullLimit, Timeout, Unreachable};
    matches!(error.kind(), Disconnected | Timeout | Unreachable | PullLimit) && error.http_status().is_none()
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
