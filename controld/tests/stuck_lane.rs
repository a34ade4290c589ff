//! A daemon with a lane that is stuck in the kernel is killed: its descriptors close at once, although the stuck thread, and
//! with it the process, stays.
//!
//! A file system of this test's own (FUSE) takes the lane's request and never answers; the kernel lets not even SIGKILL
//! end such a wait. Needs root and `/dev/fuse`; without them the test says so and passes, in CI it fails.
//!
//! The same thread shows that a lane runs before all ordinary load if its main thread does (spec/defects-and-latency.md
//! item 93).

#[path = "../src/skipped.rs"]
mod skipped;

use controld::kernel::Kernel as _;
use controld::kernel::configfs::CommOptions;
use controld::kernel::plockdev::{RateLimit, Results};
use controld::kernel::real::RealKernel;
use controld::kernel::root::Root;
use controld::reactor::Reactor;
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::Token;
use dlm_core::types::LockspaceName;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

/// Tells the child where its directory is; without it, it does nothing.
const DIRECTORY: &str = "DLM_TEST_STUCK_LANE";

/// `FUSE_INIT` of linux/fuse.h.
const FUSE_INIT: u32 = 26;

/// A file system that answers nothing. Dropped, it fails all requests, which sets the stuck thread free.
struct Silent {
    device: File,
    mounted: PathBuf,
}

impl Silent {
    fn mount(directory: &Path) -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some("silent"), directory, Some("fuse"), flags, Some(options.as_str())).ok()?;
        Some(Self { device, mounted: directory.to_owned() })
    }

    /// Answer the kernel's greeting, then take one request and keep it.
    fn swallow_one_request(&mut self) {
        let mut request = vec![0; 1 << 17];
        loop {
            let length = self.device.read(&mut request).unwrap();
            assert!(length >= 40, "a request has a header");
            if u32::from_ne_bytes(request[4..8].try_into().unwrap()) != FUSE_INIT {
                return;
            }
            // struct fuse_out_header, struct fuse_init_out: version 7.31, 4 KiB writes, all else off.
            let mut answer = vec![0; 80];
            answer[..4].copy_from_slice(&80u32.to_ne_bytes());
            answer[8..16].copy_from_slice(&request[8..16]);
            answer[16..20].copy_from_slice(&7u32.to_ne_bytes());
            answer[20..24].copy_from_slice(&31u32.to_ne_bytes());
            answer[36..40].copy_from_slice(&4096u32.to_ne_bytes());
            self.device.write_all(&answer).unwrap();
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = umount2(&self.mounted, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
}

/// The daemon's part, in a process of its own: one descriptor that peers watch, one lane that gets stuck.
#[test]
#[ignore = "run by the other test"]
fn child_with_a_stuck_lane() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let _peer = UnixStream::connect(directory.join("peer")).unwrap();
    let root = Root::new(directory.join("root"));
    let device = OpenOptions::new().write(true).open("/dev/null").unwrap();
    let limit = RateLimit::default();
    let plocks =
        Results::new(device.into(), "/dev/null".into(), limit, Arc::new(drop), Arc::new(drop));
    let (reactor, comms) = (Reactor::new().unwrap(), CommOptions::default());
    let (mut kernel, _completions) =
        RealKernel::new(root, comms, Arc::new(drop), plocks, reactor.registry()).unwrap();
    kernel.write(Token(1), Lane::Lockspace(LockspaceName::new(b"fs").unwrap()), KernelWrite::Stop);
    loop {
        std::thread::park();
    }
}

/// A main thread that runs first, as the daemon's does; a container may have no right to it.
fn chrt() -> Command {
    let mut chrt = Command::new("chrt");
    chrt.args(["--reset-on-fork", "--rr", "1"]);
    chrt
}

fn start_child(directory: &Path, realtime: bool) -> Child {
    let test = std::env::current_exe().unwrap();
    let mut command = if realtime { chrt() } else { Command::new("env") };
    command
        .arg(test)
        .args(["--exact", "child_with_a_stuck_lane", "--ignored"])
        .env(DIRECTORY, directory);
    command.spawn().unwrap()
}

/// Of a process's thread, as sched.h numbers it: field 41 of its line (proc(5)); the name before may have spaces.
fn policy(child: &Child, name: &str) -> Option<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    threads.flatten().find_map(|thread| {
        let line = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (before, behind) = line.rsplit_once(") ")?;
        before
            .ends_with(&format!("({name}"))
            .then(|| behind.split(' ').nth(41 - 3).unwrap().to_owned())
    })
}

#[test]
fn descriptors_close_at_once_although_a_lane_is_stuck() {
    let directory = std::env::temp_dir().join(format!("dlm-stuck-lane-{}", std::process::id()));
    fs::create_dir_all(directory.join("root")).unwrap();
    let Some(mut silent) = Silent::mount(&directory.join("root")) else {
        fs::remove_dir_all(&directory).unwrap();
        skipped::skipped("no FUSE here");
        return;
    };
    let peers = UnixListener::bind(directory.join("peer")).unwrap();
    let realtime = chrt().arg("true").status().is_ok_and(|status| status.success());
    let mut child = start_child(&directory, realtime);
    let (mut connection, _) = peers.accept().unwrap();
    silent.swallow_one_request();
    let lane = policy(&child, "lane fs");

    child.kill().unwrap();

    connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let closed = connection.read(&mut [0]);
    let still_there = child.try_wait().unwrap().is_none();
    drop(silent);
    child.wait().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(closed.unwrap(), 0, "the peer sees the end");
    assert_eq!(lane.as_deref(), Some(if realtime { "2" } else { "0" }), "SCHED_RR where it may be");
    assert!(still_there, "and sees it while a thread of the process is stuck");
}
