//! The Rust client against the served sockets, and clients that mean no good.

mod bytes;
mod commands;
mod crowds;
mod queries;
mod state;
mod users;

use super::golden::{fencing_wait, id, locks, lockspace};
use super::queries::Clocked;
use super::request::{EchoedName, Query};
use super::*;
use dlm_core::event::AgentOutcome;
use dlm_core::message::{RunCounts, RunRequest};
use dlm_core::plock::{Holder, Mode, PlockResource, TransferEntry};
use dlm_core::run::RunUuid;
use dlm_core::snapshot::{Lockspace, Run, Wait};
use dlm_core::waiting::{FenceWait, LaneState, LaneWait, Subject, Waited, Waiting, WriteKind};
use dlmcontrol::client::{Client, Error};
use dlmcontrol::proto::{self, Header, NodeList, StatusKind, errno};
use dlmcontrol::state::{State, Time};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Uid;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Far less than the time limits of the daemon, far more than a loaded machine needs.
const PROMPT: Duration = Duration::from_secs(7);

/// POSIX locks of lockspace `many`, all of one file.
const MANY_PLOCKS: u64 = 200_000;

/// Of all of them so many at once, as the driver gives some: more than goes into an answer.
const PART: usize = 40_000;

/// What the driver gives.
fn plocks_part(lockspace: &LockspaceName, skip: usize) -> Option<DumpPart> {
    let locks = match lockspace.as_bytes() {
        b"fs" => 1,
        b"many" => MANY_PLOCKS,
        _ => return None,
    };
    let entry = |start| TransferEntry {
        start,
        end: start + 9,
        holder: Holder { node: id(1), owner: 0xff },
        pid: 7,
        mode: Mode::Write,
        waiter: false,
    };
    let skipped = skip.min(usize::try_from(locks).unwrap());
    let entries = (0..locks).skip(skipped).take(PART).map(entry).collect();
    let (owner, unused_millis, pending) = (0, 0, Vec::new());
    let resource = PlockResource { number: FILE.number, owner, unused_millis, entries, pending };
    Some(DumpPart { resources: vec![resource], skipped, next: None })
}

/// The only one with locks.
const FILE: PlockFile = PlockFile { created: 1, number: 79937 };

/// The line of a lock of it.
fn plock_line(start: u64) -> String {
    format!("79937 WR {start}-{} nodeid 1 pid 7 owner ff rown 0\n", start + 9)
}

/// A daemon without driver: the test is the driver.
struct Daemon {
    command_socket: String,
    query_socket: String,
    publish: watch::Sender<Arc<Published>>,
    debug_log: LogRing,
    commands: mpsc::Receiver<Command>,
}

impl Daemon {
    fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |kind| format!("dlm-test-{kind}-{}-{number}", std::process::id());
        Self::start_as(&name("commands"), &name("queries"), Access::root_only())
    }

    fn start_as(command_socket: &str, query_socket: &str, access: Access) -> Self {
        let (command_socket, query_socket) = (command_socket.to_owned(), query_socket.to_owned());
        let (publish, published) = watch::channel(Arc::default());
        let (send, commands) = mpsc::channel(COMMANDS_MAX);
        let debug_log = LogRing::new();
        let meters = Meters::default();
        let counting = meters.clone();
        let sources = Sources {
            published,
            debug_log: debug_log.clone(),
            plock_log: PlockLog::default(),
            commands: send.clone(),
            history: History::default(),
            meters,
            started: Time { boot_ms: 4_000, wall_ms: 1_700_000_004_000 },
            clock: || Time { boot_ms: 104_000, wall_ms: 1_700_000_104_000 },
        };
        start_query_thread(bind(query_socket.as_bytes()).unwrap(), sources).unwrap();
        let listener = bind(command_socket.as_bytes()).unwrap();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                serve_commands(listener, access, send, counting).await;
            });
        });
        Self { command_socket, query_socket, publish, debug_log, commands }
    }

    fn publish(&self, published: Published) {
        self.publish.send_replace(Arc::new(published));
    }

    fn client(&self) -> Client {
        Client::with_sockets(self.command_socket.as_bytes(), self.query_socket.as_bytes())
            .with_timeout(Some(PROMPT))
    }

    /// A driver that is stuck: it takes commands, and does nothing about them.
    fn take_only(mut self) {
        thread::spawn(move || {
            let mut taken = Vec::new();
            while let Some(command) = self.commands.blocking_recv() {
                taken.push(command);
            }
        });
    }

    /// Answers commands on a thread until the sockets are gone, and passes on what came.
    fn drive(mut self, answer: impl Fn(&Command) + Send + 'static) -> std_mpsc::Receiver<Command> {
        let (seen, commands) = std_mpsc::channel();
        thread::spawn(move || {
            while let Some(command) = self.commands.blocking_recv() {
                answer(&command);
                let command = match command {
                    Command::State { reply } => {
                        reply.send(Arc::clone(&self.publish.borrow())).unwrap();
                        continue;
                    }
                    Command::RunStart { reply, .. } => {
                        reply.send(Ok("ab4c9f22-f6c9-409e".to_owned())).unwrap();
                        continue;
                    }
                    Command::RunCheck { reply, uuid, .. } => {
                        reply.send((uuid == "known").then_some(2).ok_or(RunRefused)).unwrap();
                        continue;
                    }
                    Command::PlockFiles { lockspace, last, reply } => {
                        let file = last.is_none().then_some(FILE);
                        let files = plocks_part(&lockspace, 0).map(|_| Vec::from_iter(file));
                        reply.send(files).unwrap();
                        continue;
                    }
                    Command::PlocksPart { lockspace, skip, reply, .. } => {
                        reply.send(plocks_part(&lockspace, skip)).unwrap();
                        continue;
                    }
                    other => other,
                };
                seen.send(command).unwrap();
            }
        });
        commands
    }

    fn connect(&self, socket: &str) -> StdStream {
        connect(socket)
    }
}

fn connect(socket: &str) -> StdStream {
    let address = SocketAddr::from_abstract_name(socket).unwrap();
    let stream = StdStream::connect_addr(&address).unwrap();
    stream.set_read_timeout(Some(PROMPT)).unwrap();
    stream
}

fn request(command: u32, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(proto::Command::DumpDebug).followed_by(payload.len());
    header.command = command;
    [header.as_bytes(), payload].concat()
}

/// The daemon has closed the connection, and nothing came before that.
fn is_closed(stream: &mut StdStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn second_daemon_is_told_so_and_children_inherit_nothing() {
    let listener = bind(b"dlm-test-second").unwrap();
    let error = bind(b"dlm-test-second").unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }));
    assert!(error.to_string().contains("@dlm-test-second"));
    let flags = fcntl(&listener, FcntlArg::F_GETFD).unwrap();
    assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
}

/// Three nodes, the third of which must be fenced: our agent failed twice, and it is not to be tried again yet.
fn fencing_with_pause() -> Published {
    let at = |seconds| dlm_core::types::Instant::default().plus_seconds(seconds);
    let mut snapshot = fencing_wait();
    let failures = 2;
    let pause = FenceWait::Pause { until: at(106), failures };
    let victim = snapshot.nodes.iter_mut().find(|node| node.node == id(3)).unwrap();
    victim.failures = failures;
    victim.failed_by = vec![(id(1), 1)];
    victim.waits_for = Some(pause.clone());
    let waited = |who, what, since| Waited { who, what, since: at(since) };
    let stop =
        LaneWait { write: WriteKind::Stop, state: LaneState::Running { failures: 0 }, queued: 0 };
    let name = |name: &str| Subject::Lockspace(LockspaceName::new(name.as_bytes()).unwrap());
    let replies = Waiting::RunReplies { from: [id(2), id(3)].into(), until: at(460), count: 2 };
    let commands = Waiting::RunCommands { of: [id(2)].into(), until: None, count: 1 };
    snapshot.waits = vec![
        waited(Subject::Daemon, replies, 100),
        waited(Subject::Daemon, commands, 99),
        waited(Subject::Node(id(3)), Waiting::Fence(pause), 103),
        waited(name("fs"), Waiting::Change(Wait::Fencing([id(3)].into())), 98),
        waited(name("t1"), Waiting::Kernel(stop), 97),
    ];
    let attempt = |started, ended, outcome| Attempt {
        device: "power".to_owned(),
        agent: "fence_ipmilan".to_owned(),
        started: at(started),
        ended: Some((at(ended), outcome)),
        output: "Connection timed out".to_owned(),
    };
    let attempts =
        [attempt(98, 100, AgentOutcome::Exited(1)), attempt(101, 103, AgentOutcome::Signalled(9))];
    Published {
        snapshot,
        config: "log_debug=0\npost_join_delay=30\n".into(),
        phase: DaemonPhase::Running,
        attempts: Arc::new([(id(3), attempts.into())].into()),
        beside: vec![
            Beside { what: BesideWait::PlockRate { until: at(105) }, since: at(90) },
            Beside { what: BesideWait::CorosyncQueue { requests: 7 }, since: at(104) },
        ],
        ..Published::default()
    }
}
