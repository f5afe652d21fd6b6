//! How far a pull is.

use uuid::Uuid;

use super::options::OnProgress;
use super::plan::Table;

/// How far a pull is, for a progress bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'t> {
    /// The table that is being pulled.
    pub table: &'t str,
    /// Its place among the tables of the pull, from 0.
    pub table_index: usize,
    /// How many tables the pull has.
    pub tables: usize,
    /// Records of this table that were received.
    pub records: u64,
    /// How many records of this table the sender announced.
    pub announced: u64,
    /// Bytes received in this pull.
    pub bytes: u64,
    /// What is being done.
    pub phase: Phase,
    /// The sender's transfer that someone there has to approve before this table is pulled, once it is known.
    pub approval: Option<Uuid>,
}

/// What a pull is doing with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The other side has yet to approve it. Told again each time that the other site was asked.
    AwaitingApproval,
    /// The other site counts its calls and said to wait.
    RateLimited,
    /// The connection was lost, and is about to be made again.
    Reconnecting,
    /// It is about to ask for the first page.
    Started,
    /// Pages arrive.
    Receiving,
    /// All records are here, and those that had to wait are applied.
    Applying,
    /// It is done with the table.
    Finished,
}

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
}

impl Teller {
    /// Takes note of what a pull is doing with a table.
    pub(super) fn note(&mut self, at: usize, phase: Phase, table: &Table) {
        let (records, approval) = (table.received, table.report.approval);
        self.waiting.push(Notice { at, phase, table_index: self.done, records, bytes: self.bytes, approval });
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
            });
        }
    }
}
