//! A warning where a secret is about to go to another machine as it is.

use std::net::IpAddr;
use std::sync::Once;

use crate::output::complain;

/// Says once that what goes to this URL can be read on the way. A URL that cannot be used is not for here to say so.
pub fn warn_of_plain_http(url: &str) {
    static ONCE: Once = Once::new();
    if is_readable(url) {
        ONCE.call_once(|| {
            complain(
                "warning: this connection is not encrypted (http): anyone on the network path can read the secret and the rows. \
                 Use https.",
            );
        });
    }
}

/// Whether what goes to a URL is not encrypted and leaves this machine.
fn is_readable(url: &str) -> bool {
    let Ok(url) = url.trim().parse::<http::Uri>() else { return false };
    let is_plain =
        url.scheme_str().is_some_and(|scheme| ["http", "ws"].iter().any(|plain| scheme.eq_ignore_ascii_case(plain)));
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    let is_here = match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    is_plain && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_as_it_is() {
        for url in [
            "http://shop.example",
            "HTTP://192.0.2.1:7171/x",
            "ws://[2001:db8::1]",
            "http://localhost.example",
            "http://0.0.0.0",
        ] {
            assert!(is_readable(url), "{url}");
        }
        for url in [
            "https://shop.example",
            "wss://shop.example",
            "http://127.0.0.1:7171",
            " http://127.9.9.9",
            "http://[::1]:1",
            "http://[::ffff:127.0.0.1]",
            "http://LocalHost",
            "http://a.localhost",
            "shop.example",
            "",
        ] {
            assert!(!is_readable(url), "{url}");
        }
    }
}
