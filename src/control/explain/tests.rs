//! Explanations of single packets, by what they have to say.

mod live;

use super::*;

const CONFIG: &str = r#"
[dataplane]
connections = 1000
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.0.0.2/24"]
gateway = "10.0.0.1"
[[port]]
name = "lan"
device = "net_null1"
addresses = ["10.1.0.2/24"]
neighbors = { "10.1.0.11" = "02:00:00:00:00:0b" }
[[service]]
name = "web"
vip = "192.0.2.10"
port = 80
protocol = "tcp"
mode = "nat"
scheduler = "rr"
[[service.backend]]
name = "b1"
address = "10.1.0.11"
port = 8080
[[service]]
name = "far"
vip = "192.0.2.11"
port = 80
protocol = "tcp"
mode = "gre"
[[service.backend]]
name = "b1"
address = "10.9.0.11"
"#;

fn explained(packet: &str, port: Option<&str>) -> Explanation {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, CONFIG).unwrap();
    let asked = Asked::Packet(packet.parse().unwrap(), port.map(str::to_owned));
    of_config(&file, &asked, None).unwrap().pop().unwrap()
}

fn said<'a>(explanation: &'a Explanation, what: &str) -> Vec<&'a str> {
    explanation.steps.iter().filter(|line| line.what == what).map(|line| line.text.as_str()).collect()
}

#[test]
fn each_decision_is_said_with_what_it_was_made_by() {
    let explanation = explained("tcp 198.51.100.7:40000 > 192.0.2.10:80", None);
    assert_eq!((explanation.port.as_str(), explanation.verdict.as_str()), ("wan", "tx"));
    assert_eq!(explanation.service.as_deref(), Some("web"));
    assert_eq!(explanation.backend.as_deref(), Some("web/b1"));
    assert_eq!(said(&explanation, "service"), ["web: tcp 192.0.2.10:80, mode nat, scheduler rr"]);
    assert_eq!(said(&explanation, "scheduler"), ["rr: web/b1"]);
    assert_eq!(said(&explanation, "backend"), ["web/b1 at 10.1.0.11 port 8080, up, by nat"]);
    assert_eq!(said(&explanation, "next hop"), ["10.1.0.11 by port lan, MAC address 02:00:00:00:00:0b"]);
    let changes = &explanation.left[0].changes;
    let of = |name: &str| {
        let change = changes.iter().find(|change| change.field == name).unwrap();
        (change.before.clone().unwrap(), change.after.clone().unwrap())
    };
    assert_eq!(of("IPv4 destination"), ("192.0.2.10".to_owned(), "10.1.0.11".to_owned()));
    assert_eq!(of("TCP destination port"), ("80".to_owned(), "8080".to_owned()));
    assert_eq!(of("IPv4 TTL"), ("64".to_owned(), "63".to_owned()));
    assert!(changes.iter().all(|change| change.field != "IPv4 source"), "what stays is no change");
}

#[test]
fn a_drop_says_what_to_do_about_it() {
    let explanation = explained("udp 198.51.100.7:40000 > 192.0.2.10:80", None);
    assert_eq!(explanation.verdict, "drop");
    let drop = explanation.drop.unwrap();
    assert_eq!(drop.reason, "no_service");
    assert!(drop.cure.contains("Add the service"), "{}", drop.cure);
    assert!(explanation.left.is_empty() && explanation.backend.is_none());
}

#[test]
fn a_next_hop_that_nobody_knows_yet_holds_the_packet_and_shows_its_header() {
    let explanation = explained("tcp 198.51.100.7:40000 > 192.0.2.11:80 length 600 df", None);
    assert_eq!(explanation.verdict, "hold");
    assert_eq!(said(&explanation, "next hop"), ["10.0.0.1 by port wan, MAC address not known yet"]);
    assert_eq!(said(&explanation, "mtu"), ["624 bytes of the 1500 that fit"]);
    let new: Vec<_> = explanation.left[0].changes.iter().filter(|change| change.before.is_none()).collect();
    let value = |name: &str| new.iter().find(|change| change.field == name).and_then(|change| change.after.clone());
    assert_eq!(value("outer IPv4 destination").as_deref(), Some("10.9.0.11"));
    assert_eq!(value("outer GRE protocol").as_deref(), Some("0x0800"));
    assert_eq!(value("outer IPv4 DF").as_deref(), Some("1"));
}

#[test]
fn errors_of_ours_are_explained_as_well() {
    let explanation = explained("tcp 198.51.100.7:40000 > 192.0.2.11:80 length 1500 df", None);
    assert_eq!(explanation.verdict, "reply");
    assert_eq!(said(&explanation, "mtu"), ["1524 bytes, and 1500 fit: too long"]);
    assert_eq!(said(&explanation, "answer"), ["its sender is due an ICMP error: too big, 1476 bytes would fit"]);
    assert!(explanation.left[0].packet.starts_with("icmp fragmentation needed 10.0.0.2 > 198.51.100.7"));
    assert!(explanation.left[0].changes.is_empty());
    let without_df = explained("tcp 198.51.100.7:40000 > 192.0.2.10:80 length 1501", None);
    assert_eq!(said(&without_df, "answer").last(), Some(&"none is sent: IPv4 without DF"));
}

#[test]
fn the_port_is_the_senders_unless_it_is_named() {
    assert_eq!(explained("tcp 10.1.0.7:40000 > 192.0.2.10:80", None).port, "lan");
    assert_eq!(explained("tcp 198.51.100.7:40000 > 192.0.2.10:80", Some("lan")).port, "lan");
}

#[test]
fn the_steps_of_a_drop_by_its_ttl_are_told() {
    let explanation = explained("tcp 198.51.100.7:40000 > 192.0.2.10:80 ttl 1", None);
    assert_eq!(explanation.verdict, "reply");
    assert_eq!(said(&explanation, "answer"), ["its sender is due an ICMP error: time exceeded"]);
}
