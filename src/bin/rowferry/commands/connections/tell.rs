//! Telling the other site what was changed here.

use rowferry::{
    Connection, ConnectionDirection, Delivered, DeliveryOutcome, Error, ErrorKind, Notifier, RemoteStatus, Site,
};
use serde::Serialize;

use crate::args::connections::Tell;
use crate::commands::{cancelled_by_signals, connect_options, moment};
use crate::failure::Failure;
use crate::output::printable;

/// What is said of a message that nobody has tried to send.
pub const LATER: &str = "The other site is told by `rowferry serve`.";

/// What became of the message to the other site.
#[derive(Debug, Serialize)]
pub struct Told {
    /// `told`, `not_found`, `offline`, `refused`, `waiting`, `given_up` or, if there was nothing to say, `nothing`.
    outcome: &'static str,
    /// Why it was not taken.
    message: Option<String>,
    http_status: Option<u16>,
    /// When it is tried again, by whoever maintains the site.
    next_at: Option<String>,
}

/// Sends what waits for the other site of a connection; `None` if it is not to be told now. The change is made already: that the
/// other site cannot be told is no failure of the command.
pub fn tell(site: &Site, connection: &Connection, tell: &Tell, by: &str) -> Result<Option<Told>, Failure> {
    if tell.no_notify {
        return Ok(None);
    }
    let delivered = match notifier(site, tell, by)?.deliver_to(connection.uuid) {
        Ok(delivered @ Delivered { error: None, .. }) => delivered,
        Ok(Delivered { error: Some(error), .. }) | Err(error) => return Ok(Some(Told::new("waiting", Some(&error)))),
    };
    let Some(last) = delivered.messages.into_iter().last() else {
        return Ok(Some(Told::new("nothing", None)));
    };
    let kind = last.error.as_ref().map(rowferry::Error::kind);
    let outcome = match (last.outcome, kind) {
        (DeliveryOutcome::Sent, _) => "told",
        (_, Some(ErrorKind::NotFound | ErrorKind::InvalidToken)) => "not_found",
        (DeliveryOutcome::Refused, _) => "refused",
        (DeliveryOutcome::GivenUp, _) => "given_up",
        (DeliveryOutcome::Waiting, Some(kind)) if is_offline(kind) => "offline",
        (DeliveryOutcome::Waiting, _) => "waiting",
    };
    Ok(Some(Told { next_at: last.next_at.map(moment), ..Told::new(outcome, last.error.as_ref()) }))
}

/// Lets the sender of a connection know that it was approved here; `None` if it is not to be told now, or this is the sender.
pub fn announce(site: &Site, connection: &Connection, tell: &Tell, by: &str) -> Result<Option<Told>, Failure> {
    if tell.no_notify || connection.direction == ConnectionDirection::Sender {
        return Ok(None);
    }
    let (outcome, error) = match notifier(site, tell, by)?.announce(connection.uuid) {
        Ok(checked) => match checked.status {
            RemoteStatus::NotFound => ("not_found", None),
            RemoteStatus::Offline => ("offline", checked.error),
            RemoteStatus::Error => ("refused", checked.error),
            _ => ("told", None),
        },
        Err(error) => ("refused", Some(error)),
    };
    Ok(Some(Told::new(outcome, error.as_ref())))
}

fn notifier(site: &Site, tell: &Tell, by: &str) -> Result<Notifier, Failure> {
    Ok(site.notifier(connect_options(&tell.network, &cancelled_by_signals()?)?).by(by))
}

fn is_offline(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Disconnected)
}

impl Told {
    fn new(outcome: &'static str, error: Option<&Error>) -> Self {
        let (message, http_status) = (error.map(ToString::to_string), error.and_then(Error::http_status));
        Told { outcome, message, http_status, next_at: None }
    }

    /// What there is to say for people.
    pub fn text(&self) -> String {
        let why = self.message.as_deref().map(printable).unwrap_or_default();
        match self.outcome {
            "told" => "The other site was told.".to_owned(),
            "not_found" => "The other site no longer has the connection.".to_owned(),
            "nothing" => "Nothing waits for the other site, or `rowferry serve` is telling it just now.".to_owned(),
            "offline" if self.next_at.is_none() => format!("The other site is offline, and was not told: {why}"),
            "offline" => format!("The other site is offline, and the message waits: `rowferry serve` sends it. {why}"),
            "waiting" => format!("The message to the other site waits: `rowferry serve` sends it. {why}"),
            "refused" => format!("The other site was told, and refused: {why}"),
            _ => format!("The other site cannot be told: {why}"),
        }
    }
}
