//! The `https` check against TLS servers with certificates good and bad.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::control::config::{Authority, HttpCheck, Statuses, TlsCheck};

/// An authority, and where its certificate is.
struct Issuer {
    certified: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Self {
        Self::named("an authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certified = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), certified.pem()).unwrap();
        Self { certified, directory }
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server for `names`; the names that its clients ask for.
    async fn server(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> (SocketAddr, Asked) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.certified).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let names = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not like the certificate ends it.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                names.0.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
                let mut request = [0; 1024];
                _ = stream.read(&mut request).await;
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
                _ = stream.shutdown().await;
            }
        });
        (address, asked)
    }
}

#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<Option<String>>>>);

impl Asked {
    fn last(&self) -> Option<String> {
        self.0.lock().unwrap().last().unwrap().clone()
    }
}

/// Trusts `issuer`.
fn tls(issuer: &Issuer) -> TlsCheck {
    TlsCheck { authority: Some(Authority::read(&issuer.file()).unwrap()), ..TlsCheck::default() }
}

async fn https(tls: TlsCheck, host: Option<&str>, address: SocketAddr) -> Outcome {
    let host = host.map(str::to_owned);
    let status = Statuses(vec![200..=200]);
    let check = HttpCheck { path: "/".into(), host, status, body: Some("secret".into()), tls: Some(tls) };
    let mut target = target_of(HealthCheck::Http(check), address);
    // Handshakes of others run on the same two CPUs.
    target.health.timeout = Duration::from_secs(10);
    check_of(target).run().await
}

const GOOD: &str = "status 200 with a good body";

#[tokio::test]
async fn the_servers_name_is_asked_for_and_must_be_in_the_certificate() {
    let issuer = Issuer::new();
    let (address, asked) = issuer.server(&["www.example.com"], |_| ()).await;
    assert_eq!(https(tls(&issuer), Some("www.example.com:8443"), address).await, good(GOOD));
    assert_eq!(asked.last().as_deref(), Some("www.example.com"));
    let sni = |name: &str| TlsCheck { sni: Some(name.into()), ..tls(&issuer) };
    assert_eq!(https(sni("www.example.com"), Some("other.example"), address).await, good(GOOD));
    assert_eq!(asked.last().as_deref(), Some("www.example.com"));
    let wrong = "certificate is not for other.example but for www.example.com";
    assert_eq!(https(tls(&issuer), Some("other.example"), address).await, failed(wrong));
    let Outcome::Failed(reason) = https(tls(&issuer), None, address).await else { panic!("an address is no name") };
    assert!(reason.starts_with("certificate is not for 127.0.0.1 but for "), "{reason}");
}

#[tokio::test]
async fn a_certificate_may_be_for_the_address() {
    let issuer = Issuer::new();
    let (address, asked) = issuer.server(&["127.0.0.1"], |_| ()).await;
    assert_eq!(https(tls(&issuer), None, address).await, good(GOOD));
    assert_eq!(asked.last(), None, "addresses are not asked for");
}

#[tokio::test]
async fn only_trusted_and_valid_certificates_are_good_unless_all_are() {
    let (issuer, other, same_name) = (Issuer::new(), Issuer::named("another"), Issuer::new());
    let (address, _) = issuer.server(&["a.example"], |_| ()).await;
    let host = Some("a.example");
    let unknown = failed("certificate is of an authority that is not trusted");
    assert_eq!(https(tls(&other), host, address).await, unknown);
    let forged = failed("certificate is not signed by the trusted authority of that name");
    assert_eq!(https(tls(&same_name), host, address).await, forged);
    let any = || TlsCheck { is_unverified: true, ..TlsCheck::default() };
    assert_eq!(https(any(), host, address).await, good(GOOD));
    assert_eq!(https(any(), None, address).await, good(GOOD));
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let (address, _) = issuer.server(&["a.example"], expired).await;
    assert_eq!(https(tls(&issuer), host, address).await, failed("certificate has expired"));
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2999, 1, 1);
    let (address, _) = issuer.server(&["a.example"], early).await;
    assert_eq!(https(tls(&issuer), host, address).await, failed("certificate is not valid yet"));
    assert_eq!(https(any(), host, address).await, good(GOOD));
}

#[tokio::test]
async fn the_systems_authorities_do_not_know_ours() {
    let issuer = Issuer::new();
    let (address, _) = issuer.server(&["a.example"], |_| ()).await;
    match https(TlsCheck::default(), Some("a.example"), address).await {
        Outcome::Failed(reason) => assert_eq!(reason, "certificate is of an authority that is not trusted"),
        // A host without any.
        Outcome::NotRun(why) => assert!(why.contains("install ca-certificates"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_without_tls_or_that_hangs_is_told_apart() {
    let (listener, address) = listen();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            _ = stream.read(&mut [0; 1024]);
            _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let issuer = Issuer::new();
    assert_eq!(https(tls(&issuer), None, address).await, failed("the answer is not TLS"));
    let (listener, address) = listen();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let Outcome::Failed(reason) = https(tls(&issuer), None, address).await else { panic!("closed") };
    // Whether the request was there before the end decides which.
    assert!(["closed during the TLS handshake", "connection reset"].contains(&reason.as_str()), "{reason}");
    let (_listener, address) = listen();
    let check = HttpCheck {
        path: "/".into(),
        host: None,
        status: Statuses(vec![200..=200]),
        body: None,
        tls: Some(tls(&issuer)),
    };
    let hung = failed("timed out after 300 ms: no end of the TLS handshake");
    assert_eq!(run(HealthCheck::Http(check), address).await, hung);
}

#[tokio::test]
async fn a_check_with_a_file_of_authorities_comes_out_of_a_configuration() {
    let issuer = Issuer::new();
    let (address, _) = issuer.server(&["a.example"], |_| ()).await;
    let keys = format!("type = \"https\"\nhost = \"a.example\"\nca_file = \"{}\"", issuer.file().display());
    let config = config(&[("type = \"tcp\"", &keys)]);
    let HealthCheck::Http(check) = &config.services[0].health.as_ref().unwrap().check else { panic!("https") };
    let tls = check.tls.clone().unwrap();
    assert_eq!(https(tls.clone(), Some("a.example"), address).await, good(GOOD));
    // The same path with other authorities in it is another check, so that a reload takes it over.
    std::fs::write(issuer.file(), Issuer::new().certified.pem()).unwrap();
    let reloaded = self::config(&[("type = \"tcp\"", &keys)]);
    assert_ne!(reloaded.services[0].health, config.services[0].health);
}
