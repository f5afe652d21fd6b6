//! Pulls from another site through its channel.

use uuid::Uuid;

use super::run::pull;
use super::source::{Page, Position, Source, Stream};
use super::verdict::{Approval, Verdict};
use super::{PullOptions, Report, TableReport};
use crate::cancel::Patience;
use crate::client::{Client, PageStream};
use crate::domain::not_copied::NotCopied;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::Origin;
use crate::site::Site;
use crate::wire::message::ApprovalStatus;
use crate::wire::native::Place;
use crate::wire::{self, Dialect};

impl Client {
    /// Pulls one table into a site. Rows that are written before something goes wrong stay: pull again to resume.
    ///
    /// # Errors
    /// Why the table was not pulled whole: the connection's errors (see [`Client::capabilities`]),
    /// [`TableNotFound`](ErrorKind::TableNotFound), [`SchemaMismatch`](ErrorKind::SchemaMismatch),
    /// [`Incomplete`](ErrorKind::Incomplete), and what the database says. A record that cannot be taken is no error: see
    /// [`Outcome::failures`](crate::Outcome::failures).
    pub fn pull_table(&self, site: &Site, table: &str, options: PullOptions<'_>) -> Result<TableReport> {
        self.pull(site, options.tables([table]))?.into_table(table)
    }

    /// Pulls tables into a site, all that the sender offers unless the options name some, in the order of their foreign keys.
    /// What goes wrong with one table stands in the report and does not stop the others.
    ///
    /// A pull that did not come to its end - it was interrupted, cancelled, or its process killed - is resumed by the next one from
    /// the same site: each table from where its rows were last committed, and with the counts of all its runs in the report. What the
    /// earlier run had pulled is then [pulled again](PullOptions::refresh), so that all is of one state. The same site is known by
    /// the id that it made for itself, whatever the code or token; PhoenixKit by its URL. A copy of its database is another site.
    /// Tables and strategies must be the same; a table whose columns have changed begins again. What
    /// was committed is forgotten when no pull resumes it for [`RetentionLimits::resume_time`](crate::RetentionLimits::resume_time); see
    /// [`Site::checkpoints`]. Two pulls that run in one process are two pulls; one that is still running in another process is taken
    /// over, and ends there with [`TakenOver`](ErrorKind::TakenOver).
    ///
    /// Each table leaves a [transfer](crate::Transfer) in the history of the site.
    ///
    /// While one batch of rows is written, the next one is fetched, on a thread of its own that ends with the call.
    ///
    /// # Errors
    /// Why nothing could be pulled at all: the sender's list of tables could not be had, or the other site serves the database that is
    /// pulled into ([`SelfConnection`](ErrorKind::SelfConnection)).
    pub fn pull(&self, site: &Site, options: PullOptions<'_>) -> Result<Report> {
        refuse_itself(self, site)?;
        let origin = Origin { connection: None, site_url: self.url() };
        pull(self, site.here(), options, Some(origin))
    }
}

/// A pull into the database that is served would read what it writes.
pub(crate) fn refuse_itself(client: &Client, site: &Site) -> Result<()> {
    match client.peer() {
        Some(peer) if site.is(peer.site, peer.incarnation)? => {
            let why = format!("the other site serves the database that is pulled into, {}", site.store().name());
            Err(Error::new(ErrorKind::SelfConnection, why).with_hint("Pull into another database."))
        }
        _ => Ok(()),
    }
}

impl Source for Client {
    fn is_rowferry(&self) -> bool {
        self.dialect() == Dialect::Rowferry
    }

    fn site(&self) -> Option<Uuid> {
        self.peer().map(|peer| peer.site)
    }

    fn incarnation(&self) -> Option<Uuid> {
        self.peer().and_then(|peer| peer.incarnation)
    }

    fn is_by_ticket(&self) -> bool {
        self.came_by_ticket()
    }

    fn is_open(&self) -> bool {
        self.is_connected()
    }

    fn tables(&self, patience: &Patience) -> Result<Vec<TableInfo>> {
        Ok(self.ask_tables(patience)?.0)
    }

    fn list(&self, patience: &Patience) -> Result<(Vec<TableInfo>, NotCopied)> {
        self.ask_tables(patience)
    }

    fn schema(&self, table: &str, patience: &Patience) -> Result<TableSchema> {
        self.ask_schema(table, patience)
    }

    fn schemas(&self, tables: &[String], patience: &Patience) -> Vec<Result<TableSchema>> {
        self.ask_schemas(tables, patience)
    }

    fn count(&self, table: &str, patience: &Patience) -> Result<u64> {
        self.ask_count(table, patience)
    }

    fn begins(&self, tables: &[String], patience: &Patience) {
        self.tell_tables(tables, patience);
    }

    fn approvals(&self, tables: &[String], patience: &Patience) -> Result<Option<Vec<Approval>>> {
        let names: Vec<&str> = tables.iter().map(String::as_str).collect();
        let answer = self.ask_approvals(&names, patience)?;
        let approval = |approval: wire::message::Approval| Approval {
            table: approval.table,
            verdict: match approval.status {
                ApprovalStatus::Granted => Verdict::Granted,
                ApprovalStatus::Pending => Verdict::Pending,
                ApprovalStatus::Denied => Verdict::Denied,
            },
            transfer: approval.transfer_uuid,
            reason: approval.reason,
        };
        Ok(answer.map(|approvals| approvals.into_iter().map(approval).collect()))
    }

    fn stream<'s>(&'s self, pull: Uuid, most: Option<u32>, patience: &Patience) -> Result<Option<Box<dyn Stream + 's>>> {
        let stream = Client::stream(self, pull, most, patience)?;
        Ok(stream.map(|stream| Box::new(stream) as Box<dyn Stream + 's>))
    }

    fn can_reconnect(&self) -> bool {
        self.comes_back()
    }

    fn reconnect(&self, patience: &Patience) -> Result<()> {
        self.come_back(patience)
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, patience: &Patience) -> Result<Page> {
        let page = self.fetch_page(table, offset, u64::from(limit), rows, patience)?;
        Ok(Page {
            received: page.received,
            failures: page.failures,
            has_more: page.has_more,
            state: None,
            bytes: page.bytes,
            place: None,
            cost: 0,
        })
    }
}

impl Stream for PageStream<'_> {
    fn ask(&mut self, at: usize, table: &TableSchema, from: &Position, patience: &Patience) -> Result<()> {
        let after = match &from.place {
            Some(bytes) => Some(Place::from_bytes(bytes)?),
            None if from.records > 0 => {
                let why = format!("a place in {:?} is known by its number only", table.name);
                return Err(Error::new(ErrorKind::CursorExpired, why));
            }
            None => None,
        };
        PageStream::ask(self, (at, table), (after, from.records), patience)
    }

    fn most_asked(&self) -> usize {
        PageStream::most_asked(self)
    }

    fn next(&mut self, rows: &mut Rows, patience: &Patience) -> Result<Option<Page>> {
        let Some(page) = PageStream::next(self, rows, patience)? else { return Ok(None) };
        let unusable = || {
            Error::new(ErrorKind::Protocol, "the other site sent a place that cannot be written down")
                .with_hint("Pull the table again.")
        };
        Ok(Some(Page {
            received: page.received,
            failures: page.failures,
            has_more: page.has_more,
            place: page.place.map(|place| place.encode().ok_or_else(unusable)).transpose()?,
            state: page.state,
            bytes: page.bytes,
            cost: page.cost,
        }))
    }

    fn is_usable(&self) -> bool {
        PageStream::is_usable(self)
    }

    fn has_credit(&self) -> bool {
        PageStream::has_credit(self)
    }

    fn ack(&mut self, cost: u64, is_hungry: bool) -> Result<()> {
        PageStream::ack(self, cost, is_hungry)
    }

    fn window(&self) -> u64 {
        PageStream::window(self)
    }

    fn settle(&mut self, at: usize, is_committed: bool) -> Result<()> {
        PageStream::settle(self, at, is_committed)
    }

    fn keep_open(&mut self) -> Result<()> {
        PageStream::keep_open(self)
    }

    fn should_yield(&mut self) -> bool {
        PageStream::should_yield(self)
    }
}
