//! Calls over HTTP.

use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use super::options::ConnectOptions;
use crate::domain::settings::SiteStatus;
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::net::stream::refuse_without_tls;
use crate::wire::excerpt;

/// Longest answer to a status call that is read; a good one has a hundred bytes.
const STATUS_BYTES: usize = 64 << 10;

/// What another site says of itself to anyone: whether it takes part, and how it takes requests to be connected. No code is
/// needed or spent.
///
/// Of the options the time-outs, the prefix, the limits and the certificates count.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a URL that cannot be one; [`ErrorKind::Unreachable`], [`ErrorKind::Timeout`],
/// [`ErrorKind::Tls`]; [`ErrorKind::NotFound`] if no prefix leads to a site; [`ErrorKind::Refused`],
/// [`ErrorKind::TooLarge`] or [`ErrorKind::Protocol`] for other answers.
pub fn remote_status(url: &str, options: &ConnectOptions) -> Result<SiteStatus> {
    let url = SiteUrl::parse(url)?;
    refuse_without_tls(&url)?;
    let agents = agents(options)?;
    for prefix in options.prefixes()? {
        options.cancel.check("asking for the status")?;
        let target = url.path(&prefix, "/sync/api/status");
        let full = format!("{}://{}{target}", if url.tls() { "https" } else { "http" }, url.authority());
        if let Some(status) = ask(&agents, &full, &url)? {
            return Ok(status);
        }
    }
    Err(Error::new(ErrorKind::NotFound, format!("{} has no site to ask for its status", url.authority()))
        .with_hint("Check the address; a path before /sync is given as the prefix."))
}

/// The status; `None` for 404.
fn ask(agents: &[Agent], full: &str, url: &SiteUrl) -> Result<Option<SiteStatus>> {
    let mut answer = agents[0].get(full).header("accept", "application/json").call();
    for other in &agents[1..] {
        // The site's certificate may be of the usual authorities though others were given.
        if answer.as_ref().is_err_and(is_tls) {
            answer = other.get(full).header("accept", "application/json").call();
        }
    }
    let mut answer = answer.map_err(|error| failed(url, error))?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        _ => {
            let why = format!("{} answered {} when asked for its status", url.authority(), answer.status());
            return Err(Error::new(ErrorKind::Refused, why)
                .with_hint("Check the address: redirects are not followed, and a proxy may be in between."));
        }
    }
    let limit = STATUS_BYTES as u64;
    let body = answer.body_mut().with_config().limit(limit).read_to_vec().map_err(|error| failed(url, error))?;
    read(&body).map(Some)
}

fn read(body: &[u8]) -> Result<SiteStatus> {
    #[derive(Deserialize)]
    struct Status {
        enabled: bool,
        incoming_mode: String,
        password_required: bool,
    }
    let status: Status = serde_json::from_slice(body).map_err(|error| {
        let why = excerpt(&error.to_string());
        Error::new(ErrorKind::Protocol, format!("the other site's status cannot be read: {why}"))
            .with_hint("Check that the address is that of a site.")
    })?;
    let Status { enabled, incoming_mode, password_required } = status;
    Ok(SiteStatus { enabled, incoming_mode: excerpt(&incoming_mode), password_required })
}

/// Agents to try one after the other: ureq trusts either the authorities that it is given or the usual ones.
fn agents(options: &ConnectOptions) -> Result<Vec<Agent>> {
    let base = || {
        Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("rowferry/", env!("CARGO_PKG_VERSION")))
            // One call, one connection: a kept one may be closed by the other side just when the next prefix is tried.
            .max_idle_connections(0)
            .max_response_header_size(options.limits.head_bytes)
            .timeout_global(Some(at_least(options.connect_timeout.saturating_add(options.request_timeout))))
            .timeout_resolve(Some(at_least(options.connect_timeout)))
            .timeout_connect(Some(at_least(options.connect_timeout)))
            .timeout_send_request(Some(at_least(options.request_timeout)))
            .timeout_recv_response(Some(at_least(options.request_timeout)))
            .timeout_recv_body(Some(at_least(options.request_timeout)))
    };
    #[cfg(feature = "tls")]
    {
        use ureq::tls::{Certificate, RootCerts, TlsConfig};
        let own = crate::net::tls::certificates(&options.tls)?;
        if !own.is_empty() {
            let own: Vec<_> = own.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
            let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&own)).build();
            return Ok(vec![base().tls_config(tls).build().into(), base().build().into()]);
        }
    }
    Ok(vec![base().build().into()])
}

/// ureq takes no time at all for none set.
fn at_least(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}

fn is_tls(error: &ureq::Error) -> bool {
    kind(error) == ErrorKind::Tls
}

fn failed(url: &SiteUrl, error: ureq::Error) -> Error {
    let why = format!("asking {} for its status failed: {error}", url.authority());
    Error::new(kind(&error), why).with_hint("Check the address, and that the other site is being served.").with_source(error)
}

fn kind(error: &ureq::Error) -> ErrorKind {
    match error {
        ureq::Error::Timeout(_) => ErrorKind::Timeout,
        ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => ErrorKind::TooLarge,
        ureq::Error::Tls(_) => ErrorKind::Tls,
        #[cfg(feature = "tls")]
        ureq::Error::Rustls(_) => ErrorKind::Tls,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => ErrorKind::Unreachable,
        #[cfg(feature = "tls")]
        ureq::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => ErrorKind::Tls,
        ureq::Error::Io(_) => ErrorKind::Unreachable,
        _ => ErrorKind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_nothing_else() {
        let body = br#"{"enabled":false,"incoming_mode":"auto_accept","password_required":false,"more":1}"#;
        let status = read(body).unwrap();
        assert!(!status.enabled && !status.password_required);
        assert_eq!(status.incoming_mode, "auto_accept");
        for junk in [&b"<html>"[..], b"{}", b"null", br#"{"enabled":"yes"}"#, b"\xff"] {
            assert_eq!(read(junk).map_err(|error| error.kind()), Err(ErrorKind::Protocol));
        }
    }
}
