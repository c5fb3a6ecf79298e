//! The authorities of a PEM file, whose certificates a check trusts.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::small_file;

/// Bytes of the largest file that is read; those of distributions have 200 to 300 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// At least one authority.
#[derive(Clone, Debug)]
pub struct Authority {
    certificates: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
}

/// The same if their certificates are.
impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Eq for Authority {}

impl Authority {
    /// Reads every certificate of the file at `path`.
    ///
    /// # Errors
    /// Why it is of no use, as the end of a sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        Self::of_pem(&small_file::read(path, FILE_BYTES_MAX)?)
    }

    fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|error| format!("is not PEM: {error}"))?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            let number = index + 1;
            roots
                .add(certificate.clone())
                .map_err(|error| format!("has a bad certificate, number {number}: {error}"))?;
        }
        if roots.is_empty() {
            return Err("has no certificate (\"-----BEGIN CERTIFICATE-----\")".to_owned());
        }
        Ok(Self { certificates: certificates.into(), roots: Arc::new(roots) })
    }

    /// For the verifier.
    pub fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_is_refused() {
        let error = |pem: &str| Authority::of_pem(pem.as_bytes()).unwrap_err();
        assert_eq!(error(""), "has no certificate (\"-----BEGIN CERTIFICATE-----\")");
        assert_eq!(error("hello\n"), error(""));
        assert!(error("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").starts_with("is not PEM: "));
        let bad = error("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(bad.starts_with("has a bad certificate, number 1: "), "{bad}");
    }
}
