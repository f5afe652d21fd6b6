//! TLS to a PostgreSQL server: its certificate is always checked.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, ErrorKind, Result};

/// What connects by TLS. A certificate is good if an authority issued it that browsers trust, that the operating system trusts (feature
/// `native-certs`), or that stands in `authorities` (PEM).
pub(super) fn connector(authorities: &[Vec<u8>]) -> Result<MakeRustlsConnect> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    #[cfg(feature = "native-certs")]
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for pem in authorities {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.len() == before {
            return Err(unusable(&"there is none in it"));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Tls, format!("TLS cannot be set up: {error}")))?;
    Ok(MakeRustlsConnect::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn unusable(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::File, format!("the certificate of the database's certificate authority cannot be used: {why}"))
        .with_hint("Give a certificate in PEM form.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_must_be_a_certificate() {
        let authority = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
        assert!(connector(&[authority.cert.pem().into_bytes()]).is_ok());
        for wrong in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = connector(&[wrong.as_bytes().to_vec()]).err().unwrap();
            assert_eq!((error.kind(), error.hint()), (ErrorKind::File, Some("Give a certificate in PEM form.")));
        }
    }
}
