//! A comparison from its first question to its report.

use std::time::Instant;

use super::compare::{Job, compare};
use super::{TableVerification, VerifyOptions, VerifyReason, VerifyReport, table};
use crate::cancel::Patience;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::pull::{Context, Offered, OnProgress, Phase, Progress, Source, ask_offer};
use crate::site::Site;
use crate::store::Snapshot;

/// How many tables a sentence names.
const NAMED: usize = 20;

/// Compares the tables of a site with those of `source`. `client` is the same where it may know how to compare.
pub(super) fn verify(
    source: &dyn Source,
    client: Option<&Client>,
    site: &Site,
    mut options: VerifyOptions<'_>,
) -> Result<VerifyReport> {
    let began = Instant::now();
    options.how.check()?;
    let here = site.here();
    let mut limits = here.limits.clone();
    limits.pull.retry_time = options.how.retry_time.unwrap_or(limits.pull.retry_time);
    let patience = Patience::new(options.how.cancel.clone(), Some(options.how.time()));
    let mut teller = Teller { call: options.how.progress.take(), at: 0, tables: 0 };
    let mut cx = Context::new(source, &limits, here.store.names(), options.how, patience);
    cx.protected = here.protected;
    let offer = ask_offer(&mut cx).map_err(worded)?;
    let mut snapshot = here.store.snapshot()?;
    let mut notes = offer.notes;
    if offer.is_all && cx.options.tables.is_none() {
        let offered = |name: &String| {
            offer
                .tables
                .iter()
                .map(|table| &table.name)
                .chain(offer.failed.iter().map(|table| &table.name))
                .any(|other| cx.names.same(name, other))
        };
        let more: Vec<String> = snapshot.tables()?.into_iter().filter(|name| !offered(name)).collect();
        notes.extend(not_offered(&more));
    }
    let mut tables: Vec<TableVerification> = Vec::with_capacity(offer.tables.len() + offer.failed.len());
    teller.tables = offer.tables.len();
    for offered in &offer.tables {
        teller.tell(offered, 0);
        let compared = one(&mut cx, client, &mut *snapshot, offered, &mut teller, options.keys);
        let compared = compared.unwrap_or_else(|error| TableVerification::failed(&offered.name, worded(error)));
        teller.tell(offered, compared.rows_there.unwrap_or_default());
        teller.at += 1;
        tables.push(compared);
    }
    for failed in offer.failed {
        let error = failed.error.unwrap_or_else(|| Error::new(ErrorKind::Incomplete, "the table could not be looked at"));
        tables.push(TableVerification::failed(&failed.name, worded(error)));
    }
    Ok(VerifyReport { tables, notes, duration: began.elapsed() })
}

/// Compares one table.
fn one(
    cx: &mut Context<'_, '_>,
    client: Option<&Client>,
    snapshot: &mut dyn Snapshot,
    offered: &Offered,
    teller: &mut Teller<'_>,
    keys: usize,
) -> Result<TableVerification> {
    let name = &offered.name;
    let Some(local) = snapshot.schema(name)? else {
        let missing = TableVerification::different(name, offered.announced, 0);
        return Ok(missing.with_counts([offered.announced, 0, 0]));
    };
    let planned = table::plan(&offered.schema, local, cx.options.extra_columns)?;
    let Some(client) = client.filter(|client| client.can_compare()) else {
        return Ok(TableVerification::inconclusive(name, VerifyReason::PeerLacksFeature, cannot_compare()));
    };
    let job = Job { client, table: &offered.schema, planned: &planned, keys };
    let mut is_again = false;
    loop {
        let compared = cx.ask(|_, patience| compare(&job, snapshot, patience, &mut |rows| teller.tell(offered, rows)));
        match compared {
            // The other site's state was renewed under it: once more, from the start.
            Err(error) if error.kind() == ErrorKind::CursorExpired && !is_again => is_again = true,
            compared => return compared,
        }
    }
}

fn cannot_compare() -> Error {
    let why = "the other site cannot compare tables: it is PhoenixKit, or a rowferry of an older version";
    Error::new(ErrorKind::Refused, why).with_hint("Update rowferry there, or pull the tables again.")
}

/// That tables here are not compared, because the other site has none of their names.
fn not_offered(names: &[String]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut list: Vec<String> = names.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
    if names.len() > NAMED {
        list.push(format!("and {} more", names.len() - NAMED));
    }
    Some(format!("Tables here that the other site does not offer are not compared (not_offered): {}.", list.join(", ")))
}

/// An error in words of a comparison, where it speaks of a pull.
fn worded(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Timeout if error.hint().is_some_and(|hint| hint.contains("PullOptions::timeout")) => {
            Error::new(ErrorKind::Timeout, "the comparison did not end within the time that it may take")
                .with_hint("Compare fewer tables at a time, or allow more time: `VerifyOptions::timeout`.")
        }
        _ => error,
    }
}

/// Tells the caller how far the comparison is.
struct Teller<'p> {
    call: Option<OnProgress<'p>>,
    at: usize,
    tables: usize,
}

impl Teller<'_> {
    fn tell(&mut self, table: &Offered, rows: u64) {
        let Some(call) = &mut self.call else { return };
        call(&Progress {
            table: &table.name,
            table_index: self.at,
            tables: self.tables,
            records: rows,
            announced: table.announced,
            bytes: 0,
            phase: Phase::Comparing,
            approval: None,
            wait: None,
        });
    }
}
