//! The service room end to end, with the program of `examples/service_probe.rs` as the daemon.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../src/skipped.rs"]
mod skipped;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own for each test; daemons become children of this process, so that their end can be awaited.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("dlm-service-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        set_child_subreaper(true).unwrap();
        Self(path)
    }

    fn pid_file(&self) -> PathBuf {
        self.0.join("run/dlm/dlm.pid")
    }

    fn command(&self, mode: &str, how: &str) -> Command {
        let mut command = Command::new(probe());
        command.arg(mode).arg(self.pid_file()).arg(how).current_dir(&self.0);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, mode: &str, how: &str) -> Output {
        self.command(mode, how).output().unwrap()
    }

    /// What the serving daemon found itself to be.
    fn seen(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.0.join("run/dlm/dlm.pid.seen")).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn daemon(&self) -> Pid {
        let text = fs::read_to_string(self.pid_file()).unwrap();
        Pid::from_raw(text.strip_suffix('\n').unwrap().parse().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `cargo test` builds the examples beside the tests.
fn probe() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples/service_probe");
    assert!(program.exists(), "build it with `cargo build -p dlm-controld --examples`");
    program
}

fn end(daemon: Pid, signal: Signal) -> WaitStatus {
    kill(daemon, signal).unwrap();
    waitpid(daemon, None).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn background_daemon_is_on_its_own_when_its_parent_ends() {
    let place = Place::new();
    // The caller has a file open that is none of the daemon's business.
    let mut command = Command::new("sh");
    command.args(["-c", "exec 7</dev/zero; \"$@\"", "sh"]).arg(probe());
    let output = command.arg("background").arg(place.pid_file()).arg("serve").output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    let daemon = place.daemon();
    for descriptor in fs::read_dir(format!("/proc/{daemon}/fd")).unwrap() {
        let target = fs::read_link(descriptor.unwrap().path()).unwrap();
        assert_ne!(target, Path::new("/dev/zero"));
    }
    let seen = place.seen();
    let get = |name: &str| seen.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!(get("pid"), daemon.to_string());
    assert_eq!(get("session"), daemon.to_string());
    assert_eq!(get("directory"), "/");
    for standard in ["stdin", "stdout", "stderr"] {
        assert_eq!(get(standard), "/dev/null");
    }
    assert_eq!((get("umask"), get("variables"), get("inheritable")), ("022", "0", "[]"));
    assert_eq!(end(daemon, Signal::SIGTERM), WaitStatus::Exited(daemon, 0));
    assert!(!place.pid_file().exists());
}

#[test]
fn process_is_called_dlm_controld_in_both_modes() {
    let place = Place::new();
    place.run("background", "serve");
    let daemon = place.daemon();
    let comm = fs::read_to_string(format!("/proc/{daemon}/comm")).unwrap();
    assert_eq!(comm, "dlm_controld\n");
    end(daemon, Signal::SIGINT);

    let (daemon, _notify) = foreground(&place);
    assert_eq!(place.seen().get("comm").map(String::as_str), Some("dlm_controld"));
    end(daemon, Signal::SIGTERM);
}

#[test]
fn second_daemon_is_refused_with_the_texts_of_the_c_daemon() {
    let place = Place::new();
    place.run("background", "serve");
    let daemon = place.daemon();
    let expected = format!(
        "lockfile setlk error {}: Resource temporarily unavailable \
         (another dlm_controld runs, its process id is in the file: end that one first)",
        place.pid_file().display()
    );
    let second = place.run("background", "serve");
    assert_eq!((second.status.code(), stderr(&second)), (Some(1), format!("{expected}\n")));
    let third = place.run("foreground", "serve");
    assert_eq!(third.status.code(), Some(1));
    assert!(stderr(&third).contains(&expected), "{}", stderr(&third));
    // The first one's file is as it was.
    assert_eq!(place.daemon(), daemon);
    end(daemon, Signal::SIGTERM);
    assert_eq!(place.run("background", "serve").status.code(), Some(0));
    end(place.daemon(), Signal::SIGTERM);
}

#[test]
fn reason_why_a_daemon_cannot_serve_reaches_the_caller() {
    let place = Place::new();
    let output = place.run("background", "refuse");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "socket @dlmc_sock is taken\n");
    assert!(!place.pid_file().exists());
}

#[test]
fn death_of_a_daemon_reaches_the_caller() {
    let place = Place::new();
    let output = place.run("background", "die");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "dlm_controld ended before it could serve: exit status: 7\n");
}

#[test]
fn pid_file_and_directories_have_the_modes_of_the_c_daemon() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(probe());
    command.arg("background").arg(place.pid_file()).arg("serve");
    assert!(command.status().unwrap().success());
    let mode = |path: &str| fs::metadata(place.0.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("run"), mode("run/dlm"), mode("run/dlm/dlm.pid")], [0o755, 0o755, 0o644]);
    end(place.daemon(), Signal::SIGTERM);
}

#[test]
fn signals_that_a_caller_blocked_or_ignored_work_again() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM INT HUP CHLD; exec \"$@\"", "sh"]).arg(probe());
    command.arg("background").arg(place.pid_file()).arg("serve");
    assert!(command.status().unwrap().success());
    let daemon = place.daemon();
    let seen = place.seen();
    assert_eq!(seen.get("blocked").map(String::as_str), Some("0000000000000000"));
    // Children inherit what is ignored, so none of those with a meaning is.
    let ignored = u64::from_str_radix(seen.get("ignored").unwrap(), 16).unwrap();
    for (signal, bit) in [("HUP", 0), ("INT", 1), ("PIPE", 12), ("TERM", 14), ("CHLD", 16)] {
        assert_eq!((ignored >> bit) & 1, 0, "{signal}");
    }
    kill(daemon, Signal::SIGHUP).unwrap();
    kill(daemon, Signal::SIGPIPE).unwrap();
    assert_eq!(end(daemon, Signal::SIGTERM), WaitStatus::Exited(daemon, 0));
}

/// The daemon works when the storage that it would be paged in from is blocked. What nobody touches costs nothing.
#[test]
fn memory_is_locked_when_it_is_touched() {
    let place = Place::new();
    place.run("background", "serve");
    let seen = place.seen();
    end(place.daemon(), Signal::SIGTERM);
    let pair = |name: &str| {
        let (before, after) = seen.get(name).and_then(|text| text.split_once(' ')).unwrap();
        let kb = |text: &str| text.parse::<u64>().unwrap();
        (kb(before), kb(after))
    };
    let (locked, with_buffer) = pair("locked_kb");
    let capabilities = u64::from_str_radix(seen.get("capabilities").unwrap(), 16).unwrap();
    // CAP_IPC_LOCK, which is nothing in a user namespace. Root of a container may not have it.
    let users = fs::read_to_string("/proc/self/uid_map").unwrap();
    let everybody = users.split_whitespace().eq(["0", "0", "4294967295"]);
    if !everybody || (capabilities >> 14) & 1 == 0 {
        assert!(seen.get("memory").unwrap().starts_with("cannot lock memory: "), "{seen:?}");
        skipped::skipped("the right to lock memory");
        return;
    }
    assert_eq!(seen.get("memory").map(String::as_str), Some("yes"), "{seen:?}");
    assert!(locked > 0, "{seen:?}");
    let buffer: u64 = seen.get("buffer_kb").unwrap().parse().unwrap();
    let (resident, now) = pair("resident_kb");
    assert!(with_buffer >= locked + buffer, "future memory is not locked: {seen:?}");
    assert!(now < resident + buffer / 2, "memory is resident before it is touched: {seen:?}");
}

#[test]
fn stray_variable_of_the_pipe_is_refused_and_not_obeyed() {
    let place = Place::new();
    for value in ["1", "-1", "x", "", "99"] {
        let mut command = place.command("background", "serve");
        let output = command.env("DLM_CONTROLD_READY_FD", value).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(stderr(&output).contains("is not a pipe"), "{value}: {}", stderr(&output));
    }
    assert!(!place.pid_file().exists());
}

#[test]
fn systemd_hears_of_beginning_and_end() {
    let place = Place::new();
    let (daemon, notify) = foreground(&place);
    assert_eq!(end(daemon, Signal::SIGINT), WaitStatus::Exited(daemon, 0));
    assert_eq!(heard(&notify), "STATUS=ended by SIGINT\n");
    assert_eq!(heard(&notify), "STOPPING=1\n");
}

/// Starts a daemon in the foreground and waits for its `READY=1`.
#[expect(clippy::zombie_processes, reason = "`end` waits for it by its process id")]
fn foreground(place: &Place) -> (Pid, UnixDatagram) {
    let socket = place.0.join("notify");
    let notify = UnixDatagram::bind(&socket).unwrap();
    notify.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let child = place.command("foreground", "serve").env("NOTIFY_SOCKET", socket).spawn().unwrap();
    assert_eq!(heard(&notify), "READY=1\n");
    (Pid::from_raw(i32::try_from(child.id()).unwrap()), notify)
}

fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(bytes.get(..length).unwrap()).into_owned()
}
