//! Telling the other site what was changed here.

use rowferry::{
    Connection, ConnectionDirection, DeliveryOutcome, DeliveryReport, Error, ErrorKind, Notifier, RemoteStatus, Site,
};
use serde::Serialize;

use crate::args::connections::Tell;
use crate::commands::plain::warn_of_plain_http;
use crate::commands::{cancelled_by_signals, connect_options, moment};
use crate::failure::Failure;
use crate::output::printable;

/// What is said of a message that nobody has tried to send.
pub const LATER: &str = "The other site is told by `rowferry serve`.";

/// What became of the message to the other site.
#[derive(Debug, Serialize)]
pub struct Told {
    /// `told`, `not_found`, `offline`, `refused`, `waiting`, `given_up`, `by_hand` where the other site's people must be told, or,
    /// if there was nothing to say, `nothing`.
    outcome: &'static str,
    /// Why it was not taken.
    message: Option<String>,
    http_status: Option<u16>,
    /// When it is tried again, when the site is maintained next.
    next_at: Option<String>,
}

/// Tells the other sites of what is changed here. It is made before anything is changed: what is wrong with its options must
/// not be found out when there is a token already that is shown only once.
pub struct Teller(Option<Notifier>);

impl Teller {
    pub fn new(site: &Site, tell: &Tell, by: &str) -> Result<Self, Failure> {
        let options = connect_options(&tell.network, &cancelled_by_signals()?)?;
        Ok(Teller((!tell.no_notify).then(|| site.notifier(options).by(by))))
    }

    /// Sends what waits for the other site of a connection; `None` if it is not to be told now. The change is made already: that
    /// the other site cannot be told is no failure of the command.
    pub fn tell(&self, connection: &Connection) -> Option<Told> {
        self.0.as_ref().map(|notifier| deliver(notifier, connection))
    }

    /// Lets the sender of a connection know that it was approved here; `None` if it is not to be told now, or this is the sender.
    pub fn announce(&self, connection: &Connection) -> Option<Told> {
        let receives = connection.direction == ConnectionDirection::Receiver;
        self.0.as_ref().filter(|_| receives).map(|notifier| announce(notifier, connection))
    }
}

fn deliver(notifier: &Notifier, connection: &Connection) -> Told {
    warn_of_plain_http(&connection.site_url);
    let delivered = match notifier.deliver_to(connection.uuid) {
        Ok(delivered @ DeliveryReport { error: None, .. }) => delivered,
        Ok(DeliveryReport { error: Some(error), .. }) | Err(error) => return Told::new("waiting", Some(&error)),
    };
    let Some(last) = delivered.messages.into_iter().last() else {
        return Told::new("nothing", None);
    };
    let kind = last.error.as_ref().map(rowferry::Error::kind);
    let outcome = match (last.outcome, kind) {
        (DeliveryOutcome::Sent, _) => "told",
        (_, Some(ErrorKind::NotFound | ErrorKind::InvalidToken)) => "not_found",
        (DeliveryOutcome::Refused, _) => "refused",
        (DeliveryOutcome::GivenUp, _) => "given_up",
        (DeliveryOutcome::Waiting, Some(kind)) if is_offline(kind) => "offline",
        _ => "waiting",
    };
    Told { next_at: last.next_at.map(moment), ..Told::new(outcome, last.error.as_ref()) }
}

fn announce(notifier: &Notifier, connection: &Connection) -> Told {
    warn_of_plain_http(&connection.site_url);
    let (outcome, error) = match notifier.announce(connection.uuid) {
        Ok(checked) => match checked.status {
            RemoteStatus::NotFound => ("not_found", None),
            RemoteStatus::Offline => ("offline", checked.error),
            RemoteStatus::Error => ("refused", checked.error),
            _ => ("told", None),
        },
        Err(error) => ("refused", Some(error)),
    };
    Told::new(outcome, error.as_ref())
}

fn is_offline(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Disconnected)
}

impl Told {
    fn new(outcome: &'static str, error: Option<&Error>) -> Self {
        let (message, http_status) = (error.map(ToString::to_string), error.and_then(Error::http_status));
        Told { outcome, message, http_status, next_at: None }
    }

    /// Of a new token that the other site cannot be sent, because it was to come with the old one.
    pub fn by_hand() -> Self {
        let message = "The other site cannot be told, because the old token is lost. Give it the new one by hand.";
        Told { message: Some(message.to_owned()), ..Told::new("by_hand", None) }
    }

    /// What there is to say for people.
    pub fn text(&self) -> String {
        let why = self.message.as_deref().map(printable).unwrap_or_default();
        match self.outcome {
            "told" => "The other site was told.".to_owned(),
            "not_found" => "The other site no longer has the connection.".to_owned(),
            "by_hand" => why,
            "nothing" => "Nothing waits for the other site, or `rowferry serve` is telling it just now.".to_owned(),
            "offline" if self.next_at.is_none() => format!("The other site is offline, and was not told: {why}"),
            "offline" => format!("The other site is offline, and the message waits: `rowferry serve` sends it. {why}"),
            "waiting" => format!("The message to the other site waits: `rowferry serve` sends it. {why}"),
            "refused" => format!("The other site was told, and refused: {why}"),
            _ => format!("The other site cannot be told: {why}"),
        }
    }
}
