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
    let failed = |why: String| {
        Error::new(ErrorKind::Tls, format!("the encrypted connection to {} failed: {why}", url.authority()))
            .with_hint("Check that the address serves https; for a certificate authority of your own give its certificate.")
    };
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| failed(error.to_string()))?;
    let mut connection = ClientConnection::new(config(options)?, name).map_err(|error| failed(error.to_string()))?;
    while connection.is_handshaking() {
        let late = || format!("the encrypted connection to {} was not made", url.authority());
        socket.set_until(budget.slice(&late)?);
        match connection.complete_io(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error.to_string()).with_source(error)),
        }
    }
    Ok(StreamOwned::new(connection, socket))
}

fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in certificates(options)? {
        roots.add(certificate).map_err(|error| unusable(&error.to_string()))?;
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
        config(&TlsOptions { roots: vec![root.to_vec()] }).err().map(|error| error.kind())
    }

    #[test]
    fn certificates_in_both_forms() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        assert_eq!(kind(made.cert.pem().as_bytes()), None);
        assert_eq!(kind(made.cert.der()), None);
        assert_eq!(kind(b"no certificate"), Some(ErrorKind::File));
        assert_eq!(kind(b"-----BEGIN X-----"), Some(ErrorKind::File));
    }
}
