//! What a caller may choose about a pull.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bounds::{Allowed, MOST};
use super::callbacks::{OnConflict, OnFailure};
use crate::cancel::CancelToken;
use crate::domain::strategy::{Dangling, OnLossy, OnTakenKey, Strategy};
use crate::plan::table::ExtraColumns;
use crate::pull::Progress;

pub(crate) type OnProgress<'p> = Box<dyn FnMut(&Progress<'_>) + 'p>;

/// How tables are pulled. Each setter says its default.
#[derive(Default)]
pub struct PullOptions<'p> {
    /// What the caller chose; `None` leaves it to the connection.
    pub(super) strategy: Option<Strategy>,
    pub(super) table_strategies: BTreeMap<String, Strategy>,
    pub(crate) tables: Option<Vec<String>>,
    pub(super) exclude: Vec<String>,
    pub(super) keys: BTreeMap<String, Vec<String>>,
    pub(super) newer_by: Option<String>,
    pub(super) table_newer_by: BTreeMap<String, String>,
    /// Taken out when the pull begins.
    pub(super) on_conflict: BTreeMap<String, Option<OnConflict<'p>>>,
    pub(super) batch_size: Option<u32>,
    pub(super) keep_missing_tables: bool,
    pub(crate) extra_columns: ExtraColumns,
    pub(super) dry_run: bool,
    pub(super) append_again: bool,
    pub(super) append_new: bool,
    pub(super) no_refresh: bool,
    pub(super) on_taken_key: OnTakenKey,
    pub(super) dangling: Dangling,
    pub(super) on_lossy: OnLossy,
    pub(super) outside_references: bool,
    pub(super) max_records: Option<u64>,
    pub(super) max_bytes: Option<u64>,
    /// The most records that are asked for at a time, whatever the batch size is.
    pub(super) most_at_once: Option<u32>,
    /// What the connection allows that is pulled through.
    pub(super) allowed: Option<Arc<dyn Allowed>>,
    pub(super) timeout: Option<Duration>,
    pub(crate) retry_time: Option<Duration>,
    pub(super) lock_time: Option<Duration>,
    pub(crate) cancel: CancelToken,
    pub(super) approval_time: Option<Duration>,
    pub(super) initiated_by: Option<String>,
    pub(crate) progress: Option<OnProgress<'p>>,
    pub(super) on_failure: Option<OnFailure<'p>>,
}

/// Records asked for at a time, where nothing else is said.
pub(super) const BATCH_SIZE: u32 = 500;

/// How long a pull may take, where the caller does not say.
const MOST_TIME: Duration = Duration::from_secs(24 * 3600);

/// The most records asked for at a time.
const MOST_RECORDS: u32 = 10_000;

impl<'p> PullOptions<'p> {
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

    /// Pulls this table, and the others that are named. Defaults to all tables that the sender offers, but for PhoenixKit's own state.
    #[must_use]
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.tables.get_or_insert_default().push(table.into());
        self
    }

    /// Pulls these tables and no others, those of [`table`](Self::table) before it included.
    #[must_use]
    pub fn tables<T: Into<String>>(mut self, tables: impl IntoIterator<Item = T>) -> Self {
        self.tables = Some(tables.into_iter().map(Into::into).collect());
        self
    }

    /// How many records are asked for at a time, from 1 to 10,000. Defaults to 1,000 of a PhoenixKit sender, which is never asked for
    /// more, and over HTTP not for more than 100; a rowferry sender sends pages by itself, which are then cut by bytes
    /// ([`PullLimits::stream_page_bytes`](crate::PullLimits::stream_page_bytes)), one of version 0.1.0 is asked for 500. How many rows are written in one transaction is another matter: see
    /// [`PullLimits::commit_rows`](crate::PullLimits::commit_rows).
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

    /// Whether to try and report everything and to keep nothing. Defaults to false.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether tables are appended that were appended before, each of their rows again. Defaults to false: a site remembers which
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

    /// What becomes of records with values that a column here cannot hold as they are: text that is not UTF-8 in PostgreSQL, for example.
    /// Defaults to [`OnLossy::Fail`]. Such values are counted by their columns ([`Outcome::lossy`](crate::Outcome::lossy)) in either case. A
    /// pull that resumes may choose otherwise than it began; records that failed before are not looked at again.
    #[must_use]
    pub fn on_lossy(mut self, on_lossy: OnLossy) -> Self {
        self.on_lossy = on_lossy;
        self
    }

    /// Whether tables that are made may refer to tables that were here before, by foreign keys as the sender describes them. Rows of such a
    /// table can keep rows of yours from being deleted or changed. Defaults to false: such a foreign key is left out, and the report of the
    /// table says so (`outside_reference`). Tables that this sender's pulls made refer to each other in any case, and so they do to tables that this
    /// one pulls by [`Overwrite`](Strategy::Overwrite) or [`Merge`](Strategy::Merge): the sender may change these.
    #[must_use]
    pub fn outside_references(mut self, outside: bool) -> Self {
        self.outside_references = outside;
        self
    }

    /// The most records that one run of the pull takes, of all tables together; pages are taken whole. One more, and the pull ends with
    /// [`PullLimit`](crate::ErrorKind::PullLimit): what arrived is kept, and the same pull again resumes. Defaults to 2^40.
    #[must_use]
    pub fn max_records(mut self, records: u64) -> Self {
        self.max_records = Some(records);
        self
    }

    /// The same in bytes of the records' values, or of the pages that they came in where that is more. Defaults to 2^40, a tebibyte: a
    /// sender that never ends is not to fill your disk; say how much space there is for it.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How long the whole pull may take; it ends with [`Timeout`](crate::ErrorKind::Timeout) then, and the same pull again resumes. Defaults
    /// to 24 hours; [`Duration::MAX`] is no bound. Each single request has its own ([`ConnectOptions`](crate::client::ConnectOptions)).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long to try to reconnect when the connection is lost in the middle of the pull, to connect to a site that says it is
    /// busy (as far as the pull makes the connection itself), and what else may pass is tried again (a damaged message, a
    /// locked or full database), before the pull ends; zero gives up at once. The time begins again whenever something arrives. Defaults to
    /// [`PullLimits::retry_time`](crate::PullLimits::retry_time), half a minute.
    #[must_use]
    pub fn retry_time(mut self, time: Duration) -> Self {
        self.retry_time = Some(time);
        self
    }

    /// Lets other programs write to the local database meanwhile: none waits for much longer than this for the pull's lock, if
    /// it waits as SQLite does. 100 ms is a good choice; below some 60 ms it cannot be kept. The pull takes about twice as
    /// long. Some things are done in one transaction all the same: the rows of tables that refer to each other, to themselves or
    /// have no key, which are applied when all are there, and a single row however large. Defaults to no such bound: a
    /// transaction then lasts up to [`PullLimits::commit_time`](crate::PullLimits::commit_time), 1 s, and a writer may wait for a few of
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

    /// Called on the calling thread at the beginning and end of each table, and in between whenever rows were committed. The
    /// database is not locked by the pull meanwhile, so that the call may write to it. It may ask
    /// the other site through the same client, which then waits for the pull to give way, half a second at most. A pull that resumed may
    /// tell of a table twice: see [`PullOptions::refresh`].
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(&Progress<'_>) + 'p) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    pub(super) fn strategy_of(&self, table: &str) -> Strategy {
        self.table_strategies.get(table).copied().or(self.strategy).unwrap_or_default()
    }

    /// How long the whole pull may take.
    pub(crate) fn time(&self) -> Duration {
        self.timeout.unwrap_or(MOST_TIME)
    }

    pub(super) fn stream_records(&self) -> Option<u32> {
        // So few are written in a few milliseconds.
        let yielding = self.lock_time.map(|_| BATCH_SIZE);
        let chosen = self.batch_size.map(|records| records.clamp(1, MOST_RECORDS)).or(yielding);
        match (chosen, self.most_at_once()) {
            (Some(chosen), most) => Some(chosen.min(most)),
            (None, most) => (most < MOST_RECORDS).then_some(most),
        }
    }

    /// The most records that are asked for at a time: no more than are taken at all.
    fn most_at_once(&self) -> u32 {
        let most = self.max_records.map_or(MOST_RECORDS, |most| u32::try_from(most).unwrap_or(MOST_RECORDS));
        self.most_at_once.unwrap_or(MOST_RECORDS).min(most).clamp(1, MOST_RECORDS)
    }

    /// Records in a page that is asked for, where the caller does not say otherwise as many as `usual`.
    pub(super) fn page_records(&self, usual: u32) -> u32 {
        self.batch_size.unwrap_or(usual).min(self.most_at_once()).clamp(1, MOST_RECORDS)
    }
}

impl fmt::Debug for PullOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("strategy", &self.strategy.unwrap_or_default())
            .field("table_strategies", &self.table_strategies)
            .field("tables", &self.tables)
            .field("exclude", &self.exclude)
            .field("keys", &self.keys)
            .field("newer_by", &self.newer_by)
            .field("table_newer_by", &self.table_newer_by)
            .field("batch_size", &self.page_records(BATCH_SIZE))
            .field("create_missing_tables", &!self.keep_missing_tables)
            .field("extra_columns", &self.extra_columns)
            .field("dry_run", &self.dry_run)
            .field("append_again", &self.append_again)
            .field("append_new", &self.append_new)
            .field("refresh", &!self.no_refresh)
            .field("on_taken_key", &self.on_taken_key)
            .field("dangling", &self.dangling)
            .field("on_lossy", &self.on_lossy)
            .field("outside_references", &self.outside_references)
            .field("max_records", &self.max_records.unwrap_or(MOST))
            .field("max_bytes", &self.max_bytes.unwrap_or(MOST))
            .field("timeout", &self.time())
            .field("retry_time", &self.retry_time)
            .field("lock_time", &self.lock_time)
            .field("wait_for_approval", &self.approval_time)
            .field("initiated_by", &self.initiated_by)
            .finish_non_exhaustive()
    }
}
