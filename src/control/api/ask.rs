//! Questions that only the workers can answer; blocking, so never on the runtime's thread.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::control::status::{ConnectionStatus, Connections, NeighborStatus, Neighbors};
use crate::lb::handle::{Request, WorkerHandle};
use crate::lb::shard::ConnectionRow;
use crate::lb::snapshot::Snapshot;
use crate::wire::protocol;

/// How long a worker may take to answer; it does between two bursts.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// Buckets asked for at once: few enough that the worker's answer does not delay packets by much.
const BUCKETS: usize = 256;

/// A worker that does not answer.
#[derive(Debug, thiserror::Error)]
#[error("worker {0} does not answer: it is not running, or far too busy; see `tidegate show workers`")]
pub struct NoAnswer(u16);

/// At most `limit` connections, worker by worker.
///
/// # Errors
/// Who does not answer.
pub fn connections(workers: &[WorkerHandle], snapshot: &Snapshot, limit: usize) -> Result<Connections, NoAnswer> {
    let mut connections = Vec::new();
    for worker in workers {
        let mut from = Some(0);
        while let Some(first) = from {
            let question = |reply| Request::Connections { from: first, buckets: BUCKETS, reply };
            let (rows, next) = ask(worker, question)?;
            connections.extend(rows.iter().map(|row| connection(row, worker.id.0, snapshot)));
            if connections.len() > limit {
                connections.truncate(limit);
                return Ok(Connections { connections, truncated: true });
            }
            // A worker that went backwards would keep us here for ever.
            from = next.filter(|next| *next > first);
        }
    }
    Ok(Connections { connections, truncated: false })
}

/// All next hops of all workers.
///
/// # Errors
/// Who does not answer.
pub fn neighbors(workers: &[WorkerHandle], snapshot: &Snapshot) -> Result<Neighbors, NoAnswer> {
    let mut neighbors = Vec::new();
    for worker in workers {
        let mut rows = ask(worker, |reply| Request::Neighbors { reply })?;
        rows.sort_by_key(|row| (row.port, row.addr));
        neighbors.extend(rows.iter().map(|row| NeighborStatus {
            port: snapshot.port(row.port).map_or_else(|| row.port.0.to_string(), |port| port.name.to_string()),
            address: row.addr.to_string(),
            mac: row.mac.map(|mac| mac.to_string()),
            state: row.state.to_owned(),
            worker: worker.id.0,
        }));
    }
    Ok(Neighbors { neighbors })
}

/// A worker's answer.
///
/// # Errors
/// It does not answer.
pub fn ask<T>(worker: &WorkerHandle, question: impl FnOnce(Sender<T>) -> Request) -> Result<T, NoAnswer> {
    let (reply, answer): (_, Receiver<T>) = bounded(1);
    worker.requests.push(question(reply)).map_err(|_| NoAnswer(worker.id.0))?;
    answer.recv_timeout(ANSWER_TIME_MAX).map_err(|_| NoAnswer(worker.id.0))
}

fn connection(row: &ConnectionRow, worker: u16, snapshot: &Snapshot) -> ConnectionStatus {
    let backend = snapshot.backend(row.backend);
    let service = backend.and_then(|backend| snapshot.service(backend.service));
    ConnectionStatus {
        protocol: match row.protocol {
            protocol::TCP => "tcp".to_owned(),
            protocol::UDP => "udp".to_owned(),
            other => other.to_string(),
        },
        client: socket(row.client),
        vip: socket(row.vip),
        service: service.map(|service| service.name.to_string()),
        backend: backend.map(|backend| backend.name.to_string()),
        // Port 0 leaves the port that the client chose.
        backend_address: backend.map(|b| socket((b.address, if b.port == 0 { row.vip.1 } else { b.port }))),
        state: row.phase.label().to_owned(),
        left_s: row.left_s,
        worker,
    }
}

fn socket((address, port): (IpAddr, u16)) -> String {
    SocketAddr::new(address, port).to_string()
}
