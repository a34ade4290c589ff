use super::*;
use crate::cluster::Backlog;
use crate::config::Invocation;
use crate::control::{Beside, BesideWait, LogRing, append_plocks, dump_plocks};
use crate::feed::Feed;
use crate::kernel::plockdev::{self, RECORD_SIZE, RateLimit, Requests, Results};
use crate::kernel::{HeldBack, LogSink};
use crate::logging::LogOptions;
use crate::reactor::{Reactor, Registry, Watched};
use dlm_core::effect::KernelWrite;
use dlm_core::event::{Confchg, JoinReason, Token};
use dlm_core::options::Setup;
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{GlobalId, Group, LockspaceName, RingId};
use dlm_recording::{Recording, Verdict};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Takes every request and answers none.
struct Silent;

impl Cluster for Silent {
    fn join(&mut self, _: &Group) {}
    fn leave(&mut self, _: &Group) {}
    fn send(&mut self, _: &Group, _: Vec<u8>) {}
    fn kick(&mut self, _: NodeId) {}
    fn answer_shutdown(&mut self, _: bool) {}
}

impl Kernel for Silent {
    fn write(&mut self, _: Token, _: Lane, _: KernelWrite) {}
    fn retire(&mut self, _: &Lane) {}
    fn set_log_debug(&mut self, _: Switch) {}
    fn plock_result(&mut self, _: &PlockInfo) {}
    fn set_plock_rate_limit(&mut self, _: u32) {}
}

fn us() -> NodeId {
    NodeId::new(1).expect("not 0")
}

fn driver(cluster: Box<dyn Cluster>, kernel: Box<dyn Kernel>, recorder: FlightRecorder) -> Driver {
    let Ok(Invocation::Run(config)) = Config::from_args(["-D".into()], None) else {
        panic!("-D is a way to run")
    };
    let node = us();
    let core = Core::new(Setup {
        our_node: node,
        configured_nodes: vec![node],
        two_node: false,
        fixed: config.fixed(),
        dynamic: config.dynamic(),
        devices: config.fence_devices(&[node]),
        lockspaces: config.lockspaces().clone(),
    });
    let file = std::env::temp_dir().join(format!("dlm-driver-{}.log", std::process::id()));
    let options = LogOptions { journal: Switch::Off, file, ..LogOptions::default() };
    let outputs = Outputs {
        cluster,
        kernel,
        published: watch::channel(Arc::default()).0,
        history: History::default(),
        meters: Meters::default(),
        logger: Logger::start(options).expect("a thread"),
        recorder,
        ready: Box::new(|| ()),
    };
    Driver::new(core, config, vec![node], outputs)
}

/// Run a driver to its end; it starts no program, which would need the tokio runtime.
fn run(driver: Driver, inputs: impl FnOnce(&Registry) -> Inputs) -> (End, Core) {
    let mut reactor = Reactor::new().expect("descriptors");
    let inputs = inputs(reactor.registry());
    let (end, _, _, core) = reactor.block_on(driver.run(inputs));
    (end, core)
}

#[test]
fn a_flood_loses_no_event() {
    const FLOOD: usize = 10 * BATCH + 7;
    let (events, cluster) = mpsc::channel(FLOOD + 1);
    for number in 0..FLOOD {
        let lockspace = LockspaceName::new(format!("ls{number}").as_bytes()).expect("a name");
        events.try_send(Event::Online { lockspace }).expect("room");
    }
    events.try_send(Event::ClusterLost { why: "the end".to_owned() }).expect("room");
    let (_kernel_end, kernel) = mpsc::channel(1);
    let (_command_end, commands) = mpsc::channel(1);
    let (_signal_end, signals) = mpsc::channel(1);
    let (_plock_end, plocks) = mpsc::channel(1);
    let (cluster, kernel, plocks) = (Box::new(cluster), Box::new(kernel), Box::new(plocks));
    let driver = driver(Box::new(Silent), Box::new(Silent), FlightRecorder::default());
    let (end, core) = run(driver, |registry| Inputs {
        cluster,
        kernel,
        plocks,
        commands,
        signals,
        registry: registry.clone(),
    });
    assert_eq!(end, End::ClusterLost("the end".to_owned()));
    assert_eq!(core.snapshot().lockspaces.len(), FLOOD);
}

#[test]
fn a_lockspaces_lane_is_prepared_when_its_group_is_joined() {
    #[derive(Clone, Default)]
    struct Noting(Arc<std::sync::Mutex<Vec<Lane>>>);
    impl Kernel for Noting {
        fn write(&mut self, _: Token, _: Lane, _: KernelWrite) {}
        fn prepare(&mut self, lane: Lane) {
            self.0.lock().expect("no panic").push(lane);
        }
        fn retire(&mut self, _: &Lane) {}
        fn set_log_debug(&mut self, _: Switch) {}
        fn plock_result(&mut self, _: &PlockInfo) {}
        fn set_plock_rate_limit(&mut self, _: u32) {}
    }
    let kernel = Noting::default();
    let mut driver = driver(Box::new(Silent), Box::new(kernel.clone()), FlightRecorder::default());
    let lockspace = LockspaceName::new(b"fs").expect("a name");
    driver.carry_out(Instant::default(), Effect::Join(Group::Daemon));
    driver.carry_out(Instant::default(), Effect::Join(Group::Lockspace(lockspace.clone())));
    assert_eq!(*kernel.0.lock().expect("no panic"), [Lane::Lockspace(lockspace)]);
}

#[test]
fn the_kernel_is_answered_before_anything_is_said_about_it() {
    /// Notes what the log says when the kernel is written to.
    #[derive(Clone, Default)]
    struct Reading {
        log: Arc<std::sync::OnceLock<LogRing>>,
        said: Arc<std::sync::Mutex<Vec<String>>>,
    }
    impl Kernel for Reading {
        fn write(&mut self, _: Token, _: Lane, _: KernelWrite) {
            let text = self.log.get().expect("a log").text();
            let text = String::from_utf8(text).expect("text");
            self.said.lock().expect("no panic").push(text);
        }
        fn retire(&mut self, _: &Lane) {}
        fn set_log_debug(&mut self, _: Switch) {}
        fn plock_result(&mut self, _: &PlockInfo) {}
        fn set_plock_rate_limit(&mut self, _: u32) {}
    }
    const LINE: &str = "offline uevent for unknown lockspace fs";
    let kernel = Reading::default();
    let mut driver = driver(Box::new(Silent), Box::new(kernel.clone()), FlightRecorder::default());
    let log = driver.outputs.logger.ring();
    assert!(kernel.log.set(log.clone()).is_ok());
    let lockspace = LockspaceName::new(b"fs").expect("a name");
    driver.step(Event::Begin);
    driver.step(Event::Offline { lockspace, release_recover: 0 });
    let said = kernel.said.lock().expect("no panic");
    assert!(matches!(said.as_slice(), [text] if !text.contains(LINE)), "{said:?}");
    assert!(String::from_utf8(log.text()).expect("text").contains(LINE));
}

/// Gives one event after the other, and counts them; the last one is the end.
struct Endless {
    event: Event,
    given: Arc<AtomicUsize>,
}

impl Endless {
    const LAST: usize = 100 * BATCH;
}

impl Feed for Endless {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.given.fetch_add(1, Ordering::Relaxed) < Self::LAST {
            return Poll::Ready(Some(self.event.clone()));
        }
        Poll::Ready(Some(Event::ClusterLost { why: "never heard".to_owned() }))
    }
}

/// Run a daemon where one feed never dries up, until something else says the end; how much it gave.
fn beside_an_endless_feed(
    event: Event,
    inputs: impl FnOnce(Box<dyn Feed>, &Registry) -> Inputs,
) -> usize {
    let given = Arc::new(AtomicUsize::new(0));
    let endless = Box::new(Endless { event, given: Arc::clone(&given) });
    let driver = driver(Box::new(Silent), Box::new(Silent), FlightRecorder::default());
    let (end, _) = run(driver, |registry| inputs(endless, registry));
    assert_eq!(end, End::ClusterLost("the end".to_owned()));
    given.load(Ordering::Relaxed)
}

fn the_end() -> Event {
    Event::ClusterLost { why: "the end".to_owned() }
}

#[test]
fn other_descriptors_have_their_turn_although_a_source_never_dries_up() {
    /// Says the end when its descriptor is seen readable.
    struct Sign(Watched);
    impl Feed for Sign {
        fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
            self.0.poll_readable(context).map(|()| Some(the_end()))
        }
    }
    let request = Event::PlockRequest(lock(GlobalId(1), 1, Op::Lock));
    let given = beside_an_endless_feed(request, |plocks, registry| {
        let sign = EventFd::from_value_and_flags(1, EfdFlags::EFD_NONBLOCK).expect("a sign");
        let sign = sign.as_fd().try_clone_to_owned().expect("a descriptor");
        let cluster = Box::new(Sign(registry.watch(sign).expect("a sign")));
        Inputs { cluster, plocks, ..silence(registry) }
    });
    assert_eq!(given, 1 + BATCH);
}

#[test]
fn a_flood_of_corosyncs_does_not_hold_up_posix_locks() {
    let event = Event::BadMessage { group: Group::Daemon, from: us(), why: String::new() };
    let given = beside_an_endless_feed(event, |cluster, registry| {
        let (requests, plocks) = mpsc::channel(1);
        requests.try_send(the_end()).expect("room");
        Inputs { cluster, plocks: Box::new(plocks), ..silence(registry) }
    });
    assert_eq!(given, BATCH);
}

/// Sources that never have anything, nor end.
fn silence(registry: &Registry) -> Inputs {
    struct Nothing;
    impl Feed for Nothing {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Event>> {
            Poll::Pending
        }
    }
    let (cluster, kernel, plocks) = (Box::new(Nothing), Box::new(Nothing), Box::new(Nothing));
    let (commands, signals) = (mpsc::channel(1).1, mpsc::channel(1).1);
    Inputs { cluster, kernel, plocks, commands, signals, registry: registry.clone() }
}

#[test]
fn ends_of_kernel_writes_come_before_corosync_and_that_before_signals() {
    fn holding(event: &Event) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(event.clone()).expect("room");
        (sender, receiver)
    }
    let done = Event::KernelDone { token: Token(1), result: Ok(()) };
    let (_cluster_end, cluster) = holding(&the_end());
    let (_kernel_end, kernel) = holding(&done);
    let (_signal_end, signals) = holding(&Event::Terminate);
    let (cluster, kernel) = (Box::new(cluster), Box::new(kernel));
    let reactor = Reactor::new().expect("descriptors");
    let mut inputs = Inputs { cluster, kernel, signals, ..silence(reactor.registry()) };
    let mut looks = Looks::new();
    for event in [done, the_end(), Event::Terminate] {
        assert!(matches!(inputs.ready(&mut looks), Some(Input::Event(ready)) if ready == event));
    }
    assert!(inputs.ready(&mut looks).is_none());
}

/// A node alone: what it says comes back at once, its kernel does at once what it is asked for.
struct Alone {
    cluster: mpsc::Sender<Event>,
    kernel: mpsc::Sender<Event>,
    plocks: Option<Results>,
}

const RING: RingId = RingId { node: 1, seq: 8 };

impl Alone {
    fn tell(&self, event: Event) {
        self.cluster.try_send(event).expect("room");
    }
}

impl Cluster for Alone {
    fn join(&mut self, group: &Group) {
        let joined = vec![(us(), JoinReason::Join)];
        let change = Confchg { members: vec![us()], joined, left: Vec::new() };
        self.tell(Event::Confchg { group: group.clone(), change });
        self.tell(Event::Ring { group: group.clone(), ring: RING });
    }
    fn leave(&mut self, _: &Group) {}
    fn send(&mut self, group: &Group, bytes: Vec<u8>) {
        let packet = wire::decode(&bytes).expect("a message");
        let (group, from, length) = (group.clone(), us(), bytes.len());
        self.tell(Event::Message { group, from, packet, length });
    }
    fn kick(&mut self, _: NodeId) {}
    fn answer_shutdown(&mut self, _: bool) {}
}

impl Kernel for Alone {
    fn write(&mut self, token: Token, _: Lane, _: KernelWrite) {
        self.kernel.try_send(Event::KernelDone { token, result: Ok(()) }).expect("room");
    }
    fn retire(&mut self, _: &Lane) {}
    fn set_log_debug(&mut self, _: Switch) {}
    fn plock_result(&mut self, result: &PlockInfo) {
        self.plocks.as_ref().expect("the kernel's side").write(result);
    }
    fn set_plock_rate_limit(&mut self, _: u32) {}
}

/// A whole daemon but for corosync and the kernel, whose plock device is a socket: runs `kernel` at its other end.
fn with_a_plock_device(
    recorder: FlightRecorder,
    kernel: impl FnOnce(OwnedFd, GlobalId) + Send + 'static,
) -> Core {
    const ROOM: usize = 1024;
    let fs = LockspaceName::new(b"fs").expect("a name");
    let id = Group::Lockspace(fs.clone()).global_id();
    let (ours, device) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .expect("a pair");
    fcntl(&device, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    let path = PathBuf::from("/dev/misc/dlm_plock");
    let log: LogSink = Arc::new(|line| panic!("{}", line.text));
    let limit = RateLimit::default();
    let writing = device.try_clone().expect("a descriptor");
    let quiet = Arc::clone(&log);
    let results = Results::new(writing, path.clone(), limit.clone(), Arc::clone(&log), quiet);
    let (cluster_events, cluster) = mpsc::channel(ROOM);
    let (kernel_events, from_kernel) = mpsc::channel(ROOM);
    let alone =
        |plocks| Alone { cluster: cluster_events.clone(), kernel: kernel_events.clone(), plocks };
    let nobody = BTreeMap::from([(us(), vec![([127, 0, 0, 1], 0).into()])]);
    alone(None).tell(Event::Quorum {
        quorate: true,
        ring: RING,
        members: vec![us()],
        addresses: nobody,
    });
    kernel_events.try_send(Event::Online { lockspace: fs }).expect("room");
    let driver = driver(Box::new(alone(None)), Box::new(alone(Some(results))), recorder);
    let end = cluster_events.clone();
    std::thread::spawn(move || {
        kernel(ours, id);
        // The end of the device may have been one already.
        let _ = end.blocking_send(Event::ClusterLost { why: "the end".to_owned() });
    });
    let (_, core) = run(driver, |registry| {
        let plocks = Requests::new(device, &path, us(), limit, log, registry).expect("a socket");
        let (cluster, plocks) = (Box::new(cluster), Box::new(plocks));
        let from_kernel = Box::new(from_kernel);
        let (_command_end, commands) = mpsc::channel(1);
        let (_signal_end, signals) = mpsc::channel(1);
        let registry = registry.clone();
        Inputs { cluster, kernel: from_kernel, plocks, commands, signals, registry }
    });
    core
}

fn lock(fsid: GlobalId, number: u64, op: Op) -> PlockInfo {
    PlockInfo {
        version: [1, 2, 0],
        op,
        mode: Mode::Write,
        wait: false,
        flags: 0,
        pid: 7,
        node: us(),
        result: 0,
        fsid,
        number,
        start: 0,
        end: 9,
        owner: 1,
    }
}

fn answer(kernel: &OwnedFd) -> (u64, i32) {
    let mut record = [0; RECORD_SIZE];
    assert_eq!(nix::unistd::read(kernel, &mut record), Ok(RECORD_SIZE));
    let (info, _) = plockdev::decode(&record, us()).expect("a record");
    (info.number, info.result)
}

fn ask(kernel: &OwnedFd, request: &PlockInfo) {
    assert_eq!(nix::unistd::write(kernel, &plockdev::encode(request)), Ok(RECORD_SIZE));
}

#[test]
fn requests_of_the_device_are_answered_there_in_order() {
    let recorder = FlightRecorder::new(1024);
    let core = with_a_plock_device(recorder.clone(), |kernel, id| {
        for number in 1..=3 * 64 {
            ask(&kernel, &lock(id, number, Op::Lock));
        }
        for number in 1..=3 * 64 {
            assert_eq!(answer(&kernel), (number, 0));
        }
    });
    let name = LockspaceName::new(b"fs").expect("a name");
    let held = core.plocks(&name).map(Iterator::count);
    assert_eq!(held, Some(3 * 64), "locks of the lockspace");

    let (verdicts, replayed) = replayed(&recorder);
    let other = verdicts.iter().position(|verdict| *verdict != Verdict::Same);
    assert_eq!(other, None, "{verdicts:?}");
    let steps = verdicts.len();
    assert!(steps > 2 * 3 * 64, "request and message of each lock: {steps} steps");
    assert_eq!(replayed, core);
}

/// What a recording's steps came to, and the core behind them.
fn replayed(recorder: &FlightRecorder) -> (Vec<Verdict>, Core) {
    let file = recorder.saved().expect("a recorder");
    let recording = Recording::read(&file).expect("a recording");
    let [segment] = recording.segments.as_slice() else { panic!("one segment is enough") };
    let mut replay = segment.replay().expect("a segment");
    let mut verdicts = Vec::new();
    while let Some(step) = replay.next_step().expect("a step") {
        verdicts.push(replay.take(step).verdict);
    }
    (verdicts, replay.core().clone())
}

#[test]
fn a_step_that_is_over_is_told_from_one_of_which_the_daemon_dies() {
    let recorder = FlightRecorder::new(64);
    let mut driver = driver(Box::new(Silent), Box::new(Silent), recorder.clone());
    driver.step(Event::Begin);
    assert_eq!(replayed(&recorder).0, [Verdict::Same]);
    driver.step(Event::Deadline);
    recorder.begin(clock::now(), &Event::Terminate, &driver.core);
    assert_eq!(replayed(&recorder).0, [Verdict::Same, Verdict::Same, Verdict::Unknown]);
}

#[test]
fn locks_are_shown_some_at_a_time() {
    const LOCKS: usize = 5 * LOOKS + 7;
    let core = with_a_plock_device(FlightRecorder::default(), |kernel, id| {
        for number in (1..).take(LOCKS) {
            ask(&kernel, &lock(id, number, Op::Lock));
            assert_eq!(answer(&kernel), (number, 0));
        }
    });
    let name = LockspaceName::new(b"fs").expect("a name");
    let mut whole = String::new();
    append_plocks(core.plocks(&name).into_iter().flatten(), &mut whole);
    assert_eq!(whole.lines().count(), LOCKS);
    let mut driver = driver(Box::new(Silent), Box::new(Silent), FlightRecorder::default());
    driver.core = core;
    let (commands, mut asked) = mpsc::channel(1);
    let dump = async move { dump_plocks(&commands, &name, 0).await };
    let serve = async {
        let mut parts = 0;
        while let Some(command) = asked.recv().await {
            driver.command(command);
            parts += 1;
        }
        parts
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (text, parts) = runtime.block_on(async { tokio::join!(dump, serve) });
    assert!(text == Some(Some(whole)), "another text");
    // First the files, to the end, then their locks.
    assert_eq!(parts, 7 + 6);
}

/// What the daemon adds to a request, the device's reader and both channels included; corosync and the kernel's own work
/// not; without a flight recorder and with one, in turn. Beside it what the sockets and threads cost alone, without a daemon:
/// `cargo test --release -p dlm-controld --lib -- --ignored --nocapture cost_of_a_plock`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_plock() {
    let (ours, device) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .expect("a pair");
    fcntl(&device, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    let echo = std::thread::spawn(move || {
        echo(device);
    });
    measure(&ours, GlobalId(1), "echo");
    drop(ours);
    echo.join().expect("no panic");
    for _ in 0..7 {
        for (kib, what) in [(0, "daemon"), (1024, "daemon with a recorder")] {
            let recorder = FlightRecorder::new(kib);
            with_a_plock_device(recorder, move |kernel, id| measure(&kernel, id, what));
        }
    }
}

/// Processor time of this thread, the kernel's work for it included: proc(5).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("proc(5)");
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

/// The recorder's share of the loop's processor time under a full load of POSIX locks: reading and answering the device, a
/// socket here, are in it; corosync's library, which has a thread of its own, is not. Pairs of runs with and
/// without a recorder, in turn, because a shared machine is faster at one time than at another.
#[test]
#[ignore = "a measurement"]
fn share_of_the_recorder() {
    const PAIRS: usize = 41;
    const REQUESTS: u32 = 20_000;
    let kept = FlightRecorder::new(1024);
    let time = |recorder: FlightRecorder| {
        let begin = processor_time();
        with_a_plock_device(recorder, |kernel, id| {
            load(&kernel, id, REQUESTS, 100);
        });
        (processor_time() - begin).as_secs_f64()
    };
    let mut shares: Vec<f64> = Vec::new();
    let mut without = Vec::new();
    for pair in 0..PAIRS {
        let [first, second] = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        let mut times = [0.0; 2];
        for side in [first, second] {
            times[side] = time(if side == 0 { FlightRecorder::default() } else { kept.clone() });
        }
        without.push(times[0] / f64::from(REQUESTS) * 1e6);
        shares.push((times[1] - times[0]) / times[1] * 100.0);
    }
    let middle = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[PAIRS / 2]
    };
    let share = middle(&mut shares);
    let quartiles = (shares[PAIRS / 4], shares[PAIRS * 3 / 4]);
    let request = middle(&mut without);
    println!(
        "{share:.2} % ({:.2}..{:.2}) of the loop's time; {request:.2} us a request without",
        quartiles.0, quartiles.1
    );
}

/// Answers requests with themselves, by a bare event loop.
fn echo(device: OwnedFd) {
    let mut reactor = Reactor::new().expect("descriptors");
    let device = reactor.registry().watch(device).expect("a socket");
    let mut record = [0; RECORD_SIZE];
    loop {
        reactor.block_on(poll_fn(|context| device.poll_readable(context)));
        match nix::unistd::read(device.get(), &mut record) {
            Ok(0) => return,
            Ok(_) => assert_eq!(nix::unistd::write(device.get(), &record), Ok(RECORD_SIZE)),
            Err(_) => device.leave(),
        }
    }
}

fn measure(kernel: &OwnedFd, id: GlobalId, what: &str) {
    const COUNT: u32 = 50_000;
    for together in [1, 100] {
        let took = load(kernel, id, COUNT, together);
        println!("{what}, {together} at once: {:?} a request", took / COUNT);
    }
}

/// So many requests, so many of them at once; how long they took.
fn load(kernel: &OwnedFd, id: GlobalId, count: u32, together: u32) -> Duration {
    let op = |number: u32| if number % 2 == 0 { Op::Lock } else { Op::Unlock };
    // The lockspace is there once this is answered.
    ask(kernel, &lock(id, 1, Op::Lock));
    answer(kernel);
    let begin = std::time::Instant::now();
    for _ in 0..count / together {
        (0..together).for_each(|number| ask(kernel, &lock(id, 2, op(number))));
        for _ in 0..together {
            assert_eq!(answer(kernel).0, 2);
        }
    }
    begin.elapsed()
}

/// A cluster and a kernel that have to be waited for as long as they share this.
struct Slow(Arc<AtomicBool>);

impl Cluster for Slow {
    fn join(&mut self, _: &Group) {}
    fn leave(&mut self, _: &Group) {}
    fn send(&mut self, _: &Group, _: Vec<u8>) {}
    fn kick(&mut self, _: NodeId) {}
    fn answer_shutdown(&mut self, _: bool) {}
    fn backlog(&self) -> Option<Backlog> {
        let slow = self.0.load(Ordering::Relaxed);
        slow.then_some(Backlog { requests: 3, lasted: Duration::from_secs(2) })
    }
}

impl Kernel for Slow {
    fn write(&mut self, _: Token, _: Lane, _: KernelWrite) {}
    fn retire(&mut self, _: &Lane) {}
    fn set_log_debug(&mut self, _: Switch) {}
    fn plock_result(&mut self, _: &PlockInfo) {}
    fn set_plock_rate_limit(&mut self, _: u32) {}
    fn plocks_held_back(&self) -> Option<HeldBack> {
        let held = HeldBack { lasted: Duration::from_secs(3), next: Duration::from_secs(1) };
        self.0.load(Ordering::Relaxed).then_some(held)
    }
    fn take_plocks_delayed(&mut self) -> u64 {
        3
    }
}

/// It comes and goes without an event.
#[test]
fn what_is_waited_for_beside_the_core_is_shown_as_of_now() {
    const SECOND: u64 = 1_000_000_000;
    let slow = Arc::new(AtomicBool::new(false));
    let seam = || Box::new(Slow(Arc::clone(&slow)));
    let mut driver = driver(seam(), seam(), FlightRecorder::default());
    driver.step(Event::Begin);
    let mut waits = || {
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        driver.command(Command::State { reply });
        let published = answer.try_recv().expect("an answer");
        let ago = |of: &Beside| (published.taken.as_nanos() - of.since.as_nanos()) / SECOND;
        published.beside.iter().map(|of| (of.what.clone(), ago(of))).collect::<Vec<_>>()
    };
    assert_eq!(waits(), []);
    slow.store(true, Ordering::Relaxed);
    let shown = waits();
    let [(BesideWait::PlockRate { .. }, 2..=3), queue] = shown.as_slice() else {
        panic!("{shown:?}")
    };
    assert_eq!(queue.0, BesideWait::CorosyncQueue { requests: 3 });
    slow.store(false, Ordering::Relaxed);
    assert_eq!(waits(), []);
}

#[test]
fn the_count_of_requests_ends_in_how_many_were_delayed() {
    let seam = || Box::new(Slow(Arc::default()));
    let mut driver = driver(seam(), seam(), FlightRecorder::default());
    let lockspace = LockspaceName::new(b"fs").expect("a name");
    let text = PlockText::ReadCount { number: 2000, millis: 1050 };
    driver.carry_out(Instant::default(), Effect::LogPlock { level: None, lockspace, text });
    let log = String::from_utf8(driver.outputs.logger.plock_log().text()).expect("text");
    assert!(log.ends_with(" fs plock_read_count 2000 time 1.050 s delays 3"), "{log}");
}

#[test]
fn what_happens_is_counted() {
    let mut driver = driver(Box::new(Silent), Box::new(Silent), FlightRecorder::default());
    let meters = driver.outputs.meters.clone();
    driver.step(Event::Begin);
    let why = "too short".to_owned();
    driver.step(Event::BadMessage { group: Group::Daemon, from: us(), why });
    let counted = meters.document();
    assert_eq!((counted.bad_messages, counted.events.count), (1, 2));
}
