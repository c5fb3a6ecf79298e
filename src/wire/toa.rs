//! The TCP option that tells a backend's TOA module who the client is.
//!
//! No RFC has it; the number is one of the two for experiments (RFC 4727 section 4) and the layout is that of the kernel modules
//! in use: kind, length, port, address. The modules of LVS and DPVS read kind 254 for both families; some others
//! want kind 253 for IPv6, and to those an IPv6 client stays unknown.

use std::net::{IpAddr, SocketAddr};

use super::bytes::{put, put_u16, u16_at, v4_at, v6_at};
use super::tcp::TcpOption;

/// The option's kind.
pub const KIND: u8 = 254;
/// Length of the option with an IPv4 address, in bytes.
pub const LEN_V4: usize = 8;
/// Length of the option with an IPv6 address, in bytes; the longest.
pub const LEN_V6: usize = 20;

/// Length of the option for a client's address, in bytes: whole words in either family.
pub fn option_len(client: IpAddr) -> usize {
    if client.is_ipv4() { LEN_V4 } else { LEN_V6 }
}

/// Writes the option at the start of `buf` and returns its length in bytes.
pub fn emit(buf: &mut [u8], client: SocketAddr) -> Option<usize> {
    let len = option_len(client.ip());
    let option = buf.get_mut(..len)?;
    put(option, 0, [KIND, len as u8]);
    put_u16(option, 2, client.port());
    match client.ip() {
        IpAddr::V4(address) => put(option, 4, address.octets()),
        IpAddr::V6(address) => put(option, 4, address.octets()),
    }
    Some(len)
}

/// The client that an option names; `None` if it is another one.
pub fn client_of(option: &TcpOption<'_>) -> Option<SocketAddr> {
    let &TcpOption::Unknown { kind: KIND, data } = option else { return None };
    let address: IpAddr = match data.len() + 2 {
        LEN_V4 => v4_at(data, 2).into(),
        LEN_V6 => v6_at(data, 2).into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16_at(data, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_the_layout_that_the_modules_read() {
        let mut buf = [0xff; LEN_V6];
        assert_eq!(emit(&mut buf, "198.51.100.7:40000".parse().unwrap()), Some(8));
        assert_eq!(buf[..9], [254, 8, 0x9c, 0x40, 198, 51, 100, 7, 0xff]);
        let v6: SocketAddr = "[2001:db8::7]:443".parse().unwrap();
        assert_eq!(emit(&mut buf, v6), Some(20));
        assert_eq!(buf, [254, 20, 1, 0xbb, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(client_of(&TcpOption::Unknown { kind: 254, data: &buf[2..] }), Some(v6));
        assert_eq!(emit(&mut buf[..19], v6), None);
    }

    #[test]
    fn other_options_name_nobody() {
        for (kind, data) in [(253, &[0; 6][..]), (254, &[0; 7]), (254, &[0xf9, 0x89])] {
            assert_eq!(client_of(&TcpOption::Unknown { kind, data }), None);
        }
        assert_eq!(client_of(&TcpOption::SackPermitted), None);
    }
}
