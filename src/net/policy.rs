//! Which addresses may be connected to.

use std::net::SocketAddr;

use crate::domain::address::public_address;
use crate::error::{Error, ErrorKind, Result};

/// Which addresses may be connected to. Addresses are looked at after the name was resolved, at each connection, and exactly
/// those that pass are connected to: a name that leads elsewhere a moment later gains nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AddressPolicy {
    /// All: the caller typed the URL.
    #[default]
    CallersChoice,
    /// Public ones: the URL came from a peer, or sits in a stored connection.
    PublicOnly,
    /// All: the URL came from a peer, and the site's setting `allow_internal_urls` is on.
    AllowInternal,
}

impl AddressPolicy {
    /// The policy for URLs that a peer may have chosen, by the site's setting `allow_internal_urls`.
    pub(crate) fn of_stored(allow_internal_urls: bool) -> Self {
        if allow_internal_urls { AddressPolicy::AllowInternal } else { AddressPolicy::PublicOnly }
    }

    /// Those of a host's addresses that may be connected to. `authority` names the host in the message.
    ///
    /// # Errors
    /// [`ErrorKind::ForbiddenAddress`] if it has addresses and none is allowed.
    pub(super) fn allowed(self, authority: &str, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>> {
        let had_some = !addresses.is_empty();
        if self == AddressPolicy::PublicOnly {
            addresses.retain(|address| public_address(address.ip()));
        }
        match had_some && addresses.is_empty() {
            true => Err(Error::new(ErrorKind::ForbiddenAddress, format!("{authority} is at no public address"))
                .with_hint("If it is a site of your own network, turn the setting allow_internal_urls on.")),
            false => Ok(addresses),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(policy: AddressPolicy, addresses: &[&str]) -> Result<Vec<String>> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        policy.allowed("x.example", addresses).map(|passed| passed.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn of_mixed_addresses_the_public_ones_are_left() {
        let mixed = ["10.0.0.1:80", "8.8.8.8:80", "[::1]:80", "[2606:4700::1]:80", "[::ffff:127.0.0.1]:80"];
        assert_eq!(allowed(AddressPolicy::PublicOnly, &mixed).unwrap(), ["8.8.8.8:80", "[2606:4700::1]:80"]);
        for all in [AddressPolicy::CallersChoice, AddressPolicy::AllowInternal] {
            assert_eq!(allowed(all, &mixed).unwrap().len(), 5);
        }
    }

    #[test]
    fn inner_addresses_in_any_form_are_refused() {
        for inner in [
            "127.0.0.1:80",
            "0.0.0.0:80",
            "169.254.169.254:80",
            "192.168.1.1:80",
            "[::ffff:10.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[fe80::1]:80",
            "[fd00::1]:80",
        ] {
            let error = allowed(AddressPolicy::PublicOnly, &[inner]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ForbiddenAddress, "{inner}");
            assert!(error.hint().unwrap().contains("allow_internal_urls"));
        }
        assert!(allowed(AddressPolicy::PublicOnly, &[]).unwrap().is_empty());
        assert_eq!(AddressPolicy::of_stored(false), AddressPolicy::PublicOnly);
        assert_eq!(AddressPolicy::of_stored(true), AddressPolicy::AllowInternal);
    }
}
