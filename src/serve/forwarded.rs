//! Whose request it is, when it comes through proxies.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::domain::address::public_address;
use crate::domain::connection::AddressRange;

/// The header that proxies write. Anyone else can write it, too.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that a request comes from. What is forwarded counts only if the peer itself is a trusted proxy; then it is read
/// from the right, past further trusted ones, up to the first address that is none. Where a trusted proxy wrote something
/// that is no address, the request is that proxy's.
pub(super) fn origin(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[AddressRange]) -> Option<IpAddr> {
    let mut origin = peer?.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let entries = values.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for entry in entries {
        if !is_trusted(origin, trusted) {
            break;
        }
        match address(entry.trim()) {
            Some(address) => origin = address.to_canonical(),
            None => break,
        }
    }
    Some(origin)
}

/// Whether an address is that of a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[AddressRange]) -> bool {
    trusted.iter().any(|range| range.contains(address.to_canonical()))
}

/// Whether a request seems to come through a proxy that is not trusted: its peer is no address of the public Internet, and forwards for
/// another.
pub(super) fn is_unbelieved(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressRange]) -> bool {
    headers.contains_key(FORWARDED_FOR) && !public_address(peer) && !is_trusted(peer, trusted)
}

/// An address as proxies write it, some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|range| range.parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        origin(Some(peer.parse().unwrap()), &headers, &trusted).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_read_from_the_right() {
        for (peer, forwarded, origin) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["203.0.113.9, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("2001:db8::1", &["[2001:4860::1]:443"], "2001:4860::1"),
            ("2001:db8::1", &["[2001:4860::1]"], "2001:4860::1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(from(peer, forwarded), origin, "{peer} {forwarded:?}");
        }
        assert_eq!(super::origin(None, &HeaderMap::new(), &[]), None);
    }
}
