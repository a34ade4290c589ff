//! The start, step by step (spec/kernel-interfaces.md section 1).

use super::Clients;
use super::unfence::unfence;
use crate::cluster::Cluster;
use crate::cluster::corosync::{self, Configuration, CorosyncError};
use crate::config::{Config, Key, Origin};
use crate::control::{self, History, Published};
use crate::driver::{Driver, FlightRecorder, Inputs, Outputs, clock};
use crate::feed::{Dispensable, Feed, both};
use crate::kernel::attributes::{ClusterAttributes, Protocol};
use crate::kernel::configfs::CommOptions;
use crate::kernel::error::{KernelError, Operation};
use crate::kernel::kmsg::{KernelLog, Progress, Step, forward_kernel_log};
use crate::kernel::misc::{self, DEADLINE};
use crate::kernel::plockdev::{RateLimit, Requests, Results};
use crate::kernel::real::RealKernel;
use crate::kernel::root::Root;
use crate::kernel::startup::{check_uncontrolled, prepare_configfs};
use crate::kernel::uevent::{UeventSocket, Uevents};
use crate::kernel::{Kernel, LogSink};
use crate::logging::Logger;
use crate::reactor::Registry;
use crate::service::{ServiceError, Signals, systemd};
#[cfg(feature = "testbed")]
use crate::testbed::ClusterSide;
use dlm_core::Core;
use dlm_core::event::Event;
use dlm_core::options::{Setup, Switch};
use dlm_core::plock::PlockText;
use dlm_core::types::{LockspaceName, NodeId};
use dlmcontrol::history::Journal;
use dlmcontrol::state::DaemonPhase;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long corosync may take to let us in while it starts; less than systemd waits for us. One that does not run is not
/// waited for.
const COROSYNC_PATIENCE: Duration = Duration::from_secs(60);

/// Events of a seam that may wait for the driver.
const EVENTS_WAITING_MAX: usize = 1024;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Corosync(#[from] CorosyncError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(
        "found uncontrolled lockspaces {0}: left by a daemon that died; asking corosync to remove this node, reboot it"
    )]
    Uncontrolled(String),
    #[error("unfence {node} {why}: not starting while this node is fenced")]
    Unfence { node: NodeId, why: String },
    #[error("cannot serve the command socket: {0}")]
    Socket(std::io::Error),
    #[error("ended by signal {0} while starting")]
    Signal(&'static str),
    #[error("the thread that connects to corosync ended without a result")]
    NoResult,
    #[cfg(feature = "testbed")]
    #[error(transparent)]
    Testbed(#[from] crate::testbed::OpenError),
}

/// A daemon that is ready to run.
pub(super) struct Started {
    pub(super) driver: Driver,
    pub(super) inputs: Inputs,
    /// Open for the daemon's life: the kernel stops its lockspaces when the monitor is closed.
    pub(super) devices: Devices,
}

/// What must stay open; nothing on the testbed.
pub(super) type Devices = Option<OwnedFd>;

/// Both seams, with what corosync's configuration says.
struct Seams {
    cluster: Box<dyn Cluster>,
    kernel: Box<dyn Kernel>,
    from_cluster: Box<dyn Feed>,
    from_kernel: Box<dyn Feed>,
    plocks: Box<dyn Feed>,
    configuration: Configuration,
    devices: Devices,
    /// Requests that corosync would not take yet.
    retries: Arc<AtomicU64>,
}

pub(super) async fn start(
    config: Config,
    logger: &Logger,
    clients: Clients,
    published: watch::Sender<Arc<Published>>,
    registry: &Registry,
) -> Result<Started, StartError> {
    let mut signals = Signals::listen()?;
    let steps = connect(config, logger, clients, published, registry);
    let (driver, mut inputs, devices) = tokio::select! {
        done = steps => done?,
        signal = signals.next() => return Err(StartError::Signal(signal.signal)),
    };
    let (terminate, terminations) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            signals.next().await;
            if terminate.send(Event::Terminate).await.is_err() {
                return;
            }
        }
    });
    inputs.signals = terminations;
    Ok(Started { driver, inputs, devices })
}

async fn connect(
    config: Config,
    logger: &Logger,
    clients: Clients,
    published: watch::Sender<Arc<Published>>,
    registry: &Registry,
) -> Result<(Driver, Inputs, Devices), StartError> {
    let phase = |phase| {
        published.send_modify(|shown| Arc::make_mut(shown).phase = phase);
    };
    config.risks().into_iter().for_each(|risk| logger.error(risk));
    let shown = Shown { logger, phase: &phase, history: &clients.history, registry };
    let seams = open_seams(&config, &shown).await?;
    clients.listener.set_nonblocking(true).map_err(StartError::Socket)?;
    let listener =
        tokio::net::UnixListener::from_std(clients.listener).map_err(StartError::Socket)?;
    clients.meters.count_retries(Arc::clone(&seams.retries));
    let meters = clients.meters.clone();
    tokio::spawn(control::serve_commands(listener, clients.access, clients.commands, meters));
    if let Some((token, consensus)) = seams.configuration.totem {
        clients.history.set_totem(token, consensus);
    }
    let core = Core::new(setup(&config, &seams.configuration));
    let recorder = FlightRecorder::new(config.settings().number(Key::FlightRecorder));
    recorder.write_in_panics();
    let outputs = Outputs {
        cluster: seams.cluster,
        kernel: seams.kernel,
        published,
        history: clients.history,
        meters: clients.meters,
        logger: logger.clone(),
        recorder,
        ready: Box::new(tell_ready(logger.clone())),
    };
    let driver = Driver::new(core, config, seams.configuration.nodes, outputs);
    let (_, signals) = mpsc::channel(1);
    let inputs = Inputs {
        cluster: seams.from_cluster,
        kernel: seams.from_kernel,
        plocks: seams.plocks,
        commands: clients.asked,
        signals,
        registry: registry.clone(),
    };
    Ok((driver, inputs, seams.devices))
}

/// Where the start tells how it gets on, and what is seen later goes.
struct Shown<'a> {
    logger: &'a Logger,
    phase: &'a dyn Fn(DaemonPhase),
    history: &'a History,
    /// Where descriptors of the driver are watched.
    registry: &'a Registry,
}

#[cfg(not(feature = "testbed"))]
async fn open_seams(config: &Config, shown: &Shown<'_>) -> Result<Seams, StartError> {
    open_real_seams(config, shown).await
}

#[cfg(feature = "testbed")]
async fn open_seams(config: &Config, shown: &Shown<'_>) -> Result<Seams, StartError> {
    let Shown { logger, phase, registry, .. } = *shown;
    let Some(place) = crate::testbed::place() else {
        return open_real_seams(config, shown).await;
    };
    let (cluster_events, from_cluster) = mpsc::channel(EVENTS_WAITING_MAX);
    let mut from_cluster: Box<dyn Feed> = Box::new(from_cluster);
    let (kernel_events, from_kernel) = mpsc::channel(EVENTS_WAITING_MAX);
    let (requests, plocks) = mpsc::channel(EVENTS_WAITING_MAX);
    let side = place.side;
    let open = move || crate::testbed::open(&place, cluster_events, kernel_events, requests);
    let opened = tokio::task::spawn_blocking(open).await.map_err(|_| StartError::NoResult)??;
    let mut retries = Arc::default();
    let (cluster, configuration) = match side {
        ClusterSide::Corosync => {
            let corosync::Started { cluster, incoming, configuration } =
                connect_corosync(logger, registry).await?;
            from_cluster = both(Box::new(incoming), from_cluster);
            retries = cluster.retries();
            (crate::testbed::beside(Box::new(cluster), opened.cluster), configuration)
        }
        ClusterSide::Testbed => {
            logger.debug(&format!("our_nodeid {}", opened.local));
            let configuration = Configuration {
                local: opened.local,
                nodes: opened.nodes,
                two_node: opened.two_node,
                cluster_name: Some(opened.cluster_name),
                rrp_mode: None,
                totem: None,
            };
            (opened.cluster, configuration)
        }
    };
    phase(DaemonPhase::Unfencing);
    unfence(config, configuration.local, logger).await?;
    phase(DaemonPhase::Kernel);
    let (kernel, devices) = (opened.kernel, None);
    let (from_kernel, plocks) = (Box::new(from_kernel), Box::new(plocks));
    Ok(Seams {
        cluster,
        kernel,
        from_cluster,
        from_kernel,
        plocks,
        configuration,
        devices,
        retries,
    })
}

/// Corosync and this machine's kernel.
async fn open_real_seams(config: &Config, shown: &Shown<'_>) -> Result<Seams, StartError> {
    let Shown { logger, phase, history, registry } = *shown;
    let root = Root::default();
    let corosync::Started { mut cluster, incoming, configuration } =
        connect_corosync(logger, registry).await?;
    refuse_uncontrolled(&root, &mut cluster, &configuration, logger)?;
    phase(DaemonPhase::Unfencing);
    unfence(config, configuration.local, logger).await?;
    phase(DaemonPhase::Kernel);

    let sink: LogSink = {
        let logger = logger.clone();
        Arc::new(move |line| logger.line(&line))
    };
    misc::wait_for_devices(&root, DEADLINE, &sink).await?;
    let monitor = prepare_kernel(&root, config, &configuration, &sink)?;
    let uevents = Uevents::new(UeventSocket::open(registry)?, root.clone(), Arc::clone(&sink));
    let kernel_log = read_kernel_log(&root, history);
    let (results, plocks) =
        open_plocks(&root, config, (logger, &sink), configuration.local, registry)?;
    let comms = comm_options(config, &configuration);
    let (kernel, completions) = RealKernel::new(root, comms, sink, results, registry)?;
    let told = both(Box::new(uevents), Box::new(kernel_log));
    let from_kernel = both(Box::new(completions), told);

    let retries = cluster.retries();
    let (cluster, kernel) = (Box::new(cluster), Box::new(kernel));
    let (from_cluster, plocks) = (Box::new(incoming), Box::new(plocks));
    let devices = Some(monitor);
    Ok(Seams {
        cluster,
        kernel,
        from_cluster,
        from_kernel,
        plocks,
        configuration,
        devices,
        retries,
    })
}

/// The plock device: where results go, and where requests come from.
fn open_plocks(
    root: &Root,
    config: &Config,
    (logger, sink): (&Logger, &LogSink),
    local: NodeId,
    registry: &Registry,
) -> Result<(Results, Requests), StartError> {
    let path = root.misc_device(misc::PLOCK);
    let device = misc::open_plock(root)?;
    let writing = device.try_clone().map_err(KernelError::path(Operation::Open, &path))?;
    let limit = RateLimit::new(config.settings().number(Key::PlockRateLimit));
    let requests = Requests::new(device, &path, local, limit.clone(), Arc::clone(sink), registry)?;
    let plock_log: LogSink = {
        let logger = logger.clone();
        Arc::new(move |line| {
            let text = PlockText::Words(line.text.clone());
            logger.plock(Some(line.level), line.lockspace.clone(), text);
        })
    };
    Ok((Results::new(writing, path, limit, Arc::clone(sink), plock_log), requests))
}

async fn connect_corosync(
    logger: &Logger,
    registry: &Registry,
) -> Result<corosync::Started, StartError> {
    let registry = registry.clone();
    let connected =
        tokio::task::spawn_blocking(move || corosync::start(COROSYNC_PATIENCE, &registry))
            .await
            .map_err(|_| StartError::NoResult)??;
    logger.debug(&format!("our_nodeid {}", connected.configuration.local));
    for node in &connected.configuration.nodes {
        logger.debug(&format!("node_config {node}"));
    }
    Ok(connected)
}

fn tell_ready(logger: Logger) -> impl FnOnce() + Send {
    move || {
        if let Err(error) = systemd::ready() {
            logger.error(&error.to_string());
        }
    }
}

/// Lockspaces in the kernel hold locks that nobody coordinates; our peers have begun to fence us.
fn refuse_uncontrolled(
    root: &Root,
    cluster: &mut dyn Cluster,
    configuration: &Configuration,
    logger: &Logger,
) -> Result<(), StartError> {
    let found: Vec<LockspaceName> = check_uncontrolled(root)?;
    if found.is_empty() {
        return Ok(());
    }
    for lockspace in &found {
        logger.error(&format!("found uncontrolled lockspace {lockspace}"));
    }
    logger.error(&format!("tell corosync to remove nodeid {} from cluster", configuration.local));
    cluster.kick(configuration.local);
    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(StartError::Uncontrolled(names.join(" ")))
}

/// Configfs and the monitor, which is returned open.
fn prepare_kernel(
    root: &Root,
    config: &Config,
    configuration: &Configuration,
    sink: &LogSink,
) -> Result<OwnedFd, StartError> {
    let (lines, prepared) = prepare_configfs(root, &attributes(config, configuration));
    lines.into_iter().for_each(|line| sink(line));
    prepared?;
    Ok(misc::open_monitor(root)?)
}

/// What the kernel's log says of slots. Nobody waits for it, and it says much else: it is read beside the driver.
fn read_kernel_log(root: &Root, history: &History) -> Dispensable {
    let (slots, events) = mpsc::channel(EVENTS_WAITING_MAX);
    match KernelLog::open(root) {
        Ok(log) => {
            let history = history.clone();
            let note = move |progress| note_progress(&history, &progress);
            let watch = forward_kernel_log(log, slots, note);
            tokio::spawn(async move {
                if let Err(error) = watch.await {
                    tracing::error!("slots stay predictions from now on: {error}");
                }
            });
        }
        Err(error) => tracing::error!("slots stay predictions: {error}"),
    }
    Dispensable(events)
}

fn note_progress(history: &History, Progress { lockspace, step }: &Progress) {
    let now = clock::now().mono;
    match *step {
        Step::LocksRecovered => history.locks_recovered(now, lockspace),
        Step::JournalReplayed { jid, took_ms } => {
            history.journal_replayed(now, lockspace, Journal { jid, took_ms });
        }
        Step::FileSystemUnblocked => history.file_system_unblocked(now, lockspace),
    }
}

fn attributes(config: &Config, configuration: &Configuration) -> ClusterAttributes {
    let settings = config.settings();
    let given = |key| settings.origin(key) != Origin::Default;
    let fscontrol = settings.is_on(Key::EnableFscontrol);
    ClusterAttributes {
        log_debug: given(Key::LogDebug).then(|| Switch::from(settings.is_on(Key::LogDebug))),
        tcp_port: given(Key::Port).then(|| settings.number(Key::Port)),
        mark: settings.number(Key::Mark),
        protocol: Protocol::choose(
            &settings.text(Key::Protocol),
            configuration.rrp_mode.as_deref(),
        ),
        recover_callbacks: Switch::from(!fscontrol),
        cluster_name: configuration.cluster_name.clone().filter(|_| !fscontrol),
    }
}

fn comm_options(config: &Config, configuration: &Configuration) -> CommOptions {
    let marks = configuration.nodes.iter().map(|node| (*node, config.node_mark(*node))).collect();
    CommOptions { marks, bind_all: Switch::from(config.settings().is_on(Key::BindAll)) }
}

fn setup(config: &Config, configuration: &Configuration) -> Setup {
    Setup {
        our_node: configuration.local,
        configured_nodes: configuration.nodes.clone(),
        two_node: configuration.two_node && configuration.nodes.len() == 2,
        fixed: config.fixed(),
        dynamic: config.dynamic(),
        devices: config.fence_devices(&configuration.nodes),
        lockspaces: config.lockspaces().clone(),
    }
}

#[cfg(test)]
mod tests;
