//! What a peer that came by the code of a session came for, and with what it may come back. A code is good for one pull: the ticket that
//! it leaves is for the receiver that used it, and for the tables of that pull, which the receiver tells before it begins.
//!
//! That the pull has completed need not be told: who comes back after all of its tables were received may still resume the last downloads,
//! of which it may lack the end, and gets each table once more at most: a receiver that was killed at its end pulls what it had again, so
//! that all is of one state.

use std::collections::{BTreeSet, HashSet};

use uuid::Uuid;

use super::Denial;
use crate::domain::names::NameRules;
use crate::error::{ErrorKind, Result};
use crate::secret::Ticket;
use crate::state::{sessions, tickets};
use crate::store::Sql;

/// Most tables that a ticket is good for. A pull of more resumes only the first ones that were told.
const TABLES: usize = 10_000;

/// How many downloads of one table a session has before its ticket begins no more: one that is interrupted is resumed, and only what was
/// received before that is pulled once more. A receiver that never says what it has received would have it again and again.
const AGAIN: u64 = 64;

/// The same where it comes back after all tables of its pull were received.
const ONCE_MORE: u64 = 2;

/// That a peer which comes by a code can come back: what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returning {
    /// Its own id, if it gave one.
    pub(crate) receiver: Option<Uuid>,
}

/// A peer that came by the code of a session, or came back by its ticket.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) session: Uuid,
    /// What it got when it came by the code.
    pub(super) ticket: Option<Ticket>,
    /// Whether it came by the ticket.
    is_back: bool,
    /// The tables that it came back for.
    only: Option<Vec<String>>,
    /// Those that it told of its pull.
    told: BTreeSet<String>,
    /// Whether it told more than are kept.
    is_cut: bool,
    /// How many of them the store knows.
    kept: usize,
    /// Those that it had received when it came back, if these were all of its pull.
    had: Vec<String>,
    /// Whether it has said that its pull has completed.
    pub(super) is_over: bool,
}

impl Visit {
    pub(super) fn by_code(session: Uuid, ticket: Option<Ticket>) -> Self {
        Visit {
            session,
            ticket,
            is_back: false,
            only: None,
            told: BTreeSet::new(),
            is_cut: false,
            kept: 0,
            had: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn by_ticket(session: Uuid, only: Option<Vec<String>>, had: Vec<String>) -> Self {
        Visit { is_back: true, only, had, ..Visit::by_code(session, None) }
    }

    /// The tables that it may see; `None` for all that are offered.
    pub(super) fn only(&self) -> Option<&[String]> {
        self.only.as_deref()
    }

    /// Whether it may have a table.
    pub(super) fn allows(&self, table: &str, names: NameRules) -> std::result::Result<(), Denial> {
        match self.only() {
            Some(only) if !names.is_among(table, only) => Err(Denial::new(ErrorKind::TableNotAllowed).of_table(table)),
            _ => Ok(()),
        }
    }

    /// Whether it may begin a download, and not only resume one.
    pub(super) fn may_begin(&self, sql: &mut dyn Sql, table: &str, names: NameRules) -> Result<bool> {
        if self.is_over || !sessions::is_open(sql, self.session)? {
            return Ok(false);
        }
        let most = if names.is_among(table, &self.had) { ONCE_MORE } else { AGAIN };
        Ok(!self.is_back || tickets::count_begun(sql, self.session, table)? < most)
    }

    /// It has begun a download of a table. Where it is of one more than it had, its pull had not completed: it may want what it had once
    /// more, so that all is of one state.
    pub(super) fn has_begun(&mut self, table: &str, names: NameRules) {
        if !names.is_among(table, &self.had) {
            self.had.clear();
        }
    }

    /// It tells tables of its pull. Who came by the code may tell more of them later: on one channel there may be several pulls.
    pub(super) fn tell(&mut self, tables: Vec<String>) {
        if self.only.is_some() {
            return;
        }
        let rest = tables.into_iter().filter(|table| !self.told.contains(table)).collect::<BTreeSet<_>>();
        let room = TABLES.saturating_sub(self.told.len());
        if rest.len() > room && !std::mem::replace(&mut self.is_cut, true) {
            log::warn!(
                target: "rowferry::access",
                "the ticket of session {} is good for {TABLES} tables only: more were told", self.session
            );
        }
        self.told.extend(rest.into_iter().take(room));
    }

    /// Keeps what it told, in the transaction that begins a download.
    pub(super) fn keep(&self, sql: &mut dyn Sql) -> Result<()> {
        match self.told.len() {
            told if told == self.kept => Ok(()),
            _ => tickets::cover(sql, self.session, &self.told),
        }
    }

    /// What it told is kept.
    pub(super) fn is_kept(&mut self) {
        self.kept = self.told.len();
    }
}

/// The tables that a session's receiver has, if these are all of its pull: those that it told, or where it told none those that began.
pub(super) fn received(sql: &mut dyn Sql, session: Uuid, only: Option<&[String]>, names: NameRules) -> Result<Vec<String>> {
    let begun = tickets::begun(sql, session)?;
    let began: HashSet<_> = begun.keys().map(|table| names.fold(table)).collect();
    let is_all = begun.values().all(|is_complete| *is_complete)
        && only.is_none_or(|only| only.iter().all(|table| began.contains(&names.fold(table))));
    Ok(if is_all { begun.into_keys().collect() } else { Vec::new() })
}
