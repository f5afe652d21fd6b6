//! What is decided about a request by its head alone, before anything of its body is read or looked at.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Method, Request, Response, StatusCode};

use super::answers::{own, too_large};
use super::body::Body;
use super::routes::{Route, route};
use crate::limits::Limits;
use crate::wire::api::Call;

/// Most bytes of a body that anybody may send. All calls fit into it but those that name many records.
pub(super) const SMALL_BODY_BYTES: usize = 64 << 10;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request's head says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// There is none.
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// How many is not known yet.
    Some,
}

/// How many bytes the body of a request may have. What comes from a web page, and what is no JSON where JSON is asked for, is
/// refused.
///
/// # Errors
/// The answer that refuses it: 403, 413 or 415.
#[expect(clippy::result_large_err, reason = "the error is an answer to send, made once for each request")]
pub(super) fn most_body<T>(
    request: &Request<T>,
    announced: Announced,
    prefix: &str,
    limits: &Limits,
) -> Result<usize, Response<Body>> {
    if is_of_a_page(request.headers()) {
        return Err(own(StatusCode::FORBIDDEN, "cross_site", "Web pages may not ask here"));
    }
    let call = match route(request.uri().path(), prefix) {
        Some(Route::Api(call)) if request.method() == Method::POST && call != Call::Status => Some(call),
        _ => None,
    };
    if call.is_some() && announced != Announced::Nothing && !is_json(request.headers()) {
        return Err(own(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "The content-type must be application/json"));
    }
    let most = match call {
        Some(Call::TableRecords) => limits.server.body_bytes,
        _ => limits.server.body_bytes.min(SMALL_BODY_BYTES),
    };
    match announced {
        Announced::Bytes(bytes) if bytes > most => Err(too_large()),
        _ => Ok(most),
    }
}

/// Whether a browser sends this for a page: with `Origin`, as it does with every WebSocket and every POST, or from another site than
/// this one. Programs send neither. Another port of the same host is the same site to a browser, and another one here.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let sites = headers.get_all(SEC_FETCH_SITE);
    headers.contains_key(ORIGIN) || sites.iter().any(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"))
}

/// Whether a body is JSON by its one type, whatever its parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let only = types.next().filter(|_| types.next().is_none());
    let essence = only.and_then(essence).unwrap_or_default();
    essence == "application/json" || essence.strip_prefix("application/").is_some_and(|rest| rest.ends_with("+json"))
}

fn essence(value: &HeaderValue) -> Option<String> {
    Some(value.to_str().ok()?.split(';').next()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, headers: &[(&str, &str)], announced: Announced) -> Result<usize, u16> {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap();
        most_body(&request, announced, "/shop", &Limits::default()).map_err(|answer| answer.status().as_u16())
    }

    #[test]
    fn what_a_page_asks_is_refused_wherever() {
        for (method, path) in [
            ("GET", "/sync/api/status"),
            ("POST", "/sync/api/list-tables"),
            ("GET", "/shop/sync/websocket"),
            ("OPTIONS", "/sync/api/list-tables"),
            ("GET", "/nope"),
        ] {
            let asked = |name, value| asked(method, path, &[(name, value)], Announced::Nothing);
            for (name, value) in [
                ("origin", "https://evil.example"),
                ("origin", "null"),
                ("origin", ""),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-site", "of another kind"),
            ] {
                assert_eq!(asked(name, value), Err(403), "{method} {path} {name}: {value}");
            }
            for (name, value) in [("sec-fetch-site", "none"), ("sec-fetch-site", "same-origin"), ("referer", "https://a")] {
                assert!(asked(name, value).is_ok(), "{method} {path} {name}: {value}");
            }
        }
    }

    #[test]
    fn bodies_are_json_by_their_type() {
        let asked = |kinds: &[&str], announced| {
            let headers: Vec<_> = kinds.iter().map(|kind| ("content-type", *kind)).collect();
            asked("POST", "/sync/api/list-tables", &headers, announced)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/json;x", "application/vnd.api+json"]
        {
            assert!(asked(&[kind], Announced::Bytes(2)).is_ok(), "{kind}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", "", "text/plain+json"] {
            assert_eq!(asked(&[kind], Announced::Bytes(2)), Err(415), "{kind}");
        }
        assert_eq!(asked(&[], Announced::Some), Err(415));
        assert_eq!(asked(&["application/json", "application/json"], Announced::Some), Err(415));
        assert!(asked(&[], Announced::Nothing).is_ok(), "the call says what is missing");
        assert!(super::tests::asked("POST", "/sync/api/nope", &[], Announced::Some).is_ok(), "which is not found");
    }

    #[test]
    fn only_a_call_that_names_records_may_be_large() {
        let json = [("content-type", "application/json")];
        let most = |method, path| asked(method, path, &json, Announced::Some).unwrap();
        assert_eq!(most("POST", "/sync/api/table-records"), Limits::default().server.body_bytes);
        for (method, path) in [
            ("POST", "/sync/api/list-tables"),
            ("POST", "/sync/api/register-connection"),
            ("POST", "/sync/api/status"),
            ("POST", "/nope"),
            ("GET", "/sync/api/table-records"),
            ("GET", "/sync/websocket"),
        ] {
            assert_eq!(most(method, path), SMALL_BODY_BYTES, "{method} {path}");
            assert_eq!(asked(method, path, &json, Announced::Bytes(SMALL_BODY_BYTES + 1)), Err(413));
        }
        assert!(asked("POST", "/sync/api/table-records", &json, Announced::Bytes(SMALL_BODY_BYTES + 1)).is_ok());
    }
}
