//! Whether a peer may have what it asks for: what a connection says to it, and in which words the answer is given. Pure:
//! counting, and what others do meanwhile, is the business of the caller.

use std::net::IpAddr;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::connection::{Connection, ConnectionStatus, Policy};
use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind};

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The reason.
    pub kind: ErrorKind,
    /// The table that was asked for.
    pub table: Option<String>,
    /// The transfer that waits for approval, or was decided on.
    pub transfer: Option<Uuid>,
    /// How long to wait before the same is asked again.
    pub retry_after: Option<Duration>,
    /// Why it was denied, in the words of the one who did.
    pub reason: Option<String>,
    /// How the connection stands, where that is why.
    pub status: Option<ConnectionStatus>,
}

impl Denial {
    /// A denial for this reason.
    pub fn new(kind: ErrorKind) -> Self {
        Denial { kind, table: None, transfer: None, retry_after: None, reason: None, status: None }
    }

    /// Too much was asked within a minute: again after this time.
    pub fn wait(kind: ErrorKind, time: Duration) -> Self {
        Denial { retry_after: Some(time), ..Denial::new(kind) }
    }

    /// Adds the table.
    #[must_use]
    pub fn of_table(mut self, table: &str) -> Self {
        self.table = Some(table.to_owned());
        self
    }

    /// Adds the transfer.
    #[must_use]
    pub fn of_transfer(mut self, transfer: Uuid) -> Self {
        self.transfer = Some(transfer);
        self
    }

    /// The words of PhoenixKit on a WebSocket: in the answer to an upgrade, and on the channel.
    pub fn socket_text(&self) -> String {
        let table = self.table.as_deref().unwrap_or_default();
        match self.kind {
            ErrorKind::Disabled => "Module disabled".to_owned(),
            ErrorKind::InvalidToken => "Invalid token".to_owned(),
            ErrorKind::ConnectionNotActive => "Connection not active".to_owned(),
            // PhoenixKit knows no difference between none and a wrong one here.
            ErrorKind::PasswordRequired => "Invalid password".to_owned(),
            ErrorKind::TableNotAllowed => format!("Access denied to table: {table}"),
            ErrorKind::TableNotFound => format!("Table not found: {table}"),
            _ => self.common_text(),
        }
    }

    /// The words of PhoenixKit over HTTP.
    pub fn http_text(&self) -> String {
        match self.kind {
            ErrorKind::Disabled => "DB Sync module is disabled".to_owned(),
            ErrorKind::InvalidToken => "Invalid connection".to_owned(),
            ErrorKind::ConnectionNotActive => "Connection is not active".to_owned(),
            ErrorKind::TableNotAllowed => "This connection is not authorised to access that table".to_owned(),
            ErrorKind::TableNotFound => "Table not found".to_owned(),
            _ => self.common_text(),
        }
    }

    /// What both say alike, and what only we say.
    fn common_text(&self) -> String {
        match self.kind {
            ErrorKind::ConnectionExpired => "Connection expired",
            ErrorKind::DownloadLimit => "Download limit reached",
            ErrorKind::RecordLimit => "Record limit reached",
            ErrorKind::AddressNotAllowed => "IP not allowed",
            ErrorKind::OutsideAllowedHours => "Outside allowed hours",
            ErrorKind::PasswordRequired => "Password required",
            ErrorKind::InvalidPassword => "Invalid password",
            ErrorKind::InvalidCode => "Invalid code",
            ErrorKind::CodeUsed => "Code already used",
            ErrorKind::TooManyAttempts => "Too many attempts",
            ErrorKind::RateLimited => "Too many requests",
            ErrorKind::ApprovalRequired => "Approval required",
            ErrorKind::ApprovalExpired => "Approval expired",
            ErrorKind::ApprovalDenied => {
                return match &self.reason {
                    Some(reason) => format!("Approval denied: {reason}"),
                    None => "Approval denied".to_owned(),
                };
            }
            ErrorKind::TakenOver => "The pull was resumed through another channel",
            ErrorKind::Cancelled => "The transfer was ended by the other site",
            _ => "Refused",
        }
        .to_owned()
    }

    /// The status that says so over HTTP.
    pub fn http_status(&self) -> u16 {
        match self.kind {
            ErrorKind::Disabled => 503,
            ErrorKind::InvalidToken | ErrorKind::PasswordRequired | ErrorKind::InvalidPassword => 401,
            ErrorKind::TableNotFound => 404,
            ErrorKind::RateLimited | ErrorKind::TooManyAttempts => 429,
            _ => 403,
        }
    }

    /// Whether PhoenixKit refuses the same in the same words, so that the answer must say nothing more.
    pub fn is_references(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Disabled
                | ErrorKind::InvalidToken
                | ErrorKind::ConnectionNotActive
                | ErrorKind::TableNotAllowed
                | ErrorKind::TableNotFound
        )
    }

    /// The same as an error, whose message is what is said on a channel.
    pub fn to_error(&self) -> Error {
        let mut error = Error::new(self.kind, self.socket_text());
        if let Some(transfer) = self.transfer {
            error = error.with_transfer(transfer);
        }
        if let Some(time) = self.retry_after {
            error = error.with_retry_after(time);
        }
        if let Some(status) = self.status {
            error = error.with_standing(status.as_str(), self.reason.clone());
        }
        error
    }
}

/// How a connection is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// For something new: its limits must leave something.
    New,
    /// For a pull that runs, or for a look at what there is while the channel is open: what its limits left was taken
    /// before.
    Running,
}

/// Whether a connection may be used now and from this address. The first reason of these counts: status, date, downloads,
/// records, address, hours.
///
/// # Errors
/// Why not.
pub fn usable(connection: &Connection, how: Use, now: OffsetDateTime, address: Option<IpAddr>) -> Result<(), Denial> {
    let judged = match how {
        Use::New => connection.judge(now, address),
        Use::Running => connection.judge_running(now, address),
    };
    judged.map_err(|error| match error.kind() {
        ErrorKind::ConnectionNotActive => not_active(connection),
        kind => Denial::new(kind),
    })
}

/// The denial of a connection that is not active: rowferry's peers are told how it stands, and why.
fn not_active(connection: &Connection) -> Denial {
    let reason = match connection.status {
        ConnectionStatus::Suspended => connection.suspended_reason.clone(),
        ConnectionStatus::Revoked => connection.revoked_reason.clone(),
        _ => None,
    };
    Denial { reason, status: Some(connection.status), ..Denial::new(ErrorKind::ConnectionNotActive) }
}

/// Whether a connection lets this table be seen. A table outside of the allowed ones is refused, whether it exists or not; one
/// that is excluded does not exist. `names` says how the store compares names.
///
/// # Errors
/// Why not.
pub fn table_visible(policy: &Policy, table: &str, names: NameRules) -> Result<(), Denial> {
    if !policy.allowed_tables.is_empty() && !policy.table_listed(table, names) {
        return Err(Denial::new(ErrorKind::TableNotAllowed).of_table(table));
    }
    match policy.table_excluded(table, names) {
        true => Err(Denial::new(ErrorKind::TableNotFound).of_table(table)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_refused_or_hidden() {
        let by = |names, policy: &Policy, table: &str| table_visible(policy, table, names).err().map(|denial| denial.kind);
        let kind = |policy: &Policy, table: &str| by(NameRules::IgnoreAsciiCase, policy, table);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut policy = Policy { excluded_tables: names(&["Secrets"]), ..Policy::default() };
        assert_eq!(kind(&policy, "users"), None);
        assert_eq!(kind(&policy, "secrets"), Some(ErrorKind::TableNotFound));
        policy.allowed_tables = names(&["USERS", "secrets"]);
        assert_eq!(kind(&policy, "users"), None);
        assert_eq!(kind(&policy, "SECRETS"), Some(ErrorKind::TableNotFound));
        assert_eq!(kind(&policy, "ghost"), Some(ErrorKind::TableNotAllowed));
        let exact = |table: &str| by(NameRules::Exact, &policy, table);
        assert_eq!([exact("users"), exact("secrets")], [Some(ErrorKind::TableNotAllowed), None]);
    }

    #[test]
    fn denials_have_the_references_words() {
        let texts = |denial: Denial| (denial.socket_text(), denial.http_status(), denial.http_text());
        let told = |kind| texts(Denial::new(kind).of_table("t"));
        let expect = |kind, socket: &str, status, http: &str| {
            assert_eq!(told(kind), (socket.to_owned(), status, http.to_owned()));
        };
        expect(ErrorKind::Disabled, "Module disabled", 503, "DB Sync module is disabled");
        expect(ErrorKind::InvalidToken, "Invalid token", 401, "Invalid connection");
        expect(ErrorKind::ConnectionNotActive, "Connection not active", 403, "Connection is not active");
        let table = "This connection is not authorised to access that table";
        expect(ErrorKind::TableNotAllowed, "Access denied to table: t", 403, table);
        expect(ErrorKind::TableNotFound, "Table not found: t", 404, "Table not found");
        expect(ErrorKind::InvalidPassword, "Invalid password", 401, "Invalid password");
        expect(ErrorKind::PasswordRequired, "Invalid password", 401, "Password required");
        expect(ErrorKind::DownloadLimit, "Download limit reached", 403, "Download limit reached");
        expect(ErrorKind::RateLimited, "Too many requests", 429, "Too many requests");
        let denied = Denial { reason: Some("not today".into()), ..Denial::new(ErrorKind::ApprovalDenied) };
        assert_eq!(denied.http_text(), "Approval denied: not today");
        let waiting = Denial::new(ErrorKind::ApprovalRequired).of_transfer(Uuid::nil()).to_error();
        assert_eq!((waiting.kind(), waiting.transfer()), (ErrorKind::ApprovalRequired, Some(Uuid::nil())));
    }
}
