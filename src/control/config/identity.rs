//! The certificate and key that the API shows to its clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::small_file;

/// Bytes of the largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate whose key is at hand.
#[derive(Clone)]
pub struct Identity {
    certificates: Arc<[CertificateDer<'static>]>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Reads the certificates of one file, and the key of another or the same.
    ///
    /// # Errors
    /// Why they are of no use, as the end of a sentence that begins with the name of a key of the file; never the key.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, String> {
        let pem = |name: &str, path: &Path| {
            small_file::read(path, FILE_BYTES_MAX).map_err(|fault| format!("`{name}` {} {fault}", path.display()))
        };
        Self::of_pem(&pem("tls_cert", certificates)?, &pem("tls_key", key)?)
    }

    fn of_pem(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|error| format!("`tls_cert` is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err("`tls_cert` has no certificate (\"-----BEGIN CERTIFICATE-----\")".to_owned());
        }
        // What is wrong with a key is not told in detail.
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "`tls_key` has no private key in PEM (\"-----BEGIN PRIVATE KEY-----\")".to_owned())?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("`tls_cert` is of no use: {error}"))?;
        let mut server = builder
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .map_err(|error| format!("`tls_cert` and `tls_key` do not go together: {error}"))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificates: chain.into(), server: Arc::new(server) })
    }

    /// For the handshake.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

/// Without what the key could be learned from.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.certificates.len())
    }
}

/// The same if their certificates are.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Eq for Identity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_identity_is_refused_without_the_key() {
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let both = format!("{certificate}{key}");
        let identity = Identity::of_pem(both.as_bytes(), both.as_bytes()).unwrap();
        assert_eq!(format!("{identity:?}"), "Identity(1 certificates)");
        let error =
            |certificate: &str, key: &str| Identity::of_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(error("", &key).starts_with("`tls_cert` has no certificate"));
        assert!(error(&certificate, "").starts_with("`tls_key` has no private key"));
        let wrong = error(&certificate, &other.signing_key.serialize_pem());
        assert!(wrong.starts_with("`tls_cert` and `tls_key` do not go together"), "{wrong}");
        let broken = key.replacen("MI", "!!", 1);
        let told = error(&certificate, &broken);
        assert!(told.starts_with("`tls_key` has no private key") && !told.contains("!!"), "{told}");
    }
}
