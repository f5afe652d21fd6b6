//! What a caller may choose about a pull.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::domain::strategy::{Dangling, OnTakenKey, Strategy};
use crate::plan::table::ExtraColumns;
use crate::pull::Progress;

pub(super) type OnProgress<'p> = Box<dyn FnMut(&Progress<'_>) + 'p>;

/// How tables are pulled. Each setter says its default.
#[derive(Default)]
pub struct TransferOptions<'p> {
    /// What the caller chose; `None` leaves it to the connection.
    pub(super) strategy: Option<Strategy>,
    pub(super) table_strategies: BTreeMap<String, Strategy>,
    pub(super) tables: Option<Vec<String>>,
    pub(super) batch_size: Option<u32>,
    pub(super) keep_missing_tables: bool,
    pub(super) extra_columns: ExtraColumns,
    pub(super) dry_run: bool,
    pub(super) append_again: bool,
    pub(super) append_new: bool,
    pub(super) no_refresh: bool,
    pub(super) on_taken_key: OnTakenKey,
    pub(super) dangling: Dangling,
    pub(super) timeout: Option<Duration>,
    pub(super) retry_time: Option<Duration>,
    pub(super) lock_time: Option<Duration>,
    pub(super) cancel: CancelToken,
    pub(super) approval_time: Option<Duration>,
    pub(super) initiated_by: Option<String>,
    pub(super) progress: Option<OnProgress<'p>>,
}

/// Records asked for at a time, where nothing else is said.
pub(super) const BATCH_SIZE: u32 = 500;

/// The most records asked for at a time.
const MOST_RECORDS: u32 = 10_000;

impl<'p> TransferOptions<'p> {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to do with a record whose key exists here. Defaults to [`Strategy::Skip`]; a pull through a stored connection to
    /// the connection's [`default_conflict_strategy`](crate::Policy::default_conflict_strategy).
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Another strategy for one table, by the sender's name for it. A name that the sender does not have is an error of the
    /// pull.
    #[must_use]
    pub fn table_strategy(mut self, table: impl Into<String>, strategy: Strategy) -> Self {
        self.table_strategies.insert(table.into(), strategy);
        self
    }

    /// Which tables `transfer_all` pulls. Defaults to all that the sender offers, but for the reference's own state.
    #[must_use]
    pub fn tables<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.tables = Some(tables.into_iter().map(Into::into).collect());
        self
    }

    /// How many records are asked for at a time, from 1 to 10,000. Defaults to 1,000 of a reference sender, which is never asked for
    /// more, and over HTTP not for more than 100; a rowferry sender sends pages by itself, which are then cut by bytes
    /// ([`Limits::stream_page_bytes`](crate::Limits::stream_page_bytes)), one of an early version is asked for 500. How many rows are written in one transaction is another matter: see
    /// [`Limits::commit_rows`](crate::Limits::commit_rows).
    #[must_use]
    pub fn batch_size(mut self, records: u32) -> Self {
        self.batch_size = Some(records);
        self
    }

    /// Whether tables that are missing here are made. Defaults to true; otherwise a missing table fails.
    #[must_use]
    pub fn create_missing_tables(mut self, create: bool) -> Self {
        self.keep_missing_tables = !create;
        self
    }

    /// What to do with columns of the sender's that the local table lacks. Defaults to [`ExtraColumns::Refuse`]: the table
    /// fails before a row is moved.
    #[must_use]
    pub fn extra_columns(mut self, extra: ExtraColumns) -> Self {
        self.extra_columns = extra;
        self
    }

    /// Whether everything is tried and reported but nothing is kept. Defaults to false.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether tables are appended that were appended before, each of their rows once more. Defaults to false: a site remembers which
    /// tables of which sender were appended whole, and the same append again fails with
    /// [`AlreadyAppended`](crate::ErrorKind::AlreadyAppended) before a row is asked for, unless [`append_new`](Self::append_new)
    /// asks for what is new. See [`Site::checkpoints`](crate::Site::checkpoints). An append of which records lacked a row that they refer to is not
    /// whole: the next one brings those, whatever is said here.
    ///
    /// An append that was interrupted resumes as it began, whatever is said here.
    #[must_use]
    pub fn append_again(mut self, again: bool) -> Self {
        self.append_again = again;
        self
    }

    /// Whether an append of a table that was appended before brings what is new: records whose keys it did not bring before. The
    /// others are skipped, whether they changed or not. A record of a table without a key is new if it came more often than before.
    /// Defaults to false: then the same append again is refused. It fails with
    /// [`AlreadyAppended`](crate::ErrorKind::AlreadyAppended) where the keys of the earlier append were not kept: an older version made
    /// it, or they were [forgotten](crate::KeyMap::clear). With [`append_again`](Self::append_again) it is an error.
    #[must_use]
    pub fn append_new(mut self, new: bool) -> Self {
        self.append_new = new;
        self
    }

    /// Whether a pull that resumes also pulls those tables again that an earlier run had pulled, wholly or in part, from an older state of
    /// the sender, once all that was missing is there. Then everything is of one state. Defaults to true; otherwise they stay as they
    /// are, and their reports say [how old](crate::TableReport::age) their rows are. Appended tables always stay.
    #[must_use]
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.no_refresh = !refresh;
        self
    }

    /// What an append does with a record whose key is taken here, where no new one can be made of its kind. Defaults to
    /// [`OnTakenKey::Fail`].
    #[must_use]
    pub fn on_taken_key(mut self, on_taken_key: OnTakenKey) -> Self {
        self.on_taken_key = on_taken_key;
        self
    }

    /// What becomes of records that refer to rows which are neither here nor among the records. Defaults to [`Dangling::Fail`].
    ///
    /// What is kept is counted ([`Outcome::dangling`](crate::Outcome::dangling)). A record fails all the same where keeping it would change
    /// what other rows refer to; in an append, where a row that has nothing to do with it has the key that it refers to, or no foreign key
    /// of the local table says that it refers to anything; and in tables that refer to each other, where a foreign key refers to what is not
    /// unique, or triggers go with one that is DEFERRABLE INITIALLY DEFERRED. What triggers write may go unchecked. A pull that resumes may
    /// choose otherwise than it began; records that failed before are not looked at again.
    #[must_use]
    pub fn dangling(mut self, dangling: Dangling) -> Self {
        self.dangling = dangling;
        self
    }

    /// How long the whole pull may take. Defaults to no bound; each single request has its own
    /// ([`ConnectOptions`](crate::client::ConnectOptions)).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// For how long it is tried to reconnect when the connection is lost in the middle of the pull, and what else may pass is tried again (a damaged message, a
    /// locked or full database), before the pull ends; zero gives up at once. Each time that something came the time begins again. Defaults to
    /// [`Limits::retry_time`](crate::Limits::retry_time), half a minute.
    #[must_use]
    pub fn retry_time(mut self, time: Duration) -> Self {
        self.retry_time = Some(time);
        self
    }

    /// Lets other writers of the local database have their turn: none waits for much longer than this for the pull's lock, if
    /// it waits as SQLite does. 100 ms is a good choice; below some 60 ms it cannot be kept. The pull takes two to three times as
    /// long. Some things are done in one transaction all the same: the rows of tables that refer to each other, to themselves or
    /// have no key, which are applied when all are there, and a single row however large. Defaults to no such bound: a
    /// transaction then lasts up to [`Limits::commit_time`](crate::Limits::commit_time), 1 s, and a writer may wait for a few of
    /// them.
    #[must_use]
    pub fn lock_time(mut self, time: Duration) -> Self {
        self.lock_time = Some(time);
        self
    }

    /// Ends the pull when the token is cancelled: what was written before stays.
    #[must_use]
    pub fn cancel(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// Who pulls, for the history of transfers and the events of this site. Defaults to `host`.
    #[must_use]
    pub fn initiated_by(mut self, name: impl Into<String>) -> Self {
        self.initiated_by = Some(name.into());
        self
    }

    /// Waits for up to so long until someone on the other side has approved the tables that need it, all of them before the
    /// first one is pulled. The other site is asked every few seconds; the local database is not locked meanwhile. Defaults to
    /// not waiting: a table that needs approval fails with [`ApprovalRequired`](crate::ErrorKind::ApprovalRequired), which asks
    /// for it, and can be pulled when it was given. Over HTTP a table is asked for when its turn comes, so the tables wait one after
    /// the other, for so long in all.
    #[must_use]
    pub fn wait_for_approval(mut self, time: Duration) -> Self {
        self.approval_time = Some(time);
        self
    }

    /// Is called on the calling thread at the beginning and end of each table, and in between whenever rows were committed. The
    /// database is not locked by the pull meanwhile, so that the call may write to it. It may ask
    /// the other site through the same client, which then waits for the pull to give way, half a second at most.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(&Progress<'_>) + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    pub(super) fn strategy_of(&self, table: &str) -> Strategy {
        self.table_strategies.get(table).copied().or(self.strategy).unwrap_or_default()
    }

    pub(super) fn stream_records(&self) -> Option<u32> {
        // So few are written in a few milliseconds.
        let yielding = self.lock_time.map(|_| BATCH_SIZE);
        self.batch_size.map(|records| records.clamp(1, MOST_RECORDS)).or(yielding)
    }

    /// Records in a page that is asked for, where the caller does not say otherwise as many as `usual`.
    pub(super) fn page_records(&self, usual: u32) -> u32 {
        self.batch_size.unwrap_or(usual).clamp(1, MOST_RECORDS)
    }
}

impl fmt::Debug for TransferOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransferOptions")
            .field("strategy", &self.strategy.unwrap_or_default())
            .field("table_strategies", &self.table_strategies)
            .field("tables", &self.tables)
            .field("batch_size", &self.page_records(BATCH_SIZE))
            .field("create_missing_tables", &!self.keep_missing_tables)
            .field("extra_columns", &self.extra_columns)
            .field("dry_run", &self.dry_run)
            .field("append_again", &self.append_again)
            .field("append_new", &self.append_new)
            .field("refresh", &!self.no_refresh)
            .field("on_taken_key", &self.on_taken_key)
            .field("dangling", &self.dangling)
            .field("timeout", &self.timeout)
            .field("retry_time", &self.retry_time)
            .field("lock_time", &self.lock_time)
            .field("wait_for_approval", &self.approval_time)
            .field("initiated_by", &self.initiated_by)
            .finish_non_exhaustive()
    }
}
