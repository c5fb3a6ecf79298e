//! The `tcp` check, with which those over TCP begin: a connection opens.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::fault::{Deadline, Fault};

/// A connection that the backend has accepted; it closes when it is dropped.
pub async fn connect(address: SocketAddr, deadline: &Deadline) -> Result<TcpStream, Fault> {
    deadline.wait("no connection", TcpStream::connect(address)).await
}
