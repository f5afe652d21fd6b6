//! `rowferry doctor`

use std::thread;
use std::time::Duration;

#[cfg(feature = "postgres")]
use rowferry::{Error, ErrorKind};
use rowferry::{Finding, FindingLevel, IntegrityCheck};
use serde_json::json;

use super::cancelled_by_signals;
use crate::args::site::DoctorArgs;
use crate::database::Database;
use crate::failure::{Done, Failure};
use crate::hints::translated;
use crate::output::{Out, one_line};

/// How often is looked whether a signal came.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub fn run(args: &DoctorArgs, out: &mut Out) -> Result<Done, Failure> {
    let cancel = cancelled_by_signals()?;
    let builder = args.db.builder().on_connection({
        let cancel = cancel.clone();
        move |sqlite| {
            let (looking, cancel) = (sqlite.get_interrupt_handle(), cancel.clone());
            // It ends with the program. Each statement is to end, also one that begins later.
            thread::spawn(move || {
                loop {
                    thread::sleep(POLL_INTERVAL);
                    if cancel.is_cancelled() {
                        looking.interrupt();
                    }
                }
            });
            Ok(())
        }
    });
    let check = if args.full { IntegrityCheck::Full } else { IntegrityCheck::Quick };
    let found = match args.db.database()? {
        Database::File(path) => builder.doctor(path, check),
        #[cfg(feature = "postgres")]
        Database::Postgres(_) if args.full => {
            let error = Error::new(ErrorKind::InvalidInput, "--full is about a SQLite file");
            return Err(Failure::usage(error.with_hint("Leave it out, and run PostgreSQL's own pg_amcheck.")));
        }
        #[cfg(feature = "postgres")]
        Database::Postgres(options) => builder.doctor_postgres(*options),
    };
    cancel.check("looking at the database")?;
    let found = found?;
    for finding in &found {
        match args.format.json {
            true => out.json(&json!({
                "event": "finding",
                "level": finding.level,
                "code": finding.code,
                "message": translated(&finding.message),
                "hint": hint(finding),
            }))?,
            false if finding.level == FindingLevel::Ok => out.say(line(finding))?,
            false => out.line(line(finding))?,
        }
    }
    match found.iter().any(|finding| finding.level == FindingLevel::Problem) {
        true => Ok(Done::Partly),
        false => Ok(Done::Whole),
    }
}

/// A finding for people: the level in a column of its own, and what to do on a line of its own.
fn line(finding: &Finding) -> String {
    let said = format!(
        "{:<9}{}: {}",
        finding.level.as_str(),
        finding.code.replace('_', " "),
        one_line(&translated(&finding.message))
    );
    match hint(finding) {
        Some(hint) => format!("{said}\n         {}", one_line(&hint)),
        None => said,
    }
}

/// What to do about it: the library names its calls, and here there are commands for them.
fn hint(finding: &Finding) -> Option<String> {
    let hint = finding.hint.as_deref()?;
    Some(match finding.code {
        "approvals" => "See `rowferry transfers list --pending`, and approve or deny them; they expire.".to_owned(),
        "outbox" => {
            "`rowferry serve` sends them, every minute: check that it runs, and that the other sites can be reached \
             (`rowferry connections check`)."
                .to_owned()
        }
        _ => translated(hint),
    })
}
