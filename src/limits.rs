//! Every bound on bytes, rows, counts and time that the crate applies, in one place.

use std::time::Duration;

/// Bounds on what is read from outside, kept in memory, and waited for, by who is bounded. Take [`Limits::default`] and change what
/// you must; the unit is in each name.
///
/// ```
/// let mut limits = rowferry::Limits::default();
/// limits.pull.commit_rows = 10_000;
/// limits.server.connections = 16;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Messages, on either end.
    pub wire: WireLimits,
    /// The server.
    pub server: ServerLimits,
    /// Pulls into this site.
    pub pull: PullLimits,
    /// The SQLite database.
    pub store: StoreLimits,
    /// How long things work, wait and are kept.
    pub retention: RetentionLimits,
}

/// Messages, on either end: what is read of a peer, and how pages are cut for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireLimits {
    /// Largest WebSocket message that the client accepts. A larger one ends the connection. Defaults to 64 MiB: a
    /// reference sender does not cut its pages by bytes.
    pub message_bytes: usize,
    /// At about how many bytes a page of records that is sent is cut. Defaults to 900 kB: PhoenixKit's client takes time
    /// quadratic in the size of a frame. A single larger row is sent alone.
    pub page_bytes: usize,
    /// Largest number of records put into one page, whatever was asked for. Defaults to 10,000.
    pub page_rows: usize,
    /// Largest HTTP head (request line and headers) that is accepted. Defaults to 16 KiB.
    pub head_bytes: usize,
    /// Largest number of headers in an HTTP head. Defaults to 64.
    pub head_fields: usize,
    /// Tables accepted in a peer's list. Defaults to 100,000.
    pub tables: usize,
    /// Columns accepted in a peer's table. Defaults to 2,000, as in SQLite.
    pub columns: usize,
    /// Names of columns accepted in the keys, unique sets, foreign keys and indexes of a peer's table, all of them together. In a
    /// WITHOUT ROWID table each set and index also has the columns of the primary key. Defaults to 10,000.
    pub key_names: usize,
    /// Largest description of a peer's table, as JSON. Defaults to 2 MiB: a table of 2,000 columns takes about half of one.
    pub schema_bytes: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        WireLimits {
            message_bytes: 64 << 20,
            page_bytes: 900_000,
            page_rows: 10_000,
            head_bytes: 16 << 10,
            head_fields: 64,
            tables: 100_000,
            columns: 2_000,
            key_names: 10_000,
            schema_bytes: 2 << 20,
        }
    }
}

/// The server: whom it answers, and how much at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Largest HTTP request body, and largest WebSocket message, that the server accepts. A body beyond 64 KiB is only read of a call
    /// that may need it, and of a peer whose token is known. Defaults to 1 MiB.
    pub body_bytes: usize,
    /// Most memory for such large bodies, of all connections of a server together; there is a 503 for those beyond. Defaults to
    /// 16 MiB.
    pub large_bodies_bytes: usize,
    /// Connections that the server holds at the same time. When all are taken, the one that has waited longest for a request is
    /// closed, unless it came within the last second; if none waits, the new one gets a 503 with `Retry-After`. Each has a thread, and a reading connection to the database
    /// while it reads. Defaults to 256.
    pub connections: usize,
    /// How many of them one address may have (IPv6: one network of 64 bits; behind a [trusted
    /// proxy](crate::ServerBuilder::trust_proxies): the address that it forwards, while a request of it is answered). Further ones
    /// are treated as those beyond [`connections`](ServerLimits::connections). It holds for this machine's own addresses, too: where a
    /// proxy that is not trusted stands before the server, all peers are one address. Defaults to none: a quarter of `connections`,
    /// and four at least.
    pub connections_per_address: Option<usize>,
    /// How long a peer may take to send a whole HTTP head, or a whole body. Defaults to 10 s.
    pub request_time: Duration,
    /// How long a kept-alive HTTP connection may wait for its next request. Defaults to 30 s.
    pub keep_alive_time: Duration,
    /// How long a peer may accept not a byte of what is written to it. Defaults to 60 s.
    pub write_time: Duration,
    /// How long a WebSocket peer may be silent before the server closes. Defaults to 60 s, as in PhoenixKit.
    pub idle_time: Duration,
    /// Wrong codes taken from one address (of IPv6, from one network of 48 bits) per minute before it is told to wait; by several
    /// processes on one database together, give or take the few that one has not told the others yet. Defaults to 10.
    pub code_attempts_per_minute: u32,
    /// Wrong codes taken from all addresses together per minute before each further code, a right one too, is looked at one second later;
    /// none is refused for it. Defaults to 6,000.
    pub all_code_attempts_per_minute: u32,
    /// Addresses remembered for the bound above. Defaults to 4,096; the oldest is forgotten.
    pub remembered_addresses: usize,
    /// Tables that one channel session remembers its place in. Defaults to 64.
    pub remembered_places: usize,
    /// How long a pull without a name (of PhoenixKit, or of rowferry 0.1.0) may pause and be the same pull: over HTTP between two of
    /// its calls, on a channel after the connection was lost. Defaults to 5 min.
    pub pull_pause_time: Duration,
    /// Such pulls that are remembered while they pause; the oldest one of the peer that has most is taken for over. A connection has at
    /// most a quarter of them. Defaults to 256.
    pub paused_pulls: usize,
    /// Wrong passwords taken per minute for one connection, and of registrations from one address, before it is told to wait, also with a
    /// right one; a hundred times as many of registrations from all addresses together, so that nobody keeps the others from registering.
    /// Defaults to 10.
    pub password_attempts_per_minute: u32,
    /// Passwords verified at the same time: each takes 19 MiB and some tens of milliseconds. Defaults to 2.
    pub password_checks: usize,
    /// Requests to be connected taken from one address per minute before it is told to wait. Defaults to 20.
    pub registrations_per_minute: u32,
    /// Refusals of access and of registrations kept as events per minute of one connection or address, and as lines of the log; further
    /// ones are counted in the log. Ten times as many events are kept of all unknown callers together, and ten times as many lines of all
    /// callers. Defaults to 10.
    pub refused_events_per_minute: u32,
    /// Rows of a table up to which the list of tables over HTTP has its digest. Defaults to 10,000.
    pub digest_rows: u64,
    /// Bytes of values that one list of tables over HTTP reads for digests. Defaults to 64 MiB.
    pub digest_bytes: u64,
    /// Memory for the hashes of rows of tables that peers compare with their own, of all of them together: about 8 bytes for each row. A table that
    /// there is no room for is read again for each further question about it. Defaults to 64 MiB.
    pub compared_bytes: usize,
    /// Records of a table that a connection may look at within an hour, by `table-records`, without a download; what it asks for beyond
    /// that begins one. Defaults to 1,000.
    pub look_records_per_hour: u64,
    /// Receiver connections beyond which no further site can register itself. Defaults to 1,000.
    pub registered: u32,
    /// Connections that other sites asked for and that wait for approval. For one more the oldest is deleted of the network that asked
    /// for most, or there is a 429 with `Retry-After` where that one came within the last ten minutes. Defaults to 200.
    pub pending: u32,
    /// The same from one address, or one IPv6 network of 64 bits: the oldest one from there gives way. Defaults to 20.
    pub pending_per_address: u32,
    /// The same from one address with one host in their URLs, which who asks can name as it likes. Defaults to 20.
    pub pending_per_host: u32,
    /// Pulls of tables that one session's code lets begin. Defaults to 10,000.
    pub session_pulls: u32,
    /// Pulls of the same table that one session's code lets begin per minute. Defaults to 60.
    pub repeated_pulls_per_minute: u32,
    /// Connections, transfers or events in one list, whatever was asked for. Defaults to 1,000.
    pub listed: u32,
    /// Names of tables, or ranges of addresses, in one list of a connection's policy. Defaults to 1,000.
    pub policy_entries: usize,
    /// Largest notes of a connection, as JSON. Defaults to 64 KiB.
    pub metadata_bytes: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            body_bytes: 1 << 20,
            large_bodies_bytes: 16 << 20,
            connections: 256,
            connections_per_address: None,
            request_time: Duration::from_secs(10),
            keep_alive_time: Duration::from_secs(30),
            write_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(60),
            code_attempts_per_minute: 10,
            all_code_attempts_per_minute: 6_000,
            remembered_addresses: 4_096,
            remembered_places: 64,
            pull_pause_time: Duration::from_secs(300),
            paused_pulls: 256,
            password_attempts_per_minute: 10,
            password_checks: 2,
            registrations_per_minute: 20,
            refused_events_per_minute: 10,
            digest_rows: 10_000,
            digest_bytes: 64 << 20,
            compared_bytes: 64 << 20,
            look_records_per_hour: 1_000,
            registered: 1_000,
            pending: 200,
            pending_per_address: 20,
            pending_per_host: 20,
            session_pulls: 10_000,
            repeated_pulls_per_minute: 60,
            listed: 1_000,
            policy_entries: 1_000,
            metadata_bytes: 64 << 10,
        }
    }
}

/// Pulls into this site.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullLimits {
    /// At about how many bytes of values in memory a page is cut that a rowferry sender sends by itself. The receiver asks for
    /// it. Defaults to 1 MiB.
    pub stream_page_bytes: usize,
    /// Most memory for the rows of such pages that are on their way or wait to be written, of all tables of a pull together; up to
    /// 3 MiB of tables that are asked for ahead may be on their way beside them. It begins with 1 MiB and grows up to this as long as
    /// rows are written faster than they come. A single larger page goes alone. Defaults to 8 MiB; more than 64 MiB count as that.
    pub stream_window_bytes: usize,
    /// Memory for decoded rows of one batch. Defaults to 4 MiB. Two batches are in memory during a pull: one is filled while
    /// the other is written.
    pub batch_bytes: usize,
    /// Rows written in one transaction. Defaults to 100,000. A transaction ends earlier when no further batch is there to be
    /// written: it never waits for the network.
    pub commit_rows: usize,
    /// Bytes of decoded rows written in one transaction. Defaults to 64 MiB.
    pub commit_bytes: usize,
    /// How long a transaction takes in further batches, and how long rows are buffered before they are written, however few
    /// they are. Defaults to 1 s.
    pub commit_time: Duration,
    /// For how much of its time a pull leaves the database's lock to other writers, in percent, in pauses of 50 ms and more
    /// between transactions that would follow each other at once. Defaults to 5. A program that waits for the lock as SQLite
    /// does looks again every tenth of a second: with 5 it gets its turn within a few seconds.
    pub lock_pause_percent: u32,
    /// The least time for which the lock is left to others after each such transaction. Defaults to none.
    pub lock_pause_time: Duration,
    /// How long a pull waits for one table in all because the other site counts its calls and says to wait. Defaults to 2
    /// minutes.
    pub rate_wait_time: Duration,
    /// For how long a pull tries to reconnect when its connection is lost, or to connect to a site that is busy. Defaults to 30 s.
    pub retry_time: Duration,
    /// How soon a pull that waits for approval asks the other site again; it asks less and less often, at last every 15 s.
    /// Defaults to 2 s.
    pub approval_poll_time: Duration,
    /// Failures that a report lists per table; all are counted. Defaults to 1,000.
    pub reported_failures: usize,
    /// Tables of one pull. More are an error of the pull: pull some of them at a time, by name. Defaults to 10,000.
    pub tables: usize,
    /// Columns of all tables of one pull, with the [names in their keys and indexes](WireLimits::key_names): how much memory the
    /// descriptions take, about 1 kB each. More are an error of the pull, as above. Defaults to 500,000.
    pub names: usize,
}

impl Default for PullLimits {
    fn default() -> Self {
        PullLimits {
            stream_page_bytes: 1 << 20,
            stream_window_bytes: 8 << 20,
            batch_bytes: 4 << 20,
            commit_rows: 100_000,
            commit_bytes: 64 << 20,
            commit_time: Duration::from_secs(1),
            lock_pause_percent: 5,
            lock_pause_time: Duration::ZERO,
            rate_wait_time: Duration::from_secs(120),
            retry_time: Duration::from_secs(30),
            approval_poll_time: Duration::from_secs(2),
            reported_failures: 1_000,
            tables: 10_000,
            names: 500_000,
        }
    }
}

/// The SQLite database, whatever is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreLimits {
    /// SQLite's page cache of the writing connection. Defaults to 48 MiB.
    pub write_cache_bytes: usize,
    /// How long to wait for another connection's lock on the database. Defaults to 5 s.
    pub busy_timeout: Duration,
    /// How old a snapshot may become before a pull reads on from a new one. Defaults to 10 minutes.
    pub snapshot_time: Duration,
    /// How large the write-ahead log may grow while a snapshot pins it, before a pull reads on from a new one. Defaults to 1 GiB.
    pub snapshot_wal_bytes: u64,
    /// From which size on a checkpoint restarts the write-ahead log although other programs write all the time: without it the log
    /// would grow without end. A longer log stays while a reader needs it. Defaults to 64 MiB.
    pub log_restart_bytes: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            write_cache_bytes: 48 << 20,
            busy_timeout: Duration::from_secs(5),
            snapshot_time: Duration::from_secs(600),
            snapshot_wal_bytes: 1 << 30,
            log_restart_bytes: 64 << 20,
        }
    }
}

/// How long things work, wait and are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionLimits {
    /// How long a session's code works. Defaults to 24 h.
    pub session_time: Duration,
    /// For how long sessions that were used or whose time is over stay listed; maintenance deletes them then. Defaults to 7
    /// days.
    pub ended_session_time: Duration,
    /// How long a receiver that joined with a code may come back although the code is spent: how long the ticket works that it
    /// gets, counted from when the code was used, and how long it keeps it. It ends before with the pull that completes, and when its
    /// session expires or is deleted. Defaults to 24 h.
    pub ticket_time: Duration,
    /// How long a download of a named pull can be resumed as the same one, counted from when it began. Defaults to 24 h.
    pub pull_time: Duration,
    /// How long someone has time to approve a pull, and how long an approval that was given may wait to be used. Defaults to 24 h.
    pub approval_time: Duration,
    /// For how long a pull that was interrupted can be resumed, counted from its last write; then the next pull into the same
    /// database, or maintenance, drops its checkpoints. Defaults to 24 h.
    pub resume_time: Duration,
    /// After how long without a sign of life a transfer is taken for dead, and what an import or a dry run that was killed
    /// kept for itself is dropped. Defaults to 1 h.
    pub abandoned_time: Duration,
    /// How long such a connection waits for approval before maintenance deletes it. Defaults to 7 days.
    pub pending_time: Duration,
    /// How long events are kept. Defaults to 90 days.
    pub event_time: Duration,
    /// How long transfers that have ended stay in the history, and in its statistics. Defaults to 365 days.
    pub transfer_time: Duration,
    /// For how long a message to another site (that a connection was suspended, say) is tried to be sent, before it is given
    /// up; it is tried ten times at least. Defaults to 30 days.
    pub outbox_time: Duration,
    /// For how long one delivery begins to send such messages; the rest waits for the next one. Defaults to 5 minutes.
    pub delivery_time: Duration,
}

impl Default for RetentionLimits {
    fn default() -> Self {
        RetentionLimits {
            session_time: Duration::from_secs(24 * 3600),
            ended_session_time: Duration::from_secs(7 * 24 * 3600),
            ticket_time: Duration::from_secs(24 * 3600),
            pull_time: Duration::from_secs(24 * 3600),
            approval_time: Duration::from_secs(24 * 3600),
            resume_time: Duration::from_secs(24 * 3600),
            abandoned_time: Duration::from_secs(3600),
            pending_time: Duration::from_secs(7 * 24 * 3600),
            event_time: Duration::from_secs(90 * 24 * 3600),
            transfer_time: Duration::from_secs(365 * 24 * 3600),
            outbox_time: Duration::from_secs(30 * 24 * 3600),
            delivery_time: Duration::from_secs(300),
        }
    }
}

/// Connections that one address may have where a quarter of all would be fewer.
#[cfg(feature = "server")]
const SMALLEST_SHARE: usize = 4;

/// SQLite looks for a lock that it waits for every 25 ms at first: a pause that is longer than that cannot be missed.
const SEEN_PAUSE: Duration = Duration::from_millis(30);

/// Bytes of rows that are surely written within a few milliseconds.
const SMALL_BATCH: usize = 128 << 10;

impl ServerLimits {
    /// How many connections one address may have.
    #[cfg(feature = "server")]
    pub(crate) fn share_of_address(&self) -> usize {
        self.connections_per_address.unwrap_or((self.connections / 4).max(SMALLEST_SHARE)).min(self.connections)
    }
}

impl Limits {
    /// These limits for a pull that lets other writers of its database wait for no longer than about so long: transactions of a
    /// quarter of that time, each with a pause after it, and batches that are written far sooner.
    pub(crate) fn yielding(&self, time: Duration) -> Limits {
        let mut limits = self.clone();
        let pull = &mut limits.pull;
        pull.commit_time = pull.commit_time.min(time / 4);
        pull.lock_pause_time = pull.lock_pause_time.max(SEEN_PAUSE);
        pull.batch_bytes = pull.batch_bytes.min(SMALL_BATCH);
        limits
    }

    /// The defaults with a change.
    #[cfg(test)]
    pub(crate) fn with(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }
}
