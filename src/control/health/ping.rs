//! The `ping` check: an ICMP echo is answered (RFC 792, RFC 4443 section 4).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use super::fault::{Deadline, Fault};

/// Bytes that the request carries, and that the answer must bring back.
const TOKEN_BYTES: usize = 16;
const HEADER_BYTES: usize = 8;
/// An answer with the longest IPv4 header in front of it.
const PACKET_BYTES_MAX: usize = 128;

/// Sends one echo request and waits for its answer.
pub async fn check(address: IpAddr, deadline: &Deadline) -> Result<String, Fault> {
    let (socket, is_raw) = open(address)?;
    socket.set_nonblocking(true)?;
    // From now on it gets what comes from there only, be it raw or not.
    socket.connect(&SockAddr::from(SocketAddr::new(address, 0)))?;
    // What tokio does with a datagram socket is what an ICMP socket needs, raw or not.
    let socket = UdpSocket::from_std(socket.into())?;
    let token = token();
    socket.send(&request(address, &token)).await?;
    let answered = async {
        let mut packet = [0; PACKET_BYTES_MAX];
        loop {
            let len = socket.recv(&mut packet).await?;
            if is_answer(packet.get(..len).unwrap_or_default(), address, is_raw, &token) {
                return Ok::<_, io::Error>(());
            }
        }
    };
    deadline.wait("no answer", answered).await?;
    Ok("answers pings".to_owned())
}

/// A socket for pings alone, which the kernel gives to some groups, else a raw one; and whether it is raw.
fn open(address: IpAddr) -> Result<(Socket, bool), Fault> {
    let (domain, protocol) =
        if address.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    if let Ok(socket) = Socket::new(domain, Type::DGRAM, Some(protocol)) {
        return Ok((socket, false));
    }
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Ok(socket) => Ok((socket, true)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = "pings need CAP_NET_RAW, or this process's group in sysctl net.ipv4.ping_group_range";
            Err(Fault::Local(why.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What nobody can answer who has not seen the request.
fn token() -> [u8; TOKEN_BYTES] {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(number);
    (u128::from(hasher.finish()) << 64 | u128::from(number)).to_be_bytes()
}

fn request(address: IpAddr, token: &[u8; TOKEN_BYTES]) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    // A socket for pings alone puts its own number in place of the identifier; the token tells checks apart anyway.
    let [id0, id1, ..] = *token;
    let mut packet = vec![kind, 0, 0, 0, id0, id1, 0, 1];
    packet.extend_from_slice(token);
    if address.is_ipv4() {
        // The kernel computes that of ICMPv6, whose pseudo-header it alone knows.
        let sum = crate::wire::checksum::checksum(&packet);
        packet.splice(2..4, sum.to_be_bytes());
    }
    packet
}

fn is_answer(packet: &[u8], address: IpAddr, is_raw: bool, token: &[u8; TOKEN_BYTES]) -> bool {
    let message = if is_raw && address.is_ipv4() {
        // The kernel leaves the IPv4 header on.
        let header_bytes = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
        packet.get(header_bytes..).unwrap_or_default()
    } else {
        packet
    };
    let kind = if address.is_ipv4() { 0 } else { 129 };
    message.first() == Some(&kind) && message.get(HEADER_BYTES..) == Some(token.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_token_of_its_request() {
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), "2001:db8::1".parse().unwrap());
        let (ours, others) = (token(), token());
        assert_ne!(ours, others);
        let mut answer = request(v4, &ours);
        assert!(!is_answer(&answer, v4, false, &ours), "that is the request");
        answer[0] = 0;
        assert!(is_answer(&answer, v4, false, &ours) && !is_answer(&answer, v4, false, &others));
        let mut raw = vec![0; 24];
        raw[0] = 0x46;
        raw.extend_from_slice(&answer);
        assert!(is_answer(&raw, v4, true, &ours) && !is_answer(&raw, v4, false, &ours));
        assert!((0..raw.len()).all(|len| !is_answer(&raw[..len], v4, true, &ours)));
        let mut answer = request(v6, &ours);
        answer[0] = 129;
        assert!(is_answer(&answer, v6, true, &ours) && !is_answer(&answer, v4, false, &ours));
    }
}
