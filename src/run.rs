//! `tidegate run`: puts control and data plane together, and takes them apart again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dpdk_ffi::{Mempool, Port};

use crate::control::compile::{CompileError, Compiler, PortFacts, shard_config};
use crate::control::config::{self, Config, Errors};
use crate::control::health::Doors;
use crate::control::manager::{Manager, Parts};
use crate::control::memory::{self, TableMemory};
use crate::control::overrides::Overrides;
use crate::control::serve::{self, Ended, ServeError, ServeOptions, serve};
use crate::control::state_file::StateFile;
use crate::control::stats::Stats;
use crate::control::status::{PortHost, PortStatus};
use crate::dataplane::{
    Dataplane, DataplaneError, EalPlan, Finding, HostMode, HostSetup, HostTraffic, Idle, PortReport, PortSetup,
    Running, Setup, Severity, allowed_cpus, free_hugepage_bytes, free_table_bytes, numa_node, port_stats, preflight,
    reserve_for_tables, worker_cpus,
};
use crate::lb::handle::WorkerHandle;
use crate::lb::hash::HashKey;
use crate::lb::ids::WorkerId;
use crate::lb::memory::{Footprint, Place};
use crate::lb::publish::Published;
use crate::lb::shard::ShardConfig;
use crate::lb::snapshot::Snapshot;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The configuration.
    pub config: PathBuf,
    /// End after this many seconds.
    pub for_seconds: Option<f64>,
    /// Where the figures go at the end.
    pub stats: Option<PathBuf>,
    /// In place of `control.socket`.
    pub socket: Option<PathBuf>,
    /// EAL arguments after the configuration's.
    pub eal: Vec<String>,
}

impl RunOptions {
    fn serve(&self) -> ServeOptions {
        ServeOptions { socket: self.socket.clone(), for_seconds: self.for_seconds, doors: Doors::default() }
    }
}

/// Why it did not run, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Errors),
    /// The configuration cannot be put into service.
    #[error("{file}: {source}")]
    Compile {
        /// Which file.
        file: String,
        /// Why.
        source: CompileError,
    },
    /// The machine is not ready; each line says what is wrong and what mends it.
    #[error("{}", .0.join("\n"))]
    Machine(Vec<String>),
    /// The data plane did not start or did not end well.
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    /// The management side did not start.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The figures cannot be written.
    #[error("--stats {path}: cannot write the file: {source}; choose a place that has room and may be written to")]
    Stats {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no random numbers.
    #[error("/dev/urandom: {0}")]
    Random(std::io::Error),
    /// A worker ended though nobody told it to.
    #[error("a worker has ended by itself; this is a fault of tidegate's, and the log has its message")]
    WorkerLost,
}

impl RunError {
    /// True if the configuration is at fault.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Compile { .. })
    }
}

/// Runs until a signal or the time ends it.
///
/// # Errors
/// See [`RunError`].
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    let config = Config::load(&options.config)?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(path) = &options.stats {
        Stats::check_path(path).map_err(|source| RunError::Stats { path: path.clone(), source })?;
    }
    serve::check(&options.serve(), &config)?;
    let cpus = allowed_cpus();
    let setup = setup(&config, &cpus);
    let given: Vec<String> = config.dataplane.eal.iter().chain(&options.eal).cloned().collect();
    let devices = devices(&config);
    let no_huge = has_no_huge(&given);
    check_machine(preflight(&devices, setup.buffer_bytes(), no_huge))?;
    let plan = EalPlan {
        given,
        devices,
        worker_cpus: setup.worker_cpus.clone(),
        cpus,
        hugepages: !no_huge && free_hugepage_bytes() >= setup.buffer_bytes() + (64 << 20),
        buffer_bytes: setup.buffer_bytes(),
    };
    let arguments = plan.arguments();
    println!("EAL arguments: {}", arguments.join(" "));
    let workers = config.dataplane.workers.count() as u16;
    let boot_key = random_key()?;
    let shards = shards(&config, boot_key, &plan.worker_cpus, !no_huge);
    // EAL is first at the hugepages; the tables get what it leaves.
    let buffers_bytes = if plan.hugepages { setup.buffer_bytes() + (64 << 20) } else { 0 };
    memory::check(&shards, free_table_bytes(buffers_bytes)).map_err(DataplaneError::from)?;
    let hash_key = config.dataplane.hash_key.map_or_else(random_key, |key| Ok(HashKey::from_bytes(key.0)))?;
    let draft = draft(&config, workers, hash_key);
    let dataplane = Dataplane::start(setup, &arguments)?;
    print_found(&dataplane, &plan.worker_cpus);
    let reports: Vec<PortReport> = dataplane.reports().to_vec();

    let facts = reports.iter().map(|r| PortFacts { mac: r.mac, host: r.host.is_some(), rss: r.rss.clone() }).collect();
    let compiler = Compiler::new(workers, facts, hash_key);
    let (beginning, published) = begin(compiler, draft, &config, &options.config, boot_key)?;
    let mut running = dataplane.run(&published, &shards)?;
    print_tables(&running.workers, &plan);
    println!("running: {} service(s), {} worker(s)", config.services.len(), workers);

    let started = Instant::now();
    let ports: Arc<Mutex<Vec<Port>>> = Arc::new(Mutex::new(running.take_ports()));
    let grace = config.control.grace;
    let served = manage(config, options, beginning, &published, &running, &ports, reports);
    finish(served, running, &ports, &published, started, grace, options.stats.as_deref())
}

/// What of the machine keeps a configuration from running, or from running well: whether it would not start, what is wrong,
/// and what mends it.
pub fn examine(config: &Config) -> Vec<(bool, String, String)> {
    let cpus = allowed_cpus();
    let setup = setup(config, &cpus);
    let found = preflight(&devices(config), setup.buffer_bytes(), has_no_huge(&config.dataplane.eal));
    let mut found: Vec<_> = found.into_iter().map(|f| (f.severity == Severity::Error, f.what, f.mend)).collect();
    let workers = config.dataplane.workers.count();
    if workers > cpus.len() {
        let what = format!("{workers} workers on {} CPUs: poll loops wait for each other", cpus.len());
        found.push((false, what, format!("set `dataplane.workers` to {} at most", cpus.len())));
    }
    found
}

/// What the first snapshot was made with, and of beside the file.
struct Beginning {
    compiler: Compiler,
    overrides: Overrides,
    state_file: StateFile,
    boot_key: HashKey,
}

/// A snapshot whose tables the first one takes over. They depend on nothing that the ports say, and as long as EAL has not
/// pinned this thread, all CPUs build them. What is wrong with it, is with the first one as well.
fn draft(config: &Config, workers: u16, hash_key: HashKey) -> Option<Snapshot> {
    let facts = config.ports.iter().map(|port| PortFacts { mac: port.mac.unwrap_or_default(), host: false, rss: None });
    Compiler::new(workers, facts.collect(), hash_key).compile(config, &Overrides::default(), None).ok()
}

/// The first snapshot, with what commands said before the start.
fn begin(
    mut compiler: Compiler,
    draft: Option<Snapshot>,
    config: &Config,
    config_path: &Path,
    boot_key: HashKey,
) -> Result<(Beginning, Arc<Published>), RunError> {
    let (state_file, commands, notes) = StateFile::open(config, config_path);
    notes.iter().for_each(|note| tracing::warn!("{note}"));
    let overrides = Overrides::of(commands, config);
    let first = compiler
        .compile(config, &overrides, draft.as_ref())
        .map_err(|source| RunError::Compile { file: config_path.display().to_string(), source })?;
    Ok((Beginning { compiler, overrides, state_file, boot_key }, Arc::new(Published::new(Arc::new(first)))))
}

/// The management side, until its end.
fn manage(
    config: Config,
    options: &RunOptions,
    beginning: Beginning,
    published: &Arc<Published>,
    running: &Running,
    ports: &Arc<Mutex<Vec<Port>>>,
    reports: Vec<PortReport>,
) -> Result<Ended, RunError> {
    let (ports, buffers, traffic) = (ports.clone(), running.buffers(), running.host_traffic());
    let doors = Doors { ports: running.probes.clone(), devices: reports.iter().map(door).collect() };
    let configured: Vec<_> = config.ports.iter().map(|p| (p.mtu, p.vlan)).collect();
    let status = move || {
        let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        let all = reports.iter().zip(&configured).enumerate();
        let status = |(at, (report, (mtu, vlan))): (usize, (&PortReport, &(u16, Option<u16>)))| {
            let host = port_host(report, traffic.get(at));
            Some(PortStatus { mtu: *mtu, vlan: *vlan, host, ..port_status(ports.get(report.place)?, report, &buffers) })
        };
        all.filter_map(status).collect()
    };
    let Beginning { compiler, overrides, state_file, boot_key } = beginning;
    let manager = Manager::new(Parts {
        config_path: options.config.clone(),
        config,
        compiler,
        overrides,
        state_file,
        published: published.clone(),
        workers: running.workers.clone(),
        ports: Arc::new(status),
        tsc_hz: Some(running.tsc_hz),
        boot_key,
    });
    Ok(serve(manager, ServeOptions { doors, ..options.serve() })?)
}

/// The device by which checks of VIPs leave, or why there is none.
fn door(report: &PortReport) -> Result<String, String> {
    match (&report.host, &report.host_reason) {
        (Some(device), _) if report.has_probes => Ok(device.clone()),
        (Some(device), _) => Err(format!("the kernel refuses their addresses on {device}")),
        (None, Some(reason)) => Err(reason.clone()),
        (None, None) => Err("the port has no host path".to_owned()),
    }
}

/// Lets connections end if there is time for it, stops the workers, closes the ports, and writes the figures.
fn finish(
    served: Result<Ended, RunError>,
    running: Running,
    ports: &Mutex<Vec<Port>>,
    published: &Published,
    started: Instant,
    grace: Duration,
    stats: Option<&Path>,
) -> Result<(), RunError> {
    let lost = running.has_lost_a_worker();
    if matches!(served, Ok(Ended::Signal(_))) && !lost {
        wait_for_connections(&running.workers, grace);
    }
    let workers = running.workers.clone();
    let buffers = running.buffers();
    let tsc_hz = Some(running.tsc_hz);
    let stopped = running.stop();
    let seconds = started.elapsed().as_secs_f64();
    let lost_mbufs = close(ports, &buffers);
    let figures = Stats::collect(seconds, &published.current(), &workers)
        .with_mbufs(lost_mbufs.into(), buffers.capacity().into())
        .with_rates(&workers, tsc_hz);
    println!(
        "received {}, sent {}, answered {}, dropped {}",
        figures.rx_packets,
        figures.tx_packets,
        figures.replies,
        figures.drops_total()
    );
    if let Some(path) = stats {
        figures.write(path).map_err(|source| RunError::Stats { path: path.to_owned(), source })?;
    }
    stopped?;
    served?;
    if lost { Err(RunError::WorkerLost) } else { Ok(()) }
}

/// Closes the ports and says how many packet buffers are not back in their pool then, which should be none.
fn close(ports: &Mutex<Vec<Port>>, buffers: &Mempool) -> u32 {
    let mut ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
    let has_af_xdp = ports.iter().any(|port| port.info().driver == "net_af_xdp");
    ports.clear();
    let (lost, all) = (buffers.in_use(), buffers.capacity());
    match (lost, has_af_xdp) {
        (0, _) => {}
        // What waits in the kernel's rings goes with the socket, and the driver does not take it back.
        (_, true) => println!("{lost} of {all} packet buffers stayed with the AF_XDP sockets"),
        (_, false) => eprintln!("error: {lost} of {all} packet buffers are not back in their pool after the end"),
    }
    lost
}

fn wait_for_connections(workers: &[WorkerHandle], grace: Duration) {
    let end = Instant::now() + grace;
    while Instant::now() < end && workers.iter().any(|w| w.counters.connections_active.get() > 0) {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One shard a worker, in memory near its CPU; `hugepages` says whether it may be in those that are reserved.
fn shards(config: &Config, boot_key: HashKey, worker_cpus: &[u32], hugepages: bool) -> Vec<ShardConfig> {
    let places = worker_cpus.iter().map(|&cpu| Place { node: numa_node(cpu), hugepages });
    let shard = |(worker, place)| ShardConfig { place, ..shard_config(config, WorkerId(worker), boot_key) };
    (0..).zip(places).map(shard).collect()
}

/// The devices of all ports, each once.
fn devices(config: &Config) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for port in &config.ports {
        if !devices.contains(&port.device) {
            devices.push(port.device.clone());
        }
    }
    devices
}

/// Whether hugepages were given up.
fn has_no_huge(eal: &[String]) -> bool {
    eal.iter().any(|argument| argument == "--no-huge")
}

fn setup(config: &Config, cpus: &[u32]) -> Setup {
    let count = config.dataplane.workers.count();
    let worker_cpus = match &config.dataplane.workers {
        config::Workers::Count(_) => worker_cpus(count, cpus),
        config::Workers::Lcores(lcores) => lcores.iter().map(|&l| u32::from(l)).collect(),
    };
    let ports = config.ports.iter().map(|p| PortSetup {
        name: p.name.clone(),
        device: p.device.clone(),
        mac: p.mac,
        mtu: p.mtu,
        vlan: p.vlan,
        host: host_setup(p),
    });
    let idle = match config.dataplane.idle {
        config::Idle::Spin => Idle::Spin,
        config::Idle::Sleep => Idle::Sleep,
        config::Idle::Auto => Idle::Auto,
    };
    Setup { ports: ports.collect(), worker_cpus, mbufs: config.dataplane.mbufs, idle }
}

fn host_setup(port: &config::Port) -> HostSetup {
    // The kernel's names have 15 bytes at most, and a port's are of ASCII.
    let device = || format!("tg-{}", port.name).chars().take(15).collect();
    HostSetup {
        mode: match port.host {
            config::HostPath::Auto => HostMode::Auto,
            config::HostPath::On => HostMode::On,
            config::HostPath::Off => HostMode::Off,
        },
        device: port.host_device.clone().unwrap_or_else(device),
        addresses: port.addresses.iter().map(|net| (net.address(), net.prefix_len())).collect(),
        mtu: port.mtu,
    }
}

fn check_machine(findings: Vec<Finding>) -> Result<(), RunError> {
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|f| f.severity == Severity::Error);
    for finding in warnings {
        eprintln!("warning: {}; to mend it: {}", finding.what, finding.mend);
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(RunError::Machine(errors.into_iter().map(|f| format!("{}; to mend it: {}", f.what, f.mend)).collect()))
}

/// What was found, for the operator.
fn print_found(dataplane: &Dataplane, worker_cpus: &[u32]) {
    let memory = if dataplane.has_hugepages() { "hugepages" } else { "ordinary memory, no hugepages" };
    println!("{}, {memory}", dataplane.dpdk_version());
    for port in dataplane.reports() {
        println!(
            "port {}: {} ({}), {}, {} rx and {} tx queue(s){}",
            port.name,
            port.device,
            port.driver,
            port.mac,
            port.rx_queues,
            port.tx_queues,
            if port.rss.is_some() { ", RSS" } else { "" }
        );
        if let Some(device) = &port.host {
            println!("  host: {device}");
        }
        for note in &port.notes {
            println!("  note: {note}");
        }
    }
    let cpus: Vec<String> = worker_cpus.iter().map(u32::to_string).collect();
    println!("workers on CPU {}", cpus.join(", "));
}

/// What the connection tables got, and how they get better.
fn print_tables(workers: &[WorkerHandle], plan: &EalPlan) {
    let footprint: Footprint = workers.iter().filter_map(|w| w.table_memory).sum();
    println!("connection tables: {}", TableMemory::from(footprint));
    let missing_bytes = if plan.hugepages { 0 } else { plan.buffer_bytes };
    if let Some(command) = reserve_for_tables(footprint, missing_bytes) {
        let without = if has_no_huge(&plan.given) { ", and leave out --no-huge" } else { "" };
        println!("  note: plain pages make look-ups in large tables slower; to have hugepages: {command}{without}");
    }
}

fn port_host(report: &PortReport, traffic: Option<&HostTraffic>) -> PortHost {
    let count = |of: fn(&HostTraffic) -> &AtomicU64| traffic.map_or(0, |t| of(t).load(Ordering::Relaxed));
    PortHost {
        device: report.host.clone(),
        reason: report.host_reason.clone(),
        to_host: count(|t| &t.to_host),
        from_host: count(|t| &t.from_host),
        errors: count(|t| &t.errors),
    }
}

fn port_status(port: &Port, report: &PortReport, buffers: &Mempool) -> PortStatus {
    let link = port.link().ok();
    let stats = port_stats(port);
    PortStatus {
        name: report.name.clone(),
        device: report.device.clone(),
        driver: report.driver.clone(),
        mac: report.mac.to_string(),
        link_up: link.is_some_and(|l| l.up),
        speed_mbps: link.and_then(|l| l.speed_mbps),
        mtu: 0,
        vlan: None,
        rx_queues: report.rx_queues,
        tx_queues: report.tx_queues,
        rss: report.rss.is_some(),
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        rx_missed: stats.rx_missed,
        rx_no_mbuf: stats.rx_no_mbuf,
        rx_errors: stats.rx_errors,
        tx_errors: stats.tx_errors,
        host: PortHost::default(),
        mbufs_in_use: buffers.in_use().into(),
        mbufs_total: buffers.capacity().into(),
    }
}

fn random_key() -> Result<HashKey, RunError> {
    let mut bytes = [0; 16];
    let mut source = std::fs::File::open("/dev/urandom").map_err(RunError::Random)?;
    source.read_exact(&mut bytes).map_err(RunError::Random)?;
    Ok(HashKey::from_bytes(bytes))
}
