//! Tells the caller how far a pull is.

use std::time::Duration;

use uuid::Uuid;

use super::options::OnProgress;
use super::planned::Table;
use super::progress::{Phase, Progress};

/// Tells the caller how far the pull is, when the database is not locked: its own code may write to it.
#[derive(Default)]
pub(super) struct Teller {
    /// How many tables are done.
    done: usize,
    /// Bytes of all tables.
    pub(super) bytes: u64,
    waiting: Vec<Notice>,
}

/// What is told when the database is free.
struct Notice {
    at: usize,
    phase: Phase,
    table_index: usize,
    records: u64,
    bytes: u64,
    approval: Option<Uuid>,
    wait: Option<Duration>,
}

impl Teller {
    /// Takes note of what a pull is doing with a table.
    pub(super) fn note(&mut self, at: usize, phase: Phase, table: &Table) {
        self.push(at, phase, None, table);
    }

    /// Takes note that a pull waits for something, for so long at most.
    pub(super) fn note_wait(&mut self, at: usize, phase: Phase, time: Duration, table: &Table) {
        self.push(at, phase, Some(time), table);
    }

    fn push(&mut self, at: usize, phase: Phase, wait: Option<Duration>, table: &Table) {
        let (records, approval) = (table.received, table.report.approval);
        self.waiting.push(Notice { at, phase, table_index: self.done, records, bytes: self.bytes, approval, wait });
        self.done += usize::from(phase == Phase::Finished);
    }

    /// Takes note that rows of a table were committed, unless there is something else to tell.
    pub(super) fn note_rows(&mut self, at: usize, table: &Table) {
        if self.waiting.last().is_none_or(|last| last.at != at) {
            self.note(at, Phase::Receiving, table);
        }
    }

    /// A table that was done is pulled again.
    pub(super) fn again(&mut self) {
        self.done = self.done.saturating_sub(1);
    }

    /// Tells the caller. To be called while the database is not locked.
    pub(super) fn tell(&mut self, call: &mut Option<OnProgress<'_>>, tables: &[Table]) {
        for notice in std::mem::take(&mut self.waiting) {
            let (Some(call), Some(table)) = (call.as_mut(), tables.get(notice.at)) else { continue };
            call(&Progress {
                table: &table.name,
                table_index: notice.table_index,
                tables: tables.len(),
                records: notice.records,
                announced: table.announced,
                bytes: notice.bytes,
                phase: notice.phase,
                approval: notice.approval,
                wait: notice.wait,
            });
        }
    }
}
