//! The site's settings, kept in its store.

use super::Site;
use crate::domain::settings::{IncomingMode, SiteStatus};
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::secret;
use crate::state::{self, settings};
use crate::store::Sql;

const ENABLED: &str = "enabled";
const INCOMING_MODE: &str = "incoming_mode";
const INCOMING_PASSWORD: &str = "incoming_password";
const SITE_URL: &str = "site_url";
const ALLOW_INTERNAL_URLS: &str = "allow_internal_urls";

impl Site {
    /// The settings that are kept in the store.
    pub fn settings(&self) -> Settings<'_> {
        Settings::new(self)
    }
}

/// The settings of a [`Site`]: kept in its store, read again each time, so that a change holds at once in every process.
///
/// Every method fails with what the store says.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'s> {
    site: &'s Site,
}

/// Every call fails with what the database says; beyond that see each one's errors.
impl<'s> Settings<'s> {
    /// The names of all settings, for [`Settings::get`] and [`Settings::set`].
    pub const KEYS: [&'static str; 5] = [ENABLED, INCOMING_MODE, INCOMING_PASSWORD, SITE_URL, ALLOW_INTERNAL_URLS];

    pub(super) fn new(site: &'s Site) -> Self {
        Settings { site }
    }

    /// Whether the site takes part in sync. Defaults to true.
    pub fn enabled(&self) -> Result<bool> {
        state::read(self.site.store_ref(), |sql| Self::enabled_in(sql))
    }

    /// The same, as part of a transaction.
    pub(crate) fn enabled_in(sql: &mut dyn Sql) -> Result<bool> {
        let text = settings::get(sql, ENABLED)?;
        text.map_or(Ok(true), |text| parse_flag(&text).map_err(|error| unreadable(ENABLED, error)))
    }

    /// Switches sync on or off. While it is off, peers get the status only; open connections are refused at their next request.
    pub fn set_enabled(&self, enabled: bool) -> Result<()> {
        self.write(ENABLED, flag_text(enabled))
    }

    /// What to do with sites that ask to be connected permanently. Defaults to [`IncomingMode::RequireApproval`].
    pub fn incoming_mode(&self) -> Result<IncomingMode> {
        self.read(INCOMING_MODE)?
            .map_or(Ok(IncomingMode::default()), |text| text.parse().map_err(|error| unreadable(INCOMING_MODE, error)))
    }

    /// Sets what becomes of sites that ask to be connected permanently.
    pub fn set_incoming_mode(&self, mode: IncomingMode) -> Result<()> {
        self.write(INCOMING_MODE, mode.as_str())
    }

    /// Sets the password that [`IncomingMode::RequirePassword`] asks for. Only its argon2 hash is kept.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for an empty one.
    pub fn set_incoming_password(&self, password: &str) -> Result<()> {
        if password.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "an empty password protects nothing")
                .with_hint("Give a password, or clear it."));
        }
        self.write(INCOMING_PASSWORD, &secret::hash_password(password)?)
    }

    /// Removes the password: under [`IncomingMode::RequirePassword`] everything is then refused.
    pub fn clear_incoming_password(&self) -> Result<()> {
        self.remove(INCOMING_PASSWORD)
    }

    /// Whether there is a password.
    pub fn incoming_password_is_set(&self) -> Result<bool> {
        Ok(self.read(INCOMING_PASSWORD)?.is_some())
    }

    /// The password's hash, for a caller that bounds how often it is verified.
    #[cfg(feature = "server")]
    pub(crate) fn incoming_password_hash(&self) -> Result<Option<String>> {
        self.read(INCOMING_PASSWORD)
    }

    /// Whether this is the password. Nothing is where none is set.
    pub fn verify_incoming_password(&self, password: &str) -> Result<bool> {
        self.read(INCOMING_PASSWORD)?.map_or(Ok(false), |stored| secret::verify_password(password, &stored))
    }

    /// The URL that other sites reach this one by, if it was set.
    pub fn site_url(&self) -> Result<Option<String>> {
        self.read(SITE_URL)
    }

    /// Sets the URL that other sites reach this one by. It is kept in one spelling: scheme and host in lower case, without the
    /// scheme's own port and without a slash at the end.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for anything but an http or https URL without user, query and fragment.
    pub fn set_site_url(&self, url: &str) -> Result<()> {
        self.write(SITE_URL, &SiteUrl::of_site(url)?.to_string())
    }

    /// Forgets the site's URL.
    pub fn clear_site_url(&self) -> Result<()> {
        self.remove(SITE_URL)
    }

    /// Whether URLs that came from peers may lead to addresses that are not public. Defaults to false.
    pub fn allow_internal_urls(&self) -> Result<bool> {
        self.flag(ALLOW_INTERNAL_URLS, false)
    }

    /// Sets whether URLs that came from peers may lead to addresses that are not public.
    pub fn set_allow_internal_urls(&self, allow: bool) -> Result<()> {
        self.write(ALLOW_INTERNAL_URLS, flag_text(allow))
    }

    /// What the status call tells anyone who asks.
    pub fn status(&self) -> Result<SiteStatus> {
        let mode = self.incoming_mode()?;
        Ok(SiteStatus {
            enabled: self.enabled()?,
            incoming_mode: mode.as_str().to_owned(),
            password_required: mode == IncomingMode::RequirePassword,
        })
    }

    /// A setting by name, as text; `None` if it has no value. `incoming_password` reads as `set` or not at all.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for another name than those in [`Settings::KEYS`].
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        match key {
            ENABLED => Ok(Some(flag_text(self.enabled()?).to_owned())),
            INCOMING_MODE => Ok(Some(self.incoming_mode()?.to_string())),
            INCOMING_PASSWORD => Ok(self.incoming_password_is_set()?.then(|| "set".to_owned())),
            SITE_URL => self.site_url(),
            ALLOW_INTERNAL_URLS => Ok(Some(flag_text(self.allow_internal_urls()?).to_owned())),
            _ => Err(unknown(key)),
        }
    }

    /// Sets a setting by name. An empty text takes the value away from `incoming_password` and `site_url`.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for another name than those in [`Settings::KEYS`];
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a value that the setting cannot have.
    pub fn set(&self, key: &str, value: &str) -> Result<()> {
        match key {
            ENABLED => self.set_enabled(parse_flag(value)?),
            INCOMING_MODE => self.set_incoming_mode(value.parse()?),
            INCOMING_PASSWORD if value.is_empty() => self.clear_incoming_password(),
            INCOMING_PASSWORD => self.set_incoming_password(value),
            SITE_URL if value.is_empty() => self.clear_site_url(),
            SITE_URL => self.set_site_url(value),
            ALLOW_INTERNAL_URLS => self.set_allow_internal_urls(parse_flag(value)?),
            _ => Err(unknown(key)),
        }
    }

    fn read(&self, key: &str) -> Result<Option<String>> {
        state::read(self.site.store_ref(), |sql| settings::get(sql, key))
    }

    fn write(&self, key: &str, value: &str) -> Result<()> {
        state::write(self.site.store_ref(), |sql| settings::set(sql, key, value))
    }

    fn remove(&self, key: &str) -> Result<()> {
        state::write(self.site.store_ref(), |sql| settings::remove(sql, key))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        self.read(key)?.map_or(Ok(default), |text| parse_flag(&text).map_err(|error| unreadable(key, error)))
    }
}

/// The site's own URL, within a transaction.
pub(super) fn site_url(sql: &mut dyn Sql) -> Result<Option<String>> {
    settings::get(sql, SITE_URL)
}

fn flag_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn parse_flag(text: &str) -> Result<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::new(ErrorKind::InvalidInput, format!("{text:?} is neither true nor false"))
            .with_hint("Write true or false.")),
    }
}

/// A stored value that no setter writes.
fn unreadable(key: &str, error: Error) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the stored setting {key} cannot be read: {}", error.message()))
        .with_hint("Set it again.")
}

fn unknown(key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no setting {key:?}"))
        .with_hint(format!("The settings are {}.", Settings::KEYS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "sqlite")]
    #[test]
    fn settings_have_defaults_and_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let site = Site::open(&path).unwrap();
        let settings = site.settings();
        let all = |site: &Site| Settings::KEYS.map(|key| site.settings().get(key).unwrap());
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(all(&site), [text("true"), text("require_approval"), None, None, text("false")]);
        assert_eq!(
            settings.status().unwrap(),
            SiteStatus { enabled: true, incoming_mode: "require_approval".into(), password_required: false }
        );

        settings.set("enabled", "false").unwrap();
        settings.set("incoming_mode", "require_password").unwrap();
        settings.set("incoming_password", "hunter2").unwrap();
        settings.set("site_url", "https://Shop.example/").unwrap();
        settings.set("allow_internal_urls", "true").unwrap();
        let again = Site::open(&path).unwrap();
        let kept = [text("false"), text("require_password"), text("set"), text("https://shop.example"), text("true")];
        assert_eq!(all(&again), kept);
        let status = SiteStatus { enabled: false, incoming_mode: "require_password".into(), password_required: true };
        assert_eq!(again.settings().status().unwrap(), status);
        assert!(settings.verify_incoming_password("hunter2").unwrap());
        assert!(!settings.verify_incoming_password("hunter3").unwrap());

        settings.set("incoming_password", "").unwrap();
        settings.set("site_url", "").unwrap();
        assert_eq!(all(&site)[2..4], [None, None]);
        assert!(!settings.verify_incoming_password("").unwrap());
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn wrong_names_and_values_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let site = Site::open(folder.path().join("a.db")).unwrap();
        let error = site.settings().set("colour", "red").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.hint().unwrap().contains("allow_internal_urls"));
        assert_eq!(site.settings().get("site_uuid").unwrap_err().kind(), ErrorKind::NotFound);
        for (key, value) in [("enabled", "yes"), ("incoming_mode", "open"), ("site_url", "nonsense"), ("enabled", "")] {
            assert_eq!(site.settings().set(key, value).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(site.settings().enabled().unwrap());
        assert_eq!(site.settings().set_incoming_password("").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
