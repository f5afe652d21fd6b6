//! Who may compare a table's rows with its own, and have those that differ.

use super::grant::{Grant, Who};
use super::{Answer, Denial};
use crate::error::ErrorKind;
use crate::export::Room;
use crate::state::{self, connections};

impl Grant {
    /// What is kept of tables that peers compare is taken from here.
    pub(crate) fn room(&self) -> Room {
        self.access.room()
    }

    /// Most rows of a table that it compared that one page may have, as of the last look.
    pub(crate) fn compared_at_once(&self) -> u64 {
        self.policy_of().map_or(u64::MAX, |connection| connection.policy.max_records_per_request)
    }

    /// Whether it may compare a table, as of the last look: as it may pull it, but that this takes a call of the rate and no download. Where
    /// each pull is approved by people here, a comparison would tell what they did not approve.
    pub(crate) fn compare(&self, table: &str) -> Answer<()> {
        self.new_use()?;
        self.comparable(table)?;
        let site = self.site();
        if let Who::Session(visit) = &self.who {
            let may = state::read(site.store_ref(), |sql| visit.may_begin(sql, table, site.names()))?;
            if !may {
                return Err(self.noted(Denial::new(ErrorKind::CodeUsed).of_table(table)));
            }
            let counted = self.access.session_pulls().count(visit.session, table, site.now(), site.limits());
            counted.map_err(|denial| self.noted(denial.of_table(table)))?;
        }
        self.call()
    }

    /// Looks whether it may still have rows of a table that it compared, and takes so many of what it may have, or fewer. Where the number of
    /// downloads is limited it has none: they would be a download that is not counted.
    pub(crate) fn compared_rows(&mut self, table: &str, wanted: u64) -> Answer<u64> {
        self.still_compares(table)?;
        let Some(connection) = self.policy_of() else { return Ok(wanted) };
        if connection.policy.max_downloads.is_some() {
            return Err(self.noted(Denial::new(ErrorKind::DownloadLimit).of_table(table)));
        }
        let (uuid, wanted) = (connection.uuid, wanted.min(connection.policy.max_records_per_request));
        match self.site().write(|sql| connections::take_records(sql, uuid, wanted))? {
            0 if wanted > 0 => Err(self.noted(Denial::new(ErrorKind::RecordLimit).of_table(table))),
            taken => Ok(taken),
        }
    }

    /// Looks whether it may still compare a table, in the middle of it.
    pub(crate) fn still_compares(&mut self, table: &str) -> Answer<()> {
        self.look(None)?;
        self.comparable(table)
    }

    fn comparable(&self, table: &str) -> Answer<()> {
        self.table(table)?;
        if let Who::Session(visit) = &self.who {
            visit.allows(table, self.site().names()).map_err(|denial| self.noted(denial))?;
        }
        match self.requires_approval(table) {
            true => Err(self.noted(Denial::new(ErrorKind::ApprovalRequired).of_table(table))),
            false => Ok(()),
        }
    }
}
