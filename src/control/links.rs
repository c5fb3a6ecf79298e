//! Links of ports that go down or come up, each said once.

use std::collections::HashMap;

use super::status::PortStatus;

/// What was seen at the last look.
#[derive(Debug, Default)]
pub struct Links {
    up: HashMap<String, bool>,
}

/// A port whose link is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The port's name.
    pub port: String,
    /// Whether the link is up now.
    pub up: bool,
    /// The sentence.
    pub text: String,
}

impl Links {
    /// What has changed since the last look; of a port that is new only if its link is down.
    pub fn look(&mut self, ports: &[PortStatus]) -> Vec<LinkChange> {
        let mut changes = Vec::new();
        for port in ports {
            let was = self.up.insert(port.name.clone(), port.link_up).unwrap_or(true);
            if was == port.link_up {
                continue;
            }
            let text = match (port.link_up, port.speed_mbps) {
                (false, _) => format!("port {}: the link is down", port.name),
                (true, Some(speed)) => format!("port {}: the link is up, {speed} Mbit/s", port.name),
                (true, None) => format!("port {}: the link is up", port.name),
            };
            changes.push(LinkChange { port: port.name.clone(), up: port.link_up, text });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_said_when_it_changes_and_at_first_if_it_is_down() {
        let port = |name: &str, link_up, speed_mbps| PortStatus {
            name: name.to_owned(),
            link_up,
            speed_mbps,
            ..PortStatus::default()
        };
        let mut links = Links::default();
        let mut said =
            |ports: &[PortStatus]| -> Vec<String> { links.look(ports).into_iter().map(|change| change.text).collect() };
        let (down, up) = (port("lan", false, None), port("lan", true, Some(10_000)));
        let wan = port("wan", true, None);
        assert_eq!(said(&[wan.clone(), down.clone()]), ["port lan: the link is down"]);
        assert_eq!(said(&[wan.clone(), down.clone()]), [""; 0]);
        assert_eq!(said(&[wan.clone(), up.clone()]), ["port lan: the link is up, 10000 Mbit/s"]);
        assert_eq!(said(&[port("wan", false, None), up.clone()]), ["port wan: the link is down"]);
        assert_eq!(said(&[wan, up]), ["port wan: the link is up"]);
    }
}
