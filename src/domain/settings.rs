//! A site's settings.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// What a site does with another site that asks to be connected for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IncomingMode {
    /// It is connected at once.
    AutoAccept,
    /// It waits for approval.
    #[default]
    RequireApproval,
    /// It must give the incoming password.
    RequirePassword,
    /// It is refused.
    DenyAll,
}

impl IncomingMode {
    /// The name, as the wire and the command line have it.
    pub fn as_str(self) -> &'static str {
        match self {
            IncomingMode::AutoAccept => "auto_accept",
            IncomingMode::RequireApproval => "require_approval",
            IncomingMode::RequirePassword => "require_password",
            IncomingMode::DenyAll => "deny_all",
        }
    }
}

impl fmt::Display for IncomingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for IncomingMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::AutoAccept, Self::RequireApproval, Self::RequirePassword, Self::DenyAll]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, format!("{text:?} is no incoming mode"))
                    .with_hint("Choose one of auto_accept, require_approval, require_password, deny_all.")
            })
    }
}

/// What the status call tells anyone who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteStatus {
    /// Whether the site takes part in sync at all.
    pub enabled: bool,
    /// What becomes of sites that ask to be connected. A peer may have a mode that is not known here: then its name.
    pub incoming_mode: String,
    /// Whether a password is asked for.
    pub password_required: bool,
}
