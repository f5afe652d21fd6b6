//! PostgreSQL's errors as ours.

use postgres::error::SqlState;

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
