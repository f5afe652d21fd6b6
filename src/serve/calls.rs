//! The calls about connections: to make one, to end it, to ask how it stands.

// A refusal is an answer to send, of the type that all answers have; it is made once for each request.
#![expect(clippy::result_large_err)]

use http::{Response, StatusCode};

use super::answers::{bad_request, broken_call, denied, good, not_allowed, refused, refused_plainly};
use super::body::Body;
use crate::access::{Access, Answer, Caller, NotRegistered, Refused};
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus};
use crate::error::{self, Error, ErrorKind};
use crate::secret::Token;
use crate::site::Site;
use crate::wire::api::{
    BadRequest, Exists, Fields, Named, PeerStatus, QueryStatus, QueryStatusAnswer, Refusal, Register, RegisterAnswer,
    RotateToken, Secret, UpdateStatus, Updated, encode,
};

/// What every call says where it has no words of its own for what failed here.
const FAILED: &str = "Fetch failed";

type Answered = Result<Response<Body>, Response<Body>>;

pub(super) fn register(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    let made = access.may_register(caller).and_then(|mode| {
        let asked = match Register::read(fields) {
            Ok(asked) => asked,
            Err(bad) => return Ok(Err(bad)),
        };
        access.register(mode, &asked, caller).map(Ok)
    });
    match made {
        Ok(Ok(connection)) => good(&RegisterAnswer::new(connection.uuid, connection.status)),
        Ok(Err(bad)) => bad_request(&bad),
        Err(why) => not_registered(&why),
    }
}

fn not_registered(why: &NotRegistered) -> Response<Body> {
    match why {
        NotRegistered::Disabled => refused_plainly(StatusCode::SERVICE_UNAVAILABLE, "Sync module is disabled"),
        NotRegistered::DenyAll => refused_plainly(StatusCode::FORBIDDEN, "Incoming connections are not allowed"),
        NotRegistered::Exists => refused_plainly(StatusCode::CONFLICT, "A connection already exists"),
        NotRegistered::Unusable(error) => {
            let status = if error.kind() == ErrorKind::Refused { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
            refused(status, &Refusal::new(error.message()).with_code(error.kind()))
        }
        // In PhoenixKit's own words, which say no more.
        NotRegistered::Denied(denial) if denial.retry_after.is_none() => {
            refused_plainly(StatusCode::UNAUTHORIZED, &denial.http_text())
        }
        NotRegistered::Denied(denial) => denied(denial),
        NotRegistered::Failed(error) => broken_call(error, FAILED),
    }
}

pub(super) fn delete(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    either(|| {
        let asked = Named::read(fields).map_err(|bad| bad_request(&bad))?;
        let connection = named(access, &asked.sender_url, &asked.auth_token_hash, caller)?.ok_or_else(unknown)?;
        let actor = actor(&connection);
        match access.site().connections().by_peer(&actor).delete(connection.uuid) {
            Ok(_) => Ok(good(&Updated::new("Connection deleted"))),
            Err(error) => Err(not_changed(&error)),
        }
    })
}

pub(super) fn verify(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    either(|| {
        let asked = Named::read(fields).map_err(|bad| bad_request(&bad))?;
        let exists = named(access, &asked.sender_url, &asked.auth_token_hash, caller)?.is_some();
        let status = if exists { StatusCode::OK } else { StatusCode::NOT_FOUND };
        Ok(super::answers::json(status, encode(&Exists::new(exists))))
    })
}

pub(super) fn update_status(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    either(|| {
        let asked = UpdateStatus::read(fields).map_err(|bad| bad_request(&bad))?;
        let connection = named(access, &asked.sender_url, &asked.auth_token_hash, caller)?.ok_or_else(unknown)?;
        let actor = actor(&connection);
        let connections = access.site().connections().by_peer(&actor);
        let reason = match asked.reason.as_deref() {
            Some(reason) => format!("the other site says: {reason}"),
            None => "the other site says so".to_owned(),
        };
        let reason = Some(reason.as_str());
        let changed = match asked.status {
            PeerStatus::Active => connections.reactivate(connection.uuid),
            PeerStatus::Suspended => connections.suspend(connection.uuid, reason),
            PeerStatus::Revoked => connections.revoke(connection.uuid, reason),
        };
        match changed {
            Ok(_) => Ok(good(&Updated::new(format!("Status updated to {}", asked.status)))),
            Err(error) => Err(not_changed(&error)),
        }
    })
}

/// How a connection stands. One of this site's that waits for the other site to know of it is active from then on.
pub(super) fn query_status(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    either(|| {
        let asked = QueryStatus::read(fields).map_err(|bad| bad_request(&bad))?;
        let hash = asked.auth_token_hash.as_str();
        let found = access.lifecycle(caller, |all| all.find_by_hash(hash, ConnectionDirection::Sender));
        let connection = known(found)?.ok_or_else(unknown)?;
        if connection.status != ConnectionStatus::Pending {
            return Ok(good(&QueryStatusAnswer::new(&connection.name, connection.status)));
        }
        let connection = activated(access.site(), connection).map_err(|error| not_changed(&error))?;
        Ok(good(&QueryStatusAnswer::new(&connection.name, connection.status)))
    })
}

/// A connection that was pending when it was looked at, as it is once the other site has asked for it.
fn activated(site: &Site, connection: Connection) -> error::Result<Connection> {
    let actor = actor(&connection);
    match site.connections().by_peer(&actor).approve(connection.uuid) {
        // It was suspended or revoked since: that is the answer.
        Err(error) if error.kind() == ErrorKind::InvalidTransition => site.connections().get(connection.uuid),
        approved => approved,
    }
}

pub(super) fn rotate_token(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    either(|| {
        let asked = RotateToken::read(fields).map_err(|bad| bad_request(&bad))?;
        let connection = named(access, &asked.sender_url, &asked.auth_token_hash, caller)?.ok_or_else(unknown)?;
        let token = Token::parse(asked.auth_token.as_str()).map_err(|_| {
            bad_request(&BadRequest::Wrong { field: "auth_token", why: "must be 1 to 512 visible characters".to_owned() })
        })?;
        let actor = actor(&connection);
        match access.site().connections().by_peer(&actor).set_token(connection.uuid, token) {
            Ok(_) => Ok(good(&Updated::new("Token updated"))),
            Err(error) => Err(not_changed(&error)),
        }
    })
}

/// The connection with the site of this URL, in whichever spelling, and of this token's hash.
fn named(access: &Access, url: &str, hash: &Secret, caller: &Caller) -> Result<Option<Connection>, Response<Body>> {
    known(access.lifecycle(caller, |all| all.find_by_site_url_and_hash(url, hash.as_str())))
}

/// That there is no such connection is told by each call in its own words.
fn known(found: Answer<Connection>) -> Result<Option<Connection>, Response<Body>> {
    match found {
        Ok(connection) => Ok(Some(connection)),
        Err(Refused::Denied(denial)) if denial.kind == ErrorKind::InvalidToken => Ok(None),
        Err(refused) => Err(not_allowed(&refused, FAILED)),
    }
}

fn actor(connection: &Connection) -> String {
    format!("peer {}", connection.site_url)
}

fn unknown() -> Response<Body> {
    refused_plainly(StatusCode::NOT_FOUND, "Connection not found")
}

/// The answer to a change that cannot be made.
fn not_changed(error: &Error) -> Response<Body> {
    match error.kind() {
        // It went between two looks at it.
        ErrorKind::NotFound => unknown(),
        ErrorKind::InvalidTransition
        | ErrorKind::Refused
        | ErrorKind::InvalidInput
        | ErrorKind::AlreadyExists
        | ErrorKind::SelfConnection
        | ErrorKind::ConnectionExpired
        | ErrorKind::DownloadLimit
        | ErrorKind::RecordLimit => refused(StatusCode::CONFLICT, &Refusal::new(error.message()).with_code(error.kind())),
        _ => broken_call(error, FAILED),
    }
}

/// Answers are answers, whichever way they came about.
fn either(work: impl FnOnce() -> Answered) -> Response<Body> {
    work().unwrap_or_else(|refused| refused)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::site::NewConnection;

    #[test]
    fn a_connection_that_leaves_pending_meanwhile_is_told_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let new = NewConnection::sender("Backup", "https://backup.example").pending();
        let stale = site.connections().create(new).unwrap().connection;
        assert_eq!(activated(&site, stale.clone()).unwrap().status, ConnectionStatus::Active);
        assert_eq!(activated(&site, stale.clone()).unwrap().status, ConnectionStatus::Active);
        site.connections().revoke(stale.uuid, None).unwrap();
        assert_eq!(activated(&site, stale.clone()).unwrap().status, ConnectionStatus::Revoked);
        site.connections().delete(stale.uuid).unwrap();
        assert_eq!(activated(&site, stale).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
