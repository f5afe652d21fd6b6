//! The progress of a pull: a bar on stderr for people, a line now and then for scripts.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rowferry::{Phase, Progress};
use serde_json::{Value, json};

use crate::output::{printable, span};

/// A bar on stderr. It is not drawn when that is no terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    pub fn new() -> Self {
        const FORM: &str = "  {prefix:>7} {bar:30} {human_pos:>9}/{human_len} records  {msg}";
        let style = ProgressStyle::with_template(FORM).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Nothing is drawn before the first table.
        Bar(ProgressBar::new(0).with_style(style.progress_chars("=> ")))
    }

    pub fn show(&self, progress: &Progress<'_>) {
        // The position first: the bar may be drawn at any of these calls. The sender may have only estimated how many there are.
        self.0.set_position(progress.records);
        self.0.set_length(progress.announced.max(progress.records));
        self.0.set_prefix(format!("{}/{}", progress.table_index + 1, progress.tables));
        let wait = progress.wait.map_or(String::new(), |wait| format!(" up to {}", span(wait)));
        let doing = match progress.phase {
            Phase::Applying => " (applying)".to_owned(),
            Phase::AwaitingApproval => format!(" (waiting{wait} for approval)"),
            Phase::RateLimited => format!(" (waiting{wait}, as the other site asked)"),
            Phase::Reconnecting => format!(" (connection lost, reconnecting for{wait})"),
            _ => String::new(),
        };
        self.0.set_message(format!("{}{doing}", printable(progress.table)));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
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
        // That it waits is said each time: nothing else is for a while.
        if progress.wait.is_none() && self.last.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        let phase = match progress.phase {
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
