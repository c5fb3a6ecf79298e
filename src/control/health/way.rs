//! How a check gets to its backend: at the backend's own address, or at the VIP by the backend's tunnel.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use rustix::net::netdevice;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::fault::{Deadline, Fault};
use super::{tcp, udp};
use crate::control::config::{Backend, HealthCheck, HealthTarget, Service};
use crate::lb::ids::BackendId;
use crate::lb::probe::{Lease, ProbePorts, host_end, stand_in};
use crate::lb::snapshot::Snapshot;

/// What checks of VIPs stand on; nothing where no port has a host.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    /// Shared with the workers.
    pub ports: Arc<ProbePorts>,
    /// The kernel's device of each port, or why checks cannot be sent by it.
    pub devices: Vec<Result<String, String>>,
}

/// Finds the way to each backend under one snapshot.
pub struct Ways<'a> {
    snapshot: &'a Snapshot,
    devices: &'a [Result<String, String>],
    by_name: HashMap<(&'a str, &'a str), BackendId>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// To the backend's own address.
    #[default]
    Address,
    /// To the VIP.
    Vip(Through),
    /// To the VIP if that were possible; why it is not.
    Closed(String),
}

/// What a check of a VIP by one backend needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    pub backend: BackendId,
    pub vip: IpAddr,
    /// The word of the configuration.
    pub mode: &'static str,
    /// The kernel's device of the port that the backend is behind.
    pub device: String,
    /// The addresses that the kernel sends from and to.
    pub host_end: IpAddr,
    pub stand_in: IpAddr,
}

impl<'a> Ways<'a> {
    /// Of all backends in `snapshot`.
    pub fn new(snapshot: &'a Snapshot, doors: &'a Doors) -> Self {
        let name = |id| snapshot.service(id).map(|service| &*service.name);
        let named = |b: &'a crate::lb::snapshot::Backend| Some(((name(b.service)?, &*b.name), b.id));
        let direct = snapshot.backends().filter(|b| !b.mode.is_nat());
        Self { snapshot, devices: &doors.devices, by_name: direct.filter_map(named).collect() }
    }

    /// The way that the checks of a backend take.
    pub fn of(&self, service: &Service, backend: &Backend) -> Way {
        let Some(health) = &service.health else { return Way::Address };
        let cannot = service.mode.is_nat() || matches!(health.check, HealthCheck::Ping | HealthCheck::Exec(_));
        if cannot || health.target == HealthTarget::Address {
            return Way::Address;
        }
        match (self.through(service, backend), health.target) {
            (Ok(through), _) => Way::Vip(through),
            (Err(why), HealthTarget::Vip) => Way::Closed(why),
            (Err(_), _) => Way::Address,
        }
    }

    fn through(&self, service: &Service, backend: &Backend) -> Result<Through, String> {
        let none = || "no port leads to the backend".to_owned();
        let id = self.by_name.get(&(service.name.as_str(), backend.name.as_str())).ok_or_else(none)?;
        let known = self.snapshot.backend(*id).ok_or_else(none)?;
        let port_id = known.hop.ok_or_else(none)?.port;
        let port = self.snapshot.port(port_id).ok_or_else(none)?;
        let device = match self.devices.get(port_id.index()) {
            Some(Ok(device)) => device.clone(),
            Some(Err(why)) => return Err(format!("port {} has no host path for checks of VIPs: {why}", port.name)),
            None => return Err(format!("port {} has no host path", port.name)),
        };
        let is_v4 = service.vip.is_ipv4();
        if !port.addresses.iter().any(|(address, _)| address.is_ipv4() == is_v4) {
            return Err(format!("port {} has no address of the VIP's IP version that could be answered", port.name));
        }
        let ends = host_end(port_id, is_v4).zip(stand_in(port_id, is_v4));
        let (host_end, stand_in) = ends.ok_or_else(|| format!("port {} is beyond the 64th", port.name))?;
        Ok(Through { backend: *id, vip: service.vip, mode: known.mode.label(), device, host_end, stand_in })
    }
}

/// Where one run of a check goes, with what it holds meanwhile.
pub struct Door<'a> {
    /// What is asked, in the check's eyes.
    pub asked: SocketAddr,
    through: Option<(&'a Through, Lease)>,
}

impl<'a> Door<'a> {
    /// For one run of a check of `address`, or of the VIP where that is the way.
    ///
    /// # Errors
    /// What this host lacks.
    pub fn open(way: &'a Way, ports: &Arc<ProbePorts>, address: SocketAddr) -> Result<Self, Fault> {
        match way {
            Way::Address => Ok(Self { asked: address, through: None }),
            Way::Closed(why) => Err(Fault::Local(why.clone())),
            Way::Vip(through) => {
                let lease = ports.lease(through.backend);
                let lease = lease.ok_or_else(|| Fault::Local("no port number is left for checks of VIPs".into()))?;
                Ok(Self { asked: SocketAddr::new(through.vip, address.port()), through: Some((through, lease)) })
            }
        }
    }

    /// A connection that the backend has accepted; it closes when it is dropped.
    pub async fn tcp(&self, deadline: &Deadline) -> Result<TcpStream, Fault> {
        let Some((through, lease)) = &self.through else { return tcp::connect(self.asked, deadline).await };
        let socket = if self.asked.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind_device(Some(through.device.as_bytes()))?;
        socket.set_reuseaddr(true)?;
        // Else the port number would have to rest for a minute after each check.
        socket.set_zero_linger()?;
        let (from, to) = through.ends(lease, self.asked.port(), &socket)?;
        socket.bind(from)?;
        deadline.wait("no connection", socket.connect(to)).await
    }

    /// A socket that gets datagrams, and ICMP errors, from there only.
    ///
    /// # Errors
    /// What this host lacks.
    pub async fn udp(&self) -> Result<UdpSocket, Fault> {
        let Some((through, lease)) = &self.through else { return udp::connect(self.asked).await };
        let socket = Socket::new(Domain::for_address(self.asked), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(through.device.as_bytes()))?;
        socket.set_reuse_address(true)?;
        let (from, to) = through.ends(lease, self.asked.port(), &socket)?;
        socket.bind(&from.into())?;
        socket.connect(&to.into())?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket.into())?)
    }
}

impl Through {
    fn ends(
        &self,
        lease: &Lease,
        port: u16,
        socket: impl std::os::fd::AsFd,
    ) -> Result<(SocketAddr, SocketAddr), Fault> {
        let scope = if self.vip.is_ipv4() { 0 } else { index_of(&self.device, socket)? };
        let end = |address: IpAddr, port| match address {
            IpAddr::V4(_) => SocketAddr::new(address, port),
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
        };
        Ok((end(self.host_end, lease.port()), end(self.stand_in, port)))
    }
}

fn index_of(device: &str, socket: impl std::os::fd::AsFd) -> Result<u32, Fault> {
    let index = netdevice::name_to_index(socket, device);
    index.map_err(|error| Fault::Local(format!("{device}: {}", super::fault::describe(&error.into()))))
}

impl std::fmt::Display for Way {
    /// What stands behind the reason of a result, such as ` (VIP 192.0.2.10 by gre)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vip(through) => write!(f, " (VIP {} by {})", through.vip, through.mode),
            Self::Address | Self::Closed(_) => Ok(()),
        }
    }
}
