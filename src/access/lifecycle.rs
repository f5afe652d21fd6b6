//! The calls about a connection itself: to end it, to ask how it stands, to change its status or token.

use super::{Access, Answer, Caller, Refused};
use crate::domain::access::Denial;
use crate::domain::connection::Connection;
use crate::error::{ErrorKind, Result};
use crate::site::Connections;
use crate::state::connections;

impl Access {
    /// Lets a peer that names a connection ask about it or change it: `find` finds it by what the peer gives. Whatever its status and
    /// date are, because it is these that the calls are about; its addresses hold, and the call counts for its rate.
    pub(crate) fn lifecycle(
        &self,
        caller: &Caller,
        find: impl FnOnce(Connections<'_>) -> Result<Option<Connection>>,
    ) -> Answer<Connection> {
        self.enabled()?;
        let unknown = || Denial::new(ErrorKind::InvalidToken);
        let Some(connection) = find(self.site().connections())? else {
            self.note(&unknown(), None, caller);
            return Err(unknown().into());
        };
        let counted = match connection.policy.address_allowed(caller.address) {
            false => Err(Denial::new(ErrorKind::AddressNotAllowed)),
            true => {
                let (uuid, now) = (connection.uuid, self.site().now());
                self.site().change(|sql| match connections::by_uuid(sql, uuid)? {
                    // It went between two looks at it.
                    None => Ok(Err(unknown())),
                    Some(_) => {
                        let taken = connections::take_call(sql, uuid, now)?;
                        Ok(taken.map_err(|wait| Denial::wait(ErrorKind::RateLimited, wait)))
                    }
                })?
            }
        };
        counted.map_err(|denial| {
            self.note(&denial, Some(&connection), caller);
            Refused::Denied(denial)
        })?;
        Ok(connection)
    }
}
