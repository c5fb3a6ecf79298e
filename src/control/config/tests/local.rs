//! The addresses that full-nat connects from.

use super::{PORT, parse, service};

fn faults(text: &str) -> Vec<String> {
    let errors = parse(text).err();
    errors.iter().flat_map(|errors| errors.iter().map(|error| error.message.clone())).collect()
}

/// Of a full-nat service `web` with these local addresses and backends.
fn of(local_addresses: &str, backends: &[&str]) -> Vec<String> {
    faults(&full_nat(local_addresses, backends))
}

fn full_nat(local_addresses: &str, backends: &[&str]) -> String {
    let mut text = service("full-nat", &format!("local_addresses = {local_addresses}"), "");
    text.truncate(text.find("[[service.backend]]").unwrap());
    for (n, address) in backends.iter().enumerate() {
        text += &format!("[[service.backend]]\nname = 'b{}'\naddress = '{address}'\n", n + 1);
    }
    text
}

#[test]
fn each_family_of_backends_needs_an_address_of_its_own() {
    let missing = |family: &str, backend: &str| {
        format!("mode full-nat needs an {family} address in `local_addresses`: backend `{backend}` is {family}")
    };
    // The VIP is IPv4, which does not matter.
    assert_eq!(of("['10.0.0.100']", &["10.1.0.1"]), [""; 0]);
    assert_eq!(of("['fd00::100']", &["fd01::1", "fd01::2"]), [""; 0]);
    assert_eq!(of("['10.0.0.100', '203.0.113.9', 'fd00::100']", &["10.1.0.1", "fd01::1"]), [""; 0]);
    assert_eq!(of("['10.0.0.100']", &["10.1.0.1", "fd01::1", "fd01::2"]), [missing("IPv6", "b2")]);
    assert_eq!(of("['fd00::100']", &["10.1.0.1"]), [missing("IPv4", "b1")]);
    assert_eq!(of("[]", &["fd01::1", "10.1.0.1"]), [missing("IPv4", "b2"), missing("IPv6", "b1")]);
    assert_eq!(of("[]", &[]), ["mode full-nat needs an address in `local_addresses` to connect from"]);
    let left_out = service("full-nat", "", "address = '10.1.0.1'");
    assert_eq!(faults(&left_out), [missing("IPv4", "b1")]);
    // Other modes need none, and a bad list is not told to be short as well.
    assert_eq!(faults(&service("nat", "", "address = '10.1.0.1'")), [""; 0]);
    assert_eq!(of("['10.0.0.100', '10.0.0.100']", &["fd01::1"]), ["local address 10.0.0.100 is there twice"]);
    assert_eq!(of("['127.0.0.1']", &["fd01::1"]).len(), 1);
}

#[test]
fn what_is_missing_is_shown_where_it_belongs() {
    let shown = |text: &str| parse(text).unwrap_err().to_string();
    assert!(shown(&service("full-nat", "", "address = '10.1.0.1'")).contains("| mode = 'full-nat'"));
    assert!(shown(&full_nat("['fd00::100']", &["10.1.0.1"])).contains("| local_addresses = ['fd00::100']"));
}

#[test]
fn addresses_of_others_are_refused() {
    let port = PORT.replace("gateway =", "neighbors = { '10.0.0.77' = '02:00:00:00:00:77' }\ngateway =");
    let other = "[[service]]\nname = 'dns'\nvip = '192.0.2.53'\nport = 53\nmode = 'nat'\n\
                 [[service.backend]]\nname = 'd1'\naddress = '10.1.0.53'\n\
                 [[service]]\nname = 'all'\nvip = '192.0.2.99'\nmode = 'nat'\n\
                 [[service.backend]]\nname = 'a1'\naddress = '10.1.0.99'\n";
    for (address, fault) in [
        ("10.0.0.2", "the own address of port `wan`"),
        ("10.0.0.255", "the broadcast address of port `wan`"),
        ("10.0.0.1", "the gateway of port `wan`"),
        ("10.0.0.77", "a neighbor of port `wan`"),
        ("10.1.0.1", "backend `b1` of service `web`"),
        ("10.1.0.53", "backend `d1` of service `dns`"),
        ("192.0.2.99", "the VIP of service `all`, which has every port of it"),
    ] {
        let text = full_nat(&format!("['10.0.0.100', '{address}']"), &["10.1.0.1"]).replace(PORT, &port) + other;
        assert_eq!(faults(&text), [format!("`local_addresses` cannot have {address}: that is {fault}")]);
    }
    // On a port's network, elsewhere, and a VIP with a port of its own: replies are told apart by their ports.
    for address in ["10.0.0.78", "203.0.113.9", "192.0.2.53", "192.0.2.10"] {
        let text = full_nat(&format!("['{address}']"), &["10.1.0.1"]) + other;
        assert_eq!(faults(&text), [""; 0], "{address}");
    }
}

#[test]
fn who_shares_an_end_shares_its_ports() {
    let two = |local: &str, keys: &str| {
        let second = full_nat(local, &["10.1.0.1"]).replace(PORT, "").replace("'web'", "'two'");
        let second = second.replace("port = 80", "port = 80\nprotocol = 'tcp'").replace("192.0.2.10", "192.0.2.11");
        let second = second.replace("mode = 'full-nat'", &format!("mode = 'full-nat'\n{keys}"));
        faults(&(full_nat("['10.0.0.100']", &["10.1.0.1"]) + &second))
    };
    let message = "`local_ports` must be those of service `web`, which connects from 10.0.0.100 to 10.1.0.1:80 as well";
    assert_eq!(two("['10.0.0.100']", "local_ports = '2000-3000'"), [message]);
    assert_eq!(two("['10.0.0.100']", "local_ports = '1024-65535'"), [""; 0]);
    assert_eq!(two("['10.0.0.101']", "local_ports = '2000-3000'"), [""; 0]);
}
