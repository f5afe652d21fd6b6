//! By which URLs others reach a server.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::output::complain;

/// The URLs by which other machines may reach a server that listens on this address and answers at this URL here: none on loopback.
/// Whether a firewall lets them through is another matter.
pub fn urls_for_others(listens: SocketAddr, url: &str) -> Vec<String> {
    if listens.ip().to_canonical().is_loopback() {
        return Vec::new();
    }
    if !listens.ip().is_unspecified() {
        return vec![url.to_owned()];
    }
    let found = match if_addrs::get_if_addrs() {
        Ok(found) => found.into_iter().filter(|interface| interface.is_oper_up()).map(|interface| interface.ip()).collect(),
        Err(error) => {
            complain(format!("warning: the addresses of this machine cannot be told: {error}"));
            Vec::new()
        }
    };
    let scheme = if url.starts_with("https:") { "https" } else { "http" };
    urls(scheme, listens, found)
}

/// The URLs of those addresses of a machine that reach a server which listens on all of them: of both kinds, where that is `::`. IPv4
/// first, which most can use.
fn urls(scheme: &str, listens: SocketAddr, mut found: Vec<IpAddr>) -> Vec<String> {
    found.retain(|address| is_for_others(*address) && (listens.is_ipv6() || address.is_ipv4()));
    found.sort();
    found.dedup();
    found.into_iter().map(|address| format!("{scheme}://{}", SocketAddr::new(address, listens.port()))).collect()
}

/// Whether another machine can use an address as it is: those of a link alone need the name of an interface, too.
fn is_for_others(address: IpAddr) -> bool {
    let is_of_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    };
    !address.is_loopback() && !address.is_unspecified() && !is_of_link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_that_others_can_use() {
        let found = || {
            ["127.0.0.1", "::1", "fe80::1", "2001:db8::7", "169.254.1.1", "192.0.2.9", "10.0.0.1", "10.0.0.1"]
                .map(|address| address.parse().unwrap())
                .to_vec()
        };
        let told = |listens: &str| urls("http", listens.parse().unwrap(), found());
        assert_eq!(told("0.0.0.0:7171"), ["http://10.0.0.1:7171", "http://192.0.2.9:7171"]);
        assert_eq!(told("[::]:80"), ["http://10.0.0.1:80", "http://192.0.2.9:80", "http://[2001:db8::7]:80"]);
        let one = |listens: &str| urls_for_others(listens.parse().unwrap(), "https://192.0.2.9:1");
        assert_eq!(one("192.0.2.9:1"), ["https://192.0.2.9:1"]);
        assert!(one("127.0.0.2:1").is_empty() && one("[::1]:1").is_empty());
    }
}
