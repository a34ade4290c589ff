//! Prints what corosync says, one event a line, and takes requests from stdin, one a line:
//!
//! `join G`, `leave G`, `send G TEXT`, `kill NODE`, `answer yes|no`, `addresses NODE`, `cmap KEY`, `descriptors`,
//! `pause` and `resume` (the taking of events), `end G...`, `drop`.
//!
//! The integration tests run it beside a corosync of their own.

use corosync::cfg::ShutdownAnswer;
use corosync::cmap::Cmap;
use corosync::cpg::{GroupName, Process, Reason};
use corosync::thread::{Event, Events, Handle, Limits, Services, start};
use std::error::Error;
use std::io::BufRead as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

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

fn main() -> Result<(), Box<dyn Error>> {
    let services = Services::connect(Duration::from_secs(5))?;
    println!("local {}", services.cfg().local_node()?);
    let limits = Limits { events: 16, ..Limits::default() };
    let (handle, events) = start::<String>(services, limits)?;
    let gate = Arc::new(Gate::default());
    let reader_gate = Arc::clone(&gate);
    std::thread::spawn(move || {
        if let Err(error) = requests(handle, &reader_gate) {
            println!("error {error}");
        }
    });
    print_events(events, &gate);
    println!("over");
    Ok(())
}

fn print_events(mut events: Events<String>, gate: &Gate) {
    while let Some(event) = events.blocking_recv() {
        gate.pass();
        println!("{}", line(event));
    }
}

/// Read requests until stdin ends, which drops the handle as `drop` does.
fn requests(handle: Handle<String>, gate: &Gate) -> Result<(), Box<dyn Error>> {
    for request in std::io::stdin().lock().lines() {
        let request = request?;
        let mut words = request.splitn(3, ' ');
        let verb = words.next().unwrap_or_default();
        let (first, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match verb {
            "join" => handle.join(first.to_owned(), GroupName::with_nul(first.as_bytes())?),
            "leave" => handle.leave(first.to_owned()),
            "send" => handle.send(first.to_owned(), rest.as_bytes().to_vec()),
            "kill" => handle.kill_node(first.parse()?, "asked on stdin")?,
            "answer" if first == "yes" => handle.answer_shutdown(ShutdownAnswer::Yes),
            "answer" => handle.answer_shutdown(ShutdownAnswer::No),
            "addresses" => handle.node_addresses(first.parse()?),
            "cmap" => println!("cmap {first} {:?}", Cmap::connect()?.get(first)?),
            "descriptors" => println!("descriptors {}", kept_descriptors()?),
            "pause" => gate.set(true),
            "resume" => gate.set(false),
            "end" => {
                let groups = request.split(' ').skip(1).map(str::to_owned).collect();
                handle.end(groups);
                return Ok(());
            }
            "drop" => return Ok(()),
            _ => println!("unknown {request}"),
        }
    }
    Ok(())
}

/// Numbers of descriptors above stderr that a program run by us would inherit.
fn kept_descriptors() -> Result<String, Box<dyn Error>> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        let number: u32 = entry.file_name().to_string_lossy().parse()?;
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u64::from_str_radix(flags.unwrap_or_default().trim(), 8)?;
        // O_CLOEXEC of asm-generic/fcntl.h.
        if number > 2 && flags & 0o2_000_000 == 0 {
            kept.push(number.to_string());
        }
    }
    Ok(kept.join(","))
}

fn nodes(processes: &[Process]) -> String {
    processes.iter().map(|process| process.node.to_string()).collect::<Vec<_>>().join(",")
}

fn reasons(processes: &[(Process, Reason)]) -> String {
    let parts: Vec<_> =
        processes.iter().map(|(process, reason)| format!("{}:{reason:?}", process.node)).collect();
    parts.join(",")
}

fn line(event: Event<String>) -> String {
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
            format!("message {key} from={} {}", from.node, String::from_utf8_lossy(&bytes))
        }
        Event::JoinFailed { key, error } => format!("join-failed {key} {error}"),
        Event::ShutdownQuestion(kind) => format!("shutdown-question {kind:?}"),
        Event::NodeAddresses { node, result } => format!("addresses {node} {result:?}"),
        Event::Lost { connection, loss } => format!("lost {connection}: {loss}"),
    }
}
