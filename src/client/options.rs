//! With what another site is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::cancel::CancelToken;
use crate::domain::url::normal_prefix;
use crate::error::Result;
use crate::limits::Limits;
use crate::net::AddressPolicy;
use crate::net::stream::TlsOptions;
use crate::wire::api::Secret;

/// How another site is asked.
///
/// ```
/// use std::time::Duration;
/// let options = rowferry::ConnectOptions::default()
///     .connect_timeout(Duration::from_secs(5))
///     .receiver_info("project", "nightly backup");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    pub(super) connect_timeout: Duration,
    pub(super) join_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) receiver_info: BTreeMap<String, String>,
    pub(super) prefix: Option<String>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) limits: Limits,
    pub(super) cancel: CancelToken,
    pub(super) tls: TlsOptions,
    pub(super) policy: AddressPolicy,
    pub(super) download_password: Option<Secret>,
    pub(super) receiver: Option<Uuid>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            connect_timeout: Duration::from_secs(30),
            join_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            receiver_info: BTreeMap::new(),
            prefix: None,
            heartbeat: Some(Duration::from_secs(30)),
            limits: Limits::default(),
            cancel: CancelToken::new(),
            tls: TlsOptions::default(),
            policy: AddressPolicy::CallersChoice,
            download_password: None,
            receiver: None,
        }
    }
}

impl ConnectOptions {
    /// How long connecting may take: the name, TCP, TLS and the upgrade, all prefixes that are tried together. Defaults to
    /// 30 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the other site may take to answer the join. Defaults to 10 s.
    #[must_use]
    pub fn join_timeout(mut self, timeout: Duration) -> Self {
        self.join_timeout = timeout;
        self
    }

    /// How long the other site may take to answer one request, to the last byte. Defaults to 60 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Tells the other site something about the caller; it may show it to its users. Defaults to nothing. The name `rowferry`
    /// is taken: with it the client says what it is.
    #[must_use]
    pub fn receiver_info(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.receiver_info.insert(name.into(), value.into());
        self
    }

    /// What stands before `/sync` in the other site's paths. It is tried first; after it, as long as the other site answers
    /// 404, nothing and `/phoenix_kit`. Defaults to these two.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// How long the connection may be idle before a heartbeat is sent; a sender closes one that is idle for 60 s. For the time
    /// between calls a small thread does this, which ends with the client. `None` sends none and starts no thread. Defaults
    /// to 30 s.
    #[must_use]
    pub fn heartbeat(mut self, interval: Option<Duration>) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Bounds on what the other site may send. Defaults to [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// A token that ends whatever the client is waiting for. Connecting to one address is not interrupted in the middle.
    /// Defaults to one that nobody cancels.
    #[must_use]
    pub fn cancel_token(mut self, token: CancelToken) -> Self {
        self.cancel = token;
        self
    }

    /// The password that the other site asks for beside the token of a stored connection:
    /// [`Site::pull`](crate::Site::pull) sends it. Where the token is given by the caller, [`Auth`](crate::Auth) has the
    /// password too, and this is not looked at. Defaults to none.
    #[must_use]
    pub fn download_password(mut self, password: impl AsRef<str>) -> Self {
        self.download_password = Some(Secret::new(password.as_ref()));
        self
    }

    /// Trusts a certificate authority besides the usual ones, those of browsers (`webpki-roots`): its certificate, PEM (one or several)
    /// or DER. A server's self-signed certificate is one, too. It is read when connecting; may be called again. Defaults to none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificate(mut self, certificate: impl Into<Vec<u8>>) -> Self {
        self.tls.roots.push(certificate.into());
        self
    }

    /// Trusts the certificate authorities that the operating system trusts, too, besides the usual ones. They are read when connecting,
    /// on Linux and the like from the file or folder that the environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name, if they
    /// are set: the one case in which this library reads any. Defaults to not.
    #[cfg(feature = "native-certs")]
    #[must_use]
    pub fn system_certificates(mut self) -> Self {
        self.tls.system = true;
        self
    }

    /// Which addresses may be connected to. A URL that the caller types is the caller's own choice; one that came from a peer
    /// or sits in a stored connection is not.
    pub(crate) fn policy(mut self, policy: AddressPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The id of the site that asks. What comes of a code is then for it alone. Defaults to an id of each client.
    pub(crate) fn receiver(mut self, site: Uuid) -> Self {
        self.receiver = Some(site);
        self
    }

    /// For a URL that sits in a stored connection, by the site's setting `allow_internal_urls`.
    pub(crate) fn for_stored_url(self, allow_internal_urls: bool) -> Self {
        self.policy(AddressPolicy::of_stored(allow_internal_urls))
    }

    /// The password for pulls through a stored connection.
    pub(crate) fn password_for_downloads(&self) -> Option<&str> {
        self.download_password.as_ref().map(Secret::as_str)
    }

    /// What says whether the caller wants no more of it. The kind [`Cancelled`](crate::ErrorKind::Cancelled) of an error does
    /// not say who cancelled what.
    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// The prefixes to try, in order.
    pub(super) fn prefixes(&self) -> Result<Vec<String>> {
        let mut prefixes = Vec::new();
        let configured = self.prefix.as_deref().map(normal_prefix).transpose()?;
        for prefix in configured.into_iter().chain([String::new(), "/phoenix_kit".to_owned()]) {
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        Ok(prefixes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_prefix_comes_first_and_none_twice() {
        let prefixes = |options: ConnectOptions| options.prefixes().unwrap();
        assert_eq!(prefixes(ConnectOptions::default()), ["", "/phoenix_kit"]);
        assert_eq!(prefixes(ConnectOptions::default().prefix("phoenix_kit/")), ["/phoenix_kit", ""]);
        assert_eq!(prefixes(ConnectOptions::default().prefix("/app")), ["/app", "", "/phoenix_kit"]);
        assert!(ConnectOptions::default().prefix("/a?b").prefixes().is_err());
    }
}
