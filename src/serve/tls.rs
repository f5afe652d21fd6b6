//! TLS for the server.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, ErrorKind, Result};

/// What stands in the text of a private key that needs a passphrase.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// A certificate with its key, for [`ServerBuilder::tls`](super::ServerBuilder::tls).
#[derive(Clone)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// From PEM texts: the certificate with those that lead from it to its root, the server's own first; and its private key
    /// (PKCS#8, PKCS#1 or SEC1). TLS 1.2 and 1.3 are spoken.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) when one of them is not that, or they do not belong together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self> {
        let wrong = |what: &str, why: &dyn fmt::Display| {
            Error::new(ErrorKind::InvalidInput, format!("{what} cannot be used: {why}"))
                .with_hint("Give a certificate chain and its private key, both as PEM.")
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| wrong("the certificate", &error))?;
        if chain.is_empty() {
            return Err(wrong("the certificate", &"there is none in the text"));
        }
        let is_encrypted = key.windows(ENCRYPTED.len()).any(|text| text == ENCRYPTED);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            _ if is_encrypted => {
                wrong("the private key", &"it is encrypted; `openssl pkey` writes it without its passphrase")
            }
            pem::Error::NoItemsFound => wrong("the private key", &"there is none in the text"),
            error => wrong("the private key", &error),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("TLS", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    wrong("the certificate", &"the private key does not belong to it, but to another certificate")
                }
                error => wrong("the certificate", &error),
            })?;
        Ok(ServerTls(Arc::new(config)))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_are_taken_and_nothing_else() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        assert!(ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
        let foreign = other.signing_key.serialize_pem();
        for (certificate, key) in
            [("", &*key), (&certificate, ""), (&key, &certificate), ("x", "y"), (&certificate, &foreign)]
        {
            let error = ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("PRIVATE KEY-----"));
        }
        let error = ServerTls::from_pem(certificate.as_bytes(), foreign.as_bytes()).unwrap_err();
        assert!(error.message().contains("the private key does not belong to it"), "{error}");
        let sealed = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----\n";
        for (key, why) in [(&*sealed, "it is encrypted"), (older, "it is encrypted"), ("", "there is none")] {
            let error = ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
