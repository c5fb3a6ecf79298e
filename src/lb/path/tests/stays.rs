//! A million connections under changes of all kinds: none goes to another backend than its own, as long as that serves.

use crate::lb::connection::flags::*;
use crate::lb::hash::{HashKey, hash_words};
use crate::lb::ids::{BackendId, WorkerId};
use crate::lb::memory::Place;
use crate::lb::path::Origin;
use crate::lb::scheduler::Kind;
use crate::lb::shard::{Shard, ShardConfig};
use crate::lb::snapshot::{BackendSpec, Mode, ServiceSpec, SnapshotSpec};
use crate::lb::testing::*;
use crate::lb::verdict::{DropReason, Verdict};

const CONNECTIONS: usize = 1_000_000;
const ROUNDS: usize = 40;
/// Old connections looked at in each round.
const LOOKED_AT: usize = 10_000;
const BACKENDS: u8 = 8;
/// The first ones always take connections, so that every service has somebody.
const STEADY: usize = 2;

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 += 1;
        (hash_words(HashKey::from_bytes([3; 16]), &[self.0]) % n as u64) as usize
    }
}

/// Which of a service's backends has a connection, and which of those that had its number one after the other.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Owner {
    number: u8,
    life: u16,
}

struct Site {
    spec: SnapshotSpec,
    net: Net,
    chance: Chance,
    /// By connection; `None` for one that has ended.
    owners: Vec<Option<Owner>>,
    lives: u16,
}

/// One for each scheduler, in the modes in turn.
fn services() -> Vec<ServiceSpec> {
    let modes = [Mode::Gre, Mode::Nat, Mode::Dsr, Mode::Ipip, Mode::Nat, Mode::Gue, Mode::Gre];
    let addresses: Vec<String> = (1..=BACKENDS).map(|n| format!("10.1.0.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let of = |(n, (kind, mode)): (usize, (&Kind, &Mode))| {
        let vip = format!("192.0.2.{}", 100 + n);
        let mut service = service(kind.label(), *mode, 6, (&vip, 80), n * usize::from(BACKENDS), &addresses);
        service.scheduler = *kind;
        service
    };
    Kind::ALL.iter().zip(&modes).enumerate().map(of).collect()
}

impl Site {
    fn new() -> Self {
        let spec = spec(services());
        let mut net = Net::new(spec.clone());
        let config = ShardConfig {
            worker: WorkerId(0),
            connections_max: CONNECTIONS * 3 / 2,
            v4: true,
            v6: false,
            nat: true,
            backends_max: 100,
            clients_max: 4096,
            neighbors_max: 64,
            local_port_rest_s: 120,
            punt_rates: Default::default(),
            fragments_max: 64,
            place: Place::default(),
            boot_key: HashKey::from_bytes([9; 16]),
        };
        net.shards[0] = Shard::new(&config).unwrap();
        net.shards[0].adopt(&net.snapshot, None);
        Self { spec, net, chance: Chance(0), owners: Vec::new(), lives: 0 }
    }

    fn service_of(&self, connection: usize) -> usize {
        connection % self.spec.services.len()
    }

    fn send(&mut self, connection: usize, flags: u8) -> Result<u8, DropReason> {
        let client = client(connection);
        let vip = format!("192.0.2.{}:80", 100 + self.service_of(connection));
        let packet = TestPacket::new(0, &Frame::tcp(&client, &vip, flags).build());
        let sent = self.net.burst(0, Origin::Port, &[packet]).remove(0);
        match sent.verdict {
            Verdict::Tx(_) => Ok(sent.frame[5]),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// The backend with that number of a connection's service, if it is there.
    fn backend(&self, connection: usize, number: u8) -> Option<&BackendSpec> {
        let service = &self.spec.services[self.service_of(connection)];
        service.backends.iter().find(|b| b.address == ip(&format!("10.1.0.{number}")))
    }

    fn owner(&self, connection: usize, number: u8) -> Owner {
        let backend = self.backend(connection, number).unwrap();
        assert!(backend.admits && backend.weight > 0, "{connection} goes to {backend:?}");
        Owner { number, life: backend.id.generation() as u16 }
    }

    fn open(&mut self) {
        let connection = self.owners.len();
        let number = self.send(connection, SYN).unwrap();
        self.owners.push(Some(self.owner(connection, number)));
        let service = &self.spec.services[self.service_of(connection)];
        if service.mode == Mode::Nat {
            let answer = Frame::tcp(&format!("10.1.0.{number}:80"), &client(connection), SYN | ACK);
            self.net.send(1, &answer.on_lan(backend_mac(number)).build()).tx();
        }
        assert_eq!(self.send(connection, ACK), Ok(number));
    }

    fn look(&mut self, connection: usize) {
        let Some(owner) = self.owners[connection] else { return };
        let known = self.backend(connection, owner.number);
        let stays = known.is_some_and(|b| b.serves && b.id.generation() as u16 == owner.life);
        let is_nat = self.spec.services[self.service_of(connection)].mode == Mode::Nat;
        let sent = self.send(connection, ACK);
        if stays {
            assert_eq!(sent, Ok(owner.number), "connection {connection} has left its backend");
        } else if is_nat {
            assert_eq!(sent, Err(DropReason::NoConnection), "connection {connection}");
            self.owners[connection] = None;
        } else {
            // Another one takes it over, as another node's connection.
            self.owners[connection] = Some(self.owner(connection, sent.unwrap()));
        }
    }

    /// Something that a reload, a command or a check does.
    fn change(&mut self) {
        let chance = &mut self.chance;
        let service = &mut self.spec.services[chance.below(7)];
        match chance.below(8) {
            0 => service.scheduler = Kind::ALL[chance.below(Kind::ALL.len())],
            1 => service.persistence_s = [0, 60][chance.below(2)],
            2 if service.backends.len() > STEADY + 1 => {
                let gone = STEADY + chance.below(service.backends.len() - STEADY);
                service.backends.remove(gone);
            }
            3 => self.come_back(),
            _ => {
                let at = chance.below(service.backends.len());
                let backend = &mut service.backends[at];
                if at < STEADY {
                    backend.weight = 1 + chance.below(200) as u32;
                    return;
                }
                backend.weight = [0, 1, 50, 100, 65_535][chance.below(5)];
                backend.connections_max = [0, 0, 1, 20_000][chance.below(4)];
                (backend.serves, backend.admits) =
                    [(true, true), (true, true), (true, false), (false, false)][chance.below(4)];
            }
        }
    }

    /// A backend that was removed is there again: the same server, and another backend.
    fn come_back(&mut self) {
        let place = self.chance.below(7);
        let service = &mut self.spec.services[place];
        let is_there = |n: &u8| service.backends.iter().any(|b| b.address == ip(&format!("10.1.0.{n}")));
        if let Some(number) = (1..=BACKENDS).find(|n| !is_there(n)) {
            self.lives += 1;
            let slot = place * usize::from(BACKENDS) + usize::from(number) - 1;
            let new = BackendSpec {
                id: BackendId::new(slot, self.lives.into()),
                address: ip(&format!("10.1.0.{number}")),
                name: format!("b{}", number - 1).into(),
                serves: true,
                admits: true,
                ..service.backends[0].clone()
            };
            service.backends.push(new);
        }
    }
}

fn client(connection: usize) -> String {
    let host = connection % 0x2_0000;
    format!("198.{}.{}.{}:{}", 18 + (host >> 16), host >> 8 & 0xff, host & 0xff, 1024 + connection / 0x2_0000)
}

#[test]
fn a_million_connections_stay_where_they_are_whatever_else_changes() {
    let mut site = Site::new();
    for _ in 0..ROUNDS {
        for _ in 0..CONNECTIONS / ROUNDS {
            site.open();
        }
        for _ in 0..6 {
            site.change();
        }
        site.net.reload(site.spec.clone());
        for _ in 0..LOOKED_AT {
            let connection = site.chance.below(site.owners.len());
            site.look(connection);
        }
    }
    let ended = site.owners.iter().filter(|owner| owner.is_none()).count();
    assert!(ended > 100 && site.lives > 3, "{ended} have ended, {} backends came: too quiet a test", site.lives);
    for connection in 0..CONNECTIONS {
        site.look(connection);
    }
    assert_eq!(site.net.shards[0].counters.connections_evicted.get(), 0);
}
