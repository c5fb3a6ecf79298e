//! A packet in a line, in words like those of tcpdump.

use std::fmt::Write;
use std::net::IpAddr;

use crate::lb::capture::view::{Carries, View};
use crate::lb::capture::{Frame, Shot};
use crate::wire::ethernet::MacAddr;
use crate::wire::protocol;

/// Time of day in UTC, port, packet, verdict, and the packet as it leaves if it looks otherwise.
pub(super) fn of_shot(shot: &Shot, port: &str, unix_ns: u64, verdict: &str) -> String {
    let (before, after) = (of_frame(&shot.before), of_frame(&shot.after));
    let mut line = format!("{} {port} {before} -- {verdict}", time(unix_ns));
    if shot.after.frame_len > 0 && after != before {
        let _ = write!(line, " as {after}");
    }
    line.push('\n');
    line
}

/// `09:05:01.000000123`
fn time(unix_ns: u64) -> String {
    let (seconds, ns) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    format!("{:02}:{:02}:{:02}.{ns:09}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

fn of_frame(frame: &Frame) -> String {
    let view = View::of(frame.bytes(), frame.frame_len);
    let vlan = view.vlan.map(|id| format!("vlan {id}, ")).unwrap_or_default();
    vlan + &match view.carries {
        Carries::V4 | Carries::V6 => ip(&view),
        Carries::Arp => arp(&view),
        Carries::Other => format!("ethertype 0x{:04x}, length {}", view.ethertype, view.frame_len),
    }
}

fn ip(view: &View) -> String {
    let version = if view.carries == Carries::V4 { "IP" } else { "IP6" };
    let Some((src, dst)) = view.addresses() else { return format!("{version} cut off, length {}", view.frame_len) };
    let (src, dst) = match view.ports() {
        Some((sport, dport)) => (format!("{src}.{sport}"), format!("{dst}.{dport}")),
        None => (src.to_string(), dst.to_string()),
    };
    format!("{version} {src} > {dst}: {}", upper(view))
}

fn upper(view: &View) -> String {
    let Some(l4) = view.l4 else { return format!("protocol {}, later fragment", view.protocol) };
    let len = view.ip_len().unwrap_or_default().saturating_sub(l4.saturating_sub(view.l3));
    let kind = view.word(l4).unwrap_or_default().to_be_bytes();
    match view.protocol {
        protocol::TCP => {
            let header = usize::from(view.byte(l4 + 12).unwrap_or_default() >> 4) * 4;
            format!(
                "Flags [{}], length {}",
                tcp_flags(view.tcp_flags().unwrap_or_default()),
                len.saturating_sub(header)
            )
        }
        protocol::UDP => format!("UDP, length {}", len.saturating_sub(8)),
        protocol::ICMP => format!("ICMP {}, length {len}", icmp(kind)),
        protocol::ICMPV6 => format!("ICMP6 {}, length {len}", icmp6(kind)),
        protocol::GRE => format!("GRE, length {len}{}", inner(view, l4 + 4)),
        protocol::IPV4 | protocol::IPV6 => format!("IPIP, length {len}{}", inner(view, l4)),
        other => format!("protocol {other}, length {len}"),
    }
}

/// What a tunnel carries.
fn inner(view: &View, at: usize) -> String {
    let bytes = view.bytes.get(at..).unwrap_or_default();
    let inner = View::of_ip(bytes);
    let tunnels = [protocol::GRE, protocol::IPV4, protocol::IPV6];
    // Tunnels in tunnels are not looked into.
    if inner.addresses().is_none() || tunnels.contains(&inner.protocol) {
        String::new()
    } else {
        format!(": {}", ip(&inner))
    }
}

/// As tcpdump writes them: `S.` is SYN with ACK.
fn tcp_flags(flags: u8) -> String {
    let mut text: String = ["F", "S", "R", "P", ".", "U", "E", "W"]
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, sign)| sign)
        .collect();
    if let Some(at) = text.find('.') {
        // The acknowledgement stands behind the flags that tell more.
        text.remove(at);
        let end = text.find(['U', 'E', 'W']).unwrap_or(text.len());
        text.insert(end, '.');
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn icmp([kind, code]: [u8; 2]) -> String {
    match kind {
        0 => "echo reply".to_owned(),
        8 => "echo request".to_owned(),
        3 => format!("unreachable, code {code}"),
        11 => "time exceeded".to_owned(),
        _ => format!("type {kind}, code {code}"),
    }
}

fn icmp6([kind, code]: [u8; 2]) -> String {
    match kind {
        1 => format!("unreachable, code {code}"),
        2 => "packet too big".to_owned(),
        3 => "time exceeded".to_owned(),
        128 => "echo request".to_owned(),
        129 => "echo reply".to_owned(),
        133 => "router solicitation".to_owned(),
        134 => "router advertisement".to_owned(),
        135 => "neighbor solicitation".to_owned(),
        136 => "neighbor advertisement".to_owned(),
        _ => format!("type {kind}, code {code}"),
    }
}

fn arp(view: &View) -> String {
    let nobody = IpAddr::from([0, 0, 0, 0]);
    let (sender, target) = view.addresses().unwrap_or((nobody, nobody));
    match view.word(view.l3 + 6) {
        Some(1) => format!("ARP, Request who-has {target} tell {sender}, length 28"),
        Some(2) => {
            let mac = view.bytes.get(view.l3 + 8..).and_then(|rest| rest.first_chunk::<6>());
            format!("ARP, Reply {sender} is-at {}, length 28", MacAddr(mac.copied().unwrap_or_default()))
        }
        other => format!("ARP, operation {}, length 28", other.unwrap_or_default()),
    }
}
