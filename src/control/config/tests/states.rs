//! Keys about what becomes of backends: drains, roles, holds and passive checks.

use std::time::Duration;

use super::super::{DrainAction, OnRemove, Passive, Role};
use super::{errors, good, service, warnings};

const BACKEND: &str = "address = '10.1.0.11'";

#[test]
fn drains_and_roles_are_read() {
    let keys = "drain_timeout = '5m'\ndrain_action = 'leave'\non_remove = 'drain'";
    let config = good(&service("nat", keys, &format!("{BACKEND}\nrole = 'last-resort'")));
    let web = &config.services[0];
    assert_eq!(
        (web.drain_timeout, web.drain_action, web.on_remove, web.backends[0].role),
        (Duration::from_secs(300), DrainAction::Leave, OnRemove::Drain, Role::LastResort)
    );
    let config = good(&service("nat", "", BACKEND));
    let web = &config.services[0];
    assert_eq!(
        (web.drain_timeout, web.drain_action, web.on_remove, web.backends[0].role),
        (Duration::ZERO, DrainAction::Close, OnRemove::Close, Role::Primary)
    );
    let misspelt = errors(&service("nat", "", &format!("{BACKEND}\nrole = 'backups'")));
    let message = "`role` must be one of primary, backup, last-resort, not \"backups\", did you mean `backup`?";
    assert_eq!(misspelt, [message]);
    let alone = warnings(&service("nat", "", &format!("{BACKEND}\nrole = 'backup'")));
    assert_eq!(alone, ["service `web` has no backend with role primary: the others have nobody to wait for"]);
}

#[test]
fn passive_checks_are_for_tcp_through_nat() {
    let passive = |mode: &str, more: &str| service(mode, &format!("{more}\n[service.passive]\nshare = 30"), BACKEND);
    let config = good(&passive("nat", ""));
    let hold = |seconds| Duration::from_secs(seconds);
    let expected =
        Passive { share_percent: 30, openings: 20, hold: hold(10), hold_max: hold(300), held_max_percent: 50 };
    assert_eq!(config.services[0].passive, Some(expected));
    let tunnel = errors(&passive("gre", ""));
    assert_eq!(tunnel.len(), 1);
    assert!(
        tunnel[0].starts_with("[service.passive] is for modes nat and full-nat: in mode gre backends answer clients")
    );
    let udp = errors(&passive("nat", "protocol = 'udp'"));
    assert_eq!(udp, ["[service.passive] is for protocol tcp: in udp no answer is due to a packet"]);
    let bad = errors(&service("nat", "[service.passive]\nshare = 0\nopenings = 4\nhold = '999ms'\nheld = 1", BACKEND));
    assert_eq!(bad.len(), 4, "{bad:?}");
}
