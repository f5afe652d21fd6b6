//! What a peer holds of a state of this site, to ask with whether anything has changed since.

use sha2::{Digest, Sha256};

use super::Grant;
use crate::domain::connection::Policy;
use crate::store::StateToken;

impl Grant {
    /// What this peer is given of a state, as of the last look: equal where the state is, and all that the peer may see and pull. It tells
    /// nothing else, and nobody can make it up, because a [`StateToken`] has a random part that stays here. `None` where someone must
    /// approve pulls: then each of them is asked for.
    pub(crate) fn token_of(&self, state: &StateToken) -> Option<String> {
        let rights = match self.policy_of() {
            Some(connection) if !needs_nobody(self, &connection.policy) => return None,
            Some(connection) => format!("{} {:?}", connection.uuid, connection.policy),
            None => String::new(),
        };
        let digest = Sha256::new()
            .chain_update("rowferry.state\0")
            .chain_update(state.to_bytes())
            .chain_update(format!("{:?}", self.offer()))
            .chain_update([0])
            .chain_update(rights)
            .finalize();
        Some(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Whether no pull of any table that is allowed needs an approval.
fn needs_nobody(grant: &Grant, policy: &Policy) -> bool {
    let names = grant.site().names();
    let asks = |table: &String| policy.requires_approval(table, names);
    match policy.allowed_tables.is_empty() {
        // Of a table that nobody has heard of.
        true => !policy.requires_approval("", names),
        false => !policy.allowed_tables.iter().any(asks),
    }
}
