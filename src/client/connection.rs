//! The client: one connection to another site, and the calls on it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::auth::{Auth, By};
use super::channel::{AGAIN, Channel, Trouble, described};
use super::heartbeat::Heartbeat;
use super::options::ConnectOptions;
#[cfg(feature = "server")]
use super::transport::Near;
use super::transport::Way;
use uuid::Uuid;

use crate::cancel::{CancelToken, Patience};
use crate::domain::record::Failure;
use crate::domain::schema::TableSchema;
use crate::domain::table::TableInfo;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::wire::Dialect;
use crate::wire::message::{
    APPROVALS, Answer, Approval, Ask, Capabilities, FEATURE_APPROVALS, FEATURE_SAME, Listed, PeerInfo,
    REFERENCE_PAGE_RECORDS, encode_pull_over,
};
use crate::wire::records::{Cut, PageLimits, RecordsPage, encode_records};
use crate::wire::schema::decode_schema;

/// A connection to another site.
///
/// All calls block, and may be made from any thread; those of several threads wait for each other. Between calls a small
/// thread keeps the connection open (see [`ConnectOptions::heartbeat`]). Dropping the client disconnects.
///
/// ```no_run
/// use rowferry::{Auth, Client, ConnectOptions};
///
/// let client = Client::connect("https://shop.example", Auth::code("A7X9K2M4"), ConnectOptions::default())?;
/// for table in client.list_tables()? {
///     println!("{} {}", table.name, table.row_count);
/// }
/// # Ok::<(), rowferry::Error>(())
/// ```
pub struct Client {
    // First, so that the thread has ended before the connection does.
    keeper: Option<Heartbeat>,
    pub(super) shared: Arc<Shared>,
    pub(super) way: Way,
    pub(super) peer: Option<PeerInfo>,
    /// With what to come back when the connection is lost, a token or a ticket; `None` if there is no way.
    pub(super) back: Option<Auth>,
    pub(super) by_ticket: bool,
    pub(super) options: ConnectOptions,
    /// The tables that the other site was told of.
    pub(super) told: Mutex<BTreeSet<String>>,
}

pub(super) struct Shared {
    line: Mutex<Line>,
    /// Calls that wait for the line.
    waiting: AtomicUsize,
    pub(super) connected: AtomicBool,
    /// The last answer did not come in time: perhaps nothing comes any more, and nobody has noticed.
    pub(super) doubtful: AtomicBool,
    /// Whether nobody comes back with the ticket once this client has ended.
    pub(super) ends_ticket: AtomicBool,
    /// Ends a call that another thread is waiting in.
    pub(super) closing: CancelToken,
}

/// How long the last word may take.
const SAY: Duration = Duration::from_millis(100);

pub(super) enum Line {
    Open(Box<Channel>),
    /// Why it is no more.
    Gone(String),
}

/// Which records are fetched, for [`Client::fetch_records`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    offset: u64,
    limit: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions { offset: 0, limit: 100 }
    }
}

impl FetchOptions {
    /// How many records to leave out. Defaults to 0.
    #[must_use]
    pub fn offset(mut self, records: u64) -> Self {
        self.offset = records;
        self
    }

    /// Most records to fetch. A sender may send fewer and say that there are more; a PhoenixKit sender is never asked for more
    /// than 1000. Defaults to 100.
    #[must_use]
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = records;
        self
    }
}

/// Records of a table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchedRecords {
    /// The table's structure: the names and types of the columns of `rows`.
    pub table: TableSchema,
    /// The records.
    pub rows: Rows,
    /// Records that came and are not in `rows`, because they or a value in them cannot be used.
    pub failures: Vec<Failure>,
    /// How many records were left out before these.
    pub offset: u64,
    /// Whether the sender says that there are more after these.
    pub has_more: bool,
}

impl FetchedRecords {
    /// The records as a JSON array of objects, as one rowferry site writes them to another: blobs are objects that hold their
    /// base64.
    pub fn to_json(&self) -> String {
        let mut json = b"[".to_vec();
        encode_records(&mut json, &self.table, &self.rows, 0..self.rows.len(), Dialect::Rowferry, Cut::NONE);
        json.push(b']');
        // The encoder writes text that is no UTF-8 as base64.
        String::from_utf8_lossy(&json).into_owned()
    }
}

impl Client {
    /// Connects to another site: `url` is what a person types, like `https://shop.example` or `http://127.0.0.1:7171`.
    ///
    /// A code is spent by this, also if the connection ends at once. A token is taken this way by rowferry sites only; one of
    /// PhoenixKit is asked over HTTP: see [`Api`](crate::Api) and [`Site::pull_from`](crate::Site::pull_from).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a URL, code, token or prefix that cannot be one. [`ErrorKind::Unreachable`],
    /// [`ErrorKind::Timeout`] and [`ErrorKind::Tls`] where no connection is made, [`ErrorKind::NotFound`] where nothing
    /// takes it. [`ErrorKind::InvalidCode`], [`ErrorKind::CodeUsed`], [`ErrorKind::TooManyAttempts`],
    /// [`ErrorKind::Disabled`] and [`ErrorKind::Refused`] where the other site does not want it; with a token
    /// [`ErrorKind::InvalidToken`], [`ErrorKind::ConnectionNotActive`], [`ErrorKind::ConnectionExpired`],
    /// [`ErrorKind::DownloadLimit`], [`ErrorKind::RecordLimit`], [`ErrorKind::AddressNotAllowed`],
    /// [`ErrorKind::OutsideAllowedHours`], [`ErrorKind::PasswordRequired`], [`ErrorKind::InvalidPassword`],
    /// [`ErrorKind::RateLimited`].
    pub fn connect(url: &str, auth: Auth, options: ConnectOptions) -> Result<Client> {
        Client::connect_to_rowferry(url, auth, options)?.ok_or_else(over_http_only)
    }

    /// [`Client::connect`]; `None` when the other site takes the token but not for a channel whose topic is not told to
    /// receivers, as PhoenixKit does: then it can be asked over HTTP, with [`Api::with_auth`](crate::Api::with_auth).
    ///
    /// # Errors
    /// Those of [`Client::connect`].
    pub fn connect_to_rowferry(url: &str, auth: Auth, options: ConnectOptions) -> Result<Option<Client>> {
        Client::by(Way::to(url)?, auth, options)
    }

    /// [`Client::connect`] to a site in this process.
    #[cfg(feature = "server")]
    pub(crate) fn near(site: Box<dyn Near>, auth: Auth, options: ConnectOptions) -> Result<Client> {
        Client::by(Way::Near(site), auth, options)?.ok_or_else(over_http_only)
    }

    fn by(way: Way, auth: Auth, options: ConnectOptions) -> Result<Option<Client>> {
        let pass = auth.pass()?;
        let options = ConnectOptions { receiver: options.receiver.or_else(|| Some(Uuid::new_v4())), ..options };
        let budget = Budget::new(options.connect_timeout, &[&options.cancel]);
        let transport = way.open(&pass, &options, &budget)?;
        let budget = Budget::new(options.join_timeout, &[&options.cancel]);
        let Some((channel, mut peer)) = Channel::join(transport, &pass, &options, &budget)? else { return Ok(None) };
        let ticket = peer.as_mut().and_then(|peer| peer.ticket.take());
        let back = auth.to_come_back(ticket.as_ref());
        let shared = Arc::new(Shared {
            line: Mutex::new(Line::Open(Box::new(channel))),
            waiting: AtomicUsize::new(0),
            connected: AtomicBool::new(true),
            doubtful: AtomicBool::new(false),
            ends_ticket: AtomicBool::new(false),
            closing: CancelToken::new(),
        });
        let keeper = match options.heartbeat {
            Some(heartbeat) => {
                let (shared, silence, comes_back) = (Arc::clone(&shared), options.limits.server.idle_time, back.is_some());
                let look = move || shared.idle(silence) || (comes_back && !shared.closing.is_cancelled());
                Some(Heartbeat::start(heartbeat, look)?)
            }
            None => None,
        };
        let by_ticket = pass.by == By::Ticket;
        let client = Client { keeper, shared, way, peer, back, by_ticket, options, told: Mutex::default() };
        client.keeps_ticket(false);
        Ok(Some(client))
    }

    /// Whether the connection is there, as far as is known: a connection that broke without a word is found out by the next
    /// call or heartbeat.
    pub fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::SeqCst)
    }

    /// Ends the connection; a call that another thread is waiting in ends with [`ErrorKind::Cancelled`]. It cannot be resumed
    /// again. Does nothing the second time.
    pub fn disconnect(&self) {
        self.shared.end(Duration::from_secs(1));
    }

    /// What a rowferry sender tells about itself; `None` if the sender is of PhoenixKit.
    pub fn peer(&self) -> Option<&PeerInfo> {
        self.peer.as_ref()
    }

    /// The other site's URL in its normal form: two spellings of one address have one. Of a site in this process it is `link:` and
    /// the site's id.
    pub fn url(&self) -> String {
        self.way.to_string()
    }

    /// What the sender can do.
    ///
    /// # Errors
    /// Of this and the other calls: [`ErrorKind::Timeout`] if no answer comes within
    /// [`ConnectOptions::request_timeout`]; [`ErrorKind::Disconnected`] if the connection is or gets lost;
    /// [`ErrorKind::Peer`] if the sender says that it failed; [`ErrorKind::Protocol`] or [`ErrorKind::TooLarge`] for an
    /// answer that cannot be used; [`ErrorKind::Cancelled`].
    pub fn capabilities(&self) -> Result<Capabilities> {
        self.ask(Ask::Capabilities, &self.patience(), |answer| answer.capabilities())
    }

    /// The sender's tables.
    ///
    /// # Errors
    /// As [`Client::capabilities`].
    pub fn list_tables(&self) -> Result<Vec<TableInfo>> {
        Ok(self.ask_tables(&self.patience())?.tables)
    }

    /// A table's structure.
    ///
    /// # Errors
    /// As [`Client::capabilities`]; [`ErrorKind::TableNotFound`], [`ErrorKind::Refused`].
    pub fn get_schema(&self, table: &str) -> Result<TableSchema> {
        self.ask_schema(table, &self.patience())
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// As [`Client::get_schema`].
    pub fn get_count(&self, table: &str) -> Result<u64> {
        self.ask_count(table, &self.patience())
    }

    /// Records of a table, for people to look at.
    ///
    /// # Errors
    /// As [`Client::get_schema`]; [`ErrorKind::InvalidInput`] for a limit of 0.
    pub fn fetch_records(&self, table: &str, options: FetchOptions) -> Result<FetchedRecords> {
        if options.limit == 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "the limit must be at least 1").with_hint("Give a limit."));
        }
        let table = self.get_schema(table)?;
        let mut rows = Rows::default();
        let (offset, limit) = (options.offset, options.limit);
        let page = self.some_records(&table, (offset, limit, true), &mut rows, &self.patience())?;
        Ok(FetchedRecords { table, rows, failures: page.failures, offset: options.offset, has_more: page.has_more })
    }

    /// A page of at most `limit` records of a table after the first `offset`, for the pull. They are added to `rows`. A page
    /// may be shorter than asked for and not be the last: the next one begins after what was received.
    pub(crate) fn fetch_page(
        &self,
        table: &TableSchema,
        offset: u64,
        limit: u64,
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<RecordsPage> {
        self.some_records(table, (offset, limit, false), rows, patience)
    }

    /// The same; `look` says that no more will be asked for.
    fn some_records(
        &self,
        table: &TableSchema,
        (offset, limit, look): (u64, u64, bool),
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<RecordsPage> {
        let limits = &self.options.limits;
        let most = match self.dialect() {
            Dialect::Rowferry => u64::try_from(limits.wire.page_rows).unwrap_or(u64::MAX),
            // PhoenixKit computes `has_more` from the limit that it is asked for, and sends no more than this.
            Dialect::ReferenceSocket | Dialect::ReferenceHttp => REFERENCE_PAGE_RECORDS,
        };
        let limit = limit.clamp(1, most.max(1));
        let look = look && self.dialect() == Dialect::Rowferry;
        let ask = Ask::Records { table: &table.name, offset, limit, look };
        // Even a record of many short columns takes no more than a few times its JSON in memory.
        let bounds = PageLimits { records: limit, bytes: limits.wire.message_bytes.saturating_mul(4) };
        let dialect = self.dialect();
        let page = self
            .call(&described(&ask), patience, |channel, budget| channel.page(&ask, budget, table, dialect, bounds, rows))?;
        let name = &table.name;
        let why = match page.offset {
            Some(said) if u64::try_from(said) != Ok(offset) => {
                format!("the other site was asked for records of {name:?} after {offset} and sent those after {said}")
            }
            // One that asked on would ask for ever.
            _ if page.has_more && page.received == 0 => {
                format!("the other site says that {name:?} has more records after {offset}, and sent none")
            }
            _ => return Ok(page),
        };
        Err(Error::new(ErrorKind::Protocol, why))
    }

    /// How the sender writes values.
    pub(crate) fn dialect(&self) -> Dialect {
        if self.peer.is_some() { Dialect::Rowferry } else { Dialect::ReferenceSocket }
    }

    /// [`Client::list_tables`] for a pull, with what else the sender says.
    pub(crate) fn ask_tables(&self, patience: &Patience) -> Result<Listed> {
        let read = |answer: &Answer<'_>| {
            let (tables, not_copied) = (answer.tables(&self.options.limits)?, answer.not_copied()?);
            Ok(Listed { tables, not_copied, state: answer.state() })
        };
        self.ask(Ask::Tables, patience, read)
    }

    /// Whether the sender can tell that nothing has changed.
    pub(crate) fn tells_same(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.features.iter().any(|feature| feature == FEATURE_SAME))
    }

    /// Whether all is as it was when the sender gave this token of its state.
    pub(crate) fn ask_same(&self, token: &str, patience: &Patience) -> Result<bool> {
        self.ask(Ask::Same(token), patience, |answer| answer.same())
    }

    /// [`Client::get_schema`] for a pull.
    pub(crate) fn ask_schema(&self, table: &str, patience: &Patience) -> Result<TableSchema> {
        let read = |answer: &Answer<'_>| decode_schema(answer.schema()?, &self.options.limits);
        of_table(self.ask(Ask::Schema(table), patience, read)?, table)
    }

    /// The same of several tables, which are asked for together: one answer for each, in their order.
    pub(crate) fn ask_schemas(&self, tables: &[String], patience: &Patience) -> Vec<Result<TableSchema>> {
        let asks: Vec<Ask<'_>> = tables.iter().map(|table| Ask::Schema(table)).collect();
        let read = |answer: &Answer<'_>| decode_schema(answer.schema()?, &self.options.limits);
        let doing = asks.first().map_or_else(String::new, described);
        match self.call(&doing, patience, |channel, budget| channel.ask_all(&asks, budget, read)) {
            Ok(answers) => answers.into_iter().zip(tables).map(|(answer, table)| of_table(answer?, table)).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    /// [`Client::get_count`] for a pull.
    pub(crate) fn ask_count(&self, table: &str, patience: &Patience) -> Result<u64> {
        self.ask(Ask::Count(table), patience, |answer| answer.count())
    }

    /// Whether the sender lets these tables be pulled, for a pull; `None` where it does not know the question: then each table is
    /// simply tried.
    pub(crate) fn ask_approvals(&self, tables: &[&str], patience: &Patience) -> Result<Option<Vec<Approval>>> {
        match &self.peer {
            Some(peer) if peer.features.iter().any(|feature| feature == FEATURE_APPROVALS) => {
                let clean = |channel: &Channel, approval: Approval| Approval {
                    reason: approval.reason.map(|reason| channel.cleaned(&reason)),
                    ..approval
                };
                let mut approvals = Vec::with_capacity(tables.len());
                for some in tables.chunks(APPROVALS) {
                    let ask = Ask::Approvals(some);
                    approvals.extend(self.call(&described(&ask), patience, |channel, budget| {
                        let answered = channel.ask(&ask, budget, |answer| answer.approvals(&self.options.limits))?;
                        Ok(answered.into_iter().map(|approval| clean(channel, approval)).collect::<Vec<_>>())
                    })?);
                }
                Ok(Some(approvals))
            }
            _ => Ok(None),
        }
    }

    /// That of a call on its own: the request's time-out is its only bound.
    fn patience(&self) -> Patience {
        Patience::new(CancelToken::new(), None)
    }

    fn ask<T>(&self, ask: Ask<'_>, patience: &Patience, mut read: impl FnMut(&Answer<'_>) -> Result<T>) -> Result<T> {
        self.call(&described(&ask), patience, |channel, budget| channel.ask(&ask, budget, &mut read))
    }

    pub(super) fn call<T>(
        &self,
        doing: &str,
        patience: &Patience,
        work: impl FnOnce(&mut Channel, &Budget) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        let line = self.free_line(doing, patience);
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        self.on_line(&mut *line?, doing, patience, work)
    }

    /// Waits until no other call has the line. A pull has it while pages come; when it waits for those to be written, it gives
    /// way.
    pub(super) fn free_line(&self, doing: &str, patience: &Patience) -> Result<MutexGuard<'_, Line>> {
        /// How often it is looked.
        const POLL_INTERVAL: Duration = Duration::from_millis(5);
        loop {
            match self.shared.line.try_lock() {
                Ok(line) => return Ok(line),
                Err(TryLockError::Poisoned(line)) => return Ok(line.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
            patience.check(doing)?;
            self.options.cancel.check(doing)?;
            self.shared.closing.check(doing)?;
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Does something with the channel, if there is one. It is no more when that goes wrong in a way that leaves it useless.
    pub(super) fn on_line<T>(
        &self,
        line: &mut Line,
        doing: &str,
        patience: &Patience,
        work: impl FnOnce(&mut Channel, &Budget) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let channel = match line {
            Line::Open(channel) => channel,
            Line::Gone(why) => {
                return Err(Error::new(ErrorKind::Disconnected, format!("not connected at {doing}: {why}")).with_hint(AGAIN));
            }
        };
        let cancel = [&self.options.cancel, &self.shared.closing, &patience.cancel];
        let budget = Budget::new(self.options.request_timeout, &cancel).until(patience.deadline());
        work(channel, &budget).map_err(|trouble| {
            let is_final = trouble.is_final();
            let error = trouble.into_error(doing);
            if error.kind() == ErrorKind::Timeout {
                self.shared.doubtful.store(true, Ordering::SeqCst);
            }
            if is_final {
                self.shared.lose(line, error.message());
            }
            error
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.keeper = None;
        // The close frame is sent, and nothing is waited for.
        self.shared.end(Duration::ZERO);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url())
            .field("peer", &self.peer)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Line> {
        // A panic in a call leaves at worst a connection whose next answer is not understood, which is an error then.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call waits for the line.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    pub(super) fn lose(&self, line: &mut Line, why: &str) {
        self.connected.store(false, Ordering::SeqCst);
        *line = Line::Gone(why.to_owned());
    }

    fn end(&self, patience: Duration) {
        self.closing.cancel();
        let mut line = self.lock();
        self.connected.store(false, Ordering::SeqCst);
        if let Line::Open(mut channel) = std::mem::replace(&mut *line, Line::Gone("this side disconnected".to_owned())) {
            if self.ends_ticket.load(Ordering::SeqCst) {
                let told = channel.tell(encode_pull_over, &Budget::new(patience.max(SAY), &[]));
                told.unwrap_or_else(|_| log::debug!(target: "rowferry::client", "the other site cannot be told that its ticket is not needed"));
            }
            channel.close(patience);
        }
    }

    /// What the keeper does; `false` when there is nothing more to keep.
    fn idle(&self, silence: Duration) -> bool {
        let mut line = match self.line.try_lock() {
            Ok(line) => line,
            Err(TryLockError::Poisoned(line)) => line.into_inner(),
            // A call is running; it sends the heartbeats itself.
            Err(TryLockError::WouldBlock) => return true,
        };
        let Line::Open(channel) = &mut *line else { return false };
        match channel.idle(silence) {
            Ok(()) => true,
            Err(trouble) => {
                let error = trouble.into_error("an idle connection");
                log::debug!(target: "rowferry::client", "{error}");
                self.lose(&mut line, error.message());
                false
            }
        }
    }
}

/// The structure, if it is that of the table that was asked for.
fn of_table(schema: TableSchema, table: &str) -> Result<TableSchema> {
    if schema.name.eq_ignore_ascii_case(table) {
        return Ok(schema);
    }
    let described = crate::wire::excerpt(&schema.name);
    let why = format!("the other site was asked for table {table:?} and described {described:?}");
    Err(Error::new(ErrorKind::Protocol, why))
}

pub(crate) fn over_http_only() -> Error {
    Error::new(ErrorKind::Refused, "the other site accepts this token over HTTP only")
        .with_hint("It is of PhoenixKit: ask it with `Api`, or pull with `Site::pull_from`.")
}
