//! Which way the checks of a backend take.

use super::super::way::{Doors, Way, Ways};
use crate::control::compile::{Compiler, PortFacts};
use crate::control::config::{self, Config};
use crate::control::overrides::Overrides;
use crate::lb::hash::HashKey;
use crate::wire::ethernet::MacAddr;

/// A service of each mode on VIPs of both IP versions, with one backend each, behind the second port.
fn all_modes(health: &str) -> Config {
    let mut text = String::from(
        "[[port]]\nname = 'wan'\ndevice = 'net_null0'\naddresses = ['10.0.0.2/24']\n\
         [[port]]\nname = 'lan'\ndevice = 'net_null1'\naddresses = ['10.1.0.1/24']\n",
    );
    for (n, mode) in ["nat", "full-nat", "gre", "ipip", "gue", "dsr"].into_iter().enumerate() {
        let locals = if mode == "full-nat" { "local_addresses = ['10.1.0.77']\n" } else { "" };
        text += &format!(
            "[[service]]\nname = '{mode}'\nvip = '192.0.2.{n}'\nport = 80\nmode = '{mode}'\n{locals}[service.health]\n{health}\n\
             [[service.backend]]\nname = 'b'\naddress = '10.1.0.1{n}'\n"
        );
    }
    text += "[[service]]\nname = 'six'\nvip = '2001:db8::1'\nport = 80\nmode = 'gre'\n[service.health]\n";
    text += &format!("{health}\n[[service.backend]]\nname = 'b'\naddress = '10.1.0.99'\n");
    Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// The way of each service's backend, in words.
fn ways(health: &str, devices: Vec<Result<String, String>>) -> Vec<String> {
    let config = all_modes(health);
    let facts = (0..2).map(|n| PortFacts { mac: MacAddr([2, 0, 0, 0, 0, n]), host: true, rss: None }).collect();
    let mut compiler = Compiler::new(1, facts, HashKey::from_bytes([7; 16]));
    let snapshot = compiler.compile(&config, &Overrides::default(), None).unwrap();
    let doors = Doors { devices, ..Doors::default() };
    let ways = Ways::new(&snapshot, &doors);
    let words = |way| match way {
        Way::Address => "address".to_owned(),
        Way::Closed(why) => why,
        Way::Vip(through) => {
            let id = snapshot.backend(through.backend).map(|b| b.address.to_string()).unwrap();
            format!("{} {id} {} {}>{}", through.mode, through.device, through.host_end, through.stand_in)
        }
    };
    config.services.iter().map(|s| words(ways.of(s, &s.backends[0]))).collect()
}

fn doors() -> Vec<Result<String, String>> {
    vec![Err("off".into()), Ok("tg-lan".into())]
}

#[test]
fn tunnels_and_dsr_go_to_the_vip_by_the_port_of_their_backend() {
    let by = |mode: &str, n: u8| format!("{mode} 10.1.0.1{n} tg-lan 169.254.116.5>169.254.116.6");
    let vips = [by("gre", 2), by("ipip", 3), by("gue", 4), by("dsr", 5)];
    let expected = |six: &str| {
        let nat = ["address".to_owned(), "address".to_owned()];
        [&nat[..], &vips, &[six.to_owned()]].concat()
    };
    // The port has no IPv6 address that a server could answer to.
    assert_eq!(ways("", doors()), expected("address"));
}

#[test]
fn without_a_host_path_auto_goes_to_the_address_and_vip_says_why_it_cannot() {
    assert_eq!(ways("", vec![Ok("tg-wan".into()), Err("`host` is \"off\"".into())]), vec!["address"; 7]);
    assert_eq!(ways("", Vec::new()), vec!["address"; 7]);
    assert_eq!(ways("target = 'address'", doors()), vec!["address"; 7]);
    assert_eq!(ways("type = 'ping'", doors()), vec!["address"; 7]);
    let service = all_modes("").services.remove(6);
    let health = service.health.map(|health| config::Health { target: config::HealthTarget::Vip, ..health });
    let six = config::Service { health, ..service };
    let facts = (0..2).map(|n| PortFacts { mac: MacAddr([2, 0, 0, 0, 0, n]), host: true, rss: None }).collect();
    let mut all = all_modes("");
    all.services = vec![six.clone()];
    let snapshot =
        Compiler::new(1, facts, HashKey::from_bytes([7; 16])).compile(&all, &Overrides::default(), None).unwrap();
    let said = |devices| {
        let doors = Doors { devices, ..Doors::default() };
        match Ways::new(&snapshot, &doors).of(&six, &six.backends[0]) {
            Way::Closed(why) => why,
            other => panic!("{other:?}"),
        }
    };
    let why = "port lan has no address of the VIP's IP version that could be answered";
    assert_eq!(said(doors()), why);
    let off = vec![Ok("tg-wan".into()), Err("`host` is \"off\"".into())];
    assert_eq!(said(off), "port lan has no host path for checks of VIPs: `host` is \"off\"");
    assert_eq!(said(Vec::new()), "port lan has no host path");
}
