//! Pulls by a code. A code works once, so that a pull which did not complete is resumed with the ticket that its join gave, also when
//! the program was killed in between.

use super::{Report, TransferOptions};
use crate::client::{Auth, Client, ConnectOptions};
use crate::domain::url::SiteUrl;
use crate::error::{ErrorKind, Result};
use crate::site::{Remembered, RememberedKind, Site};

impl Site {
    pub(super) fn pull_by_code(
        &self,
        url: &str,
        code: &str,
        auth: &Auth,
        connect: ConnectOptions,
        options: TransferOptions<'_>,
    ) -> Result<Report> {
        let own = SiteUrl::parse(url)?.to_string();
        let client = match self.taken_up(&own, code, &connect)? {
            Some(client) => client,
            None => {
                let client = Client::connect(url, auth.clone(), connect)?;
                // Before anything is asked for: from now on there is something to come back for.
                self.keep_ticket_of(&client, &own, code);
                client
            }
        };
        let mut report = client.transfer_all(self, options)?;
        report.hint_again(match self.kept_ticket(&own, code) {
            Ok(Some(_)) => "Pull again with the same code: it resumes, although the code is spent.",
            _ => "Pull again with another code: it resumes.",
        });
        if report.is_whole() && !self.may_resume(&client) {
            self.forget_ticket(&own, code).unwrap_or_else(|error| log::warn!("a ticket that is not needed stays: {error}"));
        }
        Ok(report)
    }

    /// A client that came back with the ticket of an earlier pull by this code; `None` if there is no such ticket, or it works no
    /// more.
    fn taken_up(&self, url: &str, code: &str, connect: &ConnectOptions) -> Result<Option<Client>> {
        let kept = match self.kept_ticket(url, code) {
            Ok(kept) => kept,
            // What is kept cannot be read. The code may still be good.
            Err(error) if error.kind() == ErrorKind::SiteKey => {
                log::warn!("a ticket that is kept cannot be used: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let Some(kept) = kept else { return Ok(None) };
        match Client::connect_to_rowferry(url, Auth::ticket(&kept.ticket), connect.clone()) {
            Ok(Some(client)) if client.peer().is_some_and(|peer| peer.site == kept.sender) => return Ok(Some(client)),
            // Another site has the address now.
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidCode => {
                log::info!("the ticket of an earlier pull is refused: {error}")
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
        let is_left =
            |one: &Remembered| one.sender == sender && matches!(one.kind, RememberedKind::Unfinished | RememberedKind::Done);
        // Where that cannot be read, the ticket stays.
        self.checkpoints().list().map_or(true, |left| left.iter().any(is_left))
    }

    /// Keeps the ticket that a client got. The code is spent: a pull that cannot be taken up again is better than none.
    fn keep_ticket_of(&self, client: &Client, url: &str, code: &str) {
        if let (Some(ticket), Some(peer)) = (client.ticket(), client.peer())
            && let Err(error) = self.keep_ticket(url, code, ticket, peer.site)
        {
            log::warn!("should this pull be killed, it cannot be taken up again with its code: {error}");
        }
    }
}
