//! Single values: text of the file to the types of the model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::keys_health::STATUSES_MAX;
use super::model::GroupKey;
use super::words::DnsRecord;
use crate::wire::ethernet::MacAddr;

/// The milliseconds of `30`, `0.5`, `"500ms"`, `"30s"`, `"2m"` or `"1h"`.
pub fn duration_ms(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(_) => u64::try_from(integer(value)?).ok()?.checked_mul(1000),
        DeValue::Float(seconds) => {
            let ms = (seconds.as_str().parse::<f64>().ok()? * 1000.0).round();
            // The upper end is far below 2^53, so that every value inside is exact.
            (0.0..=1e12).contains(&ms).then_some(ms as u64)
        }
        DeValue::String(text) => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            let (number, unit) = text.split_at_checked(digits)?;
            let unit_ms = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            number.parse::<u64>().ok()?.checked_mul(unit_ms)
        }
        _ => None,
    }
}

/// An integer of any radix; `None` for other types and for numbers beyond 128 bits.
pub fn integer(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// The address of one station, as six pairs of hex digits; not zero, no group address.
pub fn station_mac(text: &str) -> Option<MacAddr> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        *byte = hex_byte(parts.next()?)?;
    }
    let is_group = bytes.first().is_some_and(|first| first & 1 == 1);
    (parts.next().is_none() && !is_group && bytes != [0; 6]).then_some(MacAddr(bytes))
}

/// 32 hex digits, the first two of them the first byte.
pub fn hash_key(text: &str) -> Option<GroupKey> {
    let mut key = [0; 16];
    let mut digits = text;
    for byte in &mut key {
        let (pair, rest) = digits.split_at_checked(2)?;
        *byte = hex_byte(pair)?;
        digits = rest;
    }
    digits.is_empty().then_some(GroupKey(key))
}

/// `200`, `"200"`, `"200-399"` or a list of them, inside 100..=599.
pub fn statuses(value: &DeValue<'_>) -> Option<Vec<RangeInclusive<u16>>> {
    let Some(items) = value.as_array() else { return Some(vec![status(value)?]) };
    let good = (1..=STATUSES_MAX).contains(&items.len());
    good.then(|| items.iter().map(|item| status(item.get_ref())).collect()).flatten()
}

fn status(value: &DeValue<'_>) -> Option<RangeInclusive<u16>> {
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| digits && (100..=599).contains(code))
    };
    let range = match value {
        DeValue::Integer(_) => {
            let one = code(&integer(value)?.to_string())?;
            one..=one
        }
        DeValue::String(text) => match text.split_once('-') {
            Some((first, last)) => code(first)?..=code(last)?,
            None => code(text)?..=code(text)?,
        },
        _ => return None,
    };
    (!range.is_empty()).then_some(range)
}

/// The bytes of a text, or of `hex:` and two digits for each; at most `bytes_max`.
pub fn payload(text: &str, bytes_max: usize) -> Option<Vec<u8>> {
    let bytes = match text.strip_prefix("hex:") {
        Some(digits) if digits.is_ascii() => {
            let pairs = digits.as_bytes().chunks(2);
            pairs.map(|pair| hex_byte(std::str::from_utf8(pair).ok()?)).collect::<Option<Vec<u8>>>()?
        }
        Some(_) => return None,
        None => text.as_bytes().to_vec(),
    };
    (bytes.len() <= bytes_max).then_some(bytes)
}

/// A name of DNS without the dot at its end, empty for the root (RFC 1035 section 3.1).
pub fn dns_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
    let good = text == "." || (name.len() <= 253 && name.split('.').all(is_label));
    good.then(|| name.to_owned())
}

/// What a record is to say, in the form that records are compared in.
///
/// # Errors
/// What it must be.
pub fn dns_answer(record: DnsRecord, text: &str) -> Result<String, &'static str> {
    let name = |text: &str| dns_name(text).map(|name| name.to_ascii_lowercase());
    let numbers = |text: &str, count: usize| -> Option<String> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (host, before) = words.split_last()?;
        let before: Vec<u16> = before.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let before: Vec<String> = before.iter().map(ToString::to_string).collect();
        (before.len() == count).then_some(format!("{} {}", before.join(" "), name(host)?))
    };
    match record {
        DnsRecord::A => text.parse::<Ipv4Addr>().map(|address| address.to_string()).map_err(|_| "an IPv4 address"),
        DnsRecord::Aaaa => text.parse::<Ipv6Addr>().map(|address| address.to_string()).map_err(|_| "an IPv6 address"),
        DnsRecord::Cname | DnsRecord::Ns | DnsRecord::Ptr => name(text).ok_or("a DNS name"),
        DnsRecord::Mx => numbers(text, 1).ok_or("a preference and a DNS name, such as \"10 mail.example.com\""),
        DnsRecord::Srv => {
            numbers(text, 3).ok_or("priority, weight, port and a DNS name, such as \"0 5 443 www.example.com\"")
        }
        DnsRecord::Txt => Ok(text.to_owned()),
        DnsRecord::Soa => Err("left out"),
    }
}

/// `FIRST-LAST`, inside 1..=65535.
pub fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|&port| digits && port > 0)
    };
    let (first, last) = text.split_once('-')?;
    let range = port(first)?..=port(last)?;
    (!range.is_empty()).then_some(range)
}

/// `"copy"`, which is `None`, or 0..=63.
pub fn dscp(value: &DeValue<'_>) -> Option<Option<u8>> {
    match value {
        DeValue::Integer(_) => u8::try_from(integer(value)?).ok().filter(|dscp| *dscp < 64).map(Some),
        DeValue::String(text) => (text == "copy").then_some(None),
        _ => None,
    }
}

/// Whether `text` may name a port, service or backend.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Why `address` can belong to no host, or cannot be sent to; `None` for an ordinary address.
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if is_broadcast => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => Some("an address of \"this network\" (0.0.0.0/8)"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 form; write it as IPv4"),
        _ => None,
    }
}

/// Whether the address is valid on its link only (RFC 4291 section 2.5.6).
pub fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80)
}

/// Whether `n` has no divisor but 1 and itself.
pub fn is_prime(n: u32) -> bool {
    let n = u64::from(n);
    n >= 2 && (2..).take_while(|divisor| divisor * divisor <= n).all(|divisor| !n.is_multiple_of(divisor))
}

fn hex_byte(text: &str) -> Option<u8> {
    let is_pair = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    u8::from_str_radix(text, 16).ok().filter(|_| is_pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_value<T>(text: &str, read: impl Fn(&DeValue<'_>) -> Option<T>) -> Option<T> {
        read(DeValue::parse(text).expect(text).get_ref())
    }

    #[test]
    fn durations() {
        let ms = |text| with_value(text, duration_ms);
        for (text, expected) in
            [("30", 30_000), ("0", 0), ("0.5", 500), ("1_0", 10_000), ("'500ms'", 500), ("'30s'", 30_000)]
        {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        assert_eq!((ms("'2m'"), ms("'1h'"), ms("0x10")), (Some(120_000), Some(3_600_000), Some(16_000)));
        for text in
            ["-1", "nan", "inf", "-0.5", "1e300", "''", "'s'", "'1 s'", "'1d'", "'-1s'", "'+1s'", "'1.5s'", "'30'"]
        {
            assert_eq!(ms(text), None, "{text}");
        }
        assert_eq!(ms("18446744073709551615"), None);
        assert_eq!(ms("'18446744073709551615h'"), None);
        assert_eq!(ms("true"), None);
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(station_mac("02:00:00:00:aB:01"), Some(MacAddr([2, 0, 0, 0, 0xab, 1])));
        assert_eq!(station_mac("02-00-00-00-00-01").map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:01"));
        let bad =
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "2:0:0:0:0:1", "+2:00:00:00:00:01", "02:00:00:00:00:0g"];
        for text in
            bad.into_iter().chain(["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "äa:00:00:00:00:1"])
        {
            assert_eq!(station_mac(text), None, "{text}");
        }
    }

    #[test]
    fn hash_keys() {
        let key = hash_key("000102030405060708090a0b0c0d0eFF").unwrap();
        assert_eq!(key.0, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        for text in ["", "00", "000102030405060708090a0b0c0d0e0f00", "000102030405060708090a0b0c0d0e0", "32 hex digits"]
        {
            assert_eq!(hash_key(text), None, "{text}");
        }
        assert_eq!(hash_key(&"ä".repeat(16)), None);
        assert_eq!(hash_key(&"+1".repeat(16)), None);
    }

    #[test]
    fn port_ranges() {
        assert_eq!(ports("1024-65535"), Some(1024..=65_535));
        assert_eq!(ports("7-7"), Some(7..=7));
        for bad in ["", "-", "1", "1-", "-1", "0-5", "5-4", "1-65536", "+1-2", "1 - 2", "1-2-3"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn status_codes() {
        let ranges = |text| with_value(text, statuses);
        assert_eq!(ranges("200"), Some(vec![200..=200]));
        assert_eq!(ranges("'204'"), Some(vec![204..=204]));
        assert_eq!(ranges("'200-399'"), Some(vec![200..=399]));
        assert_eq!(ranges("[200, '301-302', '404']"), Some(vec![200..=200, 301..=302, 404..=404]));
        for text in
            ["99", "600", "'399-200'", "'200-'", "'-'", "''", "'+20'", "'2xx'", "2e2", "-200", "[]", "[99]", "[[200]]"]
        {
            assert_eq!(ranges(text), None, "{text}");
        }
        assert_eq!(ranges(&format!("[{}]", "200,".repeat(65))), None);
    }

    #[test]
    fn payloads() {
        assert_eq!(payload("PING\r\n", 6), Some(b"PING\r\n".to_vec()));
        assert_eq!((payload("", 6), payload("hex:", 6)), (Some(vec![]), Some(vec![])));
        assert_eq!(payload("hex:00fFa0", 3), Some(vec![0, 0xff, 0xa0]));
        for bad in ["1234567", "hex:0", "hex:0g", "hex:00 1", "hex:00010203040506", "hex:\u{e4}"] {
            assert_eq!(payload(bad, 6), None, "{bad}");
        }
    }

    #[test]
    fn names_of_dns() {
        for (text, name) in
            [("www.example.com", "www.example.com"), ("Example.", "Example"), (".", ""), ("_a._b", "_a._b")]
        {
            assert_eq!(dns_name(text).as_deref(), Some(name));
        }
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(dns_name(&longest).is_some() && dns_name(&format!("{longest}a")).is_none());
        for bad in ["", "..", "a..b", ".a", "a b", "\u{e4}.de", &format!("{label}a")] {
            assert_eq!(dns_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_of_dns() {
        let read = |record, text| dns_answer(record, text).ok();
        assert_eq!(read(DnsRecord::Aaaa, "2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(read(DnsRecord::Ns, "NS1.Example.").as_deref(), Some("ns1.example"));
        assert_eq!(read(DnsRecord::Mx, "010  Mail.example.").as_deref(), Some("10 mail.example"));
        assert_eq!(read(DnsRecord::Srv, "0 5 443 www.example").as_deref(), Some("0 5 443 www.example"));
        assert_eq!(read(DnsRecord::Txt, "As It Is ").as_deref(), Some("As It Is "));
        let bad =
            [(DnsRecord::A, "::1"), (DnsRecord::Aaaa, "1.2.3.4"), (DnsRecord::Mx, "mail"), (DnsRecord::Mx, "1 2 mail")];
        for (record, text) in
            bad.into_iter().chain([(DnsRecord::Srv, "1 2 x"), (DnsRecord::Soa, "x"), (DnsRecord::Ptr, "a b")])
        {
            assert_eq!(read(record, text), None, "{record} {text}");
        }
    }

    #[test]
    fn dscps() {
        let read = |text| with_value(text, dscp);
        assert_eq!(
            (read("0"), read("63"), read("0x2e"), read("'copy'")),
            (Some(Some(0)), Some(Some(63)), Some(Some(46)), Some(None))
        );
        for text in ["64", "-1", "256", "''", "'Copy'", "'46'", "1.0", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn primes() {
        let primes: Vec<u32> = (0..30).filter(|n| is_prime(*n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(5_000_011) && !is_prime(65_536) && !is_prime(65_537 * 3));
    }

    #[test]
    fn addresses_of_no_host() {
        let bad = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "::ffff:10.0.0.1",
        ];
        for text in bad {
            assert!(unusable(text.parse().unwrap()).is_some(), "{text}");
        }
        for text in ["10.0.0.1", "192.0.2.255", "fd00::1", "fe80::1", "64:ff9b::a00:1"] {
            assert_eq!(unusable(text.parse().unwrap()), None, "{text}");
        }
        assert!(is_link_local("febf::1".parse().unwrap()) && !is_link_local("fec0::1".parse().unwrap()));
    }
}
