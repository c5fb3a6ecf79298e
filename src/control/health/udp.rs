//! The `udp` check: a datagram is answered as it should, or at least not refused.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::fault::{Deadline, Fault};
use super::way::Door;
use crate::control::config::UdpCheck;

/// Bytes of an answer that are looked at.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends the datagram, and waits for a good answer or for ICMP port unreachable.
pub async fn check(door: &Door<'_>, check: &UdpCheck, deadline: &Deadline) -> Result<String, Fault> {
    let socket = door.udp().await?;
    socket.send(&check.send).await.map_err(explain)?;
    let Some(expected) = &check.expect else { return no_refusal(&socket, deadline).await };
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut lacking = "no answer";
    loop {
        let received = async { socket.recv(&mut answer).await.map_err(explain) };
        let len = deadline.wait(lacking, received).await?;
        let answer = answer.get(..len).unwrap_or_default();
        if expected.is_empty() || answer.windows(expected.len()).any(|part| part == expected.as_slice()) {
            return Ok("answers".to_owned());
        }
        // An answer to an earlier question may come late; a good one may follow.
        lacking = "no answer with what is expected";
    }
}

/// A socket that gets datagrams, and ICMP errors, from there only.
///
/// # Errors
/// What this host lacks.
pub async fn connect(address: SocketAddr) -> Result<UdpSocket, Fault> {
    let any = if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Silence is good, since nothing else is known of such a service.
async fn no_refusal(socket: &UdpSocket, deadline: &Deadline) -> Result<String, Fault> {
    let mut answer = [0];
    match tokio::time::timeout_at(deadline.at(), socket.recv(&mut answer)).await {
        Ok(Ok(_)) => Ok("answers".to_owned()),
        Ok(Err(error)) => Err(explain(error)),
        Err(_) => Ok(format!("not refused in {}", deadline.text())),
    }
}

/// What the kernel says of a connected socket after an ICMP error.
pub fn explain(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Backend("port unreachable".to_owned()),
        _ => error.into(),
    }
}
