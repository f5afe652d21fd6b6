//! Tells the caller how far a pull is, and which records failed.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::callbacks::FailureAction;
use super::context::Context;
use super::planned::Table;
use super::progress::{Phase, Progress};
use crate::domain::record::Failure;
use crate::error::{Error, ErrorKind, Result};

/// Tells the caller how far the pull is, when the database is not locked: its own code may write to it.
#[derive(Default)]
pub(super) struct Reporter {
    /// How many tables are done.
    done: usize,
    /// Bytes of all tables.
    pub(super) bytes: u64,
    waiting: Vec<Notice>,
    /// Records that failed, by the positions of their tables.
    failures: Vec<(usize, Failure)>,
    /// The tables that the caller does not want any more, each with the table of the record that failed.
    stopped: BTreeMap<usize, usize>,
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

impl Reporter {
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

    /// Takes note of records of a table that failed.
    pub(super) fn note_failures(&mut self, at: usize, failures: Vec<Failure>) {
        self.failures.extend(failures.into_iter().map(|failure| (at, failure)));
    }

    /// An error if the caller does not want more of a table.
    pub(super) fn check_stopped(&self, at: usize, tables: &[Table]) -> Result<()> {
        match self.stopped.get(&at).and_then(|of| tables.get(*of)) {
            Some(of) => Err(stopped(&of.name)),
            None => Ok(()),
        }
    }

    /// Tells the caller. To be called while the database is not locked.
    pub(super) fn tell(&mut self, cx: &mut Context<'_, '_>, tables: &[Table]) {
        self.tell_failures(cx, tables);
        for notice in std::mem::take(&mut self.waiting) {
            let (Some(call), Some(table)) = (cx.options.progress.as_mut(), tables.get(notice.at)) else { continue };
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

    fn tell_failures(&mut self, cx: &mut Context<'_, '_>, tables: &[Table]) {
        for (at, failure) in std::mem::take(&mut self.failures) {
            let (Some(call), Some(table)) = (cx.options.on_failure.as_mut(), tables.get(at)) else { continue };
            if self.stopped.contains_key(&at) {
                continue;
            }
            match call(&table.name, &failure) {
                FailureAction::Continue => {}
                FailureAction::StopTable => {
                    self.stopped.insert(at, at);
                }
                FailureAction::StopPull => {
                    for other in 0..tables.len() {
                        self.stopped.entry(other).or_insert(at);
                    }
                    cx.lost.get_or_insert_with(|| stopped(&table.name));
                }
            }
        }
    }
}

/// Why a table is not pulled on.
fn stopped(table: &str) -> Error {
    let message = format!("stopped by the caller, because a record of {table:?} failed");
    Error::new(ErrorKind::Stopped, message).with_hint("What came before stays; the same pull again resumes after it.")
}
