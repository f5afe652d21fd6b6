//! Stand-in.
use std::net::IpAddr;
/// Whether it is public.
pub fn public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => !(a.is_private() || a.is_loopback() || a.is_link_local() || a.is_unspecified()),
        IpAddr::V6(a) => match a.to_ipv4_mapped() {
            Some(v4) => public_address(v4.into()),
            None => (a.segments()[0] & 0xe000) == 0x2000,
        },
    }
}
