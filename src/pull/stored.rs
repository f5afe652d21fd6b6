//! Pulls through a stored connection.

use std::sync::Arc;

use uuid::Uuid;

use super::channel::refuse_itself;
use super::http::HttpSource;
use super::receiver::Receiver;
use super::run::{pull, unless_cancelled};
use super::source::Source;
use super::{PullOptions, Report};
use crate::client::{Api, Auth, ConnectOptions};
use crate::clock::Clock;
use crate::domain::connection::{Connection, ConnectionDirection, ConnectionStatus};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::history::Origin;
use crate::site::Site;

impl Site {
    /// Pulls tables through a stored receiver connection, as
    /// [`Client::pull`](crate::Client::pull) does: with its token, and where the
    /// options name no strategy with its
    /// [`default_conflict_strategy`](crate::Policy::default_conflict_strategy). The transfers and the connection's totals tell
    /// of it afterwards. A site of PhoenixKit is pulled from over HTTP: see [`Api::pull`].
    ///
    /// What this side's connection says holds, too, whatever the other side allows: its lists of tables (where the options name none, those
    /// that are not allowed are left out, with a note in the report), its hours, its expiry, most records at a time and in all. It ends in
    /// the middle of a pull when the connection is suspended here.
    ///
    /// The URL of the connection leads to public addresses only, unless
    /// [`Settings::set_allow_internal_urls`](crate::Settings::set_allow_internal_urls) allows others.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound); [`InvalidInput`](ErrorKind::InvalidInput) for a sender connection;
    /// [`ConnectionNotActive`](ErrorKind::ConnectionNotActive) and [`ConnectionExpired`](ErrorKind::ConnectionExpired) for one
    /// that cannot be used; [`OutsideAllowedHours`](ErrorKind::OutsideAllowedHours) and [`RecordLimit`](ErrorKind::RecordLimit) of this
    /// side's own; [`SiteKey`](ErrorKind::SiteKey) when the token cannot be read; those of
    /// [`Client::connect`](crate::Client::connect) and
    /// [`Client::pull`](crate::Client::pull).
    pub fn pull(&self, connection: Uuid, connect: ConnectOptions, mut options: PullOptions<'_>) -> Result<Report> {
        let tokens = [connect.cancel().clone(), options.cancel.clone()];
        let way = self.way_through(connection, connect, &mut options)?;
        let run = |source: &dyn Source, options| {
            let origin = Origin { connection: Some(connection), site_url: way.url.clone() };
            self.connections().touch_connected(connection)?;
            pull(source, self.here(), options, Some(origin))
        };
        unless_cancelled(&tokens, || match self.enter(&way.url, &way.auth, &way.connect, &mut options)? {
            Some(client) => {
                refuse_itself(&client, self)?;
                run(&client, options)
            }
            None => {
                let api = Api::with_auth(&way.url, &way.auth, &way.connect)?;
                run(&HttpSource::new(&api, &options), options)
            }
        })
    }

    /// How the other site of a stored connection is reached. The options get what this side's end of it allows.
    pub(crate) fn way_through(
        &self,
        connection: Uuid,
        connect: ConnectOptions,
        options: &mut PullOptions<'_>,
    ) -> Result<WayThrough> {
        let connections = self.connections();
        let stored = connections.get(connection)?;
        check(&stored, &**self.clock())?;
        options.allowed = Some(Arc::new(Receiver::new(self, stored.clone())?));
        options.most_at_once = u32::try_from(stored.policy.max_records_per_request).ok();
        options.strategy.get_or_insert(stored.policy.default_conflict_strategy);
        let token = connections.token(connection)?;
        let connect = connect.for_stored_url(self.settings().allow_internal_urls()?);
        let mut auth = Auth::token(token.as_str());
        if let Some(password) = connect.password_for_downloads() {
            auth = auth.password(password);
        }
        Ok(WayThrough { url: stored.site_url, auth, connect })
    }
}

/// How the other site of a stored connection is reached.
pub(crate) struct WayThrough {
    pub(crate) url: String,
    pub(crate) auth: Auth,
    pub(crate) connect: ConnectOptions,
}

/// Whether the connection is one to pull through.
pub(super) fn check(connection: &Connection, clock: &dyn Clock) -> Result<()> {
    if connection.direction != ConnectionDirection::Receiver {
        let message = "a sender connection is for the other site to pull through";
        return Err(Error::new(ErrorKind::InvalidInput, message).with_hint("Pull through a receiver connection."));
    }
    if connection.status != ConnectionStatus::Active {
        let by_peer = connection.suspended_by.as_deref().is_some_and(|by| by.starts_with("peer "));
        let (by, reason) = match (connection.status, by_peer) {
            (ConnectionStatus::Suspended, true) => (" by the other site", connection.suspended_reason.as_deref()),
            (ConnectionStatus::Suspended, false) => (" on this side", connection.suspended_reason.as_deref()),
            _ => ("", None),
        };
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let message = format!("the connection {:?} is {}{by}{reason}", connection.name, connection.status);
        let hint = match connection.status {
            ConnectionStatus::Pending => "Approve it first.",
            ConnectionStatus::Suspended if by_peer => "Ask the other site's people to reactivate it there.",
            ConnectionStatus::Revoked => "It has ended permanently: the two sites must be connected again.",
            _ => "Reactivate it first.",
        };
        return Err(Error::new(ErrorKind::ConnectionNotActive, message).with_hint(hint));
    }
    if connection.is_past(clock.now()) {
        let message = format!("the date of the connection {:?} has passed", connection.name);
        return Err(Error::new(ErrorKind::ConnectionExpired, message).with_hint("Set a later one first."));
    }
    Ok(())
}
