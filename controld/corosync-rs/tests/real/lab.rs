//! Corosync for tests: each node is a process that holds a network and a mount namespace; corosync and its clients run
//! inside. Everything ends with the test, also where it fails: each process is killed by the drop of its owner, and by
//! the kernel should the test's thread be gone.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The cluster's name: longer than the 16 bytes that a fixed buffer would hold.
pub(crate) const CLUSTER_NAME: &str = "a-cluster-name-of-more-than-26-characters";

const HOLD: &str = "set -e
for d in /etc/corosync /var/lib/corosync /dev/shm /run; do mount -t tmpfs -o size=2g none $d; done
ip link set lo up
echo ready
exec sleep infinity";

/// What a process has written.
#[derive(Default)]
struct Output {
    lines: Vec<String>,
    /// No more can come.
    ended: bool,
}

/// Lines that a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Output>, Condvar)>);

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                writer.0.0.lock().unwrap().lines.push(line);
                writer.0.1.notify_all();
            }
            writer.0.0.lock().unwrap().ended = true;
            writer.0.1.notify_all();
        });
        lines
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().lines.clone()
    }

    /// Wait until the lines are as wanted.
    pub(crate) fn until<T>(&self, what: &str, wanted: impl Fn(&[String]) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = wanted(&state.lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                let (lines, ended) = (state.lines.clone(), state.ended);
                drop(state);
                panic!("no {what} (ended: {ended}) in {lines:#?}");
            }
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Wait until no more can come.
    fn until_end(&self) {
        let state = self.0.0.lock().unwrap();
        let (state, late) =
            self.0.1.wait_timeout_while(state, PATIENCE, |output| !output.ended).unwrap();
        let lines = state.lines.clone();
        drop(state);
        assert!(!late.timed_out(), "no end in {lines:#?}");
    }

    /// Wait for a line that begins so.
    pub(crate) fn expect(&self, start: &str) -> String {
        self.until(start, |lines| lines.iter().find(|line| line.starts_with(start)).cloned())
    }

    /// Those that begin so, now.
    pub(crate) fn starting(&self, start: &str) -> Vec<String> {
        self.all().into_iter().filter(|line| line.starts_with(start)).collect()
    }
}

/// A process that does not outlive its owner.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) lines: Lines,
}

impl Process {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv of util-linux runs");
        let stdin = child.stdin.take();
        // Corosync writes to stderr, the others to stdout; an error message of theirs matters as well.
        let output = child.stdout.take().expect("asked for");
        let errors = child.stderr.take().expect("asked for");
        let lines = if program.ends_with("nsenter") && arguments.contains(&"corosync") {
            Lines::of(errors)
        } else {
            Lines::of(output.chain(errors))
        };
        Self { child, stdin, lines }
    }

    pub(crate) fn ask(&mut self, request: &str) {
        let stdin = self.stdin.as_mut().expect("open until the end");
        writeln!(stdin, "{request}").expect("the process reads its requests");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("still ours");
        self.child.wait().expect("still ours");
    }

    /// Wait for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.lines.until_end();
        self.child.wait().expect("still ours")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A node: namespaces, and corosync in them unless it was left out.
pub(crate) struct Node {
    holder: Process,
    pub(crate) corosync: Option<Process>,
}

impl Node {
    /// Namespaces without corosync.
    pub(crate) fn empty() -> Self {
        for tool in ["corosync", "corosync-cfgtool", "unshare", "nsenter", "ip", "setpriv"] {
            let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
            assert!(
                found.is_ok_and(|output| output.status.success()),
                "{tool} is needed for this test"
            );
        }
        assert!(nix::unistd::geteuid().is_root(), "these tests make namespaces: run them as root");
        let holder = Process::start("unshare", &["--net", "--mount", "sh", "-c", HOLD]);
        holder.lines.expect("ready");
        Self { holder, corosync: None }
    }

    fn pid(&self) -> String {
        self.holder.child.id().to_string()
    }

    /// Start a program in the node.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let pid = self.pid();
        let inside = ["--target", &pid, "--net", "--mount", "--"];
        Process::start("nsenter", &[&inside, arguments].concat())
    }

    fn run(&self, arguments: &[&str]) {
        let mut process = self.start(arguments);
        let status = process.ended();
        assert!(status.success(), "{arguments:?}: {:?}", process.lines.all());
    }

    /// The crate's example, connected to this node's corosync.
    pub(crate) fn watch(&self) -> Process {
        let process = self.start(&[&example().to_string_lossy()]);
        process.lines.expect("local ");
        process
    }

    fn start_corosync(&mut self, nodes: usize) {
        let path = format!("/proc/{}/root/etc/corosync/corosync.conf", self.pid());
        std::fs::write(&path, config(nodes)).expect("the node's own tmpfs");
        self.corosync = Some(self.start(&["corosync", "-f"]));
    }

    fn await_corosync(&self, nodes: usize) {
        let lines = &self.corosync.as_ref().expect("started").lines;
        let members = format!("Members[{nodes}]");
        lines.until("ready corosync", |lines| {
            let formed = lines.iter().position(|line| line.contains(&members))?;
            lines.iter().skip(formed).any(|line| line.contains("ready to provide")).then_some(())
        });
    }

    /// SIGKILL for corosync.
    pub(crate) fn kill_corosync(&mut self) {
        self.corosync.as_mut().expect("running").kill();
    }
}

/// The example that is built beside this test.
pub(crate) fn example() -> PathBuf {
    let test = std::env::current_exe().expect("known to the kernel");
    let path = test.ancestors().nth(2).expect("target/PROFILE/deps/test").join("examples/watch");
    assert!(path.exists(), "{} is missing: cargo build -p corosync-rs --examples", path.display());
    path
}

/// One node, ready.
pub(crate) fn one() -> Node {
    let mut node = Node::empty();
    node.run(&["ip", "addr", "add", "10.99.0.1/32", "dev", "lo"]);
    node.start_corosync(1);
    node.await_corosync(1);
    node
}

/// Two nodes in one ring.
pub(crate) fn two() -> [Node; 2] {
    let mut nodes = [Node::empty(), Node::empty()];
    let other = nodes[1].pid();
    nodes[0].run(&[
        "ip", "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", &other,
    ]);
    for (at, node) in nodes.iter_mut().enumerate() {
        node.run(&["ip", "addr", "add", &format!("10.99.0.{}/24", at + 1), "dev", "link0"]);
        node.run(&["ip", "link", "set", "link0", "up"]);
        node.start_corosync(2);
    }
    for node in &nodes {
        node.await_corosync(2);
    }
    nodes
}

fn config(nodes: usize) -> String {
    let list: String = (1..=nodes)
        .map(|id| {
            format!(
                "  node {{\n    nodeid: {id}\n    name: n{id}\n    ring0_addr: 10.99.0.{id}\n  }}\n"
            )
        })
        .collect();
    let two_node = if nodes == 2 { "  two_node: 1\n" } else { "" };
    format!(
        "totem {{\n  version: 2\n  cluster_name: {CLUSTER_NAME}\n  transport: knet\n  token: 1500\n}}\n\
         nodelist {{\n{list}}}\n\
         quorum {{\n  provider: corosync_votequorum\n{two_node}}}\n\
         logging {{\n  to_stderr: yes\n  to_syslog: no\n  to_logfile: no\n}}\n\
         system {{\n  sched_rr: no\n}}\n"
    )
}
