//! What a rowferry peer is told of the state of this site: a token with the tables, and whether all is still as it was then. A peer that
//! has all rows of that state need not ask for tables, structures and rows again.

use serde_json::value::RawValue;

use super::channel::ChannelSession;
use super::refusals::{failed, told};
use crate::error::Result;
use crate::wire::message::{self, StateSaid};

impl ChannelSession {
    /// The state that the next answer comes from; `None` if it cannot be told from others, or the peer pulls nothing.
    pub(super) fn state_said(&mut self) -> Result<Option<StateSaid>> {
        if !self.is_with_rowferry() || self.only_looks() {
            return Ok(None);
        }
        let (number, token) =
            self.source.exporter.state_and_token().map_err(|error| failed("Failed to list tables", &error))?;
        let token = token.and_then(|token| self.source.grant.token_of(&token));
        Ok(token.map(|token| StateSaid { number, token }))
    }

    /// Whether all is as it was when the peer got this token. It may be here, as was just looked at, and is told no more than one that
    /// may begin a pull.
    pub(super) fn same(&mut self, token: &str, topic: &str, reference: Option<&RawValue>) -> Result<String> {
        const FAILED: &str = "Failed to look for changes";
        self.source.grant.new_use().map_err(|refused| told(FAILED, refused))?;
        let now = self.site.store_ref().state_token().map_err(|error| failed(FAILED, &error))?;
        let same = now.and_then(|now| self.source.grant.token_of(&now)).is_some_and(|now| now == token);
        Ok(message::answer_same(topic, reference, same))
    }
}
