//! Refusals, in both directions, and the pulls that someone must approve first.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::answers::{Answer, field, read};
use crate::domain::connection::ConnectionStatus;
use crate::domain::string_enum::string_enum;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::wire::channel;
use crate::wire::{NAME_BYTES, excerpt};

/// The kinds that a peer may name as the reason of a refusal. Anything else that it says is its own trouble.
const REASONS: &[ErrorKind] = &[
    ErrorKind::Disabled,
    ErrorKind::InvalidToken,
    ErrorKind::ConnectionNotActive,
    ErrorKind::ConnectionExpired,
    ErrorKind::DownloadLimit,
    ErrorKind::RecordLimit,
    ErrorKind::AddressNotAllowed,
    ErrorKind::OutsideAllowedHours,
    ErrorKind::PasswordRequired,
    ErrorKind::InvalidPassword,
    ErrorKind::TableNotAllowed,
    ErrorKind::TableNotFound,
    ErrorKind::RateLimited,
    ErrorKind::TooManyAttempts,
    ErrorKind::ApprovalRequired,
    ErrorKind::ApprovalDenied,
    ErrorKind::ApprovalExpired,
    ErrorKind::TakenOver,
    ErrorKind::CursorExpired,
    ErrorKind::UnknownCollation,
    ErrorKind::Locked,
    ErrorKind::DiskFull,
    ErrorKind::Io,
];

/// The longest time that is waited because a peer says so.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// The kind of refusal that a peer names by its stable code, if it is one. It can cancel a transfer of its own; that it was
/// cancelled of anything else (`of_transfer` is false) is for us alone to say: there it is a refusal.
pub fn reason(code: &str, of_transfer: bool) -> Option<ErrorKind> {
    if code == ErrorKind::Cancelled.code() {
        return Some(if of_transfer { ErrorKind::Cancelled } else { ErrorKind::Refused });
    }
    REASONS.iter().copied().find(|kind| kind.code() == code)
}

/// The kind of refusal that a text of PhoenixKit stands for, if it is one. It says the same on both of its paths, but for
/// connections that are not active.
pub fn reason_of_text(text: &str) -> Option<ErrorKind> {
    Some(match text {
        "Module disabled" => ErrorKind::Disabled,
        "Invalid token" => ErrorKind::InvalidToken,
        "Connection not active" | "Connection is not active" => ErrorKind::ConnectionNotActive,
        "Connection expired" => ErrorKind::ConnectionExpired,
        "Download limit reached" => ErrorKind::DownloadLimit,
        "Record limit reached" => ErrorKind::RecordLimit,
        "IP not allowed" => ErrorKind::AddressNotAllowed,
        "Outside allowed hours" => ErrorKind::OutsideAllowedHours,
        "Password required" => ErrorKind::PasswordRequired,
        "Invalid password" => ErrorKind::InvalidPassword,
        "This connection is not authorised to access that table" => ErrorKind::TableNotAllowed,
        _ if text.starts_with("Access denied to table") => ErrorKind::TableNotAllowed,
        _ if text.starts_with("Table not found") || text.ends_with(":table_not_found") => ErrorKind::TableNotFound,
        _ => return None,
    })
}

/// What to do about a refusal.
pub fn hint(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Disabled => "Ask the other site's people to switch sync on.",
        ErrorKind::TableNotFound => "List the tables that the other site offers.",
        ErrorKind::TableNotAllowed => "Ask the other site's people to allow this table.",
        ErrorKind::InvalidToken => "Ask the other site's people for the token, or pair the two sites again.",
        ErrorKind::ConnectionNotActive => "Ask the other site's people to approve or reactivate the connection.",
        ErrorKind::ConnectionExpired | ErrorKind::DownloadLimit | ErrorKind::RecordLimit => {
            "Ask the other site's people to raise the limit."
        }
        ErrorKind::AddressNotAllowed => "Ask the other site's people to allow this address.",
        ErrorKind::OutsideAllowedHours => "Try again within the hours that the other site allows.",
        ErrorKind::PasswordRequired => "Give the password.",
        ErrorKind::InvalidPassword => "Give the right password.",
        ErrorKind::RateLimited | ErrorKind::TooManyAttempts => "Wait, and try again.",
        ErrorKind::ApprovalRequired => "Wait until the other site's people have approved it, and pull again.",
        ErrorKind::ApprovalDenied | ErrorKind::ApprovalExpired => "Ask the other site's people.",
        ErrorKind::UnknownCollation => "The program there that has the collation must share the table.",
        _ => return None,
    })
}

#[derive(Serialize, Deserialize, Default)]
struct WireError<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(default)]
    error: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(borrow, default, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transfer_uuid: Option<Uuid>,
}

/// The answer to any request that is refused or has failed: the error's message, which says nothing of this machine. A
/// rowferry peer (`exact`) also gets its code, its transfer, how many seconds to wait, and how its connection stands and why.
pub fn answer_error(topic: &str, reference: Option<&RawValue>, error: &Error, exact: bool) -> String {
    let more = if exact { Some(error) } else { None };
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let standing = more.and_then(Error::standing);
    let payload = WireError {
        reason: standing.and_then(|(_, reason)| reason).map(excerpt),
        status: standing.map(|(status, _)| status),
        code: more.map(Error::code),
        error: error.message(),
        reference,
        retry_after: more.and_then(Error::retry_after).map(seconds),
        transfer_uuid: more.and_then(Error::transfer),
    };
    channel::encode(None, topic, "response:error", &payload)
}

/// The words of a connection that is not active on the two paths of PhoenixKit.
const NOT_ACTIVE: [&str; 2] = ["Connection not active", "Connection is not active"];

/// Where a message has room for a text only, and goes to rowferry's peers: how a connection stands follows the text.
pub fn text_with_standing(error: &Error) -> String {
    match error.standing() {
        None => error.message().to_owned(),
        Some((status, None)) => format!("{}: {status}", error.message()),
        Some((status, Some(reason))) => format!("{}: {status}: {reason}", error.message()),
    }
}

/// The text, the status and the reason that [`text_with_standing`] made one text of.
fn split_standing(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let Some((text, standing)) = text.split_once(": ").filter(|(text, _)| NOT_ACTIVE.contains(text)) else {
        return (text, None, None);
    };
    match standing.split_once(": ") {
        Some((status, reason)) => (text, Some(status), Some(reason)),
        None => (text, Some(standing), None),
    }
}

/// The refusal of a connection that is not active, with how the other site says that it stands and why. Any other error is left as it
/// is, and so is one with a status that is none.
pub fn with_standing(error: Error, status: Option<&str>, reason: Option<&str>) -> Error {
    let status = status.and_then(|status| status.parse::<ConnectionStatus>().ok());
    let Some(status) = status.filter(|_| error.kind() == ErrorKind::ConnectionNotActive) else { return error };
    let (stands, hint) = match status {
        ConnectionStatus::Active => return error,
        ConnectionStatus::Pending => ("waits for the other site's people to approve it", "Ask them to approve it."),
        ConnectionStatus::Suspended => {
            ("is suspended by the other site", "Ask the other site's people to reactivate the connection.")
        }
        ConnectionStatus::Revoked => {
            ("is revoked by the other site", "It has ended permanently: ask the other site's people for a new connection.")
        }
        ConnectionStatus::Expired => (
            "has expired on the other site",
            "Ask the other site's people to raise the limit and to reactivate the connection.",
        ),
    };
    let reason = reason.map(excerpt).filter(|reason| !reason.trim().is_empty());
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let message = error.message();
    let before = NOT_ACTIVE.iter().find_map(|text| message.strip_suffix(text));
    let before = before.map_or_else(|| format!("{message}: "), str::to_owned);
    Error::new(error.kind(), format!("{before}the connection {stands}{reason}")).with_hint(hint)
}

/// The error that a peer answers with, by its code if it is rowferry's, else by the texts of PhoenixKit. `asked` is what was
/// asked for.
pub fn refused(asked: &str, code: Option<&str>, text: &str, transfer: Option<Uuid>, retry_after: Option<Duration>) -> Error {
    let (text, status, why) = split_standing(text);
    let kind = code.and_then(|code| reason(code, transfer.is_some())).or_else(|| reason_of_text(text));
    let mut error = Error::new(kind.unwrap_or(ErrorKind::Peer), format!("the other site answered {asked}: {text}"));
    if let Some(hint) = kind.and_then(hint) {
        error = error.with_hint(hint);
    }
    if let Some(transfer) = transfer {
        error = error.with_transfer(transfer);
    }
    if let Some(wait) = retry_after {
        error = error.with_retry_after(wait.min(LONGEST_WAIT));
    }
    with_standing(error, status, why)
}

impl Answer<'_> {
    /// The error that an answer `response:error` stands for: by its code if it is rowferry's, else by the texts of PhoenixKit.
    /// `asked` is what was asked for.
    pub fn refusal(&self, asked: &str) -> Error {
        let text = self.error();
        let word = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let transfer: Option<Uuid> = word(self.transfer_uuid).and_then(|text| text.parse().ok());
        let code = word(self.code);
        let wait = self.retry_after.and_then(|raw| raw.get().parse().ok()).map(Duration::from_secs);
        let error = refused(asked, code.as_deref(), &text, transfer, wait);
        with_standing(error, word(self.status).as_deref(), word(self.reason).as_deref())
    }

    /// How the pulls that were asked about stand.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`]; [`ErrorKind::TooLarge`] for more tables than the limit, or names that are too long.
    pub fn approvals(&self, limits: &Limits) -> Result<Vec<Approval>> {
        let approvals: Vec<Approval> = read(field(self.approvals, "approvals")?, "its approvals")?;
        if approvals.len() > limits.wire.tables || approvals.iter().any(|approval| approval.table.len() > NAME_BYTES) {
            let why = "the other site answers about too many tables, or ones with too long names";
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        let printable = |approval: Approval| Approval { reason: approval.reason.as_deref().map(excerpt), ..approval };
        Ok(approvals.into_iter().map(printable).collect())
    }
}

string_enum! {
    /// Whether a pull may begin.
    pub enum ApprovalStatus("approval status") {
        /// It was approved, or needs no approval.
        Granted = "granted",
        /// It waits for someone to approve it.
        Pending = "pending",
        /// It may not: the reason says why.
        Denied = "denied",
    }
}

impl<'de> Deserialize<'de> for ApprovalStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("no status of an approval"))
    }
}

/// How the pull of a table stands with the sender's people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Why it may not begin.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether it may begin.
    pub status: ApprovalStatus,
    /// The table, as it was asked for.
    pub table: String,
    /// The sender's transfer that waits or was decided on; `None` where no approval is needed.
    #[serde(default)]
    pub transfer_uuid: Option<Uuid>,
}

/// The answer to [`Request::Approvals`](super::Request::Approvals).
pub fn answer_approvals(topic: &str, reference: Option<&RawValue>, approvals: &[Approval]) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        approvals: &'a [Approval],
        #[serde(rename = "ref")]
        reference: Option<&'a RawValue>,
    }
    channel::encode(None, topic, "response:approvals", &Payload { approvals, reference })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::requests::raw_ref;

    fn payload(frame: &str) -> String {
        channel::decode(frame).unwrap().payload.get().to_owned()
    }

    #[test]
    fn rowferry_is_told_more_than_the_reference() {
        let transfer = Uuid::now_v7();
        let error = Error::new(ErrorKind::ApprovalRequired, "Approval required")
            .with_transfer(transfer)
            .with_retry_after(Duration::from_millis(1500));
        let one = raw_ref(1);
        let plain = r#"[null,null,"transfer:AB","response:error",{"error":"Approval required","ref":"1"}]"#;
        assert_eq!(answer_error("transfer:AB", Some(&one), &error, false), plain);
        let exact = payload(&answer_error("transfer:AB", Some(&one), &error, true));
        let expected = format!(
            r#"{{"code":"approval_required","error":"Approval required","ref":"1","retry_after":2,"transfer_uuid":"{transfer}"}}"#
        );
        assert_eq!(exact, expected);
        let read = Answer::read(&exact).unwrap().refusal("request:records for \"t\"");
        assert_eq!((read.kind(), read.transfer()), (ErrorKind::ApprovalRequired, Some(transfer)));
        assert_eq!(read.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(read.message(), "the other site answered request:records for \"t\": Approval required");
    }

    #[test]
    fn how_a_connection_stands_is_told_to_rowferry_only() {
        let error = |reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            Error::new(ErrorKind::ConnectionNotActive, "Connection not active").with_standing("suspended", reason)
        };
        let (one, why) = (raw_ref(1), error(Some("stock\ntaking")));
        let plain = payload(&answer_error("transfer:AB", Some(&one), &why, false));
        assert_eq!(plain, r#"{"error":"Connection not active","ref":"1"}"#);
        let exact = payload(&answer_error("transfer:AB", Some(&one), &why, true));
        assert!(exact.contains(r#""error":"Connection not active","reason":"stock taking","#), "{exact}");
        let read = Answer::read(&exact).unwrap().refusal("x");
        let told = "the other site answered x: the connection is suspended by the other site: stock taking";
        let hint = Some("Ask the other site's people to reactivate the connection.");
        assert_eq!((read.kind(), read.message(), read.hint()), (ErrorKind::ConnectionNotActive, told, hint));
        // The same where there is room for a text only.
        let by_text = |text: &str| refused("x", Some("connection_not_active"), text, None, None);
        assert_eq!(by_text(&text_with_standing(&why)).message(), told);
        let unsaid = "the other site answered x: the connection is suspended by the other site";
        assert_eq!(by_text(&text_with_standing(&error(None))).message(), unsaid);
        for status in ["pending", "suspended", "revoked", "expired"] {
            let error = by_text(&format!("Connection not active: {status}: {}", "y".repeat(5_000)));
            assert!(error.message().len() < 500 && error.hint().is_some_and(|hint| hint.ends_with('.')), "{error}");
        }
        // What is no status is not believed, and nothing is lost that was said before.
        for (kind, status) in [
            (ErrorKind::ConnectionNotActive, "active"),
            (ErrorKind::ConnectionNotActive, "on fire"),
            (ErrorKind::RecordLimit, "suspended"),
        ] {
            let error = with_standing(Error::new(kind, "y").with_hint("Z."), Some(status), Some("w"));
            assert_eq!((error.kind(), error.message(), error.hint()), (kind, "y", Some("Z.")));
        }
        let junk = r#"{"error":"Connection not active","status":7,"reason":[]}"#;
        let error = Answer::read(junk).unwrap().refusal("x");
        assert_eq!(error.message(), "the other site answered x: Connection not active");
    }

    #[test]
    fn the_references_texts_have_kinds_and_junk_has_none() {
        let kind = |payload: &str| Answer::read(payload).unwrap().refusal("x").kind();
        assert_eq!(kind(r#"{"error":"Access denied to table: users"}"#), ErrorKind::TableNotAllowed);
        assert_eq!(kind(r#"{"error":"Table not found: ghost"}"#), ErrorKind::TableNotFound);
        assert_eq!(kind(r#"{"error":"Failed to get count: :table_not_found"}"#), ErrorKind::TableNotFound);
        assert_eq!(kind(r#"{"error":"Module disabled"}"#), ErrorKind::Disabled);
        for junk in [
            "{}",
            r#"{"error":5}"#,
            r#"{"error":"x","code":"database_corrupt"}"#,
            r#"{"error":"x","code":[],"transfer_uuid":7,"retry_after":"soon"}"#,
            r#"{"error":"x","code":"approval","transfer_uuid":"nobody","retry_after":-1}"#,
        ] {
            let error = Answer::read(junk).unwrap().refusal("x");
            assert_eq!((error.kind(), error.transfer(), error.retry_after()), (ErrorKind::Peer, None, None), "{junk}");
        }
        assert_eq!(kind(r#"{"error":"x","code":"cancelled"}"#), ErrorKind::Refused);
        let of_transfer = format!(r#"{{"error":"x","code":"cancelled","transfer_uuid":"{}"}}"#, Uuid::nil());
        assert_eq!(kind(&of_transfer), ErrorKind::Cancelled);
        let long = r#"{"error":"x","code":"rate_limited","retry_after":99999999999}"#;
        assert_eq!(Answer::read(long).unwrap().refusal("x").retry_after(), Some(LONGEST_WAIT));
    }

    #[test]
    fn approvals_are_written_and_read() {
        let limits = Limits::with(|limits| limits.wire.tables = 2);
        let waiting = Approval {
            reason: None,
            status: ApprovalStatus::Pending,
            table: "users".into(),
            transfer_uuid: Some(Uuid::nil()),
        };
        let denied = Approval {
            reason: Some("not today".into()),
            status: ApprovalStatus::Denied,
            table: "posts".into(),
            transfer_uuid: None,
        };
        let all = [waiting, denied];
        let text = payload(&answer_approvals("t", Some(&raw_ref(4)), &all));
        assert!(text.contains(r#"{"reason":null,"status":"pending","table":"users","transfer_uuid":"00000000-"#), "{text}");
        assert_eq!(Answer::read(&text).unwrap().approvals(&limits).unwrap(), all);
        let few = Limits::with(|limits| limits.wire.tables = 1);
        assert_eq!(Answer::read(&text).unwrap().approvals(&few).unwrap_err().kind(), ErrorKind::TooLarge);
        for junk in ["{}", r#"{"approvals":[{"table":"t"}]}"#, r#"{"approvals":[{"table":"t","status":"maybe"}]}"#] {
            assert_eq!(Answer::read(junk).unwrap().approvals(&limits).unwrap_err().kind(), ErrorKind::Protocol);
        }
    }
}
