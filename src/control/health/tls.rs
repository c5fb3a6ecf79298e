//! TLS under a check: the server's name, and whom to believe.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::fault::{Deadline, Fault};
use crate::control::config::TlsCheck;

/// Names of a certificate in one reason; some have hundreds.
const NAMES_SHOWN_MAX: usize = 3;

/// What all connections of a check have in common.
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// `host` is the `Host` header, if there is one; `address` is the backend's.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn new(check: &TlsCheck, host: Option<&str>, address: IpAddr) -> Result<Self, Fault> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::Local(format!("TLS cannot be set up: {error}")))?;
        let mut config = match (check.is_unverified, &check.authority) {
            (true, _) => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
            (false, Some(authority)) => builder.with_root_certificates(authority.roots()),
            (false, None) => builder.with_root_certificates(system_roots()?),
        }
        .with_no_client_auth();
        // A check does all that a new client does.
        config.resumption = Resumption::disabled();
        Ok(Self { connector: Arc::new(config).into(), name: server_name(check, host, address) })
    }

    /// The handshake on a connection.
    ///
    /// # Errors
    /// What is wrong with the server or its certificate.
    pub async fn connect(&self, stream: TcpStream, deadline: &Deadline) -> Result<TlsStream<TcpStream>, Fault> {
        let handshake =
            async { self.connector.connect(self.name.clone(), stream).await.map_err(|error| explain(&error)) };
        deadline.wait("no end of the TLS handshake", handshake).await
    }
}

/// The name to ask for; an address is not asked for (RFC 6066 section 3), but is looked for in the certificate.
fn server_name(check: &TlsCheck, host: Option<&str>, address: IpAddr) -> ServerName<'static> {
    // What stands behind the last colon is a port, but inside of an IPv6 address.
    let of_host = || host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']));
    let name = check.sni.as_deref().or_else(of_host).and_then(|name| ServerName::try_from(name.to_owned()).ok());
    name.unwrap_or_else(|| ServerName::from(address))
}

/// The authorities that the system trusts, as they are when they are needed for the first time.
fn system_roots() -> Result<Arc<RootCertStore>, Fault> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // Single ones that cannot be read are no reason to go without the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let why = "the system trusts no TLS authority: install ca-certificates, or set `ca_file` or verify = false";
        return Err(Fault::Local(why.to_owned()));
    }
    Ok(roots.clone())
}

fn explain(error: &io::Error) -> Fault {
    let Some(tls) = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) else {
        return match (error.raw_os_error(), error.kind()) {
            (Some(code), _) => io::Error::from_raw_os_error(code).into(),
            (None, io::ErrorKind::UnexpectedEof) => Fault::Backend("closed during the TLS handshake".to_owned()),
            (None, kind) => io::Error::from(kind).into(),
        };
    };
    Fault::Backend(match tls {
        rustls::Error::InvalidCertificate(fault) => format!("certificate {}", certificate_fault(fault)),
        rustls::Error::AlertReceived(alert) => format!("the server ends TLS with the alert {alert:?}"),
        rustls::Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        other => format!("TLS: {other}"),
    })
}

fn certificate_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "is of an authority that is not trusted".to_owned(),
        CertificateError::BadSignature => "is not signed by the trusted authority of that name".to_owned(),
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They come as `DnsName("www.example.com")`.
            let name =
                |text: &String| text.split(['(', ')', '"']).rfind(|part| !part.is_empty()).unwrap_or(text).to_owned();
            let names: Vec<String> = presented.iter().take(NAMES_SHOWN_MAX).map(name).collect();
            let presented = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("is not for {} but for {presented}", expected.to_str())
        }
        other => format!("is not valid: {other}"),
    }
}

/// Takes every certificate: `verify = false`.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_sni_else_that_of_the_host_else_the_address() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let name = |sni: Option<&str>, host| {
            let check = TlsCheck { sni: sni.map(str::to_owned), ..TlsCheck::default() };
            server_name(&check, host, address).to_str().into_owned()
        };
        assert_eq!(name(Some("a.example"), Some("b.example")), "a.example");
        assert_eq!(name(None, Some("b.example:8443")), "b.example");
        assert_eq!(name(None, Some("b.example")), "b.example");
        assert_eq!(name(None, Some("10.0.0.9:443")), "10.0.0.9");
        assert_eq!(name(None, Some("[2001:db8::1]:443")), "2001:db8::1");
        assert_eq!(name(None, Some("not a name")), "10.0.0.1");
        assert_eq!(name(None, None), "10.0.0.1");
    }
}
