//! PROXY protocol headers, version 2, of one TCP connection (haproxy's proxy-protocol.txt section 2.2).

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::bytes::{put, put_u16, u8_at, u16_at, v4_at, v6_at};

/// Length of a header with IPv4 addresses, in bytes.
pub const LEN_V4: usize = 28;
/// Length of a header with IPv6 addresses, in bytes; the longest.
pub const LEN_V6: usize = 52;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED_LEN: usize = 16;
/// Version 2, and the command that says that the connection is forwarded for somebody.
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_V4: u8 = 0x11;
const TCP_OVER_V6: u8 = 0x21;

/// Both ends of a client's connection, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Client and VIP over IPv4.
    V4(SocketAddrV4, SocketAddrV4),
    /// Client and VIP over IPv6, whatever the family of the backend is.
    V6(SocketAddrV6, SocketAddrV6),
}

/// Why bytes do not begin with a header. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The header is cut.
    #[error("proxy header of {needed} bytes in {len} bytes")]
    Truncated {
        /// How many bytes the header needs.
        needed: usize,
        /// How many bytes there are.
        len: usize,
    },
    /// Something else begins there.
    #[error("no proxy signature: 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a is needed")]
    Signature,
    /// Another version, or the command of connections that nobody is behind.
    #[error("proxy version and command 0x{0:02x}: 0x21 is needed")]
    Command(u8),
    /// Neither TCP over IPv4 nor over IPv6.
    #[error("proxy family and protocol 0x{0:02x}: 0x11 or 0x21 is needed")]
    Family(u8),
    /// Fewer bytes than the addresses have.
    #[error("proxy addresses of {0} bytes: 12 are needed for ipv4, 36 for ipv6")]
    Addresses(u16),
}

impl Ends {
    /// Both ends; `None` if they are of different families, which no header can say.
    pub fn new(client: SocketAddr, vip: SocketAddr) -> Option<Self> {
        match (client, vip) {
            (SocketAddr::V4(client), SocketAddr::V4(vip)) => Some(Self::V4(client, vip)),
            (SocketAddr::V6(client), SocketAddr::V6(vip)) => Some(Self::V6(client, vip)),
            _ => None,
        }
    }

    /// Who the connection comes from.
    pub fn client(self) -> SocketAddr {
        match self {
            Self::V4(client, _) => client.into(),
            Self::V6(client, _) => client.into(),
        }
    }

    /// What the client connected to.
    pub fn vip(self) -> SocketAddr {
        match self {
            Self::V4(_, vip) => vip.into(),
            Self::V6(_, vip) => vip.into(),
        }
    }

    /// Length of the header in bytes, always even.
    pub fn header_len(self) -> usize {
        header_len(self.client().ip())
    }

    /// Writes the header at the start of `buf` and returns its length in bytes.
    pub fn emit(self, buf: &mut [u8]) -> Option<usize> {
        let len = self.header_len();
        let header = buf.get_mut(..len)?;
        put(header, 0, SIGNATURE);
        put(header, 14, ((len - FIXED_LEN) as u16).to_be_bytes());
        let ports_at = match self {
            Self::V4(client, vip) => {
                put(header, 12, [VERSION_2_PROXY, TCP_OVER_V4]);
                put(header, FIXED_LEN, client.ip().octets());
                put(header, FIXED_LEN + 4, vip.ip().octets());
                FIXED_LEN + 8
            }
            Self::V6(client, vip) => {
                put(header, 12, [VERSION_2_PROXY, TCP_OVER_V6]);
                put(header, FIXED_LEN, client.ip().octets());
                put(header, FIXED_LEN + 16, vip.ip().octets());
                FIXED_LEN + 32
            }
        };
        put_u16(header, ports_at, self.client().port());
        put_u16(header, ports_at + 2, self.vip().port());
        Some(len)
    }

    /// Reads the header at the start of `bytes`: the ends, and its length in bytes with whatever follows the addresses.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), ProxyError> {
        let truncated = |needed| ProxyError::Truncated { needed, len: bytes.len() };
        if !bytes.iter().zip(&SIGNATURE).all(|(a, b)| a == b) {
            return Err(ProxyError::Signature);
        }
        if bytes.len() < FIXED_LEN {
            return Err(truncated(FIXED_LEN));
        }
        let (command, family, addresses_len) = (u8_at(bytes, 12), u8_at(bytes, 13), u16_at(bytes, 14));
        if command != VERSION_2_PROXY {
            return Err(ProxyError::Command(command));
        }
        let len = match family {
            TCP_OVER_V4 => LEN_V4,
            TCP_OVER_V6 => LEN_V6,
            other => return Err(ProxyError::Family(other)),
        };
        let whole_len = FIXED_LEN + usize::from(addresses_len);
        if whole_len < len {
            return Err(ProxyError::Addresses(addresses_len));
        }
        if bytes.len() < whole_len {
            return Err(truncated(whole_len));
        }
        let ports_at = len - 4;
        let (cport, vport) = (u16_at(bytes, ports_at), u16_at(bytes, ports_at + 2));
        let ends = if family == TCP_OVER_V4 {
            let at = |offset, port| SocketAddrV4::new(v4_at(bytes, offset), port);
            Self::V4(at(FIXED_LEN, cport), at(FIXED_LEN + 4, vport))
        } else {
            let at = |offset, port| SocketAddrV6::new(v6_at(bytes, offset), port, 0, 0);
            Self::V6(at(FIXED_LEN, cport), at(FIXED_LEN + 16, vport))
        };
        Ok((ends, whole_len))
    }
}

/// Length of the header for a client's address, in bytes.
pub fn header_len(client: IpAddr) -> usize {
    if client.is_ipv4() { LEN_V4 } else { LEN_V6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, vip: &str) -> Ends {
        Ends::new(client.parse().unwrap(), vip.parse().unwrap()).unwrap()
    }

    /// As the specification draws it, byte by byte.
    const V4: &[u8] = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c\
        \xc6\x33\x64\x07\xc0\x00\x02\x0a\x9c\x40\x00\x50";

    #[test]
    fn a_header_has_the_bytes_of_the_specification() {
        let mut buf = [0xff; LEN_V6];
        assert_eq!(ends("198.51.100.7:40000", "192.0.2.10:80").emit(&mut buf), Some(28));
        assert_eq!((&buf[..28], buf[28]), (V4, 0xff));

        assert_eq!(ends("[2001:db8::7]:40000", "[2001:db8:1::a]:443").emit(&mut buf), Some(52));
        assert_eq!(buf[..12], V4[..12]);
        assert_eq!(buf[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(buf[16..20], [0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!((buf[31], buf[47]), (7, 0x0a));
        assert_eq!(buf[48..], [0x9c, 0x40, 0x01, 0xbb]);
    }

    #[test]
    fn what_is_written_is_read_back_with_what_follows() {
        for ends in [ends("198.51.100.7:40000", "192.0.2.10:80"), ends("[2001:db8::7]:1", "[2001:db8::a]:65535")] {
            let mut bytes = vec![0; ends.header_len()];
            ends.emit(&mut bytes).unwrap();
            bytes.extend(b"GET /");
            assert_eq!(Ends::parse(&bytes), Ok((ends, ends.header_len())));
            // A TLV of three bytes belongs to the header.
            bytes[15] += 3;
            assert_eq!(Ends::parse(&bytes), Ok((ends, ends.header_len() + 3)));
        }
    }

    #[test]
    fn a_buffer_that_is_too_short_stays_as_it_is() {
        let mut buf = [7; LEN_V4 - 1];
        assert_eq!(ends("198.51.100.7:40000", "192.0.2.10:80").emit(&mut buf), None);
        assert_eq!(buf, [7; LEN_V4 - 1]);
    }

    #[test]
    fn ends_of_two_families_have_no_header() {
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(Ends::new(at("198.51.100.7:1"), at("[2001:db8::a]:80")), None);
        assert_eq!(Ends::new(at("[2001:db8::7]:1"), at("192.0.2.10:80")), None);
    }

    #[test]
    fn each_fault_has_its_error() {
        let with = |at: usize, value: u8| {
            let mut bytes = V4.to_vec();
            bytes[at] = value;
            Ends::parse(&bytes)
        };
        assert_eq!(with(3, b'x'), Err(ProxyError::Signature));
        assert_eq!(Ends::parse(b"GET / HTTP/1.1"), Err(ProxyError::Signature));
        assert_eq!(with(12, 0x20), Err(ProxyError::Command(0x20)));
        assert_eq!(with(13, 0x12), Err(ProxyError::Family(0x12)));
        assert_eq!(with(15, 11), Err(ProxyError::Addresses(11)));
        assert_eq!(with(15, 13), Err(ProxyError::Truncated { needed: 29, len: 28 }));
        assert_eq!(Ends::parse(&V4[..15]), Err(ProxyError::Truncated { needed: 16, len: 15 }));
        for len in 0..V4.len() {
            assert!(Ends::parse(&V4[..len]).is_err(), "{len} bytes");
        }
    }
}
