//! What the reference knows of datagrams that come in fragments (rule 4): nothing is put together, each fragment goes the way of its
//! datagram's first one.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::local;
use crate::read::{Frame, Ip, Piece};
use crate::reference::{Choose, Fate, Reference};

/// Addresses, identification and, in IPv4, protocol.
pub type Key = (IpAddr, IpAddr, u32, u8);

/// What only the first fragment tells: protocol and ports.
pub type Upper = (u8, u16, u16);

/// How long a datagram is known from its first fragment on, how long one without it, one that is complete, and one of IPv6 that
/// overlapped (RFC 8200 section 4.5); in milliseconds.
const KNOWN: u64 = 15_000;
const SHORT: u64 = 1000;
const POISONED6: u64 = 60_000;

/// Time is counted in units of 2^26 ns, and two more are given, so that nothing is over before its time.
fn moment(now_ns: u64) -> u64 {
    now_ns >> 26
}

fn until(now_ns: u64, ms: u64) -> u64 {
    moment(now_ns) + ((ms * 1_000_000) >> 26) + 2
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The first fragment is missing.
    Orphan,
    Known(Upper),
    /// Every byte was seen.
    Complete(Upper),
    /// Fragments overlapped.
    Poisoned,
}

#[derive(Clone, Debug)]
struct Datagram {
    stage: Stage,
    until: u64,
    pieces: Vec<(usize, usize, bool)>,
    /// Whether fragments were told to wait for the first one.
    holds: bool,
}

/// A fragment that waits for the first one of its datagram.
#[derive(Clone, Debug)]
struct Waits {
    key: Key,
    until_ns: u64,
    port: usize,
    frame: Vec<u8>,
}

#[derive(Clone, Default, Debug)]
pub struct Fragments {
    datagrams: HashMap<Key, Datagram>,
    waiting: Vec<Waits>,
    woken: Vec<Key>,
}

fn key_of(ip: &Ip, piece: &Piece) -> Key {
    (ip.src, ip.dst, piece.id, if ip.is_v4 { ip.protocol } else { 0 })
}

impl Fragments {
    /// Takes notice of a fragment: what its datagram's first one has said, or `None` if it has to wait for that.
    pub fn take(&mut self, ip: &Ip, now_ns: u64) -> Result<Option<Upper>, &'static str> {
        let piece = ip.piece().ok_or("fragment")?;
        // No sound sender makes an empty one, or one that does not end where the next could begin.
        if piece.len == 0 || (piece.more && piece.len % 8 != 0) || piece.offset + piece.len > 65_535 {
            return Err("fragment_invalid");
        }
        let key = key_of(ip, &piece);
        self.datagrams.retain(|_, datagram| moment(now_ns) < datagram.until);
        match piece.offset {
            0 => self.first(key, piece, (ip.protocol, ip.ends().0.1, ip.ends().1.1), now_ns).map(Some),
            _ => self.later(key, piece, ip.is_v4, now_ns),
        }
    }

    fn first(&mut self, key: Key, piece: Piece, upper: Upper, now_ns: u64) -> Result<Upper, &'static str> {
        let new = Datagram { stage: Stage::Orphan, until: 0, pieces: Vec::new(), holds: false };
        let datagram = self.datagrams.entry(key).or_insert(new);
        match datagram.stage {
            Stage::Poisoned => return Err("fragment_overlap"),
            Stage::Known(known) if known == upper => {
                self.add(key, piece, now_ns)?;
                return Ok(upper);
            }
            Stage::Known(_) if key.0.is_ipv6() => {
                self.poison(key, now_ns);
                return Err("fragment_overlap");
            }
            Stage::Orphan => {}
            // The identification has come round.
            Stage::Known(_) | Stage::Complete(_) => datagram.pieces.clear(),
        }
        (datagram.stage, datagram.until) = (Stage::Known(upper), until(now_ns, KNOWN));
        self.wake(key);
        self.add(key, piece, now_ns)?;
        Ok(upper)
    }

    fn later(&mut self, key: Key, piece: Piece, is_v4: bool, now_ns: u64) -> Result<Option<Upper>, &'static str> {
        let ends = until(now_ns, SHORT);
        let new = Datagram { stage: Stage::Orphan, until: ends, pieces: Vec::new(), holds: false };
        let datagram = self.datagrams.entry(key).or_insert(new);
        let is_there = datagram.pieces.contains(&place(piece));
        match datagram.stage {
            Stage::Poisoned => return Err("fragment_overlap"),
            // Not what was there, so it is of another datagram that is out of order.
            Stage::Complete(_) if is_v4 && !is_there => {
                *datagram = Datagram { stage: Stage::Orphan, until: ends, pieces: Vec::new(), holds: false };
            }
            _ => {}
        }
        let stage = datagram.stage;
        self.add(key, piece, now_ns)?;
        match stage {
            Stage::Known(upper) | Stage::Complete(upper) => Ok(Some(upper)),
            _ => {
                self.datagrams.entry(key).and_modify(|datagram| datagram.holds = true);
                Ok(None)
            }
        }
    }

    /// Adds a fragment to its datagram, unless it is there; one that contradicts what is there ends the datagram.
    fn add(&mut self, key: Key, piece: Piece, now_ns: u64) -> Result<(), &'static str> {
        let Some(datagram) = self.datagrams.get_mut(&key) else { return Ok(()) };
        let new = place(piece);
        let (start, end, is_last) = new;
        if !datagram.pieces.contains(&new) {
            let overlaps = datagram.pieces.iter().any(|&(s, e, _)| s < end && start < e);
            let ends_at = datagram.pieces.iter().find(|(_, _, is_last)| *is_last).map(|&(_, e, _)| e);
            let goes_beyond = ends_at.is_some_and(|e| is_last || end > e);
            let is_short = is_last && datagram.pieces.iter().any(|&(_, e, _)| e > end);
            if overlaps || goes_beyond || is_short {
                self.poison(key, now_ns);
                return Err("fragment_overlap");
            }
            datagram.pieces.push(new);
        }
        let ends_at = datagram.pieces.iter().find(|(_, _, is_last)| *is_last).map(|&(_, e, _)| e);
        let seen = datagram.pieces.iter().map(|(s, e, _)| e - s).sum();
        if let Stage::Known(upper) = datagram.stage
            && ends_at == Some(seen)
        {
            (datagram.stage, datagram.until) = (Stage::Complete(upper), until(now_ns, SHORT));
        }
        Ok(())
    }

    fn poison(&mut self, key: Key, now_ns: u64) {
        if let Some(datagram) = self.datagrams.get_mut(&key) {
            let ms = if key.0.is_ipv4() { SHORT } else { POISONED6 };
            (datagram.stage, datagram.until) = (Stage::Poisoned, until(now_ns, ms));
        }
        self.wake(key);
    }

    fn wake(&mut self, key: Key) {
        if let Some(datagram) = self.datagrams.get_mut(&key)
            && std::mem::take(&mut datagram.holds)
        {
            self.woken.push(key);
        }
    }

    /// Lets a fragment wait.
    pub fn hold(&mut self, ip: &Ip, port: usize, frame: &[u8], now_ns: u64) {
        if let Some(piece) = ip.piece() {
            let until_ns = now_ns + SHORT * 1_000_000;
            self.waiting.push(Waits { key: key_of(ip, &piece), until_ns, port, frame: frame.to_vec() });
        }
    }

    /// Those that need not wait any longer, with the ports that they came in by, in their order.
    pub fn release(&mut self) -> Vec<(usize, Vec<u8>)> {
        let woken = std::mem::take(&mut self.woken);
        let (out, left) = std::mem::take(&mut self.waiting).into_iter().partition(|waits| woken.contains(&waits.key));
        self.waiting = left;
        Vec::into_iter(out).map(|waits: Waits| (waits.port, waits.frame)).collect()
    }

    /// How many have waited in vain.
    pub fn expire(&mut self, now_ns: u64) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|waits| now_ns < waits.until_ns);
        before - self.waiting.len()
    }
}

fn place(piece: Piece) -> (usize, usize, bool) {
    (piece.offset, piece.offset + piece.len, !piece.more)
}

impl Reference {
    /// A fragment goes the way of a whole packet with the ports of its datagram's first one.
    pub fn fragment(
        &mut self,
        port: usize,
        bytes: &[u8],
        frame: &Frame,
        ip: &Ip,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if self.world.ports.iter().any(|port| local::addresses(port).any(|own| own == ip.dst)) {
            return Err("fragment");
        }
        // What is not for us may be a reply through NAT.
        let translates = self.world.services.iter().any(|service| service.mode.is_nat());
        let is_group = match ip.dst {
            IpAddr::V4(addr) => addr.is_multicast(),
            IpAddr::V6(addr) => addr.is_multicast(),
        };
        if !self.is_local(ip.dst) && (is_group || !translates) {
            return Err("not_ours");
        }
        // Destination options may stand before the upper layer, which the first fragment has.
        if !(ip.has_ports() || ip.is_later() && ip.protocol == 60) {
            return Err("fragment");
        }
        match self.fragments.take(ip, self.now_ns)? {
            Some((protocol, source, destination)) => {
                let ports = ip.is_later().then_some((source, destination));
                self.flow(port, frame, &Ip { protocol, ports, ..ip.clone() }, choose)
            }
            None => {
                self.fragments.hold(ip, port, bytes, self.now_ns);
                Ok(Fate::Waits)
            }
        }
    }

    /// Fragments whose first one has come, with the ports that they came in by.
    pub fn released(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.fragments.release()
    }

    /// How many fragments have waited in vain until now.
    pub fn timed_out(&mut self) -> usize {
        self.fragments.expire(self.now_ns)
    }
}
