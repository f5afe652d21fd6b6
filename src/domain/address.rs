//! Which addresses are public: those that a URL from elsewhere may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};

/// Whether an address is one of the public Internet: none of the ranges that IANA sets aside for private networks, the own
/// machine, links, groups, examples, tests and the like (RFC 6890 and its successors). An address that carries an IPv4 address
/// in it (IPv4-mapped, NAT64, 6to4) is what that one is; Teredo and IPv4-compatible ones are never public.
pub fn public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => public_v4(v4),
        IpAddr::V6(v6) => public_v6(v6),
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _) // this network, private, loopback
            | (100, 64..=127, _) // shared by providers
            | (169, 254, _) // link-local
            | (172, 16..=31, _) // private
            | (192, 0, 0 | 2) // protocol assignments, examples
            | (192, 88, 99) // relays that are no more
            | (192, 168, _) // private
            | (198, 18..=19, _) // benchmarks
            | (198, 51, 100) // examples
            | (203, 0, 113) // examples
            | (224..=255, _, _) // multicast, reserved, broadcast
    )
}

fn public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // IPv4-mapped.
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => v4(g, h),
        // NAT64 with the well-known prefix. The prefix for local use, 64:ff9b:1::/48, leads to a network's inside.
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
        // 6to4.
        (0x2002, _) => v4(b, c),
        // Protocol assignments: Teredo, benchmarks, ORCHID and others.
        (0x2001, 0..=0x1ff) => false,
        // Examples.
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => false,
        // ISATAP: an IPv4 address behind 0000:5efe or 0200:5efe.
        (0x2000..=0x3fff, _) if matches!(e, 0 | 0x200) && f == 0x5efe => v4(g, h),
        // Only 2000::/3 is global unicast. All else is the own machine, links, sites, groups, or not given out.
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

/// The IPv4 address that a host's name is to a resolver, which takes more spellings than the usual one: `127.1`,
/// `2130706433`, `0x7f.1`, `0177.0.0.1`. `None` for a name.
pub(crate) fn spelled_v4(host: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let bits = 8 * (4usize.checked_sub(first.len())?) as u32;
    if bits == 0 || first.iter().any(|part| *part > 255) || *last >> bits != 0 {
        return None;
    }
    let high = first.iter().fold(0, |address, part| (address << 8) | part);
    u32::try_from((high << bits) | last).ok().map(Ipv4Addr::from)
}

/// Whether a host's last label is a number: then it can only be an IPv4 address.
pub(crate) fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    !last.is_empty() && (last.bytes().all(|byte| byte.is_ascii_digit()) || number(last).is_some())
}

/// A number in decimal, octal (`0` before it) or hexadecimal (`0x` before it).
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some("") => return Some(0),
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let right = digits.bytes().all(|byte| char::from(byte).is_digit(radix));
    right.then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// Whether a host's name means the own machine wherever it is looked up.
fn local_name(host: &str) -> bool {
    const NAMES: [&str; 4] = ["localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"];
    NAMES.contains(&host) || host.ends_with(".localhost")
}

/// Refuses a URL whose host is written as an address that is not public, or is a name of the own machine. Other names are
/// looked at when they are resolved.
///
/// # Errors
/// [`ForbiddenAddress`](ErrorKind::ForbiddenAddress).
pub fn require_public(url: &SiteUrl) -> Result<()> {
    let forbidden = match url.literal_address() {
        Some(address) => !public_address(address),
        None => local_name(url.host()),
    };
    match forbidden {
        false => Ok(()),
        true => Err(Error::new(ErrorKind::ForbiddenAddress, format!("{} is at no public address", url.authority()))
            .with_hint("If it is a site of your own network, turn the setting allow_internal_urls on.")),
    }
}
