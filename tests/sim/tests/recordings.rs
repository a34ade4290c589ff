//! Every daemon has a flight recorder, whose recording is replayed now and then, and when the daemon ends: each step must have
//! the effects that it had then, and each segment must end in the state with which the next one begins.

use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::options::Setup;
use dlm_core::plock::PlockResource;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, LockspaceName, Now};
use dlm_recording::{Capacity, Digest, Reason, Recorder, Recording, Replay, Verdict};
use dlm_sim::plan::{Plan, Shape};
use dlm_sim::storm::{Story, run};
use std::cell::Cell;
use std::rc::Rc;
use testbed::harness::{Brain, MakeBrain, World};

/// Room for the states of all these clusters.
const AMPLE: Capacity = Capacity::bytes(256 * 1024);
/// So little that a segment has a hundred steps.
const SCARCE: Capacity = Capacity::bytes(24 * 1024);
/// Steps between two replays.
const EVERY: u64 = 128;

/// What was replayed.
#[derive(Clone, Copy, Default)]
struct Replayed {
    recordings: u64,
    steps: u64,
    segments: u64,
    /// Segments whose end was found to be the beginning of the next.
    joints: u64,
}

/// The real decisions, recorded.
struct Recorded {
    core: Core,
    recorder: Recorder,
    now: Now,
    steps: u64,
    replayed: Rc<Cell<Replayed>>,
}

impl Brain for Recorded {
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        self.now = now;
        let before = effects.len();
        self.recorder.begin(now, &event, &self.core);
        self.core.step(now, event, effects);
        self.recorder.end(Digest::of(&effects[before..]));
        self.steps += 1;
        if self.steps.is_multiple_of(EVERY) {
            self.replay();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.core.next_deadline()
    }

    fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    fn plocks(&self, lockspace: &LockspaceName) -> Option<Vec<PlockResource>> {
        self.core.plocks(lockspace).map(Iterator::collect)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.replay();
        }
    }
}

impl Recorded {
    fn replay(&self) {
        let file = self.recorder.save(self.now, Reason::Asked);
        let recording = Recording::read(&file).expect("a recording");
        let mut replayed = self.replayed.get();
        replayed.recordings += 1;
        let mut before: Option<Replay<'_>> = None;
        for segment in &recording.segments {
            let mut replay = segment.replay().expect("a segment");
            if let Some(before) = &before {
                let joined = before.leads_to(&replay);
                assert_ne!(joined, Some(false), "segment {} is no continuation", segment.number);
                replayed.joints += u64::from(joined == Some(true));
            }
            replayed.segments += 1;
            while let Some(step) = replay.next_step().expect("a step") {
                let told = step.clone();
                let taken = replay.take(step);
                assert_eq!(taken.verdict, Verdict::Same, "{told:#?}: {:#?}", taken.effects);
                replayed.steps += 1;
            }
            before = Some(replay);
        }
        self.replayed.set(replayed);
    }
}

fn recorded(replayed: &Rc<Cell<Replayed>>, capacity: Capacity) -> MakeBrain {
    let replayed = Rc::clone(replayed);
    Box::new(move |setup: Setup| {
        Box::new(Recorded {
            core: Core::new(setup),
            recorder: Recorder::new(capacity),
            now: Now::default(),
            steps: 0,
            replayed: Rc::clone(&replayed),
        })
    })
}

#[test]
fn recordings_of_storms_replay_to_the_same_effects() {
    let replayed = Rc::default();
    for seed in 1..60 {
        let plan = Plan::draw(seed, Shape::default());
        let outcome = run(&plan, Story::Silent, recorded(&replayed, AMPLE));
        assert_eq!(outcome.broken, None, "seed {seed}");
    }
    let Replayed { recordings, steps, .. } = replayed.get();
    println!("{recordings} recordings, {steps} steps");
    assert!(recordings > 200 && steps > 15_000, "{recordings} recordings, {steps} steps");
}

#[test]
fn each_segment_ends_as_the_next_one_begins() {
    let replayed = Rc::default();
    let mut world = World::with_brains(7, 3, recorded(&replayed, SCARCE));
    world.be_silent();
    (1..=3).for_each(|node| world.join(node, "ls"));
    for _ in 0..40 {
        assert!(world.settle());
        world.crash(3);
        assert!(world.settle());
        world.boot(3);
        world.join(3, "ls");
    }
    assert!(world.violations().is_empty(), "{:?}", world.violations());
    drop(world);
    let Replayed { steps, segments, joints, .. } = replayed.get();
    println!("{steps} steps, {segments} segments, {joints} joints");
    assert!(joints > 30, "{joints} of {segments} segments continue another");
}

#[test]
fn recordings_of_many_nodes_replay_to_the_same_effects() {
    let replayed = Rc::default();
    let plan = Plan::draw(1, Shape { nodes: Some(16), lockspaces: Some(5), ..Shape::default() });
    assert_eq!(run(&plan, Story::Silent, recorded(&replayed, AMPLE)).broken, None);
    assert!(replayed.get().recordings >= 16);
}
