//! Pulls by a code. A code works once, so that a pull which did not complete is resumed with the ticket that its join gave, also when
//! the program was killed in between.

use super::{PullOptions, Report};
use crate::client::{Auth, Client, ConnectOptions, over_http_only};
use crate::domain::url::SiteUrl;
use crate::error::{ErrorKind, Result};
use crate::site::{CheckpointInfo, CheckpointKind, Site};

impl Site {
    pub(super) fn pull_by_code(
        &self,
        url: &str,
        code: &str,
        auth: &Auth,
        connect: ConnectOptions,
        mut options: PullOptions<'_>,
    ) -> Result<Report> {
        let (client, own) = self.enter_by_code(url, code, auth, connect, &mut options)?;
        let mut report = client.pull(self, options).map_err(|error| match self.kept_ticket(&own, code) {
            Ok(Some(_)) if error.kind() == ErrorKind::InvalidInput => {
                let hint = error.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
                error.with_hint(format!("{hint}Pull again with the same code, into this database."))
            }
            _ => error,
        })?;
        report.hint_again(match self.kept_ticket(&own, code) {
            Ok(Some(_)) => "Pull again with the same code: it resumes, although the code is spent.",
            _ => "Pull again with another code: it resumes.",
        });
        if report.is_whole() {
            self.give_ticket_back(&client, &own, code);
        }
        Ok(report)
    }

    /// A client by a code, or by the ticket that is kept of it; with the URL as the ticket is kept for it.
    pub(crate) fn enter_by_code(
        &self,
        url: &str,
        code: &str,
        auth: &Auth,
        connect: ConnectOptions,
        options: &mut PullOptions<'_>,
    ) -> Result<(Client, String)> {
        let own = SiteUrl::parse(url)?.to_string();
        // What comes of the code is for this site alone.
        let connect = connect.receiver(self.uuid()?);
        if let Some(client) = self.taken_up(&own, code, &connect, options)? {
            return Ok((client, own));
        }
        let client = self.enter(url, auth, &connect, options)?.ok_or_else(over_http_only)?;
        // Before anything is asked for: from now on there is something to come back for.
        self.keep_ticket_of(&client, &own, code);
        Ok((client, own))
    }

    /// Forgets the ticket of a code, unless something is left that it resumes.
    pub(crate) fn give_ticket_back(&self, client: &Client, own: &str, code: &str) {
        if self.may_resume(client) {
            return;
        }
        match self.forget_ticket(own, code) {
            Ok(()) => client.keeps_ticket(false),
            Err(error) => log::warn!(target: "rowferry::pull", "a ticket that is not needed stays: {error}"),
        }
    }

    /// A client that came back with the ticket of an earlier pull by this code; `None` if there is no such ticket, or it works no
    /// more.
    fn taken_up(
        &self,
        url: &str,
        code: &str,
        connect: &ConnectOptions,
        options: &mut PullOptions<'_>,
    ) -> Result<Option<Client>> {
        let kept = match self.kept_ticket(url, code) {
            Ok(kept) => kept,
            // What is kept cannot be read. The code may still be good.
            Err(error) if error.kind() == ErrorKind::SiteKey => {
                log::warn!(target: "rowferry::pull", "a ticket that is kept cannot be used: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let Some(kept) = kept else { return Ok(None) };
        match self.enter(url, &Auth::ticket(&kept.ticket), connect, options) {
            Ok(Some(client)) if client.peer().is_some_and(|peer| peer.site == kept.sender) => {
                client.keeps_ticket(true);
                return Ok(Some(client));
            }
            // Another site has the address now.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidCode => {
                log::info!(target: "rowferry::pull", "the ticket of an earlier pull is refused: {error}")
            }
            Err(error) => return Err(error),
        }
        self.forget_ticket(url, code)?;
        Ok(None)
    }

    /// Whether something is left of another pull from the client's site, which the same code resumes.
    fn may_resume(&self, client: &Client) -> bool {
        let Some(peer) = client.peer() else { return false };
        let sender = format!("site:{}", peer.site);
        let is_left = |one: &CheckpointInfo| {
            one.sender == sender && matches!(one.kind, CheckpointKind::Unfinished | CheckpointKind::Done)
        };
        // Where that cannot be read, the ticket stays.
        self.checkpoints().list().map_or(true, |left| left.iter().any(is_left))
    }

    /// Keeps the ticket that a client got. The code is spent: a pull that cannot be resumed is better than none.
    fn keep_ticket_of(&self, client: &Client, url: &str, code: &str) {
        if let (Some(ticket), Some(peer)) = (client.ticket(), client.peer()) {
            match self.keep_ticket(url, code, ticket, peer.site) {
                Ok(()) => client.keeps_ticket(true),
                Err(error) => {
                    log::warn!(target: "rowferry::pull", "if this pull is killed, it cannot be resumed with its code: {error}")
                }
            }
        }
    }
}
