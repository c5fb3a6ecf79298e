//! The reference's way with ICMP: echo requests are answered, errors go to the connection that they quote.

use std::net::IpAddr;

use crate::crossing;
use crate::local;
use crate::read::{self, Frame, Ip, Quote, word};
use crate::reference::{Choose, Connection, Fate, Home, Reference, Tuple, homes};
use crate::rewrite::{self, Socket};
use crate::tcp::Direction;
use crate::world::Mode;

impl Reference {
    /// A message in `frame`, which is `bytes`.
    pub fn icmp(
        &mut self,
        port: usize,
        bytes: &[u8],
        frame: &Frame,
        ip: &Ip,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        let is_local = self.is_local(ip.dst);
        if !ip.is_l4_right() {
            return Err("icmp_checksum");
        }
        if is_local && local::is_martian(ip.src) {
            return Err("martian");
        }
        let kind = ip.upper()[0];
        if kind == if ip.is_v4 { 8 } else { 128 } && is_local {
            return Ok(Fate::Answered(local::echo(&self.world.ports[port], bytes, frame, ip)));
        }
        // Redirects and source quenches are nobody's to act on.
        let passes = if ip.is_v4 { matches!(kind, 3 | 11 | 12) } else { kind < 128 };
        match (passes, is_local) {
            (true, _) => self.error(port, frame, ip, choose),
            (false, true) => Err("icmp_not_served"),
            (false, false) => Err("not_ours"),
        }
    }

    /// An error about a packet of some connection.
    fn error(&mut self, port: usize, frame: &Frame, ip: &Ip, choose: Choose) -> Result<Fate, &'static str> {
        let unknown = if self.is_local(ip.dst) { "icmp_no_connection" } else { "not_ours" };
        let quote = read::quote(&ip.upper()[8..])?;
        let Some((sender, receiver)) = quote.ends.filter(|_| quote.is_v4 == ip.is_v4) else { return Err(unknown) };
        // A forged MTU is not believed (rule 24).
        let known = self.find((quote.protocol, receiver, sender)).map(|(id, _)| self.connection(id));
        let is_across = known.is_some_and(|known| known.client.0.is_ipv4() != known.server.0.is_ipv4());
        // Who is not the sender hears nothing, over IPv4 before anybody looks for a connection to the other version.
        let is_for_us = known.is_some() && !(is_across && ip.is_v4 && ip.dst != sender.0) || self.is_vip(ip.dst);
        if is_for_us && !is_believed(ip) {
            return Err("icmp_mtu");
        }
        // It is for the sender of the quoted packet and for nobody else.
        if ip.dst != sender.0 {
            return Err(unknown);
        }
        // What the sender receives goes the other way.
        match self.found(&quote, sender, receiver) {
            Some((id, Direction::Request, home)) => self.error_to_backend(port, frame, ip, &quote, (id, &home), choose),
            Some((id, Direction::Reply, _)) => self.error_to_client(frame, ip, &quote, id, choose),
            None => self.by_hash(port, frame, ip, (quote.protocol, receiver, sender), choose).unwrap_or(Err(unknown)),
        }
    }

    /// The connection that answers from `receiver` to `sender`, if its backend serves.
    fn found(&mut self, quote: &Quote, sender: Socket, receiver: Socket) -> Option<(u64, Direction, Home)> {
        let (id, direction) = self.find((quote.protocol, receiver, sender))?;
        Some((id, direction, self.serving(self.connection(id))?))
    }

    /// About a packet from the VIP to the client.
    fn error_to_backend(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        quote: &Quote,
        (id, home): (u64, &Home),
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if !home.mode.is_nat() {
            return self.unchanged(port, frame, ip, home, choose);
        }
        let (out, hop) = self.route(home.address).ok_or("no_route")?;
        if home.mode == Mode::FullNat && self.connection(id).local.is_none() {
            self.note_local(quote.protocol, id, choose);
        }
        let Connection { client, server, local, .. } = *self.connection(id);
        // Nobody has seen it yet, so nothing is sent on either.
        let local = local.or((home.mode == Mode::FullNat).then_some((server.0, 0)));
        if let Some(local) = local.filter(|local| local.0.is_ipv4() != ip.is_v4) {
            return self.error_across(ip, quote, (out, hop), (server, local), choose);
        }
        self.may_go_on(ip, out)?;
        // Full-NAT's backend knows the local address alone, and maybe no way to the router.
        let src = local.map_or(ip.src, |local| local.0);
        let packet = rewrite::translate_error(ip, quote, src, server.0, (server, local.unwrap_or(client)));
        Ok(self.sent(out, hop, &[packet, frame.trailer.clone()].concat()))
    }

    /// About a packet from the client as NAT sent it on: the client sees the VIP alone, and no router behind it.
    fn error_to_client(
        &mut self,
        frame: &Frame,
        ip: &Ip,
        quote: &Quote,
        id: u64,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if ip.ttl() <= 1 {
            return Err("ttl_exceeded");
        }
        let Connection { client, vip, .. } = *self.connection(id);
        let (out, hop) = self.route(client.0).ok_or("no_route")?;
        if client.0.is_ipv4() != ip.is_v4 {
            return self.error_across(ip, quote, (out, hop), (client, vip), choose);
        }
        self.may_go_on(ip, out)?;
        let packet = rewrite::translate_error(ip, quote, vip.0, client.0, (client, vip));
        Ok(self.sent(out, hop, &[packet, frame.trailer.clone()].concat()))
    }

    /// To the other IP version: who says so has no address there, so the quoted packet's destination says it.
    fn error_across(
        &self,
        ip: &Ip,
        quote: &Quote,
        (out, hop): (usize, IpAddr),
        (src, dst): (Socket, Socket),
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if ip.ttl() <= 1 {
            return Err("ttl_exceeded");
        }
        let mtu = self.world.ports[out].mtu;
        let error = crossing::error(ip, quote, (dst.0, src.0), (src, dst), mtu, choose.identification());
        Ok(self.sent(out, hop, &error.ok_or("untranslatable")?))
    }

    /// There are no errors about errors, so what stops one is not told.
    fn may_go_on(&self, ip: &Ip, out: usize) -> Result<(), &'static str> {
        match () {
            () if ip.ttl() <= 1 => Err("ttl_exceeded"),
            () if ip.bytes.len() > self.world.ports[out].mtu => Err("too_big"),
            () => Ok(()),
        }
    }

    /// No connection: in tunnel modes the hash of the quoted tuple leads to the backend (RFC 7690).
    fn by_hash(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        tuple: Tuple,
        choose: Choose,
    ) -> Option<Result<Fate, &'static str>> {
        let service = self.service(tuple.2, tuple.0).filter(|service| !service.mode.is_nat())?.clone();
        let address = match self.choose(&service, tuple, choose) {
            Ok(address) => address,
            Err(reason) => return Some(Err(reason)),
        };
        self.stateless += 1;
        let home = homes(&service).find(|home| home.address == address)?;
        Some(self.unchanged(port, frame, ip, &home, choose))
    }

    fn unchanged(
        &mut self,
        port: usize,
        frame: &Frame,
        ip: &Ip,
        home: &Home,
        choose: Choose,
    ) -> Result<Fate, &'static str> {
        if ip.src == home.address || self.is_local(ip.src) {
            return Err("looped");
        }
        // No NAT, so it keeps its ends, whatever they are.
        self.forward(port, frame, ip, home, ((ip.src, 0), (ip.dst, 0)), choose)
    }
}

/// Whether the MTU of an error can be true; 0 is what old routers say over IPv4 (RFC 1191 section 5).
fn is_believed(ip: &Ip) -> bool {
    let (message, mtu) = (ip.upper(), word(ip.upper(), 6));
    match ip.is_v4 {
        true => message[..2] != [3, 4] || mtu == 0 || mtu >= 576,
        false => message[0] != 2 || mtu >= 1280 || message[4..6] != [0, 0],
    }
}
