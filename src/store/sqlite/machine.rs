//! Which machine this is.

use std::fs::File;
use std::io::Read;

/// Where systems keep a random id that was made when they were installed: systemd, D-Bus, FreeBSD.
const FILES: [&str; 3] = ["/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid"];

/// Longest text that is read of such a file.
const BYTES: u64 = 64;

/// The id of this machine, where the system has one: containers often have none. A host's name is no substitute, because many
/// containers get another one with each start, and laptops with each network.
pub(super) fn id() -> Option<String> {
    FILES.iter().find_map(|path| {
        let mut text = String::new();
        File::open(path).ok()?.take(BYTES).read_to_string(&mut text).ok()?;
        id_in(&text)
    })
}

/// The id in such a text. An image from which machines are made has an empty one, or a word in its place.
fn id_in(text: &str) -> Option<String> {
    let id: String = text.trim().chars().filter(|c| *c != '-').collect();
    let is_id = id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()) && id.chars().any(|c| c != '0');
    is_id.then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_is_taken_for_one() {
        let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
        assert_eq!(id_in(&format!("{id}\n")).as_deref(), Some(id));
        assert_eq!(id_in("3D1219C7-C4C5-404A-AA1F-6D2A48ADFDA4\n").as_deref(), Some(id));
        for none in [
            "",
            "\n",
            "uninitialized\n",
            "00000000000000000000000000000000\n",
            "3d1219c7",
            "host-name-of-thirty-two-letters-x",
        ] {
            assert_eq!(id_in(none), None, "{none:?}");
        }
    }
}
