//! The management thread's loop: signals, timers, health results and the API, until the process is to end.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::api::{self, Door, Places, SocketError, TcpError};
use super::capture::Captures;
use super::config::{self, Config, Identity};
use super::confirm::RollbackError;
use super::edit::{self, EditError, Edited, Staged};
use super::health::{Doors, Supervisor, Ways};
use super::manager::{self, CommandError, Manager, ReloadError};
use super::plan::Plan;
use super::status::{BackendReport, BackendRequest, PlanRequest, ReloadReport, ReloadRequest};

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// In place of `control.socket`.
    pub socket: Option<PathBuf>,
    /// Ends after this many seconds.
    pub for_seconds: Option<f64>,
    /// What health checks of VIPs stand on.
    pub doors: Doors,
}

/// Why the loop came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By SIGTERM or SIGINT, named here. Another one of them ends the process at once.
    Signal(&'static str),
    /// After `for_seconds`.
    TimeUp,
}

/// Why the management side could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system refused something that every process gets.
    #[error("cannot start the management thread: {0}")]
    Runtime(#[from] std::io::Error),
    /// The API's socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The API on TCP.
    #[error(transparent)]
    Tcp(#[from] TcpError),
}

/// The manager, and who must hear of its changes.
pub struct Shared {
    manager: Mutex<Manager>,
    reloads: tokio::sync::Mutex<()>,
    keeping: tokio::sync::Mutex<()>,
    reloaded: Notify,
    door: Door,
    identity: Mutex<Option<Identity>>,
    vitals: Mutex<Vitals>,
    /// Who looks on.
    pub captures: Arc<Captures>,
}

/// What the loop saw of the workers, for whoever must not wait for the manager.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// When it looked last.
    pub looked: std::time::Instant,
    /// Workers that do not turn.
    pub stalled: Vec<u16>,
}

impl Shared {
    /// Wraps `manager` for the API.
    pub fn new(manager: Manager) -> Arc<Self> {
        let api = &manager.config().control.api;
        Arc::new(Self {
            reloads: Default::default(),
            keeping: Default::default(),
            reloaded: Notify::new(),
            door: Door::new(api),
            identity: Mutex::new(api.identity.clone()),
            vitals: Mutex::new(Vitals { looked: std::time::Instant::now(), stalled: Vec::new() }),
            captures: Arc::default(),
            manager: Mutex::new(manager),
        })
    }

    /// Who is let in over TCP.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// What new clients over TCP are shown, if there is TLS.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the loop saw last.
    pub fn vitals(&self) -> Vitals {
        self.vitals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what a reload has read from the files of `[control.api]`.
    fn renew(&self, api: &config::Api) {
        self.door.renew(api);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = api.identity.clone();
    }

    pub(super) fn looked(&self, stalled: Vec<u16>) {
        let looked = std::time::Instant::now();
        *self.vitals.lock().unwrap_or_else(PoisonError::into_inner) = Vitals { looked, stalled };
    }

    /// The manager; never to be held over an await.
    pub fn manager(&self) -> MutexGuard<'_, Manager> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reloads, one caller after the other; the file is read on another thread.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(&self, request: ReloadRequest) -> Result<ReloadReport, ReloadError> {
        let _turn = self.reloads.lock().await;
        let path = self.manager().reload_path(request.path.as_deref());
        let window = request.confirm_s.map(|seconds| Duration::from_secs(seconds.into()));
        let file = path.clone();
        let loaded = tokio::task::spawn_blocking(move || manager::load(&file)).await;
        let loaded = loaded.unwrap_or_else(|_| Err(ReloadError::NotAFile(path.display().to_string())));
        let mut report = self.manager().take_over(&path, loaded, window)?;
        self.reloaded.notify_one();
        report.warnings.extend(self.keep().await);
        Ok(report)
    }

    /// Changes the running configuration, one caller after the other, and the file if that is wanted.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn edit(&self, request: edit::Request) -> Result<ReloadReport, EditError> {
        let _turn = self.reloads.lock().await;
        let basis = self.manager().edit_basis(request.if_match.as_deref())?;
        let worked_out = tokio::task::spawn_blocking(move || basis.edit(&request)).await;
        let failed = |error: tokio::task::JoinError| EditError::Shape(error.to_string());
        let Edited { config, file } = worked_out.map_err(failed)??;
        let mut report = self.manager().take_over_edit(config)?;
        self.reloaded.notify_one();
        match file.map(Staged::put) {
            Some(Ok(())) => {
                self.manager().edits_are_written();
                report.edits = 0;
            }
            Some(Err(failure)) => {
                warn!("{failure}");
                report.warnings.push(failure);
            }
            None => {}
        }
        report.warnings.extend(self.keep().await);
        Ok(report)
    }

    /// Does what a command says of a backend, and keeps it for the next start.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn command(&self, request: &BackendRequest) -> Result<BackendReport, CommandError> {
        let mut report = self.manager().command(request)?;
        report.warnings.extend(self.keep().await);
        Ok(report)
    }

    /// Writes the commands of now to the state file, on another thread, since a disk may take its time; what went wrong.
    async fn keep(&self) -> Option<String> {
        // One writer after the other, so that the newest commands are the last that are written.
        let _turn = self.keeping.lock().await;
        let (file, commands) = self.manager().unkept()?;
        let written = tokio::task::spawn_blocking(move || file.write(&commands)).await;
        let failure = written.unwrap_or_else(|error| Err(error.to_string())).err()?;
        warn!("{failure}");
        Some(failure)
    }

    /// Takes a reload that waits for confirmation back.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn roll_back(&self) -> Result<ReloadReport, RollbackError> {
        let _turn = self.reloads.lock().await;
        let mut report = self.manager().roll_back()?;
        self.reloaded.notify_one();
        report.warnings.extend(self.keep().await);
        Ok(report)
    }

    /// What a file would change, without changing anything; takes its time, so for a thread that may block.
    ///
    /// # Errors
    /// Why it could not be taken over, a restart or none.
    pub fn plan(&self, request: PlanRequest) -> Result<Plan, ReloadError> {
        let (path, config) = match request {
            PlanRequest { text: Some(text), .. } => ("the text".to_owned(), Config::parse(&text, "text")?),
            PlanRequest { path, .. } => {
                let path = self.manager().reload_path(path.as_deref());
                (path.display().to_string(), manager::load(&path)?)
            }
        };
        let basis = self.manager().basis();
        basis.plan(&path, &config).map_err(|source| ReloadError::Compile { path, source })
    }
}

/// Runs the management side on this thread until a signal or the time ends it.
///
/// # Errors
/// Why it could not start.
pub fn serve(manager: Manager, options: ServeOptions) -> Result<Ended, ServeError> {
    // Reading files and asking workers may block; a few threads do that.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let ended = runtime.block_on(run(manager, options, std::future::pending()));
    // A question that nobody answers must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    let ended = ended?;
    exit_on_next_signal()?;
    Ok(ended)
}

/// The loop; also ends, as if the time were up, when `stop` does.
pub(super) async fn run(
    manager: Manager,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
) -> Result<Ended, ServeError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let socket = bind(&options, manager.config()).await?;
    for note in &socket.notes {
        warn!("{note}");
    }
    info!("API on {}", socket.path.display());
    let listener = listen(manager.config()).await?;
    if let Some(listener) = &listener {
        let scheme = if manager.config().control.api.identity.is_some() { "https" } else { "http" };
        info!("API on {scheme}://{}", listener.local_addr()?);
    }
    let shared = Shared::new(manager);
    let server = tokio::spawn(api::serve(socket, shared.clone()));
    let tcp_server = listener.map(|listener| tokio::spawn(api::tcp::serve(listener, shared.clone())));
    let mut supervisor = Supervisor::new(options.doors.clone());
    sync(&mut supervisor, &shared);
    let end = options.for_seconds.map(|seconds| Instant::now() + duration(seconds));
    let mut stop = std::pin::pin!(stop);
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    // After a pause of the whole process the workers get their time before they are judged again.
    every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        let unconfirmed_until = shared.manager().unconfirmed_until().map(Instant::from_std);
        tokio::select! {
            biased;
            _ = terminate.recv() => break Ended::Signal("SIGTERM"),
            _ = interrupt.recv() => break Ended::Signal("SIGINT"),
            () = at(end) => break Ended::TimeUp,
            () = &mut stop => break Ended::TimeUp,
            // Before the results, which may be of backends that the reload has moved.
            () = shared.reloaded.notified() => sync(&mut supervisor, &shared),
            _ = hangup.recv() => {
                let shared = shared.clone();
                // Its result is logged where it happens.
                tokio::spawn(async move { shared.reload(ReloadRequest::default()).await.is_ok() });
            }
            () = at(unconfirmed_until) => {
                if shared.manager().roll_back_if_due() {
                    sync(&mut supervisor, &shared);
                    let shared = shared.clone();
                    tokio::spawn(async move { shared.keep().await });
                }
            }
            changes = supervisor.changes() => {
                if let Err(error) = shared.manager().set_health(&changes) {
                    error!("health results could not be put into service: {error}");
                }
                supervisor.rest();
            }
            _ = every_second.tick() => pass_second(&supervisor, &shared),
        }
    };
    shared.manager().note_end();
    if let Some(server) = tcp_server {
        server.abort();
    }
    server.abort();
    // Waits until the socket's file is gone.
    _ = server.await;
    Ok(ended)
}

async fn bind(options: &ServeOptions, config: &Config) -> Result<api::Socket, SocketError> {
    let configured = config.control.socket.clone();
    let explicit = options.socket.is_some() || configured != config::Control::default().socket;
    api::bind(&options.socket.clone().unwrap_or(configured), explicit, &Places::of_process()).await
}

async fn listen(config: &Config) -> Result<Option<TcpListener>, TcpError> {
    match config.control.api.listen {
        Some(address) => api::tcp::bind(address).await.map(Some),
        None => Ok(None),
    }
}

/// Finds out whether [`serve`] will have its socket, before there is traffic to interrupt.
///
/// # Errors
/// Why it will not.
pub fn check(options: &ServeOptions, config: &Config) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        bind(options, config).await.map(drop)?;
        listen(config).await.map(drop)?;
        Ok(())
    })
}

fn pass_second(supervisor: &Supervisor, shared: &Shared) {
    let mut manager = shared.manager();
    manager.watch_workers();
    manager.keep_history();
    shared.looked(manager.stalled());
    manager.keep_times(|key| supervisor.measured(key));
    if let Err(error) = manager.pass_time() {
        error!("what has changed with time could not be put into service: {error}");
    }
}

fn sync(supervisor: &mut Supervisor, shared: &Shared) {
    let manager = shared.manager();
    shared.renew(&manager.config().control.api);
    let (snapshot, doors) = (manager.snapshot(), supervisor.doors().clone());
    let ways = Ways::new(&snapshot, &doors);
    let way = |service: &config::Service, backend: &config::Backend| ways.of(service, backend);
    supervisor.sync(manager.config(), way, |service, backend| manager.health(service, backend));
}

/// Waits for that moment, or for ever.
async fn at(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Seconds that are no number of seconds are taken for a year.
fn duration(seconds: f64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    Duration::try_from_secs_f64(seconds).unwrap_or(YEAR).min(YEAR)
}

/// From now on, until the process has drained, SIGTERM or SIGINT ends it at once: their handlers stay when the loop's
/// runtime is gone, and without a listener they would be ignored.
fn exit_on_next_signal() -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("second-signal".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        std::process::exit(1);
    })?;
    Ok(())
}
