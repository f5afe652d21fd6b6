//! TLS to the server: a certificate of an authority that is trusted, and one of another.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rowferry::{ErrorKind, PostgresOptions, Site, SiteKey};

use crate::common::KEY;
use crate::postgres::{Server, Setup};

/// An authority's certificate, and those of a server: its certificate and key.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    (authority, params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

#[test]
fn the_certificate_of_the_server_is_checked() {
    let (authority, certificate, key) = certificates();
    let (other, ..) = certificates();
    let server = Server::start_with(&Setup {
        tcp: true,
        settings: &[("ssl", "on")],
        files: &[
            ("server.crt", &certificate),
            ("server.key", &key),
            ("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"),
        ],
    });
    server.run(&server.url("postgres"), "CREATE ROLE ann LOGIN PASSWORD 'sesame'; CREATE DATABASE shop OWNER ann");
    let url = |password: &str, more: &str| format!("postgres://ann:{password}@127.0.0.1:{}/shop{more}", server.port());
    let open = |url: &str, authority: Option<&str>| {
        let options = PostgresOptions::parse(url).unwrap();
        let options = match authority {
            Some(pem) => options.certificate_authority(pem),
            None => options,
        };
        Site::builder().key(SiteKey::from_bytes(KEY)).open_postgres(options)
    };
    open(&url("sesame", "?sslmode=verify-full"), Some(&authority)).unwrap();
    for wrong in [Some(&*other), None] {
        let error = open(&url("sesame", "?sslmode=require"), wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(!error.to_string().contains("sesame"));
    }
    let error = open(&url("wrong", "?sslmode=require"), Some(&authority)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotOpen, "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong@"), "{error}");
    // The server wants TLS.
    assert_eq!(open(&url("sesame", "?sslmode=disable"), None).unwrap_err().kind(), ErrorKind::CannotOpen);
}
