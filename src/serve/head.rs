//! The head of an HTTP/1 request: bytes to a request and how its body is framed. Pure: no socket.
//!
//! It is stricter than HTTP allows where leniency lets two programs on the way disagree on where a request ends: both
//! Content-Length and Transfer-Encoding, either of them twice, and transfer codings other than `chunked` are refused.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use crate::limits::Limits;

/// A whole head.
#[derive(Debug)]
pub struct Head {
    /// The request without its body. Its URI is as it was sent.
    pub request: Request<()>,
    /// How its body is framed.
    pub framing: Framing,
    /// Whether another request may follow on the same connection.
    pub keep_alive: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// How many bytes the head took.
    pub bytes: usize,
}

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
}

/// Why a request is refused before it reaches the handler. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What to answer.
    pub status: StatusCode,
    /// Why, for a person.
    pub why: &'static str,
}

const fn refuse<T>(status: StatusCode, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

/// Reads a head from the beginning of what has arrived; `None` if it is not all there yet.
///
/// # Errors
/// What is wrong with it, as soon as that is known.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<Head>, Refusal> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.wire.head_fields];
    let mut parsed = httparse::Request::new(&mut fields);
    let bytes = match parsed.parse(&input[..input.len().min(limits.wire.head_bytes)]) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if input.len() >= limits.wire.head_bytes => {
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too large");
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers");
        }
        Err(httparse::Error::Version) => {
            return refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are supported");
        }
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "this is not an HTTP request"),
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return refuse(StatusCode::BAD_REQUEST, "this is not an HTTP request");
    };
    let version = if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return refuse(StatusCode::BAD_REQUEST, "the method is malformed");
    };
    let uri: Uri = match target.parse() {
        Ok(uri) => uri,
        Err(_) => return refuse(StatusCode::BAD_REQUEST, "the request's target is malformed"),
    };
    if !uri.path().starts_with('/') {
        return refuse(StatusCode::BAD_REQUEST, "the request's target is not a path");
    }
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let (name, value) = (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return refuse(StatusCode::BAD_REQUEST, "a header is malformed");
        };
        headers.append(name, value);
    }
    if version == Version::HTTP_11 && headers.get_all(HOST).iter().count() != 1 {
        return refuse(StatusCode::BAD_REQUEST, "a request has one Host header");
    }
    let framing = framing(&headers, version, limits)?;
    let expects_continue = expects_continue(&headers, version)?;
    let keep_alive = match version {
        Version::HTTP_10 => has_token(&headers, &CONNECTION, "keep-alive"),
        _ => !has_token(&headers, &CONNECTION, "close"),
    };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Some(Head { request, framing, keep_alive, expects_continue, bytes }))
}

fn framing(headers: &HeaderMap, version: Version, limits: &Limits) -> Result<Framing, Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Framing::Empty),
        (Some(_), Some(_)) => refuse(StatusCode::BAD_REQUEST, "a body has a length or a transfer coding, not both"),
        (Some(length), None) => {
            let digits = length.as_bytes();
            if lengths.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return refuse(StatusCode::BAD_REQUEST, "the Content-Length is malformed");
            }
            match length.to_str().map(str::parse::<usize>) {
                Ok(Ok(0)) => Ok(Framing::Empty),
                Ok(Ok(length)) if length <= limits.server.body_bytes => Ok(Framing::Length(length)),
                // All digits: one that cannot be read is too large for its type.
                _ => refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large"),
            }
        }
        (None, Some(coding)) => {
            if codings.next().is_some() || version == Version::HTTP_10 {
                return refuse(StatusCode::BAD_REQUEST, "the Transfer-Encoding is malformed");
            }
            match coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                true => Ok(Framing::Chunked),
                false => refuse(StatusCode::NOT_IMPLEMENTED, "chunked is the only transfer coding that is supported"),
            }
        }
    }
}

fn expects_continue(headers: &HeaderMap, version: Version) -> Result<bool, Refusal> {
    match headers.get(EXPECT) {
        // A peer that speaks 1.0 would take an interim answer for the answer.
        None => Ok(false),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(version == Version::HTTP_11),
        Some(_) => refuse(StatusCode::EXPECTATION_FAILED, "100-continue is the only expectation that is supported"),
    }
}

/// Whether a header that lists tokens has this one, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, Refusal> {
        parse(text.as_bytes(), &Limits::default())
    }

    fn status(text: &str) -> u16 {
        read(text).unwrap_err().status.as_u16()
    }

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = "GET /sync/api/status?x=1 HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nrest";
        for cut in 0..text.len() - 4 {
            assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let head = read(text).unwrap().unwrap();
        assert_eq!(&text[head.bytes..], "rest");
        assert_eq!(head.request.uri().path(), "/sync/api/status");
        assert_eq!((head.framing, head.keep_alive, head.expects_continue), (Framing::Empty, true, false));
    }

    #[test]
    fn connections_are_kept_alive_as_asked() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(read(text).unwrap().unwrap().keep_alive, keep, "{text}");
        }
    }

    #[test]
    fn bodies_have_one_framing() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let framing = |fields: &str| read(&post(fields)).map(|head| head.unwrap().framing).map_err(|r| r.status.as_u16());
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Length(12)));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::Empty));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 1 2\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding : chunked\r\n",
            "X: a\r\n b: c\r\n",
        ] {
            assert_eq!(framing(bad), Err(400), "{bad}");
        }
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(501));
        assert_eq!(framing("Content-Length: 1048577\r\n"), Err(413));
        assert_eq!(framing("Content-Length: 99999999999999999999999999\r\n"), Err(413));
        assert_eq!(status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn bad_heads_are_refused() {
        for text in [
            "hello\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}",
        ] {
            assert_eq!(status(text), 400, "{text:?}");
        }
        assert_eq!(status("GET / HTTP/3.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n"), 417);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(64))), 431);
        let expecting = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n";
        assert!(read(expecting).unwrap().unwrap().expects_continue);
    }
}
