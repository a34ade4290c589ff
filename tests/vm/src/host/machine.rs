//! One node's virtual machine: QEMU with emulated processors (no KVM is needed), known by its process.
//!
//! The process is kept in a file as its id and its start time, so that a process that later got the
//! same id is never taken for it, and a machine left behind by an earlier run is found and ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network::Network;
use super::wait::until;
use crate::state::State;

/// How long a killed process may take to be gone.
const DEATH: Duration = Duration::from_secs(20);
/// How long QEMU's monitor may take to answer.
const MONITOR: Duration = Duration::from_secs(5);
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=7 panic=1 random.trust_cpu=on mitigations=off \
     nokaslr tsc=reliable audit=0 printk.devkmsg=on";

/// Whether a node's cluster interface is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It carries traffic.
    Up,
    /// It is cut; the management interface stays.
    Down,
}

/// A process that a state directory remembers.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    file: PathBuf,
}

impl Process {
    fn remembered_in(file: PathBuf) -> Self {
        Self { file }
    }

    /// Starts and remembers it.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<()> {
        let mut child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        let id = i32::try_from(child.id()).context("process id")?;
        let started = start_time(id).context("it ended at once")?;
        fs::write(&self.file, format!("{id} {started}"))
            .with_context(|| format!("write {}", self.file.display()))?;
        // Reaped here; one left running by a program that has ended is reaped by process 1.
        thread::spawn(move || child.wait());
        Ok(())
    }

    /// Whether it is there (a stopped one is).
    pub(crate) fn runs(&self) -> bool {
        self.id().is_some()
    }

    /// Ends it, as pulling the plug would; done when it is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        until("end of a killed process", DEATH, || Ok((!self.runs()).then_some(())))
    }

    /// Sends it a signal; nothing if it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(id) = self.id() else { return Ok(()) };
        match kill(id, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("send {signal} to process {id}")),
        }
    }

    fn id(&self) -> Option<Pid> {
        self.identity()?.split_once(' ')?.0.parse().ok().map(Pid::from_raw)
    }

    /// What no other process has ever had: id and start time. `None` if it does not run.
    fn identity(&self) -> Option<String> {
        let text = fs::read_to_string(&self.file).ok()?;
        let (id, started) = text.split_once(' ')?;
        (start_time(id.parse().ok()?)? == started).then_some(text)
    }
}

/// A node's machine; it need not run.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    state: State,
    node: u8,
    process: Process,
}

impl Machine {
    pub(crate) fn of(state: &State, node: u8) -> Self {
        let process = Process::remembered_in(state.node_file(node, "process"));
        Self { state: state.clone(), node, process }
    }

    /// The power switch, where it is a process of its own.
    pub(crate) fn power_switch(state: &State) -> Process {
        Process::remembered_in(state.run_file("power.process"))
    }

    /// Starts the machine with an initramfs. An earlier console is kept beside the new one.
    pub(crate) fn start(&self, network: &Network, memory_mib: u32) -> Result<()> {
        if self.runs() {
            bail!("node {} runs already", self.node);
        }
        let console = self.file("console");
        if fs::metadata(&console).is_ok_and(|console| console.len() > 0) {
            let _ = fs::rename(&console, self.file("console.earlier"));
        }
        let said = self.file("qemu");
        let said = File::create(&said).with_context(|| format!("create {}", said.display()))?;
        // `ip netns exec` and `nice` replace themselves by what they start, so the id stays the same.
        self.process.spawn(
            Command::new("ip")
                .args([
                    "netns",
                    "exec",
                    network.name(),
                    "nice",
                    "-n",
                    &nice(),
                    "qemu-system-x86_64",
                ])
                .args(self.arguments(memory_mib))
                .stdout(said.try_clone().context("share the log")?)
                .stderr(said),
        )
    }

    /// Whether its process is there (a stopped one is).
    pub(crate) fn runs(&self) -> bool {
        self.process.runs()
    }

    /// This run of the machine; another one after it was switched off and on. `None` if it does not run.
    pub(crate) fn identity(&self) -> Option<String> {
        self.process.identity()
    }

    /// Ends it, as pulling the plug would; done when its process is gone.
    pub(crate) fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Sends its process a signal; nothing if it does not run.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Cuts or restores the cluster interface.
    pub(crate) fn link(&self, link: Link) -> Result<()> {
        let up = link == Link::Up;
        let request = serde_json::json!({
            "execute": "set_link", "arguments": { "name": "cluster0", "up": up }
        });
        self.monitor(&request).with_context(|| format!("set the link of node {}", self.node))
    }

    fn monitor(&self, request: &serde_json::Value) -> Result<()> {
        let mut stream =
            UnixStream::connect(self.file("monitor")).context("reach QEMU's monitor")?;
        stream.set_read_timeout(Some(MONITOR)).context("set a time limit")?;
        let mut answers =
            BufReader::new(stream.try_clone().context("share the connection")?).lines();
        for request in [&serde_json::json!({ "execute": "qmp_capabilities" }), request] {
            writeln!(stream, "{request}").context("ask QEMU's monitor")?;
            loop {
                let line = answers
                    .next()
                    .context("QEMU's monitor hung up")?
                    .context("hear QEMU's monitor")?;
                let answer: serde_json::Value =
                    serde_json::from_str(&line).context("QEMU's answer")?;
                if let Some(error) = answer.get("error") {
                    bail!("QEMU's monitor: {error}");
                }
                if answer.get("return").is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.node_file(self.node, name)
    }

    fn arguments(&self, memory_mib: u32) -> Vec<String> {
        let node = self.node;
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let root = path(self.state.file("root.img"));
        let mut arguments: Vec<String> = [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-M",
            "pc,usb=off",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "1",
            "-rtc",
            "base=utc",
            "-device",
            "virtio-rng-pci,addr=8",
            "-append",
            KERNEL_ARGUMENTS,
        ]
        .map(str::to_owned)
        .into();
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-name", format!("node{node}"));
        add("-m", memory_mib.to_string());
        add("-kernel", path(self.state.file("vmlinuz")));
        add("-initrd", path(self.file("initramfs")));
        add("-serial", format!("file:{}", path(self.file("console"))));
        add("-qmp", format!("unix:{},server=on,wait=off", path(self.file("monitor"))));
        add(
            "-drive",
            format!("file={root},if=none,id=root,format=raw,readonly=on,file.locking=off"),
        );
        add("-device", "virtio-blk-pci,drive=root,addr=4".into());
        // The host's page cache stands for the shared disks: it outlives a killed machine, as a disk would.
        for (name, slot) in [("shared", 5), ("second", 9)] {
            let disk = path(self.state.run_file(&format!("{name}.img")));
            add(
                "-drive",
                format!("file={disk},if=none,id={name},format=raw,file.locking=off,cache=unsafe"),
            );
            add("-device", format!("virtio-blk-pci,drive={name},addr={slot},serial={name}"));
        }
        for (tap, id, slot, mac) in [("c", "cluster", 6, 77), ("m", "manage", 7, 78)] {
            add("-netdev", format!("tap,id={id},ifname={tap}{node},script=no,downscript=no"));
            let mac = format!("52:54:00:{mac}:00:{node:02x}");
            add(
                "-device",
                format!("virtio-net-pci,netdev={id},id={id}0,addr={slot},romfile=,mac={mac}"),
            );
        }
        arguments
    }
}

/// How nice the machines are to the host, from `DLM_VM_NICE`: on a busy host a negative value keeps
/// corosync in the guests from missing its token.
fn nice() -> String {
    std::env::var("DLM_VM_NICE")
        .ok()
        .filter(|text| text.parse::<i8>().is_ok())
        .unwrap_or("0".into())
}

/// When a process started, in the kernel's own unit; `None` if it is gone or a zombie. Field 22 of
/// `/proc/PID/stat`, counted behind the program's name, which may hold anything (proc(5)).
fn start_time(id: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|field| (*field).to_owned()))?
}
