//! The single tests of a filter.

use std::net::IpAddr;

use super::parser::{FilterError, Parser};
use crate::lb::capture::filter::{Compare, End, Expression, Net, Test, kind};
use crate::lb::capture::view::Carries;
use crate::lb::verdict::DropReason;
use crate::wire::protocol;

/// What stands before an address or a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qualifiers {
    layer: Option<Layer>,
    end: End,
    kind: Kind,
}

/// What a test is limited to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layer {
    Carries(Carries),
    Protocol(u8),
    /// ICMP is with IPv4, ICMPv6 with IPv6 only.
    Icmp(Carries, u8),
    Ether,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

const LAYERS: [(&str, Layer); 10] = [
    ("ip", Layer::Carries(Carries::V4)),
    ("ip6", Layer::Carries(Carries::V6)),
    ("arp", Layer::Carries(Carries::Arp)),
    ("tcp", Layer::Protocol(protocol::TCP)),
    ("udp", Layer::Protocol(protocol::UDP)),
    ("sctp", Layer::Protocol(protocol::SCTP)),
    ("icmp", Layer::Icmp(Carries::V4, protocol::ICMP)),
    ("icmp6", Layer::Icmp(Carries::V6, protocol::ICMPV6)),
    ("gre", Layer::Protocol(protocol::GRE)),
    ("ether", Layer::Ether),
];

const KINDS: [(&str, Kind); 5] = [
    ("host", Kind::Host),
    ("net", Kind::Net),
    ("port", Kind::Port),
    ("portrange", Kind::PortRange),
    ("proto", Kind::Protocol),
];

/// What there is beside layers and kinds.
const OTHERS: [&str; 9] = ["src", "dst", "vlan", "less", "greater", "drop", "verdict", "not", "and"];

const VERDICTS: [(&str, u8); 7] = [
    ("forward", kind::FORWARD),
    ("reply", kind::REPLY),
    ("punt", kind::PUNT),
    ("handoff", kind::HANDOFF),
    ("hold", kind::HOLD),
    ("await", kind::AWAIT),
    ("drop", kind::DROP),
];

const FLAGS: [(&str, u8); 8] = [
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
];

const PROTOCOLS: [(&str, u8); 10] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("sctp", protocol::SCTP),
    ("icmp", protocol::ICMP),
    ("icmp6", protocol::ICMPV6),
    ("gre", protocol::GRE),
    ("ospf", protocol::OSPF),
    ("vrrp", protocol::VRRP),
    ("esp", protocol::ESP),
    ("ah", protocol::AH),
];

fn find<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

fn words<T>(table: &'static [(&'static str, T)]) -> impl Iterator<Item = &'static str> {
    table.iter().map(|(name, _)| *name)
}

/// One test with what stands before it.
pub(super) fn primitive(parser: &mut Parser) -> Result<Expression, FilterError> {
    match parser.peek() {
        "vlan" => vlan(parser),
        "less" | "greater" => length(parser),
        "drop" => dropped(parser),
        "verdict" => {
            parser.take();
            let kinds = find(&VERDICTS, parser.peek()).ok_or_else(|| {
                parser.unknown("a verdict: forward, reply, punt, handoff, hold, await or drop", words(&VERDICTS))
            })?;
            parser.take();
            Ok(Expression::Test(Test::Verdict(kinds)))
        }
        "tcp" if parser.peek_at(1) == "[" => tcp_flags(parser),
        _ => qualified(parser),
    }
}

fn vlan(parser: &mut Parser) -> Result<Expression, FilterError> {
    parser.take();
    let Ok(id) = parser.peek().parse::<u16>() else { return Ok(Expression::Test(Test::Vlan(None))) };
    if id > 4095 {
        return Err(parser.wrong(&format!("VLAN {id}: 0 to 4095 are possible"), None));
    }
    parser.take();
    Ok(Expression::Test(Test::Vlan(Some(id))))
}

fn length(parser: &mut Parser) -> Result<Expression, FilterError> {
    let is_less = parser.take() == "less";
    let Ok(bytes) = parser.peek().parse::<u32>() else {
        return Err(parser.unknown("a length in bytes", []));
    };
    parser.take();
    Ok(Expression::Test(if is_less { Test::Len(0, bytes) } else { Test::Len(bytes, u32::MAX) }))
}

fn dropped(parser: &mut Parser) -> Result<Expression, FilterError> {
    parser.take();
    if matches!(parser.peek(), "" | "and" | "or" | ")") {
        return Ok(Expression::Test(Test::Verdict(kind::DROP)));
    }
    let labels = || DropReason::ALL.iter().map(|reason| reason.label());
    let reason = DropReason::ALL.iter().find(|reason| reason.label() == parser.peek());
    let reason =
        reason.ok_or_else(|| parser.unknown("a reason to drop (`tidegate show drops --all` names them)", labels()))?;
    parser.take();
    Ok(Expression::Test(Test::Reason(*reason)))
}

/// `tcp[tcpflags] & (tcp-syn|tcp-fin) != 0` and its relatives.
fn tcp_flags(parser: &mut Parser) -> Result<Expression, FilterError> {
    parser.take();
    parser.expect("[")?;
    if !matches!(parser.peek(), "tcpflags" | "13") {
        return Err(parser.wrong("only tcp[tcpflags] can be compared", None));
    }
    parser.take();
    parser.expect("]")?;
    let mask = if parser.takes("&") { flags(parser)? } else { 0xFF };
    let compare = match parser.take().as_str() {
        "=" => Compare::Equal,
        "!=" => Compare::Unequal,
        _ => return Err(parser.wrong_before("a comparison is missing: `!= 0` or `= tcp-syn`", None)),
    };
    let value = flags(parser)?;
    Ok(Expression::Test(Test::TcpFlags(mask, compare, value)))
}

/// Flags by name or number, or several in parentheses.
fn flags(parser: &mut Parser) -> Result<u8, FilterError> {
    let several = parser.takes("(");
    let mut all = 0;
    loop {
        let word = parser.peek();
        let number = word.strip_prefix("0x").map_or_else(|| word.parse().ok(), |hex| u8::from_str_radix(hex, 16).ok());
        let flag = find(&FLAGS, word)
            .or(number)
            .ok_or_else(|| parser.unknown("a TCP flag, such as tcp-syn", words(&FLAGS)))?;
        parser.take();
        all |= flag;
        if !(several && parser.takes("|")) {
            break;
        }
    }
    if several {
        parser.expect(")")?;
    }
    Ok(all)
}

/// `[ip|tcp ...] [src|dst] [host|net|port|portrange|proto] WHAT`, each part of which may be left out.
fn qualified(parser: &mut Parser) -> Result<Expression, FilterError> {
    let layer = find(&LAYERS, parser.peek());
    if layer.is_some() {
        parser.take();
    }
    let end = end(parser)?;
    let kind = find(&KINDS, parser.peek());
    if kind.is_some() {
        parser.take();
    }
    let has_value = !matches!(parser.peek(), "" | "or" | "(" | ")") && !is_known(parser.peek());
    if let (Some(layer), None, None, false) = (layer, end, kind, has_value) {
        if layer == Layer::Ether {
            return Err(parser.unknown("a MAC address", []));
        }
        return Ok(layer.test());
    }
    let qualifiers = match (layer, end, kind) {
        (None, None, None) => match parser.last {
            Some(last) if starts_as_value(parser.peek()) => last,
            _ => Qualifiers { layer, end: End::Either, kind: Kind::Host },
        },
        // What begins with no digit is a misspelt word rather than an address.
        _ => Qualifiers { layer, end: end.unwrap_or(End::Either), kind: kind.unwrap_or(Kind::Host) },
    };
    let test = value(parser, qualifiers)?;
    parser.last = Some(qualifiers);
    Ok(match qualifiers.layer.filter(|layer| *layer != Layer::Ether) {
        Some(layer) => Expression::And(Box::new(layer.test()), Box::new(test)),
        None => test,
    })
}

/// Whether this word begins something else than a value.
fn is_known(word: &str) -> bool {
    find(&LAYERS, word).is_some() || find(&KINDS, word).is_some() || OTHERS.contains(&word)
}

fn starts_as_value(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':')
}

fn end(parser: &mut Parser) -> Result<Option<End>, FilterError> {
    let first = match parser.peek() {
        "src" => End::Source,
        "dst" => End::Destination,
        _ => return Ok(None),
    };
    parser.take();
    let other = if first == End::Source { "dst" } else { "src" };
    if parser.peek_at(1) != other || !matches!(parser.peek(), "or" | "and") {
        return Ok(Some(first));
    }
    // `src 10.0.0.1 or dst ...` has its address before the `or`, so this is `src or dst`.
    let both = parser.take() == "and";
    parser.take();
    Ok(Some(if both { End::Both } else { End::Either }))
}

impl Layer {
    fn test(self) -> Expression {
        match self {
            Self::Carries(what) => Expression::Test(Test::Carries(what)),
            Self::Protocol(number) => Expression::Test(Test::Protocol(number)),
            Self::Icmp(version, number) => Expression::And(
                Box::new(Expression::Test(Test::Carries(version))),
                Box::new(Expression::Test(Test::Protocol(number))),
            ),
            Self::Ether => Expression::Test(Test::Any),
        }
    }
}

fn value(parser: &mut Parser, qualifiers: Qualifiers) -> Result<Expression, FilterError> {
    let Qualifiers { layer, end, kind } = qualifiers;
    let word = parser.peek().to_owned();
    let test = match kind {
        Kind::Host if layer == Some(Layer::Ether) => {
            let mac = word.parse::<crate::wire::ethernet::MacAddr>();
            let mac = mac.map_err(|_| parser.unknown("a MAC address such as 02:00:00:00:00:01", []))?;
            Test::Mac(end, mac.0)
        }
        Kind::Host => {
            let address = word.parse::<IpAddr>().map_err(|_| not_an_address(parser, &word))?;
            Test::Host(end, Net { address, prefix: if address.is_ipv4() { 32 } else { 128 } })
        }
        Kind::Net => Test::Host(end, net(parser, &word)?),
        Kind::Port => {
            let port = port(parser, &word)?;
            Test::Port(end, port, port)
        }
        Kind::PortRange => {
            let (first, last) = word.split_once('-').unwrap_or((&word, &word));
            let (first, last) = (port(parser, first)?, port(parser, last)?);
            if first > last {
                return Err(parser.wrong(
                    &format!("ports {first} to {last} are none"),
                    Some(format!("did you mean {last}-{first}?")),
                ));
            }
            Test::Port(end, first, last)
        }
        Kind::Protocol => {
            let number = find(&PROTOCOLS, &word).or_else(|| word.parse().ok());
            Test::Protocol(number.ok_or_else(|| {
                parser.unknown("a protocol: a number up to 255 or a name such as gre", words(&PROTOCOLS))
            })?)
        }
    };
    parser.take();
    Ok(Expression::Test(test))
}

fn not_an_address(parser: &Parser, word: &str) -> FilterError {
    if word.contains('/') {
        return parser.wrong(&format!("`{word}` is a network"), Some(format!("write `net {word}`")));
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':') {
        let meant = word.parse::<u16>().is_ok().then(|| format!("write `port {word}` if that is meant"));
        return parser.wrong(&format!("`{word}` is no IP address"), meant);
    }
    let known = words(&LAYERS).chain(words(&KINDS)).chain(OTHERS);
    parser.unknown("a word of filters, nor an address (names are not looked up)", known)
}

/// `10.0.0.0/8`, `10.0.0.0 mask 255.0.0.0`, `10.0` for `10.0.0.0/16`, an IPv6 prefix.
fn net(parser: &mut Parser, word: &str) -> Result<Net, FilterError> {
    let bad = |parser: &Parser, why: &str| {
        parser
            .wrong(&format!("`{word}` is no network{why}"), Some("write it as 10.0.0.0/8 or 2001:db8::/32".to_owned()))
    };
    let (address, prefix) = word.split_once('/').map_or((word, None), |(address, prefix)| (address, Some(prefix)));
    let dots = address.matches('.').count();
    let address = if address.contains(':') {
        address.to_owned()
    } else {
        format!("{address}{}", ".0".repeat(3usize.saturating_sub(dots)))
    };
    let address = address.parse::<IpAddr>().map_err(|_| bad(parser, ""))?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let mut prefix = match prefix {
        Some(prefix) => prefix
            .parse::<u8>()
            .ok()
            .filter(|&prefix| prefix <= whole)
            .ok_or_else(|| bad(parser, ": the prefix is too long"))?,
        None if address.is_ipv4() => 8 * (dots as u8 + 1),
        None => whole,
    };
    if parser.peek_at(1) == "mask" {
        parser.take();
        parser.take();
        let mask = parser.peek().parse::<std::net::Ipv4Addr>().map(u32::from).ok();
        let mask = mask.filter(|mask| mask.leading_ones() + mask.trailing_zeros() == 32);
        prefix = mask.ok_or_else(|| parser.unknown("a mask such as 255.255.0.0", []))?.leading_ones() as u8;
    }
    Ok(masked(address, prefix))
}

fn masked(address: IpAddr, prefix: u8) -> Net {
    let address = match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    };
    Net { address, prefix }
}

fn port(parser: &Parser, word: &str) -> Result<u16, FilterError> {
    word.parse().map_err(|_| parser.unknown("a port: 0 to 65535, as names are not looked up", []))
}
