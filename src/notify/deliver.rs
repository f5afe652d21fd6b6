//! The outbox: what other sites are still to be told, sent, put off or given up.

use std::time::Instant;

use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::send::Sending;
use super::{Notifier, described, parallel};
use crate::clock;
use crate::domain::connection::{ConnectionStatus, Metadata};
use crate::domain::event::EventKind;
use crate::domain::remote::DeliveryOutcome;
use crate::error::{Error, Result};
use crate::secret;
use crate::state::outbox::{LONGEST_PAUSE, Message, Outgoing};
use crate::state::{self, events, leases, outbox};

/// How many connections a single call sends messages of.
const CONNECTIONS: u32 = 1_000;

/// How long a message waits after it could not be sent for the first time; each further time it is twice as long.
const FIRST_PAUSE: Duration = Duration::minutes(1);

/// How often a message is tried at least before it is given up: a clock that jumps alone does not lose it.
const LEAST_ATTEMPTS: u64 = 10;

/// How long it waits at most, unless the other site asks for more.
const USUAL_PAUSE: Duration = Duration::hours(1);

/// What became of the messages that were to be sent.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// Messages that the other site took.
    pub sent: u64,
    /// Messages that the other site refused permanently.
    pub refused: u64,
    /// Messages that were tried, and are tried again later.
    pub waiting: u64,
    /// Messages that are not tried again.
    pub given_up: u64,
    /// Each of these messages, those of a connection in their order.
    pub messages: Vec<MessageReport>,
    /// What went wrong here, so that not all of what is due was tried: what the store says, or
    /// [`Cancelled`](crate::ErrorKind::Cancelled).
    pub error: Option<Error>,
}

/// What became of one message.
#[derive(Debug)]
#[non_exhaustive]
pub struct MessageReport {
    /// The connection that it is about, which may be deleted since.
    pub connection: Uuid,
    /// The site that it is for.
    pub site_url: String,
    /// What it says: `status`, `delete` or `rotate`.
    pub call: &'static str,
    /// Of a `status`: which one.
    pub status: Option<ConnectionStatus>,
    /// What became of it.
    pub outcome: DeliveryOutcome,
    /// Why it was not taken.
    pub error: Option<Error>,
    /// When it is tried again, if it is.
    pub next_at: Option<OffsetDateTime>,
}

impl DeliveryReport {
    fn add(&mut self, delivery: MessageReport) {
        *match delivery.outcome {
            DeliveryOutcome::Sent => &mut self.sent,
            DeliveryOutcome::Refused => &mut self.refused,
            DeliveryOutcome::Waiting => &mut self.waiting,
            DeliveryOutcome::GivenUp => &mut self.given_up,
        } += 1;
        self.messages.push(delivery);
    }
}

impl Notifier {
    /// Sends what other sites are still to be told and what is due: those of a connection in their order, eight connections at
    /// a time. Several processes may do so at once: each message is sent by one.
    ///
    /// No message is begun when [`RetentionLimits::delivery_time`](crate::RetentionLimits::delivery_time) is over: the rest waits for the next
    /// call. What was begun then may take a few minutes more, if the other site is slow and is told in several steps.
    ///
    /// A message ends when the other site takes it, or refuses it permanently (400, 401, 404, 409); an event says which.
    /// Whatever else happens puts it off, for a minute and then for twice as long each time, up to an hour, or for as long
    /// as the other site says. After [`RetentionLimits::outbox_time`](crate::RetentionLimits::outbox_time) it is given up, if it was tried ten times
    /// by then, as is at once one whose secret cannot be opened with the site's key.
    ///
    /// # Errors
    /// What the store says, and [`Cancelled`](crate::ErrorKind::Cancelled), if nothing was done at all; else it stands in
    /// [`DeliveryReport::error`].
    pub fn deliver(&self) -> Result<DeliveryReport> {
        let now = self.site.now();
        let due = state::read(self.site.store_ref(), |sql| outbox::due(sql, now, CONNECTIONS))?;
        let connections: Vec<Uuid> = due.into_iter().map(|message| message.connection).collect();
        self.deliver_each(&connections, false)
    }

    /// Sends what the other site of one connection is still to be told, whether or not it is due: for a caller who has just
    /// changed the connection. It may be deleted.
    ///
    /// # Errors
    /// Those of [`Notifier::deliver`].
    pub fn deliver_to(&self, uuid: Uuid) -> Result<DeliveryReport> {
        self.deliver_each(&[uuid], true)
    }

    /// How many messages other sites are still to be sent, due or not.
    ///
    /// # Errors
    /// What the store says.
    pub fn pending(&self) -> Result<u64> {
        state::read(self.site.store_ref(), outbox::pending)
    }

    fn deliver_each(&self, connections: &[Uuid], at_once: bool) -> Result<DeliveryReport> {
        let mut delivered = DeliveryReport::default();
        let until = clock::later(Instant::now(), self.site.limits().retention.delivery_time);
        parallel::each(
            connections,
            |uuid| self.deliver_messages(*uuid, at_once, until),
            |(deliveries, ended)| {
                deliveries.into_iter().for_each(|delivery| delivered.add(delivery));
                if delivered.error.is_none() {
                    delivered.error = ended.err();
                }
            },
        );
        match delivered.error.take_if(|_| delivered.messages.is_empty()) {
            Some(error) => Err(error),
            None => Ok(delivered),
        }
    }

    /// Sends the messages of one connection, until one is to be put off or the time is over.
    fn deliver_messages(&self, connection: Uuid, at_once: bool, until: Instant) -> (Vec<MessageReport>, Result<()>) {
        let (holder, mut deliveries) = (Uuid::new_v4(), Vec::new());
        let mut leased = false;
        let ended = loop {
            // Before the lease is taken, which is written.
            if let Err(error) = self.options.cancel().check("telling other sites") {
                break Err(error);
            }
            if Instant::now() >= until {
                break Ok(());
            }
            let message = match self.take(connection, holder, at_once) {
                Ok(Some(message)) => message,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            leased = true;
            match self.send(&message).and_then(|sending| self.settle(&message, sending)) {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => break Err(error),
            }
            if deliveries.last().is_some_and(|last| last.outcome == DeliveryOutcome::Waiting) {
                break Ok(());
            }
        };
        let given_back = match leased {
            true => self.site.write(|sql| leases::end(sql, connection, holder)),
            false => Ok(()),
        };
        (deliveries, ended.and(given_back))
    }

    /// The next message of a connection, if it is to be sent now, and nobody else is sending.
    fn take(&self, connection: Uuid, holder: Uuid, at_once: bool) -> Result<Option<Outgoing>> {
        let now = self.site.now();
        let wanted = |message: &Outgoing| at_once || message.is_due(now);
        // A look first, which needs no write lock.
        let store = self.site.store_ref();
        if !state::read(store, |sql| outbox::next_of(sql, connection))?.is_some_and(|message| wanted(&message)) {
            return Ok(None);
        }
        self.site.write(|sql| match outbox::next_of(sql, connection)?.filter(wanted) {
            Some(message) if leases::take(sql, connection, holder, now)? => Ok(Some(message)),
            _ => Ok(None),
        })
    }

    /// Keeps what became of a message.
    fn settle(&self, message: &Outgoing, sending: Sending) -> Result<MessageReport> {
        let now = self.site.now();
        let (outcome, error) = match sending {
            Sending::Done => (DeliveryOutcome::Sent, None),
            Sending::Refused(error) => (DeliveryOutcome::Refused, Some(error)),
            Sending::Later(error) if self.is_too_old(message, now) => (DeliveryOutcome::GivenUp, Some(error)),
            Sending::Later(error) => (DeliveryOutcome::Waiting, Some(error)),
            Sending::Never(error) => (DeliveryOutcome::GivenUp, Some(error)),
        };
        let next_at = match (outcome, &error) {
            (DeliveryOutcome::Waiting, Some(error)) => Some(now.checked_add(pause(message.attempts, error)?).unwrap_or(now)),
            _ => None,
        };
        let (call, status) = match &message.message {
            Message::Status(status) => ("status", Some(*status)),
            Message::Delete => ("delete", None),
            Message::Rotate { .. } => ("rotate", None),
        };
        let mut details = Metadata::new();
        details.insert("call".to_owned(), json!(call));
        if let Some(status) = status {
            details.insert("status".to_owned(), json!(status));
        }
        details.insert("site_url".to_owned(), json!(message.site_url));
        details.insert("outcome".to_owned(), json!(outcome));
        details.insert("attempts".to_owned(), json!(message.attempts.saturating_add(1)));
        if let Some(error) = &error {
            details.insert("error".to_owned(), described(error));
        }
        self.site.change(|sql| match next_at {
            Some(next_at) => {
                let why = error.as_ref().map_or_else(String::new, ToString::to_string);
                outbox::postpone(sql, message.id, next_at, &why)
            }
            None => {
                if matches!(message.message, Message::Rotate { .. }) && outcome != DeliveryOutcome::Sent {
                    outbox::keep_token(sql, message)?;
                }
                // A newer message may have taken its place while it was sent: that it was is worth an event all the same.
                outbox::done(sql, message.id)?;
                let kind = EventKind::ConnectionNotified;
                events::add(sql, now, kind, &self.actor, Some(message.connection), None, details.clone())
            }
        })?;
        let (connection, site_url) = (message.connection, message.site_url.clone());
        Ok(MessageReport { connection, site_url, call, status, outcome, error, next_at })
    }

    fn is_too_old(&self, message: &Outgoing, now: OffsetDateTime) -> bool {
        let old =
            Duration::try_from(self.site.limits().retention.outbox_time).is_ok_and(|most| now - message.created_at >= most);
        old && message.attempts.saturating_add(1) >= LEAST_ATTEMPTS
    }
}

/// How long a message waits that was tried so often before, and failed again for this reason.
fn pause(attempts: u64, error: &Error) -> Result<Duration> {
    let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(10);
    let usual = (FIRST_PAUSE * 2i32.pow(doublings)).min(USUAL_PAUSE);
    let asked = error.retry_after().map(|asked| Duration::try_from(asked).unwrap_or(LONGEST_PAUSE));
    let pause = usual.max(asked.unwrap_or_default().min(LONGEST_PAUSE));
    // Up to a tenth more, so that sites that were offline together are not asked together.
    let mut random = [0u8; 1];
    secret::random(&mut random)?;
    Ok(pause + pause * f64::from(random[0]) / 2560.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let error = Error::new(ErrorKind::Unreachable, "offline");
        for (attempts, minutes) in [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (7, 60), (u64::MAX, 60)] {
            let pause = pause(attempts, &error).unwrap();
            let least = Duration::minutes(minutes);
            assert!((least..least + least / 10).contains(&pause), "{attempts}: {pause}");
        }
        let busy = |seconds| error.clone().with_retry_after(std::time::Duration::from_secs(seconds));
        let asked = |seconds| pause(0, &busy(seconds)).unwrap().whole_minutes();
        assert_eq!(asked(1), 1);
        assert!((120..=132).contains(&asked(7200)));
        assert!((24 * 60..=27 * 60).contains(&asked(u64::MAX)), "no site can put its messages off for ever");
    }
}
