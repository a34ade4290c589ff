//! Prints what corosync says, one event a line, and takes requests from stdin, one a line:
//!
//! `join G`, `leave G`, `send G TEXT`, `kill NODE`, `answer yes|no`, `addresses NODE`, `cmap KEY`, `descriptors` (those that
//! the libraries have opened and a program run by us would inherit),
//! `pause` and `resume` (the taking of events), `alternate G H N` (N pairs of messages over connections of their own, each
//! to G and then to H), `end G...`, `drop`.
//!
//! With `--hex` messages are pairs of hexadecimal digits, those that are sent and those that are printed.
//!
//! The integration tests run it beside a corosync of their own.

use corosync::Dispatch;
use corosync::cfg::ShutdownAnswer;
use corosync::cmap::Cmap;
use corosync::cpg::{Cpg, CpgEvent, GroupName, Process, Reason};
use corosync::thread::{Event, Events, Handle, Limits, Services, retry, start};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::BufRead as _;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether the reader of events holds still.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn set(&self, closed: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = closed;
        self.1.notify_all();
    }

    fn pass(&self) {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = self.1.wait_while(guard, |closed| *closed);
    }
}

/// How messages are written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Hex,
}

impl Form {
    fn read(self, words: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        match self {
            Self::Text => Ok(words.as_bytes().to_vec()),
            Self::Hex => {
                let pairs = words.as_bytes().chunks(2);
                pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
            }
        }
    }

    fn write(self, bytes: &[u8]) -> String {
        match self {
            Self::Text => String::from_utf8_lossy(bytes).into_owned(),
            Self::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let form =
        if std::env::args().nth(1).as_deref() == Some("--hex") { Form::Hex } else { Form::Text };
    let inherited = kept_descriptors()?;
    let services = Services::connect(Duration::from_secs(5))?;
    println!("local {}", services.cfg().local_node()?);
    let (handle, events) = start::<String>(services, Limits::default(), || ())?;
    let gate = Arc::new(Gate::default());
    let reader_gate = Arc::clone(&gate);
    std::thread::spawn(move || {
        if let Err(error) = requests(handle, form, &reader_gate, &inherited) {
            println!("error {error}");
        }
    });
    print_events(events, form, &gate);
    println!("over");
    Ok(())
}

fn print_events(mut events: Events<String>, form: Form, gate: &Gate) {
    while let Some(event) = events.blocking_recv() {
        gate.pass();
        println!("{}", line(event, form));
    }
}

/// Read requests until stdin ends, which drops the handle as `drop` does.
fn requests(
    handle: Handle<String>,
    form: Form,
    gate: &Gate,
    inherited: &BTreeSet<u32>,
) -> Result<(), Box<dyn Error>> {
    for request in std::io::stdin().lock().lines() {
        let request = request?;
        let mut words = request.splitn(3, ' ');
        let verb = words.next().unwrap_or_default();
        let (first, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match verb {
            "join" => handle.join(first.to_owned(), GroupName::with_nul(first.as_bytes())?),
            "leave" => handle.leave(&first.to_owned()),
            "send" => handle.send(&first.to_owned(), form.read(rest)?),
            "kill" => handle.kill_node(first.parse()?, "asked on stdin")?,
            "answer" if first == "yes" => handle.answer_shutdown(ShutdownAnswer::Yes),
            "answer" => handle.answer_shutdown(ShutdownAnswer::No),
            "addresses" => handle.node_addresses(first.parse()?),
            "cmap" => println!("cmap {first} {:?}", Cmap::connect()?.get(first)?),
            "descriptors" => {
                let kept = kept_descriptors()?;
                println!("descriptors {:?}", kept.difference(inherited).collect::<Vec<_>>());
            }
            "alternate" => {
                let (second, pairs) = rest.split_once(' ').unwrap_or_default();
                alternate(first, second, pairs.parse()?)?;
            }
            "pause" => gate.set(true),
            "resume" => gate.set(false),
            "end" => {
                let groups = request.split(' ').skip(1).map(str::to_owned).collect();
                if !handle.end(groups).wait(Duration::from_secs(5)) {
                    println!("late");
                }
                return Ok(());
            }
            "drop" => return Ok(()),
            _ => println!("unknown {request}"),
        }
    }
    Ok(())
}

/// Send in an order that is known: a message to the first group has come back before one to the second is sent.
fn alternate(first: &str, second: &str, pairs: u32) -> corosync::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    let groups = [Cpg::connect()?, Cpg::connect()?];
    for (cpg, name) in groups.iter().zip([first, second]) {
        let name = GroupName::with_nul(name.as_bytes())?;
        retry(until, || cpg.join(&name))?;
    }
    let [leader, follower] = &groups;
    for pair in 0..pairs {
        let text = pair.to_string();
        retry(until, || leader.send(text.as_bytes()))?;
        await_message(leader, &text)?;
        retry(until, || follower.send(text.as_bytes()))?;
    }
    Ok(())
}

/// Wait for a message with this text.
fn await_message(cpg: &Cpg, text: &str) -> corosync::Result<()> {
    loop {
        match cpg.dispatch_one()? {
            Dispatch::Idle => {
                let mut fds = [PollFd::new(cpg.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::NONE)
                    .map_err(|errno| corosync::Error::System { call: "poll", errno })?;
            }
            Dispatch::Events(events) => {
                let is_wanted = |event: &CpgEvent| match event {
                    CpgEvent::Message { bytes, .. } => bytes == text.as_bytes(),
                    CpgEvent::Confchg { .. } | CpgEvent::Ring { .. } => false,
                };
                if events.iter().any(is_wanted) {
                    return Ok(());
                }
            }
        }
    }
}

/// Descriptors that a program run by us would inherit.
fn kept_descriptors() -> Result<BTreeSet<u32>, Box<dyn Error>> {
    let mut kept = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u64::from_str_radix(flags.unwrap_or_default().trim(), 8)?;
        // O_CLOEXEC of asm-generic/fcntl.h.
        if flags & 0o2_000_000 == 0 {
            kept.insert(entry.file_name().to_string_lossy().parse()?);
        }
    }
    Ok(kept)
}

fn nodes(processes: &[Process]) -> String {
    processes.iter().map(|process| process.node.to_string()).collect::<Vec<_>>().join(",")
}

fn reasons(processes: &[(Process, Reason)]) -> String {
    let parts: Vec<_> =
        processes.iter().map(|(process, reason)| format!("{}:{reason:?}", process.node)).collect();
    parts.join(",")
}

fn line(event: Event<String>, form: Form) -> String {
    match event {
        Event::Nodelist { ring, joined, left } => {
            format!("nodelist {ring} joined={joined:?} left={left:?}")
        }
        Event::Quorum { quorate, ring, members, addresses } => {
            format!("quorum {ring} quorate={quorate} members={members:?} addresses={addresses:?}")
        }
        Event::Confchg { key, members, joined, left } => format!(
            "confchg {key} members={} joined={} left={}",
            nodes(&members),
            reasons(&joined),
            reasons(&left)
        ),
        Event::Ring { key, ring, members } => format!("ring {key} {ring} {members:?}"),
        Event::Message { key, from, bytes } => {
            format!("message {key} from={} {}", from.node, form.write(&bytes))
        }
        Event::JoinFailed { key, error } => format!("join-failed {key} {error}"),
        Event::ShutdownQuestion(kind) => format!("shutdown-question {kind:?}"),
        Event::NodeAddresses { node, result } => format!("addresses {node} {result:?}"),
        Event::Lost { connection, loss } => format!("lost {connection}: {loss}"),
    }
}
