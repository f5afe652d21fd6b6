//! Encrypted connections: rustls with ring, and the certificate authorities that browsers trust.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Budget;
use super::stream::{Socket, TlsOptions};
use crate::domain::url::SiteUrl;
use crate::error::{Error, ErrorKind, Result};

/// Encrypts a connection.
pub(super) fn handshake(
    mut socket: Socket,
    url: &SiteUrl,
    options: &TlsOptions,
    budget: &Budget,
) -> Result<StreamOwned<ClientConnection, Socket>> {
    let failed = |why: &str, hint: &str| {
        Error::new(ErrorKind::Tls, format!("the encrypted connection to {} failed: {why}", url.authority())).with_hint(hint)
    };
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| failed(&error.to_string(), NOT_TLS))?;
    let mut connection =
        ClientConnection::new(config(options)?, name).map_err(|error| failed(&error.to_string(), NOT_TLS))?;
    while connection.is_handshaking() {
        let late = || format!("the encrypted connection to {} was not made", url.authority());
        socket.set_until(budget.slice(&late)?);
        match connection.complete_io(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                let (why, hint) = explained(&error);
                return Err(failed(&why, hint).with_source(error));
            }
        }
    }
    Ok(StreamOwned::new(connection, socket))
}

const NOT_TLS: &str = "Check that this address and port serve https.";

/// What the failure of a handshake means, and what to do about it.
fn explained(error: &io::Error) -> (String, &'static str) {
    use rustls::CertificateError as Bad;

    let certificate = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(certificate)) => certificate,
        Some(rustls::Error::InvalidMessage(_)) => return ("the other side does not speak TLS there".to_owned(), NOT_TLS),
        _ => return (error.to_string(), NOT_TLS),
    };
    let (why, hint) = match certificate {
        // The latter where the one that is trusted has the same name.
        Bad::UnknownIssuer | Bad::BadSignature => (
            "its certificate is self-signed, or of a certificate authority that is not trusted here",
            "If it is the right one, give the certificate itself or that of its authority (`ConnectOptions::root_certificate`); if \
             the authority is a public one, the server has to send the certificates between, too.",
        ),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
            "its certificate is for another name",
            "Use a name or address that stands in the certificate (subjectAltName), or let it be made for this one.",
        ),
        Bad::Expired | Bad::ExpiredContext { .. } => {
            ("its certificate has expired", "The other site must renew it; check this machine's clock, too.")
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            ("its certificate is not valid yet", "Check the clocks of both machines.")
        }
        Bad::Other(_) if certificate.to_string().contains("CaUsedAsEndEntity") => (
            "its certificate is that of a certificate authority, which no server may use",
            "Let the server have one with the basic constraint CA:FALSE, signed by itself or by that authority.",
        ),
        _ => return (format!("its certificate cannot be used: {certificate}"), "Let the other site check its certificate."),
    };
    (why.to_owned(), hint)
}

fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    #[cfg(feature = "native-certs")]
    if options.system {
        let found = rustls_native_certs::load_native_certs();
        // A system may have some that nobody can read; those that are needed are missed by the handshake.
        found
            .errors
            .iter()
            .for_each(|error| log::warn!(target: "rowferry::client", "certificates of the system cannot be read: {error}"));
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        log::debug!(target: "rowferry::client", "{added} certificate authorities of the system are trusted, {ignored} cannot be used");
    }
    for certificate in certificates(options)? {
        roots.add(certificate).map_err(|error| match error {
            rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding) => unusable("it is no certificate"),
            error => unusable(&error.to_string()),
        })?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Tls, format!("TLS cannot be set up: {error}")))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// The certificate authorities to trust besides the usual ones.
///
/// # Errors
/// [`ErrorKind::File`] for bytes that are no certificate.
pub(crate) fn certificates(options: &TlsOptions) -> Result<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    for bytes in &options.roots {
        if bytes.trim_ascii().is_empty() {
            return Err(unusable("it is empty"));
        }
        if !bytes.trim_ascii_start().starts_with(b"-----") {
            all.push(CertificateDer::from(bytes.clone()));
            continue;
        }
        let before = all.len();
        for certificate in CertificateDer::pem_slice_iter(bytes) {
            all.push(certificate.map_err(|error| unusable(&error.to_string()))?);
        }
        if all.len() == before {
            return Err(unusable("there is none in it"));
        }
    }
    Ok(all)
}

fn unusable(why: &str) -> Error {
    Error::new(ErrorKind::File, format!("the certificate of a certificate authority cannot be used: {why}"))
        .with_hint("Give a certificate in PEM or DER form.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(root: &[u8]) -> Option<ErrorKind> {
        config(&TlsOptions { roots: vec![root.to_vec()], ..TlsOptions::default() }).err().map(|error| error.kind())
    }

    #[test]
    fn certificates_in_both_forms() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        assert_eq!(kind(made.cert.pem().as_bytes()), None);
        assert_eq!(kind(made.cert.der()), None);
        assert_eq!(kind(b"no certificate"), Some(ErrorKind::File));
        assert_eq!(kind(b"-----BEGIN X-----"), Some(ErrorKind::File));
        for (root, why) in [("", "it is empty"), ("\n", "it is empty"), ("words", "it is no certificate")] {
            let options = TlsOptions { roots: vec![root.into()], ..TlsOptions::default() };
            assert!(config(&options).unwrap_err().message().ends_with(why), "{root:?}");
        }
    }
}
