//! Sites that ask to be connected permanently.

use super::attempts::origin;
use super::{Access, Caller, Denial, Refused};
use crate::domain::connection::{Connection, Metadata};
use crate::domain::event::EventKind;
use crate::domain::settings::IncomingMode;
use crate::domain::url::SiteUrl;
use crate::error::{self, Error, ErrorKind};
use crate::secret::Token;
use crate::site::Registration;
use crate::wire::api::Register;

/// Why a site was not connected.
#[derive(Debug)]
pub(crate) enum NotRegistered {
    /// The site takes part in no sync.
    Disabled,
    /// No site is connected.
    DenyAll,
    /// There is one already.
    Exists,
    /// What it says of itself cannot be used.
    Unusable(Error),
    /// The password is missing or wrong, or too much was tried.
    Denied(Denial),
    /// Something failed here.
    Failed(Error),
}

impl From<Error> for NotRegistered {
    fn from(error: Error) -> Self {
        NotRegistered::Failed(error)
    }
}

impl From<Refused> for NotRegistered {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied(denial) => NotRegistered::Denied(denial),
            Refused::Failed(error) => NotRegistered::Failed(error),
        }
    }
}

impl NotRegistered {
    fn code(&self) -> &'static str {
        match self {
            NotRegistered::Disabled => ErrorKind::Disabled.code(),
            NotRegistered::DenyAll => ErrorKind::Refused.code(),
            NotRegistered::Exists => ErrorKind::AlreadyExists.code(),
            NotRegistered::Denied(denial) => denial.kind.code(),
            NotRegistered::Unusable(error) | NotRegistered::Failed(error) => error.code(),
        }
    }
}

impl Access {
    /// Whether sites may ask at all: checked before anything is read of what one says.
    pub(crate) fn may_register(&self, caller: &Caller) -> Result<IncomingMode, NotRegistered> {
        let settings = self.site().settings();
        if !settings.enabled()? {
            return Err(NotRegistered::Disabled);
        }
        match settings.incoming_mode()? {
            IncomingMode::DenyAll => Err(self.not_registered(NotRegistered::DenyAll, None, caller)),
            mode => Ok(mode),
        }
    }

    /// Connects a site that asks for it, as the incoming mode says.
    pub(crate) fn register(
        &self,
        mode: IncomingMode,
        asked: &Register,
        caller: &Caller,
    ) -> Result<Connection, NotRegistered> {
        let url = SiteUrl::of_site(&asked.sender_url);
        let told = url.as_ref().ok().map(ToString::to_string);
        self.try_register(mode, asked, url, caller).map_err(|why| match why {
            NotRegistered::Failed(error) => NotRegistered::Failed(error),
            why => self.not_registered(why, told.as_deref(), caller),
        })
    }

    fn try_register(
        &self,
        mode: IncomingMode,
        asked: &Register,
        url: error::Result<SiteUrl>,
        caller: &Caller,
    ) -> Result<Connection, NotRegistered> {
        let wait = |time| NotRegistered::Denied(Denial::wait(ErrorKind::TooManyAttempts, time));
        self.0.registrations.take(origin(caller.address)).map_err(wait)?;
        if mode == IncomingMode::RequirePassword {
            // With none set, none is right.
            let Some(stored) = self.site().settings().incoming_password_hash()? else {
                return Err(NotRegistered::Denied(Denial::new(ErrorKind::PasswordRequired)));
            };
            let password = asked.password.as_ref().map(|password| password.as_str());
            self.0.passwords.check(self.site(), None, caller.address, password, &stored)?;
        }
        let site_url = url.map_err(NotRegistered::Unusable)?;
        let token = Token::parse(asked.auth_token.as_str()).map_err(NotRegistered::Unusable)?;
        let actor = format!("peer {site_url}");
        let active = mode != IncomingMode::RequireApproval;
        let (name, strategy) = (asked.connection_name.clone(), asked.default_conflict_strategy);
        let from = origin(caller.address);
        let registration = Registration { site_url, name, token, active, from, strategy };
        self.site().connections().by_peer(&actor).register(registration).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => NotRegistered::Exists,
            ErrorKind::TooManyAttempts => wait(error.retry_after().unwrap_or_default()),
            ErrorKind::InvalidInput | ErrorKind::ForbiddenAddress | ErrorKind::SelfConnection | ErrorKind::Refused => {
                NotRegistered::Unusable(error)
            }
            _ => NotRegistered::Failed(error),
        })
    }

    fn not_registered(&self, why: NotRegistered, url: Option<&str>, caller: &Caller) -> NotRegistered {
        let mut details = Metadata::new();
        details.insert("reason".to_owned(), why.code().into());
        if let Some(url) = url {
            details.insert("site_url".to_owned(), url.into());
        }
        self.tell(EventKind::RegistrationRefused, details, None, None, caller);
        why
    }
}
