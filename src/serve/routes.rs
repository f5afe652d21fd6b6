//! Which path asks for what.

use crate::error::{Error, ErrorKind, Result};
use crate::wire::api::Call;

/// The prefix under which PhoenixKit's installations are by default: it calls other sites under its own prefix.
const REFERENCE_PREFIX: &str = "/phoenix_kit";

/// What both families of paths begin with: the second is that of PhoenixKit's older documents.
const FAMILIES: [&str; 2] = ["/sync/", "/db-sync/"];

/// What there is to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Api(Call),
    WebSocket,
}

/// What a path asks for. A slash at the end makes no difference.
pub(super) fn route(path: &str, prefix: &str) -> Option<Route> {
    let path = path.strip_suffix('/').unwrap_or(path);
    [prefix, "", REFERENCE_PREFIX].into_iter().filter_map(|prefix| path.strip_prefix(prefix)).find_map(|path| {
        let rest = FAMILIES.iter().find_map(|family| path.strip_prefix(family))?;
        match rest.strip_prefix("api/") {
            Some(name) => Call::ALL.iter().find(|call| call.as_str() == name).map(|call| Route::Api(*call)),
            None => (rest == "websocket").then_some(Route::WebSocket),
        }
    })
}

/// A prefix as it is compared with paths.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for what is not a path.
pub(super) fn prefix(prefix: &str) -> Result<&str> {
    let trimmed = prefix.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%');
    if !(trimmed.is_empty() || trimmed.starts_with('/')) || !trimmed.chars().all(plain) {
        return Err(Error::new(ErrorKind::InvalidInput, format!("{prefix:?} cannot be a prefix"))
            .with_hint("Write it like /shop: a path without a query and without percent signs."));
    }
    Ok(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_under_every_prefix_and_family() {
        for prefix in ["", "/phoenix_kit", "/shop"] {
            for family in FAMILIES {
                for call in Call::ALL {
                    let path = format!("{prefix}{family}api/{call}");
                    assert_eq!(route(&path, "/shop"), Some(Route::Api(*call)), "{path}");
                    assert_eq!(route(&format!("{path}/"), "/shop"), Some(Route::Api(*call)), "{path}/");
                }
                assert_eq!(route(&format!("{prefix}{family}websocket"), "/shop"), Some(Route::WebSocket));
            }
        }
        for path in [
            "/",
            "/sync/api",
            "/sync/api/nope",
            "/sync/api/status//",
            "/sync/api/Status",
            "/other/sync/api/status",
            "/phoenix_kit/phoenix_kit/sync/api/status",
            "/sync/websocket/websocket",
        ] {
            assert_eq!(route(path, "/shop"), None, "{path}");
        }
        for wrong in ["shop", "/a b", "/a?b", "/%2f", "/ä"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
        assert_eq!(prefix("/shop/").unwrap(), "/shop");
    }
}
