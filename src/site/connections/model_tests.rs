//! Random changes by the owner and by the other site, against a model that knows the rules and no SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::tests::{site, waiting};
use crate::domain::connection::ConnectionStatus::{self, Active, Expired, Pending, Revoked, Suspended};
use crate::domain::event::EventFilter;
use crate::error::ErrorKind;
use crate::site::{NewConnection, Site};
use crate::state::connections;

#[derive(Debug, Clone, Copy)]
enum Change {
    Create {
        pending: bool,
    },
    Approve,
    Suspend,
    Reactivate,
    Revoke,
    Delete,
    Rotate,
    /// Sets or lifts the limit of one download.
    Limit(bool),
    Download,
    /// Sets a date a minute away, or none.
    Date(bool),
    /// Two minutes pass.
    Later,
    Expire,
}

/// A connection as the rules have it.
#[derive(Debug, Clone, Copy)]
struct Model {
    status: ConnectionStatus,
    suspended_by_peer: bool,
    limit: bool,
    downloads: u64,
    /// The minute from which on it is past.
    date: Option<u64>,
}

/// What came of a change: an event was written or not, or it was refused.
type Outcome = Result<bool, ErrorKind>;

impl Model {
    fn passed(&self, now: u64) -> Option<ErrorKind> {
        match (self.date, self.limit && self.downloads >= 1) {
            (Some(date), _) if date <= now => Some(ErrorKind::ConnectionExpired),
            (_, true) => Some(ErrorKind::DownloadLimit),
            _ => None,
        }
    }

    /// The status steps, as the words of the design have them.
    fn step(&mut self, change: Change, by_peer: bool, now: u64) -> Outcome {
        let to = match (change, self.status) {
            (Change::Approve | Change::Reactivate, Active) if by_peer => return Ok(false),
            (Change::Suspend, Suspended) if by_peer => return Ok(false),
            (Change::Revoke, Revoked) if by_peer => return Ok(false),
            (Change::Approve, Pending) => Active,
            (Change::Suspend, Active) => Suspended,
            (Change::Suspend, Suspended) if self.suspended_by_peer => Suspended,
            (Change::Reactivate, Suspended) if !by_peer || self.suspended_by_peer => Active,
            (Change::Reactivate, Expired) if !by_peer => Active,
            (Change::Revoke, Pending | Active | Suspended | Expired) => Revoked,
            _ => return Err(ErrorKind::InvalidTransition),
        };
        if let (Change::Reactivate, Some(kind)) = (change, self.passed(now)) {
            return Err(kind);
        }
        match change {
            Change::Suspend => self.suspended_by_peer = by_peer,
            Change::Revoke => {
                self.suspended_by_peer = by_peer && (self.status != Suspended || self.suspended_by_peer);
            }
            Change::Reactivate => self.suspended_by_peer = false,
            _ => {}
        }
        self.status = to;
        Ok(true)
    }
}

/// The outbox of one connection after a message.
fn put(outbox: &mut Vec<String>, message: &str) {
    if message != "rotate" {
        outbox.retain(|message| message == "rotate");
    }
    outbox.push(message.to_owned());
}

fn changes() -> impl Strategy<Value = Vec<(Change, bool)>> {
    let change = prop_oneof![
        2 => any::<bool>().prop_map(|pending| Change::Create { pending }),
        2 => Just(Change::Approve),
        4 => Just(Change::Suspend),
        4 => Just(Change::Reactivate),
        1 => Just(Change::Revoke),
        1 => Just(Change::Delete),
        1 => Just(Change::Rotate),
        1 => any::<bool>().prop_map(Change::Limit),
        1 => Just(Change::Download),
        1 => any::<bool>().prop_map(Change::Date),
        1 => Just(Change::Later),
        2 => Just(Change::Expire),
    ];
    proptest::collection::vec((change, any::<bool>()), 1..40)
}

fn make(site: &Site, uuid: Uuid, change: Change, by_peer: bool) -> Result<(), ErrorKind> {
    let connections = match by_peer {
        true => site.connections().by_peer("peer https://backup.example"),
        false => site.connections(),
    };
    let made = match change {
        Change::Approve => connections.approve(uuid).map(|_| ()),
        Change::Suspend => connections.suspend(uuid, None).map(|_| ()),
        Change::Reactivate => connections.reactivate(uuid).map(|_| ()),
        Change::Revoke => connections.revoke(uuid, None).map(|_| ()),
        Change::Delete => connections.delete(uuid).map(|_| ()),
        Change::Rotate => site.connections().regenerate_token(uuid).map(|_| ()),
        Change::Limit(on) => connections.update(uuid, |edit| edit.policy.max_downloads = on.then_some(1)).map(|_| ()),
        Change::Download => site.change(|sql| connections::take_download(sql, uuid)).map(|_| ()),
        Change::Date(on) => {
            let at = on.then(|| site.now() + Duration::from_secs(60));
            connections.update(uuid, |edit| edit.policy.expires_at = at).map(|_| ())
        }
        Change::Create { .. } | Change::Later | Change::Expire => Ok(()),
    };
    made.map_err(|error| error.kind())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn changes_do_what_the_model_says(changes in changes()) {
        let (_folder, site, clock) = site();
        let (mut uuid, mut model): (Uuid, Option<Model>) = (Uuid::nil(), None);
        let mut outbox: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        let (mut events, mut now) = (0usize, 0u64);
        for (change, by_peer) in changes {
            match (change, &mut model) {
                (Change::Create { pending }, model @ None) => {
                    let new = NewConnection::sender("Backup", "https://backup.example");
                    let made = site.connections().create(if pending { new.pending() } else { new }).unwrap();
                    uuid = made.connection.uuid;
                    let status = if pending { Pending } else { Active };
                    *model = Some(Model { status, suspended_by_peer: false, limit: false, downloads: 0, date: None });
                    events += 1;
                }
                (Change::Create { .. }, Some(_)) => {
                    let again = site.connections().create(NewConnection::sender("Backup", "https://backup.example"));
                    prop_assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
                }
                (Change::Later, _) => {
                    clock.advance(Duration::from_secs(120));
                    now += 2;
                }
                (Change::Expire, model) => {
                    let due = model.as_mut().filter(|model| {
                        matches!(model.status, Pending | Active | Suspended) && model.passed(now).is_some()
                    });
                    prop_assert_eq!(site.connections().expire().unwrap(), u64::from(due.is_some()));
                    if let Some(model) = due {
                        model.status = Expired;
                        events += 1;
                    }
                }
                (Change::Download, None) => prop_assert!(!site.change(|sql| connections::take_download(sql, uuid)).unwrap()),
                (_, None) => prop_assert_eq!(make(&site, uuid, change, by_peer), Err(ErrorKind::NotFound)),
                (_, Some(known)) => {
                    let messages = outbox.entry(uuid).or_default();
                    let expected: Outcome = match change {
                        Change::Delete => Ok(true),
                        Change::Rotate if known.status == Revoked => Err(ErrorKind::InvalidTransition),
                        Change::Rotate => Ok(true),
                        Change::Limit(on) => Ok(std::mem::replace(&mut known.limit, on) != on),
                        Change::Date(on) => {
                            let date = on.then_some(now + 1);
                            Ok(std::mem::replace(&mut known.date, date) != date)
                        }
                        Change::Download => {
                            known.downloads += u64::from(!known.limit || known.downloads == 0);
                            Ok(false)
                        }
                        _ => known.step(change, by_peer, now),
                    };
                    prop_assert_eq!(make(&site, uuid, change, by_peer), expected.map(|_| ()), "{:?} {}", change, by_peer);
                    events += usize::from(expected == Ok(true));
                    if expected == Ok(true) {
                        match (change, by_peer) {
                            (Change::Suspend | Change::Reactivate | Change::Revoke, false) => {
                                put(messages, &format!("status{}", known.status));
                            }
                            (Change::Rotate, _) => put(messages, "rotate"),
                            (Change::Delete, false) => put(messages, "delete"),
                            (Change::Delete, true) => messages.clear(),
                            _ => {}
                        }
                    }
                    if matches!(change, Change::Delete) && expected.is_ok() {
                        model = None;
                    }
                }
            }
            let kept = site.connections().get(uuid).ok();
            prop_assert_eq!(kept.as_ref().map(|kept| kept.status), model.map(|model| model.status));
            if let (Some(kept), Some(model)) = (&kept, model) {
                prop_assert_eq!((kept.downloads_used, kept.policy.max_downloads.is_some()), (model.downloads, model.limit));
            }
        }
        prop_assert_eq!(site.events().list(&EventFilter::new()).unwrap().len(), events);
        let mut found: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for (connection, message) in waiting(&site) {
            found.entry(connection).or_default().push(message);
        }
        outbox.retain(|_, messages| !messages.is_empty());
        prop_assert_eq!(found, outbox);
    }
}
