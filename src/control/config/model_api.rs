//! The API on TCP as the file wants it, with what is in the files that it names.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::identity::Identity;
use super::token::Token;

/// `[control.api]`: fixed at start, but for what is in its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; `None` means on no TCP port.
    pub listen: Option<SocketAddr>,
    /// Where the token is; without one nothing can be changed over TCP.
    pub token_file: Option<PathBuf>,
    /// The certificate, without which there is no TLS.
    pub tls_cert: Option<PathBuf>,
    /// Its key; `None` means in the same file.
    pub tls_key: Option<PathBuf>,
    /// Whether figures that name no client are for everybody.
    pub open_reads: bool,
    /// What is in `token_file`.
    pub token: Option<Token>,
    /// What is in `tls_cert` and `tls_key`.
    pub identity: Option<Identity>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: None,
            token_file: None,
            tls_cert: None,
            tls_key: None,
            open_reads: true,
            token: None,
            identity: None,
        }
    }
}
