//! The daemon from its first line to its last: start order, what is connected to what, and the end.
//!
//! Wiring only. The order of the start is an interface (spec/kernel-interfaces.md section 1): the monitor device is open
//! and the uevent socket is bound before the kernel learns our own address, after which it lets lockspaces be created.

mod ending;
mod startup;
mod unfence;

use crate::config::{Config, Key, Report};
use crate::control::{self, Access, Command, Published, Sources};
use crate::driver::End;
use crate::kernel::root::Root;
use crate::logging::{LogOptions, Logger};
use crate::process::priority;
use crate::reactor::Reactor;
use crate::service::{self, Mode, Readiness, Role, ServicePaths};
use dlm_core::effect::{Level, LogLine};
use dlm_core::options::Switch;
use dlmcontrol::proto::{COMMAND_SOCKET, QUERY_SOCKET};
use startup::Started;
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for the driver.
const COMMANDS_WAITING_MAX: usize = 64;

/// Stack of the thread with the tasks, in bytes.
const TASKS_STACK: usize = 512 * 1024;

/// Exit status after everything that failed.
const FAILURE: u8 = 1;

/// Be the daemon; returns the exit status.
#[must_use]
pub fn run(mut config: Config) -> u8 {
    let foreground =
        config.settings().is_on(Key::DaemonDebug) || config.settings().is_on(Key::Foreground);
    let mode = if foreground { Mode::Foreground } else { Mode::Background };
    let report = match config.load() {
        Ok(report) => report,
        Err(error) => {
            eprintln!("{error}");
            return FAILURE;
        }
    };
    let (readiness, _pid_file) = match service::start(mode, &ServicePaths::default()) {
        Ok(Role::Parent(status)) => return status,
        Ok(Role::Daemon { readiness, pid_file }) => (readiness, pid_file),
        Err(error) => {
            eprintln!("{error}");
            return FAILURE;
        }
    };
    let logger = match start_log(&config, &report) {
        Ok(logger) => logger,
        Err(error) => {
            eprintln!("{error}");
            readiness.failed(&error);
            return FAILURE;
        }
    };
    let status = serve(config, &logger, readiness);
    logger.finish();
    status
}

fn start_log(config: &Config, report: &Report) -> Result<Logger, String> {
    let settings = config.settings();
    let on = |key| Switch::from(settings.is_on(key));
    let logger = Logger::start(LogOptions {
        debug_logfile: on(Key::DebugLogfile),
        stderr: on(Key::DaemonDebug),
        plock_debug: on(Key::PlockDebug),
        ..LogOptions::default()
    })
    .map_err(|error| error.to_string())?;
    logger.install().map_err(|error| error.to_string())?;
    for text in &report.outcome.trace {
        logger.early(&LogLine { level: Level::Debug, lockspace: None, text: text.clone() });
    }
    for diagnostic in &report.diagnostics {
        logger.error(&format!("{}: {diagnostic}", config.path().display()));
    }
    logger.info(&format!("dlm_controld {} started", env!("CARGO_PKG_VERSION")));
    Ok(logger)
}

/// The sockets, and whom they are for.
struct Sockets {
    commands: UnixListener,
    queries: UnixListener,
    access: Access,
}

fn bind(config: &Config) -> Result<Sockets, control::ControlError> {
    let group = config.settings().text(Key::ControlGroup);
    let access =
        if group.is_empty() { Access::root_only() } else { Access::root_and_group(&group)? };
    Ok(Sockets {
        queries: control::bind(QUERY_SOCKET)?,
        commands: control::bind(COMMAND_SOCKET)?,
        access,
    })
}

fn serve(config: Config, logger: &Logger, readiness: Readiness) -> u8 {
    // First of all: the threads that work for this one follow it.
    if config.settings().is_on(Key::Realtime)
        && let Err(error) = priority::before_others()
    {
        logger.error(&format!(
            "no realtime priority: {error}; a recovery may wait for other load (realtime=0 does without)"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let loops = Reactor::new().and_then(|reactor| Ok(Loops { reactor, runtime: runtime? }));
    let (sockets, loops) = match (bind(&config), loops) {
        (Ok(sockets), Ok(loops)) => (sockets, loops),
        (Err(error), _) => return refuse(logger, readiness, &error.to_string()),
        (_, Err(error)) => return refuse(logger, readiness, &error.to_string()),
    };
    let (published, shown) = watch::channel(Arc::new(Published::default()));
    let (commands, asked) = mpsc::channel::<Command>(COMMANDS_WAITING_MAX);
    let history = control::History::default();
    let meters = control::Meters::default();
    let sources = Sources {
        history: history.clone(),
        meters: meters.clone(),
        published: shown,
        debug_log: logger.ring(),
        plock_log: logger.plock_log(),
        commands: commands.clone(),
        started: control::clock(),
        clock: control::clock,
    };
    if let Err(error) = control::start_query_thread(sockets.queries, sources) {
        return refuse(logger, readiness, &error.to_string());
    }
    readiness.ready();
    if let Err(error) = service::lock_memory() {
        logger.error(&error.to_string());
    }
    let clients = Clients {
        listener: sockets.commands,
        access: sockets.access,
        commands,
        asked,
        history,
        meters,
    };
    live(config, logger, clients, published, loops)
}

fn refuse(logger: &Logger, readiness: Readiness, why: &str) -> u8 {
    complain(logger, why);
    readiness.failed(why);
    FAILURE
}

/// Why the daemon does not run. Who started it by hand in the foreground reads it on standard error, whatever `daemon_debug` is; in
/// the background that leads nowhere.
fn complain(logger: &Logger, why: &str) {
    logger.set_stderr(true);
    logger.error(why);
}

/// The command socket and its channel.
struct Clients {
    listener: UnixListener,
    access: Access,
    commands: mpsc::Sender<Command>,
    asked: mpsc::Receiver<Command>,
    history: control::History,
    meters: control::Meters,
}

/// What waits for events.
struct Loops {
    /// For the driver.
    reactor: Reactor,
    /// For all else.
    runtime: Runtime,
}

fn live(
    config: Config,
    logger: &Logger,
    clients: Clients,
    published: watch::Sender<Arc<Published>>,
    loops: Loops,
) -> u8 {
    let Loops { mut reactor, runtime } = loops;
    let registry = reactor.registry().clone();
    let started = runtime.block_on(startup::start(config, logger, clients, published, &registry));
    let Started { driver, inputs, devices } = match started {
        Ok(started) => started,
        Err(failure) => {
            complain(logger, &failure.to_string());
            // Who is asked to end while corosync lets nobody in does not wait for the thread that asks it.
            runtime.shutdown_background();
            return ending::after_failed_start(failure, &Root::default(), logger);
        }
    };
    // The driver starts tasks there.
    let handle = runtime.handle().clone();
    let _there = handle.enter();
    let tasks = match Tasks::run(runtime) {
        Ok(tasks) => tasks,
        Err(error) => {
            complain(logger, &format!("cannot start a thread: {error}"));
            return FAILURE;
        }
    };
    let (end, outputs, inputs, core) = reactor.block_on(driver.run(inputs));
    logger.debug(&format!("ending: {end:?}"));
    if let Err(error) = service::systemd::stopping() {
        logger.debug(&error.to_string());
    }
    let status = ending::after_run(&end, outputs, inputs, &core, logger, &mut reactor);
    // Closing the monitor tells the kernel that nobody supervises it any more: after the stops.
    drop(devices);
    tasks.end();
    match end {
        End::Done | End::ClusterLost(_) => status,
        End::Refused(_) | End::FailStop(_) => FAILURE,
    }
}

/// What is asynchronous beside the driver, on a thread of its own.
struct Tasks {
    end: oneshot::Sender<()>,
    thread: JoinHandle<Runtime>,
}

impl Tasks {
    fn run(runtime: Runtime) -> io::Result<Self> {
        let (end, ended) = oneshot::channel();
        let run = move || {
            priority::as_the_main_thread();
            // Sent, or dropped.
            let _ = runtime.block_on(ended);
            runtime
        };
        let thread = thread::Builder::new().name("dlm_tasks".to_owned()).stack_size(TASKS_STACK);
        Ok(Self { end, thread: thread.spawn(run)? })
    }

    /// Programs that still run are killed.
    fn end(self) {
        drop(self.end);
        if let Ok(runtime) = self.thread.join() {
            runtime.shutdown_background();
        }
    }
}
