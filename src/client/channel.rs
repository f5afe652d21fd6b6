//! One joined channel over one connection: a request goes out, its answer comes back, heartbeats in between.

use std::time::{Duration, Instant};

use serde::de::{Deserialize, DeserializeSeed, Deserializer};
use serde_json::value::RawValue;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message};
use zeroize::Zeroizing;

use crate::clock::later;
use crate::domain::schema::TableSchema;
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;
use crate::wire::channel::{self as frames, Head};
use crate::wire::message::{
    Answer, Ask, CODE_MISMATCH, PeerInfo, decode_reply, encode_heartbeat, encode_join, encode_request,
};
use crate::wire::records::{PageDecoder, PageLimits, RecordsPage};
use crate::wire::{Dialect, excerpt};

use super::auth::{By, Pass};
use super::options::ConnectOptions;
use super::refusal::{by_text, without};
use super::transport::{INSTANT, Transport};

/// How many messages are taken in one go from a connection that nobody waits on.
const IDLE_MESSAGES: usize = 64;

/// What to do about a lost connection.
pub(super) const AGAIN: &str = "Connect again. A code works once: ask for a new one; a token works again.";

/// A joined channel.
pub(super) struct Channel {
    transport: Box<dyn Transport>,
    /// It may hold a code.
    topic: Zeroizing<String>,
    /// What was sent to connect, and must not come back in an error.
    secrets: Vec<Zeroizing<String>>,
    next_ref: u64,
    heartbeat: Option<Duration>,
    last_sent: Instant,
    /// Since when a heartbeat waits for any sign of life.
    unanswered: Option<Instant>,
}

/// Why a call has no result.
pub(crate) enum Trouble {
    /// The call failed; the connection is as good as before.
    Failed(Error),
    /// The connection is lost.
    Lost(Error),
    /// The other site closed the connection.
    Closed(Option<CloseFrame>),
}

impl Trouble {
    /// Whether the connection is of no more use.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Trouble::Failed(_))
    }

    /// The error, for a caller who was `doing` something.
    pub(super) fn into_error(self, doing: &str) -> Error {
        match self {
            Trouble::Failed(error) => error,
            Trouble::Lost(error) => error.while_doing(doing),
            Trouble::Closed(Some(frame)) if frame.code == CloseCode::Error => {
                Error::new(ErrorKind::Peer, format!("the other site failed at {doing}: it closed the connection with 1011"))
                    .with_hint(
                        "PhoenixKit cannot send all types over this connection (uuid, bytea, interval): \
                         leave that table out, or pull it last. A code works once, so ask for a new one.",
                    )
            }
            Trouble::Closed(frame) => {
                let code = frame.map_or(String::new(), |frame| {
                    let reason = excerpt(&frame.reason);
                    let space = if reason.is_empty() { "" } else { " " };
                    format!(" ({}{space}{reason})", u16::from(frame.code))
                });
                let why = format!("the other site closed the connection{code} at {doing}");
                Error::new(ErrorKind::Disconnected, why).with_hint(AGAIN)
            }
        }
    }
}

pub(crate) type Outcome<T> = std::result::Result<T, Trouble>;

impl Channel {
    /// Enters the channel of this code or token; gives what a rowferry sender says of itself. `None` if the token is right and
    /// the topic is not: a sender of PhoenixKit names it by a uuid that it does not tell.
    pub(super) fn join(
        transport: Box<dyn Transport>,
        pass: &Pass,
        options: &ConnectOptions,
        budget: &Budget,
    ) -> Result<Option<(Channel, Option<PeerInfo>)>> {
        let (topic, secrets) = (pass.topic.clone(), pass.secrets.clone());
        let (heartbeat, last_sent) = (options.heartbeat, Instant::now());
        let mut channel = Channel { transport, topic, secrets, next_ref: 1, heartbeat, last_sent, unanswered: None };
        let entered = channel.enter(options, budget);
        match entered.map_err(|trouble| channel.clean(trouble).into_error("the join"))? {
            Ok(peer) => {
                // What it gave to come back with is as secret as what was sent.
                let ticket = peer.as_ref().and_then(|peer| peer.ticket.as_ref());
                channel.secrets.extend(ticket.map(|ticket| Zeroizing::new(ticket.as_str().to_owned())));
                Ok(Some((channel, peer)))
            }
            Err(reason) if pass.by == By::Token && reason == CODE_MISMATCH => Ok(None),
            Err(reason) => Err(join_refused(&channel.cleaned(&reason)).by_peer()),
        }
    }

    /// Joins; the inner error is the reason of a refusal.
    fn enter(
        &mut self,
        options: &ConnectOptions,
        budget: &Budget,
    ) -> Outcome<std::result::Result<Option<PeerInfo>, String>> {
        let reference = self.new_ref();
        let late = || "the other site did not answer the join".to_owned();
        let join = encode_join(reference, &self.topic, &options.receiver_info, options.limits.wire.message_bytes as u64);
        self.send(Message::text(join), budget, &late)?;
        let topic = self.topic.clone();
        self.wait(budget, &late, &mut |text| {
            let Some(frame) = frame(text) else { return Ok(None) };
            channel_event(&frame.head, &topic)?;
            if frame.head.event != frames::REPLY || !is_ref(frame.head.reference.map(RawValue::get), reference) {
                return Ok(None);
            }
            decode_reply(frame.payload.get()).map(Some).map_err(Trouble::Failed)
        })
    }

    /// Asks, and reads the answer with `read`.
    pub(super) fn ask<T>(
        &mut self,
        ask: &Ask<'_>,
        budget: &Budget,
        mut read: impl FnMut(&Answer<'_>) -> Result<T>,
    ) -> Outcome<T> {
        let (reference, late) = self.send_request(ask, budget)?;
        let topic = self.topic.clone();
        let answer = self.wait(budget, &late, &mut |text| {
            let Some(frame) = frame(text) else { return Ok(None) };
            channel_event(&frame.head, &topic)?;
            match answer_to(ask, reference, &frame.head, frame.payload.get()).map_err(Trouble::Failed)? {
                Some(answer) => read(&answer).map(Some).map_err(Trouble::Failed),
                None => Ok(None),
            }
        });
        answer.map_err(|trouble| self.clean(trouble))
    }

    /// Asks for several things at once. There is one answer for each, in their order.
    pub(super) fn ask_all<T>(
        &mut self,
        asks: &[Ask<'_>],
        budget: &Budget,
        read: impl Fn(&Answer<'_>) -> Result<T>,
    ) -> Outcome<Vec<Result<T>>> {
        let mut references = Vec::with_capacity(asks.len());
        for ask in asks {
            references.push(self.send_request(ask, budget)?.0);
        }
        let topic = self.topic.clone();
        let mut answers: Vec<Option<Result<T>>> = asks.iter().map(|_| None).collect();
        while let Some(first) = answers.iter().position(Option::is_none) {
            let late = || format!("the other site did not answer {}", described(&asks[first]));
            let answered = self.wait(budget, &late, &mut |text| {
                let Some(frame) = frame(text) else { return Ok(None) };
                channel_event(&frame.head, &topic)?;
                for (at, (ask, reference)) in asks.iter().zip(&references).enumerate().skip(first) {
                    match answer_to(ask, *reference, &frame.head, frame.payload.get()) {
                        Ok(None) => {}
                        Ok(Some(answer)) => return Ok(Some((at, read(&answer)))),
                        Err(refusal) => return Ok(Some((at, Err(refusal)))),
                    }
                }
                Ok(None)
            });
            let (at, answer) = answered.map_err(|trouble| self.clean(trouble))?;
            answers[at] = Some(answer.map_err(|error| error.reworded(|text| self.cleaned(text))));
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Asks for a page of records, and reads it into `rows` straight from its message.
    pub(super) fn page(
        &mut self,
        ask: &Ask<'_>,
        budget: &Budget,
        table: &TableSchema,
        dialect: Dialect,
        limits: PageLimits,
        rows: &mut Rows,
    ) -> Outcome<RecordsPage> {
        let (reference, late) = self.send_request(ask, budget)?;
        let topic = self.topic.clone();
        let before = rows.len();
        let answer = self.wait(budget, &late, &mut |text| {
            // What a message before this one added belonged to another request.
            rows.truncate(before);
            let mut decoder = PageDecoder::new(table, dialect, limits, rows);
            let mut is_page = false;
            let read = frames::decode_with(text, |head| {
                is_page = head.event == ask.answer_event();
                Payload(is_page.then_some(&mut decoder))
            });
            if is_page {
                return match decoder.finish(read.map(|_| ())) {
                    Ok(page) if is_ref(page.reference.as_deref(), reference) => {
                        Ok(Some(RecordsPage { bytes: text.len() as u64, ..page }))
                    }
                    Ok(_) => Ok(None),
                    // It may be a late answer to a request that was given up.
                    Err(_) if is_of_another(text, reference) => Ok(None),
                    Err(error) => Err(Trouble::Failed(error)),
                };
            }
            let (head, payload) = match read {
                Ok((head, Some(payload))) => (head, payload),
                Ok((_, None)) => return Ok(None),
                Err(error) => {
                    log::debug!(target: "rowferry::client", "ignored: {error}");
                    return Ok(None);
                }
            };
            channel_event(&head, &topic)?;
            // A good answer is a page and was read above; what is left is an error, or is not ours.
            answer_to(ask, reference, &head, payload.get()).map(|_| None).map_err(Trouble::Failed)
        });
        answer.map_err(|trouble| self.clean(trouble))
    }

    /// Takes what arrived while nobody waits, and sends a heartbeat when it is due. `silence` is how long the other site may
    /// leave a heartbeat without any sign of life.
    pub(super) fn idle(&mut self, silence: Duration) -> Outcome<()> {
        self.keep(silence).map_err(|trouble| self.clean(trouble))
    }

    fn keep(&mut self, silence: Duration) -> Outcome<()> {
        self.beat()?;
        for _ in 0..IDLE_MESSAGES {
            let Some(message) = self.receive(Instant::now() + INSTANT)? else { break };
            if let Message::Text(text) = message
                && let Some(frame) = frame(&text)
            {
                channel_event(&frame.head, &self.topic)?;
            }
        }
        match self.unanswered {
            Some(since) if since.elapsed() > silence => {
                let why = format!("the other site has not answered for {} s", silence.as_secs_f64());
                Err(Trouble::Lost(Error::new(ErrorKind::Disconnected, why)))
            }
            _ => Ok(()),
        }
    }

    /// Says goodbye and waits at most this long for the other site's own.
    pub(super) fn close(mut self, patience: Duration) {
        self.transport.close(Instant::now() + patience.max(INSTANT));
    }

    /// What the other site said, without the secrets that it was sent.
    pub(super) fn cleaned(&self, text: &str) -> String {
        without(text, self.secrets.iter().map(|secret| secret.as_str()))
    }

    fn clean(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::Failed(error) => Trouble::Failed(error.reworded(|text| self.cleaned(text))),
            Trouble::Lost(error) => Trouble::Lost(error.reworded(|text| self.cleaned(text))),
            Trouble::Closed(frame) => {
                Trouble::Closed(frame.map(|frame| CloseFrame { reason: self.cleaned(&frame.reason).into(), ..frame }))
            }
        }
    }

    fn new_ref(&mut self) -> u64 {
        let reference = self.next_ref;
        self.next_ref += 1;
        reference
    }

    fn send_request<'f>(&mut self, ask: &Ask<'f>, budget: &Budget) -> Outcome<(u64, impl Fn() -> String + use<'f>)> {
        let (reference, ask) = (self.new_ref(), *ask);
        let late = move || format!("the other site did not answer {}", described(&ask));
        self.send(Message::text(encode_request(reference, &self.topic, &ask)), budget, &late)?;
        Ok((reference, late))
    }

    /// Sends a message that has no answer.
    pub(super) fn tell(&mut self, message: impl FnOnce(&str) -> String, budget: &Budget) -> Outcome<()> {
        let late = || "the other site accepts no message".to_owned();
        self.send(Message::text(message(&self.topic)), budget, &late)
    }

    /// A number for a request for pages, which no other one on this channel has.
    pub(super) fn new_request(&mut self) -> u32 {
        // Answers to a request of so long ago do not come any more.
        self.new_ref() as u32
    }

    /// Sends a binary message. `late` is what to say when that takes too long.
    pub(super) fn send_binary(&mut self, message: Vec<u8>, budget: &Budget, late: &dyn Fn() -> String) -> Outcome<()> {
        self.send(Message::binary(message), budget, late).map_err(|trouble| self.clean(trouble))
    }

    /// Waits for the next binary message; `None` if nothing came for so long. Whatever else comes is dropped: nobody waits for it. The
    /// budget is renewed whenever a part of a message came.
    pub(super) fn next_binary(
        &mut self,
        budget: &mut Budget,
        quiet: Duration,
        late: &dyn Fn() -> String,
    ) -> Outcome<Option<Bytes>> {
        let topic = self.topic.clone();
        let next = self.wait_any(budget, quiet, late, &mut |message| match message {
            Message::Binary(bytes) => Ok(Some(bytes)),
            Message::Text(text) => {
                frame(&text).map_or(Ok(()), |frame| channel_event(&frame.head, &topic))?;
                Ok(None)
            }
            _ => Ok(None),
        });
        next.map_err(|trouble| self.clean(trouble))
    }

    /// Sends a heartbeat if one is due, and does not wait.
    pub(super) fn keep_open(&mut self) -> Outcome<()> {
        self.beat()?;
        self.transport.flush(Instant::now() + INSTANT).map(|_| ())
    }

    /// Whether the other site is on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.transport.is_local()
    }

    fn send(&mut self, message: Message, budget: &Budget, late: &dyn Fn() -> String) -> Outcome<()> {
        let until = budget.slice(late).map_err(Trouble::Failed)?;
        self.last_sent = Instant::now();
        let mut sent = self.transport.send(message, until)?;
        while !sent {
            sent = self.transport.flush(budget.slice(late).map_err(Trouble::Failed)?)?;
        }
        Ok(())
    }

    /// Sends a heartbeat if one is due.
    fn beat(&mut self) -> Outcome<()> {
        if self.heartbeat.is_some_and(|interval| self.last_sent.elapsed() >= interval) {
            let reference = self.new_ref();
            self.unanswered.get_or_insert_with(Instant::now);
            self.last_sent = Instant::now();
            self.transport.send(Message::text(encode_heartbeat(reference)), Instant::now() + INSTANT)?;
        }
        Ok(())
    }

    /// Waits until `take` makes something of a message. What it makes nothing of is ignored.
    fn wait<T>(
        &mut self,
        budget: &Budget,
        late: &dyn Fn() -> String,
        take: &mut dyn FnMut(&str) -> Outcome<Option<T>>,
    ) -> Outcome<T> {
        let mut budget = budget.clone();
        loop {
            // A binary message answers no question: it is a page that nobody wants any more.
            let taken = self.wait_any(&mut budget, Duration::MAX, late, &mut |message| match message {
                Message::Text(text) => take(&text),
                _ => Ok(None),
            });
            if let Some(taken) = taken? {
                return Ok(taken);
            }
        }
    }

    /// The same with all messages, as long as not everything is quiet for so long.
    fn wait_any<T>(
        &mut self,
        budget: &mut Budget,
        quiet: Duration,
        late: &dyn Fn() -> String,
        take: &mut dyn FnMut(Message) -> Outcome<Option<T>>,
    ) -> Outcome<Option<T>> {
        // What is counted is the time in which nothing of the next message comes: over a slow link a large one takes its time.
        let mut received = self.transport.received();
        let mut quiet_at = later(Instant::now(), quiet);
        loop {
            let slice = budget.slice(late).map_err(Trouble::Failed)?;
            self.beat()?;
            let message = self.receive(slice.min(quiet_at))?;
            let before = std::mem::replace(&mut received, self.transport.received());
            match message {
                Some(message) => {
                    if let Some(taken) = take(message)? {
                        return Ok(Some(taken));
                    }
                }
                None if received != before => budget.renew(),
                None if Instant::now() >= quiet_at => return Ok(None),
                None => continue,
            }
            quiet_at = later(Instant::now(), quiet);
        }
    }

    /// The next text or binary message, if one comes until then.
    fn receive(&mut self, until: Instant) -> Outcome<Option<Message>> {
        let Some(message) = self.transport.receive(until)? else { return Ok(None) };
        self.unanswered = None;
        match message {
            Message::Close(frame) => Err(Trouble::Closed(frame)),
            Message::Text(_) | Message::Binary(_) => Ok(Some(message)),
            // Pings are answered where they arrive.
            _ => Ok(None),
        }
    }
}

/// A request as messages name it.
pub(super) fn described(ask: &Ask<'_>) -> String {
    match ask.table() {
        Some(table) => format!("{} for {table:?}", ask.event()),
        None => ask.event().to_owned(),
    }
}

/// A frame; anything else is ignored, as PhoenixKit's client does with most of it.
fn frame(text: &str) -> Option<frames::Frame<'_>> {
    frames::decode(text).map_err(|error| log::debug!(target: "rowferry::client", "ignored: {error}")).ok()
}

/// An end of the channel, though not of the connection.
fn channel_event(head: &Head<'_>, topic: &str) -> Outcome<()> {
    match &*head.event {
        event @ ("phx_close" | "phx_error") if head.topic == topic => {
            let why = format!("the other site ended the channel ({event})");
            Err(Trouble::Lost(Error::new(ErrorKind::Disconnected, why)))
        }
        _ => Ok(()),
    }
}

/// Whether this is our ref. Peers that make a number of it are forgiven.
fn is_ref(raw: Option<&str>, reference: u64) -> bool {
    raw.is_some_and(|raw| raw.trim_matches('"') == reference.to_string())
}

fn is_of_another(text: &str, reference: u64) -> bool {
    let answer = frames::decode(text).ok().and_then(|frame| Answer::read(frame.payload.get()));
    let raw = answer.and_then(|answer| answer.reference).map(RawValue::get);
    raw.is_some() && !is_ref(raw, reference)
}

/// The answer, if the frame is the one to this request.
fn answer_to<'a>(ask: &Ask<'_>, reference: u64, head: &Head<'_>, payload: &'a str) -> Result<Option<Answer<'a>>> {
    if !head.event.starts_with("response:") {
        return Ok(None);
    }
    let Some(answer) = Answer::read(payload) else { return Ok(None) };
    if !is_ref(answer.reference.map(RawValue::get), reference) {
        return Ok(None);
    }
    match &*head.event {
        "response:error" => Err(answer.refusal(&described(ask)).by_peer()),
        event if event == ask.answer_event() => Ok(Some(answer)),
        event => {
            let why = format!("the other site answered {} with {:?}", described(ask), excerpt(event));
            Err(Error::new(ErrorKind::Protocol, why))
        }
    }
}

fn join_refused(reason: &str) -> Error {
    match reason {
        CODE_MISMATCH => Error::new(ErrorKind::InvalidCode, "the other site does not take this code for the join")
            .with_hint("Ask the other site for a new code."),
        _ => by_text(reason)
            .unwrap_or_else(|| Error::new(ErrorKind::Refused, format!("the other site refused the join: {reason}"))),
    }
}

/// A frame's payload: the page that is waited for is read at once, anything else is only found.
struct Payload<'p, 'd>(Option<&'p mut PageDecoder<'d>>);

impl<'de> DeserializeSeed<'de> for Payload<'_, '_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Self::Value, D::Error> {
        match self.0 {
            Some(decoder) => decoder.deserialize(deserializer).map(|()| None),
            None => <&RawValue>::deserialize(deserializer).map(Some),
        }
    }
}
