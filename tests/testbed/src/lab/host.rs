//! One node: a process that holds its namespaces, and its daemon.

use anyhow::{Context as _, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;
use controld::testbed::{COROSYNC_VARIABLE, NODE_VARIABLE, SOCKET_VARIABLE};

/// Makes the namespaces' files private, says so, and stays until its standard input is closed.
const HOLD: &str = r#"set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/etc
cp -a /etc/. /run/etc/
mkdir -p /run/etc/dlm
cp "$1/dlm.conf" /run/etc/dlm/dlm.conf
mount --bind /run/etc /etc
mount --bind "$1/log" /var/log
[ -L /var/run ] || mount -t tmpfs -o mode=755 tmpfs /var/run
for d in /dev/shm /var/lib/corosync; do [ ! -d $d ] || mount -t tmpfs -o size=2g tmpfs $d; done
echo ready
exec cat"#;

/// Between two looks whether a process has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A line of a daemon.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it came.
    pub at: Instant,
    /// Without its end.
    pub text: String,
}

struct Corosync {
    /// `None` once it was killed.
    process: Option<Child>,
    config: String,
}

pub(super) struct Host {
    node: u32,
    place: PathBuf,
    holder: Child,
    daemon: Option<Child>,
    /// A real one, with its configuration; none where the testbed is the cluster.
    corosync: Option<Corosync>,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Host {
    pub(super) fn make(node: u32, place: &Path) -> anyhow::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", HOLD, "sh"])
            .arg(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare of util-linux")?;
        let mut ready = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut ready).context("read from the holder")?;
        }
        let host = Self {
            node,
            place: place.to_owned(),
            holder,
            daemon: None,
            corosync: None,
            lines: Arc::default(),
        };
        if ready != "ready\n" {
            bail!("no namespaces can be made for node {node}: this needs root");
        }
        Ok(host)
    }

    /// A command that will run in the namespaces; the program is to be appended.
    pub(super) fn inside(&self, identity: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.id())).args(["--net", "--mount"]);
        command.args(identity).arg("--").stdin(Stdio::null());
        command
    }

    /// Where the daemon looks for programs: those of this node first.
    fn search_path(&self) -> OsString {
        let mut path = self.programs().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path
    }

    /// The directory for programs that only this node has.
    pub(super) fn programs(&self) -> PathBuf {
        self.place.join("bin")
    }

    /// The daemon with these words, which the testbed behind this socket will be the cluster and the kernel of.
    pub(super) fn daemon(&self, daemon: &Path, words: &[&str], socket: &Path) -> Command {
        let mut command = self.inside(&[]);
        command.arg(daemon).args(words);
        command.env("PATH", self.search_path());
        command.env(SOCKET_VARIABLE, socket).env(NODE_VARIABLE, self.node.to_string());
        if self.corosync.is_some() {
            command.env(COROSYNC_VARIABLE, "1");
        }
        command
    }

    /// In the foreground, its lines read; `notify` is the socket of the systemd that starts it, if one does.
    pub(super) fn start_daemon(
        &mut self,
        daemon: &Path,
        socket: &Path,
        notify: Option<&Path>,
    ) -> anyhow::Result<()> {
        if self.daemon_runs()? {
            bail!("the daemon of node {} runs already", self.node);
        }
        let mut command = self.daemon(daemon, &["-D"], socket);
        if let Some(notify) = notify {
            command.env("NOTIFY_SOCKET", notify);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("run nsenter of util-linux")?;
        let path = self.place.join("stderr.log");
        let copy = File::options().create(true).append(true).open(&path);
        let copy = copy.with_context(|| format!("open {}", path.display()))?;
        if let Some(errors) = child.stderr.take() {
            let lines = Arc::clone(&self.lines);
            thread::spawn(move || read(errors, copy, &lines));
        }
        self.daemon = Some(child);
        Ok(())
    }

    pub(super) fn holder_pid(&self) -> u32 {
        self.holder.id()
    }

    /// A program in the namespaces; what it says goes to `programs.log`.
    pub(super) fn spawn(&self, program: &Path, arguments: &[String]) -> anyhow::Result<Child> {
        let mut command = self.program(program, arguments)?;
        command.stdout(Stdio::null()).spawn().with_context(|| format!("run {}", program.display()))
    }

    /// A program in the namespaces with pipes to its standard input and output; its complaints go to `programs.log`.
    pub(super) fn converse(&self, program: &Path, arguments: &[String]) -> anyhow::Result<Child> {
        let mut command = self.program(program, arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("run {}", program.display()))
    }

    fn program(&self, program: &Path, arguments: &[String]) -> anyhow::Result<Command> {
        let path = self.place.join("programs.log");
        let open = || File::options().create(true).append(true).open(&path);
        let log = open().with_context(|| format!("open {}", path.display()))?;
        // Should this process die, the program must not stay.
        let mut command = self.inside(&[]);
        command.args(["setpriv", "--pdeathsig", "KILL"]).arg(program).args(arguments).stderr(log);
        Ok(command)
    }

    /// Has something done in the network namespace, on a thread that enters it; sockets that it makes stay there.
    pub(super) fn in_network<T: Send>(&self, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        let network = File::open(&path).with_context(|| format!("open {path}"))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(&network, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                Ok(act())
            });
            inside.join().unwrap_or_else(|_| bail!("the thread in the namespace has panicked"))
        })
    }

    /// `ip` of iproute2 with these words, in the namespaces.
    pub(super) fn ip(&self, words: &str) -> anyhow::Result<()> {
        let output = self.inside(&[]).arg("ip").args(words.split(' ')).output();
        let output = output.context("run nsenter of util-linux")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("node {}: ip {words}: {}", self.node, why.trim());
        }
        Ok(())
    }

    /// With this corosync.conf; what it says goes to a file.
    pub(super) fn start_corosync(&mut self, config: &str) -> anyhow::Result<()> {
        // The private /etc: readable from outside by the holder's root.
        let path = format!("/proc/{}/root/etc/corosync/corosync.conf", self.holder.id());
        std::fs::write(&path, config).context("write corosync.conf: is corosync installed?")?;
        let log = self.place.join("corosync.log");
        let copy = File::options().create(true).append(true).open(&log);
        let copy = copy.with_context(|| format!("open {}", log.display()))?;
        let before = copy.metadata().context("look at corosync's log")?.len();
        let before = usize::try_from(before).context("a log of that size")?;
        // Should this process die, no corosync must stay.
        let process = self
            .inside(&[])
            .args(["setpriv", "--pdeathsig", "KILL", "corosync", "-f"])
            .stdout(Stdio::null())
            .stderr(copy)
            .spawn()
            .context("run nsenter of util-linux")?;
        self.corosync = Some(Corosync { process: Some(process), config: config.to_owned() });
        self.await_corosync(&log, before)
    }

    /// Until it takes clients. `before` bytes of its log are an earlier one's.
    fn await_corosync(&self, log: &Path, before: usize) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(log).context("read corosync's log")?;
            if said.get(before..).is_some_and(|said| said.contains("ready to provide service")) {
                return Ok(());
            }
            if Instant::now() >= end {
                bail!("corosync of node {} is not ready in {PATIENCE:?}: {said}", self.node);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    pub(super) fn kill_corosync(&mut self) -> anyhow::Result<()> {
        let corosync = self.corosync.as_mut().context("it has no corosync")?;
        let mut process = corosync.process.take().context("its corosync does not run")?;
        process.kill().context("SIGKILL")?;
        process.wait().context("wait for corosync")?;
        Ok(())
    }

    /// After its death.
    pub(super) fn restart_corosync(&mut self) -> anyhow::Result<()> {
        let corosync = self.corosync.as_ref().context("it has no corosync")?;
        let config = corosync.config.clone();
        self.start_corosync(&config)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn kill_daemon(&mut self) -> anyhow::Result<()> {
        let mut child = self.daemon.take().context("its daemon does not run")?;
        child.kill().context("SIGKILL")?;
        child.wait().context("wait for the daemon")?;
        Ok(())
    }

    /// nsenter has become the daemon.
    pub(super) fn daemon_pid(&self) -> anyhow::Result<u32> {
        Ok(self.daemon.as_ref().context("its daemon does not run")?.id())
    }

    pub(super) fn terminate_daemon(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.daemon_pid()?).context("process id")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("SIGTERM")
    }

    pub(super) fn daemon_runs(&mut self) -> anyhow::Result<bool> {
        let Some(child) = &mut self.daemon else { return Ok(false) };
        Ok(child.try_wait().context("look for the daemon")?.is_none())
    }

    pub(super) fn daemon_ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + patience;
        let child = self.daemon.as_mut().context("its daemon does not run")?;
        loop {
            if let Some(status) = child.try_wait().context("wait for the daemon")? {
                self.daemon = None;
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("the daemon of node {} does not end in {patience:?}", self.node);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What has ended already needs no more.
        if let Some(mut daemon) = self.daemon.take() {
            let _ended = daemon.kill();
            let _ended = daemon.wait();
        }
        if let Some(mut corosync) = self.corosync.take().and_then(|corosync| corosync.process) {
            let _ended = corosync.kill();
            let _ended = corosync.wait();
        }
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}

fn read(from: ChildStderr, mut copy: File, lines: &Mutex<Vec<Line>>) {
    for text in BufReader::new(from).lines().map_while(Result::ok) {
        let at = Instant::now();
        // The copy is for people; what is decided by comes from memory.
        let _full = writeln!(copy, "{text}");
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(Line { at, text });
    }
}
