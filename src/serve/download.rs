//! One table on its way to a peer, page by page. Every way of sending records goes through [`Source::next`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access::{Account, Answer, Asked, Grant, Looked, Refused, Wanted, schema_digest};
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Exporter, Ids, Page};
use crate::limits::Limits;
use crate::secret::SiteKey;
use crate::store::{Cursor, PageBounds};
use crate::wire::Dialect;
use crate::wire::records::{Cut, encode_records};

/// What the records of one peer come from: what it may have, and what reads the store for it. A session, a call or an answer has one.
pub(super) struct Source {
    pub(super) grant: Grant,
    pub(super) exporter: Exporter,
    pub(super) rows: Rows,
    /// Downloads of named pulls that have ended, and whose ends are to be written together; and since when the first of them waits.
    ended: Vec<Account>,
    since: Option<Instant>,
    /// Whether they could not be written when that was tried last.
    is_busy: bool,
}

/// Ends that are written together at most, and how long they wait for others.
const ENDS: usize = 64;
const ENDS_WAIT: Duration = Duration::from_secs(2);

/// A download that was let begin, and where its next page begins.
pub(super) struct Download {
    pub(super) account: Account,
    pub(super) place: Place,
}

/// Where a page begins.
pub(super) enum Place {
    /// Where this request leads: see [`Exporter::records_at_most`].
    Offset { table: String, offset: u64, limit: u64 },
    /// After a row, or at the first one; as long as the table looks like this.
    After { table: Arc<TableSchema>, cursor: Option<Cursor> },
    /// At these records, but for the first `skip`.
    Ids { table: String, ids: Ids, skip: u64 },
}

/// What is asked for.
pub(super) struct Ask {
    /// Most records of the page.
    pub(super) records: u64,
    /// At about how many bytes of values the page is cut.
    pub(super) bytes: usize,
    pub(super) checked: Checked,
}

/// What is known of whether the peer may have a further page.
pub(super) enum Checked {
    /// Nothing: it is to be looked.
    No,
    /// That the peer may be here.
    Peer(Looked),
    /// That it may have the page.
    Page,
}

/// What was put into a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) rows: u64,
    /// Whether there are rows after these.
    pub(super) more: bool,
    /// The number of the snapshot that they are from.
    pub(super) state: u64,
}

/// Writes the rows of a page in one of the forms that there are.
pub(super) trait Encoder {
    /// Writes rows of the page from the first on, at least one if there are any. Gives how many it wrote, and their bytes. Where it
    /// cannot write all, the page is cut short.
    fn encode(&mut self, page: &Page, rows: &Rows, account: &Account) -> (usize, u64);
}

impl Source {
    pub(super) fn new(grant: Grant) -> Self {
        let mut exporter = grant.site().exporter();
        exporter.offer(grant.offer());
        Source { grant, exporter, rows: Rows::default(), ended: Vec::new(), since: None, is_busy: false }
    }

    pub(super) fn limits(&self) -> &Limits {
        self.grant.site().limits()
    }

    /// Whether the peer may have a further page of so many records.
    pub(super) fn check(&mut self, account: &mut Account, looked: Option<Looked>, records: u64) -> Answer<()> {
        let looked = match looked {
            Some(looked) => looked,
            None => self.grant.look(Some(account))?,
        };
        self.exporter.offer(self.grant.offer());
        account.in_state(self.exporter.state()?);
        self.grant.proceed(account, &looked, records)
    }

    /// The next page: checks that the peer may have it, reads it, reserves its records where there is a limit on them, has it
    /// written, counts what was written and moves the download on. A download that may not or cannot go further is ended with the
    /// reason; one that has no more rows is the caller's to complete.
    pub(super) fn next(&mut self, download: Download, ask: Ask, encoder: &mut dyn Encoder) -> Answer<(Download, Sent)> {
        let mut download = download;
        match self.next_of(&mut download, ask, encoder) {
            Ok(sent) => Ok((download, sent)),
            Err(refused) => Err(self.give_up(download.account, refused)),
        }
    }

    fn next_of(&mut self, download: &mut Download, ask: Ask, encoder: &mut dyn Encoder) -> Answer<Sent> {
        let account = &mut download.account;
        match ask.checked {
            Checked::No => self.check(account, None, ask.records)?,
            Checked::Peer(looked) => self.check(account, Some(looked), ask.records)?,
            Checked::Page => {}
        }
        let most = account.most(ask.records.min(self.limits().wire.page_rows as u64)).max(1);
        let mut page = self.read(&download.place, most, ask.bytes)?;
        // As many as were read, and no more: what is reserved for a moment only would keep others from getting it.
        let read = self.rows.len() as u64;
        let reserved = self.grant.reserve(&mut download.account, read)?;
        if reserved < read {
            // Somebody else took some of them meanwhile.
            page = self.read(&download.place, reserved, ask.bytes)?;
        }
        let account = &mut download.account;
        let (rows, bytes) = if self.rows.is_empty() { (0, 0) } else { encoder.encode(&page, &self.rows, account) };
        if rows < self.rows.len() {
            self.exporter.truncate_last_page(rows as u64);
        }
        let more = page.more || rows < self.rows.len();
        let sent = Sent { rows: rows as u64, more, state: page.state };
        account.in_state(page.state);
        account.sent(sent.rows, bytes);
        if self.rows.size_bytes() > ask.bytes.saturating_mul(2) {
            // One large record is no reason to hold its memory any longer.
            self.rows = Rows::default();
        }
        match &mut download.place {
            Place::Offset { offset, .. } | Place::Ids { skip: offset, .. } => *offset = offset.saturating_add(sent.rows),
            Place::After { cursor, .. } => {
                if let Some(end) = page.cursor {
                    account.passed(&end);
                    *cursor = Some(end);
                }
            }
        }
        Ok(sent)
    }

    /// What is asked for when a table of this schema is.
    pub(super) fn asked(&mut self, table: &TableSchema) -> Result<Asked> {
        let count = match self.grant.requires_approval(&table.name) {
            true => Some(self.exporter.count(&table.name)?),
            false => None,
        };
        Ok(Asked { table: table.name.clone(), digest: schema_digest(table), count })
    }

    /// Ends a download that may not or cannot continue. This is the only way in which one ends with an error.
    pub(super) fn give_up(&mut self, account: Account, why: Refused) -> Refused {
        let reason = match &why {
            Refused::Denied(denial) => denial.socket_text(),
            // In words of our own.
            Refused::Failed(error) if error.kind() == ErrorKind::SchemaMismatch => error.message().to_owned(),
            Refused::Failed(error) => error.code().to_owned(),
        };
        let is_busy = matches!(&why, Refused::Failed(error) if error.kind() == ErrorKind::Locked);
        match account.is_named() {
            // A store that is busy now may not be so when the receiver resumes.
            true if is_busy => self.leave(account),
            true => self.ends(account, Some(reason)),
            false => ended(account.fail(&reason)),
        }
        why
    }

    /// A download of a named pull has ended: well, or for this reason. That is written later, with the ends of others.
    pub(super) fn ends(&mut self, mut account: Account, why: Option<String>) {
        account.ends(why);
        self.leave(account);
    }

    /// The receiver of a named pull is lost, or wants no more for now: it may resume the download.
    pub(super) fn leave(&mut self, account: Account) {
        self.ended.push(account);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Writes the ends that wait, if there are many or they have waited for long.
    pub(super) fn write_due_ends(&mut self) {
        let is_late = self.since.is_some_and(|since| since.elapsed() >= ENDS_WAIT);
        // A store that was busy is not asked again with each message.
        if is_late || (self.ended.len() >= ENDS && !self.is_busy) {
            self.write_ends();
        }
    }

    /// Writes the ends that wait. When the store is busy they wait on.
    pub(super) fn write_ends(&mut self) {
        match self.grant.write_ends(&mut self.ended) {
            Ok(()) => (self.since, self.is_busy) = (None, false),
            Err(error) => {
                log::warn!(target: "rowferry::serve", "the ends of pulls cannot be kept yet: {error}");
                (self.since, self.is_busy) = (Some(Instant::now()), true);
            }
        }
    }

    /// Writes the ends that wait, now or never: a thread must not wait for a busy store once for each of them.
    pub(super) fn write_last_ends(&mut self) {
        if let Err(error) = self.grant.write_ends(&mut self.ended) {
            log::error!(target: "rowferry::serve", "the ends of {} pulls cannot be kept: {error}", self.ended.len());
            self.ended.drain(..).for_each(Account::close);
        }
    }

    /// Begins or resumes downloads of named pulls, and writes the ends that wait, all in one transaction.
    pub(super) fn begin(&mut self, wanted: &[Wanted], key: Option<&SiteKey>) -> Answer<Vec<Answer<Account>>> {
        let begun = self.grant.begin_named(wanted, key, &mut self.ended)?;
        (self.since, self.is_busy) = (None, false);
        Ok(begun)
    }

    fn read(&mut self, place: &Place, most: u64, bytes: usize) -> Answer<Page> {
        let rows = &mut self.rows;
        Ok(match place {
            Place::Offset { table, offset, limit } => self.exporter.records_at_most(table, *offset, *limit, most, rows)?,
            Place::Ids { table, ids, skip } => self.exporter.find(table, ids, *skip, most, rows)?,
            Place::After { table, cursor } => {
                let bounds = PageBounds { rows: usize::try_from(most).unwrap_or(usize::MAX).max(1), bytes };
                let page = self.exporter.after(&table.name, cursor.as_ref(), bounds, rows)?;
                if page.table != *table {
                    let why = format!("the table {:?} changed its structure in the middle", table.name);
                    return Err(Error::new(ErrorKind::SchemaMismatch, why).into());
                }
                page
            }
        })
    }
}

/// Records as JSON, after what is in `out` already.
pub(super) struct Json<'o> {
    pub(super) out: &'o mut Vec<u8>,
    pub(super) dialect: Dialect,
    pub(super) cut: Cut,
    /// What stands before the first of them.
    pub(super) before: &'static str,
}

impl Encoder for Json<'_> {
    fn encode(&mut self, page: &Page, rows: &Rows, _: &Account) -> (usize, u64) {
        self.out.extend_from_slice(self.before.as_bytes());
        let start = self.out.len();
        let written = encode_records(self.out, &page.table, rows, 0..rows.len(), self.dialect, self.cut);
        (written, (self.out.len() - start) as u64)
    }
}

/// The peer has its page, or learns of something else: that the history cannot be written is this site's affair.
pub(super) fn ended(kept: Result<()>) {
    if let Err(error) = kept {
        log::error!(target: "rowferry::serve", "the end of a pull cannot be kept: {error}");
    }
}
