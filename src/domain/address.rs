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
        (0x64, 0xff9b) => carried_v4(address).is_some_and(public_v4),
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

/// What stands for an address where peers are counted: who has one of an IPv6 network of 64 bits has them all. One that carries an IPv4
/// address in it (IPv4-mapped, NAT64) is that one.
#[cfg(feature = "server")]
pub(crate) fn host_network(address: IpAddr) -> IpAddr {
    network(address, 64)
}

/// What stands for an address where guesses are counted: who has one of an IPv6 network of 48 bits may have them all.
pub(crate) fn wide_network(address: IpAddr) -> IpAddr {
    network(address, 48)
}

fn network(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match carried_v4(v6) {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - bits)))),
        },
        v4 => v4,
    }
}

/// The IPv4 address that NAT64 puts behind its well-known prefix.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    const PREFIX: u128 = 0x0064_ff9b << 96;
    u32::try_from(address.to_bits() ^ PREFIX).ok().map(Ipv4Addr::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "server")]
    fn an_address_is_counted_as_its_network() {
        for (address, host, wide) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1"),
            // All of IPv4 behind NAT64 is one network of IPv6.
            ("64:ff9b::192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("64:ff9b::192.0.2.2", "192.0.2.2", "192.0.2.2"),
            ("64:ff9b:0:0:0:1::1", "64:ff9b::", "64:ff9b::"),
            ("64:ff9b:1::1", "64:ff9b:1::", "64:ff9b:1::"),
            ("2001:db8:0:ffff:1::1", "2001:db8:0:ffff::", "2001:db8::"),
            ("2001:db8:1:2:3::1", "2001:db8:1:2::", "2001:db8:1::"),
            ("::1", "::", "::"),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!((host_network(ip(address)), wide_network(ip(address))), (ip(host), ip(wide)), "{address}");
        }
    }

    fn refused(url: &str) -> bool {
        require_public(&SiteUrl::parse(url).unwrap()).is_err()
    }

    #[test]
    fn ranges_that_are_not_public() {
        // The first and last address of each range, and public neighbours where there are any.
        for address in "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 \
                      127.255.255.255 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 \
                      192.0.0.255 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 \
                      198.51.100.1 203.0.113.1 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255 :: ::1 ::8.8.8.8 \
                      ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b:1::8.8.8.8 100::1 \
                      100:0:0:1::1 2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 \
                      2001:1ff:ffff::1 2001:db8::1 2002:7f00:1::1 2002:a00:1::1 2002:c0a8:101::1 3fff::1 \
                      3fff:fff:ffff::1 4000::1 5f00::1 2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:192.168.0.1 \
                      fc00::1 fdff::1 fe80::1 febf::1 fec0::1 ff02::1"
            .split(' ')
        {
            assert!(!public_address(address.parse().unwrap()), "{address}");
        }
        for address in "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 \
                      169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.1 \
                      192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.101.0 203.0.114.0 223.255.255.255 \
                      ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:200::1 2001:db7:ffff::1 2001:db9::1 2001:4860:4860::8888 \
                      2002:808:808::1 2606:4700::1 2606:4700::5efe:8.8.8.8 3ffe::1 3fff:1000::1"
            .split(' ')
        {
            assert!(public_address(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn hosts_that_a_resolver_takes_for_the_own_machine() {
        for host in "localhost LOCALHOST localhost. shop.localhost ip6-localhost localhost.localdomain 127.0.0.1 \
                      127.0.0.1. 127.1 127.0.1 0x7f.1 0X7F.0.0.1 0177.0.0.1 2130706433 0x7f000001 017700000001 0 0x \
                      10.0x101 [::1] [0:0:0:0:0:0:0:1] [::ffff:7f00:1] [::ffff:169.254.169.254]"
            .split(' ')
        {
            assert!(refused(&format!("http://{host}:7171/x")), "{host}");
        }
        for host in
            ["shop.example", "localhost.example", "notlocalhost", "8.8.8.8", "134744072", "0x08080808", "[2606:4700::1]"]
        {
            assert!(!refused(&format!("http://{host}")), "{host}");
        }
        let error = require_public(&SiteUrl::parse("http://127.1").unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ForbiddenAddress);
        assert!(error.message().contains("127.0.0.1") && error.hint().unwrap().contains("allow_internal_urls"));
    }

    #[test]
    fn spellings_of_ipv4() {
        for (text, address) in [
            ("1.2.3.4", Some([1, 2, 3, 4])),
            ("1.2.3", Some([1, 2, 0, 3])),
            ("1.2.772", Some([1, 2, 3, 4])),
            ("1.131844", Some([1, 2, 3, 4])),
            ("16909060", Some([1, 2, 3, 4])),
            ("4294967295", Some([255; 4])),
            ("4294967296", None),
            ("1.2.3.256", None),
            ("1.256.3.4", None),
            ("1.2.65536", None),
            ("1.16777216", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("08.0.0.1", None),
            ("99999999999999999999", None),
            ("", None),
            ("a.b", None),
        ] {
            assert_eq!(spelled_v4(text), address.map(Ipv4Addr::from), "{text}");
        }
        assert!(ends_in_number("a.1") && ends_in_number("a.0xf") && ends_in_number("08") && !ends_in_number("1.a"));
        assert!(!ends_in_number("a.0xg") && !ends_in_number(""));
    }
}
