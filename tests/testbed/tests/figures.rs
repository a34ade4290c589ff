//! What looking at the daemon costs, measured on whole daemons: `make bench-queries` builds them for release and runs this.
//! A debug build, or a busy machine, has other figures; so these are no part of `make check`.

mod daemons;

use daemons::{is_done, join, programs, start, times};
use dlmcontrol::Client;
use dlmcontrol::proto::{self, Header, QUERY_SOCKET};
use dlmcontrol::state::{Lockspace, LockspaceState, State};
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use testbed::lab::{Lab, PATIENCE};
use testbed::live::{Options, Sight};
use zerocopy::IntoBytes as _;

/// The node that is asked.
const NODE: u32 = 1;

/// Threads of the flood, and connections that each has at a time.
const FLOODING: usize = 2;
const AT_ONCE: usize = 32;

fn lab() -> Lab {
    let options = Options { nodes: 3, seed: 1, token: Duration::from_millis(300) };
    let mut lab = Lab::new(programs(), options, "post_join_delay=5\n").unwrap();
    start(&mut lab, 3);
    lab
}

fn state(lab: &Lab) -> State {
    lab.in_network(NODE, || Client::new().state()).unwrap().unwrap()
}

/// Until all of that node's lockspaces, so many, run with so many members.
fn wait_until_running(lab: &Lab, count: usize, members: usize) {
    let end = Instant::now() + PATIENCE;
    let runs = |of: &Lockspace| {
        of.state == LockspaceState::Running && of.members.len() == members && of.waits.is_empty()
    };
    loop {
        let state = state(lab);
        if state.lockspaces.len() == count && state.lockspaces.iter().all(runs) {
            return;
        }
        assert!(Instant::now() < end, "{:#?}", state.lockspaces.iter().find(|one| !runs(one)));
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn cpu_us(state: &State) -> u64 {
    state.meters.as_ref().unwrap().process.cpu_us
}

/// The document of a hundred lockspaces: the daemon's processor time, of all its threads, and how long its loop is busy
/// with it.
#[test]
#[ignore = "a figure of release builds: make bench-queries"]
fn scrape_of_a_hundred_lockspaces_takes_less_than_5_ms() {
    const LOCKSPACES: usize = 100;
    const SCRAPES: u32 = 100;
    let lab = lab();
    for number in 0..LOCKSPACES {
        for node in 1..=2 {
            lab.command(&format!("join {node} ls{number}")).unwrap();
        }
    }
    wait_until_running(&lab, LOCKSPACES, 2);
    let before = state(&lab);
    let begin = Instant::now();
    let bytes = lab
        .in_network(NODE, || (0..SCRAPES).map(|_| Client::new().state_json().unwrap().len()).max());
    let took = begin.elapsed() / SCRAPES;
    let after = state(&lab);
    let cpu = Duration::from_micros(cpu_us(&after) - cpu_us(&before)) / SCRAPES;
    let loops = |of: &State| of.meters.as_ref().unwrap().loop_answers.clone();
    let waited = Duration::from_micros(loops(&after).sum_us - loops(&before).sum_us) / SCRAPES;
    println!(
        "a scrape of {LOCKSPACES} lockspaces: {} bytes, {took:?} for the client, {cpu:?} of processor time of the daemon, \
         of which its loop {waited:?} at most",
        bytes.unwrap().unwrap()
    );
    assert!(cpu < Duration::from_millis(5), "{cpu:?}");
    lab.discard();
}

#[test]
#[ignore = "a figure of release builds: make bench-queries"]
fn status_takes_less_than_10_ms() {
    const RUNS: usize = 101;
    let mut lab = lab();
    join(&mut lab, 3, "fs");
    let tool = programs().tool;
    let mut times = lab
        .in_network(NODE, || {
            let run = |_| {
                let begin = Instant::now();
                let said = Command::new(&tool).arg("status").output().unwrap();
                assert!(said.status.success() && said.stdout.starts_with(b"cluster nodeid 1 "));
                begin.elapsed()
            };
            (0..RUNS).map(run).collect::<Vec<_>>()
        })
        .unwrap();
    times.sort();
    let (median, slowest) = (times[RUNS / 2], times[RUNS - 1]);
    println!(
        "dlm_tool status, start of the process included: median {median:?}, slowest of {RUNS} {slowest:?}"
    );
    assert!(median < Duration::from_millis(10), "{median:?}");
    lab.discard();
}

/// Mean length of so many changes of a lockspace's members, as node 1 counts them: node 3 leaves and joins. What happens
/// is told by the testbed: the daemon is asked nothing meanwhile.
fn changes(lab: &Lab, rounds: u32) -> Duration {
    let recoveries = || {
        let state = state(lab);
        let of = state.lockspaces.iter().find(|one| one.name == "fs").unwrap();
        of.meters.clone().unwrap().recoveries
    };
    let done = |sights: &[Sight], node| times(sights, node, is_done);
    let before = recoveries();
    let mut dones = [1, 3].map(|node| done(&lab.testbed().sights(), node));
    for _ in 0..rounds {
        for (word, more) in [("leave", [1, 0]), ("join", [1, 1])] {
            lab.command(&format!("{word} 3 fs")).unwrap();
            dones = [dones[0] + more[0], dones[1] + more[1]];
            let there = |sights: &[Sight]| [done(sights, 1), done(sights, 3)] == dones;
            assert!(lab.testbed().wait_until(PATIENCE, there), "{word}: {dones:?}");
        }
    }
    let after = recoveries();
    let count = u32::try_from(after.count - before.count).unwrap();
    assert_eq!(count, 2 * rounds);
    Duration::from_micros(after.sum_us - before.sum_us) / count
}

/// As many scrapes as the daemon answers, of a hundred lockspaces, beside changes of another one.
#[test]
#[ignore = "a figure of release builds: make bench-queries"]
fn scrapes_add_less_than_5_ms_to_a_change() {
    const LOCKSPACES: usize = 100;
    const TIMES: usize = 7;
    const ROUNDS: u32 = 10;
    let mut lab = lab();
    join(&mut lab, 3, "fs");
    for number in 0..LOCKSPACES {
        lab.command(&format!("join 1 ls{number}")).unwrap();
    }
    let created = |sights: &[Sight]| times(sights, NODE, is_done) >= LOCKSPACES;
    assert!(lab.testbed().wait_until(PATIENCE, created));
    let mut added = Vec::new();
    for _ in 0..TIMES {
        let calm = changes(&lab, ROUNDS);
        let (over, scrapes) = (AtomicBool::new(false), AtomicU64::new(0));
        let begin = Instant::now();
        let scrape = || {
            while !over.load(Ordering::Relaxed) {
                assert!(Client::new().state_json().unwrap().len() > LOCKSPACES);
                scrapes.fetch_add(1, Ordering::Relaxed);
            }
        };
        let scraped = std::thread::scope(|scope| {
            scope.spawn(|| lab.in_network(NODE, scrape).unwrap());
            let scraped = changes(&lab, ROUNDS);
            over.store(true, Ordering::Relaxed);
            scraped
        });
        let rate = scrapes.load(Ordering::Relaxed) * 1000
            / u64::try_from(begin.elapsed().as_millis()).unwrap();
        println!("a change of members: {calm:?} in calm, {scraped:?} with {rate} scrapes a second");
        assert!(rate > 1, "{rate} scrapes a second");
        added.push(scraped.saturating_sub(calm));
    }
    added.sort();
    let added = added[TIMES / 2];
    println!("median of what scrapes add: {added:?}");
    assert!(added < Duration::from_millis(5), "{added:?}");
    lab.discard();
}

/// Queries by as little of a client as there can be: what is measured is the daemon.
struct Flood<'a> {
    lab: &'a Lab,
    over: AtomicBool,
    answered: AtomicU64,
    begin: Instant,
}

impl<'a> Flood<'a> {
    const PER_SECOND: u64 = 10_000;

    fn new(lab: &'a Lab) -> Self {
        let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { lab, over, answered, begin: Instant::now() }
    }

    /// Connects, asks and reads on several connections at a time, for as many switches of processes as can be saved.
    fn ask(&self) {
        let address = SocketAddr::from_abstract_name(QUERY_SOCKET).unwrap();
        let request = Header::new(proto::Command::DumpStatus);
        let mut answer = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let due = self.begin.elapsed().as_millis() * u128::from(Self::PER_SECOND) / 1000;
            // No faster than wanted: what is left of the machine is the cluster's.
            if u128::from(self.answered.load(Ordering::Relaxed)) > due {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut clients: Vec<UnixStream> =
                (0..AT_ONCE).map(|_| UnixStream::connect_addr(&address).unwrap()).collect();
            for client in &mut clients {
                client.write_all(request.as_bytes()).unwrap();
            }
            for client in &mut clients {
                answer.clear();
                client.read_to_end(&mut answer).unwrap();
                assert!(answer.len() > size_of::<Header>(), "{} bytes", answer.len());
            }
            self.answered.fetch_add(u64::try_from(AT_ONCE).unwrap(), Ordering::Relaxed);
        }
    }

    /// What `during` gives while the flood goes on; with the queries that were answered in a second, and what one took of
    /// the daemon's processor time, all else that the daemon did meanwhile included.
    fn during<T>(self, during: impl FnOnce() -> T) -> (T, u64, Duration) {
        let before = cpu_us(&state(self.lab));
        let given = std::thread::scope(|scope| {
            for _ in 0..FLOODING {
                scope.spawn(|| self.lab.in_network(NODE, || self.ask()).unwrap());
            }
            let given = during();
            self.over.store(true, Ordering::Relaxed);
            given
        });
        let lasted = u64::try_from(self.begin.elapsed().as_millis()).unwrap();
        let answered = self.answered.load(Ordering::Relaxed);
        let cpu = Duration::from_micros((cpu_us(&state(self.lab)) - before) / answered.max(1));
        (given, answered * 1000 / lasted, cpu)
    }
}

#[test]
#[ignore = "a figure of release builds: make bench-queries"]
fn flood_of_queries_adds_less_than_5_ms_to_a_change() {
    const TIMES: usize = 7;
    const ROUNDS: u32 = 10;
    let mut lab = lab();
    join(&mut lab, 3, "fs");
    let mut pairs = Vec::new();
    for _ in 0..TIMES {
        let calm = changes(&lab, ROUNDS);
        let (flooded, rate, cpu) = Flood::new(&lab).during(|| changes(&lab, ROUNDS));
        println!(
            "a change of members: {calm:?} in calm, {flooded:?} with {rate} queries a second, each {cpu:?} of processor time"
        );
        pairs.push((flooded.saturating_sub(calm), rate));
    }
    pairs.sort();
    let (added, _) = pairs[TIMES / 2];
    let slowest = pairs.iter().map(|(_, rate)| rate).min().unwrap();
    println!("median of what the flood adds: {added:?}; at least {slowest} queries a second");
    assert!(added < Duration::from_millis(5), "{added:?}");
    lab.discard();
}
