//! The one error type of the crate.
//!
//! An error says what failed and why in one sentence, carries a hint on what to do where there is one, and has a
//! [kind](ErrorKind) with a stable [code](ErrorKind::code) that programs and scripts may match on. A record that cannot be
//! imported is no `Error`: it is a [`Failure`](crate::Failure) in the report, and its batch is applied without it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use uuid::Uuid;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, why, and what to do about it. One word wide. As JSON: `{"code": .., "message": .., "hint": ..}`.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    transfer: Option<Uuid>,
    retry_after: Option<Duration>,
    http_status: Option<u16>,
    from_peer: bool,
    /// How a connection stands that is not active, and why: what a peer is told of it.
    standing: Option<(&'static str, Option<String>)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The kinds of failure that a caller may want to tell apart.
        ///
        #[doc = include_str!("error_codes.md")]
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// All of them.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name),*];

            /// The stable reason code, in snake case: for scripts, logs and reports.
            pub fn code(self) -> &'static str {
                match self { $(ErrorKind::$name => $code,)* }
            }
        }
    };
}

kinds! {
    /// An argument, option, URL or setting that cannot be used.
    InvalidInput = "invalid_input",
    /// The named table does not exist on the side that was asked, or is not offered.
    TableNotFound = "table_not_found",
    /// The named thing (a session, a setting) does not exist.
    NotFound = "not_found",
    /// A table name that belongs to the database or to rowferry itself.
    ReservedName = "reserved_name",
    /// A shadow table of a virtual one, whose module alone may write it.
    ShadowTable = "shadow_table",
    /// A name or default in the catalogue that is not UTF-8.
    NotUtf8 = "not_utf8",
    /// A collation that only the program that made the table has.
    UnknownCollation = "unknown_collation",
    /// The two tables do not fit together: see the message for the column.
    SchemaMismatch = "schema_mismatch",
    /// The database file cannot be opened or created.
    CannotOpen = "cannot_open",
    /// Another connection held the database's lock for longer than the time-out.
    Locked = "database_locked",
    /// The database or its folder may not be written.
    ReadOnly = "database_read_only",
    /// The database file is damaged.
    Corrupt = "database_corrupt",
    /// The file is not a database.
    NotADatabase = "not_a_database",
    /// No room on the disk.
    DiskFull = "disk_full",
    /// The disk or its file system failed.
    Io = "io",
    /// Any other failure of the database.
    Database = "database",
    /// A failure of a file that is not a database: the site's key, a certificate.
    File = "file",
    /// The database was written by a newer version of rowferry.
    NewerState = "newer_state",
    /// The site's key is missing or is not the one that this database was used with.
    SiteKey = "site_key",
    /// No connection could be made.
    Unreachable = "unreachable",
    /// A time budget ran out; the message names the phase.
    Timeout = "timeout",
    /// The connection ended in the middle of something.
    Disconnected = "disconnected",
    /// The TLS handshake failed.
    Tls = "tls",
    /// The other side does not know the code.
    InvalidCode = "invalid_code",
    /// The code was used before.
    CodeUsed = "code_used",
    /// Too many wrong codes from this address.
    TooManyAttempts = "too_many_attempts",
    /// Nobody has this token.
    InvalidToken = "invalid_token",
    /// The connection is pending, suspended, revoked or expired.
    ConnectionNotActive = "connection_not_active",
    /// The date from which on the connection no longer works has passed.
    ConnectionExpired = "connection_expired",
    /// All pulls that the connection allows were made.
    DownloadLimit = "download_limit_reached",
    /// All records that the connection allows were pulled.
    RecordLimit = "record_limit_reached",
    /// The connection may not be used from this address.
    AddressNotAllowed = "ip_not_allowed",
    /// The connection may not be used at this hour.
    OutsideAllowedHours = "outside_allowed_hours",
    /// A password is needed.
    PasswordRequired = "password_required",
    /// The password is wrong.
    InvalidPassword = "invalid_password",
    /// The connection does not allow this table.
    TableNotAllowed = "table_not_allowed",
    /// Too many calls within a minute.
    RateLimited = "rate_limited",
    /// The pull waits for approval at the other site.
    ApprovalRequired = "approval_required",
    /// Someone at the other site denied it.
    ApprovalDenied = "approval_denied",
    /// Nobody at the other site approved the pull in time.
    ApprovalExpired = "approval_expired",
    /// A transfer cannot start in its status.
    CannotStart = "cannot_start",
    /// A connection or transfer cannot do this in its status.
    InvalidTransition = "invalid_transition",
    /// There is one already.
    AlreadyExists = "already_exists",
    /// The table was appended before, and neither what is new nor all of it again was asked for.
    AlreadyAppended = "already_appended",
    /// The transfer was undone before.
    AlreadyUndone = "already_undone",
    /// Nothing is kept to undo the transfer.
    NotUndoable = "not_undoable",
    /// A later transfer of the table must be undone before this one.
    LaterTransfer = "later_transfer",
    /// Another process runs this pull now, or pulls one of its tables.
    TakenOver = "taken_over",
    /// A URL from outside leads to an address that is not public.
    ForbiddenAddress = "forbidden_address",
    /// A site cannot be connected to itself, nor pull from itself.
    SelfConnection = "self_connection",
    /// Sync is switched off on the other side.
    Disabled = "disabled",
    /// The other side refused, for another reason that it gives.
    Refused = "refused",
    /// The other side answered a request with an error.
    Peer = "peer_error",
    /// A message was damaged on its way: its checksum does not fit.
    Damaged = "damaged",
    /// The place in a table at which a pull was interrupted is no longer valid: the sender's rows were reordered.
    CursorExpired = "cursor_expired",
    /// The other side sent something that the protocol does not allow.
    Protocol = "protocol",
    /// Something from outside was larger than its limit.
    TooLarge = "too_large",
    /// The operating system refused something: a thread, an address to listen on.
    System = "system",
    /// The caller cancelled the call.
    Cancelled = "cancelled",
    /// The pull reached the records or bytes that the caller allows ([`PullOptions`](crate::PullOptions)). What arrived is kept; the same
    /// pull again resumes.
    PullLimit = "pull_limit",
    /// The caller's [`on_failure`](crate::PullOptions::on_failure) ended the pull, or one of its tables. What came stays; the same pull
    /// again resumes.
    Stopped = "stopped",
    /// Rows of the sender's table did not all arrive, or not as it says that it sent them.
    Incomplete = "incomplete",
    /// Records of a pull failed; the others arrived.
    RecordsFailed = "records_failed",
    /// Foreign keys that could not be satisfied.
    ForeignKey = "foreign_key",
}

impl ErrorKind {
    /// Whether the same call may well succeed when it is made again later, nothing else changed.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            ErrorKind::Locked
                | ErrorKind::Unreachable
                | ErrorKind::Timeout
                | ErrorKind::Disconnected
                | ErrorKind::Damaged
                | ErrorKind::RateLimited
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Error {
    /// An error of this kind; `message` is one sentence without a full stop: what failed, and why.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            transfer: None,
            retry_after: None,
            http_status: None,
            from_peer: false,
            standing: None,
            source: None,
        }))
    }

    /// Adds what the reader can do about it: one sentence with its full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the error underneath. Its text should already be part of the message.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds the transfer that it is about.
    #[must_use]
    pub fn with_transfer(mut self, transfer: Uuid) -> Self {
        self.0.transfer = Some(transfer);
        self
    }

    /// Adds how long to wait before the same call is made again.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.0.retry_after = Some(time);
        self
    }

    /// Adds the HTTP status of the answer that it was.
    #[must_use]
    pub fn with_http_status(mut self, status: u16) -> Self {
        self.0.http_status = Some(status);
        self
    }

    /// Says that it is what the other side answered.
    #[must_use]
    pub(crate) fn by_peer(mut self) -> Self {
        self.0.from_peer = true;
        self
    }

    /// Adds how a connection stands, and why.
    #[cfg(any(test, feature = "server"))]
    #[must_use]
    pub(crate) fn with_standing(mut self, status: &'static str, reason: Option<String>) -> Self {
        self.0.standing = Some((status, reason));
        self
    }

    /// How a connection stands, and why, for the peer that it is refused to.
    pub(crate) fn standing(&self) -> Option<(&'static str, Option<&str>)> {
        self.0.standing.as_ref().map(|(status, reason)| (*status, reason.as_deref()))
    }

    /// Puts what was being done before the message: `doing: message`.
    #[must_use]
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The same error with its message passed through `change`.
    #[cfg(feature = "client")]
    pub(crate) fn reworded(mut self, change: impl FnOnce(&str) -> String) -> Self {
        self.0.message = change(&self.0.message);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The stable reason code: [`ErrorKind::code`].
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// What failed and why, without the hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The transfer that it is about: the one that waits for approval on the other side, say.
    pub fn transfer(&self) -> Option<Uuid> {
        self.0.transfer
    }

    /// How long to wait before the same call is made again, where the other side said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The status of the answer that it was, if it was one over HTTP.
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// Whether it is what the other side answered, and not what this side found: a connection can be suspended on either side, say.
    pub fn is_from_peer(&self) -> bool {
        self.0.from_peer
    }

    /// Whether the same call may well succeed when it is made again: [`ErrorKind::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, ". {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, hint, source, .. } = &*self.0;
        let mut error = f.debug_struct("Error");
        error.field("kind", kind).field("message", message).field("hint", hint).field("source", source);
        error.finish_non_exhaustive()
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Error", 3)?;
        fields.serialize_field("code", &self.kind())?;
        fields.serialize_field("message", self.message())?;
        fields.serialize_field("hint", &self.hint())?;
        fields.end()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        StdError::source(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn display_gives_message_and_hint() {
        let error = Error::new(ErrorKind::Locked, "the database is locked").with_hint("Close the other program.");
        assert_eq!(error.to_string(), "the database is locked. Close the other program.");
        assert_eq!(error.while_doing("opening x").message(), "opening x: the database is locked");
    }

    #[test]
    fn a_clone_keeps_the_error_underneath() {
        let error = Error::new(ErrorKind::Io, "it failed").with_source(std::io::Error::other("a bad sector")).clone();
        assert_eq!(StdError::source(&error).map(ToString::to_string).as_deref(), Some("a bad sector"));
    }

    #[test]
    fn it_is_json_with_its_code() {
        let error = Error::new(ErrorKind::Locked, "the database is locked").with_hint("Close it.");
        let json = r#"{"code":"database_locked","message":"the database is locked","hint":"Close it."}"#;
        assert_eq!(serde_json::to_string(&error).unwrap(), json);
    }

    #[test]
    fn the_documentation_lists_every_code() {
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        let lines = include_str!("error_codes.md").lines().filter(|line| line.starts_with("| `"));
        let listed: Vec<_> = lines.map(|line| cells(line)[1..].to_vec()).collect();
        assert_eq!(listed.len(), ErrorKind::ALL.len());
        for (kind, line) in ErrorKind::ALL.iter().zip(&listed) {
            let again = if kind.is_retryable() { "yes" } else { "" };
            let expected = [format!("`{kind}`"), format!("[`{kind:?}`](ErrorKind::{kind:?})")];
            assert_eq!((&line[..2], &line[3][..]), (&expected[..], again), "{kind:?}");
            assert!(line[2].ends_with('.'), "{kind:?} says what it means");
        }
    }

    #[test]
    fn only_passing_troubles_are_retryable() {
        assert!(Error::new(ErrorKind::Timeout, "late").is_retryable());
        assert!(!Error::new(ErrorKind::InvalidCode, "wrong").is_retryable());
    }
}
