//! The `tcp` check: a connection opens.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::check::Fault;

/// Good when the backend accepts a connection, which is closed at once.
pub async fn check(address: SocketAddr) -> Result<String, Fault> {
    TcpStream::connect(address).await?;
    Ok("accepts connections".to_owned())
}
