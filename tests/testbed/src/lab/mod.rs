//! A cluster of real daemons on the testbed. Each node is a network and a mount namespace with a private /run, /etc and
//! /var/log, in which `dlm_controld` and `dlm_tool` run as they would on a machine of their own.
//!
//! Needs root, and unshare, nsenter and mount of util-linux. Nothing outlives the [`Lab`]: daemons end when the testbed
//! does, namespaces with the processes that hold them.

mod host;
mod programs;
mod ring;
mod threads;

use crate::live::{Options, Testbed};
use anyhow::{Context as _, bail};
use host::Host;
use programs::said;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

pub use host::Line;
pub use programs::{Programs, Said};
pub use threads::Turn;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a daemon through its own tool, which can only be asked, not waited on.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Nodes 1 to N with the testbed around them.
pub struct Lab {
    directory: PathBuf,
    programs: Programs,
    hosts: BTreeMap<u32, Host>,
    testbed: Testbed,
}

impl Lab {
    /// Namespaces and testbed; no daemon yet. `settings` are lines for every node's dlm.conf.
    ///
    /// # Errors
    /// What cannot be made: not root, for example.
    pub fn new(programs: Programs, options: Options, settings: &str) -> anyhow::Result<Self> {
        let directory = make_directory()?;
        let testbed = Testbed::start(&directory, options)
            .with_context(|| format!("start the testbed in {}", directory.display()))?;
        let mut lab = Self { directory, programs, hosts: BTreeMap::new(), testbed };
        for node in 1..=options.nodes {
            if let Err(error) = lab.add_host(node, settings) {
                lab.discard();
                return Err(error);
            }
        }
        Ok(lab)
    }

    /// As [`Lab::new`], but membership and messages are a real corosync's, one for each node, connected by a network of
    /// their own: the testbed is kernels and power alone.
    ///
    /// # Errors
    /// What cannot be made: not root, or no corosync.
    pub fn on_corosync(
        programs: Programs,
        options: Options,
        settings: &str,
    ) -> anyhow::Result<Self> {
        let mut lab = Self::new(programs, options, settings)?;
        ring::connect(&mut lab.hosts)?;
        Ok(lab)
    }

    /// SIGKILL for a node's corosync.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_corosync(&mut self, node: u32) -> anyhow::Result<()> {
        self.host_mut(node)?.kill_corosync()
    }

    /// Start a node's corosync again.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_corosync(&mut self, node: u32) -> anyhow::Result<()> {
        self.host_mut(node)?.restart_corosync()
    }

    /// Pull a node's network cable.
    ///
    /// # Errors
    /// It has none.
    pub fn cut(&self, node: u32) -> anyhow::Result<()> {
        ring::cut(&self.hosts, node)
    }

    /// Plug it in again.
    ///
    /// # Errors
    /// It has none.
    pub fn heal(&self, node: u32) -> anyhow::Result<()> {
        ring::heal(&self.hosts, node)
    }

    fn add_host(&mut self, node: u32, settings: &str) -> anyhow::Result<()> {
        let place = self.directory.join(format!("node-{node}"));
        fs::create_dir_all(place.join("log"))
            .with_context(|| format!("make {}", place.display()))?;
        let (agent, console) = (self.programs.agent.display(), self.testbed.console_socket());
        let fence = format!("fence_all {agent} socket={} from={node}\n", console.display());
        fs::write(place.join("dlm.conf"), format!("{settings}{fence}"))
            .with_context(|| format!("write dlm.conf in {}", place.display()))?;
        self.hosts.insert(node, Host::make(node, &place)?);
        Ok(())
    }

    /// Where the daemons' logs are, `node-N/`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The testbed.
    #[must_use]
    pub const fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// A console command that must be taken.
    ///
    /// # Errors
    /// The console's words.
    pub fn command(&self, line: &str) -> anyhow::Result<()> {
        match self.testbed.command(line).as_str() {
            "ok" => Ok(()),
            other => bail!("{line}: {other}"),
        }
    }

    /// Put a shell script in a node's way: its daemon finds it before any other program of that name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn script(&self, node: u32, name: &str, lines: &str) -> anyhow::Result<()> {
        let directory = self.host(node)?.programs();
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{lines}\n"))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Start a node's daemon.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_daemon(&mut self, node: u32) -> anyhow::Result<()> {
        self.start(node, None)
    }

    /// Start a node's daemon as a unit with `Type=notify` does: systemd listens at this socket.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_daemon_as_unit(&mut self, node: u32, notify: &Path) -> anyhow::Result<()> {
        self.start(node, Some(notify))
    }

    fn start(&mut self, node: u32, notify: Option<&Path>) -> anyhow::Result<()> {
        let (socket, daemon) = (self.testbed.daemons_socket(), self.programs.daemon.clone());
        self.host_mut(node)?.start_daemon(&daemon, &socket, notify)
    }

    /// Run a node's daemon with these words until the caller has its prompt back: until its end, or, where the words ask for
    /// no foreground, until it serves. What then runs in the background is the caller's to end; it does not outlive the testbed.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn run_daemon(&self, node: u32, words: &[&str]) -> anyhow::Result<Said> {
        let socket = self.testbed.daemons_socket();
        said(&mut self.host(node)?.daemon(&self.programs.daemon, words, &socket))
    }

    /// SIGKILL for a node's daemon, which is its node's death.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_daemon(&mut self, node: u32) -> anyhow::Result<()> {
        self.host_mut(node)?.kill_daemon()
    }

    /// SIGTERM for a node's daemon.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate_daemon(&self, node: u32) -> anyhow::Result<()> {
        self.host(node)?.terminate_daemon()
    }

    /// Wait for the end of a node's daemon.
    ///
    /// # Errors
    /// It goes on.
    pub fn daemon_ended(&mut self, node: u32) -> anyhow::Result<ExitStatus> {
        self.host_mut(node)?.daemon_ended(PATIENCE)
    }

    /// SIGTERM for a node's daemon, and its exit status.
    ///
    /// # Errors
    /// It does not run, or goes on.
    pub fn terminate(&mut self, node: u32) -> anyhow::Result<Option<i32>> {
        self.terminate_daemon(node)?;
        Ok(self.daemon_ended(node)?.code())
    }

    /// Does it run, as far as one can see from outside?
    ///
    /// # Errors
    /// There is no such node.
    pub fn daemon_runs(&mut self, node: u32) -> anyhow::Result<bool> {
        self.host_mut(node)?.daemon_runs()
    }

    /// The threads of a node's daemon by name, and whom each runs before.
    ///
    /// # Errors
    /// It does not run.
    pub fn daemon_threads(&self, node: u32) -> anyhow::Result<BTreeMap<String, Turn>> {
        threads::of_process(self.host(node)?.daemon_pid()?)
    }

    /// What a node's daemon has written to standard error, with the time of arrival.
    ///
    /// # Errors
    /// There is no such node.
    pub fn daemon_lines(&self, node: u32) -> anyhow::Result<Vec<Line>> {
        Ok(self.host(node)?.lines())
    }

    /// Run `dlm_tool` on a node, as root.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn tool(&self, node: u32, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run(node, &[], &self.programs.tool, arguments)
    }

    /// Run any program on a node, as root, which finds libraries in these directories first.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn program(
        &self,
        node: u32,
        libraries: &[&Path],
        program: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Said> {
        let path = std::env::join_paths(libraries).context("library path")?;
        let mut command = self.host(node)?.inside(&[]);
        command.env("LD_LIBRARY_PATH", path).arg(program).args(arguments);
        said(&mut command)
    }

    /// Run `dlm_tool` on a node as somebody without rights.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn tool_of_nobody(&self, node: u32, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run_as_nobody(node, &self.programs.tool, arguments)
    }

    /// Run the daemon's program on a node as somebody without rights.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn daemon_of_nobody(&self, node: u32, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run_as_nobody(node, &self.programs.daemon, arguments)
    }

    fn run_as_nobody(&self, node: u32, program: &Path, arguments: &[&str]) -> anyhow::Result<Said> {
        // Nobody may not look everywhere: a copy where everybody may.
        let copy = self.directory.join("program-of-nobody");
        fs::copy(program, &copy).with_context(|| format!("copy {}", program.display()))?;
        self.run(node, &["--setgid=65534", "--setuid=65534"], &copy, arguments)
    }

    /// Run the daemon's program on a node as one that knows of no testbed, with these arguments, until it ends.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn second_daemon(&self, node: u32, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run(node, &[], &self.programs.daemon, arguments)
    }

    /// Start a program on a node, as root; it is the caller's to end. What it says goes to the node's directory.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, node: u32, program: &Path, arguments: &[String]) -> anyhow::Result<Child> {
        self.host(node)?.spawn(program, arguments)
    }

    /// Start a program on a node, as root, with pipes to its standard input and output; it is the caller's to end.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn converse(
        &self,
        node: u32,
        program: &Path,
        arguments: &[String],
    ) -> anyhow::Result<Child> {
        self.host(node)?.converse(program, arguments)
    }

    /// Bring up a node's loopback interface: sockets in its network can be reached from there on.
    ///
    /// # Errors
    /// There is no `ip` of iproute2.
    pub fn bring_up_loopback(&self, node: u32) -> anyhow::Result<()> {
        self.host(node)?.ip("link set lo up")
    }

    /// Have something done in a node's network, on a thread that enters it: sockets that it makes are there, and so are
    /// the processes that it starts.
    ///
    /// # Errors
    /// There is no such node.
    pub fn in_network<T: Send>(
        &self,
        node: u32,
        act: impl FnOnce() -> T + Send,
    ) -> anyhow::Result<T> {
        self.host(node)?.in_network(act)
    }

    fn run(
        &self,
        node: u32,
        identity: &[&str],
        program: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Said> {
        let mut command: Command = self.host(node)?.inside(identity);
        said(command.arg(program).args(arguments))
    }

    /// Wait until `dlm_tool ARGUMENTS` prints on a node what is wanted; gives what it printed.
    ///
    /// # Errors
    /// It never does, with what it printed last; or the daemon has ended, with its last words.
    pub fn wait_for_tool(
        &mut self,
        node: u32,
        arguments: &[&str],
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.tool(node, arguments)?;
            if said.status == Some(0) && wanted(&said.out) {
                return Ok(said.out);
            }
            if !self.daemon_runs(node)? {
                let lines = self.daemon_lines(node)?;
                let last = lines.last().map_or("", |line| line.text.as_str());
                bail!("node {node}: no {what}: dlm_controld has ended: {last}");
            }
            if Instant::now() >= end {
                bail!(
                    "node {node}: no {what} in {PATIENCE:?}; dlm_tool {} says:\n{}{}",
                    arguments.join(" "),
                    said.out,
                    said.err
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Remove the logs: nothing went wrong.
    pub fn discard(self) {
        let directory = self.directory.clone();
        drop(self);
        // What cannot be removed stays in the temporary directory.
        let _left = fs::remove_dir_all(directory);
    }

    fn host(&self, node: u32) -> anyhow::Result<&Host> {
        self.hosts.get(&node).with_context(|| format!("no node {node}"))
    }

    fn host_mut(&mut self, node: u32) -> anyhow::Result<&mut Host> {
        self.hosts.get_mut(&node).with_context(|| format!("no node {node}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs of the daemons: {}", self.directory.display());
        }
    }
}

/// A new directory in the place for temporary files; several labs of one process have one each.
fn make_directory() -> anyhow::Result<PathBuf> {
    let pid = std::process::id();
    for number in 0.. {
        let directory = std::env::temp_dir().join(format!("dlm-testbed-{pid}-{number}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("make {}", directory.display()));
            }
        }
    }
    bail!("no name is free for a directory")
}
