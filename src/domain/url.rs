//! The address of a site, as a person types it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;

use crate::domain::address;
use crate::domain::text::has_hidden;
use crate::error::{Error, ErrorKind, Result};

/// Longest URL of a site, in bytes.
const LONGEST: usize = 2_000;

/// Where a site is: `http`, `https`, `ws` or `wss`, a host, a port, and a path that its own paths begin with.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteUrl {
    tls: bool,
    /// In lower case, without a dot at its end; an address in its usual spelling, IPv6 without brackets.
    host: String,
    port: u16,
    /// Without a slash at its end; empty for the root.
    path: String,
}

impl SiteUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`]. The message never repeats the address, because it may hold a password or a code.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str, hint: &str| {
            Err(Error::new(ErrorKind::InvalidInput, format!("the site's URL cannot be used: {why}")).with_hint(hint))
        };
        const FORM: &str = "Write it like https://shop.example or http://127.0.0.1:7171.";
        let text = text.trim();
        if text.len() > LONGEST {
            return bad("it is too long", FORM);
        }
        if text.contains('#') {
            return bad("it has a fragment (#...)", FORM);
        }
        if has_hidden(text) {
            return bad("it has invisible characters in it", "Take them out, or write it by hand.");
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return bad("it has no scheme", "Write http:// or https:// before it.");
        };
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return bad("its scheme is neither http, https, ws nor wss", FORM),
        };
        let Ok(uri) = text.parse::<Uri>() else { return bad("it is malformed", FORM) };
        let Some(authority) = uri.authority() else { return bad("it has no host", FORM) };
        if authority.as_str().contains('@') {
            return bad("it has a user name or password in it", "Leave them out: a site is asked with a code.");
        }
        if uri.query().is_some() {
            return bad("it has a query (?...)", "Leave it out; a code is given apart from the URL.");
        }
        let Some(host) = normal_host(authority.host()) else {
            return bad("its host is neither a name nor an address", FORM);
        };
        // The host's own parser takes any text for a port, and gives none for one that does not fit.
        let written = authority.as_str().rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        let port = match (written, authority.port_u16()) {
            (_, Some(port)) if port > 0 => port,
            (None | Some(""), None) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            _ => return bad("its port is none", FORM),
        };
        let path = uri.path().trim_end_matches('/');
        // Those have other spellings, and a site would be known by several.
        if path.contains('%') || path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
            return bad("its path has %, an empty part, or a part . or .. in it", FORM);
        }
        Ok(SiteUrl { tls, host, port, path: path.to_owned() })
    }

    /// Reads the address that a site is known by: one of `http` or `https`.
    ///
    /// # Errors
    /// Those of [`SiteUrl::parse`]; [`ErrorKind::InvalidInput`] for `ws` and `wss`.
    pub fn of_site(text: &str) -> Result<Self> {
        let url = SiteUrl::parse(text)?;
        match text.trim_start().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("ws")) {
            true => Err(Error::new(ErrorKind::InvalidInput, "the site's URL cannot be used: it is the one of a WebSocket")
                .with_hint("Write http:// or https:// before it.")),
            false => Ok(url),
        }
    }

    /// The address that the host is written as; `None` for a name.
    pub fn literal_address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether the connection is to be encrypted.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host's name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as the header `Host` has them and as messages name the other side: without the scheme's own port.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// A path of the site under this prefix.
    pub fn path(&self, prefix: &str, path: &str) -> String {
        format!("{}{prefix}{path}", self.path)
    }
}

/// A host in the one spelling that is kept: `None` for what is neither a name nor an address.
fn normal_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(|address| address.to_string());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if address::ends_in_number(&host) {
        return address::spelled_v4(&host).map(|address| address.to_string());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (host.len() <= 253 && host.split('.').all(label)).then_some(host)
}

/// The normal form, which two spellings of one address share.
impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

impl fmt::Debug for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A prefix as it stands in paths: empty, or with a slash before it and none behind.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for one that is not a path.
pub fn normal_prefix(prefix: &str) -> Result<String> {
    let inner = prefix.trim().trim_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    match inner {
        "" => Ok(String::new()),
        inner if inner.chars().all(plain) => Ok(format!("/{inner}")),
        _ => Err(Error::new(ErrorKind::InvalidInput, format!("{prefix:?} cannot be a prefix of paths"))
            .with_hint("Use letters, digits and - _ . ~, like /phoenix_kit.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_have_one_form() {
        for (text, normal) in [
            ("http://127.0.0.1:7171", "http://127.0.0.1:7171"),
            ("HTTPS://Shop.Example:443/", "https://shop.example"),
            ("wss://shop.example/app//", "https://shop.example/app"),
            ("ws://[::1]:80", "http://[::1]"),
            (" http://[2001:DB8::1]:8080/x ", "http://[2001:db8::1]:8080/x"),
            ("http://shop.example:", "http://shop.example"),
            ("http://Shop.Example./", "http://shop.example"),
            ("http://shop.example/a.b/..c/", "http://shop.example/a.b/..c"),
            ("http://0x7f.1/", "http://127.0.0.1"),
            ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]"),
        ] {
            assert_eq!(SiteUrl::parse(text).unwrap().to_string(), normal, "{text}");
        }
        let url = SiteUrl::parse("https://[::1]/app").unwrap();
        assert_eq!((url.host(), url.port(), url.tls()), ("::1", 443, true));
        assert_eq!(url.path("/phoenix_kit", "/sync/websocket"), "/app/phoenix_kit/sync/websocket");
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for (text, why) in [
            ("shop.example", "no scheme"),
            ("", "no scheme"),
            ("ftp://shop.example", "scheme is neither"),
            ("http://", "malformed"),
            ("http:///x", "malformed"),
            ("http://user:hunter2@shop.example", "user name"),
            ("http://shop.example/?code=hunter2", "query"),
            ("http://shop.example/#hunter2", "fragment"),
            ("http://shop.example:99999", "port"),
            ("http://shop.example:0", "port"),
            ("http://a b", "malformed"),
            ("http://shop.example//hunter2", "path"),
            ("http://shop.example/a//b", "path"),
            ("http://shop.example/./hunter2", "path"),
            ("http://shop.example/hunter2/..", "path"),
            ("http://shop.example/hunter%32", "path"),
            ("http://256.1.1.1", "host is neither"),
            ("http://1.2.3.4.5", "host is neither"),
            ("http://a..b", "host is neither"),
            ("http://a!hunter2", "host is neither"),
            ("http://[fe80::1%25eth0]", "host is neither"),
            (&format!("http://{}", "x".repeat(64)), "host is neither"),
            (&format!("http://shop.example/{}", "hunter2/".repeat(300)), "too long"),
        ] {
            let error = SiteUrl::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().contains(why), "{text}: {error}");
            assert!(error.hint().is_some() && !error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_site_is_known_by_its_http_address() {
        assert_eq!(SiteUrl::of_site(" HTTPS://shop.example ").unwrap().to_string(), "https://shop.example");
        for text in ["ws://shop.example", " WSS://shop.example", "shop.example"] {
            assert_eq!(SiteUrl::of_site(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
        }
        assert_eq!(SiteUrl::parse("http://0x7f.1").unwrap().literal_address(), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(SiteUrl::parse("http://127.example").unwrap().literal_address(), None);
    }

    #[test]
    fn prefixes() {
        assert_eq!(normal_prefix("phoenix_kit/").unwrap(), "/phoenix_kit");
        assert_eq!(normal_prefix("/").unwrap(), "");
        for bad in ["/a?b", "/a b", "/a\r\nx", "/ř"] {
            assert!(normal_prefix(bad).is_err(), "{bad}");
        }
    }
}
