//! A site's settings.

string_enum! {
    /// What a site does with another site that asks to be connected permanently.
    #[non_exhaustive]
    #[derive(Default)]
    pub enum IncomingMode("incoming mode") {
        /// It is connected at once.
        AutoAccept = "auto_accept",
        /// It waits for approval.
        #[default]
        RequireApproval = "require_approval",
        /// It must give the incoming password.
        RequirePassword = "require_password",
        /// It is refused.
        DenyAll = "deny_all",
    }
}

/// What the status call tells anyone who asks.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteStatus {
    /// Whether the site takes part in sync at all.
    pub enabled: bool,
    /// What becomes of sites that ask to be connected. A peer may have a mode that is not known here: then its name.
    pub incoming_mode: String,
    /// Whether a password is asked for.
    pub password_required: bool,
}
