//! Permanent pairings of two sites by a token.

mod check;
mod filter;
mod judge;
mod policy;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use check::{NAME, check_metadata, check_receiver, normal_name};
pub use filter::ConnectionFilter;
pub use policy::{AddressRange, AllowedHours, ApprovalMode, Policy};

use crate::domain::names::NameRules;
use crate::error::{Error, ErrorKind, Result};

/// Free-form notes about a connection, transfer or event: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

string_enum! {
    /// Which of the two ends of a connection this site is.
    pub enum ConnectionDirection("connection direction") {
        /// This site lets the other one pull from it.
        Sender = "sender",
        /// This site may pull from the other one.
        Receiver = "receiver",
    }
}

string_enum! {
    /// Where a connection stands.
    ///
    /// `pending -> active <-> suspended`, `-> revoked` permanently, `-> expired` when a limit or date has passed; an expired one
    /// can be reactivated once its policy allows it again.
    #[non_exhaustive]
    pub enum ConnectionStatus("connection status") {
        /// It waits for approval.
        Pending = "pending",
        /// It works.
        Active = "active",
        /// It was stopped, and can be reactivated.
        Suspended = "suspended",
        /// It was ended permanently.
        Revoked = "revoked",
        /// A date or limit of its policy has passed.
        Expired = "expired",
    }
}

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionStep {
    /// A pending one begins to work.
    Approve,
    /// One that works is stopped.
    Suspend,
    /// One that was stopped or has expired works again.
    Reactivate,
    /// It ends permanently.
    Revoke,
    /// A date or limit has passed.
    Expire,
}

impl ConnectionStatus {
    /// Where a connection stands after a step.
    ///
    /// # Errors
    /// [`InvalidTransition`](ErrorKind::InvalidTransition) for a step that cannot be made from here.
    pub(crate) fn after(self, step: ConnectionStep) -> Result<Self> {
        use ConnectionStatus::*;
        match (self, step) {
            (Pending, ConnectionStep::Approve) => Ok(Active),
            (Active, ConnectionStep::Suspend) => Ok(Suspended),
            (Suspended | Expired, ConnectionStep::Reactivate) => Ok(Active),
            (Pending | Active | Suspended | Expired, ConnectionStep::Revoke) => Ok(Revoked),
            (Pending | Active | Suspended, ConnectionStep::Expire) => Ok(Expired),
            _ => Err(Error::new(
                ErrorKind::InvalidTransition,
                format!("a connection that is {self} cannot be {}", step.participle()),
            )
            .with_hint(step.hint())),
        }
    }
}

impl ConnectionStep {
    fn participle(self) -> &'static str {
        match self {
            ConnectionStep::Approve => "approved",
            ConnectionStep::Suspend => "suspended",
            ConnectionStep::Reactivate => "reactivated",
            ConnectionStep::Revoke => "revoked",
            ConnectionStep::Expire => "expired",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            ConnectionStep::Approve => "Only a pending one is approved.",
            ConnectionStep::Suspend => "Only an active one is suspended.",
            ConnectionStep::Reactivate => "Only a suspended or expired one is reactivated; make a new one instead.",
            ConnectionStep::Revoke | ConnectionStep::Expire => "It has ended permanently.",
        }
    }
}

/// A permanent pairing with another site, as it is kept. Its token is not in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Connection {
    /// Its id here. The other site's end has another.
    pub uuid: Uuid,
    /// What people call it.
    pub name: String,
    /// Which end this site is.
    pub direction: ConnectionDirection,
    /// The other site's URL, in one spelling.
    pub site_url: String,
    /// Where it stands.
    pub status: ConnectionStatus,
    /// What it allows.
    #[serde(flatten)]
    pub policy: Policy,
    /// Whether pulls must give a password.
    pub has_download_password: bool,
    /// How many pulls of a table there were.
    pub downloads_used: u64,
    /// How many records were pulled or set aside for pulls that are running.
    pub records_downloaded: u64,
    /// When it was approved.
    #[serde(with = "time::serde::rfc3339::option")]
    pub approved_at: Option<OffsetDateTime>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When it was suspended last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub suspended_at: Option<OffsetDateTime>,
    /// Who suspended it.
    pub suspended_by: Option<String>,
    /// Why it was suspended.
    pub suspended_reason: Option<String>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
    /// Why it was revoked.
    pub revoked_reason: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was changed last, its counters left out.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// When the other site used it last (sender), or this one did (receiver).
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_connected_at: Option<OffsetDateTime>,
    /// When a transfer through it ended last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_transfer_at: Option<OffsetDateTime>,
    /// How many transfers went through it.
    pub total_transfers: u64,
    /// How many records went through it.
    pub total_records_transferred: u64,
    /// How many bytes went through it.
    pub total_bytes_transferred: u64,
    /// Notes; what the other site answered to the registration is under `notification`.
    pub metadata: Metadata,
}

impl Connection {
    /// How many pulls of a table are left; `None` for no limit.
    pub fn remaining_downloads(&self) -> Option<u64> {
        self.policy.max_downloads.map(|most| most.saturating_sub(self.downloads_used))
    }

    /// How many records are left; `None` for no limit.
    pub fn remaining_records(&self) -> Option<u64> {
        self.policy.max_records_total.map(|most| most.saturating_sub(self.records_downloaded))
    }

    /// Whether its date has passed at this moment.
    pub fn is_past(&self, now: OffsetDateTime) -> bool {
        self.policy.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether a pull of this table is allowed: see [`Policy::table_allowed`].
    pub fn table_allowed(&self, table: &str, names: NameRules) -> bool {
        self.policy.table_allowed(table, names)
    }

    /// Whether a pull of this table needs approval: see [`Policy::requires_approval`].
    pub fn requires_approval(&self, table: &str, names: NameRules) -> bool {
        self.policy.requires_approval(table, names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_can_be_made() {
        use ConnectionStatus::*;
        use ConnectionStep::*;
        let steps = [Approve, Suspend, Reactivate, Revoke, Expire];
        // For each status the one after each step.
        for (from, after) in [
            (Pending, [Some(Active), None, None, Some(Revoked), Some(Expired)]),
            (Active, [None, Some(Suspended), None, Some(Revoked), Some(Expired)]),
            (Suspended, [None, None, Some(Active), Some(Revoked), Some(Expired)]),
            (Revoked, [None; 5]),
            (Expired, [None, None, Some(Active), Some(Revoked), None]),
        ] {
            for (step, to) in steps.into_iter().zip(after) {
                let made = from.after(step);
                assert_eq!(made.as_ref().ok(), to.as_ref(), "{from} {step:?}");
                if let Err(error) = made {
                    assert_eq!(error.kind(), ErrorKind::InvalidTransition);
                    assert!(error.message().contains(from.as_str()) && error.hint().is_some());
                }
            }
        }
    }
}
