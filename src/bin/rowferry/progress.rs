//! The progress of a pull: a bar on stderr for people, a line now and then for scripts.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rowferry::{Phase, Progress};
use serde_json::{Value, json};

use crate::commands::size;
use crate::output::{grouped, printable, span};

/// A bar on stderr. It is not drawn when that is no terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    pace: RefCell<Option<Pace>>,
}

impl Bar {
    /// A bar of the pull of which it is told; one that is quiet is not drawn, nor is one among the lines of a log.
    pub fn new(quiet: bool) -> Self {
        let quiet = quiet || log::log_enabled!(log::Level::Info);
        let style =
            ProgressStyle::with_template("  {prefix:>7} {bar:20} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        // Nothing is drawn before the first table.
        let bar = ProgressBar::with_draw_target(Some(100), target).with_style(style.progress_chars("=> "));
        Bar { bar, pace: RefCell::new(None) }
    }

    pub fn show(&self, progress: &Progress<'_>) {
        log(progress);
        let now = Instant::now();
        let progress = &Seen::of(progress);
        let mut pace = self.pace.borrow_mut();
        let pace = pace.get_or_insert_with(|| Pace::new(progress, now));
        pace.follow(progress, now);
        self.bar.set_position(percent(progress));
        self.bar.set_prefix(match progress.tables {
            0 => String::new(),
            tables => format!("{}/{tables}", progress.table_index + 1),
        });
        self.bar.set_message(line(progress, pace, now));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What the bar shows of a pull's progress.
#[derive(Debug, Clone, Copy)]
struct Seen<'t> {
    table: &'t str,
    table_index: usize,
    tables: usize,
    records: u64,
    announced: u64,
    bytes: u64,
    phase: Phase,
    wait: Option<Duration>,
}

impl<'t> Seen<'t> {
    fn of(progress: &Progress<'t>) -> Self {
        Seen {
            table: progress.table,
            table_index: progress.table_index,
            tables: progress.tables,
            records: progress.records,
            announced: progress.announced,
            bytes: progress.bytes,
            phase: progress.phase,
            wait: progress.wait,
        }
    }
}

/// How fast a pull is. Only what this run brought counts: one that resumes has records from the beginning.
#[derive(Debug)]
struct Pace {
    began: Instant,
    bytes: u64,
    table_index: usize,
    table_began: Instant,
    table_records: u64,
}

/// For how long nothing is said of the pace: before, it is no more than a guess.
const SETTLING: Duration = Duration::from_secs(1);

impl Pace {
    fn new(progress: &Seen<'_>, now: Instant) -> Self {
        Pace {
            began: now,
            bytes: progress.bytes,
            table_index: progress.table_index,
            table_began: now,
            table_records: progress.records,
        }
    }

    /// Begins again with each table, and where a table is pulled from its start again.
    fn follow(&mut self, progress: &Seen<'_>, now: Instant) {
        if self.table_index != progress.table_index || progress.records < self.table_records {
            (self.table_index, self.table_began, self.table_records) = (progress.table_index, now, progress.records);
        }
    }

    /// Bytes in a second.
    fn rate(&self, progress: &Seen<'_>, now: Instant) -> Option<u64> {
        let elapsed = now.saturating_duration_since(self.began);
        let bytes = progress.bytes.saturating_sub(self.bytes);
        (elapsed >= SETTLING && bytes > 0).then(|| (bytes as f64 / elapsed.as_secs_f64()) as u64)
    }

    /// How long the rest of the table takes, if its sender counted right.
    fn left(&self, progress: &Seen<'_>, now: Instant) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.table_began);
        let came = progress.records.saturating_sub(self.table_records);
        let missing = progress.announced.checked_sub(progress.records).filter(|missing| *missing > 0)?;
        let seconds = elapsed.as_secs_f64() * missing as f64 / came as f64;
        (elapsed >= SETTLING && came > 0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }
}

/// How much of a table is here, in hundredths. While rows may still come it is not all of it, however few were announced: a sender may
/// have only estimated how many there are, and its table may have grown.
fn percent(progress: &Seen<'_>) -> u64 {
    match progress.phase {
        Phase::Applying | Phase::Finished => 100,
        _ => {
            let percent = u128::from(progress.records) * 100 / u128::from(progress.announced.max(1));
            u64::try_from(percent).map_or(99, |percent| percent.min(99))
        }
    }
}

fn line(progress: &Seen<'_>, pace: &Pace, now: Instant) -> String {
    let mut parts = vec![format!("{:>3} %", percent(progress))];
    parts.push(match progress.records <= progress.announced {
        true => format!("{}/{} records", grouped(progress.records), grouped(progress.announced)),
        false => format!("{} records", grouped(progress.records)),
    });
    parts.push(size(progress.bytes));
    parts.extend(pace.rate(progress, now).map(|rate| format!("{}/s", size(rate))));
    parts.extend(pace.left(progress, now).map(|left| format!("{} left", span(left))));
    let wait = progress.wait.map_or(String::new(), |wait| format!(" up to {}", span(wait)));
    let doing = match progress.phase {
        Phase::Connecting => return format!("(the other site is busy, trying for{wait})"),
        Phase::Applying => " (applying)".to_owned(),
        Phase::AwaitingApproval => format!(" (waiting{wait} for approval)"),
        Phase::RateLimited => format!(" (waiting{wait}, as the other site asked)"),
        Phase::Reconnecting => format!(" (connection lost, reconnecting for{wait})"),
        _ => String::new(),
    };
    parts.push(format!("{}{doing}", printable(progress.table)));
    parts.join("  ")
}

/// Logs what is pulled.
pub fn log(progress: &Progress<'_>) {
    let (table, records, announced) = (printable(progress.table), progress.records, progress.announced);
    match progress.phase {
        Phase::Started => log::info!("pulling {table:?}, {announced} records are announced"),
        Phase::Finished => log::info!("{table:?} is done: {records} records came"),
        phase => log::debug!("{table:?}: {phase:?}, {records} of {announced} records, {} bytes", progress.bytes),
    }
}

/// Lets a few events pass per second.
#[derive(Debug, Default)]
pub struct Events {
    last: Option<Instant>,
}

impl Events {
    const PAUSE: Duration = Duration::from_millis(500);

    /// The event to print, if it is time for one.
    pub fn event(&mut self, progress: &Progress<'_>) -> Option<Value> {
        log(progress);
        // That it waits is said each time: nothing else is for a while.
        if progress.wait.is_none() && self.last.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        let phase = match progress.phase {
            Phase::Connecting => "connecting",
            Phase::Comparing => "comparing",
            Phase::Started => "started",
            Phase::Receiving => "receiving",
            Phase::Applying => "applying",
            Phase::AwaitingApproval => "awaiting_approval",
            Phase::RateLimited => "rate_limited",
            Phase::Reconnecting => "reconnecting",
            Phase::Finished => "finished",
            _ => "other",
        };
        Some(json!({
            "event": "progress",
            "table": progress.table,
            "table_index": progress.table_index,
            "tables": progress.tables,
            "records": progress.records,
            "announced": progress.announced,
            "bytes": progress.bytes,
            "phase": phase,
            "wait_seconds": progress.wait.map(|wait| wait.as_secs_f64()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(records: u64, announced: u64, bytes: u64) -> Seen<'static> {
        Seen { table: "users", table_index: 0, tables: 2, records, announced, bytes, phase: Phase::Receiving, wait: None }
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_here() {
        for (records, announced, percents) in [(0, 0, 0), (1, 3, 33), (3, 3, 99), (50, 3, 99), (u64::MAX, 1, 99), (0, 9, 0)]
        {
            assert_eq!(percent(&progress(records, announced, 0)), percents, "{records} of {announced}");
        }
        assert_eq!(percent(&Seen { phase: Phase::Applying, ..progress(1, 3, 0) }), 100);
    }

    #[test]
    fn a_resumed_pull_counts_what_this_run_brings() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut pace = Pace::new(&progress(5_000, 10_000, 0), began);
        let now = progress(6_000, 10_000, 4_000_000);
        pace.follow(&now, at(2));
        assert_eq!((pace.rate(&now, at(2)), pace.left(&now, at(2))), (Some(2_000_000), Some(Duration::from_secs(8))));
        assert_eq!(line(&now, &pace, at(2)), " 60 %  6,000/10,000 records  4.0 MB  2.0 MB/s  8 seconds left  users");
        // Too early, and no more to come.
        assert_eq!((pace.rate(&now, began), pace.left(&progress(10_000, 10_000, 0), at(2))), (None, None));
        let more = progress(12_000, 10_000, 8_000_000);
        assert_eq!(line(&more, &pace, at(4)), " 99 %  12,000 records  8.0 MB  2.0 MB/s  users");
        // The next table has a pace of its own.
        let next = Seen { table_index: 1, ..progress(0, 100, 8_000_000) };
        pace.follow(&next, at(4));
        assert_eq!(pace.left(&Seen { records: 50, ..next }, at(6)), Some(Duration::from_secs(2)));
    }
}
