//! Whether somebody is known at all.

use super::{Access, Answer, Caller};
use crate::domain::access::Denial;
use crate::domain::connection::ConnectionDirection;
use crate::error::ErrorKind;
use crate::secret::Credential;
use crate::state::{self, connections};

impl Access {
    /// Whether a hash is that of a connection whose site pulls from here: asked before much is read of what comes with it. What the
    /// connection allows is another question.
    pub(crate) fn is_known(&self, hash: &str, caller: &Caller) -> Answer<()> {
        self.enabled()?;
        let found = match Credential::parse(hash) {
            None => None,
            Some(credential) => state::read(self.site().store_ref(), |sql| {
                connections::by_lookup(sql, &credential.lookup(), ConnectionDirection::Sender)
            })?,
        };
        match found {
            Some(_) => Ok(()),
            None => {
                let denial = Denial::new(ErrorKind::InvalidToken);
                self.note(&denial, None, caller);
                Err(denial.into())
            }
        }
    }
}
