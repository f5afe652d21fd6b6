//! The progress of a pull: a bar on stderr for people, a line now and then for scripts.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rowferry::{Phase, Progress};
use serde_json::{Value, json};

use crate::output::printable;

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
        let doing = match progress.phase {
            Phase::Applying => " (applying)",
            Phase::AwaitingApproval => " (waits for approval)",
            _ => "",
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
        if self.last.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            return None;
        }
        self.last = Some(Instant::now());
        let phase = match progress.phase {
            Phase::Started => "started",
            Phase::Receiving => "receiving",
            Phase::Applying => "applying",
            Phase::AwaitingApproval => "awaiting_approval",
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
        }))
    }
}
