//! What goes wrong, and what becomes of it: a record that the receiver's table refuses, and a pull that is interrupted.

use std::path::Path;

use rowferry::{Auth, CancelToken, Client, ConnectOptions, Direction, Phase, PullOptions, Report, Result, Site, Value};

use super::Demo;
use super::check::{AFTER, Check, SHOP};
use super::data::{self, TABLES};
use super::failed;
use super::pair::Line;

/// The table that refuses a record, and the key of that.
const REFUSING: &str = "countries";
const REFUSED: &str = "NZ";

/// Lets both go wrong, each in a new database at its path.
pub fn run(demo: &Demo, refused: &Path, resumed: &Path) -> Result<Vec<Line>> {
    let mut lines = refuse(demo, refused)?;
    lines.extend(interrupt(demo, resumed)?);
    Ok(lines)
}

fn line(doing: &'static str, outcome: impl Into<String>, expected: impl Into<String>) -> Line {
    Line { doing, outcome: outcome.into(), expected: expected.into() }
}

/// A CHECK of the table here refuses one record.
fn refuse(demo: &Demo, path: &Path) -> Result<Vec<Line>> {
    let table = format!(
        "CREATE TABLE {REFUSING} (code TEXT NOT NULL PRIMARY KEY CHECK (code <> '{REFUSED}'), name TEXT NOT NULL UNIQUE, flag TEXT)"
    );
    data::open(path)?.execute_batch(&table).map_err(failed)?;
    let site = Site::open(path)?;
    let report = demo.pull(&site, PullOptions::new().table(REFUSING))?;
    let all = demo.shop.get_count(REFUSING)?;
    let expected = format!("{} created, 1 failed", all.saturating_sub(1));
    let Some(pulled) = report.table(REFUSING) else {
        return Ok(vec![line("a pull into a table with a CHECK", "not pulled", expected)]);
    };
    let outcome = &pulled.outcome;
    let counts = format!("{} created, {} failed", outcome.created, outcome.failed);
    let why = outcome.failures.first().map_or("nothing".to_owned(), |failure| {
        let key: Vec<&str> = failure.key.iter().filter_map(Value::as_str).collect();
        format!("{}: {}", failure.reason.code(), key.join(", "))
    });
    let rows = format!("{} rows", site.get_count(REFUSING)?);
    Ok(vec![
        line("a pull into a table with a CHECK", counts, expected),
        line("... says which record failed, and why", why, format!("check: {REFUSED}")),
        line("... and the others are there", rows, format!("{} rows", all.saturating_sub(1))),
    ])
}

/// A pull is cancelled when the first table is done, and the same pull again resumes.
fn interrupt(demo: &Demo, path: &Path) -> Result<Vec<Line>> {
    let site = Site::open(path)?;
    let interrupted = interrupted(demo, &site)?;
    let cut = match interrupted.is_clean() {
        true => "complete",
        false => "incomplete",
    };
    let again = demo.pull(&site, PullOptions::new())?;
    let is_resumed = TABLES.iter().filter_map(|table| again.table(table.name)).any(|table| table.resumed);
    let check = Check::open(&demo.shop_path, path, path)?;
    let mut different = Vec::new();
    for table in &TABLES {
        demo.cancel.check("checking")?;
        if !check.same(table, SHOP, AFTER)? {
            different.push(table.name);
        }
    }
    let equal = if different.is_empty() { "equal".to_owned() } else { format!("different: {}", different.join(", ")) };
    Ok(vec![
        line("a pull is cancelled in the middle", cut, "incomplete"),
        line("the same pull again resumes it", if is_resumed { "resumed" } else { "begun again" }, "resumed"),
        line(
            "... and every record is accounted for",
            if again.is_clean() { "completed" } else { "incomplete" },
            "completed",
        ),
        line("... row for row", equal, "equal"),
    ])
}

fn interrupted(demo: &Demo, site: &Site) -> Result<Report> {
    let session = demo.shop.sessions().create(Direction::Send)?;
    let connect = ConnectOptions::default().cancel_token(demo.cancel.clone());
    let client = Client::connect(demo.server.url(), Auth::code(session.code()), connect)?;
    let cancel = CancelToken::new();
    let options = PullOptions::new().cancel(cancel.clone()).on_progress(|progress| {
        if progress.phase == Phase::Finished || demo.cancel.is_cancelled() {
            cancel.cancel();
        }
    });
    let report = client.pull(site, options)?;
    demo.cancel.check("pulling")?;
    Ok(report)
}
