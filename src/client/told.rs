//! What the other site is told of a pull by a code, so that the ticket which comes of the code is good for that pull alone.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::channel::{Channel, Outcome};
use super::connection::Client;
use crate::cancel::Patience;
use crate::net::Budget;
use crate::wire::message::{APPROVALS, FEATURE_TICKETS, encode_pull_of};

impl Client {
    /// Whether the other site is told anything: it gave a ticket, and is of a version that knows what a pull is of.
    fn tells(&self) -> bool {
        let knows = self.peer.as_ref().is_some_and(|peer| peer.features.iter().any(|feature| feature == FEATURE_TICKETS));
        knows && self.ticket().is_some()
    }

    /// Tells the other site which tables are pulled, where it wants to know. Nothing comes back: that the connection is lost is found by
    /// what is asked next, and it is told again after that.
    pub(crate) fn tell_tables(&self, tables: &[String], patience: &Patience) {
        if !self.tells() {
            return;
        }
        let new: Vec<String> = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            tables.iter().filter(|table| told.insert((*table).clone())).cloned().collect()
        };
        if new.is_empty() {
            return;
        }
        let told = self.call("the tables of the pull", patience, |channel, budget| tell(channel, &new, budget));
        told.unwrap_or_else(
            |error| log::debug!(target: "rowferry::client", "the other site is not told of the pull's tables yet: {error}"),
        );
    }

    /// Tells it on a channel that was made again.
    pub(super) fn tell_again(&self, channel: &mut Channel, budget: &Budget) -> Outcome<()> {
        let told: Vec<String> = self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        tell(channel, &told, budget)
    }

    /// Whether somebody keeps the ticket to come back with. As long as nobody does, the other site is told at the end of this client that
    /// nobody comes back.
    pub(crate) fn keeps_ticket(&self, keeps: bool) {
        self.shared.ends_ticket.store(!keeps && self.tells(), Ordering::SeqCst);
    }
}

fn tell(channel: &mut Channel, tables: &[String], budget: &Budget) -> Outcome<()> {
    tables.chunks(APPROVALS).try_for_each(|some| channel.tell(|topic| encode_pull_of(topic, some), budget))
}
