//! The authorities of a PEM file, whose certificates a check trusts.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

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
        // A pipe or a device would keep the reader waiting.
        let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() {
            return Err("is not a regular file".to_owned());
        }
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut pem));
        read.map_err(|error| format!("cannot be read: {error}"))?;
        if pem.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
        }
        Self::of_pem(&pem)
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

    #[test]
    fn files_that_cannot_be_read_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let read = |path: &Path| Authority::read(path).unwrap_err();
        assert!(read(&dir.path().join("none")).starts_with("cannot be read: No such file"));
        assert_eq!(read(dir.path()), "is not a regular file");
        assert_eq!(read(Path::new("/dev/zero")), "is not a regular file");
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(read(&large), "is larger than 4194304 bytes");
    }
}
