//! Coming back to the same site when the connection was lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::auth::Auth;
use super::channel::Channel;
use super::connection::{Client, Line};
use crate::cancel::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::net::Budget;

impl Client {
    /// Whether a lost connection can be made again: with a token, or with the ticket that a rowferry site gives for a code; not
    /// after [`Client::disconnect`].
    pub(crate) fn comes_back(&self) -> bool {
        self.back.is_some() && !self.shared.closing.is_cancelled()
    }

    /// With what one may come back who came by a code.
    pub(crate) fn ticket(&self) -> Option<&str> {
        self.back.as_ref().and_then(|back| back.as_ticket())
    }

    /// Whether it came with a ticket: the code was spent before, and the other site lets it see only what that pull was of.
    pub(crate) fn came_by_ticket(&self) -> bool {
        self.by_ticket
    }

    /// Makes the connection again, unless it is there. It must be to the same site.
    ///
    /// # Errors
    /// Those of [`Client::connect`]; [`ErrorKind::Protocol`] for another site; [`ErrorKind::Cancelled`] after
    /// [`Client::disconnect`].
    pub(crate) fn come_back(&self, patience: &Patience) -> Result<()> {
        let Some(back) = &self.back else {
            return Err(Error::new(ErrorKind::Disconnected, "the connection cannot be made again: a code works once"));
        };
        let shared = &self.shared;
        {
            let mut line = shared.lock();
            self.check_open()?;
            // Another thread may have made it again.
            if let Line::Open(_) = *line
                && !shared.doubtful.load(Ordering::SeqCst)
            {
                return Ok(());
            }
            shared.connected.store(false, Ordering::SeqCst);
            // The old one ends first, so that the other site knows that its pulls are to be resumed; without a goodbye, which
            // would say that all has arrived.
            *line = Line::Gone("no answer came in time".to_owned());
        }
        // Not under the lock: a caller that disconnects need not wait.
        let channel = self.connect_again(back, patience)?;
        let mut line = shared.lock();
        if let Err(disconnected) = self.check_open() {
            channel.close(Duration::ZERO);
            return Err(disconnected);
        }
        *line = Line::Open(Box::new(channel));
        shared.doubtful.store(false, Ordering::SeqCst);
        shared.connected.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn connect_again(&self, back: &Auth, patience: &Patience) -> Result<Channel> {
        let options = &self.options;
        let cancel = [&options.cancel, &self.shared.closing, &patience.cancel];
        let pass = back.pass()?;
        let budget = Budget::new(patience.within(options.connect_timeout), &cancel);
        let transport = self.way.open(&pass, options, &budget)?;
        let budget = Budget::new(patience.within(options.join_timeout), &cancel);
        let joined = Channel::join(transport, &pass, options, &budget)?;
        let site = self.peer().map(|peer| peer.site);
        match joined {
            Some((mut channel, peer)) if peer.as_ref().map(|peer| peer.site) == site => {
                let told = self.tell_again(&mut channel, &budget);
                told.map_err(|trouble| trouble.into_error("the tables of the pull"))?;
                Ok(channel)
            }
            _ => Err(Error::new(ErrorKind::Protocol, format!("another site answers at {} now", self.way))
                .with_hint("Pull again from the site that is meant.")),
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.shared.closing.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, "this side disconnected")),
            false => Ok(()),
        }
    }
}
