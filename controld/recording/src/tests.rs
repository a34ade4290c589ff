use crate::digest::Digest;
use crate::file::{self, ReadError, Reason, Recording};
use crate::recorder::{Capacity, Recorder};
use crate::replay::{Replay, Verdict};
use dlm_core::Core;
use dlm_core::effect::{Effect, Level};
use dlm_core::event::{Confchg, Event, JoinReason};
use dlm_core::options::{Device, DynamicOptions, FenceDevices, FixedOptions, Setup, Switch};
use dlm_core::plock::{Mode, Op, PlockInfo, PlockText};
use dlm_core::types::{Group, Instant, LockspaceName, NodeId, Now, RingId, WallSeconds};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const RING: RingId = RingId { node: 1, seq: 8 };
const PASSWORD: &str = "hunter2";

fn us() -> NodeId {
    NodeId::new(1).unwrap()
}

fn fs() -> LockspaceName {
    LockspaceName::new(b"fs").unwrap()
}

fn setup() -> Setup {
    let device = Device {
        name: "ipmi".to_owned(),
        agent: "fence_ipmilan".to_owned(),
        arguments: vec![format!("passwd={PASSWORD}")],
    };
    Setup {
        our_node: us(),
        configured_nodes: vec![us()],
        two_node: false,
        fixed: FixedOptions {
            fencing: Switch::On,
            startup_fencing: Switch::On,
            concurrent_fencing: Switch::Off,
            agent_timeout_seconds: 300,
            plock: Switch::On,
            plock_ownership: None,
            helper: Switch::On,
        },
        dynamic: DynamicOptions::default(),
        devices: FenceDevices { fallback: vec![device], ..FenceDevices::default() },
        lockspaces: BTreeMap::new(),
    }
}

fn request(op: Op, number: u64) -> PlockInfo {
    PlockInfo {
        version: [1, 2, 0],
        op,
        mode: Mode::Write,
        wait: false,
        flags: 0,
        pid: 7,
        node: us(),
        result: 0,
        fsid: Group::Lockspace(fs()).global_id(),
        number,
        start: 0,
        end: 9,
        owner: 1,
    }
}

/// A node alone, recorded: what it says comes back at once, its kernel does at once what it is asked for.
struct Alone {
    core: Core,
    recorder: Recorder,
    queue: VecDeque<Event>,
    nanos: u64,
    steps: u64,
    recording: bool,
    /// What the recorder took before a step, where that is measured.
    longest: Option<Duration>,
}

impl Alone {
    fn new(kib: u32) -> Self {
        let recorder = Recorder::new(Capacity::kib(kib));
        Self {
            core: Core::new(setup()),
            recorder,
            queue: VecDeque::new(),
            nanos: 7_000_000_000,
            steps: 0,
            recording: true,
            longest: None,
        }
    }

    /// With a lockspace that runs.
    fn running(kib: u32) -> Self {
        let mut alone = Self::new(kib);
        alone.happens(Event::Begin);
        let addresses = BTreeMap::from([(us(), vec![([127, 0, 0, 1], 0).into()])]);
        let members = vec![us()];
        alone.happens(Event::Quorum { quorate: true, ring: RING, members, addresses });
        alone.happens(Event::Online { lockspace: fs() });
        assert!(!alone.core.snapshot().lockspaces[0].kernel_stopped);
        alone
    }

    fn now(&self) -> Now {
        // Once an hour or so the wall clock is set back.
        let seconds = self.nanos / 1_000_000_000 + 10 - self.nanos / 1_000 % 3;
        Now { mono: Instant::from_nanos(self.nanos), wall: WallSeconds(seconds) }
    }

    fn happens(&mut self, event: Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            self.nanos += 1_234_567;
            self.steps += 1;
            let now = self.now();
            let mut effects = Vec::new();
            if self.recording {
                let begin = self.longest.map(|_| processor_time());
                self.recorder.begin(now, &event, &self.core);
                self.longest = self.longest.max(begin.map(|begin| processor_time() - begin));
            }
            self.core.step(now, event, &mut effects);
            if self.recording {
                self.recorder.end(Digest::of(&effects));
            }
            effects.into_iter().for_each(|effect| self.carry_out(effect));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Join(group) => {
                let joined = vec![(us(), JoinReason::Join)];
                let change = Confchg { members: vec![us()], joined, left: Vec::new() };
                self.queue.push_back(Event::Confchg { group: group.clone(), change });
                self.queue.push_back(Event::Ring { group, ring: RING });
            }
            Effect::Send { group, packet } => {
                let message = Event::Message { group, from: us(), packet, length: 104 };
                self.queue.push_back(message);
            }
            Effect::Kernel { token, .. } => {
                self.queue.push_back(Event::KernelDone { token, result: Ok(()) });
            }
            _ => {}
        }
    }

    fn lock(&mut self, number: u64) {
        self.request(Op::Lock, number);
    }

    fn request(&mut self, op: Op, number: u64) {
        self.happens(Event::PlockRequest(request(op, number)));
    }

    fn saved(&self) -> Vec<u8> {
        self.recorder.save(self.now(), Reason::Asked)
    }
}

/// Replays everything; how often each verdict was given, and the last segment.
fn verdicts<'a>(recording: &Recording<'a>) -> (BTreeMap<&'static str, u64>, Replay<'a>) {
    let mut counts = BTreeMap::new();
    let mut before: Option<Replay<'_>> = None;
    for segment in &recording.segments {
        let mut replay = segment.replay().unwrap();
        if let Some(before) = before {
            assert_eq!(before.next_number(), replay.next_number());
            assert_ne!(before.leads_to(&replay), Some(false));
        }
        while let Some(step) = replay.next_step().unwrap() {
            let word = match replay.take(step).verdict {
                Verdict::Same => "same",
                Verdict::SameButLocks => "same but locks",
                Verdict::Different => "different",
                Verdict::Unknown => "unknown",
            };
            *counts.entry(word).or_default() += 1;
        }
        before = Some(replay);
    }
    (counts, before.unwrap())
}

#[test]
fn a_recording_replays_to_the_same_effects_and_state() {
    let mut alone = Alone::running(1024);
    (1..=40).for_each(|number| alone.lock(number));
    let file = alone.saved();
    let recording = Recording::read(&file).unwrap();
    assert!(recording.is_ours() && recording.head.reason == Reason::Asked);
    let (counts, last) = verdicts(&recording);
    assert_eq!(counts, BTreeMap::from([("same", alone.steps)]));
    // The core of the daemon has the arguments of its fence devices, the replayed one has not.
    assert_eq!(last.core().snapshot(), alone.core.snapshot());
    assert_eq!(last.core().plocks(&fs()).unwrap().count(), 40);
    assert!(recording.segments[0].replay().unwrap().begins().mono < last.begins().mono);
}

#[test]
fn arguments_of_fence_devices_are_left_out() {
    let mut alone = Alone::running(1024);
    alone.happens(Event::Devices(setup().devices));
    let file = alone.saved();
    assert!(file.windows(13).any(|bytes| bytes == b"fence_ipmilan"));
    assert!(!file.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()));
}

#[test]
fn old_segments_give_way_and_the_memory_is_bounded() {
    let mut alone = Alone::running(64);
    (1..=2000).for_each(|number| alone.lock(number % 20));
    let file = alone.saved();
    assert!(file.len() < 65 * 1024, "{}", file.len());
    let recording = Recording::read(&file).unwrap();
    assert_eq!(recording.segments.len(), 4);
    let first = recording.segments[0].replay().unwrap();
    assert!(first.next_number() > 1000 && !first.is_without_locks());
    let (counts, last) = verdicts(&recording);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["same"]);
    assert_eq!(last.next_number(), alone.steps + 1);
    assert_eq!(last.core().plocks(&fs()).unwrap().count(), 20);
}

#[test]
fn too_many_locks_are_left_out_and_nothing_else() {
    let mut alone = Alone::running(64);
    (1..=3000).for_each(|number| alone.lock(number));
    alone.happens(Event::Online { lockspace: fs() });
    let file = alone.saved();
    let recording = Recording::read(&file).unwrap();
    assert!(recording.segments.iter().all(|segment| segment.replay().unwrap().is_without_locks()));
    let (counts, last) = verdicts(&recording);
    // Nothing was in the way of these locks, so that most are decided alike even without the others.
    assert!(counts.keys().all(|word| word.starts_with("same")), "{counts:?}");
    assert_eq!(last.next_number(), alone.steps + 1);
}

#[test]
fn a_state_that_is_too_big_switches_the_recorder_off() {
    let mut alone = Alone::new(64);
    alone.happens(Event::Begin);
    for number in 0..200 {
        let lockspace = LockspaceName::new(format!("lockspace{number}").as_bytes()).unwrap();
        alone.happens(Event::Online { lockspace });
    }
    for _ in 0..500 {
        alone.happens(Event::Deadline);
    }
    let quiet = |alone: &mut Alone| (0..5000).for_each(|_| alone.happens(Event::Deadline));
    quiet(&mut alone);
    let file = alone.saved();
    let recording = Recording::read(&file).unwrap();
    assert_eq!(recording.head.steps, alone.steps);
    let (counts, last) = verdicts(&recording);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["same"]);
    assert!(last.next_number() + 5000 < alone.steps, "nothing more is recorded");
}

#[test]
fn an_event_that_is_too_big_leaves_a_gap() {
    let mut alone = Alone::running(64);
    let why = "x".repeat(20_000);
    alone.happens(Event::BadMessage { group: Group::Daemon, from: us(), why });
    alone.lock(1);
    let file = alone.saved();
    let recording = Recording::read(&file).unwrap();
    let replays: Vec<Replay<'_>> =
        recording.segments.iter().map(|segment| segment.replay().unwrap()).collect();
    let ends: Vec<u64> = replays
        .into_iter()
        .map(|mut replay| {
            while let Some(step) = replay.next_step().unwrap() {
                assert_eq!(replay.take(step).verdict, Verdict::Same);
            }
            replay.next_number()
        })
        .collect();
    // The event, then the request and its message.
    let gap = alone.steps - 2;
    assert_eq!(ends, [gap, alone.steps + 1]);
}

#[test]
fn the_event_of_which_a_daemon_dies_is_the_last_one() {
    let mut alone = Alone::running(64);
    alone.recorder.begin(alone.now(), &Event::Terminate, &alone.core);
    let file = alone.recorder.save(alone.now(), Reason::Panicked("index".to_owned()));
    let recording = Recording::read(&file).unwrap();
    assert_eq!(recording.head.reason, Reason::Panicked("index".to_owned()));
    let mut replay = recording.segments[0].replay().unwrap();
    let mut last = None;
    while let Some(step) = replay.next_step().unwrap() {
        let (event, recorded) = (step.event.clone(), step.recorded);
        last = Some((event, recorded, replay.take(step).verdict));
    }
    assert_eq!(last, Some((Event::Terminate, None, Verdict::Unknown)));
}

#[test]
fn other_effects_are_noticed() {
    let mut alone = Alone::running(64);
    alone.recorder.begin(alone.now(), &Event::Deadline, &alone.core);
    alone.recorder.end(Digest::of(&[Effect::Kick(us())]));
    let file = alone.saved();
    let (counts, _) = verdicts(&Recording::read(&file).unwrap());
    assert_eq!(counts, BTreeMap::from([("different", 1), ("same", alone.steps)]));
}

#[test]
fn digests_tell_order_and_kind_apart() {
    let (one, two) = (Effect::Kick(us()), Effect::Kick(NodeId::new(2).unwrap()));
    let both = Digest::of(&[one.clone(), two.clone()]);
    assert_ne!(both, Digest::of(&[two, one.clone()]));
    let nothing = Digest::of(&[]);
    assert_ne!(nothing, Digest::of(&[Effect::Join(Group::Daemon)]), "all of it is zeros");
    assert_eq!(
        nothing.decisions,
        Digest::of(&[Effect::PlockResult(request(Op::Lock, 1))]).decisions
    );
    let text = |text: &str| Effect::LogPlock {
        level: Some(Level::Debug),
        lockspace: fs(),
        text: PlockText::Words(text.to_owned()),
    };
    let with_lock = Digest::of(&[one.clone(), text("a")]);
    assert_eq!(with_lock.decisions, Digest::of(&[one]).decisions);
    assert_ne!(with_lock.locks, Digest::of(&[text("b")]).locks);
    // Longer than what is encoded without memory.
    let long = "x".repeat(5000);
    assert_ne!(Digest::of(&[text(&long)]), Digest::of(&[text(&format!("{long}y"))]));
}

#[test]
fn every_truncation_is_an_error_that_says_so() {
    let mut alone = Alone::running(64);
    (1..=250).for_each(|number| alone.lock(number % 7));
    let file = alone.saved();
    assert!(Recording::read(&file).unwrap().segments.len() > 1);
    for length in 0..file.len() {
        let error = Recording::read(&file[..length]).unwrap_err();
        let expected = match length {
            0..8 => error == ReadError::Magic,
            _ => matches!(error, ReadError::Short { .. }),
        };
        assert!(expected, "{length}: {error}");
    }
    let longer = [file.as_slice(), b"more"].concat();
    assert_eq!(Recording::read(&longer).unwrap_err(), ReadError::Long(4));
}

#[test]
fn every_changed_byte_is_noticed() {
    let mut alone = Alone::running(64);
    alone.lock(1);
    let file = alone.saved();
    for place in 0..file.len() {
        let mut changed = file.clone();
        changed[place] ^= 0x41;
        let error = Recording::read(&changed).unwrap_err();
        let expected = match place {
            0..8 => error == ReadError::Magic,
            8..12 => matches!(error, ReadError::Version(_)),
            _ => matches!(error, ReadError::Short { .. } | ReadError::Checksum(_)),
        };
        assert!(expected, "{place}: {error}");
    }
}

/// Damage whose checksum is right, as somebody might make it: an error or another story, never more.
#[test]
fn segments_of_any_content_are_read_without_harm() {
    let mut alone = Alone::running(64);
    (1..=3).for_each(|number| alone.lock(number));
    let file = alone.saved();
    let [segment] = Recording::read(&file).unwrap().segments[..] else { panic!("one is enough") };
    let body = segment.body().to_vec();
    file::fuzz_recording(&file);
    file::fuzz_recording(&body);
    let mut readable = 0;
    for place in 0..body.len() {
        for value in [0xff, body[place] ^ 0x10] {
            let mut changed = body.clone();
            changed[place] = value;
            readable += replay_some(&changed);
        }
        replay_some(&body[..place]);
    }
    assert!(readable > 0, "some damage makes sense");
}

/// Steps that could be read.
fn replay_some(body: &[u8]) -> u64 {
    let file = file::write(Now::default(), 0, Reason::Asked, &[body]);
    let recording = Recording::read(&file).unwrap();
    let Ok(mut replay) = recording.segments[0].replay() else { return 0 };
    let mut steps = 0;
    while let Ok(Some(step)) = replay.next_step() {
        replay.take(step);
        steps += 1;
    }
    steps
}

/// Of this thread, from proc(5).
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// What a request for a POSIX lock costs a core that is alone, and what the recorder adds; the pause that a beginning segment
/// makes: `cargo test --release -p dlm-recording -- --ignored --nocapture cost_of_a_request`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_request() {
    const COUNT: u32 = 200_000;
    for held in [0, 500, 100_000] {
        for round in 0..11 {
            let recording = round % 2 == 1;
            let mut alone = Alone::running(1024);
            alone.recording = false;
            (2..held + 2).for_each(|number| alone.lock(number));
            alone.recording = recording;
            alone.longest = (round == 9).then_some(Duration::ZERO);
            let begin = processor_time();
            for _ in 0..COUNT / 2 {
                alone.request(Op::Lock, 1);
                alone.request(Op::Unlock, 1);
            }
            let each = (processor_time() - begin) / COUNT;
            match alone.longest {
                Some(longest) => println!("{held} locks held: longest pause {longest:?}"),
                None => println!("{held} locks held, recorder {recording}: {each:?} a request"),
            }
        }
    }
}
