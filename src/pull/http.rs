//! Pulls over HTTP: how a site of PhoenixKit is pulled from with a token, since its channel needs a uuid that it does
//! not tell.
//!
//! Its `pull-data` gives a whole table, but cut at some number of records without a word, and in no order. So what is cut
//! is fetched again from the start by `table-records`, in pages of 100 by offset; an answer with as many records as the sender
//! counts rows is whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::run::{pull, unless_cancelled};
use super::source::{Page, Source};
use super::{PullOptions, Report, TableReport};
use crate::cancel::Patience;
use crate::client::{Api, Auth, ConnectOptions, RecordsQuery};
use crate::domain::schema::TableSchema;
use crate::domain::strategy::Strategy;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::Origin;
use crate::site::Site;
use crate::wire::api::MOST_RECORDS;
use crate::wire::records::RecordsPage;

/// A cut comes at a round number: PhoenixKit's own is 10,000, and people set others.
const ROUND: u64 = 1_000;

impl Api {
    /// Pulls one table into a site with the connection's token: see [`Api::pull`].
    ///
    /// # Errors
    /// Those of [`Client::pull_table`](crate::Client::pull_table), and of [`Api`].
    pub fn pull_table(&self, site: &Site, table: &str, options: PullOptions<'_>) -> Result<TableReport> {
        self.pull(site, options.tables([table]))?.into_table(table)
    }

    /// Pulls tables into a site with the connection's token, as [`Client::pull`](crate::Client::pull) does
    /// through a channel. It is for senders of PhoenixKit, which take tokens over HTTP only; a rowferry sender
    /// is better asked through a channel, which tells more and is faster.
    ///
    /// Over HTTP a table's key is not told: where the table exists here, its key counts; where it does not, it is made
    /// without one. A table that the sender cuts is fetched in pages of 100 records. The notes of a table's report say so.
    ///
    /// # Errors
    /// Why nothing could be pulled at all: the sender's list of tables could not be had.
    pub fn pull(&self, site: &Site, options: PullOptions<'_>) -> Result<Report> {
        let origin = Origin { connection: None, site_url: self.url() };
        pull(&HttpSource::new(self, &options), site.here(), options, Some(origin))
    }
}

impl Site {
    /// Pulls tables from the site at this URL: through a channel as
    /// [`Client::pull`](crate::Client::pull) does, or, where the site takes the
    /// token over HTTP only, as [`Api::pull`] does. To pull through a stored connection see [`Site::pull`].
    ///
    /// A pull by a code that did not complete, even because the program was killed, may be called again with the same URL and
    /// code for [`RetentionLimits::ticket_time`](crate::RetentionLimits::ticket_time), or until the session of the code expires, although the code is spent: a rowferry sender gives a ticket
    /// for that, which the site keeps, sealed under its key, until all tables are completed. Where the site has no key
    /// ([`SiteKey`](ErrorKind::SiteKey)), no ticket is kept.
    ///
    /// # Errors
    /// Those of [`Client::connect`](crate::Client::connect) and [`Client::pull`](crate::Client::pull).
    pub fn pull_from(&self, url: &str, auth: Auth, connect: ConnectOptions, mut options: PullOptions<'_>) -> Result<Report> {
        let tokens = [connect.cancel().clone(), options.cancel.clone()];
        unless_cancelled(&tokens, || {
            if let Some(code) = auth.as_code() {
                return self.pull_by_code(url, code, &auth, connect, options);
            }
            match self.enter(url, &auth, &connect, &mut options)? {
                Some(client) => client.pull(self, options),
                None => Api::with_auth(url, &auth, &connect)?.pull(self, options),
            }
        })
    }
}

/// A sender of PhoenixKit that is asked over HTTP.
#[derive(Debug)]
pub(crate) struct HttpSource<'a> {
    api: &'a Api,
    /// The strategies of tables that have one of their own, and that of the others.
    strategies: (BTreeMap<String, Strategy>, Strategy),
    tables: Mutex<HashMap<String, Table>>,
    gone: AtomicBool,
    /// How many questions in a row were not answered in time.
    unanswered: AtomicU32,
}

/// After how many questions in a row without an answer in time there is nobody to answer any more.
const UNANSWERED: u32 = 3;

/// What is known of a table.
#[derive(Debug, Clone, Copy, Default)]
struct Table {
    /// How many rows the sender says it has.
    announced: u64,
    how: How,
}

/// How a table is or was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum How {
    /// At once.
    #[default]
    Whole,
    /// In pages, because it was cut.
    Paged,
    /// At once, after so many records perhaps cut: the sender cannot send it in pages.
    Cut(u64),
}

impl<'a> HttpSource<'a> {
    /// A source of what the token of these calls may pull, for a pull with these options.
    pub(crate) fn new(api: &'a Api, options: &PullOptions<'_>) -> Self {
        let strategies = (options.table_strategies.clone(), options.strategy.unwrap_or_default());
        let (gone, unanswered) = (AtomicBool::new(false), AtomicU32::new(0));
        HttpSource { api, strategies, tables: Mutex::new(HashMap::new()), gone, unanswered }
    }

    fn strategy_of(&self, table: &str) -> Strategy {
        let (own, others) = &self.strategies;
        own.get(table).copied().unwrap_or(*others)
    }

    /// Passes an answer on, and remembers when there is nobody to answer any more.
    fn noted<T>(&self, answer: Result<T>) -> Result<T> {
        let unanswered = match &answer {
            Err(error) if error.http_status().is_none() => error.kind(),
            // Also a refusal, and a 503, come from somebody.
            _ => {
                self.unanswered.store(0, Ordering::SeqCst);
                return answer;
            }
        };
        let gone = match unanswered {
            ErrorKind::Unreachable | ErrorKind::Tls | ErrorKind::ForbiddenAddress => true,
            ErrorKind::Timeout => self.unanswered.fetch_add(1, Ordering::SeqCst) + 1 >= UNANSWERED,
            _ => false,
        };
        if gone {
            self.gone.store(true, Ordering::SeqCst);
        }
        answer
    }

    fn table(&self, name: &str) -> Table {
        self.lock().get(name).copied().unwrap_or_default()
    }

    fn fetched(&self, name: &str, how: How) {
        self.lock().entry(name.to_owned()).or_default().how = how;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Table>> {
        // Plain values, which a panic elsewhere leaves whole.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole table, or, where that looks cut, its first page.
    fn first(&self, table: &TableSchema, announced: u64, limit: u64, rows: &mut Rows, patience: &Patience) -> Result<Page> {
        let before = rows.len();
        let whole = match self.api.fetch_all(table, Some(self.strategy_of(&table.name)), rows, patience) {
            Ok(page) if self.is_whole(&page, &table.name, announced, patience) => {
                self.fetched(&table.name, How::Whole);
                return Ok(whole_page(page));
            }
            Ok(page) => Ok(page),
            // It is too much at once, for us or for the other side.
            Err(error) if is_too_much(&error) && patience.check("fetching a table").is_ok() => {
                rows.truncate(before);
                Err(error)
            }
            Err(error) => return Err(explained(error, &table.name)),
        };
        let mut paged = Rows::new(table.columns.len());
        // It may have been counted again meanwhile.
        let announced = self.table(&table.name).announced;
        match (self.some(table, announced, 0, limit, &mut paged, patience), whole) {
            (Ok(page), _) => {
                rows.truncate(before);
                rows.push_rows(&paged, 0..paged.len());
                self.fetched(&table.name, How::Paged);
                Ok(page)
            }
            // It has no key that the sender can order by.
            (Err(error), Ok(whole)) if error.kind() == ErrorKind::Peer => {
                self.fetched(&table.name, How::Cut(whole.received));
                Ok(whole_page(whole))
            }
            (Err(error), Ok(_)) => {
                rows.truncate(before);
                Err(error)
            }
            (Err(error), Err(too_large)) => {
                rows.truncate(before);
                Err(if error.kind() == ErrorKind::Peer { too_large } else { error })
            }
        }
    }

    /// Whether an answer has the whole table. Where its size alone does not tell, the sender counts its rows again: the count that it
    /// announced may be old, and as many records as there are rows are all of them, also if it is a round number.
    fn is_whole(&self, page: &RecordsPage, table: &str, announced: u64, patience: &Patience) -> bool {
        match seems(page, announced) {
            Seems::Whole => true,
            Seems::Cut => false,
            Seems::Uncertain => match self.count(table, patience) {
                Ok(rows) => page.received == rows || (page.received > rows && !is_round(page.received)),
                // The count that was announced is all that is known.
                Err(_) => page.received == announced,
            },
        }
    }

    /// A page of records.
    fn some(
        &self,
        table: &TableSchema,
        announced: u64,
        offset: u64,
        limit: u64,
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<Page> {
        let limit = limit.clamp(1, MOST_RECORDS);
        let query = RecordsQuery::default().offset(offset).limit(limit);
        let page = self.api.fetch_some(table, &query, rows, patience)?;
        // A short page is the last one, unless there are said to be more: the sender may send fewer than asked for.
        let has_more = page.received > 0 && (page.received >= limit || offset + page.received < announced);
        Ok(Page { has_more, ..whole_page(page) })
    }
}

/// A page that none follows.
fn whole_page(page: RecordsPage) -> Page {
    let RecordsPage { received, failures, bytes, .. } = page;
    Page { received, failures, bytes, ..Page::default() }
}

fn is_too_much(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Timeout) || error.http_status() == Some(504)
}

/// What the number of records in an answer says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seems {
    Whole,
    Cut,
    /// It is as long as a cut answer would be, or shorter than announced: rows may have come or gone since.
    Uncertain,
}

fn seems(page: &RecordsPage, announced: u64) -> Seems {
    match page.received {
        _ if page.has_more => Seems::Cut,
        received if received < announced || is_round(received) => Seems::Uncertain,
        _ => Seems::Whole,
    }
}

fn is_round(received: u64) -> bool {
    received > 0 && received.is_multiple_of(ROUND)
}

/// What PhoenixKit cannot do, where it just says that it failed.
fn explained(error: Error, table: &str) -> Error {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let hint = match error.kind() {
        ErrorKind::TableNotFound | ErrorKind::Peer
            if !table.chars().all(plain) || table.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            "PhoenixKit sends only tables whose names are letters, digits and _: rename it there."
        }
        ErrorKind::Peer if table.contains(|c: char| c.is_ascii_uppercase()) => {
            "PhoenixKit cannot send tables with capital letters in their names over HTTP: rename it there."
        }
        ErrorKind::Peer => {
            "PhoenixKit cannot send some types over HTTP (interval, inet, ranges, uuid[], money): leave the table out."
        }
        _ => return error,
    };
    error.with_hint(hint)
}

impl Source for HttpSource<'_> {
    fn is_rowferry(&self) -> bool {
        false
    }

    fn asks_apart(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        !self.gone.load(Ordering::SeqCst)
    }

    fn tables(&self, patience: &Patience) -> Result<Vec<TableInfo>> {
        let listed = self.noted(self.api.ask_tables(patience))?;
        let mut tables = self.lock();
        for table in &listed {
            tables.entry(table.name.clone()).or_default().announced = table.row_count;
        }
        Ok(listed.into_iter().map(|table| TableInfo { name: table.name, row_count: table.row_count }).collect())
    }

    fn schema(&self, table: &str, patience: &Patience) -> Result<TableSchema> {
        self.noted(self.api.ask_schema(table, patience)).map_err(|error| explained(error, table))
    }

    fn count(&self, table: &str, patience: &Patience) -> Result<u64> {
        let tables = self.tables(patience)?;
        let found = tables.into_iter().find(|offered| offered.name == table);
        found.map(|table| table.row_count).ok_or_else(|| {
            Error::new(ErrorKind::TableNotFound, format!("the other site no longer offers the table {table:?}"))
        })
    }

    fn can_reconnect(&self) -> bool {
        true
    }

    /// There is no connection: the next question shows whether somebody is there again.
    fn reconnect(&self, _patience: &Patience) -> Result<()> {
        self.unanswered.store(0, Ordering::SeqCst);
        self.gone.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn page(&self, table: &TableSchema, offset: u64, limit: u32, rows: &mut Rows, patience: &Patience) -> Result<Page> {
        let announced = self.table(&table.name).announced;
        self.noted(match offset {
            0 => self.first(table, announced, u64::from(limit), rows, patience),
            _ => self.some(table, announced, offset, u64::from(limit), rows, patience),
        })
    }

    fn notes(&self, table: &str, created: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if created {
            notes.push(
                "The other site does not tell keys over HTTP, so the table was made here without one: make it with its key \
                 before the next pull."
                    .to_owned(),
            );
        }
        match self.table(table).how {
            How::Whole => {}
            How::Paged => notes.push(
                "The other site does not send the table whole, so it was fetched in pages, which it orders by the first column of the key \
                 alone: if the key has more columns, or rows changed meanwhile, some may be missing or twice."
                    .to_owned(),
            ),
            How::Cut(records) => notes.push(format!(
                "The table may be incomplete: the other site may have cut it at {records} records, and cannot send it in pages."
            )),
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_seems_cut() {
        let page = |received, has_more| RecordsPage {
            received,
            failures: Vec::new(),
            offset: None,
            has_more,
            state: None,
            reference: None,
            bytes: 0,
        };
        use Seems::{Cut, Uncertain, Whole};
        for (received, announced, expected) in [
            (0, 0, Whole),
            (0, 1, Uncertain),
            (999, 999, Whole),
            (999, 0, Whole),
            (999, 1_500, Uncertain),
            (1_000, 1_000, Uncertain),
            (10_000, 0, Uncertain),
            (10_001, 10_000, Whole),
        ] {
            assert_eq!(seems(&page(received, false), announced), expected, "{received} of {announced}");
        }
        assert_eq!(seems(&page(3, true), 3), Cut);
    }

    #[test]
    fn what_the_reference_cannot_send_is_explained() {
        let hint = |kind, table| explained(Error::new(kind, "x"), table).hint().unwrap_or_default().to_owned();
        assert!(hint(ErrorKind::TableNotFound, "odd-name").contains("letters, digits"));
        assert!(hint(ErrorKind::Peer, "MixedCase").contains("capital"));
        assert!(hint(ErrorKind::Peer, "v_interval").contains("types"));
        assert_eq!(hint(ErrorKind::TableNotFound, "ghost"), "");
        assert_eq!(hint(ErrorKind::InvalidToken, "odd-name"), "");
    }
}
