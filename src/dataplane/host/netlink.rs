//! As much of rtnetlink as a network device takes to be set up (RFC 3549): its link, its addresses, and whose others are.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send, socket_with};

use crate::wire::ethernet::MacAddr;

/// A socket to the kernel's network configuration, in the namespace that it was opened in.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// An address of some device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceAddress {
    pub device: String,
    pub address: IpAddr,
    /// In bits.
    pub prefix_len: u8,
}

/// Message types, flags and attributes of linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h and neighbour.h.
mod nl {
    pub const ERROR: u16 = 2;
    pub const DONE: u16 = 3;
    pub const NEW_LINK: u16 = 16;
    pub const NEW_ADDR: u16 = 20;
    pub const GET_ADDR: u16 = 22;
    pub const NEW_NEIGH: u16 = 28;
    pub const REQUEST: u16 = 1;
    pub const ACK: u16 = 4;
    pub const DUMP: u16 = 0x300;
    pub const CREATE_NEW: u16 = 0x600;
    pub const REPLACE: u16 = 0x500;
    pub const NDA_DST: u16 = 1;
    pub const NDA_LLADDR: u16 = 2;
    pub const NUD_PERMANENT: u16 = 0x80;
    pub const IFLA_ADDRESS: u16 = 1;
    pub const IFLA_MTU: u16 = 4;
    pub const IFLA_AF_SPEC: u16 = 26;
    pub const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    pub const ADDR_GEN_MODE_NONE: u8 = 1;
    pub const IFA_ADDRESS: u16 = 1;
    pub const IFA_LOCAL: u16 = 2;
    pub const IFA_FLAGS: u16 = 8;
    pub const IFA_RT_PRIORITY: u16 = 9;
    pub const NO_DAD: u32 = 2;
    pub const UP: u32 = 1;
    pub const AF_INET: u8 = 2;
    pub const AF_INET6: u8 = 10;
}

/// Of the header of a message, of that of a link, and of that of an address.
const HEADER_LEN: usize = 16;
const ADDRESS_LEN: usize = 8;

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The number of a device.
    pub(super) fn index(&self, device: &str) -> io::Result<u32> {
        Ok(netdevice::name_to_index(&self.socket, device)?)
    }

    /// Gives a device its MAC address and MTU. The kernel makes up no IPv6 address for it.
    pub(super) fn set_link(&mut self, index: u32, mac: MacAddr, mtu: u16) -> io::Result<()> {
        let mut mode = Vec::new();
        attribute(&mut mode, nl::IFLA_INET6_ADDR_GEN_MODE, &[nl::ADDR_GEN_MODE_NONE]);
        let mut inet6 = Vec::new();
        attribute(&mut inet6, u16::from(nl::AF_INET6), &mode);
        let mut quiet = link(index, 0);
        attribute(&mut quiet, nl::IFLA_AF_SPEC, &inet6);
        // A kernel without IPv6 has nothing to be kept from.
        let _ = self.request(nl::NEW_LINK, 0, &quiet);
        let mut body = link(index, 0);
        attribute(&mut body, nl::IFLA_ADDRESS, &mac.0);
        attribute(&mut body, nl::IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        self.request(nl::NEW_LINK, 0, &body)
    }

    /// Brings a device up.
    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(nl::NEW_LINK, 0, &link(index, nl::UP))
    }

    /// Gives a device an address at once, without asking whether another host has it. Its network's route has `metric`.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr, prefix_len: u8, metric: u32) -> io::Result<()> {
        let (family, bytes) = octets(address);
        let mut body = vec![family, prefix_len, 0, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, nl::IFA_LOCAL, &bytes);
        attribute(&mut body, nl::IFA_ADDRESS, &bytes);
        attribute(&mut body, nl::IFA_FLAGS, &nl::NO_DAD.to_ne_bytes());
        attribute(&mut body, nl::IFA_RT_PRIORITY, &metric.to_ne_bytes());
        self.request(nl::NEW_ADDR, nl::CREATE_NEW, &body)
    }

    /// Tells a device's neighbour's MAC address for good.
    pub(super) fn set_neighbor(&mut self, index: u32, address: IpAddr, mac: MacAddr) -> io::Result<()> {
        let (family, bytes) = octets(address);
        let mut body = vec![family, 0, 0, 0];
        body.extend(index.to_ne_bytes());
        body.extend(nl::NUD_PERMANENT.to_ne_bytes());
        body.extend([0, 0]);
        attribute(&mut body, nl::NDA_DST, &bytes);
        attribute(&mut body, nl::NDA_LLADDR, &mac.0);
        self.request(nl::NEW_NEIGH, nl::REPLACE, &body)
    }

    /// The addresses of all devices.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<DeviceAddress>> {
        self.say(nl::GET_ADDR, nl::DUMP, &[0; ADDRESS_LEN])?;
        let mut found = Vec::new();
        loop {
            let heard = self.hear()?;
            for (kind, body) in messages(&heard) {
                match kind {
                    nl::DONE => return Ok(self.named(found)),
                    nl::ERROR => result(body)?,
                    nl::NEW_ADDR => found.extend(device_address(body)),
                    _ => {}
                }
            }
        }
    }

    fn named(&self, found: Vec<(u32, IpAddr, u8)>) -> Vec<DeviceAddress> {
        let name = |index| netdevice::index_to_name(&self.socket, index).unwrap_or_else(|_| format!("device {index}"));
        let named = |(index, address, prefix_len)| DeviceAddress { device: name(index), address, prefix_len };
        found.into_iter().map(named).collect()
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.say(kind, nl::ACK | flags, body)?;
        loop {
            let heard = self.hear()?;
            if let Some((_, body)) = messages(&heard).find(|&(kind, _)| kind == nl::ERROR) {
                return result(body);
            }
        }
    }

    fn say(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let mut message = ((HEADER_LEN + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((nl::REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }

    fn hear(&self) -> io::Result<Vec<u8>> {
        // The kernel sends no longer pieces.
        let mut room = vec![0; 32 << 10];
        let (_, len) = recv(&self.socket, room.as_mut_slice(), RecvFlags::empty())?;
        room.truncate(len);
        Ok(room)
    }
}

/// The header of a link message; `flags` are set if they are among these.
fn link(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, flags] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// Family and bytes of an address.
fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(a) => (nl::AF_INET, a.octets().to_vec()),
        IpAddr::V6(a) => (nl::AF_INET6, a.octets().to_vec()),
    }
}

/// Adds an attribute, padded to whole words.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The types and bodies of the messages in what was received.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
        let body = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The types and values of attributes.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?);
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// What an acknowledgement says.
fn result(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Device, address and prefix length.
fn device_address(body: &[u8]) -> Option<(u32, IpAddr, u8)> {
    let prefix_len = *body.get(1)?;
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let find = |wanted| attributes(body.get(ADDRESS_LEN..)?).find(|&(kind, _)| kind == wanted).map(|(_, value)| value);
    // Of a point-to-point device IFA_ADDRESS is the other end.
    let value = find(nl::IFA_LOCAL).or_else(|| find(nl::IFA_ADDRESS))?;
    let address = match *value {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
    };
    Some((index, address, prefix_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_addresses_are_among_all() -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let all = netlink.addresses()?;
        let lo = DeviceAddress { device: "lo".into(), address: IpAddr::from([127, 0, 0, 1]), prefix_len: 8 };
        assert!(all.contains(&lo), "{all:?}");
        assert!(netlink.index("lo")? > 0 && netlink.index("no-such-device").is_err());
        // The kernel's refusals come back, root or not.
        assert!(netlink.set_up(u32::MAX >> 1).is_err());
        assert_eq!(netlink.addresses()?, all, "nothing is left over from the question before");
        Ok(())
    }

    #[test]
    fn cut_answers_end_and_do_not_panic() {
        let mut body = vec![nl::AF_INET, 24, 0, 0, 7, 0, 0, 0];
        attribute(&mut body, nl::IFA_LOCAL, &[10, 0, 0, 1]);
        assert_eq!(device_address(&body), Some((7, IpAddr::from([10, 0, 0, 1]), 24)));
        for len in 0..body.len() {
            assert_eq!(device_address(&body[..len]), None, "{len}");
            assert_eq!(messages(&body[..len]).count(), 0, "{len}");
        }
        assert_eq!(attributes(&[0; 8]).count(), 0, "a length of 0 does not go round for ever");
        assert_eq!(messages(&[0; 32]).count(), 0);
        assert!(result(&[]).is_err() && result(&(-1i32).to_ne_bytes()).is_err() && result(&[0; 4]).is_ok());
    }
}
