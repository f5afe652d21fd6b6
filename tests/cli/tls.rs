//! Certificates: one's own, those of the system, and what is said of one that cannot be used.

use std::path::Path;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::support::command::{Folder, Ran, Served};

/// The exit status where no connection comes about.
const NOT_MADE: i32 = 5;

/// A certificate authority of one's own.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }
}

/// Writes a certificate for these names, and its key: self-signed without an authority.
fn write(folder: &Folder, names: &[&str], authority: Option<&Authority>, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, &authority.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    std::fs::write(folder.path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.path("key.pem"), key.serialize_pem()).unwrap();
}

fn serve(folder: &Folder) -> Served {
    let served = folder.serve_with("--tls-cert cert.pem --tls-key key.pem");
    assert!(served.url.starts_with("https://127.0.0.1:"), "{}", served.url);
    served
}

/// Pulls while the system's certificates are those of this file.
fn pull(folder: &Folder, served: &Served, system: &Path, more: &str) -> Ran {
    let mut command = folder.command(&format!("pull {} --code {} --db backup.db {more}", served.url, served.code));
    Ran::of(command.env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR").output().unwrap())
}

#[test]
fn a_certificate_authority_of_ones_own_is_trusted_when_it_is_given() {
    let folder = Folder::new();
    let (authority, other) = (Authority::new(), Authority::new());
    std::fs::write(folder.path("ca.pem"), authority.certificate.pem()).unwrap();
    std::fs::write(folder.path("other.pem"), other.certificate.pem()).unwrap();
    write(&folder, &["127.0.0.1"], Some(&authority), |_| {});
    let served = serve(&folder);
    let unknown = ["not trusted here", "--ca-cert"];
    pull(&folder, &served, Path::new("other.pem"), "").failed(NOT_MADE, &unknown);
    pull(&folder, &served, Path::new("other.pem"), "--ca-cert other.pem").failed(NOT_MADE, &unknown);
    pull(&folder, &served, Path::new("other.pem"), "--ca-file ca.pem").ok();
    assert_eq!(folder.number("backup.db", "SELECT count(*) FROM posts"), 1500);
    // The system trusts it.
    let status = |system: &str| {
        let mut command = folder.command(&format!("status {}", served.url));
        Ran::of(command.env("SSL_CERT_FILE", system).env_remove("SSL_CERT_DIR").output().unwrap())
    };
    status("ca.pem").ok();
    status("other.pem").failed(NOT_MADE, &unknown);
    // What cannot be read there keeps nobody from the others.
    status("missing.pem").failed(NOT_MADE, &unknown);
}

#[test]
fn a_self_signed_certificate_is_trusted_when_it_is_given() {
    let folder = Folder::new();
    write(&folder, &["127.0.0.1"], None, |_| {});
    let served = serve(&folder);
    pull(&folder, &served, Path::new("cert.pem"), "--dry-run").ok();
    pull(&folder, &served, Path::new("/dev/null"), "").failed(NOT_MADE, &["self-signed", "`--ca-cert"]);
    assert!(!folder.path("backup.db").exists(), "nothing is made before the connection");
}

#[test]
fn it_is_said_what_is_wrong_with_a_certificate() {
    type Change = fn(&mut CertificateParams);
    let wrong: [(&[&str], Change, &str); 4] = [
        (&["localhost"], |_| {}, "for another name"),
        (&["127.0.0.1"], |params| params.not_after = date_time_ymd(2020, 1, 1), "has expired"),
        (&["127.0.0.1"], |params| params.not_before = date_time_ymd(2999, 1, 1), "not valid yet"),
        (&["127.0.0.1"], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "CA:FALSE"),
    ];
    for (names, change, says) in wrong {
        let folder = Folder::new();
        write(&folder, names, None, change);
        let served = serve(&folder);
        pull(&folder, &served, Path::new("/dev/null"), "--ca-cert cert.pem").failed(NOT_MADE, &[says]);
    }
    let folder = Folder::new();
    let served = folder.serve();
    let url = served.url.replace("http://", "https://");
    folder.run(&format!("status {url}")).failed(NOT_MADE, &["does not speak TLS", "serve https"]);
}
