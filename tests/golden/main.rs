//! Golden cases: captures through `tidegate replay` and through `tidegate run`, the same frames out of both, judged by
//! rules and compared byte by byte.
//!
//! A case is a directory beside this file. `BLESS=1 cargo test --test golden` makes them anew from the `cases_*` files;
//! the rules of `oracle` hold for what is blessed, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod capture;
mod case;
mod cases_encap;
mod cases_fragments;
mod cases_full_nat;
mod cases_host;
mod cases_hygiene;
mod cases_icmp;
mod cases_nat;
mod cases_rules;
mod cases_schedulers;
mod cases_state;
mod cases_told;
mod cases_tunnel;
mod cases_vlan;
mod explain;
mod oracle;
mod packet;
mod pieces;
mod runner;
mod view;

use case::{Case, Run};

macro_rules! golden {
    ($($module:ident: $($case:ident)*;)*) => {
        $($(mod $case {
            #[test]
            fn replay() {
                crate::runner::replay(&crate::$module::$case());
            }

            #[test]
            fn explain() {
                crate::runner::explain(&crate::$module::$case());
            }

            #[test]
            fn run() {
                crate::runner::run(&crate::$module::$case());
            }
        })*)*

        /// Every case.
        const ALL: &[fn() -> Case] = &[$($($module::$case,)*)*];
    };
}

golden! {
    cases_tunnel:
        gre_v4_over_v4 gre_v6_over_v4 gre_v4_over_v6 gre_v6_over_v6 gre_mtu gre_outer_header gre_padding gre_stray
        gre_tunnel_source ip_options dsr whole_address icmp_errors_tunnel;
    cases_encap:
        ipip gue tunnel_marks mtu_fragment mss_clamp outer_tier;
    cases_nat:
        nat_one_arm nat_two_arm nat_udp_checksum nat_wrong_checksum nat_ttl icmp_errors_nat nat_tuple_conflict
        nat_no_route;
    cases_full_nat:
        full_nat full_nat_across full_nat_ports;
    cases_told:
        client_address_proxy client_address_toa;
    cases_hygiene:
        arp_nd_echo malformed not_served martians_and_loops ip6_extensions vlan_port priority_tag;
    cases_vlan:
        vlan_trunk vlan_beside_untagged vlan_stacks jumbo_frames longer_than_mtu;
    cases_fragments:
        fragments fragments_back fragments_out_of_order fragments_doubled fragments_overlap fragments_never_complete
        fragments_too_late fragments_refused fragments_off fragments_two_workers fragments_backend_down
        fragments_config_swap fragments_full;
    cases_host:
        host_on host_off;
    cases_icmp:
        rule_2_ttl rule_22_quotes rule_23_no_connection rule_24_state rule_24_tunnel_path rule_25_own_messages
        pings_through_nat;
    cases_rules:
        protocols lengths tcp_sequences resets port_reuse syn_flood;
    cases_schedulers:
        scheduler_rr scheduler_wrr scheduler_sh scheduler_lc scheduler_wlc scheduler_lrt connections_max persistence;
    cases_state:
        backend_down backend_drain config_swap no_backend no_backend_left timeouts syn_on_closing table_full_gre
        table_full_nat neighbor_silent neighbor_answers two_workers;
}

#[test]
fn every_directory_belongs_to_a_case_and_has_its_name() {
    let mut names: Vec<String> = ALL.iter().map(|case| case().name.to_owned()).collect();
    names.sort();
    let entries = std::fs::read_dir(runner::directory("")).unwrap();
    let directories = entries.map(|e| e.unwrap()).filter(|e| e.file_type().unwrap().is_dir());
    let mut found: Vec<String> = directories.map(|e| e.file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, names);
}

/// Those that replay alone can show, so that none slips in unseen.
#[test]
fn cases_that_run_leaves_out_are_these() {
    let cases = || ALL.iter().map(|case| case());
    let left_out: Vec<_> = cases().filter(|case| matches!(case.run, Run::Skip(_))).map(|case| case.name).collect();
    let fragments = ["fragments-too-late", "fragments-backend-down", "fragments-config-swap", "fragments-full"];
    let (draws, left_out) = left_out.split_at(1);
    assert_eq!(draws, ["full-nat-ports"]);
    let (of_fragments, left_out) = left_out.split_at(fragments.len());
    assert_eq!(of_fragments, fragments);
    assert_eq!(
        left_out,
        [
            "host-on",
            "resets",
            "scheduler-lc",
            "scheduler-lrt",
            "backend-down",
            "backend-drain",
            "config-swap",
            "no-backend-left",
            "timeouts"
        ]
    );
    println!("{} of {} cases also go through `tidegate run`", cases().count() - left_out.len(), cases().count());
}

/// The rules are worth something only if they can be broken: every byte of what comes out matters to them.
#[test]
fn spoiled_outputs_are_noticed() {
    for case in [
        cases_tunnel::gre_v6_over_v4(),
        cases_tunnel::gre_v4_over_v6(),
        cases_nat::nat_one_arm(),
        cases_nat::nat_udp_checksum(),
        cases_nat::nat_wrong_checksum(),
        cases_nat::icmp_errors_nat(),
        cases_nat::nat_ttl(),
        cases_full_nat::full_nat(),
        cases_full_nat::full_nat_across(),
        cases_full_nat::full_nat_ports(),
        cases_told::client_address_proxy(),
        cases_told::client_address_toa(),
        cases_icmp::rule_24_tunnel_path(),
    ] {
        runner::spoil(&case);
    }
}
