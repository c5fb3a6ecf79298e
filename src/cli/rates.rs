//! Figures per second, from two looks at counters.

use std::collections::HashMap;

use serde::Serialize;

use crate::control::status::{BackendStatus, DropStatus, PortStatus};

/// What a backend, or a service with all of them, gets in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Flow {
    /// New connections.
    pub connections_per_s: f64,
    /// Packets to it and, through NAT, from it.
    pub packets_per_s: f64,
    /// Their bytes.
    pub bytes_per_s: f64,
}

impl std::iter::Sum for Flow {
    fn sum<I: Iterator<Item = Self>>(flows: I) -> Self {
        flows.fold(Self::default(), |a, b| Self {
            connections_per_s: a.connections_per_s + b.connections_per_s,
            packets_per_s: a.packets_per_s + b.packets_per_s,
            bytes_per_s: a.bytes_per_s + b.bytes_per_s,
        })
    }
}

/// What a port does in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PortFlow {
    /// Packets received.
    pub rx_packets_per_s: f64,
    /// Their bytes.
    pub rx_bytes_per_s: f64,
    /// Packets transmitted.
    pub tx_packets_per_s: f64,
    /// Their bytes.
    pub tx_bytes_per_s: f64,
    /// Packets lost or faulty, in both directions.
    pub lost_per_s: f64,
}

/// How fast a counter runs; counters that have begun anew since run as if from 0.
pub fn per_second(before: u64, now: u64, seconds: f64) -> f64 {
    let passed = now.checked_sub(before).unwrap_or(now);
    if seconds > 0.0 { passed as f64 / seconds } else { 0.0 }
}

/// By the names of service and backend.
#[derive(Debug)]
pub struct BackendsBefore<'b> {
    backends: HashMap<(&'b str, &'b str), &'b BackendStatus>,
    seconds: f64,
}

impl<'b> BackendsBefore<'b> {
    /// Those that were so many seconds ago.
    pub fn new(backends: impl Iterator<Item = &'b BackendStatus>, seconds: f64) -> Self {
        Self { backends: backends.map(|b| ((b.service.as_str(), b.name.as_str()), b)).collect(), seconds }
    }

    /// What a backend has got since; `None` for one that was not there.
    pub fn flow(&self, now: &BackendStatus) -> Option<Flow> {
        let before = self.backends.get(&(now.service.as_str(), now.name.as_str()))?;
        Some(Flow {
            connections_per_s: per_second(before.connections_total, now.connections_total, self.seconds),
            packets_per_s: per_second(before.packets, now.packets, self.seconds),
            bytes_per_s: per_second(before.bytes, now.bytes, self.seconds),
        })
    }
}

/// What a port has done since it was `before`.
pub fn of_port(before: &PortStatus, now: &PortStatus, seconds: f64) -> PortFlow {
    let lost = |port: &PortStatus| port.rx_missed + port.rx_no_mbuf + port.rx_errors + port.tx_errors;
    PortFlow {
        rx_packets_per_s: per_second(before.rx_packets, now.rx_packets, seconds),
        rx_bytes_per_s: per_second(before.rx_bytes, now.rx_bytes, seconds),
        tx_packets_per_s: per_second(before.tx_packets, now.tx_packets, seconds),
        tx_bytes_per_s: per_second(before.tx_bytes, now.tx_bytes, seconds),
        lost_per_s: per_second(lost(before), lost(now), seconds),
    }
}

/// Drops a second for one reason; a reason that is not among those `before` had never occurred.
pub fn of_drop(before: &[DropStatus], now: &DropStatus, seconds: f64) -> f64 {
    let count = before.iter().find(|drop| drop.reason == now.reason).map_or(0, |drop| drop.count);
    per_second(count, now.count, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_begins_anew_is_not_a_huge_rate() {
        assert_eq!(per_second(100, 150, 2.0), 25.0);
        assert_eq!(per_second(100, 50, 2.0), 25.0);
        assert_eq!(per_second(100, 150, 0.0), 0.0);
    }

    #[test]
    fn who_is_new_has_no_rate_yet() {
        let backend = |name: &str, packets| BackendStatus {
            service: "web".into(),
            name: name.into(),
            packets,
            bytes: packets * 100,
            connections_total: packets / 10,
            ..Default::default()
        };
        let old = [backend("b1", 100)];
        let before = BackendsBefore::new(old.iter(), 0.5);
        let flow = Flow { connections_per_s: 20.0, packets_per_s: 200.0, bytes_per_s: 20_000.0 };
        assert_eq!(before.flow(&backend("b1", 200)), Some(flow));
        assert_eq!(before.flow(&backend("b2", 200)), None);
        assert_eq!([flow, flow].into_iter().sum::<Flow>().packets_per_s, 400.0);
    }

    #[test]
    fn ports_and_drops_are_compared_with_themselves() {
        let port = |rx_packets, rx_missed| PortStatus { rx_packets, rx_missed, tx_errors: 1, ..Default::default() };
        let flow = of_port(&port(10, 0), &port(30, 4), 2.0);
        assert_eq!((flow.rx_packets_per_s, flow.lost_per_s, flow.tx_packets_per_s), (10.0, 2.0, 0.0));
        let drop = |reason: &str, count| DropStatus { reason: reason.into(), count, ..Default::default() };
        let before = [drop("no_route", 5)];
        assert_eq!((of_drop(&before, &drop("no_route", 9), 2.0), of_drop(&before, &drop("acl", 9), 2.0)), (2.0, 4.5));
    }
}
