//! PostgreSQL's errors as ours.

use std::sync::Arc;

use postgres::error::{DbError, SqlState};

use super::quote::quote;
use super::table::Table;
use crate::domain::record::Reason;
use crate::error::{Error, ErrorKind};

/// What PostgreSQL says of a statement, or why nothing could be asked.
pub(super) fn failed(error: postgres::Error) -> Error {
    let (kind, hint) = told(&error);
    let error = Error::new(kind, message(&error)).with_source(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The message alone: the detail may hold values, and the statement is never part of it.
pub(super) fn message(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => told.message().to_owned(),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}

fn told(error: &postgres::Error) -> (ErrorKind, Option<&'static str>) {
    let Some(state) = error.code() else {
        return (
            ErrorKind::Disconnected,
            Some("The connection to the database was lost: see whether the server runs, then try again."),
        );
    };
    let class = state.code().get(..2).unwrap_or_default();
    match (class, state) {
        (_, state) if *state == SqlState::LOCK_NOT_AVAILABLE || *state == SqlState::T_R_DEADLOCK_DETECTED => {
            (ErrorKind::Locked, Some("Another program is writing to this database: wait for it to finish, then try again."))
        }
        (_, state) if *state == SqlState::QUERY_CANCELED => (
            ErrorKind::Timeout,
            Some("A statement took longer than the statement time-out allows, or somebody cancelled it."),
        ),
        (_, state) if *state == SqlState::READ_ONLY_SQL_TRANSACTION => {
            (ErrorKind::ReadOnly, Some("The server is a standby, or the database is read only: connect to the primary one."))
        }
        (_, state) if *state == SqlState::INSUFFICIENT_PRIVILEGE => {
            (ErrorKind::Database, Some("Grant the role this right, or use another role."))
        }
        (_, state) if *state == SqlState::DISK_FULL => {
            (ErrorKind::DiskFull, Some("Free some room; nothing half-done was kept."))
        }
        (_, state) if *state == SqlState::TOO_MANY_CONNECTIONS => {
            (ErrorKind::Locked, Some("Raise max_connections of the server, or let fewer programs connect."))
        }
        // The server has ended the connection, too.
        (_, state) if *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => (
            ErrorKind::Disconnected,
            Some("The program did nothing in a transaction for ten minutes, and the server ended it: try again."),
        ),
        ("28", _) => (ErrorKind::CannotOpen, Some("Check the user's name, the password and the server's pg_hba.conf.")),
        ("3D", _) => (ErrorKind::CannotOpen, Some("Check the database's name, or make it first: createdb.")),
        ("08" | "57", _) => (ErrorKind::Disconnected, Some("The server ended the connection: see its log, then try again.")),
        ("58", _) => (ErrorKind::Io, Some("The server's disk failed: see its log; nothing half-done was kept.")),
        ("XX", _) => (ErrorKind::Corrupt, Some("The server found damage: see its log.")),
        _ => (ErrorKind::Database, None),
    }
}

/// The error of opening this database.
pub(super) fn opening(name: &str, error: postgres::Error) -> Error {
    let is_tls = error.to_string().contains("TLS");
    let error = match error.as_db_error() {
        Some(_) => failed(error),
        None if is_tls => Error::new(ErrorKind::Tls, message(&error)).with_source(error).with_hint(
            "The server offers no TLS, or a certificate that is not trusted: give its certificate authority, or say sslmode=disable where \
             nobody else can listen.",
        ),
        None => Error::new(ErrorKind::CannotOpen, message(&error))
            .with_source(error)
            .with_hint("Check the host, the port and that the server runs."),
    };
    error.while_doing(format_args!("cannot open {name}"))
}

/// What PostgreSQL itself said, if an error comes from a statement.
pub(super) fn told_by(error: &Error) -> Option<&DbError> {
    let source = std::error::Error::source(error)?;
    let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
    let error = match shared {
        Some(shared) => shared.downcast_ref::<postgres::Error>(),
        None => source.downcast_ref::<postgres::Error>(),
    };
    // An error may stand behind another of ours.
    match error {
        Some(error) => error.as_db_error(),
        None => shared.and_then(|shared| shared.downcast_ref::<Error>()).and_then(told_by),
    }
}

/// Whether the transaction can continue from a savepoint after this error: a statement failed, and nothing else.
pub(super) fn is_survivable(error: &Error) -> bool {
    let class = |told: &DbError| told.code().code().get(..2).map(str::to_owned);
    told_by(error).and_then(class).is_some_and(|class| !matches!(&*class, "08" | "25" | "40" | "57" | "58" | "XX"))
        && error.kind() != ErrorKind::Locked
}

/// Whether the role lacks a right.
pub(super) fn is_denied(error: &Error) -> bool {
    told_by(error).is_some_and(|told| *told.code() == SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Why a row was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    /// The column, where PostgreSQL names it.
    pub(super) column: Option<String>,
    /// The constraint, whose columns the catalogue knows.
    pub(super) constraint: Option<String>,
    pub(super) message: String,
}

/// What a statement that writes rows to this table was refused for; `None` if that is not because of the rows.
pub(super) fn refusal(error: &Error, table: &Table) -> Option<Refusal> {
    let told = told_by(error)?;
    let state = told.code();
    let reason = match state.code() {
        "23502" => Reason::NotNull,
        "23503" => Reason::ForeignKey,
        "23505" => Reason::UniqueConflict,
        "23514" => Reason::Check,
        "23001" => Reason::ForeignKey,
        "P0001" => Reason::Trigger,
        "54000" | "54001" | "54011" | "54023" => Reason::TooLarge,
        "22001" | "22003" | "22008" | "22P05" | "22021" => Reason::ValueOutOfRange,
        "22P02" | "22007" | "22P03" | "42804" => Reason::WrongType,
        "42501" if told.message().contains("row-level security") => Reason::Refused,
        // A column that is GENERATED ALWAYS.
        "428C9" => Reason::Refused,
        code if matches!(code.get(..2), Some("22" | "23" | "44" | "P0" | "27" | "09")) => Reason::Refused,
        _ => return None,
    };
    let is_own = told
        .table()
        .is_none_or(|name| quote(name) == table.relation || table.relation.ends_with(&format!(".{}", quote(name))));
    let of_own = |name: Option<&str>| name.filter(|_| is_own).map(str::to_owned);
    Some(Refusal {
        reason,
        column: of_own(told.column()).filter(|name| table.schema.column(name).is_some()),
        constraint: of_own(told.constraint()),
        message: told.message().to_owned(),
    })
}

/// Whether a row was refused because another one has its values.
pub(super) fn is_taken(error: &Error) -> bool {
    told_by(error).is_some_and(|told| *told.code() == SqlState::UNIQUE_VIOLATION)
}

/// Whether a statement would have changed a row twice.
pub(super) fn is_twice(error: &Error) -> bool {
    told_by(error).is_some_and(|told| *told.code() == SqlState::CARDINALITY_VIOLATION)
}
