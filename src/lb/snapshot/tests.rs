//! Snapshots built from small configurations.

use super::*;
use crate::lb::testing::{all_modes, ip, service, spec};

fn name_of(snapshot: &Snapshot, vip: &str, protocol: u8, port: u16) -> Option<String> {
    let id = snapshot.find_service(ip(vip), protocol, port)?;
    Some(snapshot.service(id).unwrap().name.to_string())
}

#[test]
fn the_exact_port_comes_before_every_port() {
    let services = vec![
        service("every", Mode::Gre, 6, ("192.0.2.1", 0), 0, &["10.1.0.1"]),
        service("http", Mode::Gre, 6, ("192.0.2.1", 80), 1, &["10.1.0.2"]),
        service("dns", Mode::Gre, 17, ("192.0.2.1", 53), 2, &["10.1.0.2"]),
        service("six", Mode::Gre, 6, ("2001:db8::1", 80), 3, &["10.1.0.2"]),
    ];
    let snapshot = Snapshot::build(spec(services), None).unwrap();
    for (vip, protocol, port, expected) in [
        ("192.0.2.1", 6, 80, Some("http")),
        ("192.0.2.1", 6, 81, Some("every")),
        ("192.0.2.1", 6, 0, Some("every")),
        ("192.0.2.1", 6, 65_535, Some("every")),
        ("192.0.2.1", 17, 53, Some("dns")),
        ("192.0.2.1", 17, 80, None),
        ("192.0.2.1", 17, 0, None),
        ("2001:db8::1", 6, 80, Some("six")),
        ("2001:db8::1", 6, 81, None),
        ("192.0.2.2", 6, 80, None),
    ] {
        assert_eq!(name_of(&snapshot, vip, protocol, port).as_deref(), expected, "{vip} {protocol} {port}");
    }
}

#[test]
fn own_addresses_and_vips_are_told_apart() {
    let mut services = all_modes().services;
    services.push(service("mixed", Mode::Gre, 6, ("192.0.2.10", 443), 60, &["10.1.0.1"]));
    let snapshot = Snapshot::build(spec(services), None).unwrap();
    let link_local = link_local(crate::lb::testing::WAN).to_string();
    for (addr, expected) in [
        ("10.0.0.2", Some(Local::Own(PortId(0)))),
        ("10.1.0.254", Some(Local::Own(PortId(1)))),
        ("fd01::fe", Some(Local::Own(PortId(1)))),
        (&link_local, Some(Local::Own(PortId(0)))),
        ("192.0.2.10", Some(Local::Vip { nat: true, local: false })),
        ("192.0.2.20", Some(Local::Vip { nat: false, local: false })),
        ("192.0.2.50", Some(Local::Vip { nat: false, local: false })),
        ("10.1.0.100", Some(Local::Local)),
        ("10.0.0.1", None),
        ("10.1.0.1", None),
    ] {
        assert_eq!(snapshot.local(ip(addr)), expected, "{addr}");
    }
    let mut vips: Vec<_> = snapshot.vips().collect();
    vips.sort();
    let count = vips.len();
    vips.dedup();
    assert_eq!((vips.len(), count), (15, 15));
}

#[test]
fn link_local_addresses_follow_rfc_4291() {
    let mac = MacAddr([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
    assert_eq!(IpAddr::V6(link_local(mac)), ip("fe80::3656:78ff:fe9a:bcde"));
}

#[test]
fn a_slot_that_is_reused_is_another_backend() {
    let make = |generation| {
        let mut spec = spec(vec![service("s", Mode::Gre, 6, ("192.0.2.1", 80), 5, &["10.1.0.1"])]);
        spec.services[0].backends[0].id = BackendId::new(5, generation);
        Snapshot::build(spec, None).unwrap()
    };
    let (old, new) = (make(0), make(1));
    assert!(old.backend(BackendId::new(5, 0)).is_some());
    assert!(new.backend(BackendId::new(5, 0)).is_none());
    assert!(new.backend(BackendId::new(5, 1)).is_some());
    assert!(new.backend(BackendId::new(4, 0)).is_none() && new.backend(BackendId::new(6, 0)).is_none());
    assert_eq!(new.backends().count(), 1);
}

#[test]
fn lookup_tables_are_built_anew_only_for_what_changed() {
    let first = Snapshot::build(all_modes(), None).unwrap();
    let mut changed = all_modes();
    changed.services[0].backends[0].admits = false;
    changed.services[1].backends[0].serves = false;
    changed.services[2].maglev_size = 257;
    changed.services[3].backends[1].weight = 7;
    changed.services[4].backends[0].name = "renamed".into();
    let second = Snapshot::build(changed, Some(&first)).unwrap();
    let shared: Vec<_> = first
        .services()
        .iter()
        .zip(second.services())
        .map(|(a, b)| Arc::ptr_eq(&a.lookup.table, &b.lookup.table))
        .collect();
    // Whether a backend serves its old connections has nothing to do with new ones.
    assert_eq!(shared[..5], [false, true, false, false, true]);
    let mut other_key = all_modes();
    other_key.hash_key = HashKey::from_bytes([8; 16]);
    let third = Snapshot::build(other_key, Some(&first)).unwrap();
    assert!(!Arc::ptr_eq(&first.services()[5].lookup.table, &third.services()[5].lookup.table));
}

#[test]
fn backends_that_admit_nothing_are_never_picked() {
    let mut spec = spec(vec![service("s", Mode::Gre, 6, ("192.0.2.1", 80), 0, &["10.1.0.1", "10.1.0.2", "10.1.0.3"])]);
    spec.services[0].backends[1].admits = false;
    let picks = |spec: &SnapshotSpec| -> Vec<_> {
        let snapshot = Snapshot::build(spec.clone(), None).unwrap();
        (0..2000u64)
            .map(|n| snapshot.services()[0].pick(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).map(|b| b.slot()))
            .collect()
    };
    let some = picks(&spec);
    assert!(some.contains(&Some(0)) && some.contains(&Some(2)) && !some.contains(&Some(1)) && !some.contains(&None));
    for backend in &mut spec.services[0].backends {
        backend.admits = false;
    }
    assert!(picks(&spec).iter().all(Option::is_none));
}

#[test]
fn picks_do_not_depend_on_the_order_of_backends() {
    let make = |addresses: [&str; 3]| {
        let spec = spec(vec![service("s", Mode::Gre, 6, ("192.0.2.1", 80), 0, &addresses)]);
        Snapshot::build(spec, None).unwrap()
    };
    let (a, b) = (make(["10.1.0.1", "10.1.0.2", "10.1.0.3"]), make(["10.1.0.3", "10.1.0.1", "10.1.0.2"]));
    let address = |s: &Snapshot, hash| s.backend(s.services()[0].pick(hash).unwrap()).unwrap().address;
    for n in 0..2000u64 {
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        assert_eq!(address(&a, hash), address(&b, hash));
    }
}

#[test]
fn a_tunnel_needs_an_own_address_of_the_backends_family() {
    let mut spec = spec(vec![service("s", Mode::Gre, 6, ("192.0.2.1", 80), 0, &["fd01::1"])]);
    spec.services[0].tunnel_source = Some(ip("10.0.0.9"));
    let error = Snapshot::build(spec.clone(), None).unwrap_err().to_string();
    assert!(error.contains("fd01::1") && error.contains("service s, backend b0"), "{error}");
    spec.services[0].tunnel_source = Some(ip("fd00::9"));
    let snapshot = Snapshot::build(spec, None).unwrap();
    let outer = snapshot.backends().next().unwrap().outer.clone().unwrap();
    let seed = outer.vary().seed;
    let ends = (ip("fd00::9"), ip("fd01::1"));
    assert_eq!(Some(outer), Outer::new(Encap::Gre, &TunnelSpec::default(), ends, false, seed));
}

#[test]
fn direct_backends_behind_a_router_have_no_way() {
    let spec = spec(vec![
        service("far", Mode::Dsr, 6, ("192.0.2.1", 80), 0, &["203.0.113.1"]),
        service("near", Mode::Dsr, 6, ("192.0.2.2", 80), 1, &["10.1.0.1"]),
        service("tunnel", Mode::Gre, 6, ("192.0.2.3", 80), 2, &["203.0.113.1"]),
    ]);
    let snapshot = Snapshot::build(spec, None).unwrap();
    let hops: Vec<_> = snapshot.backends().map(|b| b.hop.map(|h| h.next)).collect();
    assert_eq!(hops, [None, Some(ip("10.1.0.1")), Some(ip("10.0.0.1"))]);
}

#[test]
fn source_addresses_are_of_the_network_asked_about() {
    let mut spec = spec(Vec::new());
    spec.ports[0].addresses = vec![(ip("10.0.0.2"), 24), (ip("10.9.0.2"), 16), (ip("fd00::2"), 64)];
    let snapshot = Snapshot::build(spec, None).unwrap();
    let port = snapshot.port(PortId(0)).unwrap();
    let source = |to: &str| port.source_for(ip(to)).map(|a| a.to_string());
    assert_eq!(source("10.9.3.4").as_deref(), Some("10.9.0.2"));
    assert_eq!(source("10.0.0.77").as_deref(), Some("10.0.0.2"));
    assert_eq!(source("8.8.8.8").as_deref(), Some("10.0.0.2"));
    assert_eq!(source("fe80::5").as_deref(), Some("fe80::ff:fe00:2"));
    assert_eq!(source("2001:db8::5").as_deref(), Some("fd00::2"));
    assert!(port.is_on_link(ip("10.9.255.255")) && !port.is_on_link(ip("10.10.0.1")));
}

#[test]
fn a_worker_that_missed_a_generation_hears_of_all_that_is_new_to_it() {
    let of = |generation, vips: &[(&str, usize, u32)]| {
        let service = |&(vip, slot, life): &(&str, usize, u32)| {
            let mut service = service(vip, Mode::Gre, 6, (vip, 80), slot, &["10.1.0.1"]);
            service.backends[0].id = BackendId::new(slot, life);
            service
        };
        let mut spec = spec(vips.iter().map(service).collect());
        spec.generation = generation;
        spec
    };
    let first = Snapshot::build(of(1, &[("192.0.2.1", 0, 0), ("192.0.2.2", 1, 0)]), None).unwrap();
    let second = Snapshot::build(of(2, &[("192.0.2.1", 0, 0), ("192.0.2.3", 2, 0)]), Some(&first)).unwrap();
    let third = Snapshot::build(of(3, &[("192.0.2.2", 1, 1), ("192.0.2.3", 2, 0)]), Some(&second)).unwrap();
    let news = |snapshot: &Snapshot, previous| {
        let mut ids: Vec<_> = snapshot.new_backends(previous).collect();
        ids.sort();
        (ids, snapshot.new_vips(previous).iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let id = BackendId::new;
    let vips = |all: &[&str]| all.iter().map(|vip| (*vip).to_owned()).collect::<Vec<_>>();
    assert_eq!(news(&first, None), (vec![id(0, 0), id(1, 0)], vips(&["192.0.2.1", "192.0.2.2"])));
    assert_eq!(news(&second, Some(&first)), (vec![id(2, 0)], vips(&["192.0.2.3"])));
    assert_eq!(news(&third, Some(&second)), (vec![id(1, 1)], vips(&["192.0.2.2"])));
    assert_eq!(news(&third, Some(&first)), (vec![id(2, 0), id(1, 1)], vips(&["192.0.2.2", "192.0.2.3"])));
    assert_eq!(news(&third, None).0, [id(2, 0), id(1, 1)]);
    assert_eq!(news(&third, Some(&third)), (vec![], vips(&[])));
}
